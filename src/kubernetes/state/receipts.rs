//! Receipts: ConfigMaps that outlive their `OffsetReset`, so that the same reset, created again, never moves offsets twice.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{ByteString, api::core::v1::ConfigMap};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, PostParams},
    core::PartialObjectMeta,
};

use super::reports::{Files, partitions_in};
use crate::kubernetes::{
    errors::describe,
    limit::{limited, paged},
    objects::{is_ours, labels},
    write::{WriteOutcome, classify, delete_only},
};
use crate::{
    api::{FIELD_MANAGER, GroupStatus, OffsetReset, Phase},
    machine::{
        facts::{Receipt, RunState, Seen},
        plan::export::{AFTER, BEFORE},
    },
};

// The keys of a receipt; each is a line of `kubectl get configmap -o yaml`.
const STATE: &str = "state";
const COMMITTING: &str = "Committing";
const UID: &str = "uid";
const NAME: &str = "name";
const GROUP: &str = "group.json";
const FINAL_PLAN_TIME: &str = "finalPlanTime";
const END_TIME: &str = "endTime";
const MESSAGE: &str = "message";
const REASON: &str = "reason";

/// Why a receipt is left as it is.
const ANOTHERS: &str = "it belongs to another run";

/// The label of receipts; its value is always "receipt".
const LABEL: &str = "offsetreset.dev/receipt";

/// How many receipts one request lists, and of each only the metadata.
const PAGE: u32 = 250;

/// A receipt that does not have to be kept any longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiredReceipt {
    /// The name of the OffsetReset whose run it remembers.
    pub reset: String,
    uid: Option<String>,
    version: Option<String>,
}

/// Reads and writes receipts.
#[derive(Clone)]
pub struct Receipts {
    client: Client,
}

/// The end of a run, as its receipt records it.
#[derive(Clone, Copy, Debug)]
pub struct RunEnd<'a> {
    /// The terminal phase.
    pub phase: Phase,
    /// The time at which the run ended.
    pub at: Timestamp,
    /// The outcome's message.
    pub message: &'a str,
}

impl Receipts {
    /// Reads and writes through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The receipt of this name, read live.
    pub async fn look(&self, namespace: &str, name: &str) -> Seen<Receipt> {
        match limited(self.api(namespace).get_opt(name)).await {
            Ok(None) => Seen::Missing,
            Ok(Some(found)) => match receipt_in(&found) {
                Ok(receipt) => Seen::Known(receipt),
                Err(why) => Seen::Unknown(format!("{}. Delete it", not_a_receipt(name, &why))),
            },
            Err(error) => Seen::Unknown(format!("ConfigMap {name} cannot be read: {}", describe(&error))),
        }
    }

    /// Records that a run begins to commit this plan, and returns the version of the receipt. One that exists already is of a run that
    /// this one continues.
    ///
    /// # Errors
    /// When it is unknown whether it was written.
    pub async fn open(
        &self,
        reset: &OffsetReset,
        name: &str,
        at: Timestamp,
        group: Option<&GroupStatus>,
        files: Files,
    ) -> Result<WriteOutcome<String>, kube::Error> {
        let api = self.api(&reset.namespace().unwrap_or_default());
        let mut config_map = named(name, reset);
        let data = config_map.data.get_or_insert_default();
        data.insert(STATE.into(), COMMITTING.into());
        data.insert(FINAL_PLAN_TIME.into(), at.to_string());
        data.extend(group.and_then(|group| Some((GROUP.to_owned(), serde_json::to_string(group).ok()?))));
        data.extend(files.plain);
        let compressed = files.compressed.into_iter().map(|(name, bytes)| (name, ByteString(bytes)));
        config_map.binary_data = Some(compressed.collect::<BTreeMap<_, _>>()).filter(|files| !files.is_empty());
        // Usually there is none, and consumers wait.
        let created = classify(put(&api, name, &config_map).await)?;
        if matches!(created, WriteOutcome::Done(_)) {
            return Ok(created);
        }
        let Some(found) = limited(api.get_opt(name)).await? else { return Ok(created) };
        if let Err(why) = receipt_in(&found) {
            return Ok(WriteOutcome::Refused(not_a_receipt(name, &why)));
        }
        config_map.metadata.resource_version = found.resource_version();
        classify(put(&api, name, &config_map).await)
    }

    /// Records how a run has ended. With the `version` that was written last, the receipt is read only where something of it is kept, or
    /// another client has changed it.
    ///
    /// # Errors
    /// When it is unknown whether it was written.
    pub async fn close(
        &self,
        reset: &OffsetReset,
        name: &str,
        version: Option<&str>,
        end: RunEnd<'_>,
    ) -> Result<WriteOutcome<()>, kube::Error> {
        let api = self.api(&reset.namespace().unwrap_or_default());
        let mut config_map = named(name, reset);
        let data = config_map.data.get_or_insert_default();
        data.insert(STATE.into(), end.phase.as_str().into());
        data.insert(END_TIME.into(), end.at.to_string());
        data.insert(MESSAGE.into(), end.message.into());
        if let Some(version) = version.filter(|_| end.phase == Phase::Succeeded) {
            config_map.metadata.resource_version = Some(version.to_owned());
            let closed = classify(put(&api, name, &config_map).await)?;
            if closed != WriteOutcome::Stale {
                return Ok(closed.map(drop));
            }
        }
        let Some(found) = limited(api.get_opt(name)).await? else {
            return Ok(WriteOutcome::Refused("it was deleted".into()));
        };
        if !is_of(&found, reset) {
            return Ok(WriteOutcome::Refused(ANOTHERS.into()));
        }
        config_map.metadata.resource_version = found.resource_version();
        if end.phase != Phase::Succeeded {
            // A user needs these files to repair a partial reset, even when the OffsetReset is gone.
            let data = config_map.data.get_or_insert_default();
            data.extend(found.data.into_iter().flatten().filter(|(name, _)| is_for_repair(name)));
            let compressed = found.binary_data.into_iter().flatten().filter(|(name, _)| is_for_repair(name));
            config_map.binary_data = Some(compressed.collect::<BTreeMap<_, _>>()).filter(|files| !files.is_empty());
        }
        Ok(classify(put(&api, name, &config_map).await)?.map(drop))
    }

    /// Deletes the receipt of a run that has committed nothing.
    ///
    /// # Errors
    /// When it is unknown whether it was deleted.
    pub async fn delete(&self, reset: &OffsetReset, name: &str) -> Result<WriteOutcome<()>, kube::Error> {
        let api = self.api(&reset.namespace().unwrap_or_default());
        let Some(found) = limited(api.get_opt(name)).await? else { return Ok(WriteOutcome::Done(())) };
        if !is_of(&found, reset) {
            return Ok(WriteOutcome::Refused(ANOTHERS.into()));
        }
        let params = delete_only(found.resource_version(), None);
        classify(limited(api.delete(name, &params)).await.map(drop))
    }

    /// Namespace and name of the receipts that were created before a time, of one namespace or of all.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn created_before(&self, scope: Option<&str>, time: Timestamp) -> Result<Vec<(String, String)>, kube::Error> {
        let api: Api<ConfigMap> = match scope {
            Some(namespace) => self.api(namespace),
            None => Api::all(self.client.clone()),
        };
        let mut found = vec![];
        let list = |page: ListParams| {
            let api = api.clone();
            async move { api.list_metadata(&page).await }
        };
        let each = |receipt: PartialObjectMeta<ConfigMap>| {
            if receipt.metadata.creation_timestamp.as_ref().is_some_and(|created| created.0 <= time) {
                found.push((receipt.namespace().unwrap_or_default(), receipt.name_any()));
            }
        };
        paged(ListParams::default().labels(&format!("{LABEL}=receipt")).limit(PAGE), list, each).await?;
        Ok(found)
    }

    /// The receipt of this name, when its run ended so long ago that it does not have to be kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn expired(
        &self,
        namespace: &str,
        name: &str,
        retention: SignedDuration,
        now: Timestamp,
    ) -> Result<Option<ExpiredReceipt>, kube::Error> {
        let found = limited(self.api(namespace).get_opt(name)).await?;
        Ok(found.and_then(|found| expired(&found, retention, now)))
    }

    /// Deletes an expired receipt, if it is still the version that was read.
    ///
    /// # Errors
    /// When it was not deleted, or that is unknown.
    pub async fn delete_expired(&self, namespace: &str, name: &str, expired: &ExpiredReceipt) -> Result<(), kube::Error> {
        let params = delete_only(expired.version.clone(), expired.uid.clone());
        limited(self.api(namespace).delete(name, &params)).await.map(drop)
    }

    fn api(&self, namespace: &str) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// The receipt, where its run ended at least that long ago. The receipt of a run that is still committing is kept, because a
/// later run may continue it, and so is a ConfigMap that cannot be read as a receipt.
fn expired(config_map: &ConfigMap, retention: SignedDuration, now: Timestamp) -> Option<ExpiredReceipt> {
    let RunState::Over { at, .. } = receipt_in(config_map).ok()?.state else { return None };
    let reset = config_map.data.as_ref()?.get(NAME)?.clone();
    let expires = at.saturating_add(retention).unwrap_or(Timestamp::MAX);
    let (uid, version) = (config_map.uid(), config_map.resource_version());
    (expires <= now).then_some(ExpiredReceipt { reset, uid, version })
}

/// A receipt with the name and the UID of its run. It has no owner, and none of the reset's own labels and annotations: a
/// GitOps tool that tracks objects by those would delete it.
fn named(name: &str, reset: &OffsetReset) -> ConfigMap {
    let mut config_map = ConfigMap::default();
    config_map.metadata.name = Some(name.to_owned());
    config_map.metadata.labels = Some(labels(Some((LABEL, "receipt"))));
    let mut data = BTreeMap::from([(UID.to_owned(), reset.uid().unwrap_or_default()), (NAME.to_owned(), reset.name_any())]);
    data.extend(reset.spec.reason.clone().map(|reason| (REASON.to_owned(), reason)));
    config_map.data = Some(data);
    config_map
}

/// Whether a receipt is of a reset's own run.
fn is_of(receipt: &ConfigMap, reset: &OffsetReset) -> bool {
    receipt.data.as_ref().and_then(|data| data.get(UID)) == reset.metadata.uid.as_ref()
}

/// Whether a key is one of the two files that Kafka's own tool reads, plain or compressed. The plan
/// itself, which is many times larger, only counts while the run may be continued.
fn is_for_repair(name: &str) -> bool {
    [BEFORE, AFTER].contains(&name.strip_suffix(".gz").unwrap_or(name))
}

fn receipt_in(config_map: &ConfigMap) -> Result<Receipt, String> {
    is_ours(&config_map.metadata)?;
    let line =
        |name: &str| config_map.data.as_ref().and_then(|data| data.get(name)).ok_or_else(|| format!("it has no key {name}"));
    let time = |name: &str| line(name)?.parse().map_err(|_| format!("its {name} is not a time"));
    let state = match line(STATE)?.as_str() {
        COMMITTING => RunState::Committing {
            final_plan_time: time(FINAL_PLAN_TIME)?,
            partitions: partitions_in(config_map)?,
            group: match line(GROUP) {
                Ok(text) => Some(serde_json::from_str(text).map_err(|error| format!("its {GROUP} cannot be read: {error}"))?),
                Err(_) => None,
            },
        },
        phase => {
            let phase = [Phase::Succeeded, Phase::Failed, Phase::Cancelled].into_iter().find(|known| known.as_str() == phase);
            let phase = phase.ok_or("its state is unknown")?;
            RunState::Over { phase, at: time(END_TIME)?, message: line(MESSAGE)?.clone() }
        }
    };
    Ok(Receipt { uid: line(UID)?.clone(), state })
}

fn not_a_receipt(name: &str, why: &str) -> String {
    format!("ConfigMap {name} has the name of the receipt, but is not a receipt: {why}")
}

/// Replaces the version that is named, or creates the object when none is; returns the new version.
async fn put(api: &Api<ConfigMap>, name: &str, config_map: &ConfigMap) -> Result<String, kube::Error> {
    let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) };
    let written = if config_map.metadata.resource_version.is_some() {
        limited(api.replace(name, &params, config_map)).await?
    } else {
        limited(api.create(&params, config_map)).await?
    };
    Ok(written.resource_version().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config_map(data: &Value) -> ConfigMap {
        let labels = json!({"app.kubernetes.io/managed-by": "offset-reset-operator"});
        serde_json::from_value(json!({ "metadata": { "labels": labels }, "data": data })).unwrap()
    }

    #[test]
    fn a_receipt_records_how_far_the_run_came() {
        let committing = json!({"uid": "u", "name": "n", "state": "Committing", "finalPlanTime": "2026-11-24T00:00:00Z", "partitions.json": "[]"});
        let read = receipt_in(&config_map(&committing)).unwrap();
        assert!(matches!(read.state, RunState::Committing { ref partitions, .. } if partitions.is_empty()), "{read:?}");
        let over = json!({"uid": "u", "name": "n", "state": "Cancelled", "endTime": "2026-11-24T00:00:00Z", "message": "m"});
        let read = receipt_in(&config_map(&over)).unwrap();
        assert!(matches!(read.state, RunState::Over { phase: Phase::Cancelled, .. }), "{read:?}");
    }

    #[rstest::rstest]
    #[case::before("2026-11-24T00:00:59Z", json!({}), false)]
    #[case::in_time("2026-11-24T00:01:00Z", json!({}), true)]
    #[case::years_later("2036-11-24T00:01:00Z", json!({}), true)]
    #[case::of_a_run_that_failed("2036-11-24T00:01:00Z", json!({"state": "Failed"}), true)]
    #[case::of_a_run_that_may_be_continued(
        "2036-11-24T00:01:00Z",
        json!({"state": "Committing", "finalPlanTime": "2026-11-24T00:00:00Z", "partitions.json": "[]"}),
        false
    )]
    #[case::of_a_later_version("2036-11-24T00:01:00Z", json!({"state": "Verified"}), false)]
    #[case::without_the_name_of_its_reset("2036-11-24T00:01:00Z", json!({"name": null}), false)]
    fn a_receipt_expires_a_while_after_the_end_of_its_run(#[case] now: &str, #[case] change: Value, #[case] is_expired: bool) {
        let mut data = json!({"uid": "u", "name": "n", "state": "Succeeded", "endTime": "2026-11-24T00:00:00Z", "message": "m"});
        data.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        data.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let (now, minute) = (now.parse().unwrap(), SignedDuration::from_mins(1));
        let found = expired(&config_map(&data), minute, now);
        assert_eq!(found.map(|found| found.reset), is_expired.then(|| "n".to_owned()));
        assert_eq!(expired(&config_map(&data), SignedDuration::MAX, now), None, "kept for ever");
        let planted: ConfigMap = serde_json::from_value(json!({ "data": data })).unwrap();
        assert_eq!(expired(&planted, minute, now), None, "another user's");
    }

    #[test]
    fn an_unreadable_receipt_is_an_error_and_not_missing() {
        for broken in [
            json!({}),
            json!({"uid": "u", "state": "Done", "endTime": "2026-11-24T00:00:00Z", "message": "m"}),
            json!({"uid": "u", "state": "Succeeded", "endTime": "yesterday", "message": "m"}),
            json!({"uid": "u", "state": "Committing", "finalPlanTime": "2026-11-24T00:00:00Z"}),
            json!({"state": "Succeeded", "endTime": "2026-11-24T00:00:00Z", "message": "m"}),
        ] {
            assert!(receipt_in(&config_map(&broken)).is_err(), "{broken}");
        }
        let over = json!({"uid": "u", "name": "n", "state": "Succeeded", "endTime": "2026-11-24T00:00:00Z", "message": "m"});
        let planted: ConfigMap = serde_json::from_value(json!({ "data": over })).unwrap();
        assert!(receipt_in(&planted).unwrap_err().contains("any user may have written it"));
    }
}
