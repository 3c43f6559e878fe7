//! From what the spec names to a connection with credentials.

mod binding;
mod connect;
mod secret_reader;

pub(super) use connect::connect;
