//! `plan`, `run`, `watch`, `undo`, `cancel` and `list` of a batch: many groups at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use offset_reset_operator::{
    api::{OffsetReset, Phase},
    machine::{self, facts::Group},
};
use real_tests::{
    brokers,
    consumers::Kind,
    env::TestEnv,
    people::Person,
    plugin::Plugin,
    replicas,
    shop::{in_a_shop, status},
    unique, with_namespace,
};
use serde_json::{Value, json};

use super::plans::pod_of_the_consumer;

/// A Deployment of one replica with the label `part-of=shop`, whose pods are never started.
async fn workload(env: &TestEnv, name: &str, group: Option<&str>) {
    let deployment: Deployment = serde_json::from_value(object(name, group)).unwrap();
    env.deployments().create(&PostParams::default(), &deployment).await.unwrap();
}

fn object(name: &str, group: Option<&str>) -> Value {
    let mut object = json!({
        "metadata": {"name": name, "labels": {"part-of": "shop"}},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "nobody-runs-it"}]},
            },
        },
    });
    if let Some(group) = group {
        object["metadata"]["annotations"] = json!({"offsetreset.dev/group": group});
    }
    object
}

/// The words of a plan of the workloads with the label `part-of=shop`.
fn planning(batch: &str, topic: &str, goal: &[&str]) -> Vec<String> {
    let usual = ["plan", "-l", "part-of=shop", "--batch", batch, "--topic", topic];
    let words = usual.iter().chain(goal).map(|word| (*word).to_owned());
    words.chain(["--bootstrap-server".to_owned(), brokers(), "--allow-no-members".to_owned()]).collect()
}

fn text(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

async fn of_batch(env: &TestEnv, batch: &str) -> Vec<OffsetReset> {
    env.api.list(&ListParams::default().labels(&format!("offsetreset.dev/batch={batch}"))).await.unwrap().items
}

/// What a terminal shows, without colors and breaks of lines.
fn plain(shown: &str) -> String {
    let mut parts = shown.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| part.split_once('m').map_or(part, |(_, text)| text));
    let text: String = std::iter::once(first.as_str()).chain(rest).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn named(all: &[OffsetReset], group: &str) -> String {
    let found = all.iter().find(|reset| reset.spec.group == group).unwrap_or_else(|| panic!("no OffsetReset for {group}"));
    found.metadata.name.clone().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_stops_at_its_first_failure_and_goes_on_and_is_undone() {
    TestEnv::with(async |env| {
        let topic = env.topic().await;
        let groups = ["a", "b", "c", "z"].map(|name| unique(&format!("batch-{name}")));
        let [a, b, c, z] = &groups;
        for group in [a, b, c] {
            env.commit(group, &topic, &[(0, 50)]).await;
        }
        for (name, group) in ["a", "b", "c", "z"].into_iter().zip(&groups) {
            workload(env, name, Some(group)).await;
        }
        workload(env, "y", None).await;
        let plugin = Plugin::new(&env.namespace);
        let to_earliest = planning("failover", &topic, &["--to-earliest"]);

        // For Git: a manifest each, and nothing is created.
        let yaml = plugin.ends(0, &[&text(&to_earliest)[..], &["--dry-run=client", "-o", "yaml"]].concat()).await;
        let manifests: Vec<Value> = yaml.split("---\n").map(|one| serde_saphyr::from_str(one).unwrap()).collect();
        assert_eq!(manifests.len(), 4, "{yaml}");
        for manifest in &manifests {
            assert_eq!(manifest["metadata"]["labels"], json!({"offsetreset.dev/batch": "failover"}));
        }
        assert!(of_batch(env, "failover").await.is_empty());

        // The group z does not exist, and y has no group.
        let printed = plugin.run(&text(&to_earliest)).await;
        assert_eq!(printed.code, Some(2), "{printed:?}");
        for words in
            ["Deployment/y is skipped: it has no annotation", "kubectl annotate deployments/y offsetreset.dev/group=GROUP"]
        {
            assert!(printed.err.contains(words), "{words}: {printed:?}");
        }
        for words in [
            "4 OffsetResets (3 Planned, 1 Refused): 9 partitions, 90 records to replay",
            ": GroupNotFound: ",
            "Refused plans: 1.",
            "run --batch failover --skip-refused",
        ] {
            assert!(printed.out.contains(words), "{words}: {printed:?}");
        }
        assert_eq!(replicas(&env.client, &env.namespace, "a").await, 1, "a plan stops nothing");
        let planned = of_batch(env, "failover").await;
        let names: Vec<&str> = manifests.iter().map(|manifest| manifest["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(planned.iter().map(|reset| reset.metadata.name.as_deref().unwrap()).collect::<Vec<_>>(), names);

        // Again: nothing is doubled, and another goal is no part of this batch.
        let printed = plugin.run(&text(&to_earliest)).await;
        assert!(printed.code == Some(2) && printed.err.contains("creating 0 dry runs of batch failover"), "{printed:?}");
        let printed = plugin.run(&text(&planning("failover", &topic, &["--to-latest"]))).await;
        assert!(printed.code == Some(1) && printed.err.contains("has other plans already"), "{printed:?}");
        assert_eq!(of_batch(env, "failover").await.len(), 4);
        let listed = plugin.ends(0, &["list", "--batch", "failover"]).await;
        assert!(listed.contains("4 OffsetResets (3 Planned, 1 Refused)"), "{listed}");
        assert!(plugin.ends(0, &["list", "--batch", "other"]).await.contains("no OffsetReset of batch other"));
        assert!(plugin.completes(&["run", "--batch", ""]).await.contains("failover"));

        let printed = plugin.run(&["run", "--batch", "failover", "--yes"]).await;
        assert!(printed.code == Some(2) && printed.out.contains("✗ Batch failover does not run: the plans of"), "{printed:?}");
        let run = ["run", "--batch", "failover", "--skip-refused"];
        let printed = plugin.run(&run).await;
        assert!(printed.code == Some(1) && printed.err.contains("run --batch failover --yes"), "{printed:?}");
        let printed = plugin.in_terminal(&run, "Type the name of the batch", "orders\r").await;
        assert!(printed.code == Some(5) && printed.out.contains("Not confirmed"), "{}", printed.out);
        assert_eq!(env.committed(a, &topic).await, [Some(50), None, None]);

        // b cannot run: its Deployment is gone.
        env.deployments().delete("b", &DeleteParams::foreground()).await.unwrap();
        env.until("deleted", async |env| env.deployments().get_opt("b").await.unwrap().is_none()).await;
        let printed = plugin.in_terminal(&run, "Type the name of the batch", "failover").await;
        assert_eq!(printed.code, Some(3), "{}", printed.out);
        for words in [
            "3 resets will run, at most 1 at the same time; 1 of the batch will not",
            "90 records will be processed again",
            &format!("✗ Batch failover has stopped: nothing was started after {}, the first failure.", named(&planned, b)),
            &format!("Not started  1: {}", named(&planned, c)),
            "run --batch failover",
            "undo --batch failover",
        ] {
            assert!(plain(&printed.out).contains(&plain(words)), "{words}: {}", printed.out);
        }
        assert_eq!(env.committed(a, &topic).await, [Some(20), Some(0), Some(0)]);
        assert_eq!(env.committed(c, &topic).await, [Some(50), None, None], "c was not started");
        assert_eq!(replicas(&env.client, &env.namespace, "a").await, 1);

        let printed = plugin.run(&[&run[..], &["--yes"]].concat()).await;
        assert_eq!(printed.code, Some(0), "{printed:?}");
        assert!(printed.out.contains("✔ batch failover: 1 succeeded, and none failed"), "{printed:?}");
        assert_eq!(env.committed(c, &topic).await, [Some(20), Some(0), Some(0)]);
        let printed = plugin.run(&[&run[..], &["--yes"]].concat()).await;
        assert!(printed.code == Some(1) && printed.err.contains("no plan of batch failover is left to run"), "{printed:?}");
        let watched = plugin.ends(3, &["watch", "--batch", "failover"]).await;
        assert!(watched.contains("4 OffsetResets (2 Succeeded, 1 Failed, 1 Refused)"), "{watched}");

        let json = plugin.ends(3, &["watch", "--batch", "failover", "-o", "json"]).await;
        let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.iter().filter(|line| line["exitCode"].is_number()).count(), 3, "an end for each that ran: {json}");

        let printed = plugin.run(&["undo", "--batch", "failover", "--yes", "--max-at-zero", "2"]).await;
        assert_eq!(printed.code, Some(0), "{printed:?}");
        assert!(printed.out.contains("✔ batch undo-failover: 2 succeeded, and none failed"), "{printed:?}");
        for group in [a, c] {
            assert_eq!(env.committed(group, &topic).await, [Some(50), None, None]);
        }
        let printed = plugin.run(&["undo", "--batch", "failover", "--yes"]).await;
        assert!(printed.code == Some(1) && printed.err.contains("is left out: undo-failover-a-"), "{printed:?}");

        // What has ended stays; the plan that was refused goes.
        let printed = plugin.run(&["cancel", "--batch", "failover"]).await;
        assert!(printed.code == Some(0) && printed.err.contains("1 plan is deleted"), "{printed:?}");
        assert_eq!(of_batch(env, "failover").await.len(), 3);
        assert!(of_batch(env, "failover").await.iter().all(|reset| reset.spec.group != *z));
        let printed = plugin.run(&["cancel", "--batch", "failover"]).await;
        assert!(printed.code == Some(1) && printed.err.contains("has ended: there is nothing to cancel"), "{printed:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_says_what_runs_and_what_was_not_started_and_cancel_restores_it() {
    with_namespace(async |client, namespace| {
        let env = TestEnv::open(client, namespace).await;
        let topic = env.topic().await;
        let groups = ["a", "b"].map(|name| unique(&format!("batch-{name}")));
        for group in &groups {
            env.commit(group, &topic, &[(0, 50)]).await;
        }
        workload(&env, "a", Some(&groups[0])).await;
        let sets = Api::<StatefulSet>::namespaced(env.client.clone(), &env.namespace);
        let mut set = object("b", Some(&groups[1]));
        set["spec"]["serviceName"] = json!("b");
        sets.create(&PostParams::default(), &serde_json::from_value(set).unwrap()).await.unwrap();
        let plugin = Plugin::new(&env.namespace);
        let plan = planning("x", &topic, &["--to-earliest"]);
        env.operated(async || _ = plugin.ends(0, &text(&plan)).await).await;
        // Without an operator the first of them stays as it is.
        let planned = of_batch(&env, "x").await;
        let of_the_set = planned.iter().find(|reset| reset.spec.group == groups[1]).unwrap();
        assert_eq!(of_the_set.spec.target_refs[0].kind, "StatefulSet");
        let mut running = plugin.start(&["run", "--batch", "x", "--yes"]);
        running.prints("(1 of 2)").await;
        let first = named(&planned, &groups[0]);
        let is_told = async |env: &TestEnv| !env.api.get(&first).await.unwrap().spec.dry_run;
        env.until("told to run", is_told).await;
        running.interrupt().await;
        let printed = running.ended().await;
        assert_eq!(printed.code, Some(130), "{printed:?}");
        for words in [
            format!("Running:      {first}\n"),
            format!("Not started:  {}\n", named(&planned, &groups[1])),
            "watch --batch x".to_owned(),
            "run --batch x".to_owned(),
            "cancel --batch x".to_owned(),
        ] {
            assert!(printed.err.contains(&words), "{words}: {printed:?}");
        }
        let printed = plugin.run(&["undo", "--batch", "x", "--yes"]).await;
        assert!(printed.code == Some(1) && printed.err.contains("have not ended"), "{printed:?}");
        let printed = plugin.run(&["watch", "--batch", "x", "--timeout", "1s"]).await;
        assert_eq!(printed.code, Some(4), "{printed:?}");

        env.operated(async || {
            let printed = plugin.run(&["cancel", "--batch", "x"]).await;
            assert_eq!(printed.code, Some(0), "{printed:?}");
            assert!(printed.err.contains(&first) && printed.out.contains("✔"), "{printed:?}");
        })
        .await;
        assert!(of_batch(&env, "x").await.is_empty());
        assert_eq!(replicas(&env.client, &env.namespace, "a").await, 1);
        assert_eq!(sets.get("b").await.unwrap().spec.unwrap().replicas, Some(1));
        assert_eq!(env.committed(&groups[1], &topic).await, [Some(50), None, None]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_of_a_workload_is_the_one_whose_members_run_in_its_pods() {
    in_a_shop(Kind::default(), async |shop| {
        let labels = Patch::Merge(json!({"metadata": {"labels": {"part-of": "shop"}}}));
        shop.deployments().patch("consumer", &PatchParams::default(), &labels).await.unwrap();
        let plugin = Plugin::new(&shop.namespace);
        let plan = planning("members", &shop.topic, &["--to-earliest"]);
        let printed = plugin.run(&text(&plan)).await;
        assert!(printed.code == Some(1) && printed.err.contains("Deployment/consumer is skipped"), "{printed:?}");

        let Group::Found(found) = shop.admin.describe_group(&shop.group).await.unwrap() else { panic!("there is no group") };
        pod_of_the_consumer(shop, found.members[0].host.trim_start_matches('/')).await;
        let (brokers, group) = (brokers(), shop.group.as_str());
        let one = ["plan", "--group", group, "--topic", &shop.topic, "--to-current", "--bootstrap-server", &brokers];
        plugin.run(&one).await;
        let text = plugin.ends(0, &text(&plan)).await;
        assert!(text.contains(&format!("Deployment/consumer  {group}  Planned")), "{text}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_the_rights_of_the_person_and_no_others() {
    TestEnv::with(async |env| {
        let (topic, group) = (env.topic().await, unique("batch"));
        env.commit(&group, &topic, &[(0, 50)]).await;
        workload(env, "a", Some(&group)).await;
        let plan = planning("mine", &topic, &["--to-earliest"]);
        let some = Person::new("planner").await;
        let some = some.may(&env.client, &env.namespace, &["get,list,watch offsetresets.offsetreset.dev"]).await;
        let printed = Plugin::called(&env.namespace, &some.name).run(&text(&plan)).await;
        assert!(printed.code == Some(1) && printed.err.contains("cannot list statefulsets"), "{printed:?}");

        let some = some.may(&env.client, &env.namespace, &["list deployments.apps"]).await;
        let printed = Plugin::called(&env.namespace, &some.name).run(&[&text(&plan)[..], &["--timeout", "1s"]].concat()).await;
        assert_eq!(printed.code, Some(1), "{printed:?}");
        for words in ["you may not list statefulsets: they are left out", "was not created: ", "cannot create resource"] {
            assert!(printed.err.contains(words), "{words}: {printed:?}");
        }
        assert!(of_batch(env, "mine").await.is_empty());
    })
    .await;
}

/// How many workloads the large batch has.
const MANY: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn sixty_workloads_run_ten_at_a_time() {
    TestEnv::with(async |env| {
        let topic = env.topic().await;
        let groups: Vec<String> = (0..MANY).map(|number| unique(&format!("many-{number}"))).collect();
        for (number, group) in groups.iter().enumerate() {
            env.commit(group, &topic, &[(0, 50)]).await;
            workload(env, &format!("w-{number:02}"), Some(group)).await;
        }
        let plugin = Plugin::new(&env.namespace);
        let began = Instant::now();
        let printed = plugin.run(&text(&planning("many", &topic, &["--to-earliest"]))).await;
        assert_eq!(printed.code, Some(0), "{printed:?}");
        let sums = format!("60 OffsetResets (60 Planned): 180 partitions, {} records to replay", "1,800");
        assert!(printed.out.contains(&sums), "{printed:?}");
        eprintln!("{MANY} plans took {:.1?}", began.elapsed());

        let most = Arc::new(AtomicUsize::new(0));
        let counting = {
            let (api, most) = (env.api.clone(), Arc::clone(&most));
            tokio::spawn(async move {
                loop {
                    let all = api.list(&ListParams::default()).await.unwrap();
                    let runs = |reset: &&OffsetReset| {
                        !reset.spec.dry_run && reset.status.as_ref().is_none_or(|status| !machine::has_ended(status, false))
                    };
                    most.fetch_max(all.items.iter().filter(runs).count(), Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            })
        };
        let began = Instant::now();
        let printed = plugin.run(&["run", "--batch", "many", "--yes", "--max-at-zero", "10"]).await;
        counting.abort();
        assert_eq!(printed.code, Some(0), "{printed:?}");
        assert!(printed.out.contains("✔ batch many: 60 succeeded, and none failed"), "{printed:?}");
        let most = most.load(Ordering::Relaxed);
        let hold = |reset: &OffsetReset| status(reset).hold.as_ref().and_then(|hold| hold.downtime.clone());
        let downtimes: Vec<String> = of_batch(env, "many").await.iter().filter_map(hold).collect();
        eprintln!("at zero: {}", downtimes.join(", "));
        eprintln!("{MANY} runs took {:.1?}, {most} at the same time at most", began.elapsed());
        assert!((2..=10).contains(&most), "{most} at the same time");
        for reset in of_batch(env, "many").await {
            assert_eq!(status(&reset).phase, Some(Phase::Succeeded));
            assert_eq!(env.committed(&reset.spec.group, &topic).await, [Some(20), Some(0), Some(0)]);
        }
        for number in 0..MANY {
            assert_eq!(replicas(&env.client, &env.namespace, &format!("w-{number:02}")).await, 1);
        }
        env.no_leases().await;
    })
    .await;
}
