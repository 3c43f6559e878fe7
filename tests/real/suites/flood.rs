//! A flood of OffsetResets that lead nowhere, and sound ones beside it. What is measured is printed, and nothing is asserted of it: `make
//! bench-flood` measures on an operator that is built for release.

use std::{
    collections::BTreeMap,
    fs::File,
    path::Path,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use offset_reset_operator::{
    api::{OffsetReset, Phase, Reason},
    kafka::{Connection, Connector, Pool},
    machine::facts::{Committed, TopicPartition},
};
use real_tests::{
    PATIENCE, brokers, deployment,
    process::{Process, free_address},
    produce, replicas, reset, resets, topic, unique, wait_for_end, with_namespace, within,
};
use serde_json::json;

/// How many of them are created at once.
const AT_ONCE: usize = 16;

/// A namespace with a workload, and a group that had consumed all there is.
struct Sound {
    client: Client,
    namespace: String,
    api: Api<OffsetReset>,
    topic: String,
    group: String,
}

impl Sound {
    async fn new(client: &Client, namespace: &str) -> Self {
        let (topic, group) = (topic("sound", 1).await, unique("sound"));
        produce(&topic, 0, &[1_571_812_144_000; 10]).await;
        deployment(client, namespace, "consumer", 2, json!({"containers": [{"name": "c", "image": "nobody-runs-it"}]})).await;
        let api = resets(client, namespace);
        Self { client: client.clone(), namespace: namespace.to_owned(), api, topic, group }
    }

    /// How long one takes from its creation to its end, which is to be a good one.
    async fn served(&self, name: &str) -> Duration {
        let admin = Pool::default().connect(&Connection::plain(brokers())).await.unwrap();
        let (at, before) = (TopicPartition::new(&self.topic, 0), Committed { offset: 9, metadata: "".into() });
        assert_eq!(admin.commit(&self.group, &[(at.clone(), before)]).await.unwrap()[&at], Ok(()));
        let begin = Instant::now();
        let entries = json!([{"topic": self.topic, "offset": 4}]);
        self.api.create(&PostParams::default(), &reset(name, &self.group, &entries, &json!({"runId": name}))).await.unwrap();
        let done = wait_for_end(&self.api, name).await;
        let took = begin.elapsed();
        let status = done.status.unwrap_or_default();
        assert_eq!(status.phase, Some(Phase::Succeeded), "{:?}", status.message);
        assert_eq!(replicas(&self.client, &self.namespace, "consumer").await, 2);
        took
    }
}

/// One that asks for what makes no sense, which the schema cannot see, and with which reason it ends.
fn invalid(number: usize, topic: &str) -> (OffsetReset, Reason) {
    let name = format!("flood-{number}");
    let (group, none) = (&name, json!({"targetRefs": []}));
    let one = match number % 2 {
        // There is no such day, which the API server does not see.
        0 => reset(&name, group, &json!([{"topic": topic, "timestamp": "2019-02-30T00:00:00Z"}]), &none),
        _ => reset(&name, group, &json!([]), &json!({"targetRefs": [], "undo": {"name": name}})),
    };
    (one, Reason::InvalidSpec)
}

/// One that leads nowhere, and with which reason it ends or waits.
fn hopeless(number: usize, topic: &str) -> (OffsetReset, Reason) {
    let name = format!("flood-{number}");
    let (group, entries, none) = (&name, json!([{"topic": topic, "offset": 4}]), json!({"targetRefs": []}));
    match number % 5 {
        0 => invalid(number, topic),
        1 => (reset(&name, group, &entries, &json!({"targetRefs": [{"name": name}]})), Reason::TargetNotFound),
        2 => {
            let spec = json!({"targetRefs": [], "allowNewGroup": true});
            (reset(&name, group, &json!([{"topic": name, "offset": 4}]), &spec), Reason::TopicNotFound)
        }
        3 => (reset(&name, group, &entries, &none), Reason::GroupNotFound),
        _ => {
            // Nobody listens there, and each is another one.
            let nobody = format!("127.1.{}.{}:9", number / 250, number % 250 + 1);
            let spec = json!({"targetRefs": [], "kafka": {"bootstrapServers": nobody}});
            (reset(&name, group, &entries, &spec), Reason::BrokerUnreachable)
        }
    }
}

/// How many of the flood have been told what is wrong, by reason.
async fn told(api: &Api<OffsetReset>) -> BTreeMap<&'static str, usize> {
    let mut told = BTreeMap::new();
    for one in api.list(&ListParams::default()).await.unwrap() {
        let status = one.status.unwrap_or_default();
        let is_told = status.phase.is_some_and(Phase::is_terminal) || status.reason == Some(Reason::BrokerUnreachable);
        if one.metadata.name.is_some_and(|name| name.starts_with("flood-")) {
            *told.entry(status.reason.filter(|_| is_told).map_or("not yet", Reason::as_str)).or_default() += 1;
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_invalid_ones_keep_no_sound_one_from_being_served() {
    in_two_namespaces("invalid", 1_000, invalid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_lead_nowhere_keep_no_sound_one_from_being_served() {
    let many = if std::env::var("FLOOD").is_ok_and(|flood| flood == "long") { 1_000 } else { 100 };
    in_two_namespaces("hopeless", many, hopeless).await;
}

async fn in_two_namespaces(kind: &str, many: usize, of: fn(usize, &str) -> (OffsetReset, Reason)) {
    with_namespace(async |client, flooded| {
        with_namespace(async |_, other| Box::pin(flood(&client, &flooded, &other, (kind, many, of))).await).await;
    })
    .await;
}

type Kind<'a> = (&'a str, usize, fn(usize, &str) -> (OffsetReset, Reason));

async fn flood(client: &Client, flooded: &str, other: &str, (kind, many, of): Kind<'_>) {
    let (here, elsewhere) = (Sound::new(client, flooded).await, Sound::new(client, other).await);
    // Into a file: what it logs in a flood fills a pipe that nobody empties, and then it waits.
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.log", unique("flood")));
    let arguments = ["--namespaces", &format!("{flooded},{other}")];
    let operator = Process::start_into(File::create(&log).unwrap(), &free_address().await, &arguments);
    operator.until_leads().await;
    let mut idle = vec![];
    for name in ["idle-1", "idle-2", "idle-3"] {
        idle.push(here.served(name).await);
    }
    idle.sort_unstable();
    let beside = |took: Duration| format!("{took:.2?} ({:.2}x)", took.as_secs_f64() / idle[1].as_secs_f64());
    println!("flood of {many} {kind}: when idle: {idle:.2?}; {}", operator.memory());

    let begin = Instant::now();
    let mut expected: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut all = vec![];
    for number in 0..many {
        let (one, reason) = of(number, &here.topic);
        *expected.entry(reason.as_str()).or_default() += 1;
        all.push(one);
    }
    let create = |one: OffsetReset| {
        let api = here.api.clone();
        async move { api.create(&PostParams::default(), &one).await.map(|_| ()).unwrap() }
    };
    let mut creating = stream::iter(all).map(create).buffer_unordered(AT_ONCE);
    for _ in 0..many / 2 {
        creating.next().await.unwrap();
    }
    // One comes in the middle of it, and two when all are there.
    let (middle, _) = tokio::join!(here.served("middle"), creating.collect::<Vec<()>>());
    println!("flood of {many} {kind}: created within {:.2?}; one from their middle: {}", begin.elapsed(), beside(middle));
    let before = told(&here.api).await;
    let (after, apart) = tokio::join!(here.served("after"), elsewhere.served("apart"));
    println!(
        "flood of {many} {kind}: one after them: {}; one in another namespace: {}; {}; told before these two: {before:?}, and after them: {:?}",
        beside(after),
        beside(apart),
        operator.memory(),
        told(&here.api).await
    );

    let everybody = async {
        while told(&here.api).await != expected {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    let in_time = within(PATIENCE * 5, everybody).await;
    assert!(in_time.is_some(), "{:?} instead of {expected:?}", told(&here.api).await);
    println!("flood of {many} {kind}: each was told why within {:.2?}; {}", begin.elapsed(), operator.memory());
    println!("flood of {many} {kind}: one when it is over: {}", beside(here.served("over").await));
    operator.signal("TERM").await;
    assert_eq!(operator.ended().await.status.code(), Some(0));
}
