//! The Kafka adapter against faults that a healthy broker does not show: librdkafka's own mock cluster makes them to order.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::sync::Arc;

use offset_reset_operator::{
    kafka::{Connection, Connector, GroupAdmin, Pool},
    machine::world::{Committed, TopicPartition},
};
use rdkafka::{
    mocking::MockCluster,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

async fn connect(brokers: String) -> Arc<dyn GroupAdmin> {
    Pool::default().connect(&Connection { bootstrap_servers: brokers }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_moved_while_offsets_are_read_is_asked_again_and_kills_nobody() {
    let cluster = MockCluster::new(3).unwrap();
    cluster.create_topic("orders", 1, 1).unwrap();
    let admin = connect(cluster.bootstrap_servers()).await;
    let at = TopicPartition::new("orders", 0);
    let to = Committed { offset: 7, metadata: "m".into() };
    assert_eq!(admin.commit("g", &[(at.clone(), to.clone())]).await.unwrap()[&at], Ok(()));
    for moved in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
    ] {
        cluster.request_errors(RDKafkaApiKey::OffsetFetch, &[moved]);
        assert_eq!(admin.committed("g", std::slice::from_ref(&at)).await.unwrap()[&at], Ok(Some(to.clone())));
    }
}
