//! The port over a client in another process.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, Semaphore};

use super::{
    launcher::{Launcher, PLACE_LIMIT, no_place},
    preflight::preflight_connect,
    process::Process,
    protocol::{Call, Pairs, until},
};
use crate::{
    kafka::{
        connection::Connection,
        diagnostics::error_codes,
        ffi::Fault,
        native::{batches, session},
        port::GroupAdmin,
    },
    machine::facts::{
        Access, Bounds, Committed, Group, GroupMember, KafkaError, KafkaErrorKind, PerPartition, TimestampMatch, TopicPartition,
    },
};

/// How many calls of a client are under way at once; the others wait.
const CALLS: usize = 16;

/// How often a commit that is under way is told for how long it may be.
const ALLOWED_AGAIN: Duration = Duration::from_secs(1);

/// A cluster's client, whose process is started when something is asked, and again after it has ended.
pub(in crate::kafka) struct SubprocessAdmin {
    connection: Connection,
    launcher: Arc<Launcher>,
    calls: Semaphore,
    process: Mutex<Option<Arc<Process>>>,
}

impl SubprocessAdmin {
    /// Without a process so far.
    ///
    /// # Errors
    /// When no bootstrap server is named.
    pub fn new(connection: &Connection, launcher: &Arc<Launcher>) -> Result<Self, Fault> {
        session::names_brokers(connection)?;
        let (calls, process) = (Semaphore::new(CALLS), Mutex::default());
        Ok(Self { connection: connection.clone(), launcher: Arc::clone(launcher), calls, process })
    }

    async fn ask<T: DeserializeOwned>(&self, mut call: Call) -> Result<T, KafkaError> {
        // Never closed.
        let _call = self.calls.acquire().await;
        let (limit, what) = (call.limit(), call.what());
        // When it is to be told again for how long it may be.
        let again = if matches!(call, Call::Commit { .. }) { ALLOWED_AGAIN } else { Duration::MAX };
        let (process, mut answer) = loop {
            let process = self.process().await?;
            // As late as can be: what was waited for a process counts no longer.
            if let Call::Commit { allowed_until, .. } = &mut call {
                *allowed_until = until(&self.launcher.allowance);
            }
            match process.ask(call, limit).await {
                Ok(answer) => break (process, answer),
                // It has ended before it was asked, so nothing has happened.
                Err(unasked) => call = unasked,
            }
        };
        let answer = loop {
            match tokio::time::timeout(again, &mut answer).await {
                Ok(answer) => break answer.unwrap_or_else(|_| Err(process.why_it_ended(what))),
                Err(_) => process.allow(until(&self.launcher.allowance)),
            }
        };
        serde_json::from_value(answer?).map_err(|error| {
            KafkaError::new(KafkaErrorKind::Timeout, format!("what the Kafka client answered cannot be read: {error}"))
        })
    }

    /// As [`Self::ask`], with an answer for each partition that was asked about, and for no other.
    async fn ask_each<T: DeserializeOwned>(&self, call: Call, asked: Vec<TopicPartition>) -> Result<PerPartition<T>, KafkaError> {
        if asked.is_empty() {
            return Ok(PerPartition::new());
        }
        let mut answers: PerPartition<T> = self.ask::<Pairs<Result<T, KafkaError>>>(call).await?.into_iter().collect();
        let each = asked.into_iter().collect::<BTreeSet<_>>().into_iter().map(|at| {
            let answer = answers.remove(&at).unwrap_or_else(|| Err(batches::not_answered(&at)));
            (at, answer)
        });
        Ok(each.collect())
    }

    /// The process, once somebody listens at one of the addresses at least: for a cluster that cannot be reached none is started.
    async fn process(&self) -> Result<Arc<Process>, KafkaError> {
        if let Some(process) = self.process.lock().await.as_ref().filter(|process| process.lives()) {
            return Ok(Arc::clone(process));
        }
        preflight_connect(&self.connection).await.map_err(|fault| error_codes::error(&fault, "the cluster"))?;
        // One starts it, and the others wait for that, no longer than it may take: not one after the other.
        let started = async {
            let mut current = self.process.lock().await;
            if let Some(process) = current.as_ref().filter(|process| process.lives()) {
                return Ok(Arc::clone(process));
            }
            let process = self.launcher.start(&self.connection).await?;
            *current = Some(Arc::clone(&process));
            Ok(process)
        };
        tokio::time::timeout(PLACE_LIMIT, started).await.unwrap_or_else(|_| Err(no_place()))
    }
}

fn keys<T>(pairs: &[(TopicPartition, T)]) -> Vec<TopicPartition> {
    pairs.iter().map(|(at, _)| at.clone()).collect()
}

#[async_trait]
impl GroupAdmin for SubprocessAdmin {
    async fn cluster_id(&self) -> Result<Option<String>, KafkaError> {
        self.ask(Call::ClusterId).await
    }

    async fn describe_group(&self, group: &str) -> Result<Group, KafkaError> {
        self.ask(Call::DescribeGroup { group: group.to_owned() }).await
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<i32>, KafkaError> {
        self.ask(Call::Partitions { topic: topic.to_owned() }).await
    }

    async fn bounds(&self, partitions: &[TopicPartition]) -> Result<PerPartition<Bounds>, KafkaError> {
        self.ask_each(Call::Bounds { partitions: partitions.to_vec() }, partitions.to_vec()).await
    }

    async fn stable_ends(&self, partitions: &[TopicPartition]) -> Result<PerPartition<i64>, KafkaError> {
        self.ask_each(Call::StableEnds { partitions: partitions.to_vec() }, partitions.to_vec()).await
    }

    async fn offsets_for_times(
        &self,
        times: &[(TopicPartition, i64)],
    ) -> Result<PerPartition<Option<TimestampMatch>>, KafkaError> {
        self.ask_each(Call::OffsetsForTimes { times: times.to_vec() }, keys(times)).await
    }

    async fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<PerPartition<Option<Committed>>, KafkaError> {
        let call = Call::Committed { group: group.to_owned(), partitions: partitions.to_vec() };
        self.ask_each(call, partitions.to_vec()).await
    }

    async fn all_committed(&self, group: &str) -> Result<PerPartition<Option<Committed>>, KafkaError> {
        let all: Pairs<Result<Option<Committed>, KafkaError>> = self.ask(Call::AllCommitted { group: group.to_owned() }).await?;
        Ok(all.into_iter().collect())
    }

    async fn commit(&self, group: &str, offsets: &[(TopicPartition, Committed)]) -> Result<PerPartition<()>, KafkaError> {
        let call = Call::Commit { group: group.to_owned(), offsets: offsets.to_vec(), allowed_until: 0 };
        self.ask_each(call, keys(offsets)).await
    }

    async fn remove_members(&self, group: &str, members: &[GroupMember]) -> Result<(), KafkaError> {
        self.ask(Call::RemoveMembers { group: group.to_owned(), members: members.to_vec() }).await
    }

    async fn access(&self, group: &str, topics: &[String]) -> Result<Access, KafkaError> {
        let call = Call::Access { group: group.to_owned(), topics: topics.to_vec() };
        let Access { group_read, topics_read } = self.ask(call).await?;
        // Of those that were asked about, and of no others.
        let topics_read = topics.iter().map(|topic| (topic.clone(), topics_read.get(topic).copied().flatten()));
        Ok(Access { group_read, topics_read: topics_read.collect() })
    }
}
