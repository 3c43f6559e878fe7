//! The offsets of partitions by specification: the start and the end of the log, and by time.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use rdkafka::consumer::Consumer;

use super::{
    batches::{self, PARTITIONS_PER_READ},
    session::{Native, Session},
};
use crate::{
    kafka::{
        diagnostics::error_codes,
        ffi::{self, Handle, Isolation, Leaders, RawError},
    },
    machine::facts::{KafkaError, PerPartition, TopicPartition},
};

/// Kafka's code for a partition without a leader.
const LEADER_NOT_AVAILABLE: i32 = 5;

fn leaderless() -> RawError {
    let text = "no broker with a replica of it is up (kafka-topics.sh --describe --unavailable-partitions lists such partitions)";
    RawError { code: LEADER_NOT_AVAILABLE, text: text.into() }
}

/// Offsets by specification, for every partition.
///
/// Requests the leaders first, and then offsets only for partitions that have one. This avoids a
/// crash: when librdkafka does not know every leader of a request (2.12.1,
/// `rd_kafka_topic_partition_list_query_leaders_async`), it continues the request on the calling
/// thread and, if new metadata arrives at that moment, on its own thread too, and one frees what
/// the other uses. The remaining risk is a leader that is lost in the microseconds between the two
/// requests.
pub(super) fn list_offsets(
    session: &Session,
    asked: &BTreeMap<TopicPartition, i64>,
    isolation: Isolation,
    limit: Duration,
) -> Result<PerPartition<(i64, i64)>, KafkaError> {
    let topics: BTreeSet<&str> = asked.keys().map(|at| at.topic.as_str()).collect();
    let ask = |native: &Native| {
        let mut found: HashMap<&str, Result<Leaders, RawError>> = HashMap::new();
        for topic in &topics {
            found.insert(topic, ffi::topic_leaders(Handle::new(native.client().native_ptr()), topic, limit)?);
        }
        let (mut led, mut answers) = (vec![], vec![]);
        for (at, spec) in asked {
            let why = match found.get(at.topic.as_str()) {
                Some(Ok(leaders)) => match leaders.get(&at.partition) {
                    Some(true) => {
                        led.push((at.clone(), *spec));
                        continue;
                    }
                    Some(false) => leaderless(),
                    None => RawError::of_code(ffi::UNKNOWN_TOPIC),
                },
                Some(Err(raw)) => raw.clone(),
                None => RawError::of_code(ffi::UNKNOWN_TOPIC),
            };
            answers.push((at.clone(), Err(why)));
        }
        let chunks: Vec<&[(TopicPartition, i64)]> = led.chunks(PARTITIONS_PER_READ).collect();
        let mut found = ffi::list_offsets(Handle::new(native.client().native_ptr()), &chunks, isolation, limit)?;
        // A chunk without any answer has lost its leaders meanwhile.
        let known: HashSet<&TopicPartition> = found.iter().map(|(at, _)| at).collect();
        let lost: Vec<_> = led.iter().filter(|(at, _)| !known.contains(at)).map(|(at, _)| at.clone()).collect();
        found.extend(lost.into_iter().map(|at| (at, Err(leaderless()))));
        answers.extend(found);
        Ok(answers)
    };
    let answers = session.ask(None, ask).map_err(|raw: RawError| error_codes::error(&raw, "offsets"))?;
    Ok(batches::complete(asked.keys(), answers))
}
