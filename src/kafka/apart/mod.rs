//! A client in a process of its own: what a broker's answers do to librdkafka ends that process, and not the operator, which holds everybody's
//! Secrets and may have consumers at zero. (2.12.1 asserts that a group is described by its own name, and some bytes at random lose it its
//! memory.)
//!
//! The process is the operator's own program, started with another word; it is told on its standard input how the cluster is reached, and
//! then what is asked, and answers on its standard output. It ends with its input, so that none outlives the operator.

mod child;
mod knock;
mod process;
mod protocol;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex as SyncMutex, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, Semaphore};

use self::{
    process::Process,
    protocol::{Call, Pairs, until},
};
use super::{Allowance, Connection, GroupAdmin, errors, ffi::Fault, questions};
use crate::machine::facts::{
    Access, Bounds, Committed, Group, GroupMember, KafkaError, KafkaErrorKind, PerPartition, TimestampMatch, TopicPartition,
};

pub use child::serve;

/// How many calls of a client are under way at once; the others wait.
const CALLS: usize = 16;

/// How many processes there are at once: each has its weight, and the operator's memory is bounded.
const PROCESSES: usize = 32;

/// How long one waits for a process when there are that many, and how often it is looked whether one of them is idle.
const PLACE_LIMIT: Duration = Duration::from_secs(30);
const PLACE_LOOK: Duration = Duration::from_millis(250);

/// How often a commit that is under way is told for how long it may be.
const ALLOWED_AGAIN: Duration = Duration::from_secs(1);

/// How processes are started.
pub(super) struct Launcher {
    /// The operator's own program.
    pub program: PathBuf,
    /// What it is started with.
    pub arguments: Vec<String>,
    pub allowance: Allowance,
    places: Arc<Semaphore>,
    /// Those that run, and some that have ended.
    started: SyncMutex<Vec<Weak<Process>>>,
}

impl Launcher {
    pub fn new(program: PathBuf, arguments: Vec<String>, allowance: Allowance) -> Self {
        Self { program, arguments, allowance, places: Arc::new(Semaphore::new(PROCESSES)), started: SyncMutex::default() }
    }

    /// Starts a process, where need be in the place of an idle one.
    async fn start(&self, connection: &Connection) -> Result<Arc<Process>, KafkaError> {
        let mut place = std::pin::pin!(Arc::clone(&self.places).acquire_owned());
        let place = loop {
            match tokio::time::timeout(PLACE_LOOK, &mut place).await {
                // Never closed.
                Ok(place) => break place.map_err(|_| no_place())?,
                Err(_) => self.end_an_idle_one(),
            }
        };
        let process = Arc::new(Process::start(self, connection, place)?);
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.retain(|process| process.upgrade().is_some_and(|process| process.lives()));
        started.push(Arc::downgrade(&process));
        Ok(process)
    }

    /// The one whose broker has never answered, or that has been idle for the longest.
    fn end_an_idle_one(&self) {
        let started: Vec<Arc<Process>> =
            self.started.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect();
        let idle = started.iter().filter_map(|process| Some((process.idle()?, process)));
        if let Some((_, process)) = idle.min_by_key(|(idle, _)| *idle) {
            process.end_if_idle();
        }
    }
}

/// A cluster's client, whose process is started when something is asked, and again after it has ended.
pub(super) struct Apart {
    connection: Connection,
    launcher: Arc<Launcher>,
    calls: Semaphore,
    process: Mutex<Option<Arc<Process>>>,
}

impl Apart {
    /// Without a process so far.
    ///
    /// # Errors
    /// When no bootstrap server is named.
    pub fn new(connection: &Connection, launcher: &Arc<Launcher>) -> Result<Self, Fault> {
        super::session::names_brokers(connection)?;
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
            let answer = answers.remove(&at).unwrap_or_else(|| Err(questions::not_answered(&at)));
            (at, answer)
        });
        Ok(each.collect())
    }

    /// The process, once somebody listens at one of the addresses at least: for a cluster that cannot be reached none is started.
    async fn process(&self) -> Result<Arc<Process>, KafkaError> {
        if let Some(process) = self.process.lock().await.as_ref().filter(|process| process.lives()) {
            return Ok(Arc::clone(process));
        }
        knock::knock(&self.connection).await.map_err(|fault| errors::error(&fault, "the cluster"))?;
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

fn no_place() -> KafkaError {
    let message = format!("{PROCESSES} Kafka clusters are being asked, and more are not at once; it is tried again");
    KafkaError::new(KafkaErrorKind::Unreachable, message)
}

fn keys<T>(pairs: &[(TopicPartition, T)]) -> Vec<TopicPartition> {
    pairs.iter().map(|(at, _)| at.clone()).collect()
}

#[async_trait]
impl GroupAdmin for Apart {
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
