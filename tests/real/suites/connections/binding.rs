//! A whole connection from one Secret, as Strimzi's access operator writes it.

use std::slice;

use kube::{
    Client,
    api::{ListParams, PostParams},
};
use offset_reset_operator::api::{OffsetReset, Phase, Reason};
use serde_json::{Value, json};

use super::{
    planted::all_forms,
    stand::{CLEAR, MUTUAL, PASSWORDS, SCRAM_PASSWORD, Secured, secret, secured, topic_and_group},
};
use real_tests::{
    broker::Broker,
    brokers,
    consumers::{Consumed, Kind, Member, members},
    reset, resets,
    shop::{Operator, status},
    unique, wait_for, wait_for_end, wait_for_phase, with_namespace,
};

/// What the bindings of these tests are made of.
struct Bindings {
    topic: String,
    scram: Value,
    certificate: Value,
    key: String,
}

/// The entries that are written under several names.
fn servers(servers: &str, protocol: &str) -> Value {
    json!({
        "type": "kafka", "provider": "strimzi",
        "bootstrap.servers": servers, "bootstrapServers": servers, "bootstrap-servers": servers,
        "security.protocol": protocol, "securityProtocol": protocol,
    })
}

fn with(mut entries: Value, more: &Value) -> Value {
    entries.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_is_a_whole_connection_and_a_plan_is_for_the_cluster_it_was_made_on() {
    let (broker, (topic, _)) = (secured().await, topic_and_group().await);
    Bindings::new(broker, &topic).try_all().await;
}

impl Bindings {
    fn new(broker: &Secured, topic: &str) -> Self {
        let trusted = |entries| with(entries, &json!({"ssl.truststore.crt": broker.authority.certificate}));
        let jaas = format!(
            "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"orders\" password=\"{SCRAM_PASSWORD}\";"
        );
        let user = json!({
            "username": "orders", "user": "orders", "password": SCRAM_PASSWORD,
            "sasl.mechanism": "SCRAM-SHA-512", "saslMechanism": "SCRAM-SHA-512", "sasl.jaas.config": jaas,
        });
        let (certificate, key) = broker.authority.sign("orders");
        let shown = json!({"ssl.keystore.crt": certificate, "ssl.keystore.key": key});
        Self {
            topic: topic.into(),
            scram: with(trusted(servers(PASSWORDS, "SASL_SSL")), &user),
            certificate: with(trusted(servers(MUTUAL, "SSL")), &shown),
            key,
        }
    }

    /// All of it; in namespaces of its own.
    async fn try_all(self) {
        // On the heap: each of these is large.
        let both = Box::pin(with_namespace(async |client, namespace| {
            Box::pin(with_namespace(async |_, other| {
                let operator = Operator::start(&client, &format!("{namespace},{other}"));
                tokio::join!(
                    Box::pin(self.followed(&client, &namespace)),
                    Box::pin(self.refused(&client, &namespace)),
                    Box::pin(self.another_cluster(&client, &namespace, &other)),
                );
                for reset in resets(&client, &namespace).list(&ListParams::default()).await.unwrap() {
                    let seen = serde_json::to_string(&reset).unwrap();
                    assert!(!all_forms(&[SCRAM_PASSWORD, &self.key]).iter().any(|form| seen.contains(form)), "{seen}");
                }
                operator.end().await;
            }))
            .await;
        }));
        both.await;
    }

    async fn run(&self, client: &Client, namespace: &str, name: &str, entries: Value) -> OffsetReset {
        secret(client, namespace, name, entries).await;
        self.create(client, namespace, name, &unique(&format!("secured-{name}")), json!({"binding": {"secretName": name}})).await;
        wait_for_end(&resets(client, namespace), name).await
    }

    async fn create(&self, client: &Client, namespace: &str, name: &str, group: &str, kafka: Value) {
        let entries = json!([{"topic": self.topic, "partition": 0, "offset": 3}]);
        let spec = json!({"targetRefs": [], "kafka": kafka, "allowNewGroup": true});
        resets(client, namespace).create(&PostParams::default(), &reset(name, group, &entries, &spec)).await.unwrap();
    }

    async fn followed(&self, client: &Client, namespace: &str) {
        // Written by hand: one name for each entry, and what is not needed left out.
        let by_hand = json!({"type": "kafka", "bootstrap-servers": format!("{CLEAR}\n"), "security.protocol": "PLAINTEXT"});
        for (name, entries) in [("scram", self.scram.clone()), ("certificate", self.certificate.clone()), ("in-clear", by_hand)] {
            let done = self.run(client, namespace, name, entries).await;
            let status = status(&done);
            assert_eq!(status.phase, Some(Phase::Succeeded), "{name}: {:?}", status.message);
            assert_eq!(status.partitions[0].after, Some(3), "{name}");
            let record = status.equivalent_command.as_deref().unwrap_or_default();
            assert!(record.contains(&format!("get secret {name} ")), "{record}");
        }
    }

    async fn refused(&self, client: &Client, namespace: &str) {
        let without = |key: &str| {
            let mut entries = self.scram.clone();
            entries.as_object_mut().unwrap().remove(key);
            entries
        };
        let instead = |key: &str, value: &str| with(self.scram.clone(), &json!({ key: value }));
        let cases = [
            ("no-password", without("password"), Reason::SecretUnavailable, "has no key password; it has: bootstrap-servers,"),
            ("no-type", without("type"), Reason::SecretUnavailable, "has no key type; it has:"),
            ("a-database", instead("type", "postgresql"), Reason::SecretUnavailable, "key type is not kafka"),
            ("contradiction", instead("saslMechanism", "PLAIN"), Reason::SecretUnavailable, "contradicts key"),
            ("no-authority", instead("ssl.truststore.crt", "-"), Reason::SecretUnavailable, "key ssl.truststore.crt is not PEM"),
            (
                "wrong-password",
                instead("password", "planted-wrong"),
                Reason::AuthenticationFailed,
                "did not accept the credentials",
            ),
        ];
        let runs = cases.iter().map(|(name, entries, ..)| self.run(client, namespace, name, entries.clone()));
        for ((name, _, reason, words), done) in cases.iter().zip(futures::future::join_all(runs).await) {
            let message = status(&done).explanation();
            eprintln!("binding {name}: {message}");
            assert_eq!((status(&done).phase, status(&done).reason), (Some(Phase::Failed), Some(*reason)), "{name}: {message}");
            assert!(message.contains(words), "{name}: {message}");
            if *reason == Reason::SecretUnavailable {
                let named = format!("Secret {namespace}/{name}, which spec.kafka.binding names,");
                assert!(message.contains(&named), "{name}: {message}");
            }
        }
    }

    /// Nobody else knows what brokers a binding names: that two are about one group of one cluster is told by the cluster's id, also
    /// across namespaces. And a binding may name another cluster while the group is waited for: the plan is not for that one.
    async fn another_cluster(&self, client: &Client, namespace: &str, other: &str) {
        let group = unique("secured-binding");
        let kind = Kind { bootstrap_servers: Some(CLEAR.into()), never_commits: true, ..Kind::default() };
        let member = Member::start(&group, slice::from_ref(&self.topic), &kind, 0, Consumed::default());
        let admin = Broker::new(CLEAR).group_admin().await;
        members(admin.as_ref(), &group, 1).await;
        let (first, second) = (resets(client, namespace), resets(client, other));
        secret(client, namespace, "changes", self.scram.clone()).await;
        self.create(client, namespace, "changes", &group, json!({"binding": {"secretName": "changes"}})).await;
        wait_for_phase(&first, "changes", Phase::Draining).await;

        self.create(client, other, "waits", &group, json!({"bootstrapServers": CLEAR})).await;
        let waits = wait_for(&second, "waits", "waiting for the other", |reset| {
            status(reset).reason == Some(Reason::WaitingForOtherReset)
        });
        let waits = waits.await;
        let said = format!("OffsetReset {namespace}/changes");
        assert!(status(&waits).explanation().contains(&said), "{:?}", status(&waits).message);

        secret(client, namespace, "changes", servers(&brokers(), "PLAINTEXT")).await;
        let done = wait_for_end(&first, "changes").await;
        let message = status(&done).explanation();
        eprintln!("binding changes: {message}");
        assert_eq!(status(&done).reason, Some(Reason::ClusterChanged), "{message}");
        assert!(message.contains("spec.kafka leads to the cluster"), "{message}");
        let there = Broker::default().group_admin().await.all_committed(&group).await.unwrap();
        assert!(there.is_empty(), "nothing was committed on the other cluster: {there:?}");

        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
        let done = wait_for_end(&second, "waits").await;
        assert_eq!(status(&done).phase, Some(Phase::Succeeded), "{:?}", status(&done).message);
    }
}
