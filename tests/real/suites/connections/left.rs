//! Members that are left are taken out over a connection that librdkafka has no part in: of each kind.

use std::slice;

use offset_reset_operator::{
    kafka::{Authentication, Connection, Connector, GroupAdmin, Mechanism, Secret, Tls},
    machine::facts::{GroupMember, KafkaErrorKind},
};

use super::stand::{CLEAR, MUTUAL, PASSWORDS, PLAIN_PASSWORD, SCRAM_PASSWORD, WRONG_PASSWORD, secured, topic_and_group};
use real_tests::{
    consumers::{Consumed, Kind, Member, members},
    process::clients,
    unique,
};

/// A static member that has stopped, and whose session would last for minutes.
pub async fn left(admin: &dyn GroupAdmin, topic: &str, group: &str) -> Vec<GroupMember> {
    let kind =
        Kind { is_static: true, session_timeout_ms: Some(300_000), bootstrap_servers: Some(CLEAR.into()), ..Kind::default() };
    let member = Member::start(group, slice::from_ref(&topic.to_owned()), &kind, 0, Consumed::default());
    let found = members(admin, group, 1).await;
    tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_taken_out_over_each_kind_of_connection() {
    let (broker, (topic, _)) = (secured().await, topic_and_group().await);
    let trusted = || Some(Tls::Trusted(broker.authority.certificate.clone()));
    let (certificate, key) = broker.authority.sign("orders");
    let password = |mechanism, password: &str| {
        Some(Authentication::Password { mechanism, username: "orders".into(), password: Secret::new(password.into()) })
    };
    let connection = |servers: &str, tls, authentication| Connection {
        bootstrap_servers: servers.into(),
        tls,
        authentication,
        ..Connection::default()
    };
    let certificate = Some(Authentication::Certificate { certificate, key: Secret::new(key) });
    let (pool, group) = (clients(), unique("secured-left"));
    let clear = pool.connect(&connection(CLEAR, None, None)).await.unwrap();
    let mut found = vec![];
    for (kind, connection) in [
        ("in clear", connection(CLEAR, None, None)),
        ("client certificate", connection(MUTUAL, trusted(), certificate)),
        ("SCRAM-SHA-256", connection(PASSWORDS, trusted(), password(Mechanism::ScramSha256, SCRAM_PASSWORD))),
        ("SCRAM-SHA-512", connection(PASSWORDS, trusted(), password(Mechanism::ScramSha512, SCRAM_PASSWORD))),
        ("PLAIN", connection(PASSWORDS, trusted(), password(Mechanism::Plain, PLAIN_PASSWORD))),
    ] {
        let before = found;
        found = left(clear.as_ref(), &topic, &group).await;
        let admin = pool.connect(&connection).await.unwrap();
        // An earlier incarnation of the static member: what is there now is not meant.
        admin.remove_members(&group, &before).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
        members(clear.as_ref(), &group, 1).await;
        admin.remove_members(&group, &found).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
        members(clear.as_ref(), &group, 0).await;
    }
    for (tls, authentication, kind, words) in [
        (trusted(), password(Mechanism::ScramSha512, WRONG_PASSWORD), KafkaErrorKind::Authentication, "did not accept"),
        (trusted(), password(Mechanism::Plain, WRONG_PASSWORD), KafkaErrorKind::Authentication, "did not accept"),
        (Some(Tls::Public), password(Mechanism::Plain, PLAIN_PASSWORD), KafkaErrorKind::Unreachable, "certificate"),
    ] {
        let admin = pool.connect(&connection(PASSWORDS, tls, authentication)).await.unwrap();
        let refused = admin.remove_members(&group, &found).await.unwrap_err();
        assert!(refused.kind == kind && refused.message.contains(words), "{refused:?}");
        assert!(!refused.message.contains("planted"), "{refused:?}");
    }
}
