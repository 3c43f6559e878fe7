//! Real consumers that follow a Deployment's replicas, for tests on a control plane alone, where nobody runs pods.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client};
use offset_reset_operator::{
    kafka::GroupAdmin,
    machine::facts::{Group, GroupMember, group},
};
use rdkafka::{
    ClientConfig, Message,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    types::RDKafkaErrorCode,
};

use super::{PATIENCE, brokers, within};

/// How long consumers may take to end before others are started.
const GRACE: Duration = Duration::from_secs(10);

/// How the consumers are.
#[derive(Clone, Debug, Default)]
pub struct Kind {
    /// KIP-848 instead of the classic protocol.
    pub consumer_protocol: bool,
    /// Static members: they do not leave the group when they stop, and stay until their session ends.
    pub is_static: bool,
    /// `session.timeout.ms` of the classic protocol.
    pub session_timeout_ms: Option<u32>,
    /// They never commit, so that what the operator has committed stays and can be read.
    pub never_commits: bool,
    /// How long they take for a record.
    pub per_record: Duration,
    /// They end when they have had no partition for that long since their start, as under a liveness probe: a consumer of librdkafka
    /// 2.12.1 that was started while its only broker was frozen sometimes never joins, and reports no error either.
    pub joins_within: Option<Duration>,
    /// Another broker than the one that all tests use.
    pub bootstrap_servers: Option<String>,
}

/// What was consumed: topic, partition and offset, in order.
pub type Consumed = Arc<Mutex<Vec<(String, i32, i64)>>>;

/// One consumer on a thread of its own.
pub struct Member {
    stop: Arc<AtomicBool>,
    /// It has ended by itself, without ever having had a partition.
    failed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    pub fn start(group: &str, topics: &[String], kind: &Kind, index: usize, consumed: Consumed) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", kind.bootstrap_servers.clone().unwrap_or_else(brokers))
            .set("group.id", group)
            .set("client.id", format!("consumer-{index}"))
            .set("auto.offset.reset", "earliest")
            .set("auto.commit.interval.ms", "200");
        if kind.consumer_protocol {
            config.set("group.protocol", "consumer");
        } else {
            config
                .set("session.timeout.ms", kind.session_timeout_ms.unwrap_or(10_000).to_string())
                .set("heartbeat.interval.ms", "500");
        }
        if kind.never_commits {
            config.set("enable.auto.commit", "false");
        }
        if kind.is_static {
            config.set("group.instance.id", format!("instance-{index}"));
        }
        let native: BaseConsumer = config.create().unwrap();
        native.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let failed = Arc::new(AtomicBool::new(false));
        let (stopped, fails, per_record, joins_within) =
            (Arc::clone(&stop), Arc::clone(&failed), kind.per_record, kind.joins_within);
        let thread = std::thread::spawn(move || {
            let (mut had_partitions, begin) = (false, Instant::now());
            while !stopped.load(Ordering::Relaxed) {
                if !had_partitions && joins_within.is_some_and(|limit| begin.elapsed() > limit) {
                    had_partitions = native.assignment().is_ok_and(|found| found.count() > 0);
                    if !had_partitions {
                        fails.store(true, Ordering::Relaxed);
                        return;
                    }
                }
                match native.poll(Duration::from_millis(50)) {
                    Some(Ok(message)) => {
                        had_partitions = true;
                        consumed.lock().unwrap().push((message.topic().to_owned(), message.partition(), message.offset()));
                        std::thread::sleep(per_record);
                    }
                    // As applications do that end at an error, and are started again by their kubelet: a consumer of librdkafka
                    // 2.12.1 that was started while its only broker was frozen did not always join when the broker went on.
                    Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AllBrokersDown))) => {
                        had_partitions |= native.assignment().is_ok_and(|found| found.count() > 0);
                        if !had_partitions {
                            fails.store(true, Ordering::Relaxed);
                            return;
                        }
                    }
                    Some(Err(_)) | None => {}
                }
            }
            // Dropped here: commits, and leaves the group unless it is a static member.
        });
        Self { stop, failed, thread: Some(thread) }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Keeps as many consumers as a Deployment has replicas.
pub struct Follower {
    task: tokio::task::JoinHandle<()>,
    pub consumed: Consumed,
}

impl Follower {
    pub fn start(client: &Client, namespace: &str, deployment: &str, group: &str, topics: &[String], kind: &Kind) -> Self {
        let consumed = Consumed::default();
        let (client, namespace, deployment) = (client.clone(), namespace.to_owned(), deployment.to_owned());
        let (group, topics, kind, into) = (group.to_owned(), topics.to_vec(), kind.clone(), Arc::clone(&consumed));
        let task = tokio::spawn(async move {
            let mut members: Vec<Member> = vec![];
            loop {
                let wanted = wanted(&client, &namespace, &deployment).await.unwrap_or(members.len());
                for (index, member) in members.iter_mut().enumerate().take(wanted) {
                    if member.failed.load(Ordering::Relaxed) {
                        let started = Member::start(&group, &topics, &kind, index, Arc::clone(&into));
                        let ended = std::mem::replace(member, started);
                        // Its end may wait for a broker that is silent.
                        tokio::task::spawn_blocking(move || drop(ended));
                    }
                }
                while members.len() < wanted {
                    members.push(Member::start(&group, &topics, &kind, members.len(), Arc::clone(&into)));
                }
                if members.len() > wanted {
                    // Stopping blocks; all of them at once, as a kubelet would.
                    let leaving: Vec<Member> = members.drain(wanted..).collect();
                    for member in &leaving {
                        member.stop.store(true, Ordering::Relaxed);
                    }
                    // And as a kubelet, it waits no longer than a grace: closing may wait for a broker that is silent.
                    if let Some(closed) = within(GRACE, tokio::task::spawn_blocking(move || drop(leaving))).await {
                        closed.unwrap();
                    }
                }
                // There is no event for a thread to follow; a kubelet takes longer than this.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Self { task, consumed }
    }

    /// The smallest offset consumed of each partition of a topic, since `from` in the list.
    pub fn first_since(&self, from: usize, topic: &str) -> HashMap<i32, i64> {
        let mut first = HashMap::new();
        for (_, partition, offset) in self.consumed.lock().unwrap()[from..].iter().filter(|(name, ..)| name == topic) {
            let entry = first.entry(*partition).or_insert(*offset);
            *entry = (*entry).min(*offset);
        }
        first
    }

    /// How often a record was consumed.
    pub fn times(&self, topic: &str, partition: i32, offset: i64) -> usize {
        let consumed = self.consumed.lock().unwrap();
        consumed.iter().filter(|(name, of, at)| (name.as_str(), *of, *at) == (topic, partition, offset)).count()
    }

    pub fn count(&self) -> usize {
        self.consumed.lock().unwrap().len()
    }
}

/// As many as it has replicas, and none when it is gone; unknown when nobody answers.
async fn wanted(client: &Client, namespace: &str, deployment: &str) -> Option<usize> {
    match Api::<Deployment>::namespaced(client.clone(), namespace).get_scale(deployment).await {
        Ok(scale) => usize::try_from(scale.spec.and_then(|spec| spec.replicas).unwrap_or(0)).ok(),
        Err(kube::Error::Api(status)) if status.is_not_found() => Some(0),
        Err(_) => None,
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits until a group has so many members, and is not being rebalanced.
pub async fn members(admin: &dyn GroupAdmin, group: &str, count: usize) -> Vec<GroupMember> {
    let there = async {
        loop {
            let found = admin.describe_group(group).await.unwrap();
            if group::members(&found) == count && !group::is_rebalancing(&found) {
                return match found {
                    Group::NotFound => vec![],
                    Group::Found(found) => found.members,
                };
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(PATIENCE, there).await.expect("so many members")
}
