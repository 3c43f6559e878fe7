//! PURE: which resets of a batch run, which wait, and when no more is started.

use std::collections::VecDeque;

use kube::ResourceExt;
use offset_reset_operator::api::OffsetReset;

use super::follow::Seen;
use crate::{
    exit::{Exit, any_changed, may_have_changed, of_batch, of_reset},
    view::{BAD, GOOD, Line, WARN, hint},
};

/// A plan that stands, and has not run.
pub fn is_planned(reset: &OffsetReset) -> bool {
    reset.spec.dry_run && of_reset(reset) == Some(Exit::Done)
}

/// A plan that was refused.
pub fn is_refused(reset: &OffsetReset) -> bool {
    reset.spec.dry_run && of_reset(reset).is_some_and(|exit| exit != Exit::Done)
}

/// A reset that was told to run, and has not ended.
pub fn is_under_way(reset: &OffsetReset) -> bool {
    !reset.spec.dry_run && of_reset(reset).is_none()
}

/// An object by its name and uid: another one of the same name is another reset.
pub type Id = (String, Option<String>);

fn id(reset: &OffsetReset) -> Id {
    (reset.name_any(), reset.uid())
}

fn found<'a>(seen: &'a Seen, (name, uid): &Id) -> Option<&'a OffsetReset> {
    seen.get(name).filter(|reset| reset.uid() == *uid)
}

/// News of one reset.
#[derive(Debug)]
pub enum News {
    /// It has ended.
    Ended(Box<OffsetReset>, Exit),
    /// It was deleted while it ran.
    Deleted(String),
    /// Its plan was deleted before it ran.
    LeftOut(String),
}

/// The run of a batch.
#[derive(Debug)]
pub struct Course {
    limit: usize,
    waiting: VecDeque<Id>,
    running: Vec<Id>,
    ended: Vec<(String, Exit)>,
    has_changed: bool,
    /// The first that has failed: nothing more is started.
    failed: Option<String>,
}

impl Course {
    /// All plans that stand wait, in the order of their names; those that others have started run.
    pub fn new(seen: &Seen, limit: usize) -> Self {
        let waiting = seen.values().filter(|reset| is_planned(reset)).map(id).collect();
        let running = seen.values().filter(|reset| is_under_way(reset)).map(id).collect();
        let has_changed = any_changed(seen.values());
        Self { limit, waiting, running, ended: vec![], has_changed, failed: None }
    }

    /// Takes a newer state.
    pub fn see(&mut self, seen: &Seen) -> Vec<News> {
        let mut news = vec![];
        for id in std::mem::take(&mut self.waiting) {
            match found(seen, &id) {
                Some(reset) if reset.spec.dry_run => self.waiting.push_back(id),
                // Another client has started it.
                Some(_) => self.running.push(id),
                None => news.push(News::LeftOut(id.0)),
            }
        }
        for id in std::mem::take(&mut self.running) {
            match found(seen, &id) {
                None => {
                    self.end(id.0.clone(), Exit::Cancelled);
                    news.push(News::Deleted(id.0));
                }
                // The watch may not have seen yet that it was told to run.
                Some(reset) if reset.spec.dry_run => self.running.push(id),
                Some(reset) => match of_reset(reset) {
                    None => self.running.push(id),
                    Some(exit) => {
                        self.has_changed |= reset.status.as_ref().is_some_and(may_have_changed);
                        self.end(id.0, exit);
                        news.push(News::Ended(Box::new(reset.clone()), exit));
                    }
                },
            }
        }
        news
    }

    fn end(&mut self, name: String, exit: Exit) {
        if exit != Exit::Done {
            self.failed.get_or_insert(name.clone());
        }
        self.ended.push((name, exit));
    }

    /// The next to start; from now on it counts as one that runs.
    pub fn start(&mut self) -> Option<Id> {
        if self.failed.is_some() || self.running.len() >= self.limit {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.running.push(next.clone());
        Some(next)
    }

    /// It could not be told to run.
    pub fn not_started(&mut self, name: &str) {
        self.running.retain(|(running, _)| running != name);
        self.end(name.to_owned(), Exit::Error);
    }

    /// Whether nothing runs, and nothing more is started.
    pub fn is_over(&self) -> bool {
        self.running.is_empty() && (self.waiting.is_empty() || self.failed.is_some())
    }

    /// How many have ended or run, and how many there are.
    pub fn count(&self) -> (usize, usize) {
        let begun = self.ended.len() + self.running.len();
        (begun, begun + self.waiting.len())
    }

    /// The names of those that run.
    pub fn running(&self) -> Vec<String> {
        self.running.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The names of those that were not started.
    pub fn waiting(&self) -> Vec<String> {
        self.waiting.iter().map(|(name, _)| name.clone()).collect()
    }

    /// How those that have ended did.
    pub fn exit(&self) -> Exit {
        of_batch(self.ended.iter().map(|(_, exit)| *exit), self.has_changed)
    }

    /// The results, the resets that have not ended, and the next commands.
    pub fn summary(&self, batch: &str) -> Vec<Line> {
        let done = self.ended.iter().filter(|(_, exit)| *exit == Exit::Done).count();
        let failed: Vec<&str> =
            self.ended.iter().filter(|(_, exit)| *exit != Exit::Done).map(|(name, _)| name.as_str()).collect();
        let mut lines = vec![];
        match &self.failed {
            None if self.running.is_empty() => {
                lines.push(Line::styled(GOOD, "✔ ").and(format!("batch {batch}: {done} succeeded, and none failed")));
            }
            None => lines.push(
                Line::styled(WARN, "The timeout is over")
                    .and(": nothing more is started. Running resets continue without this command."),
            ),
            Some(first) => {
                let words = format!(": nothing was started after {first}, the first failure.");
                lines.push(Line::styled(BAD, format!("✗ Batch {batch} has stopped")).and(words));
            }
        }
        let some = [("Succeeded", done.to_string()), ("Failed", failed.join(", ")), ("Running", self.running().join(", "))];
        if self.failed.is_some() || !self.running.is_empty() {
            let waiting = self.waiting();
            let waiting =
                if waiting.is_empty() { "none".to_owned() } else { format!("{}: {}", waiting.len(), waiting.join(", ")) };
            let some = some.into_iter().chain([("Not started", waiting)]).filter(|(_, names)| !names.is_empty());
            lines.extend(some.map(|(what, names)| Line::plain(format!("  {what:<12} {names}"))));
        }
        lines.extend(failed.first().map(|name| hint("Explain:", &format!("explain {name}"))));
        if !self.running.is_empty() {
            lines.push(hint("Watch:", &format!("watch --batch {batch}")));
        }
        if !self.waiting.is_empty() {
            lines.push(hint("Go on:", &format!("run --batch {batch}")));
        }
        if self.has_changed {
            lines.push(hint("Undo:", &format!("undo --batch {batch}")));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn reset(name: &str, phase: &str, runs: bool, changed: i64) -> (String, OffsetReset) {
        let totals = json!({"partitions": 3, "reset": changed, "failed": 0, "clamped": 0, "replayed": 0, "skipped": 0});
        let status: Value = json!({"phase": phase, "dryRun": phase == "Planned", "totals": totals});
        let object = json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": name, "uid": format!("u-{name}")},
            "spec": {"kafka": {}, "group": name, "dryRun": !runs}, "status": status,
        });
        (name.to_owned(), serde_json::from_value(object).unwrap())
    }

    fn plans(names: &[&str]) -> Seen {
        names.iter().map(|name| reset(name, "Planned", false, 0)).collect()
    }

    fn started(course: &mut Course) -> Vec<String> {
        std::iter::from_fn(|| course.start()).map(|(name, _)| name).collect()
    }

    #[test]
    fn no_more_than_the_limit_run_and_the_next_starts_once_one_has_ended() {
        let mut seen = plans(&["a", "b", "c"]);
        let mut course = Course::new(&seen, 2);
        assert_eq!(started(&mut course), ["a", "b"]);
        assert!(course.see(&seen).is_empty() && course.start().is_none(), "the watch is behind");
        seen.extend([reset("a", "Draining", true, 0), reset("b", "Succeeded", true, 3)]);
        assert!(matches!(&course.see(&seen)[..], [News::Ended(_, Exit::Done)]));
        assert_eq!((started(&mut course), course.count()), (vec!["c".to_owned()], (3, 3)));
        seen.extend([reset("a", "Succeeded", true, 3), reset("c", "Succeeded", true, 3)]);
        assert_eq!((course.see(&seen).len(), course.is_over(), course.exit()), (2, true, Exit::Done));
        assert_eq!(course.summary("x")[0].text(), "✔ batch x: 3 succeeded, and none failed");
    }

    #[test]
    fn after_a_failure_nothing_is_started_and_what_runs_goes_on_to_its_end() {
        let mut seen = plans(&["a", "b", "c", "d"]);
        let mut course = Course::new(&seen, 2);
        started(&mut course);
        seen.extend([reset("a", "Failed", true, 0), reset("b", "Draining", true, 0)]);
        course.see(&seen);
        assert!(course.start().is_none() && !course.is_over());
        seen.extend([reset("b", "Succeeded", true, 3)]);
        course.see(&seen);
        assert!(course.start().is_none() && course.is_over());
        assert_eq!(course.exit(), Exit::Partly, "b has changed offsets");
        let text: Vec<String> = course.summary("x").iter().map(Line::text).collect();
        assert_eq!(
            text,
            [
                "✗ Batch x has stopped: nothing was started after a, the first failure.",
                "  Succeeded    1",
                "  Failed       a",
                "  Not started  2: c, d",
                "Explain: kubectl offset-reset explain a",
                "Go on:   kubectl offset-reset run --batch x",
                "Undo:    kubectl offset-reset undo --batch x",
            ]
        );
    }

    #[rstest]
    #[case::nothing_changed(&[("a", "Failed", 0)], Exit::Unchanged)]
    #[case::changed_in_part(&[("a", "Failed", 1)], Exit::Partly)]
    #[case::cancelled(&[("a", "Cancelled", 0)], Exit::Cancelled)]
    #[case::one_after_another(&[("a", "Cancelled", 0), ("b", "Failed", 1)], Exit::Partly)]
    fn a_batch_ends_as_its_first_failure_unless_offsets_were_changed(#[case] ends: &[(&str, &str, i64)], #[case] expected: Exit) {
        let names: Vec<&str> = ends.iter().map(|(name, ..)| *name).collect();
        let mut course = Course::new(&plans(&names), names.len());
        started(&mut course);
        course.see(&ends.iter().map(|(name, phase, changed)| reset(name, phase, true, *changed)).collect());
        assert_eq!(course.exit(), expected);
    }

    #[test]
    fn what_others_do_meanwhile_counts() {
        let mut seen = plans(&["a", "b", "c", "d"]);
        seen.extend([reset("r", "Draining", true, 0), reset("z", "Succeeded", true, 3)]);
        let mut course = Course::new(&seen, 2);
        assert_eq!(started(&mut course), ["a"], "r runs already");
        seen.remove("b");
        seen.extend([reset("a", "Draining", true, 0), reset("c", "Draining", true, 0)]);
        assert!(matches!(&course.see(&seen)[..], [News::LeftOut(name)] if name == "b"));
        assert_eq!((course.running(), course.waiting()), (vec!["r".into(), "a".into(), "c".into()], vec!["d".to_owned()]));
        seen.remove("a");
        assert!(matches!(&course.see(&seen)[..], [News::Deleted(name)] if name == "a"));
        assert_eq!(course.exit(), Exit::Cancelled);
        let mut course = Course::new(&plans(&["a"]), 1);
        started(&mut course);
        course.not_started("a");
        assert!(course.is_over() && course.exit() == Exit::Error);
    }
}
