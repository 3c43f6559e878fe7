//! Why no broker was reached, and what to do.

use std::time::Duration;

use super::{
    error_codes::{ALL_BROKERS_DOWN, TLS},
    log_causes::{Cause, Kind},
    tls_probe,
};
use crate::{
    api::Broker,
    kafka::{
        connection::{Authentication, Connection, Tls},
        ffi::RawError,
    },
};

/// Why no broker was reached within `limit`. Where librdkafka leaves the cause open, the broker is
/// probed.
pub(in crate::kafka) fn unreached(cause: Option<Cause>, connection: &Connection, limit: Duration) -> RawError {
    let brokers = &connection.bootstrap_servers;
    let over_tls = |why: String| RawError { code: TLS, text: format!("no broker of {brokers} can be reached over TLS: {why}") };
    let unanswered = |why: String| RawError { code: ALL_BROKERS_DOWN, text: format!("no broker of {brokers} answers: {why}") };
    let Some(Cause { kind, broker, text }) = cause else {
        return unanswered(format!(
            "no answer within {} seconds: the port does not accept connections, or does not answer as a Kafka broker",
            limit.as_secs()
        ));
    };
    let name = broker.as_ref().map_or("the broker", Broker::as_str);
    let speaks = |probe: fn(&Broker) -> bool| broker.as_ref().is_some_and(probe);
    match (kind, &connection.tls) {
        (Kind::Certificate, Some(trusted)) => over_tls(explained(broker.as_ref(), trusted).unwrap_or(text)),
        (Kind::ClientCertificate, _) => over_tls(format!("{name} {}", about_ours(&text, connection))),
        (Kind::ProtocolMismatch | Kind::Closed, None) if speaks(tls_probe::speaks_tls) => RawError {
            code: TLS,
            text: format!(
                "{name} speaks TLS, but spec.kafka.tls is not set: set it, with the broker's CA in trustedCertificates (tls: {{}} for \
                 a public CA)"
            ),
        },
        (Kind::ProtocolMismatch, Some(_)) if speaks(tls_probe::speaks_plaintext) => over_tls(format!(
            "{name} speaks plaintext Kafka, not TLS: use the port of its TLS listener, or remove spec.kafka.tls, and then nothing is \
             encrypted"
        )),
        (Kind::Certificate, None) | (Kind::Passing | Kind::Closed | Kind::ProtocolMismatch, _) => unanswered(text),
    }
}

fn explained(broker: Option<&Broker>, trusted: &Tls) -> Option<String> {
    tls_probe::certificate(broker?, trusted)
}

/// What a broker's TLS alert means for the client certificate, with what to do.
fn about_ours(alert: &str, connection: &Connection) -> String {
    let Some(Authentication::Certificate { certificate, .. }) = &connection.authentication else {
        return format!(
            "requires a client certificate ({alert}): set spec.kafka.authentication to type tls, with certificateAndKey"
        );
    };
    let why = match tls_probe::expired(certificate) {
        Some(time) => format!("expired at {time}: renew it"),
        None => "was not issued by a CA that the broker trusts, or is not valid for clients".to_owned(),
    };
    format!("rejects the client certificate ({alert}): the one in spec.kafka.authentication.certificateAndKey {why}")
}
