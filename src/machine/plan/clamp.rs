//! Into the log's bounds, as Kafka does it: above the end becomes the end, below the start the
//! start, equal to the end is legal.

use crate::api::Clamp;
use crate::machine::facts::{Bounds, TimestampMatch};

/// An offset that was asked for, moved into the bounds.
#[must_use]
pub fn clamp_offset(requested: i64, bounds: Bounds) -> (i64, Option<Clamp>) {
    if requested > bounds.end {
        (bounds.end, Some(Clamp::AboveLogEnd))
    } else if requested < bounds.start {
        (bounds.start, Some(Clamp::BelowLogStart))
    } else {
        (requested, None)
    }
}

/// The offset for a time that was asked for, from the broker's answer by time and the bounds that
/// were read before it.
#[must_use]
pub fn resolve_timestamp(requested: i64, found: Option<TimestampMatch>, bounds: Bounds) -> (i64, Option<Clamp>) {
    match found {
        // The broker answers "no offset" for an empty partition and for one whose records are all
        // older.
        None if bounds.start == bounds.end => (bounds.end, Some(Clamp::PartitionEmpty)),
        None => (bounds.end, Some(Clamp::AfterLastRecord)),
        Some(found) => {
            let (offset, clamped) = clamp_into(found.offset, bounds);
            let before_first = offset == bounds.start && found.timestamp > requested;
            (offset, clamped.or(before_first.then_some(Clamp::BeforeFirstRecord)))
        }
    }
}

/// A record that was found right after the end was read lies beyond that end by a little, and is
/// right: only the start can have moved.
fn clamp_into(offset: i64, bounds: Bounds) -> (i64, Option<Clamp>) {
    if offset < bounds.start { (bounds.start, Some(Clamp::BelowLogStart)) } else { (offset, None) }
}

/// The bounds, in which the record that was found for a time lies: it may have arrived after the
/// end was read.
#[must_use]
pub fn with_match(bounds: Bounds, found: Option<TimestampMatch>) -> Bounds {
    let end = found.map_or(bounds.end, |found| bounds.end.max(found.offset.saturating_add(1)));
    Bounds { end, ..bounds }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const LOG: Bounds = Bounds { start: 10, end: 20 };
    const EMPTY: Bounds = Bounds { start: 7, end: 7 };

    #[rstest]
    #[case::below(3, LOG, 10, Some(Clamp::BelowLogStart))]
    #[case::at_the_start(10, LOG, 10, None)]
    #[case::inside(15, LOG, 15, None)]
    #[case::the_last_record(19, LOG, 19, None)]
    #[case::equal_to_the_end(20, LOG, 20, None)]
    #[case::above(21, LOG, 20, Some(Clamp::AboveLogEnd))]
    #[case::far_above(i64::MAX, LOG, 20, Some(Clamp::AboveLogEnd))]
    #[case::empty_below(0, EMPTY, 7, Some(Clamp::BelowLogStart))]
    #[case::empty_equal(7, EMPTY, 7, None)]
    #[case::empty_above(8, EMPTY, 7, Some(Clamp::AboveLogEnd))]
    fn an_offset_is_moved_into_the_bounds(
        #[case] requested: i64,
        #[case] bounds: Bounds,
        #[case] target: i64,
        #[case] clamped: Option<Clamp>,
    ) {
        assert_eq!(clamp_offset(requested, bounds), (target, clamped));
    }

    #[rstest]
    #[case::before_the_first_record(50, Some((10, 100)), LOG, 10, Some(Clamp::BeforeFirstRecord))]
    #[case::equal_to_the_first_record(100, Some((10, 100)), LOG, 10, None)]
    #[case::inside_between_two_records(150, Some((15, 160)), LOG, 15, None)]
    #[case::equal_to_a_record(160, Some((15, 160)), LOG, 15, None)]
    #[case::after_the_last_record(999, None, LOG, 20, Some(Clamp::AfterLastRecord))]
    #[case::empty_partition(100, None, EMPTY, 7, Some(Clamp::PartitionEmpty))]
    #[case::a_record_that_came_after_the_end_was_read(999, Some((20, 1000)), LOG, 20, None)]
    #[case::the_start_moved_past_the_answer(100, Some((5, 100)), LOG, 10, Some(Clamp::BelowLogStart))]
    fn a_time_becomes_the_first_record_at_or_after_it(
        #[case] requested: i64,
        #[case] found: Option<(i64, i64)>,
        #[case] bounds: Bounds,
        #[case] target: i64,
        #[case] clamped: Option<Clamp>,
    ) {
        let found = found.map(|(offset, timestamp)| TimestampMatch { offset, timestamp });
        assert_eq!(resolve_timestamp(requested, found, bounds), (target, clamped));
    }

    proptest! {
        #[test]
        fn a_clamped_offset_lies_in_the_bounds_and_is_never_negative(requested in any::<i64>(), start in 0..i64::MAX / 2, length in 0..i64::MAX / 2) {
            let bounds = Bounds { start, end: start + length };
            let (target, clamped) = clamp_offset(requested, bounds);
            prop_assert!(bounds.start <= target && target <= bounds.end);
            prop_assert_eq!(clamped.is_none(), target == requested);
        }
    }
}
