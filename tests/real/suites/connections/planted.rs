//! Passwords and keys are seen nowhere: resets that go well and resets that fail, an operator that logs all it can, and then everything
//! that a person may read is searched for what was planted in the Secrets, also as base64, percent-encoded, escaped and in hexadecimal.

use std::{fmt::Write, fs::File, path::Path, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{ConfigMap, Secret},
    events::v1::Event,
};
use kube::{Api, Client, api::ListParams};
use offset_reset_operator::{
    api::{OffsetReset, Phase, Reason},
    kafka::{Authentication, ClientCredentials, Connection, Mechanism, Secret as Planted, Tls},
};
use serde_json::{Value, json};

use super::{
    run,
    stand::{
        MUTUAL, PASSWORDS, PLAIN_PASSWORD, SCRAM_PASSWORD, certificate, kafka, password, secret, secured, topic_and_group, trust,
    },
    tokens::{CLIENT_SECRET, Endpoint, TOKENS},
};
use real_tests::{
    process::{Process, free_address},
    resets,
    shop::status,
    unique, with_namespace,
};

/// Wrong, and of characters that look different in an address, in JSON and in a shell.
const ODD_PASSWORD: &str = "pl@nted \"odd\"/é%&=3b7d";
const BROKEN_KEY: &str = "-----BEGIN PRIVATE KEY-----\nplanted-in-a-key-that-is-none-61c2\n-----END PRIVATE KEY-----\n";
const ENCRYPTED_KEY: &str =
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nplanted-in-an-encrypted-key-0aa4\n-----END ENCRYPTED PRIVATE KEY-----\n";
const NO_CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nplanted-in-a-certificate-c3f9\n-----END CERTIFICATE-----\n";

/// How something may look where it has come through somebody's hands.
fn forms(planted: &str) -> Vec<String> {
    let (mut percent, mut hexadecimal) = (String::new(), String::new());
    for byte in planted.bytes() {
        write!(hexadecimal, "{byte:02x}").unwrap();
        if byte.is_ascii_alphanumeric() {
            percent.push(byte.into());
        } else {
            write!(percent, "%{byte:02X}").unwrap();
        }
    }
    let mut forms = vec![
        planted.to_owned(),
        percent.to_lowercase(),
        percent,
        format!("{planted:?}").trim_matches('"').to_owned(),
        json!(planted).to_string().trim_matches('"').to_owned(),
        hexadecimal.to_uppercase(),
        hexadecimal,
    ];
    // In base64 with whatever before and after it: what lies in whole groups of three bytes looks always the same.
    for before in 0..3 {
        let text = [&[0; 2][..before], planted.as_bytes()].concat();
        let whole = BASE64_STANDARD.encode(&text[..text.len() / 3 * 3]);
        let whole = &whole[if before == 0 { 0 } else { 4 }..];
        forms.extend([whole.to_owned(), whole.replace('+', "-").replace('/', "_")]);
    }
    forms
}

/// What may be seen nowhere: for a key each of its lines, for it might be shown in part.
pub fn all_forms(planted: &[&str]) -> Vec<String> {
    let lines = planted.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with("-----"));
    lines.flat_map(forms).collect()
}

#[test]
fn a_secret_is_found_in_whatever_form_it_is_seen() {
    let planted = all_forms(&[ODD_PASSWORD]);
    let found = |seen: &str| planted.iter().any(|form| seen.contains(form));
    let token = format!("\0orders\0{ODD_PASSWORD}, and more");
    for before in ["", "a", "ab"] {
        assert!(found(&BASE64_STANDARD.encode(format!("{before}{token}"))));
    }
    let address =
        ODD_PASSWORD.replace('@', "%40").replace(' ', "%20").replace('"', "%22").replace('/', "%2F").replace('é', "%C3%A9");
    for seen in [
        format!("password={ODD_PASSWORD}"),
        format!("{:?}", Some(ODD_PASSWORD)),
        json!({"password": ODD_PASSWORD}).to_string(),
        format!("https://orders:{}@kafka", address.replace("%&=", "%25%26%3D")),
    ] {
        assert!(found(&seen), "{seen}");
    }
    assert!(!found("nothing of it"));
}

/// All objects of a kind, as they can be read.
pub async fn all<T>(client: &Client, namespace: &str) -> String
where
    T: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    serde_json::to_string(&Api::<T>::namespaced(client.clone(), namespace).list(&ListParams::default()).await.unwrap()).unwrap()
}

/// The operator, with all that it can log, into a file.
fn operator(log: &Path, address: &str, namespace: &str, token_endpoint: &str) -> Process {
    let arguments =
        ["--namespace", namespace, "--log", "trace", "--log-format", "json", "--oauth-token-endpoints", token_endpoint];
    Process::start_into(File::create(log).unwrap(), address, &arguments)
}

/// What becomes of each: the one that goes well first.
fn connections(token_endpoint: &str) -> Vec<(&'static str, Value, Reason)> {
    let (trusted, failed) = (trust("cluster-ca"), Reason::AuthenticationFailed);
    let of = |secret: &str| certificate(secret, "user.crt", "user.key");
    let unusable = Reason::SecretUnavailable;
    let token = |secret: &str| {
        json!({
            "type": "oauth", "tokenEndpointUri": token_endpoint, "clientId": "orders", "scope": "kafka",
            "clientSecret": {"secretName": secret, "key": "password"},
            "tlsTrustedCertificates": [{"secretName": "cluster-ca", "certificate": "ca.crt"}],
        })
    };
    vec![
        ("scram", kafka(PASSWORDS, &trusted, &password("scram-sha-512", "orders")), Reason::Succeeded),
        ("plain", kafka(PASSWORDS, &trusted, &password("plain", "orders-plain")), Reason::Succeeded),
        ("token", kafka(TOKENS, &trusted, &token("client")), Reason::Succeeded),
        ("wrong-client-secret", kafka(TOKENS, &trusted, &token("odd")), failed),
        ("mutual", kafka(MUTUAL, &trusted, &of("orders-tls")), Reason::Succeeded),
        ("wrong-scram", kafka(PASSWORDS, &trusted, &password("scram-sha-256", "odd")), failed),
        ("wrong-plain", kafka(PASSWORDS, &trusted, &password("plain", "odd")), failed),
        ("key-of-another", kafka(MUTUAL, &trusted, &of("key-of-another")), unusable),
        ("broken-key", kafka(MUTUAL, &trusted, &of("broken-key")), unusable),
        ("encrypted-key", kafka(MUTUAL, &trusted, &of("encrypted-key")), unusable),
        ("no-certificate", kafka(MUTUAL, &trusted, &of("no-certificate")), unusable),
        ("key-for-certificate", kafka(MUTUAL, &trusted, &certificate("orders-tls", "user.key", "user.crt")), unusable),
        ("no-authority", kafka(MUTUAL, &trust("no-certificate"), &of("orders-tls")), unusable),
        ("authority-of-a-key", kafka(MUTUAL, &trust("broken-key"), &of("orders-tls")), unusable),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_a_secret_is_seen_nowhere_however_much_is_logged() {
    let (broker, (topic, group)) = (secured().await, topic_and_group().await);
    let (user, key) = broker.authority.sign("orders");
    let (_, another) = broker.authority.sign("orders");
    let log = std::env::temp_dir().join(unique("planted"));
    with_namespace(async |client, namespace| {
        let pair = |certificate: &str, key: &str| json!({"ca.crt": certificate, "user.crt": certificate, "user.key": key});
        for (name, data) in [
            ("cluster-ca", json!({"ca.crt": broker.authority.certificate})),
            ("orders", json!({"password": SCRAM_PASSWORD})),
            ("orders-plain", json!({"password": PLAIN_PASSWORD})),
            ("odd", json!({"password": ODD_PASSWORD})),
            ("client", json!({"password": CLIENT_SECRET})),
            ("orders-tls", pair(&user, &key)),
            ("key-of-another", pair(&user, &another)),
            ("broken-key", json!({"ca.crt": BROKEN_KEY, "user.crt": user, "user.key": BROKEN_KEY})),
            ("encrypted-key", pair(&user, ENCRYPTED_KEY)),
            ("no-certificate", pair(NO_CERTIFICATE, &key)),
        ] {
            secret(&client, &namespace, name, data).await;
        }
        let endpoint = Endpoint::start(&broker.authority, Arc::clone(&broker.signer)).await;
        let process = operator(&log, &free_address().await, &namespace, &endpoint.address);
        let (api, connections) = (resets(&client, &namespace), connections(&endpoint.address));
        for (offset, (name, kafka, reason)) in (1..).zip(&connections) {
            let entries = json!([{"topic": topic, "partition": 0, "offset": offset}]);
            let done = run(&api, name, &group, &entries, kafka).await;
            let (status, message) = (status(&done), status(&done).explanation());
            eprintln!("{name}: {message}");
            assert_eq!(status.reason, Some(*reason), "{name}: {message}");
            let phase = if *reason == Reason::Succeeded { Phase::Succeeded } else { Phase::Failed };
            assert_eq!(status.phase, Some(phase), "{name}: {message}");
        }
        let metrics = process.ask("/metrics").await.unwrap();
        process.signal("TERM").await;
        let ended = process.ended().await;
        let password = || Planted::new(SCRAM_PASSWORD.into());
        let authentication = [
            Authentication::Password { mechanism: Mechanism::Plain, username: "orders".into(), password: password() },
            Authentication::Certificate { certificate: user.clone(), key: Planted::new(key.clone()) },
            Authentication::Token(ClientCredentials {
                endpoint: endpoint.address.clone(),
                tls: Tls::Public,
                client_id: "orders".into(),
                client_secret: Planted::new(CLIENT_SECRET.into()),
                scope: None,
                audience: None,
                urlencode: true,
                in_body: false,
                extensions: std::collections::BTreeMap::new(),
            }),
        ];
        let connections = authentication
            .map(|authentication| Connection { authentication: Some(authentication), ..Connection::plain("orders") });

        // Each with something that must be found there: what is not there cannot have been searched.
        let seen = [
            ("logs", std::fs::read_to_string(&log).unwrap(), "wrong-plain"),
            ("standard error", String::from_utf8_lossy(&ended.stderr).into_owned(), ""),
            ("metrics", metrics, "AuthenticationFailed"),
            ("Debug", format!("{connections:?}{connections:#?}"), "orders"),
            ("OffsetResets", all::<OffsetReset>(&client, &namespace).await, "wrong-plain"),
            ("Events", all::<Event>(&client, &namespace).await, "wrong-plain"),
            ("records and receipts", all::<ConfigMap>(&client, &namespace).await, &topic),
            ("Leases", all::<Lease>(&client, &namespace).await, "LeaseList"),
        ];
        let planted = [
            SCRAM_PASSWORD,
            PLAIN_PASSWORD,
            ODD_PASSWORD,
            CLIENT_SECRET,
            &key,
            &another,
            BROKEN_KEY,
            ENCRYPTED_KEY,
            "planted-in-a-certificate-c3f9",
        ];
        let forms = all_forms(&planted);
        for (place, text, known) in &seen {
            assert!(text.contains(known), "{place}: {known} is not there");
            // Every token begins so.
            let found = forms.iter().map(String::as_str).chain(["eyJ"]).find(|form| text.contains(form));
            assert!(found.is_none(), "{place}: {found:?} is there");
        }
        // And each is found where it is.
        let secrets = all::<Secret>(&client, &namespace).await;
        for planted in planted {
            assert!(all_forms(&[planted]).iter().any(|form| secrets.contains(form)), "{planted} is not found in its Secret");
        }
    })
    .await;
    std::fs::remove_file(log).unwrap();
}
