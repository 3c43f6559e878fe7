//! `plan`, `create`, `run` and `undo`.

use k8s_openapi::api::core::v1::Pod;
use offset_reset_operator::{
    api::{OffsetReset, Phase},
    machine::facts::Group,
};
use real_tests::{
    brokers,
    consumers::Kind,
    env::TestEnv,
    plugin::Plugin,
    shop::{Shop, in_a_shop, status, succeeded},
    unique, wait_for, with_namespace,
};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_shown_and_run_and_undone() {
    TestEnv::with(async |env| {
        let (topic, group, brokers) = (env.topic().await, unique("planned"), brokers());
        env.commit(&group, &topic, &[(0, 50), (1, 5)]).await;
        let plugin = Plugin::new(&env.namespace);
        let to_time = [
            "plan",
            "--group",
            &group,
            "--topic",
            &topic,
            "--to-datetime",
            "2019-10-23T06:29:29Z",
            "--bootstrap-server",
            &brokers,
        ];

        let text = plugin.ends(0, &[&to_time[..], &["--name", "p"]].concat()).await;
        for words in [
            &format!("group {group} is Empty: 0 members"),
            "WOULD STOP  nothing: no --target",
            &format!("{topic}     0         50      25  2019-10-23 06:29:29.000+00:00      25     -"),
            "no record that late: end of the log",
            "no records: end of the log",
            "3 partitions, 2 moved into range: 25 records to replay, 5 to skip",
            "kubectl offset-reset run p",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert_eq!(env.committed(&group, &topic).await, [Some(50), Some(5), None], "a plan changes nothing");
        let planned = env.api.get("p").await.unwrap();
        assert!(planned.spec.dry_run && status(&planned).phase == Some(Phase::Planned));

        let removal =
            ["plan", "--group", &group, "--topic", &topic, "--delete-offsets", "--bootstrap-server", &brokers, "--keep", "false"];
        let text = plugin.ends(0, &removal).await;
        assert!(text.contains("⚠ the committed offset of"), "{text}");

        let printed = plugin.run(&["run", "p"]).await;
        assert_eq!(printed.code, Some(1), "{printed:?}");
        assert!(printed.err.contains("no terminal to ask in") && printed.err.contains("run p --yes"), "{printed:?}");
        let printed = plugin.run(&["run", "p", "--yes", "--confirm-context", "elsewhere"]).await;
        assert!(printed.code == Some(1) && printed.err.contains("--confirm-context says elsewhere"), "{printed:?}");
        assert_eq!(env.committed(&group, &topic).await, [Some(50), Some(5), None]);

        let printed = plugin.run(&["run", "p", "--yes"]).await;
        assert_eq!(printed.code, Some(0), "{printed:?}");
        assert!(printed.err.contains("25 records will be processed again, 5 records never"), "{printed:?}");
        assert!(printed.out.contains("✔ Succeeded in"), "{printed:?}");
        succeeded(&env.api.get("p").await.unwrap());
        assert_eq!(env.committed(&group, &topic).await, [Some(25), Some(10), Some(0)]);
        let printed = plugin.run(&["run", "p", "--yes"]).await;
        assert!(printed.code == Some(1) && printed.err.contains("has run already: Succeeded"), "{printed:?}");

        let text = plugin.ends(0, &["undo", "p", "--yes"]).await;
        assert!(text.contains("Undo of p: COMMITTED is now, TARGET is what p found"), "{text}");
        assert_eq!(env.committed(&group, &topic).await, [Some(50), Some(5), None]);
        // The undone reset names its undo, and no other client: what an undo restores has no mark.
        let of_the_undo = |reset: &OffsetReset| {
            let partitions = &status(reset).partitions;
            partitions
                .iter()
                .filter_map(|partition| partition.overwritten.as_ref())
                .any(|found| found.offset_reset.as_deref() == Some(format!("{}/undo-p", env.namespace).as_str()))
        };
        let undone = wait_for(&env.api, "p", "undone by undo-p", of_the_undo).await;
        let text = plugin.ends(0, &["explain", "p"]).await;
        assert!(text.contains("has undone this reset on") && !text.contains("MirrorMaker"), "{text}: {undone:?}");
        let printed = plugin.run(&["undo", "p"]).await;
        assert_eq!(printed.code, Some(1), "{printed:?}");
        for words in ["p was undone already by undo-p at 20", "A second undo sets the offsets again", "no terminal to ask in"] {
            assert!(printed.err.contains(words), "{words}: {printed:?}");
        }
        assert_eq!(env.api.list(&kube::api::ListParams::default()).await.unwrap().items.len(), 2, "nothing was created");

        let printed = plugin.run(&["undo", "undo-p", "--yes", "--name", "again"]).await;
        assert_eq!((printed.code, env.committed(&group, &topic).await), (Some(0), [Some(25), Some(10), Some(0)]), "{printed:?}");

        // As another one, with all that may be left out.
        let text =
            plugin.ends(0, &["create", "--like", "p", "--topic", &format!("{topic}:0"), "--shift-by", "-3", "--yes"]).await;
        assert!(text.contains("✔ Succeeded in"), "{text}");
        assert_eq!(env.committed(&group, &topic).await, [Some(22), Some(10), Some(0)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_is_refused_says_why_and_ends_with_2() {
    TestEnv::with(async |env| {
        let (topic, group, brokers) = (env.topic().await, unique("refused"), brokers());
        let plugin = Plugin::new(&env.namespace);
        let words = ["--group", &group, "--topic", &topic, "--to-earliest", "--bootstrap-server", &brokers];
        let text = plugin.ends(2, &[&["plan"], &words[..]].concat()).await;
        assert!(text.contains("✗ GroupNotFound: ") && text.contains("kubectl offset-reset explain"), "{text}");
        assert_eq!(env.api.list(&kube::api::ListParams::default()).await.unwrap().items.len(), 1);
        plugin.ends(2, &[&["create", "--yes", "--name", "c"], &words[..]].concat()).await;
        assert!(env.api.get("c").await.unwrap().spec.dry_run, "a plan that is refused never runs");

        env.commit(&group, &topic, &[(0, 50)]).await;
        let limited = ["plan", "--max-replay", "10", "--keep", "false"];
        let text = plugin.ends(2, &[&limited, &words[..]].concat()).await;
        assert!(text.contains("✗ LimitExceeded: "), "{text}");
        let text = plugin.ends(2, &[&["plan", "--max-replay", "10", "--name", "l"], &words[..]].concat()).await;
        for words in [
            "With the plugin: --max-replay sets limits.maxReplay",
            "kubectl offset-reset explain l",
            "kubectl offset-reset cancel l",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        plugin.ends(0, &["cancel", "l"]).await;
        assert_eq!(env.api.list(&kube::api::ListParams::default()).await.unwrap().items.len(), 2, "--keep=false deletes it");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_is_printed_and_nothing_is_created() {
    with_namespace(async |client, namespace| {
        let plugin = Plugin::new(&namespace);
        let words = [
            "create", "--group", "g", "--all-topics", "--by-duration", "90m", "--target", "orders", "--target", "sts/billing", "--binding",
            "kafka", "--name", "r",
        ];
        let yaml = plugin.ends(0, &[&words[..], &["--dry-run=client", "-o", "yaml"]].concat()).await;
        let object: Value = serde_saphyr::from_str(&yaml).unwrap();
        let expected = json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "r", "namespace": namespace},
            "spec": {
                "targetRefs": [{"name": "orders"}, {"kind": "StatefulSet", "name": "billing"}], "kafka": {"binding": {"secretName": "kafka"}},
                "group": "g", "resets": [{"topicPattern": ".*", "duration": "1h30m"}],
            },
        });
        assert_eq!(object, expected);
        plugin.ends(0, &[&words[..], &["--dry-run=server"]].concat()).await;

        // The rule of the CRD that is broken, in the API server's words.
        let printed = plugin.run(&[&words[..], &["--dry-run=server", "--session-timeout", "10s", "--drain-timeout", "1s"]].concat()).await;
        assert_eq!(printed.code, Some(1));
        assert!(printed.err.contains("drainTimeout") && printed.err.contains("Nothing was changed"), "{}", printed.err);
        let printed = plugin.run(&[&words[..], &["--dry-run=client", "--target", "widgets/w"]].concat()).await;
        assert!(printed.code == Some(1) && printed.err.contains("the cluster has no kind widgets"), "{}", printed.err);
        let resets = real_tests::resets(&client, &namespace);
        assert!(resets.list(&kube::api::ListParams::default()).await.unwrap().items.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_file_goes_into_a_config_map_that_the_reset_owns() {
    TestEnv::with(async |env| {
        let (topic, group, brokers) = (env.broker.topic("long", 501).await, unique("file"), brokers());
        env.broker.produce(&topic, 7, &[1_571_812_144_000; 3]).await;
        env.commit(&group, &topic, &[(7, 1)]).await;
        let line = |partition| format!("{topic},{partition},{}\n", if partition == 7 { 2 } else { 0 });
        let lines = (0..501).map(line).collect::<Vec<_>>().concat();
        let file = std::env::temp_dir().join(unique("offsets"));
        std::fs::write(&file, lines).unwrap();
        let words = [
            "create",
            "--group",
            &group,
            "--from-file",
            file.to_str().unwrap(),
            "--bootstrap-server",
            &brokers,
            "--name",
            "f",
            "--yes",
        ];
        let text = Plugin::new(&env.namespace).ends(0, &words).await;
        assert!(text.contains("every partition: --partitions all"), "{text}");
        assert_eq!(
            env.admin
                .committed(&group, &[offset_reset_operator::machine::facts::TopicPartition::new(&topic, 7)])
                .await
                .unwrap()
                .len(),
            1
        );
        let config_maps = kube::Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(env.client.clone(), &env.namespace);
        let owners = config_maps.get("f-offsets").await.unwrap().metadata.owner_references.unwrap();
        assert_eq!((owners[0].kind.as_str(), owners[0].name.as_str()), ("OffsetReset", "f"));
        std::fs::remove_file(&file).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_terminal_the_name_of_the_group_confirms_and_the_live_screen_follows() {
    in_a_shop(Kind::default(), async |shop| {
        let brokers = brokers();
        let plugin = Plugin::new(&shop.namespace);
        let words = [
            "create",
            "--group",
            &shop.group,
            "--topic",
            &shop.topic,
            "--to-earliest",
            "--target",
            "consumer",
            "--bootstrap-server",
            &brokers,
        ];
        // Without a target: the workload in whose pods the members run, by their addresses.
        let without = ["--group", &shop.group, "--topic", &shop.topic, "--to-earliest", "--bootstrap-server", &brokers];
        let text = plugin.run(&[&["plan"], &without[..]].concat()).await.out;
        assert!(text.contains("the group has members, and the reset stops nothing: name their workload"), "{text}");
        let Group::Found(found) = shop.admin.describe_group(&shop.group).await.unwrap() else { panic!("there is no group") };
        pod_of_the_consumer(shop, found.members[0].host.trim_start_matches('/')).await;
        let text = plugin.run(&[&["plan"], &without[..]].concat()).await.out;
        let expected = "members run in pods of Deployment/consumer, and the reset stops nothing: add --target consumer";
        assert!(text.contains(expected), "{text}");

        let printed =
            plugin.in_terminal(&[&words[..], &["--name", "no"]].concat(), "Type the name of the group", "orders\r").await;
        assert_eq!(printed.code, Some(5), "{}", printed.out);
        assert!(
            printed.out.contains("\"orders\" differs from the group's name") && printed.out.contains("Try again"),
            "{}",
            printed.out
        );
        assert!(printed.out.contains("Not confirmed") && printed.out.contains("kubectl offset-reset run no"), "{}", printed.out);
        assert_eq!(shop.changes().await, 0, "nothing was stopped");

        let printed =
            plugin.in_terminal(&[&words[..], &["--name", "yes"]].concat(), "Type the name of the group", &shop.group).await;
        assert_eq!(printed.code, Some(0), "{}", printed.out);
        for words in [
            "Deployment/consumer",
            "stops; it is restored by",
            "\u{1b}[?1049h",
            "Ctrl-C leaves it running",
            "\u{1b}[?1049l",
            "Succeeded",
        ] {
            assert!(printed.out.contains(words), "{words:?}: {:?}", printed.out);
        }
        let done: OffsetReset = shop.api.get("yes").await.unwrap();
        succeeded(&done);
        assert_eq!(shop.replicas().await, 2);
    })
    .await;
}

/// A pod with this address, as its kubelet would report it.
pub(super) async fn pod_of_the_consumer(shop: &Shop, address: &str) {
    let pods = kube::Api::<Pod>::namespaced(shop.client.clone(), &shop.namespace);
    let uid = shop.deployments().get("consumer").await.unwrap().metadata.uid;
    let owner = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "consumer", "uid": uid, "controller": true});
    let pod = json!({
        "metadata": {"name": "c-0", "ownerReferences": [owner]}, "spec": {"containers": [{"name": "c", "image": "nobody-runs-it"}]},
    });
    pods.create(&kube::api::PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let status = kube::api::Patch::Merge(json!({"status": {"podIP": address, "podIPs": [{"ip": address}]}}));
    pods.patch_status("c-0", &kube::api::PatchParams::default(), &status).await.unwrap();
}
