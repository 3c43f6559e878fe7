//! Any bytes through the parser and the planner, as `tests/offline/input.rs` does for a bounded time.
#![no_main]
#![allow(dead_code, reason = "the tests use the rest of it")]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/generators/mod.rs"]
mod generators;

fuzz_target!(|bytes: &[u8]| generators::any_spec::from_bytes(bytes));
