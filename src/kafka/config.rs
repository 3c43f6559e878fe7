//! From a connection to librdkafka's properties; the one place where they are set.

use std::sync::{Mutex, PoisonError};

use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, ConsumerContext},
    error::{KafkaError as RdKafkaError, RDKafkaErrorCode},
};

use super::Connection;

/// Makes a client. It is of the consumer's kind, without a group: only those never create a topic by asking for it.
pub(super) fn client(connection: &Connection) -> Result<BaseConsumer<Context>, RdKafkaError> {
    ClientConfig::new()
        .set("bootstrap.servers", &connection.bootstrap_servers)
        .set("client.id", "offset-reset-operator")
        .set("allow.auto.create.topics", "false")
        .set("enable.auto.commit", "false")
        .set("broker.address.family", "any")
        .set("socket.connection.setup.timeout.ms", "5000")
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "1000")
        .set("enable.metrics.push", "false")
        // An idle connection costs the broker more than a new one costs us.
        .set("connections.max.idle.ms", "180000")
        // Why a connection failed is told in log lines only.
        .set_log_level(RDKafkaLogLevel::Info)
        .create_with_context(Context { brokers: connection.bootstrap_servers.clone(), last_cause: Mutex::default() })
}

/// Hears what librdkafka logs: into our logs, and the last cause of trouble for messages.
pub(super) struct Context {
    brokers: String,
    last_cause: Mutex<Option<String>>,
}

impl Context {
    /// The brokers that are asked first.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Why the last connection failed, in librdkafka's words without their decoration.
    pub fn last_cause(&self) -> Option<String> {
        self.last_cause.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn heard(&self, message: &str) {
        *self.last_cause.lock().unwrap_or_else(PoisonError::into_inner) = Some(undecorated(message));
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" {
            self.heard(message);
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
        // That all brokers are down says nothing that the cause of each has not said.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.heard(reason);
        }
    }
}

impl ConsumerContext for Context {}

/// "[thrd:host:1/bootstrap]: host:1/bootstrap: Connect to ipv4#... failed: Connection refused (after 0ms in state CONNECT)"
/// without what only librdkafka's authors read.
fn undecorated(message: &str) -> String {
    let message = message.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")).map_or(message, |(_, rest)| rest);
    message.split(" (after ").next().unwrap_or(message).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_keeps_who_and_why_and_loses_the_rest() {
        let logged = "[thrd:127.0.0.1:1/bootstrap]: 127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)";
        assert_eq!(undecorated(logged), "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused");
        assert_eq!(undecorated("plain"), "plain");
    }
}
