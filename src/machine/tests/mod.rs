//! Tables over the whole machine, and a simulated world that it must always find its way out of.

mod autoscalers;
mod canary;
mod connectors;
mod edges;
mod finished;
mod goals;
mod holds;
pub(super) mod messages;
mod model;
mod plans;
mod pure;
mod receipts;
mod shared;
mod steps;
mod targets;
mod turns;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

use super::{
    facts::{
        Access, AfterResetSeen, Bounds, Claim, CommitSeen, Committed, Denial, ForecastSeen, Group, GroupDescription, GroupMember,
        GroupState, GroupType, Hold, KafkaError, KafkaErrorKind, KafkaSeen, Metadata, Observed, PerPartition, PlanSeen, Pod,
        ScaledObject, ScaledObjectSeen, Seen, TopicPartition, Workload, WorkloadDetails,
    },
    request::{Entry, Goal, Partitions, Request, Scope, Work},
};
use crate::api::{
    HoldStatus, IsolationLevel, OffsetResetStatus, OutOfRange, Outcome, PartitionOutcome, PartitionStatus, Phase, Reason,
    Restored, TargetRef, TargetStatus,
};

pub(super) const MARKER: &str = "offset-reset/shop/replay/uid-1";

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

pub(super) fn micro(seconds: i64) -> MicroTime {
    MicroTime(at(seconds))
}

/// A request to take both partitions of `orders` to offset 10, with one Deployment to stop.
pub(super) fn request() -> Request {
    Request {
        namespace: "shop".into(),
        name: "replay".into(),
        key: "key".into(),
        receipt: "replay-receipt-key".into(),
        targets: vec![TargetRef::new("apps/v1", "Deployment", "consumer")],
        kafka: crate::api::KafkaSpec { bootstrap_servers: Some("kafka:9092".into()), ..Default::default() },
        group: "g".into(),
        work: Work::Entries(vec![Entry {
            scope: Scope::Topic("orders".into()),
            partitions: Partitions::All,
            goal: Goal::Offset(10),
        }]),
        lines: vec![],
        out_of_range: OutOfRange::Clamp,
        max_replay: None,
        max_skip: None,
        max_catch_up: None,
        dry_run: false,
        suspended: false,
        not_after: None,
        isolation_level: IsolationLevel::ReadUncommitted,
        allow_new_group: false,
        allow_no_members: false,
        remaining_members: crate::api::RemainingMembers::Wait,
        session_timeout: Some(SignedDuration::from_secs(10)),
        drain_timeout: SignedDuration::from_secs(120),
        hold_timeout: SignedDuration::from_secs(600),
        resume_timeout: None,
        canary: None,
        marker: MARKER.into(),
    }
}

pub(super) fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

pub(super) fn error(kind: KafkaErrorKind) -> KafkaError {
    KafkaError::new(kind, "kafka's words")
}

pub(super) fn group_in(state: GroupState, members: usize) -> Group {
    let member = |n: usize| GroupMember {
        member_id: format!("m{n}"),
        client_id: "consumer".into(),
        instance_id: None,
        host: format!("10.0.0.{n}"),
        assigned: 1,
    };
    let (group_type, assignor) = (GroupType::Classic, "range".to_owned());
    Group::Found(GroupDescription {
        group_type,
        state,
        assignor,
        members: (0..members).map(member).collect(),
        assigned_topics: Some(BTreeSet::from(["orders".to_owned()])),
    })
}

pub(super) fn per_partition<T: Clone>(value: &Result<T, KafkaError>) -> PerPartition<T> {
    [tp(0), tp(1)].into_iter().map(|at| (at, value.clone())).collect()
}

#[allow(clippy::unnecessary_wraps, reason = "as the answers are")]
pub(super) fn committed(offset: i64, metadata: &str) -> Result<Option<Committed>, KafkaError> {
    Ok(Some(Committed { offset, metadata: metadata.into() }))
}

/// A commit of ours.
pub(super) fn marked(offset: i64) -> Committed {
    Committed { offset, metadata: MARKER.into() }
}

pub(super) fn pod(name: &str, terminated: bool) -> Pod {
    Pod {
        name: name.into(),
        ips: (0..5).map(|n| format!("10.0.0.{n}")).collect(),
        node_ips: vec![],
        node: None,
        deletion: None,
        terminated,
        ready: !terminated,
        crashed: false,
        restarted: false,
        exited: false,
        last_exit: None,
        ready_since: None,
        grace: jiff::SignedDuration::from_secs(30),
        tasks: None,
    }
}

pub(super) fn workload(replicas: i32, pods: Vec<Pod>) -> Seen<Workload> {
    Seen::Known(Workload {
        uid: "w-1".into(),
        resource_version: "7".into(),
        replicas,
        state: None,
        refusal: None,
        overridden: None,
        pods,
        details: WorkloadDetails::default(),
    })
}

pub(super) fn running() -> Seen<Workload> {
    workload(3, vec![pod("a", false), pod("b", false), pod("c", false)])
}

pub(super) fn gone() -> Seen<Workload> {
    workload(0, vec![])
}

/// The Lease of the workload with our claim, from three replicas.
pub(super) fn lease() -> Hold {
    Hold {
        version: "1".into(),
        workload: "Deployment/consumer".into(),
        uid: "w-1".into(),
        replicas: 3,
        canary: None,
        state: None,
        since: at(0),
        until: at(600),
        claims: vec![claim("uid-1")],
    }
}

pub(super) fn held() -> Seen<Hold> {
    Seen::Known(lease())
}

pub(super) fn claim(uid: &str) -> Claim {
    Claim { uid: uid.into(), name: format!("name-of-{uid}"), key: "key".into() }
}

/// The ScaledObject of the Deployment, which is not paused.
pub(super) fn scaled_object() -> ScaledObject {
    ScaledObject {
        name: "orders".into(),
        resource_version: "5".into(),
        paused: false,
        ours: false,
        fixed_replicas: None,
        acknowledged: false,
        refusal: None,
    }
}

pub(super) fn seen(target: Seen<Workload>, kafka: KafkaSeen) -> Observed {
    Observed {
        uid: "uid-1".into(),
        group: "g".into(),
        deleting: false,
        finalizer: true,
        generation: Some(1),
        time_to_live: None,
        uninstalling: false,
        blocker: None,
        others: vec![],
        report_lost: None,
        receipt: None,
        targets: vec![target],
        holds: vec![held()],
        unscalable: vec![],
        autoscalers: vec![],
        kafka,
        foreign_pods: vec![],
        undo: None,
    }
}

pub(super) fn plan_seen() -> PlanSeen {
    PlanSeen {
        cluster_id: Some("cluster-1".into()),
        group: group_in(GroupState::Stable, 3),
        session_timeout: None,
        access: Access {
            group_read: Some(true),
            group_delete: Some(true),
            topics_read: BTreeMap::from([("orders".to_owned(), Some(true)), ("payments".to_owned(), Some(true))]),
            topic_ids: BTreeMap::new(),
        },
        committed: per_partition(&committed(50, "")),
        sources: BTreeMap::new(),
        undone: None,
        topics: BTreeMap::from([("orders".to_owned(), Ok(vec![0, 1]))]),
        bounds: per_partition(&Ok(Bounds { start: 0, end: 100 })),
        stable_ends: BTreeMap::new(),
        times: BTreeMap::new(),
        forecast: ForecastSeen::default(),
    }
}

pub(super) fn commit_seen(group: Group, stands: &Result<Option<Committed>, KafkaError>) -> KafkaSeen {
    KafkaSeen::ForCommit(CommitSeen {
        bounds: per_partition(&Ok(Bounds { start: 0, end: 100 })),
        stable_ends: BTreeMap::new(),
        committed: per_partition(stands),
        topic_ids: BTreeMap::new(),
        group,
    })
}

pub(super) fn after_reset(group: Group, stands: &Result<Option<Committed>, KafkaError>) -> KafkaSeen {
    KafkaSeen::AfterReset(AfterResetSeen {
        committed: per_partition(stands),
        stable_ends: BTreeMap::new(),
        bounds: per_partition(&Ok(Bounds { start: 0, end: 100 })),
        group,
    })
}

pub(super) fn planned_partition(partition: i32) -> PartitionStatus {
    PartitionStatus {
        topic: "orders".into(),
        partition,
        topic_id: None,
        before: Some(50),
        before_metadata: None,
        before_metadata_base64: None,
        requested_position: None,
        requested_shift: None,
        requested_offset: Some(10),
        requested_timestamp: None,
        matched_timestamp: None,
        log_start: 0,
        log_end: 100,
        target_offset: Some(10),
        target_metadata: None,
        target_metadata_base64: None,
        metadata_not_stored: false,
        reason_not_stored: false,
        headroom: 10,
        replayed: 40,
        skipped: 0,
        clamped: None,
        after: None,
        overwritten: None,
        undone: None,
        outcome: PartitionOutcome::Planned,
        message: None,
    }
}

/// The status of a reset that was stopped at 0 s, whose containers ended at 5 s, and that is in
/// `phase` since then.
pub(super) fn status_in(phase: Phase) -> OffsetResetStatus {
    let held = !matches!(phase, Phase::Pending | Phase::Planning);
    let stopped = held && phase != Phase::Stopping;
    OffsetResetStatus {
        observed_generation: Some(1),
        phase: Some(phase),
        start_time: Some(Time(at(0))),
        phase_start_time: Some(micro(0)),
        targets: if held { vec![target_status(stopped)] } else { vec![] },
        hold: held.then(|| HoldStatus {
            start_time: micro(0),
            deadline: micro(600),
            containers_terminated_time: stopped.then(|| micro(5)),
            session_end_time: stopped.then(|| micro(15)),
            drain_deadline: stopped.then(|| micro(125)),
            group_empty_time: None,
            end_time: None,
            downtime: None,
            resume_deadline: None,
            watched_until: None,
        }),
        partitions: if held { vec![planned_partition(0), planned_partition(1)] } else { vec![] },
        outcome: (phase == Phase::Restoring).then(|| Outcome {
            phase: Phase::Succeeded,
            reason: Reason::Succeeded,
            message: "done".into(),
            details: None,
            advice: None,
        }),
        ..OffsetResetStatus::default()
    }
}

pub(super) fn target_status(stopped: bool) -> TargetStatus {
    TargetStatus {
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        name: "consumer".into(),
        uid: "w-1".into(),
        original_replicas: 3,
        original_state: None,
        stop_requested: stopped,
        stopped,
        overridden_replicas: None,
        canary_replicas: None,
        scaled_up_by_others: 0,
        restored: None::<Restored>,
        refusals: 0,
        last_refusal: None,
        lease_left: false,
        kind_gone_since: None,
        autoscaler: None,
        ordered_min_ready_seconds: None,
        ready_pods: None,
    }
}
