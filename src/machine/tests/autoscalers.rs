//! What scales a target by itself: paused before the stop, let go after the restore, and never when
//! its owner has paused it.

use rstest::rstest;

use super::*;
use crate::{
    api::AutoscalerStatus,
    machine::{
        MAX_REHOLDS, after, decide,
        decision::{Answer, Decision, Effect},
        facts::{PeerReset, Receipt, RunState},
    },
};

fn paused() -> ScaledObject {
    ScaledObject { paused: true, ours: true, acknowledged: true, ..scaled_object() }
}

fn of_its_owner() -> ScaledObject {
    ScaledObject { ours: false, ..paused() }
}

fn with(target: Seen<Workload>, autoscaler: ScaledObjectSeen) -> Observed {
    Observed { autoscalers: vec![autoscaler], ..seen(target, KafkaSeen::NotAsked) }
}

fn found(autoscaler: ScaledObject) -> ScaledObjectSeen {
    ScaledObjectSeen::Found(autoscaler)
}

/// In a phase with the ScaledObject recorded, paused so many times, the last time at 1 s.
fn status_with(phase: Phase, pauses: i32) -> OffsetResetStatus {
    let mut status = status_in(phase);
    status.targets[0].autoscaler = Some(AutoscalerStatus {
        kind: "ScaledObject".into(),
        name: "orders".into(),
        paused_by_owner: false,
        pauses,
        pause_time: (pauses > 0).then(|| micro(1)),
        paused: pauses > 0,
        resumed: false,
        left: false,
    });
    status
}

fn at_time(status: &OffsetResetStatus, observed: &Observed, now: i64) -> Decision {
    decide(Ok(&request()), status, observed, at(now))
}

fn own(decision: &Decision) -> &AutoscalerStatus {
    decision.status.targets[0].autoscaler.as_ref().unwrap()
}

fn planned(autoscaler: ScaledObjectSeen, target: Seen<Workload>) -> Decision {
    let observed = Observed {
        autoscalers: vec![autoscaler],
        holds: vec![Seen::Missing],
        ..seen(target, KafkaSeen::ForPlan(Box::new(plan_seen())))
    };
    at_time(&status_in(Phase::Planning), &observed, 1)
}

#[rstest]
#[case::it_is_not_paused(scaled_object(), Some(false))]
#[case::its_owner_has(of_its_owner(), Some(true))]
#[case::an_earlier_run_of_ours_has(paused(), Some(false))]
fn the_plan_says_whose_pause_it_is(#[case] autoscaler: ScaledObject, #[case] of_owner: Option<bool>) {
    let decision = planned(found(autoscaler), running());
    assert_eq!(decision.status.phase, Some(Phase::Stopping));
    assert_eq!(decision.status.targets[0].autoscaler.as_ref().map(|own| own.paused_by_owner), of_owner);
}

#[rstest]
#[case::not_allowed(ScaledObject { refusal: Some(Denial::Refused("a policy".into())), ..scaled_object() }, "kubectl apply -k deploy/keda")]
#[case::kept_at_a_count(ScaledObject { fixed_replicas: Some("2".into()), ..of_its_owner() }, "autoscaling.keda.sh/paused-replicas")]
fn what_cannot_be_held_is_refused_while_consumers_run(#[case] autoscaler: ScaledObject, #[case] says: &str) {
    let decision = planned(found(autoscaler.clone()), running());
    assert_eq!((decision.status.phase, decision.status.reason), (Some(Phase::Failed), Some(Reason::AutoscalerNotPaused)));
    assert!(decision.status.explanation().contains(says));
    assert_eq!(decision.effect, None);
    let at_zero = planned(found(autoscaler), gone());
    assert_eq!(at_zero.status.phase, Some(Phase::Stopping), "what is at zero is not stopped, and needs no pause");
}

#[test]
fn what_cannot_be_seen_is_tried_again_and_where_it_may_not_be_seen_that_is_a_warning() {
    let decision = planned(ScaledObjectSeen::Unknown("no route".into()), running());
    assert_eq!((decision.status.phase, decision.status.reason), (Some(Phase::Planning), Some(Reason::AutoscalerNotPaused)));
    let decision = planned(ScaledObjectSeen::Hidden("forbidden".into()), running());
    assert_eq!(decision.status.phase, Some(Phase::Stopping));
    assert!(decision.status.warnings.iter().any(|warning| warning.contains("deploy/keda")), "{:?}", decision.status.warnings);
}

#[test]
fn it_is_paused_after_the_claim_and_awaited_before_the_stop() {
    let stopping = status_with(Phase::Stopping, 0);
    let unclaimed = Observed { holds: vec![Seen::Missing], ..with(running(), found(scaled_object())) };
    assert!(matches!(at_time(&stopping, &unclaimed, 1).effect, Some(Effect::Claim { .. })), "the Lease first");

    let decision = at_time(&stopping, &with(running(), found(scaled_object())), 1);
    assert_eq!(decision.effect, Some(Effect::Pause { target: 0, resource_version: "5".into() }));
    assert_eq!((own(&decision).pauses, own(&decision).pause_time.clone()), (1, Some(micro(1))), "recorded before it is done");

    let waiting = with(running(), found(ScaledObject { acknowledged: false, ..paused() }));
    let decision = at_time(&decision.status, &waiting, 30);
    assert_eq!((decision.effect.clone(), decision.status.reason), (None, Some(Reason::AutoscalerNotPaused)));
    let decision = at_time(&decision.status, &with(running(), found(paused())), 30);
    assert!(matches!(decision.effect, Some(Effect::Scale { replicas: 0, .. })));
}

#[rstest]
#[case::its_owner_has_paused_it(found(of_its_owner()))]
#[case::it_is_gone(ScaledObjectSeen::Absent)]
fn what_keeps_still_already_is_left_alone(#[case] autoscaler: ScaledObjectSeen) {
    let decision = at_time(&status_with(Phase::Stopping, 0), &with(running(), autoscaler), 1);
    assert!(matches!(decision.effect, Some(Effect::Scale { replicas: 0, .. })));
}

#[rstest]
#[case::keda_never_answers(found(ScaledObject { acknowledged: false, ..paused() }), 1)]
#[case::it_is_unpaused_repeatedly(found(scaled_object()), MAX_REHOLDS + 1)]
fn a_pause_that_does_not_hold_ends_the_reset(#[case] autoscaler: ScaledObjectSeen, #[case] pauses: i32) {
    let decision = at_time(&status_with(Phase::Stopping, pauses), &with(running(), autoscaler), 31);
    let outcome = decision.status.outcome.unwrap();
    assert_eq!((decision.status.phase, outcome.reason), (Some(Phase::Restoring), Reason::AutoscalerNotPaused));
    assert!(outcome.details.as_ref().unwrap().ends_with("No offset was changed"), "{outcome:?}");
}

#[rstest]
#[case::keda_keeps_writing_to_it(Some(Answer::Stale))]
#[case::the_api_server_does_not_answer(None)]
fn a_pause_that_was_never_seen_is_tried_again_and_not_counted(#[case] answer: Option<Answer>) {
    let (mut status, observed) = (status_with(Phase::Stopping, 0), with(running(), found(scaled_object())));
    for _ in 0..2 * MAX_REHOLDS {
        let tried = at_time(&status, &observed, 1);
        let effect = tried.effect.clone().unwrap();
        assert!(matches!(effect, Effect::Pause { .. }));
        status = answer.as_ref().map_or(tried.status.clone(), |own| after(&tried.status, &effect, own, &observed, at(1)).status);
    }
    let tried = at_time(&status, &observed, 1);
    assert_eq!((own(&tried).pauses, tried.status.phase), (1, Some(Phase::Stopping)));
    // Once it was seen it counts, when it is gone.
    let stood = at_time(&tried.status, &with(running(), found(paused())), 2);
    assert_eq!(own(&at_time(&stood.status, &observed, 3)).pauses, 2);
}

#[test]
fn a_refused_pause_ends_the_reset() {
    let (status, observed) = (status_with(Phase::Stopping, 1), with(running(), found(scaled_object())));
    let effect = Effect::Pause { target: 0, resource_version: "5".into() };
    let decision = after(&status, &effect, &Answer::Refused("a policy".into()), &observed, at(2));
    assert_eq!(decision.status.phase, Some(Phase::Restoring));
    assert_eq!(decision.status.outcome.unwrap().reason, Reason::AutoscalerNotPaused);
}

#[test]
fn the_replicas_come_first_then_the_pause_goes_and_then_the_lease() {
    let restoring = status_with(Phase::Restoring, 1);
    let at_zero = at_time(&restoring, &with(gone(), found(paused())), 9);
    assert!(matches!(at_zero.effect, Some(Effect::Scale { replicas: 3, .. })));
    let back = at_time(&restoring, &with(running(), found(paused())), 9);
    assert_eq!(back.effect, Some(Effect::Resume { target: 0, resource_version: "5".into() }));
    let free = at_time(&back.status, &with(running(), found(scaled_object())), 9);
    assert!(matches!(free.effect, Some(Effect::Release { .. })));
    assert!(own(&free).resumed);
}

#[rstest]
#[case::gone(ScaledObjectSeen::Absent)]
#[case::taken_over_by_its_owner(found(of_its_owner()))]
fn a_pause_that_is_not_ours_any_more_keeps_nothing(#[case] autoscaler: ScaledObjectSeen) {
    let decision = at_time(&status_with(Phase::Restoring, 1), &with(running(), autoscaler), 9);
    assert!(matches!(decision.effect, Some(Effect::Release { .. })), "{:?}", decision.effect);
}

#[test]
fn a_target_that_is_gone_leaves_no_pause_behind() {
    let decision = at_time(&status_with(Phase::Restoring, 1), &with(Seen::Missing, found(paused())), 9);
    assert!(matches!(decision.effect, Some(Effect::Resume { .. })), "{:?}", decision.effect);
}

#[test]
fn a_scaled_object_that_cannot_be_resumed_is_reported_and_its_lease_stays() {
    let (status, observed) = (status_with(Phase::Restoring, 1), with(running(), found(paused())));
    let effect = Effect::Resume { target: 0, resource_version: "5".into() };
    let refused = after(&status, &effect, &Answer::Refused("a policy".into()), &observed, at(9));
    assert!(refused.notes.iter().any(|note| note.warning && note.reason == Reason::AutoscalerNotResumed), "{:?}", refused.notes);
    let mut decision = at_time(&refused.status, &observed, 9);
    assert_eq!(decision.effect, None, "neither again nor the Lease");
    decision = at_time(&decision.status, &observed, 10);
    assert_eq!(decision.status.phase, Some(Phase::Succeeded));

    let unseen = at_time(&status, &with(running(), ScaledObjectSeen::Unknown("no route".into())), 9);
    assert_eq!((unseen.effect, unseen.status.phase), (None, Some(Phase::Restoring)), "not seen is tried again");
}

#[rstest]
#[case::it_knows_of_it(true, None)]
#[case::it_does_not(false, Some(Reason::AutoscalerNotResumed))]
fn as_long_as_another_one_needs_the_target_at_zero_it_stays_paused(#[case] knows: bool, #[case] waits: Option<Reason>) {
    let mut target = status_with(Phase::Draining, 0).targets.remove(0);
    if !knows {
        target.autoscaler = None;
    }
    let other = PeerReset {
        uid: "uid-2".into(),
        targets: vec![target],
        phase: Some(Phase::Draining),
        ..PeerReset::from(&crate::api::OffsetReset::new(
            "other",
            serde_json::from_value(serde_json::json!({"kafka": {"bootstrapServers": "k:9092"}, "group": "h"})).unwrap(),
        ))
    };
    let observed = Observed { others: vec![other], ..with(running(), found(paused())) };
    let decision = at_time(&status_with(Phase::Restoring, 1), &observed, 9);
    assert!(!matches!(decision.effect, Some(Effect::Resume { .. })));
    assert_eq!(own(&decision).resumed, knows, "the last reset that releases the target resumes it");
    assert_eq!(decision.status.reason.filter(|_| !knows), waits);
}

#[test]
fn what_takes_up_an_earlier_run_knows_of_its_pause_or_waits_until_it_can_be_seen() {
    let state = RunState::Committing {
        final_plan_time: at(-50),
        partitions: vec![planned_partition(0), planned_partition(1)],
        group: None,
    };
    let receipt = Some(Seen::Known(Receipt { uid: "uid-1".into(), state }));
    let with = |autoscaler| Observed { receipt: receipt.clone(), finalizer: false, ..with(gone(), autoscaler) };
    let unseen = at_time(&OffsetResetStatus::default(), &with(ScaledObjectSeen::Unknown("no route".into())), 0);
    assert_eq!((unseen.status.phase, unseen.status.reason), (Some(Phase::Pending), Some(Reason::AutoscalerNotPaused)));
    let taken_up = at_time(&unseen.status, &with(found(paused())), 1);
    assert_eq!(taken_up.status.phase, Some(Phase::Stopping));
    assert!(!own(&taken_up).paused_by_owner, "so it is let go in the end");
}
