//! Tests on a real API server and a real broker: a module for each suite. CONTRIBUTING.md says how to run one, and what each shows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::large_futures,
    reason = "a test may panic: that is how it fails"
)]

mod admission;
mod canaries;
mod charts;
mod connections;
mod connectors;
mod definition;
mod e2e;
mod ecosystem;
mod equivalence;
mod flood;
mod forecast;
mod gitops;
mod input;
mod installs;
mod kafka;
mod kafka_tool;
mod kills;
mod leader;
mod logs;
mod monitoring;
mod namespaced;
mod outages;
mod pages;
mod plugin;
mod process;
mod resets;
mod rights;
mod soak;
mod starved;
mod targets;
mod whole;
mod years;
