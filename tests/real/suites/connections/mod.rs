//! Each kind of connection from end to end: the real operator with the rights that `deploy/` gives it, Secrets on a real API server, and
//! a real broker with those listeners. And what a person is told when a connection fails.

mod acls;
mod binding;
mod held;
mod intermediate;
mod leaderless;
mod left;
mod metadata;
mod oauth;
mod planted;
pub(crate) mod stand;
mod tls;
mod tokens;
mod unreachable;

use kube::{Api, Client, api::PostParams};
use offset_reset_operator::api::{OffsetReset, Phase, Reason};
use real_tests::{
    reset, resets,
    shop::{Operator, status},
    wait_for_end, with_namespace,
};
use serde_json::{Value, json};
use stand::{
    CLEAR, MUTUAL, PASSWORDS, PASSWORDS_IN_CLEAR, PLAIN_PASSWORD, SCRAM_PASSWORD, WRONG_PASSWORD, certificate, kafka, password,
    secret, secured, topic_and_group, trust,
};

/// A reset that cannot be.
struct Case {
    name: &'static str,
    kafka: Value,
    reason: Reason,
    /// The message says each of these.
    words: Vec<String>,
    /// It ends with the first attempt.
    at_once: bool,
}

impl Case {
    /// One that ends with the first attempt.
    fn new<const N: usize>(name: &'static str, kafka: Value, reason: Reason, words: [&str; N]) -> Self {
        Self { name, kafka, reason, words: words.map(str::to_owned).into(), at_once: true }
    }

    /// One that is tried again for half a minute, for it might heal.
    fn passing<const N: usize>(name: &'static str, kafka: Value, reason: Reason, words: [&str; N]) -> Self {
        Self { at_once: false, ..Self::new(name, kafka, reason, words) }
    }

    /// What is wrong with its end.
    fn check(&self, done: &OffsetReset) -> Option<String> {
        let (status, message) = (status(done), status(done).explanation());
        eprintln!("{}: {}: {message}", self.name, status.reason.map(Reason::as_str).unwrap_or_default());
        let attempts = "Several attempts had the same result";
        let right = status.phase == Some(Phase::Failed)
            && status.reason == Some(self.reason)
            && message.contains(attempts) != self.at_once
            && message.contains(". Nothing was stopped and no offset was changed")
            && self.words.iter().all(|words| message.contains(words));
        let found = format!("{}: {:?} {:?}: {message}", self.name, status.phase, status.reason);
        (!right).then(|| format!("{found}\n  instead of {}: {:?}", self.reason, self.words))
    }
}

/// Runs all of them at the same time, each for a group of its own, so that none waits for another.
async fn each_fails(client: &Client, namespace: &str, topic: &str, cases: &[Case]) {
    let api = resets(client, namespace);
    let entries = json!([{"topic": topic, "partition": 0, "offset": 9}]);
    let runs = cases.iter().map(|case| run(&api, case.name, case.name, &entries, &case.kafka));
    let ended = futures::future::join_all(runs).await;
    let wrong: Vec<String> = cases.iter().zip(&ended).filter_map(|(case, done)| case.check(done)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs a reset without targets to its end.
async fn run(api: &Api<OffsetReset>, name: &str, group: &str, entries: &Value, kafka: &Value) -> OffsetReset {
    let spec = json!({"targetRefs": [], "kafka": kafka});
    api.create(&PostParams::default(), &reset(name, group, entries, &spec)).await.unwrap();
    wait_for_end(api, name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_connection_resets_and_a_renewed_secret_takes_effect() {
    let (broker, (topic, group)) = (secured().await, topic_and_group().await);
    with_namespace(async |client, namespace| {
        let operator = Operator::start(&client, &namespace);
        // As Strimzi's cluster CA, its KafkaUsers and cert-manager name their keys.
        let ca = &broker.authority.certificate;
        let (user, user_key) = broker.authority.sign("orders");
        secret(&client, &namespace, "shop-cluster-ca-cert", json!({"ca.crt": ca, "ca.password": "x"})).await;
        secret(&client, &namespace, "orders-tls", json!({"ca.crt": ca, "user.crt": user, "user.key": user_key})).await;
        secret(&client, &namespace, "cert-manager", json!({"ca.crt": ca, "tls.crt": user, "tls.key": user_key})).await;
        secret(&client, &namespace, "orders", json!({"password": SCRAM_PASSWORD})).await;
        secret(&client, &namespace, "orders-plain", json!({"password": PLAIN_PASSWORD})).await;
        secret(&client, &namespace, "rotated", json!({"password": WRONG_PASSWORD})).await;

        let trusted = trust("shop-cluster-ca-cert");
        let by_pattern = json!({"trustedCertificates": [{"secretName": "shop-cluster-ca-cert", "pattern": "*.crt"}]});
        let api = resets(&client, &namespace);
        let to = |offset: i64| json!([{"topic": topic, "partition": 0, "offset": offset}]);

        let works = [
            ("in-clear", kafka(CLEAR, &Value::Null, &Value::Null)),
            ("client-certificate", kafka(MUTUAL, &trusted, &certificate("orders-tls", "user.crt", "user.key"))),
            ("of-cert-manager", kafka(MUTUAL, &by_pattern, &certificate("cert-manager", "tls.crt", "tls.key"))),
            ("scram-256", kafka(PASSWORDS, &trusted, &password("scram-sha-256", "orders"))),
            ("scram-512", kafka(PASSWORDS, &trusted, &password("scram-sha-512", "orders"))),
            ("plain-in-clear", kafka(PASSWORDS_IN_CLEAR, &Value::Null, &password("plain", "orders-plain"))),
            ("plain", kafka(PASSWORDS, &trusted, &password("plain", "orders-plain"))),
        ];
        for (offset, (name, kafka)) in (1..).zip(works) {
            let done = run(&api, name, &group, &to(offset), &kafka).await;
            let status = status(&done);
            assert_eq!(status.phase, Some(Phase::Succeeded), "{name}: {:?}", status.message);
            assert_eq!(status.partitions[0].after, Some(offset), "{name}");
        }

        let rotated = kafka(PASSWORDS, &trusted, &password("scram-sha-512", "rotated"));
        let done = run(&api, "before-rotation", &group, &to(8), &rotated).await;
        assert_eq!(status(&done).reason, Some(Reason::AuthenticationFailed), "{:?}", status(&done).message);
        // The same Secret with another value, and nobody was restarted.
        secret(&client, &namespace, "rotated", json!({"password": SCRAM_PASSWORD})).await;
        let done = run(&api, "after-rotation", &group, &to(8), &rotated).await;
        assert_eq!(status(&done).phase, Some(Phase::Succeeded), "{:?}", status(&done).message);
        operator.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_not_as_it_should_be_is_named_with_its_key_and_its_field() {
    let broker = secured().await;
    with_namespace(async |client, namespace| {
        let operator = Operator::start(&client, &namespace);
        secret(&client, &namespace, "cluster-ca", json!({"ca.crt": broker.authority.certificate})).await;
        secret(&client, &namespace, "no-pem", json!({"ca.crt": "not a certificate"})).await;
        secret(&client, &namespace, "orders", json!({"password": SCRAM_PASSWORD})).await;
        let trusted = trust("cluster-ca");
        let cases = [
            Case::passing(
                "no-secret",
                kafka(PASSWORDS, &trusted, &password("plain", "nobody")),
                Reason::SecretUnavailable,
                ["nobody, which spec.kafka.authentication.passwordSecret names, does not exist"],
            ),
            Case::passing(
                "no-key",
                kafka(PASSWORDS, &trusted, &certificate("orders", "user.crt", "user.key")),
                Reason::SecretUnavailable,
                ["which spec.kafka.authentication.certificateAndKey names, has no key user.crt; it has: password"],
            ),
            Case::new(
                "no-pem",
                kafka(PASSWORDS, &trust("no-pem"), &Value::Null),
                Reason::SecretUnavailable,
                ["which spec.kafka.tls.trustedCertificates names, is invalid: key ca.crt is not PEM"],
            ),
        ];
        each_fails(&client, &namespace, "whatever", &cases).await;
        operator.end().await;
    })
    .await;
}
