//! What the plan says of the canary.

use crate::api::{CanaryState, CanaryStatus, OnCanaryFailure, TargetStatus};
use crate::machine::{
    request::{Canary, Request},
    text::{count, list, name},
    time::roughly,
};

/// The canary as the plan has it; `None` where the spec asks for none.
pub(in crate::machine) fn planned(request: &Request, targets: &[TargetStatus]) -> Option<CanaryStatus> {
    let canary = request.canary?;
    let (state, message) = match too_small(canary, targets) {
        Some(why) => (CanaryState::NotRun, why),
        None => (CanaryState::Planned, what_follows(canary, targets)),
    };
    Some(CanaryStatus {
        state,
        message,
        replicas: canary.replicas,
        start_time: None,
        deadline: None,
        proven_time: None,
        end_time: None,
        partitions_consumed: 0,
        partitions_with_records: 0,
        commits_before_undo: 0,
        commits_refused_before_undo: 0,
    })
}

fn what_follows(canary: Canary, targets: &[TargetStatus]) -> String {
    let stopped = targets.iter().filter(|target| target.original_replicas > 0);
    let parts: Vec<String> = stopped.map(|target| part(canary, target)).collect();
    let comes = if parts.len() == 1 && canary.replicas == 1 { "comes" } else { "come" };
    let otherwise = match canary.on_failure {
        OnCanaryFailure::Keep => "the offsets are kept",
        OnCanaryFailure::Undo => "the offsets from before are committed again",
    };
    format!(
        "A canary follows the commit: {} {comes} back first. The others follow when it has consumed past the targets; if it does not within \
         {}, {otherwise}, and all replicas are restored",
        list(&parts),
        roughly(canary.timeout)
    )
}

impl Canary {
    /// How many replicas of a target come back first: no more than it had.
    pub(in crate::machine) fn count_of(self, target: &TargetStatus) -> i32 {
        self.replicas.min(target.original_replicas)
    }
}

/// A target with its part in the canary.
pub(in crate::machine) fn part(canary: Canary, target: &TargetStatus) -> String {
    format!("{} of {} of {}", canary.count_of(target), count(target.original_replicas, "replica", "replicas"), name(target))
}

/// Why no target has replicas that could follow a canary.
pub(in crate::machine) fn too_small(canary: Canary, targets: &[TargetStatus]) -> Option<String> {
    if targets.iter().any(|target| target.original_replicas > canary.replicas) {
        return None;
    }
    let most = count(canary.replicas, "replica", "replicas");
    Some(format!("There is no canary, because no target had more than {most}: all replicas come back at once"))
}
