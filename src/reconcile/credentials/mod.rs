//! Connections to Kafka, with the credentials from the Secrets that a spec names.

mod binding;
mod connect;
mod secret_reader;

pub(super) use connect::connect;
