//! The `OffsetReset` objects themselves: read live, and written only over the version that was read.

use std::collections::{BTreeSet, HashSet};

use futures::future::join_all;
use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams},
    core::DeserializeGuard,
};
use serde_json::json;

use super::{
    limit::{limited, paged},
    watched::{Name, Watched},
    write::{WriteOutcome, classify, delete_only},
};
use crate::{
    api::{FIELD_MANAGER, FINALIZER, OffsetReset, OffsetResetStatus},
    machine::facts::{PeerReset, UndoSeen},
};

/// Reads and writes `OffsetReset`s.
#[derive(Clone)]
pub struct Resets {
    client: Client,
    /// The watches of OffsetResets: the resets of watched namespaces need not be listed, see [`Watched`].
    pub watches: Watched<DeserializeGuard<OffsetReset>>,
}

/// So many resets are read by name at the same time. They are never listed for that: a list has the whole status of each reset of
/// the cluster, of which a few concern a pass.
const AT_ONCE: usize = 8;

/// So many resets are listed at once, where they have to be: each may have 150 kB of status.
const PAGE: u32 = 50;

impl Resets {
    /// Reads and writes through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, watches: Watched::default() }
    }

    /// The object as it is now, not from a cache; `None` when it is gone.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn get(&self, namespace: &str, name: &str) -> Result<Option<OffsetReset>, kube::Error> {
        limited(self.api(namespace).get_opt(name)).await
    }

    /// The resets that may conflict with a reset: those of the watched namespaces for which `wanted` gives a sort key, and
    /// those named in `also`. The result may have others too. `wanted` sees objects that may be behind; the result is read
    /// live, in the order of the sort keys. The result stops as soon as `is_enough` of them.
    ///
    /// With several namespaces, one that the operator may not read does not block the others: every effect needs a
    /// write of the object or in its namespace, so the operator does nothing there.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn conflicting_resets<K: Ord>(
        &self,
        scopes: &[Option<String>],
        also: impl IntoIterator<Item = Name>,
        wanted: impl Fn(&OffsetReset) -> Option<K>,
        is_enough: impl Fn(&[PeerReset]) -> bool,
    ) -> Result<Vec<PeerReset>, kube::Error> {
        let (mut wishes, mut unknown) = (BTreeSet::new(), vec![]);
        for scope in scopes {
            match self.watches.names(scope.as_deref(), &wanted) {
                Some(found) => wishes.extend(found.into_iter().map(|(first, name)| (Some(first), name))),
                None => unknown.push(scope.clone()),
            }
        }
        wishes.extend(also.into_iter().map(|name| (None, name)));
        let tolerant = scopes.len() > 1;
        let mut all = self.listed(&unknown, tolerant).await?;
        let mut had: HashSet<Name> = all.iter().map(|listed| (listed.namespace.clone(), listed.name.clone())).collect();
        let names: Vec<&Name> = wishes.iter().map(|(_, name)| name).filter(|&name| had.insert(name.clone())).collect();
        for some in names.chunks(AT_ONCE) {
            all.extend(self.named(some.iter().copied(), tolerant).await?);
            if is_enough(&all) {
                break;
            }
        }
        Ok(all)
    }

    /// The resets of these names that exist, read live.
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

    /// The resets of one namespace that have these names and exist, read live.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn of_names(&self, namespace: &str, names: impl Iterator<Item = &str>) -> Result<Vec<PeerReset>, kube::Error> {
        let names: BTreeSet<Name> = names.map(|name| (namespace.to_owned(), name.to_owned())).collect();
        let (names, mut all) = (names.iter().collect::<Vec<_>>(), vec![]);
        for some in names.chunks(AT_ONCE) {
            all.extend(self.named(some.iter().copied(), false).await?);
        }
        Ok(all)
    }

    /// The resets of one namespace that have these names, as a watch has them; `None` where none covers it. They may be behind: they
    /// tell whether something has to be read, and nothing is done because of them.
    #[must_use]
    pub fn watched<'a>(&self, namespace: &str, names: impl Iterator<Item = &'a str>) -> Option<Vec<PeerReset>> {
        self.watches.named(namespace, names)
    }

    /// The reset that undoes another one, from the store of a watch. The store may be behind: it only serves to name the reset that has
    /// set an offset, and no decision depends on it.
    #[must_use]
    pub fn undo_of(&self, namespace: &str, name: &str, ended: Option<Timestamp>) -> Option<UndoSeen> {
        self.watches.undo_of(namespace, name, ended)
    }

    async fn listed(&self, scopes: &[Option<String>], tolerant: bool) -> Result<Vec<PeerReset>, kube::Error> {
        let lists = join_all(scopes.iter().map(|scope| self.peers(scope.as_deref()))).await;
        let mut all = vec![];
        for (scope, list) in scopes.iter().zip(lists) {
            match list {
                Err(error) if tolerant && hides(scope.as_deref().unwrap_or_default(), &error) => {}
                list => all.extend(list?),
            }
        }
        Ok(all)
    }

    /// Every `OffsetReset` of a namespace or of the cluster, without those that cannot be decoded: they cannot run either.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn peers(&self, namespace: Option<&str>) -> Result<Vec<PeerReset>, kube::Error> {
        let api: Api<DeserializeGuard<OffsetReset>> = match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let mut all = vec![];
        let list = |page: ListParams| {
            let api = api.clone();
            async move { api.list(&page).await }
        };
        let each = |guard: DeserializeGuard<OffsetReset>| all.extend(guard.0.ok().as_ref().map(PeerReset::from));
        paged(ListParams::default().limit(PAGE), list, each).await?;
        Ok(all)
    }

    /// Writes the status over the version that was read.
    ///
    /// # Errors
    /// When it is unknown whether it was written.
    pub async fn write_status(
        &self,
        read: &OffsetReset,
        status: &OffsetResetStatus,
    ) -> Result<WriteOutcome<OffsetReset>, kube::Error> {
        let mut next = read.clone();
        next.status = Some(status.clone());
        let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) };
        classify(limited(self.of(read).replace_status(&read.name_any(), &params, &next)).await)
    }

    /// Adds or removes the operator's finalizer, over the version that was read. Other finalizers stay.
    ///
    /// # Errors
    /// When it is unknown whether it was written.
    pub async fn set_finalizer(&self, read: &OffsetReset, on: bool) -> Result<WriteOutcome<OffsetReset>, kube::Error> {
        let mut finalizers: Vec<&str> = read.finalizers().iter().map(String::as_str).filter(|&name| name != FINALIZER).collect();
        if on {
            finalizers.push(FINALIZER);
        }
        let patch = json!({ "metadata": { "resourceVersion": read.resource_version(), "finalizers": finalizers } });
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        classify(limited(self.of(read).patch(&read.name_any(), &params, &Patch::Merge(&patch))).await)
    }

    /// Deletes an object, if it is still the version that was read.
    ///
    /// # Errors
    /// When it is unknown whether it was deleted.
    pub async fn delete(&self, read: &OffsetReset) -> Result<WriteOutcome<()>, kube::Error> {
        let params = delete_only(read.resource_version(), read.uid());
        classify(limited(self.of(read).delete(&read.name_any(), &params)).await.map(drop))
    }

    /// Removes the operator's finalizer from an object that cannot be decoded, over the version that was read.
    ///
    /// # Errors
    /// When it is unknown whether it was removed.
    pub async fn remove_finalizer(&self, read: &ObjectMeta) -> Result<WriteOutcome<()>, kube::Error> {
        let finalizers: Vec<&String> = read.finalizers.iter().flatten().filter(|&name| name != FINALIZER).collect();
        let patch = json!({ "metadata": { "resourceVersion": read.resource_version, "finalizers": finalizers } });
        let (patch, params) =
            (Patch::Merge(&patch), PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() });
        let api = self.api(read.namespace.as_deref().unwrap_or_default());
        let patched = api.patch_metadata(read.name.as_deref().unwrap_or_default(), &params, &patch);
        classify(limited(patched).await.map(drop))
    }

    fn of(&self, reset: &OffsetReset) -> Api<OffsetReset> {
        self.api(&reset.namespace().unwrap_or_default())
    }

    fn api(&self, namespace: &str) -> Api<OffsetReset> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// Whether the operator may not read resets in a namespace; that is logged.
fn hides(namespace: &str, error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) if status.is_forbidden() => {
            tracing::warn!(
                namespace,
                why = status.message,
                "the operator may not read OffsetResets in a namespace, so it ignores those there"
            );
            true
        }
        _ => false,
    }
}
