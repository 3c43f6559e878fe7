//! One client per connection, shared, and closed when it has been idle for a while.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{sync::Mutex, time::Instant};

use super::{
    connection::Connection,
    native::{batches, client::Client},
    port::{Allowance, Connector, GroupAdmin},
    subprocess::{Launcher, SubprocessAdmin},
};
use crate::machine::facts::KafkaError;

/// How long an idle client is kept.
const IDLE: Duration = Duration::from_mins(2);

/// A client, and when it was last requested.
type Used = (Arc<dyn GroupAdmin>, Instant);

/// The open clients, by their connections.
pub struct Pool {
    clients: Mutex<HashMap<Connection, Used>>,
    kind: Kind,
}

/// Where the clients run.
enum Kind {
    /// In this process.
    Native(Allowance),
    /// Each in a process of its own.
    Subprocess(Arc<Launcher>),
}

impl Default for Pool {
    /// A pool whose clients may always commit.
    fn default() -> Self {
        Self::allowing(Arc::new(|| Duration::MAX))
    }
}

impl Pool {
    /// A pool whose clients run in this process, and commit only while they are allowed to.
    #[must_use]
    pub fn allowing(allowance: Allowance) -> Self {
        Self { clients: Mutex::default(), kind: Kind::Native(allowance) }
    }

    /// A pool whose clients each run in a process of their own: `program` with `arguments` must
    /// call [`super::serve`].
    #[must_use]
    pub fn subprocesses(program: PathBuf, arguments: Vec<String>, allowance: Allowance) -> Self {
        let launcher = Arc::new(Launcher::new(program, arguments, allowance));
        Self { clients: Mutex::default(), kind: Kind::Subprocess(launcher) }
    }

    /// Closes clients that are idle. To be called regularly, so that the last client is closed too.
    pub async fn close_idle(&self) {
        self.close_idle_at(Instant::now()).await;
    }

    /// How many clients run as processes of their own.
    #[must_use]
    pub fn processes(&self) -> usize {
        match &self.kind {
            Kind::Native(_) => 0,
            Kind::Subprocess(launcher) => launcher.running(),
        }
    }

    async fn close_idle_at(&self, now: Instant) {
        self.clients.lock().await.retain(|_, (client, used)| Arc::strong_count(client) > 1 || now.duration_since(*used) < IDLE);
    }

    async fn client_at(&self, connection: &Connection, now: Instant) -> Result<Arc<dyn GroupAdmin>, KafkaError> {
        let mut clients = self.clients.lock().await;
        if let Some((client, used)) = clients.get_mut(connection) {
            *used = now;
            return Ok(Arc::clone(client));
        }
        let client = match &self.kind {
            Kind::Native(allowance) => {
                Client::new(connection, Arc::clone(allowance)).map(|client| Arc::new(client) as Arc<dyn GroupAdmin>)
            }
            Kind::Subprocess(launcher) => {
                SubprocessAdmin::new(connection, launcher).map(|client| Arc::new(client) as Arc<dyn GroupAdmin>)
            }
        };
        let client = client.map_err(|raw| batches::no_client(&raw))?;
        clients.insert(connection.clone(), (Arc::clone(&client), now));
        Ok(client)
    }
}

#[async_trait]
impl Connector for Pool {
    async fn connect(&self, connection: &Connection) -> Result<Arc<dyn GroupAdmin>, KafkaError> {
        self.client_at(connection, Instant::now()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(brokers: &str) -> Connection {
        Connection::plain(brokers)
    }

    #[tokio::test]
    async fn equal_connections_share_a_client_and_others_do_not() {
        let (pool, now) = (Pool::default(), Instant::now());
        let first = pool.client_at(&connection("127.0.0.1:1"), now).await.unwrap();
        let same = pool.client_at(&connection("127.0.0.1:1"), now).await.unwrap();
        let other = pool.client_at(&connection("127.0.0.1:2"), now).await.unwrap();
        assert!(Arc::ptr_eq(&first, &same) && !Arc::ptr_eq(&first, &other));
    }

    #[tokio::test]
    async fn a_client_is_closed_when_it_is_idle_and_never_while_it_is_used() {
        let (pool, begin) = (Pool::default(), Instant::now());
        let used = pool.client_at(&connection("127.0.0.1:1"), begin).await.unwrap();
        let idle = Arc::downgrade(&pool.client_at(&connection("127.0.0.1:2"), begin).await.unwrap());
        pool.close_idle_at(begin + IDLE - Duration::from_millis(1)).await;
        assert!(idle.upgrade().is_some());
        pool.close_idle_at(begin + IDLE).await;
        assert!(idle.upgrade().is_none());
        let again = pool.client_at(&connection("127.0.0.1:1"), begin).await.unwrap();
        assert!(Arc::ptr_eq(&used, &again), "it is in use");
    }

    #[tokio::test]
    async fn an_invalid_broker_list_is_an_error_and_not_a_panic() {
        for brokers in ["", " ", " , ", "a\0b"] {
            assert!(Pool::default().connect(&connection(brokers)).await.is_err(), "{brokers:?}");
        }
        let many = |count: usize| (1..=count).map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",");
        let pool = Pool::subprocesses("none".into(), vec![], Arc::new(|| Duration::MAX));
        assert!(pool.connect(&connection(&many(256))).await.is_ok());
        let error = pool.connect(&connection(&many(257))).await.err().unwrap().message;
        assert!(error.contains("there are 257 bootstrap servers, more than the 256 that are allowed. Name a few"), "{error}");
    }
}
