//! PURE: what may be asked, in which portions, and an answer for everything that was asked.

use std::collections::BTreeMap;

use crate::{
    kafka::{
        diagnostics::error_codes,
        ffi::{Answers, Fault},
    },
    machine::facts::{Committed, KafkaError, KafkaErrorKind, PerPartition, TopicPartition},
};

/// Partitions per question: librdkafka searches its lists linearly, so one large question costs more than many small ones.
pub(super) const PARTITIONS_PER_QUESTION: usize = 400;

/// Partitions per commit, for the same reason. Fewer requests weigh more here, for each is one append of the broker.
const PARTITIONS_PER_COMMIT: usize = 2_000;

/// Bytes of one commit. The broker appends a commit as one batch of at most 1 MB, and refuses all of it when it does not fit.
const BYTES_PER_COMMIT: usize = 300_000;

/// What a committed partition weighs in the broker's log beside its topic, the group's name and its metadata.
const BYTES_PER_PARTITION: usize = 100;

/// Kafka's own limit to a topic's name.
const LONGEST_TOPIC: usize = 249;

/// The fault of what never reaches librdkafka.
const REFUSED: i32 = -186;

/// What is asked, one entry per partition, and the answers that are known without asking.
pub(super) struct Questions<Q, A> {
    pub asked: BTreeMap<TopicPartition, Q>,
    pub answered: PerPartition<A>,
}

impl<Q: PartialEq, A> Questions<Q, A> {
    /// Sorts out what cannot be asked: partitions that cannot exist, questions that `refuse` refuses, and two different
    /// questions about the same partition. Each has an error as its answer. The same question twice is one question.
    pub fn new(questions: impl IntoIterator<Item = (TopicPartition, Q)>, refuse: impl Fn(&Q) -> Option<String>) -> Self {
        let mut sorted = Self { asked: BTreeMap::new(), answered: BTreeMap::new() };
        for (at, question) in questions {
            let refusal = impossible(&at)
                .map(|why| (KafkaErrorKind::UnknownTopicOrPartition, why))
                .or_else(|| refuse(&question).map(|why| (KafkaErrorKind::Other, why)))
                .or_else(|| match sorted.asked.get(&at) {
                    Some(other) if *other != question => Some((KafkaErrorKind::Other, "asked for twice, differently".into())),
                    _ => None,
                });
            if let Some((kind, why)) = refusal {
                sorted.asked.remove(&at);
                let error = KafkaError::new(kind, format!("{at}: {why}; it was not sent"));
                sorted.answered.insert(at, Err(error));
            } else if !sorted.answered.contains_key(&at) {
                sorted.asked.insert(at, question);
            }
        }
        sorted
    }
}

/// Why a partition cannot exist.
fn impossible(at: &TopicPartition) -> Option<String> {
    if at.partition < 0 { Some("partitions are numbered from 0".into()) } else { impossible_topic(&at.topic) }
}

/// Why a topic cannot exist. Asking librdkafka for the offsets of such a one costs the whole call: it waits for a leader.
pub(super) fn impossible_topic(topic: &str) -> Option<String> {
    if topic.is_empty() {
        Some("a topic has a name".into())
    } else if topic.len() > LONGEST_TOPIC {
        Some(format!("a topic's name has at most {LONGEST_TOPIC} characters"))
    } else if topic == "." || topic == ".." || !topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        Some("a topic's name is made of letters, digits, '.', '_' and '-'".into())
    } else {
        None
    }
}

/// A group's name that can be sent.
pub(super) fn possible_group(group: &str) -> Result<(), Fault> {
    if group.is_empty() {
        Err(Fault { code: REFUSED, text: "a group has a name".into() })
    } else if group.contains('\0') {
        Err(Fault { code: REFUSED, text: "a group's name holds no NUL character".into() })
    } else {
        Ok(())
    }
}

/// Splits a commit by size; the order stays, nothing is lost.
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

/// The answer for a partition for which there is none.
pub(in crate::kafka) fn not_answered(at: &TopicPartition) -> KafkaError {
    KafkaError::new(KafkaErrorKind::Timeout, format!("{at}: the broker did not answer for it"))
}

/// From a connection of which no client can be made.
pub(in crate::kafka) fn no_client(fault: &Fault) -> KafkaError {
    KafkaError::new(KafkaErrorKind::Other, format!("no Kafka client can be made: {}", fault.text))
}

/// An answer for every partition that was asked about, whatever the broker left out or added.
pub(super) fn complete<'a, T>(asked: impl Iterator<Item = &'a TopicPartition>, answers: Answers<T>) -> PerPartition<T> {
    let mut found: BTreeMap<TopicPartition, Result<T, Fault>> = answers.into_iter().collect();
    asked
        .map(|at| {
            let answer = match found.remove(at) {
                Some(Ok(value)) => Ok(value),
                Some(Err(fault)) => Err(error_codes::error(&fault, &at.to_string())),
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
                .map(|(topic, metadata)| (tp(&"t".repeat(*topic), 0), Committed { offset: 1, metadata: "m".repeat(*metadata) }))
                .collect();
            offsets.extend(std::iter::repeat_n((tp("t", 1), Committed { offset: 2, metadata: String::new() }), small));
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
    fn a_partition_that_was_not_answered_for_has_an_error() {
        let asked = [tp("a", 0), tp("a", 1)];
        let answers = complete(asked.iter(), vec![(asked[0].clone(), Ok(7)), (tp("other", 0), Ok(8))]);
        assert_eq!(answers.len(), 2);
        assert_eq!(answers[&asked[0]], Ok(7));
        assert_eq!(answers[&asked[1]].as_ref().unwrap_err().message, "a-1: the broker did not answer for it");
    }

    #[test]
    fn what_cannot_be_asked_is_answered_at_once_and_keeps_nothing_else_from_being_asked() {
        let questions = [(tp("a", 0), 5), (tp("a", 0), 5), (tp("a", 1), 5), (tp("a", 1), 6), (tp("a", 1), 5), (tp("a", 2), -1)];
        let impossible = [tp("a", -1), tp("", 0), tp("a\0b", 0), tp("a b", 0), tp("..", 0), tp(&"a".repeat(250), 0)];
        let all = questions.into_iter().chain(impossible.clone().map(|at| (at, 5)));
        let sorted = Questions::<i64, ()>::new(all, |time| (*time < 0).then(|| format!("{time} is no time")));
        assert_eq!(sorted.asked, BTreeMap::from([(tp("a", 0), 5)]));
        assert_eq!(sorted.answered.len(), 8);
        assert_eq!(sorted.answered[&tp("a", 2)].as_ref().unwrap_err().message, "a-2: -1 is no time; it was not sent");
        assert_eq!(sorted.answered[&tp("a", 1)].as_ref().unwrap_err().kind, KafkaErrorKind::Other);
        for at in impossible {
            assert_eq!(sorted.answered[&at].as_ref().unwrap_err().kind, KafkaErrorKind::UnknownTopicOrPartition);
        }
    }
}
