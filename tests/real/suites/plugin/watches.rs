//! `watch`: it ends by itself with the outcome's exit code.

use offset_reset_operator::api::{OffsetReset, Phase};
use real_tests::{consumers::Kind, env::TestEnv, plugin::Plugin, shop::in_a_shop, unique, wait_for, wait_for_phase};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_with_the_outcome() {
    TestEnv::with(async |env| {
        let (topic, group) = (env.topic().await, unique("watched"));
        env.commit(&group, &topic, &[(0, 50), (1, 5)]).await;
        let plugin = Plugin::new(&env.namespace);
        let entries = || json!([{"topic": topic, "position": "Earliest"}]);

        env.apply("good", &group, entries(), json!({})).await;
        let text = plugin.ends(0, &["watch", "good"]).await;
        assert!(text.contains("✔ Succeeded in") && text.contains("kubectl offset-reset undo good"), "{text}");
        env.apply("plan", &group, entries(), json!({"dryRun": true})).await;
        assert!(plugin.ends(0, &["watch", "plan"]).await.contains("✔ Planned"));
        env.apply("refused", "no-such-group", entries(), json!({})).await;
        let text = plugin.ends(2, &["watch", "refused"]).await;
        assert!(text.contains("✗ Failed") && text.contains("GroupNotFound") && text.contains("explain refused"), "{text}");

        env.apply("later", &group, entries(), json!({"suspend": true})).await;
        wait_for_phase(&env.api, "later", Phase::Pending).await;
        let printed = plugin.run(&["watch", "later", "--timeout", "1s"]).await;
        assert_eq!(printed.code, Some(4), "{printed:?}");
        assert!(
            printed.err.contains("The timeout is over; the reset goes on.") && printed.err.contains("cancel later"),
            "{printed:?}"
        );
        assert!(printed.out.contains(" Pending Suspended "), "{printed:?}");

        let mut watching = plugin.start(&["watch", "later"]);
        watching.prints("Pending").await;
        env.api.delete("later", &kube::api::DeleteParams::default()).await.unwrap();
        let printed = watching.ended().await;
        assert_eq!(printed.code, Some(5), "{printed:?}");
        assert!(printed.out.contains("✗ Deleted"), "{printed:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_transition_is_a_line_and_ctrl_c_leaves_the_reset_running() {
    in_a_shop(Kind::default(), async |shop| {
        let plugin = Plugin::new(&shop.namespace);
        shop.apply_with("waits", json!([{"partition": 0, "offset": 30}]), json!({"suspend": true})).await;
        wait_for_phase(&shop.api, "waits", Phase::Pending).await;
        let mut watching = plugin.start(&["watch", "waits"]);
        watching.prints("Pending").await;
        watching.interrupt().await;
        let printed = watching.ended().await;
        assert_eq!(printed.code, Some(130), "{printed:?}");
        assert!(
            printed.err.contains("The reset goes on without this command") && printed.err.contains("cancel waits"),
            "{printed:?}"
        );

        let watching = plugin.start(&["watch", "waits", "-o", "json"]);
        let patch = kube::api::Patch::Merge(json!({"spec": {"suspend": false}}));
        shop.api.patch("waits", &kube::api::PatchParams::default(), &patch).await.unwrap();
        let printed = watching.ended().await;
        assert_eq!(printed.code, Some(0), "{printed:?}");
        let lines: Vec<Value> = printed.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let last = lines.last().unwrap();
        assert_eq!((&last["end"], &last["exitCode"], &last["totals"]["reset"]), (&json!("Succeeded"), &json!(0), &json!(1)));
        let kinds: Vec<&str> = lines.iter().filter_map(|line| line["condition"].as_str()).collect();
        for milestone in ["Planned", "ConsumersStopped", "GroupEmpty", "OffsetsReset", "ConsumersRestored"] {
            assert_eq!(kinds.iter().filter(|kind| **kind == milestone).count(), 1, "{milestone} once: {kinds:?}");
        }
        wait_for(&shop.api, "waits", "done", |reset: &OffsetReset| {
            reset.status.as_ref().unwrap().phase == Some(Phase::Succeeded)
        })
        .await;
    })
    .await;
}
