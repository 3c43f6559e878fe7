//! The status of another version of the operator, which has phases, reasons and outcomes that this one does not know; and an
//! operator that is being uninstalled.

use rstest::rstest;
use serde_json::json;

use crate::machine::tests::*;
use crate::{
    api::{PartitionOutcome, Restored},
    machine::{
        after, decide,
        decision::{Answer, Effect},
        has_ended, is_over,
    },
};

/// The status of a reset in the middle of its hold, as a newer version has stored it.
fn stored(change: impl FnOnce(&mut serde_json::Value)) -> OffsetResetStatus {
    let mut status = serde_json::to_value(status_in(Phase::Draining)).unwrap();
    change(&mut status);
    serde_json::from_value(status).unwrap()
}

#[test]
fn every_word_of_another_version_is_read() {
    let status = stored(|status| {
        status["phase"] = json!("Verifying");
        status["reason"] = json!("WaitingForTheMoon");
        status["outcome"] = json!({"phase": "SucceededLater", "reason": "TheMoonHasRisen", "message": "m"});
        status["targets"][0]["restored"] = json!("Doubled");
        status["lastAction"] = json!({"type": "Verify", "subject": "s", "time": "2026-11-24T18:00:00.000000Z"});
        status["partitions"][0]["outcome"] = json!("Halved");
        status["partitions"][0]["clamped"] = json!("AtFullMoon");
        status["partitions"][0]["overwritten"] = json!({"evidence": "Seen", "time": "2026-11-24T18:00:00.000000Z"});
        status["somethingNew"] = json!({"a": 1});
    });
    assert_eq!((status.phase, status.reason), (Some(Phase::Unknown), Some(Reason::OtherVersion)));
    assert_eq!(status.targets[0].restored, Some(Restored::Unknown));
    assert_eq!(status.partitions[0].outcome, PartitionOutcome::Unconfirmed, "it may have been committed");
}

#[test]
fn a_reason_that_is_not_known_changes_nothing() {
    let known = status_in(Phase::Draining);
    let newer = stored(|status| status["reason"] = json!("WaitingForTheMoon"));
    let observed = seen(gone(), KafkaSeen::Group(group_in(GroupState::Empty, 0)));
    let (known, newer) = [known, newer].map(|status| decide(Ok(&request()), &status, &observed, at(20))).into();
    assert_eq!(newer, known);
}

#[rstest]
#[case::in_the_middle_of_a_hold("Verifying", true)]
#[case::before_a_hold("Weighing", false)]
fn a_reset_in_a_phase_that_is_not_known_ends_with_its_consumers_restored(#[case] phase: &str, #[case] held: bool) {
    let status = stored(|status| {
        status["phase"] = json!(phase);
        if !held {
            status.as_object_mut().unwrap().remove("hold");
        }
    });
    assert!(!has_ended(&status, false));
    let observed = seen(gone(), KafkaSeen::NotAsked);
    let decision = decide(Ok(&request()), &status, &observed, at(20));
    let outcome = decision.status.outcome.clone().unwrap();
    assert_eq!((outcome.phase, outcome.reason), (Phase::Failed, Reason::OtherVersion));
    assert_eq!(decision.status.phase, Some(if held { Phase::Restoring } else { Phase::Failed }));
    assert!(outcome.details.unwrap().contains("No offset was changed"));
    if held {
        let restored = decide(Ok(&request()), &decision.status, &observed, at(20));
        assert!(matches!(restored.effect, Some(Effect::Scale { replicas: 3, .. })), "{:?}", restored.effect);
    }
}

#[test]
fn an_outcome_that_is_not_known_never_counts_as_success() {
    let mut status = status_in(Phase::Restoring);
    status.outcome.as_mut().unwrap().phase = Phase::Unknown;
    let observed = Observed { holds: vec![Seen::Missing], ..seen(running(), KafkaSeen::NotAsked) };
    assert_eq!(decide(Ok(&request()), &status, &observed, at(20)).status.phase, Some(Phase::Failed));
}

/// It stays word for word, except that its finalizer goes.
#[rstest]
#[case::with_a_finalizer(true, Some(Effect::RemoveFinalizer))]
#[case::without(false, None)]
fn what_another_version_has_ended_stays_as_it_is(#[case] finalizer: bool, #[case] effect: Option<Effect>) {
    let status = stored(|status| {
        status["phase"] = json!("SucceededLater");
        status["completionTime"] = json!("2026-11-24T18:00:00Z");
    });
    assert!(has_ended(&status, false) && is_over(&status, false));
    let observed = Observed { finalizer, generation: Some(9), ..seen(gone(), KafkaSeen::NotAsked) };
    let decision = decide(Ok(&request()), &status, &observed, at(20));
    assert_eq!((&decision.effect, &decision.status), (&effect, &status));
    if let Some(effect) = effect {
        let after = after(&status, &effect, &Answer::Done, &observed, at(20));
        assert_eq!((after.effect, after.status), (None, status));
    }
}

#[rstest]
#[case::stopping(Phase::Stopping)]
#[case::draining(Phase::Draining)]
#[case::resetting(Phase::Resetting)]
fn an_operator_that_is_uninstalled_restores_what_it_holds(#[case] phase: Phase) {
    let observed = Observed { uninstalling: true, ..seen(gone(), KafkaSeen::NotAsked) };
    let decision = decide(Ok(&request()), &status_in(phase), &observed, at(20));
    let outcome = decision.status.outcome.clone().unwrap();
    assert_eq!((decision.status.phase, outcome.reason), (Some(Phase::Restoring), Reason::OperatorRemoved));
    assert_eq!(outcome.message, "The operator is being uninstalled, so the consumers are restored");
    assert!(outcome.details.unwrap().contains("No offset was changed"));
}

#[rstest]
#[case::pending(Phase::Pending)]
#[case::planning(Phase::Planning)]
fn an_operator_that_is_uninstalled_stops_nothing(#[case] phase: Phase) {
    let observed =
        Observed { uninstalling: true, finalizer: false, ..seen(running(), KafkaSeen::ForPlan(Box::new(plan_seen()))) };
    let decision = decide(Ok(&request()), &status_in(phase), &observed, at(20));
    assert_eq!((decision.status.phase, decision.status.reason), (Some(phase), Some(Reason::OperatorRemoved)));
    assert_eq!((decision.effect, decision.requeue), (None, Some(SignedDuration::from_secs(2))));
    let dry_run = Request { dry_run: true, ..request() };
    let planned = decide(Ok(&dry_run), &status_in(phase), &observed, at(20));
    assert_ne!(planned.status.reason, Some(Reason::OperatorRemoved), "a dry run stops nothing");
    let installed = Observed { uninstalling: false, ..observed };
    assert_ne!(decide(Ok(&request()), &decision.status, &installed, at(22)).status.reason, Some(Reason::OperatorRemoved));
}
