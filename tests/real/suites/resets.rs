//! The operator's loop on a real API server and a real broker, with real consumers that follow the Deployment's replicas.
//!
//! Nobody runs pods here, so what pods do is left to the end-to-end tests; everything else is as it is there.

use kube::{
    ResourceExt,
    api::{DeleteParams, PostParams},
};
use offset_reset_operator::api::{Clamp, OffsetReset, PartitionOutcome, Phase, Reason};
use real_tests::{
    condition,
    consumers::Kind,
    shop::{Operator, Shop, T0, ended, in_a_shop, outcomes, status, succeeded},
    wait_for, wait_for_end, wait_for_phase, wait_until_gone, with_namespace,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn offsets_below_inside_and_above_the_log() {
    in_a_shop(Kind::default(), async |shop| {
        for (name, offset, expected) in [
            ("below", 5, (20, Some(Clamp::BelowLogStart))),
            ("inside", 50, (50, None)),
            ("at-the-end", 100, (100, None)),
            ("above", 4_000, (100, Some(Clamp::AboveLogEnd))),
        ] {
            let since = shop.follower.count();
            shop.apply(name, json!([{"partition": 0, "offset": offset}])).await;
            let done = shop.run(name).await;
            is_as_expected(&done, expected, name);
            assert_eq!(status(&done).partitions[0].requested_offset, Some(offset));
            assert_eq!(shop.replicas().await, 2);
            if expected.0 < 100 {
                shop.consumed_again(since, &[(0, expected.0)]).await;
            }
            let group = status(&done).group.clone().unwrap();
            assert_eq!((group.group_type.as_str(), group.members_before), ("Classic", 2));
        }
    })
    .await;
}

/// Partition 0 was reset; or it was left alone and nothing was stopped, because its consumers had committed the target already.
fn is_as_expected(done: &OffsetReset, (target, clamp): (i64, Option<Clamp>), name: &str) {
    if target < 100 {
        succeeded(done);
        assert_eq!(outcomes(done), [(0, Some(100), target, Some(target), clamp)], "{name}");
    } else {
        ended(done, Phase::Succeeded, Reason::NothingToChange);
        assert_eq!(outcomes(done), [(0, Some(100), 100, None, clamp)], "{name}");
        assert!(status(done).hold.is_none(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn timestamps_before_inside_equal_and_after() {
    in_a_shop(Kind::default(), async |shop| {
        for (name, timestamp, expected) in [
            ("before", json!(T0 - 1_000), (20, Some(Clamp::BeforeFirstRecord))),
            ("equal", json!(T0 + 60), (60, None)),
            ("between", json!((T0 + 60) * 1000 + 1), (61, None)),
            ("after", json!(T0 + 1_000), (100, Some(Clamp::AfterLastRecord))),
            ("in-words", json!("2019-10-23T14:30:04+08:00"), (60, None)),
        ] {
            shop.apply(name, json!([{"partition": 0, "timestamp": timestamp}])).await;
            let done = shop.run(name).await;
            is_as_expected(&done, expected, name);
            assert_eq!(status(&done).partitions[0].matched_timestamp.is_some(), expected.0 < 100);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_partitions_empty_ones_included_are_read_back_and_consumed_again() {
    in_a_shop(Kind { consumer_protocol: true, ..Kind::default() }, async |shop| {
        let since = shop.follower.count();
        shop.apply("all", json!([{"timestamp": T0 + 5}])).await;
        let done = shop.run("all").await;
        succeeded(&done);
        let found: Vec<_> = outcomes(&done).iter().map(|(partition, _, _, after, clamp)| (*partition, *after, *clamp)).collect();
        assert_eq!(
            found,
            [(0, Some(20), Some(Clamp::BeforeFirstRecord)), (1, Some(5), None), (2, Some(0), Some(Clamp::PartitionEmpty))]
        );
        shop.consumed_again(since, &[(0, 20), (1, 5)]).await;
        let totals = status(&done).totals.unwrap();
        assert_eq!((totals.partitions, totals.reset, totals.clamped, totals.replayed), (3, 3, 2, 85));
        assert_eq!(status(&done).group.as_ref().unwrap().group_type, "Consumer");
        assert_eq!(status(&done).targets[0].original_replicas, 2);
        assert_eq!(shop.replicas().await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_that_go_on_from_the_offsets_prove_it() {
    in_a_shop(Kind::default(), async |shop| {
        shop.apply("all", json!([{"timestamp": T0 + 5}])).await;
        let proven = |reset: &OffsetReset| condition(reset, "ConsumptionProven").0 == "True";
        let done = wait_for(&shop.api, "all", "proven", proven).await;
        succeeded(&done);
        assert_eq!(condition(&done, "ConsumptionProven").1, Reason::ConsumptionContinued.as_str());
        let counts = status(&done).consumption.clone().unwrap();
        assert_eq!((counts.continued, counts.overwritten, counts.waiting, counts.without_records), (2, 0, 0, 1));
        assert!(counts.first_member_time.is_some());
        let restored = status(&done).hold.as_ref().unwrap().end_time.as_ref().unwrap().0;
        let first = counts.first_commit_time.unwrap().0;
        assert!(restored < first, "{restored} {first}");
        let after = first.duration_since(restored).as_secs_f64();
        assert_eq!(counts.time_to_first_commit, Some(format!("{after:.1}s")));
        let slowest = counts.slowest_partition.unwrap();
        assert_eq!(slowest.topic, shop.topic);
        assert!([0, 1].contains(&slowest.partition), "partition 2 has no record: {slowest:?}");
        assert!(first <= slowest.commit_time.as_ref().unwrap().0, "{slowest:?}");
        assert!(slowest.time_to_commit.is_some());
        assert_eq!(
            condition(&done, "ConsumersResumed").0,
            "Unknown",
            "the pods never run here, and the one does not wait for the other"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_partition_of_several_leaves_the_others_alone() {
    in_a_shop(Kind::default(), async |shop| {
        let since = shop.follower.count();
        shop.apply("one", json!([{"partition": 1, "offset": 3}])).await;
        succeeded(&shop.run("one").await);
        shop.consumed_again(since, &[(1, 3)]).await;
        assert!(!shop.follower.first_since(since, &shop.topic).contains_key(&0), "nothing else was consumed again");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn static_members_are_waited_for_until_the_broker_forgets_them() {
    let kind = Kind { is_static: true, session_timeout_ms: Some(6_000), ..Kind::default() };
    in_a_shop(kind, async |shop| {
        shop.apply_with("static", json!([{"partition": 0, "offset": 50}]), json!({"sessionTimeout": "6s"})).await;
        let waiting = wait_for(&shop.api, "static", "waiting for the group", |reset| {
            reset.status.as_ref().is_some_and(|status| {
                status.phase == Some(Phase::Draining)
                    && status.group.as_ref().is_some_and(|group| group.state != "Stable" || group.members == 2)
                    && status.explanation().contains("static member instance-")
            })
        });
        let waiting = waiting.await;
        assert_eq!(status(&waiting).reason, Some(Reason::WaitingForGroup));
        assert_eq!(shop.replicas().await, 0);
        let done = shop.run("static").await;
        succeeded(&done);
        let hold = status(&done).hold.clone().unwrap();
        let (ended, free) = (hold.containers_terminated_time.unwrap().0, hold.group_empty_time.unwrap().0);
        assert!(free.duration_since(ended).as_secs() >= 2, "the wait was real: {ended} to {free}");
    })
    .await;
}

/// Their session would last for two minutes.
#[tokio::test(flavor = "multi_thread")]
async fn static_members_are_taken_out_of_the_group_when_the_spec_says_so() {
    let kind = Kind { is_static: true, session_timeout_ms: Some(120_000), ..Kind::default() };
    in_a_shop(kind, async |shop| {
        let spec = json!({"remainingMembers": "Remove", "drainTimeout": "50s"});
        shop.apply_with("evict", json!([{"partition": 0, "offset": 50}]), spec).await;
        let done = shop.run("evict").await;
        succeeded(&done);
        assert_eq!(status(&done).member_removals, 1);
    })
    .await;
}

/// One that runs elsewhere joins again as soon as it hears of it. Until then the group is free, and may be found so: then the reset succeeds, and
/// the member begins where it says. What is said is true either way.
#[tokio::test(flavor = "multi_thread")]
async fn a_live_member_that_is_taken_out_joins_again_and_what_became_of_the_offsets_is_said() {
    in_a_shop(Kind::default(), async |shop| {
        let topics = std::slice::from_ref(&shop.topic);
        let stranger = real_tests::consumers::Member::start(
            &shop.group,
            topics,
            &Kind::default(),
            7,
            real_tests::consumers::Consumed::default(),
        );
        let spec = json!({"remainingMembers": "Remove", "sessionTimeout": "1s", "drainTimeout": "12s"});
        shop.apply_with("stuck", json!([{"offset": 0}]), spec).await;
        let done = wait_for_end(&shop.api, "stuck").await;
        let (status, message) = (status(&done), status(&done).explanation());
        match (status.phase.unwrap(), status.reason.unwrap()) {
            (Phase::Succeeded, Reason::Succeeded) => {
                assert!((1..=3).contains(&status.member_removals), "{message}");
                assert!(status.partitions.iter().all(|p| p.after.is_some() && p.after == p.target_offset), "{message}");
            }
            (Phase::Failed, Reason::GroupNotEmpty) => {
                assert_eq!(status.member_removals, 3, "not for ever: {message}");
                if message.contains("No offset was changed") {
                    assert!(status.partitions.iter().all(|p| p.after.is_none()), "{message}");
                } else {
                    let said = ["all have since been overwritten", "were committed and read back"];
                    assert!(said.iter().any(|words| message.contains(words)), "{message}");
                }
            }
            other => panic!("{other:?}: {message}"),
        }
        assert_eq!(shop.replicas().await, 2);
        tokio::task::spawn_blocking(move || drop(stranger)).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_never_leave_end_the_wait_and_the_replicas_come_back() {
    in_a_shop(Kind::default(), async |shop| {
        // A consumer that belongs to nobody's pods.
        let stranger = real_tests::consumers::Member::start(
            &shop.group,
            std::slice::from_ref(&shop.topic),
            &Kind::default(),
            7,
            real_tests::consumers::Consumed::default(),
        );
        shop.apply_with("stuck", json!([{"offset": 0}]), json!({"sessionTimeout": "1s", "drainTimeout": "3s"})).await;
        let done = wait_for_end(&shop.api, "stuck").await;
        assert_eq!((status(&done).phase, status(&done).reason), (Some(Phase::Failed), Some(Reason::GroupNotEmpty)));
        let message = status(&done).explanation();
        assert!(
            message.contains("consumer-7")
                && message.contains("outside the target pods")
                && message.contains("No offset was changed"),
            "{message}"
        );
        assert!(status(&done).partitions.iter().all(|p| p.outcome == PartitionOutcome::Planned && p.after.is_none()));
        assert_eq!(shop.replicas().await, 2);
        tokio::task::spawn_blocking(move || drop(stranger)).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_be_seen_to_fail_stops_nothing() {
    in_a_shop(Kind::default(), async |shop| {
        let offset = json!([{"offset": 10}]);
        let cases = [
            (
                "no-topic",
                json!([{"topic": "no-such-topic", "offset": 10}]),
                json!({}),
                Reason::TopicNotFound,
                "Topic no-such-topic does not exist",
            ),
            ("no-partition", json!([{"partition": 9, "offset": 10}]), json!({}), Reason::PartitionNotFound, "has no partition 9"),
            (
                "twice",
                json!([{"offset": 10}, {"partition": 1, "offset": 3}]),
                json!({}),
                Reason::DuplicatePartition,
                "is in resets[0] and in resets[1]",
            ),
            (
                "no-group",
                offset.clone(),
                json!({"group": "no-such-group"}),
                Reason::GroupNotFound,
                "does not know group no-such-group",
            ),
            (
                "no-target",
                offset.clone(),
                json!({"targetRefs": [{"name": "nobody"}]}),
                Reason::TargetNotFound,
                "Deployment/nobody does not exist",
            ),
            (
                "no-broker",
                offset.clone(),
                json!({"kafka": {"bootstrapServers": "127.0.0.1:1"}}),
                Reason::BrokerUnreachable,
                "o broker of 127.0.0.1:1 answers",
            ),
            (
                "no-such-day",
                json!([{"timestamp": "2019-02-30T00:00:00Z"}]),
                json!({}),
                Reason::InvalidSpec,
                "spec.resets[0].timestamp",
            ),
        ];
        for (name, entries, spec, ..) in &cases {
            shop.apply_with(name, entries.clone(), spec.clone()).await;
        }
        for (name, _, _, reason, words) in &cases {
            let done = wait_for_end(&shop.api, name).await;
            assert_eq!(
                (status(&done).phase, status(&done).reason),
                (Some(Phase::Failed), Some(*reason)),
                "{name}: {:?}",
                status(&done).message
            );
            let message = status(&done).explanation();
            assert!(message.contains(words), "{name}: {message}");
            assert!(status(&done).hold.is_none() && done.finalizers().is_empty(), "{name}: nothing was held");
            assert_eq!(condition(&done, "Planned"), ("False".into(), reason.as_str().into()), "{name}");
            assert_eq!(condition(&done, "Failed").0, "True");
            assert_eq!(condition(&done, "Stalled").0, "True");
        }
        assert_eq!(shop.replicas().await, 2);
        assert_eq!(
            real_tests::resets(&shop.client, &shop.namespace).list(&kube::api::ListParams::default()).await.unwrap().items.len(),
            cases.len()
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_of_one_group_run_one_after_the_other_oldest_first() {
    in_a_shop(Kind::default(), async |shop| {
        for (name, offset) in [("first", 30), ("second", 40), ("third", 50)] {
            shop.apply(name, json!([{"partition": 0, "offset": offset}])).await;
        }
        let mut ended = vec![];
        for name in ["first", "second", "third"] {
            let done = wait_for_end(&shop.api, name).await;
            succeeded(&done);
            let hold = status(&done).hold.clone().unwrap();
            ended.push((hold.start_time.0, hold.end_time.unwrap().0));
        }
        assert!(ended.windows(2).all(|pair| pair[0].1 <= pair[1].0), "no two held at once: {ended:?}");
        assert_eq!(shop.replicas().await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_it_brings_the_consumers_back_first() {
    // Their session lasts longer than this test waits: the deletion must not wait for it.
    let kind = Kind { is_static: true, session_timeout_ms: Some(120_000), ..Kind::default() };
    in_a_shop(kind, async |shop| {
        shop.apply_with("cancelled", json!([{"offset": 0}]), json!({"sessionTimeout": "2m"})).await;
        wait_for_phase(&shop.api, "cancelled", Phase::Draining).await;
        assert_eq!(shop.replicas().await, 0);
        shop.api.delete("cancelled", &DeleteParams::default()).await.unwrap();
        wait_until_gone(&shop.api, "cancelled").await;
        assert_eq!(shop.replicas().await, 2, "before it went");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_was_ended_goes_on_where_it_was() {
    let kind = Kind { is_static: true, session_timeout_ms: Some(6_000), ..Kind::default() };
    with_namespace(async |client, namespace| {
        let mut shop = Shop::open(client.clone(), namespace.clone(), &kind).await;
        shop.apply("interrupted", json!([{"partition": 0, "offset": 50}])).await;
        let held = wait_for_phase(&shop.api, "interrupted", Phase::Draining).await;
        assert_eq!(status(&held).targets[0].original_replicas, 2);
        let next = Operator { stop: CancellationToken::new(), task: tokio::spawn(async { Ok(()) }) };
        std::mem::replace(&mut shop.operator, next).end().await;
        assert_eq!(shop.replicas().await, 0, "nobody is there to bring them back");
        shop.operator = Operator::start(&client, &namespace);
        let done = shop.run("interrupted").await;
        succeeded(&done);
        assert_eq!(status(&done).hold.as_ref().unwrap().start_time, status(&held).hold.as_ref().unwrap().start_time);
        assert_eq!(shop.replicas().await, 2);
        shop.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hold_ends_at_its_deadline_whatever_the_broker_does() {
    let kind = Kind { is_static: true, session_timeout_ms: Some(45_000), ..Kind::default() };
    in_a_shop(kind, async |shop| {
        shop.apply_with(
            "too-long",
            json!([{"offset": 0}]),
            json!({"sessionTimeout": "1s", "drainTimeout": "3900ms", "holdTimeout": "4s"}),
        )
        .await;
        let done = wait_for_end(&shop.api, "too-long").await;
        assert_eq!(status(&done).phase, Some(Phase::Failed));
        assert!(matches!(status(&done).reason, Some(Reason::HoldTimeout | Reason::GroupNotEmpty)), "{:?}", status(&done).reason);
        assert_eq!(shop.replicas().await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_reset_is_inert_also_for_a_new_operator() {
    with_namespace(async |client, namespace| {
        let mut shop = Box::pin(Shop::open(client.clone(), namespace.clone(), &Kind::default())).await;
        shop.apply("done", json!([{"partition": 0, "offset": 50}])).await;
        shop.run("done").await;
        let waits_for_pods =
            |reset: &OffsetReset| condition(reset, "ConsumersResumed").0 == "Unknown" && reset.finalizers().is_empty();
        let done = wait_for(&shop.api, "done", "left with nothing but the comeback to watch", waits_for_pods).await;
        let next = Operator { stop: CancellationToken::new(), task: tokio::spawn(async { Ok(()) }) };
        std::mem::replace(&mut shop.operator, next).end().await;
        shop.operator = Operator::start(&client, &namespace);
        let mut labelled = shop.api.get("done").await.unwrap();
        labelled.labels_mut().insert("team".into(), "shop".into());
        let labelled = shop.api.replace("done", &PostParams::default(), &labelled).await.unwrap();
        // One more reset runs through after it: by then the new operator has seen the old one, and has left it alone.
        shop.apply("next", json!([{"partition": 1, "offset": 5}])).await;
        succeeded(&wait_for_end(&shop.api, "next").await);
        let now = shop.api.get("done").await.unwrap();
        assert_eq!(now.metadata.generation, labelled.metadata.generation);
        let (now, then) = (status(&now), status(&done));
        assert_eq!(
            (now.phase, &now.partitions, &now.hold, now.commits),
            (then.phase, &then.partitions, &then.hold, then.commits)
        );
        assert_eq!(now.last_action, then.last_action, "nothing was done to anything");
        shop.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_suspended_waits_in_nobodys_way_and_what_is_too_late_never_begins() {
    in_a_shop(Kind::default(), async |shop| {
        let to = |offset: i64| json!([{"partition": 0, "offset": offset}]);
        shop.apply_with("waits", to(60), json!({"suspend": true})).await;
        let waiting = wait_for(&shop.api, "waits", "suspended", |reset| {
            reset.status.as_ref().is_some_and(|status| status.reason == Some(Reason::Suspended))
        })
        .await;
        assert_eq!((status(&waiting).phase, shop.replicas().await), (Some(Phase::Pending), 2));
        // A younger one of the same group goes before it.
        shop.apply("goes", to(70)).await;
        succeeded(&shop.run("goes").await);
        shop.apply_with("late", to(50), json!({"notAfter": "2019-10-23T06:29:04Z"})).await;
        let late = wait_for_end(&shop.api, "late").await;
        assert_eq!((status(&late).phase, status(&late).reason), (Some(Phase::Failed), Some(Reason::Expired)));
        assert!(status(&late).hold.is_none() && status(&late).partitions.is_empty());
        let patch = kube::api::Patch::Merge(json!({"spec": {"suspend": false}}));
        shop.api.patch("waits", &kube::api::PatchParams::default(), &patch).await.unwrap();
        let done = shop.run("waits").await;
        succeeded(&done);
        assert_eq!(status(&done).partitions[0].after, Some(60));
    })
    .await;
}
