//! What is made of a canary that runs: of its offsets, its members and its containers.

use super::*;
use crate::api::OverwriteEvidence;

/// The group has no member, and both offsets are there.
fn left(offset: i64) -> KafkaSeen {
    after_reset(empty(), &committed(offset, ""))
}

/// The pod of the canary has failed as a whole, as after an eviction.
fn over() -> Seen<Workload> {
    workload(1, vec![Pod { terminated: true, exited: true, ..pod("canary", false) }])
}

/// The pod of the canary is being deleted, as when its node is drained.
fn leaves() -> Seen<Workload> {
    workload(1, vec![Pod { deletion: Some(at(39)), exited: true, ..pod("canary", false) }])
}

#[rstest]
#[case::consumed_just_now(one(), consumed(11, 12), UNDO, 40, Phase::Canary, CanaryState::Running, Some(SUCCESS))]
#[case::committed_on_its_way_out(exited(), consumed(11, 12), UNDO, 40, Phase::Stopping, CanaryState::Undoing, None)]
#[case::committed_by_a_member_that_was_not_seen(one(), left(11), UNDO, 40, Phase::Canary, CanaryState::Running, Some(SUCCESS))]
#[case::of_one_partition_only(one(), consumed(11, 10), UNDO, 40, Phase::Canary, CanaryState::Running, Some(SUCCESS))]
#[case::no_member_yet(one(), after_reset(empty(), &committed(10, MARKER)), UNDO, 40, Phase::Canary, CanaryState::Running, Some(SUCCESS))]
#[case::not_in_time(one(), consumed(11, 10), KEEP, 210, Phase::Restoring, CanaryState::Failed, Some(FAILURE))]
#[case::not_in_time_and_undone(one(), consumed(11, 10), UNDO, 210, Phase::Stopping, CanaryState::Undoing, None)]
#[case::in_time_at_the_last_moment(one(), consumed(11, 11), UNDO, 210, Phase::Canary, CanaryState::Running, Some(SUCCESS))]
#[case::it_catches_the_exception_and_commits_nothing(
    one(),
    consumed(10, 10),
    UNDO,
    210,
    Phase::Stopping,
    CanaryState::Undoing,
    None
)]
#[case::exited_before_it_committed(exited(), consumed(10, 10), KEEP, 40, Phase::Restoring, CanaryState::Failed, Some(FAILURE))]
#[case::a_static_member_that_has_exited_stays_a_member(
    exited(),
    consumed(11, 11),
    UNDO,
    40,
    Phase::Stopping,
    CanaryState::Undoing,
    None
)]
#[case::a_member_of_the_new_protocol_has_left_at_once(exited(), left(11), UNDO, 40, Phase::Stopping, CanaryState::Undoing, None)]
#[case::its_pod_was_evicted(over(), consumed(10, 10), UNDO, 40, Phase::Canary, CanaryState::Running, Some(SUCCESS))]
#[case::a_pod_that_is_being_deleted_exits(
    leaves(),
    consumed(11, 10),
    UNDO,
    40,
    Phase::Canary,
    CanaryState::Running,
    Some(SUCCESS)
)]
#[case::started_again(crashes(), consumed(10, 10), KEEP, 40, Phase::Restoring, CanaryState::Failed, Some(FAILURE))]
#[case::started_again_after_it_consumed(crashes(), consumed(11, 11), UNDO, 40, Phase::Stopping, CanaryState::Undoing, None)]
#[case::started_again_while_the_broker_is_away(crashes(), away(), UNDO, 40, Phase::Canary, CanaryState::Running, Some(SUCCESS))]
#[case::the_broker_stays_away(crashes(), away(), UNDO, 210, Phase::Restoring, CanaryState::Unproven, Some(SUCCESS))]
#[case::the_offsets_are_not_read(
    one(),
    KafkaSeen::Group(joined()),
    UNDO,
    210,
    Phase::Restoring,
    CanaryState::Unproven,
    Some(SUCCESS)
)]
#[case::overwritten(one(), consumed(11, 9), UNDO, 40, Phase::Restoring, CanaryState::Unproven, Some(SUCCESS))]
#[case::no_record(one(), without_records(10, None), UNDO, 40, Phase::Restoring, CanaryState::Unproven, Some(SUCCESS))]
#[case::an_open_transaction(
    one(),
    without_records(100, Some(10)),
    UNDO,
    40,
    Phase::Restoring,
    CanaryState::Unproven,
    Some(SUCCESS)
)]
#[case::scaled_up_by_others(workload(2, vec![]), consumed(11, 10), UNDO, 40, Phase::Restoring, CanaryState::Unproven, Some(SUCCESS))]
#[case::scaled_down_by_others(gone(), consumed(11, 10), UNDO, 40, Phase::Restoring, CanaryState::Unproven, Some(SUCCESS))]
#[case::the_workload_is_gone(Seen::Missing, consumed(11, 10), UNDO, 40, Phase::Restoring, CanaryState::Unproven, Some(SUCCESS))]
#[case::not_seen(Seen::Unknown("no route to host".into()), consumed(11, 11), UNDO, 40, Phase::Canary, CanaryState::Running, Some(SUCCESS))]
#[case::the_hold_is_over(one(), consumed(11, 11), UNDO, 600, Phase::Restoring, CanaryState::Unproven, Some(SUCCESS))]
fn a_canary_passes_fails_or_proves_nothing(
    #[case] target: Seen<Workload>,
    #[case] kafka: KafkaSeen,
    #[case] on_failure: OnCanaryFailure,
    #[case] now: i64,
    #[case] phase: Phase,
    #[case] expected: CanaryState,
    #[case] ends: Option<(Phase, Reason)>,
) {
    let decision = run(on_failure, &runs(on_failure), &look(target, kafka), now);
    let status = &decision.status;
    let why = &status.canary.as_ref().unwrap().message;
    assert_eq!((status.phase, state(status), outcome(status)), (Some(phase), expected, ends), "{why}");
    assert_eq!(decision.effect, None, "{why}");
    assert_eq!(decision.requeue.is_some_and(|after| after > SignedDuration::ZERO), phase == Phase::Canary);
}

/// A consumer that crashes may commit on its way out, some seconds before its kubelet reports that. The proof stands at 40 s.
#[rstest]
#[case::too_soon(44, one(), consumed(13, 12), CanaryState::Running)]
#[case::it_goes_on_for_five_seconds(45, one(), consumed(13, 12), CanaryState::Passed)]
#[case::exited(44, exited(), consumed(13, 12), CanaryState::Undoing)]
#[case::started_again(44, crashes(), consumed(13, 12), CanaryState::Undoing)]
#[case::exited_at_the_last_moment(45, exited(), consumed(13, 12), CanaryState::Undoing)]
#[case::its_consumer_has_left_and_its_process_goes_on(45, one(), left(13), CanaryState::Running)]
#[case::its_consumer_stays_away(210, one(), left(13), CanaryState::Undoing)]
#[case::its_consumer_has_joined_again(209, one(), consumed(13, 12), CanaryState::Passed)]
#[case::a_record_arrives_on_a_partition_that_had_none(45, one(), consumed(13, 10), CanaryState::Passed)]
#[case::another_client_commits(44, one(), consumed(13, 9), CanaryState::Unproven)]
#[case::the_broker_is_away(45, one(), away(), CanaryState::Running)]
#[case::the_broker_stays_away(210, one(), away(), CanaryState::Unproven)]
#[case::seen_again_after_the_deadline(211, one(), consumed(13, 12), CanaryState::Passed)]
#[case::the_hold_is_over(600, one(), consumed(13, 12), CanaryState::Unproven)]
fn a_canary_passes_when_it_goes_on_after_it_has_consumed(
    #[case] now: i64,
    #[case] target: Seen<Workload>,
    #[case] kafka: KafkaSeen,
    #[case] expected: CanaryState,
) {
    let proven = run(UNDO, &runs(UNDO), &look(one(), consumed(11, 11)), 40).status;
    assert_eq!(proven.canary.as_ref().unwrap().proven_time, Some(micro(40)));
    assert!(!proven.is_condition(ConditionType::ConsumptionProven, Reason::ConsumptionContinued), "not yet");
    let said = proven.explanation();
    assert!(said.contains("It passes at 2027-01-15T08:00:45Z if no container crashes before"), "{said}");
    let next = run(UNDO, &proven, &look(target, kafka), now).status;
    assert_eq!(state(&next), expected, "{}", next.canary.as_ref().unwrap().message);
}

/// The timeout is for the consumption: the canary has until 210 s. The hold ends at 600 s.
#[rstest]
#[case::before(209, 213, CanaryState::Running)]
#[case::past(209, 214, CanaryState::Passed)]
#[case::seen_at_the_deadline(210, 214, CanaryState::Running)]
#[case::seen_at_the_deadline_and_past_it(210, 215, CanaryState::Passed)]
#[case::the_hold_ends_first(597, 600, CanaryState::Unproven)]
fn a_canary_that_has_consumed_in_time_may_go_on_past_its_timeout(
    #[case] seen: i64,
    #[case] now: i64,
    #[case] expected: CanaryState,
) {
    let proven = run(UNDO, &runs(UNDO), &look(one(), consumed(11, 11)), seen).status;
    assert_eq!(state(&proven), CanaryState::Running);
    let next = run(UNDO, &proven, &look(one(), consumed(11, 11)), now).status;
    assert_eq!(state(&next), expected);
    let crashed = run(UNDO, &proven, &look(exited(), consumed(11, 11)), now).status;
    let ends = if now == 600 { CanaryState::Unproven } else { CanaryState::Undoing };
    assert_eq!(state(&crashed), ends, "a crash counts until it passes");
}

/// An offset past the target without a member, seen at 40 s: of a consumer that has crashed before it was seen, or of another client,
/// such as MirrorMaker 2, while the canary still starts.
#[rstest]
#[case::it_is_not_known_yet(44, one(), left(11), CanaryState::Running)]
#[case::the_consumer_has_crashed(42, exited(), left(11), CanaryState::Undoing)]
#[case::the_consumer_was_started_again(44, crashes(), consumed(11, 11), CanaryState::Undoing)]
#[case::nothing_has_crashed(45, one(), left(11), CanaryState::Unproven)]
#[case::the_canary_joins_after_another_clients_commit(45, one(), consumed(11, 11), CanaryState::Unproven)]
fn a_commit_without_a_member_is_the_canarys_when_a_container_has_crashed(
    #[case] now: i64,
    #[case] target: Seen<Workload>,
    #[case] kafka: KafkaSeen,
    #[case] expected: CanaryState,
) {
    let unseen = run(UNDO, &runs(UNDO), &look(one(), left(11)), 40).status;
    let evidence: Vec<_> = unseen.partitions.iter().filter_map(|found| Some(found.overwritten.as_ref()?.evidence)).collect();
    assert_eq!((state(&unseen), evidence), (CanaryState::Running, vec![OverwriteEvidence::WithoutMembers; 2]));
    let next = run(UNDO, &unseen, &look(target, kafka), now).status;
    assert_eq!(state(&next), expected);
    let is_overwritten = next.partitions.iter().any(|found| found.overwritten.is_some());
    assert_eq!(is_overwritten, expected != CanaryState::Undoing, "the commit of a canary is no other client's");
}

#[test]
fn how_far_the_canary_is_stands_in_the_status() {
    let decision = run(UNDO, &runs(UNDO), &look(one(), consumed(11, 10)), 40);
    let canary = decision.status.canary.as_ref().unwrap();
    assert_eq!((canary.partitions_consumed, canary.partitions_with_records), (1, 2));
    assert_eq!(canary.message, "A canary runs, and has consumed past the target on 1 of 2 partitions");
    let said = decision.status.explanation();
    for words in ["1 of 3 replicas of Deployment/consumer", "partition 1 of topic orders", "It has until 2027-01-15T08:03:30Z"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

/// After an undo its pod is gone, with its logs.
#[rstest]
#[case::undone(UNDO)]
#[case::kept(KEEP)]
fn how_the_container_exited_stands_in_the_status(#[case] on_failure: OnCanaryFailure) {
    let exit = Exit { container: "app".into(), code: 3, reason: Some("Error".into()), message: Some("poison".into()) };
    let crashed = workload(1, vec![Pod { exited: true, last_exit: Some(exit), ..pod("canary", false) }]);
    let failed = run(on_failure, &runs(on_failure), &look(crashed, consumed(10, 10)), 40).status;
    assert_eq!(
        failed.canary.unwrap().message,
        "A container of the canary was started again or crashed in pod canary. In pod canary, container app exited with code 3 (Error), \
         and its termination message is: poison"
    );
}

/// The canary has committed past the target on the first partition, and crashed before it was seen in the group.
#[test]
fn a_commit_of_a_canary_that_has_crashed_since_counts() {
    let KafkaSeen::AfterReset(mut kafka) = left(11) else { unreachable!() };
    kafka.committed.insert(tp(1), committed(10, ""));
    let failed = run(UNDO, &runs(UNDO), &look(exited(), KafkaSeen::AfterReset(kafka)), 40).status;
    let canary = failed.canary.unwrap();
    assert_eq!((canary.state, canary.partitions_consumed, canary.partitions_with_records), (CanaryState::Undoing, 1, 2));
}
