//! The report of a reset as files that Kafka's own tool reads, and the equivalent commands for that
//! tool.
//!
//! The format is that of `kafka-consumer-groups --reset-offsets --export` and `--from-file`:
//! `topic,partition,offset`, one line each.

use std::{collections::BTreeMap, fmt::Write};

use crate::api::{OutOfRange, PartitionOutcome, PartitionStatus, Position};
use crate::machine::request::{Entry, Goal, Request, Scope};

/// The file with the offsets that were committed before.
pub const BEFORE: &str = "before.csv";

/// The file with the offsets that are or were to be committed.
pub const AFTER: &str = "after.csv";

/// The file with the ranges of offsets that are not consumed.
pub const SKIPPED: &str = "skipped.csv";

/// The file with the ranges of offsets that are consumed again.
pub const REPLAYED: &str = "replayed.csv";

/// The first line of the files with ranges: they are for people and programs, and not for Kafka's tool.
const RANGES: &str = "topic,partition,from,to";

/// Commands that are longer than this are replaced by the one that reads the report.
const LONGEST_COMMAND: usize = 2_000;

/// The offsets before the reset; partitions without a commit have no line.
#[must_use]
pub fn before_csv(partitions: &[PartitionStatus]) -> String {
    csv(partitions.iter().filter_map(|planned| Some((planned, planned.before?))))
}

/// The offsets that the reset commits; partitions that are left as they are, could not be reset, or
/// have their committed offset removed, have no line.
#[must_use]
pub fn after_csv(partitions: &[PartitionStatus]) -> String {
    csv(partitions.iter().filter(|planned| is_set(planned)).filter_map(|planned| Some((planned, planned.target_offset?))))
}

/// The offsets that the group does not consume because of the reset, as ranges: the column `to` is the target, and not part of the
/// range. The counts of the status are the lengths of these ranges. A failed or untouched partition has none.
#[must_use]
pub fn skipped_csv(partitions: &[PartitionStatus]) -> String {
    ranges(partitions, |planned, target| (planned.skipped > 0).then(|| (target.saturating_sub(planned.skipped), target)))
}

/// The offsets that the group consumes again because of the reset, as ranges from the target on; the column `to` is not part of the range.
#[must_use]
pub fn replayed_csv(partitions: &[PartitionStatus]) -> String {
    ranges(partitions, |planned, target| (planned.replayed > 0).then(|| (target, target.saturating_add(planned.replayed))))
}

fn ranges(partitions: &[PartitionStatus], range: impl Fn(&PartitionStatus, i64) -> Option<(i64, i64)>) -> String {
    let set = partitions.iter().filter(|planned| is_set(planned));
    let ranges = set.filter_map(|planned| Some((planned, range(planned, planned.target_offset?)?)));
    ranges.fold(format!("{RANGES}\n"), |mut file, (planned, (from, to))| {
        // Writing into a string does not fail.
        let _ = writeln!(file, "{},{},{from},{to}", planned.topic, planned.partition);
        file
    })
}

/// Whether the reset sets the offset, or may have set it.
fn is_set(planned: &PartitionStatus) -> bool {
    matches!(planned.outcome, PartitionOutcome::Planned | PartitionOutcome::Unconfirmed | PartitionOutcome::Reset)
}

// A topic's name has no character that CSV would quote.
fn csv<'a>(lines: impl Iterator<Item = (&'a PartitionStatus, i64)>) -> String {
    lines.fold(String::new(), |mut file, (planned, offset)| {
        // Writing into a string does not fail.
        let _ = writeln!(file, "{},{},{offset}", planned.topic, planned.partition);
        file
    })
}

/// The place of the report, for the command that reads it.
#[derive(Clone, Copy, Debug)]
pub struct ReportRef<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The ConfigMap's name.
    pub config_map: &'a str,
    /// Whether its files are compressed.
    pub compressed: bool,
}

/// The same reset with Kafka's own tool, once the consumers are stopped: one command for each entry
/// where the tool has an option for it, and otherwise one that reads the report.
#[must_use]
pub fn equivalent_command(request: &Request, partitions: &[PartitionStatus], report: ReportRef<'_>) -> String {
    // The tool would commit what is committed already once more, which comes to the same offset.
    let left_alone = |planned: &PartitionStatus| matches!(planned.outcome, PartitionOutcome::Skipped | PartitionOutcome::Failed);
    let simple = request.out_of_range != OutOfRange::Skip && !partitions.iter().any(left_alone);
    if simple && !request.entries().is_empty() {
        let commands: Option<Vec<String>> = request.entries().iter().map(|entry| entry_command(request, entry)).collect();
        if let Some(commands) = commands.map(|commands| commands.join("\n"))
            && commands.len() <= LONGEST_COMMAND
        {
            return commands;
        }
    }
    let removals = removal_commands(request, partitions);
    if !partitions.is_empty() && partitions.iter().all(PartitionStatus::is_removal) {
        return removals;
    }
    let ReportRef { namespace, config_map, compressed } = report;
    let fetch = if compressed {
        format!("-o 'jsonpath={{.binaryData.after\\.csv\\.gz}}' | base64 -d | gunzip > {AFTER}")
    } else {
        format!("-o 'jsonpath={{.data.after\\.csv}}' > {AFTER}")
    };
    let commit =
        format!("kubectl -n {namespace} get configmap {config_map} {fetch}\n{} --from-file {AFTER} --execute", command(request));
    if removals.is_empty() { commit } else { format!("{commit}\n{removals}") }
}

/// The command that removes committed offsets. Where it is too long, only the partitions are left out.
fn removal_commands(request: &Request, partitions: &[PartitionStatus]) -> String {
    let removed = partitions.iter().filter(|planned| planned.is_removal() && planned.outcome != PartitionOutcome::Failed);
    let mut topics: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for planned in removed {
        topics.entry(&planned.topic).or_default().push(planned.partition.to_string());
    }
    if topics.is_empty() {
        return String::new();
    }
    let named = topics.iter().map(|(topic, partitions)| option("topic", &format!("{topic}:{}", partitions.join(","))));
    let named = named.collect::<Vec<_>>().join(" ");
    let named = if named.len() <= LONGEST_COMMAND { named } else { "--topic TOPIC:PARTITIONS".to_owned() };
    format!("{} {named}", delete_command(request))
}

fn delete_command(request: &Request) -> String {
    format!("{} {} --delete-offsets", tool("kafka-consumer-groups", request), option("group", &request.group))
}

fn command(request: &Request) -> String {
    format!("{} {} --reset-offsets", tool("kafka-consumer-groups", request), option("group", &request.group))
}

/// One of Kafka's own tools with the options for the connection.
pub(in crate::machine) fn tool(name: &str, request: &Request) -> String {
    let kafka = &request.kafka;
    // The tool needs a file with passwords, which only its user has.
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
    format!("{name} --bootstrap-server {brokers}{config}")
}

/// What to do about a transaction that keeps offsets of the group pending. They are in the topic
/// `__consumer_offsets`.
pub(in crate::machine) fn end_transaction(request: &Request) -> String {
    let tool = tool("kafka-transactions.sh", request);
    format!(
        "To find the transaction: {tool} find-hanging --topic __consumer_offsets --max-transaction-timeout 1; to end it: {tool} abort \
         --topic __consumer_offsets, with the --partition and --start-offset that were found"
    )
}

/// The brokers that a binding names, under one of its three keys for them.
const BOOTSTRAP_SERVERS: &str = "{{or .data.bootstrapServers (index .data \"bootstrap.servers\") (index .data \"bootstrap-servers\") \
                                 | base64decode}}";

/// One entry as a command; `None` where Kafka's tool has no option for it.
fn entry_command(request: &Request, entry: &Entry) -> Option<String> {
    let Scope::Topic(topic) = &entry.scope else { return None };
    let topic = if entry.partitions.is_all() {
        topic.clone()
    } else {
        let numbers = entry.partitions.numbers(LONGEST_COMMAND)?.iter().map(ToString::to_string).collect::<Vec<_>>();
        format!("{topic}:{}", numbers.join(","))
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
        Goal::Position(Position::None) => return Some(format!("{} {}", delete_command(request), option("topic", &topic))),
        // Kafka's --to-current commits offsets out of range again as they are, and moves partitions
        // without a commit to the end.
        Goal::Position(Position::Current | Position::Latest) | Goal::FromGroup(_) | Goal::Recorded(..) => return None,
    };
    Some(format!("{} {} {target} --execute", command(request), option("topic", &topic)))
}

/// An option with its value for a shell. A value that begins with a dash follows after `=`, or the
/// tool would take it for an option.
pub(in crate::machine) fn option(name: &str, value: &str) -> String {
    let separator = if value.starts_with('-') { '=' } else { ' ' };
    format!("--{name}{separator}{}", quoted(value))
}

/// A word for a shell, in quotes where it has to be. A NUL, which no shell can pass on, is left
/// out.
pub(in crate::machine) fn quoted(text: &str) -> String {
    let text = text.replace('\0', "");
    shlex::try_quote(&text).map(std::borrow::Cow::into_owned).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::machine::{
        request::{Partitions, Work},
        tests::{planned_partition, request},
    };

    const REPORT: ReportRef<'_> = ReportRef { namespace: "shop", config_map: "replay-report", compressed: false };
    const BEGIN: &str = "kafka-consumer-groups --bootstrap-server kafka:9092 --group g --reset-offsets";

    fn entry(partitions: Partitions, goal: Goal) -> Entry {
        Entry { scope: Scope::Topic("orders".into()), partitions, goal }
    }

    #[rstest]
    #[case::offset(entry(Partitions::All, Goal::Offset(10)), "--topic orders --to-offset 10 --execute")]
    #[case::several(
        entry(Partitions::These(vec![0..=0, 3..=5]), Goal::Offset(10)), "--topic 'orders:0,3,4,5' --to-offset 10 --execute"
    )]
    #[case::one_partition(entry(Partitions::one(3), Goal::Offset(10)), "--topic orders:3 --to-offset 10 --execute")]
    #[case::time(
        entry(Partitions::All, Goal::Timestamp(1_571_812_144_005)),
        "--topic orders --to-datetime 2019-10-23T06:29:04.005Z --execute"
    )]
    #[case::earliest(entry(Partitions::All, Goal::Position(Position::Earliest)), "--topic orders --to-earliest --execute")]
    #[case::latest(entry(Partitions::All, Goal::Position(Position::Latest)), "--topic orders --to-latest --execute")]
    #[case::shift(entry(Partitions::All, Goal::ShiftBy(-7)), "--topic orders --shift-by -7 --execute")]
    fn an_entry_is_one_command(#[case] entry: Entry, #[case] expected: &str) {
        let request = Request { work: Work::Entries(vec![entry]), ..request() };
        assert_eq!(equivalent_command(&request, &[planned_partition(0)], REPORT), format!("{BEGIN} {expected}"));
    }

    #[test]
    fn a_removal_is_a_command_of_its_own() {
        let delete = "kafka-consumer-groups --bootstrap-server kafka:9092 --group g --delete-offsets --topic";
        let none = entry(Partitions::one(3), Goal::Position(Position::None));
        let request = Request { work: Work::Entries(vec![none]), ..request() };
        assert_eq!(equivalent_command(&request, &[planned_partition(3)], REPORT), format!("{delete} orders:3"));

        let undo = Request { work: Work::Undo("replay".into()), ..request };
        let removal = |partition| PartitionStatus {
            requested_position: Some(Position::None),
            target_offset: None,
            ..planned_partition(partition)
        };
        let both = [planned_partition(0), removal(1), removal(2)];
        let command = equivalent_command(&undo, &both, REPORT);
        assert!(command.ends_with(&format!("--from-file after.csv --execute\n{delete} 'orders:1,2'")), "{command}");
        assert_eq!(after_csv(&both), "orders,0,10\n");
        assert_eq!(equivalent_command(&undo, &both[1..], REPORT), format!("{delete} 'orders:1,2'"));
    }

    #[test]
    fn a_reset_without_an_option_of_the_tool_reads_the_report() {
        let request = Request { work: Work::Undo("replay".into()), ..request() };
        assert_eq!(
            equivalent_command(&request, &[planned_partition(0)], REPORT),
            format!(
                "kubectl -n shop get configmap replay-report -o 'jsonpath={{.data.after\\.csv}}' > after.csv\n{BEGIN} --from-file after.csv --execute"
            )
        );
        let compressed = ReportRef { compressed: true, ..REPORT };
        assert!(
            equivalent_command(&request, &[], compressed)
                .contains("{.binaryData.after\\.csv\\.gz}' | base64 -d | gunzip > after.csv")
        );
    }

    #[test]
    fn a_group_with_an_odd_name_cannot_break_out_of_the_command() {
        let request = Request { group: "it's; rm -rf /".into(), ..request() };
        assert!(command(&request).contains(r#"--group "it's; rm -rf /" "#), "{}", command(&request));
    }

    #[rstest]
    #[case::plain("orders", "--group orders")]
    #[case::odd("a b", "--group 'a b'")]
    #[case::empty("", "--group ''")]
    #[case::expanded_by_a_shell("$(id) `id` it's", r#"--group '$(id) `id` it'"'s""#)]
    #[case::like_an_option("-rf", "--group=-rf")]
    #[case::like_an_option_and_odd("--group x", "--group='--group x'")]
    fn a_name_is_one_word_of_the_shell_and_no_option(#[case] group: &str, #[case] expected: &str) {
        let option = option("group", group);
        assert_eq!(option, expected);
        let words = shlex::split(&option).unwrap();
        assert_eq!(words.last().unwrap().trim_start_matches("--group="), group.trim_start_matches("--group="));
    }

    #[test]
    fn the_ranges_are_those_that_the_counts_of_the_status_count() {
        let at = |partition, before: Option<i64>, target| PartitionStatus {
            before,
            target_offset: Some(target),
            replayed: 0,
            skipped: 0,
            ..planned_partition(partition)
        };
        let partitions = [
            PartitionStatus { replayed: 40, ..at(0, Some(50), 10) },
            PartitionStatus { skipped: 30, ..at(1, Some(50), 80) },
            // Its commit was out of range: the records before the start of the log are gone, and were not skipped.
            PartitionStatus { skipped: 25, log_start: 20, outcome: PartitionOutcome::Reset, ..at(2, Some(5), 45) },
            // It had none: all before the target are skipped.
            PartitionStatus { skipped: 100, outcome: PartitionOutcome::Unconfirmed, ..at(3, None, 100) },
            at(4, Some(50), 50),
            PartitionStatus { skipped: 30, outcome: PartitionOutcome::Failed, ..at(5, Some(50), 80) },
            PartitionStatus { replayed: 1, outcome: PartitionOutcome::Skipped, ..at(6, Some(50), 49) },
            PartitionStatus { requested_position: Some(Position::None), target_offset: None, ..at(7, Some(50), 0) },
        ];
        assert_eq!(replayed_csv(&partitions), "topic,partition,from,to\norders,0,10,50\n");
        assert_eq!(skipped_csv(&partitions), "topic,partition,from,to\norders,1,50,80\norders,2,20,45\norders,3,0,100\n");
    }

    #[test]
    fn the_files_have_the_offsets_before_and_after() {
        let partitions = [
            planned_partition(0),
            PartitionStatus { before: None, ..planned_partition(1) },
            PartitionStatus { outcome: PartitionOutcome::Failed, ..planned_partition(2) },
        ];
        assert_eq!(before_csv(&partitions), "orders,0,50\norders,2,50\n");
        assert_eq!(after_csv(&partitions), "orders,0,10\norders,1,10\n");
    }
}
