//! Why no broker was reached, and what to do.

use std::time::Duration;

use super::{
    error_codes::{ALL_BROKERS_DOWN, TLS},
    log_causes::{Cause, Kind},
    tls_probe,
};
use crate::kafka::{
    connection::{Authentication, Connection},
    ffi::Fault,
};

/// Why no broker was reached. Where librdkafka leaves it open, it is looked at.
pub(in crate::kafka) fn unreached(cause: Option<Cause>, connection: &Connection, limit: Duration) -> Fault {
    let brokers = &connection.bootstrap_servers;
    let tls = |why: String| Fault { code: TLS, text: format!("no broker of {brokers} can be reached over TLS: {why}") };
    let gone = |why: String| Fault { code: ALL_BROKERS_DOWN, text: format!("no broker of {brokers} answers: {why}") };
    let Some(Cause { kind, broker, words }) = cause else {
        let silence = format!(
            "silence for {} seconds. What is there accepts no connection, or does not answer as Kafka does",
            limit.as_secs()
        );
        return gone(silence);
    };
    match (kind, &connection.tls) {
        (Kind::Certificate, Some(trusted)) => tls(tls_probe::certificate(&broker, trusted).unwrap_or(words)),
        (Kind::ClientCertificate, _) => tls(format!("{broker} {}", about_ours(&words, connection))),
        (Kind::Stranger | Kind::Closed, None) if tls_probe::speaks_tls(&broker) => Fault {
            code: TLS,
            text: format!(
                "{broker} speaks TLS, and spec.kafka says nothing of it: write spec.kafka.tls with the trustedCertificates of its authority \
                 (tls: {{}} for a public one)"
            ),
        },
        (Kind::Stranger, Some(_)) if tls_probe::speaks_clear(&broker) => tls(format!(
            "{broker} speaks no TLS but Kafka in clear: use the port of its TLS listener, or leave out spec.kafka.tls, and then nothing is \
             encrypted"
        )),
        (Kind::Certificate, None) | (Kind::Passing | Kind::Closed | Kind::Stranger, _) => gone(words),
    }
}

/// What a broker's alert means, and what to do about our certificate.
fn about_ours(alert: &str, connection: &Connection) -> String {
    let Some(Authentication::Certificate { certificate, .. }) = &connection.authentication else {
        return format!(
            "wants a client certificate ({alert}): write spec.kafka.authentication of type tls, with certificateAndKey"
        );
    };
    let why = match tls_probe::expired(certificate) {
        Some(time) => format!("has expired at {time}: renew it"),
        None => "does not come from an authority that the broker trusts, or is not meant for clients".to_owned(),
    };
    format!("does not accept our client certificate ({alert}): that of spec.kafka.authentication.certificateAndKey {why}")
}
