//! One broker, whichever, and what tests do with it: topics, records, bounds.

use std::{
    collections::HashSet,
    sync::{Arc, OnceLock},
    time::Duration,
};

use offset_reset_operator::{
    kafka::{Connection, Connector, GroupAdmin, Pool},
    machine::facts::{Bounds, Committed, KafkaErrorKind, TopicPartition},
};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult},
    producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer},
};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::{PATIENCE, brokers, unique, within};

/// A record as the tests write and read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: i64,
    pub timestamp: i64,
}

/// A broker. Its clients are made once, so that a test that builds many topics makes one of these.
pub struct Broker {
    pub bootstrap_servers: String,
    admin: AdminClient<DefaultClientContext>,
    group_admin: OnceCell<Arc<dyn GroupAdmin>>,
    producer: OnceLock<FutureProducer>,
    transactions: OnceCell<Mutex<FutureProducer>>,
    open_transaction: OnceCell<FutureProducer>,
    deleting: Mutex<()>,
}

impl Default for Broker {
    /// The one that all tests use.
    fn default() -> Self {
        Self::new(brokers())
    }
}

impl Broker {
    pub fn new(bootstrap_servers: impl Into<String>) -> Self {
        let bootstrap_servers = bootstrap_servers.into();
        let admin = ClientConfig::new().set("bootstrap.servers", &bootstrap_servers).create().unwrap();
        Self {
            bootstrap_servers,
            admin,
            group_admin: OnceCell::new(),
            producer: OnceLock::new(),
            transactions: OnceCell::new(),
            open_transaction: OnceCell::new(),
            deleting: Mutex::default(),
        }
    }

    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap_servers);
        config
    }

    /// The operator's own view of it.
    pub async fn group_admin(&self) -> Arc<dyn GroupAdmin> {
        Pool::default().connect(&Connection::plain(self.bootstrap_servers.clone())).await.unwrap()
    }

    /// A topic with so many partitions, whose name begins like this.
    pub async fn topic(&self, name: &str, partitions: i32) -> String {
        // Reports from decades ago are what the tests are about; retention would take them within seconds.
        self.topic_with(name, partitions, &[("retention.ms", "-1")]).await
    }

    pub async fn topic_with(&self, name: &str, partitions: i32, config: &[(&str, &str)]) -> String {
        let name = unique(name);
        self.create(&name, partitions, config).await;
        name
    }

    /// A topic of one partition with ten records, and a group that has consumed them all and has no members.
    pub async fn consumed(&self, name: &str) -> (String, String) {
        let (topic, group) = (self.topic(name, 1).await, unique(name));
        self.produce(&topic, 0, &[1_571_812_144_000; 10]).await;
        let at_the_end = [(TopicPartition::new(&topic, 0), Committed { offset: 10, metadata: "".into() })];
        let answers = self.group_admin().await.commit(&group, &at_the_end).await.unwrap();
        assert!(answers.values().all(Result::is_ok), "{answers:?}");
        (topic, group)
    }

    /// A topic of this very name.
    pub async fn create(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        let new = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let new = config.iter().fold(new, |new, (key, value)| new.set(key, value));
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        for result in self.admin.create_topics(&[new], &options).await.unwrap() {
            result.unwrap();
        }
        self.led(name, partitions).await;
    }

    /// Waits until each partition has its leader. A busy broker answers for a while that it does not know a topic that it has
    /// just created, and sends no event when it does.
    async fn led(&self, topic: &str, partitions: i32) {
        let admin = self.group_admin.get_or_init(|| self.group_admin()).await;
        let mut waiting: Vec<_> = (0..partitions).map(|partition| TopicPartition::new(topic, partition)).collect();
        let led = async {
            while !waiting.is_empty() {
                let answers = admin.bounds(&waiting).await.unwrap();
                waiting.retain(|partition| match &answers[partition] {
                    Ok(_) => false,
                    Err(error) => {
                        let is_early = error.kind.is_transient() || error.kind == KafkaErrorKind::UnknownTopicOrPartition;
                        assert!(is_early, "{partition:?}: {error:?}");
                        true
                    }
                });
                if !waiting.is_empty() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        };
        within(PATIENCE, led).await.unwrap_or_else(|| panic!("partitions of {topic} have no leader"));
    }

    /// Deletes a topic, and creates another one under its name, with these partitions and no records.
    pub async fn recreate(&self, topic: &str, partitions: i32) {
        self.delete_topic(topic).await;
        let is_gone = async |admin: &dyn GroupAdmin| admin.partitions(topic).await.is_err();
        let admin = self.group_admin().await;
        let gone = async {
            while !is_gone(admin.as_ref()).await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(PATIENCE, gone).await.expect("the topic is deleted");
        self.create(topic, partitions, &[]).await;
    }

    /// Gives a topic this configuration and no other.
    pub async fn configure(&self, topic: &str, config: &[(&str, &str)]) {
        let new = AlterConfig::new(ResourceSpecifier::Topic(topic));
        let new = config.iter().fold(new, |new, (key, value)| new.set(key, value));
        for result in self.admin.alter_configs(&[new], &AdminOptions::new()).await.unwrap() {
            result.unwrap();
        }
    }

    /// Each partition costs the broker memory, and a sandbox serves many runs.
    pub async fn delete_topic(&self, topic: &str) {
        for result in self.admin.delete_topics(&[topic], &AdminOptions::new()).await.unwrap() {
            result.unwrap();
        }
    }

    /// Deletes the records of each partition before an offset.
    pub async fn delete_records(&self, topic: &str, before: &[(i32, i64)]) {
        let mut offsets = TopicPartitionList::new();
        for (partition, offset) in before {
            offsets.add_partition_offset(topic, *partition, Offset::Offset(*offset)).unwrap();
        }
        // One at a time: librdkafka looks for leaders on two threads at once when news arrive meanwhile (see `list_offsets`).
        let _one = self.deleting.lock().await;
        let deleted = self.admin.delete_records(&offsets, &AdminOptions::new()).await.unwrap();
        for partition in deleted.elements() {
            partition.error().unwrap();
        }
    }

    pub fn producer(&self) -> &FutureProducer {
        self.producer.get_or_init(|| self.config().set("linger.ms", "5").create().unwrap())
    }

    /// A producer whose transactions end: one at a time, and everybody ends theirs. The first one takes half a second to get.
    pub async fn transactions(&self) -> MutexGuard<'_, FutureProducer> {
        let start = async || Mutex::new(self.transactional_producer().await);
        self.transactions.get_or_init(start).await.lock().await
    }

    /// A producer in a transaction that nobody ends; the broker aborts it after a quarter of an hour.
    pub async fn open_transaction(&self) -> &FutureProducer {
        let start = async || {
            let producer = self.transactional_producer().await;
            blocking(&producer, Producer::begin_transaction).await;
            producer
        };
        self.open_transaction.get_or_init(start).await
    }

    async fn transactional_producer(&self) -> FutureProducer {
        let mut config = self.config();
        // As long as a broker allows without being asked to.
        config.set("transactional.id", unique("transactions")).set("transaction.timeout.ms", "900000").set("linger.ms", "5");
        let producer = config.create().unwrap();
        blocking(&producer, |producer| producer.init_transactions(PATIENCE)).await;
        producer
    }

    /// Writes records to a partition, each with a timestamp in milliseconds.
    pub async fn produce(&self, topic: &str, partition: i32, timestamps: &[i64]) {
        let keyless = |timestamp: &i64| (*timestamp, None);
        let sent = send(self.producer(), topic, partition, &timestamps.iter().map(keyless).collect::<Vec<_>>());
        delivered(sent).await;
    }

    /// The bounds of the first partitions of a topic; an error of one that is not ready yet is none.
    pub async fn bounds(&self, admin: &dyn GroupAdmin, topic: &str, partitions: usize) -> Vec<Option<Bounds>> {
        let all: Vec<_> = (0..partitions).map(|partition| TopicPartition::new(topic, number(partition))).collect();
        let found = admin.bounds(&all).await.unwrap();
        all.iter().map(|at| found[at].as_ref().ok().copied()).collect()
    }

    /// Waits until a topic has these bounds.
    pub async fn wait_for_bounds(&self, admin: &dyn GroupAdmin, topic: &str, wished: &[Bounds]) {
        let wished: Vec<_> = wished.iter().copied().map(Some).collect();
        let mut last = vec![];
        let waiting = async {
            while last != wished {
                last = self.bounds(admin, topic, wished.len()).await;
                if last != wished {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        };
        let in_time = within(PATIENCE, waiting).await.is_some();
        assert!(in_time, "{topic} never had the bounds {wished:?}; its last: {last:?}");
    }

    /// All records of a topic, by partition. What marks the end of a transaction is none.
    pub async fn records(&self, topic: &str, partitions: usize) -> Vec<Vec<Record>> {
        let mut config = self.config();
        config.set("group.id", "reads-without-a-group").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        config.set("isolation.level", "read_uncommitted").set("fetch.wait.max.ms", "10");
        let topic = topic.to_owned();
        tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = config.create().unwrap();
            let mut all = TopicPartitionList::new();
            for partition in 0..partitions {
                all.add_partition_offset(&topic, number(partition), Offset::Beginning).unwrap();
            }
            consumer.assign(&all).unwrap();
            let mut records = vec![vec![]; partitions];
            let mut ended = HashSet::new();
            while ended.len() < partitions {
                match consumer.poll(PATIENCE).expect("records, or the end of a partition") {
                    Ok(message) => {
                        let at = usize::try_from(message.partition()).unwrap();
                        let record = Record { offset: message.offset(), timestamp: message.timestamp().to_millis().unwrap() };
                        records[at].push(record);
                    }
                    Err(KafkaError::PartitionEOF(partition)) => _ = ended.insert(partition),
                    Err(error) => panic!("{error}"),
                }
            }
            records
        })
        .await
        .unwrap()
    }
}

/// A call of librdkafka's that blocks.
pub async fn blocking(producer: &FutureProducer, call: impl FnOnce(&FutureProducer) -> KafkaResult<()> + Send + 'static) {
    let producer = producer.clone();
    tokio::task::spawn_blocking(move || call(&producer)).await.unwrap().unwrap();
}

/// Hands records to a producer: timestamp in milliseconds, and key.
pub fn send(
    producer: &FutureProducer,
    topic: &str,
    partition: i32,
    records: &[(i64, Option<String>)],
) -> Vec<(i32, DeliveryFuture)> {
    let mut sent = vec![];
    for (index, (timestamp, key)) in records.iter().enumerate() {
        let payload = index.to_string();
        let mut record = FutureRecord::<String, String>::to(topic).partition(partition).timestamp(*timestamp).payload(&payload);
        if let Some(key) = key {
            record = record.key(key);
        }
        sent.push((partition, producer.send_result(record).map_err(|(error, _)| error).unwrap()));
    }
    sent
}

/// Waits until all were delivered; to where, in the order in which they were sent.
pub async fn delivered(sent: Vec<(i32, DeliveryFuture)>) -> Vec<(i32, i64)> {
    let mut at = vec![];
    for (partition, delivery) in sent {
        let delivery = delivery.await.unwrap().map_err(|(error, _)| error).unwrap();
        at.push((partition, delivery.offset));
    }
    at
}

pub fn number(partition: usize) -> i32 {
    i32::try_from(partition).unwrap()
}
