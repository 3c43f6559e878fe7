//! The dependencies of a pass.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    backoff::Backoff,
    error::Error,
    install::Install,
    refused::RefusedOrphans,
    requests::Requests,
    scheduler::{CommitsInFlight, Locks, Looks, Slots, Visits},
    unserved::Unserved,
};
use crate::{
    kafka::Connector,
    kubernetes::{Announcer, Claims, ConfigMaps, Receipts, Reports, Resets, ScaledObjects, Secrets, Targets, leader::Leadership},
    observability::{Liveness, Metrics},
};

/// The dependencies of a pass, shared by all passes.
pub struct Context {
    /// The `OffsetReset`s.
    pub resets: Resets,
    /// The reports of resets.
    pub reports: Reports,
    /// The receipts of resets, which outlive them.
    pub receipts: Receipts,
    /// The target workloads.
    pub targets: Targets,
    /// The Leases of held workloads.
    pub claims: Claims,
    /// KEDA's ScaledObjects of the targets.
    pub scaled_objects: ScaledObjects,
    /// The Secrets that the specs name.
    pub secrets: Secrets,
    /// The ConfigMaps that the specs name.
    pub config_maps: ConfigMaps,
    /// The OAuth token endpoints that specs may name, compared as exact addresses.
    pub token_endpoints: Vec<String>,
    /// Connects to Kafka clusters.
    pub kafka: Arc<dyn Connector>,
    /// Publishes Events.
    pub announcer: Announcer,
    /// The Prometheus metrics.
    pub metrics: Metrics,
    /// The watched namespaces; `None` stands for all namespaces of the cluster.
    pub scopes: Vec<Option<String>>,
    /// The waits after consecutive failures, per object.
    pub backoff: Backoff,
    /// The parsed specs.
    pub requests: Requests,
    /// Returns the current time.
    pub clock: fn() -> Timestamp,
    /// The slots for the passes that run at the same time.
    pub slots: Slots,
    /// The locks between passes.
    pub locks: Locks,
    /// The looks at finished resets.
    pub looks: Looks,
    /// The last pass over each reset.
    pub visits: Visits,
    /// The commits that may still land.
    pub commits_in_flight: CommitsInFlight,
    /// Whether the process still moves.
    pub liveness: Liveness,
    /// Whether this process leads.
    pub leadership: Leadership,
    /// Whether the install is in use, and whether it is being removed.
    pub install: Install,
    /// Since when the API server has not served OffsetResets.
    pub unserved: Unserved,
    /// The orphaned holds that cannot be ended.
    pub refused_orphans: RefusedOrphans,
}

impl Context {
    /// Whether this operator watches a namespace.
    pub(super) fn watches(&self, namespace: &str) -> bool {
        self.scopes.iter().any(|scope| scope.as_deref().is_none_or(|watched| watched == namespace))
    }

    /// Checked right before every write and every commit: without leadership, another operator may be at work.
    pub(super) fn require_leadership(&self) -> Result<(), Error> {
        if self.leadership.is_certain() { Ok(()) } else { Err(Error::NotLeading) }
    }
}
