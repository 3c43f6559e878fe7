//! Commits in flight: no pass restores a workload while a commit that relies on its stop may still land.
//!
//! A pass awaits its own commit. But its `OffsetReset` may be gone meanwhile (its finalizer removed by hand), and then another
//! pass restores the workload: the one over its Lease, or the one of the last reset that shared the stop.

use std::collections::HashMap;

use parking_lot::Mutex;

/// The number of commits in flight for each stopped workload, by its UID. In this process only: a commit of another process
/// gets only the remaining time of that process's leader lease, see `docs/leader-election.md`.
#[derive(Default)]
pub struct CommitsInFlight {
    by_workload: Mutex<HashMap<String, usize>>,
}

/// A commit in flight until this is dropped.
pub(in crate::reconcile) struct CommitGuard<'a> {
    commits: &'a CommitsInFlight,
    workloads: Vec<String>,
}

impl CommitsInFlight {
    /// Registers a commit that relies on the stop of these workloads.
    pub(in crate::reconcile) fn begin(&self, workloads: Vec<String>) -> CommitGuard<'_> {
        let mut by_workload = self.by_workload.lock();
        for workload in &workloads {
            *by_workload.entry(workload.clone()).or_default() += 1;
        }
        CommitGuard { commits: self, workloads }
    }

    /// Whether a commit in flight relies on the stop of this workload.
    pub(in crate::reconcile) fn any_for(&self, workload: &str) -> bool {
        self.by_workload.lock().contains_key(workload)
    }
}

impl Drop for CommitGuard<'_> {
    fn drop(&mut self) {
        let mut by_workload = self.commits.by_workload.lock();
        for workload in &self.workloads {
            if let Some(count) = by_workload.get_mut(workload) {
                *count -= 1;
                if *count == 0 {
                    by_workload.remove(workload);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_has_commits_in_flight_until_the_last_one_is_over() {
        let commits = CommitsInFlight::default();
        let first = commits.begin(vec!["a".into(), "b".into()]);
        let second = commits.begin(vec!["a".into()]);
        drop(first);
        assert!(commits.any_for("a") && !commits.any_for("b"));
        drop(second);
        assert!(!commits.any_for("a"));
    }
}
