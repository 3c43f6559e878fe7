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
        ffi::{self, Answers, Handle, Isolation, Leaders, RawError},
    },
    machine::facts::{KafkaError, PerPartition, TopicPartition},
};

/// Kafka's code for a partition without a leader.
const LEADER_NOT_AVAILABLE: i32 = 5;

fn leaderless() -> RawError {
    let text = "no broker with a replica of it is up (kafka-topics.sh --describe --unavailable-partitions lists such partitions)";
    RawError { code: LEADER_NOT_AVAILABLE, text: text.into() }
}

/// Offsets by specification: for each map of partitions one map of answers, for the same partitions. The maps are requested in
/// their order.
///
/// Requests the leaders first, of all topics at once, and then offsets only for partitions that have one. This avoids a
/// crash: when librdkafka does not know every leader of a request (2.12.1,
/// `rd_kafka_topic_partition_list_query_leaders_async`), it continues the request on the calling
/// thread and, if new metadata arrives at that moment, on its own thread too, and one frees what
/// the other uses. The remaining risk is a leader that is lost between the requests.
///
/// So the leaders are not kept from one call to the next, though that costs a metadata request (20 ms for 10,000 partitions): when
/// the connection to a broker is lost, librdkafka at once refreshes all known topics by itself (`rd_kafka_broker_fail`, "broker
/// down"), and no call reports it. A leader that is lost and metadata that arrives then come together.
pub(super) fn list_offsets<const N: usize>(
    session: &Session,
    specified: [&BTreeMap<TopicPartition, i64>; N],
    isolation: Isolation,
    limit: Duration,
) -> Result<[PerPartition<(i64, i64)>; N], KafkaError> {
    let topics: BTreeSet<&str> = specified.iter().flat_map(|asked| asked.keys()).map(|at| at.topic.as_str()).collect();
    let topics: Vec<&str> = topics.into_iter().collect();
    let ask = |native: &Native| {
        let handle = Handle::new(native.client().native_ptr());
        let found: HashMap<String, Result<Leaders, RawError>> = ffi::topic_leaders(handle, &topics, limit)?.into_iter().collect();
        let mut answers = vec![];
        for asked in specified {
            answers.push(with_leaders(handle, asked, &found, isolation, limit)?);
        }
        Ok(answers)
    };
    let answers = session.ask(None, ask).map_err(|raw: RawError| error_codes::error(&raw, "offsets"))?;
    let mut answers = answers.into_iter();
    Ok(specified.map(|asked| batches::complete(asked.keys(), answers.next().unwrap_or_default())))
}

fn with_leaders(
    handle: Handle,
    asked: &BTreeMap<TopicPartition, i64>,
    found: &HashMap<String, Result<Leaders, RawError>>,
    isolation: Isolation,
    limit: Duration,
) -> Result<Answers<(i64, i64)>, RawError> {
    let (mut led, mut answers) = (vec![], vec![]);
    for (at, spec) in asked {
        let why = match found.get(&at.topic) {
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
    let found = ffi::list_offsets(handle, &chunks, isolation, limit)?;
    // A chunk without any answer has lost its leaders meanwhile.
    let known: HashSet<&TopicPartition> = found.iter().map(|(at, _)| at).collect();
    let lost: Vec<_> = led.iter().filter(|(at, _)| !known.contains(at)).map(|(at, _)| at.clone()).collect();
    answers.extend(lost.into_iter().map(|at| (at, Err(leaderless()))));
    answers.extend(found);
    Ok(answers)
}
