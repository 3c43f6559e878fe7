//! How the operator authenticates on connections of its own: TLS, SCRAM, and OAuth tokens.

pub(super) mod oauth;
pub(super) mod scram;
pub(super) mod tls;
mod token_endpoint;
