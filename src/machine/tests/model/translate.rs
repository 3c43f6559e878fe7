//! The little world of the model in the machine's own words.

use std::sync::LazyLock;

use jiff::SignedDuration;

use super::{
    scenarios::{Aim, Scenario},
    world::{Deed, Group, LOG_END, Lease, Look, NO_OFFSET, Reply, USUAL, Way, Workload, code, of_code},
};
use crate::{
    api::{ActionKind, OffsetResetSpec, Position},
    machine::{
        self,
        decision::{Answer, Effect},
        facts::{
            Bounds, Claim, Committed, ForeignPod, GroupState, Hold, KafkaErrorKind, PerPartition, PlanSeen, Pod, Rollout, Seen,
            Tasks, WorkloadDetails,
        },
        request::{Canary, Goal, Request, Work},
        tests::{at, error, group_in, pod, request, tp},
    },
};

/// How long consumers may be held, and how long the group may take, in seconds.
pub const HOLD_TIMEOUT: i64 = 200;
pub const DRAIN_TIMEOUT: i64 = 60;

/// How many replicas a canary has, and how long it may take, in seconds.
pub const CANARY: u8 = 1;
const CANARY_TIMEOUT: i64 = 40;

pub fn looked<T, U>(look: Look<T>, known: impl Fn(T) -> U) -> Vec<Seen<U>> {
    match look {
        Look::Not => vec![],
        Look::Unknown => vec![Seen::Unknown("no route to host".into())],
        Look::Missing => vec![Seen::Missing],
        Look::Known(found) => vec![Seen::Known(known(found))],
    }
}

/// The states of a connector: of all that is not stopped the machine's own count is 1.
const STATES: [&str; 3] = ["stopped", "paused", "running"];

/// The replicas of a workload, and the state of a connector, behind the count of the model.
pub fn size_of(count: u8, connector: bool) -> (i32, Option<String>) {
    if connector { (count.min(1).into(), Some(STATES[usize::from(count)].to_owned())) } else { (count.into(), None) }
}

/// The count of the model for these.
pub fn count_of(replicas: i32, state: Option<&str>) -> u8 {
    let by_state = |state| STATES.iter().position(|known| *known == state).unwrap();
    state.map_or_else(|| u8::try_from(replicas).unwrap(), |state| u8::try_from(by_state(state)).unwrap())
}

pub fn workload_of(workload: Workload) -> machine::facts::Workload {
    let (replicas, state) = size_of(workload.replicas, workload.connector);
    let runs = |n| Pod { ready_since: Some(at(-1000)), restarted: workload.restarted && n == 0, ..pod(&format!("p{n}"), false) };
    let tasks = || Pod {
        tasks: Some(Tasks { client_id: "tasks".into(), reported: "they run".into() }),
        ..if workload.pods > 0 { runs(0) } else { pod("p0", true) }
    };
    machine::facts::Workload {
        uid: format!("w-{}", workload.uid),
        resource_version: "seen".into(),
        replicas,
        state,
        refusal: None,
        overridden: None,
        pods: if workload.connector { vec![tasks()] } else { (0..workload.pods).map(runs).collect() },
        details: WorkloadDetails {
            rollout: if workload.rollout {
                Rollout::Progressing { pods: "1 of 2 pods has its newest revision".into(), deadline: None }
            } else {
                Rollout::Complete
            },
            foreign_pods: workload.foreign.then(foreign_pod).into_iter().collect(),
            ..WorkloadDetails::default()
        },
    }
}

fn foreign_pod() -> ForeignPod {
    ForeignPod { name: "job".into(), controller: None, ips: vec!["10.8.8.8".into()], running_since: None }
}

pub fn hold_of(lease: Lease) -> Hold {
    let codes = (0..8).filter(|code| lease.is_claimed_by(*code));
    let claim = |code| {
        let (reset, _) = of_code(code);
        Claim { uid: uid_of(code), name: name_of(reset), key: key_of(reset) }
    };
    let (replicas, state) = size_of(lease.replicas, lease.connector);
    Hold {
        version: "seen".into(),
        workload: "Deployment/consumer".into(),
        uid: format!("w-{}", lease.uid),
        replicas,
        state,
        canary: Some(lease.canary).filter(|count| *count > 0).map(Into::into),
        since: at(lease.since.into()),
        until: at(lease.until.into()),
        claims: codes.map(claim).collect(),
    }
}

pub fn effect_of(scenario: &Scenario, deed: Deed) -> Effect {
    match deed {
        Deed::AddFinalizer => Effect::AddFinalizer,
        Deed::RemoveFinalizer => Effect::RemoveFinalizer,
        Deed::Scale { replicas, way } => Effect::Scale {
            target: 0,
            resource_version: "seen".into(),
            replicas: size_of(replicas, scenario.connector).0,
            state: size_of(replicas, scenario.connector).1.filter(|_| way != Way::Stop),
            kind: match way {
                Way::Stop => ActionKind::Stop,
                Way::Canary => ActionKind::Canary,
                Way::Restore => ActionKind::Restore,
            },
        },
        Deed::Claim { lease, .. } => Effect::Claim { target: 0, hold: hold_of(lease) },
        Deed::Release { lease } => Effect::Release { target: 0, hold: hold_of(lease) },
        Deed::Commit { offset: NO_OFFSET, .. } => Effect::RemoveOffsets(vec![tp(0)]),
        Deed::Commit { offset, .. } => Effect::Commit(vec![(tp(0), Committed { offset: offset.into(), metadata: "".into() })]),
        Deed::Settle { keep } => Effect::SettleReceipt { keep },
    }
}

pub fn answer_of(reply: Reply) -> Answer {
    let beside = || error(KafkaErrorKind::UnknownMember);
    match reply {
        Reply::Done => Answer::Done,
        Reply::Stale => Answer::Stale,
        Reply::Refused => Answer::Refused("another client's".into()),
        Reply::Overridden(count) => Answer::Overridden(count.into()),
        Reply::Committed => Answer::Committed(one(())),
        Reply::BesideMembers => Answer::Committed([(tp(0), Err(beside()))].into()),
        Reply::Unreachable => Answer::CommitFailed(error(KafkaErrorKind::Unreachable)),
        Reply::Timeout => Answer::CommitFailed(error(KafkaErrorKind::Timeout)),
    }
}

pub fn one<T>(value: T) -> PerPartition<T> {
    [(tp(0), Ok(value))].into()
}

pub fn committed(group: Group) -> Option<Committed> {
    let metadata = if group.marker == 0 { String::new() } else { marker_of(group.marker) };
    (group.offset != NO_OFFSET).then(|| Committed { offset: group.offset.into(), metadata: metadata.into() })
}

pub fn described(group: Group) -> machine::facts::Group {
    let members = usize::from(group.joined) * usize::from(USUAL) + usize::from(group.stranger);
    let mut described = group_in(if members == 0 { GroupState::Empty } else { GroupState::Stable }, members);
    if let machine::facts::Group::Found(found) = &mut described
        && group.stranger
        && let Some(stranger) = found.members.last_mut()
    {
        stranger.host = "10.9.9.9".into();
    }
    described
}

pub fn plan_seen(scenario: &Scenario, group: Group, log_start: u8) -> PlanSeen {
    PlanSeen {
        cluster_id: scenario.cluster_id.then(|| "cluster-1".to_owned()),
        group: described(group),
        committed: one(committed(group)),
        topics: [("orders".to_owned(), Ok(vec![0]))].into(),
        bounds: one(Bounds { start: log_start.into(), end: LOG_END.into() }),
        ..crate::machine::tests::plan_seen()
    }
}

pub static SPEC: LazyLock<OffsetResetSpec> = LazyLock::new(|| {
    let spec =
        serde_json::json!({"targetRefs": [{"name": "consumer"}], "kafka": {"bootstrapServers": "kafka:9092"}, "group": "g"});
    serde_json::from_value(spec).unwrap()
});

pub fn request_of(scenario: &Scenario, reset: usize, run: u8) -> Request {
    let goal = match scenario.aim {
        Aim::Offset(offset) => Goal::Offset(offset.into()),
        Aim::Removal => Goal::Position(Position::None),
        Aim::Back(by) => Goal::ShiftBy(-i64::from(by)),
    };
    let mut request = Request {
        namespace: namespace_of(scenario, reset).into(),
        name: name_of(reset),
        key: key_of(reset),
        receipt: format!("receipt-{reset}"),
        group: format!("g{}", scenario.group_of(reset)),
        hold_timeout: SignedDuration::from_secs(HOLD_TIMEOUT),
        drain_timeout: SignedDuration::from_secs(DRAIN_TIMEOUT),
        canary: scenario.canary.map(|on_failure| Canary {
            replicas: CANARY.into(),
            timeout: SignedDuration::from_secs(CANARY_TIMEOUT),
            on_failure,
        }),
        marker: marker_of(code(reset, run)),
        ..request()
    };
    if let Work::Entries(entries) = &mut request.work {
        entries[0].goal = goal;
    }
    if !scenario.has_workload(reset) {
        request.targets.clear();
    }
    request
}

pub fn namespace_of(scenario: &Scenario, reset: usize) -> &'static str {
    if scenario.has_workload(reset) { "shop" } else { "elsewhere" }
}

pub fn name_of(reset: usize) -> String {
    format!("r{reset}")
}

pub fn key_of(reset: usize) -> String {
    format!("key-{reset}")
}

pub fn uid_of(code: u8) -> String {
    format!("uid-{code}")
}

pub fn code_of(uid: &str) -> u8 {
    uid.strip_prefix("uid-").unwrap().parse().unwrap()
}

pub fn marker_of(code: u8) -> String {
    format!("offset-reset/{}", uid_of(code))
}
