//! The ACLs that are missing on the broker, as commands of Kafka's own tool that add them.

use std::collections::BTreeSet;

use super::export::{option, quoted};
use crate::api::AuthenticationType;
use crate::machine::{
    facts::{KafkaError, KafkaErrorKind, KafkaSeen, PlanSeen},
    request::{Request, Scope},
};

/// How many topics the commands name.
const MOST_TOPICS: usize = 20;

/// The commands that add the missing ACLs; none when no ACL is known to be missing.
///
/// Where the broker did not describe the group, it was not asked for anything else: then the
/// commands add all that the reset needs. Adding an ACL again changes nothing.
pub(in crate::machine) fn advice(request: &Request, seen: &KafkaSeen) -> Option<String> {
    let missing = match seen {
        KafkaSeen::Failed(error) if error.kind == KafkaErrorKind::Authorization => Missing::all(request),
        KafkaSeen::ForPlan(seen) => Missing::of(request, seen),
        KafkaSeen::Failed(_) | KafkaSeen::NotAsked | KafkaSeen::Group(_) | KafkaSeen::ForCommit(_) | KafkaSeen::AfterReset(_) => {
            Missing::default()
        }
    };
    let commands = missing.commands(request).join(" && ");
    let more = missing.topics.len().saturating_sub(MOST_TOPICS);
    let more = if more > 0 { format!(" # and the same for {more} more topics") } else { String::new() };
    (!commands.is_empty()).then(|| format!("Ask a Kafka administrator to run: {commands}{more}"))
}

/// The missing ACLs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Missing<'a> {
    /// Read on the group, to commit for it.
    group: bool,
    /// Delete on the group, to remove committed offsets.
    delete: bool,
    /// Read on topics, to commit in them. It includes Describe, for their bounds.
    topics: BTreeSet<&'a str>,
    /// Describe on groups whose commits are read.
    sources: BTreeSet<&'a str>,
}

impl<'a> Missing<'a> {
    fn all(request: &'a Request) -> Self {
        let named = request.entries().iter().filter_map(|entry| match &entry.scope {
            Scope::Topic(topic) => Some(topic.as_str()),
            Scope::Pattern(_) => None,
        });
        Self {
            group: true,
            delete: request.removes_offsets(),
            topics: named.collect(),
            sources: request.source_groups().into_iter().collect(),
        }
    }

    fn of(request: &'a Request, seen: &'a PlanSeen) -> Self {
        let is_denied = |error: &KafkaError| error.kind == KafkaErrorKind::Authorization;
        let unread = seen.access.topics_read.iter().filter(|(_, read)| **read == Some(false)).map(|(topic, _)| topic);
        let unseen = seen.topics.iter().filter(|(_, found)| found.as_ref().is_err_and(is_denied)).map(|(topic, _)| topic);
        let unknown =
            seen.sources.iter().filter(|(_, found)| found.as_ref().is_err_and(is_denied)).map(|(group, _)| group.as_str());
        let named = request.source_groups();
        Self {
            group: seen.access.group_read == Some(false),
            delete: request.removes_offsets() && seen.access.group_delete == Some(false),
            topics: unread.chain(unseen).map(String::as_str).collect(),
            sources: unknown.filter(|group| named.contains(group)).collect(),
        }
    }

    /// One for each resource, so that each can be read by itself.
    fn commands(&self, request: &Request) -> Vec<String> {
        let brokers = quoted(request.kafka.bootstrap_servers.as_deref().unwrap_or("BROKERS"));
        // A listener that is secured needs the administrator's own file.
        let secured = request.kafka.tls.is_some() || request.kafka.authentication.is_some();
        let config = if secured { " --command-config admin.properties" } else { "" };
        let who = principal(request);
        let add = |operation: &str, resource: &str, name: &str| {
            format!(
                "kafka-acls.sh --bootstrap-server {brokers}{config} --add --allow-principal {who} --operation {operation} {}",
                option(resource, name)
            )
        };
        let mut commands = vec![];
        commands.extend(self.group.then(|| add("Read", "group", &request.group)));
        commands.extend(self.delete.then(|| add("Delete", "group", &request.group)));
        commands.extend(self.topics.iter().take(MOST_TOPICS).map(|topic| add("Read", "topic", topic)));
        commands.extend(self.sources.iter().map(|group| add("Describe", "group", group)));
        commands
    }
}

/// The principal that the broker sees, where it follows its defaults.
fn principal(request: &Request) -> String {
    let Some(authentication) = &request.kafka.authentication else {
        return if request.kafka.bootstrap_servers.is_some() { "User:ANONYMOUS".to_owned() } else { "'User:NAME'".to_owned() };
    };
    match (authentication.kind, &authentication.username) {
        (AuthenticationType::Tls, _) => "'User:SUBJECT OF THE CERTIFICATE'".to_owned(),
        (AuthenticationType::OAuth, _) => "'User:SUBJECT OF THE TOKEN'".to_owned(),
        (_, Some(username)) => quoted(&format!("User:{username}")),
        (_, None) => "'User:NAME'".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::machine::{
        request::{Entry, Goal, Partitions, Work},
        tests::{plan_seen, request},
    };

    const ADD: &str = "Ask a Kafka administrator to run: kafka-acls.sh --bootstrap-server kafka:9092";

    fn denied() -> KafkaError {
        KafkaError::new(KafkaErrorKind::Authorization, "denied")
    }

    #[rstest]
    #[case::nobody(json!(null), "", "User:ANONYMOUS")]
    #[case::a_user(json!({"type": "scram-sha-512", "username": "orders"}), " --command-config admin.properties", "User:orders")]
    #[case::an_odd_user(json!({"type": "plain", "username": "o'rders; x"}), " --command-config admin.properties", "\"User:o'rders; x\"")]
    #[case::a_certificate(json!({"type": "tls"}), " --command-config admin.properties", "'User:SUBJECT OF THE CERTIFICATE'")]
    fn the_command_names_whom_the_broker_sees(#[case] authentication: Value, #[case] config: &str, #[case] who: &str) {
        let mut request = request();
        request.kafka.authentication = serde_json::from_value(authentication).unwrap();
        let mut seen = plan_seen();
        seen.access.group_read = Some(false);
        assert_eq!(
            advice(&request, &KafkaSeen::ForPlan(Box::new(seen))).unwrap(),
            format!("{ADD}{config} --add --allow-principal {who} --operation Read --group g")
        );
    }

    #[test]
    fn a_removal_needs_delete_on_the_group() {
        let mut request = request();
        let add = "--add --allow-principal User:ANONYMOUS --operation";
        let mut seen = plan_seen();
        seen.access.group_delete = Some(false);
        let missing = |request: &Request| advice(request, &KafkaSeen::ForPlan(Box::new(seen.clone())));
        assert_eq!(missing(&request), None, "a commit needs only Read");
        if let Work::Entries(entries) = &mut request.work {
            entries[0].goal = Goal::Position(crate::api::Position::None);
        }
        assert_eq!(missing(&request).unwrap(), format!("{ADD} {add} Delete --group g"));
        let all = advice(&request, &KafkaSeen::Failed(denied())).unwrap();
        assert!(all.contains(&format!("{add} Read --group g")) && all.contains(&format!("{add} Delete --group g")), "{all}");
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_else() {
        let mut request = request();
        request.work = Work::Entries(vec![Entry {
            scope: Scope::Topic("orders".into()),
            partitions: Partitions::All,
            goal: Goal::FromGroup("the other".into()),
        }]);
        let missing = |seen: PlanSeen| advice(&request, &KafkaSeen::ForPlan(Box::new(seen))).unwrap_or_default();
        assert_eq!(missing(plan_seen()), "");
        let add = format!("{ADD} --add --allow-principal User:ANONYMOUS --operation");

        let mut seen = plan_seen();
        seen.access.topics_read.insert("orders".into(), Some(false));
        seen.access.topics_read.insert("unknown".into(), None);
        assert_eq!(missing(seen), format!("{add} Read --topic orders"));

        let mut seen = plan_seen();
        seen.topics.insert("payments".into(), Err(denied()));
        seen.topics.insert("gone".into(), Err(KafkaError::new(KafkaErrorKind::UnknownTopicOrPartition, "gone")));
        assert_eq!(missing(seen), format!("{add} Read --topic payments"));

        let mut seen = plan_seen();
        seen.sources.insert("the other".into(), Err(denied()));
        assert_eq!(missing(seen), format!("{add} Describe --group 'the other'"));
    }

    #[test]
    fn where_the_group_cannot_be_described_all_that_the_reset_needs_is_named() {
        let request = request();
        let again = "kafka-acls.sh --bootstrap-server kafka:9092 --add --allow-principal User:ANONYMOUS --operation";
        assert_eq!(
            advice(&request, &KafkaSeen::Failed(denied())).unwrap(),
            format!("{ADD} --add --allow-principal User:ANONYMOUS --operation Read --group g && {again} Read --topic orders")
        );
        let timeout = KafkaError::new(KafkaErrorKind::Timeout, "late");
        assert_eq!(advice(&request, &KafkaSeen::Failed(timeout)), None);
    }

    #[test]
    fn a_thousand_topics_are_not_all_named() {
        let (request, mut seen) = (request(), plan_seen());
        seen.access.topics_read = (0..1_000).map(|number| (format!("orders-{number}"), Some(false))).collect();
        let said = advice(&request, &KafkaSeen::ForPlan(Box::new(seen))).unwrap();
        assert!(
            said.matches("--topic").count() == MOST_TOPICS && said.ends_with(" # and the same for 980 more topics"),
            "{said}"
        );
    }
}
