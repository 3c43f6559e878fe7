//! The API of one watched namespace, or of all.

use kube::{Api, Client, Resource, core::DeserializeGuard};

use crate::api::OffsetReset;

/// An OffsetReset, or why it cannot be decoded.
pub(super) type Guarded = DeserializeGuard<OffsetReset>;

pub(super) fn api<K>(client: &Client, scope: Option<&str>) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}
