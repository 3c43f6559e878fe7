//! The world of the soak: workloads with real consumers, their resets, and what is asked of the parts after each round.

use std::{
    collections::HashMap,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher, watcher::Event},
};
use offset_reset_operator::{
    api::{OffsetReset, Phase},
    kafka::GroupAdmin,
    machine::facts::{Committed, TopicPartition, group},
};
use serde_json::json;
use tokio::{process::Command, task::JoinHandle};

use super::{
    Log,
    ledger::{Offsets, PARTITIONS},
};
use real_tests::{
    PATIENCE,
    broker::Broker,
    consumers::{Consumed, Kind, Member},
    deployment,
    generators::random::Random,
    reset, resets,
    rights::NAMESPACE as SYSTEM,
    shop::T0,
    unique, within,
};

/// How long anything may take after a round: containers that have failed are started ever later, up to five minutes.
const LONG: Duration = Duration::from_mins(10);

/// The image of the consumers.
const IMAGE: &str = "kafka-client:dev";

/// How long a broken revision is rolled out before it is undone.
const UNDONE_AFTER: Duration = Duration::from_secs(6);

/// How many records each partition has, one per second from `T0` on.
pub const RECORDS: i64 = 100;

/// A Deployment of console consumers that never commit: so that what is committed is what the resets have committed.
pub struct Workload {
    pub name: String,
    pub group: String,
    pub topic: String,
    /// What it had when the round began.
    pub replicas: i32,
    /// What stood committed when the round began.
    pub offsets: Offsets,
    /// The counts that were set by hand in this round, and when.
    pub by_hand: Vec<(Timestamp, i32)>,
}

pub struct World {
    pub log: Log,
    pub resets: Api<OffsetReset>,
    /// The resets of this round: of which workload, and their names.
    pub round: Vec<(usize, String)>,
    pub client: Client,
    pub namespace: String,
    broker: Broker,
    pub admin: Arc<dyn GroupAdmin>,
    pub workloads: Vec<Workload>,
    /// Pods with the labels of a workload that are not its own.
    foreign: Vec<String>,
    /// How each reset was when last seen, by name, also when it is gone.
    seen: Arc<Mutex<HashMap<String, OffsetReset>>>,
    /// Those that are over, as they were then.
    pub over: HashMap<String, OffsetReset>,
    watching: JoinHandle<()>,
}

impl World {
    pub async fn open(log: Log) -> Self {
        let client = real_tests::client().await;
        kubectl(&["apply", "-k", concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy")]).await;
        kubectl(&["-n", SYSTEM, "rollout", "status", "deployment/offset-reset-operator", "--timeout=180s"]).await;
        let namespace = new_namespace(&client).await;
        let broker = Broker::default();
        let admin = broker.group_admin().await;
        let resets = resets(&client, &namespace);
        let seen = Arc::new(Mutex::new(HashMap::new()));
        let watching = tokio::spawn(watch(resets.clone(), Arc::clone(&seen)));
        let (round, over) = (vec![], HashMap::new());
        let mut world = Self {
            log,
            resets,
            round,
            client,
            namespace,
            broker,
            admin,
            workloads: vec![],
            foreign: vec![],
            seen,
            over,
            watching,
        };
        world.workload("classic", 2, &[]).await;
        world.workload("modern", 1, &["group.protocol=consumer"]).await;
        let quick = ["session.timeout.ms=8000", "heartbeat.interval.ms=1000"];
        world.workload("lasting", 1, &[&quick[..], &["group.instance.id=only"]].concat()).await;
        for index in 0..world.workloads.len() {
            world.is_back(index).await.unwrap();
        }
        world
    }

    pub async fn close(self) {
        self.watching.abort();
        Api::<Namespace>::all(self.client.clone()).delete(&self.namespace, &DeleteParams::background()).await.unwrap();
    }

    async fn workload(&mut self, name: &str, replicas: i32, properties: &[&str]) {
        let (topic, group) = (self.broker.topic(name, i32::try_from(PARTITIONS).unwrap()).await, unique(name));
        for partition in 0..PARTITIONS {
            let records: Vec<_> = (0..RECORDS).map(|second| (T0 + second) * 1000).collect();
            self.broker.produce(&topic, i32::try_from(partition).unwrap(), &records).await;
        }
        let offsets: Offsets = [50, 60, 70, 80].map(|offset| Committed { offset, metadata: "of the application".into() });
        let answers = self.admin.commit(&group, &partitions(&topic).into_iter().zip(offsets.clone()).collect::<Vec<_>>()).await;
        assert!(answers.as_ref().unwrap().values().all(Result::is_ok), "{answers:?}");
        let mut arguments = vec!["org.apache.kafka.tools.consumer.ConsoleConsumer".to_owned()];
        for (name, value) in
            [("--bootstrap-server", real_tests::brokers()), ("--topic", topic.clone()), ("--group", group.clone())]
        {
            arguments.extend([name.to_owned(), value]);
        }
        for property in ["enable.auto.commit=false", "auto.offset.reset=earliest"].iter().chain(properties) {
            arguments.extend(["--command-property".to_owned(), (*property).to_owned()]);
        }
        for property in ["print.partition=true", "print.offset=true"] {
            arguments.extend(["--formatter-property".to_owned(), property.to_owned()]);
        }
        let container = json!({"name": "consumer", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "args": arguments});
        deployment(
            &self.client,
            &self.namespace,
            name,
            replicas,
            json!({"terminationGracePeriodSeconds": 5, "containers": [container]}),
        )
        .await;
        self.workloads.push(Workload { name: name.to_owned(), group, topic, replicas, offsets, by_hand: vec![] });
    }

    /// One to three resets, of any workloads: several of one group wait for each other.
    pub async fn apply_resets(&mut self, random: &mut Random) {
        self.round.clear();
        for _ in 0..random.within(1..=3) {
            let index = usize::try_from(random.within(1..=3)).unwrap() - 1;
            let workload = &self.workloads[index];
            let entry = match random.within(1..=4) {
                1 => json!({"topic": workload.topic, "shiftBy": random.one_of(&[-7, -3, 4])}),
                2 => json!({"topic": workload.topic, "offset": random.within(0..=RECORDS)}),
                3 => json!({"topic": workload.topic, "timestamp": T0 + random.within(0..=RECORDS)}),
                _ => json!({"topic": workload.topic, "position": random.one_of(&["Earliest", "Latest"])}),
            };
            // One of them is over before a broker that is frozen answers again.
            let (drain, hold) = random.one_of(&[("2m", "5m"), ("2m", "5m"), ("10s", "20s")]);
            let spec = json!({
                "targetRefs": [{"name": workload.name}], "sessionTimeout": "8s", "drainTimeout": drain, "holdTimeout": hold,
            });
            let name = unique("reset");
            self.log.say(format!("  {name} of {}: {entry}, holdTimeout {hold}", workload.name));
            let new = reset(&name, &workload.group, &json!([entry]), &spec);
            self.resets.create(&PostParams::default(), &new).await.unwrap();
            self.round.push((index, name));
        }
    }

    pub fn operators_pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), SYSTEM)
    }

    /// Waits until the API server answers.
    pub async fn is_served_again(&self) {
        eventually("served again", async || self.resets.list(&ListParams::default()).await.ok().map(drop)).await.unwrap();
    }

    pub async fn scale_by_hand(&mut self, index: usize, replicas: i32) {
        let workload = &mut self.workloads[index];
        // Of static members there is one of a name.
        let replicas = if workload.name == "lasting" { 1 } else { replicas };
        let deployments = Api::<Deployment>::namespaced(self.client.clone(), &self.namespace);
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        deployments.patch_scale(&workload.name, &PatchParams::default(), &patch).await.unwrap();
        workload.by_hand.push((Timestamp::now(), replicas));
        self.log.say(format!("  {} was scaled to {replicas} by hand", workload.name));
    }

    /// A new revision whose image does not exist, which is undone while resets may be waiting for it, or hold the workload.
    pub async fn roll_out_and_undo(&mut self, index: usize) {
        let name = self.workloads[index].name.clone();
        let of_image =
            |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "consumer", "image": image}]}}}});
        let deployments = Api::<Deployment>::namespaced(self.client.clone(), &self.namespace);
        for image in ["localhost/missing:sandbox", IMAGE] {
            let patch = of_image(image);
            let patched = async || {
                let patch = Patch::Strategic(&patch);
                deployments.patch(&name, &PatchParams::default(), &patch).await.ok().map(drop)
            };
            eventually("rolled out", patched).await.unwrap();
            tokio::time::sleep(UNDONE_AFTER).await;
        }
    }

    /// A pod that waits, with the labels of a workload; it goes when the round's resets are over.
    pub async fn run_a_foreign_pod(&mut self, index: usize) {
        let name = unique("foreign");
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"app": self.workloads[index].name}},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "c", "image": "localhost/pause:sandbox", "imagePullPolicy": "IfNotPresent"}],
            },
        }))
        .unwrap();
        let created = async || self.pods().create(&PostParams::default(), &pod).await.ok().map(drop);
        eventually("created", created).await.unwrap();
        self.foreign.push(name);
    }

    /// Deletes the pods that are nobody's.
    pub async fn delete_foreign_pods(&mut self) {
        for name in std::mem::take(&mut self.foreign) {
            let gone = async || {
                let _ = self.pods().delete(&name, &DeleteParams::default()).await;
                self.pods().get_opt(&name).await.ok()?.is_none().then_some(())
            };
            eventually("gone", gone).await.unwrap();
        }
    }

    /// A namespace with a workload that is held because somebody stays in its group; it is deleted, and must go.
    pub async fn delete_a_namespace_while_held(&self) {
        let (namespace, group, topic) = (new_namespace(&self.client).await, unique("leaving"), &self.workloads[0].topic);
        let pod = json!({
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": "localhost/pause:sandbox", "imagePullPolicy": "IfNotPresent"}],
        });
        deployment(&self.client, &namespace, "consumer", 1, pod).await;
        let at = TopicPartition::new(topic, 0);
        let before = Committed { offset: 50, metadata: "of the application".into() };
        self.admin.commit(&group, &[(at.clone(), before.clone())]).await.unwrap()[&at].clone().unwrap();
        let kind = Kind { never_commits: true, ..Kind::default() };
        let member = Member::start(&group, std::slice::from_ref(topic), &kind, 0, Consumed::default());
        let joined = async || (group::members(&self.admin.describe_group(&group).await.ok()?) == 1).then_some(());
        eventually("joined", joined).await.unwrap();
        let (resets, entries) = (resets(&self.client, &namespace), json!([{"topic": topic, "partition": 0, "offset": 1}]));
        let spec = json!({"drainTimeout": "8m", "holdTimeout": "9m"});
        resets.create(&PostParams::default(), &reset("leaving", &group, &entries, &spec)).await.unwrap();
        let held = async || {
            let status = resets.get("leaving").await.ok()?.status?;
            (status.phase == Some(Phase::Draining)).then_some(())
        };
        eventually("held", held).await.unwrap();
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces.delete(&namespace, &DeleteParams::background()).await.unwrap();
        let gone = async || matches!(namespaces.get_opt(&namespace).await, Ok(None)).then_some(());
        eventually("gone with its namespace", gone).await.unwrap();
        let committed = async || self.admin.committed(&group, std::slice::from_ref(&at)).await.ok()?.remove(&at)?.ok()?;
        assert_eq!(eventually("read", committed).await, Ok(before), "nothing was committed");
        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
    }

    /// How it was when last seen.
    pub fn last(&self, name: &str) -> Option<OffsetReset> {
        self.seen.lock().unwrap().get(name).cloned()
    }

    pub async fn deployment(&self, index: usize) -> Option<Deployment> {
        Api::namespaced(self.client.clone(), &self.namespace).get(&self.workloads[index].name).await.ok()
    }

    /// As many pods as it has replicas are ready, and no others are left; and so many members are in the group.
    pub async fn is_back(&self, index: usize) -> Result<(), String> {
        let Workload { name, group, .. } = &self.workloads[index];
        let back = async || {
            let deployment = self.deployment(index).await?;
            let (wanted, status) = (deployment.spec?.replicas?, deployment.status?);
            let pods = self.pods().list(&ListParams::default().labels(&format!("app={name}"))).await.ok()?.items;
            let described = self.admin.describe_group(group).await.ok()?;
            let members = i32::try_from(group::members(&described)).unwrap();
            let is_back = status.ready_replicas.unwrap_or(0) == wanted
                && i32::try_from(pods.len()).unwrap() == wanted
                && members == wanted
                && !group::is_rebalancing(&described);
            is_back.then_some(())
        };
        eventually("back, with ready pods and all members", back).await
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

pub fn partitions(topic: &str) -> Vec<TopicPartition> {
    (0..PARTITIONS).map(|partition| TopicPartition::new(topic, i32::try_from(partition).unwrap())).collect()
}

async fn new_namespace(client: &Client) -> String {
    let name = unique("soak");
    let new: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &new).await.unwrap();
    name
}

/// Remembers how each reset was last.
async fn watch(resets: Api<OffsetReset>, seen: Arc<Mutex<HashMap<String, OffsetReset>>>) {
    let mut events = std::pin::pin!(watcher(resets, watcher::Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        if let Ok(Event::Apply(reset) | Event::InitApply(reset) | Event::Delete(reset)) = event {
            seen.lock().unwrap().insert(reset.name_any(), reset);
        }
    }
}

async fn kubectl(arguments: &[&str]) {
    let kubeconfig = real_tests::environment().kubeconfig;
    let mut command = Command::new("kubectl");
    let output = command.arg("--kubeconfig").arg(kubeconfig).args(arguments).stdin(Stdio::null()).output().await.unwrap();
    assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Asks until there is an answer. Whom it asks may just be away, so that there is nothing that could be watched.
pub async fn eventually<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> Result<T, String> {
    let asking = async {
        loop {
            // A kubelet that is asked for a log while its API server goes away may keep the question, and never answer.
            if let Some(Some(answer)) = within(PATIENCE, ask()).await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    within(LONG, asking).await.ok_or_else(|| format!("it never was {what}"))
}
