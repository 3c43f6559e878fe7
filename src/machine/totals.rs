//! Counts over partitions.

use crate::api::{PartitionOutcome, PartitionStatus, Totals};

/// Counts over the partitions.
#[must_use]
pub fn totals(partitions: &[PartitionStatus]) -> Totals {
    let mut totals = Totals { partitions: count(partitions.len()), ..Totals::default() };
    for partition in partitions {
        match partition.outcome {
            PartitionOutcome::Planned => {}
            PartitionOutcome::Reset => totals.reset += 1,
            PartitionOutcome::Unconfirmed => totals.unconfirmed += 1,
            PartitionOutcome::Failed => {
                totals.failed += 1;
                continue;
            }
            PartitionOutcome::Skipped | PartitionOutcome::Unchanged => {
                totals.left_alone += 1;
                continue;
            }
        }
        totals.clamped += i64::from(partition.clamped.is_some());
        totals.replayed = totals.replayed.saturating_add(partition.replayed);
        totals.skipped = totals.skipped.saturating_add(partition.skipped);
    }
    totals
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
