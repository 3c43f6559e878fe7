//! Topics that the group has nothing to do with: most likely a typing error.

use std::collections::BTreeSet;

use crate::machine::{
    facts::{Group, PlanSeen},
    request::{Goal, Request, Scope},
    text::some,
};

/// How many topics of the group a warning names, and how many topics of the request.
const NAMED: usize = 3;

/// With how many topics of the group a name is compared at most: a group may consume many thousands.
const COMPARED: usize = 5_000;

/// A warning about the topics that the request names, on which the group has no committed offset, and of which no member has been
/// assigned a partition. A group without either consumes nothing yet, so there is nothing to compare with.
pub(super) fn warning(request: &Request, seen: &PlanSeen) -> Option<String> {
    // Too many topics to tell.
    let assigned = match &seen.group {
        Group::NotFound => &BTreeSet::new(),
        Group::Found(found) => found.assigned_topics.as_ref()?,
    };
    // A commit that could not be read still counts as one.
    let commits = seen.committed.iter().filter(|(_, commit)| !matches!(commit, Ok(None))).map(|(at, _)| &at.topic);
    let committed: BTreeSet<&String> = commits.collect();
    // Another group's commits are proof that a topic is meant.
    let named = request.entries().iter().filter(|entry| !matches!(entry.goal, Goal::FromGroup(_)));
    let named: BTreeSet<&String> =
        named.filter_map(|entry| if let Scope::Topic(topic) = &entry.scope { Some(topic) } else { None }).collect();
    let unconsumed: Vec<&String> =
        named.into_iter().filter(|topic| !committed.contains(topic) && !assigned.contains(*topic)).collect();
    let consumed: BTreeSet<&String> = committed.iter().copied().chain(assigned).collect();
    if unconsumed.is_empty() || consumed.is_empty() {
        return None;
    }
    let topics = match &unconsumed[..] {
        [only] => format!("topic {only}"),
        many => format!("topics {}", some(many, NAMED)),
    };
    let (unassigned, verb) = match (assigned.is_empty(), unconsumed.len()) {
        (true, _) => (String::new(), "has committed offsets on"),
        (false, 1) => (", and no member is assigned it".to_owned(), "consumes"),
        (false, _) => (", and no member is assigned them".to_owned(), "consumes"),
    };
    let closest: BTreeSet<&String> = unconsumed.iter().take(NAMED).filter_map(|topic| closest(topic, &consumed)).collect();
    let others: Vec<&String> = if closest.is_empty() { consumed.into_iter().collect() } else { closest.into_iter().collect() };
    Some(format!(
        "group {} has no committed offset on {topics}{unassigned}: a typo? The group {verb} {}",
        request.group,
        some(&others, NAMED)
    ))
}

/// The topic with the most similar name, if one is similar at all.
fn closest<'a>(topic: &str, among: &BTreeSet<&'a String>) -> Option<&'a String> {
    let most = (topic.len() / 3).max(2);
    // Names are ASCII, and each letter more makes one more difference.
    let may_be = among.iter().copied().filter(|other| topic.len().abs_diff(other.len()) <= most).take(COMPARED);
    let (distance, found) =
        may_be.map(|other| (strsim::osa_distance(topic, other), other)).min_by_key(|(distance, _)| *distance)?;
    (distance <= most).then_some(found)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::machine::{
        facts::{GroupDescription, GroupState, TopicPartition},
        request::{Entry, Partitions, Work},
        tests::{committed, group_in, plan_seen, request},
    };

    fn entry(topic: &str, goal: Goal) -> Entry {
        Entry { scope: Scope::Topic(topic.into()), partitions: Partitions::All, goal }
    }

    fn topics(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[rstest]
    #[case::committed(&["orders"], &["orders"], &[], None)]
    #[case::assigned_and_never_committed(&["orders"], &["payments"], &["orders", "payments"], None)]
    #[case::a_typing_error(
        &["order"], &["orders"], &["orders", "payments"],
        Some("group g has no committed offset on topic order, and no member is assigned it: a typo? The group consumes orders")
    )]
    #[case::of_a_group_without_members(
        &["order"], &["orders", "payments"], &[],
        Some("group g has no committed offset on topic order: a typo? The group has committed offsets on orders")
    )]
    #[case::none_is_similar(
        &["invoices"], &["a", "b"], &["c", "d"],
        Some("group g has no committed offset on topic invoices, and no member is assigned it: a typo? The group consumes a, b, c and 1 more")
    )]
    #[case::several(
        &["order", "payment", "orders"], &["orders", "payments"], &["orders"],
        Some(
            "group g has no committed offset on topics order and payment, and no member is assigned them: a typo? The group consumes \
             orders and payments"
        )
    )]
    #[case::a_group_that_consumes_nothing_yet(&["order"], &[], &[], None)]
    fn a_topic_that_the_group_does_not_consume_is_told_with_the_most_similar_one(
        #[case] named: &[&str],
        #[case] committed_on: &[&str],
        #[case] assigned: &[&str],
        #[case] expected: Option<&str>,
    ) {
        let Group::Found(found) = group_in(GroupState::Stable, 1) else { unreachable!() };
        let mut seen = plan_seen();
        seen.group = Group::Found(GroupDescription { assigned_topics: Some(topics(assigned)), ..found.clone() });
        let commits = committed_on.iter().map(|topic| (TopicPartition::new(*topic, 0), committed(5, "")));
        seen.committed = commits.chain([(TopicPartition::new("unread", 0), Ok(None))]).collect();
        let entries = named.iter().map(|topic| entry(topic, Goal::Offset(10))).collect();
        let request = Request { work: Work::Entries(entries), ..request() };
        assert_eq!(warning(&request, &seen).as_deref(), expected);
        seen.group = Group::Found(GroupDescription { assigned_topics: None, ..found });
        assert_eq!(warning(&request, &seen), None, "what members are assigned is not known");
    }

    #[test]
    fn a_topic_of_another_group_is_meant() {
        let request = Request { work: Work::Entries(vec![entry("order", Goal::FromGroup("h".into()))]), ..request() };
        assert_eq!(warning(&request, &plan_seen()), None);
    }
}
