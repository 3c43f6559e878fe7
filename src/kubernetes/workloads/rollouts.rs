//! Which revisions of a workload its pods have, from the workload's own status. Pure: the caller reads the object.
//!
//! A workload that is scaled to zero and back creates pods of one revision only, its newest: with every ReplicaSet of a Deployment
//! at zero, the newest one gets all replicas (seen on Kubernetes 1.37.2; `FindActiveOrLatest` in its deployment controller).

use jiff::SignedDuration;
use serde_json::Value;

use crate::machine::facts::{Blocked, Rollout};

/// How a kind tells the revisions of its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RolloutKind {
    /// A Deployment of apps/v1.
    Deployment,
    /// A StatefulSet of apps/v1.
    StatefulSet,
    /// A ReplicaSet of apps/v1: it has one template and replaces no pods.
    ReplicaSet,
    /// Any other kind: by the fields that most of them share.
    Other,
}

/// The state of a workload's rollout.
pub(super) fn rollout(kind: RolloutKind, object: &Value) -> Rollout {
    let count = |path: &str| object.pointer(path).and_then(Value::as_i64);
    let running = count("/status/replicas");
    if kind == RolloutKind::ReplicaSet || running == Some(0) {
        return Rollout::Complete;
    }
    let updated = match (running, count("/status/updatedReplicas")) {
        (_, Some(updated)) => updated,
        // A field that is zero is left out on the wire.
        (Some(_), None) if kind != RolloutKind::Other => 0,
        (None, None) if kind != RolloutKind::Other => return Rollout::Complete,
        (_, None) => return Rollout::Unknown,
    };
    let Some(running) = running else { return Rollout::Unknown };
    let unobserved = match (count("/metadata/generation"), count("/status/observedGeneration")) {
        (Some(newest), Some(observed)) => observed < newest,
        (Some(_) | None, _) => false,
    };
    if unobserved {
        return Rollout::Progressing { pods: "its controller has not observed its newest spec yet".into(), deadline: None };
    }
    if updated >= running || (kind == RolloutKind::StatefulSet && is_same_revision(object)) {
        return Rollout::Complete;
    }
    let pods = format!("{updated} of {running} pods have its newest revision");
    match blocked(kind, object) {
        Some(why) => Rollout::Blocked { pods, why },
        None => Rollout::Progressing { pods, deadline: deadline(object) },
    }
}

/// Why a rollout does not continue by itself.
fn blocked(kind: RolloutKind, object: &Value) -> Option<Blocked> {
    let because = |cause: &str, advice: &str| Some(Blocked { cause: cause.into(), advice: advice.into() });
    if object.pointer("/spec/paused").and_then(Value::as_bool) == Some(true) {
        return because("is paused in the middle of the rollout", "Resume the rollout, or undo it");
    }
    if kind == RolloutKind::StatefulSet && strategy(object) == "OnDelete" {
        return because(
            "has updateStrategy OnDelete, so a pod gets the new revision only when it is deleted",
            "Delete the pods of the old revision",
        );
    }
    // At zero replicas its controller takes the update for complete, and the older revision is forgotten (`completeUpdate` in
    // the StatefulSet controller of Kubernetes 1.37.2).
    let number = |path: &str| object.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let partition = number("/spec/updateStrategy/rollingUpdate/partition");
    let above = number("/status/replicas") - partition;
    if kind == RolloutKind::StatefulSet && partition > 0 && number("/status/updatedReplicas") >= above {
        return because(
            &format!("keeps its pods below partition {partition} at an older revision, which it forgets at zero replicas"),
            "Set the partition to 0 to complete the rollout, or undo it",
        );
    }
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let is = |condition: &Value, field: &str, value: &str| condition.get(field).and_then(Value::as_str) == Some(value);
    let exceeded = |condition: &&Value| {
        is(condition, "type", "Progressing")
            && is(condition, "status", "False")
            && is(condition, "reason", "ProgressDeadlineExceeded")
    };
    let exceeded = conditions.into_iter().find(exceeded);
    exceeded.and_then(|_| because("has exceeded its progress deadline", "Repair the new revision, or undo the rollout"))
}

/// How long the workload allows its rollout to stand still; the largest number stands for "without limit".
fn deadline(object: &Value) -> Option<SignedDuration> {
    let seconds = object.pointer("/spec/progressDeadlineSeconds").and_then(Value::as_i64)?;
    (seconds < i64::from(i32::MAX)).then(|| SignedDuration::from_secs(seconds))
}

fn strategy(object: &Value) -> &str {
    object.pointer("/spec/updateStrategy/type").and_then(Value::as_str).unwrap_or_default()
}

fn is_same_revision(set: &Value) -> bool {
    let revision = |path| set.pointer(path).and_then(Value::as_str);
    revision("/status/currentRevision") == revision("/status/updateRevision")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn deployment(spec: &Value, status: &Value) -> Value {
        json!({"metadata": {"generation": 3}, "spec": spec, "status": status})
    }

    fn exceeded() -> Value {
        json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}])
    }

    #[rstest]
    #[case::one_revision(json!({"replicas": 3}), json!({"observedGeneration": 3, "replicas": 3, "updatedReplicas": 3}), "complete")]
    #[case::one_revision_that_crashes(
        json!({"replicas": 3}),
        json!({"observedGeneration": 3, "replicas": 3, "updatedReplicas": 3, "unavailableReplicas": 3, "conditions": exceeded()}),
        "complete"
    )]
    #[case::at_zero(json!({"replicas": 0}), json!({"observedGeneration": 3, "replicas": 0}), "complete")]
    #[case::at_zero_as_the_wire_has_it(json!({"replicas": 0}), json!({"observedGeneration": 3}), "complete")]
    #[case::a_bad_image_beside_three_ready_pods(
        json!({"replicas": 3, "progressDeadlineSeconds": 600}),
        json!({"observedGeneration": 3, "replicas": 4, "updatedReplicas": 1, "readyReplicas": 3}),
        "progressing"
    )]
    #[case::the_same_after_its_deadline(
        json!({"replicas": 3}),
        json!({"observedGeneration": 3, "replicas": 4, "updatedReplicas": 1, "conditions": exceeded()}),
        "blocked"
    )]
    #[case::paused_half_way(
        json!({"replicas": 10, "paused": true}), json!({"observedGeneration": 3, "replicas": 10, "updatedReplicas": 1}), "blocked"
    )]
    #[case::paused_before_the_first_pod(
        json!({"replicas": 3, "paused": true}), json!({"observedGeneration": 3, "replicas": 3}), "blocked"
    )]
    #[case::paused_and_complete(
        json!({"replicas": 3, "paused": true}), json!({"observedGeneration": 3, "replicas": 3, "updatedReplicas": 3}), "complete"
    )]
    #[case::applied_together_with_a_new_image(
        json!({"replicas": 3}), json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3}), "progressing"
    )]
    fn a_deployment_is_complete_progressing_or_blocked(#[case] spec: Value, #[case] status: Value, #[case] expected: &str) {
        assert_eq!(name(&rollout(RolloutKind::Deployment, &deployment(&spec, &status))), expected);
    }

    #[rstest]
    #[case::one_revision(json!({}), json!({"replicas": 3, "currentRevision": "a", "updateRevision": "a"}), "complete")]
    #[case::in_the_middle(
        json!({"updateStrategy": {"type": "RollingUpdate"}}),
        json!({"replicas": 3, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b"}),
        "progressing"
    )]
    #[case::partitioned_and_updated_above(
        json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}),
        json!({"replicas": 3, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b"}),
        "blocked"
    )]
    #[case::staged_below_a_partition_above_all_pods(
        json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 3}}}),
        json!({"replicas": 3, "currentRevision": "a", "updateRevision": "b"}),
        "blocked"
    )]
    #[case::partitioned_and_not_updated_above(
        json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}),
        json!({"replicas": 3, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b"}),
        "progressing"
    )]
    #[case::on_delete(
        json!({"updateStrategy": {"type": "OnDelete"}}),
        json!({"replicas": 3, "currentRevision": "a", "updateRevision": "b"}),
        "blocked"
    )]
    fn a_stateful_set_is_complete_when_all_its_pods_have_one_revision(
        #[case] spec: Value,
        #[case] status: Value,
        #[case] expected: &str,
    ) {
        assert_eq!(name(&rollout(RolloutKind::StatefulSet, &deployment(&spec, &status))), expected);
    }

    #[rstest]
    #[case::like_a_deployment(json!({"replicas": 5, "updatedReplicas": 1}), "progressing")]
    #[case::like_a_deployment_and_there(json!({"replicas": 5, "updatedReplicas": 5}), "complete")]
    #[case::generations_as_text_do_not_count(json!({"replicas": 5, "updatedReplicas": 5, "observedGeneration": "2"}), "complete")]
    #[case::without_the_fields(json!({"phase": "Running"}), "unknown")]
    #[case::without_the_updated(json!({"replicas": 5}), "unknown")]
    #[case::at_zero(json!({"replicas": 0}), "complete")]
    fn another_kind_is_read_as_far_as_its_status_tells(#[case] status: Value, #[case] expected: &str) {
        assert_eq!(name(&rollout(RolloutKind::Other, &deployment(&json!({}), &status))), expected);
    }

    #[test]
    fn a_deadline_without_limit_is_none() {
        let status = json!({"observedGeneration": 3, "replicas": 4, "updatedReplicas": 1});
        let of =
            |seconds: i64| rollout(RolloutKind::Deployment, &deployment(&json!({"progressDeadlineSeconds": seconds}), &status));
        let deadline = |rollout| if let Rollout::Progressing { deadline, .. } = rollout { deadline } else { panic!() };
        assert_eq!(deadline(of(60)), Some(SignedDuration::from_secs(60)));
        assert_eq!(deadline(of(2_147_483_647)), None);
    }

    fn name(rollout: &Rollout) -> &'static str {
        match rollout {
            Rollout::Complete => "complete",
            Rollout::Progressing { .. } => "progressing",
            Rollout::Blocked { .. } => "blocked",
            Rollout::Unknown => "unknown",
        }
    }
}
