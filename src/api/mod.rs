//! The resource: `OffsetReset` of `offsetreset.dev/v1alpha1`. The types' documentation is what `kubectl explain` shows.

mod conditions;
mod crd;
mod reason;
mod spec;
mod status;

pub use conditions::{ConditionType, set_condition};
pub use crd::{crd, crd_yaml};
pub use reason::Reason;
pub use spec::{KafkaSpec, OffsetReset, OffsetResetSpec, ResetSpec, TargetRef, TimestampSpec};
pub use status::{
    Action, ActionKind, Clamp, GroupStatus, HoldStatus, MemberStatus, OffsetResetStatus, PartitionOutcome, PartitionStatus,
    Phase, Restored, TargetStatus, Totals, Verdict,
};

/// The API group.
pub const GROUP: &str = "offsetreset.dev";

/// The finalizer that is on an `OffsetReset` only while something is held at zero for it.
pub const FINALIZER: &str = "offsetreset.dev/restore-replicas";

/// The name under which the operator writes fields and events.
pub const FIELD_MANAGER: &str = "offset-reset-operator";

/// The most partitions that one `OffsetReset` may reset: the whole plan must fit into its status.
pub const MAX_PARTITIONS: usize = 2_000;

/// The most entries of `spec.resets`.
pub const MAX_ENTRIES: usize = 500;

/// The most entries of `spec.targetRefs`.
pub const MAX_TARGETS: usize = 16;
