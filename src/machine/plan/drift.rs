//! How a plan differs from that of the dry run before it.

use std::collections::BTreeMap;

use crate::api::{DriftStatus, PartitionStatus};

/// Compares the partitions of two plans; `drift` carries when the first one was made and what it
/// came to.
#[must_use]
pub(in crate::machine) fn compare(drift: &DriftStatus, first: &[PartitionStatus], now: &[PartitionStatus]) -> DriftStatus {
    let key = |planned: &PartitionStatus| (planned.topic.clone(), planned.partition);
    let mut before: BTreeMap<_, _> = first.iter().map(|planned| (key(planned), planned)).collect();
    let mut drift = DriftStatus { moved: 0, retargeted: 0, added: 0, removed: 0, ..drift.clone() };
    for planned in now {
        match before.remove(&key(planned)) {
            Some(old) => {
                drift.moved += i64::from(old.before != planned.before);
                drift.retargeted += i64::from(old.target_offset != planned.target_offset);
            }
            None => drift.added += 1,
        }
    }
    drift.removed = i64::try_from(before.len()).unwrap_or(i64::MAX);
    drift
}

/// The difference as sentences for a message.
#[must_use]
pub(in crate::machine) fn describe(drift: &DriftStatus) -> String {
    format!(
        "Since the dry run the committed offset has changed on {} partitions and the target offset on {} ({} partitions added, {} \
         removed); the dry run's plan was {} records to replay, {} to skip",
        drift.moved, drift.retargeted, drift.added, drift.removed, drift.first_totals.replayed, drift.first_totals.skipped
    )
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::{api::Totals, machine::tests::planned_partition};

    #[test]
    fn what_moved_what_goes_elsewhere_what_came_and_what_went_is_counted() {
        let none = DriftStatus {
            first_plan_time: Time(Timestamp::UNIX_EPOCH),
            first_totals: Totals::default(),
            moved: 9,
            retargeted: 9,
            added: 9,
            removed: 9,
        };
        let first = [planned_partition(0), planned_partition(1), planned_partition(2)];
        let now = [
            planned_partition(0),
            PartitionStatus { before: Some(60), ..planned_partition(1) },
            PartitionStatus { target_offset: Some(11), ..planned_partition(3) },
        ];
        let drift = compare(&none, &first, &now);
        assert_eq!((drift.moved, drift.retargeted, drift.added, drift.removed), (1, 0, 1, 1));
        let retargeted = [PartitionStatus { target_offset: Some(11), ..planned_partition(0) }];
        assert_eq!(compare(&none, &first[..1], &retargeted).retargeted, 1);
    }
}
