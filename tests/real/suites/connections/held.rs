//! Secrets that go or change while a reset holds its consumers: it goes on to a truthful end, and the consumers come back. And the
//! properties of `spec.kafka.config` take effect.

use std::sync::{Arc, Mutex};

use k8s_openapi::api::{coordination::v1::Lease, core::v1::Secret};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use offset_reset_operator::{
    api::{OffsetReset, Phase, Reason},
    machine::facts::GroupMember,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{
    left::left,
    planted::{all, all_forms},
    run,
    stand::{
        CLEAR, PASSWORDS, ROTATING, SCRAM_PASSWORD, WRONG_PASSWORD, commit, kafka, password, secret, secured, topic_and_group,
        trust,
    },
};
use real_tests::{
    broker::Broker,
    condition, deployment,
    kafka_tool::{KafkaTool, Line},
    replicas, reset, resets,
    shop::{Operator, status},
    wait_for, wait_for_end, wait_for_phase, with_namespace,
};

/// A reset that holds a Deployment of two at zero, because a member of the group has stopped without leaving.
struct Held {
    client: Client,
    namespace: String,
    name: &'static str,
    group: String,
    left: Vec<GroupMember>,
}

impl Held {
    /// `username` is in the Secret of the same name as the reset.
    async fn start(client: &Client, namespace: &str, name: &'static str, username: &str, drain: &str) -> Self {
        let (topic, _) = topic_and_group().await;
        let broker = Broker::new(CLEAR);
        let group = real_tests::unique("secured-held");
        commit(&broker, &topic, &group).await;
        secret(client, namespace, name, json!({"password": SCRAM_PASSWORD})).await;
        deployment(client, namespace, name, 2, json!({"containers": [{"name": "c", "image": "nobody-runs-it"}]})).await;
        let left = left(broker.group_admin().await.as_ref(), &topic, &group).await;
        let mut user = password("scram-sha-512", name);
        user["username"] = json!(username);
        let spec = json!({
            "targetRefs": [{"name": name}], "kafka": kafka(PASSWORDS, &trust("cluster-ca"), &user),
            "sessionTimeout": "1s", "drainTimeout": drain,
        });
        let entries = json!([{"topic": topic, "partition": 0, "offset": 4}]);
        let api = resets(client, namespace);
        api.create(&PostParams::default(), &reset(name, &group, &entries, &spec)).await.unwrap();
        wait_for_phase(&api, name, Phase::Draining).await;
        assert_eq!(replicas(client, namespace, name).await, 0);
        // Only while something is held is there a Lease.
        let leases = all::<Lease>(client, namespace).await;
        assert!(leases.contains(name), "{leases}");
        assert!(!all_forms(&[SCRAM_PASSWORD]).iter().any(|form| leases.contains(form)), "{leases}");
        Self { client: client.clone(), namespace: namespace.to_owned(), name, group, left }
    }

    fn api(&self) -> Api<OffsetReset> {
        resets(&self.client, &self.namespace)
    }

    async fn until_it_says(&self, words: &str) {
        let says = |reset: &OffsetReset| status(reset).explanation().contains(words);
        wait_for(&self.api(), self.name, words, says).await;
    }

    async fn leave(&self) {
        Broker::new(CLEAR).group_admin().await.remove_members(&self.group, &self.left).await.unwrap();
    }

    /// Its end, with the consumers back.
    async fn ends(&self, phase: Phase, reason: Reason, words: &[&str]) {
        let done = wait_for_end(&self.api(), self.name).await;
        let (status, message) = (status(&done), status(&done).explanation());
        eprintln!("{}: {message}", self.name);
        assert_eq!((status.phase, status.reason), (Some(phase), Some(reason)), "{}: {message}", self.name);
        assert!(words.iter().all(|words| message.contains(words)), "{}: {message}", self.name);
        assert_eq!(condition(&done, "ConsumersRestored").0, "True", "{}: {message}", self.name);
        assert_eq!(replicas(&self.client, &self.namespace, self.name).await, 2);
        let after = status.partitions[0].after;
        assert_eq!(after, (phase == Phase::Succeeded).then_some(4), "{}: {message}", self.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_goes_or_changes_while_consumers_are_held_keeps_nobody_from_coming_back() {
    let broker = secured().await;
    with_namespace(async |client, namespace| {
        let operator = Operator::start(&client, &namespace);
        secret(&client, &namespace, "cluster-ca", json!({"ca.crt": broker.authority.certificate})).await;
        let lost = async {
            let held = Held::start(&client, &namespace, "lost", "orders", "20s").await;
            Api::<Secret>::namespaced(client.clone(), &namespace).delete("lost", &DeleteParams::default()).await.unwrap();
            held.until_it_says("lost, which spec.kafka.authentication.passwordSecret names, does not exist").await;
            let words = ["/lost, which spec.kafka.authentication.passwordSecret names, does not exist", "No offset was changed"];
            held.ends(Phase::Failed, Reason::SecretUnavailable, &words).await;
        };
        let found_again = async {
            let held = Held::start(&client, &namespace, "found-again", "orders", "2m").await;
            Api::<Secret>::namespaced(client.clone(), &namespace).delete("found-again", &DeleteParams::default()).await.unwrap();
            held.until_it_says("found-again, which spec.kafka.authentication.passwordSecret names, does not exist").await;
            secret(&client, &namespace, "found-again", json!({"password": SCRAM_PASSWORD})).await;
            held.leave().await;
            held.ends(Phase::Succeeded, Reason::Succeeded, &[]).await;
        };
        let spoilt = async {
            let held = Held::start(&client, &namespace, "spoilt", "orders", "2m").await;
            secret(&client, &namespace, "spoilt", json!({"password": WRONG_PASSWORD})).await;
            let words = ["did not accept the credentials", "No offset was changed"];
            held.ends(Phase::Failed, Reason::AuthenticationFailed, &words).await;
        };
        let rotated = async {
            let held = Held::start(&client, &namespace, "rotated", ROTATING, "2m").await;
            // As Strimzi's user operator does it: the broker first, then the Secret.
            let mut tool = KafkaTool::start(Line::Current).await;
            let user = ["--alter", "--entity-type", "users", "--entity-name", ROTATING];
            let new = ["--bootstrap-server", CLEAR, "--add-config", "SCRAM-SHA-512=[password=planted-new-41d8]"];
            let (code, output) = tool.run("kafka-configs", &[&user[..], &new].concat()).await;
            assert_eq!(code, 0, "{output}");
            secret(&client, &namespace, "rotated", json!({"password": "planted-new-41d8"})).await;
            held.leave().await;
            held.ends(Phase::Succeeded, Reason::Succeeded, &[]).await;
        };
        futures::join!(Box::pin(lost), Box::pin(found_again), Box::pin(spoilt), Box::pin(rotated));
        operator.end().await;
    })
    .await;
}

/// Stands between, and keeps the beginning of what clients send.
async fn between(servers: &'static str) -> (String, Arc<Mutex<Vec<u8>>>) {
    let (listener, heard) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Arc::new(Mutex::new(vec![])));
    let (address, keep) = (listener.local_addr().unwrap().to_string(), Arc::clone(&heard));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let keep = Arc::clone(&keep);
            tokio::spawn(async move {
                let (mut broker, mut first) = (TcpStream::connect(servers).await.unwrap(), vec![0; 4096]);
                let length = client.read(&mut first).await.unwrap_or(0);
                keep.lock().unwrap().extend(&first[..length]);
                _ = broker.write_all(&first[..length]).await;
                _ = tokio::io::copy_bidirectional(&mut client, &mut broker).await;
            });
        }
    });
    (address, heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_of_the_spec_take_effect() {
    let (_, (topic, group), (address, heard)) = (secured().await, topic_and_group().await, between(CLEAR).await);
    with_namespace(async |client, namespace| {
        let operator = Operator::start(&client, &namespace);
        let api = resets(&client, &namespace);
        let with = |servers: &str, config: Value| {
            let mut kafka = kafka(servers, &Value::Null, &Value::Null);
            kafka["config"] = config;
            kafka
        };
        let entries = json!([{"topic": topic, "partition": 0, "offset": 2}]);
        let named = with(&address, json!({"client.id": "replays-of-the-shop"}));
        let only_v6 = with(CLEAR, json!({"broker.address.family": "v6"}));
        let (named, only_v6) = futures::join!(
            Box::pin(run(&api, "named", &group, &entries, &named)),
            Box::pin(run(&api, "only-v6", "secured-v6", &entries, &only_v6))
        );
        assert_eq!(status(&named).phase, Some(Phase::Succeeded), "{:?}", status(&named).message);
        let heard = String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
        assert!(heard.contains("replays-of-the-shop") && !heard.contains("offset-reset-operator"), "{heard:?}");
        let message = status(&only_v6).explanation();
        assert_eq!(status(&only_v6).reason, Some(Reason::BrokerUnreachable), "{message}");
        assert!(message.contains("127.0.0.1 cannot be resolved"), "{message}");
        operator.end().await;
    })
    .await;
}
