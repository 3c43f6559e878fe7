//! How often finished resets are looked at whose consumers are still watched. Events of their pods may bring a look forward, but
//! each look asks Kafka, and the pods of a crash loop have events for an hour.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;

use crate::api::OffsetReset;

type Object = ObjectRef<OffsetReset>;

/// An event brings a look forward by so much at most: to a third of the planned wait.
const FORWARD: u32 = 3;

/// And it brings no look forward to less than this after the one before: consumers that start have many events.
const LEAST: Duration = Duration::from_secs(1);

/// When each finished reset may be looked at again.
#[derive(Default)]
pub struct Looks {
    not_before: Mutex<HashMap<Object, Instant>>,
}

impl Looks {
    /// The wait before a reset may be looked at again; `None` when it may be now.
    pub(in crate::reconcile) fn wait(&self, object: &Object) -> Option<Duration> {
        self.wait_at(object, Instant::now())
    }

    fn wait_at(&self, object: &Object, now: Instant) -> Option<Duration> {
        let not_before = *self.not_before.lock().get(object)?;
        Some(not_before.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    /// Records a look, and the planned wait until the next one.
    pub(in crate::reconcile) fn looked(&self, object: &Object, next: Duration) {
        self.looked_at(object, next, Instant::now());
    }

    fn looked_at(&self, object: &Object, next: Duration, now: Instant) {
        self.not_before.lock().insert(object.clone(), now + (next / FORWARD).max(next.min(LEAST)));
    }

    /// Drops what is kept of a reset that is gone, or not watched any more.
    pub(in crate::reconcile) fn forget(&self, object: &Object) {
        self.not_before.lock().remove(object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_brings_a_look_forward_only_so_far() {
        let (looks, now) = (Looks::default(), Instant::now());
        let (object, second) = (ObjectRef::new("a").within("b"), Duration::from_secs(1));
        assert_eq!(looks.wait_at(&object, now), None, "it was not looked at");
        looks.looked_at(&object, 30 * second, now);
        assert_eq!(looks.wait_at(&object, now + second), Some(9 * second));
        assert_eq!(looks.wait_at(&object, now + 10 * second), None);
        looks.looked_at(&object, second, now);
        assert_eq!(looks.wait_at(&object, now + second / 2), Some(second / 2), "not more than once a second");
        looks.looked_at(&object, Duration::ZERO, now);
        assert_eq!(looks.wait_at(&object, now), None, "it is due at once");
        looks.forget(&object);
        assert_eq!(looks.wait_at(&object, now + second), None);
        assert!(looks.not_before.lock().is_empty());
    }
}
