//! One run: a namespace, a Deployment, a group with commits, an OffsetReset, an operator that meets a fault, and, where that was its end,
//! another operator. And what everything is like afterwards.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::{
    apps::v1::Deployment,
    coordination::v1::Lease,
    core::v1::{ConfigMap, Namespace, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use offset_reset_operator::{
    api::{FINALIZER, OffsetReset, Phase, Reason},
    kafka::{GroupAdmin, Pool},
    machine::facts::{Committed, TopicPartition},
    run,
};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use super::{
    connector::{self, Reporter},
    end::{End, Names},
    fault::{At, Counts, Layer},
};
use crate::connectors::strimzi::connectors;
use real_tests::{
    PATIENCE,
    broker::Broker,
    deployment, install_crd,
    layer::{kafka, kubernetes},
    reset, resets,
    shop::{T0, config, ended, status, succeeded},
    unique, wait_for, within,
};

/// What a run is to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// All replicas come back at once.
    Plain,
    /// One comes back first, and consumes.
    CanaryPasses,
    /// One comes back first, and crashes: the offsets from before are committed again.
    CanaryUndone,
    /// The target is a connector that is paused.
    Connector,
}

impl Way {
    /// How often the workload is scaled, or the state of the connector is set.
    fn scales(self) -> i64 {
        match self {
            Self::Plain | Self::Connector => 2,
            Self::CanaryPasses => 3,
            Self::CanaryUndone => 4,
        }
    }

    /// Where the group stands at the end.
    fn offsets(self) -> [i64; 4] {
        match self {
            Self::Plain | Self::Connector => AFTER,
            Self::CanaryPasses => AFTER.map(|offset| offset + 1),
            Self::CanaryUndone => BEFORE,
        }
    }

    fn has_canary(self) -> bool {
        match self {
            Self::Plain | Self::Connector => false,
            Self::CanaryPasses | Self::CanaryUndone => true,
        }
    }
}

/// The name of the OffsetReset in each run.
const NAME: &str = "replay";

/// Where the group stands before, and where it must stand afterwards: three partitions shifted by minus three, which applied twice
/// would show, and one reset to a time.
const BEFORE: [i64; 4] = [50, 8, 30, 90];
const AFTER: [i64; 4] = [47, 5, 27, 31];

/// What all runs share, because making it is what takes long: a topic, and namespaces, each of which serves one run at a time.
pub struct Bench {
    client: Client,
    broker: Broker,
    admin: Arc<dyn GroupAdmin>,
    topic: String,
    free: Mutex<Vec<String>>,
    namespaces: Mutex<Vec<String>>,
}

/// How a run went.
pub struct Run {
    /// What everything was like afterwards.
    pub end: End,
    /// What the first operator has asked.
    pub counts: Counts,
    /// Whether the fault has happened, where there was to be one.
    pub has_happened: bool,
}

impl Bench {
    pub async fn new() -> Self {
        let client = real_tests::client().await;
        install_crd(&client).await;
        connector::install(&client).await;
        let broker = Broker::default();
        let admin = broker.group_admin().await;
        let topic = broker.topic("kills", 4).await;
        for partition in 0..4 {
            broker.produce(&topic, partition, &(0..100).map(|second| (T0 + second) * 1000).collect::<Vec<_>>()).await;
        }
        Self { client, broker, admin, topic, free: Mutex::default(), namespaces: Mutex::default() }
    }

    pub async fn close(self) {
        let api = Api::<Namespace>::all(self.client.clone());
        for namespace in self.namespaces.into_inner().unwrap() {
            api.delete(&namespace, &DeleteParams::background()).await.unwrap();
        }
        self.broker.delete_topic(&self.topic).await;
    }

    /// Runs the reset once with a fault, or without one. Panics when it does not end as it must.
    pub async fn run(&self, way: Way, fault: Option<At>) -> Run {
        let namespace = self.take_namespace().await;
        let place = Place {
            resets: resets(&self.client, &namespace),
            deployments: Api::namespaced(self.client.clone(), &namespace),
            connectors: connectors(&self.client, &namespace),
            pods: Api::namespaced(self.client.clone(), &namespace),
            leases: Api::namespaced(self.client.clone(), &namespace),
            config_maps: Api::namespaced(self.client.clone(), &namespace),
            group: unique("kills"),
            workload: unique("consumer"),
            namespace,
        };
        self.prepare(&place, way).await;
        let _strimzi = (way == Way::Connector).then(|| Reporter::start(&place.connectors, &place.workload));
        let kills = fault.as_ref().is_some_and(|at| at.fault.kills());
        let layer = Arc::new(Layer::new(fault));
        let first = Operator::start(&place.namespace, Arc::clone(&layer));
        let mut entries: Vec<Value> =
            (0..3).map(|partition| json!({"topic": self.topic, "partition": partition, "shiftBy": -3})).collect();
        entries.push(json!({"topic": self.topic, "partition": 3, "timestamp": T0 + AFTER[3]}));
        let mut targets = json!({"targetRefs": [{"name": place.workload}]});
        if way == Way::Connector {
            targets["targetRefs"] = json!([connector::target(&place.workload)]);
        }
        if way.has_canary() {
            targets["restore"] = json!({"canary": {"timeout": "5m", "onFailure": "Undo"}});
            // What commits for the canary here is no member of the group, as consumers that use assign() are none.
            targets["allowNoMembers"] = json!(true);
        }
        let wanted = reset(NAME, &place.group, &Value::Array(entries), &targets);
        place.resets.create(&PostParams::default(), &wanted).await.unwrap();
        let course = async {
            let last = if kills {
                tokio::select! {
                    () = layer.happened() => {}
                    // The request never came.
                    _ = place.settled() => {}
                }
                first.kill();
                Operator::start(&place.namespace, Arc::default())
            } else {
                first
            };
            (last, place.settled().await)
        };
        let ((last, done), ()) = tokio::join!(course, self.be_the_canary(&place, way));
        let end = self.end(&place, way, &done).await;
        last.kill();
        place.clear(way).await;
        // A namespace in which a run has failed is left as it is, and is not used again.
        self.free.lock().unwrap().push(place.namespace);
        Run { counts: layer.counts(), has_happened: layer.has_happened(), end }
    }

    /// Does what the pod of the canary would do, as soon as there is one.
    async fn be_the_canary(&self, place: &Place, way: Way) {
        if !way.has_canary() {
            return;
        }
        let is_one = |reset: &OffsetReset| {
            let status = reset.status.as_ref();
            let starts = status.and_then(|status| status.canary.as_ref()).is_some_and(|canary| canary.start_time.is_some());
            starts || status.is_some_and(|status| status.completion_time.is_some())
        };
        wait_for(&place.resets, NAME, "a canary", is_one).await;
        if way == Way::CanaryPasses {
            let committed = |offset| Committed { offset, metadata: "of the canary".into() };
            let offsets: Vec<_> = self.partitions().into_iter().zip(way.offsets().map(committed)).collect();
            let answers = self.admin.commit(&place.group, &offsets).await.unwrap();
            assert!(answers.values().all(Result::is_ok), "{answers:?}");
            return;
        }
        let own = ListParams::default().labels(&format!("app={}", place.workload));
        let pods = async || {
            let all = place.pods.list(&own).await.unwrap().items;
            all.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect::<Vec<_>>()
        };
        let created = async {
            while pods().await.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(PATIENCE, created).await.expect("the pod of the canary is created");
        let container =
            json!({"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 1, "state": {"running": {}}});
        let patch = Patch::Strategic(json!({"status": {"phase": "Running", "containerStatuses": [container]}}));
        for pod in pods().await {
            place.pods.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await.unwrap();
        }
    }

    async fn take_namespace(&self) -> String {
        if let Some(free) = self.free.lock().unwrap().pop() {
            return free;
        }
        let name = unique("test");
        self.namespaces.lock().unwrap().push(name.clone());
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        Api::all(self.client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        name
    }

    /// A Deployment with two pods or a connector, and a group that has committed.
    async fn prepare(&self, place: &Place, way: Way) {
        let committed = |offset| Committed { offset, metadata: "of the application".into() };
        let offsets: Vec<_> = self.partitions().into_iter().zip(BEFORE.map(committed)).collect();
        let answers = self.admin.commit(&place.group, &offsets).await.unwrap();
        assert!(answers.values().all(Result::is_ok), "{answers:?}");
        if way == Way::Connector {
            connector::create(&place.connectors, &place.workload).await;
            return;
        }
        let pod = json!({"containers": [{"name": "c", "image": "nobody-runs-it"}]});
        deployment(&self.client, &place.namespace, &place.workload, 2, pod).await;
        let own = ListParams::default().labels(&format!("app={}", place.workload));
        let created = async {
            while place.pods.list(&own).await.unwrap().items.len() < 2 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(PATIENCE, created).await.expect("the pods are created");
    }

    fn partitions(&self) -> Vec<TopicPartition> {
        (0..4).map(|partition| TopicPartition::new(&self.topic, partition)).collect()
    }

    /// What everything is like, after what must be so whatever happened was checked.
    async fn end(&self, place: &Place, way: Way, done: &OffsetReset) -> End {
        if way == Way::CanaryUndone {
            ended(done, Phase::Failed, Reason::CanaryUndone);
        } else {
            succeeded(done);
        }
        let found = self.admin.committed(&place.group, &self.partitions()).await.unwrap();
        let committed = self.partitions().into_iter().map(|at| found[&at].clone().unwrap().unwrap());
        let (offsets, metadata): (Vec<_>, Vec<_>) = committed.map(|committed| (committed.offset, committed.metadata)).unzip();
        assert_eq!(offsets, way.offsets(), "each offset is moved exactly once, and back where that is undone");
        let generation = if way == Way::Connector {
            let found = place.connectors.get(&place.workload).await.unwrap();
            assert_eq!(found.data["spec"]["state"], connector::STATE, "the state is back");
            found.metadata.generation
        } else {
            let found = place.deployments.get(&place.workload).await.unwrap();
            assert_eq!(found.spec.and_then(|spec| spec.replicas), Some(2), "the replicas are back");
            found.metadata.generation
        };
        assert_eq!(generation, Some(1 + way.scales()), "it was scaled once each time");

        let names = Names::of([&place.namespace, &place.group, &place.workload], done);
        let config_maps = place.config_maps().await.into_iter();
        let config_maps: BTreeMap<_, _> =
            config_maps.map(|found| (names.without(&found.name_any()), names.without_in(&json!(found.data)))).collect();
        let found: Vec<_> = config_maps.keys().map(String::as_str).collect();
        assert_eq!(found, ["RECEIPT", "RECORD"], "its record and its receipt, and nothing else");
        let commits = status(done).commits;
        let once = if way == Way::CanaryUndone { 2 } else { 1 };
        assert!((once..=once + 1).contains(&commits), "{commits} commits");
        let mut status = names.without_in(&json!(status(done)));
        // How often it was set about to commit, and what was done last, are what a fault may change; whether the offsets were read once
        // more after the end is another thing.
        for changing in ["commits", "lastAction", "consumption"] {
            status.as_object_mut().unwrap().remove(changing);
        }
        if let Some(canary) = status["canary"].as_object_mut() {
            let before = canary.remove("commitsBeforeUndo").map_or(0, |commits| commits.as_i64().unwrap());
            let expected = if way == Way::CanaryUndone { 1..=2 } else { 0..=0 };
            assert!(expected.contains(&before), "{before} commits before the undo");
        }
        // The pods never run here, so that the reset is still watched, and how far that has come is another thing.
        for target in status["targets"].as_array_mut().unwrap() {
            target.as_object_mut().unwrap().remove("readyPods");
        }
        let watched = ["ConsumersResumed", "ConsumptionProven"];
        let conditions = status["conditions"].as_array_mut().unwrap();
        conditions.retain(|condition| !watched.contains(&condition["type"].as_str().unwrap()));
        End { status, metadata: metadata.iter().map(|text| names.without(text.text().unwrap())).collect(), config_maps }
    }
}

/// Where one run is, and what is in it.
struct Place {
    namespace: String,
    group: String,
    workload: String,
    resets: Api<OffsetReset>,
    deployments: Api<Deployment>,
    connectors: Api<DynamicObject>,
    pods: Api<Pod>,
    leases: Api<Lease>,
    config_maps: Api<ConfigMap>,
}

impl Place {
    /// Waits until the reset is over and all that was held is let go.
    async fn settled(&self) -> OffsetReset {
        let is_over = |reset: &OffsetReset| {
            reset.status.as_ref().is_some_and(|status| status.completion_time.is_some())
                && !reset.finalizers().iter().any(|name| name == FINALIZER)
        };
        let done = wait_for(&self.resets, NAME, "over and let go", is_over).await;
        let gone = async {
            while !self.leases.list(&ListParams::default()).await.unwrap().items.is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(PATIENCE, gone).await.expect("no Lease is left");
        done
    }

    /// The ConfigMaps but for the one that is in every namespace.
    async fn config_maps(&self) -> Vec<ConfigMap> {
        let all = self.config_maps.list(&ListParams::default()).await.unwrap();
        all.items.into_iter().filter(|found| found.name_any() != "kube-root-ca.crt").collect()
    }

    /// Makes room for the next run.
    async fn clear(&self, way: Way) {
        let background = DeleteParams::background();
        self.resets.delete(NAME, &background).await.unwrap();
        if way == Way::Connector {
            self.connectors.delete(&self.workload, &background).await.unwrap();
        } else {
            self.deployments.delete(&self.workload, &background).await.unwrap();
        }
        for config_map in self.config_maps().await {
            // The record may go with its owner meanwhile.
            let deleted = self.config_maps.delete(&config_map.name_any(), &background).await;
            assert!(matches!(&deleted, Ok(_) | Err(kube::Error::Api(_))), "{deleted:?}");
        }
    }
}

/// An operator on threads of its own, so that its end is the end of all that it has begun, as with a process: its connections, its watches,
/// its health server. Only a call that librdkafka works on goes on, as a request that was sent does.
struct Operator(Option<Runtime>);

impl Operator {
    fn start(namespace: &str, layer: Arc<Layer>) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let config = config(namespace);
        runtime.spawn(async move {
            let client = kubernetes::client(&real_tests::client().await, Arc::clone(&layer));
            let kafka = kafka::Layered { pool: Pool::default(), layer };
            run::operate_on(client, config, Arc::new(kafka), CancellationToken::new()).await.unwrap();
        });
        Self(Some(runtime))
    }

    fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.end();
    }
}
