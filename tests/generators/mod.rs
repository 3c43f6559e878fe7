//! Random specs and plans, and specs that break a rule. The offline tests, the tests on real parts and the fuzzer share them.

pub mod accepted;
pub mod any_plan;
pub mod any_spec;
pub mod random;
pub mod refusals;
