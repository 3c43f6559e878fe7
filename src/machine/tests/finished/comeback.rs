//! Whether the consumers resumed, in which number.

use rstest::rstest;

use super::*;

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

fn crashes(name: &str) -> Pod {
    Pod { ready: false, crashed: true, restarted: true, ..pod(name, false) }
}

fn runs_again(name: &str, since: i64) -> Pod {
    Pod { restarted: true, ready_since: Some(at(since)), ..pod(name, false) }
}

/// A container that crashes in a loop runs for a moment each time, and its pod is ready then.
#[rstest]
#[case::crashes(vec![pod("a", false), pod("b", false), crashes("c")], stable(), 40, "containers crash again and again in pod c")]
#[case::runs_for_a_moment(vec![pod("a", false), pod("b", false), runs_again("c", 39)], stable(), 40, "were started again less than a minute ago")]
#[case::no_member(vec![pod("a", false), pod("b", false), pod("c", false)], empty(), 40, "0 of 3 members are in the group")]
fn consumers_that_crash_in_a_loop_have_not_resumed(
    #[case] pods: Vec<Pod>,
    #[case] group: Group,
    #[case] now: i64,
    #[case] expected: &str,
) {
    let decision = run(&finished(), &look(workload(3, pods.clone()), KafkaSeen::Group(group.clone())), now);
    let (status, _, message) = said(&decision.status, ConditionType::ConsumersResumed);
    assert!(status == "Unknown" && message.contains(expected), "{status}: {message}");
    let late = run(&decision.status, &look(workload(3, pods), KafkaSeen::Group(group)), 331);
    assert_eq!(resumed(&late.status).0, if expected.contains("minute") { "True" } else { "False" });
}

/// A node has evicted it, and the ReplicaSet does not count it: it stays as it is also while the workload is at zero.
#[test]
fn a_pod_that_ended_before_crashes_no_more() {
    let evicted = Pod { terminated: true, ..crashes("evicted") };
    let pods = vec![pod("a", false), pod("b", false), pod("c", false), evicted];
    let back = run(&reset(), &look(workload(3, pods), after_reset(stable(), &committed(10, MARKER))), 40);
    assert_eq!(resumed(&back.status).0, "True", "{}", said(&back.status, ConditionType::ConsumersResumed).2);
}

/// They were ready for a moment, and members, before the first crash.
#[test]
fn that_the_consumers_resumed_is_taken_back_when_they_crash() {
    let back = run(&reset(), &look(running(), after_reset(stable(), &committed(10, MARKER))), 31);
    assert_eq!((resumed(&back.status), proven(&back.status).0), (("True", "ConsumersReady"), "Unknown"));
    let crashed = look(workload(3, vec![crashes("a"), crashes("b"), crashes("c")]), after_reset(empty(), &committed(10, MARKER)));
    let taken_back = run(&back.status, &crashed, 40);
    let (status, reason, message) = said(&taken_back.status, ConditionType::ConsumersResumed);
    assert_eq!((status, reason), ("Unknown", "WaitingForConsumers"));
    assert!(message.contains("containers crash again and again in 3 pods, such as a"), "{message}");
    let late = run(&taken_back.status, &crashed, 331);
    assert_eq!(resumed(&late.status), ("False", "ConsumersNotReady"));
    assert_eq!(late.notes.iter().filter(|note| note.warning).count(), 1);
    let again = look(workload(3, vec![runs_again("a", 400); 3]), after_reset(stable(), &committed(10, MARKER)));
    assert_eq!(resumed(&run(&late.status, &again, 459).status).0, "False");
    assert_eq!(resumed(&run(&late.status, &again, 461).status).0, "True");
}

/// Consumers that crashed on a record were no members when the plan was made.
#[rstest]
#[case::they_are_expected(false, "Unknown")]
#[case::unless_they_never_are(true, "True")]
fn consumers_that_were_no_members_before_are_expected_to_be(#[case] allow_no_members: bool, #[case] expected: &str) {
    let request = Request { allow_no_members, ..request() };
    let status = finished_with(&request, |status| {
        status.group = Some(crate::machine::facts::group::status(&empty(), None, &[]));
    });
    let decision = decide(Ok(&request), &status, &look(running(), KafkaSeen::Group(empty())), at(31));
    let (state, _, message) = said(&decision.status, ConditionType::ConsumersResumed);
    assert_eq!(state, expected, "{message}");
    assert_eq!(message.contains("0 of 1 members are in the group"), !allow_no_members, "{message}");
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

/// Consumers cannot be back in the moment in which they are restored.
#[test]
fn the_first_look_at_restored_consumers_is_a_second_after_the_restore() {
    let status = finished();
    assert_eq!(first_look(&status, at(30)), Some(SignedDuration::from_secs(1)));
    assert_eq!(first_look(&status, at(31)), None);
    assert_eq!(first_look(&status, at(-60)), None, "the clock was set back");
    let early = run(&status, &Observed { targets: vec![], ..look(running(), KafkaSeen::NotAsked) }, 30);
    assert_eq!((early.status.conditions.clone(), early.requeue), (status.conditions.clone(), Some(SignedDuration::from_secs(1))));
    // The look was left out, and it is due meanwhile.
    let late = run(&status, &Observed { targets: vec![], ..look(running(), KafkaSeen::NotAsked) }, 31);
    assert_eq!((late.status.conditions, late.requeue), (status.conditions.clone(), Some(SignedDuration::ZERO)));
    let none_come_back = finished_with(&request(), |status| status.targets[0].original_replicas = 0);
    assert_eq!(first_look(&none_come_back, at(30)), None, "their offsets are looked at, at once");
}

/// A pod that never becomes ready costs a look every ten seconds, and not one a second until resumeTimeout.
#[rstest]
#[case::soon_after_the_restore(31, 1)]
#[case::later(70, 5)]
#[case::long_after(200, 10)]
#[case::past_the_resume_deadline(331, 30)]
fn consumers_that_do_not_come_back_are_looked_at_less_often(#[case] now: i64, #[case] expected: i64) {
    let decision = run(&finished(), &look(workload(3, vec![]), KafkaSeen::Group(empty())), now);
    assert_eq!(decision.requeue, Some(SignedDuration::from_secs(expected)));
}
