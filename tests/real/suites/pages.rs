//! The pages of the docs: a real API server accepts each manifest as it stands there, and the commands of each page do what the page
//! says, beside an operator, a broker and consumers. The marks of the blocks are in `tests/pages`; what has none is run here.

#[path = "../../pages/mod.rs"]
mod source;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use kube::{ResourceExt, api::ListParams};
use offset_reset_operator::api::Phase;
use real_tests::{
    PATIENCE,
    consumers::{Follower, Kind},
    deployment,
    env::TestEnv,
    environment, unique, wait_for_end, with_namespace, within,
};
use regex::{Captures, Regex};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use source::{Block, blocks, pages};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A shell with kubectl, in a directory and a namespace of its own.
struct Shell {
    directory: PathBuf,
}

impl Shell {
    fn new(namespace: &str) -> Self {
        let directory = std::env::temp_dir().join(unique("page"));
        fs::create_dir(&directory).unwrap();
        let config = fs::read_to_string(environment().kubeconfig).unwrap();
        let mut config: Value = serde_saphyr::from_str(&config).unwrap();
        for context in config["contexts"].as_array_mut().unwrap() {
            context["context"]["namespace"] = namespace.into();
        }
        fs::write(directory.join("kubeconfig"), config.to_string()).unwrap();
        Self { directory }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.join(name), text).unwrap();
    }

    /// Runs a script, and returns what it has printed. A command that fails ends it.
    async fn run(&self, script: &str) -> Result<String, String> {
        let mut child = tokio::process::Command::new("bash")
            .args(["-euo", "pipefail", "-s"])
            .current_dir(&self.directory)
            .env("KUBECONFIG", self.directory.join("kubeconfig"))
            // kubectl looks up short names in its cache alone, which may be older than the CRD.
            .env("KUBECACHEDIR", self.directory.join("cache"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).await.unwrap();
        let output = within(PATIENCE * 3, child.wait_with_output()).await.expect("it ends").unwrap();
        let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(printed) } else { Err(printed) }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_accepts_each_manifest_as_it_stands_on_its_page() {
    with_namespace(async |_, namespace| {
        let shell = Shell::new(&namespace);
        let (mut refused, mut count) = (vec![], 0);
        let blocks = pages(&root()).into_iter().flat_map(|page| blocks(&root(), &page)).filter(|block| block.is("yaml", ""));
        let mut manifests: Vec<(String, String)> = blocks.map(|block| (block.place, block.text)).collect();
        for entry in fs::read_dir(root().join("deploy/examples")).unwrap() {
            let path = entry.unwrap().path();
            manifests.push((path.display().to_string(), fs::read_to_string(path).unwrap()));
        }
        for (place, text) in manifests {
            shell.write("manifest.yaml", &text);
            // kubectl's own check of the fields is stricter than the API server's, which drops unknown ones.
            match shell.run("kubectl apply --server-side --dry-run=server --validate=strict -f manifest.yaml").await {
                Ok(_) => count += 1,
                Err(printed) => refused.push(format!("{place}: {printed}")),
            }
        }
        assert!(refused.is_empty(), "{}", refused.join("\n"));
        assert!(count > 30, "only {count} manifests");
    })
    .await;
}

/// What the check above would let through if it checked nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_with_an_unknown_field_is_noticed() {
    with_namespace(async |_, namespace| {
        let shell = Shell::new(&namespace);
        let block = blocks(&root(), "README.md").into_iter().find(|block| block.is("yaml", "")).unwrap();
        shell.write("block.yaml", &block.text.replace("dryRun: true", "dryrun: true"));
        let printed =
            shell.run("kubectl apply --server-side --dry-run=server --validate=strict -f block.yaml").await.unwrap_err();
        assert!(printed.contains("dryrun"), "{printed}");
    })
    .await;
}

/// The names that a page uses, in the words of this test's broker and namespace.
struct Translation {
    namespace: String,
    topic: String,
    suffix: String,
}

impl Translation {
    fn of(&self, text: &str) -> String {
        let brokers = Regex::new(r"bootstrapServers: [\w.:-]+").unwrap();
        let text = brokers.replace_all(text, format!("bootstrapServers: {}", environment().bootstrap_servers));
        let text = Regex::new(r"topic: orders\b").unwrap().replace_all(&text, format!("topic: {}", self.topic)).into_owned();
        let group = |found: &Captures<'_>| format!("{}: {}", &found[1], self.group(&found[2]));
        let text = Regex::new(r"\b(group|fromGroup): ([\w-]+)").unwrap().replace_all(&text, group).into_owned();
        Regex::new(r"(--namespace|-n) shop\b").unwrap().replace_all(&text, format!("$1 {}", self.namespace)).into_owned()
    }

    /// Other tests, and earlier runs, have groups of the same broker.
    fn group(&self, name: &str) -> String {
        format!("{name}-{}", self.suffix)
    }
}

/// The manifests of OffsetResets in the files of a page.
fn resets_in(files: &[Block]) -> Vec<Value> {
    let documents = files.iter().flat_map(|block| block.text.split("\n---\n"));
    documents
        .map(|text| serde_saphyr::from_str(text).unwrap())
        .filter(|document: &Value| document["kind"] == "OffsetReset")
        .collect()
}

/// Runs the commands of a page in their order, with the workloads and groups that its manifests name.
async fn run(page: &str) -> Result<(), String> {
    let found = blocks(&root(), page);
    let script: String = found.iter().filter(|block| block.is("sh", "")).map(|block| block.text.as_str()).collect();
    let mut files: Vec<Block> = found.into_iter().filter(|block| block.is("yaml", "") && block.file().is_some()).collect();
    // The pages that go on from the first reset have no file of their own.
    let goes_on = files.is_empty();
    if goes_on {
        files.extend(blocks(&root(), "docs/start/quick-start.md").into_iter().filter(|block| block.file() == Some("reset.yaml")));
    }
    with_namespace(async |client, namespace| {
        let env = TestEnv::open(client, namespace.clone()).await;
        let topic = env.broker.topic("orders", 3).await;
        // A minute and a half around the time that the pages go back to.
        let incident = "2026-11-24T18:00:00Z".parse::<jiff::Timestamp>().unwrap().as_millisecond();
        let times: Vec<i64> = (0..100).map(|record| incident + (record - 50) * 1000).collect();
        for partition in 0..3 {
            env.broker.produce(&topic, partition, &times).await;
        }
        let words = Translation { namespace, topic, suffix: unique("p") };
        let resets = resets_in(&files);
        let mut followers = vec![];
        let mut seen = BTreeSet::new();
        for reset in &resets {
            let spec = &reset["spec"];
            let (target, group) = (spec["targetRefs"][0]["name"].as_str().unwrap(), spec["group"].as_str().unwrap());
            let is_new = spec["allowNewGroup"] == true;
            if seen.insert(target.to_owned()) {
                let pod = json!({"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "nobody-runs-it"}]});
                deployment(&env.client, &env.namespace, target, i32::from(!is_new) * 2, pod).await;
            }
            if !is_new && seen.insert(format!("group {group}")) {
                let (group, topics) = (words.group(group), std::slice::from_ref(&words.topic));
                followers.push(Follower::start(&env.client, &env.namespace, target, &group, topics, &Kind::default()));
                env.members(&group, 2).await;
                // The first commits, which planning relies on.
                env.until("with a commit on each partition", async |env| {
                    env.committed(&group, &words.topic).await.iter().all(|offset| *offset == Some(100))
                })
                .await;
            }
            for entry in spec["resets"].as_array().into_iter().flatten() {
                if let Some(source) = entry["fromGroup"].as_str() {
                    env.commit(&words.group(source), &words.topic, &[(0, 10), (1, 20), (2, 30)]).await;
                }
            }
        }
        let shell = Shell::new(&env.namespace);
        for block in &files {
            shell.write(block.file().unwrap(), &words.of(&block.text));
        }
        let mut outcome = Ok(());
        env.operated(async || {
            let begin = "kubectl apply -f reset.yaml\nkubectl wait --for=jsonpath='{.status.completionTime}' ofr/replay-orders --timeout=2m\n";
            let script = format!("{}{}", if goes_on { begin } else { "" }, words.of(&script));
            outcome = match shell.run(&script).await {
                Ok(printed) => {
                    println!("{page}:\n{printed}");
                    all_succeed(&env).await
                }
                Err(printed) => Err(printed),
            };
        })
        .await;
        outcome.map_err(|why| format!("{page}: {why}"))
    })
    .await
}

/// Waits for the end of what the commands have left in progress.
async fn all_succeed(env: &TestEnv) -> Result<(), String> {
    for reset in env.api.list(&ListParams::default()).await.unwrap() {
        let ended = wait_for_end(&env.api, &reset.name_any()).await;
        if ended.status.as_ref().and_then(|status| status.phase) == Some(Phase::Failed) {
            return Err(format!("{}: {}", reset.name_any(), serde_json::to_string(&ended.status).unwrap()));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_each_page_do_what_the_page_says() {
    let with_commands = |page: &String| blocks(&root(), page).iter().any(|block| block.is("sh", ""));
    let pages: Vec<String> = pages(&root()).into_iter().filter(with_commands).collect();
    assert!(pages.len() > 7, "only {pages:?}");
    let mut failed = vec![];
    // A few at a time: each has consumers.
    for some in pages.chunks(3) {
        let outcomes = futures::future::join_all(some.iter().map(|page| run(page))).await;
        failed.extend(outcomes.into_iter().filter_map(Result::err));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
