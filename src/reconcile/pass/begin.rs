//! The beginning of a pass: its locks, and the object.

use kube::{ResourceExt, runtime::reflector::ObjectRef};

use crate::api::{OffsetReset, Phase};
use crate::reconcile::{
    context::Context,
    error::Error,
    object::{has_finalizer, is_done, phase_of},
    scheduler::{FileVersions, Lock, Slot},
};

/// How many times an object that keeps changing is read at the beginning of a pass.
const READS: u32 = 2;

/// How a pass begins.
pub(super) enum Begin {
    /// With this object, its ConfigMaps and the locks of its phase; and whether it was read from the API server.
    With(Box<OffsetReset>, FileVersions, Option<Lock>, bool),
    /// The object is gone.
    Gone,
    /// The object keeps changing.
    Conflict,
}

/// Acquires the locks of the object's phase, and reads it under them, unless it is known, see [`Visits::known`]: whatever this pass
/// does is bound to that version. It reads an object that has been deleted and has lost its finalizer, which may be gone, and a finished
/// reset, of which the watch does not keep the partitions, see [`crate::reconcile::keep_what_is_read`].
///
/// [`Visits::known`]: crate::reconcile::Visits::known
pub(super) async fn begin(
    context: &Context,
    key: &ObjectRef<OffsetReset>,
    slot: &mut Slot<'_>,
    cached: &OffsetReset,
) -> Result<Begin, Error> {
    let may_be_gone = |reset: &OffsetReset| reset.metadata.deletion_timestamp.is_some() && !has_finalizer(reset);
    let known = context.visits.known(key, cached).filter(|known| !is_done(cached) && !may_be_gone(known));
    let is_known = known.is_some();
    let mut expected = known.unwrap_or_else(|| cached.clone());
    let mut lock = slot.released_while(lock_of(context, &expected, phase_of(&expected))).await;
    // Before anything is read.
    let files = context.visits.begin(key);
    if is_known {
        return Ok(Begin::With(Box::new(expected), files, lock, false));
    }
    for _ in 0..READS {
        let read = context.resets.get(&cached.namespace().unwrap_or_default(), &cached.name_any()).await;
        let Some(read) = read.map_err(Error::Read)? else { return Ok(Begin::Gone) };
        if needs_same_locks(&read, &expected) {
            return Ok(Begin::With(Box::new(read), files, lock, true));
        }
        drop(lock);
        lock = slot.released_while(lock_of(context, &read, phase_of(&read))).await;
        expected = read;
    }
    Ok(Begin::Conflict)
}

/// Whether two versions of an object need the same locks.
fn needs_same_locks(one: &OffsetReset, other: &OffsetReset) -> bool {
    let needs = |reset: &OffsetReset| (phase_of(reset), has_finalizer(reset));
    needs(one) == needs(other) && one.spec.group == other.spec.group && one.spec.target_refs == other.spec.target_refs
}

/// The locks that a phase of a reset needs, if any.
pub(super) async fn lock_of(context: &Context, reset: &OffsetReset, phase: Option<Phase>) -> Option<Lock> {
    let namespace = reset.namespace().unwrap_or_default();
    let held = (namespace.as_str(), reset.spec.target_refs.as_slice());
    context.locks.acquire(phase, has_finalizer(reset), held, &reset.spec.group).await
}
