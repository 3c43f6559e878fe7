//! What the offsets of a group must be, by what its resets say of themselves: each status, or what is left of one that was deleted, is held
//! against what the broker says.

use jiff::Timestamp;
use offset_reset_operator::{
    api::{PartitionOutcome, PartitionStatus, Phase},
    machine::facts::Committed,
};

/// How many partitions each topic has.
pub const PARTITIONS: usize = 4;

/// Offsets with what stands beside them.
pub type Offsets = [Committed; PARTITIONS];

/// What a reset says that it has done.
#[derive(Clone, Debug)]
pub struct Told {
    pub name: String,
    /// When it was over: resets of a group run one after the other.
    pub at: Timestamp,
    pub phase: Phase,
    /// What it puts beside the offsets that it commits.
    pub marker: String,
    pub partitions: Vec<PartitionStatus>,
}

/// What may stand there after these resets, oldest first, when this stood there before. Empty when they contradict it.
pub fn possible(before: &Offsets, told: &[Told]) -> Result<Vec<Offsets>, String> {
    let mut possible = vec![before.clone()];
    for reset in told {
        let mut next = vec![];
        for offsets in &possible {
            next.extend(after(offsets, reset));
        }
        if next.is_empty() {
            return Err(format!("{} says {:?}, and before it there was one of {possible:?}", reset.name, reset.partitions));
        }
        possible = next;
    }
    Ok(possible)
}

/// What may stand there after one reset. A commit is one append: what may have been set is set as a whole, or not at all.
fn after(offsets: &Offsets, reset: &Told) -> Vec<Offsets> {
    let (mut set, mut not_set, mut is_open) = (offsets.clone(), offsets.clone(), false);
    for planned in &reset.partitions {
        let at = usize::try_from(planned.partition).unwrap();
        let committed = Committed { offset: planned.target_offset.unwrap(), metadata: reset.marker.as_str().into() };
        match planned.outcome {
            PartitionOutcome::Reset | PartitionOutcome::Unconfirmed if planned.before != Some(offsets[at].offset) => {
                return vec![];
            }
            PartitionOutcome::Reset if planned.after != planned.target_offset => return vec![],
            PartitionOutcome::Reset => {
                set[at] = committed.clone();
                not_set[at] = committed;
            }
            PartitionOutcome::Unconfirmed => {
                is_open = true;
                set[at] = committed;
            }
            PartitionOutcome::Planned | PartitionOutcome::Failed | PartitionOutcome::Skipped | PartitionOutcome::Unchanged => {}
        }
    }
    if is_open { vec![not_set, set] } else { vec![set] }
}

/// Whether a phase and what became of the partitions belong together.
pub fn is_true_to_itself(reset: &Told) -> Result<(), String> {
    let all = |wanted: &[PartitionOutcome]| reset.partitions.iter().all(|planned| wanted.contains(&planned.outcome));
    let fits = match reset.phase {
        Phase::Succeeded => all(&[PartitionOutcome::Reset, PartitionOutcome::Unchanged, PartitionOutcome::Skipped]),
        Phase::Failed | Phase::Cancelled => true,
        Phase::Pending
        | Phase::Planning
        | Phase::Stopping
        | Phase::Draining
        | Phase::Resetting
        | Phase::Canary
        | Phase::Restoring
        | Phase::Planned
        | Phase::Unknown => false,
    };
    if fits { Ok(()) } else { Err(format!("{} is {:?} with {:?}", reset.name, reset.phase, reset.partitions)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn offsets(offsets: [i64; PARTITIONS]) -> Offsets {
        offsets.map(|offset| Committed { offset, metadata: "".into() })
    }

    fn told(outcome: &str, before: i64, target: i64) -> Told {
        let planned = |partition: usize| {
            let after = (outcome == "Reset").then_some(target);
            serde_json::from_value(json!({
                "topic": "t", "partition": partition, "before": before, "logStart": 0, "logEnd": 100, "targetOffset": target,
                "after": after, "outcome": outcome,
            }))
            .unwrap()
        };
        let partitions = (0..PARTITIONS).map(planned).collect();
        Told { name: "r".into(), at: Timestamp::UNIX_EPOCH, phase: Phase::Succeeded, marker: "m".into(), partitions }
    }

    fn of(found: &Offsets) -> i64 {
        assert!(found.iter().all(|committed| committed.offset == found[0].offset), "all or none: {found:?}");
        found[0].offset
    }

    #[test]
    fn what_may_have_been_set_is_set_or_not_and_the_next_one_says_which() {
        let before = offsets([50; PARTITIONS]);
        let found = possible(&before, &[told("Unconfirmed", 50, 47)]).unwrap();
        assert_eq!(found.iter().map(of).collect::<Vec<_>>(), [50, 47]);
        let found = possible(&before, &[told("Unconfirmed", 50, 47), told("Reset", 47, 44)]).unwrap();
        assert_eq!(found.iter().map(of).collect::<Vec<_>>(), [44]);
        assert_eq!(found[0][0].metadata, "m");
    }

    #[test]
    fn an_offset_that_was_moved_behind_the_back_of_a_status_is_found() {
        let before = offsets([50; PARTITIONS]);
        assert!(possible(&before, &[told("Reset", 47, 44)]).is_err(), "moved twice");
        assert_eq!(possible(&before, &[told("Planned", 50, 47)]), Ok(vec![before]), "and never: nothing may have moved");
        assert!(is_true_to_itself(&told("Unconfirmed", 50, 47)).is_err() && is_true_to_itself(&told("Reset", 50, 47)).is_ok());
    }
}
