//! The kubectl plugin, as a process, on a real API server, beside an operator with a real broker where a run is needed.

mod acts;
mod batches;
mod looks;
mod plans;
mod recording;
mod strimzi;
mod watches;
