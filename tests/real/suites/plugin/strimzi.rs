//! `--strimzi-user` of the kubectl plugin: the connection out of Strimzi's objects, as its operator writes them, on the real API server
//! and a broker with such listeners. Strimzi's own operator does not run here.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, PostParams},
    core::GroupVersionKind,
    discovery::ApiResource,
};
use serde_json::{Value, json};

use crate::connections::stand::{MUTUAL, PASSWORDS, SCRAM_PASSWORD, secret, secured, topic_and_group};
use real_tests::{PATIENCE, broker::Broker, plugin::Plugin, resets, shop::Operator, with_namespace, within};

/// Defines both kinds, where the cluster has none of Strimzi's own, and returns the names of those that were created.
async fn defined(client: &Client) -> Vec<String> {
    let (definitions, mut created) = (Api::<CustomResourceDefinition>::all(client.clone()), vec![]);
    for (kind, plural) in [("Kafka", "kafkas"), ("KafkaUser", "kafkausers")] {
        let anything = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.kafka.strimzi.io")},
            "spec": {
                "group": "kafka.strimzi.io", "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": anything}],
            },
        });
        let made = definitions.create(&PostParams::default(), &serde_json::from_value(definition).unwrap()).await;
        created.extend(made.ok().and_then(|made| made.metadata.name));
    }
    let served = async {
        loop {
            let group = kube::discovery::group(client, "kafka.strimzi.io").await;
            if group.is_ok_and(|group| ["Kafka", "KafkaUser"].iter().all(|kind| group.recommended_kind(kind).is_some())) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within(PATIENCE, served).await.expect("the kinds are served");
    created
}

async fn create(client: &Client, namespace: &str, kind: &str, object: Value) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("kafka.strimzi.io", "v1", kind));
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource);
    let mut object = object;
    (object["apiVersion"], object["kind"]) = (json!("kafka.strimzi.io/v1"), json!(kind));
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plugin_connects_as_a_user_of_strimzi() {
    let (broker, (topic, group)) = (secured().await, topic_and_group().await);
    with_namespace(async |client, namespace| {
        let created = defined(&client).await;
        let operator = Operator::start(&client, &namespace);
        // What Strimzi's operators write for a cluster with two listeners, and a user of each.
        let listener = |name: &str, kind: &str| json!({"name": name, "port": 9093, "type": "internal", "tls": true, "authentication": {"type": kind}});
        let kafka = json!({
            "metadata": {"name": "shop"},
            "spec": {"kafka": {"listeners": [listener("tls", "tls"), listener("scram", "scram-sha-512")]}},
            "status": {"listeners": [
                {"name": "tls", "bootstrapServers": MUTUAL}, {"name": "scram", "bootstrapServers": PASSWORDS},
            ]},
        });
        create(&client, &namespace, "Kafka", kafka).await;
        let (user, user_key) = broker.authority.sign("orders");
        secret(&client, &namespace, "shop-cluster-ca-cert", json!({"ca.crt": broker.authority.certificate})).await;
        secret(&client, &namespace, "with-certificate", json!({"user.crt": user, "user.key": user_key})).await;
        secret(&client, &namespace, "orders", json!({"password": SCRAM_PASSWORD})).await;
        for (name, kind) in [("with-certificate", "tls"), ("orders", "scram-sha-512")] {
            let user = json!({
                "metadata": {"name": name, "labels": {"strimzi.io/cluster": "shop"}}, "spec": {"authentication": {"type": kind}},
                "status": {"username": name, "secret": name},
            });
            create(&client, &namespace, "KafkaUser", user).await;
        }
        let plugin = Plugin::new(&namespace);
        for (offset, user) in (3..).zip(["with-certificate", "orders"]) {
            let words = ["create", "--group", &group, "--topic", &topic, "--to-offset", &offset.to_string(), "--strimzi-user", user];
            let text = plugin.ends(0, &[&words[..], &["--name", user, "--yes"]].concat()).await;
            assert!(text.contains("✔ Succeeded in"), "{text}");
            let made = resets(&client, &namespace).get(user).await.unwrap();
            let servers = made.spec.kafka.bootstrap_servers;
            assert_eq!(servers.as_deref(), Some(if user == "orders" { PASSWORDS } else { MUTUAL }));
            let at = offset_reset_operator::machine::facts::TopicPartition::new(&topic, 0);
            let admin = Broker::new(crate::connections::stand::CLEAR).group_admin().await;
            let committed = admin.committed(&group, std::slice::from_ref(&at)).await.unwrap();
            assert_eq!(committed[&at].as_ref().unwrap().as_ref().unwrap().offset, offset, "{user}");
        }
        let printed = plugin.run(&["plan", "--group", &group, "--topic", &topic, "--to-latest", "--strimzi-user", "nobody"]).await;
        assert_eq!(printed.code, Some(1), "{printed:?}");
        assert!(printed.err.contains("read Strimzi's KafkaUser") && printed.err.contains("\"nobody\" not found"), "{printed:?}");
        operator.end().await;
        for name in created {
            Api::<CustomResourceDefinition>::all(client.clone()).delete(&name, &DeleteParams::default()).await.unwrap();
        }
    })
    .await;
}
