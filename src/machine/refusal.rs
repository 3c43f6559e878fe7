//! Why there is no plan.

use std::collections::{HashMap, HashSet};

use jiff::SignedDuration;

use super::{
    facts::{Denial, KafkaError, KafkaErrorKind, TopicPartition},
    text::{LONGEST_SUMMARY, Message, count, name_partitions, verb},
};
use crate::api::{KafkaSpec, Reason};

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason that the status gives.
    pub reason: Reason,
    /// What is wrong and what to do about it.
    pub message: Message,
    /// Whether the same attempt may succeed a little later.
    pub transient: bool,
    /// How long it may take until it is gone, when that is longer than planning waits otherwise.
    pub patience: Option<SignedDuration>,
    /// What is waited for in the meantime, where `message` is what follows when the wait was in vain.
    pub waiting: Option<Message>,
}

impl Refusal {
    /// A refusal that will not heal by itself.
    #[must_use]
    pub fn lasting(reason: Reason, message: impl Into<Message>) -> Self {
        Self { reason, message: message.into(), transient: false, patience: None, waiting: None }
    }

    /// A refusal that may be gone a little later.
    #[must_use]
    pub fn passing(reason: Reason, message: impl Into<Message>) -> Self {
        Self { reason, message: message.into(), transient: true, patience: None, waiting: None }
    }

    /// The refusal that follows from the API server's.
    #[must_use]
    pub fn from_denial(denial: &Denial, reason: Reason, message: impl Into<Message>) -> Self {
        Self { transient: matches!(denial, Denial::NotAllowed(_)), ..Self::lasting(reason, message) }
    }

    /// The refusal that follows from an error of Kafka about something, such as "topic orders".
    #[must_use]
    pub fn from_kafka(error: &KafkaError, about: &str) -> Self {
        // The error's message may name its subject already, with or without the word for its kind.
        let name = about.rsplit_once(' ').map_or(about, |(_, name)| name);
        let said = match error.message.strip_prefix(name) {
            _ if about.is_empty() || error.message.starts_with(about) => error.message.clone(),
            Some(rest) if rest.starts_with(": ") => format!("{about}{rest}"),
            Some(_) | None => format!("{about}: {}", error.message),
        };
        Self::of_kind(error, Message::new(kafka_summary(error.kind)).detail(said))
    }

    /// The same for an error of the whole cluster: where no broker answers, with the addresses that were tried.
    #[must_use]
    pub fn of_cluster(error: &KafkaError, about: &str, kafka: &KafkaSpec) -> Self {
        let refusal = Self::from_kafka(error, about);
        if error.kind != KafkaErrorKind::Unreachable {
            return refusal;
        }
        let message = no_answer_at(kafka).detail(refusal.message.details().unwrap_or_default());
        Self { message, ..refusal }
    }

    fn of_kind(error: &KafkaError, message: Message) -> Self {
        Self { reason: kafka_reason(error.kind), message, transient: error.kind.is_transient(), patience: None, waiting: None }
    }
}

/// No broker answers: with their addresses as far as they fit, or with the first one. None are known where a binding has them.
fn no_answer_at(kafka: &KafkaSpec) -> Message {
    let nowhere = kafka_summary(KafkaErrorKind::Unreachable);
    let Some(all) = &kafka.bootstrap_servers else { return Message::new(nowhere) };
    let whole = format!("{nowhere} at {all}");
    match all.split_once(',') {
        _ if whole.chars().count() <= LONGEST_SUMMARY => Message::new(whole),
        Some((first, rest)) => {
            let more = count(rest.split(',').count(), "more address", "more addresses");
            Message::naming([first], |[first]| format!("{nowhere} at {first} and {more}"))
        }
        None => Message::naming([all], |[only]| format!("{nowhere} at {only}")),
    }
}

/// Refusals of partitions: equal ones become one, however many partitions it is about.
#[derive(Debug, Default)]
pub(in crate::machine) struct PartitionRefusals {
    found: Vec<(Problem, Vec<TopicPartition>)>,
    /// Where a problem is in `found`: there may be as many as partitions, so nothing here searches.
    places: HashMap<Problem, usize>,
    /// The partitions of each problem, by its place.
    known: HashSet<(usize, TopicPartition)>,
}

/// What is wrong with a partition, as the rest of a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::machine) struct Problem {
    /// The reason that the status gives.
    pub reason: Reason,
    /// The predicate for one partition, such as "has no committed offset".
    pub one: String,
    /// The predicate for several partitions, such as "have no committed offset".
    pub many: String,
    /// What else there is to say, such as Kafka's own message.
    pub detail: String,
    /// What to do.
    pub advice: String,
    /// Whether it may be gone a little later.
    pub transient: bool,
}

impl Problem {
    /// A problem that will not heal by itself.
    pub fn lasting(reason: Reason, one: &str, many: &str, advice: &str) -> Self {
        let (one, many, advice) = (one.to_owned(), many.to_owned(), advice.to_owned());
        Self { reason, one, many, detail: String::new(), advice, transient: false }
    }

    /// An error of Kafka about one partition.
    pub fn from_kafka(error: &KafkaError, at: &TopicPartition) -> Self {
        let said = error.message.strip_prefix(&format!("{at}: ")).unwrap_or(&error.message).to_owned();
        let (one, many) = match error.kind {
            KafkaErrorKind::Leader => ("has no leader", "have no leader"),
            KafkaErrorKind::UnsupportedForMessageFormat => {
                ("cannot be looked up by timestamp", "cannot be looked up by timestamp")
            }
            KafkaErrorKind::UnknownTopicOrPartition => ("does not exist", "do not exist"),
            KafkaErrorKind::Authorization => ("may not be read", "may not be read"),
            KafkaErrorKind::UnstableOffset => ("has a pending transactional commit", "have a pending transactional commit"),
            _ => ("could not be read from Kafka", "could not be read from Kafka"),
        };
        let transient = error.kind.is_transient();
        Self { detail: said, transient, ..Self::lasting(kafka_reason(error.kind), one, many, "") }
    }

    /// The broker's answer did not mention the partition. Unknown is never absent: the broker is
    /// asked again.
    pub fn unanswered() -> Self {
        let (one, many) = ("is missing from the broker's answer", "are missing from the broker's answer");
        Self { transient: true, ..Self::lasting(Reason::KafkaError, one, many, "") }
    }
}

/// What to do about a partition without a committed offset.
pub(in crate::machine) const NAME_ANOTHER_TARGET: &str =
    "Give such partitions an offset, a timestamp or a position instead, and create the reset under a new name";

impl PartitionRefusals {
    /// Adds a problem of one partition.
    pub fn add(&mut self, at: TopicPartition, problem: Problem) {
        let place = *self.places.entry(problem).or_insert_with_key(|problem| {
            self.found.push((problem.clone(), vec![]));
            self.found.len() - 1
        });
        if self.known.insert((place, at.clone())) {
            self.found[place].1.push(at);
        }
    }

    /// One refusal for each kind of problem.
    pub fn into_refusals(self) -> Vec<Refusal> {
        let refusal = |(problem, partitions): (Problem, Vec<TopicPartition>)| {
            let predicate = verb(&partitions, &problem.one, &problem.many);
            let named = name_partitions(&partitions);
            let message = match &partitions[..] {
                [only] => {
                    Message::naming([&only.topic], |[topic]| format!("Partition {} of topic {topic} {predicate}", only.partition))
                }
                many => Message::new(format!("{} {predicate}", count(many.len(), "partition", "partitions")))
                    .detail(format!("These {predicate}: {named}")),
            };
            let message = message.detail(problem.detail).advice(problem.advice);
            Refusal { reason: problem.reason, message, transient: problem.transient, patience: None, waiting: None }
        };
        self.found.into_iter().map(refusal).collect()
    }
}

/// What an error of Kafka of this kind means, in one sentence; its own message says the rest.
#[must_use]
pub(in crate::machine) fn kafka_summary(kind: KafkaErrorKind) -> &'static str {
    match kind {
        KafkaErrorKind::Unreachable => "No broker answers",
        KafkaErrorKind::Timeout => "A broker did not answer in time",
        KafkaErrorKind::SecretUnavailable => "A Secret for the connection to Kafka cannot be read, or lacks a key",
        KafkaErrorKind::SecretInvalid => "A Secret for the connection to Kafka holds something unusable",
        KafkaErrorKind::FileUnavailable => "The ConfigMap of spec.resetsFrom cannot be read, or lacks the key",
        KafkaErrorKind::Tls => "TLS with a broker or the token endpoint failed",
        KafkaErrorKind::TokenEndpoint => "The token endpoint returned no token",
        KafkaErrorKind::NotAllowed => "The token endpoint is not on the operator's list",
        KafkaErrorKind::Authentication => "The operator's credentials for Kafka were not accepted",
        KafkaErrorKind::Authorization => "The broker does not allow an operation that the reset needs",
        KafkaErrorKind::Coordinator => "The group's coordinator is not available",
        KafkaErrorKind::UnknownMember => "The group has members",
        KafkaErrorKind::UnknownTopicOrPartition => "A topic or a partition does not exist",
        KafkaErrorKind::Leader => "A partition has no leader",
        KafkaErrorKind::GroupNotFound => "The broker does not know the group",
        KafkaErrorKind::UnsupportedGroupType => "The group is not a consumer group, so this operator cannot reset it",
        KafkaErrorKind::OtherCluster => "spec.kafka leads to another Kafka cluster than when the plan was made",
        KafkaErrorKind::UnsupportedForMessageFormat => "The broker cannot look up timestamps in a partition",
        KafkaErrorKind::UnstableOffset => "A transactional commit of the group is still pending",
        KafkaErrorKind::MetadataTooLarge => "The broker does not take metadata of this length with a commit",
        KafkaErrorKind::Server => "A broker failed while it worked on a request",
        KafkaErrorKind::Other => "Kafka answered with an error",
    }
}

/// The reason for a kind of error.
#[must_use]
pub fn kafka_reason(kind: KafkaErrorKind) -> Reason {
    match kind {
        KafkaErrorKind::Unreachable | KafkaErrorKind::Timeout => Reason::BrokerUnreachable,
        KafkaErrorKind::SecretUnavailable | KafkaErrorKind::SecretInvalid => Reason::SecretUnavailable,
        KafkaErrorKind::FileUnavailable => Reason::ResetsFromUnavailable,
        KafkaErrorKind::Tls => Reason::TlsFailed,
        KafkaErrorKind::TokenEndpoint => Reason::TokenEndpointFailed,
        KafkaErrorKind::NotAllowed => Reason::TokenEndpointNotAllowed,
        KafkaErrorKind::Authentication => Reason::AuthenticationFailed,
        KafkaErrorKind::Authorization => Reason::AuthorizationFailed,
        KafkaErrorKind::UnknownTopicOrPartition => Reason::TopicNotFound,
        KafkaErrorKind::Leader => Reason::NoLeader,
        KafkaErrorKind::GroupNotFound => Reason::GroupNotFound,
        KafkaErrorKind::UnsupportedGroupType => Reason::UnsupportedGroupType,
        KafkaErrorKind::OtherCluster => Reason::ClusterChanged,
        KafkaErrorKind::UnsupportedForMessageFormat => Reason::TimestampsUnsupported,
        KafkaErrorKind::UnknownMember => Reason::GroupNotEmpty,
        KafkaErrorKind::UnstableOffset => Reason::TransactionPending,
        KafkaErrorKind::Coordinator | KafkaErrorKind::MetadataTooLarge | KafkaErrorKind::Server | KafkaErrorKind::Other => {
            Reason::KafkaError
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn add(refusals: &mut PartitionRefusals, topic: &str, partitions: impl IntoIterator<Item = i32>, problem: &Problem) {
        for partition in partitions {
            refusals.add(TopicPartition::new(topic, partition), problem.clone());
        }
    }

    #[rstest]
    #[case::one(Some("k:9092".to_owned()), "No broker answers at k:9092")]
    #[case::all_that_fit(Some("a:9092,b:9092".to_owned()), "No broker answers at a:9092,b:9092")]
    #[case::the_first_of_many(
        Some(format!("kafka-0:9092{}", ",kafka-x.shop.svc:9092".repeat(5))), "No broker answers at kafka-0:9092 and 5 more addresses"
    )]
    #[case::one_that_does_not_fit(
        Some(format!("{}:9092", "k".repeat(100))),
        &format!("No broker answers at {}…{}:9092", "k".repeat(52), "k".repeat(21))
    )]
    #[case::of_a_binding(None, "No broker answers")]
    fn where_no_broker_answers_the_first_sentence_has_the_address(#[case] servers: Option<String>, #[case] expected: &str) {
        let kafka = KafkaSpec { bootstrap_servers: servers, ..crate::machine::tests::request().kafka };
        let error = KafkaError::new(KafkaErrorKind::Unreachable, "connection refused");
        let refusal = Refusal::of_cluster(&error, "the commit", &kafka);
        assert_eq!(refusal.message.summary(), expected);
        assert!(refusal.message.full().contains("the commit: connection refused"), "{}", refusal.message.full());
        let other = KafkaError::new(KafkaErrorKind::Timeout, "no answer within 10 s");
        assert_eq!(Refusal::of_cluster(&other, "the commit", &kafka), Refusal::from_kafka(&other, "the commit"));
    }

    #[test]
    fn sixty_partitions_with_the_same_problem_are_one_sentence() {
        let mut refusals = PartitionRefusals::default();
        let without =
            Problem::lasting(Reason::NoCommittedOffset, "has no committed offset", "have no committed offset", "Name one");
        add(&mut refusals, "orders", (2..=5).chain(10..=34).chain(40..71), &without);
        add(&mut refusals, "payments", [7], &Problem::unanswered());
        let refusals = refusals.into_refusals();
        let said: Vec<String> = refusals.iter().map(|refusal| refusal.message.full()).collect();
        assert_eq!(
            said,
            [
                "60 partitions have no committed offset. These have no committed offset: partitions 2-5, 10-34 and 40-70 of topic \
                 orders. Name one",
                "Partition 7 of topic payments is missing from the broker's answer",
            ]
        );
        assert_eq!(refusals.iter().map(|refusal| refusal.transient).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn the_same_error_of_two_partitions_is_said_once() {
        let mut refusals = PartitionRefusals::default();
        for partition in 0..2 {
            let at = TopicPartition::new("orders", partition);
            let error = KafkaError::new(KafkaErrorKind::Leader, format!("{at}: leader not available (code 5)"));
            refusals.add(at.clone(), Problem::from_kafka(&error, &at));
        }
        let [refusal] = &refusals.into_refusals()[..] else { panic!("one") };
        assert_eq!((refusal.reason, refusal.transient), (Reason::NoLeader, true));
        assert_eq!(
            refusal.message.full(),
            "2 partitions have no leader. These have no leader: partitions 0-1 of topic orders. leader not available (code 5)"
        );
    }
}
