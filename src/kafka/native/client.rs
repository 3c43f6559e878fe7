//! The port over librdkafka: in batches, bounded in time, with an answer for every partition, and
//! without blocking an async thread.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;

use super::{
    authorized_operations::{self, DELETE, READ},
    batches::{self, Batch, PARTITIONS_PER_READ, TOPICS_PER_READ},
    commit::{REQUEST_LIMIT, about, commit, delete, handle, without_coordinator_error},
    describe_group::{self, Described},
    list_offsets::list_offsets,
    other_group_types::OtherType,
    session::{Native, Session},
};
use crate::{
    kafka::{
        connection::Connection,
        diagnostics::error_codes,
        ffi::{self, Isolation, RawError},
        listed_groups,
        port::{Allowance, GroupAdmin, TopicConfigs},
        remove_members,
    },
    machine::facts::{
        Access, Bounds, Committed, Group, GroupMember, KafkaError, KafkaErrorKind, PerPartition, TimestampMatch, TopicConfig,
        TopicPartition,
    },
};

/// The most committed offsets of a group, in all topics: each takes some 200 bytes in the operator.
const MAX_COMMITTED: usize = 300_000;

/// `ListOffsets`' timestamp for the log start offset.
const EARLIEST: i64 = -2;

/// `ListOffsets`' timestamp for the end of the log.
const LATEST: i64 = -1;

/// A client in this process, for every group of a cluster.
pub(in crate::kafka) struct Client {
    /// Absent only while the client is being closed.
    session: Option<Arc<Session>>,
    /// For [`remove_members`] and [`listed_groups`], which do not use librdkafka.
    connection: Connection,
    allowance: Allowance,
}

impl Client {
    /// Makes no network call.
    ///
    /// # Errors
    /// When librdkafka does not accept the connection's properties.
    pub fn new(connection: &Connection, allowance: Allowance) -> Result<Self, RawError> {
        Ok(Self { session: Some(Arc::new(Session::open(connection)?)), connection: connection.clone(), allowance })
    }

    /// Runs blocking calls to their end on a blocking thread, even when the future is dropped.
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
                // The call may have been carried out.
                Err(KafkaError::new(KafkaErrorKind::Timeout, format!("the call to librdkafka failed unexpectedly: {error}")))
            }
        }
    }
}

impl Client {
    /// Sends a change of a group's offsets, a commit or a removal; nothing without entries.
    async fn changed<T: Send + 'static>(
        &self,
        group: &str,
        entries: Vec<T>,
        send: impl FnOnce(&Session, &Allowance, &str, &[T]) -> Result<PerPartition<()>, KafkaError> + Send + 'static,
    ) -> Result<PerPartition<()>, KafkaError> {
        if entries.is_empty() {
            return Ok(PerPartition::new());
        }
        let (group, allowance) = (group.to_owned(), Arc::clone(&self.allowance));
        self.blocking(move |session| {
            batches::possible_group(&group).map_err(|raw| error_codes::error(&raw, &about(&group)))?;
            send(session, &allowance, &group, &entries)
        })
        .await
    }

    async fn described(&self, group: &str) -> Result<Described, KafkaError> {
        let group = group.to_owned();
        self.blocking(move |session| {
            let describe = |native: &Native| describe_group::describe(native, &group, REQUEST_LIMIT);
            let described = batches::possible_group(&group).and_then(|()| session.with_coordinator(&group, describe, |_| true));
            described.map_err(|raw| error_codes::error(&raw, &about(&group)))
        })
        .await
    }

    /// The protocol type with which the group's coordinator lists it, if it does.
    async fn listed_by_coordinator(&self, group: &str) -> Result<Option<String>, KafkaError> {
        let session = self.session.as_ref().ok_or_else(closing)?;
        let token = session.token().await.map_err(|raw| error_codes::error(&raw, &about(group)))?;
        let listed = listed_groups::protocol_type(&self.connection, token.as_deref(), group).await;
        if let (Some(token), Err(KafkaError { kind: KafkaErrorKind::Authentication, .. })) = (&token, &listed) {
            session.refused(token).await;
        }
        listed
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Closing waits for librdkafka's threads, which would block an async thread.
        if let (Some(session), Ok(runtime)) = (self.session.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn_blocking(move || drop(session));
        }
    }
}

fn closing() -> KafkaError {
    KafkaError::new(KafkaErrorKind::Unreachable, "the client is being closed")
}

#[async_trait]
impl GroupAdmin for Client {
    async fn cluster_id(&self) -> Result<Option<String>, KafkaError> {
        self.blocking(|session| {
            session
                .ask(None, |native| Ok(ffi::cluster_id(handle(native), REQUEST_LIMIT)))
                .map_err(|raw| error_codes::error(&raw, "the cluster"))
        })
        .await
    }

    async fn describe_group(&self, group: &str) -> Result<Group, KafkaError> {
        let other_type = |other: &OtherType| {
            let message = format!("{}: {}", about(group), other.explain());
            Err(KafkaError::new(KafkaErrorKind::UnsupportedGroupType, message))
        };
        match self.described(group).await? {
            Described::Consumers(found) => Ok(found),
            Described::Other(other) => other_type(&other),
            Described::Unlisted(unknown) => match self.listed_by_coordinator(group).await? {
                None => Ok(Group::NotFound),
                Some(protocol) => match OtherType::listed_as(&protocol) {
                    Some(other) => other_type(&other),
                    // The group may have come into being since it was described.
                    None => match self.described(group).await? {
                        Described::Consumers(found @ Group::Found(_)) => Ok(found),
                        Described::Other(other) => other_type(&other),
                        Described::Consumers(Group::NotFound) | Described::Unlisted(_) => Ok(Group::Found(unknown)),
                    },
                },
            },
        }
    }

    async fn topics(&self, names: &[String]) -> Result<BTreeMap<String, Result<Vec<i32>, KafkaError>>, KafkaError> {
        let (possible, impossible): (BTreeSet<String>, BTreeSet<String>) =
            names.iter().cloned().partition(|name| batches::impossible_topic(name).is_none());
        let refused = |name: String| {
            let why = batches::impossible_topic(&name).unwrap_or_default();
            let error = KafkaError::new(KafkaErrorKind::UnknownTopicOrPartition, format!("topic {name:?}: {why}"));
            (name, Err(error))
        };
        let mut answers: BTreeMap<_, _> = impossible.into_iter().map(refused).collect();
        if possible.is_empty() {
            return Ok(answers);
        }
        let found = self.blocking(move |session| {
            let topics: Vec<&str> = possible.iter().map(String::as_str).collect();
            let ask = |native: &Native| ffi::topic_leaders(handle(native), &topics, REQUEST_LIMIT);
            session.ask(None, ask).map_err(|raw| error_codes::error(&raw, "topics"))
        });
        answers.extend(found.await?.into_iter().map(|(topic, leaders)| {
            // Ascending, as the port promises.
            let partitions = leaders.map(|leaders| leaders.into_keys().collect());
            let partitions = partitions.map_err(|raw| error_codes::error(&raw, &format!("topic {topic}")));
            (topic, partitions)
        }));
        Ok(answers)
    }

    async fn bounds(&self, partitions: &[TopicPartition]) -> Result<PerPartition<Bounds>, KafkaError> {
        let Batch { asked, mut answered } = Batch::new(partitions.iter().map(|at| (at.clone(), EARLIEST)), |_| None);
        if asked.is_empty() {
            return Ok(answered);
        }
        let bounds = self.blocking(move |session| {
            // The start first: a log start that is read first is never above an end that is read later.
            let ends = asked.keys().map(|at| (at.clone(), LATEST)).collect();
            let [starts, ends] = list_offsets(session, [&asked, &ends], Isolation::Uncommitted, REQUEST_LIMIT)?;
            // Both hold every partition, in the same order.
            let both = starts.into_iter().zip(ends.into_values());
            Ok(both.map(|((at, start), end)| (at.clone(), bounds_of(&at, start, end))).collect::<PerPartition<Bounds>>())
        });
        answered.extend(bounds.await?);
        Ok(answered)
    }

    async fn stable_ends(&self, partitions: &[TopicPartition]) -> Result<PerPartition<i64>, KafkaError> {
        let Batch { asked, mut answered } = Batch::new(partitions.iter().map(|at| (at.clone(), LATEST)), |_| None);
        if asked.is_empty() {
            return Ok(answered);
        }
        let [ends] = self.blocking(move |session| list_offsets(session, [&asked], Isolation::Committed, REQUEST_LIMIT)).await?;
        answered.extend(ends.into_iter().map(|(at, end)| (at.clone(), end.and_then(|(end, _)| stable_end_of(&at, end)))));
        Ok(answered)
    }

    async fn offsets_for_times(
        &self,
        times: &[(TopicPartition, i64)],
    ) -> Result<PerPartition<Option<TimestampMatch>>, KafkaError> {
        // Negative times are sentinels of the protocol: -1 would mean the end.
        let Batch { asked, mut answered } =
            Batch::new(times.iter().cloned(), |time| (*time < 0).then(|| format!("{time} is not a time")));
        if asked.is_empty() {
            return Ok(answered);
        }
        let [found] =
            self.blocking(move |session| list_offsets(session, [&asked], Isolation::Uncommitted, REQUEST_LIMIT)).await?;
        answered.extend(found.into_iter().map(|(at, answer)| {
            // A negative offset means that no record is that recent.
            (at, answer.map(|(offset, timestamp)| (offset >= 0).then_some(TimestampMatch { offset, timestamp })))
        }));
        Ok(answered)
    }

    async fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<PerPartition<Option<Committed>>, KafkaError> {
        let Batch { asked, mut answered } = Batch::new(partitions.iter().map(|at| (at.clone(), ())), |()| None);
        if asked.is_empty() {
            return Ok(answered);
        }
        let group = group.to_owned();
        let found = self.blocking(move |session| {
            let partitions: Vec<TopicPartition> = asked.into_keys().collect();
            let portions: Vec<Option<&[TopicPartition]>> = partitions.chunks(PARTITIONS_PER_READ).map(Some).collect();
            let ask = |native: &Native| ffi::list_committed(handle(native), &group, &portions, REQUEST_LIMIT);
            let answers = batches::possible_group(&group)
                .and_then(|()| session.with_coordinator(&group, ask, without_coordinator_error))
                .map_err(|raw| error_codes::error(&raw, &about(&group)))?;
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
                batches::possible_group(&group).and_then(|()| session.with_coordinator(&group, ask, without_coordinator_error));
            match found {
                Ok(answers) if answers.len() > MAX_COMMITTED => {
                    let message = format!(
                        "group {group} has committed offsets for {} partitions, more than the {MAX_COMMITTED} that the operator reads: \
                         use a group of its own for each application, or delete offsets that are not used any more \
                         (kafka-consumer-groups.sh --delete-offsets)",
                        answers.len()
                    );
                    Err(KafkaError::new(KafkaErrorKind::Other, message))
                }
                Ok(answers) => {
                    let asked: Vec<TopicPartition> = answers.iter().map(|(at, _)| at.clone()).collect();
                    Ok(batches::complete(asked.iter(), answers))
                }
                Err(raw) if error_codes::kind(raw.code) == KafkaErrorKind::GroupNotFound => Ok(BTreeMap::new()),
                Err(raw) => Err(error_codes::error(&raw, &about(&group))),
            }
        })
        .await
    }

    async fn commit(&self, group: &str, offsets: &[(TopicPartition, Committed)]) -> Result<PerPartition<()>, KafkaError> {
        // The broker would accept a negative offset, and every consumer would read it as "nothing
        // committed".
        let Batch { asked, mut answered } = Batch::new(offsets.iter().cloned(), |to: &Committed| {
            (to.offset < 0).then(|| format!("{} is not an offset", to.offset))
        });
        let offsets: Vec<_> = asked.into_iter().collect();
        answered.extend(self.changed(group, offsets, commit).await?);
        Ok(answered)
    }

    async fn delete_offsets(&self, group: &str, partitions: &[TopicPartition]) -> Result<PerPartition<()>, KafkaError> {
        let Batch { asked, mut answered } = Batch::new(partitions.iter().map(|at| (at.clone(), ())), |()| None);
        let partitions: Vec<_> = asked.into_keys().collect();
        answered.extend(self.changed(group, partitions, delete).await?);
        Ok(answered)
    }

    async fn remove_members(&self, group: &str, members: &[GroupMember]) -> Result<(), KafkaError> {
        let session = self.session.as_ref().ok_or_else(closing)?;
        let token = session.token().await.map_err(|raw| error_codes::error(&raw, &about(group)))?;
        let removed = remove_members::remove_members(&self.connection, token.as_deref(), group, members).await;
        if let (Some(token), Err(KafkaError { kind: KafkaErrorKind::Authentication, .. })) = (&token, &removed) {
            session.refused(token).await;
        }
        removed
    }

    async fn access(&self, group: &str, topics: &[String]) -> Result<Access, KafkaError> {
        let group = group.to_owned();
        let mut topics_read: BTreeMap<String, Option<bool>> = topics.iter().map(|topic| (topic.clone(), None)).collect();
        let mut topic_ids = BTreeMap::new();
        self.blocking(move |session| {
            let in_context = |raw: RawError| error_codes::error(&raw, &about(&group));
            let ask = |native: &Native| ffi::group_operations(handle(native), &group, REQUEST_LIMIT);
            batches::possible_group(&group).map_err(in_context)?;
            let of_group = authorized_operations::may(session.with_coordinator(&group, ask, |_| true), [READ, DELETE])
                .map_err(in_context)?;
            let possible: Vec<&str> =
                topics_read.keys().map(String::as_str).filter(|topic| batches::impossible_topic(topic).is_none()).collect();
            if !possible.is_empty() {
                let in_context = |raw: RawError| error_codes::error(&raw, "topics");
                let ask = |native: &Native| ffi::topic_access(handle(native), &possible, REQUEST_LIMIT);
                for (topic, answer) in session.ask(None, ask).map_err(in_context)? {
                    let answer = answer.map(|described| {
                        topic_ids.extend(described.id.map(|id| (topic.clone(), id)));
                        described.operations
                    });
                    let may_read = authorized_operations::may(answer, [READ]).map_err(in_context)?;
                    topics_read.entry(topic).and_modify(|known| *known = may_read.map(|[read]| read));
                }
            }
            Ok(Access {
                group_read: of_group.map(|[read, _]| read),
                group_delete: of_group.map(|[_, delete]| delete),
                topics_read,
                topic_ids,
            })
        })
        .await
    }

    async fn topic_ids(&self, topics: &[String]) -> Result<BTreeMap<String, String>, KafkaError> {
        let topics: BTreeSet<String> = topics.iter().cloned().collect();
        self.blocking(move |session| {
            let possible: Vec<&str> =
                topics.iter().map(String::as_str).filter(|topic| batches::impossible_topic(topic).is_none()).collect();
            if possible.is_empty() {
                return Ok(BTreeMap::new());
            }
            let ask = |native: &Native| ffi::topic_ids(handle(native), &possible, REQUEST_LIMIT);
            let answers = session.ask(None, ask).map_err(|raw| error_codes::error(&raw, "topics"));
            let answers = match answers {
                Err(error) if !error.kind.is_transient() => vec![],
                answers => answers?,
            };
            Ok(answers.into_iter().filter_map(|(topic, id)| Some((topic, id.ok()??))).collect())
        })
        .await
    }

    async fn topic_configs(&self, topics: &[String]) -> Result<TopicConfigs, KafkaError> {
        let topics: BTreeSet<String> = topics.iter().cloned().collect();
        self.blocking(move |session| {
            let possible = topics.iter().map(String::as_str).filter(|topic| batches::impossible_topic(topic).is_none());
            let possible: Vec<&str> = possible.collect();
            if possible.is_empty() {
                return Ok(TopicConfigs::new());
            }
            let chunks: Vec<&[&str]> = possible.chunks(TOPICS_PER_READ).collect();
            let ask = |native: &Native| ffi::topic_configs(handle(native), &chunks, REQUEST_LIMIT);
            let answers = session.ask(None, ask).map_err(|raw| error_codes::error(&raw, "topics"))?;
            let config = |(topic, answer): (String, Result<ffi::Properties, RawError>)| {
                let config = answer.map(|found| TopicConfig::of(|name| found.get(name).map(String::as_str)));
                let config = config.map_err(|raw| error_codes::error(&raw, &format!("topic {topic}")));
                (topic, config)
            };
            Ok(answers.into_iter().map(config).collect())
        })
        .await
    }

    async fn session_timeout(&self, group: &str) -> Result<Option<Duration>, KafkaError> {
        let group = group.to_owned();
        self.blocking(move |session| {
            let ask = |native: &Native| ffi::group_config(handle(native), &group, REQUEST_LIMIT);
            let config = session.ask(None, ask).map_err(|raw| error_codes::error(&raw, &format!("group {group}")))?;
            let millis = config.get("consumer.session.timeout.ms").and_then(|value| value.parse().ok());
            Ok(millis.map(Duration::from_millis))
        })
        .await
    }
}

/// A last stable offset, which must not be a sentinel.
fn stable_end_of(at: &TopicPartition, end: i64) -> Result<i64, KafkaError> {
    if end >= 0 {
        return Ok(end);
    }
    Err(KafkaError::new(KafkaErrorKind::Leader, format!("{at}: the broker's answer is invalid: the log ends at {end}")))
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
    let message = format!("{at}: the broker's answers contradict each other: the log starts at {start} and ends at {end}");
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
