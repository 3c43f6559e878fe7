//! The `scale` subresource: what is written, and what the API server answers.

use k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec, ScaleStatus};
use kube::{
    api::{DynamicObject, PostParams},
    core::response::Status,
};
use serde_json::Value;

use super::selectors;
use crate::api::{FIELD_MANAGER, TargetRef};

/// What the API server stored when a workload was scaled.
pub struct Scaled {
    /// The replica count.
    pub replicas: i32,
    /// The version of the workload.
    pub version: Option<String>,
}

pub(super) fn params(dry_run: bool) -> PostParams {
    PostParams { dry_run, field_manager: Some(FIELD_MANAGER.into()) }
}

pub(super) fn wanted(target: &TargetRef, version: &str, replicas: i32) -> Scale {
    let mut scale = Scale { spec: Some(ScaleSpec { replicas: Some(replicas) }), ..Scale::default() };
    scale.metadata.name = Some(target.name.clone());
    scale.metadata.resource_version = Some(version.to_owned());
    scale
}

/// The scale of a workload of apps/v1, as the API server makes it of the workload. `None` where the replicas are unset.
pub(super) fn of_workload(object: &DynamicObject) -> Option<Scale> {
    let count = |path| object.data.pointer(path).and_then(Value::as_i64).and_then(|count| i32::try_from(count).ok());
    let selector = object.data.pointer("/spec/selector").and_then(selectors::own);
    Some(Scale {
        metadata: object.metadata.clone(),
        spec: Some(ScaleSpec { replicas: Some(count("/spec/replicas")?) }),
        status: Some(ScaleStatus { replicas: count("/status/replicas").unwrap_or(0), selector }),
    })
}

/// The API server omits a zero.
pub(super) fn replicas(scale: &Scale) -> i32 {
    scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0)
}

/// Whether this is the API server's answer for a custom resource whose replicas field is unset. For every other internal error
/// the operator does not guess.
pub(super) fn replicas_are_unset(status: &Status) -> bool {
    status.code == 500 && status.message.contains("the spec replicas field") && status.message.contains("does not exist")
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
    #[case::running(json!({"replicas": 3}), json!({"replicas": 4}), Some((3, 4)))]
    #[case::at_zero(json!({"replicas": 0}), json!({}), Some((0, 0)))]
    #[case::without_a_status(json!({"replicas": 3}), Value::Null, Some((3, 0)))]
    #[case::unset(json!({}), json!({"replicas": 1}), None)]
    fn a_workload_has_all_that_its_scale_has(#[case] mut spec: Value, #[case] status: Value, #[case] counts: Option<(i32, i32)>) {
        spec["selector"] = json!({"matchLabels": {"app": "c"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]});
        let object = json!({"metadata": {"uid": "u", "resourceVersion": "7"}, "spec": spec, "status": status});
        let scale = of_workload(&serde_json::from_value(object).unwrap());
        assert_eq!(scale.as_ref().map(|scale| (replicas(scale), scale.status.as_ref().unwrap().replicas)), counts);
        let Some(scale) = scale else { return };
        let status = scale.status.unwrap();
        assert_eq!(status.selector.as_deref(), Some("app=c,tier"));
        assert_eq!((scale.metadata.uid.as_deref(), scale.metadata.resource_version.as_deref()), (Some("u"), Some("7")));
    }

    #[rstest]
    #[case::unset(500, "Internal error occurred: the spec replicas field \".spec.replicas\" does not exist", true)]
    #[case::another_internal_error(500, "Internal error occurred: etcdserver: request timed out", false)]
    #[case::not_there(404, "workers.example.com \"w\" not found", false)]
    fn only_the_api_servers_exact_message_means_that_replicas_are_unset(
        #[case] code: u16,
        #[case] message: &str,
        #[case] expected: bool,
    ) {
        let status = Status::failure(message, "InternalError").with_code(code);
        assert_eq!(replicas_are_unset(&status), expected);
    }
}
