//! Kafka behind a port of a few methods in our own words ([`GroupAdmin`]), and rdkafka behind that.
//!
//! In the operator, rdkafka runs in a process of its own for each connection ([`serve`]).
//!
//! Every call is bounded in time. No call is ever abandoned half-way: librdkafka's work does not stop when a
//! future is dropped, so a call that was begun is awaited to its end or its own time limit.

mod auth;
mod connection;
mod diagnostics;
mod ffi;
mod native;
mod pool;
mod port;
mod remove_members;
mod subprocess;

pub use connection::{Authentication, ClientCredentials, Connection, Mechanism, Secret, Tls, pem};
pub use pool::Pool;
pub use port::{Allowance, Connector, GroupAdmin};
pub use subprocess::serve;
