//! Faults that a real broker cannot be made to show at the right moment: a layer around the client puts them in.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use offset_reset_operator::{
    kafka::{Connection, Connector, GroupAdmin, Pool, TopicConfigs},
    machine::facts::{
        Access, Bounds, Committed, Group, GroupMember, GroupState, KafkaError, KafkaErrorKind, PerPartition, TimestampMatch,
        TopicPartition, group,
    },
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{PATIENCE, TestEnv};
use real_tests::{
    consumers::{Consumed, Kind, Member},
    shop::{Operator, status, succeeded},
    unique, wait_for_end, with_namespace, within,
};

/// What happens at a commit, or at another call.
pub enum Fault {
    /// As Azure Event Hubs answers: a group without members is Dead even when it has commits, there is no cluster id, commits are slow, and
    /// metadata is cut.
    EventHubs,
    /// It is never sent, and no answer comes.
    NeverSent,
    /// It is carried out, and its answer never comes.
    AnswerLost,
    /// It is sent only when this is told.
    Late(Arc<Notify>),
    /// Only so many bytes of the metadata arrive.
    MetadataCut(usize),
    /// A consumer joins right before it; kept here, so that it stays.
    MemberJoins(Joined),
    /// No commit is touched, and no broker says where its transactions begin, which only a canary asks.
    NoStableEnds,
}

/// The consumer that has joined.
type Joined = Mutex<Option<Member>>;

/// Clients with a fault, and the news that it has happened.
pub struct Faulty {
    pool: Pool,
    fault: Arc<Fault>,
    happened: Arc<Notify>,
}

impl Faulty {
    pub fn new(fault: Fault) -> Self {
        Self { pool: Pool::default(), fault: Arc::new(fault), happened: Arc::default() }
    }

    /// The operator with this on its way to Kafka; and waits until the fault has happened, while a reset is applied.
    pub async fn start(self, stand: &TestEnv, apply: impl Future<Output = ()>) -> Operator {
        let happened = Arc::clone(&self.happened);
        let operator = Operator::start_on(&stand.client, &stand.namespace, Arc::new(self));
        apply.await;
        within(PATIENCE, happened.notified()).await.expect("it commits");
        operator
    }
}

struct Client {
    real: Arc<dyn GroupAdmin>,
    fault: Arc<Fault>,
    happened: Arc<Notify>,
}

#[async_trait]
impl Connector for Faulty {
    async fn connect(&self, connection: &Connection) -> Result<Arc<dyn GroupAdmin>, KafkaError> {
        let real = self.pool.connect(connection).await?;
        Ok(Arc::new(Client { real, fault: Arc::clone(&self.fault), happened: Arc::clone(&self.happened) }))
    }
}

impl Client {
    /// Commits as a broker that keeps only the beginning of the metadata.
    async fn commit_cut(
        &self,
        group: &str,
        offsets: &[(TopicPartition, Committed)],
        kept: usize,
    ) -> Result<PerPartition<()>, KafkaError> {
        let cut = |committed: &Committed| {
            let metadata = committed.metadata.as_bytes()[..committed.metadata.len().min(kept)].to_vec().into();
            Committed { offset: committed.offset, metadata }
        };
        let offsets: Vec<_> = offsets.iter().map(|(at, committed)| (at.clone(), cut(committed))).collect();
        self.real.commit(group, &offsets).await
    }
}

#[async_trait]
impl GroupAdmin for Client {
    async fn cluster_id(&self) -> Result<Option<String>, KafkaError> {
        if matches!(&*self.fault, Fault::EventHubs) {
            return Ok(None);
        }
        self.real.cluster_id().await
    }

    async fn describe_group(&self, group: &str) -> Result<Group, KafkaError> {
        let mut found = self.real.describe_group(group).await?;
        if let (Fault::EventHubs, Group::Found(described)) = (&*self.fault, &mut found)
            && described.state == GroupState::Empty
        {
            described.state = GroupState::Dead;
        }
        Ok(found)
    }

    async fn topics(&self, names: &[String]) -> Result<BTreeMap<String, Result<Vec<i32>, KafkaError>>, KafkaError> {
        self.real.topics(names).await
    }

    async fn bounds(&self, partitions: &[TopicPartition]) -> Result<PerPartition<Bounds>, KafkaError> {
        self.real.bounds(partitions).await
    }

    async fn stable_ends(&self, partitions: &[TopicPartition]) -> Result<PerPartition<i64>, KafkaError> {
        if matches!(&*self.fault, Fault::NoStableEnds) && !partitions.is_empty() {
            return Err(KafkaError::new(KafkaErrorKind::Timeout, "no answer"));
        }
        self.real.stable_ends(partitions).await
    }

    async fn offsets_for_times(
        &self,
        times: &[(TopicPartition, i64)],
    ) -> Result<PerPartition<Option<TimestampMatch>>, KafkaError> {
        self.real.offsets_for_times(times).await
    }

    async fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<PerPartition<Option<Committed>>, KafkaError> {
        self.real.committed(group, partitions).await
    }

    async fn all_committed(&self, group: &str) -> Result<PerPartition<Option<Committed>>, KafkaError> {
        self.real.all_committed(group).await
    }

    async fn delete_offsets(&self, group: &str, partitions: &[TopicPartition]) -> Result<PerPartition<()>, KafkaError> {
        self.real.delete_offsets(group, partitions).await
    }

    async fn remove_members(&self, group: &str, members: &[GroupMember]) -> Result<(), KafkaError> {
        self.real.remove_members(group, members).await
    }

    async fn access(&self, group: &str, topics: &[String]) -> Result<Access, KafkaError> {
        self.real.access(group, topics).await
    }

    async fn topic_ids(&self, topics: &[String]) -> Result<BTreeMap<String, String>, KafkaError> {
        self.real.topic_ids(topics).await
    }

    async fn topic_configs(&self, topics: &[String]) -> Result<TopicConfigs, KafkaError> {
        self.real.topic_configs(topics).await
    }

    async fn session_timeout(&self, group: &str) -> Result<Option<Duration>, KafkaError> {
        self.real.session_timeout(group).await
    }

    async fn commit(&self, group: &str, offsets: &[(TopicPartition, Committed)]) -> Result<PerPartition<()>, KafkaError> {
        match &*self.fault {
            Fault::NoStableEnds => self.real.commit(group, offsets).await,
            Fault::NeverSent => {
                self.happened.notify_one();
                std::future::pending().await
            }
            Fault::AnswerLost => {
                let answers = self.real.commit(group, offsets).await?;
                assert!(answers.values().all(Result::is_ok), "{answers:?}");
                self.happened.notify_one();
                std::future::pending().await
            }
            Fault::Late(told) => {
                self.happened.notify_one();
                told.notified().await;
                self.real.commit(group, offsets).await
            }
            Fault::EventHubs => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let answers = self.commit_cut(group, offsets, 1_024).await;
                self.happened.notify_one();
                answers
            }
            Fault::MetadataCut(kept) => {
                let answers = self.commit_cut(group, offsets, *kept).await;
                self.happened.notify_one();
                answers
            }
            Fault::MemberJoins(joined) => {
                let topics = [offsets[0].0.topic.clone()];
                *joined.lock().unwrap() = Some(Member::start(group, &topics, &Kind::default(), 0, Consumed::default()));
                while group::members(&self.real.describe_group(group).await?) == 0 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                let answers = self.real.commit(group, offsets).await;
                self.happened.notify_one();
                answers
            }
        }
    }
}

/// An operator takes up a reset, commits, and is killed before it hears the answer.
pub async fn commit_and_die(stand: &TestEnv, name: &str, group: &str, entries: Value, spec: Value) {
    Faulty::new(Fault::AnswerLost).start(stand, stand.apply(name, group, entries, spec)).await.kill().await;
}

/// Kills the operator right before or right after its commit; another one goes on.
async fn killed_around_the_commit(before: bool) {
    with_namespace(async |client, namespace| {
        let stand = TestEnv::open(client.clone(), namespace.clone()).await;
        let (topic, group) = (stand.topic().await, unique("killed"));
        stand.commit(&group, &topic, &[(0, 50), (1, 5), (2, 0)]).await;
        let fault = if before { Fault::NeverSent } else { Fault::AnswerLost };
        let apply = stand.apply("killed", &group, json!([{"topic": topic, "shiftBy": -3}]), json!({}));
        let first = Faulty::new(fault).start(&stand, apply).await;
        first.kill().await;
        let expected = if before { [Some(50), Some(5), Some(0)] } else { [Some(47), Some(2), Some(0)] };
        assert_eq!(stand.committed(&group, &topic).await, expected, "this is where it was killed");

        let second = Operator::start(&client, &namespace);
        let done = wait_for_end(&stand.api, "killed").await;
        succeeded(&done);
        assert_eq!(stand.committed(&group, &topic).await, [Some(47), Some(2), Some(0)], "shifted once");
        assert_eq!(status(&done).commits, if before { 2 } else { 1 }, "what was done is told from what was not by reading back");
        let befores: Vec<_> = status(&done).partitions.iter().map(|p| p.before).collect();
        assert_eq!(befores, [Some(50), Some(5), Some(0)]);
        second.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_killed_between_commit_and_status_shifts_no_offset_twice() {
    killed_around_the_commit(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_killed_between_status_and_commit_shifts_once() {
    killed_around_the_commit(true).await;
}
