//! The `OffsetReset` objects themselves: read live, written only over what was read.

use futures::future::join_all;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
    core::DeserializeGuard,
};
use serde_json::json;

use super::limit::limited;
use crate::{
    api::{FIELD_MANAGER, FINALIZER, OffsetReset, OffsetResetStatus},
    machine::sharing::Claimant,
};

/// Reads and writes `OffsetReset`s.
#[derive(Clone)]
pub struct Resets {
    client: Client,
}

/// How a write ended.
#[derive(Clone, Debug)]
pub enum Stored {
    /// It stands, as this version.
    Written(Box<OffsetReset>),
    /// The object has changed since it was read, or is gone: nothing was written.
    Stale,
}

impl Resets {
    /// With a client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The object as it is now; a cache may be behind.
    ///
    /// # Errors
    /// When the API server does not answer with it.
    pub async fn get(&self, namespace: &str, name: &str) -> Result<Option<OffsetReset>, kube::Error> {
        limited(self.api(namespace).get_opt(name)).await
    }

    /// Every `OffsetReset` of what is watched, see [`Resets::claimants`]. Of several namespaces, one that may not be looked into does not keep
    /// the others waiting: every pass begins with reading its object, so nothing of such a namespace is worked on.
    ///
    /// # Errors
    /// When the API server does not answer with them.
    pub async fn all_claimants(&self, scopes: &[Option<String>]) -> Result<Vec<Claimant>, kube::Error> {
        let lists = join_all(scopes.iter().map(|scope| self.claimants(scope.as_deref()))).await;
        let mut all = vec![];
        for (scope, list) in scopes.iter().zip(lists) {
            match list {
                Ok(list) => all.extend(list),
                Err(kube::Error::Api(status)) if status.is_forbidden() && scopes.len() > 1 => {
                    tracing::warn!(
                        namespace = scope,
                        why = status.message,
                        "a namespace may not be looked into; nothing there is worked on"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Every `OffsetReset` of the cluster or of a namespace, as one that wants a group and workloads.
    /// One that cannot be decoded cannot run either, and is left out.
    ///
    /// # Errors
    /// When the API server does not answer with them.
    pub async fn claimants(&self, namespace: Option<&str>) -> Result<Vec<Claimant>, kube::Error> {
        let api: Api<DeserializeGuard<OffsetReset>> = match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let list = limited(api.list(&ListParams::default())).await?;
        Ok(list.items.iter().filter_map(|guard| guard.0.as_ref().ok()).map(Claimant::from).collect())
    }

    /// Writes the status over the version that was read.
    ///
    /// # Errors
    /// When nobody can tell whether it was written, or it was refused.
    pub async fn write_status(&self, read: &OffsetReset, status: &OffsetResetStatus) -> Result<Stored, kube::Error> {
        let mut next = read.clone();
        next.status = Some(status.clone());
        let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) };
        stored(limited(self.of(read).replace_status(&read.name_any(), &params, &next)).await)
    }

    /// Puts our finalizer on, or takes it off, over the version that was read; everybody else's stay.
    ///
    /// # Errors
    /// When nobody can tell whether it was written, or it was refused.
    pub async fn set_finalizer(&self, read: &OffsetReset, on: bool) -> Result<Stored, kube::Error> {
        let mut finalizers: Vec<&str> = read.finalizers().iter().map(String::as_str).filter(|&name| name != FINALIZER).collect();
        if on {
            finalizers.push(FINALIZER);
        }
        let patch = json!({ "metadata": { "resourceVersion": read.resource_version(), "finalizers": finalizers } });
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        stored(limited(self.of(read).patch(&read.name_any(), &params, &Patch::Merge(&patch))).await)
    }

    fn of(&self, reset: &OffsetReset) -> Api<OffsetReset> {
        self.api(&reset.namespace().unwrap_or_default())
    }

    fn api(&self, namespace: &str) -> Api<OffsetReset> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

fn stored(result: Result<OffsetReset, kube::Error>) -> Result<Stored, kube::Error> {
    match result {
        Ok(reset) => Ok(Stored::Written(Box::new(reset))),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(Stored::Stale),
        Err(error) => Err(error),
    }
}
