//! Whether a group's coordinator lists it, by `ListGroups`, which librdkafka sends to every broker
//! only: then one broker that does not answer leaves the question open. The coordinator alone can
//! answer it, because it lists every group that it coordinates.

use kafka_protocol::messages::{ApiKey, ListGroupsRequest, ListGroupsResponse};

use super::{
    auth::oauth::Token,
    broker_connection::{BrokerConnection, coordinator, refused},
    connection::Connection,
};
use crate::machine::facts::KafkaError;

/// The version of `ListGroups`, which every broker since 0.9 supports.
const LIST_GROUPS: i16 = 0;

/// The protocol type of a group that its coordinator lists: "consumer", another one, or an empty one
/// of a group that has only commits; `None` when it is not listed.
///
/// # Errors
/// When the coordinator does not answer.
pub(super) async fn protocol_type(
    connection: &Connection,
    token: Option<&Token>,
    group: &str,
) -> Result<Option<String>, KafkaError> {
    let coordinator = coordinator(connection, token, group).await?;
    let mut broker = BrokerConnection::open(connection, token, &coordinator).await?;
    let answer: ListGroupsResponse = broker.ask(ApiKey::ListGroups, LIST_GROUPS, &ListGroupsRequest::default()).await?;
    refused(answer.error_code, group)?;
    let listed = answer.groups.iter().find(|listed| listed.group_id.0.as_str() == group);
    Ok(listed.map(|listed| listed.protocol_type.to_string()))
}
