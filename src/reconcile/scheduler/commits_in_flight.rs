//! Commits that are under way: nobody brings a workload back while one of them may still land.
//!
//! A pass awaits its own commit. But its `OffsetReset` may be gone meanwhile (the finalizer taken off by hand), and then somebody else
//! brings back what it held: whoever looks after Leases, or the last of those that shared the stop.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// For each workload, by its UID, how many commits are under way that rely on its being at zero. In this process only: a commit of
/// another one has no more time than that one's leader lease, see `docs/leader-election.md`.
#[derive(Default)]
pub struct Commits {
    under_way: Mutex<HashMap<String, usize>>,
}

/// A commit, until it is dropped.
pub(in crate::reconcile) struct UnderWay<'a> {
    commits: &'a Commits,
    workloads: Vec<String>,
}

impl Commits {
    /// A commit begins that relies on these workloads.
    pub(in crate::reconcile) fn begin(&self, workloads: Vec<String>) -> UnderWay<'_> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        for workload in &workloads {
            *under_way.entry(workload.clone()).or_default() += 1;
        }
        UnderWay { commits: self, workloads }
    }

    /// Whether a commit may still land that relies on this workload.
    pub(in crate::reconcile) fn rely_on(&self, workload: &str) -> bool {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).contains_key(workload)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut under_way = self.commits.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        for workload in &self.workloads {
            if let Some(count) = under_way.get_mut(workload) {
                *count -= 1;
                if *count == 0 {
                    under_way.remove(workload);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_relied_on_until_the_last_commit_has_ended() {
        let commits = Commits::default();
        let first = commits.begin(vec!["a".into(), "b".into()]);
        let second = commits.begin(vec!["a".into()]);
        drop(first);
        assert!(commits.rely_on("a") && !commits.rely_on("b"));
        drop(second);
        assert!(!commits.rely_on("a"));
    }
}
