//! PURE: what other resets of the namespace mean for one: an earlier undo of it, and those that need the same group or workloads.

use jiff::{Timestamp, tz::TimeZone};
use kube::ResourceExt;
use offset_reset_operator::{
    api::{OffsetReset, Phase},
    machine::facts::UndoSeen,
};

use crate::{
    exit::{has_ended, may_have_changed},
    view::{
        Line,
        words::{ago, full},
    },
};

fn has_changed(reset: &OffsetReset) -> bool {
    reset.status.as_ref().is_some_and(may_have_changed)
}

/// Whether a reset runs or will run: it is not a dry run, and has not ended.
fn is_under_way(reset: &OffsetReset) -> bool {
    !reset.spec.dry_run && !has_ended(reset)
}

/// An undo of a reset that exists already.
#[derive(Debug)]
pub enum Undone<'a> {
    /// This OffsetReset undoes it now.
    Now(&'a OffsetReset),
    /// This OffsetReset has undone it, or some of its partitions.
    Before(&'a OffsetReset),
}

/// The latest undo of a reset; none when that undo was itself undone, because the reset's offsets are committed again then.
pub fn undone<'a>(all: &'a [OffsetReset], of: &OffsetReset) -> Option<Undone<'a>> {
    let is_now = |reset: &&OffsetReset| undoes(reset, of) && is_under_way(reset) && !reset.spec.suspend;
    if let Some(now) = all.iter().find(is_now) {
        return Some(Undone::Now(now));
    }
    let last = all.iter().filter(|reset| has_undone(reset, of)).max_by_key(|reset| ended(reset))?;
    (!all.iter().any(|reset| has_undone(reset, last))).then_some(Undone::Before(last))
}

fn undoes(reset: &OffsetReset, of: &OffsetReset) -> bool {
    reset.spec.undo.as_ref().is_some_and(|undo| undo.name == of.name_any())
}

/// By the operator's rule: an undo from before the reset's end has undone an earlier object of the same name.
fn has_undone(reset: &OffsetReset, of: &OffsetReset) -> bool {
    let namespace = of.namespace().unwrap_or_default();
    has_changed(reset) && UndoSeen::of(reset, &namespace, &of.name_any(), ended(of)).is_some()
}

fn ended(reset: &OffsetReset) -> Option<Timestamp> {
    reset.status.as_ref()?.completion_time.as_ref().map(|at| at.0)
}

/// What an earlier undo means for another one.
pub fn undone_before(name: &str, by: &OffsetReset, now: Timestamp, zone: &TimeZone) -> Vec<Line> {
    let status = by.status.clone().unwrap_or_default();
    let when = ended(by).map(|at| format!(" at {} ({})", full(at, zone), ago(at, now))).unwrap_or_default();
    let totals = status.totals.unwrap_or_default();
    let failed = if status.phase == Some(Phase::Succeeded) {
        String::new()
    } else {
        format!(", on {} of {} partitions", totals.reset + totals.unconfirmed, totals.partitions)
    };
    let what = format!("{name} was undone already by {}{when}{failed}.", by.name_any());
    let meaning = format!(
        "A second undo sets the offsets again that {name} found: what the consumers have consumed since then is consumed again, and \
         what was set since then is lost. Its plan shows how much."
    );
    vec![Line::warning(what), Line::plain(format!("  {meaning}"))]
}

/// The resets under way that need the same group or one of the same workloads.
pub fn in_the_way(all: &[OffsetReset], reset: &OffsetReset) -> Vec<Line> {
    let target = |reset: &OffsetReset| -> Vec<String> {
        reset.spec.target_refs.iter().map(|target| format!("{}/{}", target.kind, target.name)).collect()
    };
    let own = target(reset);
    let others = all.iter().filter(|other| other.uid() != reset.uid() && is_under_way(other) && !other.spec.suspend);
    others
        .filter_map(|other| {
            let same: Vec<String> = target(other).into_iter().filter(|name| own.contains(name)).collect();
            let group = (other.spec.group == reset.spec.group).then(|| format!("group {}", reset.spec.group));
            let shared: Vec<String> = group.into_iter().chain(same).collect();
            if shared.is_empty() {
                return None;
            }
            let status = other.status.clone().unwrap_or_default();
            let phase = status.phase.map_or("new", Phase::as_str);
            let name = other.name_any();
            let words = format!(
                "OffsetReset {name} ({phase}) works on {}: a run of this one waits until it has ended, and its offsets may have moved \
                 by then. To follow it: kubectl offset-reset watch {name}",
                shared.join(" and ")
            );
            Some(Line::warning(words))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn reset(name: &str, spec: &Value, status: &Value) -> OffsetReset {
        let mut object = json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": name, "namespace": "shop", "uid": name},
            "spec": {"kafka": {}, "group": "g", "targetRefs": [{"name": "c"}]}, "status": status,
        });
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(object).unwrap()
    }

    fn done(reset: i64, at: &str) -> Value {
        let totals = json!({"partitions": 3, "reset": reset, "failed": 0, "clamped": 0, "replayed": 0, "skipped": 0});
        json!({"phase": if reset == 3 { "Succeeded" } else { "Failed" }, "totals": totals, "completionTime": at})
    }

    #[test]
    fn an_undo_that_was_made_before_is_named_unless_it_was_undone_itself() {
        let of = |name: &str| json!({"undo": {"name": name}});
        let r = reset("r", &json!({}), &done(3, "2026-11-24T17:00:00Z"));
        let first = reset("undo-r", &of("r"), &done(3, "2026-11-24T18:00:00Z"));
        let failed = reset("failed", &of("r"), &done(0, "2026-11-24T19:00:00Z"));
        let plan = reset("plan", &json!({"undo": {"name": "r"}, "dryRun": true}), &json!({"phase": "Planned", "dryRun": true}));
        let other = reset("other", &of("s"), &done(3, "2026-11-24T20:00:00Z"));
        let mut all = vec![first, failed, plan, other];
        let Some(Undone::Before(by)) = undone(&all, &r) else { panic!() };
        let now = "2026-11-24T18:05:00Z".parse().unwrap();
        let text: Vec<String> = undone_before("r", by, now, &TimeZone::UTC).iter().map(Line::text).collect();
        assert_eq!(text[0], "⚠ r was undone already by undo-r at 2026-11-24 18:00:00+00:00 (5m ago).");
        assert!(text[1].contains("consumed again"), "{text:?}");
        all.push(reset("now", &of("r"), &json!({"phase": "Draining"})));
        assert!(matches!(undone(&all, &r), Some(Undone::Now(by)) if by.name_any() == "now"));
        all.pop();
        all.push(reset("back", &of("undo-r"), &done(3, "2026-11-24T18:02:00Z")));
        assert!(undone(&all, &r).is_none());
        let partly = [reset("undo-r", &of("r"), &done(2, "2026-11-24T18:00:00Z"))];
        let Some(Undone::Before(by)) = undone(&partly, &r) else { panic!() };
        assert!(undone_before("r", by, now, &TimeZone::UTC)[0].text().ends_with("on 2 of 3 partitions."));
    }

    /// A name may be taken again, once the first object of that name was deleted.
    #[test]
    fn an_undo_of_an_earlier_object_of_the_name_is_none_of_this_one() {
        let planned = |at: &str| {
            let mut status = done(3, at);
            status["planningStartTime"] = json!(at);
            reset("undo-r", &json!({"undo": {"name": "r"}}), &status)
        };
        let again = reset("r", &json!({}), &done(3, "2026-11-24T19:00:00Z"));
        assert!(undone(&[planned("2026-11-24T18:00:00Z")], &again).is_none());
        assert!(matches!(undone(&[planned("2026-11-24T20:00:00Z")], &again), Some(Undone::Before(_))));
    }

    #[rstest]
    #[case::same_group(json!({"targetRefs": [{"name": "d"}]}), json!({"phase": "Draining"}), Some("(Draining) works on group g:"))]
    #[case::same_workload(json!({"group": "h"}), json!({"phase": "Restoring"}), Some("(Restoring) works on Deployment/c:"))]
    #[case::both(json!({}), json!({"phase": "Stopping"}), Some("works on group g and Deployment/c:"))]
    #[case::neither(json!({"group": "h", "targetRefs": [{"name": "d"}]}), json!({"phase": "Draining"}), None)]
    #[case::over(json!({}), json!({"phase": "Succeeded"}), None)]
    #[case::a_plan(json!({"dryRun": true}), json!({"phase": "Planned", "dryRun": true}), None)]
    #[case::told_to_run(json!({}), json!({"phase": "Planned", "dryRun": true}), Some("works on"))]
    #[case::suspended(json!({"suspend": true}), json!({"phase": "Pending"}), None)]
    fn a_reset_under_way_that_needs_the_same_is_named(
        #[case] spec: Value,
        #[case] status: Value,
        #[case] expected: Option<&str>,
    ) {
        let own = reset("own", &json!({"dryRun": true}), &json!({"phase": "Planned", "dryRun": true}));
        let all = [own.clone(), reset("other", &spec, &status)];
        let lines = in_the_way(&all, &own);
        assert_eq!(!lines.is_empty(), expected.is_some(), "{lines:?}");
        for line in lines {
            assert!(line.text().contains(expected.unwrap()) && line.text().contains("watch other"), "{}", line.text());
        }
    }
}
