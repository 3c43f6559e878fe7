//! The report of a reset as files that Kafka's own tool reads, and the same reset as a command for it.
//!
//! The format is that of `kafka-consumer-groups --reset-offsets --export` and `--from-file`: `topic,partition,offset`, one line each.

use std::fmt::Write;

use crate::api::{OutOfRange, PartitionOutcome, PartitionStatus, Position};
use crate::machine::request::{Entry, Goal, Request, Scope};

/// The file with the offsets that were committed before.
pub const BEFORE: &str = "before.csv";

/// The file with the offsets that are or were to be committed.
pub const AFTER: &str = "after.csv";

/// A command that is longer than this is replaced by the one that reads the report.
const LONGEST_COMMAND: usize = 2_000;

/// The offsets before the reset; partitions without a commit have no line.
#[must_use]
pub fn before_csv(partitions: &[PartitionStatus]) -> String {
    csv(partitions.iter().filter_map(|planned| Some((planned, planned.before?))))
}

/// The offsets that the reset sets; partitions that are left as they are, or could not be reset, have no line.
#[must_use]
pub fn after_csv(partitions: &[PartitionStatus]) -> String {
    let set = |planned: &&PartitionStatus| {
        matches!(planned.outcome, PartitionOutcome::Planned | PartitionOutcome::Unconfirmed | PartitionOutcome::Reset)
    };
    csv(partitions.iter().filter(set).map(|planned| (planned, planned.target_offset)))
}

// A topic's name holds nothing that would have to be quoted.
fn csv<'a>(lines: impl Iterator<Item = (&'a PartitionStatus, i64)>) -> String {
    lines.fold(String::new(), |mut file, (planned, offset)| {
        // Writing into a string does not fail.
        let _ = writeln!(file, "{},{},{offset}", planned.topic, planned.partition);
        file
    })
}

/// Where the report is, for the command that reads it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The ConfigMap's name.
    pub config_map: &'a str,
    /// Whether its files are compressed.
    pub compressed: bool,
}

/// The same with Kafka's own tool, once the consumers have been stopped: one command for each entry where that says it all,
/// and otherwise one that reads the report.
#[must_use]
pub fn equivalent_command(request: &Request, partitions: &[PartitionStatus], place: Place<'_>) -> String {
    let left_alone = |planned: &PartitionStatus| {
        matches!(planned.outcome, PartitionOutcome::Skipped | PartitionOutcome::Unchanged | PartitionOutcome::Failed)
    };
    let simple = request.out_of_range != OutOfRange::Skip && !partitions.iter().any(left_alone);
    if simple && !request.entries().is_empty() {
        let commands: Option<Vec<String>> = request.entries().iter().map(|entry| entry_command(request, entry)).collect();
        if let Some(commands) = commands.map(|commands| commands.join("\n"))
            && commands.len() <= LONGEST_COMMAND
        {
            return commands;
        }
    }
    let Place { namespace, config_map, compressed } = place;
    let fetch = if compressed {
        format!("-o 'jsonpath={{.binaryData.after\\.csv\\.gz}}' | base64 -d | gunzip > {AFTER}")
    } else {
        format!("-o 'jsonpath={{.data.after\\.csv}}' > {AFTER}")
    };
    format!("kubectl -n {namespace} get configmap {config_map} {fetch}\n{} --from-file {AFTER} --execute", command(request))
}

fn command(request: &Request) -> String {
    let kafka = &request.kafka;
    // Where the passwords are that it needs only its user knows.
    let secured = kafka.tls.is_some() || kafka.authentication.is_some() || kafka.binding.is_some();
    let config = if secured { " --command-config client.properties" } else { "" };
    let brokers = match &kafka.binding {
        Some(binding) => format!(
            "\"$(kubectl -n {} get secret {} -o go-template='{BOOTSTRAP_SERVERS}')\"",
            quoted(&request.namespace),
            quoted(&binding.secret_name)
        ),
        None => quoted(kafka.bootstrap_servers.as_deref().unwrap_or_default()),
    };
    format!("kafka-consumer-groups --bootstrap-server {brokers}{config} --group {} --reset-offsets", quoted(&request.group))
}

/// The brokers that a binding names, under whichever of its names for them.
const BOOTSTRAP_SERVERS: &str = "{{or .data.bootstrapServers (index .data \"bootstrap.servers\") (index .data \"bootstrap-servers\") \
                                 | base64decode}}";

/// One entry as a command; `None` where Kafka's tool has no word for it.
fn entry_command(request: &Request, entry: &Entry) -> Option<String> {
    let Scope::Topic(topic) = &entry.scope else { return None };
    let topic = match entry.partition {
        Some(partition) => format!("{topic}:{partition}"),
        None => topic.clone(),
    };
    let target = match &entry.goal {
        Goal::Offset(offset) => format!("--to-offset {offset}"),
        Goal::Timestamp(millis) => {
            let at = jiff::Timestamp::from_millisecond(*millis).ok()?;
            let text = jiff::fmt::strtime::format("%Y-%m-%dT%H:%M:%S.%3fZ", at).ok()?;
            format!("--to-datetime {text}")
        }
        Goal::Position(Position::Earliest) => "--to-earliest".to_owned(),
        Goal::Position(Position::Latest) if request.isolation_level == crate::api::IsolationLevel::ReadUncommitted => {
            "--to-latest".to_owned()
        }
        Goal::ShiftBy(shift) => format!("--shift-by {shift}"),
        // Kafka's --to-current commits what is out of range once more as it is, and takes partitions without a commit to the end.
        Goal::Position(Position::Current | Position::Latest) | Goal::FromGroup(_) | Goal::Recorded(_) => return None,
    };
    Some(format!("{} --topic {topic} {target} --execute", command(request)))
}

/// For a shell: in single quotes where a name is not plain.
pub(in crate::machine) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:,/[]".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::machine::{
        request::Work,
        tests::{planned_partition, request},
    };

    const PLACE: Place<'_> = Place { namespace: "shop", config_map: "replay-report", compressed: false };
    const BEGIN: &str = "kafka-consumer-groups --bootstrap-server kafka:9092 --group g --reset-offsets";

    fn entry(partition: Option<i32>, goal: Goal) -> Entry {
        Entry { scope: Scope::Topic("orders".into()), partition, goal }
    }

    #[rstest]
    #[case::offset(entry(None, Goal::Offset(10)), "--topic orders --to-offset 10 --execute")]
    #[case::one_partition(entry(Some(3), Goal::Offset(10)), "--topic orders:3 --to-offset 10 --execute")]
    #[case::time(
        entry(None, Goal::Timestamp(1_571_812_144_005)),
        "--topic orders --to-datetime 2019-10-23T06:29:04.005Z --execute"
    )]
    #[case::earliest(entry(None, Goal::Position(Position::Earliest)), "--topic orders --to-earliest --execute")]
    #[case::latest(entry(None, Goal::Position(Position::Latest)), "--topic orders --to-latest --execute")]
    #[case::shift(entry(None, Goal::ShiftBy(-7)), "--topic orders --shift-by -7 --execute")]
    fn an_entry_is_one_command(#[case] entry: Entry, #[case] expected: &str) {
        let request = Request { work: Work::Entries(vec![entry]), ..request() };
        assert_eq!(equivalent_command(&request, &[planned_partition(0)], PLACE), format!("{BEGIN} {expected}"));
    }

    #[test]
    fn what_has_no_word_of_its_own_reads_the_record() {
        let request = Request { work: Work::Undo("replay".into()), ..request() };
        assert_eq!(
            equivalent_command(&request, &[planned_partition(0)], PLACE),
            format!(
                "kubectl -n shop get configmap replay-report -o 'jsonpath={{.data.after\\.csv}}' > after.csv\n{BEGIN} --from-file after.csv --execute"
            )
        );
        let compressed = Place { compressed: true, ..PLACE };
        assert!(
            equivalent_command(&request, &[], compressed)
                .contains("{.binaryData.after\\.csv\\.gz}' | base64 -d | gunzip > after.csv")
        );
    }

    #[test]
    fn a_group_with_an_odd_name_cannot_break_out_of_the_command() {
        let request = Request { group: "it's; rm -rf /".into(), ..request() };
        assert!(command(&request).contains(r"--group 'it'\''s; rm -rf /' "));
    }

    #[test]
    fn the_files_hold_what_stood_there_and_what_is_set() {
        let partitions = [
            planned_partition(0),
            PartitionStatus { before: None, ..planned_partition(1) },
            PartitionStatus { outcome: PartitionOutcome::Failed, ..planned_partition(2) },
        ];
        assert_eq!(before_csv(&partitions), "orders,0,50\norders,2,50\n");
        assert_eq!(after_csv(&partitions), "orders,0,10\norders,1,10\n");
    }
}
