//! `cancel`, `suspend`, `resume` and `prune`.

use std::io::IsTerminal;

use jiff::{SignedDuration, Timestamp};
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    runtime::watcher,
};
use offset_reset_operator::api::{OffsetReset, Phase, Restored};
use serde_json::json;

use futures::StreamExt;

use super::confirm::{NOT_CONFIRMED, agreed};
use crate::{
    cli::{CancelArgs, NamesArgs, PruneArgs},
    cluster::Cluster,
    command::look::listed,
    exit::{Exit, Failure, Outcome, can_be_undone, has_ended, may_have_changed},
    interrupt::{Left, leaves},
    print::{errln, outln},
    view::{
        DIM, GOOD, Line, Table, hint,
        words::{ago, precise, size},
    },
};

/// Only the object that was looked at.
pub fn this_one(reset: &OffsetReset) -> DeleteParams {
    DeleteParams::default().preconditions(Preconditions { uid: reset.uid(), resource_version: None })
}

/// `cancel`: deletes the reset, and waits until its finalizer has restored the workloads.
pub async fn cancel(cluster: &Cluster, name: &str, args: &CancelArgs) -> Outcome {
    let api = cluster.resets();
    let reset = cluster.reset(name).await?;
    if has_ended(&reset) && reset.status.as_ref().is_some_and(|status| status.phase != Some(Phase::Planned) && !status.dry_run) {
        let phase = reset.status.as_ref().and_then(|status| status.phase).map_or("ended", Phase::as_str);
        let can_be_undone = reset.status.as_ref().is_some_and(can_be_undone);
        let undo =
            if can_be_undone { format!("To take its offsets back: kubectl offset-reset undo {name}\n") } else { String::new() };
        return Err(Failure::new(format!("OffsetReset {name} has ended already: {phase}. There is nothing to cancel."))
            .advice(format!("{undo}To delete it with its report: kubectl delete offsetreset {name}")));
    }
    before_deletion(&reset).iter().for_each(errln);
    // An undo needs the object. Without a terminal the command does not ask: a script has decided.
    let is_asked = reset.status.as_ref().is_some_and(may_have_changed) && std::io::stdin().is_terminal();
    if is_asked && !agreed("Delete it? The offsets that it has set cannot be undone after that", args.yes)? {
        errln(&Line::plain(format!("OffsetReset {name} was not deleted, and goes on.")));
        return Ok(NOT_CONFIRMED);
    }
    let began = Timestamp::now();
    // From before the deletion on, so that the last state is seen.
    let changes = kube::runtime::WatchStreamExt::default_backoff(watcher::watch_object(api.clone(), name));
    let mut changes = std::pin::pin!(changes);
    leaves(Left::Cancelled(name.to_owned()));
    let deleted = api.delete(name, &this_one(&reset)).await;
    deleted.map_err(|error| Failure::request(&format!("delete OffsetReset {}/{name}", cluster.namespace), &error))?;
    errln(&Line::styled(DIM, format!("► deleting {}/{name}{}", cluster.namespace, waits_for(&reset))));
    let mut last = reset.clone();
    let gone = async {
        while let Some(change) = changes.next().await {
            match change {
                Ok(Some(next)) if next.uid() == reset.uid() => last = next,
                Ok(_) => return,
                // It is tried again; until then the last state stands.
                Err(_) => {}
            }
        }
    };
    tokio::select! {
        biased;
        () = gone => {}
        () = tokio::time::sleep(args.timeout) => {
            errln(&Line::warning("The workloads are not restored yet; the operator goes on trying."));
            errln(&hint("Look:", "holds"));
            errln(&hint("Explain:", &format!("explain {name}")));
            return Ok(Exit::Timeout);
        }
    }
    for line in cancelled(&last, Timestamp::now().duration_since(began)) {
        outln(&line);
    }
    Ok(Exit::Done)
}

/// The objects that `cancel` deletes, and the commands to save their content.
fn before_deletion(reset: &OffsetReset) -> Vec<Line> {
    let name = reset.name_any();
    let Some(report) = reset.status.as_ref().and_then(|status| status.report.as_ref()) else {
        return vec![Line::styled(DIM, format!("To cancel it, OffsetReset {name} is deleted; it has no report yet."))];
    };
    let words = format!("To cancel it, OffsetReset {name} is deleted, and with it its report (ConfigMap {}).", report.config_map);
    vec![
        Line::plain(words),
        Line::styled(DIM, "To keep them, before:"),
        hint("Offsets:", &format!("export {name} --before > {name}.csv")),
        hint("All:", &format!("report {name}")),
    ]
}

fn waits_for(reset: &OffsetReset) -> String {
    let held = reset.status.iter().flat_map(|status| &status.targets).filter(|target| target.is_held());
    let names: Vec<String> = held.map(|target| format!("{}/{}", target.kind, target.name)).collect();
    if names.is_empty() { String::new() } else { format!("; waiting for {}", names.join(", ")) }
}

/// What became of the workloads and of the offsets.
pub fn cancelled(last: &OffsetReset, took: SignedDuration) -> Vec<Line> {
    let status = last.status.clone().unwrap_or_default();
    let mut lines = vec![];
    for target in &status.targets {
        let name = format!("{}/{}", target.kind, target.name);
        lines.push(match target.restored {
            Some(Restored::Original) => {
                Line::styled(GOOD, "✔ ").and(format!("{name} restored to {} after {}", target.original_size(), precise(took)))
            }
            None if !target.stop_requested => Line::styled(GOOD, "✔ ").and(format!("{name} was not stopped")),
            Some(Restored::NotStopped) => Line::styled(GOOD, "✔ ").and(format!("{name} was not stopped")),
            _ => {
                let what = if target.is_connector() { "spec.state" } else { "replicas" };
                let before = size(target.original_replicas, target.original_state.as_deref());
                Line::warning(format!("{name}: look at its {what}; before it was stopped it had {before}"))
            }
        });
    }
    let said = status.outcome.as_ref().map(offset_reset_operator::api::Outcome::happened);
    lines.push(match (may_have_changed(&status), said) {
        (true, Some(said)) => Line::warning(format!("offsets were or may have been changed. {said}")),
        (true, None) => Line::warning("offsets were or may have been changed"),
        (false, _) => Line::styled(GOOD, "✔ ").and(format!("cancelled; no offset of group {} was changed", last.spec.group)),
    });
    lines
}

/// `suspend` and `resume`.
pub async fn suspend(cluster: &Cluster, args: &NamesArgs, suspend: bool) -> Outcome {
    let mut exit = Exit::Done;
    leaves(Left::Printed);
    for name in &args.names {
        let reset = cluster.reset(name).await?;
        let phase = reset.status.as_ref().and_then(|status| status.phase);
        if has_ended(&reset) && !(reset.spec.dry_run) {
            errln(&Line::warning(format!("{name} has ended: {}. It stays as it is.", phase.map_or("", Phase::as_str))));
            exit = Exit::Error;
            continue;
        }
        if suspend && phase.is_some_and(Phase::may_hold) && !has_ended(&reset) {
            errln(&Line::warning(format!("{name} is stopping its consumers already, so suspending has no effect.")));
            errln(&hint("Cancel:", &format!("cancel {name}")));
            exit = Exit::Error;
            continue;
        }
        let patch = Patch::Merge(json!({"spec": {"suspend": suspend}}));
        let patched = cluster.resets().patch(name, &PatchParams::default(), &patch).await;
        patched.map_err(|error| Failure::request(&format!("change OffsetReset {}/{name}", cluster.namespace), &error))?;
        let (done, command) = if suspend { ("suspended", "resume") } else { ("resumed", "watch") };
        outln(&Line::styled(GOOD, "✔ ").and(format!("{name} {done}")));
        outln(&hint(if suspend { "Resume:" } else { "Watch:" }, &format!("{command} {name}")));
    }
    Ok(exit)
}

/// `prune`: deletes what ended long ago.
pub async fn prune(cluster: &Cluster, args: &PruneArgs) -> Outcome {
    let now = Timestamp::now();
    let least = SignedDuration::try_from(args.older_than).unwrap_or(SignedDuration::MAX);
    let all = listed(cluster, args.all_namespaces).await?;
    let old: Vec<(OffsetReset, Timestamp)> = all
        .into_iter()
        .filter_map(|(_, reset)| reset.filter(has_ended))
        .filter_map(|reset| {
            let end = reset.status.as_ref()?.completion_time.as_ref()?.0;
            (now.duration_since(end) >= least).then_some((reset, end))
        })
        .collect();
    if old.is_empty() {
        outln(&Line::plain("There is no OffsetReset that ended so long ago."));
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["NAMESPACE", "NAME", "GROUP", "PHASE", "ENDED"]);
    for (reset, end) in &old {
        let phase = reset.status.as_ref().and_then(|status| status.phase).map_or("", Phase::as_str);
        table.row([
            reset.namespace().unwrap_or_default(),
            reset.name_any(),
            reset.spec.group.clone(),
            phase.to_owned(),
            ago(*end, now),
        ]);
    }
    table.lines().iter().for_each(outln);
    if args.dry_run {
        return Ok(Exit::Done);
    }
    let what = format!("Delete these {}, with their reports? They cannot be undone after that", old.len());
    if !agreed(&what, args.yes)? {
        return Ok(NOT_CONFIRMED);
    }
    let mut exit = Exit::Done;
    leaves(Left::Printed);
    for (reset, _) in &old {
        let (namespace, name) = (reset.namespace().unwrap_or_default(), reset.name_any());
        let api = kube::Api::<OffsetReset>::namespaced(cluster.client.clone(), &namespace);
        match api.delete(&name, &this_one(reset)).await {
            Ok(_) => outln(&Line::styled(GOOD, "✔ ").and(format!("{namespace}/{name} deleted"))),
            Err(error) => {
                let failure = Failure::request(&format!("delete {namespace}/{name}"), &error);
                failure.to_string().lines().for_each(|line| errln(&Line::plain(line)));
                exit = Exit::Error;
            }
        }
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn reset(status: &Value) -> OffsetReset {
        serde_json::from_value(json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "r"},
            "spec": {"kafka": {}, "group": "g"}, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_cancelled_reset_says_what_became_of_workloads_and_offsets() {
        let target = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "name": "c", "uid": "u", "originalReplicas": 3, "stopRequested": true,
            "restored": "Original",
        });
        let totals =
            |reset: i64| json!({"partitions": 3, "reset": reset, "failed": 0, "clamped": 0, "replayed": 0, "skipped": 0});
        let text = |status: Value| -> Vec<String> {
            cancelled(&reset(&status), SignedDuration::from_millis(800)).iter().map(Line::text).collect()
        };
        assert_eq!(
            text(json!({"phase": "Cancelled", "targets": [target], "totals": totals(0)})),
            ["✔ Deployment/c restored to 3 replicas after 0.8 s", "✔ cancelled; no offset of group g was changed"]
        );
        let outcome = json!({"phase": "Cancelled", "reason": "Cancelled", "message": "It was deleted"});
        assert_eq!(
            text(json!({"phase": "Cancelled", "totals": totals(1), "outcome": outcome})),
            ["⚠ offsets were or may have been changed. It was deleted"]
        );
    }
}
