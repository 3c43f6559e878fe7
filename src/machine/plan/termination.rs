//! How long the pods of a target may take to terminate, and what keeps their controller from deleting them.

use jiff::SignedDuration;

use crate::machine::facts::{Pod, Workload};

/// The longest that the pods of a workload may take to terminate, by their grace periods: one after the other where the controller
/// deletes them so, all at once otherwise. A preStop hook runs within the grace period, and a PodDisruptionBudget does not hold up scaling.
#[must_use]
pub(in crate::machine) fn longest(workload: &Workload) -> SignedDuration {
    let grace = workload.pods.iter().filter(|pod| !pod.terminated).map(|pod| pod.grace);
    if workload.details.ordered {
        grace.fold(SignedDuration::ZERO, SignedDuration::saturating_add)
    } else {
        grace.max().unwrap_or(SignedDuration::ZERO)
    }
}

/// The longest grace period of a single pod.
#[must_use]
pub(in crate::machine) fn longest_of_one(workload: &Workload) -> SignedDuration {
    let grace = workload.pods.iter().filter(|pod| !pod.terminated).map(|pod| pod.grace);
    grace.max().unwrap_or(SignedDuration::ZERO)
}

/// The pod that keeps the controller of an OrderedReady StatefulSet from deleting any more pods: the last one that is not ready, unless
/// it is the only one (`processCondemned` in the StatefulSet controller of Kubernetes 1.37.2, kubernetes/kubernetes#57865).
#[must_use]
pub(in crate::machine) fn blocking_pod(workload: &Workload) -> Option<&Pod> {
    if !workload.details.ordered {
        return None;
    }
    let waits = |pod: &&Pod| !pod.terminated && pod.deletion.is_none() && !pod.ready;
    let unready: Vec<&Pod> = workload.pods.iter().filter(waits).collect();
    let last = unready.iter().max_by_key(|pod| ordinal(&pod.name))?;
    (unready.len() > 1).then_some(*last)
}

/// The pods of a StatefulSet are numbered.
fn ordinal(name: &str) -> u64 {
    name.rsplit_once('-').and_then(|(_, ordinal)| ordinal.parse().ok()).unwrap_or(0)
}

/// A duration that a person would set: the next whole minute above a computed one.
#[must_use]
pub(in crate::machine) fn at_least(duration: SignedDuration) -> String {
    format!("{}m", duration.as_secs().div_euclid(60) + 1)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::machine::{
        facts::{Seen, WorkloadDetails},
        tests::{pod, workload},
    };

    fn with(ordered: bool, pods: Vec<Pod>) -> Workload {
        let Seen::Known(found) = workload(3, pods) else { unreachable!() };
        Workload { details: WorkloadDetails { ordered, ..WorkloadDetails::default() }, ..found }
    }

    fn graceful(name: &str, seconds: i64) -> Pod {
        Pod { grace: SignedDuration::from_secs(seconds), ..pod(name, false) }
    }

    #[rstest]
    #[case::all_at_once(false, 60)]
    #[case::one_after_the_other(true, 130)]
    fn the_longest_end_follows_the_order(#[case] ordered: bool, #[case] seconds: i64) {
        let workload = with(ordered, vec![graceful("c-0", 60), graceful("c-1", 30), graceful("c-2", 40), pod("c-3", true)]);
        assert_eq!(longest(&workload), SignedDuration::from_secs(seconds));
    }

    #[rstest]
    #[case::all_ready(true, &[true, true, true], None)]
    #[case::the_only_one_that_is_not_ready_is_deleted(true, &[true, false, true], None)]
    #[case::the_last_of_two(true, &[false, true, false], Some("c-2"))]
    #[case::none_is_ready(true, &[false, false, false], Some("c-2"))]
    #[case::in_parallel_none_waits(false, &[false, false, false], None)]
    fn an_unready_pod_blocks_an_ordered_end(#[case] ordered: bool, #[case] ready: &[bool], #[case] blocking: Option<&str>) {
        let pods = ready.iter().enumerate().map(|(ordinal, ready)| Pod { ready: *ready, ..pod(&format!("c-{ordinal}"), false) });
        let workload = with(ordered, pods.collect());
        assert_eq!(blocking_pod(&workload).map(|pod| pod.name.as_str()), blocking);
    }

    #[test]
    fn ordinals_are_numbers_not_text() {
        let unready = |name: &str| Pod { ready: false, ..pod(name, false) };
        let workload = with(true, vec![unready("c-9"), unready("c-10")]);
        assert_eq!(blocking_pod(&workload).unwrap().name, "c-10");
    }
}
