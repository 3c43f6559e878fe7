//! Held against Kafka itself: the offsets that a reset commits are those that `kafka-consumer-groups --reset-offsets --execute`
//! commits for a twin group, on random topics, groups and targets, on each line of Kafka that there is.
//!
//! Most cases go through the operator's own code (parsing, questions, machine, adapter) without an API server; some are real OffsetResets.
//!
//! | where Kafka's tool is wrong | what it does | what a reset does | rule in kafka-semantics.md |
//! |---|---|---|---|
//! | `--to-current`, a commit out of range | commits the same again | repairs it, to the nearest offset in range | 11, 18 |
//! | `--to-current`, a partition without a commit | takes the end, skipping all records | leaves it without a commit | 18 |
//! | any target that it refuses | often ends with status 0 | phase Failed | KAFKA-6357 |
//! | an unknown group | makes it | refuses, unless `allowNewGroup` | 4 |
//!
//! `EQUIVALENCE_CASES` is how many cases there are in all (500), `EQUIVALENCE_SEED` repeats a run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::{Duration, Instant},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::PostParams;
use offset_reset_operator::{
    api::{OffsetReset, OffsetResetStatus, Phase, Reason},
    kafka::GroupAdmin,
    machine::{
        self, Answer, Effect,
        facts::{Bounds, Committed, KafkaSeen, Observed, TopicPartition},
        request::Request,
    },
    reconcile::query_kafka,
};
use real_tests::{
    any_logs::any_cleanup,
    broker::Broker,
    generators::random::Random,
    kafka_tool::{KafkaTool, Line},
    logs::{Built, TopicSpec, build},
    reset, resets,
    shop::Operator,
    unique, wait_for_end, with_namespace,
};
use serde_json::{Value, json};

type Offsets = BTreeMap<(String, i32), i64>;

/// One reset, in the words of both.
#[derive(Clone, Debug)]
struct Case {
    /// What kind of target it has.
    kind: &'static str,
    /// What is committed before.
    before: Offsets,
    /// What another group has committed, for a target that is taken from there.
    source: Offsets,
    /// Where the logs begin and end.
    bounds: BTreeMap<(String, i32), Bounds>,
    /// Arguments of Kafka's tool, behind `--group G --reset-offsets`; `{file}` and `{source}` are filled in.
    tool: Vec<String>,
    /// The lines of `--from-file`.
    file: Option<String>,
    /// `spec.resets`.
    entries: Value,
    /// More of the spec.
    spec: Value,
}

/// Past the capture of the test's output: a seed is of use also when all is well.
fn say(words: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    std::io::stderr().write_all(format!("equivalence: {words}\n").as_bytes()).unwrap();
}

fn environment_number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// An offset around a log: mostly in it, sometimes before, behind, or far away.
fn offset_around(random: &mut Random, start: i64, end: i64) -> i64 {
    match random.within(0..=9) {
        0 => 0,
        1 => random.within(0..=start.max(1)),
        2 => end + random.within(0..=50),
        3 => i64::from(i32::MAX) * random.within(1..=1_000),
        4 => end,
        _ => random.within(start..=end),
    }
}

fn commits(random: &mut Random, topics: &[Built]) -> Offsets {
    let mut commits = Offsets::new();
    for built in topics {
        for (partition, bounds) in built.bounds.iter().enumerate() {
            if random.percent(75) {
                let offset = offset_around(random, bounds.start, bounds.end);
                commits.insert((built.topic.clone(), i32::try_from(partition).unwrap()), offset);
            }
        }
    }
    commits
}

/// A time in milliseconds: of a record, near one, or far from all.
fn time_around(random: &mut Random, built: &Built, now: i64) -> i64 {
    let times: Vec<i64> = built.records.iter().flatten().map(|record| record.timestamp).collect();
    if times.is_empty() || random.percent(10) {
        return random.one_of(&[now - 30 * 24 * 3_600_000, now - 1, now + 3_600_000]);
    }
    random.one_of(&times) + random.within(-1..=1)
}

/// How long ago, in seconds, at least a minute away from every record: both sides ask what time it is a little apart.
fn ago(random: &mut Random, built: &Built, now: i64) -> i64 {
    loop {
        let seconds = random.within(60..=12 * 24 * 3_600);
        let at = now - seconds * 1_000;
        if built.records.iter().flatten().all(|record| record.timestamp.abs_diff(at) > 60_000) {
            return seconds;
        }
    }
}

impl Case {
    fn random(random: &mut Random, topics: &[Built], now: i64) -> Self {
        let before = commits(random, topics);
        let built = &topics[usize::try_from(random.within(0..=i64::try_from(topics.len()).unwrap() - 1)).unwrap()];
        let count = i64::try_from(built.bounds.len()).unwrap();
        // The scope: a topic, some of its partitions, or all that the group has committed for.
        let mut partitions: Vec<i64> = vec![];
        let all_topics = !before.is_empty() && random.percent(20);
        if !all_topics && random.percent(40) {
            let some: BTreeSet<i64> = (0..random.within(1..=4)).map(|_| random.within(0..=count - 1)).collect();
            partitions.extend(some);
        }
        let (mut tool, scopes): (Vec<String>, Vec<Value>) = if all_topics {
            (vec!["--all-topics".into()], vec![json!({"topicPattern": ".*"})])
        } else if partitions.is_empty() {
            (vec!["--topic".into(), built.topic.clone()], vec![json!({"topic": built.topic})])
        } else {
            let list = partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            let entries = partitions.iter().map(|partition| json!({"topic": built.topic, "partition": partition})).collect();
            (vec!["--topic".into(), format!("{}:{list}", built.topic)], entries)
        };
        let bounds_of = |built: &Built| {
            let topic = built.topic.clone();
            built.bounds.clone().into_iter().zip(0..).map(move |(bounds, partition)| ((topic.clone(), partition), bounds))
        };
        let mut case = Self {
            kind: "",
            before,
            source: Offsets::new(),
            bounds: topics.iter().flat_map(bounds_of).collect(),
            tool: vec![],
            file: None,
            entries: json!([]),
            spec: json!({}),
        };
        let (kind, words, target): (_, Vec<String>, Value) = match random.within(0..=8) {
            0 => {
                let first = built.bounds[0];
                let offset = offset_around(random, first.start, first.end);
                ("offset", vec!["--to-offset".into(), offset.to_string()], json!({"offset": offset}))
            }
            1 => ("earliest", vec!["--to-earliest".into()], json!({"position": "Earliest"})),
            2 => ("latest", vec!["--to-latest".into()], json!({"position": "Latest"})),
            3 => ("current", vec!["--to-current".into()], json!({"position": "Current"})),
            4 => {
                let shift = random.one_of(&[-1_000_000, -7, -1, 0, 1, 7, 1_000_000]) + random.within(-3..=3);
                ("shift", vec!["--shift-by".into(), shift.to_string()], json!({"shiftBy": shift}))
            }
            5 => {
                let seconds = ago(random, built, now);
                if all_topics {
                    // Reports of the other topics may be near that time.
                    ("earliest", vec!["--to-earliest".into()], json!({"position": "Earliest"}))
                } else {
                    (
                        "duration",
                        vec!["--by-duration".into(), format!("PT{seconds}S")],
                        json!({"duration": format!("{seconds}s")}),
                    )
                }
            }
            6 => {
                let millis = time_around(random, built, now);
                let at = jiff::Timestamp::from_millisecond(millis).unwrap();
                let text = jiff::fmt::strtime::format("%Y-%m-%dT%H:%M:%S.%3fZ", at).unwrap();
                let timestamp = match random.within(0..=2) {
                    0 => json!(text),
                    1 if millis % 1_000 == 0 => json!(millis / 1_000),
                    _ => json!(millis),
                };
                ("time", vec!["--to-datetime".into(), text], json!({"timestamp": timestamp}))
            }
            7 => return case.of_a_file(random, built),
            _ => return case.of_another_group(random, topics, &scopes),
        };
        tool.extend(words);
        case.kind = kind;
        case.tool = tool;
        case.entries = scopes
            .into_iter()
            .map(|mut entry| {
                entry.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
                entry
            })
            .collect();
        case
    }

    /// Each partition to an offset of its own.
    fn of_a_file(mut self, random: &mut Random, built: &Built) -> Self {
        let (mut file, mut entries) = (String::new(), vec![]);
        for (partition, bounds) in built.bounds.iter().enumerate() {
            if entries.is_empty() || random.percent(60) {
                let offset = offset_around(random, bounds.start, bounds.end);
                writeln!(file, "{},{partition},{offset}", built.topic).unwrap();
                entries.push(json!({"topic": built.topic, "partition": partition, "offset": offset}));
            }
        }
        self.kind = "file";
        self.tool = vec!["--from-file".into(), "{file}".into()];
        self.file = Some(file);
        self.entries = json!(entries);
        self
    }

    /// To where another group is: Kafka's tool exports and imports.
    fn of_another_group(mut self, random: &mut Random, topics: &[Built], scopes: &[Value]) -> Self {
        self.kind = "group";
        while self.source.is_empty() {
            self.source = commits(random, topics);
        }
        // Only what the other group has committed can be taken from it: a partition that is named must be there.
        let by_name = |entry: &&Value| match (entry["topic"].as_str(), entry["partition"].as_i64()) {
            (Some(topic), Some(partition)) => self.source.contains_key(&(topic.to_owned(), i32::try_from(partition).unwrap())),
            (Some(topic), None) => self.source.keys().any(|(with, _)| with == topic),
            (None, _) => true,
        };
        let mut entries: Vec<Value> = scopes.iter().filter(by_name).cloned().collect();
        if entries.is_empty() {
            entries.push(json!({"topicPattern": ".*"}));
        }
        let mut file = String::new();
        for ((topic, partition), offset) in &self.source {
            let wanted = entries.iter().any(|entry| {
                entry["topicPattern"] == ".*"
                    || entry["topic"] == topic.as_str() && entry.get("partition").is_none_or(|wanted| wanted == *partition)
            });
            if wanted {
                writeln!(file, "{topic},{partition},{offset}").unwrap();
            }
        }
        for entry in &mut entries {
            entry["fromGroup"] = json!("{source}");
        }
        self.tool = vec!["--from-file".into(), "{file}".into()];
        self.file = Some(file);
        self.entries = json!(entries);
        self
    }

    /// Where the two are to differ, and how: what is in the table above.
    fn expected_of_ours(&self, theirs: &Offsets) -> Offsets {
        let mut expected = theirs.clone();
        if self.kind == "current" {
            expected.retain(|at, _| self.before.contains_key(at));
            for entry in self.entries.as_array().unwrap() {
                let meant = |at: &(String, i32)| {
                    entry["topicPattern"] == ".*"
                        || entry["topic"] == at.0.as_str() && entry.get("partition").is_none_or(|wanted| *wanted == at.1)
                };
                for (at, offset) in expected.iter_mut().filter(|(at, _)| meant(at)) {
                    let bounds = self.bounds[at];
                    *offset = (*offset).clamp(bounds.start, bounds.end);
                }
            }
        }
        expected
    }
}

async fn commit(admin: &dyn GroupAdmin, group: &str, offsets: &Offsets) {
    let offsets: Vec<_> = offsets
        .iter()
        .map(|((topic, partition), offset)| {
            (TopicPartition::new(topic, *partition), Committed { offset: *offset, metadata: "".into() })
        })
        .collect();
    let answers = admin.commit(group, &offsets).await.unwrap();
    assert!(answers.values().all(Result::is_ok), "{answers:?}");
}

async fn committed(admin: &dyn GroupAdmin, group: &str) -> Offsets {
    let all = admin.all_committed(group).await.unwrap();
    let offset = |(at, committed): (TopicPartition, Result<Option<Committed>, _>)| {
        let committed: Option<Committed> = committed.unwrap_or_else(|error: machine::facts::KafkaError| panic!("{at}: {error}"));
        Some(((at.topic, at.partition), committed?.offset))
    };
    all.into_iter().filter_map(offset).collect()
}

fn spec_of(case: &Case, source: &str) -> (Value, Value) {
    let entries = serde_json::from_str(&case.entries.to_string().replace("{source}", source)).unwrap();
    let mut spec = case.spec.clone();
    spec["targetRefs"] = json!([]);
    (entries, spec)
}

/// Takes a reset through the machine from its beginning to its end, against a real broker, with nothing of Kubernetes but its words.
async fn run(admin: &dyn GroupAdmin, mut reset: OffsetReset) -> OffsetResetStatus {
    let mut finalizer = false;
    for _ in 0..200 {
        let now = jiff::Timestamp::now();
        let request = Request::parse(&reset).unwrap();
        let status = reset.status.clone().unwrap_or_default();
        let phase = status.phase.unwrap_or(Phase::Pending);
        if phase.is_terminal() {
            return status;
        }
        let kafka = query_kafka(admin, phase, &request, &status, None, now).await.unwrap_or_else(KafkaSeen::Failed);
        let seen = Observed {
            undo: None,
            uid: "uid".into(),
            group: request.group.clone(),
            deleting: false,
            finalizer,
            generation: Some(1),
            time_to_live: None,
            uninstalling: false,
            blocker: None,
            others: vec![],
            report_lost: None,
            receipt: None,
            targets: vec![],
            holds: vec![],
            unscalable: vec![],
            autoscalers: vec![],
            kafka,
            foreign_pods: vec![],
        };
        let decision = machine::decide(Ok(&request), &status, &seen, now);
        let mut next = decision.status.clone();
        let wait = decision.requeue;
        match decision.effect {
            None => {
                if let Some(wait) = wait {
                    tokio::time::sleep(Duration::try_from(wait).unwrap()).await;
                }
            }
            Some(Effect::AddFinalizer) => finalizer = true,
            Some(Effect::RemoveFinalizer) => finalizer = false,
            Some(
                Effect::Delete
                | Effect::Scale { .. }
                | Effect::Claim { .. }
                | Effect::Release { .. }
                | Effect::RemoveMembers(_)
                | Effect::Pause { .. }
                | Effect::Resume { .. },
            ) => panic!("there is nothing to scale"),
            Some(effect @ Effect::SettleReceipt { .. }) => {
                next = machine::after(&next, &effect, &Answer::Done, &seen, now).status;
            }
            Some(Effect::RemoveOffsets(_)) => panic!("nothing is to be removed"),
            Some(Effect::Commit(offsets)) => {
                let effect = Effect::Commit(offsets.clone());
                let answer = match admin.commit(&request.group, &offsets).await {
                    Ok(answers) => Answer::Committed(answers),
                    Err(error) => Answer::CommitFailed(error),
                };
                next = machine::after(&next, &effect, &answer, &seen, now).status;
            }
        }
        reset.status = Some(next);
    }
    panic!("it does not end: {:?}", reset.status);
}

/// What was found in a run of many cases.
#[derive(Default)]
struct Tally {
    kinds: BTreeMap<&'static str, usize>,
    refused: usize,
    excepted: usize,
    topics: usize,
    moved: usize,
}

/// How the twins are reset: through the machine alone, or as an OffsetReset in a cluster.
enum Ours<'a> {
    Machine,
    Cluster { api: &'a kube::Api<OffsetReset> },
}

async fn hold_against(tool: &mut KafkaTool, admin: &dyn GroupAdmin, line: Line, ours: &Ours<'_>, case: &Case, tally: &mut Tally) {
    let (theirs, own, source) = (unique("theirs"), unique("ours"), unique("source"));
    for (group, offsets) in [(&theirs, &case.before), (&own, &case.before), (&source, &case.source)] {
        if !offsets.is_empty() {
            commit(admin, group, offsets).await;
        }
    }
    let mut spec = spec_of(case, &source);
    if case.before.is_empty() {
        spec.1["allowNewGroup"] = json!(true);
    }

    let file = std::env::temp_dir().join(unique("equivalence"));
    if let Some(lines) = &case.file {
        std::fs::write(&file, lines).unwrap();
    }
    let words: Vec<String> = case.tool.iter().map(|word| word.replace("{file}", file.to_str().unwrap())).collect();
    let arguments: Vec<&str> = ["--group", &theirs, "--reset-offsets"]
        .into_iter()
        .chain(words.iter().map(String::as_str))
        .chain(["--execute"])
        .collect();
    let (exit, output) = tool.consumer_groups(&arguments).await;
    let _ = std::fs::remove_file(&file);

    let mut new = reset("twin", &own, &spec.0, &spec.1);
    new.spec.kafka.bootstrap_servers = Some(line.bootstrap_servers());
    let status = match ours {
        Ours::Machine => {
            new.metadata.uid = Some("uid".into());
            new.metadata.creation_timestamp = Some(Time(jiff::Timestamp::now()));
            run(admin, new).await
        }
        Ours::Cluster { api } => {
            let name = unique("twin");
            new.metadata.name = Some(name.clone());
            api.create(&PostParams::default(), &new).await.unwrap();
            wait_for_end(api, &name).await.status.unwrap()
        }
    };

    let (their_offsets, our_offsets) = (committed(admin, &theirs).await, committed(admin, &own).await);
    let refused = exit != 0 || output.contains("Error: ");
    let expected = case.expected_of_ours(&their_offsets);
    // First what differs: runners of tests shorten long messages.
    let said = || {
        let all: BTreeSet<_> = our_offsets.keys().chain(expected.keys()).collect();
        let different = all.into_iter().filter(|at| our_offsets.get(*at) != expected.get(*at));
        let rows = different.map(|at| {
            let bounds = case.bounds.get(at);
            format!(
                "{at:?}: ours {:?}, expected {:?}, before {:?}, log {bounds:?}\n",
                our_offsets.get(at),
                expected.get(at),
                case.before.get(at)
            )
        });
        format!(
            "{} {:?}\n{}Kafka's tool (exit {exit}):\n{output}\nthe reset: {:?} {:?} {:?}\n{case:?}",
            case.kind,
            case.tool,
            rows.collect::<String>(),
            status.phase,
            status.reason,
            status.message
        )
    };
    assert!(our_offsets == expected, "{}", said());
    if refused {
        assert_eq!(status.phase, Some(Phase::Failed), "{}", said());
        assert_eq!(our_offsets, case.before, "a refusal changes nothing: {}", said());
        tally.refused += 1;
    } else if status.phase == Some(Phase::Failed) {
        // Only where there was nothing to do at all: partitions without a commit, and nothing but the current position asked for.
        assert!(case.kind == "current" && status.reason == Some(Reason::NothingToReset), "{}", said());
    }
    tally.excepted += usize::from(expected != their_offsets);
    tally.moved += usize::from(our_offsets != case.before);
    *tally.kinds.entry(case.kind).or_default() += 1;
}

async fn equivalence(line: Line, cases: u64, seed: u64) -> Tally {
    let mut random = Random(seed);
    let mut tool = KafkaTool::start(line).await;
    let broker = Broker::new(line.bootstrap_servers());
    let admin = broker.group_admin().await;
    let mut tally = Tally::default();
    let mut done = 0;
    while done < cases {
        let now = jiff::Timestamp::now().as_millisecond();
        let mut topics = vec![];
        for _ in 0..random.within(1..=2) {
            let cleanup = any_cleanup(&mut random, now);
            let spec = TopicSpec::random(&mut random, cleanup, now);
            topics.push(build(&broker, "equivalence", &spec).await);
        }
        tally.topics += topics.len();
        for _ in 0..12.min(cases - done) {
            let case = Case::random(&mut random, &topics, now);
            hold_against(&mut tool, admin.as_ref(), line, &Ours::Machine, &case, &mut tally).await;
            done += 1;
        }
        for built in topics {
            broker.delete_topic(&built.topic).await;
        }
    }
    tally
}

/// The whole number of cases, split over the lines that there are.
#[tokio::test(flavor = "multi_thread")]
async fn offsets_equal_those_of_kafkas_own_tool() {
    let lines = Line::all();
    let cases = environment_number("EQUIVALENCE_CASES").unwrap_or(500).div_ceil(lines.len() as u64);
    let seed = environment_number("EQUIVALENCE_SEED").unwrap_or_else(|| jiff::Timestamp::now().as_microsecond().unsigned_abs());
    say(format_args!("EQUIVALENCE_SEED={seed} repeats this run"));
    let begin = Instant::now();
    let mut runs = vec![];
    for (index, line) in lines.into_iter().enumerate() {
        runs.push((line, tokio::spawn(equivalence(line, cases, seed.wrapping_add(index as u64)))));
    }
    for (line, run) in runs {
        let tally = run.await.unwrap_or_else(|error| panic!("{line:?}, EQUIVALENCE_SEED={seed}: {error}"));
        say(format_args!(
            "{line:?}: {cases} cases on {} topics equal ({} moved offsets, {} refused by both, {} differ as listed), by target {:?}",
            tally.topics, tally.moved, tally.refused, tally.excepted, tally.kinds
        ));
    }
    say(format_args!("{} s in all", begin.elapsed().as_secs()));
}

/// A smaller share goes the whole way: an OffsetReset in a cluster, with the operator.
#[tokio::test(flavor = "multi_thread")]
async fn offset_resets_equal_kafkas_own_tool() {
    let seed = environment_number("EQUIVALENCE_SEED").unwrap_or_else(|| jiff::Timestamp::now().as_microsecond().unsigned_abs());
    say(format_args!("EQUIVALENCE_SEED={seed} repeats this run"));
    with_namespace(async |client, namespace| {
        let operator = Operator::start(&client, &namespace);
        let api = resets(&client, &namespace);
        for line in Line::all() {
            let mut random = Random(seed);
            let mut tool = KafkaTool::start(line).await;
            let broker = Broker::new(line.bootstrap_servers());
            let admin = broker.group_admin().await;
            let now = jiff::Timestamp::now().as_millisecond();
            let cleanup = any_cleanup(&mut random, now);
            let topics = [build(&broker, "equivalence", &TopicSpec::random(&mut random, cleanup, now)).await];
            let mut tally = Tally::default();
            for _ in 0..20 {
                let case = Case::random(&mut random, &topics, now);
                hold_against(&mut tool, admin.as_ref(), line, &Ours::Cluster { api: &api }, &case, &mut tally).await;
            }
            say(format_args!("{line:?}: 20 OffsetResets equal, {} refused by both, by target {:?}", tally.refused, tally.kinds));
        }
        operator.end().await;
    })
    .await;
}
