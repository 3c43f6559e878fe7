//! Bad input, from people and from brokers: what cannot be is refused in words, and nothing that anybody sends stops the others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic: that is how it fails")]

#[path = "../common/mod.rs"]
mod common;

mod anything;
mod hostile;
mod killed;
mod limits;
mod rules;
mod undecodable;
