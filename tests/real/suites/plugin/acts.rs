//! `cancel`, `suspend`, `resume`, `holds`, `prune`, `check` and `report`.

use offset_reset_operator::api::{OffsetReset, Phase, Reason};
use real_tests::{
    consumers::Kind,
    env::TestEnv,
    environment,
    people::Person,
    plugin::Plugin,
    shop::{in_a_shop, status, succeeded},
    unique, wait_for, wait_for_end, wait_for_phase, with_namespace,
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_listed_and_cancelled_once_the_replicas_are_back() {
    // Static members stay in the group until their session ends, so the consumers are held for that long.
    let kind = Kind { is_static: true, session_timeout_ms: Some(120_000), ..Kind::default() };
    in_a_shop(kind, async |shop| {
        let plugin = Plugin::new(&shop.namespace);
        shop.apply_with("held", json!([{"position": "Earliest"}]), json!({"drainTimeout": "4m"})).await;
        wait_for_phase(&shop.api, "held", Phase::Draining).await;
        assert_eq!(shop.replicas().await, 0);

        let text = plugin.ends(6, &["holds", "--exit-code"]).await;
        let row = text.lines().find(|line| line.contains("Deployment/consumer")).unwrap_or_else(|| panic!("{text}"));
        assert!(row.contains(" 2 ") && row.contains("held") && row.contains("(in 9m"), "{text}");
        let text = plugin.ends(0, &["status", "held"]).await;
        for words in [
            "Draining",
            "at zero, at most 10m",
            "● GroupEmpty",
            "instance-0 (static) at ",
            "given up",
            "⧉ Deployment/consumer  at zero, 2 to restore",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        // A person who may see OffsetResets, and no Leases.
        let viewer = Person::new("viewer")
            .await
            .may(&shop.client, &shop.namespace, &["get,list,watch offsetresets.offsetreset.dev"])
            .await;
        let text = Plugin::called(&shop.namespace, &viewer.name).ends(0, &["holds"]).await;
        assert!(text.contains("Deployment/consumer") && text.contains("you may not list Leases"), "{text}");

        let printed = plugin.run(&["suspend", "held"]).await;
        assert!(printed.code == Some(1) && printed.err.contains("suspending has no effect"), "{printed:?}");
        let printed = plugin.run(&["check", "--before-uninstall"]).await;
        assert!(printed.code == Some(1) && printed.out.contains("✗ workloads are held at zero: "), "{printed:?}");

        // A plan for the same group is told of the one that runs.
        let brokers = real_tests::brokers();
        let words = ["plan", "--group", &shop.group, "--topic", &shop.topic, "--to-latest", "--bootstrap-server", &brokers];
        let text = plugin.ends(0, &[&words[..], &["--keep", "false"]].concat()).await;
        let expected = format!("OffsetReset held (Draining) works on group {}: a run of this one waits", shop.group);
        assert!(text.contains(&expected), "{text}");
        assert!(plugin.completes(&["plan", "--group", ""]).await.contains(&shop.group));
        assert!(plugin.completes(&["plan", "--topic", ""]).await.contains(&shop.topic));
        assert!(plugin.completes(&["plan", "--target", "c"]).await.contains("consumer\tDeployment"));

        let mut watching = plugin.start(&["watch", "held"]);
        watching.prints("Draining").await;
        let printed = plugin.run(&["cancel", "held"]).await;
        assert_eq!(printed.code, Some(0), "{printed:?}");
        assert!(printed.err.contains("waiting for Deployment/consumer"), "{printed:?}");
        for words in ["OffsetReset held is deleted, and with it its report (ConfigMap ", "export held --before", "report held"] {
            assert!(printed.err.contains(words), "{words}: {printed:?}");
        }
        for words in ["✔ Deployment/consumer restored to 2 replicas after ", "✔ cancelled; no offset of group"] {
            assert!(printed.out.contains(words), "{words}: {printed:?}");
        }
        assert_eq!(shop.replicas().await, 2);
        assert_eq!(shop.api.get_opt("held").await.unwrap().map(|reset| reset.metadata.name), None);
        let printed = watching.ended().await;
        assert_eq!(printed.code, Some(5), "whoever watches it hears of it: {printed:?}");
        assert!(plugin.ends(0, &["holds", "--exit-code"]).await.contains("No workload is held at zero"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_is_suspended_resumed_and_pruned_and_one_that_has_ended_is_not_cancelled() {
    TestEnv::with(async |env| {
        let (topic, group) = (env.topic().await, unique("suspended"));
        env.commit(&group, &topic, &[(0, 50)]).await;
        let plugin = Plugin::new(&env.namespace);
        env.apply("later", &group, json!([{"topic": topic, "offset": 30}]), json!({"suspend": true})).await;
        assert!(plugin.ends(0, &["resume", "later"]).await.contains("✔ later resumed"));
        succeeded(&wait_for_end(&env.api, "later").await);
        let printed = plugin.run(&["suspend", "later"]).await;
        assert!(printed.code == Some(1) && printed.err.contains("later has ended: Succeeded"), "{printed:?}");
        let printed = plugin.run(&["cancel", "later"]).await;
        assert!(
            printed.code == Some(1) && printed.err.contains("has ended already: Succeeded") && printed.err.contains("undo later"),
            "{printed:?}"
        );

        env.apply("plan", &group, json!([{"topic": topic, "offset": 20}]), json!({"dryRun": true})).await;
        wait_for_phase(&env.api, "plan", Phase::Planned).await;
        let printed = plugin.run(&["cancel", "plan"]).await;
        assert!(printed.code == Some(0) && printed.out.contains("no offset of group"), "{printed:?}");

        env.apply("waits", &group, json!([{"topic": topic, "offset": 10}]), json!({"suspend": true})).await;
        let suspended = |reset: &OffsetReset| reset.status.is_some() && status(reset).reason == Some(Reason::Suspended);
        wait_for(&env.api, "waits", "suspended", suspended).await;
        let text = plugin.ends(0, &["prune", "--older-than", "1h", "--yes"]).await;
        assert!(text.contains("no OffsetReset that ended so long ago"), "{text}");
        assert!(plugin.ends(0, &["prune", "--older-than", "0s", "--dry-run"]).await.contains("later"));
        let printed = plugin.run(&["prune", "--older-than", "0s"]).await;
        assert!(printed.code == Some(1) && printed.err.contains("no terminal to ask in"), "{printed:?}");
        let text = plugin.ends(0, &["prune", "--older-than", "0s", "--yes"]).await;
        assert!(text.contains(&format!("✔ {}/later deleted", env.namespace)) && !text.contains("waits"), "{text}");
        assert_eq!(env.api.list(&kube::api::ListParams::default()).await.unwrap().items.len(), 1, "what has not ended stays");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_install_and_ones_own_rights_is_said() {
    with_namespace(async |admin, namespace| {
        let printed = Plugin::new(&namespace).run(&["check"]).await;
        // The operator of the tests is a process without a Deployment; a cluster of one's own may have one.
        if !environment().existing {
            assert_eq!(printed.code, Some(1));
            assert!(printed.out.contains("✗ no Deployment of the operator"), "{}", printed.out);
        }
        for words in [
            "✔ Kubernetes v1.",
            "✔ CRD offsetresets.offsetreset.dev is this plugin's version",
            "kubectl apply -k deploy/",
            "✔ you may plan, run and cancel OffsetResets",
        ] {
            assert!(printed.out.contains(words), "{words}: {}", printed.out);
        }
        let viewer = Person::new("viewer").await.may(&admin, &namespace, &["get,list,watch offsetresets.offsetreset.dev"]).await;
        let printed = Plugin::called(&namespace, &viewer.name).run(&["check"]).await;
        for words in [
            "? version of CRD offsetresets.offsetreset.dev: not known",
            "✔ you may see OffsetResets",
            "⚠ you may not plan, run and cancel OffsetResets in namespace",
            "Ask an administrator for create, patch, delete on offsetresets",
        ] {
            assert!(printed.out.contains(words), "{words}: {}", printed.out);
        }
        assert_eq!(printed.code, Some(0), "what may not be seen is not wrong: {}", printed.out);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_one_file_that_says_what_is_not_in_it() {
    TestEnv::with(async |env| {
        let (topic, group) = (env.topic().await, unique("report"));
        env.commit(&group, &topic, &[(0, 50)]).await;
        succeeded(&env.run("done", &group, json!([{"topic": topic, "offset": 30}]), json!({})).await);
        let path = std::env::temp_dir().join(unique("report"));
        let text = Plugin::new(&env.namespace).ends(0, &["report", "done", "--file", path.to_str().unwrap()]).await;
        assert!(text.contains("and no Secret"), "{text}");
        let names = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        for file in ["offsetreset.yaml", "report.yaml", "receipt.yaml", "events.yaml", "leases.yaml", "check.txt", "about.txt"] {
            assert!(names.contains(file), "{file}");
        }
        std::fs::remove_file(&path).unwrap();
    })
    .await;
}
