//! Of several operators one works, and the others wait to take over: leader election by a Lease, on client-go's protocol.
//!
//! Leader election alone cannot promise that no two are ever at work: a process can be frozen at any instruction, for longer
//! than its lease lasts, and goes on as if no time had passed. What keeps the operator safe is that leading is only the first of
//! several locks, and that the others are held by those who own what is changed:
//!
//! 1. **The lease** ([`protocol`]). A holder that cannot renew stops at the renew deadline; others take over after the whole lease
//!    duration, which is longer. Each write of the lease is bound to the version that was read, so of two that want it one gets it.
//! 2. **Our own clock** ([`Leadership`]). Nothing is recorded and no effect is begun unless the lease was renewed less than the
//!    renew deadline ago, asked without any request right before each. An operator that wakes up after a long freeze finds
//!    that too much time has passed; it begins nothing, and its process ends. A commit has no more time than the lease has
//!    left: what waits in librdkafka for a coordinator or a connection when the freeze begins is not sent after it.
//! 3. **The versions** (resourceVersion). The status is written before each effect, over the version that was read, and so
//!    are records and scales. Whatever the next leader has written since makes the old one's write a conflict, and nothing follows.
//! 4. **The broker**. It refuses a commit beside members: consumers that are back cannot be moved by a late one. Before they are
//!    back, a late commit of the same reset is the same commit: the offsets were final and stored before the first one was sent.
//! 5. **The read-back**. A commit counts when the broker tells it, with the reset's own marker. One that landed, whoever sent
//!    it, is found there and not sent again; one that another has overwritten is seen, and sent again while consumers are stopped.
//!
//! What is left is a freeze that begins between the look at the clock and the sending, and outlasts the lease. A scale then meets
//! lock 3, a commit locks 4 and 5. `docs/leader-election.md` says what that leaves.

mod leadership;
pub mod protocol;

use std::{
    future::Future,
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio_util::sync::CancellationToken;

use self::protocol::{Candidacy, Sight, next_spec, released_spec, still_ours};
use super::errors::words;
use crate::api::FIELD_MANAGER;

pub use leadership::Leadership;
pub use protocol::{Lost, Terms};

/// An identity that no other process has, and that tells which pod it is.
#[must_use]
pub fn identity(instance: &str) -> String {
    format!("{instance}_{:016x}", random(instance))
}

/// Random enough to tell processes apart, and to keep retries apart.
fn random(seed: impl std::hash::Hash) -> u64 {
    RandomState::new().hash_one((seed, std::process::id()))
}

/// Somebody who wants to lead.
pub struct Candidate {
    leases: Api<Lease>,
    name: String,
    place: String,
    terms: Terms,
}

/// The lease while it is held.
pub struct Held {
    candidate: Candidate,
    /// As it was written last.
    lease: Lease,
    leadership: Leadership,
}

/// How a request ended, without what is to be tried again.
enum Written {
    Stands(Box<Lease>),
    /// Somebody else has written it meanwhile.
    Stale,
}

impl Candidate {
    /// For the Lease of this name.
    #[must_use]
    pub fn new(client: &Client, namespace: &str, name: &str, terms: Terms) -> Self {
        let leases = Api::namespaced(client.clone(), namespace);
        Self { leases, name: name.to_owned(), place: format!("{namespace}/{name}"), terms }
    }

    /// The Lease's namespace and name.
    #[must_use]
    pub fn lease(&self) -> String {
        self.place.clone()
    }

    /// Waits until the lease is held; `seen` is called whenever the API server has answered about it. `None` when it was told to
    /// stop before. No attempt is cut off by that: one that succeeded has to be released.
    pub async fn lead(self, leadership: Leadership, stop: &CancellationToken, seen: impl Fn()) -> Option<Held> {
        tracing::info!(lease = self.place, identity = self.terms.identity(), "wants to lead, and stands by until it does");
        let mut sight = Sight::default();
        let mut told = String::new();
        while !stop.is_cancelled() {
            // From before the request: others count from when they see the lease, which may be before we have the answer.
            let begin = Instant::now();
            match within(self.terms.renew_deadline(), self.attempt(&mut sight)).await {
                Ok(Attempt::Holds(lease)) => {
                    seen();
                    leadership.extend(begin + self.terms.renew_deadline());
                    let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or_default();
                    tracing::info!(lease = self.place, identity = self.terms.identity(), transitions, "leads from now on");
                    return Some(Held { candidate: self, lease: *lease, leadership });
                }
                Ok(Attempt::Waits(holder)) => {
                    seen();
                    if holder != told {
                        tracing::info!(lease = self.place, holder, "another instance leads");
                        told = holder;
                    }
                }
                Ok(Attempt::TooLate) => seen(),
                Err(trouble) => {
                    tracing::warn!(
                        lease = self.place,
                        trouble,
                        "the leader lease cannot be had; may the operator get, create and update leases in its own namespace?"
                    );
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(self.terms.pause(random(begin))) => {}
            }
        }
        None
    }

    async fn attempt(&self, sight: &mut Sight) -> Result<Attempt, kube::Error> {
        let lease = self.leases.get_opt(&self.name).await?;
        let spec = lease.as_ref().map(|lease| lease.spec.clone().unwrap_or_default());
        let written = match (sight.look(&self.terms, spec.as_ref(), Instant::now(), Timestamp::now()), lease) {
            (Candidacy::Wait { holder }, _) => return Ok(Attempt::Waits(holder)),
            (Candidacy::Create(spec) | Candidacy::Take(spec), None) => self.create(spec).await?,
            (Candidacy::Create(spec) | Candidacy::Take(spec), Some(lease)) => self.write(lease, spec).await?,
        };
        Ok(match written {
            Written::Stands(lease) => Attempt::Holds(lease),
            Written::Stale => Attempt::TooLate,
        })
    }

    async fn create(&self, spec: LeaseSpec) -> Result<Written, kube::Error> {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        written(self.leases.create(&params(), &Lease { metadata, spec: Some(spec) }).await)
    }

    /// Writes over the version that was read, and over nothing else.
    async fn write(&self, read: Lease, spec: LeaseSpec) -> Result<Written, kube::Error> {
        let next = Lease { spec: Some(spec), ..read };
        written(self.leases.replace(&self.name, &params(), &next).await)
    }
}

enum Attempt {
    Holds(Box<Lease>),
    Waits(String),
    /// Somebody was faster.
    TooLate,
}

fn params() -> PostParams {
    PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) }
}

fn written(result: Result<Lease, kube::Error>) -> Result<Written, kube::Error> {
    match result {
        Ok(lease) => Ok(Written::Stands(Box::new(lease))),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() || status.is_not_found() => {
            Ok(Written::Stale)
        }
        Err(error) => Err(error),
    }
}

/// The API server's answer, or in words why there is none.
async fn within<T>(limit: Duration, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    match tokio::time::timeout(limit, request).await {
        Ok(answer) => answer.map_err(|error| words(&error)),
        Err(_) => Err(format!("the API server did not answer within {} s", limit.as_secs_f64())),
    }
}

impl Held {
    /// Renews the lease until it is lost, and says why; from then on [`Leadership`] says so too. May be dropped at any time.
    pub async fn keep(&mut self) -> Lost {
        let lost = self.renew_until_lost().await;
        self.leadership.end();
        lost
    }

    async fn renew_until_lost(&mut self) -> Lost {
        const NO_TROUBLE: &str = "none, this process did not get to run";
        let deadline = self.candidate.terms.renew_deadline();
        let mut trouble = NO_TROUBLE.to_owned();
        loop {
            let left = self.leadership.left();
            tokio::time::sleep(self.candidate.terms.retry_period().min(left)).await;
            let left = self.leadership.left();
            if left.is_zero() {
                return Lost::Silence { after: deadline, trouble };
            }
            let begin = Instant::now();
            match tokio::time::timeout(left, self.write(next_spec)).await {
                Ok(Ok(Ok(()))) => {
                    // An answer that comes when the time is over does not extend it any more.
                    self.leadership.extend(begin + deadline);
                    NO_TROUBLE.clone_into(&mut trouble);
                }
                Ok(Ok(Err(lost))) => return lost,
                Ok(Err(error)) => {
                    trouble = words(&error);
                    tracing::warn!(lease = self.candidate.place, trouble, "the leader lease could not be renewed; trying again");
                }
                Err(_) => trouble = format!("the API server did not answer within {:.1} s", left.as_secs_f64()),
            }
        }
    }

    /// Writes over the version that we wrote last; a look only where it has changed since. The inner error says that it is lost.
    async fn write(
        &mut self,
        next: impl Fn(&Terms, Option<&LeaseSpec>, Timestamp) -> LeaseSpec,
    ) -> Result<Result<(), Lost>, kube::Error> {
        loop {
            let spec = next(&self.candidate.terms, self.lease.spec.as_ref(), Timestamp::now());
            if let Written::Stands(lease) = self.candidate.write(self.lease.clone(), spec).await? {
                self.lease = *lease;
                return Ok(Ok(()));
            }
            let found = self.candidate.leases.get_opt(&self.candidate.name).await?;
            let spec = found.as_ref().map(|lease| lease.spec.clone().unwrap_or_default());
            if let Err(lost) = still_ours(&self.candidate.terms, spec.as_ref()) {
                return Ok(Err(lost));
            }
            // Ours still: the answer to an earlier write was lost, or somebody has put a label on it.
            if let Some(lease) = found {
                self.lease = lease;
            }
        }
    }

    /// Lets go, so that another need not wait for the lease to run out. Only after all work has ended.
    pub async fn release(mut self) {
        self.leadership.end();
        let limit = self.candidate.terms.retry_period();
        let place = self.candidate.place.clone();
        match within(limit, self.write(released_spec)).await {
            Ok(Ok(())) => tracing::info!(lease = place, "has let go of the leader lease"),
            Ok(Err(lost)) => tracing::info!(lease = place, %lost, "the leader lease had gone already"),
            Err(trouble) => {
                tracing::warn!(
                    lease = place,
                    trouble,
                    "the leader lease could not be released; another takes over when it runs out"
                );
            }
        }
    }
}
