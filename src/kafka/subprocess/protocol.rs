//! What the operator and a client's process say to each other: JSON, each message after its length.

use std::{io, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use crate::{
    kafka::port::Allowance,
    machine::facts::{Committed, GroupMember, KafkaError, TopicPartition},
};

/// The largest message: some ten times what is said about the most partitions that a reset may have.
const MOST_BYTES: u32 = 64 << 20;

/// Partitions with something; JSON has no maps by partition.
pub(super) type Pairs<T> = Vec<(TopicPartition, T)>;

/// What the operator says, after the connection.
#[derive(Serialize, Deserialize)]
pub(super) enum Told {
    /// A question, to which the answer will have the same number.
    Asked(u64, Call),
    /// Until when commits may be under way, on the clock of [`until`].
    Allowed(u64),
}

/// What a client's process says: the answer to a question.
#[derive(Serialize, Deserialize)]
pub(super) struct Answered(pub u64, pub Result<Value, KafkaError>);

/// The methods of [`super::super::GroupAdmin`], with what they are asked.
#[derive(Serialize, Deserialize)]
pub(super) enum Call {
    ClusterId,
    DescribeGroup { group: String },
    Partitions { topic: String },
    Bounds { partitions: Vec<TopicPartition> },
    StableEnds { partitions: Vec<TopicPartition> },
    OffsetsForTimes { times: Pairs<i64> },
    Committed { group: String, partitions: Vec<TopicPartition> },
    AllCommitted { group: String },
    Commit { group: String, offsets: Pairs<Committed>, allowed_until: u64 },
    RemoveMembers { group: String, members: Vec<GroupMember> },
    Access { group: String, topics: Vec<String> },
}

impl Call {
    /// In words.
    pub fn what(&self) -> &'static str {
        match self {
            Self::ClusterId => "reading the cluster's id",
            Self::DescribeGroup { .. } => "describing the group",
            Self::Partitions { .. } => "reading a topic's partitions",
            Self::Bounds { .. } | Self::StableEnds { .. } => "reading the logs' bounds",
            Self::OffsetsForTimes { .. } => "looking for times in the logs",
            Self::Committed { .. } | Self::AllCommitted { .. } => "reading committed offsets",
            Self::Commit { .. } => "committing",
            Self::RemoveMembers { .. } => "taking members out of the group",
            Self::Access { .. } => "reading what is allowed",
        }
    }

    /// Far longer than a client needs for it by its own limits: each question has one, and a commit is sent in parts of up to 2,000 partitions.
    pub fn limit(&self) -> Duration {
        let parts = match self {
            Self::Commit { offsets, .. } => offsets.len() / 1_000,
            _ => 0,
        };
        Duration::from_mins(2) + Duration::from_secs(20) * u32::try_from(parts).unwrap_or(0)
    }
}

/// Milliseconds on the clock by which [`std::time::Instant`] goes, which is one for all processes of a machine.
pub(super) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

/// Until when commits may be under way, on that clock.
pub(super) fn until(allowance: &Allowance) -> u64 {
    // The clock first: what passes between the two is not allowed.
    let now = now();
    now.saturating_add(u64::try_from(allowance().as_millis()).unwrap_or(u64::MAX))
}

/// Writes a message. It may hold secrets, so it is overwritten afterwards.
pub(super) async fn write(to: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    let bytes = Zeroizing::new(serde_json::to_vec(message)?);
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= MOST_BYTES);
    to.write_u32(length.ok_or(io::ErrorKind::FileTooLarge)?).await?;
    to.write_all(&bytes).await?;
    to.flush().await
}

/// Reads a message; `None` at the end.
pub(super) async fn read<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<T>> {
    let length = match from.read_u32().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        length => length?,
    };
    if length > MOST_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    // As it comes: a length is only a claim.
    let mut bytes = Zeroizing::new(vec![]);
    from.take(length.into()).read_to_end(&mut bytes).await?;
    Ok(Some(serde_json::from_slice(&bytes)?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_and_what_is_none_is_refused() {
        let mut bytes = vec![];
        write(&mut bytes, &Told::Allowed(7)).await.unwrap();
        let mut whole = bytes.as_slice();
        assert!(matches!(read::<Told>(&mut whole).await.unwrap(), Some(Told::Allowed(7))));
        assert!(read::<Told>(&mut whole).await.unwrap().is_none(), "that is the end");
        for broken in [&bytes[..bytes.len() - 1], &[0, 0, 0, 2, b'{', b'{'], &[255, 255, 255, 255, b'7']] {
            assert!(read::<Told>(&mut &*broken).await.is_err(), "{broken:?}");
        }
    }

    #[test]
    fn what_is_allowed_for_ever_never_ends_and_what_is_not_has_ended() {
        assert_eq!(until(&(Arc::new(|| Duration::MAX) as Allowance)), u64::MAX);
        let before = now();
        let none = until(&(Arc::new(|| Duration::ZERO) as Allowance));
        assert!((before..=now()).contains(&none));
    }
}
