//! The plan on a live group: everything that the reset would do, and nothing done.

use std::time::Duration;

use offset_reset_operator::{
    api::{OffsetReset, Phase, Reason},
    machine::facts::Group,
};
use serde_json::json;

use super::{TestEnv, ended};
use real_tests::{
    PATIENCE, condition,
    consumers::{Consumed, Kind, Member},
    kafka_tool::{KafkaTool, allow_again, deny},
    shop::{T0, in_a_shop, status, succeeded},
    unique, wait_for, wait_for_end, within,
};

async fn run_it(api: &kube::Api<OffsetReset>, name: &str) {
    let patch = kube::api::Patch::Merge(json!({"spec": {"dryRun": false}}));
    api.patch(name, &kube::api::PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_touches_nothing_and_says_everything_and_then_runs_planned_anew() {
    in_a_shop(Kind::default(), async |shop| {
        let future = jiff::Timestamp::now().as_second() + 3_600;
        let entries = json!([
            {"partition": 0, "timestamp": T0 + 25}, {"partition": 1, "position": "Earliest"}, {"partition": 2, "timestamp": future}
        ]);
        shop.apply_with("dry", entries, json!({"dryRun": true})).await;
        let planned = wait_for_end(&shop.api, "dry").await;
        let message = ended(&planned, Phase::Planned, Reason::DryRun);
        assert!(message.contains("1 target offset was moved into the log") && message.contains("set dryRun to false"), "{message}");
        let plan = status(&planned);
        if std::env::var_os("SHOW").is_some() {
            println!("{}", serde_json::to_string_pretty(plan).unwrap());
        }
        let first = &plan.partitions[0];
        assert_eq!((first.before, first.target_offset, first.replayed, first.headroom), (Some(100), Some(25), 75, 5));
        assert_eq!(first.matched_timestamp.as_ref().unwrap().0.as_second(), T0 + 25);
        assert_eq!((plan.partitions[1].target_offset, plan.partitions[1].replayed), (Some(0), 10));
        let warnings = plan.warnings.join("\n");
        for words in ["in the future", "2 of 2 group members run outside the target pods"] {
            assert!(warnings.contains(words), "{words}: {warnings}");
        }
        assert!(!warnings.contains("no committed offset"), "an undo removes the new one: {warnings}");
        assert!(plan.equivalent_command.as_ref().unwrap().contains("--to-earliest"));
        assert_eq!(plan.group.as_ref().unwrap().members, 2, "it was live");
        assert!(plan.hold.is_none() && plan.commits == 0 && plan.last_action.is_none() && planned.metadata.finalizers.is_none());
        assert_eq!((condition(&planned, "Planned").0, condition(&planned, "Ready").0), ("True".into(), "True".into()));
        assert_eq!((condition(&planned, "Complete").0, condition(&planned, "Failed").0), (String::new(), String::new()));
        assert_eq!(shop.replicas().await, 2);

        // The group goes on; then the plan is carried out, made anew.
        shop.produce(1, 5).await;
        run_it(&shop.api, "dry").await;
        let done = wait_for(&shop.api, "dry", "run", |reset| {
            reset.status.as_ref().is_some_and(|status| !status.dry_run && status.completion_time.is_some())
        });
        let done = done.await;
        succeeded(&done);
        let drift = status(&done).drift.clone().expect("it says how the plan has changed");
        assert_eq!((drift.moved, drift.retargeted, drift.added, drift.removed), (1, 0, 0, 0), "{drift:?}");
        assert_eq!(Some(&drift.first_plan_time), plan.plan_time.as_ref());
        assert_eq!(drift.first_totals.replayed, 85);
        assert_eq!(status(&done).totals.as_ref().unwrap().replayed, 90);
        assert_eq!(shop.replicas().await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_that_is_refused_says_why_and_may_be_run_all_the_same() {
    TestEnv::with(async |stand| {
        let (topic, group) = (stand.topic().await, unique("refused"));
        let entries = json!([{"topic": topic, "offset": 30}]);
        stand.apply("early", &group, entries, json!({"dryRun": true})).await;
        let refused = wait_for_end(&stand.api, "early").await;
        ended(&refused, Phase::Failed, Reason::GroupNotFound);
        stand.commit(&group, &topic, &[(0, 50)]).await;
        run_it(&stand.api, "early").await;
        let done = wait_for(&stand.api, "early", "run", |reset| status(reset).phase == Some(Phase::Succeeded)).await;
        succeeded(&done);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_would_refuse_is_seen_while_the_consumers_run() {
    let Some(mut tool) = KafkaTool::for_acls().await else { return };
    TestEnv::with(async |stand| {
        let (topic, group, hidden) = (stand.topic().await, unique("denied"), unique("hidden"));
        stand.commit(&group, &topic, &[(0, 50)]).await;
        stand.commit(&hidden, &topic, &[(0, 50)]).await;
        let entries = json!([{"topic": topic, "offset": 30}]);

        deny(&mut tool, &["--group", &group], "Read").await;
        let message =
            ended(&stand.run("group", &group, entries.clone(), json!({})).await, Phase::Failed, Reason::AuthorizationFailed);
        assert!(
            message.contains("does not allow committing offsets for group") && message.contains("kafka-acls.sh"),
            "{message}"
        );
        allow_again(&mut tool, &["--group", &group]).await;

        deny(&mut tool, &["--topic", &topic], "Read").await;
        let message =
            ended(&stand.run("topic", &group, entries.clone(), json!({})).await, Phase::Failed, Reason::AuthorizationFailed);
        assert!(message.contains("does not allow committing offsets for topic"), "{message}");
        allow_again(&mut tool, &["--topic", &topic]).await;

        deny(&mut tool, &["--group", &hidden], "Describe").await;
        ended(&stand.run("hidden", &hidden, entries.clone(), json!({})).await, Phase::Failed, Reason::AuthorizationFailed);
        allow_again(&mut tool, &["--group", &hidden]).await;

        assert_eq!(stand.committed(&group, &topic).await, [Some(50), None, None]);
        succeeded(&stand.run("allowed", &group, entries, json!({})).await);
    })
    .await;
}

/// A reset may be suspended for days before it begins.
#[tokio::test(flavor = "multi_thread")]
async fn a_duration_counts_from_when_planning_began_and_the_status_says_so() {
    TestEnv::with(async |stand| {
        let (topic, group) = (stand.topic().await, unique("duration"));
        stand.commit(&group, &topic, &[(0, 50)]).await;
        let entries = json!([{"topic": topic, "partition": 0, "duration": "1h"}]);
        stand.apply("later", &group, entries, json!({"suspend": true})).await;
        let suspended = |reset: &OffsetReset| status(reset).reason == Some(Reason::Suspended);
        let waiting = wait_for(&stand.api, "later", "suspended", suspended).await;
        assert_eq!(status(&waiting).planning_start_time, None);
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        let begin = jiff::Timestamp::now();
        let patch = kube::api::Patch::Merge(json!({"spec": {"suspend": false}}));
        stand.api.patch("later", &kube::api::PatchParams::default(), &patch).await.unwrap();
        let done = wait_for_end(&stand.api, "later").await;
        succeeded(&done);
        let (from, requested) = (
            status(&done).planning_start_time.clone().unwrap().0,
            status(&done).partitions[0].requested_timestamp.clone().unwrap().0,
        );
        assert!(from >= begin, "{from} is before {begin}");
        assert_eq!(from.duration_since(requested).as_secs(), 3_600);
    })
    .await;
}

/// The members of a classic group choose their session timeout themselves; for the new protocol the broker has it.
#[tokio::test(flavor = "multi_thread")]
async fn the_session_timeout_of_a_group_of_the_new_protocol_is_read_from_the_broker() {
    let Some(mut tool) = KafkaTool::for_acls().await else { return };
    TestEnv::with(async |env| {
        let topic = env.topic().await;
        let kinds = [(Kind::default(), "classic"), (Kind { consumer_protocol: true, ..Kind::default() }, "modern")];
        let groups = kinds.map(|(kind, name)| {
            let group = unique(name);
            let member = Member::start(&group, std::slice::from_ref(&topic), &kind, 0, Consumed::default());
            (group, member)
        });
        let [classic, modern] = groups.each_ref().map(|(group, _)| group.as_str());
        for group in [classic, modern] {
            let has_joined = async {
                while !matches!(env.admin.describe_group(group).await.unwrap(), Group::Found(found) if found.members.len() == 1) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            within(PATIENCE, has_joined).await.expect("the member joins");
        }
        let recorded = async |name: &str, group: &str| {
            let spec = json!({"dryRun": true, "targetRefs": []});
            let planned = env.run(name, group, json!([{"topic": topic, "offset": 30}]), spec).await;
            ended(&planned, Phase::Planned, Reason::DryRun);
            status(&planned).group.as_ref().unwrap().session_timeout_ms
        };
        assert_eq!(recorded("of-a-classic-group", classic).await, None);
        let default = recorded("by-default", modern).await.expect("the broker has one for all groups");
        assert!((3_000..=60_000).contains(&default), "{default}");

        let wanted = format!("consumer.session.timeout.ms={}", default + 1_000);
        let config = ["--alter", "--entity-type", "groups", "--entity-name", modern, "--add-config", &wanted];
        let (code, output) = tool.at_broker("kafka-configs", &config).await;
        assert_eq!(code, 0, "{output}");
        let is_configured = async {
            while env.admin.session_timeout(modern).await.unwrap().map(|timeout| timeout.as_millis().try_into().unwrap())
                != Some(default + 1_000)
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(PATIENCE, is_configured).await.expect("the broker applies the configuration");
        assert_eq!(recorded("configured", modern).await, Some(default + 1_000));

        deny(&mut tool, &["--group", modern], "DescribeConfigs").await;
        let unread = recorded("not-allowed", modern).await;
        allow_again(&mut tool, &["--group", modern]).await;
        assert_eq!(unread, None, "the plan is made without it");
    })
    .await;
}
