//! The workloads in whose pods the members of a group run: for a plan that was made without a target.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::{
    api::{apps::v1::ReplicaSet, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Api, ResourceExt, api::ListParams};
use offset_reset_operator::api::OffsetReset;

use crate::{cluster::Cluster, view::Line};

/// What to add to the command; nothing when the reset has targets, or the group has no members.
pub(super) async fn hint(cluster: &Cluster, reset: &OffsetReset) -> Vec<Line> {
    let members = reset.status.as_ref().and_then(|status| status.group.clone()).map_or(0, |group| group.members);
    if !reset.spec.target_refs.is_empty() || members == 0 {
        return vec![];
    }
    let pods = pods(cluster).await.unwrap_or_default();
    let owners = owners(cluster, &pods.iter().collect::<Vec<_>>(), reset).await;
    let warn = |words: String| Line::warning(words);
    if owners.is_empty() {
        let words = "the group has members, and the reset stops nothing: name their workload with --target, or stop it yourself";
        return vec![warn(words.to_owned())];
    }
    let names: Vec<String> = owners.iter().map(|(kind, name)| format!("{kind}/{name}")).collect();
    let options: Vec<String> = owners.iter().map(|(kind, name)| option(kind, name)).collect();
    vec![warn(format!("members run in pods of {}, and the reset stops nothing: add {}", names.join(", "), options.join(" ")))]
}

fn option(kind: &str, name: &str) -> String {
    format!("--target {}", crate::cli::workload(kind, name))
}

/// The groups whose members run in the pods of a workload, by its kind and name: as the plans of resets without targets found them.
/// Without the right to see pods there are none.
pub async fn of_members(cluster: &Cluster, resets: &[OffsetReset]) -> Vec<(String, String, String)> {
    let has_members = |reset: &&OffsetReset| reset.spec.target_refs.is_empty() && !hosts(reset).is_empty();
    let resets: Vec<&OffsetReset> = resets.iter().filter(has_members).collect();
    if resets.is_empty() {
        return vec![];
    }
    let Some(pods) = pods(cluster).await else { return vec![] };
    let mut found = vec![];
    for reset in resets {
        // An address may have belonged to another pod before: only pods that existed when the plan was made.
        let planned = reset.status.as_ref().and_then(|status| status.plan_time.as_ref()).map(|at| at.0);
        let then: Vec<&Pod> = pods.iter().filter(|pod| existed(pod, planned)).collect();
        let owners = owners(cluster, &then, reset).await;
        found.extend(owners.into_iter().map(|(kind, name)| (kind, name, reset.spec.group.clone())));
    }
    found
}

/// Whether a pod is older than a time.
fn existed(pod: &Pod, at: Option<Timestamp>) -> bool {
    pod.metadata.creation_timestamp.as_ref().zip(at).is_some_and(|(created, at)| created.0 <= at)
}

async fn pods(cluster: &Cluster) -> Option<Vec<Pod>> {
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), &cluster.namespace).list(&ListParams::default()).await.ok()?;
    Some(pods.items)
}

fn hosts(reset: &OffsetReset) -> BTreeSet<&str> {
    let group = reset.status.as_ref().and_then(|status| status.group.as_ref());
    group.iter().flat_map(|group| &group.member_details).map(|member| member.host.trim_start_matches('/')).collect()
}

async fn owners(cluster: &Cluster, pods: &[&Pod], reset: &OffsetReset) -> BTreeSet<(String, String)> {
    let hosts = hosts(reset);
    let mut found = BTreeSet::new();
    for owner in pods.iter().filter(|pod| has_address(pod, &hosts)).filter_map(|pod| controller(pod)) {
        if owner.kind != "ReplicaSet" {
            found.insert((owner.kind, owner.name));
            continue;
        }
        let sets = Api::<ReplicaSet>::namespaced(cluster.client.clone(), &cluster.namespace);
        let above = sets.get_metadata_opt(&owner.name).await.ok().flatten();
        let above = above.and_then(|set| set.owner_references().iter().find(|owner| owner.controller == Some(true)).cloned());
        let owner = above.unwrap_or(owner);
        found.insert((owner.kind, owner.name));
    }
    found
}

fn controller(pod: &Pod) -> Option<OwnerReference> {
    pod.owner_references().iter().find(|owner| owner.controller == Some(true)).cloned()
}

/// Pods on the network of their node share its address with others.
fn has_address(pod: &Pod, hosts: &BTreeSet<&str>) -> bool {
    let is_on_host = pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true));
    let addresses = pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten().map(|address| address.ip.as_str()));
    !is_on_host && addresses.into_iter().any(|address| hosts.contains(address))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case::older("2026-11-24T17:59:59Z", true)]
    #[case::younger("2026-11-24T18:00:01Z", false)]
    fn only_a_pod_that_existed_at_the_plan_had_its_address_then(#[case] created: &str, #[case] expected: bool) {
        let pod = serde_json::from_value(json!({"metadata": {"name": "p", "creationTimestamp": created}})).unwrap();
        assert_eq!(existed(&pod, Some("2026-11-24T18:00:00Z".parse().unwrap())), expected);
        assert!(!existed(&pod, None));
    }

    #[rstest]
    #[case::its_address(json!({"containers": []}), "10.1.2.3", true)]
    #[case::another(json!({"containers": []}), "10.1.2.4", false)]
    #[case::of_the_node(json!({"containers": [], "hostNetwork": true}), "10.1.2.3", false)]
    fn a_member_is_in_the_pod_that_has_its_address(#[case] spec: Value, #[case] address: &str, #[case] expected: bool) {
        let pod = json!({"metadata": {"name": "p"}, "spec": spec, "status": {"podIPs": [{"ip": "10.1.2.3"}]}});
        assert_eq!(has_address(&serde_json::from_value(pod).unwrap(), &[address].into()), expected);
        assert_eq!(
            (option("Deployment", "c"), option("StatefulSet", "c")),
            ("--target c".into(), "--target statefulset/c".into())
        );
    }
}
