//! What the machine knows of the world: plain data about what was seen.
//!
//! The adapters in `kafka` and `kubernetes` produce it, the other folders of `machine` consume it.

mod connector;
mod denial;
mod forecast;
pub mod group;
mod hold;
mod kafka;
mod observed;
mod peer;
mod receipt;
mod rollout;
mod scaled_object;
mod seen;
mod workload;

pub use super::metadata::Metadata;
pub use connector::{Connector, PAUSED, STOPPED, Tasks, UNSET, state_to_set};
pub use denial::Denial;
pub use forecast::{ForecastSeen, Progress, TopicConfig};
pub(in crate::machine) use hold::new_hold;
pub use hold::{Claim, Hold};
pub use kafka::{
    Access, Bounds, Committed, Group, GroupDescription, GroupMember, GroupState, GroupType, KafkaError, KafkaErrorKind,
    PerPartition, TimestampMatch, TopicPartition,
};
pub use observed::{AfterResetSeen, CommitSeen, KafkaSeen, Observed, PlanSeen, UndoSeen, Undone};
pub use peer::{Blocker, PeerReset, brokers};
pub use receipt::{Receipt, RunState};
pub use rollout::{Blocked, Rollout};
pub use scaled_object::{ScaledObject, ScaledObjectSeen};
pub use seen::Seen;
pub use workload::{Controller, Exit, FieldOwner, ForeignPod, Hpa, Pod, Unscalable, Workload, WorkloadDetails};
