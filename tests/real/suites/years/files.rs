//! Resets from a file of Kafka's own tool.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use offset_reset_operator::api::{OffsetReset, Phase, Reason};
use real_tests::{
    consumers::{Consumed, Kind, Member},
    env::TestEnv,
    kafka_tool::{KafkaTool, Line},
    shop::{Operator, ended, status, succeeded},
    unique, wait_for_end, wait_for_phase, with_namespace,
};
use rstest::rstest;
use serde_json::{Value, json};

const KEY: &str = "offsets.csv";

fn config_maps(stand: &TestEnv) -> Api<ConfigMap> {
    Api::namespaced(stand.client.clone(), &stand.namespace)
}

async fn store(stand: &TestEnv, name: &str, text: &str) {
    let mut file = ConfigMap { data: Some(BTreeMap::from([(KEY.to_owned(), text.to_owned())])), ..ConfigMap::default() };
    file.metadata.name = Some(name.to_owned());
    config_maps(stand).create(&PostParams::default(), &file).await.unwrap();
}

fn from(file: &str, mut spec: Value) -> Value {
    spec["resetsFrom"] = json!({"configMapKeyRef": {"name": file, "key": KEY}});
    spec
}

async fn run(stand: &TestEnv, name: &str, group: &str, spec: Value) -> OffsetReset {
    stand.apply(name, group, json!([]), spec).await;
    wait_for_end(&stand.api, name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kafkas_tool_exports_is_committed_as_it_stands() {
    TestEnv::with(async |stand| {
        let (topic, group, other) = (stand.topic().await, unique("export"), unique("other"));
        stand.commit(&group, &topic, &[(0, 50), (1, 5)]).await;
        stand.commit(&other, &topic, &[(0, 7)]).await;
        let mut tool = KafkaTool::start(Line::Current).await;
        let export = ["--topic", &topic, "--reset-offsets", "--to-current", "--dry-run", "--export"];
        for (name, groups) in [("one", vec!["--group", &group]), ("several", vec!["--group", &group, "--group", &other])] {
            let (code, printed) = tool.consumer_groups(&[&groups[..], &export[..]].concat()).await;
            assert_eq!(code, 0, "{printed}");
            let lines: Vec<&str> = printed.lines().filter(|line| line.contains(&format!("{topic},"))).collect();
            let csv = lines.join("\n") + "\n";
            stand.commit(&group, &topic, &[(0, 80), (1, 8)]).await;
            store(stand, name, &csv).await;
            succeeded(&run(stand, name, &group, from(name, json!({}))).await);
            assert_eq!(stand.committed(&group, &topic).await[..2], [Some(50), Some(5)], "{csv}");
        }
        assert_eq!(stand.committed(&other, &topic).await[0], Some(7), "the lines of another group are ignored");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_line_is_named_and_a_missing_file_waited_for() {
    TestEnv::with(async |stand| {
        let (topic, group) = (stand.topic().await, unique("wrong"));
        stand.commit(&group, &topic, &[(0, 50)]).await;
        store(stand, "wrong", &format!("{topic},0,10\n{topic},0,20\n")).await;
        let message = ended(&run(stand, "wrong", &group, from("wrong", json!({}))).await, Phase::Failed, Reason::InvalidSpec);
        let expected =
            format!("key {KEY} of ConfigMap wrong cannot be used: line 2: partition 0 of topic {topic} is in line 1 already");
        assert!(message.contains(&expected), "{message}");
        assert_eq!(stand.committed(&group, &topic).await[0], Some(50));

        stand.apply("late", &group, json!([]), from("late", json!({}))).await;
        let waits = async || {
            let found = stand.api.get("late").await.unwrap();
            found.status.and_then(|status| status.reason) == Some(Reason::ResetsFromUnavailable)
        };
        stand.until("waiting", async |_| waits().await).await;
        store(stand, "late", &format!("{topic},0,30\n")).await;
        succeeded(&wait_for_end(&stand.api, "late").await);
        assert_eq!(stand.committed(&group, &topic).await[0], Some(30));
    })
    .await;
}

/// The plan stands when the consumers are stopped. What happens to the file from then on, and which operator goes on with the
/// reset, changes nothing of it.
#[rstest]
#[case::other_offsets(Some("TOPIC,0,60\nTOPIC,1,6\n"))]
#[case::other_partitions(Some("TOPIC,2,0\n"))]
#[case::wrong_lines(Some("TOPIC,0,-1\nnonsense\n"))]
#[case::deleted(None)]
#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_frozen_into_the_plan(#[case] change: Option<&str>) {
    with_namespace(async |client, namespace| {
        let stand = TestEnv::open(client, namespace).await;
        let (topic, group) = (stand.topic().await, unique("frozen"));
        stand.commit(&group, &topic, &[(0, 50), (1, 5)]).await;
        stand.deployment().await;
        // A member outside of the cluster keeps the reset waiting at zero.
        let kind = Kind { never_commits: true, ..Kind::default() };
        let member = Member::start(&group, std::slice::from_ref(&topic), &kind, 0, Consumed::default());
        stand.members(&group, 1).await;
        store(&stand, "frozen", &format!("{topic},0,30\n{topic},1,3\n")).await;

        let operator = Operator::start(&stand.client, &stand.namespace);
        let spec = json!({"targetRefs": [{"name": "consumer"}], "drainTimeout": "10m", "holdTimeout": "20m"});
        stand.apply("frozen", &group, json!([]), from("frozen", spec)).await;
        let planned = wait_for_phase(&stand.api, "frozen", Phase::Draining).await;
        let targets = |reset: &OffsetReset| -> Vec<(i32, i64)> {
            status(reset).partitions.iter().map(|planned| (planned.partition, planned.target_offset.unwrap())).collect()
        };
        assert_eq!(targets(&planned), [(0, 30), (1, 3)]);
        match change {
            Some(text) => {
                let patch = json!({"data": {KEY: text.replace("TOPIC", &topic)}});
                config_maps(&stand).patch("frozen", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
            }
            None => _ = config_maps(&stand).delete("frozen", &DeleteParams::default()).await.unwrap(),
        }
        // Another operator has only what is stored.
        operator.kill().await;
        let operator = Operator::start(&stand.client, &stand.namespace);
        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
        let done = wait_for_end(&stand.api, "frozen").await;
        succeeded(&done);
        assert_eq!(targets(&done), [(0, 30), (1, 3)]);
        assert_eq!(stand.committed(&group, &topic).await, [Some(30), Some(3), None]);
        operator.end().await;
    })
    .await;
}
