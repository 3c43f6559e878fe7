//! Why no broker answers: librdkafka's log lines, turned into a closed set of causes.
//!
//! librdkafka tells the cause of a failed connection in words only. What is not recognised is passed on without its decoration.

/// Why a connection failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::kafka) struct Cause {
    /// What it means.
    pub kind: Kind,
    /// The broker as `host:port`, empty when none was named.
    pub broker: String,
    /// In few words, with what to do.
    pub words: String,
}

/// What a cause means for what is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kafka) enum Kind {
    /// It may go by itself.
    Passing,
    /// The connection was closed and nobody knows why, which says less than anything that was said before.
    Closed,
    /// The connection was closed before anything was said: the broker may speak another protocol than we do.
    Stranger,
    /// The broker's certificate is not trusted; librdkafka does not say why.
    Certificate,
    /// The broker does not trust us over TLS: it wants a certificate, or another one. The words are only its alert.
    ClientCertificate,
}

/// How a broker says over TLS that it wants a client certificate, or another one.
const ALERTS: [&str; 6] =
    ["certificate required", "handshake failure", "bad certificate", "unknown ca", "certificate unknown", "certificate expired"];

impl Cause {
    /// A broker whose name nobody knows.
    pub fn unresolved(broker: &str) -> Self {
        let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host);
        let words = format!(
            "host name {host} cannot be resolved: check spec.kafka.bootstrapServers, and what the brokers give as their addresses \
             (advertised.listeners)"
        );
        Self { kind: Kind::Passing, broker: broker.to_owned(), words }
    }

    /// A broker at whose port nobody listens.
    pub fn refused(broker: &str) -> Self {
        let words = format!("connection refused by {broker}: nothing listens at that port");
        Self { kind: Kind::Passing, broker: broker.to_owned(), words }
    }

    /// A broker from which nothing comes back.
    pub fn silent(broker: &str) -> Self {
        let words = format!("{broker} does not answer: it is down, or a firewall or NetworkPolicy is in the way");
        Self { kind: Kind::Passing, broker: broker.to_owned(), words }
    }

    /// What a line of librdkafka about a failed connection means.
    ///
    /// A line looks like `[thrd:host:9092/bootstrap]: host:9092/bootstrap: Connect to ipv4#192.0.2.1:9092 failed: Connection refused
    /// (after 0ms in state CONNECT)`, with `sasl_ssl://` before the host when the connection is more than plain.
    pub fn of(line: &str) -> Self {
        let (broker, said) = parts(line);
        let has = |needle: &str| said.contains(needle);
        let (kind, words) = if has("Failed to resolve") {
            return Self::unresolved(broker);
        } else if has("Connection refused") {
            return Self::refused(broker);
        } else if has("Network is unreachable") || has("No route to host") {
            (Kind::Passing, format!("no route to {broker}"))
        } else if has("timed out in state CONNECT") || has("Connection timed out") {
            return Self::silent(broker);
        } else if has("Connection setup timed out") {
            let words = format!(
                "{broker} accepts the connection and then says nothing: it hangs, or something else than a Kafka broker listens there"
            );
            (Kind::Passing, words)
        } else if has("certificate verify failed") || has("Failed to verify broker certificate") {
            (Kind::Certificate, format!("the certificate of {broker} could not be verified"))
        } else if ALERTS.iter().any(|alert| has(alert)) {
            (Kind::ClientCertificate, alert(said).to_owned())
        } else if has("wrong version number") || has("connecting to a PLAINTEXT broker listener") {
            (Kind::Stranger, format!("{broker} ends the TLS handshake: it may speak no TLS there"))
        } else if has("SSL handshake failed") || has("SSL handshake error") {
            (Kind::Passing, format!("the TLS handshake with {broker} failed: {said}"))
        } else if has("Authentication failed") || has("SASL") && has("fail") {
            let words = said.trim_start_matches("SASL authentication error: ");
            (
                Kind::Passing,
                format!(
                    "{broker} did not accept the credentials ({words}): check spec.kafka.authentication, and the Secret that it names"
                ),
            )
        } else if has("connecting to a SSL listener") || has("might require SASL authentication") {
            (
                Kind::Stranger,
                format!("{broker} closed the connection at once: it may expect TLS or SASL there, or be no Kafka broker"),
            )
        } else if has("Disconnected") || has("Connection reset") || has("Receive failed") {
            (Kind::Closed, format!("{broker} closed the connection"))
        } else if broker.is_empty() {
            (Kind::Passing, said.to_owned())
        } else {
            (Kind::Passing, format!("{broker}: {said}"))
        };
        Self { kind, broker: broker.to_owned(), words }
    }

    /// Whether waiting does not help.
    pub fn is_lasting(&self) -> bool {
        match self.kind {
            Kind::Certificate | Kind::ClientCertificate => true,
            Kind::Passing | Kind::Closed | Kind::Stranger => false,
        }
    }
}

/// The TLS alert in a line such as `error:0A000412:SSL routines::sslv3 alert bad certificate: SSL alert number 42`.
fn alert(said: &str) -> &str {
    let from = said.rfind("::").map_or(said, |at| &said[at + 2..]);
    from.split(": SSL alert").next().unwrap_or(from)
}

/// The broker as `host:port`, empty when the line names none, and what is said about it.
fn parts(line: &str) -> (&str, &str) {
    let line = line.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")).map_or(line, |(_, rest)| rest);
    let line = line.split(" (after ").next().unwrap_or(line).trim();
    match line.split_once(": ") {
        // "sasl_ssl://host:port/nodeid"; the words of a line without a broker have no slash before the first colon.
        Some((name, words)) if name.contains('/') => {
            let name = name.split_once("://").map_or(name, |(_, name)| name);
            (name.rsplit_once('/').map_or(name, |(broker, _)| broker), words)
        }
        _ => ("", line),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const EXPLAINED: &str =
        ": check spec.kafka.bootstrapServers, and what the brokers give as their addresses (advertised.listeners)";

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
        "127.0.0.1:4711 accepts the connection and then says nothing: it hangs, or something else than a Kafka broker listens there"
    )]
    #[case::password(
        "sasl_ssl://kafka:9094/bootstrap: SASL authentication error: Authentication failed: Invalid username or password (after 3ms in state AUTH_REQ)",
        Kind::Passing,
        "kafka:9094 did not accept the credentials (Authentication failed: Invalid username or password): check spec.kafka.authentication, and the Secret that it names"
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
    #[case::tls_to_a_port_in_clear(
        "ssl://kafka:9092/bootstrap: SSL handshake failed: Disconnected: connection reset by peer: connecting to a PLAINTEXT broker listener? (after 3ms in state SSL_HANDSHAKE)",
        Kind::Stranger,
        "kafka:9092 ends the TLS handshake: it may speak no TLS there"
    )]
    #[case::closed("kafka:9092/1: Disconnected (after 600000ms in state UP)", Kind::Closed, "kafka:9092 closed the connection")]
    #[case::plain_to_a_tls_port(
        "kafka:9093/bootstrap: Disconnected: requesting ApiVersion: might be caused by incorrect security.protocol configuration (connecting to a SSL listener?) or broker version is < 0.10 (see api.version.request) (after 1ms in state APIVERSION_QUERY)",
        Kind::Stranger,
        "kafka:9093 closed the connection at once: it may expect TLS or SASL there, or be no Kafka broker"
    )]
    #[case::something_new("kafka:9092/1: Something new (after 1ms in state UP)", Kind::Passing, "kafka:9092: Something new")]
    #[case::without_a_broker("plain", Kind::Passing, "plain")]
    fn a_cause_is_said_in_few_words(#[case] line: &str, #[case] kind: Kind, #[case] words: &str) {
        let cause = Cause::of(line);
        assert_eq!((cause.kind, cause.words.as_str()), (kind, words));
    }
}
