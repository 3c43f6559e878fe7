//! Kafka's own `kafka-consumer-groups`, kept warm, on each line of Kafka that there is: that it runs, that what it commits is what
//! we read, and what it says and does not say when it fails.

use std::{collections::BTreeMap, ffi::OsString, time::Instant};

use offset_reset_operator::{
    kafka::GroupAdmin,
    machine::facts::{Committed, Group, KafkaErrorKind, TopicPartition, group},
};
use real_tests::{
    broker::Broker,
    consumers::{Consumed, Kind, Member},
    kafka_tool::{KafkaTool, Line, allow_again, deny, libs_beside},
    unique,
};

const HOUR: i64 = 60 * 60 * 1000;

/// What a group has committed for a topic, as we read it: partition and offset.
async fn committed(admin: &dyn GroupAdmin, group: &str, topic: &str) -> BTreeMap<i32, i64> {
    let all = admin.all_committed(group).await.unwrap();
    let of_topic = all.into_iter().filter(|(at, _)| at.topic == topic);
    of_topic.map(|(at, read)| (at.partition, read.unwrap().expect("it is committed").offset)).collect()
}

/// The tool's plan as `--export` prints it.
fn exported(output: &str, topic: &str) -> BTreeMap<i32, i64> {
    let rows = output.lines().filter_map(|line| line.strip_prefix(topic)?.strip_prefix(',')?.split_once(','));
    rows.map(|(partition, offset)| (partition.parse().unwrap(), offset.parse().unwrap())).collect()
}

fn offsets(of: [i64; 3]) -> BTreeMap<i32, i64> {
    (0..).zip(of).collect()
}

/// The lines of what a tool has written, without the traces of Java's stack.
fn said(output: &str) -> String {
    output.lines().filter(|line| !line.starts_with("\tat ")).take(4).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_tool_commits_is_what_we_read() {
    for line in Line::all() {
        let (mut tool, broker) = (KafkaTool::start(line).await, line.broker());
        let (admin, group) = (broker.group_admin().await, unique("by-tool"));
        // Ten records in one partition, an hour apart up to ten minutes ago; three in another one; none in the last.
        let now = jiff::Timestamp::now().as_millisecond();
        let topic = broker.topic("by-tool", 3).await;
        let latest = now - HOUR / 6;
        broker.produce(&topic, 0, &(0..10).map(|index| latest - (9 - index) * HOUR).collect::<Vec<_>>()).await;
        broker.produce(&topic, 1, &[latest - 2 * HOUR, latest - HOUR, latest]).await;
        real_tests::within(real_tests::PATIENCE, async {
            while broker.bounds(admin.as_ref(), &topic, 3).await.contains(&None) {}
        })
        .await
        .unwrap();

        let rfc3339 =
            jiff::Timestamp::from_millisecond(latest - 4 * HOUR).unwrap().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
        // The tool takes a time without a zone as UTC.
        let zoneless = rfc3339.trim_end_matches('Z');
        let steps: [(&[&str], [i64; 3]); 9] = [
            (&["--to-earliest"], [0, 0, 0]),
            (&["--to-latest"], [10, 3, 0]),
            (&["--shift-by", "-4"], [6, 0, 0]),
            (&["--shift-by", "2"], [8, 2, 0]),
            (&["--to-offset", "5"], [5, 3, 0]),
            (&["--to-current"], [5, 3, 0]),
            // 2 h 20 min ago: of the records 10 min, 1 h 10 min and 2 h 10 min old, the last.
            (&["--by-duration", "PT2H20M"], [7, 0, 0]),
            (&["--to-datetime", &rfc3339], [5, 0, 0]),
            (&["--to-datetime", zoneless], [5, 0, 0]),
        ];
        for (target, expected) in steps {
            let begin = ["--group", &group, "--topic", &topic, "--reset-offsets"];
            let (status, output) = tool.consumer_groups(&[&begin[..], target, &["--execute"]].concat()).await;
            assert_eq!(status, 0, "{line:?} {target:?}: {output}");
            assert_eq!(committed(admin.as_ref(), &group, &topic).await, offsets(expected), "{line:?} {target:?}: {output}");
        }

        // A plan goes out as a file and comes back.
        let plan = ["--group", &group, "--topic", &topic, "--reset-offsets", "--shift-by", "-1", "--dry-run", "--export"];
        let (status, csv) = tool.consumer_groups(&plan).await;
        assert_eq!((status, exported(&csv, &topic)), (0, offsets([4, 0, 0])), "{line:?}: {csv}");
        assert_eq!(committed(admin.as_ref(), &group, &topic).await, offsets([5, 0, 0]), "a dry run");
        let file = std::env::temp_dir().join(unique("plan"));
        std::fs::write(&file, format!("{topic},0,4\n{topic},1,77\n")).unwrap();
        let from_file = ["--group", &group, "--reset-offsets", "--from-file", file.to_str().unwrap(), "--execute"];
        let (status, output) = tool.consumer_groups(&from_file).await;
        std::fs::remove_file(&file).unwrap();
        assert_eq!(status, 0, "{line:?}: {output}");
        assert_eq!(committed(admin.as_ref(), &group, &topic).await, offsets([4, 3, 0]), "clamped, and only what the file names");

        let begin = Instant::now();
        for _ in 0..20 {
            let again = ["--group", &group, "--topic", &topic, "--reset-offsets", "--to-earliest", "--execute"];
            assert_eq!(tool.consumer_groups(&again).await.0, 0);
        }
        eprintln!("{line:?}: {:?} for one --reset-offsets --execute", begin.elapsed() / 20);
        broker.delete_topic(&topic).await;
    }
}

/// Which failures the exit status tells, and in which words. Only what the tool itself finds wrong with its arguments has a status
/// other than 0: what the broker refuses looks like success (KAFKA-6357). So what was committed is always read back.
#[tokio::test(flavor = "multi_thread")]
async fn most_of_the_tools_refusals_look_like_success() {
    for line in Line::all() {
        let (mut tool, broker) = (KafkaTool::start(line).await, line.broker());
        let (admin, group, gone) = (broker.group_admin().await, unique("refused"), unique("gone"));
        let topic = broker.topic("refused", 1).await;
        broker.produce(&topic, 0, &[1_000, 2_000]).await;
        let (missing, newer) = (format!("{topic}:7"), line == Line::Current);

        let cases: [(&[&str], i32, &str); 9] = [
            (&["--topic", &topic, "--shift-by", "1"], 1, "Cannot shift offset for partition"),
            (&["--topic", &topic], 1, "Option '[reset-offsets]' requires one of the following scenarios"),
            (&["--topic", &topic, "--to-earliest", "--to-latest"], 1, "Option \"[to-earliest]\" can't be used with option"),
            (&["--to-earliest"], 1, "One of the reset scopes should be defined: --all-topics, --topic."),
            (&["--topic", &gone, "--to-earliest"], 0, "This server does not host this topic-partition."),
            // Kafka 3.9 waits for such a partition until --timeout, 5 s by default.
            (&["--topic", &missing, "--to-earliest", "--timeout", "1000"], 0, if newer { "do not exist" } else { "imed out" }),
            (&["--topic", &topic, "--to-datetime", "2026-01-01"], 0, "It does not contain a 'T' according to ISO8601 format"),
            // Before 1970 is a sentinel of the protocol.
            (&["--topic", &topic, "--to-datetime", "1969-01-01T00:00:00.000Z"], 0, "The version of API is not supported."),
            (&["--from-file", "/no/such/file"], 0, "Unable to read file /no/such/file"),
        ];
        for (arguments, status, words) in cases {
            let begin = ["--group", &group, "--reset-offsets"];
            let (found, output) = tool.consumer_groups(&[&begin[..], arguments, &["--execute"]].concat()).await;
            assert!(found == status && output.contains(words), "{line:?} {arguments:?}: {found} {}", said(&output));
            assert!(committed(admin.as_ref(), &group, &topic).await.is_empty(), "{line:?} {arguments:?}");
        }
        let (status, output) = tool.run("kafka-consumer-groups", &["--bogus"]).await;
        assert!(status == 1 && output.contains("bogus is not a recognized option"), "{line:?}: {status} {}", said(&output));
        let (status, output) = tool.run("no.such.Tool", &[]).await;
        assert!(status == 1 && output.contains("ClassNotFoundException"), "{line:?}: {status} {output}");

        // The empty name is a group to Kafka 3.9, and none to Kafka 4.
        let nameless = ["--group", "", "--topic", &topic, "--reset-offsets", "--to-earliest", "--dry-run"];
        let (status, output) = tool.consumer_groups(&nameless).await;
        let is_none = output.contains("The group id is invalid");
        // Somebody's own broker may be of any version.
        assert!(status == 0 && (is_none == newer || real_tests::environment().existing), "{line:?}: {status} {}", said(&output));

        let kind = Kind { bootstrap_servers: Some(broker.bootstrap_servers.clone()), ..Kind::default() };
        let member = Member::start(&group, std::slice::from_ref(&topic), &kind, 0, Consumed::default());
        let stable = async {
            loop {
                let seen = admin.describe_group(&group).await.unwrap();
                if matches!(&seen, Group::Found(found) if found.members.iter().any(|member| member.assigned > 0)) {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        real_tests::within(real_tests::PATIENCE, stable).await.unwrap();
        let live = ["--group", &group, "--topic", &topic, "--reset-offsets", "--to-earliest", "--execute"];
        let (status, output) = tool.consumer_groups(&live).await;
        let words =
            format!("Error: Assignments can only be reset if the group '{group}' is inactive, but the current state is Stable.");
        assert!(status == 0 && output.contains(&words), "{line:?}: {status} {}", said(&output));
        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
        broker.delete_topic(&topic).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_is_an_authorization_error_until_it_is_allowed_again() {
    if real_tests::environment().existing {
        eprintln!("not tested: a broker of somebody's own may have no authorizer, and other ACLs than ours");
        return;
    }
    for line in Line::all() {
        let (mut tool, broker) = (KafkaTool::start(line).await, line.broker());
        let (admin, group) = (broker.group_admin().await, unique("denied"));
        let topic = broker.topic("denied", 1).await;
        broker.produce(&topic, 0, &[1_000]).await;
        let (at, to) = (TopicPartition::new(&topic, 0), Committed { offset: 1, metadata: "".into() });
        let answer = async || {
            let answers = admin.commit(&group, &[(at.clone(), to.clone())]).await;
            answers.map_err(|error| error.kind).and_then(|mut answers| answers.remove(&at).unwrap().map_err(|error| error.kind))
        };
        assert_eq!(answer().await, Ok(()), "{line:?}");
        for resource in [["--group", &group], ["--topic", &topic]] {
            deny(&mut tool, &resource, "Read").await;
            assert_eq!(answer().await, Err(KafkaErrorKind::Authorization), "{line:?} {resource:?}");
            if resource[0] == "--group" {
                // Describing is another operation, and so are other groups.
                assert!(group::is_empty(&admin.describe_group(&group).await.unwrap()));
                let other = admin.commit(&format!("{group}-2"), &[(at.clone(), to.clone())]).await.unwrap();
                assert_eq!(other[&at], Ok(()));
                let reset = ["--group", &group, "--topic", &topic, "--reset-offsets", "--to-earliest", "--execute"];
                let (status, output) = tool.consumer_groups(&reset).await;
                assert!(status == 0 && output.contains("GroupAuthorizationException"), "{line:?}: {status} {}", said(&output));
            }
            allow_again(&mut tool, &resource).await;
            assert_eq!(answer().await, Ok(()), "{line:?} {resource:?}");
        }
        broker.delete_topic(&topic).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_arrive_as_they_were_given() {
    let mut tool = KafkaTool::start(Line::Current).await;
    for odd in ["a b", "a\"b\\c", "tab\tand\nline", "\u{e4}\u{2713}"] {
        let (status, output) = tool.consumer_groups(&["--group", odd, "--describe"]).await;
        assert!(status == 0 && output.contains(odd), "{odd:?}: {output}");
    }
}

#[test]
fn jars_that_are_not_there_are_not_found() {
    assert_eq!(libs_beside("kafka-console-consumer", &OsString::from("/no/such/dir")), None);
}

/// Both lines can be used at once, and are two clusters.
#[tokio::test(flavor = "multi_thread")]
async fn the_lines_are_clusters_of_their_own() {
    let topic = Broker::default().topic("alone", 1).await;
    for line in Line::all().into_iter().skip(1) {
        let error = line.broker().group_admin().await.partitions(&topic).await.unwrap_err();
        assert_eq!(error.kind, KafkaErrorKind::UnknownTopicOrPartition);
    }
}
