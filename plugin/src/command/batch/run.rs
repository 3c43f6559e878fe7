//! `run --batch` and `watch --batch`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use offset_reset_operator::api::OffsetReset;

use super::{
    course::{Course, News, is_planned, is_refused, is_under_way},
    follow::{Followed, Seen},
    tell::{Hindrances, Told, end},
};
use crate::{
    cli::{PaceArgs, RunArgs, RunNameArgs, WatchArgs},
    cluster::Cluster,
    command::{
        act::{
            confirm::{NOT_CONFIRMED, asked, right_context},
            steps,
        },
        check::trouble,
    },
    exit::{Exit, Failure, Outcome, any_changed, can_be_undone, has_ended, of_batch, of_reset},
    interrupt::{Left, leaves},
    print::{errln, outln},
    view::{BAD, BOLD, DIM, Line, WARN, batch as table, hint, words, workloads},
};

/// `run --batch`: all plans of the batch that stand, after one question.
pub async fn run(cluster: &Cluster, batch: &str, args: &RunNameArgs) -> Outcome {
    may_run(cluster, &args.run)?;
    let mut followed = followed(cluster, batch).await?;
    let mut hindrances = Hindrances::default();
    let are_made = |seen: &Seen| {
        hindrances.next(seen);
        !seen.values().any(is_unplanned)
    };
    if !followed.until(args.timeout, are_made).await {
        errln(&Line::warning("The timeout is over, and not every plan is made yet. Nothing was started."));
        return Ok(Exit::Timeout);
    }
    table(&followed.seen().values().collect::<Vec<_>>()).iter().for_each(outln);
    carry_out(cluster, batch, followed, &args.run, &args.pace, args.timeout).await
}

fn is_unplanned(reset: &OffsetReset) -> bool {
    reset.spec.dry_run && !has_ended(reset)
}

/// Before anything is done.
pub fn may_run(cluster: &Cluster, run: &RunArgs) -> Outcome<()> {
    right_context(cluster, run)?;
    if run.no_watch {
        return Err(Failure::new("a batch is watched: this command starts each reset once another has ended. Nothing was done.")
            .advice("Leave out --no-watch."));
    }
    Ok(())
}

/// The batch, which has an OffsetReset at least.
async fn followed(cluster: &Cluster, batch: &str) -> Outcome<Followed> {
    // Its error says what is missing, where the watch would try again for ever.
    if super::follow::now(cluster, batch).await?.is_empty() {
        return Err(missing(cluster, batch));
    }
    Ok(Followed::start(cluster, batch).await)
}

/// No OffsetReset has the batch's label.
pub fn missing(cluster: &Cluster, batch: &str) -> Failure {
    Failure::new(format!("there is no OffsetReset of batch {batch} in namespace {}.", cluster.namespace))
        .advice(format!("To make one: kubectl offset-reset plan -l LABELS --batch {batch} ..."))
}

/// Question, run, watch.
pub async fn carry_out(
    cluster: &Cluster,
    batch: &str,
    mut followed: Followed,
    run: &RunArgs,
    pace: &PaceArgs,
    timeout: Option<Duration>,
) -> Outcome {
    if let Some(exit) = obstacle(batch, followed.seen(), pace)? {
        return Ok(exit);
    }
    if let Some((what, advice)) = trouble(cluster).await {
        errln(&Line::warning(format!("{what}. The resets start once an operator works. {advice}")));
    }
    question(cluster, batch, followed.seen(), pace.limit()).iter().for_each(errln);
    let command = format!("run --batch {batch}");
    if !asked("batch", batch, run.yes, &command)? {
        errln(&Line::styled(WARN, "Not confirmed").and(": nothing was stopped and no offset was changed. The plans stay."));
        errln(&Line::plain(format!("To run them later:  kubectl offset-reset {command}")));
        errln(&Line::plain(format!("To delete them:     kubectl offset-reset cancel --batch {batch}")));
        return Ok(NOT_CONFIRMED);
    }
    let began = Timestamp::now();
    let mut course = Course::new(followed.seen(), pace.limit());
    let could_not = match timeout {
        None => Some(go(cluster, batch, &mut followed, &mut course).await),
        Some(timeout) => tokio::time::timeout(timeout, go(cluster, batch, &mut followed, &mut course)).await.ok(),
    };
    let took = Timestamp::now().duration_since(began);
    course.summary(batch).iter().for_each(outln);
    outln(&Line::styled(DIM, format!("after {}", words::precise(took))));
    match could_not {
        None => Ok(Exit::Timeout),
        Some(Some(failure)) if course.exit() == Exit::Error => Err(failure),
        Some(_) => Ok(course.exit()),
    }
}

/// What keeps a batch from running.
fn obstacle(batch: &str, seen: &Seen, pace: &PaceArgs) -> Outcome<Option<Exit>> {
    let refused: Vec<&OffsetReset> = seen.values().filter(|reset| is_refused(reset)).collect();
    if !refused.is_empty() && !pace.skip_refused {
        let names: Vec<String> = refused.iter().map(|reset| reset.name_any()).collect();
        outln(&Line::default());
        let words = format!(": the plans of {} were refused. Nothing was stopped.", names.join(", "));
        outln(&Line::styled(BAD, format!("✗ Batch {batch} does not run")).and(words));
        outln(&hint("Explain:", &format!("explain {}", names[0])));
        outln(&hint("Without:", &format!("run --batch {batch} --skip-refused")));
        return Ok(Some(Exit::Unchanged));
    }
    if seen.values().any(is_planned) {
        return Ok(None);
    }
    if seen.values().any(is_under_way) {
        return Err(Failure::new(format!("batch {batch} runs already: none of its plans is left to start."))
            .advice(format!("To follow it: kubectl offset-reset watch --batch {batch}")));
    }
    Err(Failure::new(format!("no plan of batch {batch} is left to run."))
        .advice(format!("To look: kubectl offset-reset list --batch {batch}")))
}

/// PURE: what is about to happen.
fn question(cluster: &Cluster, batch: &str, seen: &Seen, limit: usize) -> Vec<Line> {
    let planned: Vec<&OffsetReset> = seen.values().filter(|reset| is_planned(reset)).collect();
    let left = seen.len() - planned.len();
    let place = Line::plain("Context ").with(BOLD, &cluster.context).and(", namespace ").with(BOLD, &cluster.namespace);
    let mut lines = vec![Line::default(), place.and(", batch ").with(BOLD, batch)];
    let mut stop: Vec<String> =
        planned.iter().filter(|reset| !reset.spec.target_refs.is_empty()).map(|reset| workloads(reset)).collect();
    let resets = i64::try_from(planned.len()).unwrap_or(i64::MAX);
    let others = if left > 0 { format!("; {left} of the batch will not") } else { String::new() };
    lines.push(Line::plain(format!("{} will run, at most {limit} at the same time{others}.", words::many(resets, "reset"))));
    if stop.is_empty() {
        lines.push(Line::plain("Nothing is stopped: the resets have no targets."));
    } else {
        let held = planned.iter().map(|reset| Duration::from(reset.spec.hold_timeout)).max().unwrap_or_default();
        let held = words::span(SignedDuration::try_from(held).unwrap_or(SignedDuration::MAX));
        stop.sort();
        lines.push(
            Line::styled(BOLD, stop.join(", ")).and(format!(" stop; each is restored {held} after its stop at the latest.")),
        );
    }
    let totals = || planned.iter().filter_map(|reset| reset.status.as_ref()?.totals);
    let replayed = words::many(totals().map(|totals| totals.replayed).sum(), "record");
    let skipped: i64 = totals().map(|totals| totals.skipped).sum();
    let line = Line::plain(format!("{replayed} will be processed again, "));
    let line = if skipped > 0 {
        line.with(WARN, format!("{} never", words::many(skipped, "record")))
    } else {
        line.and("none is skipped")
    };
    lines.push(line.and("; each plan is made again on the live group before anything is stopped."));
    lines
}

/// Starts one after the other, and prints what becomes of them. Why the last could not be started, if it could not.
async fn go(cluster: &Cluster, batch: &str, followed: &mut Followed, course: &mut Course) -> Option<Failure> {
    let (mut told, mut could_not) = (Told::default(), None);
    loop {
        told.next(followed.seen(), None, Timestamp::now());
        for news in course.see(followed.seen()) {
            match news {
                News::Ended(reset, exit) => end(&reset, exit, None),
                News::Deleted(name) => outln(&Line::styled(WARN, "✗ Deleted").and(format!(" while it ran  [{name}]"))),
                News::LeftOut(name) => outln(&Line::warning(format!("{name} was deleted, and does not run"))),
            }
        }
        while let Some((name, uid)) = course.start() {
            leaves(Left::Batch(batch.to_owned(), course.running(), course.waiting()));
            let (number, of) = course.count();
            outln(&Line::plain(format!("► {name} ({number} of {of})")));
            if let Err(failure) = steps::told_to_run(cluster, &name, uid).await {
                outln(&Line::styled(BAD, "✗ ").and(failure.to_string().replace('\n', " ")));
                course.not_started(&name);
                could_not = Some(failure);
            }
        }
        leaves(Left::Batch(batch.to_owned(), course.running(), course.waiting()));
        if course.is_over() {
            return could_not;
        }
        followed.change().await;
    }
}

/// `watch --batch`: until none of the batch runs, and every plan is made.
pub async fn watch(cluster: &Cluster, batch: &str, args: &WatchArgs) -> Outcome {
    let mut followed = followed(cluster, batch).await?;
    let mut told = Told::default();
    let mut ended = std::collections::BTreeSet::new();
    let runs = |seen: &Seen| seen.values().filter(|reset| is_under_way(reset)).map(ResourceExt::name_any).collect::<Vec<_>>();
    let lines = args.output;
    let is_in_time = followed
        .until(args.timeout, |seen| {
            let runs = runs(seen);
            let waits: Vec<String> = seen.values().filter(|reset| is_planned(reset)).map(ResourceExt::name_any).collect();
            leaves(Left::Batch(batch.to_owned(), runs.clone(), waits));
            told.next(seen, lines, Timestamp::now());
            for reset in seen.values().filter(|reset| !reset.spec.dry_run) {
                if let Some(exit) = of_reset(reset).filter(|_| ended.insert(reset.name_any())) {
                    end(reset, exit, lines);
                }
            }
            runs.is_empty() && !seen.values().any(is_unplanned)
        })
        .await;
    let seen = followed.seen();
    if lines.is_none() {
        outln(&Line::default());
        table(&seen.values().collect::<Vec<_>>()).iter().for_each(outln);
        after(batch, seen).iter().for_each(outln);
    }
    if !is_in_time {
        errln(&Line::styled(WARN, "The timeout is over").and(". Running resets continue."));
        return Ok(Exit::Timeout);
    }
    Ok(exit(seen))
}

/// PURE: the next commands.
fn after(batch: &str, seen: &Seen) -> Vec<Line> {
    let mut lines = vec![];
    if seen.values().any(is_under_way) {
        lines.push(hint("Watch:", &format!("watch --batch {batch}")));
    }
    if seen.values().any(is_planned) {
        lines.push(hint("Run:", &format!("run --batch {batch}")));
    }
    if seen.values().any(|reset| reset.status.as_ref().is_some_and(can_be_undone)) {
        lines.push(hint("Undo:", &format!("undo --batch {batch}")));
    }
    lines
}

/// PURE: how a batch stands: as the resets that were told to run, or else as the plans.
fn exit(seen: &Seen) -> Exit {
    let has_run = seen.values().any(|reset| !reset.spec.dry_run);
    let counted = seen.values().filter(|reset| reset.spec.dry_run != has_run);
    of_batch(counted.filter_map(of_reset), any_changed(seen.values()))
}
