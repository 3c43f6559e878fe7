//! The calls of librdkafka's admin API that rdkafka does not wrap: groups, their offsets, topics,
//! and which operations are allowed on them. The only `unsafe` of the crate is in this folder.
//!
//! Each native object has one owning type, which frees it. Each call blocks until its answer has
//! arrived or its time limit has passed. librdkafka works on copies of its arguments, and drops an
//! answer whose queue is gone. So no object of ours has to outlive a call, even when a call of
//! several steps (describing, asking leaders) goes on after its time limit.
#![allow(unsafe_code, reason = "librdkafka's C API; everything else of the crate stays safe Rust")]

mod configs;
mod groups;
mod handle;
mod offsets;
mod partial_chain;
mod plain;
mod raw_error;
mod token;
mod topics;

pub(super) use configs::{Properties, group_config, topic_configs};
pub(super) use groups::{describe_group, group_operations, lists_as_consumer_group};
pub(super) use handle::{Answers, Handle, Operations};
pub(super) use offsets::{Isolation, PartOutcome, alter, delete, list_committed, list_offsets};
pub(super) use partial_chain::trust_intermediates;
pub(super) use raw_error::{INVALID_ARGUMENT, RawError, UNKNOWN_TOPIC};
pub(super) use token::set_token;
pub(super) use topics::{Leaders, cluster_id, topic_access, topic_ids, topic_leaders};
