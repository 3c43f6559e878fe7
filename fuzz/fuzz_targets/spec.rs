//! The parser and the planner, on whatever comes: the same that `tests/input/anything.rs` tries for a bounded time.
#![no_main]
#![allow(dead_code, reason = "the tests use the rest of it")]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/common"]
mod common {
    pub mod any_plan;
    pub mod any_spec;
    pub mod random;
    pub mod refusals;
}

fuzz_target!(|bytes: &[u8]| common::any_spec::from_bytes(bytes));
