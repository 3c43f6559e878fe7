//! The partitions that an entry selects, as numbers and ranges. A range may have two thousand million partitions, so the code expands
//! only the part that exists in the topic.

use std::ops::RangeInclusive;

use super::InvalidSpec;
use crate::api::{ResetSpec, rules};

/// The partitions of a topic that an entry selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partitions {
    /// All partitions of the topic.
    All,
    /// The partitions in these ranges, which do not overlap, in ascending order.
    These(Vec<RangeInclusive<i32>>),
}

impl Partitions {
    /// One partition.
    #[must_use]
    pub fn one(partition: i32) -> Self {
        Self::These(vec![partition..=partition])
    }

    /// The partitions that an entry of the spec selects.
    ///
    /// # Errors
    /// When the entry names a number that no partition has, or a partition twice.
    pub(super) fn parse(index: usize, entry: &ResetSpec) -> Result<Self, InvalidSpec> {
        let wrong = |name: &str, problem: String| Err(InvalidSpec::new(format!("resets[{index}].{name}"), problem));
        let partition = entry.partition;
        if partition < -1 {
            let problem = format!("{partition} is neither a partition's number from 0 nor -1 for all partitions");
            return wrong("partition", problem);
        }
        let numbers = entry.partitions.iter().flatten().map(|number| *number..=*number);
        let ranges = entry.partition_ranges.iter().flatten().map(|range| range.from..=range.to);
        let mut ranges: Vec<RangeInclusive<i32>> = numbers.chain(ranges).collect();
        if ranges.is_empty() {
            return Ok(if partition == -1 { Self::All } else { Self::one(partition) });
        }
        if partition != -1 {
            return wrong("partition", rules::ONE_WAY_TO_NAME_PARTITIONS.message.to_owned());
        }
        ranges.sort_unstable_by_key(|range| (*range.start(), *range.end()));
        match ranges.windows(2).find(|pair| pair[1].start() <= pair[0].end()) {
            Some(pair) => {
                let twice = pair[1].start();
                wrong("partitions", format!("partition {twice} is in the entry twice; name each partition once"))
            }
            None => Ok(Self::These(ranges)),
        }
    }

    /// Whether the entry names no partition.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::All
    }

    /// The selected partitions among the existing ones, which are in ascending order.
    #[must_use]
    pub fn among(&self, existing: &[i32]) -> Vec<i32> {
        match self {
            Self::All => existing.to_vec(),
            Self::These(ranges) => ranges.iter().flat_map(|range| within(existing, range)).copied().collect(),
        }
    }

    /// The selected partitions that do not exist, as ranges: each begins with a missing partition and ends where the entry's range ends.
    #[must_use]
    pub fn missing(&self, existing: &[i32]) -> Vec<RangeInclusive<i32>> {
        let Self::These(ranges) = self else { return vec![] };
        let rest = |range: &RangeInclusive<i32>| {
            let found = within(existing, range);
            let first = range.clone().zip(found).find(|(number, found)| number != *found).map(|(number, _)| number);
            // After the partitions that exist without a gap; past the range's end no partition is missing.
            let behind = i32::try_from(found.len()).ok().and_then(|found| range.start().checked_add(found));
            let first = first.or(behind)?;
            (first <= *range.end()).then(|| first..=*range.end())
        };
        ranges.iter().filter_map(rest).collect()
    }

    /// The numbers of the partitions; `None` for all partitions of the topic, or when there are more than `most`.
    #[must_use]
    pub fn numbers(&self, most: usize) -> Option<Vec<i32>> {
        let Self::These(ranges) = self else { return None };
        let numbers: Vec<i32> = ranges.iter().cloned().flatten().take(most.saturating_add(1)).collect();
        (numbers.len() <= most).then_some(numbers)
    }
}

/// A range as a user writes it: `7`, `5-9`.
#[must_use]
pub fn name_range(range: &RangeInclusive<i32>) -> String {
    if range.start() == range.end() { range.start().to_string() } else { format!("{}-{}", range.start(), range.end()) }
}

fn within<'a>(existing: &'a [i32], range: &RangeInclusive<i32>) -> &'a [i32] {
    let from = existing.partition_point(|number| number < range.start());
    let to = existing.partition_point(|number| number <= range.end());
    existing.get(from..to).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn parsed(fields: &Value) -> Result<Partitions, String> {
        let mut entry = json!({"topic": "orders", "offset": 1});
        entry.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        Partitions::parse(3, &serde_json::from_value(entry).unwrap()).map_err(|error| error.to_string())
    }

    #[rstest]
    #[case::none(json!({}), Ok(Partitions::All))]
    #[case::all(json!({"partition": -1}), Ok(Partitions::All))]
    #[case::one(json!({"partition": 3}), Ok(Partitions::one(3)))]
    #[case::some(json!({"partitions": [3, 0]}), Ok(Partitions::These(vec![0..=0, 3..=3])))]
    #[case::ranges(
        json!({"partitions": [0], "partitionRanges": [{"from": 5, "to": 9}, {"from": 2, "to": 2}]}),
        Ok(Partitions::These(vec![0..=0, 2..=2, 5..=9]))
    )]
    #[case::the_largest(json!({"partitionRanges": [{"from": 0, "to": i32::MAX}]}), Ok(Partitions::These(vec![0..=i32::MAX])))]
    #[case::negative(json!({"partition": -2}), Err("spec.resets[3].partition: -2 is neither a partition's number"))]
    #[case::one_and_some(json!({"partition": 1, "partitions": [2]}), Err("spec.resets[3].partition: write partition for one"))]
    #[case::twice(json!({"partitions": [4, 1, 4]}), Err("spec.resets[3].partitions: partition 4 is in the entry twice"))]
    #[case::in_a_range_too(
        json!({"partitions": [7], "partitionRanges": [{"from": 5, "to": 9}]}),
        Err("spec.resets[3].partitions: partition 7 is in the entry twice; name each partition once")
    )]
    #[case::in_two_ranges(
        json!({"partitionRanges": [{"from": 8, "to": 10}, {"from": 5, "to": 9}]}),
        Err("spec.resets[3].partitions: partition 8 is in the entry twice")
    )]
    fn an_entry_names_partitions_by_numbers_and_ranges(#[case] fields: Value, #[case] expected: Result<Partitions, &str>) {
        match (parsed(&fields), expected) {
            (Ok(partitions), Ok(expected)) => assert_eq!(partitions, expected),
            (Err(error), Err(expected)) => assert!(error.starts_with(expected), "{error}"),
            (got, expected) => panic!("{got:?} instead of {expected:?}"),
        }
    }

    #[rstest]
    #[case::all(Partitions::All, vec![0, 1, 2, 5], vec![])]
    #[case::there(Partitions::These(vec![0..=0, 2..=2]), vec![0, 2], vec![])]
    #[case::beyond_the_last(Partitions::These(vec![1..=3, 7..=9]), vec![1, 2], vec!["3", "7-9"])]
    #[case::in_a_gap(Partitions::These(vec![2..=5]), vec![2, 5], vec!["3-5"])]
    #[case::before_a_gap(Partitions::These(vec![3..=5]), vec![5], vec!["3-5"])]
    #[case::endless(Partitions::These(vec![5..=i32::MAX]), vec![5], vec!["6-2147483647"])]
    #[case::the_last_number(Partitions::These(vec![i32::MAX..=i32::MAX]), vec![], vec!["2147483647"])]
    fn what_exists_and_what_is_missing(#[case] wanted: Partitions, #[case] there: Vec<i32>, #[case] missing: Vec<&str>) {
        let existing = [0, 1, 2, 5];
        assert_eq!(wanted.among(&existing), there);
        assert_eq!(wanted.missing(&existing).iter().map(name_range).collect::<Vec<_>>(), missing);
    }

    #[test]
    fn numbers_are_written_out_only_up_to_a_bound() {
        assert_eq!(Partitions::All.numbers(9), None);
        assert_eq!(Partitions::These(vec![0..=1, 4..=4]).numbers(3), Some(vec![0, 1, 4]));
        assert_eq!(Partitions::These(vec![0..=i32::MAX]).numbers(3), None);
    }
}
