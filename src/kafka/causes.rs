//! Why no broker answers: librdkafka's log lines, turned into a closed set of causes.
//!
//! librdkafka tells the cause of a failed connection in words only. What is not recognised is passed on without its decoration.

/// The end of what is said when a connection was closed and nobody knows why.
pub(super) const CLOSED: &str = "closed the connection";

/// Says in few words what a line of librdkafka about a failed connection means.
///
/// A line looks like `[thrd:host:9092/bootstrap]: host:9092/bootstrap: Connect to ipv4#192.0.2.1:9092 failed: Connection refused
/// (after 0ms in state CONNECT)`, with `sasl_ssl://` before the host when the connection is more than plain.
pub(super) fn cause(line: &str) -> String {
    let (broker, words) = parts(line);
    let has = |needle: &str| words.contains(needle);
    if has("Failed to resolve") {
        let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host);
        format!("host name {host} cannot be resolved")
    } else if has("Connection refused") {
        format!("connection refused by {broker}")
    } else if has("Network is unreachable") || has("No route to host") {
        format!("no route to {broker}")
    } else if has("Connection setup timed out") || has("Connection timed out") {
        format!("{broker} does not answer")
    } else if has("certificate verify failed") {
        // Which of these it is librdkafka does not say.
        format!(
            "the certificate of {broker} could not be verified: its authority is not among spec.kafka.tls.trustedCertificates (or not a \
             public one, when there are none), or it is for another name than this, or it has expired"
        )
    } else if has("certificate required") || has("handshake failure") || has("bad certificate") || has("unknown ca") {
        format!(
            "{broker} does not accept our client certificate, or wants one: see spec.kafka.authentication of type tls ({words})"
        )
    } else if has("wrong version number") || has("connecting to a PLAINTEXT broker listener") {
        format!("{broker} does not speak TLS there: leave out spec.kafka.tls, or use its TLS port ({words})")
    } else if has("SSL handshake failed") || has("SSL handshake error") {
        format!("the TLS handshake with {broker} failed: {words}")
    } else if has("Authentication failed") || has("SASL") && has("fail") {
        format!("{broker} did not accept the credentials: {words}")
    } else if has("connecting to a SSL listener") || has("might require SASL authentication") {
        format!("{broker} closed the connection at once: it may expect TLS or SASL there, or be no Kafka broker")
    } else if has("Disconnected") || has("Connection reset") || has("Receive failed") {
        format!("{broker} {CLOSED}")
    } else if broker.is_empty() {
        words.to_owned()
    } else {
        format!("{broker}: {words}")
    }
}

/// Whether a line tells of TLS that will not come about by waiting.
pub(super) fn is_tls(line: &str) -> bool {
    let lasting =
        ["verify failed", "certificate required", "handshake failure", "bad certificate", "unknown ca", "wrong version number"];
    line.contains("SSL") && lasting.iter().any(|words| line.contains(words))
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

    #[rstest]
    #[case::refused(
        "[thrd:127.0.0.1:1/bootstrap]: 127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)",
        "connection refused by 127.0.0.1:1"
    )]
    #[case::of_a_known_broker(
        "kafka-0.kafka:9092/0: Connect to ipv4#10.0.0.7:9092 failed: Connection refused (after 0ms in state CONNECT, 3 identical error(s) suppressed)",
        "connection refused by kafka-0.kafka:9092"
    )]
    #[case::of_an_ipv6_address(
        "[::1]:9092/bootstrap: Connect to ipv6#[::1]:9092 failed: Connection refused",
        "connection refused by [::1]:9092"
    )]
    #[case::name(
        "no-such-host.invalid:9092/bootstrap: Failed to resolve 'no-such-host.invalid:9092': Name or service not known (after 3ms in state CONNECT)",
        "host name no-such-host.invalid cannot be resolved"
    )]
    #[case::silence(
        "192.0.2.1:9092/bootstrap: Connection setup timed out in state CONNECT (after 5001ms in state CONNECT)",
        "192.0.2.1:9092 does not answer"
    )]
    #[case::tls(
        "ssl://kafka:9093/bootstrap: SSL handshake failed: certificate verify failed (after 2ms in state SSL_HANDSHAKE)",
        "the certificate of kafka:9093 could not be verified: its authority is not among spec.kafka.tls.trustedCertificates (or not a public one, when there are none), or it is for another name than this, or it has expired"
    )]
    #[case::closed("kafka:9092/1: Disconnected (after 600000ms in state UP)", "kafka:9092 closed the connection")]
    #[case::plain_to_a_tls_port(
        "kafka:9093/bootstrap: Disconnected: requesting ApiVersion: might be caused by incorrect security.protocol configuration (connecting to a SSL listener?) or broker version is < 0.10 (see api.version.request) (after 1ms in state APIVERSION_QUERY)",
        "kafka:9093 closed the connection at once: it may expect TLS or SASL there, or be no Kafka broker"
    )]
    #[case::something_new("kafka:9092/1: Something new (after 1ms in state UP)", "kafka:9092: Something new")]
    #[case::without_a_broker("plain", "plain")]
    fn a_cause_is_said_in_few_words(#[case] line: &str, #[case] expected: &str) {
        assert_eq!(cause(line), expected);
    }
}
