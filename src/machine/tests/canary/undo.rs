//! A canary that has failed: it is stopped, and the offsets from before are committed.

use super::*;
use crate::machine::metadata;

/// Stopped from the canary's count, which is not the one to restore; whatever its controller has in progress.
#[test]
fn an_undo_stops_the_canary_and_keeps_the_original_count() {
    let undoing = run(UNDO, &runs(UNDO), &look(crashes(), consumed(10, 11)), 40).status;
    assert!(!undoing.targets[0].stopped);
    let rollout = Rollout::Progressing { pods: "0 of 1 pods has its newest revision".into(), deadline: None };
    let Seen::Known(mut found) = crashes() else { unreachable!() };
    found.details.rollout = rollout;
    let observed = Observed { holds: vec![Seen::Known(lease_of_canary())], ..seen(Seen::Known(found), KafkaSeen::NotAsked) };
    let stops = run(UNDO, &undoing, &observed, 41);
    let effect = Effect::Scale { target: 0, resource_version: "7".into(), replicas: 0, state: None, kind: ActionKind::Stop };
    assert_eq!((stops.effect, stops.status.targets[0].original_replicas), (Some(effect), 3));
    // The Lease was deleted by hand.
    let observed = Observed { holds: vec![Seen::Missing], ..observed };
    let Some(Effect::Claim { hold, .. }) = run(UNDO, &undoing, &observed, 41).effect else { panic!("it is claimed again") };
    assert_eq!((hold.replicas, hold.canary), (3, Some(1)));
}

/// From the failure of the canary to the read-back of the offsets from before.
fn undone(undo: &OffsetResetStatus, stands: &Result<Option<Committed>, KafkaError>, now: i64) -> Decision {
    run(UNDO, undo, &Observed { holds: vec![Seen::Known(lease_of_canary())], ..seen(gone(), commit_seen(empty(), stands)) }, now)
}

#[test]
fn an_undo_commits_what_was_there_before_and_the_reset_fails() {
    let mut status = begun(UNDO);
    for planned in &mut status.partitions {
        planned.before_metadata = Some("of the application".into());
    }
    status.targets[0].canary_replicas = Some(1);
    let status = run(UNDO, &status, &up(), 30).status;
    let failed = run(UNDO, &status, &look(crashes(), consumed(11, 10)), 40).status;
    let targets: Vec<_> = failed.partitions.iter().map(|planned| (planned.target_offset, planned.outcome)).collect();
    assert_eq!(targets, [(Some(50), PartitionOutcome::Planned); 2]);
    assert!(failed.partitions.iter().all(|planned| planned.undone.as_ref().unwrap().target_offset == Some(10)));

    let stopped =
        run(UNDO, &failed, &Observed { holds: vec![Seen::Known(lease_of_canary())], ..seen(gone(), KafkaSeen::NotAsked) }, 50)
            .status;
    assert_eq!((stopped.phase, stopped.targets[0].canary_replicas), (Some(Phase::Draining), None));
    let drained = run(UNDO, &stopped, &seen(gone(), KafkaSeen::Group(empty())), 51).status;
    assert_eq!(drained.phase, Some(Phase::Resetting));
    let commits = undone(&drained, &committed(11, "of the canary"), 52);
    let wanted = Committed { offset: 50, metadata: "of the application".into() };
    assert_eq!(commits.effect, Some(Effect::Commit(vec![(tp(0), wanted.clone()), (tp(1), wanted)])));
    assert_eq!(commits.status.commits, 2);
    let answer = Answer::Committed(per_partition(&Ok(())));
    let sent = after(&commits.status, &commits.effect.unwrap(), &answer, &read_back(), at(52)).status;
    let done = undone(&sent, &committed(50, "of the application"), 53).status;
    assert_eq!((done.phase, state(&done)), (Some(Phase::Restoring), CanaryState::Undone));
    assert_eq!(outcome(&done), Some((Phase::Failed, Reason::CanaryUndone)));
    let details = done.outcome.unwrap().explanation();
    for words in ["A container of the canary was started again", "in pod canary", "2 offsets from before are read back"] {
        assert!(details.contains(words), "{words}: {details}");
    }
    let back = Observed { holds: vec![Seen::Known(lease_of_canary())], ..seen(gone(), KafkaSeen::NotAsked) };
    let restores = run(UNDO, &undone(&sent, &committed(50, "of the application"), 53).status, &back, 54);
    assert!(matches!(restores.effect, Some(Effect::Scale { replicas: 3, kind: ActionKind::Restore, .. })));
}

/// Retention has removed the records from before meanwhile: the outcome does not claim offsets that were moved.
#[test]
fn an_undo_says_how_many_offsets_from_before_it_has_moved() {
    let mut undoing = run(UNDO, &runs(UNDO), &look(crashes(), consumed(10, 11)), 40).status;
    undoing.phase = Some(Phase::Resetting);
    let KafkaSeen::ForCommit(mut kafka) = commit_seen(empty(), &committed(11, "of the canary")) else { unreachable!() };
    kafka.bounds.insert(tp(1), Ok(Bounds { start: 60, end: 100 }));
    let observed = Observed { holds: vec![Seen::Known(lease_of_canary())], ..seen(gone(), KafkaSeen::ForCommit(kafka.clone())) };
    let sent = run(UNDO, &undoing, &observed, 52).status;
    assert_eq!(sent.partitions.iter().map(|planned| planned.target_offset).collect::<Vec<_>>(), [Some(50), Some(60)]);
    for (index, planned) in sent.partitions.iter().enumerate() {
        let offset = planned.target_offset.unwrap();
        let metadata = metadata::to_restore(planned).unwrap_or_else(|| MARKER.into());
        kafka.committed.insert(tp(i32::try_from(index).unwrap()), Ok(Some(Committed { offset, metadata })));
    }
    let observed = Observed { holds: vec![Seen::Known(lease_of_canary())], ..seen(gone(), KafkaSeen::ForCommit(kafka)) };
    let done = run(UNDO, &sent, &observed, 53).status;
    assert_eq!(outcome(&done), Some((Phase::Failed, Reason::CanaryUndone)));
    let moved = "1 of them was out of range and moved into the log's range";
    let milestone = done.condition_message(ConditionType::OffsetsReset).unwrap();
    assert!(milestone.contains(moved), "{milestone}");
    let said = done.outcome.unwrap().explanation();
    assert!(said.contains(moved), "{said}");
}

/// An undo that does not come to its end restores all replicas, and says what it has come to.
#[test]
fn an_undo_that_is_cut_short_restores_all_replicas_and_says_so() {
    let undoing = run(UNDO, &runs(UNDO), &look(crashes(), consumed(10, 11)), 40).status;
    for observed in [
        Observed { deleting: true, targets: vec![], ..seen(one(), KafkaSeen::NotAsked) },
        Observed { targets: vec![], ..seen(one(), KafkaSeen::NotAsked) },
    ] {
        let now = if observed.deleting { 41 } else { 600 };
        let ended = run(UNDO, &undoing, &observed, now).status;
        assert_eq!(ended.phase, Some(Phase::Restoring));
        let said = ended.outcome.as_ref().unwrap().explanation();
        assert!(said.contains("0 of the 2 offsets from before were committed again"), "{said}");
        let back = Observed { holds: vec![Seen::Missing], ..seen(running(), KafkaSeen::NotAsked) };
        let done = run(UNDO, &OffsetResetStatus { receipt: None, ..ended }, &back, now + 1).status;
        assert_eq!(state(&done), CanaryState::Failed);
        assert!(done.phase.is_some_and(Phase::is_terminal));
    }
}

/// Where only a part of the offsets from before is known, none is committed again.
#[test]
fn without_the_report_of_a_large_plan_nothing_is_undone() {
    let status = OffsetResetStatus { partitions_omitted: 7, ..runs(UNDO) };
    let failed = run(UNDO, &status, &look(crashes(), consumed(10, 11)), 40).status;
    assert_eq!((failed.phase, outcome(&failed)), (Some(Phase::Restoring), Some(FAILURE)));
    assert!(failed.outcome.unwrap().explanation().contains("the report with the offsets from before could not be read"));
}

/// What the reset has not set its undo leaves to the canary's consumers.
#[test]
fn a_partition_that_the_reset_left_unchanged_is_not_undone() {
    let mut status = runs(UNDO);
    status.partitions[1].outcome = PartitionOutcome::Unchanged;
    let mut undoing = run(UNDO, &status, &look(crashes(), consumed(10, 60)), 40).status;
    assert_eq!(undoing.partitions[1].undone, None);
    undoing.phase = Some(Phase::Resetting);
    let Some(Effect::Commit(offsets)) = undone(&undoing, &committed(60, ""), 60).effect else { panic!("it commits") };
    assert_eq!(offsets.iter().map(|(at, _)| at.partition).collect::<Vec<_>>(), [0]);
}

/// There was no offset before, so the undo removes that of the reset.
#[test]
fn an_undo_removes_the_offset_where_there_was_none_before() {
    let mut status = runs(UNDO);
    for planned in &mut status.partitions {
        planned.before = None;
    }
    let mut undoing = run(UNDO, &status, &look(crashes(), consumed(10, 10)), 40).status;
    undoing.phase = Some(Phase::Resetting);
    assert_eq!(undone(&undoing, &committed(10, MARKER), 60).effect, Some(Effect::RemoveOffsets(vec![tp(0), tp(1)])));
}

/// A target that was at zero before the reset has no canary, so that its Lease has no count of one.
#[test]
fn a_target_that_another_client_has_scaled_up_meanwhile_is_claimed_without_a_canary() {
    let mut undoing = run(UNDO, &runs(UNDO), &look(crashes(), consumed(10, 11)), 40).status;
    let mut second = undoing.targets[0].clone();
    (second.name, second.uid, second.original_replicas) = ("second".into(), "uid-2".into(), 0);
    (second.stop_requested, second.canary_replicas) = (false, None);
    undoing.targets.push(second);
    let Seen::Known(mut other) = workload(5, vec![]) else { unreachable!() };
    other.uid = "uid-2".into();
    let observed = Observed {
        targets: vec![gone(), Seen::Known(other)],
        holds: vec![Seen::Known(lease_of_canary()), Seen::Missing],
        ..seen(gone(), KafkaSeen::NotAsked)
    };
    let Some(Effect::Claim { target: 1, hold }) = run(UNDO, &undoing, &observed, 41).effect else { panic!("it is claimed") };
    assert_eq!((hold.replicas, hold.canary), (5, None));
}

/// The report of a large plan is written before the status, and the operator may be killed between the two.
#[test]
fn an_undo_that_only_the_report_has_is_begun_again() {
    let begun = run(UNDO, &runs(UNDO), &look(crashes(), consumed(10, 11)), 40).status;
    let status = OffsetResetStatus { partitions: begun.partitions.clone(), ..runs(UNDO) };
    let again = run(UNDO, &status, &look(one(), consumed(10, 11)), 41).status;
    assert_eq!((again.phase, state(&again), outcome(&again)), (Some(Phase::Stopping), CanaryState::Undoing, None));
    assert_eq!(again.partitions, begun.partitions);
}
