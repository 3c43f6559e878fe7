//! Pending: one reset at a time per group, the oldest first. A dry run wants nothing, so it waits for nobody.

use crate::machine::coordination::queue;
use jiff::{SignedDuration, Timestamp};

use crate::api::{Phase, Reason};
use crate::machine::{decision::Decision, guards::Guard, pass::Pass, request::Request};

/// How soon it looks again whether the other one is over: resets take seconds, and those that wait are few.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(1);

/// How soon a suspended one is looked at again, if nobody changes it before.
const SUSPENDED: SignedDuration = SignedDuration::from_hours(1);

/// Why a reset must not begin.
#[derive(Clone, Copy)]
pub(in crate::machine) enum NotNow {
    Expired(Timestamp),
    Suspended,
}

/// Whether a reset that has not stopped anything yet must stay away from the consumers.
pub(in crate::machine) fn not_now(pass: &Pass<'_>, request: &Request) -> Option<NotNow> {
    let expired = request.not_after.filter(|limit| pass.now > *limit).map(NotNow::Expired);
    expired.or_else(|| request.suspended.then_some(NotNow::Suspended))
}

/// Ends it, or keeps it waiting where it is in nobody's way.
pub(in crate::machine) fn stay_away(mut pass: Pass<'_>, request: &Request, why: NotNow) -> Decision {
    match why {
        NotNow::Expired(limit) => {
            let message = format!(
                "notAfter is {limit}, which was over before the reset began: it never will. The consumers were not touched and no \
                 offset was changed. If it is still wanted, create another OffsetReset under a new name"
            );
            pass.finish(Phase::Failed, Reason::Expired, message)
        }
        NotNow::Suspended => {
            pass.enter(Phase::Pending);
            let until_expiry = request.not_after.map(|limit| limit.duration_since(pass.now) + SignedDuration::from_millis(1));
            let message = "suspend is true: nothing is done, and the consumers run. To let it begin, set suspend to false";
            pass.wait(Reason::Suspended, message, until_expiry.map_or(SUSPENDED, |left| left.min(SUSPENDED)))
        }
    }
}

pub(in crate::machine) fn decide(pass: Pass<'_>, request: &Request) -> Decision {
    // Known since it planned: whose turn it is by the cluster itself, whatever its brokers are called.
    if let Some(other) = queue::waits_for(&pass).filter(|_| !request.dry_run) {
        return pass.wait(Reason::WaitingForOtherReset, other, LOOK_AGAIN);
    }
    match &pass.seen.blocker {
        Some(blocker) if Guard::NobodyFirst.stops(!request.dry_run) => {
            let message =
                format!("waits for OffsetReset {}, which works on the same {}; the consumers run", blocker.name, blocker.shared);
            pass.wait(Reason::WaitingForOtherReset, message, LOOK_AGAIN)
        }
        Some(_) | None => pass.go_on(Phase::Planning, Reason::Planning, "the plan is being made; the consumers run"),
    }
}
