//! What Argo CD and kstatus make of an OffsetReset in every phase: by the Lua engine of Argo CD, with the libraries that it has
//! without `useOpenLibs`, and by both implementations of kstatus (kubectl's and Flux').
//!
//! The scripts are in the layout that Argo CD takes into its own `resource_customizations`. The objects beside them are recorded
//! by the test that watches real ones: `RECORD_TESTDATA=1` writes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use futures::StreamExt;
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
    runtime::{WatchStreamExt, watcher},
};
use offset_reset_operator::api::Phase;
use real_tests::{
    consumers::{Consumed, Kind, Member},
    env::TestEnv,
    unique, wait_for_end, wait_for_phase, wait_until_gone,
};
use serde_json::{Value, json};

/// The phases that this version has.
const PHASES: [Phase; 11] = [
    Phase::Pending,
    Phase::Planning,
    Phase::Stopping,
    Phase::Draining,
    Phase::Resetting,
    Phase::Canary,
    Phase::Restoring,
    Phase::Succeeded,
    Phase::Failed,
    Phase::Cancelled,
    Phase::Planned,
];

fn scripts() -> PathBuf {
    let layout = "../../deploy/argocd/resource_customizations/offsetreset.dev/OffsetReset";
    Path::new(env!("CARGO_MANIFEST_DIR")).join(layout)
}

/// What the program `gitops` answers to each object.
fn answers(arguments: &[&str], objects: &[Value]) -> Vec<Value> {
    let mut child = Command::new("gitops")
        .current_dir(scripts())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("gitops, which `cargo sandbox exec` has on its PATH: {error}"));
    let input = objects.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let mut stdin = child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    assert!(output.status.success(), "gitops {arguments:?}");
    let answers: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), objects.len());
    answers
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn yaml(path: impl AsRef<Path>) -> Value {
    let path = scripts().join(path);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap()
}

/// What Argo CD should show, and what a tool that waits by kstatus should take it for.
fn expected(object: &Value) -> (&'static str, &'static str) {
    if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
        return ("Progressing", "InProgress");
    }
    match (text(object, "/status/phase"), text(object, "/status/reason")) {
        (_, "Suspended") => ("Suspended", "InProgress"),
        ("Succeeded" | "Planned", _) => ("Healthy", "Current"),
        ("Failed" | "Cancelled", _) => ("Degraded", "Failed"),
        _ => ("Progressing", "InProgress"),
    }
}

fn check(objects: &[Value]) {
    let (health, kstatus) = (answers(&["lua", "health.lua"], objects), answers(&["kstatus"], objects));
    for (object, (health, kstatus)) in objects.iter().zip(health.iter().zip(&kstatus)) {
        let (status, mut waits) = expected(object);
        // Argo CD asks no script about an object that is being deleted; kstatus has a word for it.
        if object["metadata"]["deletionTimestamp"].is_string() {
            waits = "Terminating";
        }
        assert_eq!(health["status"], status, "{health} for {object}");
        assert_ne!(text(health, "/message"), "", "{object}");
        assert_eq!((&kstatus["kubernetes"], &kstatus["flux"]), (&json!(waits), &json!(waits)), "{kstatus} for {object}");
    }
}

/// Every version of every OffsetReset of a namespace, from now on.
fn watched(env: &TestEnv) -> (Arc<Mutex<Vec<Value>>>, tokio::task::JoinHandle<()>) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("offsetreset.dev", "v1alpha1", "OffsetReset"));
    let api = Api::<DynamicObject>::namespaced_with(env.client.clone(), &env.namespace, &resource);
    let seen = Arc::new(Mutex::new(vec![]));
    let into = seen.clone();
    let watching = async move {
        // After an error, such as a version that is too old right after the CRD was installed, it goes on by itself.
        let mut changes = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff().touched_objects());
        while let Some(object) = changes.next().await {
            into.lock().unwrap().extend(object.ok().map(|object| serde_json::to_value(object).unwrap()));
        }
    };
    (seen, tokio::spawn(watching))
}

#[tokio::test(flavor = "multi_thread")]
async fn in_every_phase_argo_cd_and_kstatus_know_what_to_make_of_it() {
    let seen = Arc::new(Mutex::new(vec![]));
    TestEnv::with(async |env| {
        let (versions, watching) = watched(env);
        env.deployment().await;
        let (topic, group) = (env.topic().await, unique("gitops"));
        env.commit(&group, &topic, &[(0, 50)]).await;
        let entries = json!([{"topic": topic, "partition": 0, "offset": 30}]);
        let consumer = json!([{"name": "consumer"}]);

        // A canary without consumers.
        let spec = json!({
            "targetRefs": consumer, "allowNoMembers": true,
            "restore": {"canary": {"replicas": 1, "timeout": "5s", "onFailure": "Keep"}},
        });
        let other_group = unique("gitops");
        env.commit(&other_group, &topic, &[(0, 50)]).await;
        env.apply("canary-orders", &other_group, entries.clone(), spec).await;
        wait_for_phase(&env.api, "canary-orders", Phase::Canary).await;
        wait_for_end(&env.api, "canary-orders").await;

        // Suspended, resumed as a dry run, run.
        let spec = json!({"targetRefs": consumer, "dryRun": true, "suspend": true, "allowNoMembers": true});
        env.apply("replay-orders", &group, entries.clone(), spec).await;
        wait_for_phase(&env.api, "replay-orders", Phase::Pending).await;
        act(env, "replay-orders", "resume").await;
        wait_for_phase(&env.api, "replay-orders", Phase::Planned).await;
        act(env, "replay-orders", "run").await;
        wait_for_phase(&env.api, "replay-orders", Phase::Succeeded).await;

        // Held at zero by a member that stays, and cancelled.
        let member = Member::start(&group, std::slice::from_ref(&topic), &Kind::default(), 0, Consumed::default());
        env.members(&group, 1).await;
        let entries = json!([{"topic": topic, "partition": 0, "offset": 20}]);
        env.apply(
            "cancelled",
            &group,
            entries.clone(),
            json!({"targetRefs": consumer, "drainTimeout": "10m", "holdTimeout": "20m"}),
        )
        .await;
        wait_for_phase(&env.api, "cancelled", Phase::Draining).await;
        env.api.delete("cancelled", &DeleteParams::default()).await.unwrap();
        wait_until_gone(&env.api, "cancelled").await;
        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();

        env.apply("failed", &group, entries.clone(), json!({"targetRefs": [{"name": "no-such-deployment"}]})).await;
        wait_for_end(&env.api, "failed").await;
        env.apply("expired", &group, entries, json!({"targetRefs": consumer, "notAfter": "2026-01-01T00:00:00Z"})).await;
        wait_for_end(&env.api, "expired").await;
        let last = async || versions.lock().unwrap().iter().any(|object| text(object, "/status/reason") == "Expired");
        env.until("watched to the end", async |_| last().await).await;
        watching.abort();
        *seen.lock().unwrap() = versions.lock().unwrap().clone();
    })
    .await;
    let seen = seen.lock().unwrap().clone();
    let phases: BTreeSet<&str> = seen.iter().map(|object| text(object, "/status/phase")).collect();
    let all: BTreeSet<&str> = PHASES.iter().map(|phase| phase.as_str()).chain([""]).collect();
    assert_eq!(phases, all, "each phase, and an object without a status, was seen");
    check(&seen);
    if std::env::var_os("RECORD_TESTDATA").is_some() {
        record(&seen);
    }
}

/// What Argo CD does when a person chooses an action: the script gets the object, and what it changes is patched.
async fn act(env: &TestEnv, name: &str, action: &str) {
    let object = serde_json::to_value(env.api.get(name).await.unwrap()).unwrap();
    let actions = &answers(&["lua", "actions/discovery.lua"], std::slice::from_ref(&object))[0];
    assert_eq!(actions[action]["disabled"], false, "{action} of {object}");
    let changed = &answers(&["lua", &format!("actions/{action}/action.lua")], &[object])[0];
    let patch = json!({"spec": {"dryRun": changed["spec"]["dryRun"], "suspend": changed["spec"]["suspend"]}});
    env.api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
}

/// Keeps one object of each phase, and those that differ by their reason, without what is different in each run.
fn record(seen: &[Value]) {
    let mut kept = BTreeMap::new();
    for object in seen {
        let name = match (text(object, "/status/phase"), text(object, "/status/reason")) {
            ("", _) => "new".to_owned(),
            (_, reason @ ("Suspended" | "Expired")) => reason.to_lowercase(),
            (phase, _) => phase.to_lowercase(),
        };
        // One that the operator has seen as it is. Of one that is being deleted Argo CD asks no script.
        if object["metadata"]["deletionTimestamp"].is_null()
            && (name == "new" || object["status"]["observedGeneration"] == object["metadata"]["generation"])
        {
            kept.insert(name, object.clone());
        }
    }
    for (name, mut object) in kept {
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.remove("managedFields");
        let namespace = metadata["namespace"].as_str().unwrap().to_owned();
        let (group, topic) = (text(&object, "/spec/group").to_owned(), text(&object, "/spec/resets/0/topic").to_owned());
        let brokers = text(&object, "/spec/kafka/bootstrapServers").to_owned();
        let mut text = serde_saphyr::to_string(&object).unwrap();
        for (of_this_run, always) in
            [(&namespace, "shop"), (&group, "orders-consumer"), (&topic, "orders"), (&brokers, "kafka-bootstrap.kafka:9092")]
        {
            text = text.replace(of_this_run.as_str(), always);
        }
        fs::write(scripts().join(format!("testdata/{name}.yaml")), text).unwrap();
    }
}

#[test]
fn the_tests_of_the_health_script_pass_as_in_argo_cd() {
    let tests = yaml("health_test.yaml");
    let mut tested = BTreeSet::new();
    for test in tests["tests"].as_array().unwrap() {
        let path = test["inputPath"].as_str().unwrap();
        let object = yaml(path);
        let health = &answers(&["lua", "health.lua"], std::slice::from_ref(&object))[0];
        assert_eq!(*health, test["healthStatus"], "{path}");
        check(&[object]);
        tested.insert(scripts().join(path));
    }
    let recorded: BTreeSet<PathBuf> =
        fs::read_dir(scripts().join("testdata")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(tested, recorded, "each object is tested");
    let phases: BTreeSet<String> = recorded.iter().map(|path| text(&yaml(path), "/status/phase").to_owned()).collect();
    // One that is cancelled is being deleted.
    let missing: Vec<&Phase> = PHASES.iter().filter(|phase| !phases.contains(phase.as_str())).collect();
    assert_eq!(missing, [&Phase::Cancelled]);
}

#[test]
fn the_tests_of_the_actions_pass_as_in_argo_cd() {
    let tests = yaml("actions/action_test.yaml");
    for test in tests["discoveryTests"].as_array().unwrap() {
        let path = test["inputPath"].as_str().unwrap();
        let found = &answers(&["lua", "actions/discovery.lua"], &[yaml(Path::new("actions").join(path))])[0];
        let mut found: Vec<Value> = found
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, action)| {
                let mut action = action.clone();
                action["name"] = json!(name);
                action
            })
            .collect();
        found.sort_by_key(|action| action["name"].to_string());
        assert_eq!(json!(found), test["result"], "{path}");
    }
    for test in tests["actionTests"].as_array().unwrap() {
        let (action, at) =
            (test["action"].as_str().unwrap(), |key: &str| yaml(Path::new("actions").join(test[key].as_str().unwrap())));
        let found = &answers(&["lua", &format!("actions/{action}/action.lua")], &[at("inputPath")])[0];
        assert_eq!(without_empty(found.clone()), without_empty(at("expectedOutputPath")), "{action}");
    }
}

/// Lua cannot tell an empty list from an empty object. Argo CD puts back what was there.
fn without_empty(value: Value) -> Value {
    match value {
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::Object(items) if items.is_empty() => Value::Null,
        Value::Array(items) => items.into_iter().map(without_empty).collect(),
        Value::Object(items) => items.into_iter().map(|(key, item)| (key, without_empty(item))).collect(),
        value => value,
    }
}
