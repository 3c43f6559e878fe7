//! The Leases that record which resets hold a workload at zero, and the replicas to restore: one Lease for each held workload,
//! in its namespace. The workload owns it, so it is deleted with the workload; no `OffsetReset` owns it, so it outlives them.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference},
};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, PostParams},
    runtime::reflector::ObjectRef,
};
use serde::{Deserialize, Serialize};

use crate::kubernetes::{
    errors::describe,
    limit::limited,
    objects::{is_ours, labels},
    watched::Watched,
    write::{WriteOutcome, classify, delete_only},
};
use crate::{
    api::{FIELD_MANAGER, LEASE_LABEL, TargetRef},
    machine::facts::{Claim, Hold, STOPPED, Seen},
};

/// The annotation with the replicas to restore.
const REPLICAS: &str = "offsetreset.dev/replicas";

/// The annotation with the replicas of a canary; absent without one.
const CANARY: &str = "offsetreset.dev/canary-replicas";

/// The annotation with the state to restore, in the Lease of a connector, in place of the replicas.
const STATE: &str = "offsetreset.dev/state";

/// The annotation with the claims, as JSON.
const CLAIMS: &str = "offsetreset.dev/claims";

/// Reads and writes these Leases.
#[derive(Clone)]
pub struct Claims {
    client: Client,
    /// The watches of these Leases.
    pub watches: Watched<Lease>,
}

/// A claim as it stands in the annotation.
#[derive(Serialize, Deserialize)]
struct ClaimEntry {
    uid: String,
    name: String,
    key: String,
}

/// The name of the Lease of a workload.
#[must_use]
pub fn lease_name(workload_uid: &str) -> String {
    format!("offset-reset-{workload_uid}")
}

/// Whether a Lease may have a claim of the reset with this UID, even where it cannot be read otherwise.
#[must_use]
pub fn may_be_claimed_by(lease: &Lease, uid: &str) -> bool {
    lease.annotations().get(CLAIMS).is_some_and(|claims| claims.contains(uid))
}

/// The workload and the hold that a Lease records.
///
/// # Errors
/// When the Lease is not the operator's, or was edited so that it cannot be read; the message says what is wrong.
pub fn hold_in(lease: &Lease) -> Result<(TargetRef, Hold), String> {
    is_ours(&lease.metadata)?;
    let owner = lease.owner_references().first().ok_or("it has no owner, which would be the workload")?;
    let annotation = |name: &str| lease.annotations().get(name).ok_or_else(|| format!("it has no annotation {name}"));
    let workload = TargetRef::new(&owner.api_version, &owner.kind, &owner.name);
    let (replicas, state) = if workload.is_connector() {
        let state = annotation(STATE)?;
        if state == STOPPED {
            return Err(format!("its annotation {STATE} is {state}, but a connector that was stopped is never held"));
        }
        (1, Some(state.clone()))
    } else {
        (annotation(REPLICAS)?.parse().map_err(|_| format!("its annotation {REPLICAS} is not a number"))?, None)
    };
    if replicas < 1 {
        return Err(format!("its annotation {REPLICAS} is {replicas}, but a workload without replicas is never held"));
    }
    let canary: Option<i32> = match lease.annotations().get(CANARY).map(|count| count.parse()) {
        None => None,
        Some(Ok(count @ 1..)) => Some(count),
        Some(Ok(_) | Err(_)) => return Err(format!("its annotation {CANARY} is not a number from 1")),
    };
    let claims: Vec<ClaimEntry> =
        serde_json::from_str(annotation(CLAIMS)?).map_err(|error| format!("its annotation {CLAIMS} cannot be read: {error}"))?;
    if claims.is_empty() {
        return Err(format!("its annotation {CLAIMS} is empty"));
    }
    if lease.name_any() != lease_name(&owner.uid) {
        return Err(format!("the Lease of that workload would have the name {}", lease_name(&owner.uid)));
    }
    let spec = lease.spec.as_ref().ok_or("it has no spec")?;
    let since = spec.acquire_time.as_ref().ok_or("it has no acquireTime")?.0;
    let seconds = i64::from(spec.lease_duration_seconds.ok_or("it has no leaseDurationSeconds")?);
    let until = since.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
    let hold = Hold {
        version: lease.resource_version().unwrap_or_default(),
        workload: format!("{}/{}", owner.kind, owner.name),
        uid: owner.uid.clone(),
        replicas,
        canary,
        state,
        since,
        until,
        claims: claims.into_iter().map(|ClaimEntry { uid, name, key }| Claim { uid, name, key }).collect(),
    };
    Ok((workload, hold))
}

fn lease_for(workload: &TargetRef, hold: &Hold) -> Lease {
    let mut lease = Lease::default();
    lease.metadata.name = Some(lease_name(&hold.uid));
    lease.metadata.resource_version = Some(hold.version.clone()).filter(|version| !version.is_empty());
    lease.metadata.labels = Some(labels(Some((LEASE_LABEL, "hold"))));
    // Without blockOwnerDeletion, which some clusters allow only to those who may set finalizers on the owner.
    lease.metadata.owner_references = Some(vec![OwnerReference {
        api_version: workload.api_version.clone(),
        kind: workload.kind.clone(),
        name: workload.name.clone(),
        uid: hold.uid.clone(),
        ..OwnerReference::default()
    }]);
    let written: Vec<ClaimEntry> = hold
        .claims
        .iter()
        .map(|claim| ClaimEntry { uid: claim.uid.clone(), name: claim.name.clone(), key: claim.key.clone() })
        .collect();
    let canary = hold.canary.map(|count| (CANARY.to_owned(), count.to_string()));
    let restored = match &hold.state {
        Some(state) => (STATE.to_owned(), state.clone()),
        None => (REPLICAS.to_owned(), hold.replicas.to_string()),
    };
    let always = [restored, (CLAIMS.to_owned(), serde_json::to_string(&written).unwrap_or_default())];
    lease.metadata.annotations = Some(always.into_iter().chain(canary).collect());
    let seconds = hold.until.duration_since(hold.since).as_secs().clamp(1, i32::MAX.into());
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(hold.others("")),
        acquire_time: Some(MicroTime(hold.since)),
        lease_duration_seconds: i32::try_from(seconds).ok(),
        ..LeaseSpec::default()
    });
    lease
}

impl Claims {
    /// Reads and writes through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, watches: Watched::default() }
    }

    /// Which resets hold a workload, as a watch has it; `None` where none has. It may be behind: it tells whether the Lease has to be
    /// read, and nothing is done because of it.
    #[must_use]
    pub fn watched(&self, namespace: &str, workload_uid: &str) -> Option<Hold> {
        let lease = self.watches.covering(namespace)?.get(&ObjectRef::new(&lease_name(workload_uid)).within(namespace))?;
        hold_in(&lease).ok().map(|(_, hold)| hold).filter(|hold| hold.uid == workload_uid)
    }

    /// Whether a watch knows of no Lease of a workload. It may be behind; the API server then refuses to create one.
    #[must_use]
    pub fn is_missing(&self, namespace: &str, workload_uid: &str) -> bool {
        let lease = ObjectRef::new(&lease_name(workload_uid)).within(namespace);
        self.watches.covering(namespace).is_some_and(|store| store.get(&lease).is_none())
    }

    /// Whether a watch has such Leases of a namespace; `None` where none covers it. It may be behind, and see the last one go a moment
    /// later.
    #[must_use]
    pub fn are_watched_in(&self, namespace: &str) -> Option<bool> {
        let is_in = |lease: &Arc<Lease>| lease.metadata.namespace.as_deref() == Some(namespace);
        Some(self.watches.covering(namespace)?.state().iter().any(is_in))
    }

    /// Whether a watch has a Lease that a reset of this name claims. It may be behind, and the reset another one of that name.
    #[must_use]
    pub fn are_of(&self, namespace: &str, reset: &str) -> bool {
        let is_of = |lease: &Arc<Lease>| {
            lease.metadata.namespace.as_deref() == Some(namespace)
                // Cheaper than to parse each of them.
                && lease.annotations().get(CLAIMS).is_some_and(|claims| claims.contains(reset))
                && hold_in(lease).is_ok_and(|(_, hold)| hold.claims.iter().any(|claim| claim.name == reset))
        };
        self.watches.covering(namespace).is_some_and(|store| store.state().iter().any(is_of))
    }

    /// Which resets hold a workload, read live.
    pub async fn look(&self, namespace: &str, workload_uid: &str) -> Seen<Hold> {
        let name = lease_name(workload_uid);
        match limited(self.api(namespace).get_opt(&name)).await {
            Ok(None) => Seen::Missing,
            Ok(Some(lease)) => match hold_in(&lease) {
                Ok((_, hold)) if hold.uid == workload_uid => Seen::Known(hold),
                Ok(_) => Seen::Unknown(format!("Lease {name} belongs to another workload. Delete it")),
                Err(why) => Seen::Unknown(format!("Lease {name} cannot be read: {why}. Repair or delete it")),
            },
            Err(error) => Seen::Unknown(describe(&error)),
        }
    }

    /// The Lease of this name, read live; `None` when it is gone.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn get(&self, namespace: &str, name: &str) -> Result<Option<Lease>, kube::Error> {
        limited(self.api(namespace).get_opt(name)).await
    }

    /// The Leases of all holds of a namespace.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn list(&self, namespace: &str) -> Result<Vec<Lease>, kube::Error> {
        let holds = ListParams::default().labels(&format!("{LEASE_LABEL}=hold"));
        Ok(limited(self.api(namespace).list(&holds)).await?.items)
    }

    /// Writes a hold over the version that was read, or creates its Lease when it has none. Without claims it deletes the Lease.
    ///
    /// # Errors
    /// When it is unknown whether it was written.
    pub async fn write(&self, namespace: &str, workload: &TargetRef, hold: &Hold) -> Result<WriteOutcome<()>, kube::Error> {
        let api = self.api(namespace);
        let name = lease_name(&hold.uid);
        let written = if hold.claims.is_empty() {
            let params = delete_only(Some(hold.version.clone()), None);
            limited(api.delete(&name, &params)).await.map(drop)
        } else {
            let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) };
            let lease = lease_for(workload, hold);
            if hold.version.is_empty() {
                limited(api.create(&params, &lease)).await.map(drop)
            } else {
                limited(api.replace(&name, &params, &lease)).await.map(drop)
            }
        };
        classify(written)
    }

    fn api(&self, namespace: &str) -> Api<Lease> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    #[test]
    fn a_hold_is_read_as_it_was_written() {
        let since = Timestamp::from_second(1_800_000_000).unwrap();
        let until = Timestamp::from_second(1_800_000_600).unwrap();
        let claim = |n: u8| Claim { uid: format!("u{n}"), name: format!("replay-{n}"), key: "k".into() };
        let hold = Hold {
            version: "7".into(),
            workload: "StatefulSet/consumer".into(),
            uid: "w-1".into(),
            replicas: 3,
            canary: None,
            state: None,
            since,
            until,
            claims: vec![claim(1), claim(2)],
        };
        let workload = TargetRef::new("apps/v1", "StatefulSet", "consumer");
        let lease = lease_for(&workload, &hold);
        assert_eq!(hold_in(&lease).unwrap(), (workload.clone(), hold.clone()));
        assert_eq!(lease.spec.clone().unwrap().holder_identity.as_deref(), Some("replay-1, replay-2"));

        assert!(!lease.annotations().contains_key(CANARY), "a hold without a canary is written as it always was");
        let with_canary = Hold { canary: Some(1), ..hold.clone() };
        assert_eq!(hold_in(&lease_for(&workload, &with_canary)).unwrap().1, with_canary);
        let connector = TargetRef::new("kafka.strimzi.io/v1", "KafkaConnector", "s3-sink");
        let paused =
            Hold { workload: "KafkaConnector/s3-sink".into(), replicas: 1, state: Some("paused".into()), ..hold.clone() };
        let mut of_connector = lease_for(&connector, &paused);
        assert_eq!(hold_in(&of_connector).unwrap(), (connector, paused));
        of_connector.annotations_mut().insert(STATE.into(), "stopped".into());
        assert!(hold_in(&of_connector).unwrap_err().contains("is stopped"), "it was never stopped by the operator");
        of_connector.annotations_mut().remove(STATE);
        assert_eq!(hold_in(&of_connector).unwrap_err(), "it has no annotation offsetreset.dev/state");

        let mut broken = lease.clone();
        broken.annotations_mut().insert(REPLICAS.into(), "three".into());
        assert_eq!(hold_in(&broken).unwrap_err(), "its annotation offsetreset.dev/replicas is not a number");
        broken.annotations_mut().insert(REPLICAS.into(), "0".into());
        assert!(hold_in(&broken).unwrap_err().contains("is 0"), "zero replicas are never saved");
        broken.annotations_mut().insert(REPLICAS.into(), "3".into());
        for count in ["0", "-1", "one"] {
            broken.annotations_mut().insert(CANARY.into(), count.into());
            assert_eq!(hold_in(&broken).unwrap_err(), "its annotation offsetreset.dev/canary-replicas is not a number from 1");
        }
        let renamed = Lease { metadata: ObjectMeta { name: Some("other".into()), ..lease.metadata.clone() }, ..lease.clone() };
        assert_eq!(hold_in(&renamed).unwrap_err(), "the Lease of that workload would have the name offset-reset-w-1");
        let without_claims = lease_for(&workload, &Hold { claims: vec![], ..hold.clone() });
        assert!(hold_in(&without_claims).unwrap_err().contains("is empty"));
        let foreign = Lease { metadata: ObjectMeta { labels: None, ..lease.metadata.clone() }, ..lease.clone() };
        assert!(hold_in(&foreign).unwrap_err().contains("any user may have written it"), "the operator does not act on it");
        broken.metadata.owner_references = None;
        assert_eq!(hold_in(&broken).unwrap_err(), "it has no owner, which would be the workload");
    }
}
