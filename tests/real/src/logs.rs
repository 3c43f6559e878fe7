//! Topics with a past: batches whose times are out of order, transactions, records that were deleted, expired or compacted away.
//!
//! A [`TopicSpec`] says what happens to a topic; [`build`] makes it happen, knows from Kafka's rules where each log must begin and
//! end then, and returns when it is so. What cleans up is switched on after all is written, and then works once: a topic that was
//! built stays as it is.

use std::{collections::BTreeMap, time::Duration};

use offset_reset_operator::{kafka::GroupAdmin, machine::facts::Bounds};
use rdkafka::producer::{FutureProducer, Producer};

use super::{
    PATIENCE,
    broker::{Broker, Record, blocking, delivered, number, send},
    within,
};

/// A topic's past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// What happens to each partition.
    pub partitions: Vec<PartitionSpec>,
    pub cleanup: Cleanup,
}

/// A partition's past.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionSpec {
    /// What is written, in this order. The first steps of all partitions come before the second ones.
    pub steps: Vec<Step>,
    /// `DeleteRecords` up to here, when all is written; at most to the end. Not where records are compacted: Kafka refuses that.
    pub delete_before: Option<i64>,
}

/// Reports that are written together, each with its timestamp in milliseconds; in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub timestamps: Vec<i64>,
    pub transaction: Option<Ending>,
}

impl Step {
    pub fn batch(timestamps: impl Into<Vec<i64>>) -> Self {
        Self { timestamps: timestamps.into(), transaction: None }
    }

    pub fn transaction(timestamps: impl Into<Vec<i64>>, ending: Ending) -> Self {
        Self { timestamps: timestamps.into(), transaction: Some(ending) }
    }
}

/// What becomes of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Committed,
    Aborted,
    /// It stays open, for a quarter of an hour. All of a [`Broker`]'s are one.
    Open,
}

/// What cleans up when all is written. Everything but `Nothing` has segments as small as can be: one begins with each step whose
/// youngest record is younger than the youngest of the segment's first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    Nothing,
    /// Retention by time: segments go, from the oldest on, until one holds a record from this time on, in milliseconds.
    Before(i64),
    /// Retention by size: all segments but the newest go.
    AllButTheNewest,
    /// Compaction: of all records before the newest segment, only the last of each key stays.
    Compact,
}

/// A topic that was built.
pub struct Built {
    pub topic: String,
    /// Where each partition begins and ends.
    pub bounds: Vec<Bounds>,
    /// Up to where a consumer reads that reads what is committed only: the end, or the first record of an open transaction.
    /// None where that record is before the log start: then some brokers answer with the log start, and others (4.3.1) with an
    /// offset below it.
    pub last_stable: Vec<Option<i64>>,
    /// The records that each partition has, aborted ones too.
    pub records: Vec<Vec<Record>>,
}

/// Builds a topic, and waits until what cleans up has done so.
pub async fn build(broker: &Broker, name: &str, spec: &TopicSpec) -> Built {
    let segments = [("retention.ms", "-1"), ("segment.ms", "1")];
    let at_first = match spec.cleanup {
        Cleanup::Nothing => &segments[..1],
        Cleanup::Before(_) | Cleanup::AllButTheNewest => &segments[..],
        Cleanup::Compact => {
            let plain = |partition: &PartitionSpec| {
                partition.delete_before.is_none() && partition.steps.iter().all(|step| step.transaction.is_none())
            };
            assert!(spec.partitions.iter().all(plain), "what is compacted has no transactions and deletes nothing");
            &[("cleanup.policy", "compact"), ("segment.ms", "1"), ("min.cleanable.dirty.ratio", "0")]
        }
    };
    let topic = broker.topic_with(name, number(spec.partitions.len()), at_first).await;
    let admin = broker.group_admin().await;
    let mut logs = vec![Log::default(); spec.partitions.len()];
    for round in 0..spec.partitions.iter().map(|partition| partition.steps.len()).max().unwrap_or(0) {
        write(broker.producer(), &topic, spec, round, None, &mut logs).await;
        let mut any = false;
        for ending in [Ending::Committed, Ending::Aborted, Ending::Open] {
            any |= transact(broker, &topic, spec, round, ending, &mut logs).await;
        }
        if any {
            // The coordinator marks a transaction's end after it has answered: the next record must come behind the mark.
            wait(broker, admin.as_ref(), &topic, &logs).await;
        }
    }

    let mut deleted = vec![];
    for (partition, (log, spec)) in logs.iter_mut().zip(&spec.partitions).enumerate() {
        if let Some(before) = spec.delete_before.map(|before| before.min(log.end)).filter(|before| *before > 0) {
            log.start = before;
            deleted.push((number(partition), before));
        }
    }
    if !deleted.is_empty() {
        broker.delete_records(&topic, &deleted).await;
    }
    match spec.cleanup {
        Cleanup::Nothing | Cleanup::Compact => {}
        Cleanup::Before(time) => {
            let age = (now() - time).to_string();
            broker.configure(&topic, &[("retention.ms", &age), ("segment.ms", "1")]).await;
        }
        Cleanup::AllButTheNewest => {
            broker.configure(&topic, &[("retention.bytes", "1"), ("retention.ms", "-1"), ("segment.ms", "1")]).await;
        }
    }
    for log in &mut logs {
        log.clean(spec.cleanup);
    }
    wait(broker, admin.as_ref(), &topic, &logs).await;
    let records: Vec<Vec<Record>> = logs.iter().map(Log::kept).collect();
    if spec.cleanup == Cleanup::Compact {
        wait_for_records(broker, &topic, &records).await;
    }
    let last_stable = logs.iter().map(Log::last_stable).collect();
    Built { topic, bounds: logs.iter().map(Log::bounds).collect(), last_stable, records }
}

async fn wait(broker: &Broker, admin: &dyn GroupAdmin, topic: &str, logs: &[Log]) {
    broker.wait_for_bounds(admin, topic, &logs.iter().map(Log::bounds).collect::<Vec<_>>()).await;
}

/// Compaction moves no bound, so the records themselves have to be looked at.
async fn wait_for_records(broker: &Broker, topic: &str, wished: &[Vec<Record>]) {
    let mut last = vec![];
    let waiting = async {
        loop {
            last = broker.records(topic, wished.len()).await;
            if last == wished {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = within(PATIENCE, waiting).await.is_some();
    assert!(in_time, "{topic} never had the records {wished:?}; its last: {last:?}");
}

/// Writes one step of each partition: those that are in such a transaction, or in none. Which partitions have one.
async fn write(
    producer: &FutureProducer,
    topic: &str,
    spec: &TopicSpec,
    round: usize,
    transaction: Option<Ending>,
    logs: &mut [Log],
) -> Vec<usize> {
    let (mut sent, mut expected, mut partitions) = (vec![], vec![], vec![]);
    for (partition, steps) in spec.partitions.iter().map(|partition| &partition.steps).enumerate() {
        let Some(step) = steps.get(round).filter(|step| step.transaction == transaction) else { continue };
        let mut timestamps = step.timestamps.clone();
        if spec.cleanup != Cleanup::Nothing {
            // Where a segment begins must not depend on whether librdkafka makes one batch of them or two.
            timestamps.sort_unstable_by_key(|timestamp| std::cmp::Reverse(*timestamp));
            timestamps[1..].reverse();
        }
        let records = logs[partition].append(&timestamps, transaction == Some(Ending::Open));
        expected.extend(records.iter().map(|entry| (number(partition), entry.record.offset)));
        let keyed: Vec<_> = records.iter().map(|entry| (entry.record.timestamp, Some(entry.key.clone()))).collect();
        sent.extend(send(producer, topic, number(partition), &keyed));
        partitions.push(partition);
    }
    assert_eq!(delivered(sent).await, expected, "nobody else writes to {topic}");
    partitions
}

/// Writes one step of each partition in one transaction, and ends that as is wished. Whether there were any such steps.
async fn transact(broker: &Broker, topic: &str, spec: &TopicSpec, round: usize, ending: Ending, logs: &mut [Log]) -> bool {
    let mut steps = spec.partitions.iter().filter_map(|partition| partition.steps.get(round));
    if !steps.any(|step| step.transaction == Some(ending)) {
        return false;
    }
    if ending == Ending::Open {
        write(broker.open_transaction().await, topic, spec, round, Some(ending), logs).await;
        return true;
    }
    let producer = broker.transactions().await;
    blocking(&producer, Producer::begin_transaction).await;
    let partitions = write(&producer, topic, spec, round, Some(ending), logs).await;
    if ending == Ending::Committed {
        blocking(&producer, |producer| producer.commit_transaction(PATIENCE)).await;
    } else {
        blocking(&producer, |producer| producer.abort_transaction(PATIENCE)).await;
    }
    for partition in partitions {
        logs[partition].mark(now());
    }
    true
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// What a partition must look like, by Kafka's rules.
#[derive(Clone, Debug, Default)]
struct Log {
    start: i64,
    end: i64,
    first_open: Option<i64>,
    entries: Vec<Entry>,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug)]
struct Entry {
    record: Record,
    key: String,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    base: i64,
    /// The youngest record of its first batch: what it is rolled by.
    first: i64,
    youngest: i64,
}

/// The topics' `segment.ms`.
const SEGMENT_MS: i64 = 1;

impl Log {
    fn bounds(&self) -> Bounds {
        Bounds { start: self.start, end: self.end }
    }

    fn append(&mut self, timestamps: &[i64], open: bool) -> &[Entry] {
        let old = self.entries.len();
        self.roll(timestamps.iter().copied().max().expect("a step has records"));
        if open {
            self.first_open.get_or_insert(self.end);
        }
        for timestamp in timestamps {
            let record = Record { offset: self.end, timestamp: *timestamp };
            self.entries.push(Entry { record, key: key(self.end) });
            self.end += 1;
        }
        &self.entries[old..]
    }

    /// The mark of a transaction's end takes an offset of its own.
    fn mark(&mut self, now: i64) {
        self.roll(now);
        self.end += 1;
    }

    fn roll(&mut self, youngest: i64) {
        match self.segments.last_mut() {
            Some(segment) if youngest - segment.first <= SEGMENT_MS => segment.youngest = segment.youngest.max(youngest),
            _ => self.segments.push(Segment { base: self.end, first: youngest, youngest }),
        }
    }

    fn clean(&mut self, cleanup: Cleanup) {
        let newest = self.segments.last().map_or(0, |segment| segment.base);
        match cleanup {
            Cleanup::Nothing => {}
            Cleanup::Before(time) => {
                let kept = self.segments.iter().find(|segment| segment.youngest >= time);
                self.start = self.start.max(kept.map_or(self.end, |segment| segment.base));
            }
            Cleanup::AllButTheNewest => self.start = self.start.max(newest),
            Cleanup::Compact => {
                let old = self.entries.iter().filter(|entry| entry.record.offset < newest);
                let last: BTreeMap<_, _> = old.map(|entry| (entry.key.clone(), entry.record.offset)).collect();
                self.entries.retain(|entry| entry.record.offset >= newest || last[&entry.key] == entry.record.offset);
            }
        }
    }

    fn last_stable(&self) -> Option<i64> {
        let stable = self.first_open.unwrap_or(self.end);
        (stable >= self.start).then_some(stable)
    }

    fn kept(&self) -> Vec<Record> {
        self.entries.iter().map(|entry| entry.record).filter(|record| record.offset >= self.start).collect()
    }
}

/// Some keys come once, the others again and again, so that compaction leaves gaps everywhere.
fn key(offset: i64) -> String {
    match offset % 5 {
        0 => format!("once-{offset}"),
        _ => format!("again-{}", offset % 3),
    }
}
