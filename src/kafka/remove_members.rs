//! Removes members from a group by `LeaveGroup` (KIP-345, Kafka 2.4), which librdkafka has no call
//! for.

use kafka_protocol::messages::{ApiKey, GroupId, LeaveGroupRequest, LeaveGroupResponse, leave_group_request::MemberIdentity};

use super::{
    auth::oauth::Token,
    broker_connection::{BrokerConnection, coordinator, refused, text},
    connection::Connection,
};
use crate::machine::facts::{GroupMember, KafkaError};

/// The version of `LeaveGroup`: the first that takes several members, each with its instance id.
const LEAVE_GROUP: i16 = 3;

/// `UNKNOWN_MEMBER_ID`: the member has left by itself.
const UNKNOWN_MEMBER: i16 = 25;

/// `FENCED_INSTANCE_ID`: another incarnation of the static member has taken its place, and stays.
const FENCED: i16 = 82;

/// Removes members from a group.
///
/// # Errors
/// When a member could not be removed, or when the outcome is unknown.
pub(super) async fn remove_members(
    connection: &Connection,
    token: Option<&Token>,
    group: &str,
    members: &[GroupMember],
) -> Result<(), KafkaError> {
    let coordinator = coordinator(connection, token, group).await?;
    let mut broker = BrokerConnection::open(connection, token, &coordinator).await?;
    let members = members.iter().map(|member| {
        MemberIdentity::default()
            .with_member_id(text(&member.member_id))
            .with_group_instance_id(member.instance_id.as_deref().map(text))
    });
    let request = LeaveGroupRequest::default().with_group_id(GroupId(text(group))).with_members(members.collect());
    let answer: LeaveGroupResponse = broker.ask(ApiKey::LeaveGroup, LEAVE_GROUP, &request).await?;
    refused(answer.error_code, group)?;
    for member in answer.members.iter().filter(|member| ![UNKNOWN_MEMBER, FENCED].contains(&member.error_code)) {
        refused(member.error_code, group)?;
    }
    Ok(())
}
