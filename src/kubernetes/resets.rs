//! The `OffsetReset` objects themselves: read live, written only over what was read.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use futures::future::join_all;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
    core::DeserializeGuard,
    runtime::reflector::Store,
};
use serde_json::json;

use super::{
    known::{Known, Name},
    limit::limited,
};
use crate::{
    api::{FIELD_MANAGER, FINALIZER, OffsetReset, OffsetResetStatus},
    machine::facts::PeerReset,
};

/// Reads and writes `OffsetReset`s.
#[derive(Clone)]
pub struct Resets {
    client: Client,
    known: Arc<Known>,
}

/// How many are read one by one; where there are more, all are listed. Of one group or workload there are rarely that many.
const FEW: usize = 8;

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
        Self { client, known: Arc::default() }
    }

    /// The object as it is now; a cache may be behind.
    ///
    /// # Errors
    /// When the API server does not answer with it.
    pub async fn get(&self, namespace: &str, name: &str) -> Result<Option<OffsetReset>, kube::Error> {
        limited(self.api(namespace).get_opt(name)).await
    }

    /// A namespace, or all of them, is watched from now on: what is in the store need not be listed any more, see [`Known`].
    pub fn watched(&self, scope: Option<String>, store: Store<DeserializeGuard<OffsetReset>>) {
        self.known.watched(scope, store);
    }

    /// Of what is watched, those that are `wanted`, and `also` those of some names; others may be among them. `wanted` is asked about what may be
    /// behind, and says who is first; what is returned is as it is now. When there are many, and the first of them are enough, those.
    ///
    /// Of several namespaces, one that may not be looked into does not keep the others waiting: every pass begins with reading its object, so
    /// nothing of such a namespace is worked on.
    ///
    /// # Errors
    /// When the API server does not answer with them.
    pub async fn rivals<K: Ord>(
        &self,
        scopes: &[Option<String>],
        also: impl IntoIterator<Item = Name>,
        wanted: impl Fn(&OffsetReset) -> Option<K>,
        are_enough: impl Fn(&[PeerReset]) -> bool,
    ) -> Result<Vec<PeerReset>, kube::Error> {
        let (mut wishes, mut unknown) = (BTreeSet::new(), vec![]);
        for scope in scopes {
            match self.known.names(scope.as_deref(), &wanted) {
                Some(found) => wishes.extend(found.into_iter().map(|(first, name)| (Some(first), name))),
                None => unknown.push(scope.clone()),
            }
        }
        wishes.extend(also.into_iter().map(|name| (None, name)));
        let tolerant = scopes.len() > 1;
        let mut all = self.listed(&unknown, tolerant).await?;
        let mut had: HashSet<Name> = all.iter().map(|listed| (listed.namespace.clone(), listed.name.clone())).collect();
        let names: Vec<&Name> = wishes.iter().map(|(_, name)| name).filter(|&name| had.insert(name.clone())).collect();
        let few = self.named(names.iter().take(FEW).copied(), tolerant).await?;
        all.extend(few);
        if names.len() > FEW && !are_enough(&all) { self.listed(scopes, tolerant).await } else { Ok(all) }
    }

    /// Those of some names that are there, as they are now.
    async fn named<'a>(&self, names: impl Iterator<Item = &'a Name>, tolerant: bool) -> Result<Vec<PeerReset>, kube::Error> {
        let read = names.map(|(namespace, name)| async move {
            let api: Api<DeserializeGuard<OffsetReset>> = Api::namespaced(self.client.clone(), namespace);
            let found = match limited(api.get_opt(name)).await {
                Err(error) if tolerant && hides(namespace, &error) => None,
                found => found?,
            };
            Ok(found.and_then(|guard| guard.0.ok()).map(|reset| PeerReset::from(&reset)))
        });
        join_all(read).await.into_iter().filter_map(Result::transpose).collect()
    }

    /// Those of one namespace that have these names.
    ///
    /// # Errors
    /// When the API server does not answer with them.
    pub async fn of_names(&self, namespace: &str, names: impl Iterator<Item = &str>) -> Result<Vec<PeerReset>, kube::Error> {
        let names: BTreeSet<Name> = names.map(|name| (namespace.to_owned(), name.to_owned())).collect();
        self.named(names.iter(), false).await
    }

    async fn listed(&self, scopes: &[Option<String>], tolerant: bool) -> Result<Vec<PeerReset>, kube::Error> {
        let lists = join_all(scopes.iter().map(|scope| self.claimants(scope.as_deref()))).await;
        let mut all = vec![];
        for (scope, list) in scopes.iter().zip(lists) {
            match list {
                Err(error) if tolerant && hides(scope.as_deref().unwrap_or_default(), &error) => {}
                list => all.extend(list?),
            }
        }
        Ok(all)
    }

    /// Every `OffsetReset` of the cluster or of a namespace, as one that wants a group and workloads.
    /// One that cannot be decoded cannot run either, and is left out.
    ///
    /// # Errors
    /// When the API server does not answer with them.
    pub async fn claimants(&self, namespace: Option<&str>) -> Result<Vec<PeerReset>, kube::Error> {
        let api: Api<DeserializeGuard<OffsetReset>> = match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let list = limited(api.list(&ListParams::default())).await?;
        Ok(list.items.iter().filter_map(|guard| guard.0.as_ref().ok()).map(PeerReset::from).collect())
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

/// Whether an error says that a namespace may not be looked into; that is logged.
fn hides(namespace: &str, error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) if status.is_forbidden() => {
            tracing::warn!(namespace, why = status.message, "a namespace may not be looked into; nothing there is worked on");
            true
        }
        _ => false,
    }
}

fn stored(result: Result<OffsetReset, kube::Error>) -> Result<Stored, kube::Error> {
    match result {
        Ok(reset) => Ok(Stored::Written(Box::new(reset))),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(Stored::Stale),
        Err(error) => Err(error),
    }
}
