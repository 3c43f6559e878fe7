//! Which partitions a request means, each with where it is to go. Resolved once, in planning, and frozen in the plan.

use crate::api::{MAX_PARTITIONS, PartitionOutcome, Position, Reason};
use crate::machine::text::name_some;
use crate::machine::{
    facts::{Committed, KafkaError, KafkaErrorKind, PerPartition, PlanSeen, Seen, TopicPartition, Undone},
    refusal::Refusal,
    request::{Entry, Goal, Request, Scope, Work},
};
use std::collections::{BTreeMap, BTreeSet};

/// What a request comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scoped {
    /// Every partition that is to be planned.
    pub goals: BTreeMap<TopicPartition, Goal>,
    /// What the request might have meant and does not: for the plan's warnings.
    pub left_out: Vec<String>,
}

/// The topics that a request is about, as far as names and commits tell: their partitions are asked for next.
#[must_use]
pub fn topics(request: &Request, seen: &PlanSeen) -> BTreeSet<String> {
    let mut topics = BTreeSet::new();
    for entry in request.entries() {
        match &entry.scope {
            Scope::Topic(topic) => {
                topics.insert(topic.clone());
            }
            Scope::Pattern(pattern) => {
                let with_commits = with_commits(&entry.goal, seen).map(|at| &at.topic);
                topics.extend(with_commits.filter(|topic| pattern.is_match(topic)).cloned());
            }
        }
    }
    if let Some(Seen::Known(undone)) = &seen.undone {
        topics.extend(set_by(undone).map(|(at, _)| at.topic));
    }
    topics
}

/// The partitions on which the group has committed whose commits an entry goes by.
fn with_commits<'a>(goal: &Goal, seen: &'a PlanSeen) -> impl Iterator<Item = &'a TopicPartition> {
    let commits = match goal.source_group() {
        Some(source) => seen.sources.get(source).and_then(|commits| commits.as_ref().ok()),
        None => Some(&seen.committed),
    };
    // A commit that could not be read is a commit.
    commits.into_iter().flatten().filter(|(_, committed)| !matches!(committed, Ok(None))).map(|(at, _)| at)
}

/// The partitions that a reset has set or may have set, each with what was committed before.
fn set_by(undone: &Undone) -> impl Iterator<Item = (TopicPartition, Option<i64>)> {
    let set =
        undone.partitions.iter().filter(|done| matches!(done.outcome, PartitionOutcome::Reset | PartitionOutcome::Unconfirmed));
    set.map(|partition| (TopicPartition::new(&partition.topic, partition.partition), partition.before))
}

/// Every partition that the request means, with its goal; needs the topics' partitions, not yet their bounds.
///
/// # Errors
/// When a topic or a partition does not exist, two entries mean the same partition, nothing is meant, or there are too many.
pub fn expand(request: &Request, seen: &PlanSeen) -> Result<Scoped, Vec<Refusal>> {
    let mut expansion =
        Expansion { seen, group: &request.group, scoped: Scoped::default(), meant_by: BTreeMap::new(), refusals: vec![] };
    match &request.work {
        Work::Entries(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                expansion.entry(index, entry);
            }
        }
        Work::Undo(name) => expansion.undo(name, &request.group),
    }
    let Expansion { scoped, mut refusals, .. } = expansion;
    if scoped.goals.len() > MAX_PARTITIONS {
        let message =
            format!("the plan has {} partitions; one OffsetReset may have {MAX_PARTITIONS}: split it", scoped.goals.len());
        refusals.push(Refusal::lasting(Reason::TooManyPartitions, message));
    }
    if refusals.is_empty() && scoped.goals.is_empty() {
        let message = format!("no partition is left to be reset. {}", scoped.left_out.join("; "));
        refusals.push(Refusal::lasting(Reason::NothingToReset, message.trim()));
    }
    if refusals.is_empty() { Ok(scoped) } else { Err(refusals) }
}

struct Expansion<'a> {
    seen: &'a PlanSeen,
    group: &'a str,
    scoped: Scoped,
    meant_by: BTreeMap<TopicPartition, usize>,
    refusals: Vec<Refusal>,
}

impl<'a> Expansion<'a> {
    fn refuse(&mut self, reason: Reason, message: String) {
        // Several entries may be about the same topic that does not exist.
        if !self.refusals.iter().any(|refusal| refusal.message == message) {
            self.refusals.push(Refusal::lasting(reason, message));
        }
    }

    fn refuse_for(&mut self, error: &KafkaError, about: &str) {
        let refusal = Refusal::from_kafka(error, about);
        if !self.refusals.contains(&refusal) {
            self.refusals.push(refusal);
        }
    }

    /// The partitions of a topic that was asked about; `None` when they are not known, which then has been refused.
    fn existing(&mut self, topic: &str) -> Option<&'a [i32]> {
        match self.seen.topics.get(topic) {
            Some(Ok(existing)) => return Some(existing),
            Some(Err(error)) if error.kind == KafkaErrorKind::UnknownTopicOrPartition => {
                self.refuse(Reason::TopicNotFound, format!("topic {topic} does not exist"));
            }
            Some(Err(error)) => self.refuse_for(error, &format!("topic {topic}")),
            None => self.refusals.push(Refusal::passing(Reason::KafkaError, format!("topic {topic} was not looked at"))),
        }
        None
    }

    fn entry(&mut self, index: usize, entry: &Entry) {
        let wanted = match &entry.scope {
            Scope::Topic(topic) => self.named(index, topic, entry.partition),
            Scope::Pattern(pattern) => self.matching(index, pattern.as_str(), |topic| pattern.is_match(topic), entry),
        };
        let mut without = vec![];
        for at in wanted {
            let goal = match &entry.goal {
                Goal::FromGroup(source) => match self.of_source(source, &at) {
                    Found::Commit => entry.goal.clone(),
                    Found::None if entry.partition.is_none() => {
                        without.push(at);
                        continue;
                    }
                    Found::None => {
                        let message = format!("resets[{index}]: group {source} has no committed offset for partition {at}");
                        self.refuse(Reason::NoCommittedOffset, message);
                        continue;
                    }
                    Found::Refused => continue,
                },
                Goal::Position(Position::Current) if !self.seen.committed.contains_key(&at) => {
                    without.push(at);
                    continue;
                }
                goal => goal.clone(),
            };
            self.mean(index, at, goal);
        }
        if !without.is_empty() {
            let group = entry.goal.source_group().unwrap_or(self.group);
            let message = format!("group {group} has no committed offset for {}: left as they are", name_some(&without));
            self.scoped.left_out.push(message);
        }
    }

    fn mean(&mut self, index: usize, at: TopicPartition, goal: Goal) {
        if let Some(first) = self.meant_by.get(&at) {
            let message = format!("resets[{first}] and resets[{index}] both mean partition {at}; leave it out of one of them");
            self.refuse(Reason::DuplicatePartition, message);
        } else {
            self.meant_by.insert(at.clone(), index);
            self.scoped.goals.insert(at, goal);
        }
    }

    /// One partition of a topic that is named, or all that it has.
    fn named(&mut self, index: usize, topic: &str, partition: Option<i32>) -> Vec<TopicPartition> {
        let Some(existing) = self.existing(topic) else { return vec![] };
        match partition {
            None => existing.iter().map(|&partition| TopicPartition::new(topic, partition)).collect(),
            Some(partition) if existing.contains(&partition) => vec![TopicPartition::new(topic, partition)],
            Some(partition) => {
                let has = existing.len();
                let message = format!("resets[{index}]: topic {topic} has no partition {partition} (it has {has}, from 0)");
                self.refuse(Reason::PartitionNotFound, message);
                vec![]
            }
        }
    }

    /// The partitions with a commit of the topics that match. What has a commit and does not exist any more is left out: nobody named it.
    fn matching(&mut self, index: usize, pattern: &str, matches: impl Fn(&str) -> bool, entry: &Entry) -> Vec<TopicPartition> {
        if let Some(source) = entry.goal.source_group()
            && let Some(Err(error)) = self.seen.sources.get(source)
        {
            self.refuse_for(error, &format!("group {source}"));
            return vec![];
        }
        let right_partition = |at: &&TopicPartition| entry.partition.is_none_or(|partition| partition == at.partition);
        let seen = self.seen;
        let candidates = with_commits(&entry.goal, seen).filter(|at| matches(&at.topic)).filter(right_partition);
        let (mut wanted, mut gone) = (vec![], vec![]);
        let mut any = false;
        for at in candidates {
            any = true;
            match seen.topics.get(&at.topic) {
                Some(Ok(existing)) if existing.contains(&at.partition) => wanted.push(at.clone()),
                Some(Ok(_)) => gone.push(at.clone()),
                Some(Err(error)) if error.kind == KafkaErrorKind::UnknownTopicOrPartition => gone.push(at.clone()),
                Some(Err(_)) | None => {
                    self.existing(&at.topic);
                }
            }
        }
        let group = entry.goal.source_group().unwrap_or(self.group);
        if !any {
            let message = format!(
                "resets[{index}]: group {group} has no committed offset for any topic that matches '{pattern}'; a topic without \
                 a commit has to be named"
            );
            self.refuse(Reason::NothingToReset, message);
        }
        if !gone.is_empty() {
            let message =
                format!("group {group} has committed offsets for {}, which do not exist any more: left out", name_some(&gone));
            self.scoped.left_out.push(message);
        }
        wanted
    }

    fn of_source(&mut self, source: &str, at: &TopicPartition) -> Found {
        match self.seen.sources.get(source) {
            Some(Ok(commits)) => match commit_of(commits, at) {
                Ok(Some(_)) => Found::Commit,
                Ok(None) => Found::None,
                Err(error) => {
                    self.refuse_for(error, &format!("group {source}, partition {at}"));
                    Found::Refused
                }
            },
            Some(Err(error)) => {
                self.refuse_for(error, &format!("group {source}"));
                Found::Refused
            }
            None => {
                self.refusals.push(Refusal::passing(Reason::KafkaError, format!("group {source} was not looked at")));
                Found::Refused
            }
        }
    }

    fn undo(&mut self, name: &str, group: &str) {
        let undone = match &self.seen.undone {
            Some(Seen::Known(undone)) => undone,
            Some(Seen::Missing) => {
                let message = format!(
                    "OffsetReset {name}, which is to be taken back, does not exist in this namespace (its report goes with it)"
                );
                return self.refuse(Reason::UndoNotPossible, message);
            }
            Some(Seen::Unknown(why)) => {
                let message = format!("OffsetReset {name}, which is to be taken back, could not be read: {why}");
                return self.refusals.push(Refusal::passing(Reason::UndoNotPossible, message));
            }
            None => {
                let message = format!("OffsetReset {name}, which is to be taken back, was not looked at");
                return self.refusals.push(Refusal::passing(Reason::UndoNotPossible, message));
            }
        };
        if undone.group != group {
            let message =
                format!("OffsetReset {name} was about group {}, and this one is about {group}. Name its group", undone.group);
            return self.refuse(Reason::UndoNotPossible, message);
        }
        let same_cluster = match (&undone.cluster_id, &self.seen.cluster_id) {
            (Some(theirs), Some(ours)) => theirs == ours,
            (None, _) | (_, None) => undone.same_brokers,
        };
        if !same_cluster {
            let message =
                format!("OffsetReset {name} was about another cluster, or about other brokers: make sure that this is the one");
            self.scoped.left_out.push(message);
        }
        let (mut any, mut without, mut gone) = (false, vec![], vec![]);
        for (at, before) in set_by(undone) {
            any = true;
            match self.seen.topics.get(&at.topic) {
                Some(Ok(existing)) if existing.contains(&at.partition) => match before {
                    Some(before) => self.mean(0, at, Goal::Recorded(before)),
                    None => without.push(at),
                },
                Some(Ok(_)) => gone.push(at),
                Some(Err(error)) if error.kind == KafkaErrorKind::UnknownTopicOrPartition => gone.push(at),
                Some(Err(_)) | None => {
                    self.existing(&at.topic);
                }
            }
        }
        if !any {
            self.refuse(Reason::UndoNotPossible, format!("OffsetReset {name} has set no offset: there is nothing to take back"));
        }
        if !without.is_empty() {
            let message =
                format!("before OffsetReset {name} nothing was committed for {}: they are left as they are", name_some(&without));
            self.scoped.left_out.push(message);
        }
        if !gone.is_empty() {
            let message = format!("OffsetReset {name} has set {}, which do not exist any more: left out", name_some(&gone));
            self.scoped.left_out.push(message);
        }
    }
}

enum Found {
    Commit,
    None,
    Refused,
}

/// What was committed for a partition, out of everything that a group has committed.
///
/// # Errors
/// The partition's own.
pub fn commit_of<'a>(
    all: &'a PerPartition<Option<Committed>>,
    at: &TopicPartition,
) -> Result<Option<&'a Committed>, &'a KafkaError> {
    match all.get(at) {
        Some(Ok(committed)) => Ok(committed.as_ref()),
        Some(Err(error)) => Err(error),
        None => Ok(None),
    }
}
