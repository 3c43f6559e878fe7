//! The offset-reset operator: moves the committed offsets of a Kafka consumer group while its consumers are stopped, and
//! brings them back, whatever happens.
//!
//! One pass over one object is: observe, decide, record the intent, act, record. The parts depend on each other in one direction:
//!
//! ```text
//! api  ◀─  machine  ◀─  kafka, kubernetes  ◀─  reconcile  ◀─  run
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`api`] | the resource: spec, status, conditions and reasons; its documentation is the user's manual |
//! | [`machine`] | PURE: what to do next, planning and clamping; [`machine::world`] is the vocabulary in which the world is described |
//! | [`kafka`] | a port of a few methods, and rdkafka behind it, in a process of its own for each cluster; the only `unsafe` is in one directory there |
//! | [`kubernetes`] | the objects, the targets through `scale`, events |
//! | [`mod@reconcile`] | the pass, with all the I/O around the machine |
//! | [`observability`] | logs, metrics, health |
//! | [`cli`], [`run`] | arguments read once; wiring and ordered shutdown |
//!
//! What always holds:
//! 1. Offsets are committed only while no container of the targets runs and the broker calls the group free.
//! 2. Replicas come back, to the count right before the first stop; never 0 over a saved count; another's count is left alone.
//! 3. A target is resolved once, stored, and lies in the bounds that held right before the commit.
//! 4. Nothing is stopped for a reset that could have been seen to fail.
//! 5. What is over is inert.
//! 6. Two resets never work on one group or one workload at a time.
//! 7. The status never claims more than was read back.
//! 8. Deletion never hangs because Kafka or a target is gone.

pub mod api;
pub mod cli;
pub mod kafka;
pub mod kubernetes;
pub mod machine;
pub mod observability;
pub mod reconcile;
pub mod run;
