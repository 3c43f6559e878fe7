//! Every target, the plan, the record, undo and shared stops: real OffsetResets on a real API server and a real broker.
//!
//! Most groups here have commits and no consumers, so that each reset takes a fraction of a second; what consumers do is in `resets` and `e2e`.

mod dying;
pub mod faults;
mod goals;
mod large;
mod metadata;
mod orphans;
mod plans;
mod receipts;
mod recreated;
mod reports;
mod sharing;
mod transactions;
mod undo;

use std::io::Read;

use flate2::read::GzDecoder;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use offset_reset_operator::{
    api::{OffsetReset, PartitionStatus},
    machine::facts::TopicPartition,
};
use real_tests::{
    PATIENCE,
    env::TestEnv,
    shop::{ended, status},
};

fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

/// The record of a reset, read as an admin would.
struct Recorded {
    before: String,
    after: String,
    skipped: String,
    replayed: String,
    partitions: Vec<PartitionStatus>,
}

async fn as_recorded(stand: &TestEnv, reset: &OffsetReset) -> Recorded {
    let place = status(reset).report.clone().expect("it says where its report is");
    let found = Api::<ConfigMap>::namespaced(stand.client.clone(), &stand.namespace).get(&place.config_map).await.unwrap();
    let file = |name: &str| {
        if place.compressed {
            let mut text = String::new();
            let bytes = &found.binary_data.as_ref().unwrap()[&format!("{name}.gz")].0;
            GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
            text
        } else {
            found.data.as_ref().unwrap()[name].clone()
        }
    };
    let partitions = serde_json::from_str(&file("partitions.json")).unwrap();
    let (skipped, replayed) = (file("skipped.csv"), file("replayed.csv"));
    Recorded { before: file("before.csv"), after: file("after.csv"), skipped, replayed, partitions }
}
