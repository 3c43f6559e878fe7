//! Pending: one reset at a time per group, the oldest first. A dry run waits for no other reset.

use jiff::{SignedDuration, Timestamp};

use crate::api::{Phase, Reason};
use crate::machine::{
    coordination::queue, decision::Decision, facts::Blocker, guards::Guard, pass::Pass, request::Request, text::Message,
};

/// How soon it looks again whether the other reset is over: resets take seconds, and few wait.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(1);

/// How soon a suspended reset is looked at again, if nothing changes before.
const SUSPENDED: SignedDuration = SignedDuration::from_hours(1);

/// Why a reset must not begin.
#[derive(Clone, Copy)]
pub(in crate::machine) enum NotNow {
    Expired(Timestamp),
    Suspended,
}

/// Why a reset that has stopped no target yet must not begin, if so.
pub(in crate::machine) fn not_now(pass: &Pass<'_>, request: &Request) -> Option<NotNow> {
    let expired = request.not_after.filter(|limit| pass.now > *limit).map(NotNow::Expired);
    expired.or_else(|| request.suspended.then_some(NotNow::Suspended))
}

/// Ends a reset that must not begin, or keeps it waiting without blocking others.
pub(in crate::machine) fn hold_back(mut pass: Pass<'_>, request: &Request, why: NotNow) -> Decision {
    match why {
        NotNow::Expired(limit) => {
            let message = Message::new("notAfter passed before the reset began, so it will not run")
                .detail(format!("notAfter is {limit}. The consumers were not touched and no offset was changed"))
                .advice("If the reset is still wanted, create another OffsetReset under a new name with a later notAfter");
            pass.finish(Phase::Failed, Reason::Expired, message)
        }
        NotNow::Suspended => {
            pass.enter(Phase::Pending);
            let until_expiry = request.not_after.map(|limit| limit.duration_since(pass.now) + SignedDuration::from_millis(1));
            let message = Message::new("Suspended: the reset begins when suspend is set to false")
                .detail("The consumers keep running, and other resets of the group go first");
            pass.wait(Reason::Suspended, message, until_expiry.map_or(SUSPENDED, |left| left.min(SUSPENDED)))
        }
    }
}

pub(in crate::machine) fn decide(pass: Pass<'_>, request: &Request) -> Decision {
    // The cluster's id is known once the reset has planned; it tells whose turn it is however the
    // brokers are named.
    if let Some(other) = queue::waits_for(&pass).filter(|_| !request.dry_run) {
        return pass.wait(Reason::WaitingForOtherReset, other, LOOK_AGAIN);
    }
    match &pass.seen.blocker {
        Some(blocker) if !Guard::FirstInQueue.allows(request.dry_run) => {
            let message = waits_for(blocker).detail("The consumers keep running");
            pass.wait(Reason::WaitingForOtherReset, message, LOOK_AGAIN)
        }
        Some(_) | None => {
            let message = Message::new("The plan is being made").detail("The consumers keep running");
            pass.go_on(Phase::Planning, Reason::Planning, message)
        }
    }
}

/// Another reset goes first.
fn waits_for(blocker: &Blocker) -> Message {
    Message::naming([&blocker.name], |[other]| format!("Waiting for OffsetReset {other}, which goes first"))
        .detail(format!("Both need the same {}", blocker.shared))
}
