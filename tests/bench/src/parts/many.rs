//! Many resets at once, each with a Deployment and a group of its own, in ten namespaces.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, ResourceExt,
    api::{ListParams, PostParams},
};
use offset_reset_operator::api::{OffsetReset, Phase};
use real_tests::{deployment, process::Process, reset, resets, unique};
use serde_json::json;

use crate::{
    results::{Results, Table, quantile},
    stand::{Stand, Topics, between, phase},
    weight::weigh,
};

const NAMESPACES: usize = 10;
const AT_ONCE: usize = 32;

/// The largest pause between two looks at what has ended: each look lists all of them.
const LOOK: Duration = Duration::from_millis(500);

/// What came of so many at once.
pub struct Flood {
    /// Resets a second: from the first's creation until the last was restored.
    pub rate: f64,
    /// How long each was held, in milliseconds.
    pub holds: Vec<f64>,
    /// How long each took from its creation until it was restored, in milliseconds.
    waits: Vec<f64>,
    /// The operator's own memory before, at most, and after, in MB.
    pub memory: [f64; 3],
}

pub async fn measure(stand: &Stand, results: &mut Results, many: usize, rounds: usize, minute: bool) -> Result<()> {
    let mut rate = Table::new(
        &format!("many-{many}"),
        &format!("{many} OffsetResets at once in {NAMESPACES} namespaces"),
        "as each says",
        "A Deployment of two replicas and a group each. The pods stay Pending, because no node has what they ask for: so the hold has \
         no containers that end. The rate counts from the first's creation until the last's replicas were restored; holds are those of \
         all resets of a round, by status.hold.",
    );
    for round in 0..rounds {
        let operator = stand.operator().await;
        let flood = flood(stand, &operator, many, minute).await?;
        println!("{many} resets, round {}: {:.1}/s", round + 1, flood.rate);
        rate.add("resets a second", flood.rate);
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
    let before = weigh(operator)?.own_mb;
    let begin = Timestamp::now();
    let creating = stream::iter(&all).map(|one| one.reset(stand, &topics)).buffer_unordered(AT_ONCE);
    let creating = creating.try_collect::<HashMap<String, Timestamp>>();
    let (created, ended) = tokio::join!(creating, ended(stand, operator, &namespaces, many));
    let created = created?;
    let (ended, most) = ended?;
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
    #[allow(clippy::cast_precision_loss, reason = "there are not so many")]
    let rate = many as f64 / between(begin, last) * 1e3;
    Ok(Flood { rate, holds, waits, memory: [before, most.max(before), after] })
}

/// Waits until so many have ended; with the operator's largest memory meanwhile.
async fn ended(stand: &Stand, operator: &Process, namespaces: &[String], many: usize) -> Result<(Vec<OffsetReset>, f64)> {
    let mut most = 0.0_f64;
    let mut ended = vec![];
    while ended.len() < many {
        tokio::time::sleep(LOOK).await;
        most = most.max(weigh(operator)?.own_mb);
        ended.clear();
        for namespace in namespaces {
            let list = resets(&stand.client, namespace).list(&ListParams::default()).await?;
            let is_over = |one: &OffsetReset| one.status.as_ref().is_some_and(|status| status.completion_time.is_some());
            ended.extend(list.items.into_iter().filter(is_over));
        }
    }
    Ok((ended, most))
}

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
        deployment(&stand.client, &self.namespace, &self.name(), 2, pod).await;
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
        while deployments.get(&one.name()).await?.status.and_then(|status| status.replicas) != Some(2) {
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
}
