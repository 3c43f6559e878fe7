//! The port over librdkafka: chunked, bounded, an answer for every partition, and never a wait on an async thread.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use rdkafka::consumer::Consumer;

use super::{
    authorized_operations,
    batches::{self, PARTITIONS_PER_QUESTION, Questions},
    describe_group::{self, Described},
    session::{Native, Session},
};
use crate::{
    kafka::{
        connection::Connection,
        diagnostics::error_codes,
        ffi::{self, Answers, Fault, Handle, Isolation, Leaders},
        port::{Allowance, GroupAdmin},
        remove_members,
    },
    machine::facts::{
        Access, Bounds, Committed, Group, GroupMember, KafkaError, KafkaErrorKind, PerPartition, TimestampMatch, TopicPartition,
    },
};

/// How long one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);

/// A commit that has less time than this is not sent.
const SHORTEST_COMMIT: Duration = Duration::from_millis(100);

const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// `LEADER_NOT_AVAILABLE`.
const LEADERLESS: i32 = 5;

/// librdkafka's code for a request that ran out of time.
const TIMED_OUT: i32 = -185;

/// One client, for every group of a cluster.
pub(in crate::kafka) struct Client {
    /// Only absent while it is being closed.
    session: Option<Arc<Session>>,
    /// For what librdkafka has no call for.
    connection: Connection,
    allowance: Allowance,
}

impl Client {
    pub fn new(connection: &Connection, allowance: Allowance) -> Result<Self, Fault> {
        Ok(Self { session: Some(Arc::new(Session::open(connection)?)), connection: connection.clone(), allowance })
    }

    /// Runs blocking calls to their end on a thread of their own, also when nobody waits for them any more.
    async fn blocking<T, F>(&self, calls: F) -> Result<T, KafkaError>
    where
        T: Send + 'static,
        F: FnOnce(&Session) -> Result<T, KafkaError> + Send + 'static,
    {
        let Some(session) = self.session.clone() else {
            return Err(closing());
        };
        match tokio::task::spawn_blocking(move || calls(&session)).await {
            Ok(result) => result,
            Err(error) => {
                // Nobody knows how far it has come.
                Err(KafkaError::new(KafkaErrorKind::Timeout, format!("the call to librdkafka ended abnormally: {error}")))
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Closing waits for librdkafka's threads; an async thread must not.
        if let (Some(session), Ok(runtime)) = (self.session.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn_blocking(move || drop(session));
        }
    }
}

fn closing() -> KafkaError {
    KafkaError::new(KafkaErrorKind::Unreachable, "the client is being closed")
}

fn handle(native: &Native) -> Handle {
    Handle::new(native.client().native_ptr())
}

fn about(group: &str) -> String {
    format!("group {group}")
}

fn no_coordinator_fault<T>(answers: &Answers<T>) -> bool {
    coordinator_fault(answers).is_none()
}

fn coordinator_fault<T>(answers: &Answers<T>) -> Option<&Fault> {
    answers.iter().filter_map(|(_, answer)| answer.as_ref().err()).find(|fault| error_codes::is_coordinator(fault))
}

fn leaderless() -> Fault {
    let text =
        "has no leader: no broker that has a copy of it is up (kafka-topics.sh --describe --unavailable-partitions lists such)";
    Fault { code: LEADERLESS, text: text.into() }
}

/// The answers to one kind of question about offsets, for every partition.
///
/// The leaders are asked for first, and only a partition that has one is asked about. That is no courtesy: when librdkafka
/// does not know every leader of a question (2.12.1, `rd_kafka_topic_partition_list_query_leaders_async`), it goes on with it
/// on the thread that asks and, if news of the cluster arrive at that moment, on its own thread too; the one frees what the
/// other uses. What is left of that is a leader that is lost in the microseconds between the two questions.
fn list_offsets(
    session: &Session,
    asked: &BTreeMap<TopicPartition, i64>,
    isolation: Isolation,
) -> Result<PerPartition<(i64, i64)>, KafkaError> {
    let topics: BTreeSet<&str> = asked.keys().map(|at| at.topic.as_str()).collect();
    let ask = |native: &Native| {
        let mut found: HashMap<&str, Result<Leaders, Fault>> = HashMap::new();
        for topic in &topics {
            found.insert(topic, ffi::topic_leaders(handle(native), topic, REQUEST_LIMIT)?);
        }
        let (mut led, mut answers) = (vec![], vec![]);
        for (at, question) in asked {
            let why = match found.get(at.topic.as_str()) {
                Some(Ok(leaders)) => match leaders.get(&at.partition) {
                    Some(true) => {
                        led.push((at.clone(), *question));
                        continue;
                    }
                    Some(false) => leaderless(),
                    None => ffi::fault_of(ffi::UNKNOWN),
                },
                Some(Err(fault)) => fault.clone(),
                None => ffi::fault_of(ffi::UNKNOWN),
            };
            answers.push((at.clone(), Err(why)));
        }
        let chunks: Vec<&[(TopicPartition, i64)]> = led.chunks(PARTITIONS_PER_QUESTION).collect();
        let mut found = ffi::list_offsets(handle(native), &chunks, isolation, REQUEST_LIMIT)?;
        // A chunk without any answer: its leaders were lost meanwhile.
        let known: HashSet<&TopicPartition> = found.iter().map(|(at, _)| at).collect();
        let lost: Vec<_> = led.iter().filter(|(at, _)| !known.contains(at)).map(|(at, _)| at.clone()).collect();
        found.extend(lost.into_iter().map(|at| (at, Err(leaderless()))));
        answers.extend(found);
        Ok(answers)
    };
    let answers = session.ask(None, ask).map_err(|fault: Fault| error_codes::error(&fault, "offsets"))?;
    Ok(batches::complete(asked.keys(), answers))
}

/// Commits chunk by chunk. Once a chunk stays without any answer, or the coordinator could not take it after all attempts, the ones after it
/// are not sent: consumers wait at zero meanwhile.
///
/// Every request asks first whether it is still allowed, and has no more time than that: librdkafka goes by the same clock, and
/// what waits in there for a coordinator or a connection when the process is frozen is out of time when it goes on.
fn commit(
    session: &Session,
    allowance: &Allowance,
    group: &str,
    offsets: &[(TopicPartition, Committed)],
) -> Result<PerPartition<()>, KafkaError> {
    let mut answers: PerPartition<()> = BTreeMap::new();
    let mut silence: Option<KafkaError> = None;
    for chunk in batches::commit_chunks(group, offsets) {
        let asked = || chunk.iter().map(|(at, _)| at);
        if let Some(silence) = &silence {
            let error =
                KafkaError::new(silence.kind, format!("not sent after an earlier part of the commit: {}", silence.message));
            answers.extend(asked().map(|at| (at.clone(), Err(error.clone()))));
            continue;
        }
        // After a coordinator's code it is sent again: writing the same twice changes nothing.
        let ask = |native: &Native| match allowance() {
            left if left < SHORTEST_COMMIT => {
                Err(Fault { code: TIMED_OUT, text: "not sent: this operator does not lead for certain any more".into() })
            }
            left => ffi::alter(handle(native), group, chunk, left.min(REQUEST_LIMIT)),
        };
        match session.with_coordinator(group, ask, no_coordinator_fault) {
            Ok(found) => {
                silence = coordinator_fault(&found).map(|fault| error_codes::error(fault, &about(group)));
                answers.extend(batches::complete(asked(), found));
            }
            Err(fault) => {
                let error = error_codes::error(&fault, &about(group));
                if answers.is_empty() {
                    return Err(error);
                }
                answers.extend(asked().map(|at| (at.clone(), Err(error.clone()))));
                silence = error_codes::is_silence(fault.code).then_some(error);
            }
        }
    }
    Ok(answers)
}

#[async_trait]
impl GroupAdmin for Client {
    async fn cluster_id(&self) -> Result<Option<String>, KafkaError> {
        self.blocking(|session| {
            session
                .ask(None, |native| Ok(ffi::cluster_id(handle(native), REQUEST_LIMIT)))
                .map_err(|fault| error_codes::error(&fault, "the cluster"))
        })
        .await
    }

    async fn describe_group(&self, group: &str) -> Result<Group, KafkaError> {
        let group = group.to_owned();
        self.blocking(move |session| {
            let describe = |native: &Native| describe_group::describe(native, &group, REQUEST_LIMIT);
            let described = batches::possible_group(&group).and_then(|()| session.with_coordinator(&group, describe, |_| true));
            match described {
                Ok(Described::Consumers(found)) => Ok(found),
                Ok(Described::Others(others)) => {
                    let message = format!("{}: {}", about(&group), others.explain());
                    Err(KafkaError::new(KafkaErrorKind::UnsupportedGroupType, message))
                }
                Err(fault) => Err(error_codes::error(&fault, &about(&group))),
            }
        })
        .await
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<i32>, KafkaError> {
        if let Some(why) = batches::impossible_topic(topic) {
            return Err(KafkaError::new(KafkaErrorKind::UnknownTopicOrPartition, format!("topic {topic:?}: {why}")));
        }
        let topic = topic.to_owned();
        self.blocking(move |session| {
            session
                .ask(None, |native| ffi::topic_leaders(handle(native), &topic, REQUEST_LIMIT).flatten())
                // Ascending, as the port promises.
                .map(|leaders| leaders.into_keys().collect())
                .map_err(|fault| error_codes::error(&fault, &format!("topic {topic}")))
        })
        .await
    }

    async fn bounds(&self, partitions: &[TopicPartition]) -> Result<PerPartition<Bounds>, KafkaError> {
        let Questions { asked, mut answered } = Questions::new(partitions.iter().map(|at| (at.clone(), EARLIEST)), |_| None);
        if asked.is_empty() {
            return Ok(answered);
        }
        let bounds = self.blocking(move |session| {
            // One after the other: the start that is read first is never above the end that is read later.
            let starts = list_offsets(session, &asked, Isolation::Uncommitted)?;
            let ends = list_offsets(session, &asked.into_keys().map(|at| (at, LATEST)).collect(), Isolation::Uncommitted)?;
            // Both have an answer for each, in the same order.
            let both = starts.into_iter().zip(ends.into_values());
            Ok(both.map(|((at, start), end)| (at.clone(), bounds_of(&at, start, end))).collect::<PerPartition<Bounds>>())
        });
        answered.extend(bounds.await?);
        Ok(answered)
    }

    async fn stable_ends(&self, partitions: &[TopicPartition]) -> Result<PerPartition<i64>, KafkaError> {
        let Questions { asked, mut answered } = Questions::new(partitions.iter().map(|at| (at.clone(), LATEST)), |_| None);
        if asked.is_empty() {
            return Ok(answered);
        }
        let ends = self.blocking(move |session| list_offsets(session, &asked, Isolation::Committed)).await?;
        answered.extend(ends.into_iter().map(|(at, end)| {
            let end = end.and_then(|(end, _)| stable_end_of(&at, end));
            (at, end)
        }));
        Ok(answered)
    }

    async fn offsets_for_times(
        &self,
        times: &[(TopicPartition, i64)],
    ) -> Result<PerPartition<Option<TimestampMatch>>, KafkaError> {
        // Negative times are sentinels of the protocol: "-1" would silently mean the end.
        let Questions { asked, mut answered } =
            Questions::new(times.iter().cloned(), |time| (*time < 0).then(|| format!("{time} is no time")));
        if asked.is_empty() {
            return Ok(answered);
        }
        let found = self.blocking(move |session| list_offsets(session, &asked, Isolation::Uncommitted)).await?;
        answered.extend(found.into_iter().map(|(at, answer)| {
            // No record that young is answered with a negative offset.
            (at, answer.map(|(offset, timestamp)| (offset >= 0).then_some(TimestampMatch { offset, timestamp })))
        }));
        Ok(answered)
    }

    async fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<PerPartition<Option<Committed>>, KafkaError> {
        let Questions { asked, mut answered } = Questions::new(partitions.iter().map(|at| (at.clone(), ())), |()| None);
        if asked.is_empty() {
            return Ok(answered);
        }
        let group = group.to_owned();
        let found = self.blocking(move |session| {
            let partitions: Vec<TopicPartition> = asked.into_keys().collect();
            let portions: Vec<Option<&[TopicPartition]>> = partitions.chunks(PARTITIONS_PER_QUESTION).map(Some).collect();
            let ask = |native: &Native| ffi::list_committed(handle(native), &group, &portions, REQUEST_LIMIT);
            let answers = batches::possible_group(&group)
                .and_then(|()| session.with_coordinator(&group, ask, no_coordinator_fault))
                .map_err(|fault| error_codes::error(&fault, &about(&group)))?;
            Ok(batches::complete(partitions.iter(), answers))
        });
        answered.extend(found.await?);
        Ok(answered)
    }

    async fn all_committed(&self, group: &str) -> Result<PerPartition<Option<Committed>>, KafkaError> {
        let group = group.to_owned();
        self.blocking(move |session| {
            let ask = |native: &Native| ffi::list_committed(handle(native), &group, &[None], REQUEST_LIMIT);
            let found =
                batches::possible_group(&group).and_then(|()| session.with_coordinator(&group, ask, no_coordinator_fault));
            match found {
                Ok(answers) => {
                    let asked: Vec<TopicPartition> = answers.iter().map(|(at, _)| at.clone()).collect();
                    Ok(batches::complete(asked.iter(), answers))
                }
                Err(fault) if error_codes::kind(fault.code) == KafkaErrorKind::GroupNotFound => Ok(BTreeMap::new()),
                Err(fault) => Err(error_codes::error(&fault, &about(&group))),
            }
        })
        .await
    }

    async fn commit(&self, group: &str, offsets: &[(TopicPartition, Committed)]) -> Result<PerPartition<()>, KafkaError> {
        // The broker would take a negative offset, and every consumer would read it as "nothing committed".
        let Questions { asked, mut answered } = Questions::new(offsets.iter().cloned(), |to: &Committed| {
            (to.offset < 0).then(|| format!("{} is no offset", to.offset))
        });
        if asked.is_empty() {
            return Ok(answered);
        }
        let (group, allowance) = (group.to_owned(), Arc::clone(&self.allowance));
        let committed = self.blocking(move |session| {
            batches::possible_group(&group).map_err(|fault| error_codes::error(&fault, &about(&group)))?;
            commit(session, &allowance, &group, &asked.into_iter().collect::<Vec<_>>())
        });
        answered.extend(committed.await?);
        Ok(answered)
    }

    async fn remove_members(&self, group: &str, members: &[GroupMember]) -> Result<(), KafkaError> {
        let session = self.session.as_ref().ok_or_else(closing)?;
        let token = session.token().await.map_err(|fault| error_codes::error(&fault, &about(group)))?;
        let evicted = remove_members::remove_members(&self.connection, token.as_deref(), group, members).await;
        if let (Some(token), Err(KafkaError { kind: KafkaErrorKind::Authentication, .. })) = (&token, &evicted) {
            session.refused(token).await;
        }
        evicted
    }

    async fn access(&self, group: &str, topics: &[String]) -> Result<Access, KafkaError> {
        let group = group.to_owned();
        let mut topics_read: BTreeMap<String, Option<bool>> = topics.iter().map(|topic| (topic.clone(), None)).collect();
        self.blocking(move |session| {
            let in_words = |fault: Fault| error_codes::error(&fault, &about(&group));
            let ask = |native: &Native| ffi::group_operations(handle(native), &group, REQUEST_LIMIT);
            batches::possible_group(&group).map_err(in_words)?;
            let group_read =
                authorized_operations::may_read(session.with_coordinator(&group, ask, |_| true)).map_err(in_words)?;
            let possible: Vec<&str> =
                topics_read.keys().map(String::as_str).filter(|topic| batches::impossible_topic(topic).is_none()).collect();
            if !possible.is_empty() {
                let in_words = |fault: Fault| error_codes::error(&fault, "topics");
                let ask = |native: &Native| ffi::topic_operations(handle(native), &possible, REQUEST_LIMIT);
                for (topic, answer) in session.ask(None, ask).map_err(in_words)? {
                    let may_read = authorized_operations::may_read(answer).map_err(in_words)?;
                    topics_read.entry(topic).and_modify(|known| *known = may_read);
                }
            }
            Ok(Access { group_read, topics_read })
        })
        .await
    }
}

/// A last stable offset, which is no sentinel.
fn stable_end_of(at: &TopicPartition, end: i64) -> Result<i64, KafkaError> {
    if end >= 0 {
        return Ok(end);
    }
    Err(KafkaError::new(KafkaErrorKind::Leader, format!("{at}: the broker's answer makes no sense: the log ends at {end}")))
}

/// The bounds of a partition from the answers for its start and its end.
fn bounds_of(
    at: &TopicPartition,
    start: Result<(i64, i64), KafkaError>,
    end: Result<(i64, i64), KafkaError>,
) -> Result<Bounds, KafkaError> {
    let ((start, _), (end, _)) = (start?, end?);
    if 0 <= start && start <= end {
        return Ok(Bounds { start, end });
    }
    let message = format!("{at}: the broker's answers make no sense together: the log starts at {start} and ends at {end}");
    Err(KafkaError::new(KafkaErrorKind::Leader, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_that_contradict_each_other_are_an_error_and_not_a_log() {
        let at = TopicPartition::new("orders", 0);
        assert_eq!(bounds_of(&at, Ok((2, -1)), Ok((2, -1))), Ok(Bounds { start: 2, end: 2 }));
        for (start, end) in [(3, 2), (-1, 2), (-1001, -1001)] {
            assert!(bounds_of(&at, Ok((start, -1)), Ok((end, -1))).is_err());
        }
    }
}
