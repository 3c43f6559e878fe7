//! What a reset relies on goes away in the middle of it: the broker is killed, or frozen; the API server is killed; the OffsetReset is
//! deleted; its namespace is. At each place of a reset's way where it matters what is done already, with real members in the group.
//!
//! All places at once: one operator and one group for each, held there until all are, and then one thing goes away for all of them. So
//! these tests take the parts of the sandbox away from everybody else, and run one after the other, by themselves.

mod fault;
mod stage;

use std::time::{Duration, Instant};

use fault::{At, Whom};
use futures::future::join_all;
use offset_reset_operator::{
    api::{PartitionOutcome, Phase, Reason},
    machine::facts::Group,
};
use serde_json::{Value, json};
use stage::{AFTER, BEFORE, LONG, Stage, Theatre};
use tokio::sync::Mutex;

use real_tests::{
    broker::Broker,
    parts::{self, Away},
    shop::status,
    unique, within,
};

/// One at a time: what is taken away is taken away from all.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The places, each with what its reset has beside the usual.
fn everywhere() -> Vec<(At, Value)> {
    let canary = json!({"restore": {"canary": {"timeout": "10s", "onFailure": "Keep"}}});
    At::ALL.into_iter().map(|at| (at, if at.phase == Phase::Canary { canary.clone() } else { json!({}) })).collect()
}

/// Opens a stage for each place, and waits until every operator is held at its own.
async fn held(theatre: &Theatre, places: Vec<(At, Value)>) -> Vec<Stage> {
    let stages = join_all(places.into_iter().map(|(at, spec)| Stage::open(theatre, at, spec))).await;
    for stage in &stages {
        stage.apply().await;
    }
    for stage in &stages {
        within(LONG, stage.layer.reached()).await.unwrap_or_else(|| panic!("{}: it never came there", stage.at));
    }
    stages
}

/// Checks each stage, and fails with what all of them have to say.
async fn all_hold(stages: Vec<Stage>, check: impl AsyncFn(&Stage) -> Result<String, String>) {
    let mut failures = vec![];
    for stage in &stages {
        match check(stage).await {
            Ok(how) => println!("  {}: {how}", stage.at),
            Err(why) => failures.push(format!("{}: {why}", stage.at)),
        }
    }
    assert!(failures.is_empty(), "{} of {} stages:\n{}", failures.len(), stages.len(), failures.join("\n"));
    for stage in stages {
        stage.close().await;
    }
}

/// Something goes away while the operators are held, and comes back once each of them has asked in vain.
async fn outage(whom: Whom, what: &str, take: impl AsyncFn() -> Away) {
    let _alone = ALONE.lock().await;
    let begin = Instant::now();
    let theatre = Theatre::open().await;
    let stages = held(&theatre, everywhere()).await;
    let away = take().await;
    for stage in &stages {
        stage.layer.open();
    }
    for stage in &stages {
        let asked = async {
            tokio::select! {
                () = stage.layer.has_asked_in_vain(whom) => {}
                // Held for so long while it planned that it has given up by itself: it asks nothing any more.
                () = stage.has_given_up() => {}
            }
        };
        assert!(within(LONG, asked).await.is_some(), "{}: it never asked what was away", stage.at);
    }
    away.back().await;
    println!("{what}, in each place:");
    all_hold(stages, async |stage| stage.has_ended_well().await).await;
    println!("{} s", begin.elapsed().as_secs());
    theatre.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_and_started_again_in_any_phase_costs_time_and_nothing_else() {
    outage(Whom::Broker, "the broker killed", async || Away::killed(parts::BROKER).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_answers_nobody_for_longer_than_a_session_costs_time_and_nothing_else() {
    outage(Whom::Broker, "the broker frozen", async || Away::frozen(parts::BROKER).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_away_in_any_phase_costs_time_and_nothing_else() {
    outage(Whom::ApiServer, "the API server killed", async || Away::killed(parts::API_SERVER).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_frozen_under_the_commit_past_the_hold_keeps_no_consumer_at_zero_and_the_status_says_what_is_open() {
    let _alone = ALONE.lock().await;
    let theatre = Theatre::open().await;
    let spec = json!({"sessionTimeout": "6s", "drainTimeout": "10s", "holdTimeout": "11s"});
    let stages = held(&theatre, vec![(At::BEFORE_THE_COMMIT, spec)]).await;
    let away = Away::frozen(parts::BROKER).await;
    stages[0].layer.open();
    let ended = stages[0].settled().await;
    // While nobody answers: replicas and status need no broker.
    let back = stages[0].replicas().await;
    away.back().await;
    let ended = ended.unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(back, Some(2), "the consumers come back while the broker is silent");
    let status = status(&ended);
    let message = status.explanation();
    assert_eq!((status.phase, status.reason), (Some(Phase::Failed), Some(Reason::HoldTimeout)), "{message}");
    assert!(message.contains("4 more may have been committed"), "{message}");
    assert!(
        status.partitions.iter().all(|partition| partition.outcome == PartitionOutcome::Unconfirmed),
        "{:?}",
        status.partitions
    );
    all_hold(stages, async |stage| {
        stage.members_are_back().await?;
        let offsets = stage.offsets().await?;
        if [BEFORE, AFTER].contains(&offsets) {
            Ok(format!("what may have been set is {}", if offsets == AFTER { "set" } else { "not set" }))
        } else {
            Err(format!("neither all nor none: {offsets:?}"))
        }
    })
    .await;
    theatre.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_was_given_up_while_its_coordinator_was_looked_for_does_no_harm_when_the_broker_is_back() {
    let _alone = ALONE.lock().await;
    let broker = Broker::default();
    let admin = broker.group_admin().await;
    // Of the broker somebody has heard, so that questions are sent; of the groups nobody has asked where their coordinator is.
    assert_eq!(admin.describe_group(&unique("known")).await, Ok(Group::NotFound));
    let away = Away::frozen(parts::BROKER).await;
    let second = async {
        // So that it still waits, and keeps the client open, when the first is given up.
        tokio::time::sleep(Duration::from_secs(5)).await;
        admin.describe_group(&unique("second")).await
    };
    let first = async {
        let answer = admin.describe_group(&unique("first")).await;
        away.back().await;
        answer
    };
    let (first, second) = tokio::join!(first, second);
    assert!(matches!(&first, Err(error) if error.kind.is_transient()), "{first:?}");
    assert_eq!(second, Ok(Group::NotFound));
    assert_eq!(admin.describe_group(&unique("third")).await, Ok(Group::NotFound));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_is_deleted_in_any_phase_brings_its_consumers_back_and_goes() {
    let _alone = ALONE.lock().await;
    let begin = Instant::now();
    let theatre = Theatre::open().await;
    let stages = held(&theatre, everywhere()).await;
    for stage in &stages {
        stage.delete_reset().await;
        stage.layer.open();
    }
    println!("deleted, in each place:");
    all_hold(stages, async |stage| {
        stage.reset_is_gone().await?;
        stage.nothing_is_held().await?;
        stage.members_are_back().await?;
        stage.offsets_are(stage.at.has_committed()).await?;
        stage.receipt_is_true(stage.at.has_committed()).await
    })
    .await;
    println!("{} s", begin.elapsed().as_secs());
    theatre.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_deleted_in_any_phase_is_not_kept_from_going() {
    let _alone = ALONE.lock().await;
    let begin = Instant::now();
    let theatre = Theatre::open().await;
    let stages = held(&theatre, everywhere()).await;
    for stage in &stages {
        stage.delete_namespace().await;
    }
    for stage in &stages {
        stage.reset_is_being_deleted().await;
        stage.layer.open();
    }
    println!("the namespace deleted, in each place:");
    all_hold(stages, async |stage| {
        stage.namespace_is_gone().await?;
        stage.offsets_are(stage.at.has_committed()).await?;
        Ok("gone".into())
    })
    .await;
    println!("{} s", begin.elapsed().as_secs());
    theatre.close().await;
}
