//! The layer in front of the broker. A question about nothing is not sent, and so is no request.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use offset_reset_operator::{
    kafka::{Connection, Connector, GroupAdmin, Pool, TopicConfigs},
    machine::facts::{
        Access, Bounds, Committed, Group, GroupMember, KafkaError, KafkaErrorKind, PerPartition, TimestampMatch, TopicPartition,
    },
};

use super::Layer;

/// Clients that ask through a layer.
pub struct Layered<L> {
    pub pool: Pool,
    pub layer: Arc<L>,
}

struct Client<L> {
    real: Arc<dyn GroupAdmin>,
    layer: Arc<L>,
}

#[async_trait]
impl<L: Layer> Connector for Layered<L> {
    async fn connect(&self, connection: &Connection) -> Result<Arc<dyn GroupAdmin>, KafkaError> {
        let real = self.pool.connect(connection).await?;
        Ok(Arc::new(Client { real, layer: Arc::clone(&self.layer) }))
    }
}

impl<L: Layer> Client<L> {
    async fn ask<T: Send>(
        &self,
        kind: &str,
        request: impl Future<Output = Result<T, KafkaError>> + Send,
    ) -> Result<T, KafkaError> {
        let lost = || Err(KafkaError::new(KafkaErrorKind::Timeout, "the answer was lost"));
        self.layer.around(&format!("Kafka {kind}"), request, lost).await
    }
}

#[async_trait]
impl<L: Layer> GroupAdmin for Client<L> {
    async fn cluster_id(&self) -> Result<Option<String>, KafkaError> {
        self.ask("cluster_id", self.real.cluster_id()).await
    }

    async fn describe_group(&self, group: &str) -> Result<Group, KafkaError> {
        self.ask("describe_group", self.real.describe_group(group)).await
    }

    async fn topics(&self, names: &[String]) -> Result<BTreeMap<String, Result<Vec<i32>, KafkaError>>, KafkaError> {
        self.ask("topics", self.real.topics(names)).await
    }

    async fn bounds(&self, partitions: &[TopicPartition]) -> Result<PerPartition<Bounds>, KafkaError> {
        if partitions.is_empty() {
            return self.real.bounds(partitions).await;
        }
        self.ask("bounds", self.real.bounds(partitions)).await
    }

    async fn stable_ends(&self, partitions: &[TopicPartition]) -> Result<PerPartition<i64>, KafkaError> {
        if partitions.is_empty() {
            return self.real.stable_ends(partitions).await;
        }
        self.ask("stable_ends", self.real.stable_ends(partitions)).await
    }

    async fn offsets_for_times(
        &self,
        times: &[(TopicPartition, i64)],
    ) -> Result<PerPartition<Option<TimestampMatch>>, KafkaError> {
        if times.is_empty() {
            return self.real.offsets_for_times(times).await;
        }
        self.ask("offsets_for_times", self.real.offsets_for_times(times)).await
    }

    async fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<PerPartition<Option<Committed>>, KafkaError> {
        if partitions.is_empty() {
            return self.real.committed(group, partitions).await;
        }
        self.ask("committed", self.real.committed(group, partitions)).await
    }

    async fn all_committed(&self, group: &str) -> Result<PerPartition<Option<Committed>>, KafkaError> {
        self.ask("all_committed", self.real.all_committed(group)).await
    }

    async fn commit(&self, group: &str, offsets: &[(TopicPartition, Committed)]) -> Result<PerPartition<()>, KafkaError> {
        self.ask("commit", self.real.commit(group, offsets)).await
    }

    async fn delete_offsets(&self, group: &str, partitions: &[TopicPartition]) -> Result<PerPartition<()>, KafkaError> {
        self.ask("delete_offsets", self.real.delete_offsets(group, partitions)).await
    }

    async fn remove_members(&self, group: &str, members: &[GroupMember]) -> Result<(), KafkaError> {
        self.ask("evict", self.real.remove_members(group, members)).await
    }

    async fn access(&self, group: &str, topics: &[String]) -> Result<Access, KafkaError> {
        self.ask("access", self.real.access(group, topics)).await
    }

    async fn topic_ids(&self, topics: &[String]) -> Result<BTreeMap<String, String>, KafkaError> {
        if topics.is_empty() {
            return self.real.topic_ids(topics).await;
        }
        self.ask("topic_ids", self.real.topic_ids(topics)).await
    }

    async fn topic_configs(&self, topics: &[String]) -> Result<TopicConfigs, KafkaError> {
        if topics.is_empty() {
            return self.real.topic_configs(topics).await;
        }
        self.ask("topic_configs", self.real.topic_configs(topics)).await
    }

    async fn session_timeout(&self, group: &str) -> Result<Option<Duration>, KafkaError> {
        self.ask("session_timeout", self.real.session_timeout(group)).await
    }
}
