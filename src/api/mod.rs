//! The resource: `OffsetReset` of `offsetreset.dev/v1alpha1`. The docs of its types are what
//! `kubectl explain` shows.

mod brokers;
mod conditions;
mod crd;
mod durations;
mod entry;
mod kafka;
mod partitions;
mod reason;
pub(crate) mod rules;
mod schema;
mod spec;
mod status;
mod target;

pub use brokers::{BootstrapServers, Broker};
pub use conditions::{ConditionType, set_condition};
pub use crd::{EXAMPLE, crd, crd_yaml};
pub use entry::{PartitionRange, Position, ResetSpec, TimestampSpec};
pub use kafka::{
    AuthenticationSpec, AuthenticationType, BindingSpec, CertificateAndKey, CertificateSource, ConfigValue, CredentialsIn,
    KafkaSpec, PasswordSecret, SecretKey, TlsSpec,
};
pub use partitions::{
    CatchUpResult, CatchUpStatus, Clamp, ConsumptionStatus, DriftStatus, OverwriteEvidence, OverwrittenStatus, PartitionOutcome,
    PartitionStatus, SlowestPartitionStatus, Totals, UndoneStatus,
};
pub use reason::{Reason, ReasonGroup, reasons_page};
pub use spec::{
    ConfigMapKeyRef, IsolationLevel, LimitsSpec, OffsetReset, OffsetResetSpec, OutOfRange, RemainingMembers, ResetsFromSpec,
    UndoSpec,
};
pub use status::{
    Action, ActionKind, AutoscalerStatus, CanaryState, CanaryStatus, ForecastOf, ForecastStatus, ForecastUnknown, GroupStatus,
    HoldStatus, MemberStatus, OffsetResetStatus, Outcome, Phase, ReceiptStatus, RefusalStatus, ReportStatus, Restored,
    TargetStatus,
};
pub use target::{CanarySpec, OnCanaryFailure, RestoreSpec, TargetRef, size_in_words};

/// The API group of the resource.
pub const GROUP: &str = "offsetreset.dev";

/// The finalizer. An `OffsetReset` has it only while a workload is held at zero for it.
pub const FINALIZER: &str = "offsetreset.dev/restore-replicas";

/// The label of the Leases that record which resets hold a workload at zero. Its value is always
/// "hold".
pub const LEASE_LABEL: &str = "offsetreset.dev/lease";

/// The field manager of what the operator writes, and the source of its Events.
pub const FIELD_MANAGER: &str = "offset-reset-operator";

/// The maximum number of partitions of one `OffsetReset`. The report of the plan must fit into a
/// ConfigMap.
pub const MAX_PARTITIONS: usize = 20_000;

/// The maximum number of partitions in the status. The report has all of them.
pub const MAX_LISTED_PARTITIONS: usize = 250;

/// The maximum number of warnings in the status.
pub const MAX_WARNINGS: usize = 32;

/// The maximum number of entries in `spec.resets`.
pub const MAX_ENTRIES: usize = 500;

/// The maximum number of entries in `spec.targetRefs`.
pub const MAX_TARGETS: usize = 16;
