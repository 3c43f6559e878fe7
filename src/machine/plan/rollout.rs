//! What a stop does to a rollout: a workload that is scaled to zero and back has pods of its newest revision only. So a workload is not
//! stopped while pods of more than one of its revisions run or are wanted, unless its targetRef accepts that.

use jiff::SignedDuration;

use crate::{
    api::{Reason, TargetRef},
    machine::{
        facts::{Rollout, Workload},
        guards::Guard,
        refusal::Refusal,
        text::{Message, name_ref},
    },
};

/// How long a rollout that sets no limit of its own is waited for.
const ROLLOUT_TIMEOUT: SignedDuration = SignedDuration::from_mins(10);

/// What follows from a workload's rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::machine) enum Verdict {
    /// The workload is restored as it is.
    Same,
    /// It is not stopped now.
    Refused(Refusal),
    /// It may be stopped, and this is worth a look before.
    Warned(String),
}

/// Whether the workload may be stopped. A dry run stops nothing, so it does not wait for a rollout and only tells of it.
pub(in crate::machine) fn check(target: &TargetRef, workload: &Workload, dry_run: bool) -> Verdict {
    let name = name_ref(target);
    let after = "its replicas would be restored as the newest revision only";
    match &workload.details.rollout {
        Rollout::Unobserved | Rollout::Progressing { .. } | Rollout::Blocked { .. } if Guard::OneRevision.allows(false) => {
            Verdict::Same
        }
        Rollout::Complete => Verdict::Same,
        Rollout::Unobserved if target.accept_revision_change => Verdict::Same,
        Rollout::Unobserved if dry_run => Verdict::Warned(format!(
            "The controller of {name} has not observed its newest spec yet. The reset will wait until the status tells whether a \
             rollout is in progress."
        )),
        Rollout::Unobserved => {
            let message = Message::naming([&name], |[name]| format!("The controller of {name} did not observe its newest spec"))
                .detail(format!("If a rollout is in progress, {after}"))
                .advice("Check that the workload's controller runs, and create the reset under a new name");
            Verdict::Refused(waits(ROLLOUT_TIMEOUT, message, unobserved(&name)))
        }
        Rollout::Unknown => {
            Verdict::Warned(format!("The status of {name} does not tell whether a rollout is in progress. If one is, {after}."))
        }
        Rollout::Progressing { pods, .. } | Rollout::Blocked { pods, .. } if target.accept_revision_change => {
            Verdict::Warned(format!(
                "{name} is in the middle of a rollout: {pods}. All its replicas will be restored as the newest revision, as \
                 acceptRevisionChange allows."
            ))
        }
        Rollout::Progressing { pods, .. } if dry_run => Verdict::Warned(format!(
            "{name} is in the middle of a rollout: {pods}. The reset will wait until the rollout is complete."
        )),
        Rollout::Progressing { pods, deadline } => {
            let patience = deadline.map_or(ROLLOUT_TIMEOUT, |deadline| deadline.max(ROLLOUT_TIMEOUT));
            let waiting = Message::naming([&name], |[name]| format!("Waiting until the rollout of {name} is complete"))
                .detail(format!("{pods}, and {after}"));
            let message = Message::naming([&name], |[name]| format!("The rollout of {name} did not complete in time"))
                .detail(format!("{pods}, and {after}"))
                .advice(
                    "Complete the rollout or undo it, or set acceptRevisionChange: true on its targetRef, and create the reset under a new \
                     name",
                );
            Verdict::Refused(waits(patience, message, waiting))
        }
        Rollout::Blocked { pods, why } => {
            let message =
                Message::naming([&name], |[name]| format!("{name} is in the middle of a rollout that does not continue"))
                    .detail(format!("{pods}, and {after}"))
                    .detail(format!("{name} {}", why.cause))
                    .advice(format!(
                        "{}, or set acceptRevisionChange: true on its targetRef, and create the reset under a new name",
                        why.advice
                    ));
            Verdict::Refused(Refusal::lasting(Reason::RolloutIncomplete, message))
        }
    }
}

fn waits(patience: SignedDuration, message: Message, waiting: Message) -> Refusal {
    let (patience, waiting) = (Some(patience), Some(waiting));
    Refusal { reason: Reason::WaitingForRollout, message, transient: true, patience, waiting }
}

/// The wait for a controller whose status does not tell about the newest spec yet.
pub(in crate::machine) fn unobserved(name: &str) -> Message {
    Message::naming([name], |[name]| format!("Waiting until the controller of {name} has observed its newest spec"))
        .detail("Until then its status does not tell whether a rollout is in progress")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::machine::{facts::WorkloadDetails, tests::workload};

    fn progressing(deadline: Option<i64>) -> Rollout {
        let deadline = deadline.map(SignedDuration::from_secs);
        Rollout::Progressing { pods: "1 of 4 pods have its newest revision".into(), deadline }
    }

    fn blocked() -> Rollout {
        Rollout::Blocked {
            pods: "1 of 4 pods have its newest revision".into(),
            why: crate::machine::facts::Blocked { cause: "is paused".into(), advice: "Resume the rollout".into() },
        }
    }

    #[rstest]
    #[case::complete(Rollout::Complete, false, false, "same")]
    #[case::unknown(Rollout::Unknown, false, false, "warned: does not tell whether a rollout is in progress")]
    #[case::progressing(progressing(None), false, false, "refused for 600 s: WaitingForRollout")]
    #[case::as_long_as_the_workload_allows(progressing(Some(1200)), false, false, "refused for 1200 s: WaitingForRollout")]
    #[case::a_dry_run_does_not_wait(progressing(None), true, false, "warned: will wait until the rollout is complete")]
    #[case::accepted(progressing(None), false, true, "warned: as acceptRevisionChange allows")]
    #[case::unobserved(Rollout::Unobserved, false, false, "refused for 600 s: WaitingForRollout")]
    #[case::a_dry_run_does_not_wait_to_observe(Rollout::Unobserved, true, false, "warned: has not observed its newest spec yet")]
    #[case::unobserved_and_accepted(Rollout::Unobserved, false, true, "same")]
    #[case::blocked(blocked(), false, false, "refused for good: RolloutIncomplete")]
    #[case::a_dry_run_is_refused_as_well(blocked(), true, false, "refused for good: RolloutIncomplete")]
    #[case::blocked_and_accepted(blocked(), false, true, "warned: as acceptRevisionChange allows")]
    fn a_workload_in_the_middle_of_a_rollout_is_not_stopped(
        #[case] rollout: Rollout,
        #[case] dry_run: bool,
        #[case] accept_revision_change: bool,
        #[case] expected: &str,
    ) {
        let crate::machine::facts::Seen::Known(mut workload) = workload(3, vec![]) else { unreachable!() };
        workload.details = WorkloadDetails { rollout, ..WorkloadDetails::default() };
        let target = TargetRef { accept_revision_change, ..TargetRef::new("apps/v1", "Deployment", "c") };
        match (check(&target, &workload, dry_run), expected.split_once(": ")) {
            (Verdict::Same, None) => assert_eq!(expected, "same"),
            (Verdict::Warned(warning), Some(("warned", words))) => assert!(warning.contains(words), "{warning}"),
            (Verdict::Refused(refusal), Some((how, reason))) => {
                let patience = refusal.patience.map_or("good".to_owned(), |patience| format!("{} s", patience.as_secs()));
                assert_eq!((how, reason), (format!("refused for {patience}").as_str(), refusal.reason.as_str()));
                assert_eq!(refusal.transient, refusal.patience.is_some());
            }
            (got, expected) => panic!("{got:?} instead of {expected:?}"),
        }
    }
}
