//! The record, and the command: what Kafka's own tool makes of them.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{TestEnv, as_recorded};
use real_tests::{
    kafka_tool::{KafkaTool, Line},
    shop::{T0, status, succeeded},
    unique,
};

#[tokio::test(flavor = "multi_thread")]
async fn before_and_after_are_files_that_kafkas_own_tool_reads() {
    let mut tool = KafkaTool::start(Line::Current).await;
    TestEnv::with(async |stand| {
        let (topic, group) = (stand.topic().await, unique("files"));
        stand.commit(&group, &topic, &[(0, 50), (1, 5)]).await;
        let done = stand.run("files", &group, json!([{"topic": topic, "timestamp": T0 + 30}]), json!({})).await;
        succeeded(&done);
        let record = as_recorded(stand, &done).await;
        assert_eq!(record.before, format!("{topic},0,50\n{topic},1,5\n"));
        assert_eq!(record.after, format!("{topic},0,30\n{topic},1,10\n{topic},2,0\n"));
        assert_eq!(record.skipped, format!("topic,partition,from,to\n{topic},1,5,10\n"));
        assert_eq!(record.replayed, format!("topic,partition,from,to\n{topic},0,30,50\n"));
        assert_eq!(record.partitions, status(&done).partitions);
        assert_eq!(record.partitions[0].before_metadata.as_deref(), Some("of the application"));

        let file = std::env::temp_dir().join(unique("record"));
        for (csv, expected) in [(&record.before, [Some(50), Some(5), Some(0)]), (&record.after, [Some(30), Some(10), Some(0)])] {
            std::fs::write(&file, csv).unwrap();
            let from_file = ["--group", &group, "--reset-offsets", "--from-file", file.to_str().unwrap(), "--execute"];
            let (exit, output) = tool.consumer_groups(&from_file).await;
            assert!(exit == 0 && !output.contains("Error"), "{output}");
            assert_eq!(stand.committed(&group, &topic).await, expected, "{output}");
        }
        std::fs::remove_file(&file).unwrap();

        // It is the reset's own, and goes with it.
        let maps = Api::<ConfigMap>::namespaced(stand.client.clone(), &stand.namespace);
        let name = status(&done).report.as_ref().unwrap().config_map.clone();
        let owner = maps.get(&name).await.unwrap().owner_references()[0].clone();
        assert_eq!((owner.kind.as_str(), owner.name.as_str(), Some(owner.uid)), ("OffsetReset", "files", done.uid()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_equivalent_command_does_the_same() {
    TestEnv::with(async |stand| {
        let (topic, source) = (stand.topic().await, unique("source"));
        stand.commit(&source, &topic, &[(0, 77)]).await;
        let begin = [(0, 50), (1, 5), (2, 0)];
        for (name, entries) in [
            ("offset", json!([{"topic": topic, "offset": 25}])),
            (
                "mixed",
                json!([{"topic": topic, "partition": 0, "position": "Earliest"}, {"topic": topic, "partition": 1, "shiftBy": 2}]),
            ),
            ("time", json!([{"topic": topic, "timestamp": T0 + 41}])),
            ("ago", json!([{"topic": topic, "duration": "1h"}])),
            ("latest", json!([{"topic": topic, "position": "Latest"}])),
            ("pattern", json!([{"topicPattern": format!("{topic}.*"), "offset": 31}])),
            ("from-group", json!([{"topic": topic, "fromGroup": source}])),
        ] {
            let group = unique("command");
            stand.commit(&group, &topic, &begin).await;
            let done = stand.run(name, &group, entries, json!({})).await;
            succeeded(&done);
            let after = stand.committed(&group, &topic).await;
            stand.commit(&group, &topic, &begin).await;
            let command = status(&done).equivalent_command.clone().unwrap();
            let dir = std::env::temp_dir().join(unique("command"));
            std::fs::create_dir(&dir).unwrap();
            let ran = tokio::process::Command::new("sh").args(["-ec", &command]).current_dir(&dir).output().await.unwrap();
            std::fs::remove_dir_all(&dir).unwrap();
            let said = format!("{command}\n{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
            assert!(ran.status.success(), "{said}");
            assert_eq!(stand.committed(&group, &topic).await, after, "{said}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_under_the_name_of_the_record_is_never_overwritten() {
    use kube::api::PostParams;
    use offset_reset_operator::{
        api::{Phase, Reason},
        kubernetes::report_name,
    };

    use super::ended;
    use real_tests::{shop::Operator, wait_for_end, with_namespace};
    with_namespace(async |client, namespace| {
        let stand = TestEnv::open(client.clone(), namespace.clone()).await;
        let (topic, group) = (stand.topic().await, unique("taken"));
        stand.commit(&group, &topic, &[(0, 50)]).await;
        stand.apply("taken", &group, json!([{"topic": topic, "offset": 30}]), json!({})).await;
        let name = report_name(&stand.api.get("taken").await.unwrap());
        let maps = Api::<ConfigMap>::namespaced(client.clone(), &namespace);
        let theirs = serde_json::from_value(json!({"metadata": {"name": name}, "data": {"theirs": "yes"}})).unwrap();
        maps.create(&PostParams::default(), &theirs).await.unwrap();
        let operator = Operator::start(&client, &namespace);
        let done = wait_for_end(&stand.api, "taken").await;
        let message = ended(&done, Phase::Failed, Reason::ReportUnavailable);
        assert!(message.contains("does not belong to this OffsetReset"), "{message}");
        assert!(status(&done).hold.is_none(), "nothing was stopped");
        assert_eq!(stand.committed(&group, &topic).await, [Some(50), None, None]);
        assert_eq!(maps.get(&name).await.unwrap().data.unwrap()["theirs"], "yes");
        operator.end().await;
    })
    .await;
}
