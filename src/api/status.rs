//! What the operator records. Cluster admins read this and need nothing else; the operator itself remembers nothing that is not here.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DriftStatus, PartitionStatus, Reason, ReceiptStatus, ReportStatus, TargetRef, Totals};

/// What happened and what is happening.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OffsetResetStatus {
    /// The generation of the spec that this status is about; -1 until the operator has seen the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Where the reset is on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,

    /// Why it is there: one of the documented reasons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,

    /// What that means for the consumers, and what to do, in one or two sentences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,

    /// When the operator took it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,

    /// When it ended, whatever the outcome: wait for this one, and then read the phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,

    /// When the phase began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase_start_time: Option<MicroTime>,

    /// What the run has come to; decided before the replicas are put back, and final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,

    /// The milestones Planned, ConsumersStopped, GroupEmpty, OffsetsReset, ConsumersRestored, ConsumersResumed,
    /// the outcome Complete or Failed, and Ready, Reconciling, Stalled for tools that wait.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// This is about a dry run: nothing was or will be touched.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,

    /// Each target with the replicas that it gets back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetStatus>,

    /// The time at zero. Absent while nothing was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldStatus>,

    /// The group as the broker last described it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupStatus>,

    /// Counts over all partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totals: Option<Totals>,

    /// When the plan was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_time: Option<Time>,

    /// What is worth a look before the plan is carried out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub warnings: Vec<String>,

    /// How the plan differs from the one of the dry run before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftStatus>,

    /// The same with Kafka's own tool, for a group whose consumers have been stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equivalent_command: Option<String>,

    /// Where the whole report is: every partition, and before and after as files for kafka-consumer-groups --reset-offsets --from-file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportStatus>,

    /// The receipt: what remains when this OffsetReset is deleted, so that the same name and spec never move offsets twice. Written before the
    /// first commit; kept when anything was or may have been committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptStatus>,

    /// How many times members that were left in the group were taken out of it, see remainingMembers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub member_removals: i32,

    /// When the plan was checked against the logs for the last time and became final, right before the first commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_plan_time: Option<MicroTime>,

    /// How many times a commit was sent.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub commits: i32,

    /// How many of these commits the broker has refused for every partition, so that nothing was set.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub commits_refused: i32,

    /// The partitions of the plan: what stood there before, what was asked for, what was set. When they are many, those that failed or
    /// were clamped come first, and the rest is only in the report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 250))]
    pub partitions: Vec<PartitionStatus>,

    /// How many partitions of the plan are not listed here; all are in the report.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub partitions_omitted: i32,

    /// What the operator was about to do when it last wrote this. Written before it is done, so that no
    /// operator that has fallen behind can act on an old picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_action: Option<Action>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_zero(n: &i32) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
pub(super) fn is_false(yes: &bool) -> bool {
    !*yes
}

/// The way of a reset.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, JsonSchema)]
pub enum Phase {
    /// It waits for its turn.
    Pending,
    /// The plan is made while the consumers run.
    Planning,
    /// The targets are scaled to zero, and their containers end.
    Stopping,
    /// The group becomes empty.
    Draining,
    /// The offsets are committed and read back.
    Resetting,
    /// The replicas are put back.
    Restoring,
    /// Ended: offsets read back, replicas accepted.
    Succeeded,
    /// Ended without having done what was asked; the consumers are back.
    Failed,
    /// Ended because the object was deleted; the consumers are back.
    Cancelled,
    /// A dry run has ended: the plan stands, and nothing was touched.
    Planned,
}

impl Phase {
    /// Whether nothing will be stopped or committed any more.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Planned => true,
            Self::Pending | Self::Planning | Self::Stopping | Self::Draining | Self::Resetting | Self::Restoring => false,
        }
    }

    /// Whether consumers may be at zero.
    #[must_use]
    pub fn may_hold(self) -> bool {
        match self {
            Self::Stopping | Self::Draining | Self::Resetting | Self::Restoring => true,
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
            Self::Restoring => "Restoring",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
            Self::Planned => "Planned",
        }
    }
}

/// What a run has come to.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The terminal phase that follows once the replicas are back.
    pub phase: Phase,
    /// Why.
    pub reason: Reason,
    /// In words.
    pub message: String,
}

/// One target.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// The API version of its kind.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its UID when the plan was made: another workload under the same name is left alone.
    pub uid: String,
    /// The replicas it had right before it was first stopped, and gets back.
    pub original_replicas: i32,
    /// Whether scaling it to zero was begun.
    #[serde(default)]
    pub stop_requested: bool,
    /// Whether it was seen at zero since.
    #[serde(default)]
    pub stopped: bool,
    /// The replica count that an admission policy or webhook has put in the place of the requested zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overridden_replicas: Option<i32>,
    /// How many times it had to be scaled down again because somebody had scaled it up.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub scaled_up_by_others: i32,
    /// How the restore ended; absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
    /// How many times the API server has refused to put its replicas back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refusals: i32,
    /// The Lease that says who holds it could not be brought up to date: the API server refused it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub lease_left: bool,
    /// Since when, while its replicas were to be put back, the API server has served its kind under no version; absent while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind_gone_since: Option<MicroTime>,
    /// The ScaledObject that scales it, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaler: Option<AutoscalerStatus>,
    /// How many of its pods were ready when last looked at after the restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_pods: Option<i32>,
}

impl TargetStatus {
    /// A target that was found, before anything was done with it.
    #[must_use]
    pub fn new(target: &TargetRef, uid: &str) -> Self {
        Self {
            api_version: target.api_version.clone(),
            kind: target.kind.clone(),
            name: target.name.clone(),
            uid: uid.to_owned(),
            original_replicas: 0,
            stop_requested: false,
            stopped: false,
            overridden_replicas: None,
            scaled_up_by_others: 0,
            restored: None,
            refusals: 0,
            lease_left: false,
            kind_gone_since: None,
            autoscaler: None,
            ready_pods: None,
        }
    }
}

/// What scales a target by itself, and is paused while the target is held.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_excessive_bools, reason = "facts that are independent of each other")]
pub struct AutoscalerStatus {
    /// Its kind: ScaledObject.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Somebody else had paused it before: it stays as it is.
    #[serde(default, skip_serializing_if = "is_false")]
    pub paused_by_owner: bool,
    /// How many times this reset has paused it: more than once when somebody has taken the pause off meanwhile.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pauses: i32,
    /// When this reset has paused it last, or tried to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_time: Option<MicroTime>,
    /// It was seen paused since.
    #[serde(default, skip_serializing_if = "is_false")]
    pub paused: bool,
    /// It is not paused by this reset any more, or a reset that still needs the target at zero sees to it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub resumed: bool,
    /// It could not be let go and is still paused; an Event on the target says why, and how to do it by hand.
    #[serde(default, skip_serializing_if = "is_false")]
    pub left: bool,
}

/// How the restore of a target ended.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum Restored {
    /// It has its original replicas.
    Original,
    /// It was never stopped.
    NotStopped,
    /// Somebody else had given it another count meanwhile; that one stands.
    LeftAsScaledByOthers,
    /// It does not exist any more, or the API server has not served its kind for half a minute.
    Gone,
    /// Another workload stands under its name; that one was left alone.
    Replaced,
}

/// The time at zero.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldStatus {
    /// When the first target was about to be stopped.
    pub start_time: MicroTime,
    /// When the replicas come back at the latest: the start plus holdTimeout.
    pub deadline: MicroTime,
    /// When the last container had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers_terminated_time: Option<MicroTime>,
    /// When consumers that did not leave the group are forgotten by the broker, if sessionTimeout is what they have:
    /// the end of the last container plus sessionTimeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_end_time: Option<MicroTime>,
    /// When the group must be empty: the end of the last container plus drainTimeout, or the hold's deadline when that is sooner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_deadline: Option<MicroTime>,
    /// When the broker called the group free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_empty_time: Option<MicroTime>,
    /// When the replicas were put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<MicroTime>,
    /// From the first stop to the restore, in seconds, such as 12.3s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downtime: Option<String>,
}

/// The group.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupStatus {
    /// The id that the Kafka cluster gives itself: resets of one group on one cluster run one after the other, however they name its brokers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Classic, Consumer (KIP-848) or Unknown.
    #[serde(rename = "type")]
    pub group_type: String,
    /// The broker's word for its state.
    pub state: String,
    /// How many members it had when the plan was made.
    pub members_before: i32,
    /// How many members are expected back after the restore: those that ran in pods of the targets when the plan was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_members: Option<i32>,
    /// How many members it had when last looked at.
    pub members: i32,
    /// The members when last looked at; the first ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub member_details: Vec<MemberStatus>,
}

/// A member of the group.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Its client.id.
    pub client_id: String,
    /// Its group.instance.id, when it is a static member: those do not leave when they stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// The address from which it spoke to the broker.
    pub host: String,
    /// The pod of the targets that had this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
}

/// Something that the operator does.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// What.
    #[serde(rename = "type")]
    pub kind: ActionKind,
    /// On what: a workload, or how many partitions.
    pub subject: String,
    /// When it was about to be done.
    pub time: MicroTime,
}

/// The kinds of things that the operator does.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum ActionKind {
    /// Scale a workload to zero.
    Stop,
    /// Take members that are left out of the group.
    RemoveMembers,
    /// Commit offsets.
    Commit,
    /// Put a workload's replicas back.
    Restore,
    /// Write into the workload's Lease that it is held, and from how many replicas.
    Claim,
    /// Take the claim out of the workload's Lease.
    Release,
    /// Pause the ScaledObject that scales a workload.
    Pause,
    /// Let go the ScaledObject that scales a workload.
    Resume,
    /// Say in the receipt how the run has ended, or delete it when nothing was committed.
    Settle,
}
