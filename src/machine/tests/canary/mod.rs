//! A canary: one of three replicas comes back first, once both offsets were taken from 50 to 10.

mod undo;
mod watch;

use rstest::rstest;

use super::*;
use crate::{
    api::{ActionKind, CanaryState, ConditionType, OnCanaryFailure, ReceiptStatus},
    machine::{
        after,
        coordination::hold::{HoldAction, decide_hold},
        decide,
        decision::{Answer, Decision, Effect},
        facts::{Exit, Hpa, Rollout},
        plan::warnings::canary::of_autoscalers,
        request::Canary,
    },
};

fn asks_for(replicas: i32, on_failure: OnCanaryFailure) -> Request {
    Request { canary: Some(Canary { replicas, timeout: SignedDuration::from_secs(180), on_failure }), ..request() }
}

fn run(on_failure: OnCanaryFailure, status: &OffsetResetStatus, seen: &Observed, now: i64) -> Decision {
    decide(Ok(&asks_for(1, on_failure)), status, seen, at(now))
}

fn empty() -> Group {
    group_in(GroupState::Empty, 0)
}

fn joined() -> Group {
    group_in(GroupState::Stable, 1)
}

/// The workload with its canary.
fn one() -> Seen<Workload> {
    workload(1, vec![pod("canary", false)])
}

/// The Lease of a workload that has, or had, a canary.
fn lease_of_canary() -> Hold {
    Hold { canary: Some(1), ..lease() }
}

/// Both offsets are committed, and read back in the next step.
fn committed_both() -> OffsetResetStatus {
    OffsetResetStatus {
        commits: 1,
        final_plan_time: Some(micro(20)),
        receipt: Some(ReceiptStatus { config_map: "replay-receipt-key".into(), settled: false }),
        ..status_in(Phase::Resetting)
    }
}

fn read_back() -> Observed {
    seen(gone(), commit_seen(empty(), &committed(10, MARKER)))
}

/// The canary is about to be started, at 20 s.
fn begun(on_failure: OnCanaryFailure) -> OffsetResetStatus {
    run(on_failure, &committed_both(), &read_back(), 20).status
}

/// The canary runs since 30 s, and has until 210 s.
pub(super) fn runs(on_failure: OnCanaryFailure) -> OffsetResetStatus {
    let mut status = begun(on_failure);
    for observed in [held(), Seen::Known(lease_of_canary())] {
        status = run(on_failure, &status, &Observed { holds: vec![observed], ..seen(gone(), KafkaSeen::NotAsked) }, 29).status;
    }
    run(on_failure, &status, &up(), 30).status
}

/// As the canary is seen once it runs.
fn look(target: Seen<Workload>, kafka: KafkaSeen) -> Observed {
    Observed { holds: vec![], ..seen(target, kafka) }
}

/// The canary has crashed.
pub(super) fn fails(on_failure: OnCanaryFailure) -> OffsetResetStatus {
    run(on_failure, &runs(on_failure), &look(crashes(), consumed(10, 10)), 40).status
}

fn state(status: &OffsetResetStatus) -> CanaryState {
    status.canary.as_ref().unwrap().state
}

fn outcome(status: &OffsetResetStatus) -> Option<(Phase, Reason)> {
    status.outcome.as_ref().map(|outcome| (outcome.phase, outcome.reason))
}

#[test]
fn the_lease_has_the_count_before_the_canary_is_started() {
    let status = begun(OnCanaryFailure::Undo);
    assert_eq!(
        (status.phase, status.reason, state(&status)),
        (Some(Phase::Canary), Some(Reason::CanaryRunning), CanaryState::Planned)
    );
    assert_eq!(outcome(&status), Some((Phase::Succeeded, Reason::Succeeded)), "the offsets were read back");
    let before = seen(gone(), KafkaSeen::NotAsked);
    let claims = run(OnCanaryFailure::Undo, &status, &before, 21);
    assert_eq!(claims.effect, Some(Effect::Claim { target: 0, hold: lease_of_canary() }));
    assert_eq!(claims.status.targets[0].canary_replicas, Some(1));
    let recorded = Observed { holds: vec![Seen::Known(lease_of_canary())], ..before };
    let starts = run(OnCanaryFailure::Undo, &claims.status, &recorded, 21);
    let effect = Effect::Scale { target: 0, resource_version: "7".into(), replicas: 1, state: None, kind: ActionKind::Canary };
    assert_eq!(starts.effect, Some(effect));
    let running = run(OnCanaryFailure::Undo, &starts.status, &up(), 30);
    assert_eq!((running.effect, running.requeue), (None, Some(SignedDuration::from_secs(1))));
    let canary = running.status.canary.unwrap();
    assert_eq!((canary.state, canary.start_time, canary.deadline), (CanaryState::Running, Some(micro(30)), Some(micro(210))));
}

/// The workload with its canary, as its Lease says.
fn up() -> Observed {
    Observed { holds: vec![Seen::Known(lease_of_canary())], ..seen(one(), KafkaSeen::NotAsked) }
}

/// Before the Lease has it, the count of the canary is that of another client, and stays.
#[rstest]
#[case::of_another_client(held(), CanaryState::Unproven, Some(Restored::LeftAsScaledByOthers))]
#[case::recorded(Seen::Known(lease_of_canary()), CanaryState::Running, None)]
#[case::the_lease_was_deleted_since(Seen::Missing, CanaryState::Running, None)]
fn a_count_is_the_canarys_once_the_lease_has_it(
    #[case] hold: Seen<Hold>,
    #[case] expected: CanaryState,
    #[case] restored: Option<Restored>,
) {
    let mut status = begun(OnCanaryFailure::Undo);
    status.targets[0].canary_replicas = Some(1);
    let observed = Observed { holds: vec![hold], ..seen(one(), KafkaSeen::NotAsked) };
    let looked = run(OnCanaryFailure::Undo, &status, &observed, 21).status;
    assert_eq!(state(&looked), expected);
    let next = run(OnCanaryFailure::Undo, &looked, &observed, 22).status;
    assert_eq!(next.targets[0].restored, restored);
}

/// The hold ends at 600 s.
#[test]
fn the_end_of_the_hold_is_the_end_of_the_canary() {
    let mut status = begun(OnCanaryFailure::Keep);
    status.targets[0].canary_replicas = Some(1);
    let started = run(OnCanaryFailure::Keep, &status, &up(), 590).status;
    assert_eq!(started.canary.unwrap().deadline, Some(micro(600)));
}

/// A Lease that was deleted by hand is created again, with both counts.
#[test]
fn a_lease_that_is_missing_is_written_again_before_the_canary() {
    let observed = Observed { holds: vec![Seen::Missing], ..seen(gone(), KafkaSeen::NotAsked) };
    let decision = run(OnCanaryFailure::Keep, &begun(OnCanaryFailure::Keep), &observed, 21);
    let Some(Effect::Claim { hold, .. }) = decision.effect else { panic!("{:?}", decision.effect) };
    assert_eq!((hold.version.as_str(), hold.replicas, hold.canary, hold.is_claimed_by("uid-1")), ("", 3, Some(1), true));
}

const KEEP: OnCanaryFailure = OnCanaryFailure::Keep;
const UNDO: OnCanaryFailure = OnCanaryFailure::Undo;
const SUCCESS: (Phase, Reason) = (Phase::Succeeded, Reason::Succeeded);
const FAILURE: (Phase, Reason) = (Phase::Failed, Reason::CanaryFailed);

fn crashes() -> Seen<Workload> {
    workload(1, vec![Pod { restarted: true, ..pod("canary", false) }])
}

/// It has crashed just now, and was not started again yet.
fn exited() -> Seen<Workload> {
    workload(1, vec![Pod { exited: true, ready: false, ..pod("canary", false) }])
}

fn consumed(first: i64, second: i64) -> KafkaSeen {
    let KafkaSeen::AfterReset(mut seen) = after_reset(joined(), &committed(first, "")) else { unreachable!() };
    seen.committed.insert(tp(1), committed(second, ""));
    KafkaSeen::AfterReset(seen)
}

fn away() -> KafkaSeen {
    KafkaSeen::Failed(error(KafkaErrorKind::Unreachable))
}

/// Without a record from the target on; or with records only of a transaction that is still open.
fn without_records(end: i64, stable_end: Option<i64>) -> KafkaSeen {
    let KafkaSeen::AfterReset(mut seen) = after_reset(joined(), &committed(10, MARKER)) else { unreachable!() };
    seen.bounds = per_partition(&Ok(Bounds { start: 0, end }));
    seen.stable_ends = stable_end.map(|end| per_partition(&Ok(end))).unwrap_or_default();
    KafkaSeen::AfterReset(seen)
}

/// It has consumed, and has gone on for as long as it has to.
fn passed() -> OffsetResetStatus {
    let proven = run(UNDO, &runs(UNDO), &look(one(), consumed(11, 11)), 35).status;
    run(UNDO, &proven, &look(one(), consumed(11, 11)), 40).status
}

#[rstest]
#[case::deleted(Observed { deleting: true, ..look(one(), consumed(10, 10)) })]
#[case::uninstalled(Observed { uninstalling: true, ..look(one(), consumed(10, 10)) })]
fn what_ends_a_reset_ends_its_canary_and_the_offsets_stay(#[case] observed: Observed) {
    let decision = run(UNDO, &runs(UNDO), &Observed { targets: vec![], ..observed }, 40);
    assert_eq!((decision.status.phase, state(&decision.status)), (Some(Phase::Restoring), CanaryState::Unproven));
    assert_eq!(outcome(&decision.status), Some(SUCCESS), "every offset was read back");
}

/// From the canary's count to the original one; another count stays.
#[rstest]
#[case::the_canary(1, Some(3), None)]
#[case::scaled_to_zero(0, Some(3), None)]
#[case::scaled_by_others(2, None, Some(Restored::LeftAsScaledByOthers))]
#[case::scaled_to_the_original_count(3, None, Some(Restored::Original))]
fn after_the_canary_all_replicas_come_back(
    #[case] replicas: i32,
    #[case] scaled_to: Option<i32>,
    #[case] restored: Option<Restored>,
) {
    let passed = passed();
    let observed =
        Observed { holds: vec![Seen::Known(lease_of_canary())], ..seen(workload(replicas, vec![]), KafkaSeen::NotAsked) };
    let decision = run(UNDO, &passed, &observed, 41);
    let scales = decision.effect.as_ref().and_then(|effect| match effect {
        Effect::Scale { replicas, kind: ActionKind::Restore, .. } => Some(*replicas),
        _ => None,
    });
    assert_eq!((scales, decision.status.targets[0].restored), (scaled_to, restored));
    if let Some(effect) = decision.effect.filter(|_| scaled_to.is_some()) {
        let done = after(&decision.status, &effect, &Answer::Done, &observed, at(41)).status;
        assert_eq!(done.targets[0].canary_replicas, None, "from here on that count was set by another client");
    }
}

/// The consumption is proven, and not asked for again after the end.
#[test]
fn what_the_canary_has_proven_is_not_proven_again() {
    let passed = passed();
    let observed = Observed { holds: vec![Seen::Missing], ..seen(running(), KafkaSeen::NotAsked) };
    let done = run(UNDO, &OffsetResetStatus { receipt: None, ..passed }, &observed, 41).status;
    assert_eq!(done.phase, Some(Phase::Succeeded));
    assert!(done.is_condition(ConditionType::ConsumptionProven, Reason::ConsumptionContinued));
    assert!(!crate::machine::needs_offsets(&done));
    let explained = done.explanation();
    assert!(explained.contains("The canary has consumed past the target on 2 partitions"), "{explained}");
}

#[rstest]
#[case::fewer_replicas_than_the_canary(1, 1)]
#[case::as_many(3, 3)]
fn without_a_replica_that_could_follow_there_is_no_canary(#[case] original: i32, #[case] replicas: i32) {
    let mut status = committed_both();
    status.targets[0].original_replicas = original;
    let decision = decide(Ok(&asks_for(replicas, UNDO)), &status, &read_back(), at(20));
    let canary = decision.status.canary.as_ref().unwrap();
    assert_eq!((decision.status.phase, canary.state), (Some(Phase::Restoring), CanaryState::NotRun));
    assert!(canary.message.starts_with("There is no canary, because no target had more than"), "{}", canary.message);
    assert!(decision.status.outcome.unwrap().explanation().contains("There is no canary"));
}

/// One replica of each; a target that had only one comes back with it.
#[test]
fn of_several_targets_each_has_a_canary() {
    let mut status = begun(UNDO);
    let other = TargetStatus { name: "other".into(), uid: "w-2".into(), original_replicas: 1, ..target_status(true) };
    status.targets.push(other);
    let Seen::Known(found) = gone() else { unreachable!() };
    let second = Seen::Known(Workload { uid: "w-2".into(), ..found });
    let leases = vec![Seen::Known(lease_of_canary()), Seen::Known(Hold { uid: "w-2".into(), replicas: 1, ..lease() })];
    let observed = Observed { targets: vec![one(), second], holds: leases, ..seen(gone(), KafkaSeen::NotAsked) };
    let Some(Effect::Claim { target: 1, hold }) = run(UNDO, &status, &observed, 21).effect else {
        panic!("the other one is next")
    };
    assert_eq!((hold.replicas, hold.canary), (1, Some(1)));
}

/// Both need one workload, so that the canary of one would run beside the other's commit.
#[test]
fn a_stop_that_is_shared_has_no_canary() {
    let shared = Hold { claims: vec![claim("uid-1"), claim("uid-2")], ..lease() };
    let observed = Observed { holds: vec![Seen::Known(shared)], ..seen(gone(), KafkaSeen::NotAsked) };
    let decision = run(UNDO, &begun(UNDO), &observed, 21);
    assert_eq!((decision.status.phase, state(&decision.status)), (Some(Phase::Restoring), CanaryState::NotRun));
    assert_eq!(outcome(&decision.status), Some(SUCCESS));
}

/// Another reset waits until it is restored.
#[rstest]
#[case::the_canary_is_about_to_start(gone())]
#[case::the_canary_runs(one())]
fn no_other_reset_joins_a_canary(#[case] target: Seen<Workload>) {
    let theirs = Hold { claims: vec![claim("uid-2")], ..lease_of_canary() };
    let holds = vec![Seen::Known(theirs)];
    let others = vec![holds::other("uid-2", Some(Phase::Canary))];
    let mut status = status_in(Phase::Stopping);
    status.targets[0].stop_requested = false;
    let decision = decide(Ok(&request()), &status, &Observed { others, holds, ..seen(target, KafkaSeen::NotAsked) }, at(5));
    assert_eq!((decision.effect, decision.status.reason), (None, Some(Reason::WaitingForOtherReset)));
}

#[rstest]
#[case::the_lease_is_refused(Effect::Claim { target: 0, hold: lease_of_canary() }, Answer::Refused("no".into()), None)]
#[case::the_scale_is_refused(scale(), Answer::Refused("no".into()), None)]
#[case::another_count_is_stored(scale(), Answer::Overridden(2), Some(2))]
fn a_canary_that_cannot_be_started_keeps_nothing_at_zero(
    #[case] effect: Effect,
    #[case] answer: Answer,
    #[case] overridden: Option<i32>,
) {
    let decision = after(&begun(UNDO), &effect, &answer, &seen(gone(), KafkaSeen::NotAsked), at(21));
    assert_eq!((decision.status.phase, state(&decision.status)), (Some(Phase::Restoring), CanaryState::Unproven));
    assert_eq!(decision.status.targets[0].overridden_replicas, overridden);
}

fn scale() -> Effect {
    Effect::Scale { target: 0, resource_version: "7".into(), replicas: 1, state: None, kind: ActionKind::Canary }
}

/// Its OffsetReset is gone: the reconciler of Leases restores it.
#[rstest]
#[case::at_the_count_of_the_canary(1, true)]
#[case::at_zero(0, true)]
#[case::at_another_count(2, false)]
fn an_orphaned_canary_is_restored(#[case] replicas: i32, #[case] restored: bool) {
    let action = decide_hold(&lease_of_canary(), &workload(replicas, vec![]), &[], at(99));
    assert_eq!(matches!(action, HoldAction::Restore { .. }), restored, "{action:?}");
    let without = decide_hold(&lease(), &workload(1, vec![]), &[], at(99));
    assert!(matches!(without, HoldAction::Forget(Some(_))), "without a canary it is another client's");
}

#[test]
fn the_plan_says_what_comes_first_and_what_an_autoscaler_would_do() {
    let planned = decide(Ok(&asks_for(1, UNDO)), &status_in(Phase::Planning), &planning(1), at(5)).status;
    let canary = planned.canary.as_ref().unwrap();
    assert_eq!(canary.state, CanaryState::Planned);
    let words = "A canary follows the commit: 1 of 3 replicas of Deployment/consumer comes back first";
    assert!(canary.message.starts_with(words), "{}", canary.message);
    assert!(planned.explanation().contains(words), "{}", planned.explanation());
    let dry =
        decide(Ok(&Request { dry_run: true, ..asks_for(1, UNDO) }), &status_in(Phase::Planning), &planning(1), at(5)).status;
    assert!(dry.explanation().contains(words), "{}", dry.explanation());
    assert!(
        planned.warnings.iter().any(|warning| warning.contains("HorizontalPodAutoscaler/load may scale Deployment/consumer up"))
    );
    let up = decide(Ok(&asks_for(1, UNDO)), &status_in(Phase::Planning), &planning(2), at(5)).status;
    assert!(
        up.warnings.iter().any(|warning| warning.contains("to its minReplicas, 2, which ends the canary")),
        "{:?}",
        up.warnings
    );
    assert_eq!(of_autoscalers(&request(), &up.targets, &planning(2).targets), [""; 0], "without a canary it does not act");
    assert_eq!(
        of_autoscalers(&asks_for(3, UNDO), &up.targets, &planning(2).targets),
        [""; 0],
        "nor without one that is possible"
    );
    let without = decide(Ok(&request()), &status_in(Phase::Planning), &planning(1), at(5)).status;
    assert_eq!(without.canary, None);
}

/// With an autoscaler of that minReplicas.
fn planning(min_replicas: i32) -> Observed {
    let Seen::Known(mut found) = running() else { unreachable!() };
    found.details.autoscalers = vec![Hpa { name: "load".into(), min_replicas, scaled_to_zero: false }];
    let kafka = KafkaSeen::ForPlan(Box::new(plan_seen()));
    Observed { finalizer: false, holds: vec![Seen::Missing], ..seen(Seen::Known(found), kafka) }
}

/// A CRD of an earlier version has removed the canary from the status: the Lease still has its count.
#[test]
fn a_canary_that_the_status_does_not_have_any_more_is_restored() {
    let mut status = runs(OnCanaryFailure::Keep);
    (status.canary, status.targets[0].canary_replicas) = (None, None);
    let observed = Observed { holds: vec![Seen::Known(lease_of_canary())], ..seen(one(), KafkaSeen::NotAsked) };
    let ended = decide(Ok(&request()), &status, &observed, at(40)).status;
    assert_eq!(ended.phase, Some(Phase::Restoring));
    let restores = decide(Ok(&request()), &ended, &observed, at(40)).effect;
    assert!(matches!(restores, Some(Effect::Scale { replicas: 3, kind: ActionKind::Restore, .. })), "{restores:?}");
}

/// Nothing is stopped for minutes to wait for it.
#[test]
fn a_reset_stops_nothing_before_the_canary_of_another_one_is_over() {
    let mut status = status_in(Phase::Stopping);
    status.targets[0].stop_requested = false;
    let mut second = status.targets[0].clone();
    (second.name, second.uid) = ("second".into(), "uid-2".into());
    status.targets.push(second);
    let others =
        Hold { claims: vec![Claim { uid: "uid-other".into(), name: "other".into(), key: "key".into() }], ..lease_of_canary() };
    let Seen::Known(mut other) = workload(1, vec![]) else { unreachable!() };
    other.uid = "uid-2".into();
    let observed = Observed {
        targets: vec![running(), Seen::Known(other)],
        holds: vec![Seen::Missing, Seen::Known(Hold { uid: "uid-2".into(), ..others })],
        others: vec![turns::peer("other", 1, Some(Phase::Canary))],
        ..seen(running(), KafkaSeen::NotAsked)
    };
    let waits = decide(Ok(&request()), &status, &observed, at(6));
    assert_eq!((waits.effect, waits.status.reason), (None, Some(Reason::WaitingForOtherReset)));
    assert!(!waits.status.targets[0].stop_requested);
}

/// Restoring needs no list of pods.
#[rstest]
#[case::before(100, Phase::Canary)]
#[case::after(210, Phase::Restoring)]
fn a_canary_that_cannot_be_read_ends_with_its_timeout(#[case] now: i64, #[case] expected: Phase) {
    let unread = look(Seen::Unknown("pods is forbidden".into()), KafkaSeen::NotAsked);
    let status = run(OnCanaryFailure::Undo, &runs(OnCanaryFailure::Undo), &unread, now).status;
    assert_eq!(status.phase, Some(expected));
    assert_eq!(state(&status) == CanaryState::Unproven, expected == Phase::Restoring);
}
