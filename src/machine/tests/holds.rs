//! Who holds a workload: the Lease before the stop, the one count that several share, and what is
//! orphaned.

use rstest::rstest;

use super::*;
use crate::{
    api::{ActionKind, GroupStatus, Restored},
    machine::{
        after,
        coordination::hold::{HoldAction, decide_hold},
        decide,
        decision::{Answer, Effect},
        facts::{PeerReset, Rollout},
    },
};

pub(super) fn other(uid: &str, phase: Option<Phase>) -> PeerReset {
    PeerReset {
        uid: uid.into(),
        namespace: "shop".into(),
        name: format!("name-of-{uid}"),
        created: at(-100),
        deleting: false,
        finalizer: true,
        key: "key".into(),
        suspended: false,
        dry_run: false,
        phase,
        waits: false,
        planned: true,
        group: "g".into(),
        brokers: vec!["elsewhere:9092".into()],
        cluster_id: Some("cluster-1".into()),
        workloads: vec![],
        targets: vec![],
        hold_start: None,
        hold_timeout: SignedDuration::from_mins(10),
        drain_timeout: SignedDuration::from_mins(2),
    }
}

/// Over, with the replicas back.
fn restored(uid: &str) -> PeerReset {
    let target = TargetStatus { restored: Some(Restored::Original), ..target_status(true) };
    PeerReset { targets: vec![target], ..other(uid, Some(Phase::Succeeded)) }
}

fn claimed_by(uids: &[&str]) -> Seen<Hold> {
    Seen::Known(Hold { claims: uids.iter().map(|uid| claim(uid)).collect(), ..lease() })
}

/// With the id of its cluster known.
pub(super) fn with_cluster(status: OffsetResetStatus) -> OffsetResetStatus {
    let group = GroupStatus {
        cluster_id: Some("cluster-1".into()),
        ..crate::machine::facts::group::status(&group_in(GroupState::Stable, 1), None, &[])
    };
    OffsetResetStatus { group: Some(group), ..status }
}

fn effect(status: &OffsetResetStatus, observed: &Observed) -> Option<Effect> {
    decide(Ok(&request()), status, observed, at(3)).effect
}

/// The claim was recorded and never made, and before it is tried again another client scales the workload
/// to zero: that zero is theirs.
#[rstest]
#[case::and_it_goes_on(false)]
#[case::and_it_is_deleted(true)]
fn what_its_owner_scales_to_zero_before_it_is_claimed_stays_there(#[case] deleting: bool) {
    let with = |target| Observed { deleting, holds: vec![Seen::Missing], ..seen(target, KafkaSeen::NotAsked) };
    let claiming = decide(Ok(&request()), &status_in(Phase::Stopping), &Observed { deleting: false, ..with(running()) }, at(3));
    assert!(matches!(claiming.effect, Some(Effect::Claim { .. })));
    let next = decide(Ok(&request()), &claiming.status, &with(gone()), at(4));
    assert_eq!((next.status.targets[0].stop_requested, next.effect), (false, None));
    // The time is over, or it was deleted: nothing was held, so nothing comes back.
    let over = decide(Ok(&request()), &next.status, &with(gone()), at(601));
    let end = decide(Ok(&request()), &over.status, &with(gone()), at(602));
    assert_eq!(end.status.targets[0].restored, Some(Restored::NotStopped));
}

/// The rule that the model has shown to be one: a zero that another client sets between the look and
/// the stop cannot be told from the operator's own stop whose answer was lost. What stands in the
/// Lease comes back then, rather than consumers that stay away for ever.
#[test]
fn from_the_lease_on_zero_is_the_holds() {
    let observed = seen(gone(), KafkaSeen::NotAsked);
    let next = decide(Ok(&request()), &status_in(Phase::Stopping), &observed, at(3)).status;
    let target = &next.targets[0];
    assert_eq!((target.stop_requested, target.stopped, target.original_replicas), (true, true, 3));
    let over = decide(Ok(&request()), &next, &observed, at(601)).status;
    assert!(matches!(effect(&over, &observed), Some(Effect::Scale { replicas: 3, kind: ActionKind::Restore, .. })));
}

/// The count had changed before the stop, and the operator died between recording that and writing it into the Lease. Others that
/// share the hold have the Lease's.
#[test]
fn a_count_that_never_reached_the_lease_is_not_restored() {
    let mut status = status_in(Phase::Restoring);
    status.targets[0].stop_requested = true;
    status.targets[0].original_replicas = 2;
    let Some(Effect::Scale { replicas, .. }) = effect(&status, &seen(gone(), KafkaSeen::NotAsked)) else { panic!() };
    assert_eq!(replicas, 3);
}

/// Held, and the Lease is gone before the operator has seen the workload at zero: the status knows
/// the count, and the Lease is made again.
#[test]
fn what_was_held_and_has_lost_its_lease_comes_back_all_the_same() {
    let mut status = status_in(Phase::Stopping);
    status.targets[0].stop_requested = true;
    let observed = Observed { holds: vec![Seen::Missing], ..seen(gone(), KafkaSeen::NotAsked) };
    let Some(Effect::Claim { hold, .. }) = effect(&status, &observed) else { panic!() };
    assert_eq!(hold.replicas, 3);
}

#[test]
fn nothing_is_stopped_before_the_lease_says_what_comes_back() {
    let with = |hold| Observed { holds: vec![hold], ..seen(running(), KafkaSeen::NotAsked) };
    let stopping = status_in(Phase::Stopping);
    let Some(Effect::Claim { hold, .. }) = effect(&stopping, &with(Seen::Missing)) else { panic!() };
    assert_eq!((hold.version.as_str(), hold.replicas, hold.since, hold.until), ("", 3, at(0), at(600)));
    assert_eq!(hold.claims, [Claim { uid: "uid-1".into(), name: "replay".into(), key: "key".into() }]);

    assert_eq!(effect(&stopping, &with(Seen::Unknown("no route".into()))), None, "who holds it is not known");
    assert!(matches!(effect(&stopping, &with(held())), Some(Effect::Scale { replicas: 0, .. })));
}

#[rstest]
#[case::its_replicas_changed_a_moment_ago(Rollout::Unobserved, None)]
#[case::a_rollout_began(Rollout::Progressing { pods: "1 of 4 pods have its newest revision".into(), deadline: None }, Some(Reason::RolloutIncomplete))]
fn nothing_is_stopped_while_its_controller_has_not_told_of_its_newest_spec(
    #[case] rollout: Rollout,
    #[case] ends: Option<Reason>,
) {
    let Seen::Known(found) = running() else { panic!() };
    let details = WorkloadDetails { rollout, ..WorkloadDetails::default() };
    let observed = seen(Seen::Known(Workload { details, ..found }), KafkaSeen::NotAsked);
    let decision = decide(Ok(&request()), &status_in(Phase::Stopping), &observed, at(3));
    assert_eq!((decision.effect, decision.status.outcome.as_ref().map(|outcome| outcome.reason)), (None, ends));
    if ends.is_none() {
        assert_eq!((decision.status.phase, decision.status.reason), (Some(Phase::Stopping), Some(Reason::WaitingForRollout)));
        assert!(decision.requeue.is_some(), "the status of a custom kind is not watched");
    }
}

#[test]
fn what_goes_to_zero_before_the_lease_was_written_gets_a_lease_all_the_same() {
    let at_zero = |holds| Observed { holds: vec![holds], ..seen(gone(), KafkaSeen::NotAsked) };
    let mut stopping = status_in(Phase::Stopping);
    stopping.targets[0].stop_requested = true;
    let Some(Effect::Claim { hold, .. }) = effect(&stopping, &at_zero(Seen::Missing)) else { panic!() };
    assert_eq!((hold.replicas, hold.claims.len()), (3, 1), "what it had when it was to be stopped comes back");

    stopping.targets[0].stop_requested = false;
    assert_eq!(effect(&stopping, &at_zero(Seen::Missing)), None, "at zero before we came");
}

#[test]
fn a_claim_that_is_refused_ends_the_reset_and_nothing_was_stopped() {
    let observed = Observed { holds: vec![Seen::Missing], ..seen(running(), KafkaSeen::NotAsked) };
    let decision = decide(Ok(&request()), &status_in(Phase::Stopping), &observed, at(3));
    let refused = Answer::Refused("the namespace is being terminated".into());
    let end = after(&decision.status, decision.effect.as_ref().unwrap(), &refused, &observed, at(3));
    assert_eq!(end.status.outcome.as_ref().unwrap().reason, Reason::TargetUnreachable);
    assert!(end.status.explanation().contains("was not stopped"), "{:?}", end.status.message);
}

#[test]
fn who_shares_a_stop_takes_the_count_that_the_lease_has() {
    let others = vec![other("uid-2", Some(Phase::Stopping))];
    let with = |target, hold| Observed { holds: vec![hold], others: others.clone(), ..seen(target, KafkaSeen::NotAsked) };
    let stopping = status_in(Phase::Stopping);
    // The other one is just stopping it, or stops it again: joined at zero, it has one count only.
    let decision = decide(Ok(&request()), &stopping, &with(workload(7, vec![]), claimed_by(&["uid-2"])), at(3));
    assert_eq!((decision.effect, decision.status.reason), (None, Some(Reason::WaitingForOtherReset)));
    let joined = decide(Ok(&request()), &stopping, &with(gone(), claimed_by(&["uid-2"])), at(3));
    let Some(Effect::Claim { hold, .. }) = &joined.effect else { panic!("{:?}", joined.effect) };
    assert_eq!((hold.replicas, hold.claims.len()), (3, 2));
    assert_eq!(joined.status.targets[0].original_replicas, 3);
    // Whatever the status says: what both have recorded together comes back.
    let mut other_count = joined.status.clone();
    other_count.targets[0].original_replicas = 5;
    let settled = decide(Ok(&request()), &other_count, &with(gone(), claimed_by(&["uid-2", "uid-1"])), at(4));
    assert_eq!(settled.status.targets[0].original_replicas, 3);
}

/// A Lease may stay when it cannot be written, or when KEDA's object cannot be let go.
#[rstest]
#[case::it_runs(running(), vec![restored("uid-2")], Some(3))]
#[case::it_runs_and_the_other_is_unknown(workload(7, vec![]), vec![], Some(7))]
#[case::its_owner_has_scaled_it_to_zero(gone(), vec![restored("uid-2")], None)]
fn the_rest_of_a_hold_that_is_over_blocks_no_reset(
    #[case] target: Seen<Workload>,
    #[case] others: Vec<PeerReset>,
    #[case] held_from: Option<i32>,
) {
    let observed = Observed { holds: vec![claimed_by(&["uid-2"])], others, ..seen(target, KafkaSeen::NotAsked) };
    let decision = decide(Ok(&request()), &status_in(Phase::Stopping), &observed, at(3));
    let claimed = decision.effect.map(|effect| match effect {
        Effect::Claim { hold, .. } => (hold.is_claimed_by("uid-1"), hold.version, hold.replicas, hold.claims.len()),
        other => panic!("{other:?}"),
    });
    assert_eq!(claimed, held_from.map(|replicas| (true, lease().version, replicas, 1)));
}

/// What was taken up is held at zero while another one, admitted meanwhile, works on the group: it
/// waits where it is, bounded by its hold.
#[test]
fn what_is_held_already_waits_for_the_group_where_it_is() {
    let mut stopping = with_cluster(status_in(Phase::Stopping));
    stopping.targets[0] = target_status(true);
    let others = vec![other("uid-2", Some(Phase::Draining))];
    let observed = Observed { finalizer: false, others, ..seen(gone(), KafkaSeen::NotAsked) };
    let decision = decide(Ok(&request()), &stopping, &observed, at(3));
    assert_eq!((decision.effect, decision.status.phase, &decision.status.hold), (None, Some(Phase::Stopping), &stopping.hold));
    assert!(decision.requeue.unwrap().is_positive() && decision.status.explanation().contains("have been at zero"));
    let alone = Observed { others: vec![], ..observed.clone() };
    assert_eq!(effect(&stopping, &alone), Some(Effect::AddFinalizer));
    assert_eq!(decide(Ok(&request()), &stopping, &observed, at(600)).status.phase, Some(Phase::Restoring));
}

#[test]
fn one_whose_claim_stands_keeps_the_claims_of_others_when_it_lets_go() {
    let mut status = status_in(Phase::Restoring);
    status.targets[0].restored = Some(Restored::LeftAsScaledByOthers);
    let observed = Observed { holds: vec![claimed_by(&["uid-2", "uid-1"])], ..seen(running(), KafkaSeen::NotAsked) };
    let Some(Effect::Release { hold, .. }) = effect(&status, &observed) else { panic!() };
    assert_eq!(hold.claims, [claim("uid-2")]);
    // A Lease that cannot be written or read keeps nothing back.
    let release = Effect::Release { target: 0, hold };
    let refused = after(&status, &release, &Answer::Refused("forbidden".into()), &observed, at(3)).status;
    assert_eq!(decide(Ok(&request()), &refused, &observed, at(3)).status.phase, Some(Phase::Succeeded));
    let unseen = Observed { holds: vec![Seen::Unknown("forbidden".into())], ..observed };
    assert_eq!(decide(Ok(&request()), &status, &unseen, at(3)).status.phase, Some(Phase::Succeeded));
}

/// The status may have been wiped while the workload was held: what the claim says counts.
#[test]
fn a_claim_that_the_status_does_not_know_of_brings_the_replicas_back() {
    let mut status = status_in(Phase::Restoring);
    status.targets[0] = TargetStatus { original_replicas: 0, ..target_status(false) };
    let observed = seen(gone(), KafkaSeen::NotAsked);
    assert!(matches!(effect(&status, &observed), Some(Effect::Scale { replicas: 3, kind: ActionKind::Restore, .. })));
    let others = Observed { holds: vec![claimed_by(&["uid-2"])], ..observed };
    let decision = decide(Ok(&request()), &status, &others, at(3));
    assert_eq!(decision.status.targets[0].restored, Some(Restored::NotStopped), "held for another one");
}

#[test]
fn a_refused_restore_is_tried_again_after_a_moment_and_not_at_once() {
    let observed = seen(gone(), KafkaSeen::NotAsked);
    let first = decide(Ok(&request()), &status_in(Phase::Restoring), &observed, at(3));
    let refused = after(&first.status, first.effect.as_ref().unwrap(), &Answer::Refused("quota".into()), &observed, at(3)).status;
    let woken = decide(Ok(&request()), &refused, &observed, at(3));
    assert_eq!((woken.effect, woken.status), (None, refused.clone()), "its own write wakes it, and it writes nothing");
    assert!(matches!(decide(Ok(&request()), &refused, &observed, at(4)).effect, Some(Effect::Scale { replicas: 3, .. })));
}

#[test]
fn a_lease_that_is_missing_while_it_is_held_is_made_again_with_the_saved_count() {
    let with = |target| Observed { holds: vec![Seen::Missing], ..seen(target, KafkaSeen::NotAsked) };
    let mut status = status_in(Phase::Stopping);
    status.targets[0] = target_status(true);
    for target in [gone(), workload(7, vec![])] {
        let Some(Effect::Claim { hold, .. }) = effect(&status, &with(target)) else { panic!() };
        assert_eq!(hold.replicas, 3, "a saved count is never changed once the workload was seen at zero");
    }
}

#[test]
fn a_lease_that_cannot_be_read_is_seen_while_the_consumers_run() {
    let broken = vec![Seen::Unknown("its annotation is no number".into())];
    let observed = Observed { holds: broken, ..seen(running(), KafkaSeen::ForPlan(Box::new(plan_seen()))) };
    let early = decide(Ok(&request()), &status_in(Phase::Planning), &observed, at(3));
    assert_eq!((early.status.phase, early.status.reason), (Some(Phase::Planning), Some(Reason::TargetUnreachable)));
    let late = decide(Ok(&request()), &status_in(Phase::Planning), &observed, at(31));
    assert_eq!((late.status.phase, late.effect), (Some(Phase::Failed), None));
}

#[test]
fn a_target_that_is_refused_its_replicas_keeps_no_other_at_zero() {
    let mut status = status_in(Phase::Restoring);
    status.targets.push(TargetStatus { name: "second".into(), uid: "w-2".into(), ..target_status(true) });
    let second = Seen::Known(Workload {
        uid: "w-2".into(),
        resource_version: "8".into(),
        replicas: 0,
        refusal: None,
        overridden: None,
        state: None,
        pods: vec![],
        details: WorkloadDetails::default(),
    });
    let observed = Observed {
        targets: vec![gone(), second],
        holds: vec![held(), Seen::Known(Hold { uid: "w-2".into(), ..lease() })],
        ..seen(gone(), KafkaSeen::NotAsked)
    };
    let scaled_at = |status: &OffsetResetStatus, now| match decide(Ok(&request()), status, &observed, at(now)).effect {
        Some(Effect::Scale { target, replicas: 3, kind: ActionKind::Restore, .. }) => target,
        other => panic!("{other:?}"),
    };
    let scaled = |status: &OffsetResetStatus| scaled_at(status, 3);
    assert_eq!(scaled(&status), 0);
    let first = effect(&status, &observed).unwrap();
    let refused = after(&status, &first, &Answer::Refused("quota".into()), &observed, at(3)).status;
    assert_eq!(scaled(&refused), 1, "the other one does not wait for it");
    let second = effect(&refused, &observed).unwrap();
    let both = after(&refused, &second, &Answer::Refused("quota".into()), &observed, at(3)).status;
    assert_eq!(scaled_at(&both, 4), 0, "and it is tried again");
}

#[rstest]
#[case::by_other_names_of_the_brokers(other("uid-2", Some(Phase::Draining)), true)]
#[case::itself(other("uid-1", Some(Phase::Stopping)), false)]
#[case::not_admitted_yet(PeerReset { finalizer: false, ..other("uid-2", Some(Phase::Stopping)) }, false)]
#[case::over(other("uid-2", Some(Phase::Succeeded)), false)]
#[case::another_cluster(PeerReset { cluster_id: Some("cluster-2".into()), ..other("uid-2", Some(Phase::Draining)) }, false)]
#[case::an_unknown_cluster(PeerReset { cluster_id: None, ..other("uid-2", Some(Phase::Draining)) }, true)]
#[case::another_group(PeerReset { group: "h".into(), ..other("uid-2", Some(Phase::Draining)) }, false)]
fn one_reset_at_a_time_is_admitted_to_a_group_of_a_cluster(#[case] other: PeerReset, #[case] waits: bool) {
    let stopping = with_cluster(status_in(Phase::Stopping));
    let observed = Observed { finalizer: false, others: vec![other.clone()], ..seen(running(), KafkaSeen::NotAsked) };
    let decision = decide(Ok(&request()), &stopping, &observed, at(3));
    if waits {
        assert_eq!((&decision.effect, decision.status.phase, &decision.status.hold), (&None, Some(Phase::Pending), &None));
        // And it stays there, without a plan each time, until the other one is done.
        let waiting = decide(Ok(&request()), &decision.status, &observed, at(4));
        assert_eq!((&waiting.status.phase, &waiting.status.reason), (&Some(Phase::Pending), &Some(Reason::WaitingForOtherReset)));
        assert_eq!(decide(Ok(&request()), &waiting.status, &observed, at(9)).status, waiting.status, "nothing to write");
    } else {
        assert_eq!(decision.effect, Some(Effect::AddFinalizer));
    }
    let planning = Observed { others: vec![other], ..seen(running(), KafkaSeen::ForPlan(Box::new(plan_seen()))) };
    let decision = decide(Ok(&request()), &status_in(Phase::Planning), &planning, at(3));
    assert_eq!(decision.status.phase, Some(if waits { Phase::Pending } else { Phase::Stopping }));
}

fn restore() -> HoldAction {
    HoldAction::Restore { resource_version: "7".into() }
}

#[rstest]
#[case::its_reset_holds(gone(), vec![other("uid-1", Some(Phase::Draining))], 10, HoldAction::Keep)]
#[case::its_reset_holds_for_longer_than_it_may(gone(), vec![other("uid-1", Some(Phase::Restoring))], 9_999, HoldAction::Keep)]
#[case::its_reset_is_gone(gone(), vec![], 10, restore())]
#[case::its_reset_is_over(gone(), vec![other("uid-1", Some(Phase::Failed))], 10, restore())]
#[case::another_reset(gone(), vec![PeerReset { key: "other".into(), ..other("uid-2", Some(Phase::Draining)) }], 10, restore())]
#[case::its_status_was_wiped(gone(), vec![other("uid-1", None)], 10, HoldAction::Keep)]
#[case::its_status_was_wiped_and_its_time_is_over(gone(), vec![other("uid-1", None)], 600, restore())]
#[case::created_again_with_the_same_spec(
    gone(), vec![PeerReset { name: "name-of-uid-1".into(), ..other("uid-2", Some(Phase::Pending)) }], 10, HoldAction::Keep
)]
#[case::created_again_and_suspended(
    gone(), vec![PeerReset { name: "name-of-uid-1".into(), suspended: true, ..other("uid-2", None) }], 10, restore()
)]
#[case::created_again_with_another_spec(
    gone(), vec![PeerReset { name: "name-of-uid-1".into(), key: "other".into(), ..other("uid-2", None) }], 10, restore()
)]
#[case::scaled_to_zero_after_it_was_back(gone(), vec![restored("uid-1")], 10, HoldAction::Forget(None))]
#[case::back_already(running(), vec![], 10, HoldAction::Forget(None))]
#[case::the_workload_is_gone(Seen::Missing, vec![], 10, HoldAction::Forget(None))]
#[case::the_workload_was_recreated(
    Seen::Known(Workload { uid: "w-9".into(), resource_version: "1".into(), replicas: 0, state: None, refusal: None, overridden: None, pods: vec![], details: WorkloadDetails::default() }), vec![], 10,
    HoldAction::Forget(None)
)]
#[case::not_seen(Seen::Unknown("no route".into()), vec![], 10, HoldAction::Unseen("no route".into()))]
fn an_orphaned_hold_is_restored(
    #[case] target: Seen<Workload>,
    #[case] resets: Vec<PeerReset>,
    #[case] now: i64,
    #[case] expected: HoldAction,
) {
    assert_eq!(decide_hold(&lease(), &target, &resets, at(now)), expected);
}

#[test]
fn a_count_that_was_set_meanwhile_stands_and_is_reported() {
    let HoldAction::Forget(Some(said)) = decide_hold(&lease(), &workload(5, vec![]), &[], at(10)) else { panic!() };
    assert!(said.contains("left at 5 replicas") && said.contains("had 3"), "{said}");
}

#[test]
fn the_claims_of_those_who_are_gone_go_and_the_others_stay() {
    let hold = Hold { claims: vec![claim("uid-1"), claim("uid-2")], ..lease() };
    let resets = [other("uid-2", Some(Phase::Stopping))];
    assert_eq!(decide_hold(&hold, &gone(), &resets, at(10)), HoldAction::Keeping(vec![claim("uid-2")]));
}
