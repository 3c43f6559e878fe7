//! The words of Draining: a bound that holds, and advice that helps.

use rstest::rstest;

use crate::api::{GroupStatus, Outcome};
use crate::machine::decide;
use crate::machine::facts::group;
use crate::machine::tests::*;

fn in_group(state: GroupState, members: usize, group_type: GroupType) -> Group {
    match group_in(state, members) {
        Group::Found(found) => Group::Found(GroupDescription { group_type, ..found }),
        Group::NotFound => Group::NotFound,
    }
}

/// The containers have terminated at 5 s.
#[rstest]
#[case::at_once(5.0, 20)]
#[case::after_one_second(6.0, 125)]
#[case::after_four(9.0, 500)]
#[case::after_a_minute(65.0, 1_000)]
fn the_broker_is_asked_again_after_an_eighth_of_the_time_since_the_last_container(#[case] now: f64, #[case] pause: i64) {
    let observed = seen(gone(), KafkaSeen::Group(in_group(GroupState::Stable, 3, GroupType::Classic)));
    let now = at(0) + SignedDuration::from_secs_f64(now);
    let decision = decide(Ok(&request()), &status_in(Phase::Draining), &observed, now);
    assert_eq!(decision.requeue, Some(SignedDuration::from_millis(pause)));
}

/// The containers have terminated at 5 s, sessionTimeout is 10 s.
#[rstest]
#[case::before_the_session_ends(
    GroupState::Stable,
    GroupType::Classic,
    6,
    "at 2027-01-15T08:00:15Z, when their session expires (sessionTimeout); one that died while it joined the group is kept until 2027-01-15T08:00:25Z (two session timeouts)"
)]
#[case::after_one(
    GroupState::Stable,
    GroupType::Classic,
    16,
    "a consumer that died while it joined the group is kept until 2027-01-15T08:00:25Z (two session timeouts); otherwise their session.timeout.ms is longer"
)]
#[case::after_two(
    GroupState::Stable,
    GroupType::Classic,
    26,
    "By sessionTimeout the broker should have removed stopped consumers by 2027-01-15T08:00:25Z: their session.timeout.ms is longer, or they still run"
)]
#[case::rebalancing(
    GroupState::PreparingRebalance,
    GroupType::Classic,
    26,
    "is kept until 2027-01-15T08:05:15Z (max.poll.interval.ms (5 minutes by default) and one session timeout)"
)]
#[case::of_the_new_protocol_before(
    GroupState::Stable,
    GroupType::Consumer,
    6,
    "at 2027-01-15T08:00:15Z, when their session expires (sessionTimeout). The consumers"
)]
#[case::of_the_new_protocol_after(
    GroupState::Stable,
    GroupType::Consumer,
    16,
    "the group's consumer.session.timeout.ms on the broker is longer"
)]
fn a_wait_states_a_bound_that_holds(
    #[case] state: GroupState,
    #[case] group_type: GroupType,
    #[case] now: i64,
    #[case] words: &str,
) {
    let observed = seen(gone(), KafkaSeen::Group(in_group(state, 3, group_type)));
    let said = decide(Ok(&request()), &status_in(Phase::Draining), &observed, at(now)).status.explanation();
    assert!(said.contains(words), "{said}");
    assert!(said.contains("Remaining members: consumer at 10.0.0.0"), "{said}");
}

/// For a group of the new protocol the broker has the value; the longer one counts, for a group that changes its protocol has members of
/// both.
#[rstest]
#[case::on_the_broker(
    None,
    GroupType::Consumer,
    6,
    "at 2027-01-15T08:00:35Z, when their session expires (the group's consumer.session.timeout.ms on the broker). The"
)]
#[case::longer_than_in_the_spec(
    Some(10),
    GroupType::Consumer,
    6,
    "at 2027-01-15T08:00:35Z, when their session expires (the group's consumer.session.timeout.ms on the broker). The"
)]
#[case::shorter_than_in_the_spec(
    Some(40),
    GroupType::Consumer,
    6,
    "at 2027-01-15T08:00:45Z, when their session expires (sessionTimeout). The"
)]
#[case::over(
    None,
    GroupType::Consumer,
    36,
    "By the group's consumer.session.timeout.ms on the broker the broker should have removed stopped consumers by 2027-01-15T08:00:35Z: \
     it was raised since the plan, or they still run"
)]
#[case::a_classic_group_by_now(None, GroupType::Classic, 6, "after their session.timeout.ms (45 s by Kafka's default")]
fn the_session_of_the_new_protocol_is_the_brokers(
    #[case] session: Option<i64>,
    #[case] group_type: GroupType,
    #[case] now: i64,
    #[case] words: &str,
) {
    let request = Request { session_timeout: session.map(SignedDuration::from_secs), ..request() };
    let mut status = status_in(Phase::Draining);
    let group = group::status(&in_group(GroupState::Stable, 3, GroupType::Consumer), None, &[]);
    status.group = Some(GroupStatus { session_timeout_ms: Some(30_000), ..group });
    let observed = seen(gone(), KafkaSeen::Group(in_group(GroupState::Stable, 3, group_type)));
    let said = decide(Ok(&request), &status, &observed, at(now)).status.explanation();
    assert!(said.contains(words), "{said}");
}

/// The plan records it, and the stop counts with it.
#[rstest]
#[case::nothing_is_known(None, None, None)]
#[case::the_brokers(None, Some(30_000), Some(36))]
#[case::the_specs(Some(40), Some(30_000), Some(46))]
#[case::only_the_specs(Some(40), None, Some(46))]
fn the_end_of_the_session_counts_from_the_last_container(
    #[case] session: Option<i64>,
    #[case] on_broker: Option<i64>,
    #[case] end: Option<i64>,
) {
    let request = Request { session_timeout: session.map(SignedDuration::from_secs), ..request() };
    let mut status = status_in(Phase::Stopping);
    let group = group::status(&in_group(GroupState::Stable, 3, GroupType::Consumer), None, &[]);
    status.group = Some(GroupStatus { session_timeout_ms: on_broker, ..group });
    let decision = decide(Ok(&request), &status, &seen(gone(), KafkaSeen::NotAsked), at(6));
    let hold = decision.status.hold.unwrap();
    assert_eq!(hold.containers_terminated_time, Some(micro(6)), "{:?}", decision.status.phase);
    assert_eq!(hold.session_end_time, end.map(micro));
}

/// Without spec.sessionTimeout only Kafka's default is known, and real consumers may have another: no time of day is promised.
#[rstest]
#[case::stable(
    GroupState::Stable,
    GroupType::Classic,
    "after their session.timeout.ms (45 s by Kafka's default; spec.sessionTimeout is not set); one that died while it joined the group is \
     kept for two session timeouts. The consumers"
)]
#[case::rebalancing(
    GroupState::PreparingRebalance,
    GroupType::Classic,
    "is kept for max.poll.interval.ms (5 minutes by default) and one session timeout. The consumers"
)]
#[case::of_the_new_protocol(
    GroupState::Stable,
    GroupType::Consumer,
    "after the group's consumer.session.timeout.ms on the broker (45 s by Kafka's default). The consumers"
)]
fn no_time_is_promised_that_nobody_knows(#[case] state: GroupState, #[case] group_type: GroupType, #[case] words: &str) {
    let request = Request { session_timeout: None, ..request() };
    let mut status = status_in(Phase::Draining);
    status.hold.as_mut().unwrap().session_end_time = None;
    for now in [6, 16, 60] {
        let observed = seen(gone(), KafkaSeen::Group(in_group(state, 3, group_type)));
        let said = decide(Ok(&request), &status, &observed, at(now)).status.explanation();
        assert!(said.contains(words), "{said}");
        assert_eq!(said.matches("2027-01-15T").count(), 1, "only the end of drainTimeout: {said}");
    }
}

#[rstest]
#[case::too_short(
    80,
    "raise drainTimeout above 90 s: the broker keeps a consumer that is gone for two session timeouts, and a session timeout is 45 s by Kafka's default"
)]
#[case::long_enough(
    120,
    "their session.timeout.ms is longer than Kafka's default (45 s), because drainTimeout (120 s) is longer than two session timeouts"
)]
fn the_advice_names_kafkas_default_where_nothing_else_is_known(#[case] drain: i64, #[case] words: &str) {
    let request = Request { session_timeout: None, drain_timeout: SignedDuration::from_secs(drain), ..request() };
    let observed = seen(gone(), KafkaSeen::Group(group_in(GroupState::Stable, 3)));
    let outcome = decide(Ok(&request), &status_in(Phase::Draining), &observed, at(125)).status.outcome.unwrap();
    assert!(outcome.explanation().contains(words), "{}", outcome.explanation());
}

/// drainTimeout has expired.
#[rstest]
#[case::too_short(
    15,
    GroupState::Stable,
    3,
    "raise drainTimeout above 20 s: the broker keeps a consumer that is gone for two session timeouts"
)]
#[case::long_enough(
    120,
    GroupState::Stable,
    3,
    "session.timeout.ms is longer than sessionTimeout (10 s), because drainTimeout (120 s) is longer than two session timeouts"
)]
#[case::rebalancing(
    120,
    GroupState::PreparingRebalance,
    3,
    "raise drainTimeout above 310 s: the broker keeps a consumer that is gone for max.poll.interval.ms"
)]
#[case::nobody_is_listed(
    120,
    GroupState::PreparingRebalance,
    0,
    "If no consumer of the group runs any more, raise drainTimeout above 310 s"
)]
fn the_advice_is_what_helps(#[case] drain: i64, #[case] state: GroupState, #[case] members: usize, #[case] words: &str) {
    let request = Request { drain_timeout: SignedDuration::from_secs(drain), ..request() };
    let observed = seen(gone(), KafkaSeen::Group(group_in(state, members)));
    let outcome = decide(Ok(&request), &status_in(Phase::Draining), &observed, at(125)).status.outcome.unwrap();
    let said = outcome.explanation();
    assert_eq!(outcome.reason, Reason::GroupNotEmpty);
    assert!(said.contains(words), "{said}");
    assert!(!said.contains("members: ."), "{said}");
    assert_eq!(said.contains("The broker lists no members"), members == 0, "{said}");
}

/// The status names the pods in which members ran when they were seen first.
#[rstest]
#[case::none_in_a_target_pod(&[None, None], true)]
#[case::one_in_a_target_pod(&[None, Some("consumer-1")], false)]
fn where_all_members_run_outside_the_target_pods_the_targets_may_be_wrong(
    #[case] pods: &[Option<&str>],
    #[case] may_be_wrong: bool,
) {
    let found = group_in(GroupState::Stable, pods.len());
    let mut known = group::status(&found, None, &[]);
    for (member, pod) in known.member_details.iter_mut().zip(pods) {
        member.pod = pod.map(str::to_owned);
    }
    let status = OffsetResetStatus { group: Some(known), ..status_in(Phase::Draining) };
    let observed = seen(gone(), KafkaSeen::Group(found));
    for (now, reason) in [(6, Reason::WaitingForGroup), (125, Reason::GroupNotEmpty)] {
        let decided = decide(Ok(&request()), &status, &observed, at(now)).status;
        let said = decided.explanation();
        let outcome = decided.outcome.as_ref().map(Outcome::explanation).unwrap_or_default();
        assert_eq!(decided.outcome.map_or(decided.reason, |outcome| Some(outcome.reason)), Some(reason));
        let said = format!("{said} {outcome}");
        assert_eq!(said.contains("targetRefs names the wrong workload"), may_be_wrong, "{said}");
        assert_eq!(said.contains("delete the OffsetReset"), may_be_wrong && reason == Reason::WaitingForGroup, "{said}");
    }
    let without = Request { targets: vec![], ..request() };
    let said = decide(Ok(&without), &status, &Observed { targets: vec![], ..observed }, at(6)).status.explanation();
    assert!(!said.contains("targetRefs"), "{said}");
}
