//! The manifest of an OffsetReset, out of the options.

mod connection;
mod goal;
mod targets;

pub use targets::{kinds, target_ref};

use kube::ResourceExt;
use offset_reset_operator::api::{OffsetReset, OffsetResetSpec};
use serde_json::{Map, Value, json};

use crate::{
    cli::{MakeArgs, go_duration},
    cluster::{BATCH, Cluster},
    exit::{Failure, Outcome},
};

/// An OffsetReset to create, and the file that it reads its offsets from, where that is too long for the spec.
#[derive(Debug, PartialEq)]
pub struct Manifest {
    /// The object, with no more fields than were asked for.
    pub object: Value,
    /// The content of the ConfigMap of [`Manifest::config_map`].
    pub file: Option<String>,
}

impl Manifest {
    /// The name of the object.
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// The name of the ConfigMap with the file.
    pub fn config_map(&self) -> String {
        goal::config_map_name(self.name())
    }
}

/// Out of the options; the cluster is asked only for what they refer to.
pub async fn made(cluster: &Cluster, make: &MakeArgs, dry_run: bool) -> Outcome<Manifest> {
    let Common { kafka, like } = Common::read(cluster, make).await?;
    let targets = targets::refs(cluster, &make.consumers.targets).await?;
    let file = make.goal.from_file.as_deref().map(goal::read).transpose()?;
    built(make, &Parts { namespace: &cluster.namespace, kafka, targets, like: like.as_ref(), file: file.as_deref(), dry_run })
}

/// What the OffsetResets of a batch have in common.
pub struct Common {
    kafka: Value,
    like: Option<OffsetReset>,
}

impl Common {
    /// The cluster is asked only for what the options refer to.
    pub async fn read(cluster: &Cluster, make: &MakeArgs) -> Outcome<Self> {
        let like = match &make.kafka.like {
            Some(name) => Some(cluster.reset(name).await?),
            None => None,
        };
        Ok(Self { kafka: connection::kafka(cluster, &make.kafka, like.as_ref()).await?, like })
    }

    /// The dry run for one group and its workloads.
    pub fn plan(&self, make: &MakeArgs, namespace: &str, batch: &str, one: &One) -> Outcome<Manifest> {
        let mut make = make.clone();
        make.goal.group = Some(one.group.clone());
        make.output.name = Some(one.name.clone());
        let (kafka, targets) = (self.kafka.clone(), one.targets.clone());
        let parts = Parts { namespace, kafka, targets, like: self.like.as_ref(), file: None, dry_run: true };
        let mut manifest = built(&make, &parts)?;
        manifest.object["metadata"]["labels"] = json!({BATCH: batch});
        Ok(manifest)
    }
}

/// One OffsetReset of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct One {
    /// Its name.
    pub name: String,
    /// The consumer group.
    pub group: String,
    /// The workloads, as the spec has them.
    pub targets: Vec<Value>,
}

/// What the cluster and files have said.
struct Parts<'a> {
    namespace: &'a str,
    kafka: Value,
    targets: Vec<Value>,
    like: Option<&'a OffsetReset>,
    file: Option<&'a str>,
    dry_run: bool,
}

/// PURE.
fn built(make: &MakeArgs, parts: &Parts<'_>) -> Outcome<Manifest> {
    let like = parts.like.map(|like| &like.spec);
    let group = make.goal.group.clone().or_else(|| like.map(|spec| spec.group.clone()));
    let group = group.ok_or_else(|| Failure::new("which group? Write --group GROUP."))?;
    let name = make.output.name.clone().unwrap_or_else(|| new_name(&group));
    let mut spec = Map::new();
    if !parts.targets.is_empty() {
        spec.insert("targetRefs".into(), parts.targets.clone().into());
    } else if let Some(like) = like.filter(|like| !like.target_refs.is_empty()) {
        spec.insert("targetRefs".into(), serde_json::to_value(&like.target_refs).unwrap_or_default());
    }
    spec.insert("kafka".into(), parts.kafka.clone());
    spec.insert("group".into(), json!(group));
    let work = goal::work(&make.goal, &group, &name, parts.file)?;
    spec.insert(work.field.into(), work.value);
    for (field, value) in options(make, like) {
        spec.insert(field.to_owned(), value);
    }
    if parts.dry_run {
        spec.insert("dryRun".into(), json!(true));
    }
    let object = json!({
        "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset",
        "metadata": {"name": name, "namespace": parts.namespace}, "spec": spec,
    });
    Ok(Manifest { object, file: work.file })
}

/// The undo of a reset: the same connection, group, targets and times.
pub fn undo(of: &OffsetReset, name: &str) -> Value {
    let spec = &of.spec;
    let mut fields = Map::new();
    if !spec.target_refs.is_empty() {
        fields.insert("targetRefs".into(), serde_json::to_value(&spec.target_refs).unwrap_or_default());
    }
    fields.insert("kafka".into(), serde_json::to_value(&spec.kafka).unwrap_or_default());
    fields.insert("group".into(), json!(spec.group));
    fields.insert("undo".into(), json!({"name": of.name_any()}));
    for (field, value) in inherited(spec) {
        fields.insert(field.to_owned(), value);
    }
    fields.insert("dryRun".into(), json!(true));
    json!({
        "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset",
        "metadata": {"name": name, "namespace": of.namespace()}, "spec": fields,
    })
}

/// The times of a spec that are not the defaults, and how it treats members.
fn inherited(spec: &OffsetResetSpec) -> Vec<(&'static str, Value)> {
    let usual = json!({"drainTimeout": "120s", "holdTimeout": "600s", "remainingMembers": "Wait"});
    let all = serde_json::to_value(spec).unwrap_or_default();
    ["sessionTimeout", "drainTimeout", "holdTimeout", "resumeTimeout", "remainingMembers"]
        .into_iter()
        .map(|field| (field, all[field].clone()))
        .filter(|(field, value)| !value.is_null() && usual[*field] != *value)
        .collect()
}

/// The replicas that come back first.
fn canary(make: &MakeArgs) -> Option<Map<String, Value>> {
    let consumers = &make.consumers;
    let given = [
        ("replicas", Some(json!(consumers.canary?))),
        ("timeout", consumers.canary_timeout.map(|timeout| json!(go_duration(timeout)))),
        ("onFailure", consumers.canary_on_failure.map(|how| json!(format!("{how:?}")))),
    ];
    Some(given.into_iter().filter_map(|(field, value)| Some((field.to_owned(), value?))).collect())
}

/// The fields of the spec that options have said; the rest as in the reset that it is like.
fn options(make: &MakeArgs, like: Option<&OffsetResetSpec>) -> Vec<(&'static str, Value)> {
    let (consumers, bounds, output) = (&make.consumers, &make.bounds, &make.output);
    let length = |length: Option<std::time::Duration>| length.map(|length| json!(go_duration(length)));
    let word = |word: Option<String>| word.map(Value::String);
    let records = |limit: Option<i64>| limit.map(|limit| json!(limit));
    let limits = [
        ("maxReplay", records(bounds.max_replay)),
        ("maxSkip", records(bounds.max_skip)),
        ("maxCatchUp", length(bounds.max_catch_up)),
    ];
    let limits: Map<String, Value> = limits.into_iter().filter_map(|(field, limit)| Some((field.to_owned(), limit?))).collect();
    let given = [
        ("remainingMembers", word(consumers.remaining_members.map(|how| format!("{how:?}")))),
        ("sessionTimeout", length(consumers.session_timeout)),
        ("drainTimeout", length(consumers.drain_timeout)),
        ("holdTimeout", length(consumers.hold_timeout)),
        ("resumeTimeout", length(consumers.resume_timeout)),
        ("restore", canary(make).map(|canary| json!({"canary": canary}))),
        ("allowNoMembers", consumers.allow_no_members.then_some(json!(true))),
        ("allowNewGroup", bounds.allow_new_group.then_some(json!(true))),
        ("outOfRange", word(bounds.out_of_range.map(|how| format!("{how:?}")))),
        ("isolationLevel", word(bounds.isolation_level.map(|level| format!("{level:?}")))),
        ("notAfter", bounds.not_after.map(|at| json!(at.to_string()))),
        ("limits", Some(Value::Object(limits)).filter(|limits| *limits != json!({}))),
        ("runId", word(output.run_id.clone())),
        ("reason", word(output.reason.clone())),
        ("ttlSecondsAfterFinished", output.ttl.map(|ttl| json!(ttl.as_secs()))),
    ];
    let mut fields: Vec<(&str, Value)> = given.into_iter().filter_map(|(field, value)| Some((field, value?))).collect();
    for (field, value) in like.map(inherited).unwrap_or_default() {
        if !fields.iter().any(|(given, _)| *given == field) {
            fields.push((field, value));
        }
    }
    fields
}

/// The group's name as an object may have it, and letters by which one try is told from the next.
pub fn new_name(group: &str) -> String {
    let letters = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
    let name: String = group.chars().map(letters).take(40).collect();
    let name = name.trim_matches('-');
    let name = if name.is_empty() { "reset" } else { name };
    format!("{name}-{}", some_letters())
}

/// Five letters and digits that differ from one call to the next.
pub fn some_letters() -> String {
    use std::hash::{BuildHasher, RandomState};
    const LETTERS: &[u8; 32] = b"bcdfghjkmnpqrstvwxz2456789aeiuyh";
    let mut number = RandomState::new().hash_one(std::process::id());
    let mut text = String::new();
    for _ in 0..5 {
        text.push(char::from(LETTERS[usize::try_from(number % 32).unwrap_or_default()]));
        number /= 32;
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rstest::rstest;

    use super::*;
    use crate::cli::{Cli, Command};

    fn spec(words: &str, like: Option<&OffsetReset>, file: Option<&str>) -> Outcome<Value> {
        let all = format!("x create --name r {words}");
        let cli = Cli::try_parse_from(shlex::split(&all).unwrap()).unwrap_or_else(|error| panic!("{error}"));
        let Command::Create(args) = cli.command else { panic!("not create") };
        let kafka = match like {
            Some(like) => serde_json::to_value(&like.spec.kafka).unwrap(),
            None => json!({"bootstrapServers": "k:9092"}),
        };
        let parts = Parts { namespace: "shop", kafka, targets: vec![], like, file, dry_run: false };
        let manifest = built(&args.make, &parts)?;
        // What the operator would refuse is no manifest.
        let object: OffsetReset = serde_json::from_value(manifest.object.clone()).unwrap();
        offset_reset_operator::machine::request::Request::parse(&object).unwrap();
        Ok(manifest.object["spec"].clone())
    }

    #[rstest]
    #[case::earliest("--topic t --to-earliest", json!([{"topic": "t", "position": "Earliest"}]))]
    #[case::latest("--topic t:0,2 --to-latest", json!([{"topic": "t", "partitions": [0, 2], "position": "Latest"}]))]
    #[case::ranges(
        "--topic t:7,0-3,5 --to-latest",
        json!([{"topic": "t", "partitions": [5, 7], "partitionRanges": [{"from": 0, "to": 3}], "position": "Latest"}])
    )]
    #[case::none("--topic t:1 --delete-offsets", json!([{"topic": "t", "partition": 1, "position": "None"}]))]
    #[case::current("--all-topics --to-current", json!([{"topicPattern": ".*", "position": "Current"}]))]
    #[case::offset("--topic a --topic b:1 --to-offset 7", json!([{"topic": "a", "offset": 7}, {"topic": "b", "partition": 1, "offset": 7}]))]
    #[case::datetime("--topic t --to-datetime 2026-11-24T19:00:00+01:00", json!([{"topic": "t", "timestamp": "2026-11-24T18:00:00Z"}]))]
    #[case::duration("--topic t --by-duration PT36H", json!([{"topic": "t", "duration": "36h"}]))]
    #[case::shift("--topic t --shift-by -10", json!([{"topic": "t", "shiftBy": -10}]))]
    #[case::group("--topic t --from-group other", json!([{"topic": "t", "fromGroup": "other"}]))]
    fn kafkas_options_are_entries(#[case] words: &str, #[case] expected: Value) {
        let spec = spec(&format!("--group g --bootstrap-server k:9092 {words}"), None, None).unwrap();
        assert_eq!(spec, json!({"kafka": {"bootstrapServers": "k:9092"}, "group": "g", "resets": expected}));
    }

    #[test]
    fn every_option_has_its_field() {
        let words = "--group g --bootstrap-server k:9092 --topic t --to-latest --max-replay 10 --max-skip 5 --max-catch-up 90m --out-of-range fail \
            --session-timeout 45s --drain-timeout 3m --hold-timeout PT1H --resume-timeout 15m --not-after 2026-11-24T20:00:00Z \
            --isolation-level ReadCommitted --allow-new-group --run-id 2 --reason INC-4711 --ttl 7d";
        let mut spec = spec(words, None, None).unwrap();
        for field in ["kafka", "group", "resets"] {
            spec.as_object_mut().unwrap().remove(field);
        }
        assert_eq!(
            spec,
            json!({
                "limits": {"maxReplay": 10, "maxSkip": 5, "maxCatchUp": "1h30m"}, "outOfRange": "Fail", "sessionTimeout": "45s", "drainTimeout": "3m",
                "holdTimeout": "1h", "resumeTimeout": "15m", "notAfter": "2026-11-24T20:00:00Z", "isolationLevel": "ReadCommitted",
                "allowNewGroup": true, "runId": "2", "reason": "INC-4711", "ttlSecondsAfterFinished": 604_800,
            })
        );
    }

    #[test]
    fn a_canary_has_its_replicas_and_what_else_is_given() {
        let canary = |words: &str| canary(&made(&format!("--group g --bootstrap-server k:9092 --topic t --to-latest {words}")));
        assert_eq!(canary(""), None);
        assert_eq!(canary("--canary 1").map(Value::Object), Some(json!({"replicas": 1})));
        let all = canary("--canary 2 --canary-timeout 90s --canary-on-failure undo").map(Value::Object);
        assert_eq!(all, Some(json!({"replicas": 2, "timeout": "1m30s", "onFailure": "Undo"})));
    }

    /// The options of `create`.
    fn made(words: &str) -> MakeArgs {
        let all = format!("x create --name r {words}");
        let Command::Create(args) = Cli::try_parse_from(shlex::split(&all).unwrap()).unwrap().command else {
            panic!("not create")
        };
        args.make
    }

    fn like() -> OffsetReset {
        serde_json::from_value(json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "old", "namespace": "shop"},
            "spec": {
                "kafka": {"bootstrapServers": "old:9092"}, "group": "g", "targetRefs": [{"name": "c"}], "holdTimeout": "20m",
                "resets": [{"topic": "t", "offset": 1}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn one_that_is_like_another_has_its_connection_group_targets_and_times() {
        let spec = spec("--like old --topic t --to-latest --drain-timeout 1m", Some(&like()), None).unwrap();
        assert_eq!(
            (&spec["group"], &spec["kafka"]["bootstrapServers"], &spec["targetRefs"][0]["name"]),
            (&json!("g"), &json!("old:9092"), &json!("c"))
        );
        assert_eq!(
            (&spec["holdTimeout"], &spec["drainTimeout"], &spec["sessionTimeout"]),
            (&json!("1200s"), &json!("1m"), &Value::Null)
        );
    }

    #[test]
    fn an_undo_has_all_that_the_reset_had_but_its_goal() {
        let undo = undo(&like(), "undo-old");
        assert_eq!((&undo["spec"]["undo"]["name"], &undo["spec"]["holdTimeout"]), (&json!("old"), &json!("1200s")));
        let object: OffsetReset = serde_json::from_value(undo).unwrap();
        offset_reset_operator::machine::request::Request::parse(&object).unwrap();
        assert!(object.spec.dry_run && object.spec.resets.is_empty());
    }

    #[test]
    fn a_short_file_becomes_entries_and_a_long_one_a_config_map() {
        let words = "--group g --bootstrap-server k:9092 --from-file f.csv";
        let short = spec(words, None, Some("t,0,5\ng,t,1,6\n")).unwrap_err();
        assert!(short.what.contains("line 2: it has 4 values"), "{short}");
        assert_eq!(spec(words, None, Some("t,0,5\n")).unwrap()["resets"], json!([{"topic": "t", "partition": 0, "offset": 5}]));
        let long = (0..501).map(|partition| format!("t,{partition},1\n")).collect::<Vec<_>>().concat();
        assert_eq!(
            spec(words, None, Some(&long)).unwrap()["resetsFrom"],
            json!({"configMapKeyRef": {"name": "r-offsets", "key": "offsets.csv"}})
        );
    }

    #[rstest]
    #[case::no_goal("--group g --topic t --bootstrap-server k:9092")]
    #[case::two_goals("--group g --topic t --to-latest --to-earliest --bootstrap-server k:9092")]
    #[case::no_topics("--group g --to-latest --bootstrap-server k:9092")]
    #[case::no_connection("--group g --topic t --to-latest")]
    #[case::no_group("--topic t --to-latest --bootstrap-server k:9092")]
    #[case::no_replica_in_a_canary("--group g --topic t --to-latest --bootstrap-server k:9092 --canary 0")]
    #[case::a_timeout_without_a_canary("--group g --topic t --to-latest --bootstrap-server k:9092 --canary-timeout 1m")]
    #[case::file_and_topic("--group g --topic t --from-file f --bootstrap-server k:9092")]
    fn words_that_do_not_fit_are_refused(#[case] words: &str) {
        let all = format!("x plan {words}");
        assert!(Cli::try_parse_from(shlex::split(&all).unwrap()).is_err());
    }

    #[test]
    fn a_new_name_is_one_that_an_object_may_have() {
        assert!(new_name("Shop.Orders_v2").starts_with("shop-orders-v2-"));
        assert!(new_name("___").starts_with("reset-"));
        assert_ne!(new_name("g"), new_name("g"));
    }
}
