//! `undo --batch`: a batch of undos, which runs as every other batch does.

use kube::{ResourceExt, api::PostParams};
use offset_reset_operator::api::OffsetReset;
use serde_json::{Value, json};

use super::{
    course::is_under_way,
    follow::{Followed, Seen, now},
    names,
    run::{carry_out, may_run, missing},
    tell::Hindrances,
};
use crate::{
    cli::UndoArgs,
    cluster::{BATCH, Cluster, is_of_batch},
    command::act::{
        others::{Undone, undone},
        steps,
    },
    exit::{Exit, Failure, Outcome, can_be_undone, has_ended},
    interrupt::{Left, leaves},
    manifest,
    print::{errln, outln},
    view::{DIM, Line, batch as table},
};

/// Plans the undos, shows them, asks, and runs them.
pub async fn undo(cluster: &Cluster, batch: &str, args: &UndoArgs) -> Outcome {
    may_run(cluster, &args.run)?;
    let seen = now(cluster, batch).await?;
    if seen.is_empty() {
        return Err(missing(cluster, batch));
    }
    let undos = names::undo_batch(batch);
    let all = steps::others(cluster).await?;
    let (to_make, said) = to_make(batch, &undos, &seen, &all)?;
    said.iter().for_each(errln);
    leaves(Left::BatchPlans(undos.clone()));
    errln(&Line::styled(DIM, format!("► creating {} dry runs of batch {undos} in {}", to_make.len(), cluster.namespace)));
    for manifest in &to_make {
        steps::posted(cluster, manifest, &PostParams::default()).await?;
    }
    let expected: Vec<String> =
        to_make.iter().filter_map(|manifest| manifest["metadata"]["name"].as_str().map(str::to_owned)).collect();
    let mut followed = Followed::start(cluster, &undos).await;
    let mut hindrances = Hindrances::default();
    let is_made = |seen: &Seen| {
        hindrances.next(seen);
        let are_there = expected.iter().all(|name| seen.contains_key(name));
        are_there && seen.values().all(|reset| !reset.spec.dry_run || has_ended(reset))
    };
    if !followed.until(args.timeout, is_made).await {
        errln(&Line::warning("The timeout is over, and not every undo is planned yet. Nothing was started."));
        return Ok(Exit::Timeout);
    }
    table(&followed.seen().values().collect::<Vec<_>>()).iter().for_each(outln);
    carry_out(cluster, &undos, followed, &args.run, &args.pace, args.timeout).await
}

/// PURE: the undos that do not exist yet, and what is said about resets that are left out.
fn to_make(batch: &str, undos: &str, seen: &Seen, all: &[OffsetReset]) -> Outcome<(Vec<Value>, Vec<Line>)> {
    let under_way: Vec<&str> = seen.iter().filter(|(_, reset)| is_under_way(reset)).map(|(name, _)| name.as_str()).collect();
    if !under_way.is_empty() {
        return Err(Failure::new(format!("{} of batch {batch} have not ended. Nothing was undone.", under_way.join(", ")))
            .advice(format!(
                "To wait for them: kubectl offset-reset watch --batch {batch}\nTo end them:      kubectl offset-reset cancel \
                 --batch {batch}"
            )));
    }
    let changed: Vec<&OffsetReset> = seen.values().filter(|reset| reset.status.as_ref().is_some_and(can_be_undone)).collect();
    if changed.is_empty() {
        return Err(Failure::new(format!(
            "no OffsetReset of batch {batch} has changed an offset that is not undone already: there is nothing to undo."
        )));
    }
    let is_of_the_batch = |reset: &OffsetReset| is_of_batch(reset, undos);
    let (mut to_make, mut said) = (vec![], vec![]);
    for of in changed {
        let (name, new) = (of.name_any(), names::undo(&of.name_any()));
        match undone(all, of) {
            Some(Undone::Now(by) | Undone::Before(by)) => {
                said.push(Line::warning(format!("{name} is left out: {} has undone it, or does so now", by.name_any())));
            }
            // A plan from before, which runs with the others.
            None if all.iter().any(|reset| reset.name_any() == new && is_of_the_batch(reset)) => {}
            None => {
                let mut manifest = manifest::undo(of, &new);
                manifest["metadata"]["labels"] = json!({BATCH: undos});
                to_make.push(manifest);
            }
        }
    }
    Ok((to_make, said))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reset(name: &str, batch: &str, spec: &Value, phase: &str, changed: i64) -> OffsetReset {
        let totals = json!({"partitions": 3, "reset": changed, "failed": 0, "clamped": 0, "replayed": 0, "skipped": 0});
        let mut object = json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset",
            "metadata": {"name": name, "namespace": "shop", "uid": name, "labels": {BATCH: batch}},
            "spec": {"kafka": {}, "group": "g"}, "status": {"phase": phase, "totals": totals, "dryRun": phase == "Planned"},
        });
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(object).unwrap()
    }

    fn made(all: &[OffsetReset]) -> Outcome<(Vec<String>, Vec<String>)> {
        let of_batch = all.iter().filter(|reset| reset.labels()[BATCH] == "b");
        let seen = of_batch.map(|reset| (reset.name_any(), reset.clone())).collect();
        let (manifests, said) = to_make("b", "undo-b", &seen, all)?;
        assert!(manifests.iter().all(|manifest| manifest["metadata"]["labels"] == json!({BATCH: "undo-b"})));
        let names = manifests.iter().map(|manifest| manifest["metadata"]["name"].as_str().unwrap().to_owned()).collect();
        Ok((names, said.iter().map(Line::text).collect()))
    }

    #[test]
    fn what_the_failure_of_a_canary_has_undone_is_not_undone_again() {
        let mut undone = reset("a", "b", &json!({}), "Failed", 3);
        undone.status.as_mut().unwrap().canary =
            Some(serde_json::from_value(json!({"state": "Undone", "message": "It crashed", "replicas": 1})).unwrap());
        assert!(made(std::slice::from_ref(&undone)).unwrap_err().what.contains("nothing to undo"));
        assert_eq!(made(&[undone, reset("c", "b", &json!({}), "Succeeded", 3)]).unwrap().0, ["undo-c"]);
    }

    #[test]
    fn each_reset_that_has_changed_offsets_is_undone_once() {
        let plan = json!({"dryRun": true});
        let mut all = vec![
            reset("a", "b", &json!({}), "Succeeded", 3),
            reset("failed", "b", &json!({}), "Failed", 1),
            reset("unchanged", "b", &json!({}), "Failed", 0),
            reset("plan", "b", &plan, "Planned", 0),
        ];
        assert_eq!(made(&all).unwrap().0, ["undo-a", "undo-failed"]);
        all.push(reset("undo-failed", "undo-b", &json!({"undo": {"name": "failed"}, "dryRun": true}), "Planned", 0));
        all.push(reset("back", "x", &json!({"undo": {"name": "a"}}), "Succeeded", 3));
        let (names, said) = made(&all).unwrap();
        assert!(names.is_empty(), "{names:?}");
        assert_eq!(said, ["⚠ a is left out: back has undone it, or does so now"]);
        all.push(reset("late", "b", &json!({}), "Draining", 0));
        assert!(made(&all).unwrap_err().what.starts_with("late of batch b have not ended"));
        assert!(made(&[reset("plan", "b", &plan, "Planned", 0)]).unwrap_err().what.contains("nothing to undo"));
    }
}
