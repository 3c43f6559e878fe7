//! For how long the API server has not served OffsetResets at all: their CRD is not installed, or not any more.

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// For how long OffsetResets must have been unserved before they count as absent: one of several API servers may not know the CRD
/// yet.
pub(super) const CRD_GONE: SignedDuration = SignedDuration::from_secs(30);

/// Since when they have not been served.
#[derive(Default)]
pub struct Unserved(Mutex<Option<Timestamp>>);

impl Unserved {
    /// They are served.
    pub(super) fn served(&self) {
        *self.0.lock() = None;
    }

    /// They are not served; whether that has been so for long enough.
    pub(super) fn is_gone(&self, now: Timestamp) -> bool {
        now.duration_since(*self.0.lock().get_or_insert(now)) >= CRD_GONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crd_counts_as_gone_after_half_a_minute_without_any_answer_that_has_it() {
        let (unserved, at) = (Unserved::default(), |second| Timestamp::from_second(second).unwrap());
        assert!(!unserved.is_gone(at(100)) && !unserved.is_gone(at(129)));
        unserved.served();
        assert!(!unserved.is_gone(at(130)) && !unserved.is_gone(at(159)));
        assert!(unserved.is_gone(at(160)) && unserved.is_gone(at(170)));
    }
}
