//! What remains of a reset that is deleted and created again, and what a commit that was cut short
//! leaves behind.

use rstest::rstest;

use super::*;
use crate::{
    api::{ReceiptStatus, Restored},
    machine::{
        after, decide,
        decision::{Answer, Decision, Effect},
        facts::{Blocker, Receipt, RunState},
    },
};

pub(super) fn over(phase: Phase) -> RunState {
    RunState::Over { phase, at: at(-50), message: "2 partitions reset".into() }
}

pub(super) fn committing() -> RunState {
    RunState::Committing { final_plan_time: at(-50), partitions: vec![planned_partition(0), planned_partition(1)], group: None }
}

pub(super) fn pending(receipt: Seen<Receipt>, target: Seen<Workload>, hold: Seen<Hold>) -> Decision {
    let observed = Observed { receipt: Some(receipt), holds: vec![hold], finalizer: false, ..seen(target, KafkaSeen::NotAsked) };
    decide(Ok(&request()), &OffsetResetStatus::default(), &observed, at(0))
}

pub(super) fn of(uid: &str, state: RunState) -> Seen<Receipt> {
    Seen::Known(Receipt { uid: uid.into(), state })
}

#[rstest]
#[case::applied(of("uid-0", over(Phase::Succeeded)), Phase::Succeeded)]
#[case::by_itself_before_its_status_was_wiped(of("uid-1", over(Phase::Succeeded)), Phase::Succeeded)]
#[case::in_part(of("uid-0", over(Phase::Failed)), Phase::Failed)]
#[case::cancelled_after_the_commit(of("uid-0", over(Phase::Cancelled)), Phase::Failed)]
fn the_same_name_and_spec_never_move_offsets_twice(#[case] receipt: Seen<Receipt>, #[case] phase: Phase) {
    let decision = pending(receipt, running(), Seen::Missing);
    assert_eq!((decision.status.phase, decision.status.reason), (Some(phase), Some(Reason::AlreadyApplied)));
    let message = decision.status.explanation();
    assert_eq!((decision.effect, decision.status.hold), (None, None));
    assert!(message.contains("2 partitions reset") && message.contains("runId"), "{message}");
}

#[test]
fn without_a_receipt_it_runs_and_one_that_cannot_be_read_is_not_taken_for_none() {
    assert_eq!(pending(Seen::Missing, running(), Seen::Missing).status.phase, Some(Phase::Planning));
    let unread = pending(Seen::Unknown("forbidden".into()), running(), Seen::Missing);
    assert_eq!((unread.status.phase, unread.status.reason), (Some(Phase::Pending), Some(Reason::ReportUnavailable)));
    assert!(unread.requeue.is_some());
}

#[rstest]
#[case::its_own("uid-1", "uid-1")]
#[case::of_one_that_was_deleted("uid-0", "uid-0")]
fn what_was_being_committed_is_taken_up_where_it_stood(#[case] run: &str, #[case] claimed: &str) {
    let hold = Seen::Known(Hold { claims: vec![claim(claimed)], since: at(-60), ..lease() });
    let decision = pending(of(run, committing()), gone(), hold.clone());
    let status = &decision.status;
    assert_eq!((status.phase, decision.effect.clone()), (Some(Phase::Stopping), None));
    assert_eq!(status.targets[0].original_replicas, 3, "the count of the Lease, not the zero that is there");
    assert_eq!(status.final_plan_time, Some(micro(-50)), "the targets are not computed again");
    assert!(
        status
            .partitions
            .iter()
            .all(|planned| planned.outcome == PartitionOutcome::Unconfirmed && planned.target_offset == Some(10))
    );
    assert_eq!(status.hold.as_ref().unwrap().start_time, micro(-60));
    // And it goes on as any other: finalizer, claim, read-back.
    let observed = Observed { holds: vec![hold], ..seen(gone(), KafkaSeen::NotAsked) };
    let next = decide(Ok(&request()), status, &observed, at(1));
    assert_eq!(next.status.targets[0].original_replicas, 3);
    assert_eq!(matches!(next.effect, Some(Effect::Claim { .. })), claimed != "uid-1");
}

#[test]
fn one_that_wrote_the_receipt_anew_and_lost_its_status_takes_it_up_all_the_same() {
    // The receipt has its uid already, the Lease still that of the one before: they have the name
    // and the spec in common.
    let claims = vec![Claim { uid: "uid-0".into(), name: "replay".into(), key: "key".into() }];
    let decision = pending(of("uid-1", committing()), gone(), Seen::Known(Hold { claims, ..lease() }));
    assert_eq!(decision.status.phase, Some(Phase::Stopping));
}

#[test]
fn nothing_is_resumed_while_another_reset_works_on_the_group() {
    let blocker = Blocker { name: "shop/other".into(), shared: "group g".into() };
    let observed = Observed {
        receipt: Some(of("uid-1", committing())),
        blocker: Some(blocker),
        finalizer: false,
        ..seen(gone(), KafkaSeen::NotAsked)
    };
    let decision = decide(Ok(&request()), &OffsetResetStatus::default(), &observed, at(0));
    assert_eq!((decision.status.phase, decision.status.reason), (Some(Phase::Pending), Some(Reason::WaitingForOtherReset)));
}

#[rstest]
#[case::the_consumers_are_back(running(), held())]
#[case::the_consumers_were_back(gone(), Seen::Missing)]
#[case::a_canary_has_run(gone(), Seen::Known(Hold { canary: Some(1), ..lease() }))]
#[case::another_reset_holds_them(gone(), Seen::Known(Hold { claims: vec![claim("uid-7")], ..lease() }))]
fn what_was_being_committed_is_left_alone_when_consumers_may_have_been_back(
    #[case] target: Seen<Workload>,
    #[case] hold: Seen<Hold>,
) {
    let decision = pending(of("uid-1", committing()), target, hold);
    assert_eq!((decision.status.phase, decision.status.reason), (Some(Phase::Failed), Some(Reason::AlreadyApplied)));
    assert!(decision.status.explanation().contains("replay-receipt-key has its plan"));
}

/// What is said of it is said for good, so it is not said while it is not known.
#[rstest]
#[case::the_target_is_not_seen(Seen::Unknown("no route".into()), held())]
#[case::nor_who_holds_it(gone(), Seen::Unknown("no route".into()))]
fn an_interrupted_commit_waits_while_it_is_unknown_whether_consumers_have_run_since(
    #[case] target: Seen<Workload>,
    #[case] hold: Seen<Hold>,
) {
    let decision = pending(of("uid-1", committing()), target, hold);
    assert_eq!((decision.status.phase, decision.status.reason), (Some(Phase::Pending), Some(Reason::TargetUnreachable)));
    assert!(decision.effect.is_none() && decision.requeue.is_some());
}

#[test]
fn what_is_suspended_takes_nothing_up() {
    let request = Request { suspended: true, ..request() };
    let observed =
        Observed { receipt: Some(of("uid-1", committing())), holds: vec![held()], ..seen(gone(), KafkaSeen::NotAsked) };
    let decision = decide(Ok(&request), &OffsetResetStatus::default(), &observed, at(0));
    assert_eq!((decision.status.phase, decision.status.reason), (Some(Phase::Pending), Some(Reason::Suspended)));
}

#[test]
fn a_run_whose_outcome_was_removed_ends_and_its_receipt_stays() {
    let mut status = status_in(Phase::Restoring);
    (status.outcome, status.commits) = (None, 1);
    status.receipt = Some(ReceiptStatus { config_map: "replay-receipt-key".into(), settled: false });
    status.targets[0].restored = Some(Restored::Original);
    let back = Observed { holds: vec![Seen::Missing], ..seen(running(), KafkaSeen::NotAsked) };
    let decision = decide(Ok(&request()), &status, &back, at(20));
    assert!(decision.status.phase.unwrap().is_terminal() && !matches!(decision.effect, Some(Effect::SettleReceipt { .. })));
}

#[test]
fn a_dry_run_has_no_receipt_and_asks_for_none() {
    let request = Request { dry_run: true, ..request() };
    let observed = Observed { receipt: Some(of("uid-0", over(Phase::Succeeded))), ..seen(running(), KafkaSeen::NotAsked) };
    let decision = decide(Ok(&request), &OffsetResetStatus::default(), &observed, at(0));
    assert_eq!(decision.status.phase, Some(Phase::Planning));
}

/// A plan that is final, with a commit that is about to be sent.
fn about_to_commit() -> (Decision, Observed) {
    let status = OffsetResetStatus { final_plan_time: Some(micro(6)), ..status_in(Phase::Resetting) };
    let observed = seen(gone(), commit_seen(group_in(GroupState::Empty, 0), &committed(50, "")));
    (decide(Ok(&request()), &status, &observed, at(7)), observed)
}

#[test]
fn from_the_first_commit_on_the_broker_does_not_report_it_that_nothing_was_committed() {
    let (decision, _) = about_to_commit();
    assert!(matches!(decision.effect, Some(Effect::Commit(_))));
    let receipt = Some(ReceiptStatus { config_map: "replay-receipt-key".into(), settled: false });
    assert_eq!(decision.status.receipt, receipt, "written before the status that counts the commit, and so before the commit");
    assert!(decision.status.partitions.iter().all(|planned| planned.outcome == PartitionOutcome::Unconfirmed));
    assert_eq!(decision.status.totals.unwrap().unconfirmed, 2);
}

#[rstest]
#[case::accepted_and_refused(vec![Ok(()), Err(error(KafkaErrorKind::UnknownMember))], 1, true)]
#[case::accepted_and_unanswered(vec![Ok(()), Err(error(KafkaErrorKind::Timeout))], 2, true)]
#[case::all_refused(vec![Err(error(KafkaErrorKind::UnknownMember)), Err(error(KafkaErrorKind::UnknownMember))], 0, false)]
fn a_commit_that_is_cut_short_says_how_many_offsets_it_may_have_set(
    #[case] answers: Vec<Result<(), KafkaError>>,
    #[case] sent: i64,
    #[case] keeps_a_receipt: bool,
) {
    let (decision, observed) = about_to_commit();
    let answers: PerPartition<()> = [tp(0), tp(1)].into_iter().zip(answers).collect();
    let status = after(&decision.status, &decision.effect.unwrap(), &Answer::Committed(answers), &observed, at(7)).status;
    // The hold is over before anybody could read back.
    let observed = seen(Seen::Unknown("no route".into()), KafkaSeen::NotAsked);
    let ended = decide(Ok(&request()), &status, &observed, at(600)).status;
    let outcome = ended.outcome.clone().unwrap();
    assert_eq!(outcome.reason, Reason::HoldTimeout);
    assert_eq!(plan_totals(&ended), (0, sent));
    let said = if sent == 0 { "No offset was changed".to_owned() } else { format!("{sent} more may have been committed") };
    assert!(outcome.explanation().contains(&said), "{}", outcome.explanation());
    let back = Observed { holds: vec![Seen::Missing], ..seen(running(), KafkaSeen::NotAsked) };
    let settling = decide(Ok(&request()), &ended, &back, at(601));
    assert_eq!(settling.effect, Some(Effect::SettleReceipt { keep: keeps_a_receipt }));
    let settled = after(&settling.status, &settling.effect.unwrap(), &Answer::Done, &back, at(601)).status;
    assert_eq!(decide(Ok(&request()), &settled, &back, at(601)).status.phase, Some(Phase::Failed));
}

/// An offset that was committed and then overwritten was committed all the same: the receipt stays,
/// and the status does not say that no offset was changed.
#[test]
fn a_commit_that_something_committed_over_is_not_forgotten() {
    let (decision, observed) = about_to_commit();
    let answers: PerPartition<()> = [tp(0), tp(1)].into_iter().map(|at| (at, Ok(()))).collect();
    let status = after(&decision.status, &decision.effect.unwrap(), &Answer::Committed(answers), &observed, at(7)).status;
    // Others have moved the offsets on; the next commit is refused, and then the hold is over.
    let moved = seen(gone(), commit_seen(group_in(GroupState::Empty, 0), &committed(60, "")));
    let second = decide(Ok(&request()), &status, &moved, at(8));
    let refused: PerPartition<()> = per_partition(&Err(error(KafkaErrorKind::UnknownMember)));
    let status = after(&second.status, &second.effect.unwrap(), &Answer::Committed(refused), &moved, at(8)).status;
    assert_eq!((status.commits, status.commits_refused), (2, 1));
    let unseen = seen(Seen::Unknown("no route".into()), KafkaSeen::NotAsked);
    let ended = decide(Ok(&request()), &status, &unseen, at(600)).status;
    let message = ended.outcome.clone().unwrap().explanation();
    assert!(message.contains("all have since been overwritten"), "{message}");
    let back = Observed { holds: vec![Seen::Missing], ..seen(running(), KafkaSeen::NotAsked) };
    assert_eq!(decide(Ok(&request()), &ended, &back, at(601)).effect, Some(Effect::SettleReceipt { keep: true }));
}

#[test]
fn a_commit_of_an_earlier_version_of_the_operator_gets_its_receipt_when_it_is_read_back() {
    let status = OffsetResetStatus { final_plan_time: Some(micro(6)), commits: 1, ..status_in(Phase::Resetting) };
    let observed = seen(gone(), commit_seen(group_in(GroupState::Empty, 0), &committed(10, MARKER)));
    let decision = decide(Ok(&request()), &status, &observed, at(7));
    assert_eq!(decision.status.outcome.as_ref().unwrap().reason, Reason::Succeeded);
    assert!(decision.status.receipt.is_some());
}

fn plan_totals(status: &OffsetResetStatus) -> (i64, i64) {
    let totals = crate::machine::totals::totals(&status.partitions);
    (totals.reset, totals.unconfirmed)
}

#[rstest]
#[case::a_commit_whose_answer_was_lost(KafkaErrorKind::Timeout, PartitionOutcome::Unconfirmed)]
#[case::a_commit_that_the_coordinator_may_have_appended(KafkaErrorKind::Coordinator, PartitionOutcome::Unconfirmed)]
#[case::a_commit_at_which_the_broker_failed(KafkaErrorKind::Server, PartitionOutcome::Unconfirmed)]
#[case::a_commit_whose_connection_was_refused_again(KafkaErrorKind::Authentication, PartitionOutcome::Unconfirmed)]
#[case::a_commit_that_was_refused(KafkaErrorKind::Authorization, PartitionOutcome::Planned)]
fn a_commit_that_failed_as_a_whole(#[case] kind: KafkaErrorKind, #[case] outcome: PartitionOutcome) {
    let (decision, observed) = about_to_commit();
    let failed = after(&decision.status, &decision.effect.unwrap(), &Answer::CommitFailed(error(kind)), &observed, at(7));
    assert!(failed.status.partitions.iter().all(|planned| planned.outcome == outcome));
}

#[rstest]
#[case::none(Some(Seen::Missing), None)]
#[case::not_looked_for(None, None)]
#[case::it_has_run(Some(of("uid-0", over(Phase::Succeeded))), Some("a reset of the same name and spec ended as Succeeded at"))]
#[case::it_was_interrupted(Some(of("uid-0", committing())), Some("was interrupted while it committed the plan of"))]
#[case::it_is_not_known(Some(Seen::Unknown("forbidden".into())), Some("same name and spec has run before: forbidden"))]
fn a_dry_run_warns_first_that_an_earlier_run_would_be_taken_for_the_run_itself(
    #[case] receipt: Option<Seen<Receipt>>,
    #[case] expected: Option<&str>,
) {
    let known = matches!(receipt, Some(Seen::Known(_)));
    let observed = Observed { receipt, ..seen(running(), KafkaSeen::ForPlan(Box::new(plan_seen()))) };
    let request = Request { dry_run: true, ..request() };
    let status = decide(Ok(&request), &status_in(Phase::Planning), &observed, at(1)).status;
    assert_eq!(status.phase, Some(Phase::Planned));
    let warned = status.warnings.first().filter(|warning| warning.contains("same name and spec"));
    assert_eq!(warned.is_some(), expected.is_some(), "{:?}", status.warnings);
    assert!(warned.is_none_or(|warned| warned.contains(expected.unwrap_or_default())), "{warned:?}");
    let delete =
        "set another runId, or delete the receipt of that run: kubectl --namespace shop delete configmap replay-receipt-key";
    assert_eq!(warned.is_some_and(|warned| warned.ends_with(delete)), known, "{warned:?}");
}

#[test]
fn the_effect_of_a_dry_run_is_not_that_of_a_run_that_was_not_carried_out() {
    let request = Request { dry_run: true, ..request() };
    let observed = seen(running(), KafkaSeen::ForPlan(Box::new(plan_seen())));
    let planning = OffsetResetStatus { dry_run: true, ..status_in(Phase::Planning) };
    let dry = decide(Ok(&request), &planning, &observed, at(1)).status;
    assert!(dry.totals.is_some_and(|totals| totals.replayed > 0), "{:?}", dry.totals);
    let again = decide(Ok(&self::request()), &dry, &observed, at(2)).status;
    let receipt = Some(of("uid-0", over(Phase::Succeeded)));
    let observed = Observed { receipt, finalizer: false, ..seen(running(), KafkaSeen::NotAsked) };
    let ended = decide(Ok(&self::request()), &again, &observed, at(3)).status;
    assert_eq!(ended.reason, Some(Reason::AlreadyApplied));
    assert_eq!((ended.totals, ended.progress, ended.drift, ended.partitions.len()), (None, None, None, 0));
}
