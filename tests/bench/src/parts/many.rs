//! Many resets at once, each with a Deployment and a group of its own, in ten namespaces.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use offset_reset_operator::api::{OffsetReset, Phase};
use real_tests::{deployment, process::Process, reset, resets, unique};
use serde_json::json;
use tokio::sync::watch;

use crate::{
    results::{Results, Table, quantile},
    stand::{Stand, Topics, between, phase, since},
    weight::{cpu, weigh},
};

const NAMESPACES: usize = 10;
const AT_ONCE: usize = 32;

/// The pause between two looks at the operator's memory, and at Deployments that are being created.
const LOOK: Duration = Duration::from_millis(500);

/// How many Pods each Deployment has.
const REPLICAS: i32 = 2;

/// What came of so many at once.
pub struct Flood {
    /// The same Deployments, scaled to zero and back with nothing between.
    floor: Floor,
    /// Resets a second: from the first's creation until the last was restored.
    pub rate: f64,
    /// How long each was held, in milliseconds.
    pub holds: Vec<f64>,
    /// How long each took from its creation until it was restored, in milliseconds.
    waits: Vec<f64>,
    /// The operator's own memory before, at most, and after, in MB.
    pub memory: [f64; 3],
    /// The API server's time on the CPU for each reset, in milliseconds.
    api_server: f64,
    /// The operator's and its Kafka clients' time on the CPU for each reset, in milliseconds.
    operator: f64,
}

/// What it costs the cluster to scale as many Deployments to zero and back, with nothing between.
struct Floor {
    /// Deployments a second.
    rate: f64,
    /// The API server's time on the CPU for each, in milliseconds.
    api_server: f64,
}

pub async fn measure(stand: &Stand, results: &mut Results, many: usize, rounds: usize, minute: bool) -> Result<()> {
    let mut rate = Table::new(
        &format!("many-{many}"),
        &format!("{many} OffsetResets at once in {NAMESPACES} namespaces"),
        "as each says",
        "A Deployment of two replicas and a group each. The pods stay Pending, because no node has what they ask for: so the hold has \
         no containers that end. The rate counts from the first's creation until the last's replicas were restored; holds are those of \
         all resets of a round, by status.hold. The floor scales the same Deployments to 0, waits until their ReplicaSets have no Pods, and \
         scales them back, 32 at a time, without an operator and without Kafka.",
    );
    for round in 0..rounds {
        let operator = stand.operator().await;
        let flood = flood(stand, &operator, many, minute).await?;
        println!("{many} resets, round {}: {:.1}/s", round + 1, flood.rate);
        rate.add("resets a second", flood.rate);
        rate.add("the floor, Deployments a second", flood.floor.rate);
        rate.add("the API server's CPU time for a reset, ms", flood.api_server);
        rate.add("the API server's CPU time for a Deployment of the floor, ms", flood.floor.api_server);
        rate.add("the operator's CPU time for a reset, ms", flood.operator);
        rate.add("hold, p50, ms", quantile(&flood.holds, 0.5));
        rate.add("hold, p99, ms", quantile(&flood.holds, 0.99));
        rate.add("create to restored, p50, ms", quantile(&flood.waits, 0.5));
        rate.add("create to restored, p99, ms", quantile(&flood.waits, 0.99));
        let after = if minute { "a minute after" } else { "just after" };
        for (name, sample) in ["before", "at most", after].into_iter().zip(flood.memory) {
            rate.add(&format!("the operator's own memory {name}, MB"), sample);
        }
        operator.signal("TERM").await;
        operator.ended().await;
    }
    results.put(rate);
    Ok(())
}

/// Resets so many groups at once. With `minute` it waits a minute at the end, for the operator's memory after that.
pub async fn flood(stand: &Stand, operator: &Process, many: usize, minute: bool) -> Result<Flood> {
    let topics = stand.topics(1, 1).await?;
    let mut namespaces = vec![];
    for _ in 0..NAMESPACES.min(many) {
        namespaces.push(stand.namespace().await?);
    }
    let all: Vec<One> =
        (0..many).map(|number| One { namespace: namespaces[number % namespaces.len()].clone(), number }).collect();
    stream::iter(&all).map(|one| one.prepare(stand, &topics)).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    pods_are_there(stand, &all).await?;
    let floor = floor(stand, &all).await?;
    pods_are_there(stand, &all).await?;
    let api_server = stand.api_server()?;
    let (before, cpu_before) = (weigh(operator)?, cpu(api_server)?);
    let begin = Timestamp::now();
    let creating = stream::iter(&all).map(|one| one.reset(stand, &topics)).buffer_unordered(AT_ONCE);
    let creating = creating.try_collect::<HashMap<String, Timestamp>>();
    let (created, ended) = tokio::join!(creating, ended(stand, operator, &namespaces, many));
    let created = created?;
    let (ended, most) = ended?;
    let (weight, cpu_after) = (weigh(operator)?, cpu(api_server)?);
    let (mut holds, mut waits) = (vec![], vec![]);
    let mut last = begin;
    for one in &ended {
        let (phase, message) = phase(one);
        ensure!(phase == Some(Phase::Succeeded), "{phase:?}: {message}");
        let hold = one.status.as_ref().and_then(|status| status.hold.as_ref()).context("it was held")?;
        let end = hold.end_time.as_ref().context("it was restored")?.0;
        holds.push(between(hold.start_time.0, end));
        waits.push(between(*created.get(&one.name_any()).context("it was created here")?, end));
        last = last.max(end);
    }
    if minute {
        tokio::time::sleep(Duration::from_mins(1)).await;
    }
    let after = weigh(operator)?.own_mb;
    for namespace in &namespaces {
        stand.remove_namespace(namespace).await?;
    }
    stand.delete(topics).await;
    let count = count(many);
    let rate = count / between(begin, last) * 1e3;
    let api_server = (cpu_after - cpu_before) / count;
    let operator = (weight.cpu_ms - before.cpu_ms) / count;
    Ok(Flood { floor, rate, holds, waits, memory: [before.own_mb, most.max(before.own_mb), after], api_server, operator })
}

/// Scales all to zero and back. A Deployment goes back as soon as its ReplicaSet has no Pod.
async fn floor(stand: &Stand, all: &[One]) -> Result<Floor> {
    let (replicas, seen) = watch::channel(HashMap::new());
    let watched = watcher(Api::<Deployment>::all(stand.client.clone()), watcher::Config::default()).applied_objects();
    let watching = watched.try_for_each(|deployment| {
        let count = deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0);
        // `observedGeneration` tells whether the status is that of the scale.
        let observed = deployment.status.as_ref().and_then(|status| status.observed_generation);
        if observed == deployment.metadata.generation {
            let asked = deployment.spec.as_ref().and_then(|spec| spec.replicas);
            let key = (deployment.namespace().unwrap_or_default(), deployment.name_any());
            replicas.send_modify(|all| {
                all.insert(key, (asked, count));
            });
        }
        std::future::ready(Ok(()))
    });
    let scaling = async {
        let api_server = stand.api_server()?;
        let (begin, before) = (Timestamp::now(), cpu(api_server)?);
        let scaled = stream::iter(all).map(|one| one.to_zero_and_back(stand, seen.clone())).buffer_unordered(AT_ONCE);
        scaled.try_collect::<Vec<()>>().await?;
        let took = since(begin);
        Ok(Floor { rate: count(all.len()) / took * 1e3, api_server: (cpu(api_server)? - before) / count(all.len()) })
    };
    tokio::select! {
        floor = scaling => floor,
        ended = watching => Err(ended.err().map_or_else(|| anyhow::anyhow!("the watch has ended"), Into::into)),
    }
}

#[allow(clippy::cast_precision_loss, reason = "there are not so many")]
fn count(many: usize) -> f64 {
    many as f64
}

/// Waits until so many have ended; with the operator's largest memory meanwhile. By a watch, because to list all of them again and again
/// would take the API server as much time as the resets do.
async fn ended(stand: &Stand, operator: &Process, namespaces: &[String], many: usize) -> Result<(Vec<OffsetReset>, f64)> {
    let mut most = 0.0_f64;
    let mut ended = HashMap::new();
    let mut watched =
        watcher(Api::<OffsetReset>::all(stand.client.clone()), watcher::Config::default()).applied_objects().boxed();
    let mut looks = tokio::time::interval(LOOK);
    while ended.len() < many {
        tokio::select! {
            _ = looks.tick() => most = most.max(weigh(operator)?.own_mb),
            reset = watched.try_next() => {
                let reset = reset?.context("the watch goes on")?;
                let is_ours = reset.namespace().is_some_and(|namespace| namespaces.contains(&namespace));
                let is_over = reset.status.as_ref().is_some_and(|status| status.completion_time.is_some());
                if is_ours && is_over {
                    ended.insert(reset.name_any(), reset);
                }
            }
        }
    }
    Ok((ended.into_values().collect(), most))
}

/// The Pods that each Deployment, by namespace and name, is to have, and those that it has.
type Replicas = HashMap<(String, String), (Option<i32>, i32)>;

struct One {
    namespace: String,
    number: usize,
}

impl One {
    fn name(&self) -> String {
        format!("consumer-{}", self.number)
    }

    /// Its own group: the namespace's name is no other run's.
    fn group(&self) -> String {
        format!("{}-{}", self.namespace, self.number)
    }

    async fn prepare(&self, stand: &Stand, topics: &Topics) -> Result<()> {
        stand.commit(&self.group(), &topics.all, 0).await?;
        let pod = json!({
            "nodeSelector": {"bench": "no-node-has-this"}, "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": "nobody-runs-it"}],
        });
        deployment(&stand.client, &self.namespace, &self.name(), REPLICAS, pod).await;
        Ok(())
    }

    async fn to_zero_and_back(&self, stand: &Stand, mut replicas: watch::Receiver<Replicas>) -> Result<()> {
        let deployments = Api::<Deployment>::namespaced(stand.client.clone(), &self.namespace);
        let key = (self.namespace.clone(), self.name());
        let scale = async |replicas: i32| {
            let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
            deployments.patch_scale(&self.name(), &PatchParams::default(), &patch).await
        };
        scale(0).await?;
        replicas.wait_for(|all| all.get(&key) == Some(&(Some(0), 0))).await?;
        scale(REPLICAS).await?;
        Ok(())
    }

    /// Its name, and when it was created.
    async fn reset(&self, stand: &Stand, topics: &Topics) -> Result<(String, Timestamp)> {
        let spec = json!({"targetRefs": [{"name": self.name()}], "allowNoMembers": true});
        let (name, begin) = (unique("reset"), Timestamp::now());
        let one = reset(&name, &self.group(), &json!([{"topic": topics.names[0], "offset": 1}]), &spec);
        resets(&stand.client, &self.namespace).create(&PostParams::default(), &one).await?;
        Ok((name, begin))
    }
}

/// Waits until the Deployments have created their pods.
async fn pods_are_there(stand: &Stand, all: &[One]) -> Result<()> {
    for one in all {
        let deployments = Api::<Deployment>::namespaced(stand.client.clone(), &one.namespace);
        while deployments.get(&one.name()).await?.status.and_then(|status| status.replicas) != Some(REPLICAS) {
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
}
