//! Held at zero and brought back, whatever the kind.

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::DeleteParams;

use super::{definitions::V1, *};

/// Whatever was stopped is at zero while it is held, and has its replicas back afterwards.
async fn is_held_and_brought_back(stand: &Stand, api_version: &str, kind: &str, name: &str, replicas: i32) -> OffsetReset {
    let member = stand.member().await;
    let reset = format!("replay-{name}");
    stand.apply(&reset, json!([{"apiVersion": api_version, "kind": kind, "name": name}]), json!({})).await;
    wait_for_phase(&stand.api, &reset, Phase::Draining).await;
    assert_eq!(stand.replicas(api_version, kind, name).await, 0);
    let done = stand.let_go(&reset, member).await;
    succeeded(&done);
    assert_eq!(stand.replicas(api_version, kind, name).await, replicas);
    assert_eq!(stand.committed().await, Some(3));
    let target = &status(&done).targets[0];
    assert_eq!((target.original_replicas, target.restored), (replicas, Some(Restored::Original)));
    let told = stand.told(kind, name, Reason::ScaledToZero).await;
    assert!(told.len() == 1 && told[0].contains(&format!("from {replicas} to 0 replicas")), "{told:?}");
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_set_is_held_and_brought_back() {
    Stand::with(async |stand| {
        stand.create(workload("StatefulSet", "orders", 3)).await;
        let done = is_held_and_brought_back(stand, "apps/v1", "StatefulSet", "orders", 3).await;
        assert!(status(&done).warnings.iter().all(|warning| !warning.contains("StatefulSet/orders")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_set_that_nobody_controls_and_a_replication_controller_are_held_and_brought_back() {
    Stand::with_kinds(async |stand| {
        stand.create(workload("ReplicaSet", "orders", 2)).await;
        is_held_and_brought_back(stand, "apps/v1", "ReplicaSet", "orders", 2).await;
        let mut controller = workload("ReplicationController", "payments", 3);
        controller["apiVersion"] = json!("v1");
        controller["spec"]["selector"] = json!({"app": "payments"});
        stand.create(controller).await;
        is_held_and_brought_back(stand, "v1", "ReplicationController", "payments", 3).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_resource_with_a_scale_is_held_and_brought_back() {
    Stand::with_kinds(async |stand| {
        stand.custom(V1, "Worker", "orders", json!({"replicas": 4})).await;
        is_held_and_brought_back(stand, V1, "Worker", "orders", 4).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_resource_may_keep_its_replicas_wherever_it_likes() {
    Stand::with_kinds(async |stand| {
        stand.custom(V1, "Crew", "orders", json!({"size": 2, "replicas": 7})).await;
        is_held_and_brought_back(stand, V1, "Crew", "orders", 2).await;
        let found = stand.objects(V1, "Crew").await.get("orders").await.unwrap();
        assert_eq!(found.data["spec"], json!({"size": 2, "replicas": 7}));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_nobody_has_set_count_as_one() {
    Stand::with_kinds(async |stand| {
        stand.custom(V1, "Worker", "orders", json!({"image": "c"})).await;
        stand.report(V1, "Worker", "orders", json!({"replicas": 1})).await;
        let error = stand.objects(V1, "Worker").await.get_scale("orders").await.unwrap_err().to_string();
        assert!(error.contains("does not exist"), "the API server has no scale to show: {error}");
        let done = is_held_and_brought_back(stand, V1, "Worker", "orders", 1).await;
        assert!(
            status(&done).warnings.iter().any(|warning| warning.contains("which counts as 1")),
            "{:?}",
            status(&done).warnings
        );
        let found = stand.objects(V1, "Worker").await.get("orders").await.unwrap();
        assert_eq!(found.data["spec"], json!({"image": "c", "replicas": 1}));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_at_zero_stays_at_zero() {
    Stand::with_kinds(async |stand| {
        stand.create(workload("StatefulSet", "orders", 0)).await;
        stand.custom(V1, "Worker", "payments", json!({"replicas": 0})).await;
        let targets =
            json!([{"kind": "StatefulSet", "name": "orders"}, {"apiVersion": V1, "kind": "Worker", "name": "payments"}]);
        let done = stand.run("replay", targets).await;
        succeeded(&done);
        for target in &status(&done).targets {
            assert_eq!((target.stop_requested, target.restored), (false, Some(Restored::NotStopped)), "{target:?}");
        }
        assert_eq!(stand.replicas("apps/v1", "StatefulSet", "orders").await, 0);
        assert_eq!(stand.replicas(V1, "Worker", "payments").await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_of_several_kinds_are_held_together() {
    Stand::with_kinds(async |stand| {
        stand.create(workload("Deployment", "orders", 2)).await;
        stand.create(workload("StatefulSet", "orders", 3)).await;
        stand.custom(V1, "Worker", "orders", json!({"replicas": 4})).await;
        let kinds = [("apps/v1", "Deployment", 2), ("apps/v1", "StatefulSet", 3), (V1, "Worker", 4)];
        let targets: Vec<Value> =
            kinds.map(|(api_version, kind, _)| json!({"apiVersion": api_version, "kind": kind, "name": "orders"})).into();
        let member = stand.member().await;
        stand.apply("replay", json!(targets), json!({})).await;
        wait_for_phase(&stand.api, "replay", Phase::Draining).await;
        for (api_version, kind, _) in kinds {
            assert_eq!(stand.replicas(api_version, kind, "orders").await, 0, "{kind}");
        }
        succeeded(&stand.let_go("replay", member).await);
        for (api_version, kind, replicas) in kinds {
            assert_eq!(stand.replicas(api_version, kind, "orders").await, replicas, "{kind}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_comes_back_through_another_version_when_its_own_is_not_served_any_more() {
    Stand::with_kinds(async |stand| {
        let group = format!("{}.example.com", unique("moving"));
        let definition = |served| {
            definitions::definition(&group, "Mover", "Namespaced", Some(".spec.replicas"), &[("v1", served), ("v2", true)])
        };
        definitions::install(&stand.client, &definition(true)).await;
        let [v1, v2] = ["v1", "v2"].map(|version| format!("{group}/{version}"));
        stand.custom(&v1, "Mover", "orders", json!({"replicas": 4})).await;
        let member = stand.member().await;
        stand.apply("replay", json!([{"apiVersion": v1, "kind": "Mover", "name": "orders"}]), json!({})).await;
        wait_for_phase(&stand.api, "replay", Phase::Draining).await;
        definitions::install(&stand.client, &definition(false)).await;
        let unserved = async {
            while stand.client.list_api_group_resources(&v1).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(PATIENCE, unserved).await.expect("its version goes");
        succeeded(&stand.let_go("replay", member).await);
        assert_eq!(stand.replicas(&v2, "Mover", "orders").await, 4);
        definitions::remove(&stand.client, &definition(false)).await;
    })
    .await;
}

/// With the definition all its objects go, and nobody says of one of them any more that it does not exist. No operator looks while they go.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_whose_kind_is_uninstalled_while_it_is_held_keeps_nobody_waiting_for_ever() {
    with_namespace(async |client, namespace| {
        let group = format!("{}.example.com", unique("leaving"));
        let definition = definitions::definition(&group, "Leaver", "Namespaced", Some(".spec.replicas"), &[("v1", true)]);
        definitions::install(&client, &definition).await;
        let stand = Stand::open(client, namespace).await;
        let operator = Operator::start_as(stand.client.clone(), &stand.namespace);
        let v1 = format!("{group}/v1");
        stand.custom(&v1, "Leaver", "orders", json!({"replicas": 4})).await;
        stand.create(workload("Deployment", "orders", 2)).await;
        let member = stand.member().await;
        let targets = json!([{"apiVersion": v1, "kind": "Leaver", "name": "orders"}, {"name": "orders"}]);
        stand.apply("replay", targets, json!({})).await;
        wait_for_phase(&stand.api, "replay", Phase::Draining).await;
        operator.end().await;
        definitions::remove(&stand.client, &definition).await;
        let unserved = async {
            while stand.client.list_api_groups().await.unwrap().groups.iter().any(|found| found.name == group) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(PATIENCE, unserved).await.expect("the kind goes");

        let operator = Operator::start_as(stand.client.clone(), &stand.namespace);
        let unseen = |reset: &OffsetReset| status(reset).explanation().contains("cannot see");
        wait_for(&stand.api, "replay", "blind", unseen).await;
        stand.api.delete("replay", &DeleteParams::default()).await.unwrap();
        // What is there does not wait for what is not.
        stand.wait_for_replicas("apps/v1", "Deployment", "orders", 2).await;
        let waits = stand.api.get("replay").await.expect("what is not served for a moment may be there still");
        assert_eq!((status(&waits).phase, status(&waits).targets[0].restored), (Some(Phase::Restoring), None));
        let gone = async {
            while stand.api.get_opt("replay").await.unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(PATIENCE, gone).await.expect("deleting it does not hang");
        let told = stand.told("OffsetReset", "replay", Reason::TargetLeftAlone).await;
        assert!(told.iter().any(|note| note.contains("Leaver/orders does not exist any more")), "{told:?}");
        let leases = Api::<Lease>::namespaced(stand.client.clone(), &stand.namespace);
        assert!(leases.list(&ListParams::default()).await.unwrap().items.is_empty(), "nothing says any more that it is held");
        drop(member);
        operator.end().await;
    })
    .await;
}
