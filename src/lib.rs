//! The offset-reset operator moves the committed offsets of a Kafka consumer group while its consumers are stopped, and always
//! restores the consumers.
//!
//! One pass over one object is a series of steps: observe, decide, record the intent, act. The result is recorded before the next
//! effect, or at the end of the pass. The modules depend on each other in one direction:
//!
//! ```text
//! api  ◀─  machine  ◀─  kafka, kubernetes  ◀─  reconcile  ◀─  run
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`api`] | the resource: spec, status, conditions and reasons; `kubectl explain` shows its documentation |
//! | [`machine`] | PURE: decides what to do next, plans and clamps; [`machine::facts`] has the types for what the operator observes |
//! | [`kafka`] | a trait of a few methods, implemented with rdkafka in a separate process for each cluster; the only `unsafe` code is in one folder there |
//! | [`kubernetes`] | the objects, the targets through `scale`, Events, leader election |
//! | [`mod@reconcile`] | the passes, with all I/O around the machine, and their scheduler |
//! | [`observability`] | logs, metrics, health |
//! | [`cli`], [`run`] | command line and environment variables; wiring and ordered shutdown |
//!
//! Invariants:
//! 1. Offsets are committed only while no container of the targets runs and the broker reports the group as empty.
//! 2. Replicas are always restored to the count right before the first stop. A saved count is never overwritten with 0, and a
//!    count that another client has set meanwhile is left alone.
//! 3. The target offset of a partition is resolved once and stored, and is within the bounds right before the commit.
//! 4. No workload is stopped for a reset whose failure could be foreseen.
//! 5. A finished reset never acts again.
//! 6. Two resets never work on one group at the same time. Resets of different groups may share the stop of a workload: the
//!    first one stops it, and the last one restores it.
//! 7. The status never reports more than was read back from the broker.
//! 8. Deletion never waits for Kafka or for a target that is gone.

pub mod api;
#[cfg(feature = "operator")]
pub mod cli;
#[cfg(feature = "operator")]
pub mod kafka;
pub mod kubernetes;
pub mod machine;
#[cfg(feature = "operator")]
pub mod observability;
#[cfg(feature = "operator")]
pub mod reconcile;
#[cfg(feature = "operator")]
pub mod run;
