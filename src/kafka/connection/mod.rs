//! How a cluster is reached, and who we are to it.

pub mod pem;
mod secret;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use secret::Secret;

use self::secret::revealed;

/// How a cluster is reached, with what the Secrets hold. Two resets with equal connections share one client; when a Secret is renewed,
/// the connection is another one, and so is its client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Connection {
    /// `host:port`, comma separated.
    pub bootstrap_servers: String,
    /// Over TLS; otherwise nothing is encrypted.
    pub tls: Option<Tls>,
    /// Who we are.
    pub authentication: Option<Authentication>,
    /// More properties, by their names in the resource.
    pub config: BTreeMap<String, String>,
}

impl Connection {
    /// Without TLS and without authentication.
    pub fn plain(bootstrap_servers: impl Into<String>) -> Self {
        Self { bootstrap_servers: bootstrap_servers.into(), ..Self::default() }
    }
}

/// Whose certificates are trusted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Tls {
    /// Those of the public authorities, as the machine has them.
    Public,
    /// Those of these authorities and no others, as PEM.
    Trusted(String),
}

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Authentication {
    /// The holder of a client certificate.
    Certificate {
        /// The certificate, and those between it and its authority, as PEM.
        certificate: String,
        /// Its key, as PEM.
        #[serde(with = "revealed")]
        key: Secret,
    },
    /// Whoever an OAuth token says, which is given for a client's id and secret.
    Token(ClientCredentials),
    /// A user with a password.
    Password {
        /// How the password is shown.
        mechanism: Mechanism,
        /// The user.
        username: String,
        /// The password.
        #[serde(with = "revealed")]
        password: Secret,
    },
}

/// How a password is shown to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mechanism {
    /// Proved, not sent.
    ScramSha256,
    /// Proved, not sent.
    ScramSha512,
    /// Sent as it is.
    Plain,
}

impl Mechanism {
    /// Its name in SASL.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::Plain => "PLAIN",
        }
    }
}

/// Who asks for tokens, and where.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClientCredentials {
    /// The token endpoint, as `https://host[:port]/path`.
    pub endpoint: String,
    /// Whose certificates are trusted there.
    pub tls: Tls,
    /// The client.
    pub client_id: String,
    /// Its secret.
    #[serde(with = "revealed")]
    pub client_secret: Secret,
    /// What is asked for, if anything in particular.
    pub scope: Option<String>,
}
