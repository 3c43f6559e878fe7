//! What the current user may do in the namespace.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{Api, api::PostParams};

use super::finding::{Finding, State};
use crate::cluster::Cluster;

/// Rights, and what they are for: verbs, group, resource, subresource.
type Right = (&'static str, &'static [&'static str], &'static str, &'static str, &'static str, State);

const RIGHTS: [Right; 6] = [
    ("see OffsetResets (status, list, watch)", &["get", "list", "watch"], "offsetreset.dev", "offsetresets", "", State::Bad),
    (
        "plan, run and cancel OffsetResets",
        &["create", "patch", "delete"],
        "offsetreset.dev",
        "offsetresets",
        "",
        State::Attention,
    ),
    ("stop Deployments for a reset", &["update"], "apps", "deployments", "scale", State::Attention),
    ("read reports (export, plans of many partitions)", &["get"], "", "configmaps", "", State::Attention),
    ("see what is held at zero (holds)", &["list"], "coordination.k8s.io", "leases", "", State::Attention),
    ("see pods in watch", &["list"], "", "pods", "", State::Attention),
];

/// A finding for each right.
pub(super) async fn rights(cluster: &Cluster) -> Vec<Finding> {
    let mut findings = vec![];
    for (what, verbs, group, resource, subresource, without) in RIGHTS {
        let mut missing = vec![];
        for verb in verbs {
            if may(cluster, verb, group, resource, subresource).await == Some(false) {
                missing.push(*verb);
            }
        }
        findings.push(if missing.is_empty() {
            Finding::new(State::Good, format!("you may {what}"))
        } else {
            let resource = [resource, subresource].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("/");
            Finding::new(without, format!("you may not {what} in namespace {}", cluster.namespace))
                .advice(format!("Ask an administrator for {} on {resource}; the role edit has all of these.", missing.join(", ")))
        });
    }
    findings
}

/// Whether the current user may have a reset stop KafkaConnectors: a policy asks for the right to change them.
pub(super) async fn of_connectors(cluster: &Cluster) -> Finding {
    if may(cluster, "update", "kafka.strimzi.io", "kafkaconnectors", "").await == Some(false) {
        return Finding::new(
            State::Attention,
            format!("you may not stop KafkaConnectors for a reset in namespace {}", cluster.namespace),
        )
        .advice(
            "Ask an administrator for update on kafkaconnectors of kafka.strimzi.io; a right for some of them by name is enough.",
        );
    }
    Finding::new(State::Good, "you may stop KafkaConnectors for a reset")
}

async fn may(cluster: &Cluster, verb: &str, group: &str, resource: &str, subresource: &str) -> Option<bool> {
    let attributes = ResourceAttributes {
        namespace: Some(cluster.namespace.clone()),
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: Some(subresource.to_owned()).filter(|subresource| !subresource.is_empty()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), non_resource_attributes: None };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let answer = Api::<SelfSubjectAccessReview>::all(cluster.client.clone()).create(&PostParams::default(), &review).await;
    Some(answer.ok()?.status?.allowed)
}
