//! The status: all that a cluster admin has to read, and all that the operator remembers of a
//! reset.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    partitions::{ConsumptionStatus, DriftStatus, PartitionStatus, Totals},
    reason::Reason,
    schema::{is_false, is_none_of_them, is_zero, own_description},
    target::{TargetRef, size_in_words},
};

/// The state of the reset, as the operator last wrote it: plan, progress and result.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OffsetResetStatus {
    /// The generation of the spec that this status describes; -1 until the operator has seen the
    /// object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The phase of the reset. Pending waits its turn. Planning makes the plan while the consumers
    /// run. Stopping scales the targets to zero, Draining waits until the group is empty, Resetting
    /// commits the offsets, Canary runs a few replicas where spec.restore.canary asks for that, and
    /// Restoring restores the replicas. Succeeded, Failed, Cancelled and Planned (a dry run) are final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = own_description)]
    pub phase: Option<Phase>,

    /// Why the reset is in that phase: one of the reasons that docs/reasons.md explains. Their
    /// names are an interface for alerts and scripts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = own_description)]
    pub reason: Option<Reason>,

    /// What happens or happened, in one sentence of at most 100 characters. The conditions have the
    /// details and what to do: Reconciling while the reset runs, Complete, or Failed and Stalled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,

    /// How many partitions have been reset, of how many to reset, such as "2/3". Absent until the
    /// plan is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,

    /// When the replicas are restored at the latest: status.hold.deadline in whole seconds, such as
    /// 2026-11-24T18:10:00Z. Present only while consumers are held at zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until: Option<Time>,

    /// The first target and how many more there are, such as "Deployment/orders-consumer" or
    /// "Deployment/orders-consumer +2", for the column TARGETS of `kubectl get -o wide`;
    /// status.targets lists all of them. Absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_names: Option<String>,

    /// When the operator first saw the reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,

    /// When the reset ended, whatever the outcome. To wait for the end, wait for this field, and
    /// then read the phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,

    /// When the current phase began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase_start_time: Option<MicroTime>,

    /// When planning last began: after the reset was suspended, or had waited for another one. A
    /// duration in spec.resets is counted back from here; requestedTimestamp of each partition is
    /// the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planning_start_time: Option<MicroTime>,

    /// Since when the API server has not let the operator do what comes next (401 or 403), which is
    /// tried again for a while. Absent while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_allowed_since: Option<MicroTime>,

    /// The result of the run. It is decided before the replicas are restored, and final, except that a
    /// failed canary changes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,

    /// The milestones Planned, ConsumersStopped, GroupEmpty, OffsetsReset, ConsumersRestored,
    /// ConsumersResumed and ConsumptionProven; Ready; and, only while they are True, the outcome
    /// Complete or Failed, and Reconciling and Stalled for tools that wait (kstatus).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// True when this status describes a dry run: neither consumers nor offsets are touched.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,

    /// The workloads of spec.targetRefs, each with the replica count to restore.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetStatus>,

    /// The times of the hold, during which the targets are at zero. Absent as long as nothing was
    /// stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldStatus>,

    /// The canary: the replicas that come back first. Absent without spec.restore.canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryStatus>,

    /// The consumer group, as the broker last described it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupStatus>,

    /// Counts of partitions and records over the whole plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totals: Option<Totals>,

    /// What can be said in advance about the replay, from rates that are measured while the consumers
    /// run. After the end status.consumption.catchUp has what is measured then. Absent when nothing was
    /// read for it; a run without limits.maxCatchUp keeps the forecast of its dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<ForecastStatus>,

    /// What became of the offsets that were reset, as the operator last saw them after the run.
    /// Absent when no offset was reset, and until the operator has read the offsets again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumption: Option<ConsumptionStatus>,

    /// When the plan was made; of a dry run that was run afterwards, when it was made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_time: Option<Time>,

    /// What may need attention before the plan is carried out, one sentence or two each; up to 32
    /// of them, the most important ones first: what may keep the consumers from stopping or from
    /// coming back as they are, then what the plan does to offsets, then what else is worth knowing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub warnings: Vec<String>,

    /// How the plan differs from the plan of the dry run before it. Absent when there was no dry
    /// run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftStatus>,

    /// The command of Kafka's own tool that would do the same for a group whose consumers are
    /// stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equivalent_command: Option<String>,

    /// Where the whole report is: every partition, and the offsets before and after as files for
    /// kafka-consumer-groups --reset-offsets --from-file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportStatus>,

    /// The receipt, which remains when this OffsetReset is deleted, so that the same name and spec
    /// never move offsets twice. It is written before the first commit and kept when anything was
    /// or may have been committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptStatus>,

    /// How many times the operator removed remaining members from the group; see
    /// spec.remainingMembers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub member_removals: i32,

    /// When the plan was last checked against the logs and became final, right before the first
    /// commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_plan_time: Option<MicroTime>,

    /// How many times the operator sent a commit of offsets.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub commits: i32,

    /// How many of the commits the broker refused for every partition, so that they changed
    /// nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub commits_refused: i32,

    /// The partitions of the plan with their offsets before, as requested, and after; up to 250.
    /// When there are more, those that failed, were overwritten or were clamped come first, and the
    /// others are only in the report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 250))]
    pub partitions: Vec<PartitionStatus>,

    /// How many partitions of the plan are not in status.partitions. The report has all of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub partitions_omitted: i32,

    /// The last thing that the operator began to do. It is written before it is done, so that an
    /// operator with an outdated view of the object cannot act on it. Claims, releases and the end of the
    /// receipt are written into the Lease or the receipt only, over the version that was read: this
    /// field names them only when another field changes too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_action: Option<Action>,
}

/// The phase of the reset.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, JsonSchema)]
pub enum Phase {
    /// The reset waits its turn.
    Pending,
    /// The plan is being made while the consumers run.
    Planning,
    /// The targets are scaled to zero, and their containers terminate.
    Stopping,
    /// The consumers are stopped, and the group becomes empty.
    Draining,
    /// The offsets are being committed and read back.
    Resetting,
    /// A few replicas are back, and have to consume past the targets before the others follow.
    Canary,
    /// The replicas are being restored.
    Restoring,
    /// The offsets were read back as planned, and the API server accepted the replica counts.
    Succeeded,
    /// The reset ended without success, and the replicas are restored.
    Failed,
    /// The object was deleted before the reset was done, and the replicas are restored.
    Cancelled,
    /// A dry run ended: the plan is complete, and nothing was touched.
    Planned,
    /// A phase that another version of the operator has written and this one does not know. Where
    /// the reset had not ended, it ends as Failed once the replicas are restored.
    #[serde(other)]
    Unknown,
}

impl Phase {
    /// All phases, in their order.
    pub const ALL: [Self; 12] = [
        Self::Pending,
        Self::Planning,
        Self::Planned,
        Self::Stopping,
        Self::Draining,
        Self::Resetting,
        Self::Canary,
        Self::Restoring,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Unknown,
    ];

    /// Whether the phase is final: nothing will be stopped or committed any more.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Planned => true,
            Self::Pending
            | Self::Planning
            | Self::Stopping
            | Self::Draining
            | Self::Resetting
            | Self::Canary
            | Self::Restoring
            | Self::Unknown => false,
        }
    }

    /// Whether consumers may be held at zero in this phase.
    #[must_use]
    pub fn may_hold(self) -> bool {
        match self {
            Self::Stopping | Self::Draining | Self::Resetting | Self::Canary | Self::Restoring | Self::Unknown => true,
            Self::Pending | Self::Planning | Self::Succeeded | Self::Failed | Self::Cancelled | Self::Planned => false,
        }
    }

    /// The name as it stands in the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Planning => "Planning",
            Self::Stopping => "Stopping",
            Self::Draining => "Draining",
            Self::Resetting => "Resetting",
            Self::Canary => "Canary",
            Self::Restoring => "Restoring",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
            Self::Planned => "Planned",
            Self::Unknown => "Unknown",
        }
    }
}

impl OffsetResetStatus {
    /// Whether another version of the operator has ended the reset, in a phase that this one does
    /// not know.
    #[must_use]
    pub fn ended_elsewhere(&self) -> bool {
        self.phase == Some(Phase::Unknown) && self.completion_time.is_some()
    }

    /// Whether the offsets from before the reset are being committed, because the canary has failed.
    #[must_use]
    pub fn is_undoing(&self) -> bool {
        self.canary.as_ref().is_some_and(|canary| canary.state == CanaryState::Undoing)
    }

    /// Since when consumers run again: since the start of the canary that runs or has passed, or else since the restore.
    #[must_use]
    pub fn consumes_since(&self) -> Option<Timestamp> {
        let consumes = |canary: &&CanaryStatus| matches!(canary.state, CanaryState::Running | CanaryState::Passed);
        let canary = self.canary.as_ref().filter(consumes);
        canary.and_then(|canary| canary.start_time.as_ref()).map(|at| at.0).or_else(|| self.restored_at())
    }

    /// When the replicas were restored; none while they are held, or when nothing was.
    #[must_use]
    pub fn restored_at(&self) -> Option<Timestamp> {
        Some(self.hold.as_ref()?.end_time.as_ref()?.0)
    }
}

/// The result of a run.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The final phase that follows once the replicas are restored.
    pub phase: Phase,
    /// Why the run ended so: one of the reasons that docs/reasons.md explains.
    pub reason: Reason,
    /// What happened, in one sentence of at most 100 characters.
    pub message: String,
    /// What it means for the consumers, and lists that are too long for the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// What a person has to do, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// One target: a workload of spec.targetRefs, and what the reset did with it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// The API group and version of the workload's kind.
    pub api_version: String,
    /// The kind of the workload.
    pub kind: String,
    /// The name of the workload.
    pub name: String,
    /// The workload's UID when the plan was made. Another workload under the same name is left
    /// alone.
    pub uid: String,
    /// The replica count right before the workload was first stopped, which will be restored. Of a
    /// KafkaConnector 0 when it was stopped, and otherwise 1.
    pub original_replicas: i32,
    /// Of a KafkaConnector: its spec.state right before it was first stopped, which will be
    /// restored; unset when the field was absent. Absent for every other kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_state: Option<String>,
    /// Whether the operator has begun to scale the workload to zero (of a KafkaConnector: to stop it).
    #[serde(default)]
    pub stop_requested: bool,
    /// Whether the operator has seen the workload at zero since then.
    #[serde(default)]
    pub stopped: bool,
    /// The replica count that an admission policy or a webhook stored in place of the requested
    /// zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overridden_replicas: Option<i32>,
    /// The replica count that the operator sets for the canary. Absent before the canary, and once the
    /// workload was at zero again or its original replica count was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_replicas: Option<i32>,
    /// How many times the operator scaled the workload down again because another controller or a
    /// user had scaled it up.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub scaled_up_by_others: i32,
    /// How the restore ended; absent until then. Original: the API server accepted the original replica
    /// count, or the original state of a KafkaConnector.
    /// NotStopped: the workload was never stopped. LeftAsScaledByOthers: another controller or a
    /// user had set another count, which stays. Gone: the workload does not exist any more, or its
    /// kind is not served. Replaced: another workload has its name and was left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = own_description)]
    pub restored: Option<Restored>,
    /// How many times the API server refused to restore the replica count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refusals: i32,
    /// The last refusal to restore the replica count. Absent when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_refusal: Option<RefusalStatus>,
    /// True when the Lease that records the hold could not be updated, because the API server
    /// refused it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub lease_left: bool,
    /// Since when the API server has not served the workload's kind in any version, while its
    /// replicas were to be restored. Absent while it serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind_gone_since: Option<MicroTime>,
    /// KEDA's ScaledObject that scales the workload. Absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaler: Option<AutoscalerStatus>,
    /// For how many seconds a pod must be ready before the next one starts (minReadySeconds), of a
    /// StatefulSet with podManagementPolicy OrderedReady. Absent when pods start together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered_min_ready_seconds: Option<i32>,
    /// How many of the workload's pods were ready when the operator last looked after the restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_pods: Option<i32>,
}

impl TargetStatus {
    /// Whether the operator has begun to stop the workload, and has not ended its restore.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.stop_requested && self.restored.is_none()
    }

    /// Whether it is a connector of Strimzi, by [`TargetRef::is_connector`]. Its originalState does not tell: a CRD of an earlier version
    /// removes that.
    #[must_use]
    pub fn is_connector(&self) -> bool {
        TargetRef::from(self).is_connector()
    }

    /// What will be restored, or was, in words.
    #[must_use]
    pub fn original_size(&self) -> String {
        size_in_words(self.original_replicas, self.original_state.as_deref())
    }

    /// A workload that was found, before anything is done with it.
    #[must_use]
    pub fn new(target: &TargetRef, uid: &str) -> Self {
        Self {
            api_version: target.api_version.clone(),
            kind: target.kind.clone(),
            name: target.name.clone(),
            uid: uid.to_owned(),
            original_replicas: 0,
            original_state: None,
            stop_requested: false,
            stopped: false,
            overridden_replicas: None,
            canary_replicas: None,
            scaled_up_by_others: 0,
            restored: None,
            refusals: 0,
            last_refusal: None,
            lease_left: false,
            kind_gone_since: None,
            autoscaler: None,
            ordered_min_ready_seconds: None,
            ready_pods: None,
        }
    }
}

impl From<&TargetStatus> for TargetRef {
    fn from(target: &TargetStatus) -> Self {
        Self::new(&target.api_version, &target.kind, &target.name)
    }
}

/// A refusal of the API server to restore the replica count of a target.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusalStatus {
    /// When the API server refused it.
    pub time: MicroTime,
    /// The resourceVersion of the workload then. When the workload changes, the operator tries
    /// again at once.
    pub resource_version: String,
    /// What the API server answered, up to 500 characters.
    pub message: String,
}

/// The ScaledObject that scales a target, and is paused while the target is held.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
pub struct AutoscalerStatus {
    /// The kind of the autoscaler, which is ScaledObject.
    pub kind: String,
    /// The name of the ScaledObject.
    pub name: String,
    /// True when the ScaledObject was already paused before this reset: it stays paused.
    #[serde(default, skip_serializing_if = "is_false")]
    pub paused_by_owner: bool,
    /// How many times this reset paused the ScaledObject. More than once means that the pause was
    /// removed meanwhile.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pauses: i32,
    /// When this reset last paused the ScaledObject, or tried to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_time: Option<MicroTime>,
    /// Whether KEDA has reported the ScaledObject as paused after that.
    #[serde(default, skip_serializing_if = "is_false")]
    pub paused: bool,
    /// True when the ScaledObject is no longer paused by this reset, or when another reset that
    /// still needs the target at zero has taken over the pause.
    #[serde(default, skip_serializing_if = "is_false")]
    pub resumed: bool,
    /// True when the ScaledObject is still paused because it could not be resumed; an Event on the
    /// target gives the reason and the command.
    #[serde(default, skip_serializing_if = "is_false")]
    pub left: bool,
}

/// How the restore of a target ended.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum Restored {
    /// The API server accepted the original replica count.
    Original,
    /// The workload was never stopped.
    NotStopped,
    /// Another controller or a user had set another replica count meanwhile, which stays.
    LeftAsScaledByOthers,
    /// The workload does not exist any more, or the API server has not served its kind for half a
    /// minute.
    Gone,
    /// Another workload has its name, and was left alone.
    Replaced,
    /// Another version of the operator has ended it, in a way that this one does not know.
    #[serde(other)]
    Unknown,
}

/// The times of the hold, during which the targets are at zero.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldStatus {
    /// When the operator began to stop the first target.
    pub start_time: MicroTime,
    /// When the replicas are restored at the latest: startTime plus spec.holdTimeout.
    pub deadline: MicroTime,
    /// When the last container of the targets' pods had terminated. Absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers_terminated_time: Option<MicroTime>,
    /// When the broker removes consumers that did not leave the group, if spec.sessionTimeout is
    /// theirs: containersTerminatedTime plus spec.sessionTimeout, or plus group.sessionTimeoutMs where
    /// that is longer. Absent where neither is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_end_time: Option<MicroTime>,
    /// When the group must be empty: containersTerminatedTime plus spec.drainTimeout, or the
    /// deadline when that is sooner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_deadline: Option<MicroTime>,
    /// When the broker reported the group empty. Absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_empty_time: Option<MicroTime>,
    /// When the replicas were restored. Absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<MicroTime>,
    /// The time from the first stop to the restore, in seconds, such as 12.3s. Absent until the
    /// restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downtime: Option<String>,
    /// When the consumers should have resumed: endTime plus spec.resumeTimeout. Absent until the
    /// restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_deadline: Option<MicroTime>,
    /// Until when the operator looks at the consumers and their offsets after the restore. Absent
    /// before the restore, and again as soon as the operator no longer looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched_until: Option<MicroTime>,
}

/// The canary.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryStatus {
    /// How far the canary is. Planned: it follows once the offsets were committed and read back. NotRun:
    /// no canary was possible; message says why. Running: the canary runs and has not passed yet. Passed
    /// and Failed: see spec.restore.canary. Unproven: the canary ended before the operator knew whether
    /// it passes or fails. Undoing and Undone: the canary failed, and the offsets from before the reset
    /// are being committed, or are committed again.
    #[schemars(transform = own_description)]
    pub state: CanaryState,
    /// Why the canary is in that state. When a container of it has crashed, with its exit code, and
    /// with reason and termination message where it has them.
    pub message: String,
    /// How many replicas of each target are restored first; a target that had fewer gets all of them.
    pub replicas: i32,
    /// When the API server had accepted the replica counts of the canary. Absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<MicroTime>,
    /// When the canary must have consumed: startTime plus spec.restore.canary.timeout, or the deadline of
    /// the hold when that is sooner. Absent until it has started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<MicroTime>,
    /// When the operator first saw that the canary had consumed past every target that has records. The
    /// canary passes five seconds later, even past its deadline, if none of its containers has crashed by
    /// then and its consumers are in the group, because a consumer that crashes may commit while it
    /// exits. Absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven_time: Option<MicroTime>,
    /// When the canary ended. Absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<MicroTime>,
    /// On how many partitions the canary has committed past the target.
    #[serde(default)]
    pub partitions_consumed: i64,
    /// On how many partitions there are records for it to consume. The others prove nothing.
    #[serde(default)]
    pub partitions_with_records: i64,
    /// How many commits the operator had sent before the undo; status.commits includes them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub commits_before_undo: i32,
    /// How many of these the broker had refused for every partition.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub commits_refused_before_undo: i32,
}

/// How far the canary is.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, JsonSchema)]
pub enum CanaryState {
    /// It follows once the offsets were committed and read back.
    Planned,
    /// No canary was possible.
    NotRun,
    /// It has to consume past the targets.
    Running,
    /// It has passed: see spec.restore.canary.
    Passed,
    /// It has failed: see spec.restore.canary.
    Failed,
    /// The canary ended before the operator knew whether it passes or fails.
    Unproven,
    /// It failed, and the offsets from before the reset are being committed.
    Undoing,
    /// It failed, and the offsets from before the reset are committed again.
    Undone,
    /// A state that another version of the operator has written and this one does not know.
    #[serde(other)]
    Unknown,
}

/// The consumer group.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupStatus {
    /// The id of the Kafka cluster, as the cluster reports it. Resets of one group on one cluster
    /// run one after the other, by whatever addresses they reach its brokers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// The type of the group: Classic, Consumer (the new protocol of KIP-848) or Unknown.
    #[serde(rename = "type")]
    pub group_type: String,
    /// The group's consumer.session.timeout.ms on the broker, in milliseconds: for that long the broker
    /// keeps a member that did not leave. Read when the plan was made, for a group of type Consumer;
    /// absent for others, and where the broker does not say it (DescribeConfigs on the group is needed).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_timeout_ms: Option<i64>,
    /// The state of the group as the broker reports it, such as Stable or Empty.
    pub state: String,
    /// How many members the group had when the plan was made.
    pub members_before: i32,
    /// How many members are expected back after the restore: the members that ran in pods of the
    /// targets when the plan was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_members: Option<i32>,
    /// How many replicas the targets had when these members were counted: where another count is
    /// wanted after the restore, as many members are expected in proportion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_of_replicas: Option<i32>,
    /// How many members the group had when the operator last looked.
    pub members: i32,
    /// The members when the operator last looked, up to ten of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub member_details: Vec<MemberStatus>,
}

/// One member of the consumer group.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// The client.id of the member.
    pub client_id: String,
    /// The group.instance.id of a static member, which does not leave the group when it stops.
    /// Absent for other members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// The address from which the member connects to the broker.
    pub host: String,
    /// The pod of the targets that had this address. Absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
}

/// One thing that the operator sets out to do.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// The kind of action: Stop, RemoveMembers, Commit, Canary, Restore, Claim and Release (of the
    /// workload's Lease), Pause and Resume (of its ScaledObject), or Settle (the receipt).
    #[serde(rename = "type")]
    pub kind: ActionKind,
    /// The workload that the action is for, or how many partitions.
    pub subject: String,
    /// When the operator began to do it.
    pub time: MicroTime,
}

/// The kind of action.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum ActionKind {
    /// Scale a workload to zero.
    Stop,
    /// Remove the remaining members from the group.
    RemoveMembers,
    /// Commit offsets.
    Commit,
    /// Scale a workload to the replica count of the canary.
    Canary,
    /// Restore the replicas of a workload.
    Restore,
    /// Write into the workload's Lease that the workload is held, and its original replica count.
    Claim,
    /// Remove the claim from the workload's Lease.
    Release,
    /// Pause the ScaledObject that scales a workload.
    Pause,
    /// Resume the ScaledObject that scales a workload.
    Resume,
    /// Write into the receipt how the run ended, or delete the receipt when nothing was committed.
    Settle,
    /// An action of another version of the operator, which this one does not know.
    #[serde(other)]
    Unknown,
}

/// The receipt, in a ConfigMap.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptStatus {
    /// The name of the ConfigMap, in this namespace. It has no owner and remains when the
    /// OffsetReset is deleted.
    pub config_map: String,
    /// Whether the receipt already has the outcome of the run.
    #[serde(default, skip_serializing_if = "is_false")]
    pub settled: bool,
}

/// The report, in a ConfigMap.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportStatus {
    /// The name of the ConfigMap, in this namespace. It is deleted together with the OffsetReset.
    pub config_map: String,
    /// Whether the files are compressed: their names then end in .gz, and they are in binaryData.
    #[serde(default, skip_serializing_if = "is_false")]
    pub compressed: bool,
}

/// What can be said in advance about the replay: how long the group takes at least to catch up, and
/// which records may expire before the consumers reach them.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForecastStatus {
    /// When the rates were read.
    pub time: MicroTime,
    /// The forecast for the whole plan.
    pub total: ForecastOf,
    /// Each topic of the plan, up to 50; the one that takes longest comes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub topics: Vec<ForecastOf>,
    /// How many topics of the plan are not in `topics`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub topics_omitted: i32,
}

/// The forecast for a topic, or for the whole plan. Records are counted as differences of offsets.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForecastOf {
    /// The topic. Absent in the sum over the whole plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// How many records lie between the targets and the ends of the logs: those to replay, and those
    /// that the group has not consumed yet.
    #[serde(default)]
    pub backlog: i64,
    /// How many records were produced in a minute, over the last ten minutes. Absent when it was not
    /// read: only a dry run and a reset with limits.maxCatchUp read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub produced_per_minute: Option<i64>,
    /// How many records the group consumed in a minute, over the partitions on which it had a backlog
    /// while that was measured. Absent when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumed_per_minute: Option<i64>,
    /// How long the group takes at least to catch up after the restore, such as 1h50m, on the
    /// partition that takes longest. A lower bound on a condition: consumers do not consume faster,
    /// and producers do not produce less, than while the rates were measured. Absent when nothing can
    /// be said; see unknown and neverCatchesUp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_up_at_least: Option<String>,
    /// True when at least as much is produced on a partition as the group consumes there: at these
    /// rates it never catches up.
    #[serde(default, skip_serializing_if = "is_false")]
    pub never_catches_up: bool,
    /// Why nothing can be said about how long the group takes, at least on some partitions. NoMembers:
    /// the group has none, or is rebalancing. NoBacklog: the group had consumed everything, or never
    /// committed, so its consumers were not seen at full speed. FewCommits: it committed less than
    /// twice within 12 seconds. Compacted: offsets do not tell how many records a compacted topic
    /// still has. NotMeasured: only a dry run and a reset with limits.maxCatchUp measure. Absent when
    /// it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = own_description)]
    pub unknown: Option<ForecastUnknown>,
    /// How many records from the targets on may be deleted by retention.ms before the consumers reach
    /// them: it is over for them already, or will be within holdTimeout.
    #[serde(default, skip_serializing_if = "is_none_of_them")]
    pub expiring: i64,
    /// When retention.ms is over for the first record at a target: from then on the broker may delete
    /// it. Known for targets that are found by time; absent otherwise, and where retention.ms is
    /// unlimited or may not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_expiry_time: Option<MicroTime>,
}

/// Why nothing can be said about how long the group takes to catch up.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
pub enum ForecastUnknown {
    /// The group has no members, or is rebalancing.
    NoMembers,
    /// The group had no backlog.
    NoBacklog,
    /// The group committed too rarely.
    FewCommits,
    /// The topic is compacted.
    Compacted,
    /// It was not measured.
    NotMeasured,
    /// Something that another version of the operator has written and this one does not know.
    #[serde(other)]
    Unknown,
}

impl ForecastUnknown {
    /// Why the time to catch up is not known, as the end of a sentence.
    #[must_use]
    pub fn because(self) -> &'static str {
        match self {
            Self::NoMembers => "the group has no members, or is rebalancing",
            Self::NoBacklog => "the group had consumed everything, so its consumers were not seen at full speed",
            Self::FewCommits => "the group committed less than twice within 12 seconds",
            Self::Compacted => "offsets do not tell how many records a compacted topic still has",
            Self::NotMeasured | Self::Unknown => "it could not be measured",
        }
    }
}
