//! What the autoscalers of the targets do while a canary runs.

use crate::api::TargetStatus;
use crate::machine::{
    facts::{Seen, Workload},
    request::Request,
    text::{count, name},
};

/// Warnings about the autoscalers of targets that get a canary. None of them acts at zero, but a canary runs at one replica or more.
#[must_use]
pub(in crate::machine) fn of_autoscalers(request: &Request, targets: &[TargetStatus], seen: &[Seen<Workload>]) -> Vec<String> {
    let Some(canary) = request.canary else { return vec![] };
    if targets.iter().all(|target| target.original_replicas <= canary.replicas) {
        return vec![];
    }
    let mut warnings = vec![];
    for (target, seen) in targets.iter().zip(seen).filter(|(target, _)| target.original_replicas > 0) {
        let (name, replicas) = (name(target), canary.count_of(target));
        // KEDA removes the autoscaler that it has made for a ScaledObject that is paused.
        if let Some(own) = &target.autoscaler {
            warnings.push(format!(
                "{}/{} stays paused while the canary runs: KEDA scales {name} again once all its replicas are restored",
                own.kind, own.name
            ));
            continue;
        }
        let Seen::Known(workload) = seen else { continue };
        for hpa in &workload.details.autoscalers {
            let canary = count(replicas, "replica", "replicas");
            let then = "which ends the canary without a proof";
            warnings.push(if hpa.min_replicas > replicas {
                format!(
                    "HorizontalPodAutoscaler/{} scales {name} from the {canary} of the canary to its minReplicas, {}, {then}: write at \
                     least that in restore.canary.replicas, or lower minReplicas until the reset is over",
                    hpa.name, hpa.min_replicas
                )
            } else {
                format!(
                    "HorizontalPodAutoscaler/{} may scale {name} up from the {canary} of the canary when its load is high, {then}",
                    hpa.name
                )
            });
        }
    }
    warnings
}
