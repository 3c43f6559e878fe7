//! From a connection to librdkafka's properties; the one place where they are set. TLS and SASL belong here too.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, ConsumerContext},
    error::{KafkaError as RdKafkaError, RDKafkaErrorCode},
};

use super::{Connection, causes};

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
        // An idle connection costs the broker more than a new one costs us.
        .set("connections.max.idle.ms", "180000")
        // Why a connection failed is told in log lines only.
        .set_log_level(RDKafkaLogLevel::Info);
    if let Some(group) = group {
        config.set("group.id", group);
    }
    config.create_with_context(Context { brokers: connection.bootstrap_servers.clone(), health: Mutex::default() })
}

/// Hears what librdkafka logs: into our logs, and what it says about the brokers for messages.
pub(super) struct Context {
    brokers: String,
    health: Mutex<Health>,
}

/// What is known about whether the brokers answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    /// A call was answered, and nothing has been heard since that all brokers are gone.
    pub answers: bool,
    /// Why the last connection failed, in few words.
    pub cause: Option<String>,
    /// The brokers did not accept who we are; waiting does not help.
    pub rejected: bool,
}

impl Context {
    /// The brokers that are asked first.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// What is known about the brokers.
    pub fn health(&self) -> Health {
        self.lock().clone()
    }

    /// A broker has answered.
    pub fn answered(&self) {
        *self.lock() = Health { answers: true, cause: None, rejected: false };
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
            self.lock().cause = Some(causes::cause(message));
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
                health.cause = Some(causes::cause(reason));
            }
            _ => health.cause = Some(causes::cause(reason)),
        }
    }
}

impl ConsumerContext for Context {}
