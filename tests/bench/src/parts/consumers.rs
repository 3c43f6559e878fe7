//! Light consumers in pods, a producer that never pauses, and when each partition's records were consumed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use offset_reset_operator::machine::facts::group;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::{config::FromClientConfig, producer::DefaultProducerContext};
use real_tests::{brokers, deployment, unique, within};
use serde_json::json;
use tokio::{net::UdpSocket, sync::Mutex, task::JoinHandle as Task};

use crate::stand::{Stand, between};

pub const REPLICAS: i32 = 3;

/// How long consumers may take to start.
const PATIENCE: Duration = Duration::from_mins(2);

/// So often the producer writes, and so many records at once: to one partition after the other.
const TICK: Duration = Duration::from_millis(5);
const AT_ONCE: i32 = 5;

/// Instead of a partition: a consumer has left its group.
const LEFT: i32 = -1;

type Seen = Arc<Mutex<Vec<(Timestamp, i32)>>>;

pub struct Consumers {
    pub namespace: String,
    pub group: String,
    pub topic: String,
    partitions: i32,
    seen: Seen,
    listener: Task<()>,
    stop: Arc<AtomicBool>,
    producer: Option<JoinHandle<()>>,
}

/// How long consumers consumed nothing, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Downtime {
    /// From the last record before to the first after, of whichever partition.
    pub all: f64,
    /// The same within one partition, of the partition where it is longest.
    pub longest: f64,
    /// When the last consumer had left its group.
    pub left: Timestamp,
}

impl Consumers {
    pub async fn start(stand: &Stand, partitions: i32) -> Result<Self> {
        let (namespace, group) = (stand.namespace().await?, unique("bench"));
        let topic = stand.broker.topic("bench", partitions).await;
        let servers = brokers();
        let (host, _) = servers.rsplit_once(':').context("an address has a port")?;
        let socket = UdpSocket::bind(format!("{host}:0")).await?;
        let report = socket.local_addr()?.to_string();
        let seen = Seen::default();
        let listener = tokio::spawn(listen(socket, Arc::clone(&seen)));
        let stop = Arc::new(AtomicBool::new(false));
        let producer = produce(stand, &topic, partitions, Arc::clone(&stop))?;
        let words = ["--bootstrap-servers", &servers, "--group", &group, "--topic", &topic, "--report", &report];
        let container = json!({"name": "consumer", "image": "light-consumer:dev", "imagePullPolicy": "Never", "args": words});
        let pod = json!({"terminationGracePeriodSeconds": 10, "containers": [container]});
        deployment(&stand.client, &namespace, "consumer", REPLICAS, pod).await;
        Ok(Self { namespace, group, topic, partitions, seen, listener, stop, producer: Some(producer) })
    }

    pub fn deployments(&self, stand: &Stand) -> Api<Deployment> {
        Api::namespaced(stand.client.clone(), &self.namespace)
    }

    /// Waits until all consumers have all partitions between them, and forgets what was consumed before.
    pub async fn settled(&self, stand: &Stand) -> Result<()> {
        let members = usize::try_from(REPLICAS)?;
        let waiting = async {
            loop {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let found = stand.admin.describe_group(&self.group).await?;
                let ready = self.deployments(stand).get("consumer").await?.status.and_then(|status| status.ready_replicas);
                let complete = group::members(&found) == members && !group::is_rebalancing(&found) && ready == Some(REPLICAS);
                let half_a_second_ago = Timestamp::now() - jiff::SignedDuration::from_millis(500);
                if complete && self.consumed_since(half_a_second_ago).await.len() == usize::try_from(self.partitions)? {
                    return anyhow::Ok(());
                }
            }
        };
        within(PATIENCE, waiting).await.context("the consumers do not settle")??;
        self.seen.lock().await.clear();
        // So that there is a last record before.
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(())
    }

    /// The first record of each partition since then.
    async fn consumed_since(&self, since: Timestamp) -> BTreeMap<i32, Timestamp> {
        let mut first = BTreeMap::new();
        for (at, partition) in self.seen.lock().await.iter().filter(|(at, partition)| *at > since && *partition != LEFT) {
            first.entry(*partition).or_insert(*at);
        }
        first
    }

    /// Waits until all consumers have left and all partitions are consumed again, and says how long that took.
    pub async fn downtime(&self) -> Result<Downtime> {
        let waiting = async {
            loop {
                let left: Vec<_> = self.seen.lock().await.iter().filter(|(_, what)| *what == LEFT).map(|(at, _)| *at).collect();
                if let Some(last) = left.last().filter(|_| left.len() >= usize::try_from(REPLICAS).unwrap_or(0)) {
                    let first = self.consumed_since(*last).await;
                    if i32::try_from(first.len()).is_ok_and(|consumed| consumed == self.partitions) {
                        return (*last, first);
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let Some((left, first)) = within(PATIENCE, waiting).await else { bail!("not all partitions are consumed again") };
        let mut last = BTreeMap::new();
        for (at, partition) in self.seen.lock().await.iter().filter(|(at, partition)| *at <= left && *partition != LEFT) {
            last.insert(*partition, *at);
        }
        let (before, after) = (last.values().max().context("a record before")?, first.values().min().context("one after")?);
        let of_each = first.iter().filter_map(|(partition, after)| last.get(partition).map(|before| between(*before, *after)));
        Ok(Downtime { all: between(*before, *after), longest: of_each.fold(0.0, f64::max), left })
    }

    pub async fn end(mut self, stand: &Stand) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(producer) = self.producer.take() {
            tokio::task::spawn_blocking(move || producer.join()).await?.ok();
        }
        self.listener.abort();
        stand.remove_namespace(&self.namespace).await?;
        stand.broker.delete_topic(&self.topic).await;
        Ok(())
    }
}

async fn listen(socket: UdpSocket, seen: Seen) {
    let mut datagram = [0; 4];
    while socket.recv(&mut datagram).await.is_ok() {
        let now = Timestamp::now();
        seen.lock().await.push((now, i32::from_be_bytes(datagram)));
    }
}

fn produce(stand: &Stand, topic: &str, partitions: i32, stop: Arc<AtomicBool>) -> Result<JoinHandle<()>> {
    let mut config = stand.broker.config();
    config.set("linger.ms", "0").set("acks", "1");
    let producer = ThreadedProducer::<DefaultProducerContext>::from_config(&config)?;
    let topic = topic.to_owned();
    Ok(std::thread::spawn(move || {
        let mut partition = 0;
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..AT_ONCE {
                let record = BaseRecord::<(), str>::to(&topic).partition(partition).payload("x");
                // One that does not fit is one that comes a moment later.
                let _ = producer.send(record);
                partition = (partition + 1) % partitions;
            }
            std::thread::sleep(TICK);
        }
        let _ = producer.flush(Duration::from_secs(5));
    }))
}
