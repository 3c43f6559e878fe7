//! The queries to Kafka of each phase, in the order in which they must come.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::forecast;
use crate::reconcile::aside::aside;
use crate::{
    api::{IsolationLevel, OffsetResetStatus, PartitionStatus, Phase, Position},
    kafka::GroupAdmin,
    machine::{
        self,
        facts::{
            Access, AfterResetSeen, CommitSeen, ForecastSeen, Group, KafkaError, KafkaSeen, PlanSeen, Seen, TopicPartition,
            Undone, group,
        },
        plan::expand,
        request::{Goal, Request},
    },
};

/// The time limit for the offsets after the run: whether the consumers resumed is known without them.
const OFFSETS_LIMIT: Duration = Duration::from_secs(10);

/// How long a step waits for the group to become empty: as long as it was waited for before, within these bounds. Kubernetes is read
/// again by the next step.
const LEAST_ASKED_FOR: SignedDuration = SignedDuration::from_millis(250);
const MOST_ASKED_FOR: SignedDuration = SignedDuration::from_secs(1);

/// Reads from Kafka what a phase needs. `undone` is the reset to undo, while planning an undo; `now` the time.
///
/// # Errors
/// When a query failed as a whole; the error of one partition is in the result.
pub async fn query_kafka(
    admin: &dyn GroupAdmin,
    phase: Phase,
    request: &Request,
    status: &OffsetResetStatus,
    undone: Option<Seen<Undone>>,
    now: Timestamp,
) -> Result<KafkaSeen, KafkaError> {
    match phase {
        Phase::Planning => Ok(KafkaSeen::ForPlan(Box::new(for_plan(admin, request, undone, now).await?))),
        Phase::Resetting => Ok(KafkaSeen::ForCommit(for_commit(admin, request, status).await?)),
        Phase::Draining => Ok(KafkaSeen::Group(until_empty(admin, request, status, now).await?)),
        Phase::Canary | Phase::Succeeded | Phase::Failed | Phase::Cancelled => after_reset(admin, request, status).await,
        Phase::Pending | Phase::Stopping | Phase::Restoring | Phase::Planned | Phase::Unknown => Ok(KafkaSeen::NotAsked),
    }
}

/// The data for a plan. The bounds are read before the offsets of timestamps, so that the plan does not skip a record that
/// arrives between the two queries.
async fn for_plan(
    admin: &dyn GroupAdmin,
    request: &Request,
    undone: Option<Seen<Undone>>,
    now: Timestamp,
) -> Result<PlanSeen, KafkaError> {
    // The group first: a request about a group may replace the librdkafka client, which requests at the same time would use.
    let group = admin.describe_group(&request.group).await?;
    let session_timeout = async { Ok(session_timeout(admin, &request.group, &group).await) };
    let (cluster_id, committed, session_timeout) =
        futures::try_join!(admin.cluster_id(), admin.all_committed(&request.group), session_timeout)?;
    let mut seen = PlanSeen {
        cluster_id,
        group,
        session_timeout,
        access: Access::default(),
        committed,
        sources: BTreeMap::new(),
        undone,
        topics: BTreeMap::new(),
        bounds: BTreeMap::new(),
        stable_ends: BTreeMap::new(),
        times: BTreeMap::new(),
        forecast: ForecastSeen::default(),
    };
    let sources =
        request.source_groups().into_iter().map(|group| async move { (group.to_owned(), admin.all_committed(group).await) });
    seen.sources = join_all(sources).await.into_iter().collect();
    let wanted: Vec<String> = aside(false, || expand::topics(request, &seen)).await.into_iter().collect();
    seen.topics = admin.topics(&wanted).await?;
    // The query for the whole group omits partitions whose only commit is still pending in a transaction. What it has told of the others
    // is used, so that a large group is not read twice.
    let existing = seen.topics.iter().filter_map(|(topic, partitions)| Some((topic, partitions.as_ref().ok()?)));
    let unknown: Vec<TopicPartition> = existing
        .flat_map(|(topic, partitions)| partitions.iter().map(move |&partition| TopicPartition::new(topic, partition)))
        .filter(|at| !matches!(seen.committed.get(at), Some(Ok(Some(_)))))
        .collect();
    let names: Vec<String> = seen.topics.keys().cloned().collect();
    let exact;
    (exact, seen.access) = futures::try_join!(admin.committed(&request.group, &unknown), admin.access(&request.group, &names))?;
    seen.committed.extend(exact.into_iter().filter(|(_, committed)| !matches!(committed, Ok(None))));
    // A request that cannot be expanded needs no more data: the plan reports why.
    let Ok(scoped) = aside(false, || expand::expand(request, &seen)).await else { return Ok(seen) };
    let partitions: Vec<TopicPartition> = scoped.goals.keys().cloned().collect();
    let times: Vec<(TopicPartition, i64)> = scoped
        .goals
        .iter()
        .filter_map(|(partition, goal)| match goal {
            Goal::Timestamp(millis) => Some((partition.clone(), *millis)),
            Goal::Offset(_) | Goal::Position(_) | Goal::ShiftBy(_) | Goal::FromGroup(_) | Goal::Recorded(..) => None,
        })
        .collect();
    let latest = scoped.goals.iter().filter(|(_, goal)| **goal == Goal::Position(Position::Latest));
    let stable: Vec<TopicPartition> = match request.isolation_level {
        IsolationLevel::ReadCommitted => latest.map(|(partition, _)| partition.clone()).collect(),
        IsolationLevel::ReadUncommitted => vec![],
    };
    seen.stable_ends = admin.stable_ends(&stable).await?;
    seen.bounds = admin.bounds(&partitions).await?;
    seen.times = admin.offsets_for_times(&times).await?;
    seen.forecast = forecast::read(admin, request, &seen, now).await;
    Ok(seen)
}

/// The session timeout of a group of the new protocol. Messages only become more exact by it, so no error withholds the plan: the operator
/// may not have the right, and the broker may be too old.
async fn session_timeout(admin: &dyn GroupAdmin, name: &str, group: &Group) -> Option<SignedDuration> {
    if !group::is_of_new_protocol(group) {
        return None;
    }
    let timeout = admin.session_timeout(name).await.ok().flatten()?;
    SignedDuration::try_from(timeout).ok()
}

/// The group, once it is empty or the time of the step has passed. Kubernetes is not read again meanwhile, because only the broker's
/// answer can change.
///
/// The first request is sent at once, and the pauses grow with the time since the last container terminated, see
/// [`machine::pause`]: within a step and between two steps.
async fn until_empty(
    admin: &dyn GroupAdmin,
    request: &Request,
    status: &OffsetResetStatus,
    now: Timestamp,
) -> Result<Group, KafkaError> {
    let since = status.hold.as_ref().and_then(|hold| hold.containers_terminated_time.as_ref());
    let waited = since.map_or(SignedDuration::ZERO, |since| now.duration_since(since.0));
    let asked_for = waited.clamp(LEAST_ASKED_FOR, MOST_ASKED_FOR);
    let begin = Instant::now();
    loop {
        let group = admin.describe_group(&request.group).await?;
        let asked = SignedDuration::try_from(begin.elapsed()).unwrap_or(SignedDuration::MAX);
        let pause = machine::pause(waited.saturating_add(asked));
        if group::is_empty(&group) || asked.saturating_add(pause) > asked_for {
            return Ok(group);
        }
        tokio::time::sleep(Duration::try_from(pause).unwrap_or_default()).await;
    }
}

/// The data for the decision to commit; the group last, so that its state is as fresh as possible. The phase before has seen the
/// group empty, so a commit that is missing here is one of a member that has joined and left since.
async fn for_commit(admin: &dyn GroupAdmin, request: &Request, status: &OffsetResetStatus) -> Result<CommitSeen, KafkaError> {
    if status.commits > 0 && status.final_plan_time.is_some() {
        return for_read_back(admin, request, status).await;
    }
    let partitions: Vec<TopicPartition> = status.partitions.iter().map(at).collect();
    let latest = |planned: &&PartitionStatus| {
        request.isolation_level == IsolationLevel::ReadCommitted && planned.requested_position == Some(Position::Latest)
    };
    let stable: Vec<TopicPartition> = status.partitions.iter().filter(latest).map(at).collect();
    let topics = topics_with_id(status);
    let (stable_ends, bounds, committed, topic_ids) = futures::try_join!(
        admin.stable_ends(&stable),
        admin.bounds(&partitions),
        admin.committed(&request.group, &partitions),
        admin.topic_ids(&topics)
    )?;
    let group = admin.describe_group(&request.group).await?;
    Ok(CommitSeen { bounds, stable_ends, committed, topic_ids, group })
}

/// The data for reading a commit back. The logs matter only for a partition that is to be committed again.
async fn for_read_back(admin: &dyn GroupAdmin, request: &Request, status: &OffsetResetStatus) -> Result<CommitSeen, KafkaError> {
    let partitions: Vec<TopicPartition> = status.partitions.iter().map(at).collect();
    let topics = topics_with_id(status);
    let (committed, topic_ids) = futures::try_join!(admin.committed(&request.group, &partitions), admin.topic_ids(&topics))?;
    let again = status.partitions.iter().filter(|planned| !machine::stands(planned, request, committed.get(&at(planned))));
    let bounds = admin.bounds(&again.map(at).collect::<Vec<_>>()).await?;
    let group = admin.describe_group(&request.group).await?;
    Ok(CommitSeen { bounds, stable_ends: BTreeMap::new(), committed, topic_ids, group })
}

fn at(planned: &PartitionStatus) -> TopicPartition {
    TopicPartition::new(&planned.topic, planned.partition)
}

/// The topics of a plan whose ids were known when it was made.
fn topics_with_id(status: &OffsetResetStatus) -> Vec<String> {
    let with_id = status.partitions.iter().filter(|planned| planned.topic_id.is_some()).map(|planned| planned.topic.clone());
    with_id.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The group while a canary runs and after the run, and its offsets where they are still looked at. Offsets that cannot be read withhold nothing of the group.
async fn after_reset(admin: &dyn GroupAdmin, request: &Request, status: &OffsetResetStatus) -> Result<KafkaSeen, KafkaError> {
    let offsets = async {
        let looked_at = status.partitions.iter().filter(|partition| machine::is_looked_at(partition));
        let partitions: Vec<TopicPartition> = looked_at.map(at).collect();
        let committed = admin.committed(&request.group, &partitions).await?;
        let stable: &[TopicPartition] = if status.phase == Some(Phase::Canary) { &partitions } else { &[] };
        let (bounds, stable_ends) = futures::try_join!(admin.bounds(&partitions), admin.stable_ends(stable))?;
        Ok::<_, KafkaError>((committed, bounds, stable_ends))
    };
    let offsets = if machine::needs_offsets(status) {
        tokio::time::timeout(OFFSETS_LIMIT, offsets).await.ok().and_then(Result::ok)
    } else {
        None
    };
    let group = admin.describe_group(&request.group).await?;
    Ok(match offsets {
        Some((committed, bounds, stable_ends)) => KafkaSeen::AfterReset(AfterResetSeen { committed, bounds, stable_ends, group }),
        None => KafkaSeen::Group(group),
    })
}
