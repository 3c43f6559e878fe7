//! One client per connection, shared, and closed when nobody has used it for a while.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{sync::Mutex, time::Instant};

use super::{Connection, Connector, GroupAdmin, client::Client};
use crate::machine::world::{KafkaError, KafkaErrorKind};

/// How long an unused client is kept.
const IDLE: Duration = Duration::from_mins(2);

/// The clients that are open.
#[derive(Default)]
pub struct Pool {
    clients: Mutex<HashMap<Connection, (Arc<Client>, Instant)>>,
}

#[async_trait]
impl Connector for Pool {
    async fn connect(&self, connection: &Connection) -> Result<Arc<dyn GroupAdmin>, KafkaError> {
        let mut clients = self.clients.lock().await;
        let now = Instant::now();
        clients.retain(|other, (client, used)| {
            other == connection || Arc::strong_count(client) > 1 || now.duration_since(*used) < IDLE
        });
        if let Some((client, used)) = clients.get_mut(connection) {
            *used = now;
            return Ok(Arc::clone(client) as Arc<dyn GroupAdmin>);
        }
        let client = Client::new(connection)
            .map_err(|fault| KafkaError::new(KafkaErrorKind::Other, format!("no Kafka client can be made: {}", fault.text)))?;
        let client = Arc::new(client);
        clients.insert(connection.clone(), (Arc::clone(&client), now));
        Ok(client)
    }
}

impl Pool {
    /// Closes what nobody uses any more; called now and then, so that the last client goes too.
    pub async fn close_idle(&self) {
        let now = Instant::now();
        self.clients.lock().await.retain(|_, (client, used)| Arc::strong_count(client) > 1 || now.duration_since(*used) < IDLE);
    }
}
