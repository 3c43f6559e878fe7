//! Whether anybody listens where brokers should be: so that no process is started for those where nobody does, however many there are.

use std::{io, time::Duration};

use futures::future::select_ok;
use tokio::net::{TcpStream, lookup_host};

use crate::kafka::{
    connection::Connection,
    diagnostics::{log_causes::Cause, unreachable::unreached},
    ffi::Fault,
};

/// How long finding an address may take, and how long a connection to it.
const LIMIT: Duration = Duration::from_secs(5);

/// Tries to connect to the bootstrap servers, to all at once; one that accepts is enough. What cannot be told here a client has to find out.
///
/// # Errors
/// When none accepts; the fault is that of a client.
pub(super) async fn preflight_connect(connection: &Connection) -> Result<(), Fault> {
    let brokers = connection.bootstrap_servers.split(',').map(str::trim).filter(|broker| !broker.is_empty());
    let attempts: Vec<_> = brokers.map(|broker| Box::pin(connect(broker))).collect();
    if attempts.is_empty() {
        return Ok(());
    }
    match select_ok(attempts).await {
        Ok(_) => Ok(()),
        Err(cause) => Err(unreached(Some(cause), connection, LIMIT)),
    }
}

/// Why a broker cannot be connected to, where that is certain. All its addresses are tried at once: the first may be the one that is silent.
async fn connect(broker: &str) -> Result<(), Cause> {
    // A client takes this for a protocol.
    if broker.contains("://") {
        return Ok(());
    }
    let addresses = match tokio::time::timeout(LIMIT, lookup_host(broker)).await {
        Ok(Ok(addresses)) => addresses.collect::<Vec<_>>(),
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
    async fn one_broker_that_accepts_is_enough_and_none_is_said_as_a_client_says_it() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let refused = {
            let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            gone.local_addr().unwrap()
        };
        assert_eq!(preflight_connect(&Connection::plain(format!("{refused},{open}"))).await, Ok(()));
        let fault = preflight_connect(&Connection::plain(format!("{refused}"))).await.unwrap_err();
        let expected = format!("no broker of {refused} answers: connection refused by {refused}: nothing listens at that port");
        assert_eq!(fault.text, expected);
        assert_eq!(preflight_connect(&Connection::plain("no-port")).await, Ok(()), "a client knows the usual port");
    }
}
