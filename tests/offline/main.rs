//! Tests that need no cluster and no broker: `cargo test` runs them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic: that is how it fails")]

mod brokers;
mod committed;
#[path = "../generators/mod.rs"]
#[allow(dead_code, reason = "the suites on real parts use the rest")]
mod generators;
mod input;
mod kafka_faults;
mod layout;
mod manifests;
mod pages;
mod plugin;
mod workflows;
