//! Whether a bootstrap server accepts connections: no process is started for a cluster of which
//! none does, however many such there are.

use std::{io, time::Duration};

use futures::future::select_ok;
use tokio::net::{TcpStream, lookup_host};

use crate::{
    api::Broker,
    kafka::{
        connection::Connection,
        diagnostics::{log_causes::Cause, unreachable::unreached},
        ffi::RawError,
    },
};

/// The time limit for resolving a name, and for each connection.
const LIMIT: Duration = Duration::from_secs(5);

/// How many addresses of one name are tried: an answer of DNS may have any number.
const MAX_ADDRESSES: usize = 16;

/// Tries to connect to all bootstrap servers at once; one that accepts is enough. Only certain
/// failures count: the rest is left to the client.
///
/// # Errors
/// The error that a client would report, when no bootstrap server accepts.
pub(super) async fn preflight_connect(connection: &Connection) -> Result<(), RawError> {
    let attempts: Vec<_> = connection.bootstrap_servers.iter().map(|broker| Box::pin(connect(broker))).collect();
    if attempts.is_empty() {
        return Ok(());
    }
    match select_ok(attempts).await {
        Ok(_) => Ok(()),
        Err(cause) => Err(unreached(Some(cause), connection, LIMIT)),
    }
}

/// Why a broker certainly cannot be connected to. Tries all its addresses at once, because the
/// first one may be the silent one.
async fn connect(broker: &Broker) -> Result<(), Cause> {
    // librdkafka reads this as a protocol.
    if broker.as_str().contains("://") {
        return Ok(());
    }
    let addresses = match tokio::time::timeout(LIMIT, lookup_host(broker.as_str())).await {
        Ok(Ok(addresses)) => addresses.take(MAX_ADDRESSES).collect::<Vec<_>>(),
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidInput => return Ok(()),
        Err(_) | Ok(Err(_)) => return Err(Cause::unresolved(broker)),
    };
    if addresses.is_empty() {
        return Err(Cause::unresolved(broker));
    }
    let connects = addresses.into_iter().map(|address| Box::pin(TcpStream::connect(address)));
    match tokio::time::timeout(LIMIT, select_ok(connects)).await {
        Err(_) => Err(Cause::silent(broker)),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(Cause::refused(broker)),
        Ok(Ok(_) | Err(_)) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_broker_that_accepts_is_enough_and_otherwise_the_error_is_a_clients() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let refused = {
            let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            gone.local_addr().unwrap()
        };
        assert_eq!(preflight_connect(&Connection::plain(format!("{refused},{open}"))).await, Ok(()));
        let error = preflight_connect(&Connection::plain(format!("{refused}"))).await.unwrap_err();
        let expected = format!("no broker of {refused} answers: connection refused by {refused}: nothing listens at that port");
        assert_eq!(error.text, expected);
        assert_eq!(preflight_connect(&Connection::plain("no-port")).await, Ok(()), "a client knows the usual port");
    }
}
