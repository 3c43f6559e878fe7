//! The stores of the watches, and the names of the `OffsetReset`s in them, to choose from them the few that a pass then reads live.
//!
//! Listing all of them in each pass would cost as much as there are, and a flood of them would multiply that. A watch may be
//! behind, but every reset that is in progress is in it: either this process began it, after the watch had delivered it, or an
//! earlier process did, before the initial list of the watch. And the choice is by the group and the workloads of the spec,
//! which never change.

use std::{collections::BTreeSet, hash::Hash, sync::Arc};

use futures::FutureExt;
use jiff::Timestamp;
use kube::{
    Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::reflector::{ObjectRef, Store},
};
use parking_lot::Mutex;

use crate::{
    api::OffsetReset,
    machine::facts::{PeerReset, UndoSeen},
};

/// The namespace and the name of an object.
pub type Name = (String, String);

/// The stores of the watches of one kind. Clones share them.
pub struct Watched<K: Resource<DynamicType: Eq + Hash + Clone> + Clone + 'static> {
    watches: Arc<Mutex<Vec<Watch<K>>>>,
}

/// The namespace of a watch, or all, and its store.
type Watch<K> = (Option<String>, Store<K>);

impl<K: Resource<DynamicType: Eq + Hash + Clone> + Clone + 'static> Watched<K> {
    /// Adds the store of a watch of one namespace, or of all.
    pub fn add(&self, scope: Option<String>, store: Store<K>) {
        self.watches.lock().push((scope, store));
    }

    /// The objects of all watches.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<K>> {
        self.watches.lock().iter().flat_map(|(_, store)| store.state()).collect()
    }

    /// The store of the watch that covers a namespace, once its initial list is complete.
    pub(super) fn covering(&self, namespace: &str) -> Option<Store<K>> {
        self.filled(|scope| scope.is_none_or(|watched| watched == namespace))
    }

    /// The store of a watch whose initial list is complete.
    fn filled(&self, wanted: impl Fn(Option<&str>) -> bool) -> Option<Store<K>> {
        let store = self.watches.lock().iter().find(|(scope, _)| wanted(scope.as_deref())).map(|(_, store)| store.clone())?;
        // An error means that the watch has stopped.
        store.wait_until_ready().now_or_never()?.ok()?;
        Some(store)
    }
}

impl<K: Resource<DynamicType: Eq + Hash + Clone> + Clone + 'static> Default for Watched<K> {
    fn default() -> Self {
        Self { watches: Arc::default() }
    }
}

impl<K: Resource<DynamicType: Eq + Hash + Clone> + Clone + 'static> Clone for Watched<K> {
    fn clone(&self) -> Self {
        Self { watches: Arc::clone(&self.watches) }
    }
}

impl Watched<DeserializeGuard<OffsetReset>> {
    /// The resets of one namespace that have these names and exist, as the watches have them: to decide whether to read them, and
    /// nothing else. `None` where no watch covers the namespace, or has completed its initial list.
    pub(super) fn named<'a>(&self, namespace: &str, names: impl Iterator<Item = &'a str>) -> Option<Vec<PeerReset>> {
        let store = self.covering(namespace)?;
        let found = |name: &str| store.get(&ObjectRef::new(name).within(namespace));
        Some(names.filter_map(found).filter_map(|guard| guard.0.as_ref().ok().map(PeerReset::from)).collect())
    }

    /// The undo of a reset, from the stores of the watches. It only serves to name the undo.
    pub(super) fn undo_of(&self, namespace: &str, name: &str, ended: Option<Timestamp>) -> Option<UndoSeen> {
        let store = self.covering(namespace)?;
        let undoes = |reset: &OffsetReset| UndoSeen::of(reset, namespace, name, ended);
        let all = store.state();
        let found = all.iter().filter_map(|guard| guard.0.as_ref().ok()).filter_map(undoes);
        // An undo that has set offsets goes before one that has only begun.
        found.max_by_key(|undo| undo.committed)
    }

    /// The names of the resets for which `wanted` gives a sort key, in the order of those keys. `None` until the watch of
    /// this scope has completed its initial list. A reset that cannot be decoded is left out: it cannot run.
    pub(super) fn names<K: Ord>(
        &self,
        scope: Option<&str>,
        wanted: impl Fn(&OffsetReset) -> Option<K>,
    ) -> Option<BTreeSet<(K, Name)>> {
        let store = self.filled(|watched| watched == scope)?;
        let name = |reset: &OffsetReset| (reset.namespace().unwrap_or_default(), reset.name_any());
        let all = store.state();
        Some(
            all.iter()
                .filter_map(|guard| guard.0.as_ref().ok())
                .filter_map(|reset| Some((wanted(reset)?, name(reset))))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::{reflector::store, watcher::Event};
    use serde_json::json;

    use super::*;

    fn guarded(name: &str, spec: &serde_json::Value) -> DeserializeGuard<OffsetReset> {
        let metadata = json!({"name": name, "namespace": "shop"});
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "x", "metadata": metadata, "spec": spec})).unwrap()
    }

    #[test]
    fn names_are_known_after_the_initial_list_and_only_of_resets_that_can_run() {
        let (watched, (reader, mut writer)) = (Watched::default(), store());
        let names = |scope| watched.names(scope, |reset| (reset.spec.group == "orders").then_some(0));
        assert_eq!(names(None), None, "there is no watch");
        watched.add(None, reader);
        assert_eq!(names(None), None, "the watch has not begun");
        let spec = |group: &str| {
            json!({"targetRefs": [{"name": "a"}], "kafka": {"bootstrapServers": "b:1"}, "group": group,
                   "resets": [{"topic": "t", "to": {"earliest": {}}}]})
        };
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitApply(guarded("one", &spec("orders"))));
        assert_eq!(names(None), None, "the initial list is not complete");
        writer.apply_watcher_event(&Event::InitApply(guarded("two", &spec("others"))));
        writer.apply_watcher_event(&Event::InitApply(guarded("three", &json!({"group": 7}))));
        writer.apply_watcher_event(&Event::InitDone);
        assert_eq!(names(None), Some([(0, ("shop".to_owned(), "one".to_owned()))].into()));
        assert_eq!(names(Some("shop")), None, "there is no watch of this namespace");
    }

    #[test]
    fn of_named_resets_only_those_are_found_that_a_watch_covers() {
        let (watched, (reader, mut writer)) = (Watched::default(), store());
        let named = |namespace: &str| {
            let found = watched.named(namespace, ["one", "gone", "broken"].into_iter())?;
            Some(found.into_iter().map(|reset| reset.name).collect::<Vec<_>>())
        };
        watched.add(Some("shop".into()), reader);
        let spec = json!({"targetRefs": [{"name": "a"}], "kafka": {"bootstrapServers": "b:1"}, "group": "orders",
                          "resets": [{"topic": "t", "to": {"earliest": {}}}]});
        writer.apply_watcher_event(&Event::Init);
        assert_eq!(named("shop"), None, "the initial list is not complete");
        writer.apply_watcher_event(&Event::InitApply(guarded("one", &spec)));
        writer.apply_watcher_event(&Event::InitApply(guarded("broken", &json!({"group": 7}))));
        writer.apply_watcher_event(&Event::InitDone);
        assert_eq!(named("shop"), Some(vec!["one".to_owned()]));
        assert_eq!(named("bank"), None, "there is no watch of this namespace");
        writer.apply_watcher_event(&Event::Delete(guarded("one", &spec)));
        assert_eq!(named("shop"), Some(vec![]), "it was deleted");
    }
}
