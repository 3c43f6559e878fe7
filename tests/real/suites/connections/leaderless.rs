//! A partition without a leader: its only copy is on a broker that the real controller has known and lost. Nobody runs it: what is said to
//! the controller in its name, and then not any more, is all that the cluster ever sees of a broker that dies.

use bytes::Bytes;
use std::time::Duration;

use kafka_protocol::{
    messages::{
        ApiKey, BrokerHeartbeatRequest, BrokerHeartbeatResponse, BrokerRegistrationRequest, BrokerRegistrationResponse,
        RequestHeader, ResponseHeader,
        broker_registration_request::{Feature, Listener},
    },
    protocol::{Decodable, Encodable, HeaderVersion, StrBytes},
};
use offset_reset_operator::api::Reason;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    Case, each_fails,
    stand::{CLEAR, CLUSTER, CONTROLLER, commit, kafka, secured, topic_and_group},
};
use real_tests::{PATIENCE, broker::Broker, shop::Operator, with_namespace, within};

/// The topic.
const LEADERLESS: &str = "leaderless";

/// The broker that is lost.
const LOST: i32 = 2;

/// Versions in which a broker registers and says that it lives: of Kafka 3.7 and newer.
const REGISTRATION: i16 = 2;
const HEARTBEAT: i16 = 1;

/// Makes the topic. While the broker counts as alive, new topics may come to lie on it: so nobody else may make one meanwhile.
pub async fn make_topic() {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let features = ["metadata", "kraft", "group", "transaction", "eligible.leader.replicas", "share", "streams"];
    let features = features.map(|name| {
        Feature::default()
            .with_name(text(&format!("{name}.version")))
            .with_min_supported_version(0)
            .with_max_supported_version(99)
    });
    // Nothing listens there.
    let listener = Listener::default().with_name(text("CLEAR")).with_host(text("127.0.0.1")).with_port(1);
    let register = BrokerRegistrationRequest::default()
        .with_broker_id(LOST.into())
        .with_cluster_id(text(CLUSTER))
        .with_incarnation_id("6f6c6f73-7420-6272-6f6b-657220325f31".parse().unwrap())
        .with_log_dirs(vec!["6f6c6f73-7420-6272-6f6b-657220325f32".parse().unwrap()])
        .with_features(features.into())
        .with_listeners(vec![listener])
        .with_previous_broker_epoch(-1);
    let mut controller = TcpStream::connect(CONTROLLER).await.unwrap();
    let registered: BrokerRegistrationResponse = ask(&mut controller, ApiKey::BrokerRegistration, REGISTRATION, &register).await;
    assert_eq!(registered.error_code, 0, "{registered:?}");
    let mut beat = async |is_lost: bool| {
        let epoch = registered.broker_epoch;
        let beat = BrokerHeartbeatRequest::default().with_broker_id(LOST.into()).with_broker_epoch(epoch);
        let beat = beat.with_current_metadata_offset(epoch).with_want_fence(is_lost);
        let heard: BrokerHeartbeatResponse = ask(&mut controller, ApiKey::BrokerHeartbeat, HEARTBEAT, &beat).await;
        assert_eq!(heard.error_code, 0, "{heard:?}");
        heard.is_fenced == is_lost
    };
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", CLEAR).create().unwrap();
    let on_it = [&[LOST][..]];
    // A broker that has just begun, on a machine that is busy, may be too slow for a client's patience; what it does is done all the same.
    let created = async {
        loop {
            // On a busy machine the controller takes a moment until it sees that the broker has caught up.
            if !beat(false).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            let topic = NewTopic::new(LEADERLESS, 1, TopicReplication::Variable(&on_it));
            let answer = admin.create_topics(&[topic], &AdminOptions::new()).await;
            if let Ok([Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))]) = answer.as_deref() {
                return;
            }
        }
    };
    within(PATIENCE, created).await.expect("the topic is created");
    assert!(beat(true).await, "it counts as lost");
}

async fn ask<Q: Encodable + HeaderVersion, A: Decodable + HeaderVersion>(
    stream: &mut TcpStream,
    key: ApiKey,
    version: i16,
    request: &Q,
) -> A {
    let header = RequestHeader::default().with_request_api_key(key as i16).with_request_api_version(version);
    let mut frame = vec![];
    header.encode(&mut frame, Q::header_version(version)).unwrap();
    request.encode(&mut frame, version).unwrap();
    stream.write_i32(frame.len().try_into().unwrap()).await.unwrap();
    stream.write_all(&frame).await.unwrap();
    let mut answer = vec![0; stream.read_i32().await.unwrap().try_into().unwrap()];
    stream.read_exact(&mut answer).await.unwrap();
    let mut answer = Bytes::from(answer);
    ResponseHeader::decode(&mut answer, A::header_version(version)).unwrap();
    A::decode(&mut answer, version).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_without_a_leader_is_said_with_where_to_look() {
    secured().await;
    // A group that has committed elsewhere.
    let (topic, _) = topic_and_group().await;
    commit(&Broker::new(CLEAR), &topic, "leaderless").await;
    with_namespace(async |client, namespace| {
        let operator = Operator::start(&client, &namespace);
        let clear = kafka(CLEAR, &Value::Null, &Value::Null);
        let words = ["artition 0 of topic leaderless has no leader", "no broker with a replica of it is up (kafka-topics.sh"];
        each_fails(&client, &namespace, LEADERLESS, &[Case::passing("leaderless", clear, Reason::NoLeader, words)]).await;
        operator.end().await;
    })
    .await;
}
