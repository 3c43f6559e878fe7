//! Whether the consumers consume from the offsets of the reset.

use rstest::rstest;
use serde_json::json;

use super::*;

/// The targets are 10, and before it was 50; the logs end at 100.
#[rstest]
#[case::nothing_consumed_yet(empty(), committed(10, MARKER), ("Unknown", "WaitingForConsumption"))]
#[case::members_that_have_not_consumed_yet(stable(), committed(10, ""), ("Unknown", "WaitingForConsumption"))]
#[case::consumed(stable(), committed(11, ""), ("True", "ConsumptionContinued"))]
#[case::consumed_to_the_end(stable(), committed(100, ""), ("True", "ConsumptionContinued"))]
#[case::consumed_as_far_as_before(stable(), committed(50, ""), ("True", "ConsumptionContinued"))]
#[case::below_the_target(stable(), committed(9, ""), ("False", "OffsetsOverwritten"))]
#[case::beyond_the_end(stable(), committed(101, ""), ("False", "OffsetsOverwritten"))]
#[case::deleted(stable(), Ok(None), ("False", "OffsetsOverwritten"))]
#[case::moved_without_a_member(empty(), committed(100, ""), ("False", "OffsetsOverwritten"))]
#[case::back_without_a_member(empty(), committed(50, ""), ("False", "OffsetsOverwritten"))]
#[case::not_known(stable(), Err(error(KafkaErrorKind::UnstableOffset)), ("Unknown", "WaitingForConsumption"))]
fn the_offset_after_the_restore_tells_whether_it_stood(
    #[case] group: Group,
    #[case] stands: Result<Option<Committed>, KafkaError>,
    #[case] expected: (&str, &str),
) {
    let decision = run(&reset(), &look(running(), after_reset(group, &stands)), 31);
    assert_eq!(proven(&decision.status), expected, "{}", said(&decision.status, ConditionType::ConsumptionProven).2);
    // Where the group has a backlog, they are read on to measure how fast it catches up.
    assert_eq!(needs_offsets(&decision.status), decision.requeue.is_some());
}

#[test]
fn what_was_overwritten_is_named_and_remembered() {
    let jumped = look(workload(3, vec![]), after_reset(empty(), &committed(50, "")));
    let found = run(&reset(), &jumped, 33).status;
    let message = said(&found, ConditionType::ConsumptionProven).2;
    assert!(
        message.starts_with(
            "Another client has committed over the offset of the reset on 2 partitions. It was partitions 0-1 of topic orders: \
                             orders-0 has 50 instead of 10, the offset from before the reset, set while the group had no member; orders-1 has 50"
        ),
        "{message}"
    );
    assert!(message.contains("MirrorMaker 2"), "{message}");
    let overwritten =
        OverwrittenStatus { offset: Some(50), evidence: OverwriteEvidence::WithoutMembers, offset_reset: None, time: micro(33) };
    assert!(found.partitions.iter().all(|partition| partition.overwritten.as_ref() == Some(&overwritten)));
    assert!(
        found.partitions.iter().all(|partition| partition.outcome == PartitionOutcome::Reset),
        "that it was reset stays true"
    );
    // The consumers continue from there.
    let back = run(&found, &look(running(), after_reset(stable(), &committed(60, ""))), 40);
    assert_eq!((proven(&back.status), resumed(&back.status).0), (("False", "OffsetsOverwritten"), "True"));
    assert_eq!(back.status.consumption.as_ref().map(|counts| counts.overwritten), Some(2));
    assert!(back.notes.iter().all(|note| !note.warning), "told once");
    assert!(!needs_a_look(&back.status));
}

#[test]
fn another_reset_of_the_group_is_named_and_nothing_has_to_be_done() {
    let undone = look(running(), after_reset(empty(), &committed(50, "offset-reset/shop/undo/uid-9")));
    let status = run(&reset(), &undone, 33).status;
    let (_, reason, message) = said(&status, ConditionType::ConsumptionProven);
    assert_eq!(reason, "OffsetsOverwritten");
    assert!(message.starts_with("OffsetReset shop/undo has set the offset again on 2 partitions"), "{message}");
    assert!(!message.contains("Stop that client"), "{message}");
}

/// It is not the other reset that has set the offset: the undo of an undo gives the first marker back.
#[test]
fn a_marker_of_another_reset_that_an_undo_restores_is_its_own() {
    let mark = "offset-reset/shop/replay/uid-9";
    let mut undo = reset();
    for partition in &mut undo.partitions {
        (partition.requested_offset, partition.target_metadata) = (partition.target_offset, Some(mark.into()));
    }
    let stands = look(running(), after_reset(stable(), &committed(10, mark)));
    assert_eq!(proven(&run(&undo, &stands, 31).status), ("Unknown", "WaitingForConsumption"));
    let set_again = look(running(), after_reset(stable(), &committed(50, mark)));
    assert_eq!(proven(&run(&undo, &set_again, 31).status), ("False", "OffsetsOverwritten"));
}

/// An undo restores the metadata from before, so that its commit has no mark of ours.
#[rstest]
#[case::without_members(empty(), 50, true)]
#[case::with_the_consumers_back(stable(), 50, true)]
#[case::its_status_is_not_known_yet(stable(), 50, false)]
#[case::consumed_since(stable(), 55, true)]
fn the_undo_is_named_and_no_other_client(#[case] group: Group, #[case] offset: i64, #[case] committed_by_it: bool) {
    let undo = UndoSeen { name: "shop/undo-r".into(), committed: committed_by_it };
    let undone = Observed { undo: Some(undo), ..look(running(), after_reset(group, &committed(offset, ""))) };
    let status = run(&reset(), &undone, 33).status;
    let (_, reason, message) = said(&status, ConditionType::ConsumptionProven);
    assert_eq!(reason, "OffsetsOverwritten", "{message}");
    assert!(message.starts_with("OffsetReset shop/undo-r has undone this reset on 2 partitions"), "{message}");
    assert!(!message.contains("client"), "{message}");
    let found = status.partitions[0].overwritten.as_ref().unwrap();
    assert_eq!((found.evidence, found.offset_reset.as_deref()), (OverwriteEvidence::ByOffsetReset, Some("shop/undo-r")));
}

/// It waits for the group, and has set nothing; the offsets are those of the reset or of consumers.
#[rstest]
#[case::stands(10, ("Unknown", "WaitingForConsumption"))]
#[case::consumed(60, ("True", "ConsumptionContinued"))]
fn an_undo_that_has_not_committed_is_not_named(#[case] offset: i64, #[case] expected: (&str, &str)) {
    let undo = UndoSeen { name: "shop/undo-r".into(), committed: false };
    let observed = Observed { undo: Some(undo), ..look(running(), after_reset(stable(), &committed(offset, ""))) };
    assert_eq!(proven(&run(&reset(), &observed, 33).status), expected);
}

#[rstest]
#[case::has_set_offsets(json!({"phase": "Succeeded", "totals": totals(2)}), json!({}), Some(true))]
#[case::has_set_some_of_them(json!({"phase": "Failed", "totals": totals(1)}), json!({}), Some(false))]
#[case::of_this_object(json!({"phase": "Succeeded", "totals": totals(2), "planningStartTime": "2026-11-24T12:00:00.000000Z"}), json!({}), Some(true))]
#[case::of_an_earlier_object(json!({"phase": "Succeeded", "totals": totals(2), "planningStartTime": "2026-11-24T11:59:59.000000Z"}), json!({}), None)]
#[case::at_it(json!({"phase": "Draining"}), json!({}), Some(false))]
#[case::planned(json!({"phase": "Planned", "dryRun": true}), json!({"dryRun": true}), None)]
#[case::told_to_run(json!({"phase": "Planned", "dryRun": true}), json!({}), None)]
#[case::failed_before(json!({"phase": "Failed", "totals": totals(0)}), json!({}), None)]
#[case::of_another(json!({"phase": "Draining"}), json!({"undo": {"name": "other"}}), None)]
fn an_undo_is_one_that_runs_or_has_set_offsets(
    #[case] status: serde_json::Value,
    #[case] more: serde_json::Value,
    #[case] expected: Option<bool>,
) {
    let mut object = json!({
        "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "undo-r", "namespace": "shop"},
        "spec": {"kafka": {}, "group": "g", "undo": {"name": "r"}}, "status": status,
    });
    object["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let found =
        UndoSeen::of(&serde_json::from_value(object).unwrap(), "shop", "r", Some("2026-11-24T12:00:00Z".parse().unwrap()));
    assert_eq!(found, expected.map(|committed| UndoSeen { name: "shop/undo-r".into(), committed }));
}

fn totals(reset: i64) -> serde_json::Value {
    json!({"partitions": 2, "reset": reset, "failed": 0, "clamped": 0, "replayed": 0, "skipped": 0})
}

/// An offset past the target without a member proves nothing when consumers may have come and gone.
#[rstest]
#[case::a_container_crashed(workload(3, vec![Pod { crashed: true, ..pod("a", false) }]), request(), 31)]
#[case::scaled_to_zero_meanwhile(workload(0, vec![]), request(), 31)]
#[case::consumers_use_assign(running(), Request { allow_no_members: true, ..request() }, 31)]
#[case::looked_at_rarely(running(), request(), 331)]
fn consumers_that_may_have_run_are_not_taken_for_another_client(
    #[case] target: Seen<Workload>,
    #[case] request: Request,
    #[case] now: i64,
) {
    let observed = look(target, after_reset(empty(), &committed(100, "")));
    let decision = decide(Ok(&request), &reset(), &observed, at(now));
    assert_eq!(proven(&decision.status), ("True", "ConsumptionContinued"));
}

fn one_of_two(first: i64, end: i64) -> KafkaSeen {
    let KafkaSeen::AfterReset(mut seen) = after_reset(stable(), &committed(first, "")) else { unreachable!() };
    seen.committed.insert(tp(1), committed(10, MARKER));
    seen.bounds.insert(tp(1), Ok(Bounds { start: 0, end }));
    KafkaSeen::AfterReset(seen)
}

#[test]
fn a_partition_without_records_does_not_count_as_missing() {
    let decision = run(&reset(), &look(running(), one_of_two(11, 10)), 31);
    let (status, reason, message) = said(&decision.status, ConditionType::ConsumptionProven);
    assert_eq!((status, reason), ("True", "ConsumptionContinued"));
    assert!(message.ends_with("past the target on 1 partition; 1 partition has no record from the target on"), "{message}");
    let waits = run(&reset(), &look(running(), one_of_two(11, 100)), 31);
    let (status, _, message) = said(&waits.status, ConditionType::ConsumptionProven);
    assert_eq!((status, waits.requeue), ("Unknown", Some(SignedDuration::from_secs(5))), "the consumers are back");
    assert!(message.contains("on partition 1 of topic orders, which has records to consume"), "{message}");
}

/// Times count from the restore, at 30 s.
#[rstest]
#[case::both_at_once(&[(31, 10, 10), (34, 20, 20)], ("4.0s", (0, Some("4.0s"))))]
#[case::the_second_later(&[(31, 10, 10), (34, 20, 10), (39, 20, 11)], ("4.0s", (1, Some("9.0s"))))]
#[case::the_first_later(&[(31, 10, 10), (34, 10, 20), (39, 11, 20)], ("4.0s", (0, Some("9.0s"))))]
#[case::one_waits(&[(31, 10, 10), (34, 20, 10), (39, 20, 10)], ("4.0s", (1, None)))]
#[case::seen_at_the_first_look(&[(31, 40, 12)], ("1.0s", (1, Some("1.0s"))))]
#[case::already_reported(&[(31, 10, 10), (34, 20, 20), (60, 30, 30)], ("4.0s", (0, Some("4.0s"))))]
fn the_time_to_the_first_commit_and_the_slowest_partition_are_told(
    #[case] looks: &[(i64, i64, i64)],
    #[case] expected: (&str, (i32, Option<&str>)),
) {
    let status = looks.iter().fold(reset(), |status, (now, first, second)| {
        let KafkaSeen::AfterReset(mut seen) = after_reset(stable(), &committed(*first, "")) else { unreachable!() };
        seen.committed.insert(tp(1), committed(*second, ""));
        run(&status, &look(running(), KafkaSeen::AfterReset(seen)), *now).status
    });
    let found = status.consumption.unwrap();
    let slowest = found.slowest_partition.unwrap();
    let first = found.time_to_first_commit.unwrap();
    assert_eq!((first.as_str(), (slowest.partition, slowest.time_to_commit.as_deref())), expected);
    let after = found.first_commit_time.unwrap().0.duration_since(at(30));
    assert_eq!(format!("{:.1}s", after.as_secs_f64()), first);
    assert_eq!(slowest.commit_time.is_some(), slowest.time_to_commit.is_some());
    assert_eq!(slowest.topic, "orders");
}

/// The partition that waited was overwritten: when the other one was committed is not known any more, and no time is made up.
#[test]
fn no_time_is_made_up_for_another_partition_when_the_slowest_is_overwritten() {
    let status = [(34, 20, 10), (300, 30, 5), (310, 40, 5)].into_iter().fold(reset(), |status, (now, first, second)| {
        let KafkaSeen::AfterReset(mut seen) = after_reset(stable(), &committed(first, "")) else { unreachable!() };
        seen.committed.insert(tp(1), committed(second, ""));
        run(&status, &look(running(), KafkaSeen::AfterReset(seen)), now).status
    });
    let found = status.consumption.unwrap();
    let slowest = found.slowest_partition.unwrap();
    assert_eq!((found.overwritten, slowest.partition, slowest.time_to_commit), (1, 1, None));
}

/// An operator that did not write the time has seen the commits first.
#[test]
fn a_commit_that_another_version_has_seen_first_has_no_time() {
    let mut status = reset();
    status.consumption = Some(crate::api::ConsumptionStatus { continued: 1, ..Default::default() });
    let next = run(&status, &look(running(), after_reset(stable(), &committed(20, ""))), 90).status;
    assert_eq!(next.consumption.unwrap().first_commit_time, None);
}

#[test]
fn without_a_commit_past_a_target_no_time_is_told() {
    let waits = run(&reset(), &look(running(), after_reset(stable(), &committed(10, MARKER))), 31);
    let found = waits.status.consumption.unwrap();
    assert_eq!((found.first_commit_time, found.time_to_first_commit), (None, None));
    assert_eq!(found.slowest_partition.map(|slowest| slowest.partition), Some(0), "of several, the first");
    let overwritten = run(&reset(), &look(running(), after_reset(empty(), &committed(50, ""))), 31);
    assert_eq!(overwritten.status.consumption.unwrap().first_commit_time, None, "another client's commit is none of theirs");
}

/// A commit comes every five seconds by default; the time to the first one is to be told closer than that.
#[rstest]
#[case::nothing_yet(31, 10, Some(1))]
#[case::nothing_for_long(65, 10, Some(5))]
#[case::past_the_resume_deadline(331, 10, Some(30))]
#[case::all_committed_with_a_backlog(31, 11, Some(5))]
#[case::all_consumed(31, 100, None)]
fn the_first_commit_is_looked_for_often_for_a_while(#[case] now: i64, #[case] offset: i64, #[case] expected: Option<i64>) {
    let first = run(&reset(), &look(running(), after_reset(stable(), &committed(10, MARKER))), 31).status;
    let next = run(&first, &look(running(), after_reset(stable(), &committed(offset, MARKER))), now);
    assert_eq!(next.requeue, expected.map(SignedDuration::from_secs));
}

#[test]
fn without_any_record_it_is_proven_when_the_consumers_are_back() {
    let at_the_end = |group: Group| {
        let KafkaSeen::AfterReset(seen) = after_reset(group, &committed(10, MARKER)) else { unreachable!() };
        KafkaSeen::AfterReset(AfterResetSeen { bounds: per_partition(&Ok(Bounds { start: 0, end: 10 })), ..seen })
    };
    let waits = run(&reset(), &look(running(), at_the_end(empty())), 31);
    assert_eq!(proven(&waits.status), ("Unknown", "WaitingForConsumption"), "another client may still come first");
    let back = run(&waits.status, &look(running(), at_the_end(stable())), 32);
    assert_eq!(proven(&back.status), ("True", "NothingToConsume"));
    assert!(!needs_a_look(&back.status));
}

/// Nothing is restored, and offsets can be overwritten all the same: looked at until resumeTimeout.
#[test]
fn a_reset_without_targets_is_watched_too() {
    let request = Request { targets: vec![], ..request() };
    let mut status = status_in(Phase::Restoring);
    status.targets.clear();
    all_reset(&mut status);
    let nothing = |kafka| Observed { targets: vec![], holds: vec![], ..look(gone(), kafka) };
    let status = decide(Ok(&request), &status, &nothing(KafkaSeen::NotAsked), at(30)).status;
    assert_eq!(resumed(&status), ("True", "NoConsumersExpected"));
    assert_eq!(status.hold.as_ref().unwrap().watched_until, Some(micro(330)));
    let stands = nothing(after_reset(empty(), &committed(10, MARKER)));
    let decision = decide(Ok(&request), &status, &stands, at(31));
    assert_eq!((proven(&decision.status).0, decision.requeue), ("Unknown", Some(SignedDuration::from_secs(5))));
    let over = decide(Ok(&request), &decision.status, &stands, at(330));
    let (state, reason, message) = said(&over.status, ConditionType::ConsumptionProven);
    assert_eq!((state, reason, needs_a_look(&over.status), over.requeue), ("Unknown", "NothingConsumedYet", false, None));
    assert!(message.ends_with("The operator no longer reads them"), "{message}");
    let jumped = decide(Ok(&request), &status, &nothing(after_reset(empty(), &committed(100, ""))), at(40));
    assert_eq!(proven(&jumped.status), ("False", "OffsetsOverwritten"));
    assert!(!needs_a_look(&jumped.status));
}

#[test]
fn offsets_that_cannot_be_read_keep_nothing_from_being_known_of_the_consumers() {
    let decision = run(&reset(), &look(running(), KafkaSeen::Group(stable())), 31);
    assert_eq!((resumed(&decision.status).0, proven(&decision.status).0), ("True", "Unknown"));
    let over = run(&decision.status, &look(running(), KafkaSeen::Group(stable())), 30 + 60 * MINUTE);
    let (status, reason, message) = said(&over.status, ConditionType::ConsumptionProven);
    assert_eq!((status, reason, needs_a_look(&over.status)), ("Unknown", "NothingConsumedYet", false));
    assert!(message.starts_with("The offsets could not be read again"), "{message}");
}

#[test]
fn a_reset_that_set_no_offset_has_nothing_to_prove() {
    let status = finished();
    assert!(status.conditions.iter().all(|condition| condition.type_ != ConditionType::ConsumptionProven.as_str()));
    assert!(!needs_offsets(&status));
}

/// After the undo of a canary they are those from before.
#[rstest]
#[case::of_a_reset(false, "The offsets are those of the reset, and there is no record to consume on 2 partitions")]
#[case::of_an_undo(true, "The offsets are those from before the reset, and there is no record to consume on 2 partitions")]
fn which_offsets_stand_is_told(#[case] is_undone: bool, #[case] expected: &str) {
    let mut status = reset();
    for planned in status.partitions.iter_mut().filter(|_| is_undone) {
        planned.undone = Some(UndoneStatus { target_offset: planned.target_offset });
    }
    let KafkaSeen::AfterReset(mut kafka) = after_reset(stable(), &committed(10, MARKER)) else { unreachable!() };
    for bounds in kafka.bounds.values_mut() {
        *bounds = Ok(Bounds { start: 0, end: 10 });
    }
    let looked = run(&status, &look(running(), KafkaSeen::AfterReset(kafka)), 33).status;
    assert_eq!(said(&looked, ConditionType::ConsumptionProven), ("True", "NothingToConsume", expected));
}
