//! PURE: a whole connection from one Secret of the Service Binding specification (servicebinding.io), with the entries that
//! Strimzi's access operator writes.
//!
//! | entry | also written | is |
//! |---|---|---|
//! | `type` | | `kafka` |
//! | `bootstrapServers` | `bootstrap.servers`, `bootstrap-servers` | host:port, several separated by commas |
//! | `securityProtocol` | `security.protocol` | PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL |
//! | `saslMechanism` | `sasl.mechanism` | SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN, when the protocol has SASL |
//! | `username`, `password` | `user` | when the protocol has SASL |
//! | `ssl.truststore.crt` | | the CA certificates, as PEM, when the protocol has SSL; the public CAs when it is absent |
//! | `ssl.keystore.crt`, `ssl.keystore.key` | | a client certificate and its key, as PEM, when the protocol is SSL and the brokers require one |
//!
//! The protocol is never guessed: a password must not be sent in plaintext because an entry is missing. Two spellings of one
//! entry with different values are an error. Other entries, such as `provider` and `sasl.jaas.config`, are ignored.

use super::secret_reader::SecretReader;
use crate::{
    api::BootstrapServers,
    kafka::{Authentication, Mechanism, Tls},
    machine::facts::KafkaError,
};

const BOOTSTRAP_SERVERS: &[&str] = &["bootstrapServers", "bootstrap.servers", "bootstrap-servers"];
const SECURITY_PROTOCOL: &[&str] = &["securityProtocol", "security.protocol"];
const SASL_MECHANISM: &[&str] = &["saslMechanism", "sasl.mechanism"];
const USERNAME: &[&str] = &["username", "user"];
const PASSWORD: &str = "password";
const TRUSTSTORE: &str = "ssl.truststore.crt";
const CERTIFICATE: &str = "ssl.keystore.crt";
const KEY: &str = "ssl.keystore.key";

/// The connection settings of a binding.
pub(super) struct Binding {
    pub bootstrap_servers: BootstrapServers,
    pub tls: Option<Tls>,
    pub authentication: Option<Authentication>,
}

/// Reads a binding.
///
/// # Errors
/// When an entry is missing or invalid; the message names the Secret and the key.
pub(super) fn read(secret: &SecretReader<'_>) -> Result<Binding, KafkaError> {
    if secret.text("type")?.trim() != "kafka" {
        return Err(secret.invalid("type", "is not kafka, so the Secret is not a binding to Kafka"));
    }
    let bootstrap_servers = bootstrap_servers(secret)?;
    let (key, protocol) = entry(secret, SECURITY_PROTOCOL)?;
    let (encrypted, with_password) = match protocol.as_str() {
        "PLAINTEXT" => (false, false),
        "SSL" => (true, false),
        "SASL_PLAINTEXT" => (false, true),
        "SASL_SSL" => (true, true),
        _ => return Err(secret.invalid(key, "is not PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")),
    };
    let tls = match (encrypted, secret.has(TRUSTSTORE)) {
        (false, _) => None,
        (true, false) => Some(Tls::Public),
        (true, true) => Some(Tls::Trusted(secret.certificates(TRUSTSTORE)?)),
    };
    let authentication = if with_password {
        Some(password(secret)?)
    } else if encrypted && (secret.has(CERTIFICATE) || secret.has(KEY)) {
        let (certificate, key) = secret.pair(CERTIFICATE, KEY)?;
        Some(Authentication::Certificate { certificate, key })
    } else {
        None
    };
    Ok(Binding { bootstrap_servers, tls, authentication })
}

fn bootstrap_servers(secret: &SecretReader<'_>) -> Result<BootstrapServers, KafkaError> {
    let (key, list) = entry(secret, BOOTSTRAP_SERVERS)?;
    let brokers = BootstrapServers::from(list);
    // The same rule as the CRD's for spec.kafka.bootstrapServers.
    if !brokers.are_complete() {
        return Err(secret.invalid(key, "is not host:port, several separated by commas, such as kafka-bootstrap.kafka:9093"));
    }
    Ok(brokers)
}

fn password(secret: &SecretReader<'_>) -> Result<Authentication, KafkaError> {
    let (key, mechanism) = entry(secret, SASL_MECHANISM)?;
    let mechanism = match mechanism.as_str() {
        "SCRAM-SHA-512" => Mechanism::ScramSha512,
        "SCRAM-SHA-256" => Mechanism::ScramSha256,
        "PLAIN" => Mechanism::Plain,
        _ => {
            let problem = "is not SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN, the mechanisms that a binding can have";
            return Err(secret.invalid(key, problem));
        }
    };
    let (_, username) = entry(secret, USERNAME)?;
    // Not trimmed: a space at its end may be part of the password.
    Ok(Authentication::Password { mechanism, username, password: secret.password(PASSWORD)? })
}

/// The value under one of these names, without white space around it, and its name.
fn entry(secret: &SecretReader<'_>, names: &[&'static str]) -> Result<(&'static str, String), KafkaError> {
    let mut found: Option<(&'static str, String)> = None;
    for &name in names.iter().filter(|name| secret.has(name)) {
        let text = secret.text(name)?.trim().to_owned();
        match &found {
            None => found = Some((name, text)),
            Some((_, first)) if *first == text => {}
            Some((first, _)) => {
                return Err(secret.invalid(name, &format!("contradicts key {first}, which should have the same value")));
            }
        }
    }
    found.ok_or_else(|| secret.missing(names.first().copied().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use k8s_openapi::{ByteString, api::core::v1::Secret as SecretObject};
    use rcgen::{CertificateParams, KeyPair};
    use rstest::rstest;

    use super::*;
    use crate::{kafka::Secret, kubernetes::SecretData, machine::facts::KafkaErrorKind};

    /// Placeholders for a certificate and its key, see [`real`].
    const CA: &str = "a certificate";
    const KEY_PEM: &str = "its key";

    /// Replaces a placeholder by a real certificate or its key.
    fn real(text: &str) -> String {
        static PAIR: LazyLock<(String, String)> = LazyLock::new(|| {
            let key = KeyPair::generate().unwrap();
            (CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap().pem(), key.serialize_pem())
        });
        match text {
            CA => PAIR.0.clone(),
            KEY_PEM => PAIR.1.clone(),
            other => other.to_owned(),
        }
    }

    /// The binding that Strimzi's access operator (0.3) writes for a TLS listener and a KafkaUser of type scram-sha-512.
    const SCRAM: &[(&str, &str)] = &[
        ("type", "kafka"),
        ("provider", "strimzi"),
        ("bootstrap.servers", "shop-kafka-bootstrap.kafka.svc:9093"),
        ("bootstrapServers", "shop-kafka-bootstrap.kafka.svc:9093"),
        ("bootstrap-servers", "shop-kafka-bootstrap.kafka.svc:9093"),
        ("security.protocol", "SASL_SSL"),
        ("securityProtocol", "SASL_SSL"),
        ("ssl.truststore.crt", CA),
        ("username", "orders"),
        ("user", "orders"),
        ("password", "planted "),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("saslMechanism", "SCRAM-SHA-512"),
        ("sasl.jaas.config", "org.apache.kafka.common.security.scram.ScramLoginModule required ...;"),
    ];

    /// The same for a KafkaUser of type tls.
    const CERTIFICATES: &[(&str, &str)] = &[
        ("type", "kafka"),
        ("provider", "strimzi"),
        ("bootstrapServers", "a:9093, b:9093\n"),
        ("security.protocol", "SSL"),
        ("ssl.truststore.crt", CA),
        ("ssl.keystore.crt", CA),
        ("ssl.keystore.key", KEY_PEM),
    ];

    fn bound(entries: &[(&str, &str)], changes: &[(&str, Option<&str>)]) -> Result<Binding, KafkaError> {
        let mut entries_of: std::collections::BTreeMap<String, ByteString> =
            entries.iter().map(|(key, value)| ((*key).to_owned(), ByteString(real(value).into_bytes()))).collect();
        for (key, value) in changes {
            match value {
                Some(value) => _ = entries_of.insert((*key).to_owned(), ByteString(value.as_bytes().to_vec())),
                None => _ = entries_of.remove(*key),
            }
        }
        let data = SecretData::from(SecretObject { data: Some(entries_of), ..SecretObject::default() });
        read(&SecretReader::new("Secret shop/b, which spec.kafka.binding names,".into(), &data))
    }

    #[test]
    fn a_binding_of_strimzis_access_operator_is_read() {
        let found = bound(SCRAM, &[]).unwrap();
        assert_eq!(found.bootstrap_servers.to_string(), "shop-kafka-bootstrap.kafka.svc:9093");
        assert_eq!(found.tls, Some(Tls::Trusted(real(CA))));
        let password = Secret::new("planted ".into());
        let expected = Authentication::Password { mechanism: Mechanism::ScramSha512, username: "orders".into(), password };
        assert_eq!(found.authentication, Some(expected));

        let found = bound(CERTIFICATES, &[]).unwrap();
        assert_eq!(found.bootstrap_servers.to_string(), "a:9093,b:9093");
        let key = Secret::new(real(KEY_PEM));
        assert_eq!(found.authentication, Some(Authentication::Certificate { certificate: real(CA), key }));
    }

    #[rstest]
    #[case::plaintext(&[("security.protocol", Some("PLAINTEXT"))], None, false)]
    #[case::public_cas(&[("ssl.truststore.crt", None), ("ssl.keystore.crt", None), ("ssl.keystore.key", None)], Some(Tls::Public), false)]
    #[case::a_client_certificate_and_public_cas(&[("ssl.truststore.crt", None)], Some(Tls::Public), true)]
    fn the_protocol_decides_what_counts(#[case] changes: &[(&str, Option<&str>)], #[case] tls: Option<Tls>, #[case] shown: bool) {
        let found = bound(CERTIFICATES, changes).unwrap();
        assert_eq!((found.tls, found.authentication.is_some()), (tls, shown));
    }

    #[rstest]
    #[case::no_type("type", None, "has no key type; it has: bootstrap-servers, bootstrap.servers, bootstrapServers, password")]
    #[case::of_something_else("type", Some("postgresql"), "key type is not kafka")]
    #[case::no_brokers("bootstrapServers", Some("kafka"), "key bootstrap.servers contradicts key bootstrapServers")]
    #[case::no_password("password", None, "has no key password")]
    #[case::an_empty_password("password", Some(""), "key password is empty")]
    #[case::a_password_from_echo(
        "password",
        Some("planted\n"),
        "key password ends with a line break, which is probably not part of it; store it"
    )]
    #[case::a_password_from_windows("password", Some("planted\r\n"), "key password ends with a line break")]
    #[case::a_ca_of_openssls_own_kind(
        "ssl.truststore.crt",
        Some("-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n-----END TRUSTED CERTIFICATE-----\n"),
        "key ssl.truststore.crt contains a TRUSTED CERTIFICATE, which only OpenSSL reads; convert it"
    )]
    #[case::a_ca_that_is_not_pem("ssl.truststore.crt", Some("x"), "key ssl.truststore.crt is not PEM")]
    fn an_invalid_binding_is_refused_with_its_entry(#[case] key: &str, #[case] value: Option<&str>, #[case] expected: &str) {
        let error = bound(SCRAM, &[(key, value)]).err().unwrap();
        assert!(error.message.contains(expected), "{error}");
        assert!(error.message.starts_with("Secret shop/b, which spec.kafka.binding names,"), "{error}");
        let kind = if value.is_none() { KafkaErrorKind::SecretUnavailable } else { KafkaErrorKind::SecretInvalid };
        assert_eq!(error.kind, kind);
    }

    #[rstest]
    #[case::brokers(&["bootstrapServers", "bootstrap.servers", "bootstrap-servers"], None, "has no key bootstrapServers")]
    #[case::protocol(&["securityProtocol", "security.protocol"], None, "has no key securityProtocol")]
    #[case::mechanism(&["saslMechanism", "sasl.mechanism"], None, "has no key saslMechanism")]
    #[case::user(&["username", "user"], None, "has no key username")]
    #[case::token(&["saslMechanism", "sasl.mechanism"], Some("OAUTHBEARER"), "key saslMechanism is not SCRAM-SHA-512")]
    #[case::protocol_of_its_own(&["securityProtocol", "security.protocol"], Some("TLS"), "key securityProtocol is not PLAINTEXT")]
    #[case::an_address(
        &["bootstrapServers", "bootstrap.servers", "bootstrap-servers"], Some("SASL_SSL://kafka:9093"), "is not host:port"
    )]
    #[case::no_port(&["bootstrapServers", "bootstrap.servers", "bootstrap-servers"], Some("kafka"), "is not host:port")]
    #[case::a_gap(&["bootstrapServers", "bootstrap.servers", "bootstrap-servers"], Some("kafka:9093,"), "is not host:port")]
    fn an_entry_is_missing_only_when_all_its_names_are(
        #[case] keys: &[&str],
        #[case] value: Option<&str>,
        #[case] expected: &str,
    ) {
        if value.is_none() {
            for key in keys {
                assert!(bound(SCRAM, &[(key, None)]).is_ok(), "the other spelling is enough");
            }
        }
        let changes: Vec<_> = keys.iter().map(|key| (*key, value)).collect();
        let error = bound(SCRAM, &changes).err().unwrap();
        assert!(error.message.contains(expected), "{error}");
        assert!(!error.message.contains("planted"), "{error}");
    }

    #[rstest]
    #[case::certificate("ssl.keystore.crt")]
    #[case::key("ssl.keystore.key")]
    fn a_client_certificate_is_whole_or_refused(#[case] key: &str) {
        let error = bound(CERTIFICATES, &[(key, None)]).err().unwrap();
        assert!(error.message.contains(&format!("has no key {key}")), "{error}");
    }
}
