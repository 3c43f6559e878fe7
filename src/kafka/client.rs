//! The port over librdkafka: chunked, bounded, an answer for every partition, and never a wait on an async thread.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::{
    GroupAdmin,
    config::Context,
    errors,
    ffi::{self, Answers, Fault, Handle},
};
use crate::machine::world::{Bounds, Committed, Group, KafkaError, KafkaErrorKind, PerPartition, TimestampMatch, TopicPartition};

/// How long one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);

/// How long it may take until any broker answers at all.
const REACH_LIMIT: Duration = Duration::from_secs(5);
const REACH_ATTEMPT: Duration = Duration::from_secs(1);

/// Partitions per question: librdkafka searches its lists linearly, so one large question costs more than many small ones.
const PARTITIONS_PER_QUESTION: usize = 400;

/// Bytes of one commit. The broker appends a commit as one batch of at most 1 MB, and refuses all of it when it does not fit.
const BYTES_PER_COMMIT: usize = 300_000;

/// What a committed partition weighs in the broker's log beside its topic, the group's name and its metadata.
const BYTES_PER_PARTITION: usize = 100;

/// A group's coordinator may be moving, or be created for the first time. Tried again this often, each time after a pause.
const COORDINATOR_ATTEMPTS: u32 = 20;
const COORDINATOR_PAUSE: Duration = Duration::from_millis(250);

const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// One client, for every group of a cluster.
pub(super) struct Client {
    /// Only absent while it is being closed.
    consumer: Option<Arc<BaseConsumer<Context>>>,
}

impl Client {
    pub fn new(consumer: BaseConsumer<Context>) -> Self {
        Self { consumer: Some(Arc::new(consumer)) }
    }

    /// Runs a blocking call to its end on a thread of its own, also when nobody waits for it any more.
    async fn blocking<T, F>(&self, call: F) -> Result<T, KafkaError>
    where
        T: Send + 'static,
        F: FnOnce(&BaseConsumer<Context>) -> Result<T, KafkaError> + Send + 'static,
    {
        let Some(consumer) = self.consumer.clone() else {
            return Err(KafkaError::new(KafkaErrorKind::Unreachable, "the client is being closed"));
        };
        let run = move || {
            reach(&consumer)?;
            call(&consumer)
        };
        match tokio::task::spawn_blocking(run).await {
            Ok(result) => result,
            Err(error) => {
                Err(KafkaError::new(KafkaErrorKind::Other, format!("the call to librdkafka ended abnormally: {error}")))
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Closing waits for librdkafka's threads; an async thread must not.
        if let (Some(consumer), Ok(runtime)) = (self.consumer.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn_blocking(move || drop(consumer));
        }
    }
}

fn handle(consumer: &BaseConsumer<Context>) -> Handle {
    Handle::new(consumer.client().native_ptr())
}

/// Whether any broker answers, found out within seconds; the message says why not.
fn reach(consumer: &BaseConsumer<Context>) -> Result<(), KafkaError> {
    let begin = Instant::now();
    loop {
        if ffi::ping(handle(consumer), REACH_ATTEMPT).is_ok() {
            return Ok(());
        }
        hear(consumer);
        let cause = consumer.client().context().last_cause();
        // With a cause there is no point in the whole wait; a few attempts see a broker that is just being restarted.
        let limit = if cause.is_some() { REACH_ATTEMPT * 2 } else { REACH_LIMIT };
        if begin.elapsed() >= limit {
            let brokers = consumer.client().context().brokers();
            let why = cause.unwrap_or_else(|| format!("silence for {} seconds", limit.as_secs()));
            return Err(KafkaError::new(KafkaErrorKind::Unreachable, format!("no broker of {brokers} answers: {why}")));
        }
    }
}

/// Takes what librdkafka has to say out of its queue, to the client's context: causes of failures come no other way.
fn hear(consumer: &BaseConsumer<Context>) {
    // With no time at all the queue says nothing; with a millisecond it says what it has.
    while consumer.poll(Duration::from_millis(1)).is_some() {}
}

/// Asks again while the coordinator is being found.
fn with_coordinator<T>(mut ask: impl FnMut() -> Result<T, Fault>, is_settled: impl Fn(&T) -> bool) -> Result<T, Fault> {
    let mut attempt = 1;
    loop {
        let answer = ask();
        let settled = match &answer {
            Ok(value) => is_settled(value),
            Err(fault) => errors::kind(fault.code) != KafkaErrorKind::Coordinator,
        };
        if settled || attempt >= COORDINATOR_ATTEMPTS {
            return answer;
        }
        attempt += 1;
        std::thread::sleep(COORDINATOR_PAUSE);
    }
}

fn no_coordinator_error<T>(answers: &Answers<T>) -> bool {
    let is_coordinator = |fault: &Fault| errors::kind(fault.code) == KafkaErrorKind::Coordinator;
    !answers.iter().any(|(_, answer)| answer.as_ref().is_err_and(is_coordinator))
}

/// An answer for every partition that was asked about, whatever the broker left out or added.
fn complete<'a, T>(asked: impl Iterator<Item = &'a TopicPartition>, answers: Answers<T>) -> PerPartition<T> {
    let mut found: BTreeMap<TopicPartition, Result<T, Fault>> = answers.into_iter().collect();
    let mut complete = BTreeMap::new();
    for at in asked {
        if complete.contains_key(at) {
            continue;
        }
        let answer = match found.remove(at) {
            Some(Ok(value)) => Ok(value),
            Some(Err(fault)) => Err(errors::error(&fault, "")),
            None => Err(KafkaError::new(KafkaErrorKind::Other, "the broker did not answer for it")),
        };
        complete.insert(at.clone(), answer);
    }
    complete
}

fn list_offsets(
    consumer: &BaseConsumer<Context>,
    questions: &[(TopicPartition, i64)],
) -> Result<PerPartition<(i64, i64)>, KafkaError> {
    let chunks: Vec<&[(TopicPartition, i64)]> = questions.chunks(PARTITIONS_PER_QUESTION).collect();
    let answers =
        ffi::list_offsets(handle(consumer), &chunks, REQUEST_LIMIT).map_err(|fault| errors::error(&fault, "offsets"))?;
    Ok(complete(questions.iter().map(|(at, _)| at), answers))
}

/// Splits a commit by size; the order stays, nothing is lost.
fn commit_chunks<'a>(group: &str, offsets: &'a [(TopicPartition, Committed)]) -> Vec<&'a [(TopicPartition, Committed)]> {
    let mut chunks = vec![];
    let (mut begin, mut bytes) = (0, 0);
    for (index, (at, committed)) in offsets.iter().enumerate() {
        let weight = BYTES_PER_PARTITION + group.len() + at.topic.len() + committed.metadata.len();
        if bytes + weight > BYTES_PER_COMMIT && index > begin {
            chunks.push(&offsets[begin..index]);
            (begin, bytes) = (index, 0);
        }
        bytes += weight;
    }
    if begin < offsets.len() {
        chunks.push(&offsets[begin..]);
    }
    chunks
}

fn unique(partitions: &[TopicPartition]) -> Vec<TopicPartition> {
    let mut partitions = partitions.to_vec();
    partitions.sort();
    partitions.dedup();
    partitions
}

#[async_trait]
impl GroupAdmin for Client {
    async fn describe_group(&self, group: &str) -> Result<Group, KafkaError> {
        let group = group.to_owned();
        self.blocking(move |consumer| {
            match with_coordinator(|| ffi::describe_group(handle(consumer), &group, REQUEST_LIMIT), |_| true) {
                Ok(found) => Ok(Group::Found(found)),
                Err(fault) if errors::kind(fault.code) == KafkaErrorKind::GroupNotFound => Ok(Group::NotFound),
                Err(fault) => Err(errors::error(&fault, &format!("group {group}"))),
            }
        })
        .await
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<i32>, KafkaError> {
        let topic = topic.to_owned();
        self.blocking(move |consumer| {
            let fault = |code: i32, text: String| errors::error(&Fault { code, text }, &format!("topic {topic}"));
            let metadata = consumer.fetch_metadata(Some(&topic), REQUEST_LIMIT).map_err(|error| {
                let code = error.rdkafka_error_code().map_or(0, |code| code as i32);
                fault(code, error.to_string())
            })?;
            let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
                return Err(fault(3, "unknown topic".into()));
            };
            if let Some(error) = found.error() {
                return Err(fault(error as i32, rdkafka::error::RDKafkaErrorCode::from(error).to_string()));
            }
            let mut partitions: Vec<i32> = found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect();
            partitions.sort_unstable();
            Ok(partitions)
        })
        .await
    }

    async fn bounds(&self, partitions: &[TopicPartition]) -> Result<PerPartition<Bounds>, KafkaError> {
        let partitions = unique(partitions);
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.blocking(move |consumer| {
            let question = |spec: i64| partitions.iter().map(|at| (at.clone(), spec)).collect::<Vec<_>>();
            let starts = list_offsets(consumer, &question(EARLIEST))?;
            let mut ends = list_offsets(consumer, &question(LATEST))?;
            let bounds = starts.into_iter().map(|(at, start)| {
                let end = ends
                    .remove(&at)
                    .unwrap_or_else(|| Err(KafkaError::new(KafkaErrorKind::Other, "the broker did not answer for its end")));
                let bounds = match (start, end) {
                    (Ok((start, _)), Ok((end, _))) if 0 <= start && start <= end => Ok(Bounds { start, end }),
                    (Ok((start, _)), Ok((end, _))) => {
                        let message = format!("the broker's answer makes no sense: the log starts at {start} and ends at {end}");
                        Err(KafkaError::new(KafkaErrorKind::Leader, message))
                    }
                    (Err(error), _) | (_, Err(error)) => Err(error),
                };
                (at, bounds)
            });
            Ok(bounds.collect())
        })
        .await
    }

    async fn offsets_for_times(
        &self,
        times: &[(TopicPartition, i64)],
    ) -> Result<PerPartition<Option<TimestampMatch>>, KafkaError> {
        // Negative times are sentinels of the protocol: "-1" would silently mean the end.
        let (times, negative): (Vec<_>, Vec<_>) = times.iter().cloned().partition(|(_, time)| *time >= 0);
        let mut answers: PerPartition<Option<TimestampMatch>> = negative
            .into_iter()
            .map(|(at, time)| (at, Err(KafkaError::new(KafkaErrorKind::Other, format!("{time} is no time")))))
            .collect();
        if times.is_empty() {
            return Ok(answers);
        }
        let found = self.blocking(move |consumer| list_offsets(consumer, &times)).await?;
        answers.extend(found.into_iter().map(|(at, answer)| {
            // No record that young is answered with a negative offset.
            (at, answer.map(|(offset, timestamp)| (offset >= 0).then_some(TimestampMatch { offset, timestamp })))
        }));
        Ok(answers)
    }

    async fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<PerPartition<Option<Committed>>, KafkaError> {
        let (group, partitions) = (group.to_owned(), unique(partitions));
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.blocking(move |consumer| {
            let mut answers = vec![];
            for chunk in partitions.chunks(PARTITIONS_PER_QUESTION) {
                let ask = || ffi::list_committed(handle(consumer), &group, Some(chunk), REQUEST_LIMIT);
                answers.extend(
                    with_coordinator(ask, no_coordinator_error)
                        .map_err(|fault| errors::error(&fault, &format!("group {group}")))?,
                );
            }
            Ok(complete(partitions.iter(), answers))
        })
        .await
    }

    async fn all_committed(&self, group: &str) -> Result<PerPartition<Option<Committed>>, KafkaError> {
        let group = group.to_owned();
        self.blocking(move |consumer| {
            let ask = || ffi::list_committed(handle(consumer), &group, None, REQUEST_LIMIT);
            match with_coordinator(ask, no_coordinator_error) {
                Ok(answers) => {
                    let asked: Vec<TopicPartition> = answers.iter().map(|(at, _)| at.clone()).collect();
                    Ok(complete(asked.iter(), answers))
                }
                Err(fault) if errors::kind(fault.code) == KafkaErrorKind::GroupNotFound => Ok(BTreeMap::new()),
                Err(fault) => Err(errors::error(&fault, &format!("group {group}"))),
            }
        })
        .await
    }

    async fn commit(&self, group: &str, offsets: &[(TopicPartition, Committed)]) -> Result<PerPartition<()>, KafkaError> {
        // The broker would take a negative offset, and every consumer would read it as "nothing committed".
        let (offsets, negative): (Vec<_>, Vec<_>) = offsets.iter().cloned().partition(|(_, committed)| committed.offset >= 0);
        let mut answers: PerPartition<()> = negative
            .into_iter()
            .map(|(at, committed)| {
                (at, Err(KafkaError::new(KafkaErrorKind::Other, format!("{} is no offset; it was not sent", committed.offset))))
            })
            .collect();
        if offsets.is_empty() {
            return Ok(answers);
        }
        let group = group.to_owned();
        let committed = self.blocking(move |consumer| {
            let mut answers = vec![];
            for chunk in commit_chunks(&group, &offsets) {
                // These codes mean that nothing was written for any partition of the chunk.
                let ask = || ffi::alter(handle(consumer), &group, chunk, REQUEST_LIMIT);
                answers.extend(
                    with_coordinator(ask, no_coordinator_error)
                        .map_err(|fault| errors::error(&fault, &format!("group {group}")))?,
                );
            }
            Ok(complete(offsets.iter().map(|(at, _)| at), answers))
        });
        answers.extend(committed.await?);
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_commit_outgrows_its_limit_and_no_partition_is_lost(sizes in prop::collection::vec((1..250usize, 0..4_096usize), 0..400)) {
            let offsets: Vec<_> = sizes
                .iter()
                .enumerate()
                .map(|(index, (topic, metadata))| {
                    let at = TopicPartition::new("t".repeat(*topic), i32::try_from(index).unwrap());
                    (at, Committed { offset: 1, metadata: "m".repeat(*metadata) })
                })
                .collect();
            let chunks = commit_chunks("group", &offsets);
            let weight = |chunk: &&[(TopicPartition, Committed)]| {
                chunk.iter().map(|(at, c)| BYTES_PER_PARTITION + 5 + at.topic.len() + c.metadata.len()).sum::<usize>()
            };
            prop_assert!(chunks.iter().all(|chunk| !chunk.is_empty() && weight(chunk) <= BYTES_PER_COMMIT));
            prop_assert_eq!(chunks.concat(), offsets);
        }
    }

    #[test]
    fn a_partition_that_was_not_answered_for_has_an_error() {
        let asked = [TopicPartition::new("a", 0), TopicPartition::new("a", 1), TopicPartition::new("a", 1)];
        let answers = complete(asked.iter(), vec![(asked[0].clone(), Ok(7)), (TopicPartition::new("other", 0), Ok(8))]);
        assert_eq!(answers.len(), 2);
        assert_eq!(answers[&asked[0]], Ok(7));
        assert!(answers[&asked[1]].is_err());
    }
}
