//! Measures the calls to Kafka and the requests to the API server.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use http::{Request, Response};
use kube::client::Body;
use tower::{Layer, Service};

use crate::{
    kafka::{Connection, Connector, GroupAdmin, TopicConfigs},
    machine::facts::{Access, Bounds, Committed, Group, GroupMember, KafkaError, PerPartition, TimestampMatch, TopicPartition},
    observability::{Metrics, traces},
};

/// The names of the calls to Kafka.
pub(super) const KAFKA_CALLS: [&str; 14] = [
    "connect",
    "cluster_id",
    "describe_group",
    "topics",
    "bounds",
    "stable_ends",
    "offsets_for_times",
    "committed",
    "commit",
    "remove_members",
    "access",
    "topic_ids",
    "topic_configs",
    "session_timeout",
];

/// A connector whose clients are measured.
pub(super) struct MeasuredKafka {
    pub connector: Arc<dyn Connector>,
    pub metrics: Metrics,
}

#[async_trait]
impl Connector for MeasuredKafka {
    async fn connect(&self, connection: &Connection) -> Result<Arc<dyn GroupAdmin>, KafkaError> {
        let client = measured(&self.metrics, "connect", self.connector.connect(connection)).await?;
        Ok(Arc::new(MeasuredClient { client, metrics: self.metrics.clone() }))
    }
}

struct MeasuredClient {
    client: Arc<dyn GroupAdmin>,
    metrics: Metrics,
}

async fn measured<T, E>(metrics: &Metrics, call: &'static str, answer: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let begin = Instant::now();
    let answer = traces::kafka_call(call, answer).await;
    metrics.kafka_call(call, begin, answer.is_err());
    answer
}

#[async_trait]
impl GroupAdmin for MeasuredClient {
    fn prefer(&self) {
        self.client.prefer();
    }

    async fn cluster_id(&self) -> Result<Option<String>, KafkaError> {
        measured(&self.metrics, "cluster_id", self.client.cluster_id()).await
    }

    async fn describe_group(&self, group: &str) -> Result<Group, KafkaError> {
        measured(&self.metrics, "describe_group", self.client.describe_group(group)).await
    }

    async fn topics(&self, names: &[String]) -> Result<BTreeMap<String, Result<Vec<i32>, KafkaError>>, KafkaError> {
        measured(&self.metrics, "topics", self.client.topics(names)).await
    }

    async fn bounds(&self, partitions: &[TopicPartition]) -> Result<PerPartition<Bounds>, KafkaError> {
        measured(&self.metrics, "bounds", self.client.bounds(partitions)).await
    }

    async fn stable_ends(&self, partitions: &[TopicPartition]) -> Result<PerPartition<i64>, KafkaError> {
        measured(&self.metrics, "stable_ends", self.client.stable_ends(partitions)).await
    }

    async fn offsets_for_times(
        &self,
        times: &[(TopicPartition, i64)],
    ) -> Result<PerPartition<Option<TimestampMatch>>, KafkaError> {
        measured(&self.metrics, "offsets_for_times", self.client.offsets_for_times(times)).await
    }

    async fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<PerPartition<Option<Committed>>, KafkaError> {
        measured(&self.metrics, "committed", self.client.committed(group, partitions)).await
    }

    async fn all_committed(&self, group: &str) -> Result<PerPartition<Option<Committed>>, KafkaError> {
        measured(&self.metrics, "committed", self.client.all_committed(group)).await
    }

    async fn commit(&self, group: &str, offsets: &[(TopicPartition, Committed)]) -> Result<PerPartition<()>, KafkaError> {
        measured(&self.metrics, "commit", self.client.commit(group, offsets)).await
    }

    async fn delete_offsets(&self, group: &str, partitions: &[TopicPartition]) -> Result<PerPartition<()>, KafkaError> {
        measured(&self.metrics, "delete_offsets", self.client.delete_offsets(group, partitions)).await
    }

    async fn remove_members(&self, group: &str, members: &[GroupMember]) -> Result<(), KafkaError> {
        measured(&self.metrics, "remove_members", self.client.remove_members(group, members)).await
    }

    async fn access(&self, group: &str, topics: &[String]) -> Result<Access, KafkaError> {
        measured(&self.metrics, "access", self.client.access(group, topics)).await
    }

    async fn topic_ids(&self, topics: &[String]) -> Result<BTreeMap<String, String>, KafkaError> {
        measured(&self.metrics, "topic_ids", self.client.topic_ids(topics)).await
    }

    async fn topic_configs(&self, topics: &[String]) -> Result<TopicConfigs, KafkaError> {
        measured(&self.metrics, "topic_configs", self.client.topic_configs(topics)).await
    }

    async fn session_timeout(&self, group: &str) -> Result<Option<Duration>, KafkaError> {
        measured(&self.metrics, "session_timeout", self.client.session_timeout(group)).await
    }
}

/// Measures requests to the API server.
#[derive(Clone)]
pub(super) struct MeasureRequests(pub Metrics);

impl<S> Layer<S> for MeasureRequests {
    type Service = MeasuredRequests<S>;

    fn layer(&self, inner: S) -> Self::Service {
        MeasuredRequests { inner, metrics: self.0.clone() }
    }
}

/// See [`MeasureRequests`].
#[derive(Clone)]
pub(super) struct MeasuredRequests<S> {
    inner: S,
    metrics: Metrics,
}

impl<S, B> Service<Request<Body>> for MeasuredRequests<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (metrics, begin, method) = (self.metrics.clone(), Instant::now(), request.method().clone());
        let watch = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("watch=")));
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().ok().map(|response| response.status().as_u16());
            metrics.api_request(method.as_str(), code, begin, watch);
            answer
        })
    }
}
