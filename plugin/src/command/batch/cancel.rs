//! `cancel --batch`: deletes the plans and the resets that have not ended, and waits until the workloads are restored.

use std::io::IsTerminal;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use offset_reset_operator::api::OffsetReset;

use super::{
    follow::{Followed, Seen, now},
    run::missing,
};
use crate::{
    cli::CancelArgs,
    cluster::{AT_ONCE, Cluster},
    command::act::{
        confirm::{NOT_CONFIRMED, agreed},
        end::{cancelled, this_one},
    },
    exit::{Exit, Failure, Outcome, has_ended, may_have_changed},
    interrupt::{Left, leaves},
    print::{errln, outln},
    view::{DIM, GOOD, Line, hint},
};

/// Deletes the plans and the resets that have not ended.
pub async fn cancel(cluster: &Cluster, batch: &str, args: &CancelArgs) -> Outcome {
    let seen = now(cluster, batch).await?;
    if seen.is_empty() {
        return Err(missing(cluster, batch));
    }
    let (plans, running) = to_delete(&seen);
    if plans.is_empty() && running.is_empty() {
        return Err(Failure::new(format!("every OffsetReset of batch {batch} has ended: there is nothing to cancel."))
            .advice(format!("To take their offsets back: kubectl offset-reset undo --batch {batch}")));
    }
    errln(&Line::plain(said(batch, &plans, &running, seen.len())));
    let changed = running.iter().filter(|reset| reset.status.as_ref().is_some_and(may_have_changed)).count();
    // Without a terminal the command does not ask: a script has decided.
    if changed > 0 && std::io::stdin().is_terminal() {
        let what = format!("Delete them? {changed} have set offsets already, which cannot be undone after that");
        if !agreed(&what, args.yes)? {
            errln(&Line::plain("Nothing was deleted. Running resets continue."));
            return Ok(NOT_CONFIRMED);
        }
    }
    let began = Timestamp::now();
    leaves(Left::BatchCancelled(batch.to_owned()));
    let mut followed = Followed::start(cluster, batch).await;
    // The plans first, so that none of them is started meanwhile.
    delete(cluster, &plans).await?;
    if !plans.is_empty() {
        outln(&Line::styled(GOOD, "✔ ").and(format!("plans deleted: {}; they had stopped nothing", plans.len())));
    }
    delete(cluster, &running).await?;
    let mut last: Seen = running.iter().map(|reset| (reset.name_any(), (*reset).clone())).collect();
    let is_gone = |seen: &Seen| {
        let mut left = 0;
        for (name, reset) in &mut last {
            if let Some(now) = seen.get(name).filter(|now| now.uid() == reset.uid()) {
                *reset = now.clone();
                left += 1;
            }
        }
        left == 0
    };
    let is_in_time = followed.until(Some(args.timeout), is_gone).await;
    let took = Timestamp::now().duration_since(began);
    if !is_in_time {
        errln(&Line::warning("Not every workload is restored yet; the operator goes on trying."));
        errln(&hint("Look:", "holds"));
        errln(&hint("Again:", &format!("cancel --batch {batch}")));
        return Ok(Exit::Timeout);
    }
    last.values().flat_map(|reset| of(reset, took)).for_each(|line| outln(&line));
    Ok(Exit::Done)
}

/// PURE: the plans, and the resets that have not ended. Ended resets stay, with their reports.
fn to_delete(seen: &Seen) -> (Vec<&OffsetReset>, Vec<&OffsetReset>) {
    let some = seen.values().filter(|reset| reset.spec.dry_run || !has_ended(reset));
    some.partition(|reset| reset.spec.dry_run)
}

fn said(batch: &str, plans: &[&OffsetReset], running: &[&OffsetReset], all: usize) -> String {
    let are = |count: usize, one: &str, several: &str| if count == 1 { format!("1 {one}") } else { format!("{count} {several}") };
    let names: Vec<String> = running.iter().map(|reset| reset.name_any()).collect();
    let mut parts = vec![];
    if !plans.is_empty() {
        parts.push(are(plans.len(), "plan is deleted", "plans are deleted"));
    }
    if !running.is_empty() {
        let what = are(running.len(), "reset that runs or waits is deleted", "resets that run or wait are deleted");
        parts.push(format!("{what} ({})", names.join(", ")));
    }
    let stay = all - plans.len() - running.len();
    let stay = if stay == 0 { String::new() } else { format!(" {}.", are(stay, "has ended and stays", "have ended and stay")) };
    format!("To cancel batch {batch}, {}, with their reports.{stay}", parts.join(", and "))
}

async fn delete(cluster: &Cluster, resets: &[&OffsetReset]) -> Outcome<()> {
    let api = cluster.resets();
    let deleting = resets.iter().map(|reset| {
        let api = api.clone();
        async move {
            let name = reset.name_any();
            match api.delete(&name, &this_one(reset)).await {
                Ok(_) => Ok(()),
                // Another client was faster.
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                Err(error) => Err(Failure::request(&format!("delete OffsetReset {}/{name}", cluster.namespace), &error)),
            }
        }
    });
    let all: Vec<Outcome<()>> = futures::stream::iter(deleting).buffered(AT_ONCE).collect().await;
    all.into_iter().collect()
}

/// What became of one.
fn of(reset: &OffsetReset, took: SignedDuration) -> Vec<Line> {
    let mut lines = vec![Line::styled(DIM, reset.name_any())];
    lines.extend(cancelled(reset, took));
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn reset(name: &str, runs: bool, status: &Value) -> (String, OffsetReset) {
        let object = json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": name},
            "spec": {"kafka": {}, "group": "g", "dryRun": !runs}, "status": status,
        });
        (name.to_owned(), serde_json::from_value(object).unwrap())
    }

    #[test]
    fn plans_and_what_runs_are_deleted_and_what_has_ended_stays() {
        let seen = Seen::from([
            reset("plan", false, &json!({"phase": "Planned", "dryRun": true})),
            reset("refused", false, &json!({"phase": "Failed", "dryRun": true})),
            reset("runs", true, &json!({"phase": "Draining"})),
            reset("waits", true, &json!({"phase": "Planned", "dryRun": true})),
            reset("done", true, &json!({"phase": "Succeeded"})),
        ]);
        let (plans, running) = to_delete(&seen);
        assert_eq!(
            said("b", &plans, &running, seen.len()),
            "To cancel batch b, 2 plans are deleted, and 2 resets that run or wait are deleted (runs, waits), with their reports. 1 \
             has ended and stays."
        );
    }
}
