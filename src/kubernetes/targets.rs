//! The workloads: their replicas through the `scale` subresource, never the workload itself, their metadata, and their pods.

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    autoscaling::{
        v1::{Scale, ScaleSpec},
        v2::HorizontalPodAutoscaler,
    },
};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, ListParams, PostParams},
    core::response::Status,
    discovery::ApiResource,
};

use super::{
    kinds::Kinds,
    limit::limited,
    owners,
    pods::{Matching, Pods},
    rollouts::{self, Teller},
    words,
};
use crate::{
    api::{FIELD_MANAGER, TargetRef},
    machine::facts::{Hpa, Seen, Unscalable, Workload, WorkloadDetails},
};

/// Reads and scales workloads.
#[derive(Clone)]
pub struct Targets {
    client: Client,
    kinds: Kinds,
    pods: Pods,
}

/// How scaling ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scaled {
    /// The API server accepted it, and stored this count: another one than was asked for where an admission policy or webhook has
    /// changed it.
    Accepted(i32),
    /// The workload has changed since it was read, or is gone. Nothing was done.
    Stale,
    /// The API server refuses it, and will again; its words.
    Refused(String),
}

/// A workload's place in the API.
struct Place<'a> {
    api: Api<DynamicObject>,
    resource: ApiResource,
    target: &'a TargetRef,
}

impl Targets {
    /// With a client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { kinds: Kinds::new(client.clone()), pods: Pods::new(client.clone()), client }
    }

    /// Whether a target's kind can be scaled at all; `None` also when that cannot be found out, which looking at it shows as well.
    pub async fn unscalable(&self, target: &TargetRef) -> Option<Unscalable> {
        self.kinds.resolve(target).await.ok().and_then(Result::err)
    }

    /// Whether a target that a user names must not be scaled for them, whatever it is: its kind cannot be scaled, or its resource is not the
    /// one for which their rights were checked when they created the reset.
    ///
    /// # Errors
    /// When that could not be found out, in words.
    pub async fn barred(&self, target: &TargetRef) -> Result<Option<Unscalable>, String> {
        Ok(match self.kinds.resolve(target).await.map_err(|error| words(&error))? {
            Err(why) => Some(why),
            Ok(found) if found.plural != target.checked_resource() => Some(Unscalable::OtherResource { resource: found.plural }),
            Ok(_) => None,
        })
    }

    /// Looks at a workload, live, and at its pods when they are wanted: what brings consumers back must not wait for a list of pods.
    pub async fn look(&self, namespace: &str, target: &TargetRef, with_pods: bool) -> Seen<Workload> {
        let place = match self.place(namespace, target).await {
            Ok(place) => place,
            Err(why) => return Seen::Unknown(why),
        };
        let (scale, unset) = match limited(place.api.get_scale(&target.name)).await {
            Ok(scale) => (scale, None),
            Err(kube::Error::Api(status)) if replicas_are_unset(&status) => match self.scale_of_unset(&place).await {
                Ok(found) => found,
                Err(error) => return self.not_seen(&place, &error),
            },
            Err(error) => return self.not_seen(&place, &error),
        };
        let (Some(uid), Some(resource_version)) = (scale.metadata.uid.clone(), scale.metadata.resource_version.clone()) else {
            return Seen::Unknown("its scale has no uid or resourceVersion".into());
        };
        let seen = |matching: Matching| {
            // Of other kinds the chain of controllers need not tell.
            let counted = scale.status.as_ref().map(|status| status.replicas).filter(|_| teller(&place) == Teller::Other);
            let details = WorkloadDetails { unset, counted, foreign_pods: matching.foreign, ..WorkloadDetails::default() };
            let (uid, resource_version) = (uid.clone(), resource_version.clone());
            Seen::Known(Workload {
                uid,
                resource_version,
                replicas: replicas(&scale),
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
            // An empty selector would mean every pod of the namespace, or none: either is a guess.
            return Seen::Unknown(
                "its scale names no selector, so its pods cannot be told: labelSelectorPath is missing in the kind's definition, or \
                 its controller has not written the selector into the status yet"
                    .into(),
            );
        }
        let known = teller(&place) != Teller::Other;
        match self.pods.matching(namespace, &selector, &uid, known).await {
            Ok(matching) => seen(matching),
            Err(error) => Seen::Unknown(format!("its pods could not be listed: {}", words(&error))),
        }
    }

    /// Looks at everything else that a plan depends on.
    ///
    /// # Errors
    /// When something of it could not be seen; in words.
    pub async fn examine(&self, namespace: &str, target: &TargetRef, workload: &mut Workload) -> Result<(), String> {
        let place = self.place(namespace, target).await?;
        // The rollout stands in the status, and what becomes of the volumes of a StatefulSet in its spec.
        let object =
            limited(place.api.get(&target.name)).await.map_err(|error| format!("it could not be read: {}", words(&error)))?;
        let value = serde_json::to_value(&object).map_err(|error| format!("it could not be read: {error}"))?;
        workload.details.rollout = rollouts::rollout(teller(&place), &value);
        if teller(&place) == Teller::StatefulSet {
            let set = serde_json::from_value(value).map_err(|error| format!("it could not be read: {error}"))?;
            workload.details.deletes_volumes = deletes_volumes(&set);
            workload.details.ordered = is_ordered(&set);
        }
        let metadata = object.metadata;
        workload.details.controller = owners::controller(&metadata);
        workload.details.scalers = owners::scalers(&metadata);
        if let Err(error) = self.look_at_autoscalers(namespace, &place, workload).await {
            // Nothing but warnings depends on them, so that a missing right is no reason to refuse; a lost answer is asked for again.
            let what = format!("whether a HorizontalPodAutoscaler scales it could not be looked at: {}", words(&error));
            match &error {
                kube::Error::Api(status) if (400..429).contains(&status.code) => workload.details.unseen = Some(what),
                _ => return Err(what),
            }
        }
        self.try_stop(&place, workload).await
    }

    /// Looks at the order in which a StatefulSet's pods are deleted, where that may keep them: for messages only.
    pub async fn look_at_order(&self, namespace: &str, target: &TargetRef, workload: &mut Workload) {
        let waits = workload.pods.iter().filter(|pod| !pod.ended && !pod.ready && pod.deletion.is_none()).count() > 1;
        let Ok(place) = self.place(namespace, target).await else { return };
        if !waits || teller(&place) != Teller::StatefulSet {
            return;
        }
        let api = Api::<StatefulSet>::namespaced(self.client.clone(), namespace);
        if let Ok(set) = limited(api.get(&target.name)).await {
            workload.details.ordered = is_ordered(&set);
        }
    }

    /// Looks at who has scaled a workload up, or may have.
    pub async fn look_at_scalers(&self, namespace: &str, target: &TargetRef, workload: &mut Workload) {
        let look = async {
            let place = self.place(namespace, target).await?;
            let found = limited(place.api.get_metadata(&target.name)).await.map_err(|error| words(&error))?;
            workload.details.scalers = owners::scalers(&found.metadata);
            self.look_at_autoscalers(namespace, &place, workload).await.map_err(|error| words(&error))
        };
        if let Err(why) = look.await {
            workload.details.unseen = Some(format!("who scales it could not be looked at: {why}"));
        }
    }

    async fn look_at_autoscalers(&self, namespace: &str, place: &Place<'_>, workload: &mut Workload) -> Result<(), kube::Error> {
        let api = Api::<HorizontalPodAutoscaler>::namespaced(self.client.clone(), namespace);
        let list = limited(api.list(&ListParams::default())).await?;
        workload.details.autoscalers = list.iter().filter(|found| scales(found, place)).map(autoscaler).collect();
        Ok(())
    }

    /// Tries to scale to zero by a dry run through the whole API server, admission included.
    ///
    /// # Errors
    /// In words, when nobody can tell: no answer, or the API server is in trouble. That is no refusal.
    async fn try_stop(&self, place: &Place<'_>, workload: &mut Workload) -> Result<(), String> {
        match replace(place, &workload.resource_version, 0, true).await {
            // A conflict proves the right to scale as well as a success does: it is checked after the right.
            Ok(Scaled::Accepted(0) | Scaled::Stale) => {}
            Ok(Scaled::Accepted(count)) => workload.overridden = Some(count),
            Ok(Scaled::Refused(why)) => workload.refusal = Some(why),
            Err(error) => return Err(format!("whether it can be scaled could not be tried: {}", words(&error))),
        }
        Ok(())
    }

    /// Sets the replicas, if the workload is still at `resource_version`.
    ///
    /// # Errors
    /// When nobody can tell whether it was done: no answer, or the API server is in trouble. Look again.
    pub async fn scale(
        &self,
        namespace: &str,
        target: &TargetRef,
        resource_version: &str,
        replicas: i32,
    ) -> Result<Scaled, kube::Error> {
        match self.kinds.resolve_under_any_version(target).await? {
            Ok(resource) => replace(&self.at(namespace, target, resource), resource_version, replicas, false).await,
            // Nothing was done; the next look says what the matter is.
            Err(_) => Ok(Scaled::Stale),
        }
    }

    /// A custom resource whose field for the replicas is unset has no scale to be read (the API server answers with an error of its
    /// own), but it answers to an update: one that is not stored shows the selector, and what it says that it has.
    ///
    /// Returned with the replicas that it says it has, or with none when somebody has set the field just now. That it was unset in the
    /// very version that is returned is sure only because it was asked for between the two requests that are about that version: a count
    /// that is set meanwhile must not be taken for one.
    async fn scale_of_unset(&self, place: &Place<'_>) -> Result<(Scale, Option<i32>), kube::Error> {
        let name = &place.target.name;
        let found = limited(place.api.get_metadata(name)).await?;
        match limited(place.api.get_scale(name)).await {
            Ok(scale) => return Ok((scale, None)),
            Err(kube::Error::Api(status)) if replicas_are_unset(&status) => {}
            Err(error) => return Err(error),
        }
        let version = found.resource_version().unwrap_or_default();
        let mut scale = limited(place.api.replace_scale(name, &params(true), &wanted(place.target, &version, 1))).await?;
        scale.metadata = found.metadata;
        let reported = scale.status.as_ref().map_or(0, |status| status.replicas);
        Ok((scale, Some(reported)))
    }

    /// A target that is not there is told from a kind that is not there: of that one nobody knows whether it exists.
    fn not_seen(&self, place: &Place<'_>, error: &kube::Error) -> Seen<Workload> {
        let kube::Error::Api(status) = error else { return Seen::Unknown(words(error)) };
        if status.code == 404 {
            if status.details.as_ref().is_some_and(|details| details.name == place.target.name) {
                return Seen::Missing;
            }
            self.kinds.forget(&place.resource);
        }
        if status.is_forbidden() {
            let (group, plural) = (&place.resource.group, &place.resource.plural);
            return Seen::Unknown(format!(
                "{}. The operator needs get on {plural}, and get and update on {plural}/scale, of API group \"{group}\": give it \
                 these with a ClusterRole that has the label offsetreset.dev/aggregate-to-operator: \"true\"",
                words(error)
            ));
        }
        Seen::Unknown(words(error))
    }

    async fn place<'a>(&self, namespace: &str, target: &'a TargetRef) -> Result<Place<'a>, String> {
        match self.kinds.resolve_under_any_version(target).await {
            Ok(Ok(resource)) => Ok(self.at(namespace, target, resource)),
            Ok(Err(why)) => Err(why.to_string()),
            Err(error) => Err(format!("its kind could not be looked up: {}", words(&error))),
        }
    }

    fn at<'a>(&self, namespace: &str, target: &'a TargetRef, resource: ApiResource) -> Place<'a> {
        Place { api: Api::namespaced_with(self.client.clone(), namespace, &resource), resource, target }
    }
}

async fn replace(place: &Place<'_>, version: &str, replicas: i32, dry_run: bool) -> Result<Scaled, kube::Error> {
    let scale = wanted(place.target, version, replicas);
    match limited(place.api.replace_scale(&place.target.name, &params(dry_run), &scale)).await {
        Ok(answered) => Ok(Scaled::Accepted(self::replicas(&answered))),
        // Not found is also the answer for a kind that is not served (any more).
        Err(kube::Error::Api(status)) if status.is_conflict() || status.code == 404 => Ok(Scaled::Stale),
        Err(kube::Error::Api(status)) if (400..429).contains(&status.code) => {
            Ok(Scaled::Refused(words(&kube::Error::Api(status))))
        }
        Err(error) => Err(error),
    }
}

fn params(dry_run: bool) -> PostParams {
    PostParams { dry_run, field_manager: Some(FIELD_MANAGER.into()) }
}

fn wanted(target: &TargetRef, version: &str, replicas: i32) -> Scale {
    let mut scale = Scale { spec: Some(ScaleSpec { replicas: Some(replicas) }), ..Scale::default() };
    scale.metadata.name = Some(target.name.clone());
    scale.metadata.resource_version = Some(version.to_owned());
    scale
}

/// Zero is left out on the wire.
fn replicas(scale: &Scale) -> i32 {
    scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0)
}

/// The API server's answer for a custom resource whose field for the replicas does not exist. Whatever else may be behind an
/// internal error, the operator does not guess.
fn replicas_are_unset(status: &Status) -> bool {
    status.code == 500 && status.message.contains("the spec replicas field") && status.message.contains("does not exist")
}

fn teller(place: &Place<'_>) -> Teller {
    match (place.resource.group.as_str(), place.resource.kind.as_str()) {
        ("apps", "Deployment") => Teller::Deployment,
        ("apps", "StatefulSet") => Teller::StatefulSet,
        ("apps", "ReplicaSet") => Teller::ReplicaSet,
        _ => Teller::Other,
    }
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

fn scales(found: &HorizontalPodAutoscaler, place: &Place<'_>) -> bool {
    let Some(spec) = &found.spec else { return false };
    let of = &spec.scale_target_ref;
    let group = of.api_version.as_deref().unwrap_or_default().split_once('/').map_or("", |(group, _)| group);
    (group, &of.kind, &of.name) == (place.resource.group.as_str(), &place.resource.kind, &place.target.name)
}

fn autoscaler(found: &HorizontalPodAutoscaler) -> Hpa {
    let conditions = found.status.iter().flat_map(|status| status.conditions.iter().flatten());
    Hpa {
        name: found.name_any(),
        min_replicas: found.spec.as_ref().and_then(|spec| spec.min_replicas).unwrap_or(1),
        scaled_to_zero: conditions.into_iter().any(|condition| condition.type_ == "ScaledToZero" && condition.status == "True"),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case::zero_is_left_out(json!({"spec": {}}), 0)]
    #[case::no_spec(json!({}), 0)]
    #[case::three(json!({"spec": {"replicas": 3}}), 3)]
    fn a_scale_without_replicas_has_zero(#[case] scale: Value, #[case] expected: i32) {
        assert_eq!(replicas(&serde_json::from_value(scale).unwrap()), expected);
    }

    #[rstest]
    #[case::unset(500, "Internal error occurred: the spec replicas field \".spec.replicas\" does not exist", true)]
    #[case::any_other_trouble(500, "Internal error occurred: etcdserver: request timed out", false)]
    #[case::not_there(404, "workers.example.com \"w\" not found", false)]
    fn only_the_api_servers_own_words_say_that_replicas_are_unset(
        #[case] code: u16,
        #[case] message: &str,
        #[case] expected: bool,
    ) {
        let status = Status::failure(message, "InternalError").with_code(code);
        assert_eq!(replicas_are_unset(&status), expected);
    }

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

    #[test]
    fn an_autoscaler_says_how_low_it_goes() {
        let found = |spec: Value, status: Value| {
            let mut spec = spec;
            spec["maxReplicas"] = json!(9);
            spec["scaleTargetRef"] = json!({"kind": "Deployment", "name": "c"});
            autoscaler(&serde_json::from_value(json!({"metadata": {"name": "h"}, "spec": spec, "status": status})).unwrap())
        };
        let conditions =
            |kind: &str, status: &str| json!({"desiredReplicas": 0, "conditions": [{"type": kind, "status": status}]});
        let plain = found(json!({}), json!({"desiredReplicas": 0}));
        assert_eq!((plain.name.as_str(), plain.min_replicas, plain.scaled_to_zero), ("h", 1, false));
        assert!(found(json!({"minReplicas": 0}), conditions("ScaledToZero", "True")).scaled_to_zero);
        assert!(!found(json!({"minReplicas": 0}), conditions("ScaledToZero", "False")).scaled_to_zero);
        assert!(!found(json!({"minReplicas": 0}), conditions("ScalingActive", "True")).scaled_to_zero);
    }
}
