//! Pending: one reset at a time per group, the oldest first. A dry run wants nothing, so it waits for nobody.

use jiff::SignedDuration;

use super::{Decision, pass::Pass, request::Request};
use crate::api::{Phase, Reason};

/// How soon it looks again whether the other one is over: resets take seconds, and those that wait are few.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(1);

pub(super) fn decide(pass: Pass<'_>, request: &Request) -> Decision {
    match &pass.seen.blocker {
        Some(blocker) if !request.dry_run => {
            let message =
                format!("waits for OffsetReset {}, which works on the same {}; the consumers run", blocker.name, blocker.shared);
            pass.wait(Reason::WaitingForOther, message, LOOK_AGAIN)
        }
        Some(_) | None => pass.go_on(Phase::Planning, Reason::Planning, "the plan is being made; the consumers run"),
    }
}
