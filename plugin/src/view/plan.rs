//! The plan as a table.

use jiff::tz::TimeZone;
use offset_reset_operator::api::{
    CanaryState, Clamp, ConditionType, ForecastOf, ForecastStatus, ForecastUnknown, OffsetReset, PartitionOutcome,
    PartitionStatus, Phase, TargetStatus,
};

use super::{
    line::{BAD, BOLD, DIM, GOOD, Line},
    progress::{idle, is_at_zero_before},
    table::Table,
    words::{count, many, or_dash, record_time, size},
};
use crate::cli::Which;

/// How many partitions are listed one by one.
const LISTED: usize = 30;

/// The plan of a reset: whom it would stop, each partition, sums, warnings.
pub fn plan(reset: &OffsetReset, partitions: &[PartitionStatus], which: Option<Which>, zone: &TimeZone) -> Vec<Line> {
    let status = reset.status.clone().unwrap_or_default();
    let mut lines = vec![];
    if let Some(group) = &status.group {
        let cluster = group.cluster_id.as_ref().map(|id| format!("cluster {id}, ")).unwrap_or_default();
        let members = many(group.members.into(), "member");
        lines.push(Line::styled(GOOD, "✔ ").and(format!("{cluster}group {} is {}: {members}", reset.spec.group, group.state)));
    }
    let would = if status.phase == Some(Phase::Planned) || status.dry_run { "WOULD STOP" } else { "STOPS" };
    if reset.spec.target_refs.is_empty() {
        lines.push(Line::styled(BOLD, format!("{would}  nothing: no --target")));
    }
    for target in &status.targets {
        if is_at_zero_before(target) {
            let line = Line::styled(BOLD, format!("{}  ", idle(target).to_uppercase()))
                .and(format!("{}/{}  already, and stays so", target.kind, target.name));
            lines.push(paused(line, target));
            continue;
        }
        let (replicas, original) = (target.original_replicas, size(target.original_replicas, target.original_state.as_deref()));
        let stopped = if target.is_connector() { "stopped" } else { "0" };
        let line = Line::styled(BOLD, format!("{would}  ")).and(format!("{}/{}", target.kind, target.name));
        let canary = status.canary.as_ref().filter(|canary| canary.state != CanaryState::NotRun);
        let first = canary.map(|canary| canary.replicas).filter(|first| *first < replicas);
        let first = first.map(|first| format!("{first} → ")).unwrap_or_default();
        lines.push(paused(line.and(format!("  {original} → {stopped} → {first}{original}")), target));
    }
    lines.extend(status.canary.as_ref().map(|canary| Line::plain(&canary.message)));
    let shown = chosen(partitions, which);
    if !shown.is_empty() {
        lines.push(Line::default());
        if which.is_none() && shown.len() > LISTED {
            lines.extend(by_topic(&shown));
        } else {
            lines.extend(by_partition(&shown, zone));
        }
    }
    lines.extend(sums(reset));
    lines.extend(status.forecast.iter().flat_map(forecast));
    for warning in &status.warnings {
        lines.push(Line::warning(warning));
    }
    if let Some(problem) = refused(reset) {
        lines.push(problem);
    }
    lines
}

/// How an undo would change the offsets, as [`plan`]; what has moved since is in its warnings.
pub fn undo(reset: &OffsetReset, partitions: &[PartitionStatus], which: Option<Which>, zone: &TimeZone) -> Vec<Line> {
    let of = reset.spec.undo.as_ref().map(|undo| undo.name.clone()).unwrap_or_default();
    let mut lines = vec![Line::plain(format!("Undo of {of}: COMMITTED is now, TARGET is what {of} found"))];
    lines.extend(plan(reset, partitions, which, zone));
    lines
}

fn refused(reset: &OffsetReset) -> Option<Line> {
    let status = reset.status.as_ref().filter(|status| status.phase == Some(Phase::Failed))?;
    let reason = status.reason.map(|reason| format!("{reason}: ")).unwrap_or_default();
    Some(Line::styled(BAD, "✗ ").and(format!("{reason}{}", status.explanation())))
}

/// Adds the autoscaler that the reset pauses.
fn paused(line: Line, target: &TargetStatus) -> Line {
    match &target.autoscaler {
        Some(scaler) => line.and(format!("    and pause {}/{}", scaler.kind, scaler.name)),
        None => line,
    }
}

/// The bound of the time to catch up, in sum, and for each topic where there are several.
fn forecast(found: &ForecastStatus) -> Vec<Line> {
    let total = &found.total;
    // Nobody has measured, or there is nothing to consume.
    if total.backlog == 0 || total.unknown == Some(ForecastUnknown::NotMeasured) {
        return vec![];
    }
    let rates = |of: &ForecastOf| {
        let rates = [(of.consumed_per_minute, "consumed"), (of.produced_per_minute, "produced")];
        rates.into_iter().filter_map(|(rate, what)| Some(format!(", {}/min {what}", count(rate?)))).collect::<String>()
    };
    let bound = |of: &ForecastOf| match (&of.catch_up_at_least, of.unknown) {
        _ if of.never_catches_up => "never at these rates".to_owned(),
        (Some(time), None) => format!("at least {time}"),
        (Some(time), Some(unknown)) => format!("at least {time}, on some partitions unknown: {}", unknown.because()),
        (None, unknown) => format!("unknown: {}", unknown.unwrap_or(ForecastUnknown::NotMeasured).because()),
    };
    let measured = format!("{} to consume{}", count(total.backlog), rates(total));
    let said = match total.unknown {
        Some(_) if !total.never_catches_up => format!("{} ({measured})", bound(total)),
        _ => format!("{}: {measured}", bound(total)),
    };
    let mut lines = vec![Line::styled(BOLD, "CATCH-UP  ").and(said)];
    if found.topics.len() > 1 {
        let mut table = Table::new(&["TOPIC", ">TO CONSUME", ">CONSUMED/MIN", ">PRODUCED/MIN", ">EXPIRING", "CATCH-UP"]);
        for topic in &found.topics {
            table.row([
                topic.topic.clone().unwrap_or_default(),
                count(topic.backlog),
                topic.consumed_per_minute.map_or("?".to_owned(), count),
                topic.produced_per_minute.map_or("?".to_owned(), count),
                or_dash(topic.expiring),
                bound(topic),
            ]);
        }
        lines.extend(table.lines());
    }
    lines
}

/// The partitions to list.
fn chosen(partitions: &[PartitionStatus], which: Option<Which>) -> Vec<&PartitionStatus> {
    let is_shown = |partition: &&PartitionStatus| match which {
        None | Some(Which::All) => true,
        Some(Which::Changed) => partition.before != partition.target_offset,
        Some(Which::Clamped) => partition.clamped.is_some(),
        Some(Which::Failed) => partition.outcome == PartitionOutcome::Failed,
    };
    let mut shown: Vec<&PartitionStatus> = partitions.iter().filter(is_shown).collect();
    shown.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    shown
}

fn by_partition(partitions: &[&PartitionStatus], zone: &TimeZone) -> Vec<Line> {
    let mut table = Table::new(&["TOPIC", ">PART", ">COMMITTED", ">TARGET", "RECORD OF", ">REPLAY", ">SKIP", "NOTE"]);
    for partition in partitions {
        let of = partition.matched_timestamp.as_ref().map(|at| record_time(at.0, zone));
        table.row([
            partition.topic.clone(),
            partition.partition.to_string(),
            partition.before.map_or("none".to_owned(), count),
            partition.target_offset.map_or("none".to_owned(), count),
            of.unwrap_or_else(|| "-".to_owned()),
            or_dash(partition.replayed),
            or_dash(partition.skipped),
            note(partition),
        ]);
    }
    table.lines()
}

fn by_topic(partitions: &[&PartitionStatus]) -> Vec<Line> {
    let mut table = Table::new(&["TOPIC", ">PARTS", ">LOWEST TARGET", ">HIGHEST TARGET", ">REPLAY", ">SKIP", "NOTE"]);
    for topic in partitions.chunk_by(|a, b| a.topic == b.topic) {
        let targets = || topic.iter().filter_map(|partition| partition.target_offset);
        let clamped = topic.iter().filter(|partition| partition.clamped.is_some()).count();
        let failed = topic.iter().filter(|partition| partition.outcome == PartitionOutcome::Failed).count();
        let notes = [(clamped, "moved into range"), (failed, "failed")];
        let notes: Vec<String> =
            notes.iter().filter(|(many, _)| *many > 0).map(|(many, what)| format!("{many} {what}")).collect();
        table.row([
            topic[0].topic.clone(),
            topic.len().to_string(),
            targets().min().map_or("none".to_owned(), count),
            targets().max().map_or("none".to_owned(), count),
            or_dash(topic.iter().map(|partition| partition.replayed).sum()),
            or_dash(topic.iter().map(|partition| partition.skipped).sum()),
            notes.join(", "),
        ]);
    }
    let mut lines = table.lines();
    lines.push(Line::styled(DIM, "every partition: --partitions all"));
    lines
}

/// What is special about a partition.
fn note(partition: &PartitionStatus) -> String {
    let mut notes = vec![];
    let stays = partition.before == partition.target_offset;
    match partition.clamped.filter(|_| !stays) {
        Some(Clamp::BelowLogStart) => notes.push("offset deleted: first record".to_owned()),
        Some(Clamp::AboveLogEnd) => notes.push("beyond the log: its end".to_owned()),
        Some(Clamp::BeforeFirstRecord) => notes.push("older records deleted: first record".to_owned()),
        Some(Clamp::AfterLastRecord) => notes.push("no record that late: end of the log".to_owned()),
        Some(Clamp::PartitionEmpty) => notes.push("no records: end of the log".to_owned()),
        Some(Clamp::Unknown) => notes.push("moved into range".to_owned()),
        None => {}
    }
    match partition.outcome {
        PartitionOutcome::Failed => notes.push(partition.message.clone().unwrap_or_else(|| "failed".to_owned())),
        PartitionOutcome::Skipped => notes.push("left as it is".to_owned()),
        PartitionOutcome::Unconfirmed => notes.push("commit not confirmed".to_owned()),
        PartitionOutcome::Unchanged => notes.push("already there".to_owned()),
        PartitionOutcome::Planned | PartitionOutcome::Reset if partition.before == partition.target_offset => {
            notes.push("already there".to_owned());
        }
        PartitionOutcome::Planned | PartitionOutcome::Reset => {}
    }
    if partition.overwritten.is_some() {
        notes.push("overwritten since by another client".to_owned());
    }
    notes.join("; ")
}

fn sums(reset: &OffsetReset) -> Option<Line> {
    let status = reset.status.as_ref()?;
    let totals = status.totals?;
    let mut parts = vec![many(totals.partitions, "partition")];
    if totals.clamped > 0 {
        parts.push(format!("{} moved into range", count(totals.clamped)));
    }
    if totals.left_alone > 0 {
        parts.push(format!("{} left as is", count(totals.left_alone)));
    }
    let replay = format!("{} to replay, {} to skip", many(totals.replayed, "record"), count(totals.skipped));
    let planned = status.condition_message(ConditionType::Planned).filter(|_| totals.partitions == 0);
    let line = Line::styled(BOLD, format!("{}: {replay}", parts.join(", ")));
    Some(match planned {
        Some(planned) => line.and(format!("  {planned}")),
        None => line,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn partition(number: i32, before: Option<i64>, target: i64, rest: &Value) -> PartitionStatus {
        let mut object = json!({
            "topic": "orders", "partition": number, "before": before, "logStart": 0, "logEnd": 2_000_000, "targetOffset": target,
            "outcome": "Planned",
        });
        for (key, value) in rest.as_object().into_iter().flatten() {
            object[key] = value.clone();
        }
        serde_json::from_value(object).unwrap()
    }

    fn reset() -> OffsetReset {
        serde_json::from_value(json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "r"},
            "spec": {"kafka": {}, "group": "orders", "dryRun": true, "targetRefs": [{"name": "c"}]},
            "status": {
                "phase": "Planned", "dryRun": true, "warnings": ["helm owns spec.replicas"],
                "group": {"clusterId": "C", "type": "Classic", "state": "Stable", "membersBefore": 3, "members": 3},
                "targets": [{
                    "apiVersion": "apps/v1", "kind": "Deployment", "name": "c", "uid": "u", "originalReplicas": 3,
                    "autoscaler": {"kind": "ScaledObject", "name": "c"},
                }],
                "totals": {
                    "partitions": 3, "reset": 0, "failed": 0, "clamped": 1, "leftAlone": 1, "replayed": 24_879, "skipped": 2_880,
                },
            },
        }))
        .unwrap()
    }

    fn text(partitions: &[PartitionStatus], which: Option<Which>) -> Vec<String> {
        plan(&reset(), partitions, which, &TimeZone::UTC).iter().map(Line::text).collect()
    }

    #[test]
    fn a_connector_goes_to_stopped_and_back_to_its_state() {
        let mut reset = reset();
        let target = &mut reset.status.as_mut().unwrap().targets[0];
        (target.api_version, target.kind, target.name) =
            ("kafka.strimzi.io/v1".into(), "KafkaConnector".into(), "s3-sink".into());
        (target.original_replicas, target.original_state, target.autoscaler) = (1, Some("paused".into()), None);
        let shown = plan(&reset, &[], None, &TimeZone::UTC);
        assert_eq!(shown[1].text(), "WOULD STOP  KafkaConnector/s3-sink  paused → stopped → paused");
    }

    #[test]
    fn a_target_at_zero_stays_there() {
        let mut reset = reset();
        reset.status.as_mut().unwrap().targets[0].original_replicas = 0;
        let shown = plan(&reset, &[], None, &TimeZone::UTC);
        assert_eq!(shown[1].text(), "AT ZERO  Deployment/c  already, and stays so    and pause ScaledObject/c");
        let target = &mut reset.status.as_mut().unwrap().targets[0];
        (target.api_version, target.kind) = ("kafka.strimzi.io/v1".into(), "KafkaConnector".into());
        (target.original_state, target.autoscaler) = (Some("stopped".into()), None);
        let shown = plan(&reset, &[], None, &TimeZone::UTC);
        assert_eq!(shown[1].text(), "STOPPED  KafkaConnector/c  already, and stays so");
    }

    #[test]
    fn a_plan_has_the_group_the_targets_each_partition_the_sums_and_the_warnings() {
        let found = json!({"matchedTimestamp": "2026-11-24T18:00:00.041000Z", "replayed": 24_879});
        let late = json!({"clamped": "AfterLastRecord", "skipped": 2_880});
        let partitions = [
            partition(2, Some(988_120), 991_000, &late),
            partition(0, Some(1_204_881), 1_180_002, &found),
            partition(1, Some(1_198_400), 1_198_400, &json!({})),
        ];
        assert_eq!(
            text(&partitions, None),
            [
                "✔ cluster C, group orders is Stable: 3 members",
                "WOULD STOP  Deployment/c  3 → 0 → 3    and pause ScaledObject/c",
                "",
                "TOPIC   PART  COMMITTED     TARGET  RECORD OF                      REPLAY   SKIP  NOTE",
                "orders     0  1,204,881  1,180,002  2026-11-24 18:00:00.041+00:00  24,879      -",
                "orders     1  1,198,400  1,198,400  -                                   -      -  already there",
                "orders     2    988,120    991,000  -                                   -  2,880  no record that late: end of the log",
                "3 partitions, 1 moved into range, 1 left as is: 24,879 records to replay, 2,880 to skip",
                "⚠ helm owns spec.replicas",
            ]
        );
        let clamped = text(&partitions, Some(Which::Clamped));
        assert!(clamped.iter().filter(|line| line.starts_with("orders ")).count() == 1, "{clamped:?}");
    }

    #[rstest]
    #[case::known(
        &json!({"backlog": 4_000, "consumedPerMinute": 7_200, "producedPerMinute": 600, "catchUpAtLeast": "3m20s"}),
        Some("CATCH-UP  at least 3m20s: 4,000 to consume, 7,200/min consumed, 600/min produced")
    )]
    #[case::never(
        &json!({"backlog": 4_000, "consumedPerMinute": 60, "producedPerMinute": 600, "neverCatchesUp": true}),
        Some("CATCH-UP  never at these rates: 4,000 to consume, 60/min consumed, 600/min produced")
    )]
    #[case::unknown(
        &json!({"backlog": 4_000, "producedPerMinute": 600, "unknown": "NoBacklog"}),
        Some(
            "CATCH-UP  unknown: the group had consumed everything, so its consumers were not seen at full speed (4,000 to consume, 600/min produced)"
        )
    )]
    #[case::in_part(
        &json!({"backlog": 4_000, "consumedPerMinute": 60, "catchUpAtLeast": "3m20s", "unknown": "FewCommits"}),
        Some(
            "CATCH-UP  at least 3m20s, on some partitions unknown: the group committed less than twice within 12 seconds \
             (4,000 to consume, 60/min consumed)"
        )
    )]
    #[case::nothing_to_do(&json!({"backlog": 0, "catchUpAtLeast": "0s"}), None)]
    #[case::not_measured(&json!({"backlog": 4_000, "unknown": "NotMeasured"}), None)]
    fn the_time_to_catch_up_is_said_as_the_bound_that_it_is(#[case] total: &Value, #[case] expected: Option<&str>) {
        let mut reset = reset();
        let found = json!({"time": "2026-11-26T21:57:06.000000Z", "total": total});
        reset.status.as_mut().unwrap().forecast = Some(serde_json::from_value(found).unwrap());
        let lines: Vec<String> = plan(&reset, &[], None, &TimeZone::UTC).iter().map(Line::text).collect();
        assert_eq!(lines.iter().find(|line| line.starts_with("CATCH-UP")).map(String::as_str), expected, "{lines:?}");
    }

    #[test]
    fn many_partitions_are_one_line_for_each_topic() {
        let partitions: Vec<PartitionStatus> =
            (0..31).map(|number| partition(number, Some(50), number.into(), &json!({"replayed": 2}))).collect();
        let lines = text(&partitions, None);
        assert!(lines.contains(&"orders     31              0              30      62     -".to_owned()), "{lines:#?}");
        assert_eq!(text(&partitions, Some(Which::All)).iter().filter(|line| line.starts_with("orders ")).count(), 31);
    }
}
