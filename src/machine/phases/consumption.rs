//! Whether the offsets of the reset stood: the group consumes from them, or another client has
//! committed over them.
//!
//! The read-back in Resetting tells that an offset was stored. Until the first consumer is there,
//! any client may still commit over it, as the group has no members: MirrorMaker 2 with
//! `sync.group.offsets.enabled` does so every 60 seconds. Nothing can hold the offset meanwhile, so
//! the operator looks at it afterwards, whatever has delayed the restore.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use crate::api::{
    ConditionType, ConsumptionStatus, OffsetResetStatus, OverwriteEvidence, OverwrittenStatus, PartitionOutcome, PartitionStatus,
    Phase, Reason, Restored, SlowestPartitionStatus,
};
use crate::machine::{
    facts::{AfterResetSeen, Bounds, Committed, KafkaSeen, Observed, Seen, TopicPartition, UndoSeen, group},
    guards::Guard,
    metadata,
    pass::Pass,
    request::Request,
    text::{Message, count, list, name_partitions, seconds, verb},
    time::{clock, later},
};

/// How many overwritten offsets a message names.
const NAMED: usize = 5;

/// Begins to look at the offsets, when any was reset. Returns whether it does.
pub(super) fn begin(pass: &mut Pass<'_>, deadline: Timestamp) -> bool {
    // The canary has proven it.
    if pass.status.is_condition(ConditionType::ConsumptionProven, Reason::ConsumptionContinued) {
        return false;
    }
    let cancelled = pass.status.outcome.as_ref().is_some_and(|outcome| outcome.phase == Phase::Cancelled);
    let status = &pass.status;
    // The report of a large plan can be lost.
    let any = status.partitions_omitted > 0 || status.partitions.iter().any(is_looked_at);
    if cancelled || pass.totals().reset == 0 || !any {
        return false;
    }
    let message = format!("The group has not consumed from the offsets yet; it should have by {}", clock(&MicroTime(deadline)));
    pass.condition(ConditionType::ConsumptionProven, None, Reason::WaitingForConsumption, message);
    true
}

/// Whether the offset of a partition shows that the group consumes from it. A partition whose offset was removed needs no proof: most
/// likely the group has left the topic.
#[must_use]
pub fn is_looked_at(partition: &PartitionStatus) -> bool {
    partition.outcome == PartitionOutcome::Reset && partition.target_offset.is_some()
}

/// Whether the offsets have to be read again to know what became of them.
pub(in crate::machine) fn needs_offsets(status: &OffsetResetStatus) -> bool {
    let kind = ConditionType::ConsumptionProven.as_str();
    status.conditions.iter().any(|condition| condition.type_ == kind && condition.status != "True")
}

/// Looks at the offsets, and returns whether nothing more has to be learned of them.
///
/// `late`: the consumers should have resumed by now. `over`: the operator looks for the last time.
pub(super) fn look(pass: &mut Pass<'_>, request: Option<&Request>, late: bool, over: bool) -> bool {
    if !needs_offsets(&pass.status) {
        return true;
    }
    let seen = match &pass.seen.kafka {
        KafkaSeen::AfterReset(seen) => Some(seen),
        KafkaSeen::NotAsked | KafkaSeen::Failed(_) | KafkaSeen::ForPlan(_) | KafkaSeen::ForCommit(_) | KafkaSeen::Group(_) => {
            None
        }
    };
    let overwritten_before = pass.status.consumption.as_ref().map_or(0, |consumption| consumption.overwritten);
    let waiting = seen.map(|seen| judge_all(pass, request, seen, late)).unwrap_or_default();
    let counts = pass.status.consumption.clone().unwrap_or_default();
    if counts.overwritten > 0 {
        if counts.overwritten != overwritten_before {
            let message = overwritten(&pass.status, pass.seen.undo.as_ref());
            pass.condition(ConditionType::ConsumptionProven, Some(false), Reason::OffsetsOverwritten, message.full());
            pass.note(true, Reason::OffsetsOverwritten, message.full(), None);
        }
        return true;
    }
    let read = seen.is_some();
    // The report of a large plan can be lost.
    let listed = pass.status.partitions.len();
    let listed = if pass.status.partitions_omitted > 0 {
        format!(". Only the {listed} partitions of status.partitions were looked at, because the report could not be read")
    } else {
        String::new()
    };
    let without = without_records(&counts);
    if read && counts.waiting == 0 && counts.continued > 0 {
        let partitions = count(counts.continued, "partition", "partitions");
        let message = format!("The group has committed past the target on {partitions}{without}{listed}");
        pass.condition(ConditionType::ConsumptionProven, Some(true), Reason::ConsumptionContinued, &message);
        pass.note(false, Reason::ConsumptionContinued, message, None);
        return true;
    }
    if read && counts.waiting == 0 && (late || counts.first_member_time.is_some()) {
        let partitions = count(counts.without_records, "partition", "partitions");
        let offsets = standing(&pass.status);
        let message = format!("{offsets}, and there is no record to consume on {partitions}{listed}");
        pass.condition(ConditionType::ConsumptionProven, Some(true), Reason::NothingToConsume, message);
        return true;
    }
    let still = if !read {
        "The offsets could not be read again yet".to_owned()
    } else if waiting.is_empty() {
        format!("{}{without}", standing(&pass.status))
    } else {
        let partitions = name_partitions(&waiting);
        let has = verb(&waiting, "has", "have");
        format!("The group has not committed past the target on {partitions}, which {has} records to consume{without}")
    };
    let reason = if late { Reason::NothingConsumedYet } else { Reason::WaitingForConsumption };
    let hold = pass.status.hold.as_ref();
    let until = hold.and_then(|hold| hold.watched_until.as_ref()).map(clock).unwrap_or_default();
    let next =
        if over { "The operator no longer reads them".to_owned() } else { format!("The operator reads them until {until}") };
    pass.condition(ConditionType::ConsumptionProven, None, reason, format!("{still}. {next}"));
    false
}

/// What the offsets tell of a canary.
pub(super) enum Proof {
    /// They could not be read.
    Unread,
    /// Another client has committed over one.
    Overwritten,
    /// One was committed just now while the group had no member: by a consumer that has crashed since, or by another client.
    Unseen,
    /// A consumer is there, and there is no record to consume on any partition.
    NoRecords,
    /// The group has committed past the target on every partition with records, now or before.
    Proven,
    /// It has not on these partitions, which have records; without any, no consumer has joined yet.
    Waiting(Vec<TopicPartition>),
}

/// Looks at the offsets while a canary runs. `reported`: how soon a crash of a consumer is reported.
pub(super) fn prove(pass: &mut Pass<'_>, request: &Request, reported: SignedDuration) -> Proof {
    let KafkaSeen::AfterReset(seen) = &pass.seen.kafka else { return Proof::Unread };
    let waiting = judge_all(pass, Some(request), seen, false);
    let counts = pass.status.consumption.clone().unwrap_or_default();
    let of = counts.continued + counts.waiting;
    if counts.overwritten > 0 {
        let may_be_own = |found: &OverwrittenStatus| is_unseen(found) && pass.now < later(found.time.0, reported);
        if pass.status.partitions.iter().filter_map(|partition| partition.overwritten.as_ref()).all(may_be_own) {
            return Proof::Unseen;
        }
        let message = overwritten(&pass.status, pass.seen.undo.as_ref());
        pass.condition(ConditionType::ConsumptionProven, Some(false), Reason::OffsetsOverwritten, message.full());
        pass.note(true, Reason::OffsetsOverwritten, message.full(), None);
        return Proof::Overwritten;
    }
    // A record that arrives later, on a partition that had none, takes nothing back.
    if pass.status.canary.as_ref().is_some_and(|canary| canary.proven_time.is_some()) {
        return Proof::Proven;
    }
    let without = without_records(&counts);
    if Guard::CanaryConsumed.allows(counts.waiting == 0 && counts.continued > 0) {
        let partitions = count(counts.continued, "partition", "partitions");
        let message = format!("The canary has committed past the target on {partitions}{without}");
        pass.condition(ConditionType::ConsumptionProven, None, Reason::WaitingForConsumption, message);
        let now = pass.instant();
        if let Some(canary) = &mut pass.status.canary {
            canary.proven_time = Some(now);
        }
        return Proof::Proven;
    }
    let message = format!("The canary has committed past the target on {} of {of} partitions{without}", counts.continued);
    pass.condition(ConditionType::ConsumptionProven, None, Reason::WaitingForConsumption, message);
    if counts.waiting == 0 && counts.first_member_time.is_some() { Proof::NoRecords } else { Proof::Waiting(waiting) }
}

/// The canary has passed.
pub(super) fn proven(pass: &mut Pass<'_>) {
    let message = pass.status.condition_message(ConditionType::ConsumptionProven).unwrap_or_default().to_owned();
    pass.condition(ConditionType::ConsumptionProven, Some(true), Reason::ConsumptionContinued, message);
}

/// The canary has failed: a commit by a consumer that was not seen was its own.
pub(super) fn was_of_canary(pass: &mut Pass<'_>) {
    let mut consumed = 0;
    for partition in &mut pass.status.partitions {
        consumed += i64::from(partition.overwritten.take_if(|found| is_unseen(found)).is_some());
    }
    if let Some(canary) = &mut pass.status.canary {
        canary.partitions_consumed += consumed;
    }
}

/// An offset past the target that was committed while the group had no member.
pub(super) fn is_unseen(found: &OverwrittenStatus) -> bool {
    found.evidence == OverwriteEvidence::WithoutMembers
}

/// Which offsets stand: those from before, after the undo of a canary.
fn standing(status: &OffsetResetStatus) -> &'static str {
    if status.partitions.iter().any(|partition| partition.undone.is_some()) {
        "The offsets are those from before the reset"
    } else {
        "The offsets are those of the reset"
    }
}

/// The partitions that prove nothing, as the end of a sentence.
fn without_records(counts: &ConsumptionStatus) -> String {
    if counts.without_records == 0 {
        return String::new();
    }
    let partitions = count(counts.without_records, "partition has", "partitions have");
    format!("; {partitions} no record from the target on")
}

/// What became of the offset of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The group has consumed from it.
    Continued,
    /// Another client has committed over it.
    Overwritten(OverwriteEvidence),
    /// It stands, and there are records to consume; or it is not known yet.
    Waiting,
    /// It stands, and there is no record to consume.
    WithoutRecords,
}

/// Counts what became of each partition, records the offsets that were overwritten, and returns the
/// partitions that wait.
fn judge_all(pass: &mut Pass<'_>, request: Option<&Request>, seen: &AfterResetSeen, late: bool) -> Vec<TopicPartition> {
    let now = pass.instant();
    let before = pass.status.consumption.take().unwrap_or_default();
    let mut counts = ConsumptionStatus {
        first_member_time: before.first_member_time,
        first_commit_time: before.first_commit_time,
        time_to_first_commit: before.time_to_first_commit,
        catch_up: before.catch_up,
        ..ConsumptionStatus::default()
    };
    if group::members(&seen.group) > 0 {
        counts.first_member_time.get_or_insert_with(|| now.clone());
    }
    let may_have_run = late || counts.first_member_time.is_some() || consumers_may_have_run(pass, request);
    let (mut waiting, mut continued) = (vec![], vec![]);
    for partition in pass.status.partitions.iter_mut().filter(|partition| is_looked_at(partition)) {
        let at = TopicPartition::new(&partition.topic, partition.partition);
        let committed = seen.committed.get(&at).and_then(|answer| answer.as_ref().ok()).map(Option::as_ref);
        let bounds = seen.bounds.get(&at).and_then(|answer| answer.as_ref().ok());
        let by = committed.and_then(|found| set_by(partition, found, pass.seen));
        let standing = match committed {
            Some(_) if by.is_some() && partition.overwritten.is_none() => Standing::Overwritten(OverwriteEvidence::ByOffsetReset),
            Some(found) => {
                let end = seen.stable_ends.get(&at).and_then(|answer| answer.as_ref().ok());
                let bounds = bounds.map(|bounds| Bounds { end: end.map_or(bounds.end, |end| bounds.end.min(*end)), ..*bounds });
                judge(partition, found.map(|found| found.offset), bounds.as_ref(), may_have_run)
            }
            None => partition.overwritten.as_ref().map_or(Standing::Waiting, |found| Standing::Overwritten(found.evidence)),
        };
        match standing {
            Standing::Continued => {
                counts.continued += 1;
                continued.push(at);
            }
            Standing::WithoutRecords => counts.without_records += 1,
            Standing::Waiting => {
                counts.waiting += 1;
                waiting.push(at);
            }
            Standing::Overwritten(evidence) => {
                counts.overwritten += 1;
                let found = committed.flatten();
                partition.overwritten.get_or_insert(OverwrittenStatus {
                    offset: found.map(|found| found.offset),
                    evidence,
                    offset_reset: by,
                    time: now.clone(),
                });
            }
        }
    }
    let since = pass.status.consumes_since().map(|start| pass.now.duration_since(start));
    // Where it continued already and no time is known, another version of the operator has seen it first.
    if counts.continued > 0 && counts.first_commit_time.is_none() && before.continued == 0 {
        counts.first_commit_time = Some(now.clone());
        counts.time_to_first_commit = since.map(seconds);
    }
    let look = Look { time: now, since };
    counts.slowest_partition = look.slowest(before.slowest_partition.as_ref(), &waiting, &continued, seen);
    pass.status.consumption = Some(counts);
    waiting
}

/// A look at the offsets.
struct Look {
    time: MicroTime,
    /// How long after the restore that is.
    since: Option<SignedDuration>,
}

impl Look {
    /// The slowest partition. One stays it while it waits, so that no other partition needs a time of its own.
    fn slowest(
        self,
        before: Option<&SlowestPartitionStatus>,
        waiting: &[TopicPartition],
        continued: &[TopicPartition],
        seen: &AfterResetSeen,
    ) -> Option<SlowestPartitionStatus> {
        let is_before = |at: &&TopicPartition| {
            before.is_some_and(|slow| (slow.topic.as_str(), slow.partition) == (at.topic.as_str(), at.partition))
        };
        if waiting.is_empty() {
            let last = match (before, continued.iter().find(is_before)) {
                (Some(known), _) if known.commit_time.is_some() => return Some(known.clone()),
                (Some(_), Some(last)) => last,
                // It was overwritten, or has no records any more: when another partition was the last is not known.
                (Some(known), None) => return Some(known.clone()),
                (None, _) => farthest(continued, seen)?,
            };
            return Some(SlowestPartitionStatus {
                topic: last.topic.clone(),
                partition: last.partition,
                commit_time: Some(self.time),
                time_to_commit: self.since.map(seconds),
            });
        }
        let at = waiting.iter().find(is_before).or_else(|| farthest(waiting, seen))?;
        Some(SlowestPartitionStatus { topic: at.topic.clone(), partition: at.partition, commit_time: None, time_to_commit: None })
    }
}

/// The partition with the most records between the committed offset and the end of the log.
fn farthest<'a>(partitions: &'a [TopicPartition], seen: &AfterResetSeen) -> Option<&'a TopicPartition> {
    let lag = |at: &&TopicPartition| {
        let end = seen.bounds.get(at)?.as_ref().ok()?.end;
        let committed = seen.committed.get(at)?.as_ref().ok()?.as_ref()?.offset;
        Some(end.saturating_sub(committed))
    };
    // Of several, the first one.
    partitions.iter().rev().max_by_key(lag)
}

/// The OffsetReset that has set or removed an offset: another one, whose mark it has, or the undo, which
/// restores what stood there before, and has no mark then.
fn set_by(partition: &PartitionStatus, found: Option<&Committed>, seen: &Observed) -> Option<String> {
    let offset = found.map(|found| found.offset);
    let undone = seen.undo.as_ref().filter(|undo| {
        let is_before = offset == partition.before && found.is_none_or(|found| found.metadata == metadata::before(partition));
        offset != partition.target_offset && (is_before || undo.committed)
    });
    // An undo restores the metadata from before, which may be the marker of another reset.
    let is_restored = offset == partition.target_offset
        && found.is_some_and(|found| metadata::to_restore(partition).as_ref() == Some(&found.metadata));
    let marked = found.filter(|_| !is_restored).and_then(|found| metadata::set_by(&found.metadata, &seen.uid));
    marked.or_else(|| undone.map(|undo| undo.name.clone()))
}

/// What the committed offset proves; `offset` is `None` when there is none. `may_have_run`: consumers
/// may have been members since the restore, so that an offset past the target may be theirs.
fn judge(partition: &PartitionStatus, offset: Option<i64>, bounds: Option<&Bounds>, may_have_run: bool) -> Standing {
    if let Some(overwritten) = &partition.overwritten {
        return Standing::Overwritten(overwritten.evidence);
    }
    let Some(target) = partition.target_offset else { return Standing::WithoutRecords };
    match offset {
        None => Standing::Overwritten(OverwriteEvidence::Deleted),
        // Consumers do not go back by themselves.
        Some(offset) if offset < target => Standing::Overwritten(OverwriteEvidence::BelowTarget),
        Some(offset) if offset == target => match bounds {
            Some(bounds) if bounds.end <= target => Standing::WithoutRecords,
            Some(_) | None => Standing::Waiting,
        },
        Some(offset) => match bounds {
            None => Standing::Waiting,
            // No consumer has read what is not there.
            Some(bounds) if offset > bounds.end => Standing::Overwritten(OverwriteEvidence::BeyondLogEnd),
            Some(_) if may_have_run => Standing::Continued,
            Some(_) => Standing::Overwritten(OverwriteEvidence::WithoutMembers),
        },
    }
}

/// Whether consumers may have committed without having been seen as members: they use assign(), a
/// container of theirs has come and gone, or a target was never at zero or is at zero again.
fn consumers_may_have_run(pass: &Pass<'_>, request: Option<&Request>) -> bool {
    let at_zero_again = pass.status.targets.iter().zip(&pass.seen.targets).any(|(target, seen)| match seen {
        Seen::Known(workload) => target.original_replicas > 0 && workload.replicas == 0,
        Seen::Missing | Seen::Unknown(_) => true,
    });
    request.is_none_or(|request| request.allow_no_members)
        || at_zero_again
        || pass.pods().iter().any(|pod| pod.crashed || pod.restarted || pod.terminated)
        || pass.status.targets.iter().any(|target| target.restored == Some(Restored::LeftAsScaledByOthers))
}

/// The offsets that were overwritten, what that means, and what to do.
fn overwritten(status: &OffsetResetStatus, undo: Option<&UndoSeen>) -> Message {
    let all: Vec<(&PartitionStatus, &OverwrittenStatus)> =
        status.partitions.iter().filter_map(|partition| Some((partition, partition.overwritten.as_ref()?))).collect();
    let at: Vec<TopicPartition> =
        all.iter().map(|(partition, _)| TopicPartition::new(&partition.topic, partition.partition)).collect();
    let mut others: Vec<&str> = all.iter().filter_map(|(_, found)| found.offset_reset.as_deref()).collect();
    others.sort_unstable();
    others.dedup();
    let resets = list(&others.iter().map(|other| (*other).to_owned()).collect::<Vec<_>>());
    let only_resets = all.iter().all(|(_, found)| found.offset_reset.is_some());
    let partitions = count(at.len(), "partition", "partitions");
    let only_undo = undo.is_some_and(|undo| others == [undo.name.as_str()]);
    let message = if only_resets && only_undo {
        Message::naming([&resets], |[resets]| format!("OffsetReset {resets} has undone this reset on {partitions}"))
    } else if only_resets {
        Message::naming([&resets], |[resets]| format!("OffsetReset {resets} has set the offset again on {partitions}"))
    } else {
        Message::new(format!("Another client has committed over the offset of the reset on {partitions}"))
    };
    let mut named: Vec<String> = all.iter().take(NAMED).map(|(partition, found)| describe(partition, found)).collect();
    if all.len() > NAMED {
        named.push(format!("{} more", all.len() - NAMED));
    }
    let message = message.detail(format!("It was {}: {}", name_partitions(&at), named.join("; ")));
    if only_resets {
        return message;
    }
    message.detail("The consumers do not continue from the targets there").advice(
        "Stop that client (MirrorMaker 2 with sync.group.offsets.enabled commits over groups without members every 60 seconds), and \
         create the reset again under a new name",
    )
}

fn describe(partition: &PartitionStatus, found: &OverwrittenStatus) -> String {
    let (topic, number, target) = (&partition.topic, partition.partition, partition.target_offset.unwrap_or_default());
    let before =
        if found.offset.is_some() && found.offset == partition.before { "the offset from before the reset, " } else { "" };
    let how = match (&found.offset_reset, found.evidence) {
        (Some(other), _) => format!("set by OffsetReset {other}"),
        (None, OverwriteEvidence::BelowTarget) => "below the target".to_owned(),
        (None, OverwriteEvidence::BeyondLogEnd) => "beyond the end of the log".to_owned(),
        (None, OverwriteEvidence::WithoutMembers) => "set while the group had no member".to_owned(),
        (None, OverwriteEvidence::Deleted) => "deleted".to_owned(),
        (None, OverwriteEvidence::ByOffsetReset | OverwriteEvidence::Unknown) => "set by another client".to_owned(),
    };
    let offset = found.offset.map_or_else(|| "no committed offset".to_owned(), |offset| offset.to_string());
    format!("{topic}-{number} has {offset} instead of {target}, {before}{how}")
}
