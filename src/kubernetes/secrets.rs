//! Secrets, read by name when they are needed: never listed, never watched, never kept.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use zeroize::Zeroizing;

use super::{errors::words, limit::limited};

/// Reads Secrets.
#[derive(Clone)]
pub struct Secrets {
    client: Client,
}

/// What a Secret holds, by key. Overwritten when it is dropped.
pub struct Material(BTreeMap<String, Zeroizing<Vec<u8>>>);

impl Material {
    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What is under a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key).map(|value| value.as_slice())
    }
}

impl From<Secret> for Material {
    fn from(secret: Secret) -> Self {
        let data = secret.data.unwrap_or_default();
        Self(data.into_iter().map(|(key, value)| (key, Zeroizing::new(value.0))).collect())
    }
}

/// The keys alone.
impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Secrets {
    /// With a client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// What a Secret holds; `None` when there is no such Secret.
    ///
    /// # Errors
    /// When it cannot be read; in words.
    pub async fn read(&self, namespace: &str, name: &str) -> Result<Option<Material>, String> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        match limited(secrets.get_opt(name)).await {
            Ok(secret) => Ok(secret.map(Material::from)),
            Err(error) => Err(words(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    #[test]
    fn what_a_secret_holds_is_not_shown() {
        let data = [("password".to_owned(), ByteString(b"planted".to_vec()))].into();
        let material = Material::from(Secret { data: Some(data), ..Secret::default() });
        assert_eq!(material.get("password"), Some(&b"planted"[..]));
        assert_eq!(format!("{material:?}"), r#"{"password"}"#);
    }
}
