//! How the Kafka cluster is reached: in the shape of Strimzi's clients, so that what a KafkaUser and a cluster CA produce plugs in as it is.
//!
//! Only names of Secrets stand here; what is in them is read when it is needed, and never stored.

#![allow(clippy::duplicated_attributes, reason = "an attribute of KubeSchema may stand several times, once for each rule")]

use std::{collections::BTreeMap, fmt};

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The name of an object: it becomes part of an address, where anything else could lead elsewhere.
const NAME: &str = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";

/// How the Kafka cluster is reached. The Secrets that are named here are read in the namespace of the OffsetReset, each time when they are
/// needed, so that what was renewed takes effect by itself.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.bootstrapServers) != has(self.binding)").message("kafka needs either bootstrapServers (with tls and authentication, as the cluster wants them) or binding (a Secret that holds the whole connection)"),
    validation = Rule::new("!has(self.binding) || (!has(self.tls) && !has(self.authentication))").message("kafka.binding is a whole connection: leave out tls and authentication, the Secret says how the cluster is reached"),
    validation = Rule::new("!has(self.authentication) || self.authentication.type != 'tls' || has(self.tls)").message("authentication of type tls is a client certificate, which is shown in TLS: write tls too, such as tls: {trustedCertificates: [{secretName: my-cluster-cluster-ca-cert, certificate: ca.crt}]}")
)]
pub struct KafkaSpec {
    /// The brokers to ask first, as host:port, comma separated; as in the consumers' own configuration. Required unless binding is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.matches('^[^,:/ ]+:[0-9]{1,5}(,[^,:/ ]+:[0-9]{1,5})*$') || self.matches('^[[][0-9a-fA-F:.]+[]]:[0-9]{1,5}$')").message("bootstrapServers must be host:port, several separated by commas without spaces, such as kafka-bootstrap.kafka:9092"))]
    pub bootstrap_servers: Option<String>,

    /// Reach the brokers over TLS, and check that their certificates are theirs: by issuer, name and time. Without this, nothing is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,

    /// Who the operator is to the brokers: best the user of the consumers themselves. Without this, nobody in particular.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Box<AuthenticationSpec>>,

    /// Instead of bootstrapServers, tls and authentication: a Secret that holds the whole connection, after the Service Binding
    /// specification, as Strimzi's access operator writes it: type (kafka), bootstrapServers, securityProtocol, and as that wants it
    /// saslMechanism, username and password, ssl.truststore.crt, ssl.keystore.crt and ssl.keystore.key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<BindingSpec>,

    /// More properties of the client, from this list: client.id, client.dns.lookup, broker.address.family, broker.address.ttl,
    /// request.timeout.ms, socket.connection.setup.timeout.ms, socket.keepalive.enable, socket.nagle.disable, reconnect.backoff.ms,
    /// reconnect.backoff.max.ms, retry.backoff.ms, retry.backoff.max.ms, connections.max.idle.ms, api.version.request.timeout.ms.
    /// No other: none that names a file, a library, a command or an endpoint on the operator's side, or changes how it commits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    #[x_kube(
        validation = Rule::new("self.all(k, !k.startsWith('ssl.') && !k.startsWith('sasl.') && k != 'security.protocol' && !k.startsWith('enable.ssl') && !k.startsWith('oauthbearer'))").message("config cannot set TLS and SASL: kafka.tls and kafka.authentication do, from Secrets, and no property may name a file, a command or an endpoint on the operator's side"),
        validation = Rule::new("self.all(k, !(k in ['bootstrap.servers', 'metadata.broker.list']))").message("config cannot name brokers: bootstrapServers or binding does"),
        validation = Rule::new("self.all(k, k.startsWith('ssl.') || k.startsWith('sasl.') || k in ['security.protocol', 'bootstrap.servers', 'metadata.broker.list', 'client.id', 'client.dns.lookup', 'broker.address.family', 'broker.address.ttl', 'request.timeout.ms', 'socket.connection.setup.timeout.ms', 'socket.keepalive.enable', 'socket.nagle.disable', 'reconnect.backoff.ms', 'reconnect.backoff.max.ms', 'retry.backoff.ms', 'retry.backoff.max.ms', 'connections.max.idle.ms', 'api.version.request.timeout.ms'])").message("config has a property that is not on the list: client.id, client.dns.lookup, broker.address.family, broker.address.ttl, request.timeout.ms, socket.connection.setup.timeout.ms, socket.keepalive.enable, socket.nagle.disable, reconnect.backoff.ms, reconnect.backoff.max.ms, retry.backoff.ms, retry.backoff.max.ms, connections.max.idle.ms, api.version.request.timeout.ms. Others are the operator's own: they would change how it commits, or what it reads on its own side"),
        validation = Rule::new("self.all(k, !(k in ['broker.address.ttl', 'request.timeout.ms', 'socket.connection.setup.timeout.ms', 'reconnect.backoff.ms', 'reconnect.backoff.max.ms', 'retry.backoff.ms', 'retry.backoff.max.ms', 'connections.max.idle.ms', 'api.version.request.timeout.ms']) || self[k].matches('^(0|[1-9][0-9]{0,5})$'))").message("config has a time that is no number of milliseconds from \"0\" to \"999999\""),
        validation = Rule::new("self.all(k, !(k in ['socket.keepalive.enable', 'socket.nagle.disable']) || self[k] in ['true', 'false'])").message("config: socket.keepalive.enable and socket.nagle.disable are \"true\" or \"false\""),
        validation = Rule::new("self.all(k, k != 'broker.address.family' || self[k] in ['any', 'v4', 'v6'])").message("config: broker.address.family is any, v4 or v6"),
        validation = Rule::new("self.all(k, k != 'client.dns.lookup' || self[k] in ['use_all_dns_ips', 'resolve_canonical_bootstrap_servers_only'])").message("config: client.dns.lookup is use_all_dns_ips or resolve_canonical_bootstrap_servers_only"),
        validation = Rule::new("self.all(k, k != 'client.id' || self[k].matches('^[-._a-zA-Z0-9]+$'))").message("config: client.id is made of letters, digits, '.', '_' and '-'")
    )]
    pub config: BTreeMap<String, ConfigValue>,
}

/// A value of a property: always in quotes.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct ConfigValue(#[schemars(length(max = 255))] pub String);

/// TLS towards the brokers.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TlsSpec {
    /// The authorities whose certificates are trusted, all of them and no others. When there are none: the public ones, as the operator's
    /// image has them.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub trusted_certificates: Vec<CertificateSource>,
}

/// Certificates in a Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.certificate) != has(self.pattern)").message("each entry of trustedCertificates needs either certificate (one key of the Secret, such as ca.crt) or pattern (several, such as \"*.crt\")"))]
pub struct CertificateSource {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub secret_name: String,

    /// The key in the Secret: ca.crt in the Secrets of Strimzi's cluster CA and of cert-manager. PEM; several certificates in one are fine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub certificate: Option<String>,

    /// Which keys in the Secret, as a pattern in which * stands for any characters and ? for one, such as "*.crt".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[-._a-zA-Z0-9*?]+$')").message("pattern matches keys of the Secret: letters, digits, '-', '_', '.', and * and ? as in \"*.crt\""))]
    pub pattern: Option<String>,
}

/// Who the operator is to the brokers.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.type != 'tls' || (has(self.certificateAndKey) && !has(self.username) && !has(self.passwordSecret) && !has(self.tokenEndpointUri) && !has(self.clientId) && !has(self.clientSecret) && !has(self.scope) && !has(self.tlsTrustedCertificates))").message("authentication of type tls needs certificateAndKey, and nothing else"),
    validation = Rule::new("!(self.type in ['scram-sha-256', 'scram-sha-512', 'plain']) || (has(self.username) && has(self.passwordSecret) && !has(self.certificateAndKey) && !has(self.tokenEndpointUri) && !has(self.clientId) && !has(self.clientSecret) && !has(self.scope) && !has(self.tlsTrustedCertificates))").message("authentication of type scram-sha-256, scram-sha-512 and plain needs username and passwordSecret, and nothing else"),
    validation = Rule::new("self.type != 'oauth' || (has(self.tokenEndpointUri) && has(self.clientId) && has(self.clientSecret) && !has(self.certificateAndKey) && !has(self.username) && !has(self.passwordSecret))").message("authentication of type oauth needs tokenEndpointUri, clientId and clientSecret, may have scope and tlsTrustedCertificates, and nothing else")
)]
pub struct AuthenticationSpec {
    /// tls: a client certificate. scram-sha-256, scram-sha-512, plain: a user and a password. oauth: a token that the token endpoint gives
    /// for the client's id and secret.
    #[serde(rename = "type")]
    pub kind: AuthenticationType,

    /// For type tls: the client certificate and its key, such as {secretName: my-user, certificate: user.crt, key: user.key}, or
    /// tls.crt and tls.key in the Secrets of cert-manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_and_key: Option<CertificateAndKey>,

    /// For type scram-sha-256, scram-sha-512 and plain: the user's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub username: Option<String>,

    /// For type scram-sha-256, scram-sha-512 and plain: where the password is, such as {secretName: my-user, password: password}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret: Option<PasswordSecret>,

    /// For type oauth: where tokens are given out, by the grant of client credentials. Must be on the list that whoever runs the operator
    /// has set (--oauth-token-endpoints), exactly as it stands there; by default there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.matches('^https://[^ @#?/]+(/[^ @#?]*)?$')").message("tokenEndpointUri must be an https:// address without user, query and fragment, such as https://idp.example.com/oauth2/token"))]
    pub token_endpoint_uri: Option<String>,

    /// For type oauth: the client's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub client_id: Option<String>,

    /// For type oauth: where the client's secret is, such as {secretName: my-client, key: secret}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretKey>,

    /// For type oauth: the scope to ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub scope: Option<String>,

    /// For type oauth: the authorities that are trusted for the token endpoint. When there are none: the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub tls_trusted_certificates: Option<Vec<CertificateSource>>,
}

/// How the operator says who it is.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuthenticationType {
    /// A client certificate.
    Tls,
    /// A user and a password, SCRAM with SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// A user and a password, SCRAM with SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
    /// A user and a password, sent as they are.
    Plain,
    /// A token, by the grant of client credentials.
    #[serde(rename = "oauth")]
    OAuth,
}

/// As in the resource.
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

/// A certificate with its key, in a Secret.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateAndKey {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub secret_name: String,
    /// The key in the Secret under which the certificate is, with those between it and the authority, as PEM.
    #[schemars(length(min = 1, max = 253))]
    pub certificate: String,
    /// The key in the Secret under which the private key is, as PEM, not encrypted.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A password in a Secret.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordSecret {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub secret_name: String,
    /// The key in the Secret under which the password is.
    #[schemars(length(min = 1, max = 253))]
    pub password: String,
}

/// A value in a Secret.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub secret_name: String,
    /// The key in the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A Secret that holds a whole connection.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BindingSpec {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub secret_name: String,
}
