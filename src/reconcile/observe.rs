//! Looks at the world: only at what the phase needs, live, and Kafka never where a deadline must not wait for it.

use std::{collections::BTreeMap, future::Future, time::Duration};

use futures::future::join_all;
use kube::ResourceExt;

use super::{Context, Error};
use crate::{
    api::{FINALIZER, OffsetReset, OffsetResetStatus, Phase, TargetRef},
    kafka::{Connection, GroupAdmin},
    machine::{
        self, Claimant,
        observed::{CommitSeen, KafkaSeen, Observed, PlanSeen, Seen},
        plan,
        request::{Goal, InvalidSpec, Request},
        world::{KafkaError, KafkaErrorKind, TopicPartition, Workload},
    },
};

/// The longest that one look at Kafka may take; what is seen after that is "unknown", and the next pass looks again.
const LOOK_LIMIT: Duration = Duration::from_secs(30);

/// How the request's cluster is reached.
pub(super) fn connection(request: &Request) -> Connection {
    Connection { bootstrap_servers: request.bootstrap_servers.clone() }
}

/// Looks at everything that this pass needs.
pub(super) async fn observe(
    context: &Context,
    reset: &OffsetReset,
    status: &OffsetResetStatus,
    request: Result<&Request, &InvalidSpec>,
) -> Result<Observed, Error> {
    let mut seen = Observed {
        deleting: reset.metadata.deletion_timestamp.is_some(),
        finalizer: reset.finalizers().iter().any(|name| name == FINALIZER),
        generation: reset.metadata.generation,
        blocker: None,
        targets: vec![],
        kafka: KafkaSeen::NotAsked,
    };
    let phase = status.phase.unwrap_or(Phase::Pending);
    if phase == Phase::Pending {
        let others = context.resets.claimants(context.namespace.as_deref()).await.map_err(Error::List)?;
        seen.blocker = machine::blocker(&Claimant::from(reset), &others);
        return Ok(seen);
    }
    // A cancellation, and a hold that is over, are decided without looking at anything else.
    let overdue = status.hold.as_ref().is_some_and(|hold| hold.deadline.0 <= (context.clock)());
    if (seen.deleting || overdue) && phase != Phase::Restoring && !phase.is_terminal() {
        return Ok(seen);
    }
    if phase.is_terminal() && (seen.deleting || !machine::needs_a_look(status)) {
        return Ok(seen);
    }
    seen.targets = look_at_targets(context, reset, status, request.ok(), phase == Phase::Planning).await;
    if let Ok(request) = request {
        seen.kafka = look_at_kafka(context, status, request, phase).await;
    }
    Ok(seen)
}

/// The targets in the order of the status, or of the spec while there is no status of them yet.
async fn look_at_targets(
    context: &Context,
    reset: &OffsetReset,
    status: &OffsetResetStatus,
    request: Option<&Request>,
    try_stop: bool,
) -> Vec<Seen<Workload>> {
    let namespace = reset.namespace().unwrap_or_default();
    let targets: Vec<TargetRef> = if status.targets.is_empty() {
        request.map(|request| request.targets.clone()).unwrap_or_default()
    } else {
        let of = |target: &crate::api::TargetStatus| TargetRef {
            api_version: target.api_version.clone(),
            kind: target.kind.clone(),
            name: target.name.clone(),
        };
        status.targets.iter().map(of).collect()
    };
    join_all(targets.iter().map(|target| look_at_target(context, &namespace, target, try_stop))).await
}

async fn look_at_target(context: &Context, namespace: &str, target: &TargetRef, try_stop: bool) -> Seen<Workload> {
    let mut seen = context.targets.look(namespace, target).await;
    if let (true, Seen::Known(workload)) = (try_stop, &mut seen) {
        workload.refusal = context.targets.try_stop(namespace, target, workload).await;
    }
    seen
}

/// What the phase needs of Kafka, over at the latest when the hold is: whatever hangs there, consumers do not wait for it.
async fn look_at_kafka(context: &Context, status: &OffsetResetStatus, request: &Request, phase: Phase) -> KafkaSeen {
    if matches!(phase, Phase::Pending | Phase::Stopping | Phase::Restoring) {
        return KafkaSeen::NotAsked;
    }
    let now = (context.clock)();
    let hold = status.hold.as_ref().filter(|hold| hold.end_time.is_none());
    let left = hold.map_or(LOOK_LIMIT, |hold| Duration::try_from(hold.deadline.0.duration_since(now)).unwrap_or_default());
    let look = async {
        let admin = context.kafka.connect(&connection(request)).await?;
        match phase {
            Phase::Planning => Ok(KafkaSeen::ForPlan(for_plan(admin.as_ref(), request).await?)),
            Phase::Resetting => Ok(KafkaSeen::ForCommit(for_commit(admin.as_ref(), request, status).await?)),
            Phase::Draining | Phase::Succeeded | Phase::Failed | Phase::Cancelled => {
                Ok(KafkaSeen::Group(admin.describe_group(&request.group).await?))
            }
            Phase::Pending | Phase::Stopping | Phase::Restoring => Ok(KafkaSeen::NotAsked),
        }
    };
    within(left.min(LOOK_LIMIT), look).await.unwrap_or_else(KafkaSeen::Failed)
}

async fn within<T>(limit: Duration, look: impl Future<Output = Result<T, KafkaError>>) -> Result<T, KafkaError> {
    let too_long = |_| Err(KafkaError::new(KafkaErrorKind::Timeout, format!("no answer within {} seconds", limit.as_secs())));
    tokio::time::timeout(limit, look).await.unwrap_or_else(too_long)
}

/// Everything that a plan is made from. The bounds are read before the times are looked up: a record that arrives
/// between the two must not be skipped.
async fn for_plan(admin: &dyn GroupAdmin, request: &Request) -> Result<PlanSeen, KafkaError> {
    let group = admin.describe_group(&request.group).await?;
    let all_committed = admin.all_committed(&request.group).await?;
    let has_commits = all_committed.values().any(|committed| !matches!(committed, Ok(None)));
    let mut topics = BTreeMap::new();
    for topic in request.topics() {
        topics.insert(topic.to_owned(), admin.partitions(topic).await);
    }
    let mut seen =
        PlanSeen { group, has_commits, topics, bounds: BTreeMap::new(), times: BTreeMap::new(), committed: BTreeMap::new() };
    // Where the request cannot be expanded there is nothing to look up, and the plan says why.
    let Ok(goals) = plan::expand(request, &seen.topics) else { return Ok(seen) };
    let partitions: Vec<TopicPartition> = goals.keys().cloned().collect();
    let times: Vec<(TopicPartition, i64)> = goals
        .iter()
        .filter_map(|(partition, goal)| match goal {
            Goal::Timestamp(millis) => Some((partition.clone(), *millis)),
            Goal::Offset(_) => None,
        })
        .collect();
    seen.bounds = admin.bounds(&partitions).await?;
    seen.times = admin.offsets_for_times(&times).await?;
    seen.committed = admin.committed(&request.group, &partitions).await?;
    Ok(seen)
}

/// Everything that a commit is decided on; the group last, so that it is as fresh as it can be.
async fn for_commit(admin: &dyn GroupAdmin, request: &Request, status: &OffsetResetStatus) -> Result<CommitSeen, KafkaError> {
    let partitions: Vec<TopicPartition> =
        status.partitions.iter().map(|partition| TopicPartition::new(&partition.topic, partition.partition)).collect();
    let bounds = admin.bounds(&partitions).await?;
    let committed = admin.committed(&request.group, &partitions).await?;
    let group = admin.describe_group(&request.group).await?;
    Ok(CommitSeen { bounds, committed, group })
}
