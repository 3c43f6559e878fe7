//! What every pass needs.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    backoff::Backoff,
    error::Error,
    scheduler::{Commits, Places, Turns},
};
use crate::{
    kafka::Connector,
    kubernetes::{Announcer, Autoscalers, Claims, Receipts, Reports, Resets, Secrets, Targets, leader::Leadership},
    observability::Metrics,
};

/// What every pass needs.
pub struct Context {
    /// The objects.
    pub resets: Resets,
    /// Their records.
    pub reports: Reports,
    /// What outlives them.
    pub receipts: Receipts,
    /// The workloads.
    pub targets: Targets,
    /// Who holds which of them at zero.
    pub claims: Claims,
    /// What scales them.
    pub autoscalers: Autoscalers,
    /// What the specs name to reach Kafka.
    pub secrets: Secrets,
    /// The token endpoints that may be asked, each by its exact address.
    pub token_endpoints: Vec<String>,
    /// Kafka clusters.
    pub kafka: Arc<dyn Connector>,
    /// Events.
    pub announcer: Announcer,
    /// Measurements.
    pub metrics: Metrics,
    /// The namespaces that are watched; all of them together where one is absent.
    pub scopes: Vec<Option<String>>,
    /// Consecutive failures, per object.
    pub backoff: Backoff,
    /// The time.
    pub clock: fn() -> Timestamp,
    /// Which passes are made at once.
    pub places: Places,
    /// One pass at a time where others must see what is recorded.
    pub turns: Turns,
    /// The commits that are under way.
    pub commits: Commits,
    /// Whether this operator is the one that works.
    pub leadership: Leadership,
}

impl Context {
    /// Asked right before everything that changes the world: what is begun while another leads would be done over its head.
    pub(super) fn leads(&self) -> Result<(), Error> {
        if self.leadership.is_certain() { Ok(()) } else { Err(Error::NotLeading) }
    }
}
