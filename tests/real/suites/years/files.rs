//! Resets from a file of Kafka's own tool.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::PostParams};
use offset_reset_operator::api::{OffsetReset, Phase, Reason};
use real_tests::{
    env::TestEnv,
    kafka_tool::{KafkaTool, Line},
    shop::{ended, succeeded},
    unique, wait_for_end,
};
use serde_json::{Value, json};

const KEY: &str = "offsets.csv";

async fn store(stand: &TestEnv, name: &str, text: &str) {
    let mut file = ConfigMap { data: Some(BTreeMap::from([(KEY.to_owned(), text.to_owned())])), ..ConfigMap::default() };
    file.metadata.name = Some(name.to_owned());
    Api::<ConfigMap>::namespaced(stand.client.clone(), &stand.namespace).create(&PostParams::default(), &file).await.unwrap();
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
