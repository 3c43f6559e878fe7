//! The metadata string beside a committed offset: some consumers keep state in it.

use offset_reset_operator::{
    api::{PartitionOutcome, Phase, Reason},
    machine::facts::{Committed, TopicPartition},
};
use serde_json::json;

use super::{
    TestEnv, ended,
    faults::{Fault, Faulty},
    tp,
};
use real_tests::{
    shop::{status, succeeded},
    unique, wait_for_end, with_namespace,
};

/// As parallel-consumer writes it: the records after the offset that are processed already.
const STATE: &str = "bAAkAAoA";

async fn commit(stand: &TestEnv, group: &str, at: &TopicPartition, offset: i64, metadata: &str) {
    let committed = Committed { offset, metadata: metadata.into() };
    assert_eq!(stand.admin.commit(group, &[(at.clone(), committed)]).await.unwrap()[at], Ok(()));
}

async fn committed(stand: &TestEnv, group: &str, at: &TopicPartition) -> Committed {
    stand.admin.committed(group, std::slice::from_ref(at)).await.unwrap()[at].clone().unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_restores_the_metadata_together_with_its_offset() {
    TestEnv::with(async |stand| {
        let (topic, group) = (stand.topic().await, unique("metadata"));
        let at = tp(&topic, 0);
        commit(stand, &group, &at, 50, STATE).await;
        let entries = json!([{"topic": topic, "partition": 0, "offset": 30}]);
        let done = stand.run("mistake", &group, entries.clone(), json!({})).await;
        succeeded(&done);
        assert_eq!(status(&done).partitions[0].before_metadata.as_deref(), Some(STATE));
        assert!(committed(stand, &group, &at).await.metadata.text().unwrap().starts_with("offset-reset/"));
        succeeded(&stand.run("back", &group, json!([]), json!({"undo": {"name": "mistake"}})).await);
        assert_eq!(committed(stand, &group, &at).await, Committed { offset: 50, metadata: STATE.into() });

        // Once more: both are as before already.
        let again = stand.run("again", &group, json!([]), json!({"undo": {"name": "mistake"}})).await;
        ended(&again, Phase::Succeeded, Reason::NothingToChange);
        assert!(status(&again).commits == 0 && status(&again).hold.is_none());

        // Its offset has expired, and the metadata belongs to that offset alone.
        succeeded(&stand.run("once-more", &group, entries, json!({})).await);
        stand.broker.delete_records(&topic, &[(0, 60)]).await;
        let moved = stand.run("moved", &group, json!([]), json!({"undo": {"name": "once-more"}})).await;
        succeeded(&moved);
        let warnings = status(&moved).warnings.join("\n");
        assert!(
            warnings.contains(&format!("metadata from before is not restored on partition 0 of topic {topic}")),
            "{warnings}"
        );
        let stands = committed(stand, &group, &at).await;
        assert!(stands.offset == 60 && stands.metadata.text().unwrap().starts_with("offset-reset/"), "{stands:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_is_where_somebody_looks_who_wonders_about_an_offset() {
    TestEnv::with(async |stand| {
        let (topic, group) = (stand.topic().await, unique("reason"));
        let at = tp(&topic, 0);
        commit(stand, &group, &at, 50, STATE).await;
        let why = "INC-4711: replay, see https://wiki.example.com/a b";
        let entries = json!([{"topic": topic, "partition": 0, "offset": 30}]);
        let done = stand.run("why", &group, entries, json!({"reason": why})).await;
        succeeded(&done);
        let metadata = committed(stand, &group, &at).await.metadata;
        let uid = done.metadata.uid.as_ref().unwrap();
        assert_eq!(metadata.text().unwrap(), format!("offset-reset/{}/why/{uid} {why}", stand.namespace));
        assert!(!status(&done).partitions[0].metadata_not_stored && !status(&done).partitions[0].reason_not_stored);

        let maps = kube::Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(stand.client.clone(), &stand.namespace);
        let file = async |name: &str, key: &str| maps.get(name).await.unwrap().data.unwrap()[key].clone();
        let (report, receipt) = (status(&done).report.as_ref().unwrap(), status(&done).receipt.as_ref().unwrap());
        assert_eq!(file(&report.config_map, "reason.txt").await, format!("{why}\n"));
        assert_eq!(file(&receipt.config_map, "reason").await, why);
        let events = kube::Api::<k8s_openapi::api::events::v1::Event>::namespaced(stand.client.clone(), &stand.namespace);
        let ends = format!(". spec.reason: {why}");
        let published = async {
            loop {
                let all = events.list(&kube::api::ListParams::default()).await.unwrap();
                let of_it =
                    all.items.iter().filter(|event| event.regarding.as_ref().is_some_and(|on| on.uid.as_ref() == Some(uid)));
                let notes: Vec<_> = of_it.filter_map(|event| event.note.clone()).collect();
                if !notes.is_empty() {
                    return notes;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        };
        let notes = real_tests::within(real_tests::PATIENCE, published).await.expect("its Events");
        assert!(notes.iter().all(|note| note.ends_with(&ends)), "{notes:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_already_keeps_its_metadata_and_stops_nothing() {
    TestEnv::with(async |stand| {
        let (topic, group) = (stand.topic().await, unique("unchanged"));
        stand.deployment().await;
        commit(stand, &group, &tp(&topic, 0), 50, STATE).await;
        let targets = json!({"targetRefs": [{"name": "consumer"}]});
        let entries = json!([{"topic": topic, "partition": 0, "offset": 50}]);
        let done = stand.run("same", &group, entries, targets).await;
        let message = ended(&done, Phase::Succeeded, Reason::NothingToChange);
        assert!(message.starts_with("The committed offset is already as requested"), "{message}");
        assert_eq!(status(&done).partitions[0].outcome, PartitionOutcome::Unchanged);
        assert_eq!((stand.changes().await, status(&done).receipt.is_none()), (0, true));
        // Beside one that is to be changed.
        commit(stand, &group, &tp(&topic, 1), 7, STATE).await;
        let both = json!([{"topic": topic, "partition": 0, "offset": 50}, {"topic": topic, "partition": 1, "offset": 5}]);
        succeeded(&stand.run("one-of-two", &group, both, json!({})).await);
        assert_eq!(committed(stand, &group, &tp(&topic, 0)).await, Committed { offset: 50, metadata: STATE.into() });
        assert_eq!(committed(stand, &group, &tp(&topic, 1)).await.offset, 5);
    })
    .await;
}

/// A proxy or a broker that keeps no metadata, or the beginning of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_drops_or_cuts_metadata_still_gets_its_reset() {
    for kept in [0, 16] {
        with_namespace(async |client, namespace| {
            let stand = TestEnv::open(client, namespace).await;
            let (topic, group) = (stand.topic().await, unique("dropped"));
            stand.commit(&group, &topic, &[(0, 50), (1, 5)]).await;
            let entries = json!([{"topic": topic, "partition": 0, "offset": 30}, {"topic": topic, "partition": 1, "offset": 3}]);
            let apply = stand.apply("dropped", &group, entries, json!({}));
            let operator = Faulty::new(Fault::MetadataCut(kept)).start(&stand, apply).await;
            let done = wait_for_end(&stand.api, "dropped").await;
            succeeded(&done);
            assert!(status(&done).partitions.iter().all(|partition| partition.metadata_not_stored));
            let message = status(&done).explanation();
            assert!(message.contains("The broker did not return the metadata of the commits of 2 partitions"), "{message}");
            assert_eq!((status(&done).commits, stand.committed(&group, &topic).await), (2, [Some(30), Some(3), None]));
            operator.end().await;
        })
        .await;
    }
}

/// Azure Event Hubs speaks Kafka's protocol and answers otherwise than Kafka.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_dead_with_commits_and_a_cluster_without_an_id_get_their_reset() {
    with_namespace(async |client, namespace| {
        let stand = TestEnv::open(client, namespace).await;
        let (topic, group) = (stand.topic().await, unique("event-hubs"));
        stand.commit(&group, &topic, &[(0, 50), (1, 5)]).await;
        let entries =
            json!([{"topic": topic, "partition": 0, "offset": 30}, {"topic": topic, "partition": 1, "position": "Earliest"}]);
        let operator = Faulty::new(Fault::EventHubs).start(&stand, stand.apply("dead", &group, entries, json!({}))).await;
        let done = wait_for_end(&stand.api, "dead").await;
        succeeded(&done);
        let seen = status(&done).group.clone().unwrap();
        assert_eq!((seen.cluster_id, status(&done).commits), (None, 1), "{:?}", status(&done));
        assert_eq!(stand.committed(&group, &topic).await, [Some(30), Some(0), None]);
        operator.end().await;
    })
    .await;
}
