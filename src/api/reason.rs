//! The reasons that stand in conditions, events, `status.reason` and metric labels: a closed list, and an interface.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// Why a condition is as it is. The names do not change: alerts and scripts are written against them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Reason {
            $($(#[$doc])+ $name,)+
        }

        impl Reason {
            /// The name as it stands in the status.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }
        }
    };
}

reasons! {
    // In progress.
    /// Another OffsetReset works on the group or on a workload; it goes first.
    WaitingForOtherReset,
    /// suspend is true: it waits, and nothing was touched.
    Suspended,
    /// A target is in the middle of a rollout: the plan waits until the rollout is complete, and the consumers run.
    WaitingForRollout,
    /// The plan is being made; the consumers run.
    Planning,
    /// The plan stands; the consumers are about to be stopped.
    PlanMade,
    /// A target was scaled to zero; it comes back.
    ScaledToZero,
    /// The ScaledObject that scales a target was paused; it goes on after the restore.
    AutoscalerPaused,
    /// The ScaledObject that scales a target is not paused by this reset any more.
    AutoscalerResumed,
    /// The pause of the ScaledObject that scales a target could not be taken off: it has to be done by hand.
    AutoscalerNotResumed,
    /// Containers of the targets' pods still run.
    WaitingForContainers,
    /// The group still has members, or the broker has not said yet that it has none.
    WaitingForGroup,
    /// Members that were left after the last container had ended are taken out of the group, as remainingMembers: Remove says.
    RemovingMembers,
    /// Offsets are being committed and read back.
    Committing,
    /// The replicas are being put back.
    Restoring,
    /// The pods are not all ready yet, or the members not all back.
    WaitingForConsumers,

    // Milestones reached.
    /// No container of the targets' pods runs any more.
    ContainersTerminated,
    /// The broker calls the group free.
    GroupEmpty,
    /// Every offset was read back as planned.
    OffsetsVerified,
    /// The replicas were accepted by the API server.
    ReplicasAccepted,
    /// Nothing was stopped, so nothing had to be put back.
    NothingStopped,
    /// A target is gone, was created anew, or was scaled by somebody else: it was left alone.
    TargetLeftAlone,
    /// In Events on workloads only: it was held at zero for an OffsetReset that is gone.
    OrphanedHold,
    /// Pods ready, members back.
    ConsumersReady,
    /// The targets were at zero before, or there are none: no comeback is expected.
    NoConsumersExpected,
    /// The consumers did not come back within the stated time.
    ConsumersNotReady,

    // Final.
    /// A dry run has ended: the plan stands, and nothing was touched.
    DryRun,
    /// Every partition is in range already: there was nothing to repair, and nothing was stopped.
    AlreadyInRange,
    /// Every offset was read back as planned, and the replicas were accepted.
    Succeeded,
    /// The OffsetReset was deleted before it was done.
    Cancelled,
    /// The same name and spec have been run before: nothing was stopped and nothing moved.
    AlreadyApplied,
    /// notAfter was over before it began: nothing was touched.
    Expired,
    /// The spec holds something that no reset can follow.
    InvalidSpec,
    /// A target does not exist.
    TargetNotFound,
    /// The API server does not serve a target's kind.
    TargetKindUnknown,
    /// A target's kind has no scale subresource, or does not say how many replicas there are.
    TargetNotScalable,
    /// Another object controls a target and would scale it back: that one is to be scaled.
    TargetHasController,
    /// Scaling a StatefulSet to zero would delete its volumes, and the spec does not accept that.
    VolumesWouldBeDeleted,
    /// A target is in the middle of a rollout that is paused or blocked, so it would be restored as another revision.
    RolloutIncomplete,
    /// The pods of a target cannot all terminate within holdTimeout.
    CannotStopInTime,
    /// An admission policy or webhook changes the replica count that the operator asks for.
    ReplicasOverridden,
    /// The targets cannot be read or scaled.
    TargetUnreachable,
    /// No broker answers.
    BrokerUnreachable,
    /// A Secret that spec.kafka names cannot be read, lacks what is named, or holds something else.
    SecretUnavailable,
    /// No token is given by the token endpoint of spec.kafka.authentication: it cannot be reached, or does not answer as one.
    TokenEndpointFailed,
    /// Whoever runs the operator has not allowed it to ask the token endpoint of spec.kafka.authentication.
    TokenEndpointNotAllowed,
    /// TLS with the broker or the token endpoint fails: its certificate is not trusted, is for another name or has expired, or it wants another client certificate.
    TlsFailed,
    /// The broker refuses who the operator is, or the token endpoint does.
    AuthenticationFailed,
    /// The broker refuses what the operator asks for.
    AuthorizationFailed,
    /// spec.kafka leads to another cluster than when the plan was made: its binding or its brokers' names have changed.
    ClusterChanged,
    /// The broker does not know the group.
    GroupNotFound,
    /// The group is no consumer group: a share, Streams or Connect group; the message names the right tool.
    UnsupportedGroupType,
    /// Pods of the targets are ready and the group has no members, so it is not the group that they use.
    GroupHasNoMembers,
    /// Members of the group run elsewhere than in the pods of the targets, so a stop of the targets would not empty it.
    GroupShared,
    /// A topic does not exist.
    TopicNotFound,
    /// A partition does not exist.
    PartitionNotFound,
    /// Two entries mean the same partition.
    DuplicatePartition,
    /// A partition has no committed offset, and what was asked for starts from one.
    NoCommittedOffset,
    /// No partition is left to be reset.
    NothingToReset,
    /// A target is out of range, and outOfRange is Fail.
    OutOfRange,
    /// The plan replays or skips more than limits allow.
    LimitExceeded,
    /// The OffsetReset to take back does not exist, is about another group, or has committed nothing.
    UndoNotPossible,
    /// The plan has more partitions than one OffsetReset may have.
    TooManyPartitions,
    /// The report of the plan could not be stored or found.
    ReportUnavailable,
    /// A partition has no leader.
    NoLeader,
    /// The broker cannot look up times in a partition.
    TimestampsUnsupported,
    /// Kafka answered with an error that has no reason of its own; the message has its words.
    KafkaError,
    /// The group had not become empty when drainTimeout was over.
    GroupNotEmpty,
    /// The consumers had been held for as long as holdTimeout allows.
    HoldTimeout,
    /// Somebody scales a target up again and again.
    ScaledUpByOthers,
    /// The ScaledObject that scales a target is not paused: KEDA does not answer, or the operator may not pause it.
    AutoscalerNotPaused,
    /// A target was deleted, or deleted and created anew, while it was held.
    TargetReplaced,
    /// Some partitions were reset and read back, others were not; each says why.
    PartiallyReset,
    /// No partition could be reset; each says why.
    AllPartitionsFailed,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
