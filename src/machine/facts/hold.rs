//! Who holds a workload at zero, and from how many replicas: recorded beside the workload, so that it outlives the object that asked for it.
//!
//! Each held workload has one [`Hold`] (a Lease), made before the first stop and deleted after the restore. Every reset that needs the
//! workload at zero has a claim in it.

use jiff::Timestamp;

/// What is recorded about a workload that is held at zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The version of the report that was read.
    pub version: String,
    /// The workload's kind and name, for messages.
    pub workload: String,
    /// Its UID.
    pub uid: String,
    /// The replicas that it had right before it was first stopped, and gets back. Never 0.
    pub replicas: i32,
    /// When it was first stopped.
    pub since: Timestamp,
    /// How long it may be held at the latest.
    pub until: Timestamp,
    /// Who needs it at zero.
    pub claims: Vec<Claim>,
}

/// One reset's need of a workload at zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The reset's UID.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// What identifies what it was to do, see [`crate::machine::request::identity::key`].
    pub key: String,
}

impl Hold {
    /// Whether a reset has a claim.
    #[must_use]
    pub fn is_claimed_by(&self, uid: &str) -> bool {
        self.claims.iter().any(|claim| claim.uid == uid)
    }

    /// The names of those who have claims, but for one.
    #[must_use]
    pub fn others(&self, uid: &str) -> String {
        let names: Vec<&str> = self.claims.iter().filter(|claim| claim.uid != uid).map(|claim| claim.name.as_str()).collect();
        names.join(", ")
    }
}
