//! What the next step does not read again, and what it has to.

use rstest::rstest;

use super::super::*;
use crate::{
    api::ActionKind,
    machine::{
        Carried, awaited_pods, decide,
        decision::{Answer, Decision, Effect},
    },
};

fn scale(replicas: i32, kind: ActionKind) -> Effect {
    Effect::Scale { target: 0, resource_version: "1".into(), replicas, state: None, kind }
}

fn claim_of(hold: Hold) -> Effect {
    Effect::Claim { target: 0, hold }
}

fn release_of(claims: &[&str]) -> Effect {
    Effect::Release { target: 0, hold: Hold { claims: claims.iter().copied().map(claim).collect(), ..lease() } }
}

fn others() -> Seen<Hold> {
    Seen::Known(Hold { claims: vec![claim("other")], ..lease() })
}

/// The consumers count as stopped only after a look that came after the stop, and a workload that another reset holds at zero is
/// read again after it was joined.
#[rstest]
#[case::claimed(claim_of(lease()), Answer::Done, running(), Some((3, held())))]
#[case::joined_at_zero(claim_of(lease()), Answer::Done, gone(), None)]
#[case::claimed_in_vain(claim_of(lease()), Answer::Stale, running(), None)]
#[case::stopped_with_pods_that_run(scale(0, ActionKind::Stop), Answer::Done, running(), Some((0, others())))]
#[case::stopped_without_a_pod(scale(0, ActionKind::Stop), Answer::Done, workload(3, vec![]), None)]
#[case::stopped_with_pods_that_have_terminated(scale(0, ActionKind::Stop), Answer::Done, workload(3, vec![pod("a", true)]), None)]
#[case::stopped_at_another_count(scale(0, ActionKind::Stop), Answer::Overridden(1), running(), None)]
#[case::a_canary_was_started(scale(1, ActionKind::Canary), Answer::Done, gone(), None)]
#[case::restored(scale(3, ActionKind::Restore), Answer::Done, gone(), Some((3, others())))]
#[case::restored_in_vain(scale(3, ActionKind::Restore), Answer::Refused("no".into()), gone(), None)]
#[case::released(release_of(&[]), Answer::Done, workload(3, vec![]), Some((3, Seen::Missing)))]
#[case::released_and_shared(release_of(&["other"]), Answer::Done, gone(), Some((0, others())))]
#[case::receipt_ended(Effect::SettleReceipt { keep: true }, Answer::Done, workload(3, vec![]), Some((3, others())))]
#[case::finalizer(Effect::AddFinalizer, Answer::Done, running(), None)]
fn the_answer_to_a_write_is_not_read_again(
    #[case] effect: Effect,
    #[case] answer: Answer,
    #[case] target: Seen<Workload>,
    #[case] expected: Option<(i32, Seen<Hold>)>,
) {
    let before = Observed { holds: vec![others()], ..seen(target, KafkaSeen::NotAsked) };
    let carried = Carried::after(&effect, &answer, before).map(|Carried { targets, mut holds }| {
        let [Seen::Known(workload)] = &targets[..] else { panic!("{targets:?}") };
        (workload.replicas, holds.remove(0))
    });
    assert_eq!(carried, expected);
}

/// Of several targets, one could not be read.
#[rstest]
#[case::target(Seen::Unknown("too many requests".into()), held())]
#[case::hold(running(), Seen::Unknown("too many requests".into()))]
fn what_could_not_be_read_is_read_again(#[case] other: Seen<Workload>, #[case] other_hold: Seen<Hold>) {
    let before = Observed { targets: vec![gone(), other], holds: vec![held(), other_hold], ..seen(gone(), KafkaSeen::NotAsked) };
    assert_eq!(Carried::after(&scale(3, ActionKind::Restore), &Answer::Done, before), None);
}

/// It would be written for nothing but the time of the last action.
#[test]
fn an_effect_that_only_tidies_up_is_recorded_only_with_what_else_has_changed() {
    let mut status = status_in(Phase::Restoring);
    let restored = |holds| Observed { holds: vec![holds], ..seen(workload(3, vec![]), KafkaSeen::NotAsked) };
    let release = decide(Ok(&request()), &status, &restored(held()), at(3));
    assert!(matches!(release.effect, Some(Effect::Release { .. })), "{:?}", release.effect);
    assert!(!release.needs_no_record(&status), "that the workload is restored is not recorded yet");
    status = release.status.clone();
    let again = decide(Ok(&request()), &status, &restored(held()), at(4));
    assert_ne!(again.status, status, "the time of the last action");
    assert!(again.needs_no_record(&status));
    let settle = Decision { effect: Some(Effect::SettleReceipt { keep: true }), ..again };
    assert!(settle.needs_no_record(&status));
    let restore = Decision { effect: Some(scale(3, ActionKind::Restore)), ..settle };
    assert!(!restore.needs_no_record(&status), "a restore is always recorded");
}

/// The status has the same count as the Lease to be.
#[rstest]
#[case::of_the_count_of_the_plan(3, vec![], true)]
#[case::of_another_count(2, vec![], false)]
#[case::beside_another_one(3, vec!["other"], false)]
fn a_claim_is_recorded_by_the_lease(#[case] planned: i32, #[case] others: Vec<&str>, #[case] none: bool) {
    let mut status = status_in(Phase::Stopping);
    status.targets[0] = TargetStatus { original_replicas: planned, stop_requested: false, ..target_status(false) };
    let (target, hold) = match &others[..] {
        [] => (running(), Seen::Missing),
        [..] => (gone(), Seen::Known(Hold { claims: others.iter().copied().map(claim).collect(), ..lease() })),
    };
    let observed = |target, hold| Observed { holds: vec![hold], ..seen(target, KafkaSeen::NotAsked) };
    let decision = decide(Ok(&request()), &status, &observed(target, hold), at(3));
    assert!(matches!(decision.effect, Some(Effect::Claim { .. })), "{:?}", decision.effect);
    let settled = OffsetResetStatus { last_action: None, ..decision.status.clone() };
    assert!(decision.needs_no_record(&settled), "nothing else has changed");
    let mut before = settled;
    before.targets = status.targets;
    assert_eq!(decision.needs_no_record(&before), none);
    let stop = decide(Ok(&request()), &decision.status, &observed(running(), held()), at(4));
    assert!(matches!(stop.effect, Some(Effect::Scale { kind: ActionKind::Stop, .. })), "{:?}", stop.effect);
    assert!(!stop.needs_no_record(&decision.status), "a stop is always recorded");
    // Another reset may be first to claim it, so its Event comes with the stop.
    let events = |decision: &Decision| decision.notes.iter().filter(|note| note.target.is_some()).cloned().collect::<Vec<_>>();
    assert_eq!(events(&decision), []);
    assert!(events(&stop)[0].message.starts_with("scaled from 3 to 0 replicas for the offset reset"), "{:?}", stop.notes);
}

#[rstest]
#[case::stopped(Phase::Stopping, true, &["a", "c"])]
#[case::being_stopped(Phase::Stopping, false, &[])]
#[case::later(Phase::Draining, true, &[])]
fn the_pods_of_stopped_targets_are_awaited(#[case] phase: Phase, #[case] stopped: bool, #[case] awaited: &[&str]) {
    let mut status = status_in(phase);
    status.targets = vec![target_status(stopped)];
    let observed = seen(workload(0, vec![pod("a", false), pod("b", true), pod("c", false)]), KafkaSeen::NotAsked);
    assert_eq!(awaited_pods(&status, &observed), awaited);
}

#[rstest]
#[case::stopped(Phase::Stopping, Phase::Draining, true)]
#[case::empty(Phase::Draining, Phase::Resetting, false)]
#[case::running_again(Phase::Draining, Phase::Stopping, false)]
#[case::restoring(Phase::Resetting, Phase::Restoring, false)]
fn only_the_first_question_to_the_broker_relies_on_the_look_before(
    #[case] from: Phase,
    #[case] to: Phase,
    #[case] carried: bool,
) {
    let observed = seen(gone(), KafkaSeen::NotAsked);
    assert_eq!(Carried::into(Some(from), Some(to), observed).is_some(), carried);
}
