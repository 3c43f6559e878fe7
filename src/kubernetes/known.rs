//! Which `OffsetReset`s there are, as the watches say: those that matter to somebody are then read live.
//!
//! To list all of them for each look at a few costs as much as there are, and that is what a flood of them would live on. A watch may be
//! behind, but it lacks nobody who is under way: whoever is was taken up by this process, which had heard of it from the watch, or by an
//! earlier one, before the watch began with a list. And by what they are chosen, the group and the workloads that a spec names, never changes.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use futures::FutureExt;
use kube::{ResourceExt, core::DeserializeGuard, runtime::reflector::Store};

use crate::api::OffsetReset;

type Resets = Store<DeserializeGuard<OffsetReset>>;

/// An object's namespace and name.
pub type Name = (String, String);

/// What the watches have said.
#[derive(Default)]
pub(super) struct Known {
    watches: Mutex<Vec<(Option<String>, Resets)>>,
}

impl Known {
    /// A namespace, or all of them, is watched from now on.
    pub fn watched(&self, scope: Option<String>, store: Resets) {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner).push((scope, store));
    }

    /// The names of those that somebody wants, by the order that comes with it. `None` while it is not known which there are. One that cannot
    /// be decoded is wanted by nobody: it cannot run.
    pub fn names<K: Ord>(&self, scope: Option<&str>, wanted: impl Fn(&OffsetReset) -> Option<K>) -> Option<BTreeSet<(K, Name)>> {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let store = watches.iter().find(|(watched, _)| watched.as_deref() == scope).map(|(_, store)| store.clone())?;
        drop(watches);
        // An error: nobody fills it any more.
        store.wait_until_ready().now_or_never()?.ok()?;
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
    fn nothing_is_known_before_the_watch_has_begun_and_then_only_what_can_run() {
        let (known, (reader, mut writer)) = (Known::default(), store());
        let names = |scope| known.names(scope, |reset| (reset.spec.group == "orders").then_some(0));
        assert_eq!(names(None), None, "nobody watches");
        known.watched(None, reader);
        assert_eq!(names(None), None, "it has not begun");
        let spec = |group: &str| {
            json!({"targetRefs": [{"name": "a"}], "kafka": {"bootstrapServers": "b:1"}, "group": group,
                   "resets": [{"topic": "t", "to": {"earliest": {}}}]})
        };
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitApply(guarded("one", &spec("orders"))));
        assert_eq!(names(None), None, "it has not ended to begin");
        writer.apply_watcher_event(&Event::InitApply(guarded("two", &spec("others"))));
        writer.apply_watcher_event(&Event::InitApply(guarded("three", &json!({"group": 7}))));
        writer.apply_watcher_event(&Event::InitDone);
        assert_eq!(names(None), Some([(0, ("shop".to_owned(), "one".to_owned()))].into()));
        assert_eq!(names(Some("shop")), None, "that is not what is watched");
    }
}
