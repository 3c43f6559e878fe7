//! How long consumers are down for a reset: by the operator, by the script that people use without it, and by what no reset can
//! do without: scale to zero, wait until the containers have ended, scale back.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::MicroTime};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, WatchEvent, WatchParams},
    runtime::wait::delete::delete_and_finalize,
};
use real_tests::resets;
use serde_json::json;

use crate::{
    parts::consumers::{Consumers, REPLICAS},
    results::{Results, Step, Table},
    stand::{Request, Run, Stand, between, command},
};

const OURS: &str = "an OffsetReset";
const SCRIPT: &str = "the script";
const FLOOR: &str = "the floor";

/// What is measured with so many partitions.
struct Tables {
    all: Table,
    longest: Table,
    restore: Table,
    requests: Table,
    /// The requests of each round by their kind.
    counts: Vec<BTreeMap<String, u32>>,
    /// The last reset, request by request.
    trace: Vec<Step>,
}

impl Tables {
    fn new(partitions: i32) -> Self {
        let id = |what: &str| format!("{what}-{partitions}");
        let of = |what: &str| format!("{what}, {partitions} partitions");
        let note = "Three light consumers (a librdkafka consumer that does nothing else), and a producer that writes to all partitions \
                    without a pause. The script is tests/bench/script.sh; the floor scales to 0, waits until the containers have \
                    ended and scales back, with nothing between.";
        Self {
            all: Table::new(&id("downtime"), &of("Downtime: last record before to first after"), "ms", note).beside(FLOOR),
            longest: Table::new(
                &id("downtime-longest"),
                &of("The same within one partition, where it is longest"),
                "ms",
                "It has the rebalances of consumers that do not start at the same moment.",
            )
            .beside(FLOOR),
            restore: Table::new(
                &id("restore"),
                &of("Group empty to scale-up accepted"),
                "ms",
                "From status.hold.groupEmptyTime, and from the moment when the last consumer had left its group, to the API \
                 server's answer to the update of the scale, by its audit log.",
            ),
            requests: Table::new(
                "requests",
                "API requests of one reset",
                "requests",
                "From the audit log, in the namespace of the reset, from its creation until its consumers consume again.",
            ),
            counts: vec![],
            trace: vec![],
        }
    }

    /// A kind that some rounds have not had counts as 0 there.
    fn count_requests(&mut self) {
        let kinds: BTreeSet<&String> = self.counts.iter().flat_map(BTreeMap::keys).collect();
        for kind in kinds {
            for round in &self.counts {
                self.requests.add(kind, f64::from(round.get(kind).copied().unwrap_or(0)));
            }
        }
    }
}

pub async fn measure(stand: &Stand, results: &mut Results, partitions: i32, rounds: usize) -> Result<()> {
    let operator = stand.operator().await;
    let consumers = Consumers::start(stand, partitions).await?;
    let mut tables = Tables::new(partitions);
    for round in 0..rounds {
        let mut order = [FLOOR, OURS, SCRIPT];
        order.rotate_left(round % 3);
        for name in order {
            consumers.settled(stand).await?;
            match name {
                OURS => ours(stand, &consumers, &mut tables).await?,
                SCRIPT => {
                    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/script.sh");
                    let replicas = REPLICAS.to_string();
                    command("bash", &[path, &consumers.namespace, &consumers.group, &consumers.topic, &replicas]).await?;
                }
                _ => floor(stand, &consumers).await?,
            }
            let downtime = consumers.downtime().await?;
            println!("{partitions} partitions, round {}: {name}: {:.0} ms", round + 1, downtime.all);
            tables.all.add(name, downtime.all);
            tables.longest.add(name, downtime.longest);
        }
    }
    tables.count_requests();
    let mut over = Table::new(
        &format!("downtime-over-{partitions}"),
        &format!("Downtime over the floor of the same round, {partitions} partitions"),
        "ms",
        "The differences of the table above.",
    )
    .beside(OURS);
    for name in [OURS, SCRIPT] {
        for sample in tables.all.over(name, FLOOR) {
            over.add(name, sample);
        }
    }
    results.trace = tables.trace;
    // The requests do not depend on how many partitions there are: the last ones stay.
    for table in [tables.all, over, tables.longest, tables.restore, tables.requests] {
        results.put(table);
    }
    consumers.end(stand).await?;
    operator.signal("TERM").await;
    operator.ended().await;
    Ok(())
}

async fn ours(stand: &Stand, consumers: &Consumers, tables: &mut Tables) -> Result<()> {
    let since = stand.audit_position()?;
    let entries = json!([{"topic": consumers.topic, "shiftBy": -10}]);
    let run = stand.reset(&consumers.namespace, &consumers.group, &entries, &json!({})).await?;
    let left = consumers.downtime().await?.left;
    let mut requests = stand.requests(since)?;
    requests.retain(|request| request.object_ref.namespace == consumers.namespace);
    let is_scale_up =
        |request: &&Request| ["update deployments/scale", "patch deployments/scale"].contains(&request.kind().as_str());
    let accepted = requests.iter().rfind(is_scale_up).context("the audit log has the scale-up")?.answered;
    let empty = run.hold.group_empty_time.as_ref().context("the group was empty")?.0;
    ensure!(accepted > empty, "the last update of the scale is not the restore");
    tables.restore.add("from status.hold.groupEmptyTime", between(empty, accepted));
    tables.restore.add("from the last consumer's leaving", between(left, accepted));
    tables.trace = trace(&run, &requests, left);
    let mut counts = BTreeMap::<String, u32>::new();
    for request in &requests {
        *counts.entry(request.kind()).or_default() += 1;
    }
    counts.insert("all".into(), u32::try_from(requests.len())?);
    tables.counts.push(counts);
    // The operator goes on to watch whether the consumers stay, and would look at them in the rounds that follow.
    Box::pin(delete_and_finalize(resets(&stand.client, &consumers.namespace), &run.name, &DeleteParams::default())).await?;
    Ok(())
}

/// One reset, request by request, with the moments that its status has.
fn trace(run: &Run, requests: &[Request], left: Timestamp) -> Vec<Step> {
    let moment = |at: Timestamp, what: &str| Step { at: between(run.begin, at), took: None, what: what.to_owned() };
    let mut steps = vec![moment(left, "the last consumer has left the group")];
    let time = |time: &Option<MicroTime>| time.as_ref().map(|time| time.0);
    for (at, what) in [
        (Some(run.hold.start_time.0), "status.hold.startTime"),
        (time(&run.hold.containers_terminated_time), "status.hold.containersTerminatedTime"),
        (time(&run.hold.group_empty_time), "status.hold.groupEmptyTime"),
        (time(&run.hold.end_time), "status.hold.endTime"),
    ] {
        steps.extend(at.map(|at| moment(at, what)));
    }
    for request in requests {
        let Request { received, answered, .. } = *request;
        steps.push(Step { at: between(run.begin, received), took: Some(between(received, answered)), what: request.kind() });
    }
    steps.sort_by(|one, other| one.at.total_cmp(&other.at));
    steps
}

/// What no reset can do without.
async fn floor(stand: &Stand, consumers: &Consumers) -> Result<()> {
    scale(stand, consumers, 0).await?;
    containers_ended(stand, consumers).await?;
    scale(stand, consumers, REPLICAS).await
}

async fn scale(stand: &Stand, consumers: &Consumers, replicas: i32) -> Result<()> {
    let patch = json!({"spec": {"replicas": replicas}});
    consumers.deployments(stand).patch_scale("consumer", &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}

/// Waits until no container of the consumers runs, by watching their pods.
async fn containers_ended(stand: &Stand, consumers: &Consumers) -> Result<()> {
    let pods = Api::<Pod>::namespaced(stand.client.clone(), &consumers.namespace);
    let list = pods.list(&ListParams::default()).await?;
    let mut running: BTreeSet<String> = list.items.iter().filter(|pod| !has_ended(pod)).map(ResourceExt::name_any).collect();
    let version = list.metadata.resource_version.unwrap_or_default();
    let mut events = std::pin::pin!(pods.watch(&WatchParams::default(), &version).await?);
    while !running.is_empty() {
        match events.next().await.context("the watch ended")?? {
            WatchEvent::Deleted(pod) => _ = running.remove(&pod.name_any()),
            WatchEvent::Modified(pod) if has_ended(&pod) => _ = running.remove(&pod.name_any()),
            _ => {}
        }
    }
    Ok(())
}

fn has_ended(pod: &Pod) -> bool {
    let states = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    states.into_iter().all(|container| container.state.as_ref().is_some_and(|state| state.terminated.is_some()))
}
