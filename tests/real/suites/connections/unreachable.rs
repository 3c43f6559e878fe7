//! What a person reads when no broker answers, or answers that it does not know us.

use offset_reset_operator::api::Reason;
use serde_json::{Value, json};

use super::{
    Case, each_fails,
    stand::{
        PASSWORDS, PASSWORDS_IN_CLEAR, PLAIN_PASSWORD, SCRAM_PASSWORD, WRONG_PASSWORD, kafka, password, secret, secured,
        topic_and_group, trust,
    },
};
use real_tests::{process::free_address, shop::Operator, with_namespace};

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_answer_and_who_does_not_know_us_are_told_apart() {
    let (broker, (topic, _)) = (secured().await, topic_and_group().await);
    // The kernel accepts, and nobody ever answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (silence, nobody) = (silent.local_addr().unwrap().to_string(), free_address().await);
    with_namespace(async |client, namespace| {
        let operator = Operator::start(&client, &namespace);
        secret(&client, &namespace, "cluster-ca", json!({"ca.crt": broker.authority.certificate})).await;
        secret(&client, &namespace, "orders", json!({"password": SCRAM_PASSWORD})).await;
        secret(&client, &namespace, "orders-plain", json!({"password": PLAIN_PASSWORD})).await;
        secret(&client, &namespace, "wrong", json!({"password": WRONG_PASSWORD})).await;
        let (trusted, nothing) = (trust("cluster-ca"), Value::Null);
        let named = |secret: &str, name: &str| {
            let mut password = password("scram-sha-512", secret);
            password["username"] = json!(name);
            password
        };
        let refused = format!("connection refused by {nobody}: nothing listens at that port");
        let answers = format!("no broker of {silence} answers: {silence} accepts the connection but does not respond");
        let (gone, unknown) = (Reason::BrokerUnreachable, Reason::AuthenticationFailed);
        let rejected = "did not accept the credentials (";
        let cases = [
            Case::passing(
                "no-such-host",
                kafka("no-such-host.invalid:9092", &nothing, &nothing),
                gone,
                ["host name no-such-host.invalid cannot be resolved: check spec.kafka.bootstrapServers"],
            ),
            Case::passing("refused", kafka(&nobody, &nothing, &nothing), gone, [&refused]),
            Case::passing("refused-over-tls", kafka(&nobody, &trusted, &nothing), gone, [&refused]),
            Case::passing("silence", kafka(&silence, &nothing, &nothing), gone, [&answers]),
            Case::passing("silence-over-tls", kafka(&silence, &trusted, &nothing), gone, [&answers]),
            Case::new(
                "wrong-scram-password",
                kafka(PASSWORDS, &trusted, &password("scram-sha-512", "wrong")),
                unknown,
                [rejected],
            ),
            Case::new(
                "wrong-scram-256-password",
                kafka(PASSWORDS, &trusted, &password("scram-sha-256", "wrong")),
                unknown,
                [rejected],
            ),
            Case::new("wrong-plain-password", kafka(PASSWORDS, &trusted, &password("plain", "orders")), unknown, [rejected]),
            Case::new("unknown-user", kafka(PASSWORDS, &trusted, &named("orders", "nobody")), unknown, [rejected]),
            Case::new(
                "unknown-mechanism",
                kafka(PASSWORDS_IN_CLEAR, &nothing, &password("scram-sha-512", "orders")),
                unknown,
                [rejected, "broker's supported mechanisms: PLAIN"],
            ),
            Case::new(
                "wrong-password-in-clear",
                kafka(PASSWORDS_IN_CLEAR, &nothing, &password("plain", "wrong")),
                unknown,
                [rejected],
            ),
        ];
        each_fails(&client, &namespace, &topic, &cases).await;
        operator.end().await;
    })
    .await;
    drop(silent);
}
