//! Completion of names, which come from the cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use clap::Parser;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::{Api, ResourceExt, api::ListParams};
use offset_reset_operator::api::{OffsetReset, Reason};

use super::connection::Connection;
use crate::cluster::{BATCH, Cluster};

/// How long a key press may wait for the cluster.
const PATIENCE: Duration = Duration::from_secs(2);

/// The names of the namespace's OffsetResets.
pub(super) fn resets() -> ArgValueCandidates {
    ArgValueCandidates::new(|| listed().iter().map(candidate).collect())
}

/// The batches of the namespace's OffsetResets.
pub(super) fn batches() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let found: BTreeSet<String> = listed().iter().filter_map(|reset| reset.labels().get(BATCH).cloned()).collect();
        found.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// The names of OffsetResets, and reasons.
pub(super) fn explainable() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let reasons = Reason::ALL.iter().map(|reason| CompletionCandidate::new(reason.as_str()));
        listed().iter().map(candidate).chain(reasons).collect()
    })
}

/// The groups that OffsetResets of the namespace name, each once.
pub(super) fn groups() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for reset in listed() {
            *found.entry(reset.spec.group).or_default() += 1;
        }
        let help = |many: usize| if many == 1 { "in 1 OffsetReset".to_owned() } else { format!("in {many} OffsetResets") };
        found.into_iter().map(|(group, many)| CompletionCandidate::new(group).help(Some(help(many).into()))).collect()
    })
}

/// The topics that OffsetResets of the namespace name or have planned.
pub(super) fn topics() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let named = |reset: &OffsetReset| -> Vec<String> {
            let planned = reset.status.iter().flat_map(|status| &status.partitions).map(|partition| partition.topic.clone());
            reset.spec.resets.iter().filter_map(|entry| entry.topic.clone()).chain(planned).collect()
        };
        let found: BTreeSet<String> = listed().iter().flat_map(named).collect();
        found.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// The workloads of the namespace: Deployments by their names, StatefulSets with their kind, and what OffsetResets have stopped.
pub(super) fn workloads() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        asked(async |cluster| {
            let (client, namespace) = (&cluster.client, &cluster.namespace);
            let params = ListParams::default();
            let (deployments, sets, resets) = (
                Api::<Deployment>::namespaced(client.clone(), namespace),
                Api::<StatefulSet>::namespaced(client.clone(), namespace),
                cluster.resets(),
            );
            let (deployments, sets, resets) =
                futures::join!(deployments.list_metadata(&params), sets.list_metadata(&params), resets.list(&params));
            let mut found: BTreeMap<String, &str> = BTreeMap::new();
            for reset in resets.iter().flat_map(|list| &list.items) {
                found.extend(
                    reset.spec.target_refs.iter().map(|target| (option(&target.kind, &target.name), "of an OffsetReset")),
                );
            }
            found.extend(deployments.iter().flat_map(|list| &list.items).map(|object| (object.name_any(), "Deployment")));
            let sets = sets.iter().flat_map(|list| &list.items);
            found.extend(sets.map(|object| (option("StatefulSet", &object.name_any()), "StatefulSet")));
            found.into_iter().map(|(name, what)| CompletionCandidate::new(name).help(Some(what.into()))).collect()
        })
    })
}

/// A workload as `--target` has it.
pub fn option(kind: &str, name: &str) -> String {
    if kind == "Deployment" { name.to_owned() } else { format!("{}/{name}", kind.to_lowercase()) }
}

fn candidate(reset: &OffsetReset) -> CompletionCandidate {
    let phase = reset.status.as_ref().and_then(|status| status.phase).map_or("new", offset_reset_operator::api::Phase::as_str);
    CompletionCandidate::new(reset.name_any()).help(Some(format!("{phase}, group {}", reset.spec.group).into()))
}

/// Nothing where the cluster does not answer: a completion has no place for words.
fn listed() -> Vec<OffsetReset> {
    asked(async |cluster| cluster.resets().list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default())
}

fn asked<T>(ask: impl AsyncFnOnce(Cluster) -> Vec<T>) -> Vec<T> {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return vec![] };
    let connection = typed();
    runtime.block_on(async {
        let asking = async { Some(ask(Cluster::connect(&connection).await.ok()?).await) };
        tokio::time::timeout(PATIENCE, asking).await.ok().flatten().unwrap_or_default()
    })
}

/// The options for the cluster among the words so far, which are no whole command yet.
fn typed() -> Connection {
    #[derive(Parser)]
    #[command(ignore_errors = true, disable_help_flag = true)]
    struct Typed {
        #[command(flatten)]
        connection: Connection,
        #[arg(trailing_var_arg = false, num_args = 0..)]
        _rest: Vec<String>,
    }
    let words = std::env::args_os().filter(|word| word != "__complete");
    Typed::try_parse_from(words).map(|typed| typed.connection).unwrap_or_default()
}
