//! Each kind of connection from end to end: the real operator with the rights that `deploy/` gives it, Secrets on a real API server, and
//! a real broker with those listeners. And what a person is told when a connection fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic: that is how it fails")]

mod binding;
#[path = "../common/mod.rs"]
mod common;
mod left;
mod stand;

use std::time::Duration;

use binding::Bindings;
use common::{
    PATIENCE,
    broker::Broker,
    reset, resets,
    shop::{Operator, status},
    unique, wait_for_end, with_namespace, within,
};
use k8s_openapi::api::{core::v1::Secret, events::v1::Event};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use offset_reset_operator::{
    api::{OffsetReset, Phase, Reason},
    machine::world::{Committed, TopicPartition},
};
use serde_json::{Value, json};
use stand::{Authority, CLEAR, MUTUAL, PASSWORDS, PLAIN_PASSWORD, SCRAM_PASSWORD, Secured, WRONG_PASSWORD};

/// Writes a Secret, or writes it anew.
async fn secret(client: &Client, namespace: &str, name: &str, data: Value) {
    let secret: Secret = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data,
    }))
    .unwrap();
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    secrets.patch(name, &PatchParams::apply("tests").force(), &Patch::Apply(&secret)).await.unwrap();
}

fn password(kind: &str, secret: &str) -> Value {
    json!({"type": kind, "username": "orders", "passwordSecret": {"secretName": secret, "password": "password"}})
}

fn certificate(secret: &str, certificate: &str, key: &str) -> Value {
    json!({"type": "tls", "certificateAndKey": {"secretName": secret, "certificate": certificate, "key": key}})
}

/// What a person sees must hold none of these, nor what they are in base64.
fn holds_no_secret(seen: &str, planted: &[&str]) {
    for secret in planted {
        assert!(!seen.contains(secret), "{secret} was seen in: {seen}");
    }
}

/// A topic of ten records and a group at its end, on the broker of the test.
async fn topic_and_group() -> (String, String) {
    let up = async {
        while tokio::net::TcpStream::connect(CLEAR).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(PATIENCE, up).await.expect("the broker is up");
    let broker = Broker::new(CLEAR);
    let (topic, group) = (broker.topic("secured", 1).await, unique("secured"));
    broker.produce(&topic, 0, &[1_571_812_144_000; 10]).await;
    let at_end = [(TopicPartition::new(&topic, 0), Committed { offset: 10, metadata: String::new() })];
    let committed = broker.group_admin().await.commit(&group, &at_end).await.unwrap();
    assert!(committed.values().all(Result::is_ok), "{committed:?}");
    (topic, group)
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::too_many_lines, reason = "two tables on one broker, which takes seconds to start")]
async fn each_kind_of_connection_resets_and_each_failure_says_what_to_do() {
    let broker = Secured::start().await;
    let (topic, group) = topic_and_group().await;
    let bindings = tokio::spawn(Bindings::new(&broker, &topic).try_all());
    left::members_are_taken_out(&broker, &topic).await;
    with_namespace(async |client, namespace| {
        let operator = Operator::start(&client, &namespace);
        // As Strimzi's cluster CA, its KafkaUsers and cert-manager name their keys.
        let ca = &broker.authority.certificate;
        let (user, user_key) = broker.authority.sign("orders", None);
        let (strange, strange_key) = Authority::new("strange-ca").sign("orders", None);
        secret(&client, &namespace, "shop-cluster-ca-cert", json!({"ca.crt": ca, "ca.password": "x"})).await;
        secret(&client, &namespace, "strange-ca", json!({"ca.crt": Authority::new("strange-ca").certificate})).await;
        secret(&client, &namespace, "no-pem", json!({"ca.crt": "not a certificate"})).await;
        secret(&client, &namespace, "orders-tls", json!({"ca.crt": ca, "user.crt": user, "user.key": user_key})).await;
        secret(&client, &namespace, "cert-manager", json!({"ca.crt": ca, "tls.crt": user, "tls.key": user_key})).await;
        secret(&client, &namespace, "strange-tls", json!({"user.crt": strange, "user.key": strange_key})).await;
        secret(&client, &namespace, "orders", json!({"password": SCRAM_PASSWORD})).await;
        secret(&client, &namespace, "orders-plain", json!({"password": PLAIN_PASSWORD})).await;
        secret(&client, &namespace, "rotated", json!({"password": WRONG_PASSWORD})).await;

        let trusted = json!({"trustedCertificates": [{"secretName": "shop-cluster-ca-cert", "certificate": "ca.crt"}]});
        let by_pattern = json!({"trustedCertificates": [{"secretName": "shop-cluster-ca-cert", "pattern": "*.crt"}]});
        let kafka = |servers: &str, tls: &Value, authentication: &Value| {
            let mut kafka = json!({"bootstrapServers": servers});
            for (key, value) in [("tls", tls), ("authentication", authentication)] {
                if !value.is_null() {
                    kafka[key] = value.clone();
                }
            }
            kafka
        };
        let api = resets(&client, &namespace);
        let run = async |name: &str, group: &str, offset: i64, kafka: Value| -> OffsetReset {
            let entries = json!([{"topic": topic, "partition": 0, "offset": offset}]);
            let spec = json!({"targetRefs": [], "kafka": kafka});
            api.create(&PostParams::default(), &reset(name, group, &entries, &spec)).await.unwrap();
            wait_for_end(&api, name).await
        };

        let works = [
            ("in-clear", kafka(CLEAR, &Value::Null, &Value::Null)),
            ("client-certificate", kafka(MUTUAL, &trusted, &certificate("orders-tls", "user.crt", "user.key"))),
            ("of-cert-manager", kafka(MUTUAL, &by_pattern, &certificate("cert-manager", "tls.crt", "tls.key"))),
            ("scram-256", kafka(PASSWORDS, &trusted, &password("scram-sha-256", "orders"))),
            ("scram-512", kafka(PASSWORDS, &trusted, &password("scram-sha-512", "orders"))),
            ("plain", kafka(PASSWORDS, &trusted, &password("plain", "orders-plain"))),
        ];
        for (offset, (name, kafka)) in (1..).zip(works) {
            let done = run(name, &group, offset, kafka).await;
            let status = status(&done);
            assert_eq!(status.phase, Some(Phase::Succeeded), "{name}: {:?}", status.message);
            assert_eq!(status.partitions[0].after, Some(offset), "{name}");
        }

        let fails = [
            (
                "wrong-password",
                kafka(PASSWORDS, &trusted, &password("scram-sha-512", "rotated")),
                Reason::AuthenticationFailed,
                "did not accept the credentials",
            ),
            (
                "unknown-authority",
                kafka(
                    PASSWORDS,
                    &json!({"trustedCertificates": [{"secretName": "strange-ca", "certificate": "ca.crt"}]}),
                    &password("plain", "orders-plain"),
                ),
                Reason::TlsFailed,
                "could not be verified: its authority is not among",
            ),
            (
                "public-authorities",
                kafka(PASSWORDS, &json!({}), &password("plain", "orders-plain")),
                Reason::TlsFailed,
                "could not be verified: its authority is not among",
            ),
            ("no-client-certificate", kafka(MUTUAL, &trusted, &Value::Null), Reason::TlsFailed, "client certificate"),
            (
                "strange-client-certificate",
                kafka(MUTUAL, &trusted, &certificate("strange-tls", "user.crt", "user.key")),
                Reason::TlsFailed,
                "client certificate",
            ),
            ("tls-to-clear", kafka(CLEAR, &trusted, &Value::Null), Reason::BrokerUnreachable, "does not speak TLS"),
            ("clear-to-tls", kafka(MUTUAL, &Value::Null, &Value::Null), Reason::BrokerUnreachable, "closed the connection"),
            (
                "no-secret",
                kafka(PASSWORDS, &trusted, &password("plain", "nobody")),
                Reason::SecretUnavailable,
                "nobody, which spec.kafka.authentication.passwordSecret names, does not exist",
            ),
            (
                "no-key",
                kafka(PASSWORDS, &trusted, &certificate("orders", "user.crt", "user.key")),
                Reason::SecretUnavailable,
                "which spec.kafka.authentication.certificateAndKey names, has no key user.crt; it has: password",
            ),
            (
                "no-pem",
                kafka(
                    PASSWORDS,
                    &json!({"trustedCertificates": [{"secretName": "no-pem", "certificate": "ca.crt"}]}),
                    &Value::Null,
                ),
                Reason::SecretUnavailable,
                "which spec.kafka.tls.trustedCertificates names, is not as it should be: key ca.crt is no PEM",
            ),
        ];
        // Each for a group of its own, so that none waits for another.
        let ended = futures::future::join_all(fails.iter().map(|(name, kafka, ..)| run(name, name, 9, kafka.clone()))).await;
        let mut wrong = vec![];
        for ((name, _, reason, words), done) in fails.iter().zip(&ended) {
            let (status, message) = (status(done), status(done).message.clone().unwrap_or_default());
            eprintln!("{name}: {message}");
            if status.phase != Some(Phase::Failed) || status.reason != Some(*reason) || !message.contains(words) {
                wrong.push(format!("{name}: {:?} {:?}: {message}\n  instead of {reason}: {words}", status.phase, status.reason));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));

        // The same Secret with another value, and nobody was restarted.
        secret(&client, &namespace, "rotated", json!({"password": SCRAM_PASSWORD})).await;
        let done = run("after-rotation", &group, 8, kafka(PASSWORDS, &trusted, &password("scram-sha-512", "rotated"))).await;
        assert_eq!(status(&done).phase, Some(Phase::Succeeded), "{:?}", status(&done).message);

        let planted = [SCRAM_PASSWORD, PLAIN_PASSWORD, WRONG_PASSWORD, "cGxhbnRlZC", &user_key, "PRIVATE KEY"];
        for reset in api.list(&ListParams::default()).await.unwrap() {
            holds_no_secret(&serde_json::to_string(&reset).unwrap(), &planted);
        }
        for event in Api::<Event>::namespaced(client.clone(), &namespace).list(&ListParams::default()).await.unwrap() {
            holds_no_secret(&serde_json::to_string(&event).unwrap(), &planted);
        }
        operator.end().await;
    })
    .await;
    bindings.await.unwrap();
}
