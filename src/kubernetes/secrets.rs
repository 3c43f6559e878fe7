//! Secrets, read by name when a pass needs them: never listed, never watched, never cached.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use zeroize::Zeroizing;

use super::{errors::describe, limit::limited};

/// Reads Secrets.
#[derive(Clone)]
pub struct Secrets {
    client: Client,
}

/// The data of a Secret, by key. The values are overwritten in memory when this is dropped.
pub struct SecretData(BTreeMap<String, Zeroizing<Vec<u8>>>);

impl SecretData {
    /// The keys, in alphabetical order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key).map(|value| value.as_slice())
    }
}

impl From<Secret> for SecretData {
    fn from(secret: Secret) -> Self {
        let data = secret.data.unwrap_or_default();
        Self(data.into_iter().map(|(key, value)| (key, Zeroizing::new(value.0))).collect())
    }
}

/// Shows the keys only.
impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Secrets {
    /// Reads through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The data of a Secret; `None` when it does not exist.
    ///
    /// # Errors
    /// When it cannot be read; the API server's message.
    pub async fn read(&self, namespace: &str, name: &str) -> Result<Option<SecretData>, String> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        match limited(secrets.get_opt(name)).await {
            Ok(secret) => Ok(secret.map(SecretData::from)),
            Err(error) => Err(describe(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    #[test]
    fn the_values_of_a_secret_are_not_shown() {
        let data = [("password".to_owned(), ByteString(b"planted".to_vec()))].into();
        let data = SecretData::from(Secret { data: Some(data), ..Secret::default() });
        assert_eq!(data.get("password"), Some(&b"planted"[..]));
        assert_eq!(format!("{data:?}"), r#"{"password"}"#);
    }
}
