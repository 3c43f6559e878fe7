//! The sandbox as all parts of the benchmark use it: the operator installed, and run as a process under its own account.

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom},
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Namespace};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
    config::Kubeconfig,
};
use offset_reset_operator::{
    api::{HoldStatus, OffsetReset, Phase},
    kafka::GroupAdmin,
    machine::facts::{Committed, TopicPartition},
};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use real_tests::{broker::Broker, brokers, client, process::Process, reset, resets, unique, wait_for_end};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;

/// Where the operator is.
const SYSTEM: &str = "offset-reset-system";

pub struct Stand {
    pub client: Client,
    pub broker: Broker,
    pub admin: Arc<dyn GroupAdmin>,
    dir: PathBuf,
    operators_kubeconfig: PathBuf,
    /// How `deploy/` configures the operator's allocator.
    malloc: Vec<(String, String)>,
}

/// A request of the operator, from the audit log.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    pub verb: String,
    #[serde(default)]
    pub object_ref: ObjectRef,
    #[serde(rename = "requestReceivedTimestamp")]
    pub received: Timestamp,
    #[serde(rename = "stageTimestamp")]
    pub answered: Timestamp,
    #[serde(rename = "requestURI")]
    uri: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ObjectRef {
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
}

impl Request {
    /// Its verb and resource, as RBAC writes them.
    pub fn kind(&self) -> String {
        let ObjectRef { resource, subresource, .. } = &self.object_ref;
        let slash = if subresource.is_empty() { "" } else { "/" };
        let dry = if self.uri.contains("dryRun=All") { " (dry run)" } else { "" };
        format!("{} {resource}{slash}{subresource}{dry}", self.verb)
    }
}

/// The variables of a Deployment's first container that configure the allocator.
fn malloc(deployment: &Deployment) -> Vec<(String, String)> {
    let containers = deployment.spec.iter().filter_map(|spec| spec.template.spec.as_ref()).flat_map(|pod| &pod.containers);
    let variables = containers.take(1).flat_map(|container| container.env.iter().flatten());
    let malloc = variables.filter(|variable| variable.name.starts_with("MALLOC_"));
    malloc.filter_map(|variable| Some((variable.name.clone(), variable.value.clone()?))).collect()
}

impl Stand {
    /// Installs the operator as a user would, stops its pods, and gets a token of its account.
    pub async fn open() -> Result<Self> {
        let dir = std::env::var_os("SANDBOX_DIR").map(PathBuf::from);
        let dir = dir.context("the benchmark runs in a sandbox: use `make bench`, or `cargo sandbox exec`")?;
        kubectl(&["apply", "-k", concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy")]).await?;
        kubectl(&["-n", SYSTEM, "scale", "deployment/offset-reset-operator", "--replicas=0"]).await?;
        let selector = "app.kubernetes.io/name=offset-reset-operator";
        kubectl(&["-n", SYSTEM, "wait", "--for=delete", "pod", "-l", selector, "--timeout=120s"]).await?;
        let token = kubectl(&["-n", SYSTEM, "create", "token", "offset-reset-operator", "--duration=12h"]).await?;
        let mut kubeconfig = Kubeconfig::read_from(real_tests::environment().kubeconfig)?;
        for user in &mut kubeconfig.auth_infos {
            user.auth_info = Some(serde_json::from_value(json!({"token": token.trim()}))?);
        }
        let operators_kubeconfig = dir.join("bench.kubeconfig");
        fs::write(&operators_kubeconfig, serde_json::to_string(&kubeconfig)?)?;
        let broker = Broker::default();
        let admin = broker.group_admin().await;
        let client = client().await;
        let malloc = malloc(&Api::namespaced(client.clone(), SYSTEM).get("offset-reset-operator").await?);
        Ok(Self { client, broker, admin, dir, operators_kubeconfig, malloc })
    }

    /// Starts an operator as `deploy/` does, and does not wait.
    pub async fn start(&self) -> Process {
        let words = ["--leader-election", "--lease-namespace", SYSTEM];
        let kubeconfig = self.operators_kubeconfig.to_str().expect("a path of this program");
        let malloc = self.malloc.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let environment: Vec<(&str, &str)> = malloc.chain([("KUBECONFIG", kubeconfig)]).collect();
        Process::start_in(&environment, &words).await
    }

    /// An operator that leads.
    pub async fn operator(&self) -> Process {
        let operator = self.start().await;
        operator.until_leads().await;
        operator
    }

    /// A namespace of its own.
    pub async fn namespace(&self) -> Result<String> {
        let name = unique("bench");
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        Api::all(self.client.clone()).create(&PostParams::default(), &namespace).await?;
        Ok(name)
    }

    /// Deletes a namespace, and waits until it is gone. The operator must run, for the finalizers of its OffsetResets.
    pub async fn remove_namespace(&self, name: &str) -> Result<()> {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces.delete(name, &DeleteParams::background()).await?;
        while namespaces.get_opt(name).await?.is_some() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// The process of the sandbox's API server.
    pub fn api_server(&self) -> Result<u32> {
        let (program, dir) = ("kube-apiserver", self.dir.display().to_string());
        let all = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let is_it = |pid: &u32| {
            let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.split('\0').next().is_some_and(|first| first.ends_with(program)) && words.contains(&dir)
        };
        all.into_iter().find(is_it).context("the API server runs on this machine")
    }

    /// The size of etcd's database, in MB.
    pub fn database_mb(&self) -> Result<f64> {
        #[allow(clippy::cast_precision_loss, reason = "it is not so large")]
        let bytes = fs::metadata(self.dir.join("etcd/member/snap/db"))?.len() as f64;
        Ok(bytes / 1e6)
    }

    /// How long the audit log is.
    pub fn audit_position(&self) -> Result<u64> {
        Ok(fs::metadata(self.dir.join("audit.log"))?.len())
    }

    /// The operator's requests since then.
    pub fn requests(&self, since: u64) -> Result<Vec<Request>> {
        let mut log = fs::File::open(self.dir.join("audit.log"))?;
        log.seek(SeekFrom::Start(since))?;
        let mut text = String::new();
        log.read_to_string(&mut text)?;
        // The last line may not be complete yet.
        let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
        complete.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Commits this offset for all partitions, as an application might.
    pub async fn commit(&self, group: &str, partitions: &[TopicPartition], offset: i64) -> Result<()> {
        for chunk in partitions.chunks(2_000) {
            let committed = Committed { offset, metadata: "".into() };
            let offsets: Vec<_> = chunk.iter().map(|at| (at.clone(), committed.clone())).collect();
            for (at, answer) in self.admin.commit(group, &offsets).await? {
                answer.with_context(|| format!("committing {at}"))?;
            }
        }
        Ok(())
    }

    /// So many topics whose names begin alike, each with so many partitions, of which each has two records: at 1,000 s and at
    /// 2,000 s after the epoch. Waits until all have leaders.
    pub async fn topics(&self, topics: usize, partitions: i32) -> Result<Topics> {
        let prefix = unique("bench");
        let mut names = vec![];
        for number in 0..topics {
            names.push(format!("{prefix}.{number}"));
        }
        let create = |name: String| async move { self.broker.create(&name, partitions, &[("retention.ms", "-1")]).await };
        // Few at the same time: each is looked at until all its partitions have leaders, which costs a broker with thousands of them time.
        futures::stream::iter(names.clone()).map(create).buffer_unordered(2).collect::<Vec<()>>().await;
        let all = names.iter().flat_map(|name| (0..partitions).map(move |partition| TopicPartition::new(name, partition)));
        let all: Vec<_> = all.collect();
        while !self.admin.bounds(&all).await.is_ok_and(|found| found.values().all(Result::is_ok)) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let producer: FutureProducer = self.broker.config().set("linger.ms", "20").create()?;
        for chunk in all.chunks(1_000) {
            let mut sent = vec![];
            for at in chunk {
                for timestamp in [1_000_000, 2_000_000] {
                    let record = FutureRecord::<(), str>::to(&at.topic).partition(at.partition).timestamp(timestamp).payload("x");
                    sent.push(producer.send_result(record).map_err(|(error, _)| error)?);
                }
            }
            for delivery in sent {
                delivery.await?.map_err(|(error, _)| error)?;
            }
        }
        producer.flush(Duration::from_secs(10))?;
        Ok(Topics { prefix, names, partitions, all })
    }

    /// Deletes them: each partition costs the broker memory.
    pub async fn delete(&self, topics: Topics) {
        let delete = |name: String| async move { self.broker.delete_topic(&name).await };
        futures::stream::iter(topics.names).map(delete).buffer_unordered(8).collect::<Vec<()>>().await;
    }

    /// Resets a group, waits for the end, and returns how long each part took. An end other than success is an error.
    pub async fn reset(&self, namespace: &str, group: &str, entries: &Value, spec: &Value) -> Result<Run> {
        let (api, name) = (resets(&self.client, namespace), unique("reset"));
        let begin = Timestamp::now();
        api.create(&PostParams::default(), &reset(&name, group, entries, spec)).await?;
        let done = wait_for_end(&api, &name).await;
        let took = since(begin);
        let (phase, message) = phase(&done);
        ensure!(phase == Some(Phase::Succeeded), "{phase:?}: {message}");
        let hold = done.status.and_then(|status| status.hold).context("it was held")?;
        Ok(Run { name, begin, took, hold })
    }
}

/// How long a reset took.
pub struct Run {
    pub name: String,
    pub begin: Timestamp,
    /// From its creation until its end was seen, in milliseconds.
    pub took: f64,
    pub hold: HoldStatus,
}

impl Run {
    /// From the group's being seen empty to the restore's being recorded, in milliseconds.
    pub fn after_empty(&self) -> f64 {
        let (empty, end) = (self.hold.group_empty_time.as_ref(), self.hold.end_time.as_ref());
        empty.zip(end).map_or(f64::NAN, |(empty, end)| between(empty.0, end.0))
    }
}

pub fn phase(reset: &OffsetReset) -> (Option<Phase>, String) {
    let status = reset.status.clone().unwrap_or_default();
    (status.phase, status.message.unwrap_or_default())
}

/// Topics that were made for a part of the benchmark.
pub struct Topics {
    pub prefix: String,
    pub names: Vec<String>,
    pub partitions: i32,
    pub all: Vec<TopicPartition>,
}

impl Topics {
    /// The entries of a reset of all of them to the second record.
    pub fn by_timestamp(&self) -> Value {
        json!([{"topicPattern": format!("{}\\..*", self.prefix), "timestamp": "1970-01-01T00:25:00Z"}])
    }
}

pub async fn kubectl(arguments: &[&str]) -> Result<String> {
    command("kubectl", arguments).await
}

/// Runs a command to its end; what it has printed.
pub async fn command(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().await?;
    if !output.status.success() {
        let words = [output.stdout, output.stderr].concat();
        bail!("{program} {arguments:?} ({}): {}", output.status, String::from_utf8_lossy(&words));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// `kafka-consumer-groups --reset-offsets --execute`, from the shell as people use it: milliseconds.
pub async fn tool(group: &str, topics: &[String], how: &[&str]) -> Result<f64> {
    tool_at(&brokers(), group, topics, how).await
}

/// The same at other brokers.
pub async fn tool_at(servers: &str, group: &str, topics: &[String], how: &[&str]) -> Result<f64> {
    let mut words = vec!["--bootstrap-server", servers, "--group", group, "--reset-offsets", "--execute"];
    words.extend(how);
    words.extend(topics.iter().flat_map(|topic| ["--topic", topic]));
    let begin = Timestamp::now();
    command("kafka-consumer-groups", &words).await?;
    Ok(since(begin))
}

pub fn since(begin: Timestamp) -> f64 {
    between(begin, Timestamp::now())
}

/// In milliseconds.
pub fn between(begin: Timestamp, end: Timestamp) -> f64 {
    end.duration_since(begin).as_secs_f64() * 1e3
}
