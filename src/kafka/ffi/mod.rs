//! The calls of librdkafka's admin API that rdkafka does not wrap: groups, their offsets, and what may be done with groups and
//! topics. The only `unsafe` of the crate is in this directory; here is what its files share.
//!
//! Each native object has one owning type, which frees it. Every call here blocks until the answer is there or its time is
//! over. librdkafka works on copies of what it is given, and throws away an answer whose queue is gone: so nothing of ours has
//! to outlive a call, also when a call of several steps (describing, and asking leaders) takes longer than was waited for.
#![allow(unsafe_code, reason = "librdkafka's C API; everything else of the crate stays safe Rust")]

mod groups;
mod handle;
mod offsets;
mod plain;
mod raw_error;
mod token;
mod topics;

pub(super) use groups::{describe_group, group_operations, lists_as_consumer_group};
pub(super) use handle::{Answers, Handle, Operations};
pub(super) use offsets::{Isolation, alter, list_committed, list_offsets};
pub(super) use raw_error::{Fault, INVALID_ARGUMENT, UNKNOWN, fault_of};
pub(super) use token::set_token;
pub(super) use topics::{Leaders, cluster_id, topic_leaders, topic_operations};
