//! The protocol between the operator and a client's process: JSON messages, each after its length.

use std::{collections::BTreeMap, io, time::Duration};

use bytes::{Bytes, BytesMut};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::Semaphore,
};
use tokio_util::codec::{Encoder, LengthDelimitedCodec};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    kafka::port::{Allowance, GroupAdmin, TopicConfigs},
    machine::facts::{Access, Bounds, Committed, Group, GroupMember, KafkaError, PerPartition, TimestampMatch, TopicPartition},
};

/// The largest message in bytes: some ten times the largest one about the most partitions that a
/// reset may have.
const MAX_MESSAGE: usize = 64 << 20;

/// A larger message than this is read only while no other such one is: many processes may answer at
/// once, and the operator's memory is limited.
const LARGE_MESSAGE: usize = 1 << 20;

/// Within this time the rest of a large message arrives over the pipe.
const LARGE_LIMIT: Duration = Duration::from_secs(10);

/// The right to read a large message.
static READS_LARGE: Semaphore = Semaphore::const_new(1);

/// What the operator sends, after the connection.
#[derive(Serialize, Deserialize)]
pub(super) enum Request {
    /// A call.
    Call {
        /// The number of the call, and of its response.
        number: u64,
        call: Call,
        /// For a commit or a removal of offsets: until when it may be under way, see [`until`].
        allowed_until: Option<u64>,
    },
    /// Until when commits may be under way, see [`until`]. The latest time counts, even when it is
    /// earlier.
    Allowed(u64),
}

/// What a client's process sends.
#[derive(Serialize, Deserialize)]
pub(super) struct Response {
    /// The number of the call.
    pub number: u64,
    pub reply: Result<Reply, KafkaError>,
}

/// The calls of the port, one per line: the method, its name as a variant, its arguments, its
/// result, and what a message says that it does.
macro_rules! calls {
    ($($method:ident $variant:ident ($($argument:ident: $borrowed:ty),*) -> $(#[$with:meta])? $reply:ty, $doing:literal;)*) => {
        /// A call of the port, with its arguments.
        #[derive(Serialize, Deserialize)]
        pub(super) enum Call {
            $($variant { $($argument: <$borrowed as ToOwned>::Owned),* },)*
        }

        /// The result of a call.
        #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub(super) enum Reply {
            $($variant($(#[$with])? $reply),)*
        }

        impl Call {
            /// What the call does, for messages.
            pub fn doing(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $doing,)*
                }
            }

            /// Makes the call on a client.
            pub async fn run(self, client: &impl GroupAdmin) -> Result<Reply, KafkaError> {
                match self {
                    $(Self::$variant { $($argument),* } => client.$method($(&$argument),*).await.map(Reply::$variant),)*
                }
            }
        }

        /// The result of the call of the same name; `None` when the reply belongs to another call.
        impl Reply {
            $(pub fn $method(self) -> Option<$reply> {
                if let Self::$variant(reply) = self { Some(reply) } else { None }
            })*
        }
    };
}

calls! {
    cluster_id ClusterId() -> Option<String>, "reading the cluster's id";
    describe_group DescribeGroup(group: str) -> Group, "describing the group";
    topics Topics(names: [String]) -> BTreeMap<String, Result<Vec<i32>, KafkaError>>, "reading the topics' partitions";
    bounds Bounds(partitions: [TopicPartition]) -> #[serde(with = "pairs")] PerPartition<Bounds>, "reading the logs' bounds";
    stable_ends StableEnds(partitions: [TopicPartition]) -> #[serde(with = "pairs")] PerPartition<i64>, "reading the logs' bounds";
    offsets_for_times OffsetsForTimes(times: [(TopicPartition, i64)])
        -> #[serde(with = "pairs")] PerPartition<Option<TimestampMatch>>, "looking up times in the logs";
    committed Committed(group: str, partitions: [TopicPartition])
        -> #[serde(with = "pairs")] PerPartition<Option<Committed>>, "reading committed offsets";
    all_committed AllCommitted(group: str)
        -> #[serde(with = "pairs")] PerPartition<Option<Committed>>, "reading committed offsets";
    commit Commit(group: str, offsets: [(TopicPartition, Committed)]) -> #[serde(with = "pairs")] PerPartition<()>, "committing";
    delete_offsets DeleteOffsets(group: str, partitions: [TopicPartition])
        -> #[serde(with = "pairs")] PerPartition<()>, "removing committed offsets";
    remove_members RemoveMembers(group: str, members: [GroupMember]) -> (), "removing members from the group";
    access Access(group: str, topics: [String]) -> Access, "reading the allowed operations";
    topic_ids TopicIds(topics: [String]) -> BTreeMap<String, String>, "reading the topics' ids";
    topic_configs TopicConfigs(topics: [String]) -> TopicConfigs, "reading the topics' configuration";
    session_timeout SessionTimeout(group: str) -> Option<Duration>, "reading the group's configuration";
}

impl Call {
    /// The time limit, far above what a client needs by its own limits: each request has one, and a
    /// commit is sent in parts of up to 2,000 partitions.
    pub fn limit(&self) -> Duration {
        let parts = match self {
            Self::Commit { offsets, .. } => offsets.len() / 1_000,
            Self::DeleteOffsets { partitions, .. } => partitions.len() / 1_000,
            _ => 0,
        };
        Duration::from_mins(2) + Duration::from_secs(20) * u32::try_from(parts).unwrap_or(0)
    }
}

/// A map by partition as a list of topics, each with a list of pairs: JSON's keys are strings, and a
/// topic's name need not be there once for each of its thousands of partitions. Read into the map as
/// it comes, so that only one topic is in memory twice.
mod pairs {
    use std::{fmt, marker::PhantomData};

    use serde::{
        Deserialize, Deserializer, Serialize, Serializer,
        de::{SeqAccess, Visitor},
    };

    use super::{KafkaError, PerPartition, TopicPartition};

    type Partitions<'a, T> = Vec<(i32, &'a Result<T, KafkaError>)>;

    pub fn serialize<T: Serialize, S: Serializer>(answers: &PerPartition<T>, serializer: S) -> Result<S::Ok, S::Error> {
        let mut topics: Vec<(&str, Partitions<'_, T>)> = vec![];
        for (at, answer) in answers {
            match topics.last_mut().filter(|(topic, _)| *topic == at.topic) {
                Some((_, partitions)) => partitions.push((at.partition, answer)),
                None => topics.push((&at.topic, vec![(at.partition, answer)])),
            }
        }
        topics.serialize(serializer)
    }

    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<PerPartition<T>, D::Error> {
        deserializer.deserialize_seq(Topics(PhantomData))
    }

    struct Topics<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Topics<T> {
        type Value = PerPartition<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of topics")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut answers = PerPartition::new();
            while let Some((topic, partitions)) = list.next_element::<(String, Vec<(i32, Result<T, KafkaError>)>)>()? {
                answers.extend(
                    partitions.into_iter().map(|(partition, answer)| (TopicPartition::new(topic.clone(), partition), answer)),
                );
            }
            Ok(answers)
        }
    }
}

/// Milliseconds on the clock of [`std::time::Instant`], which all processes of a machine share.
pub(super) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

/// Until when commits may be under way, on the clock of [`now`].
pub(super) fn until(allowance: &Allowance) -> u64 {
    // The clock first: the time between the two is not allowed.
    let now = now();
    now.saturating_add(u64::try_from(allowance().as_millis()).unwrap_or(u64::MAX))
}

fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(MAX_MESSAGE).new_codec()
}

/// Writes a message. It may contain secrets, so its memory is overwritten afterwards.
pub(super) async fn write(to: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    let json = Bytes::from_owner(Zeroizing::new(serde_json::to_vec(message)?));
    let mut frame = BytesMut::new();
    codec().encode(json, &mut frame)?;
    let written = async {
        to.write_all(&frame).await?;
        to.flush().await
    };
    let written = written.await;
    frame.as_mut().zeroize();
    written
}

/// Reads messages.
pub(super) struct Reader<R>(R);

impl<R: AsyncRead + Unpin> Reader<R> {
    pub fn new(from: R) -> Self {
        Self(from)
    }

    /// The next message, whose memory is overwritten afterwards; `None` at the end.
    pub async fn next<T: DeserializeOwned + Send + 'static>(&mut self) -> io::Result<Option<T>> {
        let mut length = [0; 4];
        if self.0.read(&mut length[..1]).await? == 0 {
            return Ok(None);
        }
        self.0.read_exact(&mut length[1..]).await?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > MAX_MESSAGE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the message has {length} bytes")));
        }
        if length <= LARGE_MESSAGE {
            return Ok(Some(serde_json::from_slice(&self.rest(length).await?)?));
        }
        // It is never closed.
        let _large = READS_LARGE.acquire().await;
        let message = tokio::time::timeout(LARGE_LIMIT, self.rest(length)).await??;
        // Not on an asynchronous worker, of which there may be one.
        let read = tokio::task::spawn_blocking(move || serde_json::from_slice(&message)).await?;
        Ok(Some(read?))
    }

    /// The rest of a message, whose memory is overwritten afterwards.
    async fn rest(&mut self, length: usize) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut message = Zeroizing::new(vec![0; length]);
        self.0.read_exact(&mut message).await?;
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::machine::facts::KafkaErrorKind;

    #[tokio::test]
    async fn messages_are_read_as_they_were_written_and_invalid_ones_are_refused() {
        let mut bytes = vec![];
        write(&mut bytes, &Request::Allowed(7)).await.unwrap();
        let mut reader = Reader::new(bytes.as_slice());
        assert!(matches!(reader.next::<Request>().await.unwrap(), Some(Request::Allowed(7))));
        assert!(reader.next::<Request>().await.unwrap().is_none(), "that is the end");
        for broken in [&bytes[..bytes.len() - 1], &[0, 0, 0, 2, b'{', b'{'], &[255, 255, 255, 255, b'7']] {
            assert!(Reader::new(broken).next::<Request>().await.is_err(), "{broken:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_by_partition_survives_the_pipe() {
        let (at, other) = (TopicPartition::new("orders", 3), TopicPartition::new("orders", 4));
        let error = KafkaError::new(KafkaErrorKind::Leader, "no leader");
        let answers = PerPartition::from([(at, Ok(Bounds { start: 1, end: 2 })), (other, Err(error))]);
        let mut bytes = vec![];
        write(&mut bytes, &Response { number: 7, reply: Ok(Reply::Bounds(answers.clone())) }).await.unwrap();
        let response: Response = Reader::new(bytes.as_slice()).next().await.unwrap().unwrap();
        assert_eq!((response.number, response.reply.unwrap().bounds()), (7, Some(answers)));
        assert_eq!(Reply::Topics(BTreeMap::new()).bounds(), None);
    }

    #[tokio::test]
    async fn a_topic_is_named_once_and_large_answers_are_read_too() {
        let committed = Committed { offset: 1_000_000, metadata: "".into() };
        let each =
            (0..50_000).map(|partition| (TopicPartition::new("a-topic-with-a-name", partition), Ok(Some(committed.clone()))));
        let answers: PerPartition<Option<Committed>> = each.collect();
        let mut bytes = vec![];
        write(&mut bytes, &Response { number: 7, reply: Ok(Reply::AllCommitted(answers.clone())) }).await.unwrap();
        assert!(bytes.len() > LARGE_MESSAGE && bytes.len() < 55 * answers.len(), "{}", bytes.len());
        let response: Response = Reader::new(bytes.as_slice()).next().await.unwrap().unwrap();
        assert_eq!(response.reply.unwrap().all_committed(), Some(answers));
    }

    #[test]
    fn an_unlimited_allowance_never_ends_and_an_empty_one_has_ended() {
        assert_eq!(until(&(Arc::new(|| Duration::MAX) as Allowance)), u64::MAX);
        let before = now();
        let none = until(&(Arc::new(|| Duration::ZERO) as Allowance));
        assert!((before..=now()).contains(&none));
    }
}
