//! The warnings of a plan. None of them keeps the reset from running.

use jiff::Timestamp;

use super::{Plan, workloads};
use crate::api::{MAX_WARNINGS, PartitionOutcome, PartitionStatus, RemainingMembers};
use crate::machine::{
    facts::{Group, GroupMember, GroupType, PlanSeen, Pod, Seen, TopicPartition, Workload, group},
    metadata,
    request::Request,
    text::{name_partitions, verb},
};

/// A target is close to the log's start when less than this part of the log lies before it.
const CLOSE: i64 = 100;

/// All warnings of a plan, bounded in number.
#[must_use]
pub(in crate::machine) fn warnings(
    request: &Request,
    plan: &Plan,
    seen: &PlanSeen,
    workloads: &[Seen<Workload>],
    pods: &[&Pod],
    now: Timestamp,
) -> Vec<String> {
    let mut warnings = workloads::warnings(&request.targets, workloads);
    warnings.extend(plan.left_out.iter().cloned());
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
    let without = some(&|planned| planned.before.is_none());
    if !without.is_empty() {
        warnings.push(format!(
            "{} {} no committed offset, so undo cannot restore one",
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
    let outside_members = outside_members(&seen.group, pods);
    if !request.targets.is_empty() && !outside_members.is_empty() {
        let names: Vec<String> =
            outside_members.iter().map(|member| format!("{} at {}", member.client_id, member.host)).collect();
        let (first, more) = (names.iter().take(5).cloned().collect::<Vec<_>>().join("; "), names.len().saturating_sub(5));
        let more = if more > 0 { format!("; {more} more") } else { String::new() };
        warnings.push(format!(
            "{} of {} group members do not run in a target pod: {first}{more}. Unless NAT hides their address, another workload uses the \
             group, and stopping the targets will not empty it",
            names.len(),
            group::members(&seen.group)
        ));
    }
    if matches!(&seen.group, Group::Found(found) if found.assignor == "stream") {
        warnings.push(
            "the group belongs to a Kafka Streams application: its state stores and internal topics are not reset with the offsets, and may \
             no longer match them. kafka-streams-application-reset resets those, too"
                .to_owned(),
        );
    }
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
    if let Some(moved) = moved_since(seen) {
        warnings.push(moved);
    }
    if warnings.len() > MAX_WARNINGS {
        let more = warnings.len() - MAX_WARNINGS + 1;
        warnings.truncate(MAX_WARNINGS - 1);
        warnings.push(format!("{more} more warnings"));
    }
    warnings
}

/// Whether retention is active and few records lie between the log's start and the target.
fn is_close_to_the_start(planned: &PartitionStatus) -> bool {
    let length = planned.log_end.saturating_sub(planned.log_start);
    planned.outcome == PartitionOutcome::Planned
        && planned.log_start > 0
        && planned.target_offset < planned.log_end
        && planned.headroom.saturating_mul(CLOSE) < length
}

fn outside_members<'a>(group: &'a Group, pods: &[&Pod]) -> Vec<&'a GroupMember> {
    let members = match group {
        Group::NotFound => &[][..],
        Group::Found(found) => &found.members,
    };
    members.iter().filter(|member| !pods.iter().any(|pod| pod.ips.contains(&member.host))).collect()
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
