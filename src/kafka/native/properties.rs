//! From a connection to librdkafka's properties; the one place where they are set. Certificates and keys go in as text, never as files.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    ffi::Fault,
};

/// Makes a client of the consumer's kind: only those never create a topic by asking for it. It joins no group.
///
/// `group` is not joined either, but librdkafka needs one to read committed offsets: in a client without, the answer
/// `NOT_COORDINATOR` to `OffsetFetch` is a null pointer (librdkafka 2.12.1, `rd_kafka_handle_OffsetFetch`), and ends the process.
/// It should be a group that the user may describe, because librdkafka looks for its coordinator now and then.
pub(super) fn client(connection: &Connection, group: Option<&str>) -> Result<BaseConsumer<Context>, RdKafkaError> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &connection.bootstrap_servers)
        .set("client.id", "offset-reset-operator")
        .set("allow.auto.create.topics", "false")
        .set("enable.auto.commit", "false")
        .set("broker.address.family", "any")
        .set("socket.timeout.ms", "15000")
        .set("socket.connection.setup.timeout.ms", "5000")
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "1000")
        .set("enable.metrics.push", "false")
        // How long a topic's partitions and leaders are believed: a partition that was added since would be unknown till then.
        .set("metadata.max.age.ms", "10000")
        // The largest answer, in bytes. Room is made for it as soon as its length has come, whatever follows, and many clients may be made to. What
        // is asked for is far smaller; a group of thousands of members comes nearest. We fetch no records, but that must not be larger.
        .set("receive.message.max.bytes", "33554432")
        .set("fetch.max.bytes", "1048576")
        // An idle connection costs the broker more than a new one costs us.
        .set("connections.max.idle.ms", "180000")
        // Why a connection failed is told in log lines only.
        .set_log_level(RDKafkaLogLevel::Info);
    for (name, value) in &connection.config {
        // Kafka's own clients have another name for it.
        config.set(if name == "request.timeout.ms" { "socket.timeout.ms" } else { name }, value);
    }
    secure(&mut config, connection);
    if let Some(group) = group {
        config.set("group.id", group);
    }
    config.create_with_context(Context { health: Mutex::default(), shown: Mutex::default() })
}

/// TLS, and who we are.
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
        // Where the machine has them: OpenSSL is linked in and knows no place of its own.
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
        // Given to it before each call.
        Some(Authentication::Token(_)) => _ = config.set("sasl.mechanisms", "OAUTHBEARER"),
        Some(Authentication::Password { mechanism, username, password }) => {
            config
                .set("sasl.mechanisms", mechanism.name())
                .set("sasl.username", username)
                .set("sasl.password", password.reveal());
        }
    }
}

/// Hears what librdkafka logs: into our logs, and what it says about the brokers for messages.
pub(super) struct Context {
    health: Mutex<Health>,
    /// The token that the client has.
    shown: Mutex<Option<Arc<Token>>>,
}

/// What is known about whether the brokers answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    /// A call was answered, and nothing has been heard since that all brokers are gone.
    pub answers: bool,
    /// Why the last connection failed.
    pub cause: Option<Cause>,
    /// The brokers did not accept who we are; waiting does not help.
    pub rejected: bool,
}

impl Health {
    /// Takes a line as the cause. That a connection was closed says less than what was said before.
    fn hear(&mut self, line: &str) {
        let cause = Cause::of(line);
        if self.cause.is_none() || cause.kind != Kind::Closed {
            self.cause = Some(cause);
        }
    }
}

impl Context {
    /// What is known about the brokers.
    pub fn health(&self) -> Health {
        self.lock().clone()
    }

    /// Lets the client have a token, by `give`, when it has another one or none.
    pub fn show(&self, token: &Arc<Token>, give: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if !shown.as_ref().is_some_and(|shown| Arc::ptr_eq(shown, token)) {
            give()?;
            *shown = Some(Arc::clone(token));
        }
        Ok(())
    }

    /// A broker has answered.
    pub fn answered(&self) {
        *self.lock() = Health { answers: true, ..Health::default() };
    }

    /// A call ended without an answer: the next one looks first whether there is a broker.
    pub fn doubt(&self) {
        self.lock().answers = false;
    }

    fn lock(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" {
            self.lock().hear(message);
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
        let mut health = self.lock();
        match error.rdkafka_error_code() {
            // Says nothing about the cause that each broker's own failure has not said.
            Some(RDKafkaErrorCode::AllBrokersDown) => health.answers = false,
            Some(RDKafkaErrorCode::Authentication) => {
                health.answers = false;
                health.rejected = true;
                health.cause = Some(Cause::of(reason));
            }
            _ => health.hear(reason),
        }
    }
}

impl ConsumerContext for Context {}
