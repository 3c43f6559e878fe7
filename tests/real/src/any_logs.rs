//! Topics at random, from a seed: the same seed and time give the same topic.

use super::{
    generators::random::Random,
    logs::{Cleanup, Ending, PartitionSpec, Step, TopicSpec},
};

const DAY: i64 = 24 * 60 * 60 * 1000;

impl TopicSpec {
    /// Up to 20 partitions, with up to about 200 records. Times are within ten days before `now`, in milliseconds; what expires
    /// is older than a day by an hour or more, and what does not is younger by as much.
    pub fn random(random: &mut Random, cleanup: Cleanup, now: i64) -> Self {
        let partitions = random.within(1..=20);
        let most = (200 / partitions).min(40);
        let partitions = (0..partitions).map(|_| PartitionSpec::random(random, cleanup, now, most)).collect();
        Self { partitions, cleanup }
    }
}

/// Any way to clean up, half of the time none; what expires does so at a day before `now`.
pub fn any_cleanup(random: &mut Random, now: i64) -> Cleanup {
    let nothing = Cleanup::Nothing;
    random.one_of(&[nothing, nothing, nothing, Cleanup::Before(now - DAY), Cleanup::AllButTheNewest, Cleanup::Compact])
}

impl PartitionSpec {
    fn random(random: &mut Random, cleanup: Cleanup, now: i64, most: i64) -> Self {
        if random.percent(10) {
            return Self::default();
        }
        let (mut steps, mut left) = (vec![], random.within(1..=most));
        let expires_first = random.percent(70);
        let total = left;
        while left > 0 {
            let records = random.within(1..=left.min(8));
            // Mostly the old ones come first, as in a log that grows.
            let old = if expires_first { left * 2 > total } else { random.percent(50) };
            let hour = DAY / 24;
            let era = if old { now - 10 * DAY..=now - DAY - hour } else { now - DAY + hour..=now - 60_000 };
            let mut timestamps: Vec<i64> = (0..records).map(|_| random.within(era.clone())).collect();
            if random.percent(50) {
                timestamps.sort_unstable();
            }
            let transaction = match cleanup {
                Cleanup::Compact => None,
                _ if random.percent(25) => Some(random.one_of(&[Ending::Committed, Ending::Aborted, Ending::Open])),
                _ => None,
            };
            steps.push(Step { timestamps, transaction });
            left -= records;
        }
        let deletes = cleanup != Cleanup::Compact && random.percent(25);
        let delete_before = deletes.then(|| random.within(0..=total));
        Self { steps, delete_before }
    }
}
