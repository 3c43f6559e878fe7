//! How a cluster is reached, and how the operator authenticates to it.

pub mod pem;
mod secret;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use secret::Secret;

use self::secret::revealed;
use crate::api::BootstrapServers;

/// How a cluster is reached, with the contents of the Secrets. Two resets with equal connections
/// share one client. A renewed Secret makes another connection, and so another client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Connection {
    /// The brokers to ask first.
    pub bootstrap_servers: BootstrapServers,
    /// The trusted certificates for TLS; without it the connection is plaintext.
    pub tls: Option<Tls>,
    /// How the operator authenticates; without it the connection is unauthenticated.
    pub authentication: Option<Authentication>,
    /// More properties, by their names in the resource.
    pub config: BTreeMap<String, String>,
}

impl Connection {
    /// A plaintext connection without authentication.
    pub fn plain(bootstrap_servers: impl Into<BootstrapServers>) -> Self {
        Self { bootstrap_servers: bootstrap_servers.into(), ..Self::default() }
    }
}

/// Which CAs are trusted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Tls {
    /// The public CAs, from the system's certificate store.
    Public,
    /// These CAs and no others, as PEM.
    Trusted(String),
}

/// How the operator authenticates to the brokers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Authentication {
    /// By a client certificate (mutual TLS).
    Certificate {
        /// The certificate and its intermediate certificates, as PEM.
        certificate: String,
        /// The certificate's private key, as PEM.
        #[serde(with = "revealed")]
        key: Secret,
    },
    /// By an OAuth token, which the token endpoint gives for a client's id and secret.
    Token(ClientCredentials),
    /// By a username and a password.
    Password {
        /// The SASL mechanism.
        mechanism: Mechanism,
        /// The username.
        username: String,
        /// The password.
        #[serde(with = "revealed")]
        password: Secret,
    },
}

/// A SASL mechanism for passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mechanism {
    /// The password is proved and not sent.
    ScramSha256,
    /// The password is proved and not sent.
    ScramSha512,
    /// The password itself is sent.
    Plain,
}

impl Mechanism {
    /// The mechanism's name in SASL.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::Plain => "PLAIN",
        }
    }
}

/// What OAuth's client credentials grant needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClientCredentials {
    /// The token endpoint, as `https://host[:port]/path`.
    pub endpoint: String,
    /// Which CAs are trusted for the token endpoint.
    pub tls: Tls,
    /// The client's id.
    pub client_id: String,
    /// The client's secret.
    #[serde(with = "revealed")]
    pub client_secret: Secret,
    /// The scope of the token, if the endpoint needs one.
    pub scope: Option<String>,
    /// The audience of the token, if the endpoint needs one.
    pub audience: Option<String>,
    /// Whether id and secret are percent-encoded in the header, as RFC 6749 has it.
    pub urlencode: bool,
    /// Whether id and secret are sent in the request's body instead of the header.
    pub in_body: bool,
    /// What the brokers receive beside the token (SASL extensions).
    pub extensions: BTreeMap<String, String>,
}
