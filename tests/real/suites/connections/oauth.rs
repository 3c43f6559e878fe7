//! Tokens from a real token endpoint, and a broker that wants them.

use std::{slice, sync::Arc};

use k8s_openapi::api::events::v1::Event;
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use offset_reset_operator::{
    api::{OffsetReset, Phase, Reason},
    kafka::{Authentication, ClientCredentials, Connection, Connector, Secret, Tls},
};
use serde_json::{Value, json};

use super::{
    left,
    stand::{Authority, CLEAR, Secured, secret, secured, topic_and_group},
    tokens::{CLIENT_SECRET, Endpoint, Signer, TOKENS},
};
use real_tests::{
    PATIENCE,
    broker::Broker,
    consumers::{Consumed, Kind, Member, members},
    process::clients,
    reset, resets,
    shop::{Operator, config, status},
    unique, wait_for_end, wait_for_phase, with_namespace, within,
};

/// What must not be seen: the secret, as it is and as it goes over the wire, and the beginning of every token.
const PLANTED: [&str; 4] = [CLIENT_SECRET, "planted-client", "cGxhbnRlZC", "eyJ"];

fn holds_no_secret(seen: &str, planted: &[&str]) {
    for secret in planted {
        assert!(!seen.contains(secret), "{secret} was seen in: {seen}");
    }
}

/// An endpoint that may be asked, one that may not, and who trusts what.
struct OAuth {
    topic: String,
    authority: String,
    strange: String,
    listed: Endpoint,
    other: Endpoint,
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_come_from_listed_endpoints_only_and_each_failure_says_what_to_do() {
    let (broker, (topic, _)) = (secured().await, topic_and_group().await);
    OAuth::new(broker, &topic).await.try_all().await;
}

impl OAuth {
    async fn new(broker: &Secured, topic: &str) -> Self {
        Self {
            topic: topic.into(),
            authority: broker.authority.certificate.clone(),
            strange: Authority::new("strange-ca").certificate,
            listed: Endpoint::start(&broker.authority, Arc::clone(&broker.signer)).await,
            other: Endpoint::start(&broker.authority, Arc::new(Signer::new())).await,
        }
    }

    async fn try_all(self) {
        let whole = Box::pin(with_namespace(async |client, namespace| {
            // Nobody listens there.
            let nowhere = ["https://127.0.0.1:1/oauth2/token", "https://no-such-host.invalid/oauth2/token"];
            let mut config = config(&namespace);
            config.oauth_token_endpoints =
                [&[self.listed.address.as_str()], &nowhere[..]].concat().into_iter().map(str::to_owned).collect();
            let operator = Operator::start_configured(&client, config);
            secret(&client, &namespace, "authorities", json!({"ca.crt": self.authority, "strange.crt": self.strange})).await;
            secret(&client, &namespace, "client", json!({"secret": CLIENT_SECRET, "wrong": "planted-client-wrong"})).await;
            tokio::join!(
                Box::pin(self.followed(&client, &namespace)),
                Box::pin(self.refreshed(&client, &namespace)),
                Box::pin(self.refused(&client, &namespace, nowhere)),
                Box::pin(self.evicts()),
            );
            for reset in resets(&client, &namespace).list(&ListParams::default()).await.unwrap() {
                holds_no_secret(&serde_json::to_string(&reset).unwrap(), &PLANTED);
            }
            for event in Api::<Event>::namespaced(client.clone(), &namespace).list(&ListParams::default()).await.unwrap() {
                holds_no_secret(&serde_json::to_string(&event).unwrap(), &PLANTED);
            }
            operator.end().await;
        }));
        whole.await;
    }

    /// `spec.kafka` with a client of the endpoint; `change` goes over its authentication.
    fn kafka(&self, client: &str, change: &Value) -> Value {
        let mut authentication = json!({
            "type": "oauth", "tokenEndpointUri": self.listed.address, "clientId": client, "scope": "kafka",
            "clientSecret": {"secretName": "client", "key": "secret"},
            "tlsTrustedCertificates": [{"secretName": "authorities", "certificate": "ca.crt"}],
        });
        authentication.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({
            "bootstrapServers": TOKENS, "authentication": authentication,
            "tls": {"trustedCertificates": [{"secretName": "authorities", "certificate": "ca.crt"}]},
        })
    }

    async fn create(&self, client: &Client, namespace: &str, name: &str, group: &str, kafka: &Value) {
        let entries = json!([{"topic": self.topic, "partition": 0, "offset": 4}]);
        let spec = json!({"targetRefs": [], "kafka": kafka, "allowNewGroup": true});
        resets(client, namespace).create(&PostParams::default(), &reset(name, group, &entries, &spec)).await.unwrap();
    }

    async fn run(&self, client: &Client, namespace: &str, name: &str, kafka: &Value) -> OffsetReset {
        self.create(client, namespace, name, &unique(&format!("secured-{name}")), kafka).await;
        wait_for_end(&resets(client, namespace), name).await
    }

    async fn followed(&self, client: &Client, namespace: &str) {
        let done = self.run(client, namespace, "with-a-token", &self.kafka("orders", &json!({}))).await;
        assert_eq!(status(&done).phase, Some(Phase::Succeeded), "{:?}", status(&done).message);
        assert_eq!(status(&done).partitions[0].after, Some(4));
    }

    /// The broker ends a connection with its token, and the group is waited for longer than several of them live.
    async fn refreshed(&self, client: &Client, namespace: &str) {
        let group = unique("secured-short");
        let kind = Kind { bootstrap_servers: Some(CLEAR.into()), never_commits: true, ..Kind::default() };
        let member = Member::start(&group, slice::from_ref(&self.topic), &kind, 0, Consumed::default());
        let admin = Broker::new(CLEAR).group_admin().await;
        members(admin.as_ref(), &group, 1).await;
        self.create(client, namespace, "short", &group, &self.kafka("short", &json!({}))).await;
        let api = resets(client, namespace);
        wait_for_phase(&api, "short", Phase::Draining).await;
        let mut given = self.listed.given.clone();
        let before = *given.borrow();
        // Another client has at most one of them.
        within(PATIENCE, given.wait_for(|given| *given >= before + 4)).await.expect("new tokens").unwrap();
        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
        let done = wait_for_end(&api, "short").await;
        assert_eq!(status(&done).phase, Some(Phase::Succeeded), "{:?}", status(&done).message);
    }

    async fn refused(&self, client: &Client, namespace: &str, [nowhere, nobody]: [&str; 2]) {
        let wrong = json!({"clientSecret": {"secretName": "client", "key": "wrong"}});
        let strange = json!({"tlsTrustedCertificates": [{"secretName": "authorities", "certificate": "strange.crt"}]});
        let at = |address: &str| json!({"tokenEndpointUri": address});
        // The same to whoever does not look closely.
        let alike = self.listed.address.replace("/oauth2/token", "/oauth2/./token");
        let cases = [
            ("wrong-secret", "orders", wrong, Reason::AuthenticationFailed, "did not accept the client: invalid_client: no"),
            ("unknown-client", "nobody", json!({}), Reason::AuthenticationFailed, "did not accept the client: invalid_client"),
            (
                "wrong-scope",
                "orders",
                json!({"scope": "x"}),
                Reason::AuthenticationFailed,
                "did not accept the client: invalid_scope",
            ),
            ("an-echo", "echo", json!({}), Reason::AuthenticationFailed, "it repeats the secret"),
            ("refused-token", "strange", json!({}), Reason::AuthenticationFailed, "did not accept the token"),
            ("unknown-authority", "orders", strange, Reason::TlsFailed, "the CA of its certificate is not among"),
            ("public-authorities", "orders", json!({"tlsTrustedCertificates": null}), Reason::TlsFailed, "not a public one"),
            ("busy", "busy", json!({}), Reason::TokenEndpointFailed, "answers 503: temporarily_unavailable"),
            ("a-page", "page", json!({}), Reason::TokenEndpointFailed, "gives no token: its answer is not JSON"),
            ("nowhere", "orders", at(nowhere), Reason::TokenEndpointFailed, "the connection is refused"),
            (
                "no-such-name",
                "orders",
                at(nobody),
                Reason::TokenEndpointFailed,
                "cannot be reached: the host name no-such-host.invalid cannot be resolved",
            ),
            ("not-listed", "orders", at(&self.other.address), Reason::TokenEndpointNotAllowed, "--oauth-token-endpoints"),
            ("alike", "orders", at(&alike), Reason::TokenEndpointNotAllowed, "--oauth-token-endpoints"),
        ];
        let runs = cases.iter().map(|(name, user, change, ..)| {
            let kafka = self.kafka(user, change);
            async move { self.run(client, namespace, name, &kafka).await }
        });
        for ((name, _, _, reason, words), done) in cases.iter().zip(futures::future::join_all(runs).await) {
            let message = status(&done).explanation();
            eprintln!("oauth {name}: {message}");
            assert_eq!((status(&done).phase, status(&done).reason), (Some(Phase::Failed), Some(*reason)), "{name}: {message}");
            assert!(message.contains(words), "{name}: {message}");
        }
        assert_eq!(self.other.asked(), 0, "whom it may not ask, it does not ask");
    }

    /// Members are taken out over a connection that librdkafka has no part in.
    async fn evicts(&self) {
        let token = |client: &str| {
            Some(Authentication::Token(ClientCredentials {
                endpoint: self.listed.address.clone(),
                tls: Tls::Trusted(self.authority.clone()),
                client_id: client.into(),
                client_secret: Secret::new(CLIENT_SECRET.into()),
                scope: Some("kafka".into()),
                audience: None,
                urlencode: true,
                in_body: false,
                extensions: std::collections::BTreeMap::new(),
            }))
        };
        let connection = |authentication| Connection {
            bootstrap_servers: TOKENS.into(),
            tls: Some(Tls::Trusted(self.authority.clone())),
            authentication,
            ..Connection::default()
        };
        let (pool, group) = (clients(), unique("secured-left-with-token"));
        let clear = Broker::new(CLEAR).group_admin().await;
        let found = left::left(clear.as_ref(), &self.topic, &group).await;
        let strange = pool.connect(&connection(token("strange"))).await.unwrap();
        let refused = strange.remove_members(&group, &found).await.unwrap_err();
        assert!(refused.message.contains("did not accept the credentials"), "{refused:?}");
        holds_no_secret(&format!("{refused:?}"), &PLANTED);
        let admin = pool.connect(&connection(token("orders"))).await.unwrap();
        admin.remove_members(&group, &found).await.unwrap();
        members(clear.as_ref(), &group, 0).await;
    }
}
