//! The port over librdkafka, in this process.

mod authorized_operations;
pub(super) mod batches;
pub(super) mod client;
mod commit;
mod describe_group;
mod list_offsets;
mod other_group_types;
mod parts;
mod properties;
pub(super) mod session;
