//! Whether the consumers have resumed after the restore: the pods that their workloads want now are
//! ready, and the group has the members that go with them.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use crate::api::{ConditionType, HoldStatus, Reason, Restored, TargetStatus};
use crate::machine::{
    facts::{KafkaSeen, Pod, Seen, Workload, group},
    pass::Pass,
    plan::replica_owners,
    request::Request,
    text::{Message, count, name},
    time::{clock, later, roughly},
};

/// How long the consumers may take to resume unless the spec says otherwise.
const USUAL: SignedDuration = SignedDuration::from_mins(5);

/// How much longer for each pod of a workload whose pods start one after the other.
const PER_POD: i64 = 60;

/// The longest default: as long as a spec may say.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);

/// The least time for which the operator looks at consumers that have not resumed.
const WATCHED: SignedDuration = SignedDuration::from_hours(1);

/// How long the consumers may take to resume.
pub(in crate::machine) fn timeout(request: Option<&Request>, targets: &[TargetStatus]) -> SignedDuration {
    if let Some(given) = request.and_then(|request| request.resume_timeout) {
        return given;
    }
    let one_by_one = |target: &TargetStatus| {
        let each = target.ordered_min_ready_seconds?.max(0);
        Some(i64::from(target.original_replicas) * (PER_POD + i64::from(each)))
    };
    let slowest = targets.iter().filter_map(one_by_one).max().unwrap_or(0);
    USUAL.saturating_add(SignedDuration::from_secs(slowest)).min(LONGEST)
}

/// The conditions and times with which the watch begins, when the replicas are restored.
pub(in crate::machine) fn begin(pass: &mut Pass<'_>, request: Option<&Request>) {
    let deadline = later(pass.now, timeout(request, &pass.status.targets));
    let returning =
        pass.status.targets.iter().any(|target| target.restored == Some(Restored::Original) && target.original_replicas > 0);
    if returning {
        let message = format!(
            "The replica counts are restored; the pods and the group's members should be back by {}",
            clock(&MicroTime(deadline))
        );
        pass.condition(ConditionType::ConsumersResumed, None, Reason::WaitingForConsumers, message);
    } else {
        let message = "The reset restored no target from zero, so it expects no consumers";
        pass.condition(ConditionType::ConsumersResumed, Some(true), Reason::NoConsumersExpected, message);
    }
    let proves = super::consumption::begin(pass, deadline);
    let now = pass.now;
    if let Some(hold) = &mut pass.status.hold {
        let watched = if returning { deadline.max(later(now, WATCHED)) } else { deadline };
        hold.resume_deadline = Some(MicroTime(deadline));
        hold.watched_until = (returning || proves).then_some(MicroTime(watched));
    }
}

/// How long a pod with a restarted container has to be ready before it counts: a container that crashes
/// in a loop is ready for a moment each time.
const STEADY: SignedDuration = SignedDuration::from_mins(1);

/// What is seen of the consumers.
#[derive(Debug, Default)]
struct Comeback {
    /// What is missing; the texts do not change while nothing changes.
    missing: Vec<String>,
    /// The targets that were scaled to another count after the restore.
    scaled: Vec<String>,
    /// How many pods the restored targets want now.
    wanted: i64,
}

/// Looks at the consumers, and returns whether they have resumed. They may crash after that: while the
/// operator still watches, the condition then stops being True.
///
/// `late`: they should have by now. `over`: the operator looks for the last time.
pub(super) fn look(pass: &mut Pass<'_>, request: Option<&Request>, late: bool, over: bool) -> bool {
    if is_true(pass) && !restored(pass).any(|(_, workload)| crashing(workload).next().is_some()) {
        return true;
    }
    let may_have_no_members = request.is_none_or(|request| request.allow_no_members);
    let Comeback { missing, scaled, wanted } = comeback(pass, may_have_no_members);
    if missing.is_empty() {
        let (reason, message) = if wanted == 0 {
            (Reason::NoConsumersExpected, vec!["No consumers are expected".to_owned()])
        } else {
            let members = pass.status.group.as_ref().map_or(0, |group| group.members);
            let all = format!("{}, and the group has {}", all_are_back(pass), count(members, "member", "members"));
            (Reason::ConsumersReady, vec![all])
        };
        let after = since_the_restore(pass).filter(|_| late && wanted > 0);
        let after = after.map(|after| format!("That was {after} after the restore, later than resumeTimeout"));
        let message = message.into_iter().chain(scaled).chain(after).collect::<Vec<_>>().join(". ");
        pass.condition(ConditionType::ConsumersResumed, Some(true), reason, &message);
        pass.note(false, reason, message, None);
        return true;
    }
    let missing = missing.into_iter().chain(scaled).collect::<Vec<_>>().join("; ");
    let hold = pass.status.hold.as_ref();
    let time = |time: fn(&HoldStatus) -> Option<&MicroTime>| hold.and_then(time).map(clock).unwrap_or_default();
    let (restored, deadline) = (time(|hold| hold.end_time.as_ref()), time(|hold| hold.resume_deadline.as_ref()));
    let until = time(|hold| hold.watched_until.as_ref());
    if !late {
        let message =
            format!("The replicas are restored, and the consumers are starting: {missing}. They should be back by {deadline}");
        pass.condition(ConditionType::ConsumersResumed, None, Reason::WaitingForConsumers, message);
        return false;
    }
    let next = if over {
        "The operator has stopped looking".to_owned()
    } else {
        format!("The operator looks again every 30 seconds until {until}")
    };
    let message = Message::new("The consumers have not all resumed within resumeTimeout")
        .detail(missing)
        .detail(format!("The replica counts were restored at {restored}, and the offsets are as this status reports"))
        .detail(next)
        .advice("Look at the pods' status and logs")
        .full();
    let told = pass.status.is_condition(ConditionType::ConsumersResumed, Reason::ConsumersNotReady);
    pass.condition(ConditionType::ConsumersResumed, Some(false), Reason::ConsumersNotReady, &message);
    if !told {
        pass.note(true, Reason::ConsumersNotReady, message, None);
    }
    false
}

/// What is back, as a sentence.
fn all_are_back(pass: &Pass<'_>) -> &'static str {
    let connectors = restored(pass).filter(|(target, _)| target.is_connector()).count();
    match restored(pass).count() {
        _ if connectors == 0 => "All pods are ready",
        all if all == connectors => "All tasks of the connectors run",
        _ => "All pods are ready, all tasks of the connectors run",
    }
}

fn is_true(pass: &Pass<'_>) -> bool {
    let kind = ConditionType::ConsumersResumed.as_str();
    pass.status.conditions.iter().any(|condition| condition.type_ == kind && condition.status == "True")
}

fn since_the_restore(pass: &Pass<'_>) -> Option<String> {
    Some(roughly(pass.now.duration_since(pass.status.restored_at()?)))
}

/// The targets that were restored from zero, as they are seen now.
fn restored<'a>(pass: &'a Pass<'_>) -> impl Iterator<Item = (&'a TargetStatus, &'a Workload)> {
    pass.status.targets.iter().zip(&pass.seen.targets).filter_map(|(target, seen)| match seen {
        Seen::Known(workload) if workload.uid == target.uid && is_back(target) => Some((target, workload)),
        Seen::Known(_) | Seen::Missing | Seen::Unknown(_) => None,
    })
}

fn is_back(target: &TargetStatus) -> bool {
    target.restored == Some(Restored::Original) && target.original_replicas > 0
}

/// The pods with a container that has terminated again and again. One that has ended, such as a pod that was evicted, starts no
/// container any more, and its workload has another one in its place.
fn crashing(workload: &Workload) -> impl Iterator<Item = &Pod> {
    workload.pods.iter().filter(|pod| pod.crashed && !pod.terminated && pod.deletion.is_none())
}

fn comeback(pass: &mut Pass<'_>, may_have_no_members: bool) -> Comeback {
    let mut found = Comeback::default();
    // The members that are expected are those of all pods before: of those that are wanted now, so
    // many in proportion.
    let (mut before, mut now) = (0, 0);
    for index in 0..pass.status.targets.len() {
        let original = i64::from(pass.status.targets[index].original_replicas);
        let workload = match pass.seen.targets.get(index) {
            Some(Seen::Known(workload)) if workload.uid == pass.status.targets[index].uid => Some(workload),
            Some(Seen::Known(_) | Seen::Missing | Seen::Unknown(_)) | None => None,
        };
        let is_gone = workload.is_none() && matches!(pass.seen.targets.get(index), Some(Seen::Known(_) | Seen::Missing));
        before += original;
        now += workload.map_or(if is_gone { 0 } else { original }, |workload| i64::from(workload.consuming_replicas()));
        if is_back(&pass.status.targets[index]) {
            of_one(pass, index, workload, is_gone, &mut found);
        }
    }
    let group = pass.status.group.as_ref();
    let expected = group.map_or(0, |group| group.expected_members.unwrap_or(group.members_before));
    // An autoscaler may have scaled the targets between the plan and the stop.
    let before = group.and_then(|group| group.expected_of_replicas).map_or(before, i64::from);
    let expected = if before > 0 { i64::from(expected) * now / before } else { i64::from(expected) };
    // Consumers that crashed before the reset were no members of the group, and should be now.
    let expected = if may_have_no_members { expected } else { expected.max(1) };
    // Nothing is to be waited for where no pod is wanted.
    let expected = if found.missing.is_empty() && found.wanted == 0 { 0 } else { expected };
    let described = match &pass.seen.kafka {
        KafkaSeen::Group(described) => Some(described),
        KafkaSeen::AfterReset(seen) => Some(&seen.group),
        KafkaSeen::NotAsked | KafkaSeen::Failed(_) | KafkaSeen::ForPlan(_) | KafkaSeen::ForCommit(_) => None,
    };
    if let Some(described) = described {
        let status = group::status(described, pass.status.group.as_ref(), &pass.pods());
        if i64::from(status.members) < expected {
            found.missing.push(format!("{} of {expected} members are in the group", status.members));
        } else if expected > 0 && group::is_rebalancing(described) {
            found.missing.push("the group is rebalancing".to_owned());
        }
        pass.status.group = Some(status);
    } else if expected > 0 {
        found.missing.push("the broker could not be asked for the group's members".to_owned());
    }
    found
}

/// One target that was restored.
fn of_one(pass: &mut Pass<'_>, index: usize, workload: Option<&Workload>, is_gone: bool, found: &mut Comeback) {
    let since = pass.status.restored_at().unwrap_or(pass.now);
    let target = &mut pass.status.targets[index];
    let name = name(target);
    let Some(workload) = workload else {
        found.missing.push(if is_gone { format!("{name} is gone") } else { format!("{name} could not be read") });
        return;
    };
    let now = pass.now;
    let is_steady = |pod: &&Pod| !pod.restarted || pod.was_ready_for(STEADY, now);
    let ready: Vec<&Pod> = workload.pods.iter().filter(|pod| pod.ready && pod.deletion.is_none()).collect();
    let unsteady = ready.iter().filter(|pod| !is_steady(pod)).count();
    let ready = ready.len();
    let ready = i32::try_from(ready).unwrap_or(i32::MAX);
    target.ready_pods = Some(ready);
    let wanted = workload.consuming_replicas();
    if workload.replicas == 0 {
        match pass.seen.holds.get(index) {
            Some(Seen::Known(hold)) => {
                found.missing.push(format!("{name} is held at zero by OffsetReset {}", hold.others(&pass.seen.uid)));
                return;
            }
            Some(Seen::Unknown(_)) => {
                found.missing.push(format!("{name} is at zero, and its Lease could not be read"));
                return;
            }
            Some(Seen::Missing) | None => {}
        }
    }
    found.wanted += i64::from(wanted);
    if !workload.is_as_before(target) {
        let mut by = vec![format!("by {}", replica_owners::responsible(target, &workload.details, since).who)];
        by.extend(target.autoscaler.as_ref().map(|own| format!("KEDA scales it by {} {}", own.kind, own.name)));
        by.extend(workload.details.autoscalers.iter().map(|hpa| format!("HorizontalPodAutoscaler {} scales it", hpa.name)));
        let (from, to) = if target.is_connector() {
            (target.original_size(), workload.size())
        } else {
            (target.original_replicas.to_string(), wanted.to_string())
        };
        found.scaled.push(format!("{name} was scaled from {from} to {to} after the restore {}", by.join("; ")));
    }
    if ready < wanted
        && let Some(tasks) = workload.pods.iter().find_map(|pod| pod.tasks.as_ref())
    {
        found.missing.push(format!("the tasks of {name} do not run yet: {}", tasks.reported));
    } else if ready < wanted {
        found.missing.push(format!("{ready} of {wanted} pods of {name} are ready"));
    } else if unsteady > 0 {
        let pods = count(unsteady, "pod", "pods");
        found.missing.push(format!("containers in {pods} of {name} were started again less than a minute ago"));
    }
    let crashing: Vec<&str> = crashing(workload).map(|pod| pod.name.as_str()).collect();
    if let Some(first) = crashing.first() {
        let pods = if crashing.len() == 1 { "pod".to_owned() } else { format!("{} pods, such as", crashing.len()) };
        found.missing.push(format!("containers crash again and again in {pods} {first}"));
    }
}
