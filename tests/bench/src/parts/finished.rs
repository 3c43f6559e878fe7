//! What OffsetResets that have finished cost the operator and the API server, for as long as nobody deletes them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt,
    api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use offset_reset_operator::api::OffsetReset;
use real_tests::{reset, resets, unique};
use serde_json::{Value, json};

use crate::{
    parts::idle::{self, START},
    results::{Results, Table},
    stand::{Stand, between, since},
    weight::{self, resident, weigh},
};

const AT_ONCE: usize = 32;

/// So many finished OffsetResets, each with this many partitions in its status, with their reports and receipts.
pub async fn measure(stand: &Stand, results: &mut Results, many: usize, partitions: i32, quick: bool) -> Result<()> {
    let mut table = Table::new(
        &format!("finished-{many}-{partitions}"),
        &format!("{many} finished OffsetResets of {partitions} partitions each"),
        "as each says",
        "Copies of one that has run, with report and receipt, in one namespace. \"Without\" is the same operator and API server before \
         they were created. The API server keeps what it has read for a while, so its memory is not theirs alone.",
    );
    let api_server = stand.api_server().context("the API server's process")?;
    let (without, server, database) = (operated(stand, 0, quick).await?, resident(api_server)?, stand.database_mb()?);
    let namespace = copies(stand, many, partitions).await?;
    let (server, database) = ([server, resident(api_server)?], stand.database_mb()? - database);
    let client = listed(stand, &namespace, many).await?;
    let with = operated(stand, many, quick).await?;
    let mut both = |name: &str, values: [f64; 2]| {
        table.add(&format!("{name}, without"), values[0]);
        table.add(&format!("{name}, with them"), values[1]);
    };
    both("the operator's memory, MB", [without.memory, with.memory]);
    both("the operator's memory at most, MB", [without.peak, with.peak]);
    both("start of the operator until it has listed them, ms", [without.ready, with.ready]);
    both("the operator's time on the CPU in its first ten seconds, ms", [without.cpu, with.cpu]);
    both("its list requests for OffsetResets", [without.lists, with.lists]);
    both("the API server's time for those, ms", [without.listing, with.listing]);
    both("millicores when nothing is to be done", [without.millicores, with.millicores]);
    both("requests a minute when nothing is to be done", [without.requests, with.requests]);
    both("the API server's memory, MB", server);
    table.add("etcd's database, growth, MB", database);
    table.add("a client's list of all OffsetResets, ms", client);
    println!("{many} finished resets of {partitions} partitions: {:.0} MB more", with.memory - without.memory);
    results.put(table);
    let operator = stand.operator().await;
    stand.remove_namespace(&namespace).await?;
    operator.signal("TERM").await;
    operator.ended().await;
    Ok(())
}

/// What an operator costs.
struct Cost {
    ready: f64,
    cpu: f64,
    memory: f64,
    peak: f64,
    lists: f64,
    listing: f64,
    millicores: f64,
    requests: f64,
}

/// What an operator costs at its start, and then while nothing is to be done.
async fn operated(stand: &Stand, many: usize, quick: bool) -> Result<Cost> {
    let (position, begin) = (stand.audit_position()?, jiff::Timestamp::now());
    let operator = stand.operator().await;
    let lists = || -> Result<Vec<f64>> {
        let requests = stand.requests(position)?;
        let lists = requests.iter().filter(|request| request.kind() == "list offsetresets");
        Ok(lists.map(|request| between(request.received, request.answered)).collect())
    };
    // The watch begins with pages of 500.
    while lists()?.len() < many.div_ceil(500).max(1) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ready = since(begin);
    tokio::time::sleep(START).await;
    let (weight, peak, lists) = (weigh(&operator)?, weight::peak(operator.id())?, lists()?);
    let (millicores, requests) = idle::one_span(stand, &operator, Duration::from_secs(if quick { 20 } else { 60 })).await?;
    operator.signal("TERM").await;
    operator.ended().await;
    Ok(Cost {
        ready,
        cpu: weight.cpu_ms,
        memory: weight.own_mb,
        peak,
        lists: f64::from(u32::try_from(lists.len())?),
        listing: lists.iter().sum(),
        millicores,
        requests,
    })
}

/// How long a client needs to list them all, page by page, as the operator's watch does at its start.
async fn listed(stand: &Stand, namespace: &str, many: usize) -> Result<f64> {
    let (api, begin) = (resets(&stand.client, namespace), jiff::Timestamp::now());
    let (mut params, mut count) = (ListParams::default().limit(500), 0);
    loop {
        let page = api.list(&params).await?;
        count += page.items.len();
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    ensure!(count > many, "{count} are there");
    Ok(since(begin))
}

/// Runs one reset, and copies it while no operator is there to look at the copies.
async fn copies(stand: &Stand, many: usize, partitions: i32) -> Result<String> {
    let operator = stand.operator().await;
    let (namespace, topics, group) = (stand.namespace().await?, stand.topics(1, partitions).await?, unique("finished"));
    stand.commit(&group, &topics.all, 0).await?;
    stand.reset(&namespace, &group, &topics.by_timestamp(), &json!({"targetRefs": []})).await?;
    // The report and the receipt are complete when the operator has exited.
    operator.signal("TERM").await;
    operator.ended().await;
    let api = resets(&stand.client, &namespace);
    let run = api.list(&ListParams::default()).await?.items.pop().context("one has run")?;
    let config_maps = Api::<ConfigMap>::namespaced(stand.client.clone(), &namespace);
    let files = config_maps.list(&ListParams::default()).await?.items;
    let files: Vec<_> = files.into_iter().filter(|file| file.name_any().starts_with(&run.name_any())).collect();
    ensure!(files.len() == 2, "it has a report and a receipt: {}", files.len());
    let begin = jiff::Timestamp::now();
    let copy = |number: usize| copy(&api, &config_maps, &run, &files, number);
    stream::iter(0..many).map(copy).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    println!("{many} copies of {}: {:.0} s", run.name_any(), since(begin) / 1e3);
    stand.delete(topics).await;
    Ok(namespace)
}

async fn copy(
    api: &Api<OffsetReset>,
    config_maps: &Api<ConfigMap>,
    run: &OffsetReset,
    files: &[ConfigMap],
    number: usize,
) -> Result<()> {
    let (original, name) = (run.name_any(), format!("copy-{number}"));
    let entries = serde_json::to_value(&run.spec.resets)?;
    let created =
        api.create(&PostParams::default(), &reset(&name, &run.spec.group, &entries, &json!({"targetRefs": []}))).await?;
    let mut status: Value = serde_json::to_value(&run.status)?;
    // As it is once its consumers are not watched any more: an hour after the restore at the latest.
    status["hold"].as_object_mut().context("it was held")?.remove("watchedUntil");
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await?;
    for file in files {
        let mut owners = file.metadata.owner_references.clone();
        for owner in owners.iter_mut().flatten() {
            owner.name.clone_from(&name);
            owner.uid = created.uid().unwrap_or_default();
        }
        let metadata = ObjectMeta {
            name: Some(file.name_any().replacen(&original, &name, 1)),
            labels: file.metadata.labels.clone(),
            annotations: file.metadata.annotations.clone(),
            owner_references: owners,
            ..ObjectMeta::default()
        };
        config_maps.create(&PostParams::default(), &ConfigMap { metadata, ..file.clone() }).await?;
    }
    Ok(())
}
