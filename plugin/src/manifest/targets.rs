//! The workloads to stop: the kind of each, as a person writes it, becomes that of its manifest.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::{
    api::ApiResource,
    discovery::{Discovery, verbs},
};
use serde_json::{Value, json};

use crate::{
    cli::Target,
    cluster::Cluster,
    exit::{Failure, Outcome},
};

/// The references of the spec. Only for kinds that Kubernetes itself does not have the cluster is asked.
pub(super) async fn refs(cluster: &Cluster, targets: &[Target]) -> Outcome<Vec<Value>> {
    let mut kinds = None;
    let mut refs = vec![];
    for target in targets {
        let Some(kind) = &target.kind else {
            refs.push(json!({"name": target.name}));
            continue;
        };
        if let Some(known) = known(kind) {
            refs.push(json!({"kind": known, "name": target.name}));
            continue;
        }
        if kinds.is_none() {
            kinds = Some(served(cluster).await?);
        }
        refs.push(reference(called(kinds.as_deref().unwrap_or_default(), kind)?, &target.name));
    }
    Ok(refs)
}

/// Deployments, StatefulSets, and these kinds.
pub async fn kinds(cluster: &Cluster, others: &[String]) -> Outcome<Vec<ApiResource>> {
    let mut found = vec![ApiResource::erase::<Deployment>(&()), ApiResource::erase::<StatefulSet>(&())];
    let others: Vec<&String> = others.iter().filter(|kind| known(kind).is_none()).collect();
    if !others.is_empty() {
        let served = served(cluster).await?;
        for kind in others {
            let resource = called(&served, kind)?;
            if !found.contains(resource) {
                found.push(resource.clone());
            }
        }
    }
    Ok(found)
}

/// The reference of a workload, with no more fields than it needs.
pub fn target_ref(resource: &ApiResource, name: &str) -> Value {
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("apps", "Deployment") => json!({"name": name}),
        ("apps", kind @ "StatefulSet") => json!({"kind": kind, "name": name}),
        _ => reference(resource, name),
    }
}

fn called<'a>(served: &'a [ApiResource], kind: &str) -> Outcome<&'a ApiResource> {
    let found: Vec<&ApiResource> = served.iter().filter(|resource| is_called(resource, kind)).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(Failure::new(format!("the cluster has no kind {kind}."))
            .advice("Write it as kubectl api-resources shows it under NAME or KIND, such as rollouts.argoproj.io/orders.")),
        several => {
            let names: Vec<String> = several.iter().map(|resource| format!("{}.{}", resource.plural, resource.group)).collect();
            Err(Failure::new(format!("the cluster has several kinds {kind}: {}.", names.join(", ")))
                .advice("Write it with its group."))
        }
    }
}

fn known(kind: &str) -> Option<&'static str> {
    match kind.to_ascii_lowercase().trim_end_matches(".apps") {
        "deployment" | "deployments" | "deploy" => Some("Deployment"),
        "statefulset" | "statefulsets" | "sts" => Some("StatefulSet"),
        _ => None,
    }
}

async fn served(cluster: &Cluster) -> Outcome<Vec<ApiResource>> {
    let found = Discovery::new(cluster.client.clone()).run_aggregated().await;
    let found = found.map_err(|error| Failure::request("ask the cluster for its kinds", &error))?;
    let listable = |group: &kube::discovery::ApiGroup| {
        group
            .recommended_resources()
            .into_iter()
            .filter(|(_, can)| can.supports_operation(verbs::GET))
            .map(|(resource, _)| resource)
            .collect::<Vec<_>>()
    };
    Ok(found.groups().flat_map(listable).collect())
}

/// By its kind, its plural, or either with the group.
fn is_called(resource: &ApiResource, kind: &str) -> bool {
    let (name, group) = kind.split_once('.').map_or((kind, None), |(name, group)| (name, Some(group)));
    let is_named = [resource.kind.as_str(), resource.plural.as_str()].iter().any(|own| own.eq_ignore_ascii_case(name));
    is_named && group.is_none_or(|group| group == resource.group || group == format!("{}.{}", resource.version, resource.group))
}

fn reference(resource: &ApiResource, name: &str) -> Value {
    let mut reference = json!({"apiVersion": resource.api_version, "kind": resource.kind, "name": name});
    // The operator takes the kind with an "s" for the plural.
    if resource.plural != format!("{}s", resource.kind.to_ascii_lowercase()) {
        reference["resource"] = json!(resource.plural);
    }
    reference
}

#[cfg(test)]
mod tests {
    use kube::core::GroupVersionKind;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Rollout", true)]
    #[case("rollouts", true)]
    #[case("rollouts.argoproj.io", true)]
    #[case("rollout.v1alpha1.argoproj.io", true)]
    #[case("rollouts.example.com", false)]
    #[case("roll", false)]
    fn a_kind_is_found_by_each_of_its_names(#[case] kind: &str, #[case] expected: bool) {
        let rollouts =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Rollout"), "rollouts");
        assert_eq!(is_called(&rollouts, kind), expected);
        assert_eq!(reference(&rollouts, "c"), json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "c"}));
    }

    #[test]
    fn a_plural_that_is_no_s_is_said() {
        let proxies = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("x.io", "v1", "Proxy"), "proxies");
        assert_eq!(target_ref(&proxies, "p")["resource"], "proxies");
        assert_eq!(target_ref(&ApiResource::erase::<Deployment>(&()), "c"), json!({"name": "c"}));
        assert_eq!(target_ref(&ApiResource::erase::<StatefulSet>(&()), "c"), json!({"kind": "StatefulSet", "name": "c"}));
        assert_eq!((known("sts"), known("deployments.apps"), known("rollout")), (Some("StatefulSet"), Some("Deployment"), None));
    }
}
