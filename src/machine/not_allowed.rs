//! What the API server does not let the operator do (401, or 403 of an authorizer) is tried again for
//! a while: an API server that has just started does not know all tokens and rights yet, and a
//! right may be granted right after the reset was applied. Then it counts as refused.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{
    decision::{Decision, Effect},
    facts::Observed,
    limits::{NOT_ALLOWED, NOT_ALLOWED_RETRY},
    pass::Pass,
    phases::planning::PLANNING_TIMEOUT,
    text::Message,
    time::later,
};
use crate::api::{ActionKind, OffsetResetStatus, Reason};

impl Pass<'_> {
    /// Whether it is tried again to do what the API server has not allowed.
    pub fn may_soon_be_allowed(&mut self, patience: SignedDuration) -> bool {
        let since = self.status.not_allowed_since.get_or_insert(MicroTime(self.now)).0;
        let soon = self.now < later(since, patience);
        if !soon {
            self.status.not_allowed_since = None;
        }
        soon
    }

    /// Whether the API server has just not allowed this: the operator's own writes wake it, and it
    /// is not tried again before its time.
    pub fn was_just_not_allowed(&self, effect: &Effect, kind: ActionKind) -> bool {
        let waits = match effect {
            Effect::Claim { .. } | Effect::Release { .. } | Effect::Pause { .. } | Effect::SettleReceipt { .. } => true,
            Effect::Scale { kind, .. } => *kind != ActionKind::Restore,
            Effect::AddFinalizer
            | Effect::RemoveFinalizer
            | Effect::Delete
            | Effect::Resume { .. }
            | Effect::RemoveMembers(_)
            | Effect::Commit(_)
            | Effect::RemoveOffsets(_) => false,
        };
        waits && self.status.not_allowed_since.is_some() && self.was_just_tried(kind, NOT_ALLOWED_RETRY)
    }
}

/// What follows when the API server has not allowed an effect: a wait, or `None` when it counts as
/// refused. A restore is tried again for ever anyway, and first says how to do it by hand.
pub(in crate::machine) fn wait(pass: &mut Pass<'_>, effect: &Effect, why: &str) -> Option<Decision> {
    let restores = matches!(effect, Effect::Scale { kind: ActionKind::Restore, .. } | Effect::Resume { .. });
    if restores || !pass.may_soon_be_allowed(NOT_ALLOWED) {
        return None;
    }
    let message = Message::new("The API server does not allow the next step yet; the operator tries again every second")
        .detail(why)
        .detail(pass.offsets_changed());
    Some(pass.take().wait(Reason::TargetUnreachable, message, NOT_ALLOWED_RETRY))
}

/// What follows when the API server has not allowed to write the report or the receipt: a wait, or
/// `None` when it counts as refused.
pub(in crate::machine) fn wait_for_report(
    status: &OffsetResetStatus,
    why: &str,
    seen: &Observed,
    now: Timestamp,
) -> Option<Decision> {
    let mut pass = Pass::new(status, seen, now);
    let patience = if pass.status.hold.is_some() { NOT_ALLOWED } else { PLANNING_TIMEOUT };
    if !pass.may_soon_be_allowed(patience) {
        return None;
    }
    let message = Message::new("The plan cannot be stored yet, and nothing is committed without it")
        .detail(why)
        .detail("The operator tries again every second");
    Some(pass.wait(Reason::ReportUnavailable, message, NOT_ALLOWED_RETRY))
}
