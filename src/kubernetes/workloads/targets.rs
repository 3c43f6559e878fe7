//! The target workloads: their metadata, their pods, and their replicas through the `scale` subresource. The operator never
//! writes a workload itself, except the state of a connector (`connectors`).

use std::net::IpAddr;

use futures::future::join_all;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    autoscaling::{v1::Scale, v2::HorizontalPodAutoscaler},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, ListParams},
    discovery::ApiResource,
};

use super::{
    connectors, hpas,
    kinds::Kinds,
    owners,
    pods::{Matching, Pods, Selectors},
    rollouts::{self, RolloutKind},
    scale::{Scaled, of_workload, params, replicas, replicas_are_unset, wanted},
    selectors,
};
use crate::kubernetes::{
    errors::{describe, is_refusal},
    limit::limited,
    write::{WriteOutcome, classify},
};
use crate::{
    api::TargetRef,
    machine::facts::{Denial, ForeignPod, Rollout, Seen, Unscalable, Workload, WorkloadDetails, state_to_set},
};

/// Reads and scales workloads.
#[derive(Clone)]
pub struct Targets {
    client: Client,
    kinds: Kinds,
    pods: Pods,
}

/// A workload with the API of its kind.
struct WorkloadHandle<'a> {
    api: Api<DynamicObject>,
    resource: ApiResource,
    target: &'a TargetRef,
}

impl WorkloadHandle<'_> {
    fn is_connector(&self) -> bool {
        connectors::are_connectors(&self.resource)
    }
}

impl Targets {
    /// Reads and scales through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { kinds: Kinds::new(client.clone()), pods: Pods::new(client.clone()), client }
    }

    /// Why a target's kind cannot be scaled, if so. `None` even when discovery fails: reading the target fails then too.
    pub async fn unscalable(&self, target: &TargetRef) -> Option<Unscalable> {
        self.kinds.resolve(target).await.ok().and_then(Result::err)
    }

    /// Why the operator must not scale a target for the user who named it, if so: its kind cannot be scaled, or its resource is
    /// not the one on which the user's permission was checked when the reset was created.
    ///
    /// # Errors
    /// When discovery fails; the message says why.
    pub async fn not_scalable_for_user(&self, target: &TargetRef) -> Result<Option<Unscalable>, String> {
        Ok(match self.kinds.resolve(target).await.map_err(|error| describe(&error))? {
            Err(why) => Some(why),
            Ok(found) if found.plural != target.checked_resource() => Some(Unscalable::OtherResource { resource: found.plural }),
            Ok(_) => None,
        })
    }

    /// Reads a workload live, and its pods on request: a restore must not wait for a list of pods.
    pub async fn look(&self, namespace: &str, target: &TargetRef, with_pods: bool) -> Seen<Workload> {
        let handle = match self.handle(namespace, target).await {
            Ok(handle) => handle,
            Err(why) => return Seen::Unknown(why),
        };
        if handle.is_connector() {
            return match limited(handle.api.get(&target.name)).await {
                Ok(object) => connectors::workload(&object).map_or_else(Seen::Unknown, Seen::Known),
                Err(error) => self.not_seen(&handle, &error),
            };
        }
        let (scale, unset) = match limited(handle.api.get_scale(&target.name)).await {
            Ok(scale) => (scale, None),
            Err(kube::Error::Api(status)) if replicas_are_unset(&status) => match self.scale_of_unset(&handle).await {
                Ok(found) => found,
                Err(error) => return self.not_seen(&handle, &error),
            },
            Err(error) => return self.not_seen(&handle, &error),
        };
        self.seen(&handle, namespace, &scale, unset, with_pods).await
    }

    /// Reads a workload of apps/v1 live, with its pods and its rollout, which then is that of the version to which a stop is bound. Such a
    /// workload has all that its scale has, so the scale is not read. `None` for other kinds.
    pub async fn look_with_rollout(&self, namespace: &str, target: &TargetRef) -> Option<Seen<Workload>> {
        let handle = self.handle(namespace, target).await.ok().filter(|handle| rollout_kind(handle) != RolloutKind::Other)?;
        let object = match limited(handle.api.get(&target.name)).await {
            Ok(object) => object,
            Err(error) => return Some(self.not_seen(&handle, &error)),
        };
        let mut seen = self.seen(&handle, namespace, &of_workload(&object)?, None, true).await;
        if let Seen::Known(workload) = &mut seen
            && workload.replicas != 0
        {
            match rollout_of(&handle, &object) {
                Ok(rollout) => workload.details.rollout = rollout,
                Err(why) => return Some(Seen::Unknown(why)),
            }
        }
        Some(seen)
    }

    /// The workload with this scale.
    async fn seen(
        &self,
        handle: &WorkloadHandle<'_>,
        namespace: &str,
        scale: &Scale,
        unset: Option<i32>,
        with_pods: bool,
    ) -> Seen<Workload> {
        let target = handle.target;
        let (Some(uid), Some(resource_version)) = (scale.metadata.uid.clone(), scale.metadata.resource_version.clone()) else {
            return Seen::Unknown("its scale has no uid or resourceVersion".into());
        };
        let seen = |matching: Matching| {
            let counted = scale.status.as_ref().map(|status| status.replicas).filter(|_| !matching.told_by_controllers);
            let details = WorkloadDetails { unset, counted, foreign_pods: matching.foreign, ..WorkloadDetails::default() };
            let (uid, resource_version) = (uid.clone(), resource_version.clone());
            Seen::Known(Workload {
                uid,
                resource_version,
                replicas: replicas(scale),
                state: None,
                refusal: None,
                overridden: None,
                pods: matching.own,
                details,
            })
        };
        if !with_pods {
            return seen(Matching::default());
        }
        let selector = scale.status.as_ref().and_then(|status| status.selector.clone()).unwrap_or_default();
        if selector.is_empty() {
            // An empty selector could mean every pod of the namespace or none.
            return Seen::Unknown(
                "its scale has no selector, so its pods are unknown: the kind's CRD lacks labelSelectorPath, or its controller has not \
                 written the selector into the status yet"
                    .into(),
            );
        }
        let known = rollout_kind(handle) != RolloutKind::Other;
        let mut selectors = Selectors { of_scale: selector, of_all_revisions: None };
        if !known {
            let object = match limited(handle.api.get(&target.name)).await {
                Ok(object) => object,
                Err(error) => return self.not_seen(handle, &error),
            };
            selectors.of_all_revisions = selectors::of_all_revisions(&object.data, &selectors.of_scale);
        }
        match self.pods.matching(namespace, &selectors, &uid, known).await {
            Ok(matching) => seen(matching),
            Err(error) => Seen::Unknown(format!("its pods could not be listed: {}", describe(&error))),
        }
    }

    /// The pods at these addresses that none of the workloads controls. Those that cannot be read are missing: then it is not certain
    /// which workload they belong to.
    pub async fn foreign_pods(&self, namespace: &str, addresses: &[IpAddr], workloads: &[Seen<Workload>]) -> Vec<ForeignPod> {
        let known = workloads.iter().filter_map(|seen| if let Seen::Known(workload) = seen { Some(workload) } else { None });
        let uids: Vec<&str> = known.map(|workload| workload.uid.as_str()).collect();
        let reads = addresses.iter().map(|address| self.pods.foreign_at(namespace, *address, &uids));
        join_all(reads).await.into_iter().filter_map(Result::ok).flatten().collect()
    }

    /// Reads what else a plan depends on: controller, field owners, HorizontalPodAutoscalers, volumes, and whether a stop would
    /// be refused.
    ///
    /// # Errors
    /// When some of it could not be read; the message says why.
    pub async fn examine(&self, namespace: &str, target: &TargetRef, workload: &mut Workload) -> Result<(), String> {
        let handle = self.handle(namespace, target).await?;
        if handle.is_connector() {
            return self.try_stop(&handle, workload).await;
        }
        // The status tells the rollout, and the spec of a StatefulSet what happens to the volumes and in which order its pods
        // are deleted.
        let object = limited(handle.api.get(&target.name)).await;
        let object = object.map_err(|error| format!("it could not be read: {}", describe(&error)))?;
        let value = serde_json::to_value(&object).map_err(|error| format!("it could not be read: {error}"))?;
        workload.details.rollout = rollouts::rollout(rollout_kind(&handle), &value);
        if rollout_kind(&handle) == RolloutKind::StatefulSet {
            let set = serde_json::from_value(value).map_err(|error| format!("it could not be read: {error}"))?;
            workload.details.deletes_volumes = deletes_volumes(&set);
            workload.details.min_ready_seconds = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
            workload.details.ordered = is_ordered(&set);
        }
        let metadata = object.metadata;
        workload.details.controller = owners::controller(&metadata);
        workload.details.scalers = owners::scalers(&metadata);
        if let Err(error) = self.read_hpas(namespace, &handle, workload).await {
            // Only warnings depend on them, so a missing permission must not refuse the plan; a lost answer is retried.
            let what = format!("its HorizontalPodAutoscalers could not be listed: {}", describe(&error));
            if !is_refusal(&error) {
                return Err(what);
            }
            workload.details.unseen = Some(what);
        }
        self.try_stop(&handle, workload).await
    }

    /// Reads the rollout in the version of the workload to which its stop is bound, and returns whether it still has that
    /// version.
    ///
    /// # Errors
    /// When it could not be read; the message says why.
    pub async fn read_rollout(&self, namespace: &str, target: &TargetRef, workload: &mut Workload) -> Result<bool, String> {
        let handle = self.handle(namespace, target).await?;
        // A connector was read as a whole.
        if handle.is_connector() {
            return Ok(true);
        }
        let object = limited(handle.api.get(&target.name)).await;
        let object = object.map_err(|error| format!("it could not be read: {}", describe(&error)))?;
        if object.metadata.resource_version.as_ref() != Some(&workload.resource_version) {
            return Ok(false);
        }
        workload.details.rollout = rollout_of(&handle, &object)?;
        Ok(true)
    }

    /// Reads the order in which a StatefulSet's pods are deleted, where that may keep some of them: for messages only.
    pub async fn read_order(&self, namespace: &str, target: &TargetRef, workload: &mut Workload) {
        let unready = workload.pods.iter().filter(|pod| !pod.terminated && !pod.ready && pod.deletion.is_none()).count();
        let Ok(handle) = self.handle(namespace, target).await else { return };
        if unready < 2 || rollout_kind(&handle) != RolloutKind::StatefulSet {
            return;
        }
        let api = Api::<StatefulSet>::namespaced(self.client.clone(), namespace);
        if let Ok(set) = limited(api.get(&target.name)).await {
            workload.details.ordered = is_ordered(&set);
        }
    }

    /// Reads which field managers and HorizontalPodAutoscalers may have scaled a workload up.
    pub async fn read_scalers(&self, namespace: &str, target: &TargetRef, workload: &mut Workload) {
        let look = async {
            let handle = self.handle(namespace, target).await?;
            if handle.is_connector() {
                return Ok(());
            }
            let found = limited(handle.api.get_metadata(&target.name)).await.map_err(|error| describe(&error))?;
            workload.details.scalers = owners::scalers(&found.metadata);
            self.read_hpas(namespace, &handle, workload).await.map_err(|error| describe(&error))
        };
        if let Err(why) = look.await {
            workload.details.unseen = Some(format!("what else scales it could not be read: {why}"));
        }
    }

    async fn read_hpas(&self, namespace: &str, handle: &WorkloadHandle<'_>, workload: &mut Workload) -> Result<(), kube::Error> {
        let api = Api::<HorizontalPodAutoscaler>::namespaced(self.client.clone(), namespace);
        let list = limited(api.list(&ListParams::default())).await?;
        let resource = &handle.resource;
        workload.details.autoscalers =
            list.iter().filter(|found| hpas::scales(found, resource, &handle.target.name)).map(hpas::hpa).collect();
        Ok(())
    }

    /// Tries to scale to zero by a dry run, which includes admission.
    ///
    /// # Errors
    /// When the API server did not decide (no answer, or an internal error). That is not a refusal.
    async fn try_stop(&self, handle: &WorkloadHandle<'_>, workload: &mut Workload) -> Result<(), String> {
        match replace(handle, &workload.resource_version, 0, None, true).await {
            // A conflict proves the permission to scale as a success does: the API server checks it after the permission.
            Ok(WriteOutcome::Done(Scaled { replicas: 0, .. }) | WriteOutcome::Stale) => {}
            Ok(WriteOutcome::Done(stored)) => workload.overridden = Some(stored.replicas),
            Ok(WriteOutcome::NotAllowed(why)) => workload.refusal = Some(Denial::NotAllowed(why)),
            Ok(WriteOutcome::Refused(why)) => workload.refusal = Some(Denial::Refused(why)),
            Err(error) => return Err(format!("the dry run of scaling it failed: {}", describe(&error))),
        }
        Ok(())
    }

    /// Sets the replicas, or the `state` of a connector that is not to be stopped, if the workload is still at `resource_version`, and
    /// returns what the API server stored.
    ///
    /// # Errors
    /// When it is unknown whether it was scaled (no answer, or an internal error of the API server): read it again.
    pub async fn scale(
        &self,
        namespace: &str,
        target: &TargetRef,
        resource_version: &str,
        replicas: i32,
        state: Option<&str>,
    ) -> Result<WriteOutcome<Scaled>, kube::Error> {
        match self.kinds.resolve_under_any_version(target).await? {
            Ok(resource) => replace(&self.at(namespace, target, resource), resource_version, replicas, state, false).await,
            // Nothing was written; the next read returns the reason.
            Err(_) => Ok(WriteOutcome::Stale),
        }
    }

    /// The scale of a custom resource whose replicas field is unset. The API server answers a read of it with an error, but
    /// answers an update: a dry run returns the selector and the replicas in the status.
    ///
    /// Returned with those replicas, or with `None` when another client has set the field since. The second read of the scale,
    /// between the two requests that are bound to one version, proves that the field was unset in the returned version.
    async fn scale_of_unset(&self, handle: &WorkloadHandle<'_>) -> Result<(Scale, Option<i32>), kube::Error> {
        let name = &handle.target.name;
        let found = limited(handle.api.get_metadata(name)).await?;
        match limited(handle.api.get_scale(name)).await {
            Ok(scale) => return Ok((scale, None)),
            Err(kube::Error::Api(status)) if replicas_are_unset(&status) => {}
            Err(error) => return Err(error),
        }
        let version = found.resource_version().unwrap_or_default();
        let mut scale = limited(handle.api.replace_scale(name, &params(true), &wanted(handle.target, &version, 1))).await?;
        scale.metadata = found.metadata;
        let reported = scale.status.as_ref().map_or(0, |status| status.replicas);
        Ok((scale, Some(reported)))
    }

    /// Not found is an answer about the target only when it names the target. Otherwise its kind is not served, and it is unknown
    /// whether the target exists.
    fn not_seen(&self, handle: &WorkloadHandle<'_>, error: &kube::Error) -> Seen<Workload> {
        let kube::Error::Api(status) = error else { return Seen::Unknown(describe(error)) };
        if status.code == 404 {
            if status.details.as_ref().is_some_and(|details| details.name == handle.target.name) {
                return Seen::Missing;
            }
            self.kinds.forget(&handle.resource);
        }
        if status.is_forbidden() {
            if handle.is_connector() {
                return Seen::Unknown(format!(
                    "{}. The operator needs get and patch on kafkaconnectors of API group kafka.strimzi.io: grant these with \
                     `kubectl apply -k deploy/strimzi`",
                    describe(error)
                ));
            }
            let (group, plural) = (&handle.resource.group, &handle.resource.plural);
            return Seen::Unknown(format!(
                "{}. The operator needs get on {plural}, and get and update on {plural}/scale, of API group \"{group}\": grant \
                 these with a ClusterRole that has the label offsetreset.dev/aggregate-to-operator: \"true\"",
                describe(error)
            ));
        }
        Seen::Unknown(describe(error))
    }

    async fn handle<'a>(&self, namespace: &str, target: &'a TargetRef) -> Result<WorkloadHandle<'a>, String> {
        match self.kinds.resolve_under_any_version(target).await {
            Ok(Ok(resource)) => Ok(self.at(namespace, target, resource)),
            Ok(Err(why)) => Err(why.to_string()),
            Err(error) => Err(format!("discovery of its kind failed: {}", describe(&error))),
        }
    }

    fn at<'a>(&self, namespace: &str, target: &'a TargetRef, resource: ApiResource) -> WorkloadHandle<'a> {
        WorkloadHandle { api: Api::namespaced_with(self.client.clone(), namespace, &resource), resource, target }
    }
}

/// Sets the replicas, and returns the count that the API server stored: another one where an admission policy or a webhook
/// changed it.
async fn replace(
    handle: &WorkloadHandle<'_>,
    version: &str,
    count: i32,
    state: Option<&str>,
    dry_run: bool,
) -> Result<WriteOutcome<Scaled>, kube::Error> {
    if handle.is_connector() {
        return connectors::set_state(&handle.api, &handle.target.name, version, state_to_set(count, state), dry_run).await;
    }
    let scale = wanted(handle.target, version, count);
    let answer = limited(handle.api.replace_scale(&handle.target.name, &params(dry_run), &scale)).await;
    classify(answer.map(|stored| Scaled { replicas: replicas(&stored), version: stored.metadata.resource_version }))
}

fn rollout_kind(handle: &WorkloadHandle<'_>) -> RolloutKind {
    match (handle.resource.group.as_str(), handle.resource.kind.as_str()) {
        ("apps", "Deployment") => RolloutKind::Deployment,
        ("apps", "StatefulSet") => RolloutKind::StatefulSet,
        ("apps", "ReplicaSet") => RolloutKind::ReplicaSet,
        _ => RolloutKind::Other,
    }
}

fn rollout_of(handle: &WorkloadHandle<'_>, object: &DynamicObject) -> Result<Rollout, String> {
    let value = serde_json::to_value(object).map_err(|error| format!("it could not be read: {error}"))?;
    Ok(rollouts::rollout(rollout_kind(handle), &value))
}

/// OrderedReady is the default.
fn is_ordered(set: &StatefulSet) -> bool {
    set.spec.as_ref().is_some_and(|spec| spec.pod_management_policy.as_deref().unwrap_or("OrderedReady") == "OrderedReady")
}

fn deletes_volumes(set: &StatefulSet) -> bool {
    let spec = set.spec.as_ref();
    let claims = spec.and_then(|spec| spec.volume_claim_templates.as_ref()).is_some_and(|claims| !claims.is_empty());
    let policy = spec.and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
    claims && policy.and_then(|policy| policy.when_scaled.as_deref()) == Some("Delete")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case::deleted_when_scaled(json!({"whenScaled": "Delete", "whenDeleted": "Retain"}), true, true)]
    #[case::no_volumes_to_lose(json!({"whenScaled": "Delete"}), false, false)]
    #[case::deleted_with_the_set(json!({"whenScaled": "Retain", "whenDeleted": "Delete"}), true, false)]
    #[case::the_default(Value::Null, true, false)]
    fn volumes_are_deleted_when_the_policy_says_so(#[case] policy: Value, #[case] claims: bool, #[case] expected: bool) {
        let mut set = json!({"metadata": {}, "spec": {
            "serviceName": "s", "selector": {}, "template": {},
            "volumeClaimTemplates": if claims { json!([{"metadata": {"name": "data"}}]) } else { json!([]) },
        }});
        if !policy.is_null() {
            set["spec"]["persistentVolumeClaimRetentionPolicy"] = policy;
        }
        assert_eq!(deletes_volumes(&serde_json::from_value(set).unwrap()), expected);
    }
}
