//! After the end: whether the consumers resumed, in which number, and whether they consume from the
//! offsets of the reset.

use rstest::rstest;

use super::*;
use crate::{
    api::{AutoscalerStatus, ConditionType, OverwriteEvidence, OverwrittenStatus},
    machine::{
        decide,
        decision::{Decision, Effect},
        facts::{FieldOwner, Hpa},
        needs_a_look, needs_offsets,
    },
};

const MINUTE: i64 = 60;

fn run(status: &OffsetResetStatus, seen: &Observed, now: i64) -> Decision {
    decide(Ok(&request()), status, seen, at(now))
}

fn stable() -> Group {
    group_in(GroupState::Stable, 3)
}

fn empty() -> Group {
    group_in(GroupState::Empty, 0)
}

/// Restored at 30 s, from three replicas.
fn finished_with(request: &Request, change: impl FnOnce(&mut OffsetResetStatus)) -> OffsetResetStatus {
    let mut status = status_in(Phase::Restoring);
    status.group = Some(crate::machine::facts::group::status(&stable(), None, &[]));
    change(&mut status);
    let back = Observed { holds: vec![Seen::Missing], ..seen(running(), KafkaSeen::NotAsked) };
    decide(Ok(request), &status, &back, at(30)).status
}

fn finished() -> OffsetResetStatus {
    finished_with(&request(), |_| {})
}

/// The same with both offsets reset, from 50 to 10.
fn reset() -> OffsetResetStatus {
    finished_with(&request(), all_reset)
}

fn all_reset(status: &mut OffsetResetStatus) {
    for partition in &mut status.partitions {
        (partition.outcome, partition.after) = (PartitionOutcome::Reset, partition.target_offset);
    }
}

fn look(target: Seen<Workload>, kafka: KafkaSeen) -> Observed {
    Observed { finalizer: false, holds: vec![Seen::Missing], ..seen(target, kafka) }
}

/// Status, reason and message of a condition.
fn said(status: &OffsetResetStatus, kind: ConditionType) -> (&str, &str, &str) {
    let condition = status.conditions.iter().find(|condition| condition.type_ == kind.as_str()).unwrap();
    (&condition.status, &condition.reason, &condition.message)
}

fn resumed(status: &OffsetResetStatus) -> (&str, &str) {
    let (status, reason, _) = said(status, ConditionType::ConsumersResumed);
    (status, reason)
}

fn proven(status: &OffsetResetStatus) -> (&str, &str) {
    let (status, reason, _) = said(status, ConditionType::ConsumptionProven);
    (status, reason)
}

#[test]
fn the_finalizer_goes_when_it_is_over() {
    let decision = run(&finished(), &seen(running(), KafkaSeen::NotAsked), 31);
    assert_eq!(decision.effect, Some(Effect::RemoveFinalizer));
}

#[rstest]
#[case::all_back(running(), KafkaSeen::Group(stable()), 31, ("True", "ConsumersReady"))]
#[case::pods_not_ready(workload(3, vec![pod("a", false)]), KafkaSeen::Group(stable()), 31, ("Unknown", "WaitingForConsumers"))]
#[case::members_missing(running(), KafkaSeen::Group(group_in(GroupState::Stable, 2)), 31, ("Unknown", "WaitingForConsumers"))]
#[case::members_being_called_together(running(), KafkaSeen::Group(group_in(GroupState::PreparingRebalance, 3)), 31, ("Unknown", "WaitingForConsumers"))]
#[case::broker_away(running(), KafkaSeen::Failed(error(KafkaErrorKind::Unreachable)), 31, ("Unknown", "WaitingForConsumers"))]
#[case::gone(Seen::Missing, KafkaSeen::Group(stable()), 31, ("Unknown", "WaitingForConsumers"))]
#[case::never_back(workload(3, vec![]), KafkaSeen::Group(empty()), 331, ("False", "ConsumersNotReady"))]
#[case::back_although_late(running(), KafkaSeen::Group(stable()), 331, ("True", "ConsumersReady"))]
fn after_the_end_it_says_whether_the_consumers_came_back(
    #[case] target: Seen<Workload>,
    #[case] kafka: KafkaSeen,
    #[case] now: i64,
    #[case] expected: (&str, &str),
) {
    let decision = run(&finished(), &look(target, kafka), now);
    assert_eq!(resumed(&decision.status), expected);
    assert_eq!((decision.effect.clone(), decision.status.phase), (None, Some(Phase::Succeeded)), "what is over is only watched");
}

#[test]
fn a_late_comeback_is_recorded_when_it_comes_and_told_once_until_then() {
    let waiting = look(workload(3, vec![pod("a", false)]), KafkaSeen::Group(empty()));
    let missed = run(&finished(), &waiting, 330);
    let (status, reason, message) = said(&missed.status, ConditionType::ConsumersResumed);
    assert_eq!((status, reason), ("False", "ConsumersNotReady"));
    assert!(
        message.contains("1 of 3 pods of Deployment/consumer are ready") && message.contains("every 30 seconds"),
        "{message}"
    );
    assert_eq!(missed.notes.iter().filter(|note| note.warning).count(), 1);
    assert_eq!((missed.requeue, needs_a_look(&missed.status)), (Some(SignedDuration::from_secs(30)), true));
    let more = look(workload(3, vec![pod("a", false), pod("b", false)]), KafkaSeen::Group(empty()));
    let later = run(&missed.status, &more, 360);
    assert!(later.notes.is_empty() && later.status != missed.status, "another state, and no other Event");

    let back = run(&later.status, &look(running(), KafkaSeen::Group(stable())), 30 + 6 * MINUTE);
    let (status, reason, message) = said(&back.status, ConditionType::ConsumersResumed);
    assert_eq!((status, reason), ("True", "ConsumersReady"));
    assert!(message.ends_with("That was 6 minutes after the restore, later than resumeTimeout"), "{message}");
    assert_eq!((back.requeue, needs_a_look(&back.status)), (None, false));
}

#[test]
fn the_watch_ends_after_an_hour() {
    let never = look(workload(3, vec![]), KafkaSeen::Group(empty()));
    let before = run(&finished(), &never, 30 + 60 * MINUTE - 1);
    assert!(needs_a_look(&before.status));
    let over = run(&before.status, &never, 30 + 60 * MINUTE);
    let (status, reason, message) = said(&over.status, ConditionType::ConsumersResumed);
    assert_eq!((status, reason, needs_a_look(&over.status), over.requeue), ("False", "ConsumersNotReady", false, None));
    assert!(message.contains("The operator has stopped looking"), "{message}");
}

#[rstest]
#[case::usual(None, None, 5)]
#[case::pods_that_start_one_after_the_other(None, Some(0), 8)]
#[case::and_are_available_later(None, Some(60), 11)]
#[case::given(Some(20), Some(60), 20)]
#[case::given_short(Some(1), None, 1)]
#[case::longer_than_the_watch(Some(90), None, 90)]
fn the_time_for_the_comeback_follows_the_workload(
    #[case] given: Option<i64>,
    #[case] ordered: Option<i32>,
    #[case] minutes: i64,
) {
    let request = Request { resume_timeout: given.map(SignedDuration::from_mins), ..request() };
    let status = finished_with(&request, |status| status.targets[0].ordered_min_ready_seconds = ordered);
    let hold = status.hold.as_ref().unwrap();
    let until = minutes.max(60);
    assert_eq!(
        (hold.resume_deadline.clone(), hold.watched_until.clone()),
        (Some(micro(30 + minutes * MINUTE)), Some(micro(30 + until * MINUTE)))
    );
    let never = look(workload(3, vec![]), KafkaSeen::Group(empty()));
    assert_eq!(resumed(&run(&status, &never, 29 + minutes * MINUTE).status).0, "Unknown");
    assert_eq!(resumed(&run(&status, &never, 30 + minutes * MINUTE).status).0, "False");
}

fn scaled(replicas: i32, pods: usize) -> Seen<Workload> {
    let Seen::Known(mut found) = workload(replicas, (0..pods).map(|n| pod(&format!("p{n}"), false)).collect()) else {
        unreachable!()
    };
    let owner = FieldOwner {
        manager: "kube-controller-manager".into(),
        operation: "Update".into(),
        subresource: Some("scale".into()),
        time: None,
    };
    found.details.scalers = vec![owner];
    found.details.autoscalers = vec![Hpa { name: "load".into(), min_replicas: 1, scaled_to_zero: false }];
    Seen::Known(found)
}

/// Three members of three pods before.
#[rstest]
#[case::down(1, 1, 1, ("True", "ConsumersReady"), "Deployment/consumer was scaled from 3 to 1 after the restore by kube-controller-manager (Update of scale); HorizontalPodAutoscaler load scales it")]
#[case::down_while_pods_start(1, 0, 0, ("Unknown", "WaitingForConsumers"), "0 of 1 pods of Deployment/consumer are ready")]
#[case::down_and_members_missing(2, 2, 1, ("Unknown", "WaitingForConsumers"), "1 of 2 members are in the group")]
#[case::up(5, 5, 5, ("True", "ConsumersReady"), "from 3 to 5")]
#[case::up_and_pods_missing(5, 3, 3, ("Unknown", "WaitingForConsumers"), "3 of 5 pods")]
#[case::to_zero(0, 0, 0, ("True", "NoConsumersExpected"), "No consumers are expected. Deployment/consumer was scaled from 3 to 0")]
#[case::to_zero_while_they_end(0, 2, 2, ("True", "NoConsumersExpected"), "from 3 to 0")]
fn a_count_that_was_set_after_the_restore_is_the_one_that_is_expected(
    #[case] replicas: i32,
    #[case] pods: usize,
    #[case] members: usize,
    #[case] expected: (&str, &str),
    #[case] words: &str,
) {
    let state = if members == 0 { GroupState::Empty } else { GroupState::Stable };
    let observed = look(scaled(replicas, pods), KafkaSeen::Group(group_in(state, members)));
    let decision = run(&finished(), &observed, 31);
    assert_eq!(resumed(&decision.status), expected);
    let message = said(&decision.status, ConditionType::ConsumersResumed).2;
    assert!(message.contains(words), "{message}");
}

#[test]
fn members_are_expected_of_the_replicas_that_they_were_counted_of() {
    // Six members of six pods in the plan; the autoscaler took three away before the stop.
    let status = finished_with(&request(), |status| {
        let group = status.group.as_mut().unwrap();
        (group.expected_members, group.expected_of_replicas) = (Some(6), Some(6));
    });
    let decision = run(&status, &look(running(), KafkaSeen::Group(stable())), 31);
    assert_eq!(resumed(&decision.status), ("True", "ConsumersReady"));
}

#[test]
fn keda_that_scales_to_zero_is_named() {
    let keda = AutoscalerStatus {
        kind: "ScaledObject".into(),
        name: "orders".into(),
        paused_by_owner: false,
        pauses: 1,
        pause_time: None,
        paused: true,
        resumed: true,
        left: false,
    };
    let status = finished_with(&request(), |status| status.targets[0].autoscaler = Some(keda));
    let decision = run(&status, &look(workload(0, vec![]), KafkaSeen::Group(empty())), 31);
    assert_eq!(resumed(&decision.status), ("True", "NoConsumersExpected"));
    let message = said(&decision.status, ConditionType::ConsumersResumed).2;
    assert!(message.ends_with("by another controller or a user; KEDA scales it by ScaledObject orders"), "{message}");
    assert!(!needs_a_look(&decision.status));
}

/// Zero is not an autoscaler's then.
#[rstest]
#[case::held(Seen::Known(Hold { claims: vec![claim("uid-2")], ..lease() }), "held at zero by OffsetReset name-of-uid-2")]
#[case::not_known(Seen::Unknown("no route to host".into()), "is at zero, and its Lease could not be read")]
fn a_target_that_another_reset_holds_is_waited_for(#[case] hold: Seen<Hold>, #[case] words: &str) {
    let observed = Observed { holds: vec![hold], ..look(workload(0, vec![]), KafkaSeen::Group(empty())) };
    let decision = run(&finished(), &observed, 31);
    let (status, reason, message) = said(&decision.status, ConditionType::ConsumersResumed);
    assert_eq!((status, reason), ("Unknown", "WaitingForConsumers"));
    assert!(message.contains(words), "{message}");
}

#[test]
fn a_finished_reset_changes_nothing_any_more() {
    let mut status = finished();
    let back = look(running(), KafkaSeen::Group(stable()));
    status = run(&status, &back, 31).status;
    for observed in [
        back,
        Observed { finalizer: false, ..seen(gone(), commit_seen(empty(), &committed(50, ""))) },
        Observed { finalizer: false, deleting: true, ..seen(Seen::Missing, KafkaSeen::NotAsked) },
    ] {
        let decision = run(&status, &observed, 99_999);
        assert_eq!((decision.effect, decision.status.clone(), decision.requeue), (None, status.clone(), None));
    }
}

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
    assert_eq!(needs_offsets(&decision.status), decision.requeue.is_some() && expected.0 != "True");
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

/// `suspend` may be changed at any time, also in Git after the run.
#[rstest]
#[case::succeeded(Phase::Succeeded)]
#[case::failed(Phase::Failed)]
#[case::cancelled(Phase::Cancelled)]
fn a_change_of_the_spec_after_the_end_is_observed_and_changes_nothing_else(#[case] phase: Phase) {
    let mut status = finished_with(&request(), |status| status.outcome.as_mut().unwrap().phase = phase);
    status.hold.as_mut().unwrap().watched_until = None;
    let observed = Observed { generation: Some(1), targets: vec![], ..look(running(), KafkaSeen::NotAsked) };
    let before = run(&status, &observed, 100).status;
    let changed = Observed { generation: Some(2), ..observed };
    let decision = run(&before, &changed, 100);
    assert_eq!((&decision.effect, decision.requeue, &decision.notes[..]), (&None, None, &[][..]));
    let observed_generation = |status: &OffsetResetStatus| {
        let mut status = status.clone();
        let of_conditions =
            status.conditions.iter_mut().map(|condition| condition.observed_generation.take()).collect::<Vec<_>>();
        (status.observed_generation.take(), of_conditions.contains(&Some(2)), status)
    };
    let (was, is) = (observed_generation(&before), observed_generation(&decision.status));
    assert_eq!((was.0, is.0, is.1), (Some(1), Some(2), true));
    assert_eq!(was.2, is.2);
}
