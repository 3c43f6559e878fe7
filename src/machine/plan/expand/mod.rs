//! The partitions that a request means, each with its goal. Resolved once, in planning, and frozen
//! in the plan.

mod selected;

use self::selected::{Selected, TopicCommits};
use crate::api::{MAX_PARTITIONS, PartitionOutcome, PartitionStatus, Position, Reason};
use crate::machine::{
    facts::{Committed, KafkaError, KafkaErrorKind, PerPartition, PlanSeen, Seen, TopicPartition, Undone},
    metadata,
    refusal::{NAME_ANOTHER_TARGET, PartitionRefusals, Problem, Refusal},
    request::{Entry, Goal, Partitions, Pattern, Request, Scope, TooComplex, Work, name_range},
    text::{Message, list, name_partitions, verb},
    topic_id::is_of_another_topic,
};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// The partitions that a request means.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scoped {
    /// Every partition that is to be planned.
    pub goals: BTreeMap<TopicPartition, Goal>,
    /// Warnings about partitions that the request might have meant and that are left out.
    pub left_out: Vec<String>,
}

/// The topics that a request is about, by their names and by commits: their partitions are asked
/// for next. Where matching the patterns costs too much, [`expand`] refuses.
#[must_use]
pub fn topics(request: &Request, seen: &PlanSeen) -> BTreeSet<String> {
    let mut topics = BTreeSet::new();
    let selected = Selected::of(request, seen);
    for entry in request.entries() {
        match (&entry.scope, &selected) {
            (Scope::Topic(topic), _) => {
                topics.insert(topic.clone());
            }
            (Scope::Pattern(pattern), Ok(selected)) => {
                for TopicCommits { topic, .. } in selected.topics(&entry.goal, pattern) {
                    if !topics.contains(*topic) {
                        topics.insert((*topic).to_owned());
                    }
                }
            }
            (Scope::Pattern(_), Err(TooComplex)) => {}
        }
    }
    if let Some(Seen::Known(undone)) = &seen.undone {
        topics.extend(set_by(undone).map(|(at, _)| at.topic));
    }
    topics
}

/// The partitions that a reset has set or may have set, each with what was committed before.
fn set_by(undone: &Undone) -> impl Iterator<Item = (TopicPartition, Option<Committed>)> {
    // An offset that the undo after a canary was to replace may still be that of the reset.
    let is_set = |done: &&PartitionStatus| {
        done.undone.is_some() || matches!(done.outcome, PartitionOutcome::Reset | PartitionOutcome::Unconfirmed)
    };
    undone.partitions.iter().filter(is_set).map(|partition| {
        let before = partition.before.map(|offset| Committed { offset, metadata: metadata::before(partition) });
        (TopicPartition::new(&partition.topic, partition.partition), before)
    })
}

/// Every partition that the request means, with its goal; needs the topics' partitions, not yet
/// their bounds.
///
/// # Errors
/// When a topic or a partition does not exist, two entries mean the same partition, nothing is
/// meant, or there are too many.
pub fn expand(request: &Request, seen: &PlanSeen) -> Result<Scoped, Vec<Refusal>> {
    let mut expansion = Expansion {
        seen,
        request,
        scoped: Scoped::default(),
        meant_by: BTreeMap::new(),
        refusals: vec![],
        said: HashSet::new(),
        problems: PartitionRefusals::default(),
    };
    match &request.work {
        Work::Entries(entries) => match Selected::of(request, seen) {
            Ok(selected) => {
                for (index, entry) in entries.iter().enumerate() {
                    expansion.entry(index, entry, &selected);
                }
            }
            Err(TooComplex) => expansion.refuse(
                Reason::InvalidSpec,
                Message::new("The topicPatterns are too complex to match all topics with commits")
                    .detail("They would need more memory than one OffsetReset may use")
                    .advice("Name topics, use fewer or simpler patterns, or split the reset into several"),
            ),
        },
        Work::Undo(name) => expansion.undo(name, &request.group),
        // Not reached: before a plan is made, the lines of the file become entries (`Request::with_file`), and without the
        // file Kafka is not queried.
        Work::File(_) => {
            expansion.refusals.push(Refusal::passing(Reason::ResetsFromUnavailable, "The file of spec.resetsFrom was not read"));
        }
    }
    let Expansion { scoped, mut refusals, problems, .. } = expansion;
    if scoped.goals.len() > MAX_PARTITIONS {
        let message = Message::new(format!(
            "The plan has {} partitions, more than the {MAX_PARTITIONS} of one OffsetReset",
            scoped.goals.len()
        ))
        .advice("Split the reset into several");
        refusals.push(Refusal::lasting(Reason::TooManyPartitions, message));
    }
    refusals.extend(problems.into_refusals());
    if refusals.is_empty() && scoped.goals.is_empty() {
        let message = Message::new("No partition remains to be reset")
            .detail(scoped.left_out.join(". "))
            .advice("Correct spec.resets, and create the reset under a new name");
        refusals.push(Refusal::lasting(Reason::NothingToReset, message));
    }
    if refusals.is_empty() { Ok(scoped) } else { Err(refusals) }
}

struct Expansion<'a> {
    seen: &'a PlanSeen,
    request: &'a Request,
    scoped: Scoped,
    meant_by: BTreeMap<TopicPartition, usize>,
    refusals: Vec<Refusal>,
    /// What the refusals say: several entries may be about the same topic that does not exist.
    said: HashSet<Message>,
    problems: PartitionRefusals,
}

impl<'a> Expansion<'a> {
    fn refuse(&mut self, reason: Reason, message: Message) {
        self.add(Refusal::lasting(reason, message));
    }

    fn refuse_for(&mut self, error: &KafkaError, about: &str) {
        self.add(Refusal::from_kafka(error, about));
    }

    /// What to do about a topic or a partition that does not exist.
    fn correction(&self) -> &'static str {
        if self.request.lines.is_empty() { CORRECT_RESETS } else { CORRECT_FILE }
    }

    fn add(&mut self, refusal: Refusal) {
        if self.said.insert(refusal.message.clone()) {
            self.refusals.push(refusal);
        }
    }

    /// The partitions of a topic that was asked about; `None` when they are not known, which then
    /// has been refused.
    fn existing(&mut self, topic: &str) -> Option<&'a [i32]> {
        match self.seen.topics.get(topic) {
            Some(Ok(existing)) => return Some(existing),
            Some(Err(error)) if error.kind == KafkaErrorKind::UnknownTopicOrPartition => {
                let message = Message::naming([topic], |[topic]| format!("Topic {topic} does not exist"));
                self.refuse(Reason::TopicNotFound, message.advice(self.correction()));
            }
            Some(Err(error)) => self.refuse_for(error, &format!("topic {topic}")),
            None => {
                let message = Message::naming([topic], |[topic]| format!("Topic {topic} is missing from the broker's answer"));
                self.refusals.push(Refusal::passing(Reason::KafkaError, message));
            }
        }
        None
    }

    fn entry(&mut self, index: usize, entry: &Entry, selected: &Selected<'_>) {
        let wanted = match &entry.scope {
            Scope::Topic(topic) => self.named(index, topic, &entry.partitions),
            Scope::Pattern(pattern) => self.matching(index, pattern, selected, entry),
        };
        let mut without = vec![];
        for at in wanted {
            let goal = match &entry.goal {
                Goal::FromGroup(source) => match self.of_source(source, &at) {
                    Found::Commit => entry.goal.clone(),
                    Found::None if entry.partitions.is_all() => {
                        without.push(at);
                        continue;
                    }
                    Found::None => {
                        let one = format!("has no committed offset of group {source}");
                        let many = format!("have no committed offset of group {source}");
                        let problem = Problem::lasting(Reason::NoCommittedOffset, &one, &many, NAME_ANOTHER_TARGET);
                        self.problems.add(at, problem);
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
            let group = entry.goal.source_group().unwrap_or(&self.request.group);
            let named = name_partitions(&without);
            let message = format!("group {group} has no committed offset for {named}, so {}", are_left(&without));
            self.scoped.left_out.push(message);
        }
    }

    fn mean(&mut self, index: usize, at: TopicPartition, goal: Goal) {
        if let Some(first) = self.meant_by.get(&at) {
            let (one, many) = (
                format!("is in resets[{first}] and in resets[{index}]"),
                format!("are in resets[{first}] and in resets[{index}]"),
            );
            let advice = "Leave such partitions out of one of the two entries, and create the reset under a new name";
            self.problems.add(at, Problem::lasting(Reason::DuplicatePartition, &one, &many, advice));
        } else {
            self.meant_by.insert(at.clone(), index);
            self.scoped.goals.insert(at, goal);
        }
    }

    /// The partitions of a topic that is named.
    fn named(&mut self, index: usize, topic: &str, partitions: &Partitions) -> Vec<TopicPartition> {
        let Some(existing) = self.existing(topic) else { return vec![] };
        let missing = partitions.missing(existing);
        if let Some(first) = missing.first() {
            let (has, first) = (existing.len(), *first.start());
            let named = list(&missing.iter().map(name_range).collect::<Vec<_>>());
            let named = if named == first.to_string() { "it".to_owned() } else { named };
            let message = Message::naming([topic], |[topic]| format!("Topic {topic} has no partition {first}"))
                .detail(format!("{} names {named}, and the topic has {has}, from 0", self.request.place(index)))
                .advice(self.correction());
            self.refuse(Reason::PartitionNotFound, message);
            return vec![];
        }
        partitions.among(existing).into_iter().map(|partition| TopicPartition::new(topic, partition)).collect()
    }

    /// The partitions with a commit of the topics that match. Those that do not exist any more are
    /// left out, because no entry names them.
    fn matching(&mut self, index: usize, pattern: &Pattern, selected: &Selected<'_>, entry: &Entry) -> Vec<TopicPartition> {
        if let Some(source) = entry.goal.source_group()
            && let Some(Err(error)) = self.seen.sources.get(source)
        {
            self.refuse_for(error, &format!("group {source}"));
            return vec![];
        }
        let (mut wanted, mut gone) = (vec![], vec![]);
        let mut any = false;
        for TopicCommits { topic, partitions } in selected.topics(&entry.goal, pattern) {
            let candidates = entry.partitions.among(partitions);
            any |= !candidates.is_empty();
            let at = |partition: &i32| TopicPartition::new(*topic, *partition);
            match self.seen.topics.get(*topic) {
                _ if candidates.is_empty() => {}
                Some(Ok(existing)) => {
                    let (there, missing): (Vec<i32>, Vec<i32>) =
                        candidates.iter().partition(|partition| existing.binary_search(partition).is_ok());
                    wanted.extend(there.iter().map(at));
                    gone.extend(missing.iter().map(at));
                }
                Some(Err(error)) if error.kind == KafkaErrorKind::UnknownTopicOrPartition => {
                    gone.extend(candidates.iter().map(at));
                }
                Some(Err(_)) | None => {
                    self.existing(topic);
                }
            }
        }
        let group = entry.goal.source_group().unwrap_or(&self.request.group);
        if !any {
            let message = Message::new(format!("The pattern of resets[{index}] matches no topic with a committed offset"))
                .detail(format!("Group {group} has no committed offset for any topic that matches '{}'", pattern.as_str()))
                .advice("Correct the pattern, or name the topic: a topic without a commit has to be named");
            self.refuse(Reason::NothingToReset, message);
        }
        if !gone.is_empty() {
            let named = name_partitions(&gone);
            let message = format!("group {group} has committed offsets for {named}, which {} left out", no_longer(&gone));
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
                    let problem = Problem::from_kafka(error, at);
                    let detail = format!("Group {source}: {}", problem.detail);
                    self.problems.add(at.clone(), Problem { detail, ..problem });
                    Found::Refused
                }
            },
            Some(Err(error)) => {
                self.refuse_for(error, &format!("group {source}"));
                Found::Refused
            }
            None => {
                let message = Message::naming([source], |[source]| format!("The offsets of group {source} were not read"));
                self.refusals.push(Refusal::passing(Reason::KafkaError, message));
                Found::Refused
            }
        }
    }

    /// The topics that a reset has set offsets in and that have another id now.
    fn recreated_since(&self, undone: &Undone) -> BTreeSet<String> {
        let set: BTreeSet<TopicPartition> = set_by(undone).map(|(at, _)| at).collect();
        let is_other = |done: &&PartitionStatus| is_of_another_topic(done, &self.seen.access.topic_ids);
        let others = undone.partitions.iter().filter(|done| set.contains(&TopicPartition::new(&done.topic, done.partition)));
        others.filter(is_other).map(|done| done.topic.clone()).collect()
    }

    fn undo(&mut self, name: &str, group: &str) {
        let cannot = |why: &str| Message::naming([name], |[name]| format!("OffsetReset {name} cannot be undone: {why}"));
        let undone = match &self.seen.undone {
            Some(Seen::Known(undone)) => undone,
            Some(Seen::Missing) => {
                let message = cannot("it does not exist in this namespace")
                    .detail("The report of a reset is deleted with its OffsetReset")
                    .advice(CORRECT_UNDO);
                return self.refuse(Reason::UndoNotPossible, message);
            }
            Some(Seen::Unknown(why)) => {
                let message = cannot("it could not be read").detail(why);
                return self.refusals.push(Refusal::passing(Reason::UndoNotPossible, message));
            }
            None => {
                let message = cannot("it was not read");
                return self.refusals.push(Refusal::passing(Reason::UndoNotPossible, message));
            }
        };
        if undone.group != group {
            let message = cannot("it was about another group")
                .detail(format!("It was about group {}, and this one is about {group}", undone.group))
                .advice(CORRECT_UNDO);
            return self.refuse(Reason::UndoNotPossible, message);
        }
        let same_cluster = match (&undone.cluster_id, &self.seen.cluster_id) {
            (Some(theirs), Some(ours)) => theirs == ours,
            (None, _) | (_, None) => undone.same_brokers,
        };
        if !same_cluster {
            let message =
                format!("OffsetReset {name} used another cluster or other brokers: make sure that this is the same cluster");
            self.scoped.left_out.push(message);
        }
        let recreated = self.recreated_since(undone);
        for topic in &recreated {
            let message = Message::naming([topic, name], |[topic, name]| {
                format!("Topic {topic} was deleted and created again after OffsetReset {name}")
            })
            .detail("The offsets from before the reset belong to the deleted topic")
            .advice("Name a target in the new topic in spec.resets, and create the reset under a new name");
            self.refuse(Reason::TopicRecreated, message);
        }
        let (mut any, mut without, mut gone) = (false, vec![], vec![]);
        for (at, before) in set_by(undone) {
            any = true;
            match self.seen.topics.get(&at.topic) {
                Some(Ok(existing)) if existing.binary_search(&at.partition).is_ok() => match before {
                    Some(Committed { offset, metadata }) => self.mean(0, at, Goal::Recorded(offset, metadata)),
                    None if self.seen.access.group_delete != Some(true) => without.push(at),
                    None => self.mean(0, at, Goal::Position(Position::None)),
                },
                Some(Ok(_)) => gone.push(at),
                Some(Err(error)) if error.kind == KafkaErrorKind::UnknownTopicOrPartition => gone.push(at),
                Some(Err(_)) | None => {
                    self.existing(&at.topic);
                }
            }
        }
        if !any {
            self.refuse(Reason::UndoNotPossible, cannot("it has committed no offset").advice(CORRECT_UNDO));
        }
        if !without.is_empty() {
            let named = name_partitions(&without);
            // A refusal while the consumers are stopped would come too late.
            let why = match self.seen.access.group_delete {
                Some(_) => "the broker does not allow removing the new one",
                None => "the broker does not tell whether it allows removing the new one",
            };
            let message = format!(
                "before OffsetReset {name} there was no committed offset for {named}, and {why} (Delete on group {group}), so {}",
                are_left(&without)
            );
            self.scoped.left_out.push(message);
        }
        if !gone.is_empty() {
            let named = name_partitions(&gone);
            let message = format!("OffsetReset {name} has reset {named}, which {} left out", no_longer(&gone));
            self.scoped.left_out.push(message);
        }
    }
}

/// What to do about a topic or a partition that does not exist.
const CORRECT_RESETS: &str = "Correct spec.resets, and create the reset under a new name";

/// The same where a file names it.
const CORRECT_FILE: &str = "Correct the file, and create the reset under a new name";

/// What to do about an OffsetReset that cannot be undone.
const CORRECT_UNDO: &str = "Check undo.name and spec.group, and create the reset under a new name";

fn are_left(partitions: &[TopicPartition]) -> &'static str {
    verb(partitions, "it is left as it is", "they are left as they are")
}

fn no_longer(partitions: &[TopicPartition]) -> &'static str {
    verb(partitions, "no longer exists and is", "no longer exist and are")
}

/// Whether another group has a commit for a partition.
enum Found {
    Commit,
    None,
    Refused,
}

/// The commit for a partition, out of all commits of a group.
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
