//! What a person reads when TLS fails: each cause by itself, on a real broker.

use std::net::Ipv6Addr;

use kube::Client;
use offset_reset_operator::api::Reason;
use rcgen::SanType;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{
    Case, each_fails,
    stand::{
        Authority, CLEAR, EARLY, EXPIRED, MUTUAL, OTHER_NAME, PASSWORDS, SCRAM_PASSWORD, Secured, VALID, acceptor, certificate,
        kafka, password, secret, secured, trust,
    },
};
use real_tests::{shop::Operator, with_namespace};

/// Authorities and client certificates, good and bad.
async fn secrets(client: &Client, namespace: &str, broker: &Secured) {
    let ca = &broker.authority.certificate;
    secret(client, namespace, "cluster-ca", json!({"ca.crt": ca})).await;
    let strange = Authority::new("strange-ca");
    secret(client, namespace, "strange-ca", json!({"ca.crt": strange.certificate})).await;
    secret(client, namespace, "old-ca", json!({"ca.crt": Authority::new("cluster-ca").certificate})).await;
    secret(client, namespace, "orders", json!({"password": SCRAM_PASSWORD})).await;
    let (certificate_of_a_stranger, key) = strange.sign("orders");
    secret(client, namespace, "strange-tls", json!({"user.crt": certificate_of_a_stranger, "user.key": key})).await;
    let (old, key) = broker.authority.sign_for("orders", None, (2020, 2020));
    secret(client, namespace, "old-tls", json!({"user.crt": old, "user.key": key})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_cause_of_a_tls_failure_is_told_apart_and_says_what_to_do() {
    let broker = secured().await;
    with_namespace(async |client, namespace| {
        let operator = Operator::start(&client, &namespace);
        secrets(&client, &namespace, broker).await;
        let (trusted, nothing) = (trust("cluster-ca"), Value::Null);
        let scram = password("scram-sha-512", "orders");
        let of = |secret: &str| certificate(secret, "user.crt", "user.key");
        let failed = Reason::TlsFailed;
        let cases = [
            Case::new(
                "unknown-authority",
                kafka(PASSWORDS, &trust("strange-ca"), &scram),
                failed,
                ["the certificate of 127.0.0.1:9494 was issued by CN=cluster-ca, whose certificate is not in spec.kafka.tls.trustedCertificates"],
            ),
            Case::new(
                "authority-made-anew",
                kafka(PASSWORDS, &trust("old-ca"), &scram),
                failed,
                ["was issued by CN=cluster-ca", "the Secret still holds the old certificate"],
            ),
            Case::new(
                "public-authorities",
                kafka(PASSWORDS, &json!({}), &scram),
                failed,
                ["was issued by CN=cluster-ca, which is not a public CA: add a Secret with its certificate"],
            ),
            Case::new(
                "other-name",
                kafka(OTHER_NAME, &trusted, &nothing),
                failed,
                ["the certificate of 127.0.0.1:9496 is valid for elsewhere.example and not for that name: use one of its names"],
            ),
            Case::new(
                "expired",
                kafka(EXPIRED, &trusted, &nothing),
                failed,
                ["the certificate of 127.0.0.1:9497 expired at 2020-12-31T00:00:00Z: renew it on the broker"],
            ),
            Case::new(
                "expired-for-public-authorities",
                kafka(EXPIRED, &json!({}), &nothing),
                failed,
                ["the certificate of 127.0.0.1:9497 expired at 2020-12-31T00:00:00Z: renew it on the broker"],
            ),
            Case::new(
                "early",
                kafka(EARLY, &trusted, &nothing),
                failed,
                ["the certificate of 127.0.0.1:9498 is not valid before 2099-01-01T00:00:00Z: check the clocks"],
            ),
            Case::new(
                "no-client-certificate",
                kafka(MUTUAL, &trusted, &nothing),
                failed,
                ["127.0.0.1:9493 requires a client certificate (", "): set spec.kafka.authentication to type tls, with certificateAndKey"],
            ),
            Case::new(
                "strange-client-certificate",
                kafka(MUTUAL, &trusted, &of("strange-tls")),
                failed,
                ["127.0.0.1:9493 rejects the client certificate", "was not issued by a CA that the broker trusts"],
            ),
            Case::new(
                "old-client-certificate",
                kafka(MUTUAL, &trusted, &of("old-tls")),
                failed,
                ["rejects the client certificate", "certificateAndKey expired at 2020-12-31T00:00:00Z: renew it"],
            ),
            Case::new(
                "tls-to-clear",
                kafka(CLEAR, &trusted, &nothing),
                failed,
                ["127.0.0.1:9492 speaks plaintext Kafka, not TLS: use the port of its TLS listener, or remove spec.kafka.tls"],
            ),
            Case::new(
                "clear-to-tls",
                kafka(MUTUAL, &nothing, &nothing),
                failed,
                ["127.0.0.1:9493 speaks TLS, but spec.kafka.tls is not set: set it"],
            ),
            Case::new(
                "password-in-clear-to-tls",
                kafka(PASSWORDS, &nothing, &scram),
                failed,
                ["127.0.0.1:9494 speaks TLS, but spec.kafka.tls is not set: set it"],
            ),
        ];
        each_fails(&client, &namespace, "whatever", &cases).await;
        operator.end().await;
    })
    .await;
}

/// librdkafka takes an address in brackets for a host name, whatever the certificate is valid for.
#[tokio::test(flavor = "multi_thread")]
async fn an_ipv6_address_that_the_client_cannot_verify_is_told_from_a_certificate_that_is_not_valid() {
    let authority = Authority::new("six-ca");
    let (certificate, key) = authority.sign_for("six", Some(SanType::IpAddress(Ipv6Addr::LOCALHOST.into())), VALID);
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let acceptor = acceptor(&[&certificate], &key);
    let broker = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move { drop(acceptor.accept(stream).await) });
        }
    });
    with_namespace(async |client, namespace| {
        let operator = Operator::start(&client, &namespace);
        secret(&client, &namespace, "six-ca", json!({"ca.crt": authority.certificate})).await;
        let said = format!("the certificate of {address} cannot be verified by the Kafka client, which does so for host names");
        let words = [said.as_str(), "write a host name of the broker in spec.kafka.bootstrapServers"];
        let case = Case::new("six", kafka(&address, &trust("six-ca"), &Value::Null), Reason::TlsFailed, words);
        each_fails(&client, &namespace, "whatever", &[case]).await;
        operator.end().await;
    })
    .await;
    broker.abort();
}
