//! From what the spec names to a connection: the Secrets are read anew each time, so that what was renewed takes effect by itself.

use std::{collections::HashMap, sync::Arc};

use super::Context;
use crate::{
    api::{AuthenticationSpec, AuthenticationType, CertificateSource},
    kafka::{
        Authentication, Connection, GroupAdmin, Mechanism, Secret, Tls,
        pem::{self, Flaw},
    },
    kubernetes::Material,
    machine::{
        request::Request,
        world::{KafkaError, KafkaErrorKind},
    },
};

/// The way to the request's cluster.
///
/// # Errors
/// As [`connection`] has them, and when no client can be made.
pub(super) async fn connect(context: &Context, request: &Request) -> Result<Arc<dyn GroupAdmin>, KafkaError> {
    // On the heap: the futures of whoever waits for it are large enough.
    context.kafka.connect(&Box::pin(connection(context, request)).await?).await
}

/// How the request's cluster is reached.
///
/// # Errors
/// When a Secret cannot be read, lacks what is named, or holds something else; the message names the field, the Secret and the key.
async fn connection(context: &Context, request: &Request) -> Result<Connection, KafkaError> {
    let mut secrets = Read { context, namespace: &request.namespace, known: HashMap::new() };
    let kafka = &request.kafka;
    let tls = match &kafka.tls {
        None => None,
        Some(tls) if tls.trusted_certificates.is_empty() => Some(Tls::Public),
        Some(tls) => Some(Tls::Trusted(secrets.certificates("tls.trustedCertificates", &tls.trusted_certificates).await?)),
    };
    let authentication = match &kafka.authentication {
        None => None,
        Some(authentication) => Some(secrets.authentication(authentication).await?),
    };
    let config = kafka.config.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect();
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
    async fn material(&mut self, field: &str, name: &str) -> Result<&Material, KafkaError> {
        if !self.known.contains_key(name) {
            let found = self.context.secrets.read(self.namespace, name).await;
            let about = self.about(field, name);
            let material = match found {
                Ok(Some(material)) => material,
                Ok(None) => return Err(KafkaError::new(KafkaErrorKind::SecretUnavailable, format!("{about} does not exist"))),
                Err(why) => {
                    return Err(KafkaError::new(KafkaErrorKind::SecretUnavailable, format!("{about} cannot be read: {why}")));
                }
            };
            self.known.insert(name.to_owned(), material);
        }
        self.known.get(name).ok_or_else(|| KafkaError::new(KafkaErrorKind::SecretUnavailable, "a Secret was lost"))
    }

    /// The text under a key.
    async fn text(&mut self, field: &str, name: &str, key: &str) -> Result<String, KafkaError> {
        let about = self.about(field, name);
        let material = self.material(field, name).await?;
        let Some(bytes) = material.get(key) else {
            let keys = material.keys().collect::<Vec<_>>().join(", ");
            let message = format!("{about} has no key {key}; it has: {keys}");
            return Err(KafkaError::new(KafkaErrorKind::SecretUnavailable, message));
        };
        match std::str::from_utf8(bytes) {
            Ok(text) if text.contains('\0') => Err(invalid(&about, key, "holds a NUL byte")),
            Ok("") => Err(invalid(&about, key, "is empty")),
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(invalid(&about, key, "is no text in UTF-8")),
        }
    }

    fn about(&self, field: &str, name: &str) -> String {
        format!("Secret {}/{name}, which spec.kafka.{field} names,", self.namespace)
    }

    async fn certificates(&mut self, field: &str, sources: &[CertificateSource]) -> Result<String, KafkaError> {
        let mut all = String::new();
        for source in sources {
            let name = &source.secret_name;
            let keys = match (&source.certificate, &source.pattern) {
                (Some(key), _) => vec![key.clone()],
                (None, pattern) => {
                    let pattern = pattern.as_deref().unwrap_or("*");
                    let material = self.material(field, name).await?;
                    let keys: Vec<String> = material.keys().filter(|key| matches(pattern, key)).map(str::to_owned).collect();
                    if keys.is_empty() {
                        let message = format!("no key of Secret {name}, which spec.kafka.{field} names, matches {pattern}");
                        return Err(KafkaError::new(KafkaErrorKind::SecretUnavailable, message));
                    }
                    keys
                }
            };
            for key in keys {
                let text = self.pem(field, name, &key, "CERTIFICATE").await?;
                if !pem::are_certificates(&text) {
                    return Err(invalid(&self.about(field, name), &key, "holds a certificate that cannot be read"));
                }
                all.push_str(text.trim_end());
                all.push('\n');
            }
        }
        Ok(all)
    }

    /// A PEM with a block of this kind. What else may be wrong with it is librdkafka's to say.
    async fn pem(&mut self, field: &str, name: &str, key: &str, kind: &str) -> Result<String, KafkaError> {
        let text = self.text(field, name, key).await?;
        let about = self.about(field, name);
        let begins = |line: &str| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&format!("{kind}-----"));
        if !text.lines().any(begins) {
            return Err(invalid(&about, key, &format!("is no PEM: it has no line -----BEGIN {kind}-----")));
        }
        if kind == "PRIVATE KEY" && text.contains("ENCRYPTED") {
            return Err(invalid(
                &about,
                key,
                "is an encrypted private key; store it unencrypted, as Strimzi and cert-manager do",
            ));
        }
        Ok(text)
    }

    async fn authentication(&mut self, spec: &AuthenticationSpec) -> Result<Authentication, KafkaError> {
        let mechanism = match spec.kind {
            AuthenticationType::Tls => {
                let field = "authentication.certificateAndKey";
                let named = spec.certificate_and_key.as_ref().ok_or_else(|| missing(field))?;
                let certificate = self.pem(field, &named.secret_name, &named.certificate, "CERTIFICATE").await?;
                let key = Secret::new(self.pem(field, &named.secret_name, &named.key, "PRIVATE KEY").await?);
                key.check_pair(&certificate).map_err(|flaw| {
                    let (key, problem) = match flaw {
                        Flaw::Certificate => (&named.certificate, "holds a certificate that cannot be read"),
                        Flaw::Key => (&named.key, "holds a private key that cannot be read"),
                        Flaw::Pair => (&named.key, "is the private key of another certificate"),
                    };
                    invalid(&self.about(field, &named.secret_name), key, problem)
                })?;
                return Ok(Authentication::Certificate { certificate, key });
            }
            AuthenticationType::ScramSha256 => Mechanism::ScramSha256,
            AuthenticationType::ScramSha512 => Mechanism::ScramSha512,
            AuthenticationType::Plain => Mechanism::Plain,
            AuthenticationType::OAuth => return Err(missing("authentication of another type than oauth")),
        };
        let field = "authentication.passwordSecret";
        let named = spec.password_secret.as_ref().ok_or_else(|| missing(field))?;
        let username = spec.username.clone().ok_or_else(|| missing("authentication.username"))?;
        let password = Secret::new(self.text(field, &named.secret_name, &named.password).await?);
        Ok(Authentication::Password { mechanism, username, password })
    }
}

fn invalid(about: &str, key: &str, problem: &str) -> KafkaError {
    KafkaError::new(KafkaErrorKind::SecretInvalid, format!("{about} is not as it should be: key {key} {problem}"))
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
