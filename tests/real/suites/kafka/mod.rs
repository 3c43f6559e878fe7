//! The Kafka adapter on a real broker.

mod access;
mod apart;
mod edges;
mod groups;
mod offsets;
mod others;
mod silent;
pub mod transactions;
pub mod wire;

use std::{process::Stdio, sync::Arc, time::Duration};

use offset_reset_operator::{
    kafka::{Connection, Connector, GroupAdmin},
    machine::facts::{Committed, Group, KafkaErrorKind, TopicPartition},
};

async fn admin() -> Arc<dyn GroupAdmin> {
    connect(&real_tests::brokers()).await
}

async fn connect(brokers: &str) -> Arc<dyn GroupAdmin> {
    real_tests::process::clients().connect(&Connection::plain(brokers)).await.unwrap()
}

fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

fn to(offset: i64) -> Committed {
    Committed { offset, metadata: "offset-reset/shop/replay/uid".into() }
}

/// Waits until the group is as wished; the broker sends no events about groups.
async fn group_until(admin: &dyn GroupAdmin, name: &str, wished: impl Fn(&Group) -> bool) -> Group {
    let mut last = None;
    let waiting = async {
        loop {
            let group = admin.describe_group(name).await.unwrap();
            if wished(&group) {
                return group;
            }
            last = Some(group);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let found = real_tests::within(real_tests::PATIENCE, waiting).await;
    found.unwrap_or_else(|| panic!("last seen: {last:?}"))
}

/// A topic whose partitions all have their leaders: a broker that is busy says "unknown" for a while after it has created one.
async fn topic(name: &str, count: i32) -> String {
    let topic = real_tests::topic(name, count).await;
    let (admin, partitions) = (admin().await, (0..count).map(|partition| tp(&topic, partition)).collect::<Vec<_>>());
    let led = async {
        loop {
            let bounds = admin.bounds(&partitions).await.unwrap();
            assert_eq!(bounds.len(), partitions.len());
            if bounds.values().all(Result::is_ok) {
                return;
            }
            let is_early = |kind: KafkaErrorKind| kind.is_transient() || kind == KafkaErrorKind::UnknownTopicOrPartition;
            let wrong = bounds.values().filter_map(|bounds| bounds.as_ref().err()).find(|error| !is_early(error.kind));
            assert!(wrong.is_none(), "{wrong:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    real_tests::within(real_tests::PATIENCE, led).await.unwrap();
    topic
}

fn is_stable(group: &Group, members: usize) -> bool {
    matches!(group, Group::Found(found) if found.members.len() == members && found.members.iter().all(|member| member.assigned > 0))
}

/// One of Kafka's own programs, from the jars beside its command-line tools. Ends with the test, however that ends.
fn kafka_program(class: &str, arguments: &[&str]) -> tokio::process::Child {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let bin = std::env::split_paths(&path).find(|dir| dir.join("kafka-console-consumer").is_file());
    let libs = bin.expect("kafka-console-consumer is on the PATH, as in `cargo sandbox exec`").join("../libs/*");
    let mut java = tokio::process::Command::new("java");
    java.args(["-Xmx128m", "-cp", libs.to_str().unwrap(), class, "--bootstrap-server", &real_tests::brokers()]);
    java.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap()
}
