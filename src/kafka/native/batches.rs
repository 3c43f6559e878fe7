//! PURE: checks requests, splits them into batches, and completes the answers.

use std::collections::BTreeMap;

use crate::{
    kafka::{
        diagnostics::error_codes,
        ffi::{Answers, RawError},
    },
    machine::facts::{Committed, KafkaError, KafkaErrorKind, PerPartition, TopicPartition},
};

/// Partitions per read request: librdkafka searches its lists linearly, so one large request costs
/// more than many small ones.
pub(super) const PARTITIONS_PER_READ: usize = 400;

/// Topics per request for their configuration, of which each answer has some three kilobytes.
pub(super) const TOPICS_PER_READ: usize = 100;

/// Partitions per commit, for the same reason. Higher, because each commit is one append on the
/// broker.
pub(super) const PARTITIONS_PER_COMMIT: usize = 2_000;

/// Bytes per commit. The broker appends a commit as one batch of at most 1 MB, and refuses a larger
/// one as a whole.
const BYTES_PER_COMMIT: usize = 300_000;

/// The size of a committed partition in the broker's log, in bytes, without its topic, the group's
/// name and the metadata.
const BYTES_PER_PARTITION: usize = 100;

/// Kafka's limit for the length of a topic's name.
const LONGEST_TOPIC: usize = 249;

/// A request by partition, and the answers that are known without sending it.
pub(super) struct Batch<Q, A> {
    pub asked: BTreeMap<TopicPartition, Q>,
    pub answered: PerPartition<A>,
}

impl<Q: PartialEq, A> Batch<Q, A> {
    /// Answers with an error, without sending it: a partition that cannot exist, an entry that
    /// `refuse` refuses, and two different entries for one partition. Equal entries for one
    /// partition are one entry.
    pub fn new(entries: impl IntoIterator<Item = (TopicPartition, Q)>, refuse: impl Fn(&Q) -> Option<String>) -> Self {
        let mut sorted = Self { asked: BTreeMap::new(), answered: BTreeMap::new() };
        for (at, entry) in entries {
            let refusal = impossible(&at)
                .map(|why| (KafkaErrorKind::UnknownTopicOrPartition, why))
                .or_else(|| refuse(&entry).map(|why| (KafkaErrorKind::Other, why)))
                .or_else(|| match sorted.asked.get(&at) {
                    Some(other) if *other != entry => {
                        Some((KafkaErrorKind::Other, "it is in the request twice, with different values".into()))
                    }
                    _ => None,
                });
            if let Some((kind, why)) = refusal {
                sorted.asked.remove(&at);
                let error = KafkaError::new(kind, format!("{at}: {why}; it was not sent"));
                sorted.answered.insert(at, Err(error));
            } else if !sorted.answered.contains_key(&at) {
                sorted.asked.insert(at, entry);
            }
        }
        sorted
    }
}

/// Why a partition cannot exist.
fn impossible(at: &TopicPartition) -> Option<String> {
    if at.partition < 0 { Some("partitions are numbered from 0".into()) } else { impossible_topic(&at.topic) }
}

/// Why a topic cannot exist. For its offsets librdkafka would wait for a leader until the whole
/// call times out.
pub(super) fn impossible_topic(topic: &str) -> Option<String> {
    if topic.is_empty() {
        Some("a topic's name is not empty".into())
    } else if topic.len() > LONGEST_TOPIC {
        Some(format!("a topic's name has at most {LONGEST_TOPIC} characters"))
    } else if topic == "." || topic == ".." || !topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        Some("a topic's name consists of letters, digits, '.', '_' and '-'".into())
    } else {
        None
    }
}

/// Checks that a group's name can be sent.
pub(super) fn possible_group(group: &str) -> Result<(), RawError> {
    if group.is_empty() {
        Err(RawError::invalid("a group's name is not empty"))
    } else if group.contains('\0') {
        Err(RawError::invalid("a group's name has no NUL character"))
    } else {
        Ok(())
    }
}

/// Splits a commit by size, in its order.
pub(super) fn commit_chunks<'a>(
    group: &str,
    offsets: &'a [(TopicPartition, Committed)],
) -> Vec<&'a [(TopicPartition, Committed)]> {
    let mut chunks = vec![];
    let (mut begin, mut bytes) = (0, 0);
    for (index, (at, committed)) in offsets.iter().enumerate() {
        let weight = BYTES_PER_PARTITION + group.len() + at.topic.len() + committed.metadata.len();
        let full = bytes + weight > BYTES_PER_COMMIT || index - begin >= PARTITIONS_PER_COMMIT;
        if full && index > begin {
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

/// The error of a partition without an answer.
pub(in crate::kafka) fn not_answered(at: &TopicPartition) -> KafkaError {
    KafkaError::new(KafkaErrorKind::Timeout, format!("{at}: the broker did not answer for it"))
}

/// The error of a connection for which librdkafka creates no client.
pub(in crate::kafka) fn no_client(raw: &RawError) -> KafkaError {
    KafkaError::new(KafkaErrorKind::Other, format!("cannot create a Kafka client: {}", raw.text))
}

/// An answer for each partition of the request and for no other, whatever the broker left out or
/// added.
pub(super) fn complete<'a, T>(asked: impl Iterator<Item = &'a TopicPartition>, answers: Answers<T>) -> PerPartition<T> {
    let mut found: BTreeMap<TopicPartition, Result<T, RawError>> = answers.into_iter().collect();
    asked
        .map(|at| {
            let answer = match found.remove(at) {
                Some(Ok(value)) => Ok(value),
                Some(Err(raw)) => Err(error_codes::error(&raw, &at.to_string())),
                None => Err(not_answered(at)),
            };
            (at.clone(), answer)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tp(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition::new(topic, partition)
    }

    proptest! {
        #[test]
        fn no_commit_outgrows_its_limit_and_no_partition_is_lost(
            sizes in prop::collection::vec((1..250usize, 0..4_096usize), 0..400),
            small in 0..5_000usize,
        ) {
            let mut offsets: Vec<_> = sizes
                .iter()
                .map(|(topic, metadata)| (tp(&"t".repeat(*topic), 0), Committed { offset: 1, metadata: "m".repeat(*metadata).into() }))
                .collect();
            offsets.extend(std::iter::repeat_n((tp("t", 1), Committed { offset: 2, metadata: "".into() }), small));
            let chunks = commit_chunks("group", &offsets);
            let weight = |chunk: &&[(TopicPartition, Committed)]| {
                chunk.iter().map(|(at, c)| BYTES_PER_PARTITION + 5 + at.topic.len() + c.metadata.len()).sum::<usize>()
            };
            prop_assert!(chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= PARTITIONS_PER_COMMIT));
            prop_assert!(chunks.iter().all(|chunk| weight(chunk) <= BYTES_PER_COMMIT));
            prop_assert_eq!(chunks.concat(), offsets);
        }
    }

    #[test]
    fn a_partition_without_an_answer_has_an_error() {
        let asked = [tp("a", 0), tp("a", 1)];
        let answers = complete(asked.iter(), vec![(asked[0].clone(), Ok(7)), (tp("other", 0), Ok(8))]);
        assert_eq!(answers.len(), 2);
        assert_eq!(answers[&asked[0]], Ok(7));
        assert_eq!(answers[&asked[1]].as_ref().unwrap_err().message, "a-1: the broker did not answer for it");
    }

    #[test]
    fn impossible_entries_are_answered_at_once_and_do_not_keep_others_from_being_sent() {
        let entries = [(tp("a", 0), 5), (tp("a", 0), 5), (tp("a", 1), 5), (tp("a", 1), 6), (tp("a", 1), 5), (tp("a", 2), -1)];
        let impossible = [tp("a", -1), tp("", 0), tp("a\0b", 0), tp("a b", 0), tp("..", 0), tp(&"a".repeat(250), 0)];
        let all = entries.into_iter().chain(impossible.clone().map(|at| (at, 5)));
        let sorted = Batch::<i64, ()>::new(all, |time| (*time < 0).then(|| format!("{time} is not a time")));
        assert_eq!(sorted.asked, BTreeMap::from([(tp("a", 0), 5)]));
        assert_eq!(sorted.answered.len(), 8);
        assert_eq!(sorted.answered[&tp("a", 2)].as_ref().unwrap_err().message, "a-2: -1 is not a time; it was not sent");
        assert_eq!(sorted.answered[&tp("a", 1)].as_ref().unwrap_err().kind, KafkaErrorKind::Other);
        for at in impossible {
            assert_eq!(sorted.answered[&at].as_ref().unwrap_err().kind, KafkaErrorKind::UnknownTopicOrPartition);
        }
    }
}
