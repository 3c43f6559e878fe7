//! After the end: nothing is stopped or committed any more. The operator only watches for a while
//! whether the consumers resume, whether they consume from the offsets of the reset and how fast, and
//! deletes the object at the end of its time to live, where the spec has one.

use jiff::{SignedDuration, Timestamp};

use super::{catch_up, comeback, consumption};
use crate::api::{ConditionType, MAX_LISTED_PARTITIONS, OffsetResetStatus, Phase, Reason};
use crate::machine::{
    decision::{Decision, Effect},
    pass::Pass,
    request::Request,
    time::later,
};

/// How soon it looks again at consumers that start: pods are watched, but the broker has to be asked
/// for the members.
const OFTEN: SignedDuration = SignedDuration::from_secs(1);

/// For how long after the first member it looks often for the first commit: consumers commit every 5 seconds by default.
const FIRST_COMMIT: SignedDuration = SignedDuration::from_secs(30);

/// How soon it reads the offsets again of consumers that have resumed.
const OFFSETS: SignedDuration = SignedDuration::from_secs(5);

/// The same for a plan whose partitions are in the report only.
const LARGE: SignedDuration = SignedDuration::from_secs(10);

/// How soon it looks again when the consumers should have resumed long since.
const SLOWLY: SignedDuration = SignedDuration::from_secs(30);

/// How soon it tries again to delete an object that the API server has refused to delete.
const NOT_DELETED: SignedDuration = SignedDuration::from_mins(10);

/// The longest wait until the end of a time to live: a timer cannot wait for the longest one, which is
/// 68 years.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);

pub(in crate::machine) fn decide(mut pass: Pass<'_>, request: Option<&Request>) -> Decision {
    if pass.seen.finalizer {
        return pass.act(Effect::RemoveFinalizer);
    }
    let expires = expiry(&pass.status, pass.seen.time_to_live).filter(|_| !pass.seen.deleting);
    // Nothing is held for it: the reset is over, and the finalizer is gone. Other finalizers only
    // delay its removal, as for any other deletion.
    if expires.is_some_and(|at| at <= pass.now) {
        return pass.act(Effect::Delete);
    }
    let watched_until = pass.status.hold.as_ref().and_then(|hold| hold.watched_until.clone());
    let Some(until) = watched_until.filter(|_| !pass.seen.deleting && needs_a_look(&pass.status)) else {
        return wait_for_expiry(pass, expires);
    };
    // Nothing was read, because the look was not due yet; it is due now.
    let is_read = pass.seen.targets.len() == pass.status.targets.len();
    if let Some(left) = first_look(&pass.status, pass.now).or((!is_read).then_some(SignedDuration::ZERO)) {
        return pass.look_again(left);
    }
    let deadline = pass.status.hold.as_ref().and_then(|hold| hold.resume_deadline.as_ref()).map_or(until.0, |at| at.0);
    let (late, over) = (pass.now >= deadline, pass.now >= until.0);
    let resumed = comeback::look(&mut pass, request, late, over);
    let known = consumption::look(&mut pass, request, late, over);
    let measured = catch_up::look(&mut pass, over);
    if over || (resumed && known && measured) {
        if let Some(hold) = &mut pass.status.hold {
            hold.watched_until = None;
        }
        return wait_for_expiry(pass, expires);
    }
    let soon = if late {
        SLOWLY
    } else if resumed && known {
        catch_up::pause(&pass)
    } else if consumption::needs_offsets(&pass.status) && pass.status.partitions.len() > MAX_LISTED_PARTITIONS {
        LARGE
    } else if awaits_first_commit(&pass) {
        OFTEN
    } else if resumed {
        OFFSETS
    } else {
        pause(&pass)
    };
    let left = expires.map_or(soon, |at| until_expiry(at, pass.now));
    pass.look_again(soon.min(left))
}

/// How long it is until the first look at consumers that were just restored, if that is not now: until then they cannot be back.
/// Where none are expected to come back, the first look is due at once.
#[must_use]
pub fn first_look(status: &OffsetResetStatus, now: Timestamp) -> Option<SignedDuration> {
    let end = status.restored_at().filter(|_| needs_a_look(status))?;
    let starts = status.is_condition(ConditionType::ConsumersResumed, Reason::WaitingForConsumers);
    let left = later(end, OFTEN).duration_since(now);
    // A clock that was set back delays no look.
    (starts && left.is_positive() && left <= OFTEN).then_some(left)
}

/// The pause between two looks at consumers that start. Without a ready pod it is an eighth of the time since the restore: pods that
/// become ready bring a look forward. Ready pods may join, commit and leave at any moment.
fn pause(pass: &Pass<'_>) -> SignedDuration {
    if pass.status.targets.iter().any(|target| target.ready_pods.is_some_and(|ready| ready > 0)) {
        return OFTEN;
    }
    let since = pass.now.duration_since(pass.status.restored_at().unwrap_or(pass.now));
    (since / 8).clamp(OFTEN, LARGE)
}

/// Whether consumers joined less than 30 seconds ago, and have not been seen to commit past a target yet.
fn awaits_first_commit(pass: &Pass<'_>) -> bool {
    let Some(consumption) = &pass.status.consumption else { return false };
    let is_recent = consumption.first_member_time.as_ref().is_some_and(|first| pass.now.duration_since(first.0) < FIRST_COMMIT);
    is_recent && consumption.first_commit_time.is_none() && consumption.waiting > 0
}

/// Waits until the object expires, or for a change when it is to be kept.
fn wait_for_expiry(pass: Pass<'_>, expires: Option<Timestamp>) -> Decision {
    match expires {
        Some(at) => {
            let left = until_expiry(at, pass.now);
            pass.look_again(left)
        }
        None => pass.wait_for_change(),
    }
}

/// The API server has refused to delete the object.
pub(in crate::machine) fn not_deleted(pass: Pass<'_>) -> Decision {
    pass.look_again(NOT_DELETED)
}

/// When a reset is to be deleted; `None` while it is not over, or when it is to be kept.
#[must_use]
pub fn expiry(status: &OffsetResetStatus, time_to_live: Option<SignedDuration>) -> Option<Timestamp> {
    let end = status.completion_time.as_ref().filter(|_| status.phase.is_some_and(Phase::is_terminal))?;
    Some(later(end.0, time_to_live?))
}

/// How long to wait before the next look at a reset that expires at a time.
#[must_use]
pub fn until_expiry(at: Timestamp, now: Timestamp) -> SignedDuration {
    at.duration_since(now).clamp(SignedDuration::ZERO, LONGEST)
}

/// Whether a finished reset is still watched, because its consumers may not have resumed yet, or not
/// have consumed.
#[must_use]
pub fn needs_a_look(status: &OffsetResetStatus) -> bool {
    status.phase.is_some_and(Phase::is_terminal) && status.hold.as_ref().is_some_and(|hold| hold.watched_until.is_some())
}

/// Whether the offsets have to be read: of a canary that has not passed, or of a finished reset that is watched.
#[must_use]
pub fn needs_offsets(status: &OffsetResetStatus) -> bool {
    let is_looked_at = status.phase == Some(Phase::Canary) || needs_a_look(status);
    is_looked_at && (consumption::needs_offsets(status) || catch_up::is_measured(status))
}
