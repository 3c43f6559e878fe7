//! Which resets hold a workload at zero, and from how many replicas: recorded beside the workload,
//! so that it outlives the OffsetReset.
//!
//! Each held workload has one [`Hold`] (a Lease), created before the first stop and deleted after
//! the restore. Every reset that needs the workload at zero has a claim in it.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::workload::Workload;
use crate::{
    api::{HoldStatus, TargetStatus, size_in_words},
    machine::time::later,
};

/// The record of a workload that is held at zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The resource version of the Lease that was read; empty when there is none yet.
    pub version: String,
    /// The workload's kind and name, for messages.
    pub workload: String,
    /// Its UID.
    pub uid: String,
    /// The replica count right before the first stop, which is restored. Never 0.
    pub replicas: i32,
    /// The replica count of a canary that may run, or has run since the first stop. The consumers have
    /// consumed since, and the workload at this count is still held.
    pub canary: Option<i32>,
    /// The state right before the first stop, of a connector, which is restored.
    pub state: Option<String>,
    /// When it was first stopped.
    pub since: Timestamp,
    /// Until when it may be held at the latest.
    pub until: Timestamp,
    /// The resets that need it at zero.
    pub claims: Vec<Claim>,
}

/// One reset's need of a workload at zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The reset's UID.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// The key of its spec, see [`crate::machine::request::identity::key`].
    pub key: String,
}

impl Hold {
    /// Whether a reset has a claim.
    #[must_use]
    pub fn is_claimed_by(&self, uid: &str) -> bool {
        self.claims.iter().any(|claim| claim.uid == uid)
    }

    /// What is restored, in words.
    #[must_use]
    pub fn size(&self) -> String {
        size_in_words(self.replicas, self.state.as_deref())
    }

    /// The names of the resets that have claims, except one.
    #[must_use]
    pub fn others(&self, uid: &str) -> String {
        let names: Vec<&str> = self.claims.iter().filter(|claim| claim.uid != uid).map(|claim| claim.name.as_str()).collect();
        names.join(", ")
    }
}

/// The only places that set what is restored.
impl TargetStatus {
    /// While a target is being stopped, the count in the Lease is the one to restore, whichever reset
    /// has written it.
    pub(in crate::machine) fn take_from(&mut self, hold: &Hold) {
        self.original_replicas = hold.replicas;
        self.original_state.clone_from(&hold.state);
    }

    /// What a workload was found with, while no reset holds it.
    pub(in crate::machine) fn found_as(&mut self, workload: &Workload) {
        self.original_replicas = workload.replicas;
        self.original_state.clone_from(&workload.state);
    }
}

/// A hold that begins now.
pub(in crate::machine) fn new_hold(now: Timestamp, hold_timeout: SignedDuration) -> HoldStatus {
    HoldStatus {
        start_time: MicroTime(now),
        deadline: MicroTime(later(now, hold_timeout)),
        containers_terminated_time: None,
        session_end_time: None,
        drain_deadline: None,
        group_empty_time: None,
        end_time: None,
        downtime: None,
        resume_deadline: None,
        watched_until: None,
    }
}
