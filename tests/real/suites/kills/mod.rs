//! For every request that an operator makes in a run that goes well, of the API server and of the broker: one run in which it is killed
//! right before, one in which it is killed right after, and one in which the answer is lost. Each must end as the one that went well.
//!
//! `KILLS=commit` runs only those requests whose kind has this word in it, to look for a fault; the summary says so then. With a canary a
//! reset takes longer and has more requests, most of which are those without one: of these runs, one in `CANARY_SHARE` is made, of those
//! with a connector one in `CONNECTOR_SHARE`, and `KILLS_EVERY=1` makes all of them.

mod bench;
pub mod connector;
mod end;
mod fault;

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use bench::{Bench, Run, Way};
use end::End;
use fault::{At, Counts, Fault};
use futures::StreamExt;

/// How many runs go on at the same time.
const AT_ONCE: usize = 8;

/// How many runs without a fault say which requests there are: those that are made in each of them. The operator looks at the world until
/// it is as wished, so that how often it looks is a matter of speed.
const RECORDINGS: usize = 4;

/// Of the runs with a canary, one in so many is made. No multiple of the number of faults, so that each of them is met.
const CANARY_SHARE: usize = 16;

/// The same of the runs with a connector, which have most requests in common with those of a Deployment.
const CONNECTOR_SHARE: usize = 8;

/// How often a run is tried in which the request never came, for the same reason.
const TRIES: usize = 4;

/// One in so many requests may turn out not to be made in each run after all: on a machine that was busy while they were recorded, the
/// operator looked once more at what it waits for. The runs in which a request never came are runs without a fault that show that.
const NOT_IN_EACH: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn whichever_request_the_operator_dies_at_the_reset_ends_the_same() {
    ends_the_same(Way::Plain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_request_the_operator_dies_at_a_canary_passes_and_all_replicas_follow() {
    ends_the_same(Way::CanaryPasses).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_request_the_operator_dies_at_a_canary_that_crashes_is_undone_and_all_replicas_follow() {
    ends_the_same(Way::CanaryUndone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_request_the_operator_dies_at_a_connector_has_its_state_back() {
    ends_the_same(Way::Connector).await;
}

async fn ends_the_same(way: Way) {
    let begin = Instant::now();
    let bench = Arc::new(Bench::new().await);
    let recordings = runs(&bench, way, vec![None; RECORDINGS]).await;
    let (mut counts, mut happy) = (Counts::new(), None::<End>);
    for (_, recording) in recordings {
        let Run { end, counts: seen, .. } = recording.expect("a run without a fault goes well");
        counts = if happy.is_none() { seen } else { in_both(&counts, &seen) };
        let first = happy.get_or_insert_with(|| end.clone());
        assert_eq!(end.differences(first), [""; 0], "two runs without a fault end the same");
    }
    let happy = happy.unwrap();
    println!("{way:?}: requests in each of {RECORDINGS} runs that went well:");
    for (kind, count) in &counts {
        println!("  {count:3} {kind}");
    }

    let only = std::env::var("KILLS").unwrap_or_default();
    counts.retain(|kind, _| kind.contains(&only));
    let each = counts.iter().flat_map(|(kind, count)| (1..=*count).map(move |nth| (kind, nth)));
    let all = each.flat_map(|(kind, nth)| Fault::ALL.map(|fault| Some(At { kind: kind.clone(), nth, fault })));
    let every = one_in(way);
    let faults: Vec<Option<At>> = all.step_by(every).collect();
    let (requests, planned) = (counts.values().sum::<usize>(), faults.len());
    let of_kafka: usize = counts.iter().filter(|(kind, _)| kind.starts_with("Kafka")).map(|(_, count)| count).sum();
    let (mut failures, mut not_in_each, mut met) = (vec![], vec![], BTreeSet::new());
    for (at, ended) in runs(&bench, way, faults).await {
        let at = at.unwrap();
        match ended {
            Err(why) => failures.push(format!("{at}: {why}")),
            Ok(Run { end, has_happened, .. }) => {
                if has_happened {
                    met.insert((at.kind.clone(), at.nth));
                } else {
                    not_in_each.push(at.clone());
                }
                let differences = end.differences(&happy);
                if !differences.is_empty() {
                    failures.push(format!("{at}: it ended otherwise:\n    {}", differences.join("\n    ")));
                }
            }
        }
    }
    // Each request has met one of the faults, at least, where all are tried.
    let never = not_in_each.iter().filter(|at| every == 1 && !met.contains(&(at.kind.clone(), at.nth)));
    failures.extend(never.map(|at| format!("{at}: the request never came, in {TRIES} runs, and no other fault has met it")));
    let rare: Vec<String> = not_in_each.iter().map(At::to_string).collect();
    assert!(rare.len() <= 1 + planned / NOT_IN_EACH, "requests that are not made in each run: {rare:#?}");
    assert!(failures.is_empty(), "{} of {planned} runs failed:\n{}", failures.len(), failures.join("\n"));
    if !only.is_empty() {
        println!("only those requests that have '{only}' in their kind; that proves nothing about the others:");
    }
    if every > 1 {
        println!("one in {every} of all runs; KILLS_EVERY=1 makes all of them:");
    }
    println!(
        "kills, {way:?}: {requests} requests ({} Kubernetes, {of_kafka} Kafka) x {} faults: {planned} runs, all ended the same; in {} of them the \
         request was not made after all ({} s)",
        requests - of_kafka,
        Fault::ALL.len(),
        rare.len(),
        begin.elapsed().as_secs()
    );
    Arc::into_inner(bench).expect("no run is left").close().await;
}

/// One in how many runs is made.
fn one_in(way: Way) -> usize {
    let wanted = std::env::var("KILLS_EVERY").ok().map(|every| every.parse().expect("KILLS_EVERY is a number from 1"));
    wanted.unwrap_or(match way {
        Way::Plain => 1,
        Way::CanaryPasses | Way::CanaryUndone => CANARY_SHARE,
        Way::Connector => CONNECTOR_SHARE,
    })
}

/// What was made in both of two runs.
fn in_both(one: &Counts, other: &Counts) -> Counts {
    let less = |(kind, count): (&String, &usize)| Some((kind.clone(), *count.min(other.get(kind)?)));
    one.iter().filter_map(less).collect()
}

/// Runs each, some at a time; how it ended and what was asked, or why it failed.
async fn runs(bench: &Arc<Bench>, way: Way, faults: Vec<Option<At>>) -> Vec<(Option<At>, Result<Run, String>)> {
    let run = |at: Option<At>| async {
        let ended = run(bench, way, at.clone()).await;
        (at, ended)
    };
    futures::stream::iter(faults).map(run).buffer_unordered(AT_ONCE).collect().await
}

async fn run(bench: &Arc<Bench>, way: Way, at: Option<At>) -> Result<Run, String> {
    let mut tries = 0;
    loop {
        tries += 1;
        let (own, fault) = (Arc::clone(bench), at.clone());
        // A run that panics is one that failed, and the others go on.
        let run = tokio::spawn(async move { own.run(way, fault).await }).await.map_err(|error| {
            let panic = error.into_panic();
            let words = panic.downcast_ref::<String>().cloned();
            words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned())).unwrap_or_default()
        })?;
        if at.is_none() || run.has_happened || tries == TRIES {
            return Ok(run);
        }
    }
}
