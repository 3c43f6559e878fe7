//! Refused while planning: nothing was stopped, and the words say what to do.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::{
    definitions::{GROUP, V1},
    *,
};

/// Refused with a reason and with words; nothing was held.
async fn is_refused(stand: &Stand, name: &str, targets: Value, reason: Reason, words: &[&str]) {
    let refused = stand.run(name, targets).await;
    let message = ended(&refused, Phase::Failed, reason);
    for words in words {
        assert!(message.contains(words), "{name}: {message}");
    }
    assert!(message.contains("Nothing was stopped and no offset was changed"), "{message}");
    assert!(status(&refused).hold.is_none() && status(&refused).targets.is_empty());
    assert_eq!(stand.committed().await, Some(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_object_controls_is_refused_and_that_one_is_named() {
    Stand::with_kinds(async |stand| {
        stand.create(workload("Deployment", "orders", 2)).await;
        let sets = stand.objects("apps/v1", "ReplicaSet").await;
        let found = async {
            loop {
                let sets = sets.list(&ListParams::default()).await.unwrap();
                if let Some(set) = sets.items.first() {
                    return set.metadata.name.clone().unwrap();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let set = within(PATIENCE, found).await.expect("a Deployment makes a ReplicaSet");
        let words = ["That is Deployment/orders (apps/v1)", "Name Deployment/orders in targetRefs"];
        let targets = json!([{"kind": "ReplicaSet", "name": set}]);
        is_refused(stand, "of-a-deployment", targets, Reason::TargetHasController, &words).await;
        assert_eq!(stand.replicas("apps/v1", "Deployment", "orders").await, 2);

        let stream = stand.create(json!({"apiVersion": V1, "kind": "Plain", "metadata": {"name": "stream"}})).await;
        let mut set_of_stream = workload("StatefulSet", "payments", 2);
        let reference = |controller: bool| json!({"apiVersion": V1, "kind": "Plain", "name": "stream", "uid": stream.metadata.uid, "controller": controller});
        set_of_stream["metadata"]["ownerReferences"] = json!([reference(true)]);
        stand.create(set_of_stream).await;
        let targets = json!([{"kind": "StatefulSet", "name": "payments"}]);
        let words = ["StatefulSet/payments is controlled by", &*format!("That is Plain/stream ({V1})")];
        is_refused(stand, "of-a-custom-resource", targets, Reason::TargetHasController, &words).await;

        // One that is only deleted with another is nobody's to scale.
        let mut kept = workload("StatefulSet", "invoices", 2);
        kept["metadata"]["ownerReferences"] = json!([reference(false)]);
        stand.create(kept).await;
        succeeded(&stand.run("of-nobody", json!([{"kind": "StatefulSet", "name": "invoices"}])).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_set_loses_its_volumes_only_if_the_spec_accepts_that() {
    Stand::with(async |stand| {
        let mut set = workload("StatefulSet", "orders", 1);
        set["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({"whenScaled": "Delete", "whenDeleted": "Retain"});
        set["spec"]["volumeClaimTemplates"] = json!([{
            "metadata": {"name": "state"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
        }]);
        stand.create(set).await;
        let claims = Api::<PersistentVolumeClaim>::namespaced(stand.client.clone(), &stand.namespace);
        let claim = async {
            loop {
                if let Some(claim) = claims.get_opt("state-orders-0").await.unwrap() {
                    return claim.metadata.uid.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let claim = within(PATIENCE, claim).await.expect("its pod has a volume");
        let target = json!([{"kind": "StatefulSet", "name": "orders"}]);
        let words = ["StatefulSet/orders would lose its volumes", "whenScaled is Delete", "acceptVolumeDeletion: true"];
        is_refused(stand, "refused", target, Reason::VolumesWouldBeDeleted, &words).await;
        assert_eq!(claims.get("state-orders-0").await.unwrap().metadata.uid.as_ref(), Some(&claim));

        let member = stand.member().await;
        let accepting = json!([{"kind": "StatefulSet", "name": "orders", "acceptVolumeDeletion": true}]);
        stand.apply("accepted", accepting, json!({})).await;
        wait_for_phase(&stand.api, "accepted", Phase::Draining).await;
        let deleted =
            async {
                while claims.get_opt("state-orders-0").await.unwrap().is_some_and(|found| {
                    found.metadata.uid.as_ref() == Some(&claim) && found.metadata.deletion_timestamp.is_none()
                }) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
        within(PATIENCE, deleted).await.expect("the refusal has its reason: the volume goes");
        let done = stand.let_go("accepted", member).await;
        succeeded(&done);
        assert_eq!(stand.replicas("apps/v1", "StatefulSet", "orders").await, 1);
        let warnings = &status(&done).warnings;
        assert!(warnings.iter().any(|warning| warning.contains("StatefulSet/orders loses its volumes")), "{warnings:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_is_unknown_or_has_no_scale_is_told_from_a_target_that_does_not_exist() {
    Stand::with_kinds(async |stand| {
        stand.custom(V1, "Plain", "orders", json!({"replicas": 2})).await;
        let one = |api_version: &str, kind: &str, name: &str| json!([{"apiVersion": api_version, "kind": kind, "name": name}]);
        let unknown = format!("No kind Wroker of {V1} is served");
        is_refused(stand, "typo", one(V1, "Wroker", "orders"), Reason::TargetKindUnknown, &[&unknown, "install its CRD"]).await;
        let elsewhere = format!("under {GROUP}/v1alpha1, but under {V1} and {GROUP}/v1beta1");
        let version = one(&format!("{GROUP}/v1alpha1"), "Worker", "orders");
        is_refused(stand, "version", version, Reason::TargetKindUnknown, &[&elsewhere]).await;
        let words = ["has no scale subresource", &*format!("Plain of {V1}"), "the reset waits until the group is empty"];
        is_refused(stand, "no-scale", one(V1, "Plain", "orders"), Reason::TargetNotScalable, &words).await;
        is_refused(stand, "core", one("v1", "ConfigMap", "orders"), Reason::TargetNotScalable, &["no scale subresource"]).await;
        is_refused(stand, "cluster", one(V1, "Fleet", "orders"), Reason::TargetNotScalable, &["is not namespaced"]).await;
        for (name, api_version, kind) in [("set", "apps/v1", "StatefulSet"), ("custom", V1, "Worker")] {
            let words = [&*format!("{kind}/orders does not exist in this namespace")];
            is_refused(stand, name, one(api_version, kind, "orders"), Reason::TargetNotFound, &words).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_is_installed_later_is_found_then() {
    Stand::with_kinds(async |stand| {
        let group = format!("{}.example.com", unique("late"));
        let definition = definitions::definition(&group, "Latecomer", "Namespaced", Some(".spec.replicas"), &[("v1", true)]);
        let v1 = format!("{group}/v1");
        let target = json!([{"apiVersion": v1, "kind": "Latecomer", "name": "orders"}]);
        is_refused(stand, "early", target.clone(), Reason::TargetKindUnknown, &["No kind Latecomer"]).await;
        definitions::install(&stand.client, &definition).await;
        stand.custom(&v1, "Latecomer", "orders", json!({"replicas": 2})).await;
        succeeded(&stand.run("late", target).await);
        assert_eq!(stand.replicas(&v1, "Latecomer", "orders").await, 2);
        definitions::remove(&stand.client, &definition).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_workload_under_two_versions_of_its_kind_is_named_twice() {
    Stand::with_kinds(async |stand| {
        stand.custom(V1, "Worker", "orders", json!({"replicas": 2})).await;
        let named = |version: &str| json!({"apiVersion": format!("{GROUP}/{version}"), "kind": "Worker", "name": "orders"});
        let targets = json!([named("v1"), named("v1beta1")]);
        is_refused(stand, "twice", targets, Reason::InvalidSpec, &["name the same workload", "Name it once"]).await;
        assert_eq!(stand.replicas(V1, "Worker", "orders").await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unset_replicas_of_which_there_are_several_are_no_count_to_come_back_to() {
    Stand::with_kinds(async |stand| {
        stand.custom(V1, "Worker", "orders", json!({})).await;
        stand.report(V1, "Worker", "orders", json!({"replicas": 3})).await;
        let target = json!([{"apiVersion": V1, "kind": "Worker", "name": "orders"}]);
        is_refused(stand, "unset", target, Reason::TargetNotScalable, &["reports 3", "Set its spec.replicas"]).await;
        let found = stand.objects(V1, "Worker").await.get("orders").await.unwrap();
        assert_eq!(found.data["spec"], json!({}), "the look has changed nothing");
    })
    .await;
}
