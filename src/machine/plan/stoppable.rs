//! Whether the targets can be stopped within holdTimeout, and what they come back as: from their rollouts, pods and grace periods.

use super::{rollout, termination};
use crate::{
    api::{Reason, TargetRef},
    machine::{
        facts::{ForeignPod, Seen, Workload},
        refusal::Refusal,
        request::Request,
        text::{Message, name_ref},
    },
};

/// How many pods a message names.
const NAMED_PODS: usize = 5;

/// Why a target must not or cannot be stopped now, though it may be later or under another spec.
#[must_use]
pub(in crate::machine) fn cannot_stop(target: &TargetRef, seen: &Seen<Workload>, request: &Request) -> Vec<Refusal> {
    let Seen::Known(workload) = seen else { return vec![] };
    if workload.replicas == 0 {
        return vec![];
    }
    let name = name_ref(target);
    let mut refusals = vec![];
    if let rollout::Verdict::Refused(refusal) = rollout::check(target, workload, request.dry_run) {
        refusals.push(refusal);
    }
    if let Some(pod) = termination::blocking_pod(workload) {
        let message = Message::naming([&name], |[name]| format!("{name} cannot be scaled to zero while its pods are not ready"))
            .detail(format!(
                "Pod {} is not ready, and with podManagementPolicy OrderedReady the controller deletes no pod while more than one is not \
                 ready",
                pod.name
            ))
            .advice(
                "Repair or delete the pods that are not ready, or recreate the StatefulSet with podManagementPolicy Parallel (kubectl \
                 delete --cascade=orphan keeps its pods), and create the reset under a new name",
            );
        // A pod in a crash loop is ready for a few seconds each time, and then the controller goes on: a warning only.
        if !pod.crashed {
            refusals.push(Refusal::passing(Reason::CannotStopInTime, message));
        }
    }
    if let Some(count) = workload.overridden {
        refusals.push(Refusal::lasting(Reason::ReplicasOverridden, overridden(&name, count, target.is_connector())));
    }
    // One after the other, most pods end long before their grace periods do: that is only warned of.
    let longest = termination::longest_of_one(workload);
    if longest >= request.hold_timeout {
        let message =
            Message::naming([&name], |[name]| format!("The pods of {name} may take longer to terminate than holdTimeout"))
                .detail(format!(
                    "They may take {} s by their terminationGracePeriodSeconds, and holdTimeout is {} s",
                    longest.as_secs(),
                    request.hold_timeout.as_secs()
                ))
                .advice(format!(
                    "Set holdTimeout to at least {}, and create the reset under a new name",
                    termination::at_least(termination::longest(workload).saturating_add(request.drain_timeout))
                ));
        refusals.push(Refusal::lasting(Reason::CannotStopInTime, message));
    }
    refusals
}

/// An admission policy or a webhook changes the zero, or the state of a connector, that the operator sets.
#[must_use]
pub(in crate::machine) fn overridden(name: &str, count: i32, is_connector: bool) -> Message {
    if is_connector {
        return Message::naming([name], |[name]| format!("{name} does not keep the spec.state stopped that the operator sets"))
            .detail("An admission policy or a webhook changes it; or the CRD is older than Strimzi 0.38 and has no spec.state")
            .advice(
                "Exempt the operator's ServiceAccount from the policy, or update Strimzi's CRDs, and create the reset under a new name",
            );
    }
    Message::naming([name], |[name]| format!("An admission policy or a webhook changes the 0 replicas of {name} to {count}")).advice(
        "Exempt the operator's ServiceAccount from it, or stop the consumers yourself and leave the workload out of targetRefs, and \
         create the reset under a new name",
    )
}

/// What is worth a look before the targets are stopped. None of it keeps the reset from running.
#[must_use]
pub(in crate::machine) fn warnings(request: &Request, seen: &[Seen<Workload>]) -> Vec<String> {
    let mut warnings = vec![];
    for (target, seen) in request.targets.iter().zip(seen) {
        if let Seen::Known(workload) = seen {
            warnings.extend(of_one(target, workload, request));
        }
    }
    warnings
}

fn of_one(target: &TargetRef, workload: &Workload, request: &Request) -> Vec<String> {
    let name = name_ref(target);
    let mut warnings = vec![];
    if let Some(foreign) = foreign(&name, &workload.details.foreign_pods) {
        warnings.push(foreign);
    }
    if workload.replicas == 0 {
        return warnings;
    }
    if let rollout::Verdict::Warned(warning) = rollout::check(target, workload, request.dry_run) {
        warnings.push(warning);
    }
    if let Some(pod) = termination::blocking_pod(workload).filter(|pod| pod.crashed) {
        warnings.push(format!(
            "{name} may take minutes to stop: its podManagementPolicy is OrderedReady, and its controller deletes no pod while pod {} is \
             in a crash loop and not ready. To stop it faster, delete the pods that are not ready once it is being scaled down",
            pod.name
        ));
    }
    let longest = termination::longest(workload);
    if longest.saturating_add(request.drain_timeout) > request.hold_timeout {
        let how = if workload.details.ordered && workload.pods.len() > 1 {
            ", one after the other (podManagementPolicy OrderedReady)"
        } else {
            ""
        };
        warnings.push(format!(
            "The pods of {name} may take {} s to terminate{how}, so holdTimeout ({} s) may expire before drainTimeout does. A holdTimeout \
             of {} would cover both",
            longest.as_secs(),
            request.hold_timeout.as_secs(),
            termination::at_least(longest.saturating_add(request.drain_timeout))
        ));
    }
    // Where the chain of controllers does not tell, the count does.
    let counted = workload.details.counted.and_then(|counted| usize::try_from(counted).ok()).unwrap_or(usize::MAX);
    let own = workload.pods.iter().filter(|pod| !pod.terminated && pod.deletion.is_none()).count();
    if own > counted {
        warnings.push(format!(
            "{own} running pods match the selector of {name}, which counts {counted} replicas. The reset waits until all of them have \
             terminated: stop the others yourself"
        ));
    }
    warnings
}

/// Pods under the target's selector that are not its own.
fn foreign(name: &str, pods: &[ForeignPod]) -> Option<String> {
    let first = pods.first()?;
    let mut names: Vec<String> = pods.iter().take(NAMED_PODS).map(describe).collect();
    if pods.len() > NAMED_PODS {
        names.push(format!("{} more", pods.len() - NAMED_PODS));
    }
    let (are, they) = if pods.len() == 1 { ("pod matches", "it") } else { ("pods match", "they") };
    Some(format!(
        "{} {are} the selector of {name} and {} not controlled by it: {}. The reset does not stop {}; if {they} consume in the group, \
         the group will not become empty",
        pods.len(),
        if pods.len() == 1 { "is" } else { "are" },
        names.join(", "),
        if pods.len() == 1 { first.name.as_str() } else { "them" },
    ))
}

fn describe(pod: &ForeignPod) -> String {
    match &pod.controller {
        Some(controller) => format!("{} of {}/{}", pod.name, controller.kind, controller.name),
        None => format!("{} without a controller", pod.name),
    }
}
