//! Commands that only look.

use offset_reset_operator::api::{OffsetReset, Reason};
use real_tests::{
    env::TestEnv,
    plugin::Plugin,
    shop::{status, succeeded},
    unique, wait_for, with_namespace,
};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_shown_listed_explained_and_exported() {
    TestEnv::with(async |env| {
        let (topic, group) = (env.topic().await, unique("shown"));
        env.commit(&group, &topic, &[(0, 50), (1, 5)]).await;
        succeeded(&env.run("done", &group, json!([{"topic": topic, "position": "Latest"}]), json!({})).await);
        let plugin = Plugin::new(&env.namespace);

        let text = plugin.ends(0, &["status", "done"]).await;
        for words in
            [&format!("{}/done  group {group}  Succeeded", env.namespace), "✔ OffsetsReset", "✔ Succeeded in ", "undo done"]
        {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(!text.contains('\u{1b}'), "no colors without a terminal: {text:?}");
        let text = plugin.ends(0, &["status", "done", "-v"]).await;
        for words in
            ["COMMITTED", "kafka-consumer-groups", "3 partitions: 0 records to replay, 55 to skip", "WOULD STOP  nothing"]
        {
            let words = words.replace("WOULD STOP", "STOPS");
            assert!(text.contains(&words), "{words}: {text}");
        }
        let object: Value = serde_json::from_str(&plugin.ends(0, &["status", "done", "-o", "json"]).await).unwrap();
        assert_eq!(object["status"]["phase"], "Succeeded");
        assert!(plugin.ends(0, &["status", "done", "-o", "yaml"]).await.contains("\n  phase: Succeeded\n"));

        assert_eq!(plugin.ends(0, &["export", "done", "--before"]).await, format!("{topic},0,50\n{topic},1,5\n"));
        assert_eq!(plugin.ends(0, &["export", "done", "--after"]).await, format!("{topic},0,100\n{topic},1,10\n{topic},2,0\n"));
        let text = plugin.ends(0, &["explain", "done"]).await;
        assert!(text.contains("What happened") && text.contains("3 of 3 partitions were reset"), "{text}");

        env.apply("later", &group, json!([{"topic": topic, "offset": 30}]), json!({"suspend": true})).await;
        wait_for(&env.api, "later", "suspended", |reset: &OffsetReset| {
            reset.status.is_some() && status(reset).reason == Some(Reason::Suspended)
        })
        .await;
        let text = plugin.ends(0, &["list"]).await;
        assert!(text.contains("done") && text.contains("Pending (suspended)"), "{text}");
        let text = plugin.ends(0, &["list", "--active"]).await;
        assert!(!text.contains("done") && text.contains("later"), "{text}");
        let listed: Value = serde_json::from_str(&plugin.ends(0, &["list", "-o", "json"]).await).unwrap();
        assert_eq!(listed["items"].as_array().unwrap().len(), 2);
        let text = plugin.ends(0, &["explain", "later"]).await;
        assert!(text.contains("Suspended") && text.contains("kubectl offset-reset resume later"), "{text}");
        assert_eq!(plugin.completes(&["status", "l"]).await, format!("later\tPending, group {group}\n:4\n"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_with_what_to_do() {
    with_namespace(async |_, namespace| {
        let plugin = Plugin::new(&namespace);
        let printed = plugin.run(&["status", "missing"]).await;
        assert_eq!(printed.code, Some(1));
        let expected = format!("Error: cannot read OffsetReset {namespace}/missing.\n");
        assert!(printed.err.starts_with(&expected) && printed.err.contains("\"missing\" not found"), "{}", printed.err);
        assert!(printed.err.contains("kubectl offset-reset list"), "{}", printed.err);
        assert_eq!(plugin.ends(0, &["list"]).await, format!("There is no OffsetReset in namespace {namespace}.\n"));
        assert_eq!(plugin.ends(0, &["holds"]).await, format!("No workload is held at zero in namespace {namespace}.\n"));
        assert_eq!(plugin.run(&["watch", "missing"]).await.code, Some(1));
        // A reason in small letters, where no OffsetReset has that name.
        assert!(plugin.ends(0, &["explain", "groupnotempty"]).await.starts_with("GroupNotEmpty\n"));
        let nowhere = Plugin::new("no-such-namespace");
        for command in ["list", "holds"] {
            let printed = nowhere.run(&[command]).await;
            assert_eq!(printed.code, Some(1), "{printed:?}");
            assert!(printed.err.contains("namespace no-such-namespace does not exist in context"), "{printed:?}");
        }
        // Wrong words are no failed reset.
        assert_eq!(plugin.run(&["status"]).await.code, Some(1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_named_in_the_api_servers_words() {
    with_namespace(async |_, namespace| {
        let printed = Plugin::called(&namespace, "nightwatch").run(&["list"]).await;
        assert_eq!(printed.code, Some(1));
        assert!(printed.err.contains("User \"nightwatch\" cannot list resource \"offsetresets\""), "{}", printed.err);
        assert!(printed.err.contains("Ask an administrator for the right"), "{}", printed.err);
    })
    .await;
}
