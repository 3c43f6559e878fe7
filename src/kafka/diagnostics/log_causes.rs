//! Why no broker answers: librdkafka's log lines, turned into a closed set of causes.
//!
//! librdkafka reports the cause of a failed connection only in its log. An unknown line becomes the
//! message itself, without librdkafka's prefix and suffix.

use crate::api::Broker;

/// Why a connection failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::kafka) struct Cause {
    /// What the cause means for the next step.
    pub kind: Kind,
    /// The broker, when the line names one.
    pub broker: Option<Broker>,
    /// The cause in one sentence, with what to do.
    pub text: String,
}

/// What a cause means for the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kafka) enum Kind {
    /// It may pass by itself.
    Passing,
    /// The connection was closed for an unknown reason. Any earlier cause says more.
    Closed,
    /// The connection was closed at once: the port may speak another protocol than the client.
    ProtocolMismatch,
    /// The broker's certificate is not trusted; librdkafka does not report why.
    Certificate,
    /// The broker wants a client certificate, or another one. The text is only its TLS alert.
    ClientCertificate,
}

/// The TLS alerts of a broker that wants a client certificate, or another one.
const ALERTS: [&str; 6] =
    ["certificate required", "handshake failure", "bad certificate", "unknown ca", "certificate unknown", "certificate expired"];

impl Cause {
    /// A host name that cannot be resolved.
    pub fn unresolved(broker: &Broker) -> Self {
        let text = format!(
            "host name {} cannot be resolved: check spec.kafka.bootstrapServers, and the addresses that the brokers advertise \
             (advertised.listeners)",
            broker.host()
        );
        Self { kind: Kind::Passing, broker: Some(broker.clone()), text }
    }

    /// A port that refuses the connection.
    pub fn refused(broker: &Broker) -> Self {
        let text = format!("connection refused by {broker}: nothing listens at that port");
        Self { kind: Kind::Passing, broker: Some(broker.clone()), text }
    }

    /// An address that does not answer.
    pub fn silent(broker: &Broker) -> Self {
        let text = format!("{broker} does not answer: it is down, or a firewall or NetworkPolicy is in the way");
        Self { kind: Kind::Passing, broker: Some(broker.clone()), text }
    }

    /// The cause in a line of librdkafka about a failed connection.
    ///
    /// A line looks like `[thrd:host:9092/bootstrap]: host:9092/bootstrap: Connect to
    /// ipv4#192.0.2.1:9092 failed: Connection refused (after 0ms in state CONNECT)`, with
    /// `sasl_ssl://` before the host when the connection uses SASL or TLS.
    pub fn of(line: &str) -> Self {
        let (broker, report) = parts(line);
        let has = |needle: &str| report.contains(needle);
        let name = broker.as_ref().map_or("the broker", Broker::as_str);
        let known = broker.as_ref();
        let (kind, text) = if let Some(broker) = known.filter(|_| has("Failed to resolve")) {
            return Self::unresolved(broker);
        } else if let Some(broker) = known.filter(|_| has("Connection refused")) {
            return Self::refused(broker);
        } else if let Some(broker) = known.filter(|_| has("timed out in state CONNECT") || has("Connection timed out")) {
            return Self::silent(broker);
        } else if has("Network is unreachable") || has("No route to host") {
            (Kind::Passing, format!("no route to {name}"))
        } else if has("Connection setup timed out") {
            let text = format!("{name} accepts the connection but does not respond: it hangs, or is not a Kafka broker");
            (Kind::Passing, text)
        } else if has("certificate verify failed") || has("Failed to verify broker certificate") {
            (Kind::Certificate, format!("the certificate of {name} could not be verified"))
        } else if ALERTS.iter().any(|alert| has(alert)) {
            (Kind::ClientCertificate, alert(report).to_owned())
        } else if has("wrong version number") || has("connecting to a PLAINTEXT broker listener") {
            (Kind::ProtocolMismatch, format!("{name} aborts the TLS handshake: that port may not use TLS"))
        } else if has("SSL handshake failed") || has("SSL handshake error") {
            (Kind::Passing, format!("the TLS handshake with {name} failed: {report}"))
        } else if has("Authentication failed") || has("SASL") && has("fail") {
            let why = report.trim_start_matches("SASL authentication error: ");
            let text = format!(
                "{name} did not accept the credentials ({why}): check spec.kafka.authentication and the Secret that it refers to"
            );
            (Kind::Passing, text)
        } else if has("connecting to a SSL listener") || has("might require SASL authentication") {
            let text =
                format!("{name} closed the connection at once: that port may expect TLS or SASL, or is not a Kafka broker");
            (Kind::ProtocolMismatch, text)
        } else if has("Disconnected") || has("Connection reset") || has("Receive failed") {
            (Kind::Closed, format!("{name} closed the connection"))
        } else {
            (Kind::Passing, known.map_or_else(|| report.to_owned(), |broker| format!("{broker}: {report}")))
        };
        Self { kind, broker, text }
    }

    /// Whether waiting is pointless.
    pub fn is_lasting(&self) -> bool {
        match self.kind {
            Kind::Certificate | Kind::ClientCertificate => true,
            Kind::Passing | Kind::Closed | Kind::ProtocolMismatch => false,
        }
    }
}

/// The TLS alert in a report such as `error:0A000412:SSL routines::sslv3 alert bad certificate: SSL
/// alert number 42`.
fn alert(report: &str) -> &str {
    let from = report.rfind("::").map_or(report, |at| &report[at + 2..]);
    from.split(": SSL alert").next().unwrap_or(from)
}

/// The broker, when the line names one, and the rest of the line.
fn parts(line: &str) -> (Option<Broker>, &str) {
    let line = line.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")).map_or(line, |(_, rest)| rest);
    let line = line.split(" (after ").next().unwrap_or(line).trim();
    match line.split_once(": ") {
        // "sasl_ssl://host:port/nodeid"; in a line without a broker there is no slash before the
        // first colon.
        Some((name, report)) if name.contains('/') => {
            let name = name.split_once("://").map_or(name, |(_, name)| name);
            (Some(Broker::new(name.rsplit_once('/').map_or(name, |(broker, _)| broker))), report)
        }
        _ => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const EXPLAINED: &str =
        ": check spec.kafka.bootstrapServers, and the addresses that the brokers advertise (advertised.listeners)";

    #[rstest]
    #[case::refused(
        "[thrd:127.0.0.1:1/bootstrap]: 127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)",
        Kind::Passing,
        "connection refused by 127.0.0.1:1: nothing listens at that port"
    )]
    #[case::of_a_known_broker(
        "kafka-0.kafka:9092/0: Connect to ipv4#10.0.0.7:9092 failed: Connection refused (after 0ms in state CONNECT, 3 identical error(s) suppressed)",
        Kind::Passing,
        "connection refused by kafka-0.kafka:9092: nothing listens at that port"
    )]
    #[case::of_an_ipv6_address(
        "[::1]:9092/bootstrap: Connect to ipv6#[::1]:9092 failed: Connection refused",
        Kind::Passing,
        "connection refused by [::1]:9092: nothing listens at that port"
    )]
    #[case::name(
        "no-such-host.invalid:9092/bootstrap: Failed to resolve 'no-such-host.invalid:9092': Name or service not known (after 3ms in state CONNECT)",
        Kind::Passing,
        &format!("host name no-such-host.invalid cannot be resolved{EXPLAINED}")
    )]
    #[case::silence(
        "192.0.2.1:9092/bootstrap: Connection setup timed out in state CONNECT (after 5001ms in state CONNECT)",
        Kind::Passing,
        "192.0.2.1:9092 does not answer: it is down, or a firewall or NetworkPolicy is in the way"
    )]
    #[case::silence_of_what_accepts(
        "ssl://127.0.0.1:4711/bootstrap: Connection setup timed out in state SSL_HANDSHAKE (after 5001ms in state SSL_HANDSHAKE)",
        Kind::Passing,
        "127.0.0.1:4711 accepts the connection but does not respond: it hangs, or is not a Kafka broker"
    )]
    #[case::password(
        "sasl_ssl://kafka:9094/bootstrap: SASL authentication error: Authentication failed: Invalid username or password (after 3ms in state AUTH_REQ)",
        Kind::Passing,
        "kafka:9094 did not accept the credentials (Authentication failed: Invalid username or password): check spec.kafka.authentication and the Secret that it refers to"
    )]
    #[case::certificate(
        "ssl://kafka:9093/bootstrap: SSL handshake failed: certificate verify failed (after 2ms in state SSL_HANDSHAKE)",
        Kind::Certificate,
        "the certificate of kafka:9093 could not be verified"
    )]
    #[case::client_certificate(
        "ssl://kafka:9093/bootstrap: Receive failed: error:0A00045C:SSL routines::tlsv13 alert certificate required: SSL alert number 116 (after 5ms in state APIVERSION_QUERY)",
        Kind::ClientCertificate,
        "tlsv13 alert certificate required"
    )]
    #[case::another_client_certificate(
        "sasl_ssl://kafka:9093/1: SSL handshake failed: error:0A000416:SSL routines::sslv3 alert certificate unknown: SSL alert number 46 (after 5ms in state SSL_HANDSHAKE)",
        Kind::ClientCertificate,
        "sslv3 alert certificate unknown"
    )]
    #[case::tls_to_a_plaintext_port(
        "ssl://kafka:9092/bootstrap: SSL handshake failed: Disconnected: connection reset by peer: connecting to a PLAINTEXT broker listener? (after 3ms in state SSL_HANDSHAKE)",
        Kind::ProtocolMismatch,
        "kafka:9092 aborts the TLS handshake: that port may not use TLS"
    )]
    #[case::closed("kafka:9092/1: Disconnected (after 600000ms in state UP)", Kind::Closed, "kafka:9092 closed the connection")]
    #[case::plain_to_a_tls_port(
        "kafka:9093/bootstrap: Disconnected: requesting ApiVersion: might be caused by incorrect security.protocol configuration (connecting to a SSL listener?) or broker version is < 0.10 (see api.version.request) (after 1ms in state APIVERSION_QUERY)",
        Kind::ProtocolMismatch,
        "kafka:9093 closed the connection at once: that port may expect TLS or SASL, or is not a Kafka broker"
    )]
    #[case::something_new("kafka:9092/1: Something new (after 1ms in state UP)", Kind::Passing, "kafka:9092: Something new")]
    #[case::without_a_broker("plain", Kind::Passing, "plain")]
    fn a_line_has_a_cause(#[case] line: &str, #[case] kind: Kind, #[case] text: &str) {
        let cause = Cause::of(line);
        assert_eq!((cause.kind, cause.text.as_str()), (kind, text));
    }
}
