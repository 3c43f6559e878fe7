//! The end of a finished reset's time to live.

use jiff::SignedDuration;
use rstest::rstest;

use crate::machine::{
    decision::{Answer, Effect},
    tests::*,
};

const FINAL: [Phase; 4] = [Phase::Succeeded, Phase::Failed, Phase::Cancelled, Phase::Planned];

/// A reset that ended at 100 s, with a time to live of a minute.
fn over(phase: Phase) -> OffsetResetStatus {
    OffsetResetStatus { phase: Some(phase), completion_time: Some(Time(at(100))), ..OffsetResetStatus::default() }
}

fn observed(seconds: Option<i64>) -> Observed {
    let time_to_live = seconds.map(SignedDuration::from_secs);
    Observed { time_to_live, finalizer: false, ..seen(running(), KafkaSeen::NotAsked) }
}

#[rstest]
#[case::before(Some(60), 159, None, Some(1))]
#[case::in_time(Some(60), 160, Some(Effect::Delete), Some(0))]
#[case::long_after(Some(60), 9_999, Some(Effect::Delete), Some(0))]
#[case::at_once(Some(0), 100, Some(Effect::Delete), Some(0))]
#[case::years_before(Some(i32::MAX.into()), 101, None, Some(86_400))]
#[case::kept(None, 9_999, None, None)]
fn a_finished_reset_is_deleted_when_its_time_to_live_is_over(
    #[case] time_to_live: Option<i64>,
    #[case] now: i64,
    #[case] effect: Option<Effect>,
    #[case] requeue: Option<i64>,
) {
    for phase in FINAL {
        let request = Request { dry_run: phase == Phase::Planned, ..request() };
        let decision = crate::machine::decide(Ok(&request), &over(phase), &observed(time_to_live), at(now));
        assert_eq!(decision.effect, effect, "{phase:?}");
        assert_eq!(decision.requeue.map(|after| after.as_secs()), requeue, "{phase:?}");
        assert_eq!(decision.status.completion_time, over(phase).completion_time);
    }
}

#[rstest]
#[case::with_our_finalizer(Observed { finalizer: true, ..observed(Some(0)) }, Some(Effect::RemoveFinalizer))]
#[case::deleted_already(Observed { deleting: true, ..observed(Some(0)) }, None)]
fn our_finalizer_goes_first_and_what_is_deleted_already_is_not_deleted_again(
    #[case] observed: Observed,
    #[case] effect: Option<Effect>,
) {
    for phase in FINAL {
        assert_eq!(crate::machine::decide(Ok(&request()), &over(phase), &observed, at(9_999)).effect, effect, "{phase:?}");
    }
}

#[test]
fn a_dry_run_that_is_to_run_now_runs_instead() {
    let status = OffsetResetStatus { dry_run: true, ..over(Phase::Planned) };
    let decision = crate::machine::decide(Ok(&request()), &status, &observed(Some(0)), at(9_999));
    assert_eq!((decision.effect, decision.status.phase), (None, Some(Phase::Pending)));
    let decision = crate::machine::decide(Ok(&request()), &decision.status, &observed(Some(0)), at(9_999));
    assert_ne!(decision.effect, Some(Effect::Delete), "it has no end any more");
}

#[test]
fn a_reset_that_is_not_over_is_not_deleted() {
    for phase in [Phase::Pending, Phase::Planning, Phase::Stopping, Phase::Draining, Phase::Resetting, Phase::Restoring] {
        let status = OffsetResetStatus { completion_time: Some(Time(at(1))), ..status_in(phase) };
        let observed = Observed { time_to_live: Some(SignedDuration::ZERO), ..seen(gone(), KafkaSeen::NotAsked) };
        assert_ne!(crate::machine::decide(Ok(&request()), &status, &observed, at(200)).effect, Some(Effect::Delete), "{phase:?}");
    }
}

/// A group without consumers is watched for minutes after the end: whether it consumes is not known before.
#[rstest]
#[case::before(159, None)]
#[case::in_time(160, Some(Effect::Delete))]
fn one_whose_consumers_are_still_watched_is_deleted_in_time(#[case] now: i64, #[case] effect: Option<Effect>) {
    let until = k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(at(9_999));
    let mut status = OffsetResetStatus { completion_time: Some(Time(at(100))), ..status_in(Phase::Succeeded) };
    let hold = status.hold.as_mut().unwrap();
    (hold.watched_until, hold.resume_deadline) = (Some(until.clone()), Some(until));
    let observed = Observed { targets: vec![Seen::Unknown("no".into())], ..observed(Some(60)) };
    let decision = crate::machine::decide(Ok(&request()), &status, &observed, at(now));
    assert_eq!((decision.effect, decision.requeue <= Some(SignedDuration::from_secs(1))), (effect, true));
}

#[rstest]
#[case::by_a_policy(Answer::Refused("no".into()))]
#[case::by_rbac(Answer::NotAllowed("no".into()))]
fn a_refused_deletion_changes_nothing_and_is_tried_again_later(#[case] answer: Answer) {
    let decision = crate::machine::decide(Ok(&request()), &over(Phase::Succeeded), &observed(Some(0)), at(200));
    let after = crate::machine::after(&decision.status, &Effect::Delete, &answer, &observed(Some(0)), at(200));
    assert_eq!((&after.status, after.effect), (&decision.status, None));
    assert_eq!(after.requeue, Some(SignedDuration::from_mins(10)));
}
