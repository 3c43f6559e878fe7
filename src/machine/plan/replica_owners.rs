//! Which other clients set a workload's replicas, or a connector's state, by their names as field
//! managers, and what to do about each.

use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use crate::{
    api::{TargetRef, TargetStatus},
    machine::{
        facts::{FieldOwner, WorkloadDetails},
        text::name_ref,
        time::clock,
    },
};

/// By how much the API server's clock may be behind the operator's.
const SKEW: SignedDuration = SignedDuration::from_secs(30);

/// How many owners a message names.
const NAMED: usize = 3;

/// Clients that are known by their field manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    ArgoCd,
    Flux,
    FluxHelm,
    Helm,
    Keda,
    Autoscaler,
    Kubectl,
}

fn known(owner: &FieldOwner) -> Option<Known> {
    match owner.manager.as_str() {
        "argocd-controller" | "argocd-application-controller" => Some(Known::ArgoCd),
        "kustomize-controller" => Some(Known::Flux),
        "helm-controller" => Some(Known::FluxHelm),
        "helm" => Some(Known::Helm),
        "keda" | "keda-operator" => Some(Known::Keda),
        "kube-controller-manager" if owner.subresource.as_deref() == Some("scale") => Some(Known::Autoscaler),
        manager if manager == "kubectl" || manager.starts_with("kubectl-") => Some(Known::Kubectl),
        _ => None,
    }
}

/// The kinds of clients that [`scaled_up_by`] tells apart.
pub const SCALERS: [&str; 7] = ["argocd", "flux", "helm", "keda", "hpa", "kubectl", "other"];

/// The kind of client that has set a workload's replicas since a time, for a metric: one of [`SCALERS`]. It is `other` where the
/// API server records no field manager.
#[must_use]
pub fn scaled_up_by(about: &WorkloadDetails, since: Timestamp) -> &'static str {
    match late_scalers(about, since).first().and_then(|owner| known(owner)) {
        Some(Known::ArgoCd) => "argocd",
        Some(Known::Flux) => "flux",
        Some(Known::FluxHelm | Known::Helm) => "helm",
        Some(Known::Keda) => "keda",
        Some(Known::Autoscaler) => "hpa",
        Some(Known::Kubectl) => "kubectl",
        None => "other",
    }
}

/// The latest clients that have set a workload's replicas since a time.
fn late_scalers(about: &WorkloadDetails, since: Timestamp) -> Vec<&FieldOwner> {
    let first = since.checked_sub(SKEW).unwrap_or(Timestamp::MIN);
    let late = |owner: &&FieldOwner| owner.time.map_or(owner.subresource.is_some(), |time| time >= first);
    about.scalers.iter().filter(late).take(NAMED).collect()
}

/// The field of the spec that is set to stop a workload.
fn field(is_connector: bool) -> &'static str {
    if is_connector { "state" } else { "replicas" }
}

/// What keeps a client from setting that field.
fn advice(known: Known, field: &str) -> String {
    let advice = match known {
        Known::ArgoCd => {
            "leave {field} out of Git, or give the Argo CD Application ignoreDifferences with jsonPointers [/spec/{field}] for the \
             workload and the sync option RespectIgnoreDifferences=true"
        }
        Known::Flux => {
            "leave {field} out of Git, or (kustomize-controller 1.9 and newer) give the Flux Kustomization spec.ignore with paths \
             [/spec/{field}] for the workload"
        }
        Known::FluxHelm => {
            "leave {field} out of what the chart renders, or give the Flux HelmRelease driftDetection.ignore with paths \
             [/spec/{field}] for the workload, and upgrade when the reset is over"
        }
        Known::Helm => "leave {field} out of what the chart renders, or upgrade the Helm release when the reset is over",
        Known::Keda => "pause its ScaledObject with the annotation autoscaling.keda.sh/paused: \"true\" until the reset is over",
        Known::Autoscaler => {
            "a HorizontalPodAutoscaler leaves what is at zero alone, unless its condition ScaledToZero is True: set its minReplicas \
             to 1 until the reset is over"
        }
        Known::Kubectl => "wait with kubectl, by hand or in scripts, until the reset is over",
    };
    advice.replace("{field}", field)
}

/// A GitOps tool that owns the field while the plan is made will set them again: a warning
/// before it happens, with the setting that prevents it.
#[must_use]
pub(in crate::machine) fn gitops_warnings(target: &TargetRef, about: &WorkloadDetails) -> Vec<String> {
    let (name, field) = (name_ref(target), field(target.is_connector()));
    let (would, up) = if target.is_connector() { ("start", "") } else { ("scale", " up") };
    let mut warnings = vec![];
    for owner in &about.scalers {
        let Some(known) = known(owner) else { continue };
        let when = match known {
            Known::ArgoCd => "with the next sync, and with selfHeal within seconds",
            Known::Flux => "at its next interval or commit",
            Known::FluxHelm => "at the next upgrade, and with driftDetection at its next interval",
            Known::Helm => "at the next upgrade",
            Known::Keda | Known::Autoscaler | Known::Kubectl => continue,
        };
        warnings.push(format!(
            "{name}: {} owns spec.{field}, and would {would} it{up} while the reset holds it at zero: {when}. To prevent that, {}",
            owner.manager,
            advice(known, field)
        ));
    }
    warnings.dedup();
    warnings
}

/// The clients that have scaled a workload up, and what to do about it.
pub(in crate::machine) struct Responsible {
    /// The clients, as the subject of a sentence.
    pub who: String,
    /// Whole sentences.
    pub advice: String,
}

/// The clients that have scaled a workload up since it was stopped at `since`. An owner from before
/// the stop has lost the field, or, of a custom resource, did not write it now, and is not named. A
/// write through `scale` has no time.
#[must_use]
pub(in crate::machine) fn responsible(target: &TargetStatus, about: &WorkloadDetails, since: Timestamp) -> Responsible {
    let (owners, field) = (late_scalers(about, since), field(target.is_connector()));
    if owners.is_empty() {
        return Responsible { who: "another controller or a user".into(), advice: unrecorded(target, about) };
    }
    let mut advices: Vec<String> = owners
        .iter()
        .filter_map(|owner| Some((owner, known(owner)?)))
        .map(|(owner, known)| format!("{}: {}.", owner.manager, advice(known, field)))
        .collect();
    advices.dedup();
    if advices.is_empty() {
        advices.push(format!("Keep it from setting spec.{field} until the reset is over."));
    }
    let who: Vec<String> = owners.iter().map(|owner| describe(owner)).collect();
    Responsible { who: who.join(" and "), advice: advices.join(" ") }
}

/// Advice where no owner is recorded. The API server records none for a write through `scale` from
/// zero (seen on 1.37), which is how autoscalers and `kubectl scale` write, and hardly any for a
/// custom resource's `scale`.
fn unrecorded(target: &TargetStatus, about: &WorkloadDetails) -> String {
    let field = field(target.is_connector());
    let mut words = match &about.unseen {
        Some(unseen) => format!("{unseen}."),
        None if target.is_connector() => {
            "metadata.managedFields does not record the client. The API server's audit log has its name.".to_owned()
        }
        None => "metadata.managedFields does not record the client, so the write most likely came through the scale subresource, from an \
                 autoscaler or kubectl scale. The API server's audit log has its name."
            .to_owned(),
    };
    for autoscaler in &about.autoscalers {
        // KEDA's prefix for the autoscalers that it creates.
        let known = if autoscaler.name.starts_with("keda-hpa-") { Known::Keda } else { Known::Autoscaler };
        let _ = write!(words, " HorizontalPodAutoscaler/{} scales it: {}.", autoscaler.name, advice(known, field));
    }
    let _ = write!(words, " Keep that client from setting spec.{field} until the reset is over.");
    words
}

/// An owner with how and when it wrote.
fn describe(owner: &FieldOwner) -> String {
    let by = owner.subresource.as_ref().map(|subresource| format!(" of {subresource}")).unwrap_or_default();
    let at = owner.time.map(|time| format!(" at {}", clock(&MicroTime(time)))).unwrap_or_default();
    format!("{} ({}{by}{at})", owner.manager, owner.operation)
}
