//! The resource: `OffsetReset` of `offsetreset.dev/v1alpha1`. The types' documentation is what `kubectl explain` shows.

mod brokers;
mod conditions;
mod crd;
mod kafka;
mod partitions;
mod reason;
mod spec;
mod status;

pub use brokers::{BootstrapServers, Broker};
pub use conditions::{ConditionType, set_condition};
pub use crd::{crd, crd_yaml};
pub use kafka::{
    AuthenticationSpec, AuthenticationType, BindingSpec, CertificateAndKey, CertificateSource, ConfigValue, KafkaSpec,
    PasswordSecret, SecretKey, TlsSpec,
};
pub use partitions::{Clamp, DriftStatus, PartitionOutcome, PartitionStatus, ReceiptStatus, ReportStatus, Totals};
pub use reason::Reason;
pub use spec::{
    IsolationLevel, LimitsSpec, OffsetReset, OffsetResetSpec, OutOfRange, Position, RemainingMembers, ResetSpec, TargetRef,
    TimestampSpec, UndoSpec,
};
pub use status::{
    Action, ActionKind, AutoscalerStatus, GroupStatus, HoldStatus, MemberStatus, OffsetResetStatus, Outcome, Phase, Restored,
    TargetStatus,
};

/// The API group.
pub const GROUP: &str = "offsetreset.dev";

/// The finalizer that is on an `OffsetReset` only while something is held at zero for it.
pub const FINALIZER: &str = "offsetreset.dev/restore-replicas";

/// The label of the Leases that say who holds a workload at zero; its value is always "hold".
pub const LEASE_LABEL: &str = "offsetreset.dev/lease";

/// The name under which the operator writes fields and events.
pub const FIELD_MANAGER: &str = "offset-reset-operator";

/// The most partitions that one `OffsetReset` may reset: the report of the plan must fit into a ConfigMap.
pub const MAX_PARTITIONS: usize = 20_000;

/// The most partitions that the status lists; the report has them all.
pub const MAX_LISTED_PARTITIONS: usize = 250;

/// The most warnings that the status lists.
pub const MAX_WARNINGS: usize = 32;

/// The most entries of `spec.resets`.
pub const MAX_ENTRIES: usize = 500;

/// The most entries of `spec.targetRefs`.
pub const MAX_TARGETS: usize = 16;
