//! ConfigMaps of users, read by the name that a spec gives: never listed, watched or written.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

use super::{errors::describe, limit::limited};
use crate::api::ConfigMapKeyRef;

/// Reads ConfigMaps of users.
#[derive(Clone)]
pub struct ConfigMaps {
    client: Client,
}

impl ConfigMaps {
    /// Reads through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The text of a key.
    ///
    /// # Errors
    /// When it cannot be read, or there is none; the message names the ConfigMap and the key.
    pub async fn read(&self, namespace: &str, place: &ConfigMapKeyRef) -> Result<String, String> {
        let ConfigMapKeyRef { name, key } = place;
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let found = match limited(api.get_opt(name)).await {
            Ok(Some(found)) => found,
            Ok(None) => return Err(format!("ConfigMap {namespace}/{name} does not exist")),
            Err(error) => return Err(format!("ConfigMap {namespace}/{name}: {}", describe(&error))),
        };
        if let Some(text) = found.data.unwrap_or_default().remove(key) {
            return Ok(text);
        }
        let why = if found.binary_data.is_some_and(|data| data.contains_key(key)) {
            "has binary data, and not text in UTF-8, in its key"
        } else {
            "has no key"
        };
        Err(format!("ConfigMap {namespace}/{name} {why} {key}"))
    }
}
