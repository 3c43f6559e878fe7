//! What is refused while the connector runs: a source, missing rights; and what the operator's account may not do.

use std::{collections::BTreeSet, env, path::Path};

use k8s_openapi::api::rbac::v1::Role;
use offset_reset_operator::api::{Phase, Reason};
use real_tests::{
    people::Person,
    plugin::Plugin,
    shop::{ended, succeeded},
};
use rstest::rstest;

use super::*;

impl Stand {
    /// What the operator was allowed to do with connectors and their subresources, by the audit log of the API server.
    fn used(&self, log: &str) -> BTreeSet<String> {
        // Of another test's request the last line may be half written.
        let lines = log.lines().filter(|line| line.contains(&self.rights.name) && line.contains("kafkaconnectors"));
        let events = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        let allowed = events.filter(|event| event["annotations"]["authorization.k8s.io/decision"] == "allow");
        let verb = |event: Value| {
            let subresource = event["objectRef"]["subresource"].as_str().map(|name| format!(" {name}")).unwrap_or_default();
            format!("{}{subresource}", event["verb"].as_str().unwrap())
        };
        allowed.map(verb).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_refused_with_what_to_use() {
    Stand::with(async |stand, operator| {
        fs::write(file(&stand.name), "a line\n").unwrap();
        let config = json!({"topic": stand.topic, "file": file(&stand.name)});
        stand.create("org.apache.kafka.connect.file.FileStreamSourceConnector", None, config).await;
        stand.is_reported_as("RUNNING").await;
        let group = unique("group");
        stand.commit(&group, &stand.topic, &[(0, 10)]).await;
        stand.apply("source", &group, json!({})).await;
        let done = wait_for_end(&stand.api, "source").await;
        ended(&done, Phase::Failed, Reason::TargetNotScalable);
        let said = status(&done).explanation();
        assert!(said.contains("is a source connector") && said.contains("connector-offsets: alter"), "{said}");
        assert_eq!((stand.state().await, stand.changes().await), (None, 0));
        operator.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_rights_it_is_said_what_to_grant_and_with_them_it_works() {
    Stand::without_rights(async |stand| {
        stand.sink(None, json!({})).await;
        let operator = stand.operator().await;
        let done = stand.run("not-seen").await;
        ended(&done, Phase::Failed, Reason::TargetUnreachable);
        let said = status(&done).explanation();
        assert!(said.contains("cannot get resource") && said.contains("kubectl apply -k deploy/strimzi"), "{said}");
        stand.rights.kubectl("apply", &RIGHTS.replace("[get, patch]", "[get]")).await;
        let done = stand.run("not-stopped").await;
        ended(&done, Phase::Failed, Reason::TargetUnreachable);
        let said = status(&done).explanation();
        assert!(said.contains("cannot patch resource") && said.contains("kubectl apply -k deploy/strimzi"), "{said}");
        assert_eq!((stand.changes().await, status(&done).hold.is_none()), (0, true), "nothing was stopped");
        stand.rights.kubectl("apply", RIGHTS).await;
        succeeded(&stand.run("allowed").await);
        operator.end().await;
        if let Some(log) = env::var_os("SANDBOX_DIR").map(|dir| Path::new(&dir).join("audit.log")) {
            let used = stand.used(&fs::read_to_string(log).unwrap());
            assert_eq!(used, ["get", "patch"].map(str::to_owned).into(), "exactly what deploy/strimzi grants");
        }
        stand.rights.kubectl("delete", RIGHTS).await;
    })
    .await;
}

/// Whoever may patch a connector may have it write elsewhere: a policy holds the operator's account to the state.
#[tokio::test(flavor = "multi_thread")]
async fn the_account_of_the_operator_changes_the_state_and_nothing_else() {
    Stand::with(async |stand, operator| {
        stand.sink(None, json!({})).await;
        operator.end().await;
        let stolen = connectors(&stand.rights.client().await, &stand.namespace);
        for change in [
            json!({"spec": {"config": {"file": "/tmp/elsewhere"}}}),
            json!({"spec": {"config": {"file": null}}}),
            json!({"spec": {"state": "stopped", "tasksMax": 7}}),
            json!({"spec": {"class": "org.example.Other"}}),
            json!({"spec": {"alterOffsets": {"fromConfigMap": {"name": "c"}}}}),
            json!({"metadata": {"annotations": {"strimzi.io/connector-offsets": "reset"}}}),
            json!({"metadata": {"labels": {"strimzi.io/cluster": "other"}}}),
            json!({"metadata": {"finalizers": ["tests.offsetreset.dev/kept"]}}),
        ] {
            let answer = stolen.patch(&stand.name, &PatchParams::default(), &Patch::Merge(&change)).await;
            let why = answer.expect_err("it is refused").to_string();
            assert!(why.contains("the operator changes spec.state, and nothing else"), "{change}: {why}");
        }
        for state in [json!("stopped"), json!("paused"), Value::Null] {
            stolen.patch(&stand.name, &PatchParams::default(), &Patch::Merge(&json!({"spec": {"state": state}}))).await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plugin_says_which_rights_are_missing_where_there_are_connectors() {
    Stand::without_rights(async |stand| {
        let checked = async |plugin: Plugin| plugin.run(&["check"]).await.out;
        let said = checked(Plugin::new(&stand.namespace)).await;
        assert!(!said.contains("KafkaConnectors"), "where there are none, nothing is said of them: {said}");
        let config = json!({"topics": stand.topic, "file": file(&stand.name)});
        stand.create("org.apache.kafka.connect.file.FileStreamSinkConnector", None, config).await;
        let said = checked(Plugin::new(&stand.namespace)).await;
        assert!(
            said.contains("⚠ KafkaConnectors exist, and the operator has no rights to read and stop KafkaConnectors"),
            "{said}"
        );
        assert!(said.contains("kubectl apply -k deploy/strimzi, or strimzi.enabled of the Helm chart"), "{said}");
        assert!(said.contains("✔ you may stop KafkaConnectors for a reset"), "{said}");
        // As where the operator watches some namespaces.
        let role = json!({"metadata": {"name": "offset-reset-operator-strimzi"}, "rules": []});
        let roles = Api::<Role>::namespaced(stand.client.clone(), &stand.namespace);
        roles.create(&PostParams::default(), &serde_json::from_value(role).unwrap()).await.unwrap();
        let may = ["list kafkaconnectors.kafka.strimzi.io"];
        let viewer = Person::new("viewer").await.may(&stand.client, &stand.namespace, &may).await;
        let said = checked(Plugin::new(&stand.namespace)).await;
        assert!(
            said.contains("✔ KafkaConnectors exist, and the operator has the rights to read and stop KafkaConnectors"),
            "{said}"
        );
        let said = checked(Plugin::called(&stand.namespace, &viewer.name)).await;
        assert!(said.contains("⚠ you may not stop KafkaConnectors for a reset in namespace"), "{said}");
    })
    .await;
}

/// What cannot be a target is refused when the OffsetReset is created.
#[rstest]
#[case::a_canary(
    json!({"restore": {"canary": {}}}), "restore.canary cannot be combined with a KafkaConnector in targetRefs. A connector has no replicas"
)]
#[case::the_cluster(
    json!({"targetRefs": [{"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaConnect", "name": "connect"}]}),
    "a KafkaConnect cannot be a target, because it runs several connectors. Write kind: KafkaConnector"
)]
#[case::a_mirror(
    json!({"targetRefs": [{"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaMirrorMaker2", "name": "mirror"}]}),
    "its source connectors have no consumer group. In its sourceConnector set state: stopped"
)]
#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_state_to_set_is_refused_at_creation(#[case] change: Value, #[case] words: &str) {
    with_namespace(async |client, namespace| {
        let mut spec = json!({"targetRefs": [{"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaConnector", "name": "sink"}]});
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let wanted = reset("r", "g", &json!([{"topic": "t", "offset": 1}]), &spec);
        let why =
            resets(&client, &namespace).create(&PostParams::default(), &wanted).await.expect_err("it is refused").to_string();
        assert!(why.contains(words), "{why}");
    })
    .await;
}
