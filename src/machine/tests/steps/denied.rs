//! What the API server does not allow is tried again for a while, and what it refuses is not.

use rstest::rstest;

use crate::machine::tests::*;
use crate::{
    api::ActionKind,
    machine::{
        after, decide,
        decision::{Answer, Effect},
        facts::Denial,
        plan::workloads::refusal,
        report_not_allowed,
    },
};

const FORBIDDEN: &str = "User \"operator\" cannot update resource \"deployments/scale\" (Forbidden)";

fn stop() -> Effect {
    Effect::Scale { target: 0, resource_version: "7".into(), replicas: 0, state: None, kind: ActionKind::Stop }
}

fn claim_it() -> Effect {
    Effect::Claim { target: 0, hold: lease() }
}

/// The API server does not allow it from 3 s on.
#[rstest]
#[case::a_stop(stop(), Phase::Stopping, Phase::Restoring)]
#[case::a_claim(claim_it(), Phase::Stopping, Phase::Restoring)]
#[case::a_pause(Effect::Pause { target: 0, resource_version: "5".into() }, Phase::Stopping, Phase::Restoring)]
#[case::a_release(Effect::Release { target: 0, hold: lease() }, Phase::Restoring, Phase::Restoring)]
#[case::a_receipt(Effect::SettleReceipt { keep: true }, Phase::Restoring, Phase::Restoring)]
fn what_is_not_allowed_is_tried_again_for_five_seconds(#[case] effect: Effect, #[case] phase: Phase, #[case] then: Phase) {
    let observed = seen(running(), KafkaSeen::NotAsked);
    let denied =
        |status: &OffsetResetStatus, now| after(status, &effect, &Answer::NotAllowed(FORBIDDEN.into()), &observed, at(now));
    let first = denied(&status_in(phase), 3);
    assert_eq!((first.status.phase, first.status.not_allowed_since.clone()), (Some(phase), Some(micro(3))));
    assert_eq!(first.requeue, Some(SignedDuration::from_secs(1)));
    assert!(first.status.explanation().contains(FORBIDDEN), "{}", first.status.explanation());
    let last = denied(&first.status, 7);
    assert_eq!((last.status.phase, last.status.not_allowed_since.clone()), (Some(phase), Some(micro(3))));
    let over = denied(&last.status, 8);
    let refused = after(&status_in(phase), &effect, &Answer::Refused(FORBIDDEN.into()), &observed, at(8));
    assert_eq!(over.status.phase, Some(then));
    assert_eq!((&over.status.outcome, &over.status.targets), (&refused.status.outcome, &refused.status.targets), "as refused");
    let allowed = after(&last.status, &effect, &Answer::Done, &observed, at(8));
    assert_eq!(allowed.status.not_allowed_since, None, "and the next time it counts anew");
}

#[test]
fn a_policy_that_refuses_the_stop_ends_the_reset_at_once() {
    let observed = seen(running(), KafkaSeen::NotAsked);
    let refused = after(&status_in(Phase::Stopping), &stop(), &Answer::Refused("a policy".into()), &observed, at(3)).status;
    assert_eq!(refused.outcome.map(|outcome| outcome.reason), Some(Reason::TargetUnreachable));
}

#[test]
fn a_restore_that_is_not_allowed_is_tried_again_for_ever_and_says_how_to_do_it_by_hand() {
    let observed = seen(gone(), KafkaSeen::NotAsked);
    let restore = Effect::Scale { target: 0, resource_version: "7".into(), replicas: 3, state: None, kind: ActionKind::Restore };
    let mut status = status_in(Phase::Restoring);
    for now in [3, 9, 900] {
        status = after(&status, &restore, &Answer::NotAllowed(FORBIDDEN.into()), &observed, at(now)).status;
        assert_eq!(status.phase, Some(Phase::Restoring));
        assert!(status.explanation().contains("kubectl scale"), "{}", status.explanation());
    }
}

#[test]
fn its_own_write_does_not_wake_it_to_try_again_before_its_time() {
    let observed = Observed { holds: vec![Seen::Missing], ..seen(running(), KafkaSeen::NotAsked) };
    let first = decide(Ok(&request()), &status_in(Phase::Stopping), &observed, at(3));
    assert!(matches!(first.effect, Some(Effect::Claim { .. })));
    let denied = after(&first.status, first.effect.as_ref().unwrap(), &Answer::NotAllowed(FORBIDDEN.into()), &observed, at(3));
    let woken = decide(Ok(&request()), &denied.status, &observed, at(3));
    assert_eq!((woken.effect, &woken.status), (None, &denied.status));
    assert!(matches!(decide(Ok(&request()), &denied.status, &observed, at(4)).effect, Some(Effect::Claim { .. })));
}

#[rstest]
#[case::while_planning(Phase::Planning, 29, Phase::Planning)]
#[case::while_planning_too_long(Phase::Planning, 30, Phase::Failed)]
#[case::while_held(Phase::Resetting, 4, Phase::Resetting)]
#[case::while_held_too_long(Phase::Resetting, 5, Phase::Restoring)]
fn a_report_or_receipt_that_may_not_be_written_yet(#[case] phase: Phase, #[case] later: i64, #[case] then: Phase) {
    let observed = seen(running(), KafkaSeen::NotAsked);
    let first = report_not_allowed(&status_in(phase), FORBIDDEN, &observed, at(10));
    assert_eq!((first.status.phase, first.status.reason), (Some(phase), Some(Reason::ReportUnavailable)));
    let next = report_not_allowed(&first.status, FORBIDDEN, &observed, at(10 + later));
    assert_eq!(next.status.phase, Some(then));
    assert!(next.status.explanation().contains(FORBIDDEN) || next.status.outcome.unwrap().explanation().contains(FORBIDDEN));
}

#[rstest]
#[case::not_allowed_yet(Denial::NotAllowed(FORBIDDEN.into()), 9, Phase::Resetting)]
#[case::not_allowed(Denial::NotAllowed(FORBIDDEN.into()), 12, Phase::Restoring)]
#[case::deleted(Denial::Refused("it was deleted".into()), 7, Phase::Restoring)]
fn a_report_that_cannot_be_read_before_the_commit(#[case] why: Denial, #[case] now: i64, #[case] then: Phase) {
    let observed = Observed { report_lost: Some(why), ..seen(gone(), KafkaSeen::NotAsked) };
    let first = decide(Ok(&request()), &status_in(Phase::Resetting), &observed, at(7));
    let last = decide(Ok(&request()), &first.status, &observed, at(now));
    assert_eq!(last.status.phase, Some(then));
}

/// The dry run of a stop, while planning.
#[rstest]
#[case::an_authorizer(Denial::NotAllowed(FORBIDDEN.into()), true)]
#[case::a_policy(Denial::Refused("denied by a policy".into()), false)]
fn a_refused_dry_run_may_pass_when_an_authorizer_refused_it(#[case] why: Denial, #[case] transient: bool) {
    let Seen::Known(workload) = running() else { unreachable!() };
    let workload = Seen::Known(Workload { refusal: Some(why.clone()), ..workload });
    let refusal = refusal(&request().targets[0], &workload, None).unwrap();
    assert_eq!((refusal.reason, refusal.transient), (Reason::TargetUnreachable, transient));
    assert!(refusal.message.full().contains(&why.to_string()));
}
