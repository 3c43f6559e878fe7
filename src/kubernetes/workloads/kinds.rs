//! The API resource of a target's API version and kind, by discovery: any kind with a `scale` subresource can be a target.

use std::{collections::HashMap, sync::Arc};

use kube::{
    Client, Error,
    core::GroupVersionKind,
    discovery::{ApiCapabilities, ApiResource, Scope, pinned_kind},
    error::DiscoveryError,
};
use parking_lot::Mutex;

use crate::kubernetes::limit::limited;
use crate::{api::TargetRef, machine::facts::Unscalable};

/// Looks kinds up. It caches only those that can be scaled, so that a CRD that is installed later counts.
#[derive(Clone)]
pub(in crate::kubernetes) struct Kinds {
    client: Client,
    known: Arc<Mutex<HashMap<(String, String), ApiResource>>>,
}

impl Kinds {
    pub fn new(client: Client) -> Self {
        Self { client, known: Arc::default() }
    }

    /// The API resource of a target's kind, or why it cannot be scaled.
    ///
    /// # Errors
    /// When discovery fails.
    pub async fn resolve(&self, target: &TargetRef) -> Result<Result<ApiResource, Unscalable>, Error> {
        let key = (target.api_version.clone(), target.kind.clone());
        if let Some(resource) = self.known.lock().get(&key) {
            return Ok(Ok(resource.clone()));
        }
        let resource = match self.discover(&target.api_version, &target.kind).await? {
            Some((resource, capabilities)) => match unscalable(&capabilities) {
                None => resource,
                Some(why) => return Ok(Err(why)),
            },
            None => return Ok(Err(Unscalable::Unknown { served: self.served(target).await? })),
        };
        self.known.lock().insert(key, resource.clone());
        Ok(Ok(resource))
    }

    /// The same, under another version of the API group where the target's own is not served any more: a workload that is
    /// held at zero must be restored through any version there is.
    ///
    /// # Errors
    /// When discovery fails.
    pub async fn resolve_under_any_version(&self, target: &TargetRef) -> Result<Result<ApiResource, Unscalable>, Error> {
        let found = self.resolve(target).await?;
        let Err(Unscalable::Unknown { served }) = &found else { return Ok(found) };
        let Some(other) = served.first() else { return Ok(found) };
        self.resolve(&TargetRef::new(other, &target.kind, &target.name)).await
    }

    /// Drops a kind from the cache, because the API server does not serve it as cached.
    pub fn forget(&self, resource: &ApiResource) {
        let key = (resource.api_version.clone(), resource.kind.clone());
        self.known.lock().remove(&key);
    }

    /// The resource of a kind; `None` when the API server reports that it does not serve it, never because of an error.
    async fn discover(&self, api_version: &str, kind: &str) -> Result<Option<(ApiResource, ApiCapabilities)>, Error> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = GroupVersionKind::gvk(group, version, kind);
        match limited(pinned_kind(&self.client, &kind)).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::Discovery(DiscoveryError::MissingKind(_))) => Ok(None),
            // For a group that it does not serve, the API server answers in plain text, without a reason.
            Err(Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The served API versions of the same group that have the kind: most likely one of them was meant.
    async fn served(&self, target: &TargetRef) -> Result<Vec<String>, Error> {
        let Some((group, _)) = target.api_version.split_once('/') else { return Ok(vec![]) };
        let groups = limited(self.client.list_api_groups()).await?.groups;
        let mut served = vec![];
        for version in groups.into_iter().filter(|found| found.name == group).flat_map(|found| found.versions) {
            if self.discover(&version.group_version, &target.kind).await?.is_some() {
                served.push(version.group_version);
            }
        }
        Ok(served)
    }
}

fn unscalable(capabilities: &ApiCapabilities) -> Option<Unscalable> {
    if capabilities.scope != Scope::Namespaced {
        return Some(Unscalable::NotNamespaced);
    }
    let scale = capabilities.subresources.iter().any(|(subresource, _)| subresource.plural == "scale");
    (!scale).then_some(Unscalable::NoScale)
}
