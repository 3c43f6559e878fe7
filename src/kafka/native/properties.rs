//! librdkafka's properties, from a connection: the one place where they are set. Certificates and
//! keys are passed as text, never as files.

use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, ConsumerContext},
    error::{KafkaError as RdKafkaError, RDKafkaErrorCode},
};

use crate::kafka::{
    auth::oauth::Token,
    connection::{Authentication, Connection, Tls},
    diagnostics::log_causes::{Cause, Kind},
    ffi::RawError,
};

/// Creates a consumer client, because only consumers never create a topic by requesting its
/// metadata. It joins no group.
///
/// It does not join `group` either, but librdkafka needs one to read committed offsets: in a client
/// without, the answer `NOT_COORDINATOR` to `OffsetFetch` dereferences a null pointer (librdkafka
/// 2.12.1, `rd_kafka_handle_OffsetFetch`). The user should have the right to describe the group,
/// because librdkafka looks for its coordinator from time to time.
pub(super) fn client(connection: &Connection, group: Option<&str>) -> Result<BaseConsumer<Context>, RdKafkaError> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", connection.bootstrap_servers.to_string())
        .set("client.id", "offset-reset-operator")
        .set("allow.auto.create.topics", "false")
        .set("enable.auto.commit", "false")
        .set("broker.address.family", "any")
        .set("socket.timeout.ms", "15000")
        .set("socket.connection.setup.timeout.ms", "5000")
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "1000")
        .set("enable.metrics.push", "false")
        // How long a topic's partitions and leaders are cached, and so how long a new partition is
        // unknown.
        .set("metadata.max.age.ms", "10000")
        // The largest answer, in bytes. librdkafka allocates it as soon as it has read the length,
        // and many clients may do so at once. Our answers are far smaller; the largest describes a
        // group of thousands of members. We fetch no records, but the limit for those must not be
        // larger.
        .set("receive.message.max.bytes", "33554432")
        .set("fetch.max.bytes", "1048576")
        // An idle connection costs the broker more than a new one costs the operator.
        .set("connections.max.idle.ms", "180000")
        // librdkafka reports only in its log why a connection failed.
        .set_log_level(RDKafkaLogLevel::Info);
    for (name, value) in &connection.config {
        // The name in Kafka's own clients.
        config.set(if name == "request.timeout.ms" { "socket.timeout.ms" } else { name }, value);
    }
    secure(&mut config, connection);
    if let Some(group) = group {
        config.set("group.id", group);
    }
    config.create_with_context(Context { health: Mutex::default(), token: Mutex::default() })
}

/// TLS and authentication.
fn secure(config: &mut ClientConfig, connection: &Connection) {
    let sasl = matches!(connection.authentication, Some(Authentication::Password { .. } | Authentication::Token(_)));
    let protocol = match (&connection.tls, sasl) {
        (None, false) => "plaintext",
        (None, true) => "sasl_plaintext",
        (Some(_), false) => "ssl",
        (Some(_), true) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    match &connection.tls {
        None => {}
        // From the system's store: OpenSSL is linked in, and has no store of its own.
        Some(Tls::Public) => _ = config.set("ssl.ca.location", "probe"),
        Some(Tls::Trusted(certificates)) => _ = config.set("ssl.ca.pem", certificates),
    }
    if connection.tls.is_some() {
        config.set("enable.ssl.certificate.verification", "true").set("ssl.endpoint.identification.algorithm", "https");
    }
    match &connection.authentication {
        None => {}
        Some(Authentication::Certificate { certificate, key }) => {
            config.set("ssl.certificate.pem", certificate).set("ssl.key.pem", key.reveal());
        }
        // The session sets the token before each call.
        Some(Authentication::Token(_)) => _ = config.set("sasl.mechanisms", "OAUTHBEARER"),
        Some(Authentication::Password { mechanism, username, password }) => {
            config
                .set("sasl.mechanisms", mechanism.name())
                .set("sasl.username", username)
                .set("sasl.password", password.reveal());
        }
    }
}

/// Receives librdkafka's log: for the operator's log, and for error messages about the brokers.
pub(super) struct Context {
    health: Mutex<Health>,
    /// The token that the client has now.
    token: Mutex<Option<Arc<Token>>>,
}

/// What is known about whether brokers answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    /// A broker has answered a call, and librdkafka has not reported since that all brokers are
    /// down.
    pub answers: bool,
    /// Why the last connection failed.
    pub cause: Option<Cause>,
    /// The brokers rejected the authentication; waiting is pointless.
    pub rejected: bool,
    /// No thread could be started for a broker, so the client never asks it.
    pub lacks_threads: bool,
}

impl Health {
    /// Records a line of the log as the cause. A closed connection does not replace an earlier
    /// cause.
    fn record(&mut self, line: &str) {
        let cause = Cause::of(line);
        if self.cause.is_none() || cause.kind != Kind::Closed {
            self.cause = Some(cause);
        }
    }
}

impl Context {
    /// What is known about whether brokers answer.
    pub fn health(&self) -> Health {
        self.health.lock().clone()
    }

    /// Calls `set` when the client has another token than this, or none.
    pub fn set_token(&self, token: &Arc<Token>, set: impl FnOnce() -> Result<(), RawError>) -> Result<(), RawError> {
        let mut current = self.token.lock();
        if !current.as_ref().is_some_and(|current| Arc::ptr_eq(current, token)) {
            set()?;
            *current = Some(Arc::clone(token));
        }
        Ok(())
    }

    /// Records that a broker has answered.
    pub fn answered(&self) {
        let mut health = self.health.lock();
        *health = Health { answers: true, lacks_threads: health.lacks_threads, ..Health::default() };
    }

    /// Records that a call had no answer: the next call first checks whether any broker answers.
    pub fn doubt(&self) {
        self.health.lock().answers = false;
    }
}

/// librdkafka's words for a broker that it cannot start a thread for (2.12.1,
/// `rd_kafka_broker_add`).
const NO_THREAD: &str = "Unable to create broker thread";

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" {
            self.health.lock().record(message);
        }
        if message.contains(NO_THREAD) {
            self.health.lock().lacks_threads = true;
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::warn!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn error(&self, error: RdKafkaError, reason: &str) {
        tracing::info!(target: "librdkafka", "{reason}");
        let mut health = self.health.lock();
        health.lacks_threads |= reason.contains(NO_THREAD);
        match error.rdkafka_error_code() {
            // Each broker's own failure has reported its cause already.
            Some(RDKafkaErrorCode::AllBrokersDown) => health.answers = false,
            Some(RDKafkaErrorCode::Authentication) => {
                health.answers = false;
                health.rejected = true;
                health.cause = Some(Cause::of(reason));
            }
            _ => health.record(reason),
        }
    }
}

impl ConsumerContext for Context {}
