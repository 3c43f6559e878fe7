//! Metrics in Prometheus' format. Names of objects are never labels.

use std::{sync::Arc, time::Instant};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::api::Phase;

/// Buckets from a pass that only reads to one that waits for Kafka's timeouts.
const PASS_SECONDS: [f64; 9] = [0.005, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0];

/// Buckets from consumers that leave at once to the default hold timeout.
const DOWNTIME_SECONDS: [f64; 9] = [2.0, 5.0, 10.0, 20.0, 45.0, 60.0, 120.0, 300.0, 600.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FinishedLabel {
    phase: &'static str,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PolicyLabel {
    policy: &'static str,
}

/// The metrics of the operator. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    passes: Family<ResultLabel, Counter>,
    pass_seconds: Histogram,
    transitions: Family<PhaseLabel, Counter>,
    finished: Family<FinishedLabel, Counter>,
    downtime: Histogram,
    committed: Counter,
    leader: Gauge,
    unwatched: Gauge,
    policies: Family<PolicyLabel, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("offset_reset");
        let metrics = Self {
            registry: Arc::default(),
            passes: Family::default(),
            pass_seconds: Histogram::new(PASS_SECONDS),
            transitions: Family::default(),
            finished: Family::default(),
            downtime: Histogram::new(DOWNTIME_SECONDS),
            committed: Counter::default(),
            leader: Gauge::default(),
            unwatched: Gauge::default(),
            policies: Family::default(),
        };
        registry.register("reconcile", "Reconciliations by result", metrics.passes.clone());
        registry.register("reconcile_duration_seconds", "Duration of reconciliations", metrics.pass_seconds.clone());
        registry.register("phase_transitions", "Phases that resets have entered", metrics.transitions.clone());
        registry.register("finished", "Finished resets by phase and reason", metrics.finished.clone());
        registry.register("downtime_seconds", "Time from the first stop to the restore", metrics.downtime.clone());
        registry.register("partitions_committed", "Partitions for which the broker accepted a commit", metrics.committed.clone());
        registry.register("leader", "1 when this instance leads, 0 when it is a standby", metrics.leader.clone());
        let unwatched = "Workloads held at zero in namespaces that are no longer watched, or that may no longer be read";
        registry.register("unwatched_holds", unwatched, metrics.unwatched.clone());
        let policies = "1 when the API server enforces the policy, 0 when it does not; absent when that is unknown";
        registry.register("policy_enforced", policies, metrics.policies.clone());
        *metrics.registry.lock() = registry;
        metrics
    }

    /// Begins to measure a pass. It counts as failed when the guard is dropped without another result.
    #[must_use]
    pub fn reconcile_pass(&self) -> PassGuard {
        PassGuard { metrics: self.clone(), begin: Instant::now(), result: Mutex::new("failed") }
    }

    /// Counts a reset that has entered a phase.
    pub fn entered(&self, phase: Phase) {
        self.transitions.get_or_create(&PhaseLabel { phase: phase.as_str() }).inc();
    }

    /// Counts a finished reset.
    pub fn finished(&self, phase: Phase, reason: &str) {
        self.finished.get_or_create(&FinishedLabel { phase: phase.as_str(), reason: reason.to_owned() }).inc();
    }

    /// Records the seconds for which consumers were held.
    pub fn downtime(&self, seconds: f64) {
        self.downtime.observe(seconds);
    }

    /// Counts partitions for which the broker accepted a commit.
    pub fn partitions_committed(&self, count: u64) {
        self.committed.inc_by(count);
    }

    /// Sets whether this instance leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Sets how many workloads are held in namespaces that are no longer watched.
    pub fn unwatched_holds(&self, count: i64) {
        self.unwatched.set(count);
    }

    /// Sets whether the API server enforces a policy; `None` when that is unknown.
    pub fn policy(&self, policy: &'static str, enforced: Option<bool>) {
        let label = PolicyLabel { policy };
        match enforced {
            Some(enforced) => {
                self.policies.get_or_create(&label).set(i64::from(enforced));
            }
            None => {
                self.policies.remove(&label);
            }
        }
    }

    /// All metrics in the text format.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut text, &self.registry.lock());
        text
    }
}

/// Measures one pass until it is dropped.
pub struct PassGuard {
    metrics: Metrics,
    begin: Instant,
    result: Mutex<&'static str>,
}

impl PassGuard {
    fn set(&self, result: &'static str) {
        *self.result.lock() = result;
    }

    /// The pass did what there was to do.
    pub fn completed(&self) {
        self.set("completed");
    }

    /// The object had changed since it was read.
    pub fn conflict(&self) {
        self.set("conflict");
    }
}

impl Drop for PassGuard {
    fn drop(&mut self) {
        self.metrics.passes.get_or_create(&ResultLabel { result: *self.result.lock() }).inc();
        self.metrics.pass_seconds.observe(self.begin.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_without_a_result_has_failed() {
        let metrics = Metrics::new();
        drop(metrics.reconcile_pass());
        metrics.reconcile_pass().completed();
        metrics.finished(Phase::Failed, "GroupNotFound");
        metrics.leads(true);
        metrics.policy("known", Some(true));
        metrics.policy("known", Some(false));
        metrics.policy("unknown", Some(true));
        metrics.policy("unknown", None);
        let text = metrics.encode();
        for line in [
            "offset_reset_reconcile_total{result=\"failed\"} 1",
            "offset_reset_reconcile_total{result=\"completed\"} 1",
            "offset_reset_finished_total{phase=\"Failed\",reason=\"GroupNotFound\"} 1",
            "offset_reset_reconcile_duration_seconds_count 2",
            "offset_reset_leader 1",
            "offset_reset_policy_enforced{policy=\"known\"} 0",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(!text.contains("policy=\"unknown\""), "{text}");
    }
}
