//! From what the spec names to a connection: the Secrets are read anew each time, so that what was renewed takes effect by itself.

use std::{collections::HashMap, sync::Arc};

use super::{
    binding::{self, Bound},
    secret_reader::Found,
};
use crate::reconcile::context::Context;
use crate::{
    api::{AuthenticationSpec, AuthenticationType, CertificateSource, OffsetResetStatus, Phase},
    kafka::{Authentication, ClientCredentials, Connection, GroupAdmin, Mechanism, Secret, Tls},
    kubernetes::Material,
    machine::{
        facts::{KafkaError, KafkaErrorKind},
        request::Request,
    },
};

/// The way to the request's cluster, which is the one of the plan once there is one.
///
/// # Errors
/// As [`connection`] has them, when no client can be made, and when another cluster is there now: a binding may name another one since,
/// and a plan is for one cluster alone.
pub(in crate::reconcile) async fn connect(
    context: &Context,
    request: &Request,
    status: Option<&OffsetResetStatus>,
) -> Result<Arc<dyn GroupAdmin>, KafkaError> {
    // On the heap: the futures of whoever waits for it are large enough.
    let admin = context.kafka.connect(&Box::pin(connection(context, request)).await?).await?;
    // While planning it is found out anew.
    let planned = status.filter(|status| !matches!(status.phase, None | Some(Phase::Pending | Phase::Planning)));
    if let Some(planned) = planned.and_then(|status| status.group.as_ref()?.cluster_id.as_deref()) {
        match admin.cluster_id().await? {
            Some(found) if found == planned => {}
            Some(found) => {
                let message =
                    format!("the plan is for the cluster {planned}, and spec.kafka leads to the cluster {found} by now");
                return Err(KafkaError::new(KafkaErrorKind::OtherCluster, message));
            }
            None => {
                let message = format!("no broker says whether this is the cluster {planned}, for which the plan is");
                return Err(KafkaError::new(KafkaErrorKind::Unreachable, message));
            }
        }
    }
    Ok(admin)
}

/// How the request's cluster is reached.
///
/// # Errors
/// When a Secret cannot be read, lacks what is named, or holds something else; the message names the field, the Secret and the key.
async fn connection(context: &Context, request: &Request) -> Result<Connection, KafkaError> {
    let mut secrets = Read { context, namespace: &request.namespace, known: HashMap::new() };
    let kafka = &request.kafka;
    let config = kafka.config.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect();
    if let Some(named) = &kafka.binding {
        let found = secrets.found("binding", &named.secret_name).await?;
        let Bound { bootstrap_servers, tls, authentication } = binding::read(&found)?;
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
    let bootstrap_servers = kafka.bootstrap_servers.clone().unwrap_or_default();
    Ok(Connection { bootstrap_servers, tls, authentication, config })
}

/// The Secrets of one pass, each read once.
struct Read<'a> {
    context: &'a Context,
    namespace: &'a str,
    known: HashMap<String, Material>,
}

impl Read<'_> {
    /// A Secret that a field of `spec.kafka` names.
    async fn found(&mut self, field: &str, name: &str) -> Result<Found<'_>, KafkaError> {
        let about = format!("Secret {}/{name}, which spec.kafka.{field} names,", self.namespace);
        let unavailable = |why: String| KafkaError::new(KafkaErrorKind::SecretUnavailable, format!("{about} {why}"));
        let material = match self.known.remove(name) {
            Some(material) => material,
            None => match self.context.secrets.read(self.namespace, name).await {
                Ok(Some(material)) => material,
                Ok(None) => return Err(unavailable("does not exist".into())),
                Err(why) => return Err(unavailable(format!("cannot be read: {why}"))),
            },
        };
        Ok(Found::new(about, self.known.entry(name.to_owned()).or_insert(material)))
    }

    async fn certificates(&mut self, field: &str, sources: &[CertificateSource]) -> Result<String, KafkaError> {
        let mut all = String::new();
        for source in sources {
            let found = self.found(field, &source.secret_name).await?;
            let keys = match (&source.certificate, &source.pattern) {
                (Some(key), _) => vec![key.clone()],
                (None, pattern) => {
                    let pattern = pattern.as_deref().unwrap_or("*");
                    let keys: Vec<String> = found.keys().filter(|key| matches(pattern, key)).map(str::to_owned).collect();
                    if keys.is_empty() {
                        return Err(found.lacks(&format!("that matches {pattern}")));
                    }
                    keys
                }
            };
            for key in keys {
                all.push_str(found.certificates(&key)?.trim_end());
                all.push('\n');
            }
        }
        Ok(all)
    }

    /// What is shown to a token endpoint; nothing is read before it is certain that this one may be asked.
    async fn client_credentials(&mut self, spec: &AuthenticationSpec) -> Result<ClientCredentials, KafkaError> {
        let endpoint = spec.token_endpoint_uri.clone().ok_or_else(|| missing("authentication.tokenEndpointUri"))?;
        if !self.context.token_endpoints.contains(&endpoint) {
            let message = format!(
                "this operator may not ask the token endpoint {endpoint}, which spec.kafka.authentication.tokenEndpointUri names. Whoever \
                 runs it allows that by adding exactly this address to its --oauth-token-endpoints (OFFSET_RESET_OAUTH_TOKEN_ENDPOINTS), \
                 which is empty unless somebody has set it"
            );
            return Err(KafkaError::new(KafkaErrorKind::NotAllowed, message));
        }
        let client_id = spec.client_id.clone().ok_or_else(|| missing("authentication.clientId"))?;
        let field = "authentication.clientSecret";
        let named = spec.client_secret.as_ref().ok_or_else(|| missing(field))?;
        let client_secret = Secret::new(self.found(field, &named.secret_name).await?.text(&named.key)?);
        let tls = match spec.tls_trusted_certificates.as_deref() {
            None | Some([]) => Tls::Public,
            Some(sources) => Tls::Trusted(self.certificates("authentication.tlsTrustedCertificates", sources).await?),
        };
        Ok(ClientCredentials { endpoint, tls, client_id, client_secret, scope: spec.scope.clone() })
    }

    async fn authentication(&mut self, spec: &AuthenticationSpec) -> Result<Authentication, KafkaError> {
        let mechanism = match spec.kind {
            AuthenticationType::Tls => {
                let field = "authentication.certificateAndKey";
                let named = spec.certificate_and_key.as_ref().ok_or_else(|| missing(field))?;
                let found = self.found(field, &named.secret_name).await?;
                let (certificate, key) = found.pair(&named.certificate, &named.key)?;
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
        let password = Secret::new(self.found(field, &named.secret_name).await?.text(&named.password)?);
        Ok(Authentication::Password { mechanism, username, password })
    }
}

/// What the schema does not let through.
fn missing(field: &str) -> KafkaError {
    KafkaError::new(KafkaErrorKind::SecretInvalid, format!("spec.kafka needs {field}"))
}

/// Whether a key matches a pattern with * and ?.
fn matches(pattern: &str, key: &str) -> bool {
    let (pattern, key) = (pattern.as_bytes(), key.as_bytes());
    // Where the last * stood, and what it stands for so far: without going deeper, so that no pattern takes long.
    let (mut at, mut of, mut star) = (0, 0, None);
    while of < key.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == key[of] => (at, of) = (at + 1, of + 1),
            Some(_) | None => match star {
                Some((stood, upto)) => {
                    star = Some((stood, upto + 1));
                    (at, of) = (stood + 1, upto + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
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
        assert_eq!(matches(pattern, key), expected);
    }
}
