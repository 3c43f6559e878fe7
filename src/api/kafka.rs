//! How to connect to the Kafka cluster, in the shape of Strimzi's clients: what a KafkaUser and a
//! cluster CA produce fits as it is.
//!
//! The spec has only the names of Secrets. Their contents are read when they are needed, and never
//! stored.

#![allow(clippy::duplicated_attributes, reason = "KubeSchema takes an attribute several times, once for each rule")]

use std::{collections::BTreeMap, fmt};

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{rules, schema::own_description};

/// The name of an object. It becomes part of an address, where anything else could lead to another
/// object.
const NAME: &str = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";

/// How to connect to the Kafka cluster. The Secrets that are named here are in the OffsetReset's
/// namespace. They are read each time they are needed, so a renewed Secret takes effect by itself.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::BROKERS_OR_BINDING,
    validation = rules::BINDING_ALONE,
    validation = rules::CERTIFICATE_NEEDS_TLS
)]
pub struct KafkaSpec {
    /// The brokers to contact first, as host:port, separated by commas without spaces, as in the
    /// consumers' own configuration. Required unless binding is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = rules::BOOTSTRAP_SERVERS)]
    pub bootstrap_servers: Option<String>,

    /// Connect over TLS and verify each broker's certificate: CA, host name and validity period.
    /// Write tls: {} to trust the public CAs. Without tls the connection is plaintext.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,

    /// How the operator authenticates to the brokers, preferably as the consumers' own user.
    /// Without it the connection is unauthenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Box<AuthenticationSpec>>,

    /// Instead of bootstrapServers, tls and authentication: a Secret with the whole connection, as
    /// the Service Binding specification has it and Strimzi's access operator writes it: type
    /// (kafka), bootstrapServers, securityProtocol, and where that needs them saslMechanism,
    /// username and password, ssl.truststore.crt, ssl.keystore.crt and ssl.keystore.key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<BindingSpec>,

    /// More properties of the Kafka client (librdkafka), with their values in quotes. Allowed are:
    /// client.id, client.dns.lookup, broker.address.family, broker.address.ttl, request.timeout.ms,
    /// socket.connection.setup.timeout.ms, socket.keepalive.enable, socket.nagle.disable,
    /// reconnect.backoff.ms, reconnect.backoff.max.ms, retry.backoff.ms, retry.backoff.max.ms,
    /// connections.max.idle.ms and api.version.request.timeout.ms. Others are refused, because they
    /// name a file, a library, a command or an endpoint on the operator's side, or change how it
    /// commits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    #[x_kube(
        validation = rules::CONFIG_WITHOUT_SECURITY,
        validation = rules::CONFIG_WITHOUT_BROKERS,
        validation = rules::CONFIG_LISTED,
        validation = rules::CONFIG_TIMES,
        validation = rules::CONFIG_SWITCHES,
        validation = rules::CONFIG_FAMILY,
        validation = rules::CONFIG_LOOKUP,
        validation = rules::CONFIG_CLIENT_ID
    )]
    pub config: BTreeMap<String, ConfigValue>,
}

/// A value that is always a string, in quotes where it looks like a number, such as "20000".
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct ConfigValue(#[schemars(length(max = 255))] pub String);

/// TLS to the brokers.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TlsSpec {
    /// The CA certificates to trust: all of these, and no others. Without any, the public CAs of
    /// the operator's image are trusted.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub trusted_certificates: Vec<CertificateSource>,
}

/// CA certificates in one Secret: either under one key (certificate) or under several (pattern).
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::CERTIFICATE_OR_PATTERN)]
pub struct CertificateSource {
    /// The name of the Secret with the certificates, in this namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub secret_name: String,

    /// The key in the Secret whose value has the certificate as PEM, or several: ca.crt in the
    /// Secrets of cert-manager and of Strimzi's cluster CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub certificate: Option<String>,

    /// Instead of certificate: the keys in the Secret, as a pattern in which * stands for any
    /// characters and ? for one, such as "*.crt".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::KEY_PATTERN)]
    pub pattern: Option<String>,
}

/// How the operator authenticates to the brokers.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::TLS_AUTHENTICATION,
    validation = rules::PASSWORD_AUTHENTICATION,
    validation = rules::OAUTH_AUTHENTICATION
)]
pub struct AuthenticationSpec {
    /// tls is a client certificate. scram-sha-256, scram-sha-512 and plain are a user name and a
    /// password. oauth is a token that a token endpoint issues for the client's id and secret
    /// (OAUTHBEARER).
    #[serde(rename = "type")]
    pub kind: AuthenticationType,

    /// For type tls: the client certificate and its key, such as {secretName: my-user, certificate:
    /// user.crt, key: user.key}, or with tls.crt and tls.key for the Secrets of cert-manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_and_key: Option<CertificateAndKey>,

    /// For the types scram-sha-256, scram-sha-512 and plain: the name of the Kafka user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub username: Option<String>,

    /// For the types scram-sha-256, scram-sha-512 and plain: the Secret with the password, such as
    /// {secretName: my-user, password: password}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret: Option<PasswordSecret>,

    /// For type oauth: the https:// address that issues tokens by the client credentials grant. It
    /// must be on the list that the operator's administrator has set (--oauth-token-endpoints),
    /// exactly as it is there; by default that list is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = rules::TOKEN_ENDPOINT)]
    pub token_endpoint_uri: Option<String>,

    /// For type oauth: the id with which the client requests its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub client_id: Option<String>,

    /// For type oauth: the Secret with the client's secret, such as {secretName: my-client, key:
    /// secret}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretKey>,

    /// For type oauth: the scope to request, where the token endpoint needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub scope: Option<String>,

    /// For type oauth: the audience to request, where the token endpoint needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub audience: Option<String>,

    /// For type oauth: where the token endpoint reads the client's id and secret. Header (the
    /// default) is the Authorization header (client_secret_basic); Body is the request's form
    /// (client_secret_post).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = own_description)]
    pub credentials_in: Option<CredentialsIn>,

    /// For type oauth: whether id and secret are percent-encoded in the Authorization header, as
    /// sasl.oauthbearer.header.urlencode of Kafka's clients. True (the default) is what RFC 6749
    /// has; Kafka's own clients do not encode by default. It matters only for an id or a secret
    /// with characters other than letters, digits, '-', '.', '_' and '~'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_urlencode: Option<bool>,

    /// For type oauth: the SASL extensions that the brokers receive beside the token, such as
    /// {logicalCluster: lkc-1, identityPoolId: pool-1}.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    #[x_kube(validation = rules::SASL_EXTENSIONS)]
    pub sasl_extensions: BTreeMap<String, ConfigValue>,

    /// For type oauth: the CA certificates to trust for the token endpoint: all of these, and no
    /// others. Without any, the public CAs are trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub tls_trusted_certificates: Option<Vec<CertificateSource>>,
}

/// Where a token endpoint reads the client's id and secret.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum CredentialsIn {
    /// In the Authorization header.
    Header,
    /// In the form of the request's body.
    Body,
}

/// The type of authentication.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuthenticationType {
    /// A client certificate (mTLS).
    Tls,
    /// A user name and a password, by SCRAM with SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// A user name and a password, by SCRAM with SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
    /// A user name and a password, which the broker receives as they are.
    Plain,
    /// A token, by the client credentials grant of OAuth 2.0.
    #[serde(rename = "oauth")]
    OAuth,
}

/// The name as it stands in the spec.
impl fmt::Display for AuthenticationType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "tls",
            Self::ScramSha256 => "scram-sha-256",
            Self::ScramSha512 => "scram-sha-512",
            Self::Plain => "plain",
            Self::OAuth => "oauth",
        })
    }
}

/// A client certificate with its private key, in one Secret.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateAndKey {
    /// The name of the Secret with the client certificate, in this namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub secret_name: String,
    /// The key in the Secret whose value is the certificate as PEM, followed by the intermediate
    /// CAs' certificates.
    #[schemars(length(min = 1, max = 253))]
    pub certificate: String,
    /// The key in the Secret whose value is the private key as PEM, not encrypted.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A password in a Secret.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordSecret {
    /// The name of the Secret with the password, in this namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub secret_name: String,
    /// The key in the Secret whose value is the password.
    #[schemars(length(min = 1, max = 253))]
    pub password: String,
}

/// One value in a Secret.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// The name of the Secret with the client's secret, in this namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub secret_name: String,
    /// The key in the Secret whose value is the client's secret.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A Secret with the whole connection.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BindingSpec {
    /// The name of the Secret with the connection, in this namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub secret_name: String,
}
