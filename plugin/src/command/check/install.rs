//! The parts of the install.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{apps::v1::Deployment, coordination::v1::Lease},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, ResourceExt, api::ListParams};
use offset_reset_operator::{
    api,
    kubernetes::{POLICIES, Policies, PolicyState, chain},
};

use super::finding::{Finding, State};
use crate::{
    cluster::Cluster,
    view::words::{ago, span},
};

/// The oldest minor version of Kubernetes 1 that is supported.
const OLDEST: u32 = 33;

/// The operator's pods and its Deployment have this label.
pub const OPERATOR: &str = "app.kubernetes.io/name=offset-reset-operator";

pub(super) fn unknown(what: &str, error: &kube::Error) -> Finding {
    let why = match error {
        kube::Error::Api(status) => status.message.clone(),
        error => chain(error),
    };
    Finding::new(State::Unknown, format!("{what}: not known, because the API server answers: {why}"))
}

fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// The API server answers, and is new enough.
pub(super) async fn server(cluster: &Cluster) -> Finding {
    match cluster.client.apiserver_version().await {
        Ok(version) => {
            let minor: u32 = version.minor.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0);
            if version.major == "1" && minor < OLDEST {
                Finding::new(State::Bad, format!("Kubernetes {} is older than 1.{OLDEST}", version.git_version))
                    .advice("Upgrade the cluster: the operator needs admission policies and fields of newer versions.")
            } else {
                Finding::new(State::Good, format!("Kubernetes {}", version.git_version))
            }
        }
        Err(error) => Finding::new(State::Bad, format!("the API server does not answer: {}", chain(&error)))
            .advice("Check the connection and the context: kubectl cluster-info"),
    }
}

/// The CRD is installed and of this version.
pub(super) async fn crd(cluster: &Cluster) -> Finding {
    let own = api::crd();
    let crds = Api::<CustomResourceDefinition>::all(cluster.client.clone());
    let install = "Install the operator: kubectl apply -k deploy/";
    match crds.get(&own.name_any()).await {
        Ok(found) => {
            let established = found.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let mut established = established.filter(|condition| condition.type_ == "Established" && condition.status == "True");
            if established.next().is_none() {
                return Finding::new(State::Bad, format!("CRD {} is not established", own.name_any()))
                    .advice("kubectl describe crd offsetresets.offsetreset.dev");
            }
            let schema = |crd: &CustomResourceDefinition| crd.spec.versions.first().and_then(|version| version.schema.clone());
            if schema(&found) == schema(&own) {
                Finding::new(State::Good, format!("CRD {} is this plugin's version", own.name_any()))
            } else {
                Finding::new(State::Attention, format!("CRD {} is of another version than this plugin", own.name_any()))
                    .advice("Options that one of the two does not know are refused. Use the plugin of the operator's version.")
            }
        }
        Err(error) if is_missing(&error) => {
            Finding::new(State::Bad, format!("CRD {} is not installed", own.name_any())).advice(install)
        }
        Err(error) => match cluster.resets().list(&ListParams::default().limit(1)).await {
            Err(error) if is_missing(&error) => {
                Finding::new(State::Bad, "OffsetResets are not served: the CRD is not installed").advice(install)
            }
            _ => unknown(&format!("version of CRD {}", own.name_any()), &error),
        },
    }
}

/// The policies without which users gain the operator's rights.
pub(super) async fn policies(cluster: &Cluster) -> Vec<Finding> {
    let (policies, mut findings) = (Policies::new(cluster.client.clone()), vec![]);
    let mut enforced = 0;
    for policy in &POLICIES {
        match policies.look(policy.name).await {
            Ok(PolicyState::Enforced) => enforced += 1,
            Ok(PolicyState::NotEnforced(why)) => findings.push(
                Finding::new(State::Bad, format!("policy {} is not enforced: {why}; {}", policy.name, policy.without_it))
                    .advice("Install it: kubectl apply -k deploy/"),
            ),
            Ok(PolicyState::Unknown(why)) => {
                findings.push(Finding::new(
                    State::Unknown,
                    format!("policy {}: not known, because the API server answers: {why}", policy.name),
                ));
            }
            Err(error) => findings.push(unknown(&format!("policy {}", policy.name), &error)),
        }
    }
    if enforced > 0 {
        findings.insert(0, Finding::new(State::Good, format!("{enforced} of {} policies are enforced", POLICIES.len())));
    }
    findings
}

async fn deployments(cluster: &Cluster) -> Result<Vec<Deployment>, kube::Error> {
    let deployments = Api::<Deployment>::all(cluster.client.clone());
    Ok(deployments.list(&ListParams::default().labels(OPERATOR)).await?.items)
}

/// Why no operator works on any OffsetReset. Without the right to list Deployments the cause is not known.
pub(super) async fn trouble(cluster: &Cluster) -> Option<Finding> {
    let (mut first, mut is_wanted) = (None, false);
    for deployment in deployments(cluster).await.ok()? {
        // One operator that works is enough: namespaced installs have several.
        let bad = one(cluster, &deployment).await.into_iter().find(|finding| finding.state == State::Bad)?;
        first.get_or_insert(bad);
        is_wanted |= deployment.spec.as_ref().and_then(|spec| spec.replicas) != Some(0);
    }
    // Without a policy its pods do not become ready.
    if is_wanted && let Some(policy) = policies(cluster).await.into_iter().find(|finding| finding.state == State::Bad) {
        return Some(policy);
    }
    first
}

/// The operator runs, and one of its pods leads.
pub(super) async fn operator(cluster: &Cluster) -> Vec<Finding> {
    let found = match deployments(cluster).await {
        Ok(found) => found,
        Err(error) => return vec![unknown("the operator's Deployment", &error)],
    };
    if found.is_empty() {
        return vec![
            Finding::new(State::Bad, format!("no Deployment of the operator has the label {OPERATOR}"))
                .advice("Install the operator: kubectl apply -k deploy/"),
        ];
    }
    let mut findings = vec![];
    for deployment in found {
        findings.extend(one(cluster, &deployment).await);
    }
    findings
}

/// One Deployment of the operator, and which of its pods leads.
async fn one(cluster: &Cluster, deployment: &Deployment) -> Vec<Finding> {
    let mut findings = vec![pods(deployment)];
    if deployment.spec.as_ref().and_then(|spec| spec.replicas) != Some(0) {
        findings.extend(leader(cluster, &deployment.namespace().unwrap_or_default()).await);
    }
    findings
}

/// PURE.
fn pods(deployment: &Deployment) -> Finding {
    let namespace = deployment.namespace().unwrap_or_default();
    let status = deployment.status.clone().unwrap_or_default();
    let (ready, wanted) =
        (status.ready_replicas.unwrap_or(0), deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1));
    let name = deployment.name_any();
    if wanted == 0 {
        let what = format!("the operator {namespace}/{name} is scaled to 0 replicas, so nothing works on OffsetResets");
        return Finding::new(State::Bad, what).advice(format!(
                "Workloads that are held at zero stay there until it runs again: kubectl -n {namespace} scale deployment {name} --replicas 1"
            ));
    }
    let containers = deployment.spec.iter().flat_map(|spec| spec.template.spec.iter().flat_map(|pod| &pod.containers));
    let images: Vec<String> = containers.filter_map(|container| container.image.clone()).collect();
    let what = format!("operator {namespace}/{name}: {ready} of {wanted} pods ready, image {}", images.join(", "));
    match ready {
        0 => Finding::new(State::Bad, what).advice(format!("kubectl -n {namespace} describe pods -l {OPERATOR}")),
        ready if ready < wanted => {
            Finding::new(State::Attention, what).advice(format!("kubectl -n {namespace} get pods -l {OPERATOR}"))
        }
        _ => Finding::new(State::Good, what),
    }
}

async fn leader(cluster: &Cluster, namespace: &str) -> Option<Finding> {
    let leases = Api::<Lease>::namespaced(cluster.client.clone(), namespace);
    let lease = match leases.get_opt("offset-reset-operator").await {
        Ok(found) => found?,
        Err(error) => return Some(unknown("the leader's Lease", &error)),
    };
    let (spec, now) = (lease.spec.unwrap_or_default(), Timestamp::now());
    let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
    let renewed = spec.renew_time.map(|at| at.0)?;
    let length = SignedDuration::from_secs(spec.lease_duration_seconds.unwrap_or(15).into());
    Some(match holder {
        Some(holder) if now.duration_since(renewed) <= length => {
            Finding::new(State::Good, format!("leader {holder}, renewed {}", ago(renewed, now)))
        }
        _ => Finding::new(
            State::Bad,
            format!("no pod leads: the Lease was renewed {}, and lasts {}", ago(renewed, now), span(length)),
        )
        .advice(format!("kubectl -n {namespace} logs -l {OPERATOR} --tail 50")),
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::all_ready(2, 2, "✔ operator system/o: 2 of 2 pods ready", "")]
    #[case::some_ready(1, 2, "⚠ operator system/o: 1 of 2", "get pods")]
    #[case::none_ready(0, 2, "✗ operator system/o: 0 of 2", "describe pods")]
    #[case::scaled_to_zero(
        0,
        0,
        "✗ the operator system/o is scaled to 0 replicas",
        "kubectl -n system scale deployment o --replicas 1"
    )]
    fn an_operator_without_pods_is_scaled_up_again(
        #[case] ready: i32,
        #[case] wanted: i32,
        #[case] what: &str,
        #[case] advice: &str,
    ) {
        let deployment = json!({
            "metadata": {"name": "o", "namespace": "system"}, "status": {"readyReplicas": ready},
            "spec": {"replicas": wanted, "selector": {}, "template": {"spec": {"containers": [{"name": "o", "image": "i"}]}}},
        });
        let lines: Vec<String> =
            pods(&serde_json::from_value(deployment).unwrap()).lines().iter().map(crate::view::Line::text).collect();
        assert!(lines[0].starts_with(what) && lines.concat().contains(advice), "{lines:?}");
    }
}
