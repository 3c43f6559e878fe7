//! Nobody has the operator stop what they may not scale themselves.

use futures::future::join_all;
use offset_reset_operator::api::MAX_TARGETS;
use tokio::process::Command;

use super::*;
use real_tests::{
    broker::Broker,
    condition, deployment, environment, replicas,
    shop::{Operator, succeeded},
    wait_for_end,
};

/// A group that the broker knows, and a Deployment that somebody runs.
async fn shop(admin: &Client, namespace: &str) -> (String, String) {
    use offset_reset_operator::machine::facts::{Committed, TopicPartition};
    let broker = Broker::default();
    let (topic, group) = (broker.topic("admission", 1).await, unique("admission"));
    broker.produce(&topic, 0, &[1_571_812_144_000; 10]).await;
    let group_admin = broker.group_admin().await;
    let consumed = Committed { offset: 10, metadata: "".into() };
    let answers = group_admin.commit(&group, &[(TopicPartition::new(&topic, 0), consumed)]).await.unwrap();
    assert!(answers.values().all(Result::is_ok), "{answers:?}");
    deployment(admin, namespace, "orders", 3, json!({"containers": [{"name": "c", "image": "nobody-runs-it"}]})).await;
    (topic, group)
}

fn attack((topic, group): &(String, String)) -> Value {
    let kafka = json!({"bootstrapServers": real_tests::brokers()});
    reset("outage", &json!({"kafka": kafka, "group": group, "resets": [{"topic": topic, "offset": 1}], "suspend": false}))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_policy_whoever_may_create_resets_stops_somebodys_deployment() {
    unguarded(async |admin, namespace| {
        let operator = Operator::start(admin, namespace);
        let mallory = Person::new("mallory").await.may(admin, namespace, &[RESETS]).await;
        create(&mallory.client, namespace, &attack(&shop(admin, namespace).await)).await.unwrap();
        let stopped = wait_for_end(&resets(admin, namespace), "outage").await;
        assert_eq!(condition(&stopped, "ConsumersStopped").0, "True", "they were at zero");
        operator.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_policy_somebodys_deployment_is_not_stopped_for_whoever_may_only_create_resets() {
    guarded(async |admin, namespace| {
        let operator = Operator::start(admin, namespace);
        let attack = attack(&shop(admin, namespace).await);
        let mallory = Person::new("mallory").await.may(admin, namespace, &[RESETS]).await;
        let why = refused(&create(&mallory.client, namespace, &attack).await, "targets", &mallory.name);
        assert!(why.contains(
            "may not scale Deployment/orders, which this OffsetReset would stop: update on deployments.apps/scale is missing"
        ));
        assert_eq!(replicas(admin, namespace, "orders").await, 3);

        // Whoever has the right has the reset: the policies are not in the way of the operator's finalizers, status, Leases and ConfigMaps.
        let alice = Person::new("alice").await;
        let alice = alice.may(admin, namespace, &[RESETS, "update deployments.apps/scale orders"]).await;
        create(&alice.client, namespace, &attack).await.unwrap();
        succeeded(&wait_for_end(&resets(admin, namespace), "outage").await);
        assert_eq!(replicas(admin, namespace, "orders").await, 3);
        operator.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_refusal_tells_to_run_grants_just_what_is_missing() {
    guarded(async |admin, namespace| {
        let account = format!("system:serviceaccount:{namespace}:deployer");
        for who in [unique("bob"), account] {
            let bob = Person::called(&who).await.may(admin, namespace, &[RESETS]).await;
            let target = json!([{"name": unique("t")}]);
            let object = reset(&unique("r"), &json!({ "targetRefs": target }));
            let why = refused(&create(&bob.client, namespace, &object).await, "targets", "is missing");
            let commands = why.split_once("To grant it, an administrator runs: ").unwrap().1;
            let output =
                Command::new("sh").args(["-ec", commands]).env("KUBECONFIG", environment().kubeconfig).output().await.unwrap();
            assert!(output.status.success(), "{commands}: {}", String::from_utf8_lossy(&output.stderr));
            let granted = async {
                while create(&bob.client, namespace, &object).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            within(PATIENCE, granted).await.expect("what was missing is granted");
            let other = reset("other", &json!({"targetRefs": [{"name": "another"}]}));
            refused(&create(&bob.client, namespace, &other).await, "targets", "Deployment/another");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_as_many_targets_as_there_may_be_is_asked_about() {
    guarded(async |admin, namespace| {
        // As long as names can be: what is asked must fit what it may cost.
        let name = |index: usize| format!("{}{index}", "n".repeat(250));
        let targets: Vec<Value> = (0..MAX_TARGETS).map(|index| json!({"name": name(index)})).collect();
        let object = |name: String| reset(&name, &json!({ "targetRefs": targets }));
        let all_but = |missing: usize| {
            let names: Vec<String> = (0..MAX_TARGETS).filter(|index| *index != missing).map(name).collect();
            format!("update deployments.apps/scale {}", names.join(" "))
        };
        let tries = (0..MAX_TARGETS).map(|missing| async move {
            let person = Person::new("carol").await.may(admin, namespace, &[RESETS, &all_but(missing)]).await;
            let answer = create(&person.client, namespace, &object(format!("missing-{missing}"))).await;
            refused(&answer, "targets", &format!("may not scale Deployment/{}", name(missing)));
        });
        join_all(tries).await;
        let dave = Person::new("dave").await.may(admin, namespace, &[RESETS, &all_but(MAX_TARGETS)]).await;
        create(&dave.client, namespace, &object("all".into())).await.unwrap();
    })
    .await;
}

#[rstest::rstest]
#[case::deployment(json!({"name": "orders"}), "deployments.apps/scale orders")]
#[case::stateful_set(json!({"kind": "StatefulSet", "name": "orders"}), "statefulsets.apps/scale orders")]
#[case::of_the_core_group(json!({"apiVersion": "v1", "kind": "ReplicationController", "name": "orders"}), "replicationcontrollers/scale orders")]
#[case::of_another_group(
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "orders"}), "rollouts.argoproj.io/scale orders"
)]
#[case::with_a_plural_of_its_own(
    json!({"apiVersion": "example.dev/v1", "kind": "Proxy", "resource": "proxies", "name": "orders"}), "proxies.example.dev/scale orders"
)]
#[case::one_whose_name_is_that_of_a_connector(
    json!({"apiVersion": "example.dev/v1", "kind": "KafkaConnector", "name": "orders"}), "kafkaconnectors.example.dev/scale orders"
)]
#[tokio::test(flavor = "multi_thread")]
async fn the_right_is_asked_for_what_is_scaled(#[case] target: Value, #[case] right: &str) {
    guarded(async |admin, namespace| {
        let object = reset("r", &json!({ "targetRefs": [target] }));
        // Each has something of it, and not it.
        let (what, _) = right.split_once(' ').unwrap();
        let resource = what.strip_suffix("/scale").unwrap();
        for other in [
            format!("update {what} another"),
            format!("get,patch {what} orders"),
            format!("update {resource} orders"),
            "update daemonsets.apps/scale orders".to_owned(),
        ] {
            let person = Person::new("erin").await.may(admin, namespace, &[RESETS, &other]).await;
            refused(&create(&person.client, namespace, &object).await, "targets", &format!("update on {what} is missing"));
        }
        let person = Person::new("frank").await.may(admin, namespace, &[RESETS, &format!("update {right}")]).await;
        create(&person.client, namespace, &object).await.unwrap();
    })
    .await;
}

/// Its scale is its tasksMax: who may change that may not stop it.
#[rstest::rstest]
#[case::v1("v1")]
#[case::older("v1beta2")]
#[tokio::test(flavor = "multi_thread")]
async fn of_a_connector_the_right_is_asked_for_the_connector_itself(#[case] version: &str) {
    guarded(async |admin, namespace| {
        let api_version = format!("kafka.strimzi.io/{version}");
        let object = reset("r", &json!({"targetRefs": [{"apiVersion": api_version, "kind": "KafkaConnector", "name": "sink"}]}));
        for other in [
            "update kafkaconnectors.kafka.strimzi.io/scale sink",
            "get,patch kafkaconnectors.kafka.strimzi.io sink",
            "update kafkaconnectors.kafka.strimzi.io another",
            "update kafkaconnects.kafka.strimzi.io sink",
        ] {
            let person = Person::new("heidi").await.may(admin, namespace, &[RESETS, other]).await;
            let answer = create(&person.client, namespace, &object).await;
            let why = refused(&answer, "targets", "update on kafkaconnectors.kafka.strimzi.io is missing");
            assert!(why.contains("may not update KafkaConnector/sink, which this OffsetReset would stop"), "{why}");
            assert!(why.contains("--verb=update --resource=kafkaconnectors.kafka.strimzi.io --resource-name=sink"), "{why}");
        }
        let right = "update kafkaconnectors.kafka.strimzi.io sink";
        let person = Person::new("ivan").await.may(admin, namespace, &[RESETS, right]).await;
        create(&person.client, namespace, &object).await.unwrap();
    })
    .await;
}

/// A kind whose plural is not what its name makes one think. Its rights are checked for `proxys`, and it is scaled as `proxies`: whoever may
/// scale the one must not have the operator scale the other.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_asked_about_is_not_scaled() {
    guarded(async |admin, namespace| {
        let group = format!("{namespace}.example.dev");
        install(admin, &group).await;
        let api_version = format!("{group}/v1");
        let proxy = json!({"apiVersion": api_version, "kind": "Proxy", "metadata": {"name": "edge"}, "spec": {"replicas": 2}});
        let proxies = kube::core::discovery::ApiResource {
            group: group.clone(),
            version: "v1".into(),
            api_version: api_version.clone(),
            kind: "Proxy".into(),
            plural: "proxies".into(),
        };
        let objects = Api::<DynamicObject>::namespaced_with(admin.clone(), namespace, &proxies);
        objects.create(&PostParams::default(), &serde_json::from_value(proxy).unwrap()).await.unwrap();
        let status = json!({"status": {"selector": "app=edge"}});
        objects.patch_status("edge", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
        let (topic, known) = shop(admin, namespace).await;
        let operator = Operator::start_as(admin.clone(), namespace);
        let grace = Person::new("grace").await.may(admin, namespace, &[RESETS, &format!("update proxys.{group}/scale")]).await;
        let wants = |name: &str, target: Value| {
            let kafka = json!({"bootstrapServers": real_tests::brokers()});
            let resets = json!([{"topic": topic, "offset": 1}]);
            reset(name, &json!({"targetRefs": [target], "kafka": kafka, "group": known, "resets": resets, "suspend": false}))
        };
        let plain = json!({"apiVersion": api_version, "kind": "Proxy", "name": "edge"});
        create(&grace.client, namespace, &wants("as-proxys", plain.clone())).await.unwrap();
        let done = wait_for_end(&resets(admin, namespace), "as-proxys").await;
        let message = done.status.as_ref().unwrap().explanation();
        assert!(message.contains("is proxies") && message.contains("Write resource: proxies in this targetRef"), "{message}");
        assert!(done.status.unwrap().hold.is_none(), "nothing was stopped");

        let mut named = plain;
        named["resource"] = json!("proxies");
        refused(&create(&grace.client, namespace, &wants("as-proxies", named.clone())).await, "targets", "update on proxies.");
        let grace = grace.may(admin, namespace, &[&format!("update proxies.{group}/scale edge")]).await;
        create(&grace.client, namespace, &wants("as-proxies", named)).await.unwrap();
        succeeded(&wait_for_end(&resets(admin, namespace), "as-proxies").await);
        operator.end().await;
        remove(admin, &group).await;
    })
    .await;
}

async fn install(admin: &Client, group: &str) {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    use kube::runtime::{conditions, wait::await_condition};
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let scale = json!({
        "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector",
    });
    let definition = json!({
        "metadata": {"name": format!("proxies.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"kind": "Proxy", "plural": "proxies"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}, "scale": scale},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": anything, "status": anything}}},
            }],
        },
    });
    let crds = Api::<CustomResourceDefinition>::all(admin.clone());
    crds.create(&PostParams::default(), &serde_json::from_value(definition).unwrap()).await.unwrap();
    await_condition(crds, &format!("proxies.{group}"), conditions::is_crd_established()).await.unwrap();
    let served = async {
        while !admin.list_api_group_resources(&format!("{group}/v1")).await.is_ok_and(|found| !found.resources.is_empty()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(PATIENCE, served).await.expect("the kind is served");
}

async fn remove(admin: &Client, group: &str) {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    let crds = Api::<CustomResourceDefinition>::all(admin.clone());
    crds.delete(&format!("proxies.{group}"), &kube::api::DeleteParams::default()).await.unwrap();
}
