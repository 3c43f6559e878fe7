//! Every target, every scope.

use std::time::Duration;

use offset_reset_operator::api::{Clamp, PartitionOutcome, Phase, Reason};
use serde_json::json;

use super::{TestEnv, ended, tp};
use real_tests::{
    consumers::{Consumed, Kind, Member},
    shop::{T0, in_a_shop, outcomes, status, succeeded},
    unique, wait_for_end, wait_for_phase,
};

/// Consumers that never commit are far beyond the offset that the first reset has committed.
#[tokio::test(flavor = "multi_thread")]
async fn consumers_beyond_their_committed_offset_are_set_back_to_it() {
    in_a_shop(Kind { never_commits: true, ..Kind::default() }, async |shop| {
        let entries = json!([{"partition": 0, "offset": 50}]);
        let consumed = || shop.follower.times(&shop.topic, 0, 50);
        let before = consumed();
        shop.apply("first", entries.clone()).await;
        succeeded(&wait_for_end(&shop.api, "first").await);
        shop.members(&shop.group, 2).await;
        shop.until("consumed again from 50", async |_| consumed() > before).await;
        let before = consumed();
        shop.apply("second", entries).await;
        let done = wait_for_end(&shop.api, "second").await;
        let message = ended(&done, Phase::Succeeded, Reason::NothingToChange);
        assert!(message.contains("continue from the committed offsets"), "{message}");
        assert!(status(&done).hold.is_some() && status(&done).commits == 0, "stopped, and not committed again");
        shop.until("consumed once more from 50", async |_| consumed() > before).await;
        assert_eq!(shop.replicas().await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_target_takes_each_partition_where_kafka_would() {
    TestEnv::with(async |stand| {
        let (topic, other) = (stand.topic().await, unique("other"));
        stand.commit(&other, &topic, &[(0, 33), (1, 4_000), (2, 0)]).await;
        let hours = (jiff::Timestamp::now().as_second() - T0) / 3600 + 1;
        for (name, target, expected) in [
            ("offset", json!({"offset": 5}), [(20, Some(Clamp::BelowLogStart)), (5, None), (0, Some(Clamp::AboveLogEnd))]),
            (
                "timestamp",
                json!({"timestamp": T0 + 60}),
                [(60, None), (10, Some(Clamp::AfterLastRecord)), (0, Some(Clamp::PartitionEmpty))],
            ),
            ("earliest", json!({"position": "Earliest"}), [(20, None), (0, None), (0, None)]),
            ("latest", json!({"position": "Latest"}), [(100, None), (10, None), (0, None)]),
            ("back", json!({"shiftBy": -3}), [(47, None), (2, None), (0, Some(Clamp::BelowLogStart))]),
            (
                "far-on",
                json!({"shiftBy": i64::MAX}),
                [(100, Some(Clamp::AboveLogEnd)), (10, Some(Clamp::AboveLogEnd)), (0, Some(Clamp::AboveLogEnd))],
            ),
            (
                "long-ago",
                json!({"duration": format!("{hours}h")}),
                [(20, Some(Clamp::BeforeFirstRecord)), (0, Some(Clamp::BeforeFirstRecord)), (0, Some(Clamp::PartitionEmpty))],
            ),
            ("from-group", json!({"fromGroup": other}), [(33, None), (10, Some(Clamp::AboveLogEnd)), (0, None)]),
        ] {
            let group = unique("whole");
            stand.commit(&group, &topic, &[(0, 50), (1, 5), (2, 0)]).await;
            let mut entry = target;
            entry["topic"] = json!(topic);
            let done = stand.run(name, &group, json!([entry]), json!({})).await;
            succeeded(&done);
            let found: Vec<_> = outcomes(&done).iter().map(|(_, _, target, _, clamp)| (*target, *clamp)).collect();
            assert_eq!(found, expected, "{name}");
            assert_eq!(stand.committed(&group, &topic).await, expected.map(|(offset, _)| Some(offset)), "{name}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn none_removes_what_is_committed_and_an_undo_brings_it_back() {
    in_a_shop(Kind::default(), async |shop| {
        shop.apply("remove", json!([{"partition": 0, "position": "None"}, {"partition": 1, "offset": 3}])).await;
        let done = wait_for_end(&shop.api, "remove").await;
        succeeded(&done);
        let found: Vec<_> =
            status(&done).partitions.iter().map(|p| (p.before.is_some(), p.target_offset, p.after, p.outcome)).collect();
        assert_eq!(found[..2], [(true, None, None, PartitionOutcome::Reset), (true, Some(3), Some(3), PartitionOutcome::Reset)]);
        let details = status(&done).outcome.as_ref().unwrap().details.clone().unwrap();
        assert!(details.contains("1 committed offset was removed"), "{details}");
        let warnings = status(&done).warnings.join("\n");
        assert!(warnings.contains("start there as their auto.offset.reset says"), "{warnings}");
        assert_eq!(shop.replicas().await, 2);
    })
    .await;
    TestEnv::with(async |stand| {
        let (topic, group) = (stand.topic().await, unique("none"));
        stand.commit(&group, &topic, &[(0, 50), (1, 5)]).await;
        succeeded(&stand.run("remove", &group, json!([{"topicPattern": ".*", "position": "None"}]), json!({})).await);
        assert_eq!(stand.committed(&group, &topic).await, [None, None, None]);
        // The broker has forgotten the group meanwhile, or is about to; the undone reset has known it.
        let back = stand.run("back", &group, json!([]), json!({"undo": {"name": "remove"}})).await;
        succeeded(&back);
        assert_eq!(stand.committed(&group, &topic).await, [Some(50), Some(5), None]);
        let at = tp(&topic, 0);
        let stands = stand.admin.committed(&group, std::slice::from_ref(&at)).await.unwrap();
        assert_eq!(stands[&at].as_ref().unwrap().as_ref().unwrap().metadata, "of the application");
        let none = stand.run("nothing", &group, json!([{"topic": topic, "partition": 2, "position": "None"}]), json!({})).await;
        ended(&none, Phase::Succeeded, Reason::NothingToChange);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_names_several_partitions_each_once() {
    TestEnv::with(async |stand| {
        let (topic, group) = (stand.topic().await, unique("several"));
        stand.commit(&group, &topic, &[(0, 50), (1, 5), (2, 0)]).await;
        let some = json!([
            {"topic": topic, "partitions": [2], "partitionRanges": [{"from": 0, "to": 0}], "position": "Latest"},
            {"topic": topic, "partitions": [1], "offset": 3},
        ]);
        succeeded(&stand.run("some", &group, some, json!({})).await);
        assert_eq!(stand.committed(&group, &topic).await, [Some(100), Some(3), Some(0)]);

        let twice = json!([{"topic": topic, "partitions": [1], "partitionRanges": [{"from": 0, "to": 2}], "offset": 3}]);
        let refused = stand.run("twice", &group, twice, json!({})).await;
        let message = ended(&refused, Phase::Failed, Reason::InvalidSpec);
        assert!(message.contains("partition 1 is in the entry twice"), "{message}");
        assert_eq!(stand.committed(&group, &topic).await, [Some(100), Some(3), Some(0)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn current_repairs_what_is_out_of_range_and_touches_nothing_else() {
    TestEnv::with(async |stand| {
        let (topic, group) = (stand.topic().await, unique("current"));
        stand.commit(&group, &topic, &[(0, 5), (1, 5)]).await;
        let current = json!([{"topic": topic, "position": "Current"}]);
        let done = stand.run("repair", &group, current.clone(), json!({})).await;
        let message = ended(&done, Phase::Succeeded, Reason::Succeeded);
        assert!(message.starts_with("1 partition reset") && message.ends_with("1 partition was left unchanged"), "{message}");
        let found: Vec<_> =
            status(&done).partitions.iter().map(|p| (p.partition, p.target_offset.unwrap(), p.outcome, p.clamped)).collect();
        assert_eq!(
            found,
            [(0, 20, PartitionOutcome::Reset, Some(Clamp::BelowLogStart)), (1, 5, PartitionOutcome::Unchanged, None)]
        );
        let warnings = status(&done).warnings.join("\n");
        assert!(warnings.contains(&format!("no committed offset for partition 2 of topic {topic}")), "{warnings}");
        let stands = stand.admin.committed(&group, &[tp(&topic, 1)]).await.unwrap();
        let metadata = stands[&tp(&topic, 1)].as_ref().unwrap().as_ref().unwrap().metadata.clone();
        assert_eq!(metadata, "of the application", "it was not even committed again");

        let again = stand.run("again", &group, current, json!({})).await;
        ended(&again, Phase::Succeeded, Reason::NothingToChange);
        assert!(status(&again).hold.is_none(), "nothing was stopped for nothing");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_range_is_clamped_refused_or_left_alone() {
    TestEnv::with(async |stand| {
        let (topic, group) = (stand.topic().await, unique("range"));
        let begin = [(0, 50), (1, 5)];
        stand.commit(&group, &topic, &begin).await;
        let entries = json!([{"topic": topic, "offset": 15}]);
        let refused = stand.run("fail", &group, entries.clone(), json!({"outOfRange": "Fail"})).await;
        let message = ended(&refused, Phase::Failed, Reason::OutOfRange);
        // The empty partition is not out of range: it has nothing to be out of.
        assert!(message.contains(&format!("out of range: partitions 0-1 of topic {topic} (")), "{message}");
        assert!(status(&refused).hold.is_none());
        assert_eq!(stand.committed(&group, &topic).await, [Some(50), Some(5), None]);

        let skipped = stand.run("skip", &group, entries.clone(), json!({"outOfRange": "Skip"})).await;
        ended(&skipped, Phase::Succeeded, Reason::Succeeded);
        let found: Vec<_> = status(&skipped).partitions.iter().map(|p| p.outcome).collect();
        assert_eq!(found, [PartitionOutcome::Skipped, PartitionOutcome::Skipped, PartitionOutcome::Reset]);
        assert_eq!(stand.committed(&group, &topic).await, [Some(50), Some(5), Some(0)]);

        let nothing = stand
            .run("all-out", &group, json!([{"topic": topic, "partition": 0, "offset": 1}]), json!({"outOfRange": "Skip"}))
            .await;
        ended(&nothing, Phase::Failed, Reason::NothingToReset);
        succeeded(&stand.run("clamp", &group, entries, json!({})).await);
        assert_eq!(stand.committed(&group, &topic).await, [Some(20), Some(10), Some(0)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_beyond_its_limits_is_refused() {
    TestEnv::with(async |stand| {
        let (topic, group) = (stand.topic().await, unique("limits"));
        stand.commit(&group, &topic, &[(0, 50), (1, 5)]).await;
        let (back, on) = (json!([{"topic": topic, "position": "Earliest"}]), json!([{"topic": topic, "position": "Latest"}]));
        for (name, entries, limits, reason) in [
            ("replay", &back, json!({"maxReplay": 34}), Reason::LimitExceeded),
            ("replay-enough", &back, json!({"maxReplay": 35, "maxSkip": 0}), Reason::Succeeded),
            ("skip", &on, json!({"maxSkip": 89}), Reason::LimitExceeded),
            ("skip-enough", &on, json!({"maxReplay": 0, "maxSkip": 90}), Reason::Succeeded),
        ] {
            let done = stand.run(name, &group, entries.clone(), json!({"limits": limits})).await;
            let phase = if reason == Reason::Succeeded { Phase::Succeeded } else { Phase::Failed };
            let message = ended(&done, phase, reason);
            assert!(reason == Reason::Succeeded || message.contains("and limits.max"), "{message}");
        }
        // On the second partition this group has never committed.
        let new = unique("limits-new");
        stand.commit(&new, &topic, &[(0, 100)]).await;
        let refused = stand.run("never-consumed", &new, on.clone(), json!({"limits": {"maxSkip": 9}})).await;
        let message = ended(&refused, Phase::Failed, Reason::LimitExceeded);
        assert!(
            message.contains(&format!("10 of them are in partition 1 of topic {topic} without a committed offset")),
            "{message}"
        );
        let done = stand.run("never-consumed-enough", &new, on, json!({"limits": {"maxReplay": 0, "maxSkip": 10}})).await;
        succeeded(&done);
        assert_eq!(status(&done).totals.as_ref().unwrap().skipped, 10);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_means_the_topics_and_partitions_with_commits_and_one_that_was_deleted_fails_no_other() {
    TestEnv::with(async |stand| {
        let (orders, payments, gone) = (stand.topic().await, stand.topic().await, stand.broker.topic("gone", 1).await);
        let (group, source) = (unique("pattern"), unique("source"));
        stand.commit(&group, &orders, &[(0, 50)]).await;
        stand.commit(&group, &payments, &[(1, 5)]).await;
        stand.commit(&group, &gone, &[(0, 0)]).await;
        stand.broker.delete_topic(&gone).await;
        let done = stand.run("all", &group, json!([{"topicPattern": ".*", "position": "Latest"}]), json!({})).await;
        succeeded(&done);
        assert_eq!(stand.committed(&group, &orders).await, [Some(100), None, None]);
        assert_eq!(stand.committed(&group, &payments).await, [None, Some(10), None]);
        // The broker forgets the commits of a topic that it deletes, sooner or later.
        let warnings = status(&done).warnings.join("\n");
        assert!(!warnings.contains(&gone) || warnings.contains("no longer exist"), "{warnings}");

        let twice = json!([{"topic": orders, "offset": 30}, {"topicPattern": format!("{orders}|x"), "offset": 31}]);
        let message = ended(&stand.run("twice", &group, twice, json!({})).await, Phase::Failed, Reason::DuplicatePartition);
        assert!(message.contains(&format!("Partition 0 of topic {orders} is in resets[0] and in resets[1]")), "{message}");
        let none = json!([{"topicPattern": "no-such.*", "offset": 30}]);
        let message = ended(&stand.run("none", &group, none, json!({})).await, Phase::Failed, Reason::NothingToReset);
        assert!(message.contains("a topic without a commit has to be named"), "{message}");

        // A whole group, taken over by a new one.
        stand.commit(&source, &orders, &[(0, 44), (2, 0)]).await;
        let take_over = json!([{"topicPattern": ".*", "fromGroup": source}]);
        let fresh = unique("fresh");
        let message = ended(&stand.run("typo", &fresh, take_over.clone(), json!({})).await, Phase::Failed, Reason::GroupNotFound);
        assert!(message.contains("set allowNewGroup"), "{message}");
        assert!(stand.admin.all_committed(&fresh).await.unwrap().is_empty(), "a refusal makes no group");
        succeeded(&stand.run("new-group", &fresh, take_over, json!({"allowNewGroup": true})).await);
        assert_eq!(stand.committed(&fresh, &orders).await, [Some(44), None, Some(0)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_starts_from_a_commit_needs_one() {
    TestEnv::with(async |stand| {
        let (topic, group, other) = (stand.topic().await, unique("without"), unique("other"));
        stand.commit(&group, &topic, &[(0, 50)]).await;
        stand.commit(&other, &topic, &[(1, 3)]).await;
        let shift = json!([{"topic": topic, "shiftBy": -1}]);
        let message = ended(&stand.run("shift", &group, shift, json!({})).await, Phase::Failed, Reason::NoCommittedOffset);
        assert!(message.contains(&format!("no committed offset: partitions 1-2 of topic {topic}")), "{message}");
        assert!(message.starts_with("2 partitions have no committed offset"), "all of them: {message}");
        let named = json!([{"topic": topic, "partition": 0, "fromGroup": other}]);
        ended(&stand.run("named", &group, named, json!({})).await, Phase::Failed, Reason::NoCommittedOffset);
        assert_eq!(stand.committed(&group, &topic).await, [Some(50), None, None]);
        let all = json!([{"topic": topic, "fromGroup": other}]);
        succeeded(&stand.run("all", &group, all, json!({})).await);
        assert_eq!(stand.committed(&group, &topic).await, [Some(50), Some(3), None]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_committed_record_is_before_an_open_transaction() {
    use real_tests::logs::{Cleanup, Ending, PartitionSpec, Step, TopicSpec, build};
    TestEnv::with(async |stand| {
        let steps = vec![Step::batch([T0 * 1000; 4]), Step::transaction([T0 * 1000; 3], Ending::Open)];
        let partitions = vec![PartitionSpec { steps, delete_before: None }; 3];
        let topic = build(&stand.broker, "open", &TopicSpec { partitions, cleanup: Cleanup::Nothing }).await.topic;
        let group = unique("open");
        stand.commit(&group, &topic, &[(0, 0), (1, 0), (2, 0)]).await;
        let latest = json!([{"topic": topic, "position": "Latest"}]);
        succeeded(&stand.run("uncommitted", &group, latest.clone(), json!({})).await);
        assert_eq!(stand.committed(&group, &topic).await, [Some(7); 3]);
        succeeded(&stand.run("committed", &group, latest, json!({"isolationLevel": "ReadCommitted"})).await);
        assert_eq!(stand.committed(&group, &topic).await, [Some(4); 3]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_after_the_plan_fails_only_its_own_partitions() {
    TestEnv::with(async |stand| {
        let (topic, doomed, group) = (stand.topic().await, stand.broker.topic("doomed", 1).await, unique("doomed"));
        let member = Member::start(&group, std::slice::from_ref(&topic), &Kind::default(), 0, Consumed::default());
        let joined = async {
            while offset_reset_operator::machine::facts::group::members(&stand.admin.describe_group(&group).await.unwrap()) == 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        real_tests::within(real_tests::PATIENCE, joined).await.unwrap();
        let entries = json!([{"topic": topic, "offset": 7}, {"topic": doomed, "offset": 0}]);
        stand.apply("doomed", &group, entries, json!({})).await;
        wait_for_phase(&stand.api, "doomed", Phase::Draining).await;
        stand.broker.delete_topic(&doomed).await;
        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
        let done = wait_for_end(&stand.api, "doomed").await;
        let message = ended(&done, Phase::Failed, Reason::PartiallyReset);
        assert!(message.contains("1 of 4 partitions could not be reset") && message.contains(&doomed), "{message}");
        let found: Vec<_> = status(&done).partitions.iter().map(|p| (p.topic == doomed, p.outcome)).collect();
        assert_eq!(found.iter().filter(|(_, outcome)| *outcome == PartitionOutcome::Reset).count(), 3);
        assert!(found.contains(&(true, PartitionOutcome::Failed)));
        // A script is told that offsets were changed.
        let plugin = real_tests::plugin::Plugin::new(&stand.namespace);
        for command in ["watch", "status"] {
            let text = plugin.ends(3, &[command, "doomed"]).await;
            for words in ["✗ Failed", "PartiallyReset", "offsets were or may have been changed: 3 of 4 partitions", "undo doomed"]
            {
                assert!(text.contains(words), "{words}: {text}");
            }
        }
        assert_eq!(stand.committed(&group, &topic).await, [Some(20), Some(7), Some(0)]);
    })
    .await;
}
