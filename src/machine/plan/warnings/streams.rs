//! Kafka Streams applications on the classic protocol: consumer groups for the broker, whose state is more than committed offsets.

use std::collections::BTreeSet;

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::machine::{
    facts::{Group, PlanSeen},
    plan::Plan,
    request::Request,
    text::{count, some},
};

/// The assignor of the members of such an application. An empty group has none.
const ASSIGNOR: &str = "stream";

/// The ends of the names of internal topics, all of which begin with the application's id, which is the group's (as Kafka's
/// `StreamsResetter` tells them).
const INTERNAL: [&str; 4] = ["-repartition", "-changelog", "-subscription-registration-topic", "-subscription-response-topic"];

/// How many internal topics a warning names.
const NAMED: usize = 3;

/// The warnings about such an application.
pub(super) fn warnings(request: &Request, plan: &Plan, seen: &PlanSeen) -> Vec<String> {
    let mut warnings = vec![];
    if let Some(shown) = shown_by(&request.group, seen) {
        warnings.push(format!(
            "the group belongs to a Kafka Streams application{shown}: its state stores and internal topics are not reset with the offsets, \
             and may no longer match them. kafka-streams-application-reset resets those, too"
        ));
    }
    let planned: BTreeSet<&str> = plan.partitions.iter().map(|partition| partition.topic.as_str()).collect();
    let internal: Vec<&str> = planned.into_iter().filter(|topic| is_internal(&request.group, topic)).collect();
    if !internal.is_empty() {
        warnings.push(format!(
            "the plan resets {} of a Kafka Streams application: {}. Records in them are processed again or skipped, in addition to those \
             of the source topics: leave them out unless that is meant",
            count(internal.len(), "internal topic", "internal topics"),
            some(&internal, NAMED)
        ));
    }
    warnings
}

/// What shows that the group is one of Kafka Streams, as a clause; `None` when nothing does.
fn shown_by(group: &str, seen: &PlanSeen) -> Option<String> {
    if matches!(&seen.group, Group::Found(found) if found.assignor == ASSIGNOR) {
        return Some(String::new());
    }
    let commits = seen.committed.iter().filter_map(|(at, commit)| Some((at, commit.as_ref().ok()?.as_ref()?)));
    if let Some((at, _)) = commits.clone().find(|(at, _)| is_internal(group, &at.topic)) {
        return Some(format!(", as its committed offset on topic {} shows", at.topic));
    }
    let (at, _) = commits.into_iter().find(|(_, commit)| commit.metadata.text().is_some_and(is_of_streams))?;
    Some(format!(", as the metadata of its committed offset on topic {} shows", at.topic))
}

/// Whether a topic is internal to the application of a group, by its name.
fn is_internal(group: &str, topic: &str) -> bool {
    let Some(name) = topic.strip_prefix(group).and_then(|rest| rest.strip_prefix('-')) else { return false };
    INTERNAL.iter().any(|end| name.ends_with(end) && name.len() > end.len())
        || (name.contains("-KTABLE-FK-JOIN-SUBSCRIPTION-") || name.starts_with("KTABLE-FK-JOIN-SUBSCRIPTION-"))
            && name.ends_with("-topic")
}

/// Whether the metadata of a commit is what Kafka Streams writes since 2.4: in base64 a version, the partition's time in milliseconds
/// (-1 for none), and, since version 2, what processors have added.
fn is_of_streams(metadata: &str) -> bool {
    let Ok(bytes) = BASE64_STANDARD.decode(metadata) else { return false };
    let Some((version, rest)) = bytes.split_first() else { return false };
    let Some((time, more)) = rest.split_first_chunk() else { return false };
    let is_time = jiff::Timestamp::from_millisecond(i64::from_be_bytes(*time)).is_ok_and(|time| time.as_millisecond() >= -1);
    is_time && (*version == 2 || *version == 1 && more.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rstest::rstest;

    use super::*;
    use crate::machine::{
        facts::{GroupDescription, GroupState, TopicPartition},
        plan,
        tests::{committed, group_in, plan_seen, request},
    };

    #[rstest]
    #[case::repartition("g-count-repartition", true)]
    #[case::changelog("g-KSTREAM-AGGREGATE-STATE-STORE-0000000003-changelog", true)]
    #[case::foreign_key_join("g-KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-0000000014-topic", true)]
    #[case::named_foreign_key_join("g-join-subscription-registration-topic", true)]
    #[case::of_another_application("other-count-repartition", false)]
    #[case::of_an_application_whose_name_begins_alike("g2-count-repartition", false)]
    #[case::without_a_name_of_its_own("g-repartition", false)]
    #[case::a_source("g-orders", false)]
    #[case::the_word_alone("repartition", false)]
    fn internal_topics_are_told_by_their_names(#[case] topic: &str, #[case] internal: bool) {
        assert_eq!(is_internal("g", topic), internal);
    }

    #[rstest]
    #[case::version_2("AgAAAYsAAAAA", true)]
    #[case::version_2_without_a_time("Av//////////", true)]
    #[case::version_1("AQAAAYsAAAAA", true)]
    #[case::version_2_with_what_processors_add("AgAAAYsAAAAAAAAAAQ==", true)]
    #[case::version_1_with_more("AQAAAYsAAAAAAAAAAQ==", false)]
    #[case::a_later_version("AwAAAYsAAAAA", false)]
    #[case::no_time_at_all("AnBhcnRpdGlv", false)]
    #[case::of_parallel_consumer("bAAkAAoA", false)]
    #[case::none("", false)]
    #[case::ours("offset-reset/shop/replay/uid-1", false)]
    fn metadata_of_streams_is_recognized(#[case] metadata: &str, #[case] expected: bool) {
        assert_eq!(is_of_streams(metadata), expected);
    }

    fn warned(seen: &PlanSeen, request: &Request) -> Vec<String> {
        warnings(request, &plan::plan(request, seen).unwrap(), seen)
    }

    #[test]
    fn an_application_is_recognized_while_it_runs_and_while_it_is_down() {
        let down = PlanSeen { group: group_in(GroupState::Empty, 0), ..plan_seen() };
        assert_eq!(warned(&down, &request()), [""; 0]);
        let Group::Found(found) = group_in(GroupState::Stable, 1) else { unreachable!() };
        let group = Group::Found(GroupDescription { assignor: ASSIGNOR.into(), ..found });
        let live = warned(&PlanSeen { group, ..plan_seen() }, &request());
        assert!(live[0].starts_with("the group belongs to a Kafka Streams application: its state stores"), "{live:?}");

        let with = |topic: &str, metadata: &str| {
            let mut seen = down.clone();
            seen.committed.insert(TopicPartition::new(topic, 0), committed(5, metadata));
            warned(&seen, &request())
        };
        let by_topic = with("g-count-repartition", "");
        assert!(by_topic[0].contains("as its committed offset on topic g-count-repartition shows"), "{by_topic:?}");
        let by_metadata = with("orders", "AgAAAYsAAAAA");
        assert!(by_metadata[0].contains("as the metadata of its committed offset on topic orders shows"), "{by_metadata:?}");
        assert_eq!(with("other-count-repartition", ""), [""; 0]);
    }

    #[test]
    fn internal_topics_in_the_plan_are_named() {
        let mut seen = plan_seen();
        let pattern = crate::machine::request::Patterns::compile([".*"]).unwrap().remove(0);
        let entry = crate::machine::request::Entry {
            scope: crate::machine::request::Scope::Pattern(pattern),
            partitions: crate::machine::request::Partitions::All,
            goal: crate::machine::request::Goal::Offset(10),
        };
        for name in ["a", "b", "c", "d"] {
            let topic = format!("g-{name}-repartition");
            let at = TopicPartition::new(&topic, 0);
            seen.committed.insert(at.clone(), committed(5, ""));
            seen.bounds.insert(at, Ok(crate::machine::facts::Bounds { start: 0, end: 100 }));
            seen.topics.extend(BTreeMap::from([(topic, Ok(vec![0]))]));
        }
        let request = Request { work: crate::machine::request::Work::Entries(vec![entry]), ..request() };
        let said = warned(&seen, &request);
        assert!(
            said[1].starts_with(
                "the plan resets 4 internal topics of a Kafka Streams application: g-a-repartition, g-b-repartition, g-c-repartition and 1 \
                 more. Records in them"
            ),
            "{said:?}"
        );
    }
}
