//! Metrics in Prometheus' format. Names of objects are never labels, except for namespaces.

mod catalog;
mod current;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc, time::Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
    },
    registry::{Metric, Registry},
};

pub use catalog::metrics_page;
pub use current::{CountClients, Current, ReadCurrent};

use self::{catalog::Entry, current::Sources};
use crate::api::{Phase, Reason, ReasonGroup, Totals};

/// Buckets from a pass that only reads, or one request, to one that waits for Kafka's time limits.
const PASS_SECONDS: [f64; 11] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

/// Buckets from consumers that leave at once to a long hold.
const PHASE_SECONDS: [f64; 15] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];

/// The results of reconciles, in controller-runtime's words.
const RESULTS: [&str; 3] = ["success", "conflict", "error"];

/// The methods of requests to the API server, and the classes of its answers.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
const CODES: [&str; 5] = ["2xx", "3xx", "4xx", "5xx", "error"];

/// Labels and their values.
type Labels<const N: usize> = [(&'static str, &'static str); N];

#[derive(Clone)]
struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

type Histograms<const N: usize> = Family<Labels<N>, Histogram, Buckets>;

/// The metrics of the operator. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    sources: Sources,
    /// When each unfinished reset entered its phase.
    since: Arc<Mutex<HashMap<String, (Phase, Timestamp)>>>,
    passes: Family<Labels<1>, Counter>,
    pass_seconds: Histogram,
    transitions: Family<Labels<1>, Counter>,
    phase_seconds: Histograms<1>,
    finished: Family<Labels<2>, Counter>,
    dry_runs: Family<Labels<1>, Counter>,
    downtime: Histogram,
    first_commit: Histogram,
    partitions: Family<Labels<1>, Counter>,
    replayed: Counter,
    skipped: Counter,
    scaled_up: Family<Labels<1>, Counter>,
    not_resumed: Counter,
    orphaned: Counter,
    kafka_seconds: Histograms<1>,
    kafka_errors: Family<Labels<1>, Counter>,
    api_seconds: Histograms<1>,
    api_requests: Family<Labels<2>, Counter>,
    leader: Gauge,
    unwatched: Gauge,
    policies: Family<Labels<1>, Gauge>,
}

fn counters<const N: usize>(series: impl IntoIterator<Item = Labels<N>>) -> Family<Labels<N>, Counter>
where
    Labels<N>: EncodeLabelSet,
{
    let family = Family::<Labels<N>, Counter>::default();
    for labels in series {
        drop(family.get_or_create(&labels));
    }
    family
}

fn histograms(buckets: &'static [f64], label: &'static str, values: impl IntoIterator<Item = &'static str>) -> Histograms<1> {
    let family = Histograms::new_with_constructor(Buckets(buckets));
    for value in values {
        drop(family.get_or_create(&[(label, value)]));
    }
    family
}

fn register(registry: &mut Registry, entry: &Entry, metric: impl Metric) {
    registry.register(entry.name, entry.help, metric);
}

/// The phases and reasons with which a reset can end.
fn ends() -> impl Iterator<Item = Labels<2>> {
    let reasons = Reason::ALL.iter().filter(|reason| reason.group() == ReasonGroup::Final);
    let failed = reasons.filter(|reason| !matches!(reason, Reason::Succeeded | Reason::DryRun | Reason::Cancelled));
    let others = [
        (Phase::Succeeded, Reason::Succeeded),
        (Phase::Succeeded, Reason::NothingToChange),
        (Phase::Succeeded, Reason::AlreadyApplied),
        (Phase::Cancelled, Reason::Cancelled),
    ];
    let all = failed.map(|reason| (Phase::Failed, *reason)).chain(others);
    all.map(|(phase, reason)| [("phase", phase.as_str()), ("reason", reason.as_str())])
}

impl Metrics {
    /// All metrics at zero.
    ///
    /// The labels' values are all known from the start, so that `increase()` sees the first failure. `kafka_calls` are the names
    /// of the calls to Kafka, `scalers` the kinds of clients that scale workloads.
    #[must_use]
    pub fn new(kafka_calls: &[&'static str], scalers: &[&'static str]) -> Self {
        let entered = || Phase::ALL.iter().map(|phase| phase.as_str());
        let one = |label: &'static str, values: &[&'static str]| {
            counters(values.iter().map(|value| [(label, *value)]).collect::<Vec<_>>())
        };
        let in_phases = Phase::ALL.iter().filter(|phase| !phase.is_terminal()).map(|phase| phase.as_str());
        let answers = METHODS.iter().flat_map(|method| CODES.iter().map(|code| [("method", *method), ("code", *code)]));
        let mut metrics = Self {
            registry: Arc::default(),
            sources: Sources::default(),
            since: Arc::default(),
            passes: one("result", &RESULTS),
            pass_seconds: Histogram::new(PASS_SECONDS),
            transitions: counters(entered().map(|phase| [("phase", phase)])),
            phase_seconds: histograms(&PHASE_SECONDS, "phase", in_phases),
            finished: counters(ends()),
            dry_runs: one("result", &["planned", "refused"]),
            downtime: Histogram::new(PHASE_SECONDS),
            first_commit: Histogram::new(PHASE_SECONDS),
            partitions: one("outcome", &["reset", "failed", "unconfirmed", "left_alone", "not_committed"]),
            replayed: Counter::default(),
            skipped: Counter::default(),
            scaled_up: one("manager", scalers),
            not_resumed: Counter::default(),
            orphaned: Counter::default(),
            kafka_seconds: histograms(&PASS_SECONDS, "call", kafka_calls.iter().copied()),
            kafka_errors: one("call", kafka_calls),
            api_seconds: histograms(&PASS_SECONDS, "method", METHODS),
            api_requests: counters(answers),
            leader: Gauge::default(),
            unwatched: Gauge::default(),
            policies: Family::default(),
        };
        metrics.registry = Arc::new(metrics.registry());
        metrics
    }

    fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        let build = Family::<Labels<1>, Gauge>::default();
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        register(&mut registry, &catalog::BUILD_INFO, build);
        register(&mut registry, &catalog::LEADER, self.leader.clone());
        register(&mut registry, &catalog::POLICY_ENFORCED, self.policies.clone());
        register(&mut registry, &catalog::UNWATCHED_HOLDS, self.unwatched.clone());
        register(&mut registry, &catalog::FINISHED, self.finished.clone());
        register(&mut registry, &catalog::DRY_RUNS, self.dry_runs.clone());
        register(&mut registry, &catalog::PHASE_TRANSITIONS, self.transitions.clone());
        register(&mut registry, &catalog::PHASE_DURATION, self.phase_seconds.clone());
        register(&mut registry, &catalog::DOWNTIME, self.downtime.clone());
        register(&mut registry, &catalog::FIRST_COMMIT, self.first_commit.clone());
        register(&mut registry, &catalog::PARTITIONS, self.partitions.clone());
        register(&mut registry, &catalog::REPLAYED, self.replayed.clone());
        register(&mut registry, &catalog::SKIPPED, self.skipped.clone());
        register(&mut registry, &catalog::SCALED_UP, self.scaled_up.clone());
        register(&mut registry, &catalog::NOT_RESUMED, self.not_resumed.clone());
        register(&mut registry, &catalog::ORPHANED, self.orphaned.clone());
        register(&mut registry, &catalog::RECONCILE, self.passes.clone());
        register(&mut registry, &catalog::RECONCILE_DURATION, self.pass_seconds.clone());
        register(&mut registry, &catalog::KAFKA_REQUEST_DURATION, self.kafka_seconds.clone());
        register(&mut registry, &catalog::KAFKA_ERRORS, self.kafka_errors.clone());
        register(&mut registry, &catalog::API_REQUEST_DURATION, self.api_seconds.clone());
        register(&mut registry, &catalog::API_REQUESTS, self.api_requests.clone());
        registry.register_collector(Box::new(self.sources.clone()));
        registry
    }

    /// Begins to measure a pass. It counts as an error when the guard is dropped without another result.
    #[must_use]
    pub fn reconcile_pass(&self) -> PassGuard {
        PassGuard { metrics: self.clone(), begin: Instant::now(), result: Mutex::new("error") }
    }

    /// Counts a reset, by its namespace and name, that has entered a phase at a time.
    pub fn entered(&self, reset: &str, phase: Phase, at: Timestamp) {
        self.transitions.get_or_create(&[("phase", phase.as_str())]).inc();
        let mut since = self.since.lock();
        let before = if phase.is_terminal() { since.remove(reset) } else { since.insert(reset.to_owned(), (phase, at)) };
        drop(since);
        if let Some((before, began)) = before {
            self.phase_seconds.get_or_create(&[("phase", before.as_str())]).observe(at.duration_since(began).as_secs_f64());
        }
    }

    /// Forgets when a reset that is gone entered its phase.
    pub fn forget(&self, reset: &str) {
        self.since.lock().remove(reset);
    }

    /// Counts a finished reset.
    pub fn finished(&self, phase: Phase, reason: Reason) {
        self.finished.get_or_create(&[("phase", phase.as_str()), ("reason", reason.as_str())]).inc();
    }

    /// Counts a finished dry run.
    pub fn dry_run(&self, planned: bool) {
        let result = if planned { "planned" } else { "refused" };
        self.dry_runs.get_or_create(&[("result", result)]).inc();
    }

    /// Counts what a finished reset has done: its partitions by outcome, and the records of those that were reset.
    pub fn effect(&self, totals: &Totals, replayed: i64, skipped: i64) {
        let rest = totals.partitions - totals.reset - totals.failed - totals.unconfirmed - totals.left_alone;
        let counts = [
            ("reset", totals.reset),
            ("failed", totals.failed),
            ("unconfirmed", totals.unconfirmed),
            ("left_alone", totals.left_alone),
            ("not_committed", rest),
        ];
        for (outcome, count) in counts {
            self.partitions.get_or_create(&[("outcome", outcome)]).inc_by(u64::try_from(count).unwrap_or_default());
        }
        self.replayed.inc_by(u64::try_from(replayed).unwrap_or_default());
        self.skipped.inc_by(u64::try_from(skipped).unwrap_or_default());
    }

    /// Records the seconds for which consumers were held.
    pub fn downtime(&self, seconds: f64) {
        self.downtime.observe(seconds);
    }

    /// Records the seconds from a restore to the first commit past a target.
    pub fn first_commit(&self, seconds: f64) {
        self.first_commit.observe(seconds);
    }

    /// Counts a workload that another client has scaled up while it was held at zero.
    pub fn scaled_up_by(&self, manager: &'static str) {
        self.scaled_up.get_or_create(&[("manager", manager)]).inc();
    }

    /// Counts a reset whose consumers were not back in time.
    pub fn not_resumed(&self) {
        self.not_resumed.inc();
    }

    /// Counts a workload that was restored because its reset no longer existed.
    pub fn orphan_restored(&self) {
        self.orphaned.inc();
    }

    /// Records a call to Kafka.
    pub fn kafka_call(&self, call: &'static str, begin: Instant, failed: bool) {
        self.kafka_seconds.get_or_create(&[("call", call)]).observe(begin.elapsed().as_secs_f64());
        if failed {
            self.kafka_errors.get_or_create(&[("call", call)]).inc();
        }
    }

    /// Records a request to the API server: its method, and the status code of the answer, if there was one. The time of a watch
    /// is not recorded.
    pub fn api_request(&self, method: &str, code: Option<u16>, begin: Instant, watch: bool) {
        let Some(method) = METHODS.into_iter().find(|known| *known == method) else { return };
        let class = match code {
            Some(200..=299) => "2xx",
            Some(300..=399) => "3xx",
            Some(400..=499) => "4xx",
            Some(500..=599) => "5xx",
            Some(_) | None => "error",
        };
        self.api_requests.get_or_create(&[("method", method), ("code", class)]).inc();
        if !watch {
            self.api_seconds.get_or_create(&[("method", method)]).observe(begin.elapsed().as_secs_f64());
        }
    }

    /// Sets whether this instance leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Sets how many workloads are held in namespaces that are no longer watched.
    pub fn unwatched_holds(&self, count: i64) {
        self.unwatched.set(count);
    }

    /// Sets what reads the OffsetResets and the holds; `None` while this instance watches none.
    pub fn watch(&self, read: Option<ReadCurrent>) {
        self.sources.watch(read);
    }

    /// Sets what counts the Kafka clients.
    pub fn count_clients(&self, count: CountClients) {
        self.sources.clients(count);
    }

    /// Sets whether the API server enforces a policy; `None` when that is unknown.
    pub fn policy(&self, policy: &'static str, enforced: Option<bool>) {
        let labels = [("policy", policy)];
        match enforced {
            Some(enforced) => {
                self.policies.get_or_create(&labels).set(i64::from(enforced));
            }
            None => {
                self.policies.remove(&labels);
            }
        }
    }

    /// All metrics in the text format.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut text, &self.registry);
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
        self.set("success");
    }

    /// The object had changed since it was read.
    pub fn conflict(&self) {
        self.set("conflict");
    }
}

impl Drop for PassGuard {
    fn drop(&mut self) {
        self.metrics.passes.get_or_create(&[("result", *self.result.lock())]).inc();
        self.metrics.pass_seconds.observe(self.begin.elapsed().as_secs_f64());
    }
}
