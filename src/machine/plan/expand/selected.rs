//! The topics with commits that the patterns of a request select. Each topic is matched once, against
//! all patterns together, however many partitions and entries there are.

use std::{collections::BTreeMap, ptr, sync::Arc};

use crate::machine::{
    facts::PlanSeen,
    request::{Goal, Pattern, Patterns, Request, Scope, TooComplex},
};

/// The topics with commits, and which patterns match each.
pub(super) struct Selected<'a> {
    /// By the group whose commits they are; `None` is the request's own.
    commits: BTreeMap<Option<&'a str>, Vec<TopicCommits<'a>>>,
    /// Usually one: the patterns of a spec are compiled together.
    matched: Vec<Matched<'a>>,
}

/// A topic on which a group has commits.
pub(super) struct TopicCommits<'a> {
    pub topic: &'a str,
    /// Ascending.
    pub partitions: Vec<i32>,
}

/// Which of the patterns match each topic, as bits.
struct Matched<'a> {
    patterns: &'a Arc<Patterns>,
    topics: BTreeMap<&'a str, Box<[u64]>>,
}

impl<'a> Selected<'a> {
    /// Matches the topics of all commits that the patterns of the request go by.
    ///
    /// # Errors
    /// When matching would cost too much.
    pub fn of(request: &'a Request, seen: &'a PlanSeen) -> Result<Self, TooComplex> {
        let mut selected = Self { commits: BTreeMap::new(), matched: vec![] };
        for entry in request.entries() {
            let Scope::Pattern(pattern) = &entry.scope else { continue };
            let source = entry.goal.source_group();
            selected.commits.entry(source).or_insert_with(|| by_topic(source, seen));
            if !selected.matched.iter().any(|matched| Arc::ptr_eq(matched.patterns, pattern.all())) {
                selected.matched.push(Matched { patterns: pattern.all(), topics: BTreeMap::new() });
            }
        }
        for Matched { patterns, topics } in &mut selected.matched {
            let mut matcher = patterns.matcher();
            for commits in selected.commits.values().flatten() {
                if !topics.contains_key(commits.topic) {
                    let found = matcher.matches(commits.topic)?;
                    let mut bits = vec![0_u64; found.capacity().div_ceil(64)];
                    for id in found.iter() {
                        bits[id.as_usize() / 64] |= 1 << (id.as_usize() % 64);
                    }
                    topics.insert(commits.topic, bits.into());
                }
            }
        }
        Ok(selected)
    }

    /// The topics with a commit that the goal goes by, and that match.
    pub fn topics(&self, goal: &'a Goal, pattern: &Pattern) -> impl Iterator<Item = &TopicCommits<'a>> {
        let commits = self.commits.get(&goal.source_group()).map_or(&[][..], Vec::as_slice);
        let matched = self.matched.iter().find(|matched| ptr::eq(Arc::as_ptr(matched.patterns), Arc::as_ptr(pattern.all())));
        let (word, bit) = (pattern.index() / 64, 1 << (pattern.index() % 64));
        commits.iter().filter(move |commits| {
            let bits = matched.and_then(|matched| matched.topics.get(commits.topic));
            bits.is_some_and(|bits| bits[word] & bit != 0)
        })
    }
}

/// The partitions with a commit, by topic.
fn by_topic<'a>(source: Option<&str>, seen: &'a PlanSeen) -> Vec<TopicCommits<'a>> {
    let commits = match source {
        Some(source) => seen.sources.get(source).and_then(|commits| commits.as_ref().ok()),
        None => Some(&seen.committed),
    };
    let mut topics: Vec<TopicCommits<'a>> = vec![];
    // A commit that could not be read still counts as one.
    for (at, _) in commits.into_iter().flatten().filter(|(_, committed)| !matches!(committed, Ok(None))) {
        match topics.last_mut().filter(|last| last.topic == at.topic) {
            Some(last) => last.partitions.push(at.partition),
            None => topics.push(TopicCommits { topic: &at.topic, partitions: vec![at.partition] }),
        }
    }
    topics
}
