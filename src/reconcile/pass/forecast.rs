//! What a forecast needs of Kafka, read while the consumers run. It never fails a plan: what cannot be read is left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, timeout};

use crate::reconcile::aside::aside;
use crate::{
    kafka::{GroupAdmin, TopicConfigs},
    machine::{
        facts::{ForecastSeen, KafkaError, PerPartition, PlanSeen, Progress, TimestampMatch, TopicPartition},
        plan::{self, forecast},
        request::Request,
    },
};

/// The time limit for all that is looked up: a plan is made without it, too.
const LIMIT: Duration = Duration::from_secs(5);

/// The pause between two looks at the commits. The shorter it is, the closer is the speed to what it was.
const LOOK: Duration = Duration::from_millis(500);

/// How long the commits are looked at: consumers commit every 5 seconds by default, and two commits are needed.
const LONGEST: Duration = Duration::from_secs(12);

/// How much time two commits must have between them, so that the pause between two looks makes little difference.
const ENOUGH: SignedDuration = SignedDuration::from_secs(4);

/// On how many partitions the commits are looked at: those that one request has.
const MOST_LOOKED_AT: usize = 400;

/// Reads it for the partitions of the plan that have records to consume. Whether records expire is looked up for each plan; the rates,
/// which take seconds, only where they are measured.
pub(super) async fn read(admin: &dyn GroupAdmin, request: &Request, seen: &PlanSeen, now: Timestamp) -> ForecastSeen {
    let measures = forecast::measures(request);
    let lines = aside(false, || {
        let Ok(plan) = plan::plan(request, seen) else { return vec![] };
        let line = |planned: &&crate::api::PartitionStatus| Line {
            at: TopicPartition::new(&planned.topic, planned.partition),
            behind: planned.before.filter(|before| *before < planned.log_end),
            target_time: forecast::time_at_the_target(planned),
        };
        forecast::about(&plan.partitions).iter().map(line).collect::<Vec<Line>>()
    })
    .await;
    let looked_up = timeout(LIMIT, look_up(admin, request, &lines, measures, now)).await;
    let (recent, configs, kept) = looked_up.unwrap_or_default();
    let consumes = measures && forecast::consumes(&seen.group);
    let progress = if consumes { progress(admin, &request.group, &lines).await } else { BTreeMap::new() };
    ForecastSeen { recent, configs, kept, measured: consumes, progress }
}

/// A partition with records to consume after the reset.
struct Line {
    at: TopicPartition,
    /// The committed offset, where there are records to consume now, too.
    behind: Option<i64>,
    /// The time of the record at the target, where the target was found by time.
    target_time: Option<Timestamp>,
}

type Found = PerPartition<Option<TimestampMatch>>;

async fn look_up(
    admin: &dyn GroupAdmin,
    request: &Request,
    planned: &[Line],
    measures: bool,
    now: Timestamp,
) -> (Found, TopicConfigs, Found) {
    let topics: Vec<String> =
        planned.iter().map(|line| line.at.topic.clone()).collect::<BTreeSet<String>>().into_iter().collect();
    if topics.is_empty() {
        return (Found::new(), TopicConfigs::new(), Found::new());
    }
    let since = now.as_millisecond().saturating_sub(millis(forecast::PRODUCED_OVER)).max(0);
    let recent: Vec<(TopicPartition, i64)> =
        if measures { planned.iter().map(|line| (line.at.clone(), since)).collect() } else { vec![] };
    let (recent, configs) = tokio::join!(admin.offsets_for_times(&recent), admin.topic_configs(&topics));
    let configs = configs.unwrap_or_else(|error| unread(&topics, &error));
    let held_until = now.as_millisecond().saturating_add(millis(request.hold_timeout));
    let kept_since = |line: &Line| {
        let retention = configs.get(&line.at.topic)?.as_ref().ok()?.retention_ms?;
        let since = held_until.saturating_sub(retention).max(0);
        forecast::may_expire(line.target_time, since).then(|| (line.at.clone(), since))
    };
    let kept: Vec<(TopicPartition, i64)> = planned.iter().filter_map(kept_since).collect();
    let kept = admin.offsets_for_times(&kept).await;
    (recent.unwrap_or_default(), configs, kept.unwrap_or_default())
}

fn unread(topics: &[String], error: &KafkaError) -> TopicConfigs {
    topics.iter().map(|topic| (topic.clone(), Err(error.clone()))).collect()
}

fn millis(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The commits of the group where it has records to consume, until two of them on each partition are far enough apart, or time is
/// over. Where it has consumed everything there is nothing to see, and nobody waits.
async fn progress(admin: &dyn GroupAdmin, group: &str, planned: &[Line]) -> BTreeMap<TopicPartition, Progress> {
    let behind = planned.iter().filter_map(|line| Some((line.at.clone(), Progress::from(line.behind?))));
    let mut progress: BTreeMap<TopicPartition, Progress> = behind.take(MOST_LOOKED_AT).collect();
    let partitions: Vec<TopicPartition> = progress.keys().cloned().collect();
    let begin = Instant::now();
    let elapsed = || SignedDuration::try_from(begin.elapsed()).unwrap_or(SignedDuration::MAX);
    let is_known = |progress: &Progress| progress.between_commits().is_some_and(|(_, time)| time >= ENOUGH);
    while begin.elapsed() < LONGEST && !progress.values().all(is_known) {
        tokio::time::sleep(LOOK).await;
        let asked = elapsed();
        let Ok(Ok(committed)) = timeout(LIMIT, admin.committed(group, &partitions)).await else { break };
        let answered = elapsed();
        for (at, found) in committed {
            if let (Some(progress), Ok(Some(found))) = (progress.get_mut(&at), found) {
                progress.look(asked, answered, found.offset);
            }
        }
    }
    progress
}
