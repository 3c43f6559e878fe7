//! PURE: what to do next, from what was asked, what is recorded, what was seen, and the time. No client, no clock, no async.

pub mod world;
