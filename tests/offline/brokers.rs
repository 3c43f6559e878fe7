//! Clusters of many brokers, as librdkafka imitates them, and a client in a process of its own, as the operator has it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use offset_reset_operator::{
    kafka::{Connection, Connector, Pool},
    machine::facts::{Committed, TopicPartition},
};
use rdkafka::mocking::MockCluster;

/// How many brokers the cluster has; by hand up to 500.
fn brokers() -> i32 {
    std::env::var("BROKERS").map_or(100, |count| count.parse().unwrap())
}

fn processes() -> Pool {
    let arguments = ["kafka-client", "--log=off", "--log-format=text"].map(str::to_owned).to_vec();
    Pool::subprocesses(PathBuf::from(env!("CARGO_BIN_EXE_offset-reset-operator")), arguments, Arc::new(|| Duration::MAX))
}

/// The children of this process that are Kafka clients, each with its threads and its memory.
fn clients() -> Vec<String> {
    let own = std::process::id().to_string();
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let statuses = all.filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok());
    let field =
        |status: &str, name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    let ours = statuses.filter(|status| field(status, "PPid:") == own);
    ours.map(|status| ["Threads:", "VmData:", "VmRSS:"].map(|name| format!("{name} {}", field(&status, name))).join(", "))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_broker_of_a_large_cluster_is_asked() {
    let count = brokers();
    let cluster = MockCluster::new(count).unwrap();
    cluster.create_topic("orders", count, 1).unwrap();
    let pool = processes();
    // A few are named, as in life: the others become known from these.
    let named = cluster.bootstrap_servers().split(',').take(3).collect::<Vec<_>>().join(",");
    let admin = pool.connect(&Connection::plain(named)).await.unwrap();
    assert!(admin.cluster_id().await.unwrap().is_some());
    assert_eq!(admin.partitions("orders").await.unwrap(), (0..count).collect::<Vec<_>>());
    // Each partition is led by another broker.
    let all: Vec<TopicPartition> = (0..count).map(|partition| TopicPartition::new("orders", partition)).collect();
    let bounds = admin.bounds(&all).await.unwrap();
    let failed: Vec<_> = bounds.iter().filter(|(_, answer)| answer.is_err()).collect();
    assert!(failed.is_empty(), "{} of {count}: {:?}", failed.len(), failed[0]);
    // Another client of the same process replaces the first one, for it has a group.
    let committed = admin.all_committed("nobody").await;
    assert!(committed.as_ref().is_ok_and(std::collections::BTreeMap::is_empty), "{committed:?}");
    println!("{count} brokers: {:?}", clients());
}

/// By hand up to 200,000. Each partition is named, because librdkafka's imitation has no answer to a question about all of them.
#[tokio::test(flavor = "multi_thread")]
async fn the_offsets_of_a_group_on_many_partitions_are_committed_and_read() {
    let count: i32 = std::env::var("COMMITTED").map_or(10_000, |count| count.parse().unwrap());
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("orders", count, 1).unwrap();
    let pool = processes();
    let admin = pool.connect(&Connection::plain(cluster.bootstrap_servers())).await.unwrap();
    let offset = |partition: i32| Committed { offset: i64::from(partition), metadata: "".into() };
    let all: Vec<(TopicPartition, Committed)> =
        (0..count).map(|partition| (TopicPartition::new("orders", partition), offset(partition))).collect();
    let answers = admin.commit("g", &all).await.unwrap();
    assert!(answers.len() == all.len() && answers.values().all(Result::is_ok));
    let begin = std::time::Instant::now();
    let named: Vec<TopicPartition> = all.iter().map(|(partition, _)| partition.clone()).collect();
    let committed = admin.committed("g", &named).await.unwrap();
    println!("{count} committed partitions in {:.1} s: {:?}", begin.elapsed().as_secs_f64(), clients());
    assert_eq!(committed.len(), all.len());
    assert!(all.iter().all(|(partition, offset)| committed[partition].as_ref().unwrap().as_ref() == Some(offset)));
}
