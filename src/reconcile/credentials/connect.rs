//! Connects to the cluster of a spec. Each connection reads the Secrets again, so that renewed credentials take effect.

use std::{collections::HashMap, sync::Arc};

use wildmatch::WildMatch;

use super::{
    binding::{self, Binding},
    secret_reader::SecretReader,
};
use crate::reconcile::context::Context;
use crate::{
    api::{AuthenticationSpec, AuthenticationType, BootstrapServers, CertificateSource, CredentialsIn, OffsetResetStatus, Phase},
    kafka::{Authentication, ClientCredentials, Connection, GroupAdmin, Mechanism, Tls},
    kubernetes::SecretData,
    machine::{
        facts::{KafkaError, KafkaErrorKind},
        request::Request,
    },
};

/// Connects to the request's cluster. After planning, it must be the cluster of the plan: a binding may refer to another one
/// since, and a plan is valid for one cluster only.
///
/// # Errors
/// Those of [`connection`], when no client can be created, and when it is another cluster.
pub(in crate::reconcile) async fn connect(
    context: &Context,
    request: &Request,
    status: Option<&OffsetResetStatus>,
) -> Result<Arc<dyn GroupAdmin>, KafkaError> {
    // On the heap, because the futures that await this one are large already.
    let admin = context.kafka.connect(&Box::pin(connection(context, request)).await?).await?;
    if status.and_then(|status| status.phase).is_some_and(Phase::may_hold) {
        admin.prefer();
    }
    // Planning reads the cluster's id again.
    let planned = status.filter(|status| !matches!(status.phase, None | Some(Phase::Pending | Phase::Planning)));
    if let Some(planned) = planned.and_then(|status| status.group.as_ref()?.cluster_id.as_deref()) {
        match admin.cluster_id().await? {
            Some(found) if found == planned => {}
            Some(found) => {
                let message = format!("the plan is for the cluster {planned}, but spec.kafka leads to the cluster {found} now");
                return Err(KafkaError::new(KafkaErrorKind::OtherCluster, message));
            }
            None => {
                let message =
                    format!("no broker reports the cluster id, so it is unknown whether this is the plan's cluster {planned}");
                return Err(KafkaError::new(KafkaErrorKind::Unreachable, message));
            }
        }
    }
    Ok(admin)
}

/// The connection settings for the request's cluster.
///
/// # Errors
/// When a Secret cannot be read, lacks a key or has an invalid value; the message names the field, the Secret and the key.
async fn connection(context: &Context, request: &Request) -> Result<Connection, KafkaError> {
    let mut secrets = SecretCache { context, namespace: &request.namespace, read: HashMap::new() };
    let kafka = &request.kafka;
    let config = kafka.config.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect();
    if let Some(named) = &kafka.binding {
        let secret = secrets.reader("binding", &named.secret_name).await?;
        let Binding { bootstrap_servers, tls, authentication } = binding::read(&secret)?;
        return Ok(Connection { bootstrap_servers, tls, authentication, config });
    }
    let tls = match &kafka.tls {
        None => None,
        Some(tls) if tls.trusted_certificates.is_empty() => Some(Tls::Public),
        Some(tls) => Some(Tls::Trusted(secrets.certificates("tls.trustedCertificates", &tls.trusted_certificates).await?)),
    };
    let authentication = match &kafka.authentication {
        None => None,
        Some(authentication) => Some(secrets.authentication(authentication).await?),
    };
    let bootstrap_servers = kafka.bootstrap_servers.as_deref().map(BootstrapServers::from).unwrap_or_default();
    Ok(Connection { bootstrap_servers, tls, authentication, config })
}

/// The Secrets of one connection, each read once.
struct SecretCache<'a> {
    context: &'a Context,
    namespace: &'a str,
    read: HashMap<String, SecretData>,
}

impl SecretCache<'_> {
    /// A reader for the Secret that a field of `spec.kafka` names.
    async fn reader(&mut self, field: &str, name: &str) -> Result<SecretReader<'_>, KafkaError> {
        let about = format!("Secret {}/{name}, which spec.kafka.{field} names,", self.namespace);
        let unavailable = |why: String| KafkaError::new(KafkaErrorKind::SecretUnavailable, format!("{about} {why}"));
        let data = match self.read.remove(name) {
            Some(data) => data,
            None => match self.context.secrets.read(self.namespace, name).await {
                Ok(Some(data)) => data,
                Ok(None) => return Err(unavailable("does not exist".into())),
                Err(why) => return Err(unavailable(format!("cannot be read: {why}"))),
            },
        };
        Ok(SecretReader::new(about, self.read.entry(name.to_owned()).or_insert(data)))
    }

    async fn certificates(&mut self, field: &str, sources: &[CertificateSource]) -> Result<String, KafkaError> {
        let mut all = String::new();
        for source in sources {
            let secret = self.reader(field, &source.secret_name).await?;
            let keys = match (&source.certificate, &source.pattern) {
                (Some(key), _) => vec![key.clone()],
                (None, pattern) => {
                    let pattern = pattern.as_deref().unwrap_or("*");
                    let wanted = WildMatch::new(pattern);
                    let keys: Vec<String> = secret.keys().filter(|key| wanted.matches(key)).map(str::to_owned).collect();
                    if keys.is_empty() {
                        return Err(secret.missing_as(&format!("key that matches {pattern}")));
                    }
                    keys
                }
            };
            for key in keys {
                all.push_str(secret.certificates(&key)?.trim_end());
                all.push('\n');
            }
        }
        Ok(all)
    }

    /// The credentials for a token endpoint. No Secret is read before it is certain that the endpoint is allowed.
    async fn client_credentials(&mut self, spec: &AuthenticationSpec) -> Result<ClientCredentials, KafkaError> {
        let endpoint = spec.token_endpoint_uri.clone().ok_or_else(|| missing("authentication.tokenEndpointUri"))?;
        if !self.context.token_endpoints.contains(&endpoint) {
            let message = format!(
                "the operator does not allow the token endpoint {endpoint} of spec.kafka.authentication.tokenEndpointUri. To allow it, its \
                 administrator adds exactly this address to --oauth-token-endpoints (OFFSET_RESET_OAUTH_TOKEN_ENDPOINTS), \
                 which is empty by default"
            );
            return Err(KafkaError::new(KafkaErrorKind::NotAllowed, message));
        }
        let client_id = spec.client_id.clone().ok_or_else(|| missing("authentication.clientId"))?;
        let field = "authentication.clientSecret";
        let named = spec.client_secret.as_ref().ok_or_else(|| missing(field))?;
        let client_secret = self.reader(field, &named.secret_name).await?.password(&named.key)?;
        let tls = match spec.tls_trusted_certificates.as_deref() {
            None | Some([]) => Tls::Public,
            Some(sources) => Tls::Trusted(self.certificates("authentication.tlsTrustedCertificates", sources).await?),
        };
        let in_body = spec.credentials_in == Some(CredentialsIn::Body);
        let (scope, audience) = (spec.scope.clone(), spec.audience.clone());
        let extensions = spec.sasl_extensions.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect();
        let urlencode = spec.header_urlencode.unwrap_or(true);
        Ok(ClientCredentials { endpoint, tls, client_id, client_secret, scope, audience, urlencode, in_body, extensions })
    }

    async fn authentication(&mut self, spec: &AuthenticationSpec) -> Result<Authentication, KafkaError> {
        let mechanism = match spec.kind {
            AuthenticationType::Tls => {
                let field = "authentication.certificateAndKey";
                let named = spec.certificate_and_key.as_ref().ok_or_else(|| missing(field))?;
                let secret = self.reader(field, &named.secret_name).await?;
                let (certificate, key) = secret.pair(&named.certificate, &named.key)?;
                return Ok(Authentication::Certificate { certificate, key });
            }
            AuthenticationType::ScramSha256 => Mechanism::ScramSha256,
            AuthenticationType::ScramSha512 => Mechanism::ScramSha512,
            AuthenticationType::Plain => Mechanism::Plain,
            AuthenticationType::OAuth => return Ok(Authentication::Token(self.client_credentials(spec).await?)),
        };
        let field = "authentication.passwordSecret";
        let named = spec.password_secret.as_ref().ok_or_else(|| missing(field))?;
        let username = spec.username.clone().ok_or_else(|| missing("authentication.username"))?;
        let password = self.reader(field, &named.secret_name).await?.password(&named.password)?;
        Ok(Authentication::Password { mechanism, username, password })
    }
}

/// The error for a field that the CRD requires.
fn missing(field: &str) -> KafkaError {
    KafkaError::new(KafkaErrorKind::SecretInvalid, format!("spec.kafka needs {field}"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("*.crt", "ca.crt", true)]
    #[case("*.crt", "ca.key", false)]
    #[case("ca?.crt", "ca1.crt", true)]
    #[case("ca?.crt", "ca.crt", false)]
    #[case("*", "anything", true)]
    #[case("*a*b", "xaxbxb", true)]
    #[case("*a*b", "xbxa", false)]
    #[case("ca.crt", "ca-crt", false)]
    fn a_pattern_means_whole_keys(#[case] pattern: &str, #[case] key: &str, #[case] expected: bool) {
        assert_eq!(WildMatch::new(pattern).matches(key), expected);
    }
}
