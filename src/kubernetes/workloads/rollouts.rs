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
    if is_unobserved(object) {
        return Rollout::Unobserved;
    }
    // Of a rollout in steps the revisions tell more than the counts: the stable pods may all be gone before the new ones are stable.
    if kind == RolloutKind::Other
        && let Some((stable, newest)) = revisions(object)
    {
        if stable != newest {
            return incomplete(kind, object, format!("its newest revision ({newest}) is not the stable one ({stable})"));
        }
        if count("/status/updatedReplicas").is_none() {
            return Rollout::Complete;
        }
    }
    let updated = match (running, count("/status/updatedReplicas")) {
        (_, Some(updated)) => updated,
        // A field that is zero is left out on the wire.
        (Some(_), None) if kind != RolloutKind::Other => 0,
        (None, None) if kind != RolloutKind::Other => return Rollout::Complete,
        (_, None) => return by_phase(kind, object),
    };
    let Some(running) = running else { return by_phase(kind, object) };
    if updated >= running || (kind == RolloutKind::StatefulSet && is_same_revision(object)) {
        return Rollout::Complete;
    }
    incomplete(kind, object, format!("{updated} of {running} pods have its newest revision"))
}

fn incomplete(kind: RolloutKind, object: &Value, pods: String) -> Rollout {
    match blocked(kind, object) {
        Some(why) => Rollout::Blocked { pods, why },
        None => Rollout::Progressing { pods, deadline: deadline(object) },
    }
}

/// Whether the status is older than the spec. Argo Rollouts has the generation as text; its versions before 0.10 had a hash there, which
/// may be a number by chance, but not an older one than any generation.
fn is_unobserved(object: &Value) -> bool {
    let newest = object.pointer("/metadata/generation").and_then(Value::as_i64);
    let observed = object.pointer("/status/observedGeneration");
    let observed = observed.and_then(|observed| observed.as_i64().or_else(|| observed.as_str()?.parse().ok()));
    matches!((newest, observed), (Some(newest), Some(observed)) if observed < newest)
}

/// The stable and the newest revision of a rollout in steps, as Argo Rollouts has them; none before the first one is stable.
fn revisions(object: &Value) -> Option<(&str, &str)> {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
    Some((text("/status/stableRS")?, text("/status/currentPodHash")?))
}

/// Where pods are not counted by revision, the phase tells whether there is a rollout, in the words of Argo Rollouts. Pods of a single
/// revision that are not ready are `Progressing` there, too; then it is better to wait than to guess.
fn by_phase(kind: RolloutKind, object: &Value) -> Rollout {
    let phase = object.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    let is_paused = object.pointer("/spec/paused").and_then(Value::as_bool) == Some(true);
    match phase {
        "Progressing" | "Paused" => incomplete(kind, object, format!("its status.phase is {phase}")),
        _ if is_paused => incomplete(kind, object, "its spec.paused is true".into()),
        _ => Rollout::Unknown,
    }
}

/// Why a rollout does not continue by itself.
fn blocked(kind: RolloutKind, object: &Value) -> Option<Blocked> {
    let because = |cause: &str, advice: &str| Some(Blocked { cause: cause.into(), advice: advice.into() });
    if object.pointer("/spec/paused").and_then(Value::as_bool) == Some(true) {
        return because("is paused in the middle of the rollout", "Resume the rollout, or undo it");
    }
    if kind == RolloutKind::Other {
        let status = |field: &str| object.pointer(&format!("/status/{field}"));
        if status("abort").and_then(Value::as_bool) == Some(true) {
            return because("has aborted its rollout", "Retry the rollout, or undo it");
        }
        let pauses = status("pauseConditions").and_then(Value::as_array).is_some_and(|pauses| !pauses.is_empty());
        match status("phase").and_then(Value::as_str) {
            _ if pauses => return because("is paused at a step of its rollout", "Promote the rollout, or undo it"),
            Some("Paused") => return because("is paused in the middle of the rollout", "Resume the rollout, or undo it"),
            Some("Degraded") => return because("has a rollout that failed", "Repair the new revision, or undo the rollout"),
            Some(_) | None => {}
        }
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
        json!({"replicas": 3}), json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3}), "unobserved"
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
    #[case::a_generation_as_text(json!({"replicas": 5, "updatedReplicas": 5, "observedGeneration": "3"}), "complete")]
    #[case::an_older_generation_as_text(json!({"replicas": 5, "updatedReplicas": 5, "observedGeneration": "2"}), "unobserved")]
    #[case::a_hash_in_place_of_a_generation(json!({"replicas": 5, "updatedReplicas": 5, "observedGeneration": "5d8f8c7b9"}), "complete")]
    #[case::a_hash_of_digits(json!({"replicas": 5, "updatedReplicas": 5, "observedGeneration": "677966948"}), "complete")]
    #[case::without_the_fields(json!({"phase": "Running"}), "unknown")]
    #[case::only_a_phase_that_progresses(json!({"phase": "Progressing"}), "progressing")]
    #[case::only_a_phase_that_is_paused(json!({"phase": "Paused"}), "blocked")]
    #[case::only_a_phase_that_is_healthy(json!({"phase": "Healthy"}), "unknown")]
    #[case::without_the_updated(json!({"replicas": 5}), "unknown")]
    #[case::at_zero(json!({"replicas": 0}), "complete")]
    fn another_kind_is_read_as_far_as_its_status_tells(#[case] status: Value, #[case] expected: &str) {
        assert_eq!(name(&rollout(RolloutKind::Other, &deployment(&json!({}), &status))), expected);
    }

    /// The status of a Rollout of Argo Rollouts 1.x with five replicas, at generation 3, with some fields changed.
    fn argo(change: &Value) -> Value {
        let mut status = json!({
            "HPAReplicas": 5, "availableReplicas": 5, "blueGreen": {}, "canary": {}, "currentPodHash": "6cf78c66c5",
            "currentStepHash": "5f6cd5ccb5", "currentStepIndex": 2, "observedGeneration": "3", "phase": "Healthy",
            "readyReplicas": 5, "replicas": 5, "selector": "app=c", "stableRS": "6cf78c66c5", "updatedReplicas": 5,
            "conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}],
        });
        for (field, value) in change.as_object().into_iter().flatten() {
            status[field] = value.clone();
        }
        status
    }

    #[rstest]
    #[case::healthy(json!({}), json!({}), "complete")]
    #[case::at_a_step_that_pauses(
        json!({}),
        json!({
            "phase": "Paused", "message": "CanaryPauseStep", "controllerPause": true, "currentPodHash": "7b8cd9f6d", "updatedReplicas": 1,
            "pauseConditions": [{"reason": "CanaryPauseStep", "startTime": "2026-11-24T18:00:00Z"}], "currentStepIndex": 1,
        }),
        "blocked: is paused at a step of its rollout"
    )]
    #[case::between_steps(
        json!({"progressDeadlineSeconds": 1200}),
        json!({"phase": "Progressing", "message": "more replicas need to be updated", "currentPodHash": "7b8cd9f6d", "updatedReplicas": 2}),
        "progressing for 1200 s"
    )]
    #[case::all_pods_are_new_and_not_yet_stable(
        json!({}),
        json!({"phase": "Paused", "currentPodHash": "7b8cd9f6d", "pauseConditions": [{"reason": "CanaryPauseStep"}]}),
        "blocked: is paused at a step of its rollout"
    )]
    #[case::aborted(
        json!({}),
        json!({
            "phase": "Degraded", "abort": true, "abortedAt": "2026-11-24T18:00:00Z", "currentPodHash": "7b8cd9f6d", "updatedReplicas": 0,
            "message": "RolloutAborted: Rollout aborted update to revision 2",
        }),
        "blocked: has aborted its rollout"
    )]
    #[case::past_its_deadline(
        json!({}),
        json!({
            "phase": "Degraded", "message": "ProgressDeadlineExceeded", "currentPodHash": "7b8cd9f6d", "updatedReplicas": 1,
            "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}],
        }),
        "blocked: has a rollout that failed"
    )]
    #[case::paused_by_a_user(
        json!({"paused": true}),
        json!({"phase": "Paused", "message": "manually paused", "currentPodHash": "7b8cd9f6d", "updatedReplicas": 1}),
        "blocked: is paused in the middle of the rollout"
    )]
    #[case::paused_by_a_user_while_all_pods_are_alike(json!({"paused": true}), json!({"phase": "Paused"}), "complete")]
    #[case::blue_green_before_the_promotion(
        json!({}),
        json!({
            "phase": "Paused", "message": "BlueGreenPause", "pauseConditions": [{"reason": "BlueGreenPause"}], "replicas": 10,
            "currentPodHash": "7b8cd9f6d", "blueGreen": {"activeSelector": "6cf78c66c5", "previewSelector": "7b8cd9f6d"},
        }),
        "blocked: is paused at a step of its rollout"
    )]
    #[case::blue_green_while_the_old_pods_are_kept(
        json!({}),
        json!({"replicas": 10, "blueGreen": {"activeSelector": "6cf78c66c5", "previewSelector": "6cf78c66c5"}}),
        "progressing"
    )]
    #[case::one_revision_that_crashes(
        json!({}), json!({"phase": "Progressing", "message": "updated replicas are still becoming available", "readyReplicas": 0}), "complete"
    )]
    #[case::the_first_revision_is_not_stable_yet(json!({}), json!({"phase": "Progressing", "stableRS": ""}), "complete")]
    #[case::a_new_image_that_its_controller_has_not_seen(json!({}), json!({"observedGeneration": "2"}), "unobserved")]
    fn a_rollout_in_steps_is_complete_when_its_newest_revision_is_stable(
        #[case] spec: Value,
        #[case] change: Value,
        #[case] expected: &str,
    ) {
        let said = match rollout(RolloutKind::Other, &deployment(&spec, &argo(&change))) {
            Rollout::Blocked { why, .. } => format!("blocked: {}", why.cause),
            Rollout::Progressing { deadline: Some(deadline), .. } => format!("progressing for {} s", deadline.as_secs()),
            other => name(&other).to_owned(),
        };
        assert_eq!(said, expected);
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
            Rollout::Unobserved => "unobserved",
            Rollout::Progressing { .. } => "progressing",
            Rollout::Blocked { .. } => "blocked",
            Rollout::Unknown => "unknown",
        }
    }
}
