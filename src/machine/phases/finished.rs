//! After the end: nothing is stopped or committed any more. The operator only watches for a while
//! whether the consumers resume, and whether they consume from the offsets of the reset.

use jiff::SignedDuration;

use super::{comeback, consumption};
use crate::api::{MAX_LISTED_PARTITIONS, OffsetResetStatus, Phase};
use crate::machine::{
    decision::{Decision, Effect},
    pass::Pass,
    request::Request,
};

/// How soon it looks again at consumers that start: pods are watched, but the broker has to be asked
/// for the members.
const OFTEN: SignedDuration = SignedDuration::from_secs(1);

/// How soon it reads the offsets again of consumers that have resumed.
const OFFSETS: SignedDuration = SignedDuration::from_secs(5);

/// The same for a plan whose partitions are in the report only.
const LARGE: SignedDuration = SignedDuration::from_secs(10);

/// How soon it looks again when the consumers should have resumed long since.
const SLOWLY: SignedDuration = SignedDuration::from_secs(30);

pub(in crate::machine) fn decide(mut pass: Pass<'_>, request: Option<&Request>) -> Decision {
    if pass.seen.finalizer {
        return pass.act(Effect::RemoveFinalizer);
    }
    let watched_until = pass.status.hold.as_ref().and_then(|hold| hold.watched_until.clone());
    let Some(until) = watched_until.filter(|_| !pass.seen.deleting && needs_a_look(&pass.status)) else {
        return pass.wait_for_change();
    };
    let deadline = pass.status.hold.as_ref().and_then(|hold| hold.resume_deadline.as_ref()).map_or(until.0, |at| at.0);
    let (late, over) = (pass.now >= deadline, pass.now >= until.0);
    let resumed = comeback::look(&mut pass, late, over);
    let known = consumption::look(&mut pass, request, late, over);
    if over || (resumed && known) {
        if let Some(hold) = &mut pass.status.hold {
            hold.watched_until = None;
        }
        return pass.wait_for_change();
    }
    let soon = if late {
        SLOWLY
    } else if consumption::needs_offsets(&pass.status) && pass.status.partitions.len() > MAX_LISTED_PARTITIONS {
        LARGE
    } else if resumed {
        OFFSETS
    } else {
        OFTEN
    };
    pass.look_again(soon)
}

/// Whether a finished reset is still watched, because its consumers may not have resumed yet, or not
/// have consumed.
#[must_use]
pub fn needs_a_look(status: &OffsetResetStatus) -> bool {
    status.phase.is_some_and(Phase::is_terminal) && status.hold.as_ref().is_some_and(|hold| hold.watched_until.is_some())
}

/// Whether a finished reset is watched and its offsets have to be read for that.
#[must_use]
pub fn needs_offsets(status: &OffsetResetStatus) -> bool {
    needs_a_look(status) && consumption::needs_offsets(status)
}
