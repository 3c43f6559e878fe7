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
    machine::facts::{Committed, Group, TopicPartition},
};
use real_tests::topic;

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
