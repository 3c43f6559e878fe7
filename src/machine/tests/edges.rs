//! The table: every phase with what may be seen in it, and what follows.

use rstest::rstest;

use super::*;
use crate::{
    api::{ActionKind, RemainingMembers},
    machine::{
        MAX_COMMITS, MAX_REHOLDS, after, decide,
        decision::{Answer, Decision, Effect},
        facts::Blocker,
    },
};

/// What a decision comes to, for comparison.
#[derive(Debug, PartialEq)]
enum Then {
    /// It is in this phase now, and does nothing.
    In(Phase, Reason),
    /// It finds this outcome and goes on to restore.
    Restores(Phase, Reason),
    /// It is in this phase and scales.
    Scales(Phase, i32, ActionKind),
    /// It commits this many partitions.
    Commits(usize),
    /// It puts the finalizer on.
    AddsFinalizer,
    /// It takes the finalizer off.
    RemovesFinalizer,
    /// It writes into the Lease: so many replicas, so many claims.
    Claims(i32, usize),
    /// It takes its claim out of the Lease: so many are left.
    Releases(usize),
    /// It pauses what scales the target.
    Pauses,
    /// It resumes the ScaledObject of the target.
    Resumes,
    /// It takes so many members out of the group.
    Removes(usize),
    /// It closes the receipt, or deletes it.
    Settles(bool),
}
use Then::*;

fn then(decision: &Decision) -> Then {
    let phase = decision.status.phase.unwrap();
    match &decision.effect {
        Some(Effect::AddFinalizer) => AddsFinalizer,
        Some(Effect::RemoveFinalizer) => RemovesFinalizer,
        Some(Effect::Delete) => unreachable!("without a time to live"),
        Some(Effect::Scale { replicas, kind, .. }) => Scales(phase, *replicas, *kind),
        Some(Effect::Commit(offsets)) => Commits(offsets.len()),
        Some(Effect::RemoveOffsets(removed)) => Commits(removed.len()),
        Some(Effect::Claim { hold, .. }) => Claims(hold.replicas, hold.claims.len()),
        Some(Effect::Release { hold, .. }) => Releases(hold.claims.len()),
        Some(Effect::Pause { .. }) => Pauses,
        Some(Effect::Resume { .. }) => Resumes,
        Some(Effect::RemoveMembers(members)) => Removes(members.len()),
        Some(Effect::SettleReceipt { keep }) => Settles(*keep),
        None => match (phase, &decision.status.outcome) {
            (Phase::Restoring, Some(outcome)) => Restores(outcome.phase, outcome.reason),
            _ => In(phase, decision.status.reason.unwrap()),
        },
    }
}

fn run(status: &OffsetResetStatus, seen: &Observed, now: i64) -> Decision {
    decide(Ok(&request()), status, seen, at(now))
}

fn empty() -> Group {
    group_in(GroupState::Empty, 0)
}

fn stable() -> Group {
    group_in(GroupState::Stable, 3)
}

fn kafka_failed(kind: KafkaErrorKind) -> KafkaSeen {
    KafkaSeen::Failed(error(kind))
}

fn unknown() -> Seen<Workload> {
    Seen::Unknown("no route to host".into())
}

fn replaced() -> Seen<Workload> {
    Seen::Known(Workload {
        uid: "w-2".into(),
        resource_version: "9".into(),
        replicas: 3,
        refusal: None,
        overridden: None,
        state: None,
        pods: vec![],
        details: WorkloadDetails::default(),
    })
}

fn refused() -> Seen<Workload> {
    Seen::Known(Workload {
        uid: "w-1".into(),
        resource_version: "9".into(),
        replicas: 3,
        refusal: Some(Denial::Refused("forbidden".into())),
        overridden: None,
        state: None,
        pods: vec![],
        details: WorkloadDetails::default(),
    })
}

#[rstest]
#[case::first_visit(None, In(Phase::Planning, Reason::Planning))]
#[case::another_reset_goes_first(
    Some(Blocker { name: "shop/other".into(), shared: "group g".into() }),
    In(Phase::Pending, Reason::WaitingForOtherReset)
)]
fn pending_waits_its_turn(#[case] blocker: Option<Blocker>, #[case] expected: Then) {
    let observed = Observed { blocker, targets: vec![], finalizer: false, ..seen(unknown(), KafkaSeen::NotAsked) };
    let decision = run(&OffsetResetStatus::default(), &observed, 0);
    assert_eq!(then(&decision), expected);
    assert_eq!(decision.status.start_time, Some(Time(at(0))));
}

#[rstest]
#[case::suspended(true, None, Phase::Pending, In(Phase::Pending, Reason::Suspended))]
#[case::suspended_while_it_plans(true, None, Phase::Planning, In(Phase::Pending, Reason::Suspended))]
#[case::suspended_and_its_time_is_over(true, Some(9), Phase::Pending, In(Phase::Failed, Reason::Expired))]
#[case::its_time_is_over(false, Some(9), Phase::Pending, In(Phase::Failed, Reason::Expired))]
#[case::its_time_is_over_while_it_plans(false, Some(9), Phase::Planning, In(Phase::Failed, Reason::Expired))]
#[case::just_in_time(false, Some(10), Phase::Planning, In(Phase::Stopping, Reason::PlanMade))]
#[case::suspended_too_late(true, None, Phase::Stopping, AddsFinalizer)]
#[case::over_while_it_is_under_way(false, Some(9), Phase::Stopping, AddsFinalizer)]
fn what_must_not_begin_stays_away(
    #[case] suspended: bool,
    #[case] not_after: Option<i64>,
    #[case] phase: Phase,
    #[case] expected: Then,
) {
    let request = Request { suspended, not_after: not_after.map(at), ..request() };
    let observed = Observed { finalizer: false, ..seen(running(), KafkaSeen::ForPlan(Box::new(plan_seen()))) };
    let decision = decide(Ok(&request), &status_in(phase), &observed, at(10));
    assert_eq!(then(&decision), expected);
    if decision.status.reason == Some(Reason::Suspended) {
        assert!(decision.requeue.is_some() && decision.effect.is_none());
    }
}

#[test]
fn what_is_suspended_is_looked_at_again_when_its_time_is_over() {
    let request = Request { suspended: true, not_after: Some(at(70)), ..request() };
    let decision = decide(Ok(&request), &status_in(Phase::Pending), &seen(running(), KafkaSeen::NotAsked), at(10));
    let again = at(10).checked_add(decision.requeue.unwrap()).unwrap();
    let decision = decide(Ok(&request), &decision.status, &seen(running(), KafkaSeen::NotAsked), again);
    assert_eq!(then(&decision), In(Phase::Failed, Reason::Expired));
}

#[rstest]
#[case::all_is_well(running(), KafkaSeen::ForPlan(Box::new(plan_seen())), 1, In(Phase::Stopping, Reason::PlanMade))]
#[case::no_such_target(Seen::Missing, KafkaSeen::ForPlan(Box::new(plan_seen())), 1, In(Phase::Failed, Reason::TargetNotFound))]
#[case::scaling_is_forbidden(
    refused(),
    KafkaSeen::ForPlan(Box::new(plan_seen())),
    1,
    In(Phase::Failed, Reason::TargetUnreachable)
)]
#[case::target_not_seen(unknown(), KafkaSeen::ForPlan(Box::new(plan_seen())), 1, In(Phase::Planning, Reason::TargetUnreachable))]
#[case::target_never_seen(unknown(), KafkaSeen::ForPlan(Box::new(plan_seen())), 31, In(Phase::Failed, Reason::TargetUnreachable))]
#[case::broker_away(running(), kafka_failed(KafkaErrorKind::Unreachable), 1, In(Phase::Planning, Reason::BrokerUnreachable))]
#[case::broker_away_too_long(
    running(),
    kafka_failed(KafkaErrorKind::Unreachable),
    31,
    In(Phase::Failed, Reason::BrokerUnreachable)
)]
#[case::wrong_password(
    running(),
    kafka_failed(KafkaErrorKind::Authentication),
    1,
    In(Phase::Failed, Reason::AuthenticationFailed)
)]
#[case::unknown_group(
    running(),
    KafkaSeen::ForPlan(Box::new(PlanSeen { group: Group::NotFound, committed: BTreeMap::new(), ..plan_seen() })),
    1,
    In(Phase::Failed, Reason::GroupNotFound)
)]
fn planning_stops_nothing_for_a_reset_that_cannot_be(
    #[case] target: Seen<Workload>,
    #[case] kafka: KafkaSeen,
    #[case] now: i64,
    #[case] expected: Then,
) {
    let observed = Observed { finalizer: false, ..seen(target, kafka) };
    let decision = run(&status_in(Phase::Planning), &observed, now);
    assert_eq!(then(&decision), expected);
    if let In(Phase::Failed, _) = expected {
        assert!(
            decision.status.completion_time.is_some() && decision.status.hold.is_none() && decision.status.targets.is_empty()
        );
    }
}

#[test]
fn the_plan_is_recorded_with_the_replicas_before_anything_is_stopped() {
    let decision = run(&status_in(Phase::Planning), &seen(running(), KafkaSeen::ForPlan(Box::new(plan_seen()))), 1);
    assert_eq!(decision.effect, None);
    assert_eq!(decision.status.targets[0].original_replicas, 3);
    assert_eq!(decision.status.partitions.len(), 2);
    assert_eq!(decision.status.hold.unwrap().deadline, micro(601));
}

#[rstest]
#[case::first_the_finalizer(Observed { finalizer: false, ..seen(running(), KafkaSeen::NotAsked) }, AddsFinalizer)]
#[case::then_to_zero(seen(running(), KafkaSeen::NotAsked), Scales(Phase::Stopping, 0, ActionKind::Stop))]
#[case::at_zero_already(seen(gone(), KafkaSeen::NotAsked), In(Phase::Draining, Reason::WaitingForGroup))]
#[case::pods_still_end(seen(workload(0, vec![pod("a", true), pod("b", false)]), KafkaSeen::NotAsked), In(Phase::Stopping, Reason::WaitingForContainers))]
#[case::pods_have_ended(seen(workload(0, vec![pod("a", true)]), KafkaSeen::NotAsked), In(Phase::Draining, Reason::WaitingForGroup))]
#[case::not_seen_is_not_stopped(seen(unknown(), KafkaSeen::NotAsked), In(Phase::Stopping, Reason::WaitingForContainers))]
#[case::gone_for_good(seen(Seen::Missing, KafkaSeen::NotAsked), Restores(Phase::Failed, Reason::TargetReplaced))]
#[case::another_one_under_the_name(seen(replaced(), KafkaSeen::NotAsked), Restores(Phase::Failed, Reason::TargetReplaced))]
#[case::deleted(Observed { deleting: true, ..seen(running(), KafkaSeen::NotAsked) }, Restores(Phase::Cancelled, Reason::Cancelled))]
fn stopping_waits_for_the_last_container(#[case] observed: Observed, #[case] expected: Then) {
    assert_eq!(then(&run(&status_in(Phase::Stopping), &observed, 3)), expected);
}

#[test]
fn the_count_that_comes_back_is_the_one_right_before_the_stop() {
    let held_from = |replicas| Seen::Known(Hold { replicas, ..lease() });
    let with = |target, hold| Observed { holds: vec![hold], ..seen(target, KafkaSeen::NotAsked) };
    let first = run(&status_in(Phase::Stopping), &with(workload(5, vec![]), Seen::Missing), 3);
    assert_eq!(then(&first), Claims(5, 1), "an autoscaler changed it after the plan");
    assert_eq!(first.status.targets[0].original_replicas, 5);
    assert!(!first.status.targets[0].stop_requested, "not before the Lease says so");
    // One more change between the claim and the stop: that count is the one that will be stopped.
    let second = run(&first.status, &with(workload(6, vec![]), held_from(5)), 4);
    assert_eq!(then(&second), Claims(6, 1));
    assert_eq!(second.status.targets[0].original_replicas, 6);
    let stop = run(&second.status, &with(workload(6, vec![]), held_from(6)), 4);
    assert_eq!(then(&stop), Scales(Phase::Stopping, 0, ActionKind::Stop));
    // Seen at zero once, nothing changes it any more.
    let stopped = run(&stop.status, &with(workload(0, vec![pod("a", false)]), held_from(6)), 5);
    let scaled_up = run(&stopped.status, &with(workload(9, vec![]), held_from(6)), 6);
    assert_eq!(then(&scaled_up), Scales(Phase::Stopping, 0, ActionKind::Stop));
    assert_eq!(scaled_up.status.targets[0].original_replicas, 6);
    let lost_race = run(&scaled_up.status, &with(workload(8, vec![]), held_from(6)), 6);
    assert_eq!(lost_race.status.targets[0].original_replicas, 6);
    assert_eq!(lost_race.status.targets[0].scaled_up_by_others, 1, "one intervention counts once");
}

#[test]
fn a_count_that_is_set_before_the_next_look_is_not_taken_for_the_original_one() {
    let one = |replicas| seen(workload(replicas, vec![]), KafkaSeen::NotAsked);
    let stop = run(&status_in(Phase::Stopping), &one(3), 3);
    let effect = stop.effect.clone().unwrap();
    let accepted = after(&stop.status, &effect, &Answer::Done, &one(3), at(3));
    // Another client scales it to 1 before this operator looks again.
    let found = run(&accepted.status, &one(1), 4);
    assert_eq!(then(&found), Scales(Phase::Stopping, 0, ActionKind::Stop));
    assert_eq!((found.status.targets[0].original_replicas, found.status.targets[0].scaled_up_by_others), (3, 1));
}

#[rstest]
#[case::one_instead_of_zero(1)]
#[case::the_old_count_is_kept(3)]
fn a_count_that_replaces_our_zero_ends_the_reset_and_the_saved_one_is_restored(#[case] count: i32) {
    let with = |replicas| seen(workload(replicas, vec![]), KafkaSeen::NotAsked);
    let stop = run(&status_in(Phase::Stopping), &with(3), 3);
    let overridden = after(&stop.status, &stop.effect.clone().unwrap(), &Answer::Overridden(count), &with(3), at(3));
    assert_eq!(then(&overridden), Restores(Phase::Failed, Reason::ReplicasOverridden));
    assert_eq!(overridden.status.targets[0].original_replicas, 3);
    let restoring = run(&overridden.status, &with(count), 4);
    if count == 3 {
        assert_eq!(restoring.status.targets[0].restored, Some(Restored::Original));
    } else {
        assert_eq!(then(&restoring), Scales(Phase::Restoring, 3, ActionKind::Restore));
    }
}

#[test]
fn a_target_at_zero_stays_at_zero() {
    let mut status = status_in(Phase::Stopping);
    status.targets[0].original_replicas = 0;
    let at_zero = Observed { holds: vec![Seen::Missing], ..seen(gone(), KafkaSeen::NotAsked) };
    let drained = run(&status, &at_zero, 3);
    assert_eq!(then(&drained), In(Phase::Draining, Reason::WaitingForGroup));
    assert!(!drained.status.targets[0].stop_requested);
    let restoring = OffsetResetStatus { targets: drained.status.targets, ..status_in(Phase::Restoring) };
    assert_eq!(then(&run(&restoring, &at_zero, 9)), In(Phase::Succeeded, Reason::Succeeded));
}

#[test]
fn who_scales_up_again_and_again_is_given_way_to_and_named() {
    let mut status = status_in(Phase::Draining);
    for round in 1..=MAX_REHOLDS {
        let back = run(&status, &seen(running(), KafkaSeen::NotAsked), 6);
        assert_eq!(then(&back), In(Phase::Stopping, Reason::WaitingForContainers));
        let again = run(&back.status, &seen(running(), KafkaSeen::NotAsked), 6);
        assert_eq!(then(&again), Scales(Phase::Stopping, 0, ActionKind::Stop));
        assert_eq!(again.status.targets[0].scaled_up_by_others, round);
        status = run(&again.status, &seen(gone(), KafkaSeen::NotAsked), 7).status;
    }
    let back = run(&status, &seen(running(), KafkaSeen::NotAsked), 8);
    assert_eq!(
        then(&run(&back.status, &seen(running(), KafkaSeen::NotAsked), 8)),
        Restores(Phase::Failed, Reason::ScaledUpByOthers)
    );
}

#[rstest]
#[case::free(KafkaSeen::Group(empty()), 6, In(Phase::Resetting, Reason::Committing))]
#[case::not_found_is_free(KafkaSeen::Group(Group::NotFound), 6, In(Phase::Resetting, Reason::Committing))]
#[case::dead_is_free(KafkaSeen::Group(group_in(GroupState::Dead, 0)), 6, In(Phase::Resetting, Reason::Committing))]
#[case::members_left(KafkaSeen::Group(stable()), 6, In(Phase::Draining, Reason::WaitingForGroup))]
#[case::longer_than_the_session(KafkaSeen::Group(stable()), 20, In(Phase::Draining, Reason::WaitingForGroup))]
#[case::free_after_the_session(KafkaSeen::Group(empty()), 20, In(Phase::Resetting, Reason::Committing))]
#[case::members_never_leave(KafkaSeen::Group(stable()), 125, Restores(Phase::Failed, Reason::GroupNotEmpty))]
#[case::free_at_the_last_moment(KafkaSeen::Group(empty()), 125, In(Phase::Resetting, Reason::Committing))]
#[case::unknown_is_never_empty(
    KafkaSeen::Group(group_in(GroupState::Unknown, 0)),
    6,
    In(Phase::Draining, Reason::WaitingForGroup)
)]
#[case::broker_away(kafka_failed(KafkaErrorKind::Unreachable), 6, In(Phase::Draining, Reason::BrokerUnreachable))]
#[case::broker_away_too_long(kafka_failed(KafkaErrorKind::Unreachable), 125, Restores(Phase::Failed, Reason::BrokerUnreachable))]
#[case::password_changed(kafka_failed(KafkaErrorKind::Authentication), 6, Restores(Phase::Failed, Reason::AuthenticationFailed))]
fn draining_leaves_the_moment_the_broker_says_free(#[case] kafka: KafkaSeen, #[case] now: i64, #[case] expected: Then) {
    assert_eq!(then(&run(&status_in(Phase::Draining), &seen(gone(), kafka), now)), expected);
}

/// Members that have not left by themselves are removed, a few times: a member that has joined again after
/// that is alive, and does not run in a target.
#[rstest]
#[case::they_may_leave_by_themselves(5, 0, stable(), In(Phase::Draining, Reason::WaitingForGroup))]
#[case::they_have_not(6, 0, stable(), Removes(3))]
#[case::they_joined_again(8, 1, stable(), Removes(3))]
#[case::they_joined_again_and_again(60, 3, stable(), In(Phase::Draining, Reason::WaitingForGroup))]
#[case::no_member_remains(6, 0, empty(), In(Phase::Resetting, Reason::Committing))]
#[case::no_member_is_named(6, 0, group_in(GroupState::Unknown, 0), In(Phase::Draining, Reason::WaitingForGroup))]
#[case::of_the_new_protocol(6, 0, of_the_new_protocol(), In(Phase::Draining, Reason::WaitingForGroup))]
fn remaining_members_are_removed_when_the_spec_says_so(
    #[case] now: i64,
    #[case] member_removals: i32,
    #[case] group: Group,
    #[case] expected: Then,
) {
    let request = Request { remaining_members: RemainingMembers::Remove, ..request() };
    let status = OffsetResetStatus { member_removals, ..status_in(Phase::Draining) };
    let observed = seen(gone(), KafkaSeen::Group(group));
    let decision = decide(Ok(&request), &status, &observed, at(now));
    assert_eq!(then(&decision), expected);
    let Some(effect) = decision.effect else { return };
    assert_eq!(decision.status.member_removals, member_removals + 1);
    assert!(
        decision.notes.iter().any(|note| note.reason == Reason::RemovingMembers && note.message.contains("consumer at 10.0.0.1"))
    );
    let moment = decide(Ok(&request), &decision.status, &observed, at(now + 1));
    assert_eq!(then(&moment), In(Phase::Draining, Reason::WaitingForGroup), "the broker is given a moment");
    // Where it is refused it is said, and waited for as without.
    let refused = after(&decision.status, &effect, &Answer::Refused("not authorized".into()), &observed, at(now));
    assert_eq!((refused.status.phase, refused.notes.len()), (Some(Phase::Draining), 1));
    assert!(refused.notes[0].warning && refused.notes[0].message.contains("not authorized"));
}

fn of_the_new_protocol() -> Group {
    let Group::Found(found) = stable() else { unreachable!() };
    Group::Found(GroupDescription { group_type: GroupType::Consumer, ..found })
}

fn final_plan(phase: Phase) -> OffsetResetStatus {
    OffsetResetStatus { final_plan_time: Some(micro(6)), ..status_in(phase) }
}

#[rstest]
#[case::the_plan_becomes_final_with_the_first_commit(status_in(Phase::Resetting), commit_seen(empty(), &committed(50, "")), Commits(2))]
#[case::then_it_is_committed(final_plan(Phase::Resetting), commit_seen(empty(), &committed(50, "")), Commits(2))]
#[case::nothing_was_committed_before(final_plan(Phase::Resetting), commit_seen(empty(), &Ok(None)), Commits(2))]
#[case::the_same_offset_of_another_client_is_no_proof(final_plan(Phase::Resetting), commit_seen(empty(), &committed(10, "app")), Commits(2))]
#[case::read_back(final_plan(Phase::Resetting), commit_seen(empty(), &committed(10, MARKER)), Restores(Phase::Succeeded, Reason::Succeeded))]
#[case::a_consumer_joined(final_plan(Phase::Resetting), commit_seen(stable(), &committed(50, "")), In(Phase::Draining, Reason::WaitingForGroup))]
#[case::read_back_fails_for_now(
    final_plan(Phase::Resetting),
    commit_seen(empty(), &Err(error(KafkaErrorKind::Coordinator))),
    In(Phase::Resetting, Reason::Committing)
)]
#[case::read_back_fails_for_good(
    final_plan(Phase::Resetting),
    commit_seen(empty(), &Err(error(KafkaErrorKind::Authorization))),
    Restores(Phase::Failed, Reason::AllPartitionsFailed)
)]
#[case::broker_away(
    final_plan(Phase::Resetting),
    kafka_failed(KafkaErrorKind::Timeout),
    In(Phase::Resetting, Reason::BrokerUnreachable)
)]
#[case::no_right_any_more(
    final_plan(Phase::Resetting),
    kafka_failed(KafkaErrorKind::Authorization),
    Restores(Phase::Failed, Reason::AuthorizationFailed)
)]
#[case::something_commits_over_it(
    OffsetResetStatus { commits: MAX_COMMITS, ..final_plan(Phase::Resetting) },
    commit_seen(empty(), &committed(77, "")),
    Restores(Phase::Failed, Reason::AllPartitionsFailed)
)]
fn resetting_claims_only_what_it_read_back(#[case] status: OffsetResetStatus, #[case] kafka: KafkaSeen, #[case] expected: Then) {
    assert_eq!(then(&run(&status, &seen(gone(), kafka), 7)), expected);
}

#[rstest]
#[case::consumers_run_again(running(), In(Phase::Stopping, Reason::WaitingForContainers))]
#[case::a_container_runs(workload(0, vec![pod("a", false)]), In(Phase::Stopping, Reason::WaitingForContainers))]
#[case::another_workload(replaced(), In(Phase::Stopping, Reason::WaitingForContainers))]
#[case::not_seen(unknown(), In(Phase::Resetting, Reason::WaitingForContainers))]
fn nothing_is_committed_while_a_consumer_may_run(#[case] target: Seen<Workload>, #[case] expected: Then) {
    let kafka = commit_seen(empty(), &committed(50, ""));
    assert_eq!(then(&run(&final_plan(Phase::Resetting), &seen(target, kafka), 7)), expected);
}

#[test]
fn what_stands_right_before_the_commit_is_what_was_before() {
    let decision = run(&status_in(Phase::Resetting), &seen(gone(), commit_seen(empty(), &committed(63, ""))), 7);
    assert_eq!(decision.status.partitions[0].before, Some(63));
    assert_eq!(decision.status.final_plan_time, Some(micro(7)));
}

#[test]
fn a_topic_deleted_meanwhile_fails_only_its_own_partitions() {
    let with_one_deleted = |stands| {
        let mut kafka = commit_seen(empty(), &stands);
        if let KafkaSeen::ForCommit(seen) = &mut kafka {
            seen.bounds.insert(tp(1), Err(error(KafkaErrorKind::UnknownTopicOrPartition)));
        }
        seen(gone(), kafka)
    };
    let fixed = run(&status_in(Phase::Resetting), &with_one_deleted(committed(50, "")), 7);
    let decision = run(&fixed.status, &with_one_deleted(committed(10, MARKER)), 8);
    assert_eq!(then(&decision), Restores(Phase::Failed, Reason::PartiallyReset));
    let outcomes: Vec<_> = decision.status.partitions.iter().map(|p| (p.outcome, p.after)).collect();
    assert_eq!(outcomes, [(PartitionOutcome::Reset, Some(10)), (PartitionOutcome::Failed, None)]);
}

#[rstest]
#[case::accepted(Answer::Committed(per_partition(&Ok(()))), In(Phase::Resetting, Reason::Committing), PartitionOutcome::Planned)]
#[case::a_member(Answer::Committed(per_partition(&Err(error(KafkaErrorKind::UnknownMember)))), In(Phase::Draining, Reason::WaitingForGroup), PartitionOutcome::Planned)]
#[case::coordinator_moves(Answer::Committed(per_partition(&Err(error(KafkaErrorKind::Coordinator)))), In(Phase::Resetting, Reason::Committing), PartitionOutcome::Planned)]
#[case::credentials_refused_while_it_is_in_flight(Answer::Committed(per_partition(&Err(error(KafkaErrorKind::Authentication)))), In(Phase::Resetting, Reason::Committing), PartitionOutcome::Planned)]
#[case::not_authorized(Answer::Committed(per_partition(&Err(error(KafkaErrorKind::Authorization)))), In(Phase::Resetting, Reason::Committing), PartitionOutcome::Failed)]
#[case::a_member_kept_all_of_it_out(
    Answer::CommitFailed(error(KafkaErrorKind::UnknownMember)),
    In(Phase::Draining, Reason::WaitingForGroup),
    PartitionOutcome::Planned
)]
#[case::no_answer(
    Answer::CommitFailed(error(KafkaErrorKind::Timeout)),
    In(Phase::Resetting, Reason::BrokerUnreachable),
    PartitionOutcome::Planned
)]
fn an_accepted_commit_is_no_success_until_it_is_read_back(
    #[case] answer: Answer,
    #[case] expected: Then,
    #[case] outcome: PartitionOutcome,
) {
    let status = OffsetResetStatus { reason: Some(Reason::Committing), ..final_plan(Phase::Resetting) };
    let observed = seen(gone(), commit_seen(empty(), &committed(50, "")));
    let decision = after(&status, &Effect::Commit(vec![(tp(0), marked(10)), (tp(1), marked(10))]), &answer, &observed, at(7));
    assert_eq!(then(&decision), expected);
    assert!(decision.status.partitions.iter().all(|p| p.outcome == outcome && p.after.is_none()));
}

#[rstest]
#[case::at_zero(gone(), Scales(Phase::Restoring, 3, ActionKind::Restore), None)]
#[case::back_already(running(), In(Phase::Succeeded, Reason::Succeeded), Some(Restored::Original))]
#[case::another_client_set_another_count(workload(2, vec![]), In(Phase::Succeeded, Reason::Succeeded), Some(Restored::LeftAsScaledByOthers))]
#[case::gone(Seen::Missing, In(Phase::Succeeded, Reason::Succeeded), Some(Restored::Gone))]
#[case::another_one(replaced(), In(Phase::Succeeded, Reason::Succeeded), Some(Restored::Replaced))]
#[case::not_seen(unknown(), Restores(Phase::Succeeded, Reason::Succeeded), None)]
fn restoring_ends_only_when_every_target_is_back_or_not_ours(
    #[case] target: Seen<Workload>,
    #[case] expected: Then,
    #[case] restored: Option<Restored>,
) {
    let observed = seen(target, KafkaSeen::NotAsked);
    let mut decision = run(&status_in(Phase::Restoring), &observed, 30);
    assert_eq!(decision.status.targets[0].restored, restored);
    if restored.is_some() {
        assert_eq!(then(&decision), Releases(0), "first the claim goes");
        decision = run(&decision.status, &Observed { holds: vec![Seen::Missing], ..observed }, 30);
    }
    assert_eq!(then(&decision), expected);
    if restored.is_some() {
        assert_eq!(decision.status.completion_time, Some(Time(at(30))));
        assert_eq!(decision.status.hold.unwrap().downtime.as_deref(), Some("30.0s"));
    }
}

#[test]
fn a_refused_restore_is_said_and_tried_again_for_ever() {
    let status = status_in(Phase::Restoring);
    let observed = seen(gone(), KafkaSeen::NotAsked);
    let effect = Effect::Scale { target: 0, resource_version: "7".into(), replicas: 3, state: None, kind: ActionKind::Restore };
    let decision = after(&status, &effect, &Answer::Refused("quota".into()), &observed, at(9_999));
    assert_eq!(then(&decision), Restores(Phase::Succeeded, Reason::Succeeded));
    assert!(decision.status.explanation().contains("kubectl scale deployment.v1.apps/consumer --replicas=3"));
    assert_eq!(then(&run(&decision.status, &observed, 99_999)), Scales(Phase::Restoring, 3, ActionKind::Restore));
}

#[rstest]
#[case(Phase::Stopping)]
#[case(Phase::Draining)]
#[case(Phase::Resetting)]
fn the_hold_has_a_hard_deadline_that_needs_no_kafka(#[case] phase: Phase) {
    let observed = seen(unknown(), KafkaSeen::NotAsked);
    assert_eq!(then(&run(&status_in(phase), &observed, 600)), Restores(Phase::Failed, Reason::HoldTimeout));
    assert_ne!(then(&run(&status_in(phase), &observed, 599)), Restores(Phase::Failed, Reason::HoldTimeout));
}

#[rstest]
#[case(Phase::Stopping)]
#[case(Phase::Draining)]
#[case(Phase::Resetting)]
fn deleting_brings_the_consumers_back_first(#[case] phase: Phase) {
    let observed = Observed { deleting: true, ..seen(unknown(), KafkaSeen::NotAsked) };
    assert_eq!(then(&run(&status_in(phase), &observed, 30)), Restores(Phase::Cancelled, Reason::Cancelled));
}

#[rstest]
#[case(Phase::Pending)]
#[case(Phase::Planning)]
fn deleting_what_holds_nothing_ends_at_once(#[case] phase: Phase) {
    let observed = Observed { deleting: true, finalizer: false, targets: vec![], ..seen(unknown(), KafkaSeen::NotAsked) };
    assert_eq!(then(&run(&status_in(phase), &observed, 30)), In(Phase::Cancelled, Reason::Cancelled));
}

#[test]
fn a_spec_that_means_nothing_is_refused_without_touching_anything() {
    let mut spec = serde_json::json!({"metadata": {"name": "replay", "namespace": "shop"}, "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset",
        "spec": {"kafka": {"bootstrapServers": "k:9092"}, "group": "g", "resets": [{"topic": "orders", "timestamp": "2019-02-30T00:00:00Z"}]}});
    let parse = |spec: &serde_json::Value| Request::parse(&serde_json::from_value(spec.clone()).unwrap());
    let invalid = parse(&spec).unwrap_err();
    let observed = Observed { finalizer: false, targets: vec![], ..seen(unknown(), KafkaSeen::NotAsked) };
    let decision = decide(Err(&invalid), &OffsetResetStatus::default(), &observed, at(0));
    assert_eq!(then(&decision), In(Phase::Failed, Reason::InvalidSpec));
    assert!(decision.status.outcome.unwrap().details.unwrap().ends_with("The consumers were not touched"));
    // An earlier version had accepted it, and had stopped them.
    let held = decide(Err(&invalid), &status_in(Phase::Draining), &seen(gone(), KafkaSeen::NotAsked), at(3));
    assert_eq!(then(&held), Restores(Phase::Failed, Reason::InvalidSpec));
    assert!(held.status.outcome.unwrap().details.unwrap().ends_with("No offset was changed"));
    spec["spec"]["resets"][0]["timestamp"] = 1_571_812_144.into();
    assert_eq!(parse(&spec).unwrap().entries()[0].goal, Goal::Timestamp(1_571_812_144_000));
}
