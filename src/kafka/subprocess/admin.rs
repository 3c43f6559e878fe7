//! The port over a client in another process.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::{Mutex, Semaphore};

use super::{
    launcher::{Launcher, SLOT_LIMIT, no_slot},
    preflight::preflight_connect,
    process::Process,
    protocol::{Call, Reply, until},
    slot::Standing,
};
use crate::{
    kafka::{
        connection::Connection,
        diagnostics::error_codes,
        ffi::RawError,
        native::{batches, session},
        port::{GroupAdmin, TopicConfigs, unanswered},
    },
    machine::facts::{
        Access, Bounds, Committed, Group, GroupMember, KafkaError, KafkaErrorKind, PerPartition, TimestampMatch, TopicPartition,
    },
};

/// How many calls of a client are under way at once; the others wait.
const MAX_CALLS: usize = 16;

/// How often the allowance of a commit that is under way is renewed.
const RENEW_ALLOWANCE: Duration = Duration::from_secs(1);

/// A cluster's client. Its process starts with the first call, and again with the first call after
/// it has exited.
pub(in crate::kafka) struct SubprocessAdmin {
    connection: Connection,
    launcher: Arc<Launcher>,
    standing: Standing,
    calls: Semaphore,
    process: Mutex<Option<Arc<Process>>>,
}

impl SubprocessAdmin {
    /// Starts no process yet.
    ///
    /// # Errors
    /// When there is no bootstrap server.
    pub fn new(connection: &Connection, launcher: &Arc<Launcher>) -> Result<Self, RawError> {
        session::names_brokers(connection)?;
        let (calls, process) = (Semaphore::new(MAX_CALLS), Mutex::default());
        let standing = Standing::default();
        Ok(Self { connection: connection.clone(), launcher: Arc::clone(launcher), standing, calls, process })
    }

    /// Makes a call; `result` reads it from the reply.
    async fn ask<T>(&self, mut call: Call, result: fn(Reply) -> Option<T>) -> Result<T, KafkaError> {
        // The semaphore is never closed.
        let _call = self.calls.acquire().await;
        let (limit, doing, is_commit) =
            (call.limit(), call.doing(), matches!(call, Call::Commit { .. } | Call::DeleteOffsets { .. }));
        let renew = if is_commit { RENEW_ALLOWANCE } else { Duration::MAX };
        let (process, mut reply) = loop {
            let process = self.process().await?;
            // As late as possible: the allowance may have changed during the wait for the process.
            let allowed_until = is_commit.then(|| until(&self.launcher.allowance));
            match process.ask(call, allowed_until, limit).await {
                Ok(reply) => break (process, reply),
                // The process exited before it received the call, so nothing was done.
                Err(unsent) => call = unsent,
            }
        };
        let reply = loop {
            match tokio::time::timeout(renew, &mut reply).await {
                Ok(reply) => break reply.unwrap_or_else(|_| Err(process.why_it_exited(doing))),
                Err(_) => process.allow(until(&self.launcher.allowance)),
            }
        };
        result(reply?).ok_or_else(|| {
            KafkaError::new(
                KafkaErrorKind::Timeout,
                format!("the Kafka client's process gave the answer of another call while {doing}"),
            )
        })
    }

    /// As [`Self::ask`], with an answer for each of these partitions and for no other.
    async fn ask_each<'a, T>(
        &self,
        call: Call,
        partitions: impl Iterator<Item = &'a TopicPartition> + Send,
        result: fn(Reply) -> Option<PerPartition<T>>,
    ) -> Result<PerPartition<T>, KafkaError> {
        let partitions: BTreeSet<&TopicPartition> = partitions.collect();
        if partitions.is_empty() {
            return Ok(PerPartition::new());
        }
        let mut answers = self.ask(call, result).await?;
        let each = partitions.into_iter().map(|at| {
            let answer = answers.remove(at).unwrap_or_else(|| Err(batches::not_answered(at)));
            (at.clone(), answer)
        });
        Ok(each.collect())
    }

    /// The running process, or a new one. No process is started for a cluster that cannot be
    /// reached.
    async fn process(&self) -> Result<Arc<Process>, KafkaError> {
        if let Some(process) = self.process.lock().await.as_ref().filter(|process| process.is_running()) {
            return Ok(Arc::clone(process));
        }
        preflight_connect(&self.connection).await.map_err(|raw| error_codes::error(&raw, "the cluster"))?;
        // One call starts the process, and the others wait for it together, within one time limit.
        let started = async {
            let mut current = self.process.lock().await;
            if let Some(process) = current.as_ref().filter(|process| process.is_running()) {
                return Ok(Arc::clone(process));
            }
            let process = self.launcher.start(&self.connection, &self.standing).await?;
            *current = Some(Arc::clone(&process));
            Ok(process)
        };
        tokio::time::timeout(SLOT_LIMIT, started).await.unwrap_or_else(|_| Err(no_slot()))
    }
}

#[async_trait]
impl GroupAdmin for SubprocessAdmin {
    fn prefer(&self) {
        self.standing.prefer();
    }

    async fn cluster_id(&self) -> Result<Option<String>, KafkaError> {
        self.ask(Call::ClusterId {}, Reply::cluster_id).await
    }

    async fn describe_group(&self, group: &str) -> Result<Group, KafkaError> {
        self.ask(Call::DescribeGroup { group: group.to_owned() }, Reply::describe_group).await
    }

    async fn topics(&self, names: &[String]) -> Result<BTreeMap<String, Result<Vec<i32>, KafkaError>>, KafkaError> {
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut found = self.ask(Call::Topics { names: names.to_vec() }, Reply::topics).await?;
        // The topics of the call, and no other.
        Ok(names.iter().map(|name| (name.clone(), found.remove(name).unwrap_or_else(|| Err(unanswered(name))))).collect())
    }

    async fn bounds(&self, partitions: &[TopicPartition]) -> Result<PerPartition<Bounds>, KafkaError> {
        self.ask_each(Call::Bounds { partitions: partitions.to_vec() }, partitions.iter(), Reply::bounds).await
    }

    async fn stable_ends(&self, partitions: &[TopicPartition]) -> Result<PerPartition<i64>, KafkaError> {
        self.ask_each(Call::StableEnds { partitions: partitions.to_vec() }, partitions.iter(), Reply::stable_ends).await
    }

    async fn offsets_for_times(
        &self,
        times: &[(TopicPartition, i64)],
    ) -> Result<PerPartition<Option<TimestampMatch>>, KafkaError> {
        let partitions = times.iter().map(|(at, _)| at);
        self.ask_each(Call::OffsetsForTimes { times: times.to_vec() }, partitions, Reply::offsets_for_times).await
    }

    async fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<PerPartition<Option<Committed>>, KafkaError> {
        let call = Call::Committed { group: group.to_owned(), partitions: partitions.to_vec() };
        self.ask_each(call, partitions.iter(), Reply::committed).await
    }

    async fn all_committed(&self, group: &str) -> Result<PerPartition<Option<Committed>>, KafkaError> {
        self.ask(Call::AllCommitted { group: group.to_owned() }, Reply::all_committed).await
    }

    async fn commit(&self, group: &str, offsets: &[(TopicPartition, Committed)]) -> Result<PerPartition<()>, KafkaError> {
        let call = Call::Commit { group: group.to_owned(), offsets: offsets.to_vec() };
        self.ask_each(call, offsets.iter().map(|(at, _)| at), Reply::commit).await
    }

    async fn delete_offsets(&self, group: &str, partitions: &[TopicPartition]) -> Result<PerPartition<()>, KafkaError> {
        let call = Call::DeleteOffsets { group: group.to_owned(), partitions: partitions.to_vec() };
        self.ask_each(call, partitions.iter(), Reply::delete_offsets).await
    }

    async fn remove_members(&self, group: &str, members: &[GroupMember]) -> Result<(), KafkaError> {
        let call = Call::RemoveMembers { group: group.to_owned(), members: members.to_vec() };
        self.ask(call, Reply::remove_members).await
    }

    async fn access(&self, group: &str, topics: &[String]) -> Result<Access, KafkaError> {
        let call = Call::Access { group: group.to_owned(), topics: topics.to_vec() };
        let Access { group_read, group_delete, topics_read, mut topic_ids } = self.ask(call, Reply::access).await?;
        // Only the topics of the call.
        let topics_read = topics.iter().map(|topic| (topic.clone(), topics_read.get(topic).copied().flatten()));
        let topics_read: BTreeMap<_, _> = topics_read.collect();
        topic_ids.retain(|topic, _| topics_read.contains_key(topic));
        Ok(Access { group_read, group_delete, topics_read, topic_ids })
    }

    async fn topic_ids(&self, topics: &[String]) -> Result<BTreeMap<String, String>, KafkaError> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut ids = self.ask(Call::TopicIds { topics: topics.to_vec() }, Reply::topic_ids).await?;
        // Only the topics of the call.
        ids.retain(|topic, _| topics.contains(topic));
        Ok(ids)
    }

    async fn topic_configs(&self, topics: &[String]) -> Result<TopicConfigs, KafkaError> {
        if topics.is_empty() {
            return Ok(TopicConfigs::new());
        }
        let mut found = self.ask(Call::TopicConfigs { topics: topics.to_vec() }, Reply::topic_configs).await?;
        // Only the topics of the call.
        found.retain(|topic, _| topics.contains(topic));
        Ok(found)
    }

    async fn session_timeout(&self, group: &str) -> Result<Option<Duration>, KafkaError> {
        self.ask(Call::SessionTimeout { group: group.to_owned() }, Reply::session_timeout).await
    }
}
