//! Leader election by a Lease, on client-go's protocol: one operator works, and the others stand by to take over.
//!
//! Leader election alone cannot guarantee that only one works: a process can be frozen at any instruction for longer than its
//! lease lasts, and then continues as if no time had passed. The operator is safe because the lease is only the first of
//! several safeguards, and the systems that own the changed data hold the others:
//!
//! 1. **The lease** ([`protocol`]). A holder that cannot renew stops at the renew deadline; the others take over after the whole
//!    lease duration, which is longer. Each write is bound to the version that was read, so only one of two candidates gets it.
//! 2. **The process's own clock** ([`Leadership`]). Every write and every effect requires that the lease was renewed less than
//!    the renew deadline ago; the check needs no request, and comes right before each. An operator that continues after a long
//!    freeze finds that the time is over: it begins nothing, and its process exits. A commit gets only the remaining time of
//!    the lease, so librdkafka does not send a commit later that was waiting for a coordinator or a connection.
//! 3. **The versions** (resourceVersion). The status is written before each effect, over the version that was read, and so are
//!    reports and scales. After a write of the next leader, the old one's write is a conflict, and its pass ends.
//! 4. **The broker**. It refuses a commit while the group has members, so a late commit cannot move restored consumers. Before
//!    the restore, a late commit of the same reset is the same commit: the offsets were final and stored before the first one.
//! 5. **Verification**. A commit counts once the broker returns it, with the reset's own marker. A commit that landed, from
//!    whichever process, is found there and not sent again; one that was overwritten is noticed, and sent again while the
//!    consumers are stopped.
//!
//! One gap remains: a freeze that begins between the check of the clock and the sending, and outlasts the lease. A scale then
//! meets lock 3, a commit locks 4 and 5. `docs/leader-election.md` describes what can still happen.

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

use self::protocol::{Candidacy, Observation, next_spec, released_spec, still_ours};
use super::{
    errors::describe,
    write::{WriteOutcome, classify},
};
use crate::api::FIELD_MANAGER;

pub use leadership::Leadership;
pub use protocol::{Lost, Terms};

/// How long the release of the lease takes at most: the restore before a removal and this end within the pod's grace period.
const RELEASE_LIMIT: Duration = Duration::from_secs(10);

/// A unique identity for this process, which begins with its pod's name.
#[must_use]
pub fn identity(instance: &str) -> String {
    format!("{instance}_{:016x}", random(instance))
}

/// Random enough for unique identities and for jitter.
fn random(seed: impl std::hash::Hash) -> u64 {
    RandomState::new().hash_one((seed, std::process::id()))
}

/// An instance that does not hold the lease yet.
pub struct Candidate {
    leases: Api<Lease>,
    name: String,
    lease: String,
    terms: Terms,
}

/// The lease while this process holds it.
pub struct Held {
    candidate: Candidate,
    /// As this process wrote it last.
    lease: Lease,
    leadership: Leadership,
}

/// The result of a renewal or a release that the API server answered.
enum Renewal {
    Done,
    Lost(Lost),
    Refused(String),
}

impl Candidate {
    /// A candidate for the Lease of this name.
    #[must_use]
    pub fn new(client: &Client, namespace: &str, name: &str, terms: Terms) -> Self {
        let leases = Api::namespaced(client.clone(), namespace);
        Self { leases, name: name.to_owned(), lease: format!("{namespace}/{name}"), terms }
    }

    /// See [`Terms::turn`].
    #[must_use]
    pub fn turn(&self) -> Duration {
        self.terms.turn()
    }

    /// The namespace and the name of the Lease.
    #[must_use]
    pub fn lease(&self) -> String {
        self.lease.clone()
    }

    /// Waits until the lease is acquired, and calls `seen` whenever the API server has answered about it. `None` when `stop` was
    /// cancelled before. That does not cancel an attempt, because a successful one must be released. `turned` is called before
    /// each attempt, at least every [`Terms::turn`].
    pub async fn lead(
        self,
        leadership: Leadership,
        stop: &CancellationToken,
        seen: impl Fn(),
        turned: impl Fn(),
    ) -> Option<Held> {
        tracing::info!(lease = self.lease, identity = self.terms.identity(), "attempting to acquire leader lease");
        let mut observation = Observation::default();
        let mut logged = String::new();
        while !stop.is_cancelled() {
            turned();
            // From before the request: the others count from when they see the lease, which may be before the answer arrives.
            let begin = Instant::now();
            match within(self.terms.renew_deadline(), self.attempt(&mut observation)).await {
                Ok(Attempt::Holds(lease)) => {
                    seen();
                    leadership.extend(begin + self.terms.renew_deadline());
                    let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or_default();
                    tracing::info!(
                        lease = self.lease,
                        identity = self.terms.identity(),
                        transitions,
                        "successfully acquired leader lease"
                    );
                    return Some(Held { candidate: self, lease: *lease, leadership });
                }
                Ok(Attempt::Waits(holder)) => {
                    seen();
                    if holder != logged {
                        tracing::info!(lease = self.lease, holder, "new leader elected");
                        logged = holder;
                    }
                }
                Ok(Attempt::TooLate) => seen(),
                Ok(Attempt::Refused(trouble)) | Err(trouble) => {
                    tracing::warn!(
                        lease = self.lease,
                        error = trouble,
                        "error acquiring leader lease; check that the operator may get, create and update leases in that namespace"
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

    async fn attempt(&self, observation: &mut Observation) -> Result<Attempt, kube::Error> {
        let lease = self.leases.get_opt(&self.name).await?;
        let spec = lease.as_ref().map(|lease| lease.spec.clone().unwrap_or_default());
        let written = match (observation.next(&self.terms, spec.as_ref(), Instant::now(), Timestamp::now()), lease) {
            (Candidacy::Wait { holder }, _) => return Ok(Attempt::Waits(holder)),
            (Candidacy::Create(spec) | Candidacy::Take(spec), None) => self.create(spec).await?,
            (Candidacy::Create(spec) | Candidacy::Take(spec), Some(lease)) => self.write(lease, spec).await?,
        };
        Ok(match written {
            WriteOutcome::Done(lease) => Attempt::Holds(Box::new(lease)),
            WriteOutcome::Stale => Attempt::TooLate,
            WriteOutcome::NotAllowed(why) | WriteOutcome::Refused(why) => Attempt::Refused(why),
        })
    }

    async fn create(&self, spec: LeaseSpec) -> Result<WriteOutcome<Lease>, kube::Error> {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        classify(self.leases.create(&params(), &Lease { metadata, spec: Some(spec) }).await)
    }

    /// Writes over the version that was read.
    async fn write(&self, read: Lease, spec: LeaseSpec) -> Result<WriteOutcome<Lease>, kube::Error> {
        let next = Lease { spec: Some(spec), ..read };
        classify(self.leases.replace(&self.name, &params(), &next).await)
    }
}

enum Attempt {
    Holds(Box<Lease>),
    Waits(String),
    /// Another candidate was faster.
    TooLate,
    /// The API server refused the write; its message.
    Refused(String),
}

fn params() -> PostParams {
    PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) }
}

/// The API server's answer, or the reason why there is none.
async fn within<T>(limit: Duration, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    match tokio::time::timeout(limit, request).await {
        Ok(answer) => answer.map_err(|error| describe(&error)),
        Err(_) => Err(format!("the API server did not answer within {} s", limit.as_secs_f64())),
    }
}

impl Held {
    /// Renews the lease until it is lost, ends the [`Leadership`] and returns the cause. May be dropped at any time. `turned` is
    /// called before each renewal, at least every [`Terms::turn`].
    pub async fn keep(&mut self, turned: impl Fn()) -> Lost {
        let lost = self.renew_until_lost(turned).await;
        self.leadership.end();
        lost
    }

    async fn renew_until_lost(&mut self, turned: impl Fn()) -> Lost {
        const NO_TROUBLE: &str = "none, this process was not running";
        let deadline = self.candidate.terms.renew_deadline();
        let mut trouble = NO_TROUBLE.to_owned();
        loop {
            turned();
            let left = self.leadership.left();
            tokio::time::sleep(self.candidate.terms.retry_period().min(left)).await;
            let left = self.leadership.left();
            if left.is_zero() {
                return Lost::Silence { after: deadline, trouble };
            }
            let begin = Instant::now();
            match tokio::time::timeout(left, self.write(next_spec)).await {
                Ok(Ok(Renewal::Done)) => {
                    // An answer after the deadline does not extend it any more.
                    self.leadership.extend(begin + deadline);
                    NO_TROUBLE.clone_into(&mut trouble);
                }
                Ok(Ok(Renewal::Lost(lost))) => return lost,
                Ok(Ok(Renewal::Refused(why))) => trouble = self.renewal_failed(why),
                Ok(Err(error)) => trouble = self.renewal_failed(describe(&error)),
                Err(_) => trouble = format!("the API server did not answer within {:.1} s", left.as_secs_f64()),
            }
        }
    }

    fn renewal_failed(&self, why: String) -> String {
        tracing::warn!(lease = self.candidate.lease, error = why, "failed to renew leader lease; retrying");
        why
    }

    /// Writes over the version that this process wrote last, and reads the lease only where it has changed since.
    async fn write(&mut self, next: impl Fn(&Terms, Option<&LeaseSpec>, Timestamp) -> LeaseSpec) -> Result<Renewal, kube::Error> {
        loop {
            let spec = next(&self.candidate.terms, self.lease.spec.as_ref(), Timestamp::now());
            match self.candidate.write(self.lease.clone(), spec).await? {
                WriteOutcome::Done(lease) => {
                    self.lease = lease;
                    return Ok(Renewal::Done);
                }
                WriteOutcome::NotAllowed(why) | WriteOutcome::Refused(why) => return Ok(Renewal::Refused(why)),
                WriteOutcome::Stale => {}
            }
            let found = self.candidate.leases.get_opt(&self.candidate.name).await?;
            let spec = found.as_ref().map(|lease| lease.spec.clone().unwrap_or_default());
            if let Err(lost) = still_ours(&self.candidate.terms, spec.as_ref()) {
                return Ok(Renewal::Lost(lost));
            }
            // Still held: the answer to an earlier write was lost, or another client has changed its metadata.
            if let Some(lease) = found {
                self.lease = lease;
            }
        }
    }

    /// Releases the lease, so that another instance need not wait for it to expire. Only after all work has ended. A slow API server
    /// gets as long for it as for a renewal, but no longer than the pod may take to terminate: to give up sooner would cost the others
    /// the rest of the lease.
    pub async fn release(mut self) {
        self.leadership.end();
        let limit = self.candidate.terms.renew_deadline().min(RELEASE_LIMIT);
        let lease = self.candidate.lease.clone();
        match within(limit, self.write(released_spec)).await {
            Ok(Renewal::Done) => tracing::info!(lease, "released leader lease"),
            Ok(Renewal::Lost(lost)) => tracing::info!(lease, error = %lost, "leader lease was lost before its release"),
            Ok(Renewal::Refused(trouble)) | Err(trouble) => {
                tracing::warn!(
                    lease,
                    error = trouble,
                    "failed to release leader lease; another instance takes over when it expires"
                );
            }
        }
    }
}
