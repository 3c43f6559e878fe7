//! All metrics: their names, types, labels and meanings. docs/metrics.md is generated from this list. The names are an interface:
//! alerts and dashboards are written against them.

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value that goes up and down.
    Gauge,
    /// A sum that only grows; its name ends with `_total`.
    Counter,
    /// Durations in buckets, with `_bucket`, `_sum` and `_count`.
    Histogram,
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name, without `_total`, `_bucket` and the like.
    pub name: &'static str,
    /// The type.
    pub kind: Kind,
    /// The labels.
    pub labels: &'static [&'static str],
    /// The meaning, in one sentence without its full stop.
    pub help: &'static str,
}

impl Entry {
    /// The name to query.
    #[must_use]
    pub fn queried(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.name),
            Kind::Gauge | Kind::Histogram => self.name.to_owned(),
        }
    }
}

macro_rules! catalog {
    ($($id:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(pub(super) const $id: Entry =
            Entry { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)+

        /// All metrics, in the order of the page.
        pub const ALL: &[Entry] = &[$($id),+];
    };
}

catalog! {
    BUILD_INFO: Gauge "offset_reset_build_info" ["version"] "1; the label has the version of the operator";
    LEADER: Gauge "offset_reset_leader" [] "1 when this instance leads, 0 when it is a standby";
    POLICY_ENFORCED: Gauge "offset_reset_policy_enforced" ["policy"]
        "1 when the API server enforces the admission policy, 0 when it does not; absent when that is unknown";
    RESETS: Gauge "offset_reset_resets" ["namespace", "phase"]
        "OffsetResets that have not finished, by phase; only the leader has this, for each namespace with an OffsetReset";
    UNDECODABLE: Gauge "offset_reset_undecodable_resets" ["namespace"]
        "OffsetResets that the operator cannot decode, and so neither runs nor writes a status for; only the leader has this, as offset_reset_resets";
    HELD_WORKLOADS: Gauge "offset_reset_held_workloads" ["namespace"]
        "Workloads that are held at zero, counted by their Leases; only the leader has this, for each namespace with an OffsetReset or a hold";
    HOLD_DEADLINE: Gauge "offset_reset_hold_deadline_timestamp_seconds" ["namespace"]
        "The earliest time at which a hold in the namespace must be over, in Unix time; absent when nothing is held";
    RESTORES_REFUSED: Gauge "offset_reset_restores_refused" ["namespace"]
        "Workloads still at zero because the API server refuses to restore their replicas, also those whose OffsetReset is gone; only the leader has this, as offset_reset_resets";
    UNWATCHED_HOLDS: Gauge "offset_reset_unwatched_holds" []
        "Workloads held at zero in namespaces that are no longer watched, or that may no longer be read";
    FINISHED: Counter "offset_reset_finished" ["phase", "reason"] "Finished OffsetResets by phase and reason, without dry runs";
    DRY_RUNS: Counter "offset_reset_dry_runs" ["result"] "Finished dry runs: planned, or refused for the reason in the status";
    PHASE_TRANSITIONS: Counter "offset_reset_phase_transitions" ["phase"] "Phases that OffsetResets have entered";
    PHASE_DURATION: Histogram "offset_reset_phase_duration_seconds" ["phase"]
        "How long OffsetResets were in a phase; a phase that began under another leader is not counted";
    DOWNTIME: Histogram "offset_reset_downtime_seconds" [] "Time from the first stop to the restore of the replicas";
    FIRST_COMMIT: Histogram "offset_reset_time_to_first_commit_seconds" []
        "Time from the restore of the replicas, or from the start of a canary, until the group was first seen to have committed past a target; resets without such a commit are not counted";
    PARTITIONS: Counter "offset_reset_partitions" ["outcome"] "Partitions of finished OffsetResets that have committed, by outcome; not_committed when the run ended before";
    REPLAYED: Counter "offset_reset_records_replayed" [] "Records that consumers process again because of finished OffsetResets: those of the partitions that were reset";
    SKIPPED: Counter "offset_reset_records_skipped" [] "Records that consumers never process because of finished OffsetResets: those of the partitions that were reset";
    SCALED_UP: Counter "offset_reset_scaled_up_by_others" ["manager"]
        "How often another client scaled a workload up while it was held at zero, by the kind of client";
    NOT_RESUMED: Counter "offset_reset_consumers_not_resumed" []
        "Finished OffsetResets whose consumers were not back at the end of resumeTimeout";
    ORPHANED: Counter "offset_reset_orphaned_holds" [] "Workloads that were restored because their OffsetReset, or the CRD, no longer existed";
    RECONCILE: Counter "offset_reset_reconcile" ["result"] "Reconciles by result";
    RECONCILE_DURATION: Histogram "offset_reset_reconcile_duration_seconds" [] "Duration of reconciles";
    KAFKA_REQUEST_DURATION: Histogram "offset_reset_kafka_request_duration_seconds" ["call"]
        "Duration of calls to Kafka, each of one or more requests";
    KAFKA_ERRORS: Counter "offset_reset_kafka_request_errors" ["call"] "Calls to Kafka that failed as a whole";
    KAFKA_CLIENTS: Gauge "offset_reset_kafka_clients" [] "Processes that run as Kafka clients, one for each connection in use";
    API_REQUEST_DURATION: Histogram "offset_reset_kubernetes_request_duration_seconds" ["method"]
        "Time until the API server began to answer, without watches";
    API_REQUESTS: Counter "offset_reset_kubernetes_requests" ["method", "code"]
        "Requests to the API server by the class of the answer's status code, or error without an answer";
    CPU: Counter "process_cpu_seconds" [] "CPU time of the operator's process, without its Kafka clients";
    MEMORY: Gauge "process_resident_memory_bytes" [] "Resident memory of the operator's process, without its Kafka clients";
    START: Gauge "process_start_time_seconds" [] "When the process started, in Unix time";
    OPEN_FILES: Gauge "process_open_fds" [] "Open file descriptors";
    MAX_FILES: Gauge "process_max_fds" [] "Maximum number of open file descriptors";
}

/// The page docs/metrics.md.
#[must_use]
pub fn metrics_page() -> String {
    let row = |entry: &Entry| {
        let labels: Vec<String> = entry.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = format!("{:?}", entry.kind).to_lowercase();
        format!("| `{}` | {kind} | {} | {} |", entry.queried(), labels.join(", "), entry.help)
    };
    let rows: Vec<String> = ALL.iter().map(row).collect();
    format!(
        "<!-- Generated by `offset-reset-operator metrics` from src/observability/metrics/catalog.rs. Do not edit. -->\n\n\
         # Metrics\n\n\
         Each pod serves these metrics on port 8080 at `/metrics`, in the OpenMetrics text format. The names are an interface: they \
         do not change within `v1alpha1`. No label has the name of an object except `namespace`, by which Alertmanager routes alerts. \
         Counters and histograms exist from the start with the value 0, so that `increase()` sees the first failure.\n\n\
         | name | type | labels | meaning |\n|---|---|---|---|\n{}\n",
        rows.join("\n")
    )
}
