//! The passes over `OffsetReset`s, in steps: observe, decide, record the intent, act, record the result.

mod aside;
mod backoff;
mod context;
mod credentials;
mod error;
mod in_use;
mod install;
mod object;
mod orphans;
mod pass;
mod refused;
mod requests;
mod scheduler;
mod unserved;

use std::sync::Arc;

use kube::{
    Resource,
    core::DeserializeGuard,
    runtime::{controller::Action, reflector::ObjectRef},
};

use self::{
    object::{key_of, may_hold, phase_of},
    pass::pass,
    scheduler::Rank,
};
use crate::api::OffsetReset;

pub use backoff::{Backoff, BackoffKey};
pub use context::Context;
pub use error::Error;
pub use in_use::keep_install;
pub use install::Install;
pub use object::keep_what_is_read;
pub use orphans::{error_policy as hold_error_policy, reconcile_hold};
pub use pass::query_kafka;
pub use refused::RefusedOrphans;
pub use requests::Requests;
pub use scheduler::{Change, CommitsInFlight, Locks, Looks, Slots, Visits};
pub use unserved::Unserved;

/// One pass over one `OffsetReset`.
///
/// # Errors
/// When a read or a write failed; [`error_policy`] sets the wait before the next pass.
pub async fn reconcile(object: Arc<DeserializeGuard<OffsetReset>>, context: Arc<Context>) -> Result<Action, Error> {
    match Box::pin(pass(&object, &context)).await {
        Ok(action) => {
            context.backoff.reset(&backoff_key(&object));
            Ok(action)
        }
        Err(error) => {
            if matches!(error, Error::Undecodable(_)) {
                // Such an object never runs, and no later pass would drop its rank.
                context.slots.forget(&key_of(&object));
            } else {
                context.slots.has_failed(&key_of(&object));
            }
            Err(error)
        }
    }
}

/// Drops what is kept of a reset that is gone.
pub fn forget_reset(context: &Context, namespace: &str, name: &str) {
    pass::forget(context, &ObjectRef::new(name).within(namespace));
    context.metrics.forget(&format!("{namespace}/{name}"));
    context.backoff.reset(&BackoffKey::reset(namespace, name));
}

fn backoff_key(object: &DeserializeGuard<OffsetReset>) -> BackoffKey {
    let meta = object.meta();
    BackoffKey::reset(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

/// The wait after a failed pass: longer each time, but never long while consumers are held at zero. It writes nothing.
#[must_use]
#[allow(clippy::needless_pass_by_value, reason = "the signature is the controller's")]
pub fn error_policy(object: Arc<DeserializeGuard<OffsetReset>>, error: &Error, context: Arc<Context>) -> Action {
    match error {
        Error::Undecodable(_) => Action::await_change(),
        Error::Read(_)
        | Error::List(_)
        | Error::WriteStatus(_)
        | Error::StatusRefused(_)
        | Error::ReadReport(_)
        | Error::WriteReport(_)
        | Error::Unrecordable(_)
        | Error::Finalizer(_)
        | Error::FinalizerRefused(_)
        | Error::Delete(_)
        | Error::Scale(_)
        | Error::ReadClaim(_)
        | Error::Claim(_)
        | Error::ScaledObject(_)
        | Error::Receipt(_)
        | Error::CommitInFlight
        | Error::NotLeading => {
            // The object may be behind; the rank is of the last pass that has begun.
            let holds = |reset: &OffsetReset| may_hold(reset, phase_of(reset));
            let holding = object.0.as_ref().is_ok_and(holds) || context.slots.rank(&key_of(&object)) == Some(Rank::Holding);
            Action::requeue(context.backoff.next(&backoff_key(&object), holding))
        }
    }
}
