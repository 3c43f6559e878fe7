//! The warnings of a plan, the most important ones first. None of them keeps the reset from running.

pub(in crate::machine) mod canary;
mod streams;
mod unconsumed;

use jiff::Timestamp;

use super::{Plan, membership, stoppable, workloads};
use crate::api::{MAX_WARNINGS, PartitionOutcome, PartitionStatus, RemainingMembers};
use crate::machine::{
    facts::{Access, Group, GroupType, Observed, PlanSeen, Seen, TopicPartition},
    metadata,
    refusal::Refusal,
    request::Request,
    text::{name_partitions, verb},
};

/// A target is close to the log's start when less than this part of the log lies before it.
const CLOSE: i64 = 100;

/// How many warnings a plan has at most: the report and the receipt may add one each.
const MAX_PLAN_WARNINGS: usize = MAX_WARNINGS - 2;

/// What else was found, of which a plan warns.
pub(in crate::machine) struct Findings<'a> {
    /// What a dry run does not wait for.
    pub passing: &'a [Refusal],
    /// What an earlier run of the same name and spec means for a dry run.
    pub earlier_run: Option<String>,
    /// What is to be said of the targets' autoscalers.
    pub autoscalers: Vec<String>,
    /// What is to be said of the replay.
    pub forecast: Vec<String>,
}

/// All warnings of a plan, bounded in number.
///
/// In this order: what an earlier run means; what may keep the consumers from stopping, or from coming back as they are; what the plan does to offsets that may be
/// unintended; what else is worth knowing.
#[must_use]
pub(in crate::machine) fn warnings(
    request: &Request,
    plan: &Plan,
    seen: &PlanSeen,
    observed: &Observed,
    findings: Findings<'_>,
    now: Timestamp,
) -> Vec<String> {
    let mut warnings: Vec<String> = findings.earlier_run.into_iter().collect();
    warnings.extend(stoppable::warnings(request, &observed.targets));
    warnings.extend(findings.passing.iter().map(|refusal| refusal.message.happened()));
    warnings.extend(membership::warning(request, &seen.group, &observed.targets, &observed.foreign_pods));
    warnings.extend(workloads::connectors::warnings(request, &observed.targets));
    warnings.extend(workloads::warnings(&request.targets, &observed.targets));
    warnings.extend(findings.autoscalers);
    warnings.extend(streams::warnings(request, plan, seen));
    warnings.extend(unconsumed::warning(request, seen));
    warnings.extend(moved_since(seen));
    warnings.extend(findings.forecast);
    warnings.extend(of_partitions(plan, &seen.access, now));
    warnings.extend(of_the_broker(request, seen));
    bounded(warnings)
}

fn bounded(mut warnings: Vec<String>) -> Vec<String> {
    if warnings.len() > MAX_PLAN_WARNINGS {
        let more = warnings.len() - MAX_PLAN_WARNINGS + 1;
        warnings.truncate(MAX_PLAN_WARNINGS - 1);
        warnings.push(format!("{more} more warnings, which are less important"));
    }
    warnings
}

/// What the plan does to single partitions.
fn of_partitions(plan: &Plan, access: &Access, now: Timestamp) -> Vec<String> {
    let mut warnings = vec![];
    let some = |wanted: &dyn Fn(&PartitionStatus) -> bool| -> Vec<TopicPartition> {
        let wanted = plan.partitions.iter().filter(|planned| wanted(planned));
        wanted.map(|planned| TopicPartition::new(&planned.topic, planned.partition)).collect()
    };
    let future = some(&|planned| planned.requested_timestamp.as_ref().is_some_and(|at| at.0 > now));
    if !future.is_empty() {
        warnings.push(format!(
            "the requested time is in the future for {}: the target is the end of the log",
            name_partitions(&future)
        ));
    }
    let removed = some(&|planned| planned.is_removal() && planned.outcome == PartitionOutcome::Planned);
    if !removed.is_empty() {
        warnings.push(format!(
            "the committed offset of {} is removed: consumers that subscribe to the topic start there as their auto.offset.reset says, at \
             the start of the log or at its end",
            name_partitions(&removed)
        ));
    }
    let without = some(&|planned| planned.before.is_none() && planned.outcome == PartitionOutcome::Planned);
    if !without.is_empty() && access.group_delete != Some(true) {
        let may = if access.group_delete.is_some() { "does not allow it" } else { "does not tell whether it allows that" };
        warnings.push(format!(
            "{} {} no committed offset, and an undo could not remove the new one: the broker {may} (Delete on the group)",
            name_partitions(&without),
            verb(&without, "has", "have")
        ));
    }
    let close = some(&is_close_to_the_start);
    if !close.is_empty() {
        warnings.push(format!(
            "the target is close to the start of the log for {}: retention may delete those records before they are consumed",
            name_partitions(&close)
        ));
    }
    let behind = some(&metadata::stays_behind);
    if !behind.is_empty() {
        warnings.push(format!(
            "the metadata from before is not restored on {}: the offset that it belongs to is out of range",
            name_partitions(&behind)
        ));
    }
    warnings.extend(plan.left_out.iter().cloned());
    warnings
}

/// What the broker does not offer.
fn of_the_broker(request: &Request, seen: &PlanSeen) -> Vec<String> {
    let mut warnings = vec![];
    if request.remaining_members == RemainingMembers::Remove
        && matches!(&seen.group, Group::Found(found) if found.group_type == GroupType::Consumer)
    {
        warnings.push(
            "remainingMembers: Remove has no effect: the group uses the new protocol (KIP-848), from which no other client can remove \
             members. The reset waits until the broker ends the sessions of members that do not leave"
                .to_owned(),
        );
    }
    let unproven = seen.topics.keys().filter(|topic| !matches!(seen.access.topics_read.get(*topic), Some(Some(_)))).count();
    if seen.access.group_read.is_none() || unproven > 0 {
        warnings.push(
            "commit permission cannot be checked in advance on this broker: a missing ACL would only show at the commit"
                .to_owned(),
        );
    }
    warnings
}

/// Whether retention is active and few records lie between the log's start and the target.
fn is_close_to_the_start(planned: &PartitionStatus) -> bool {
    let length = planned.log_end.saturating_sub(planned.log_start);
    planned.outcome == PartitionOutcome::Planned
        && planned.log_start > 0
        && planned.target_offset.is_some_and(|target| target < planned.log_end)
        && planned.headroom.saturating_mul(CLOSE) < length
}

/// An undo replays what the group has consumed since.
fn moved_since(seen: &PlanSeen) -> Option<String> {
    let Some(Seen::Known(undone)) = &seen.undone else { return None };
    let moved: Vec<TopicPartition> = undone
        .partitions
        .iter()
        .filter(|planned| planned.outcome == PartitionOutcome::Reset)
        .map(|planned| (TopicPartition::new(&planned.topic, planned.partition), planned.after))
        .filter(|(at, after)| {
            let now = seen.committed.get(at).and_then(|committed| committed.as_ref().ok()).and_then(Option::as_ref);
            now.map(|committed| committed.offset) != *after
        })
        .map(|(at, _)| at)
        .collect();
    (!moved.is_empty()).then(|| {
        format!(
            "the group's offset has changed since OffsetReset {} on {}: the undo restores the offset before that reset all the same",
            undone.name,
            name_partitions(&moved)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_warnings_leave_room_for_later_ones_and_say_how_many_are_missing() {
        let many = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(bounded(many(MAX_PLAN_WARNINGS)), many(MAX_PLAN_WARNINGS));
        let cut = bounded(many(40));
        assert_eq!((cut.len(), cut[28].as_str()), (MAX_PLAN_WARNINGS, "28"));
        assert_eq!(cut[29], "11 more warnings, which are less important");
    }
}
