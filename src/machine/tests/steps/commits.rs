//! What is committed, with which metadata, and what proves it.

use rstest::rstest;

use crate::machine::tests::*;
use crate::{
    api::Position,
    machine::{
        MAX_COMMITS, after, decide,
        decision::{Answer, Decision, Effect},
        is_read_back,
    },
};

fn empty() -> Group {
    group_in(GroupState::Empty, 0)
}

fn run(status: &OffsetResetStatus, stands: &Result<Option<Committed>, KafkaError>, now: i64) -> Decision {
    decide(Ok(&request()), status, &seen(gone(), commit_seen(empty(), stands)), at(now))
}

/// A final plan of these partitions.
fn final_plan(partitions: impl IntoIterator<Item = PartitionStatus>) -> OffsetResetStatus {
    let partitions = partitions.into_iter().collect();
    OffsetResetStatus { partitions, final_plan_time: Some(micro(6)), ..status_in(Phase::Resetting) }
}

fn restoring(metadata: &str) -> PartitionStatus {
    PartitionStatus { target_metadata: Some(metadata.into()), ..planned_partition(0) }
}

fn sent(decision: &Decision) -> Vec<Committed> {
    match &decision.effect {
        Some(Effect::Commit(offsets)) => offsets.iter().map(|(_, committed)| committed.clone()).collect(),
        _ => vec![],
    }
}

fn outcome(decision: &Decision) -> Option<(Phase, Reason)> {
    decision.status.outcome.as_ref().map(|outcome| (outcome.phase, outcome.reason))
}

#[rstest]
#[case::with_metadata("bAAkAAoA")]
#[case::without("")]
fn an_undo_commits_the_metadata_from_before_and_reads_back_both(#[case] metadata: &str) {
    let first = run(&final_plan([restoring(metadata)]), &committed(50, MARKER), 7);
    assert_eq!(sent(&first), [Committed { offset: 10, metadata: metadata.into() }]);
    // The answer is lost; what stands is the proof.
    let read_back = run(&first.status, &committed(10, metadata), 8);
    assert_eq!(outcome(&read_back), Some((Phase::Succeeded, Reason::Succeeded)));
    let other = run(&first.status, &committed(10, "of another client"), 8);
    assert_eq!(sent(&other), [Committed { offset: 10, metadata: metadata.into() }]);
}

#[test]
fn metadata_goes_with_its_own_offset_only() {
    // The target was moved into the log, away from the offset that the metadata belongs to.
    let moved = PartitionStatus { requested_offset: Some(5), ..restoring("bAAkAAoA") };
    assert_eq!(sent(&run(&final_plan([moved]), &committed(50, ""), 7)), [marked(10)]);
}

#[test]
fn a_broker_that_takes_no_metadata_of_this_length_gets_the_offsets_without() {
    let plan = final_plan([restoring("x"), planned_partition(1)]);
    let first = run(&plan, &committed(50, ""), 7);
    let too_large = per_partition(&Err(error(KafkaErrorKind::MetadataTooLarge)));
    let observed = seen(gone(), commit_seen(empty(), &committed(50, "")));
    let refused = after(&first.status, first.effect.as_ref().unwrap(), &Answer::Committed(too_large.clone()), &observed, at(7));
    assert!(refused.status.partitions.iter().all(|p| p.outcome == PartitionOutcome::Planned && p.metadata_not_stored));
    assert_eq!((refused.status.commits, refused.status.commits_refused), (1, 1), "nothing can have been committed");
    let second = run(&refused.status, &committed(50, ""), 7);
    assert!(sent(&second).iter().all(|committed| committed.offset == 10 && committed.metadata.is_empty()));
    let done = run(&second.status, &committed(10, ""), 8);
    assert_eq!(outcome(&done), Some((Phase::Succeeded, Reason::Succeeded)));
    let said = done.status.outcome.as_ref().unwrap().explanation();
    assert!(said.contains("The broker did not return the metadata of the commits of 2 partitions"), "{said}");
    // A broker that refuses even that has another reason than its length.
    let again = after(&second.status, second.effect.as_ref().unwrap(), &Answer::Committed(too_large), &observed, at(8));
    assert_eq!(again.status.partitions[0].outcome, PartitionOutcome::Failed);
}

/// The workloads are not read then: whether they run does not matter to what was read back from an empty group.
#[rstest]
#[case::as_planned(committed(10, MARKER), empty(), true)]
#[case::not_as_planned(committed(50, MARKER), empty(), false)]
#[case::without_the_marker(committed(10, ""), empty(), false)]
#[case::not_answered(Err(error(KafkaErrorKind::Timeout)), empty(), false)]
#[case::a_consumer_has_joined(committed(10, MARKER), group_in(GroupState::Stable, 1), false)]
fn a_commit_that_is_read_back_as_planned_needs_no_look_at_the_workloads(
    #[case] answer: Result<Option<Committed>, KafkaError>,
    #[case] group: Group,
    #[case] as_planned: bool,
) {
    let unconfirmed = PartitionStatus { outcome: PartitionOutcome::Unconfirmed, ..planned_partition(0) };
    let status = OffsetResetStatus { commits: 1, ..final_plan([unconfirmed]) };
    let kafka = commit_seen(group, &answer);
    assert_eq!(is_read_back(&status, &request(), &kafka), as_planned);
    assert!(!is_read_back(&OffsetResetStatus { commits: 0, ..status.clone() }, &request(), &kafka), "nothing was committed");
    let not_read = Observed { targets: vec![], ..seen(gone(), kafka) };
    let decision = decide(Ok(&request()), &status, &not_read, at(7));
    assert_eq!(outcome(&decision), as_planned.then_some((Phase::Succeeded, Reason::Succeeded)));
    assert_eq!(sent(&decision), [], "nothing is committed without a look at them");
}

/// After so many commits, an offset stands where it should, with this metadata.
#[rstest]
#[case::once_may_be_another_client("", 1, 0, false)]
#[case::dropped("", 2, 0, true)]
#[case::cut("offset-reset/sh", 2, 0, true)]
#[case::one_of_the_two_was_refused("", 2, 1, false)]
fn a_broker_that_drops_or_cuts_metadata_is_read_back_by_offset(
    #[case] metadata: &str,
    #[case] commits: i32,
    #[case] commits_refused: i32,
    #[case] done: bool,
) {
    let unconfirmed = PartitionStatus { outcome: PartitionOutcome::Unconfirmed, ..planned_partition(0) };
    let status = OffsetResetStatus { commits, commits_refused, ..final_plan([unconfirmed]) };
    let decision = run(&status, &committed(10, metadata), 7);
    assert_eq!(outcome(&decision), done.then_some((Phase::Succeeded, Reason::Succeeded)));
    assert_eq!((sent(&decision).len(), decision.status.partitions[0].metadata_not_stored), (usize::from(!done), done));
    // The offset itself has to stand, whatever the metadata.
    assert_eq!(sent(&run(&status, &committed(11, metadata), 7)).len(), 1);
}

#[test]
fn metadata_to_restore_is_given_up_only_when_nothing_helps() {
    let unconfirmed = PartitionStatus { outcome: PartitionOutcome::Unconfirmed, ..restoring("bAAkAAoA") };
    for (commits, done) in [(2, false), (MAX_COMMITS - 1, false), (MAX_COMMITS, true)] {
        let decision = run(&OffsetResetStatus { commits, ..final_plan([unconfirmed.clone()]) }, &committed(10, ""), 7);
        assert_eq!(outcome(&decision).is_some(), done, "{commits}");
        assert_eq!(decision.status.partitions[0].metadata_not_stored, done);
    }
}

#[test]
fn what_was_unchanged_while_planning_is_committed_when_it_has_moved_and_the_other_way_round() {
    let plan = OffsetResetStatus {
        partitions: vec![
            PartitionStatus { outcome: PartitionOutcome::Unchanged, before: Some(10), ..planned_partition(0) },
            planned_partition(1),
        ],
        ..status_in(Phase::Resetting)
    };
    let mut moved = per_partition(&committed(50, "app"));
    moved.insert(tp(1), committed(10, "app"));
    let seen = |found: &PerPartition<Option<Committed>>| {
        let mut seen = commit_seen(empty(), &Ok(None));
        if let KafkaSeen::ForCommit(seen) = &mut seen {
            seen.committed = found.clone();
        }
        crate::machine::tests::seen(gone(), seen)
    };
    let first = decide(Ok(&request()), &plan, &seen(&moved), at(7));
    let outcomes: Vec<_> = first.status.partitions.iter().map(|p| (p.outcome, p.before, p.replayed)).collect();
    assert_eq!(outcomes, [(PartitionOutcome::Unconfirmed, Some(50), 40), (PartitionOutcome::Unchanged, Some(10), 0)]);
    assert_eq!(first.effect, Some(Effect::Commit(vec![(tp(0), marked(10))])));
    // A consumer joins meanwhile, and moves the one that was left alone.
    moved.insert(tp(0), Ok(Some(marked(10))));
    moved.insert(tp(1), committed(12, "app"));
    let second = decide(Ok(&request()), &first.status, &seen(&moved), at(8));
    assert_eq!(second.effect, Some(Effect::Commit(vec![(tp(1), marked(10))])));
    moved.insert(tp(1), Ok(Some(marked(10))));
    let done = decide(Ok(&request()), &second.status, &seen(&moved), at(9));
    assert_eq!(outcome(&done), Some((Phase::Succeeded, Reason::Succeeded)));
    assert_eq!(done.status.totals.map(|totals| (totals.reset, totals.left_alone)), Some((2, 0)));
}

#[test]
fn what_is_in_range_is_as_requested_wherever_it_moves() {
    let current = |partition| PartitionStatus {
        requested_position: Some(Position::Current),
        outcome: PartitionOutcome::Unchanged,
        target_offset: Some(50),
        ..planned_partition(partition)
    };
    let done = run(&final_plan([current(0), current(1)]), &committed(63, "app"), 7);
    assert_eq!(outcome(&done), Some((Phase::Succeeded, Reason::NothingToChange)));
}

#[test]
fn a_broker_that_takes_no_metadata_with_the_reason_gets_the_mark_alone_first() {
    let marker = format!("{MARKER} INC-4711: wrong tax rate");
    let with_reason = Request { marker: marker.clone(), ..request() };
    let observed = |stands| seen(gone(), commit_seen(empty(), &stands));
    let before = || committed(50, "");
    let run = |status: &OffsetResetStatus| decide(Ok(&with_reason), status, &observed(before()), at(7));
    let refused = |first: &Decision| {
        let answer = Answer::Committed([(tp(0), Err(error(KafkaErrorKind::MetadataTooLarge)))].into());
        after(&first.status, first.effect.as_ref().unwrap(), &answer, &observed(before()), at(7)).status
    };
    let first = run(&final_plan([planned_partition(0)]));
    assert_eq!(sent(&first), [Committed { offset: 10, metadata: marker.as_str().into() }]);
    let second = run(&refused(&first));
    assert_eq!(sent(&second), [marked(10)]);
    let third = run(&refused(&second));
    assert_eq!(sent(&third), [Committed { offset: 10, metadata: "".into() }]);
    // With the mark alone it counts as read back.
    let done = decide(Ok(&with_reason), &second.status, &observed(committed(10, MARKER)), at(8));
    assert_eq!(outcome(&done), Some((Phase::Succeeded, Reason::Succeeded)));
    let partition = &done.status.partitions[0];
    assert!(partition.reason_not_stored && !partition.metadata_not_stored);
}

fn removal(partition: i32) -> PartitionStatus {
    let requested_position = Some(Position::None);
    PartitionStatus { requested_position, requested_offset: None, target_offset: None, ..planned_partition(partition) }
}

#[test]
fn an_offset_is_removed_after_the_commits_and_read_back_as_none() {
    let seen = |first: Option<Committed>, second: Option<Committed>| {
        let mut seen = commit_seen(empty(), &Ok(None));
        if let KafkaSeen::ForCommit(seen) = &mut seen {
            seen.committed = [(tp(0), Ok(first)), (tp(1), Ok(second))].into();
        }
        crate::machine::tests::seen(gone(), seen)
    };
    let app = || Some(Committed { offset: 50, metadata: "app".into() });
    let plan = final_plan([planned_partition(0), removal(1)]);
    let first = decide(Ok(&request()), &plan, &seen(app(), app()), at(7));
    assert_eq!(sent(&first), [marked(10)]);
    let outcomes = |decision: &Decision| decision.status.partitions.iter().map(|p| p.outcome).collect::<Vec<_>>();
    assert_eq!(outcomes(&first), [PartitionOutcome::Unconfirmed, PartitionOutcome::Planned], "only what is sent");

    let second = decide(Ok(&request()), &first.status, &seen(Some(marked(10)), app()), at(8));
    assert_eq!(second.effect, Some(Effect::RemoveOffsets(vec![tp(1)])));
    assert_eq!(outcomes(&second), [PartitionOutcome::Reset, PartitionOutcome::Unconfirmed], "recorded before it is done");
    assert_eq!(second.status.last_action.as_ref().map(|action| action.kind), Some(crate::api::ActionKind::Commit));
    assert_eq!(second.status.commits, 2);

    // The answer is lost. The operator asks again only where an offset stands.
    let still = decide(Ok(&request()), &second.status, &seen(Some(marked(10)), app()), at(9));
    assert_eq!(still.effect, Some(Effect::RemoveOffsets(vec![tp(1)])));
    let done = decide(Ok(&request()), &second.status, &seen(Some(marked(10)), None), at(9));
    assert_eq!(outcome(&done), Some((Phase::Succeeded, Reason::Succeeded)));
    assert_eq!((done.status.partitions[1].outcome, done.status.partitions[1].after), (PartitionOutcome::Reset, None));
    assert_eq!(
        done.status.outcome.as_ref().unwrap().details.as_deref(),
        Some("Every offset was read back as planned. 1 committed offset was removed")
    );
    assert_eq!(
        done.status.condition_message(crate::api::ConditionType::OffsetsReset),
        Some("1 offset was committed and 1 committed offset was removed, as read back")
    );
}

/// Kafka removes no offset of a topic that a member of the group subscribes.
#[rstest]
#[case::joined_meanwhile(KafkaErrorKind::UnknownMember, Phase::Draining, PartitionOutcome::Planned)]
#[case::without_the_right(KafkaErrorKind::Authorization, Phase::Resetting, PartitionOutcome::Failed)]
#[case::outcome_unknown(KafkaErrorKind::Timeout, Phase::Resetting, PartitionOutcome::Unconfirmed)]
fn a_removal_that_is_refused_is_treated_as_a_commit_is(
    #[case] kind: KafkaErrorKind,
    #[case] phase: Phase,
    #[case] expected: PartitionOutcome,
) {
    let first = run(&final_plan([removal(0)]), &committed(50, "app"), 7);
    let answer = Answer::Committed([(tp(0), Err(error(kind)))].into());
    let observed = seen(gone(), commit_seen(empty(), &committed(50, "app")));
    let refused = after(&first.status, first.effect.as_ref().unwrap(), &answer, &observed, at(8));
    assert_eq!((refused.status.phase, refused.status.partitions[0].outcome), (Some(phase), expected));
    if kind == KafkaErrorKind::Timeout {
        let failed = after(&first.status, first.effect.as_ref().unwrap(), &Answer::CommitFailed(error(kind)), &observed, at(8));
        assert_eq!(failed.status.partitions[0].outcome, PartitionOutcome::Unconfirmed);
        let done = run(&failed.status, &Ok(None), 9);
        assert_eq!(outcome(&done), Some((Phase::Succeeded, Reason::Succeeded)));
    }
}

/// A pod that has been started, and is not ready.
fn started() -> Seen<Workload> {
    workload(1, vec![Pod { ips: vec!["10.0.0.9".into()], ..pod("c", false) }])
}

/// What runs, and where the target is; both committed offsets are the target already.
#[rstest]
#[case::no_consumer(gone(), group_in(GroupState::Empty, 0), 100, None, Phase::Succeeded)]
#[case::at_the_end_of_the_log(running(), group_in(GroupState::Stable, 3), 10, None, Phase::Succeeded)]
#[case::in_range(running(), group_in(GroupState::Stable, 3), 100, Some(Position::Current), Phase::Succeeded)]
#[case::members_may_be_beyond(running(), group_in(GroupState::Stable, 3), 100, None, Phase::Stopping)]
#[case::pods_that_never_started(workload(1, vec![Pod { ips: vec![], ..pod("c", false) }]), group_in(GroupState::Empty, 0), 100, None, Phase::Succeeded)]
#[case::pods_that_do_not_join_the_group(started(), group_in(GroupState::Empty, 0), 100, None, Phase::Stopping)]
#[case::members_without_targets(gone(), group_in(GroupState::Stable, 3), 100, None, Phase::Stopping)]
fn nothing_to_change_stops_nothing_unless_consumers_may_be_beyond(
    #[case] workload: Seen<Workload>,
    #[case] group: Group,
    #[case] end: i64,
    #[case] position: Option<Position>,
    #[case] expected: Phase,
) {
    let mut plan = PlanSeen { group, ..plan_seen() };
    plan.committed = per_partition(&committed(10, "app"));
    plan.bounds = per_partition(&Ok(Bounds { start: 0, end }));
    let goal = position.map_or(Goal::Offset(10), Goal::Position);
    let entry = Entry { scope: Scope::Topic("orders".into()), partitions: Partitions::All, goal };
    let request = Request { work: Work::Entries(vec![entry]), ..request() };
    let observed = seen(workload, KafkaSeen::ForPlan(Box::new(plan)));
    let decision = decide(Ok(&request), &status_in(Phase::Planning), &observed, at(3));
    assert_eq!(decision.status.phase, Some(expected), "{}", decision.status.explanation());
    assert!(decision.status.partitions.iter().all(|planned| planned.outcome == PartitionOutcome::Unchanged));
    if expected == Phase::Succeeded {
        assert_eq!(decision.status.reason, Some(Reason::NothingToChange));
        assert!(decision.status.hold.is_none() && decision.status.receipt.is_none());
        assert_eq!(
            decision.status.message.as_deref(),
            Some("All 2 committed offsets are already as requested, so there was nothing to change")
        );
        assert_eq!(decision.status.totals.map(|totals| (totals.partitions, totals.left_alone)), Some((2, 2)));
    }
}

#[test]
fn consumers_that_commit_at_their_stop_are_set_back_to_a_target_that_was_committed_before() {
    let unchanged = PartitionStatus { outcome: PartitionOutcome::Unchanged, before: Some(10), ..planned_partition(0) };
    let plan = OffsetResetStatus { partitions: vec![unchanged], ..status_in(Phase::Resetting) };
    let moved = run(&plan, &committed(17, "app"), 6);
    assert_eq!((sent(&moved), moved.status.final_plan_time.is_some()), (vec![marked(10)], true));
    // Those that do not commit continue from the target all the same.
    let done = run(&plan, &committed(10, "app"), 6);
    assert_eq!(outcome(&done), Some((Phase::Succeeded, Reason::NothingToChange)));
    assert!(done.status.outcome.as_ref().unwrap().explanation().contains("continue from the committed offsets"));
}

/// An offset that is pending in a transaction; the group was found empty at 10 s, and drainTimeout is two minutes.
#[rstest]
#[case::at_first(status_in(Phase::Resetting), 11, false)]
#[case::until_the_last_moment(status_in(Phase::Resetting), 129, false)]
#[case::no_longer(status_in(Phase::Resetting), 130, true)]
#[case::as_long_when_reading_back(final_plan([planned_partition(0)]), 129, false)]
#[case::no_longer_when_reading_back(final_plan([planned_partition(0)]), 130, true)]
fn a_transaction_is_waited_for_as_long_as_drain_timeout(
    #[case] mut status: OffsetResetStatus,
    #[case] now: i64,
    #[case] over: bool,
) {
    if let Some(hold) = &mut status.hold {
        hold.group_empty_time = Some(micro(10));
    }
    let decision = run(&status, &Err(error(KafkaErrorKind::UnstableOffset)), now);
    assert_eq!(sent(&decision), []);
    assert_eq!(outcome(&decision), over.then_some((Phase::Failed, Reason::TransactionPending)));
    let said = decision.status.outcome.as_ref().map_or_else(|| decision.status.explanation(), crate::api::Outcome::explanation);
    for words in [
        "kafka-transactions.sh --bootstrap-server kafka:9092 find-hanging --topic __consumer_offsets",
        "kafka-transactions.sh --bootstrap-server kafka:9092 abort",
        "No offset was changed",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert!(over || said.contains("waits until 2027-01-15T08:02:10Z at most"), "{said}");
}

#[test]
fn other_errors_that_pass_are_waited_for_as_long_as_the_hold() {
    let decision = run(&status_in(Phase::Resetting), &Err(error(KafkaErrorKind::Coordinator)), 599);
    assert_eq!((decision.status.phase, outcome(&decision)), (Some(Phase::Resetting), None));
}

/// Two operators for different namespaces do not see each other's resets.
#[rstest]
#[case::before_the_first_commit(0, "offset-reset/other/replay/uid-9", "", true)]
#[case::after_a_commit(1, "offset-reset/other/replay/uid-9", "", true)]
#[case::it_had_set_the_offset_before(1, "offset-reset/other/replay/uid-9", "offset-reset/other/replay/uid-9", false)]
#[case::an_earlier_run_of_this_name(1, "offset-reset/shop/replay/uid-0", "", false)]
#[case::another_client(1, "of another client", "", false)]
fn a_reset_of_another_operator_that_commits_meanwhile_is_named_and_not_committed_over(
    #[case] commits: i32,
    #[case] found: &str,
    #[case] before: &str,
    #[case] refused: bool,
) {
    let planned =
        || PartitionStatus { before_metadata: Some(before.into()).filter(|_| !before.is_empty()), ..planned_partition(0) };
    let status = OffsetResetStatus { commits, ..final_plan([planned()]) };
    let decision = run(&status, &committed(33, found), 8);
    assert_eq!(sent(&decision).is_empty(), refused);
    if refused {
        assert_eq!(outcome(&decision), Some((Phase::Failed, Reason::AllPartitionsFailed)));
        let why = decision.status.partitions[0].message.as_deref().unwrap();
        assert!(why.starts_with("OffsetReset other/replay of another operator has committed meanwhile"), "{why}");
    }
}
/// A look before a commit, with this id of the topic.
fn run_with_id(status: &OffsetResetStatus, stands: &Result<Option<Committed>, KafkaError>, id: Option<&str>) -> Decision {
    let mut kafka = commit_seen(empty(), stands);
    if let KafkaSeen::ForCommit(seen) = &mut kafka {
        seen.topic_ids = id.map(|id| ("orders".to_owned(), id.to_owned())).into_iter().collect();
    }
    decide(Ok(&request()), status, &seen(gone(), kafka), at(7))
}

#[rstest]
#[case::the_same(Some("a"), Some("a"), false)]
#[case::another(Some("a"), Some("b"), true)]
#[case::the_brokers_had_none(None, Some("b"), false)]
#[case::the_brokers_have_none(Some("a"), None, false)]
fn nothing_is_committed_to_a_topic_that_was_created_again_since_the_plan(
    #[case] then: Option<&str>,
    #[case] now: Option<&str>,
    #[case] refused: bool,
) {
    let planned = |partition| PartitionStatus { topic_id: then.map(str::to_owned), ..planned_partition(partition) };
    let fresh = OffsetResetStatus { partitions: vec![planned(0), planned(1)], ..status_in(Phase::Resetting) };
    for status in [fresh, final_plan([planned(0), planned(1)])] {
        let decision = run_with_id(&status, &committed(50, ""), now);
        assert_eq!(outcome(&decision), refused.then_some((Phase::Failed, Reason::TopicRecreated)));
        if refused {
            assert_eq!((decision.status.commits, sent(&decision)), (0, vec![]));
            assert_eq!(
                decision.status.outcome.as_ref().unwrap().explanation(),
                "Topic orders was deleted and created again after the plan was made. The planned offsets are those of the deleted topic. No \
                 offset was changed. Create the reset again under a new name"
            );
        }
    }
}

#[test]
fn a_topic_that_is_created_again_after_the_first_commit_fails_its_partitions_and_no_others() {
    let planned = |topic: &str, outcome| PartitionStatus {
        topic: topic.into(),
        topic_id: Some("a".into()),
        outcome,
        ..planned_partition(0)
    };
    let partitions = [planned("orders", PartitionOutcome::Unconfirmed), planned("payments", PartitionOutcome::Unconfirmed)];
    let status = OffsetResetStatus { commits: 1, ..final_plan(partitions) };
    let mut kafka = commit_seen(empty(), &committed(10, MARKER));
    if let KafkaSeen::ForCommit(seen) = &mut kafka {
        seen.committed.insert(TopicPartition::new("payments", 0), committed(10, MARKER));
        seen.bounds.insert(TopicPartition::new("payments", 0), Ok(Bounds { start: 0, end: 100 }));
        seen.topic_ids = [("orders".to_owned(), "b".to_owned()), ("payments".to_owned(), "a".to_owned())].into();
    }
    let decision = decide(Ok(&request()), &status, &seen(gone(), kafka), at(7));
    assert_eq!(outcome(&decision), Some((Phase::Failed, Reason::PartiallyReset)));
    let outcomes: Vec<_> = decision.status.partitions.iter().map(|planned| planned.outcome).collect();
    assert_eq!(outcomes, [PartitionOutcome::Failed, PartitionOutcome::Reset]);
    let said = decision.status.outcome.as_ref().unwrap().explanation();
    let why = "Not reset: partition 0 of topic orders: its topic was deleted and created again after the plan was made";
    assert!(said.contains(why), "{said}");
}
