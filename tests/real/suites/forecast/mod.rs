//! What the plan says in advance about the replay, against what real consumers then do on a real broker.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use offset_reset_operator::{
    api::{CatchUpResult, ForecastOf, ForecastUnknown, OffsetReset, Phase, Reason},
    machine::facts::{TopicConfig, TopicPartition},
};
use real_tests::{
    PATIENCE,
    consumers::{Follower, Kind},
    env::TestEnv,
    kafka_tool::{KafkaTool, allow_again, deny},
    reset,
    shop::{T0, ended, in_a_shop, status, succeeded},
    unique, wait_for, wait_for_end, within,
};
use serde_json::{Value, json};

/// How long the consumers take for a record, far longer than the scheduler of a busy machine is late.
const PER_RECORD: Duration = Duration::from_millis(20);

/// How many records each of the two partitions has.
const RECORDS: i64 = 1_500;

/// How much longer than measured the bound may be: the consumers may be that much slower while the plan is made than afterwards, on a
/// machine with other tests.
const TOLERANCE: f64 = 1.25;

fn total(reset: &OffsetReset) -> &ForecastOf {
    &status(reset).forecast.as_ref().expect("it has a forecast").total
}

/// A duration as the status has it.
fn seconds(text: &str) -> f64 {
    text.parse::<SignedDuration>().unwrap().as_secs_f64()
}

/// Creates a reset of the Deployment `consumer`.
async fn apply(env: &TestEnv, name: &str, group: &str, entries: &Value, spec: &Value) {
    env.api.create(&kube::api::PostParams::default(), &reset(name, group, entries, spec)).await.unwrap();
}

/// Waits until a group has committed as far as this on both partitions, and returns when.
async fn committed(env: &TestEnv, group: &str, topic: &str, offset: i64) -> Timestamp {
    let partitions = [0, 1].map(|partition| TopicPartition::new(topic, partition));
    let waiting = async {
        loop {
            let found = env.admin.committed(group, &partitions).await.unwrap();
            if found.values().all(|found| matches!(found, Ok(Some(found)) if found.offset >= offset)) {
                return Timestamp::now();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(PATIENCE * 2, waiting).await.expect("the consumers commit")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bound_holds_for_consumers_whose_speed_is_known() {
    TestEnv::with(async |env| {
        let (topic, group) = (env.broker.topic("forecast", 2).await, unique("forecast"));
        for partition in 0..2 {
            env.broker.produce(&topic, partition, &vec![T0 * 1000; usize::try_from(RECORDS).unwrap()]).await;
        }
        env.deployment().await;
        let kind = Kind { per_record: PER_RECORD, ..Kind::default() };
        let topics = std::slice::from_ref(&topic);
        let _follower = Follower::start(&env.client, &env.namespace, "consumer", &group, topics, &kind);
        env.members(&group, 2).await;
        committed(env, &group, &topic, 10).await;
        let entries = json!([{"topic": topic, "position": "Earliest"}]);

        apply(env, "replay", &group, &entries, &json!({"dryRun": true})).await;
        let planned = wait_for_end(&env.api, "replay").await;
        ended(&planned, Phase::Planned, Reason::DryRun);
        let forecast = total(&planned).clone();
        println!("{forecast:?}");
        assert_eq!((forecast.unknown, forecast.never_catches_up), (None, false));
        assert_eq!((forecast.backlog, forecast.produced_per_minute), (2 * RECORDS, Some(0)), "the records are old");
        let bound = seconds(forecast.catch_up_at_least.as_ref().unwrap());

        // The same plan where a limit does not allow it, while the consumers still have a backlog.
        apply(env, "limited", &group, &entries, &json!({"limits": {"maxCatchUp": "5s"}})).await;
        let message = ended(&wait_for_end(&env.api, "limited").await, Phase::Failed, Reason::LimitExceeded);
        assert!(message.contains("The group takes at least") && message.contains("limits.maxCatchUp is 5s"), "{message}");
        assert_eq!(env.replicas().await, 2, "nothing was stopped");

        let run = kube::api::Patch::Merge(json!({"spec": {"dryRun": false}}));
        env.api.patch("replay", &kube::api::PatchParams::default(), &run).await.unwrap();
        let has_run = |reset: &OffsetReset| status(reset).phase == Some(Phase::Succeeded);
        let done = wait_for(&env.api, "replay", "run", has_run).await;
        succeeded(&done);
        assert_eq!(total(&done), &forecast, "a run keeps what its dry run has measured");
        let hold = status(&done).hold.clone().unwrap();
        let caught_up = committed(env, &group, &topic, RECORDS).await;
        let since = |time: Option<MicroTime>| caught_up.duration_since(time.unwrap().0).as_secs_f64();
        // The first consumer may be back before the operator has recorded the end of the hold.
        let (since_empty, measured) = (since(hold.group_empty_time), since(hold.end_time));
        let known = PER_RECORD.as_secs_f64() * f64::from(i32::try_from(RECORDS).unwrap());
        println!("forecast at least {bound} s, measured {measured:.1} s, by the consumers' own pause at least {known} s");
        assert!(since_empty >= known, "the consumers took {since_empty:.1} s, and were faster than they are made to be");
        assert!(bound <= measured * TOLERANCE, "{bound} s is no bound of {measured:.1} s");
        // A bound of zero would hold, too: it may be too low by the precision of its measurement, a seventh, and rounding.
        assert!(bound >= known * 0.8, "{bound} s is far below {known} s");

        let is_measured = |reset: &OffsetReset| {
            let consumption = status(reset).consumption.as_ref();
            consumption.and_then(|consumption| consumption.catch_up.as_ref()).is_some_and(|found| found.result.is_some())
        };
        let after = wait_for(&env.api, "replay", "measured", is_measured).await;
        let catch_up = status(&after).consumption.clone().unwrap().catch_up.unwrap();
        println!("{catch_up:?}");
        assert_eq!((catch_up.result, catch_up.consumed, catch_up.lag), (Some(CatchUpResult::CaughtUp), 2 * RECORDS, 0));
        let fastest = i64::try_from(2 * 60_000 / PER_RECORD.as_millis()).unwrap();
        // The last look may come long after the group has caught up, so the rate over all looks is lower.
        assert!(catch_up.consumed_per_minute.is_some_and(|rate| rate > 0 && rate <= fastest), "{catch_up:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_consumers_that_have_consumed_everything_no_number_is_said_and_a_limit_refuses() {
    in_a_shop(Kind::default(), async |shop| {
        shop.caught_up().await;
        let back = json!([{"partition": 0, "offset": 25}]);
        shop.apply_with("dry", back.clone(), json!({"dryRun": true})).await;
        let planned = wait_for_end(&shop.api, "dry").await;
        ended(&planned, Phase::Planned, Reason::DryRun);
        let found = total(&planned);
        assert_eq!((&found.catch_up_at_least, found.unknown, found.backlog), (&None, Some(ForecastUnknown::NoBacklog), 75));
        assert!(status(&planned).explanation().contains("How long the group takes to catch up is not known"), "{planned:?}");

        shop.apply_with("limited", back.clone(), json!({"limits": {"maxCatchUp": "24h"}})).await;
        let message = ended(&wait_for_end(&shop.api, "limited").await, Phase::Failed, Reason::CatchUpUnknown);
        assert!(message.contains("Nothing was stopped") && message.contains("consumed everything"), "{message}");

        shop.apply("unlimited", back).await;
        let done = shop.run("unlimited").await;
        succeeded(&done);
        assert_eq!(total(&done).unknown, Some(ForecastUnknown::NotMeasured), "nobody waits for a measurement");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_retention_may_take_before_the_consumers_are_back_are_warned_of() {
    TestEnv::with(async |env| {
        let topic = env.broker.topic("expiring", 1).await;
        let now = Timestamp::now().as_millisecond();
        let minutes = |ago: i64, count: usize| vec![now - ago * 60_000; count];
        // In one segment, which stays as long as its newest record does.
        let records = [minutes(120, 20), minutes(55, 30), minutes(0, 50)].concat();
        env.broker.produce(&topic, 0, &records).await;
        env.broker.configure(&topic, &[("retention.ms", "3600000")]).await;
        let group = unique("expiring");
        env.commit(&group, &topic, &[(0, 100)]).await;
        let configs = env.admin.topic_configs(std::slice::from_ref(&topic)).await.unwrap();
        assert_eq!(configs[&topic], Ok(TopicConfig { retention_ms: Some(3_600_000), compacted: false }));

        let planned = async |name: &str, target: Value, spec: Value| {
            let mut full = json!({"dryRun": true});
            full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
            let mut entry = json!({"topic": topic});
            entry.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
            let planned = env.run(name, &group, json!([entry]), full).await;
            ended(&planned, Phase::Planned, Reason::DryRun);
            planned
        };
        let warned = |reset: &OffsetReset| -> Vec<String> {
            status(reset).warnings.iter().filter(|warning| warning.contains("may expire")).cloned().collect()
        };
        for (name, hold, expiring) in [("usual", "10m", 50), ("short", "3m", 20)] {
            let found = planned(name, json!({"position": "Earliest"}), json!({"holdTimeout": hold})).await;
            assert_eq!(total(&found).expiring, expiring, "{name}");
            let words =
                format!("{expiring} records from the target on may expire before the consumers reach them, on partition 0");
            assert!(matches!(&warned(&found)[..], [one] if one.starts_with(&words)), "{:?}", status(&found).warnings);
        }
        let found = planned("young", json!({"offset": 50}), json!({})).await;
        assert_eq!((total(&found).expiring, warned(&found)), (0, vec![]));
        let found = planned("by-time", json!({"timestamp": now - 56 * 60_000}), json!({})).await;
        let expiry = total(&found).first_expiry_time.as_ref().unwrap().0.as_millisecond();
        assert_eq!(expiry, now - 55 * 60_000 + 3_600_000, "the time of the record at the target, and an hour");

        env.broker.configure(&topic, &[("retention.ms", "-1")]).await;
        let found = planned("unlimited", json!({"position": "Earliest"}), json!({})).await;
        assert_eq!((total(&found).expiring, warned(&found)), (0, vec![]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_may_not_be_read_keeps_no_reset_and_the_right_is_named() {
    let Some(mut tool) = KafkaTool::for_acls().await else { return };
    TestEnv::with(async |env| {
        let (topic, group) = (env.topic().await, unique("unreadable"));
        env.commit(&group, &topic, &[(0, 50)]).await;
        deny(&mut tool, &["--topic", &topic], "DescribeConfigs").await;
        let done = env.run("unreadable", &group, json!([{"topic": topic, "offset": 30}]), json!({})).await;
        allow_again(&mut tool, &["--topic", &topic]).await;
        succeeded(&done);
        let named = status(&done).warnings.iter().filter(|warning| warning.contains("DescribeConfigs")).count();
        assert_eq!(named, 1, "{:?}", status(&done).warnings);
    })
    .await;
}
