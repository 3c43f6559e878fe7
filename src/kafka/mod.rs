//! Kafka behind a port of a few methods in the operator's own types ([`GroupAdmin`]), and
//! librdkafka behind that.
//!
//! In the operator, librdkafka runs in a separate process for each connection ([`serve`]).
//!
//! Every call is bounded in time, and no call is abandoned half-way: librdkafka continues its work
//! when a future is dropped, so a call that has begun is awaited until it completes or its own time
//! limit passes.

mod auth;
mod broker_connection;
mod connection;
mod diagnostics;
mod ffi;
mod listed_groups;
mod native;
mod pool;
mod port;
mod remove_members;
mod subprocess;

pub use connection::{Authentication, ClientCredentials, Connection, Mechanism, Secret, Tls, pem};
pub use pool::Pool;
pub use port::{Allowance, Connector, GroupAdmin, TopicConfigs};
pub use subprocess::{limit_stacks, serve};
