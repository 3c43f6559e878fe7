//! What an OffsetReset tells of itself.

use jiff::{SignedDuration, Timestamp};
use kube::{Resource, ResourceExt, core::DeserializeGuard, runtime::reflector::ObjectRef};

use crate::{
    api::{FINALIZER, OffsetReset, Phase},
    machine,
};

/// The key under which the scheduler keeps an object's rank.
pub(super) fn key_of(object: &DeserializeGuard<OffsetReset>) -> ObjectRef<OffsetReset> {
    let meta = object.meta();
    ObjectRef::new(meta.name.as_deref().unwrap_or_default()).within(meta.namespace.as_deref().unwrap_or_default())
}

/// Whether consumers may be at zero for a reset.
pub(super) fn may_hold(reset: &OffsetReset, phase: Option<Phase>) -> bool {
    phase.is_some_and(Phase::may_hold) || has_finalizer(reset)
}

/// The phase that the status has.
pub(super) fn phase_of(reset: &OffsetReset) -> Option<Phase> {
    reset.status.as_ref().and_then(|status| status.phase)
}

/// Whether the operator's finalizer is on an object.
pub(super) fn has_finalizer(reset: &OffsetReset) -> bool {
    reset.finalizers().iter().any(|name| name == FINALIZER)
}

/// Whether a reset is finished, holds nothing, and its status describes the spec as it is. A stale object is enough to tell,
/// because only a change of the spec leads out of this state.
pub(super) fn is_done(reset: &OffsetReset) -> bool {
    let is_over = reset.status.as_ref().is_some_and(|status| {
        let observed = status.observed_generation == reset.metadata.generation || status.ended_elsewhere();
        machine::is_over(status, reset.spec.dry_run) && observed
    });
    is_over && !has_finalizer(reset)
}

/// Drops `managedFields`, and the partitions of a reset that is done, from an object that a watch keeps. A pass reads such a reset before
/// it does anything.
pub fn keep_what_is_read(watched: &mut DeserializeGuard<OffsetReset>) {
    watched.meta_mut().managed_fields = None;
    if let Ok(reset) = &mut watched.0
        && is_done(reset)
        && let Some(status) = &mut reset.status
    {
        status.partitions = vec![];
    }
}

/// How long after its end a reset is to be deleted.
pub(super) fn time_to_live(reset: &OffsetReset) -> Option<SignedDuration> {
    reset.spec.ttl_seconds_after_finished.map(|seconds| SignedDuration::from_secs(seconds.max(0).into()))
}

/// When a finished reset is to be deleted; `None` when it is kept, or is being deleted already.
pub(super) fn expiry(reset: &OffsetReset) -> Option<Timestamp> {
    let status = reset.status.as_ref().filter(|_| reset.metadata.deletion_timestamp.is_none())?;
    machine::expiry(status, time_to_live(reset))
}

/// Whether a reset has ended and holds nothing, though its consumers may still be watched.
pub(super) fn has_ended(reset: &OffsetReset) -> bool {
    let has_ended = reset.status.as_ref().is_some_and(|status| machine::has_ended(status, reset.spec.dry_run));
    has_ended && !has_finalizer(reset)
}

/// Whether a reset has ended and only its consumers are watched, with nothing else to do.
pub(super) fn is_only_watched(reset: &OffsetReset) -> bool {
    let status = reset.status.as_ref();
    let seen = status.and_then(|status| status.observed_generation) == reset.metadata.generation;
    has_ended(reset) && seen && reset.metadata.deletion_timestamp.is_none() && status.is_some_and(machine::needs_a_look)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::as_it_ended(json!({}), json!({}), json!({}), true)]
    #[case::suspended_after_the_end(json!({"generation": 2}), json!({"suspend": true}), json!({}), false)]
    #[case::observed_since(json!({"generation": 2}), json!({"suspend": true}), json!({"observedGeneration": 2}), true)]
    #[case::holding(json!({"finalizers": [FINALIZER]}), json!({}), json!({}), false)]
    #[case::running(json!({}), json!({}), json!({"phase": "Planning"}), false)]
    #[case::ended_by_another_version(
        json!({"generation": 2}),
        json!({"suspend": true}),
        json!({"phase": "Verified", "completionTime": "2026-11-24T18:00:00Z"}),
        true
    )]
    #[case::begun_by_another_version(json!({}), json!({}), json!({"phase": "Verifying"}), false)]
    #[case::a_dry_run_that_is_to_run(json!({"generation": 2}), json!({}), json!({"phase": "Planned", "dryRun": true}), false)]
    fn a_reset_is_done_when_nothing_follows_and_its_spec_was_observed(
        #[case] metadata: serde_json::Value,
        #[case] spec: serde_json::Value,
        #[case] status: serde_json::Value,
        #[case] done: bool,
    ) {
        let mut reset = json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset",
            "metadata": {"name": "replay", "namespace": "shop", "generation": 1},
            "spec": {"kafka": {"bootstrapServers": "k:1"}, "group": "orders"},
            "status": {"observedGeneration": 1, "phase": "Succeeded"},
        });
        for (part, change) in [("metadata", metadata), ("spec", spec), ("status", status)] {
            reset[part].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        }
        reset["metadata"]["managedFields"] = json!([{"manager": "kubectl"}]);
        reset["status"]["partitions"] = json!([{"topic": "t", "partition": 0, "logStart": 0, "logEnd": 9, "outcome": "Reset"}]);
        let mut reset: DeserializeGuard<OffsetReset> = serde_json::from_value(reset).unwrap();
        assert_eq!(is_done(reset.0.as_ref().unwrap()), done);
        keep_what_is_read(&mut reset);
        assert_eq!(reset.meta().managed_fields, None);
        let kept = reset.0.unwrap().status.unwrap().partitions.len();
        assert_eq!(kept, usize::from(!done), "a pass may begin with it");
    }
}
