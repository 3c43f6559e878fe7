//! What the last pass over each reset has left, so that an event that tells nothing new costs no request: each write of a pass
//! comes back as an event of the watch.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;

use crate::api::OffsetReset;

type Object = ObjectRef<OffsetReset>;

/// The last pass over each reset.
#[derive(Default)]
pub struct Visits {
    last: Mutex<HashMap<Object, Visit>>,
}

/// A pass.
#[derive(Default)]
struct Visit {
    /// The versions of the object that it has read or written, the latest last; none until it has ended well.
    versions: Vec<String>,
    /// When the next pass is due without an event; `None` when none is.
    due: Option<Instant>,
    /// Its workloads or their pods have changed since it began.
    touched: bool,
    /// A pod that still runs or the status of a workload has changed since it began, which does not matter while all are at zero.
    minor_change: bool,
    /// The versions of workloads whose events have come since it began, and whether each matters at zero; before it ends it is not
    /// known which of them are its own.
    arrived: Vec<(String, bool)>,
    /// The versions of the workloads that it has scaled: their events tell nothing new.
    scaled_to: Vec<String>,
    /// The pods that the reset waits for, by name: as long as one of them runs, the end of another one changes nothing.
    awaited: HashSet<String>,
    /// All targets are at zero, and the reset waits for the last container. The watch of the object may be behind that.
    at_zero: bool,
    /// The object as it has left it, until the watch has it too.
    latest: Option<Box<OffsetReset>>,
    /// The ConfigMaps that it or a pass before it has written.
    files: FileVersions,
}

/// The versions of a reset's ConfigMaps, as the operator has written them last: it writes them again over these and does not read
/// them before. `None` for a ConfigMap that this process has not written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::reconcile) struct FileVersions {
    /// That of the report.
    pub report: Option<String>,
    /// That of the receipt.
    pub receipt: Option<String>,
}

/// What a pass that has ended leaves.
#[derive(Default)]
pub(in crate::reconcile) struct Left {
    /// The versions of the object that it has read or written, the latest last.
    pub versions: Vec<String>,
    /// When the next pass is due without an event; `None` when none is.
    pub next: Option<Duration>,
    /// The pods without whose end the next pass would find what this one has found, by name; none when any event may matter.
    pub awaited: Vec<String>,
    /// The versions of the workloads that it has scaled.
    pub scaled_to: Vec<String>,
    /// All workloads are at zero, and the reset waits for the last container.
    pub at_zero: bool,
    /// The object.
    pub object: Option<Box<OffsetReset>>,
    /// The versions of its ConfigMaps.
    pub files: FileVersions,
}

/// What an event of a workload or of a pod says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change<'a> {
    /// The pod that has terminated or is gone.
    pub pod_over: Option<&'a str>,
    /// The version of the workload.
    pub version: Option<&'a str>,
    /// It may matter while nothing of the workloads is to run.
    pub matters_at_zero: bool,
}

/// Whether a pass is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::reconcile) enum Need {
    /// The object is the one that the last pass has left, and something else may have changed.
    SameObject,
    /// The object is another one, or an earlier one of that pass.
    Object,
    /// Nothing has changed. The next pass is due after this time, or with the next event.
    Nothing(Option<Duration>),
}

impl Visits {
    /// Records a change of a workload of this reset, or of one of its pods.
    pub fn touch(&self, object: &Object, change: Change<'_>) {
        let mut last = self.last.lock();
        let Some(visit) = last.get_mut(object) else { return };
        if visit.at_zero && !change.matters_at_zero {
            return;
        }
        if let Some(version) = change.version {
            let has_ended = !visit.versions.is_empty();
            if !has_ended {
                visit.arrived.push((version.to_owned(), change.matters_at_zero));
            } else if !visit.scaled_to.iter().any(|own| own == version) {
                visit.touched = true;
            }
            return;
        }
        if !change.matters_at_zero {
            visit.minor_change = true;
            visit.touched |= !visit.versions.is_empty();
            return;
        }
        let was_awaited = change.pod_over.is_some_and(|pod| visit.awaited.remove(pod));
        visit.touched |= !was_awaited || visit.awaited.is_empty();
    }

    /// Whether a pass is needed for an object of this version, as the watch has it.
    pub(in crate::reconcile) fn need(&self, object: &Object, version: Option<&str>) -> Need {
        self.need_at(object, version, Instant::now())
    }

    fn need_at(&self, object: &Object, version: Option<&str>, now: Instant) -> Need {
        let mut last = self.last.lock();
        let (Some(visit), Some(version)) = (last.get_mut(object), version) else { return Need::Object };
        let is_latest = visit.versions.last().is_some_and(|latest| latest == version);
        if is_latest {
            visit.latest = None;
        }
        // An earlier version of that pass: the watch is behind, and delivers the latest one as well.
        if !visit.versions.iter().any(|own| own == version) {
            return Need::Object;
        }
        if !visit.touched && visit.due.is_none_or(|due| due > now) {
            return Need::Nothing(visit.due.map(|due| due.saturating_duration_since(now)));
        }
        if is_latest { Need::SameObject } else { Need::Object }
    }

    /// The object to begin the next pass with, where it need not be read: the one of the watch if it is what the last pass has left, or
    /// if there was no pass; and what the last pass has left, if the watch is behind that. It may have changed since, so nothing is
    /// done before it is written over its version.
    pub(in crate::reconcile) fn known(&self, object: &Object, cached: &OffsetReset) -> Option<OffsetReset> {
        let last = self.last.lock();
        let Some(visit) = last.get(object) else { return Some(cached.clone()) };
        let version = cached.metadata.resource_version.as_ref()?;
        match visit.versions.iter().rev().position(|own| own == version)? {
            0 => Some(cached.clone()),
            _ => visit.latest.as_deref().cloned(),
        }
    }

    /// A pass begins to read: what changes from here on is new to it. Returns which ConfigMaps the last pass has left, if it has ended
    /// well.
    pub(in crate::reconcile) fn begin(&self, object: &Object) -> FileVersions {
        self.last.lock().insert(object.clone(), Visit::default()).map(|last| last.files).unwrap_or_default()
    }

    /// A pass has ended. One that failed, or met a conflict, is not recorded.
    pub(in crate::reconcile) fn end(&self, object: &Object, left: Left) {
        self.end_at(object, left, Instant::now());
    }

    fn end_at(&self, object: &Object, left: Left, now: Instant) {
        if let Some(visit) = self.last.lock().get_mut(object) {
            let matters = |matters_at_zero: bool| matters_at_zero || !left.at_zero;
            visit.touched |=
                visit.arrived.drain(..).any(|(version, at_zero)| matters(at_zero) && !left.scaled_to.contains(&version));
            visit.touched |= visit.minor_change && matters(false);
            visit.at_zero = left.at_zero;
            visit.latest = left.object;
            visit.files = left.files;
            visit.scaled_to = left.scaled_to;
            visit.versions = left.versions;
            visit.due = left.next.map(|next| now + next);
            visit.awaited = left.awaited.into_iter().collect();
        }
    }

    /// Drops what is kept of a reset that is gone or finished.
    pub(in crate::reconcile) fn forget(&self, object: &Object) {
        self.last.lock().remove(object);
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn over(pod: &str) -> Change<'_> {
        Change { pod_over: Some(pod), matters_at_zero: true, ..Change::default() }
    }

    fn left(versions: &[&str], next: Option<Duration>) -> Left {
        Left { versions: versions.iter().map(|version| (*version).to_owned()).collect(), next, ..Left::default() }
    }

    #[test]
    fn an_event_that_tells_nothing_new_needs_no_pass() {
        let (visits, now, second) = (Visits::default(), Instant::now(), Duration::from_secs(1));
        let object = ObjectRef::new("a").within("b");
        let need = |version: &str, at: Instant| visits.need_at(&object, Some(version), at);
        assert_eq!(need("1", now), Need::Object, "there was no pass");
        visits.begin(&object);
        assert_eq!(need("1", now), Need::Object, "it has not ended");
        visits.end_at(&object, left(&["1", "2"], Some(2 * second)), now);
        assert_eq!(need("2", now + second), Need::Nothing(Some(second)));
        assert_eq!(need("1", now + second), Need::Nothing(Some(second)), "the watch is behind");
        assert_eq!(need("3", now + second), Need::Object, "another client has changed it");
        assert_eq!(need("2", now + 2 * second), Need::SameObject, "it is due");
        assert_eq!(need("1", now + 2 * second), Need::Object, "it is due, and the watch is behind");
        visits.begin(&object);
        visits.end_at(&object, left(&["2"], None), now);
        assert_eq!(need("2", now + 9 * second), Need::Nothing(None));
        visits.forget(&object);
        assert_eq!(need("2", now), Need::Object);
        assert!(visits.last.lock().is_empty());
    }

    #[test]
    fn a_change_of_a_workload_needs_a_pass_even_when_it_came_during_the_last_one() {
        let (visits, now) = (Visits::default(), Instant::now());
        let object = ObjectRef::new("a").within("b");
        visits.touch(&object, Change::default());
        assert!(visits.last.lock().is_empty(), "the first pass looks at everything");
        visits.begin(&object);
        visits.touch(&object, Change::default());
        visits.end_at(&object, left(&["1"], Some(Duration::from_secs(9))), now);
        assert_eq!(visits.need_at(&object, Some("1"), now), Need::SameObject);
        visits.begin(&object);
        visits.end_at(&object, left(&["1"], Some(Duration::from_secs(9))), now);
        assert_eq!(visits.need_at(&object, Some("1"), now), Need::Nothing(Some(Duration::from_secs(9))));
        visits.touch(&object, Change::default());
        assert_eq!(visits.need_at(&object, Some("1"), now), Need::SameObject);
    }

    #[test]
    fn of_the_pods_that_are_awaited_only_the_last_one_needs_a_pass() {
        let (visits, now) = (Visits::default(), Instant::now());
        let object = ObjectRef::new("a").within("b");
        let awaits = |pods: &[&str]| {
            visits.begin(&object);
            let awaited = pods.iter().map(|pod| (*pod).to_owned()).collect();
            visits.end_at(&object, Left { awaited, ..left(&["1"], None) }, now);
        };
        let need = || visits.need_at(&object, Some("1"), now);
        awaits(&["one", "two"]);
        visits.touch(&object, over("one"));
        visits.touch(&object, over("one"));
        assert_eq!(need(), Need::SameObject, "an event that was not awaited");
        awaits(&["one", "two"]);
        visits.touch(&object, over("one"));
        assert_eq!(need(), Need::Nothing(None), "the other one runs");
        visits.touch(&object, over("two"));
        assert_eq!(need(), Need::SameObject, "all are over");
        awaits(&["one", "two"]);
        visits.touch(&object, Change::default());
        assert_eq!(need(), Need::SameObject, "the workload has changed");
        awaits(&["one"]);
        visits.touch(&object, over("other"));
        assert_eq!(need(), Need::SameObject, "a pod that the pass had not seen");
    }

    #[test]
    fn an_event_of_the_operators_own_scaling_needs_no_pass_whenever_it_comes() {
        let (visits, now) = (Visits::default(), Instant::now());
        let object = ObjectRef::new("a").within("b");
        let arrives =
            |version: &str| visits.touch(&object, Change { pod_over: None, version: Some(version), matters_at_zero: true });
        let ends = || visits.end_at(&object, Left { scaled_to: vec!["7".into()], ..left(&["1"], None) }, now);
        let need = || visits.need_at(&object, Some("1"), now);
        visits.begin(&object);
        arrives("7");
        ends();
        assert_eq!(need(), Need::Nothing(None), "it came before the answer");
        arrives("7");
        assert_eq!(need(), Need::Nothing(None), "it came after the end");
        arrives("8");
        assert_eq!(need(), Need::SameObject, "another client's");
        visits.begin(&object);
        arrives("8");
        arrives("7");
        ends();
        assert_eq!(need(), Need::SameObject, "another client's during the pass");
    }

    #[rstest]
    #[case::a_pod_that_is_being_deleted(Change::default(), true)]
    #[case::a_status(Change { version: Some("8"), ..Change::default() }, true)]
    #[case::a_spec(Change { pod_over: None, version: Some("8"), matters_at_zero: true }, false)]
    #[case::a_pod_that_is_over(over("one"), false)]
    fn where_a_pass_has_left_the_workloads_at_zero_only_what_may_end_the_wait_needs_another_one(
        #[case] change: Change<'static>,
        #[case] tells_nothing: bool,
    ) {
        let (visits, now) = (Visits::default(), Instant::now());
        let object = ObjectRef::new("a").within("b");
        let needs = |at_zero: bool, when: &str| {
            visits.begin(&object);
            if when == "during" {
                visits.touch(&object, change);
            }
            let scaled_to = vec!["7".to_owned()];
            visits.end_at(&object, Left { scaled_to, at_zero, ..left(&["1"], None) }, now);
            if when == "after" {
                visits.touch(&object, change);
            }
            visits.need_at(&object, Some("1"), now) != Need::Nothing(None)
        };
        for when in ["during", "after"] {
            assert!(needs(false, when), "{when}: it is being stopped");
            assert_eq!(needs(true, when), !tells_nothing, "{when}");
        }
    }

    #[test]
    fn the_config_maps_that_a_pass_has_written_are_known_to_the_next_one_unless_it_fails() {
        let (visits, now) = (Visits::default(), Instant::now());
        let object = ObjectRef::new("a").within("b");
        let files = FileVersions { report: Some("7".into()), receipt: None };
        assert_eq!(visits.begin(&object), FileVersions::default(), "there was no pass");
        visits.end_at(&object, Left { files: files.clone(), ..left(&["1"], None) }, now);
        assert_eq!(visits.begin(&object), files);
        assert_eq!(visits.begin(&object), FileVersions::default(), "the last pass has failed, and may have written them");
    }

    #[test]
    fn the_object_that_a_pass_has_left_is_known_until_the_watch_has_it() {
        let (visits, now) = (Visits::default(), Instant::now());
        let object = ObjectRef::new("a").within("b");
        let reset = |version: &str| -> OffsetReset {
            let spec = serde_json::json!({"kafka": {"bootstrapServers": "k:1"}, "group": "orders"});
            let metadata = serde_json::json!({"name": "a", "namespace": "b", "resourceVersion": version});
            serde_json::from_value(serde_json::json!({"apiVersion": "v1", "kind": "x", "metadata": metadata, "spec": spec}))
                .unwrap()
        };
        let known = |version: &str| visits.known(&object, &reset(version)).and_then(|known| known.metadata.resource_version);
        assert_eq!(known("1").as_deref(), Some("1"), "there was no pass");
        visits.begin(&object);
        assert_eq!(known("1"), None, "the last pass has failed");
        visits.end_at(&object, Left { object: Some(Box::new(reset("3"))), ..left(&["1", "2", "3"], None) }, now);
        assert_eq!(known("1").as_deref(), Some("3"), "the watch is behind");
        assert_eq!(known("3").as_deref(), Some("3"));
        assert_eq!(known("4"), None, "another client has changed it");
        visits.need_at(&object, Some("2"), now);
        assert_eq!(known("2").as_deref(), Some("3"));
        visits.need_at(&object, Some("3"), now);
        assert_eq!(known("2"), None, "the watch has had it: it is not kept");
    }
}
