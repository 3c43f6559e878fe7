//! The soak: on a real node, with real consumers in their pods and the operator in its own, resets run one after the other and several at
//! once, while at random moments the operator is killed, the broker is killed or frozen, the API server is away, resets are deleted,
//! workloads are scaled by hand, a namespace is deleted, a broken revision is rolled out, a pod with a workload's labels runs, and
//! consumers crash. After each round the parts themselves are asked what has become of it all.
//!
//! `SOAK_SECONDS` is how long (600), `SOAK_SEED` what chance begins with (the time): the same seed does the same things, as far as the
//! parts take the same time. The actions are printed as they are done, and once more when something is wrong.

mod actions;
mod checks;
mod ledger;
mod world;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, resume_unwind},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use actions::{Action, Deck, FAULTS};
use futures::FutureExt;
use real_tests::generators::random::Random;
use world::World;

/// What was done and what came of it, with the time since the begin.
#[derive(Clone)]
struct Log {
    begin: Instant,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Log {
    fn say(&self, what: impl AsRef<str>) {
        let line = format!("{:6.1} s  {}", self.begin.elapsed().as_secs_f64(), what.as_ref());
        println!("{line}");
        self.lines.lock().unwrap().push(line);
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_nothing_is_lost_and_each_outcome_is_true() {
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap();
    let (seconds, seed) = (from_environment("SOAK_SECONDS", 600), from_environment("SOAK_SEED", now));
    println!("soak: {seconds} s, SOAK_SEED={seed}");
    let log = Log { begin: Instant::now(), lines: Arc::default() };
    let soak = AssertUnwindSafe(soak(Duration::from_secs(seconds), Random(seed), log.clone()));
    if let Err(failed) = soak.catch_unwind().await {
        println!("soak: FAILED with SOAK_SEED={seed}, after:\n{}", log.lines.lock().unwrap().join("\n"));
        resume_unwind(failed);
    }
}

async fn soak(duration: Duration, mut random: Random, log: Log) {
    let mut world = World::open(log.clone()).await;
    let mut deck = Deck::default();
    let (mut rounds, mut faults, mut outcomes) = (0, BTreeMap::<String, u32>::new(), BTreeMap::<String, u32>::new());
    let begin = Instant::now();
    // However short it is, everything happens once.
    while begin.elapsed() < duration || faults.len() < FAULTS.len() {
        rounds += 1;
        let actions: Vec<Action> = (0..random.within(1..=3)).map(|_| deck.deal(&mut random)).collect();
        log.say(format!("round {rounds}"));
        world.apply_resets(&mut random).await;
        for action in &actions {
            world.take(action, &mut random).await;
            *faults.entry(action.fault.to_string()).or_default() += 1;
        }
        for outcome in world.settle_and_check().await {
            *outcomes.entry(outcome).or_default() += 1;
        }
    }
    world.close().await;
    println!("soak: {rounds} rounds in {} s, nothing lost, each outcome true", begin.elapsed().as_secs());
    for fault in FAULTS {
        println!("  {:4} x {fault}", faults.get(&fault.to_string()).copied().unwrap_or_default());
    }
    println!("resets by outcome:");
    for (outcome, times) in outcomes {
        println!("  {times:4} x {outcome}");
    }
}
