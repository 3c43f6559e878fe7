//! How the operator proves who it is: OAuth tokens, SCRAM, and TLS.

pub(super) mod oauth;
pub(super) mod scram;
pub(super) mod tls;
