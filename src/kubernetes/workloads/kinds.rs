//! From an API version and a kind to what the API server calls it, by discovery: any kind with a `scale` subresource.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use kube::{
    Client, Error,
    core::GroupVersionKind,
    discovery::{ApiCapabilities, ApiResource, Scope, pinned_kind},
    error::DiscoveryError,
};

use crate::kubernetes::limit::limited;
use crate::{api::TargetRef, machine::facts::Unscalable};

/// What is known of kinds. Only what can be scaled is remembered: whatever else was asked about is asked for again the next
/// time, so that a definition that is installed later counts.
#[derive(Clone)]
pub(in crate::kubernetes) struct Kinds {
    client: Client,
    known: Arc<Mutex<HashMap<(String, String), ApiResource>>>,
}

impl Kinds {
    pub fn new(client: Client) -> Self {
        Self { client, known: Arc::default() }
    }

    /// The resource of a target's kind, or why it cannot be scaled.
    ///
    /// # Errors
    /// When the API server does not say.
    pub async fn resolve(&self, target: &TargetRef) -> Result<Result<ApiResource, Unscalable>, Error> {
        let key = (target.api_version.clone(), target.kind.clone());
        if let Some(resource) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Ok(resource.clone()));
        }
        let resource = match self.discover(&target.api_version, &target.kind).await? {
            Some((resource, capabilities)) => match unscalable(&capabilities) {
                None => resource,
                Some(why) => return Ok(Err(why)),
            },
            None => return Ok(Err(Unscalable::Unknown { served: self.served(target).await? })),
        };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(key, resource.clone());
        Ok(Ok(resource))
    }

    /// The resource of a target's kind, under another version of it where the target's own is not served any more: what is held at zero
    /// comes back through whichever version there is.
    ///
    /// # Errors
    /// When the API server does not say.
    pub async fn resolve_under_any_version(&self, target: &TargetRef) -> Result<Result<ApiResource, Unscalable>, Error> {
        let found = self.resolve(target).await?;
        let Err(Unscalable::Unknown { served }) = &found else { return Ok(found) };
        let Some(other) = served.first() else { return Ok(found) };
        self.resolve(&TargetRef::new(other, &target.kind, &target.name)).await
    }

    /// What was known of a target's kind does not hold any more.
    pub fn forget(&self, resource: &ApiResource) {
        let key = (resource.api_version.clone(), resource.kind.clone());
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    /// `None` when the API server does not serve it, which is never taken for granted from a failure.
    async fn discover(&self, api_version: &str, kind: &str) -> Result<Option<(ApiResource, ApiCapabilities)>, Error> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = GroupVersionKind::gvk(group, version, kind);
        match limited(pinned_kind(&self.client, &kind)).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::Discovery(DiscoveryError::MissingKind(_))) => Ok(None),
            // Of a group that there is not the API server says so in plain text, without a reason.
            Err(Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The API versions of the same group that have the kind: what was meant, most likely.
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
