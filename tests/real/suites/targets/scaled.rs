//! Others who set the replicas: named when they scale a held target up, and warned of before.

use super::{definitions::V1, *};

/// Scales a held target up again whenever it is at zero, until the reset gives way.
async fn until_it_gives_way(stand: &Stand, name: &str, at: (&str, &str, &str), scale_up: impl AsyncFn()) -> OffsetReset {
    let fight = async {
        loop {
            let now = stand.api.get(name).await.unwrap();
            if status(&now).completion_time.is_some() {
                return now;
            }
            let held = status(&now).targets.first().is_some_and(|target| target.stopped);
            if held && stand.replicas(at.0, at.1, at.2).await == 0 {
                scale_up().await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(PATIENCE, fight).await.expect("it gives way")
}

#[tokio::test(flavor = "multi_thread")]
async fn argo_cd_that_puts_the_replicas_back_is_named_with_the_setting_that_helps() {
    Stand::with(async |stand| {
        stand.create(workload("Deployment", "orders", 2)).await;
        let member = stand.member().await;
        stand.apply("replay", json!([{"name": "orders"}]), json!({})).await;
        wait_for_phase(&stand.api, "replay", Phase::Draining).await;
        // A count that is meant to last.
        let from_git = workload("Deployment", "orders", 5);
        let at = ("apps/v1", "Deployment", "orders");
        let done = until_it_gives_way(stand, "replay", at, async || stand.apply_as("argocd-controller", &from_git).await).await;
        let message = ended(&done, Phase::Failed, Reason::ScaledUpByOthers);
        for words in ["argocd-controller (Apply at ", "Deployment/orders", "4 times", "RespectIgnoreDifferences=true"] {
            assert!(message.contains(words), "{words}: {message}");
        }
        assert_eq!(stand.replicas("apps/v1", "Deployment", "orders").await, 5, "what Git has stands");
        let target = &status(&done).targets[0];
        assert_eq!((target.original_replicas, target.restored), (2, Some(Restored::LeftAsScaledByOthers)));
        assert_ne!(stand.committed().await, Some(3));
        for (kind, name) in [("Deployment", "orders"), ("OffsetReset", "replay")] {
            let told = stand.told(kind, name, Reason::ScaledUpByOthers).await;
            assert!(told.iter().any(|note| note.contains("argocd-controller (Apply at ")), "{told:?}");
            assert!(told.iter().any(|note| note.contains("RespectIgnoreDifferences=true")), "{told:?}");
        }
        drop(member);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_scales_it_up_once_is_named_and_the_reset_goes_on() {
    Stand::with(async |stand| {
        stand.create(workload("StatefulSet", "orders", 2)).await;
        let member = stand.member().await;
        stand.apply("replay", json!([{"kind": "StatefulSet", "name": "orders"}]), json!({})).await;
        wait_for_phase(&stand.api, "replay", Phase::Draining).await;
        let api = stand.objects("apps/v1", "StatefulSet").await;
        let params = PatchParams { field_manager: Some("kubectl-edit".into()), ..PatchParams::default() };
        api.patch("orders", &params, &Patch::Merge(json!({"spec": {"replicas": 5}}))).await.unwrap();
        wait_for(&stand.api, "replay", "aware", |reset| status(reset).targets[0].scaled_up_by_others == 1).await;
        stand.wait_for_replicas("apps/v1", "StatefulSet", "orders", 0).await;
        succeeded(&stand.let_go("replay", member).await);
        assert_eq!(stand.replicas("apps/v1", "StatefulSet", "orders").await, 2, "the count from before the stop");
        let told = stand.told("StatefulSet", "orders", Reason::ScaledUpByOthers).await;
        assert!(told.len() == 1 && told[0].contains("kubectl-edit (Update at "), "{told:?}");
    })
    .await;
}

/// The API server records no owner for what is written through `scale` from zero: an autoscaler that there is says more.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_through_scale_from_zero_is_said_to_be_so() {
    Stand::with(async |stand| {
        stand.create(workload("Deployment", "orders", 2)).await;
        let member = stand.member().await;
        stand.apply("replay", json!([{"name": "orders"}]), json!({})).await;
        wait_for_phase(&stand.api, "replay", Phase::Draining).await;
        stand.create(autoscaled::autoscaler("orders", 1)).await;
        stand.scale_as("kubectl", "apps/v1", "Deployment", "orders", 5).await;
        wait_for(&stand.api, "replay", "aware", |reset| status(reset).targets[0].scaled_up_by_others == 1).await;
        succeeded(&stand.let_go("replay", member).await);
        let told = stand.told("Deployment", "orders", Reason::ScaledUpByOthers).await;
        let words = [
            "Deployment/orders was scaled up to 5",
            "most likely came through the scale subresource",
            "HorizontalPodAutoscaler/orders-load scales it",
        ];
        assert!(told.len() == 1 && words.iter().all(|words| told[0].contains(words)), "{told:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_applies_a_custom_resource_is_named() {
    Stand::with_kinds(async |stand| {
        let from_git = json!({"apiVersion": V1, "kind": "Worker", "metadata": {"name": "orders"}, "spec": {"replicas": 2}});
        stand.apply_as("kustomize-controller", &from_git).await;
        stand.report(V1, "Worker", "orders", json!({"selector": "app=orders"})).await;
        let member = stand.member().await;
        stand.apply("replay", json!([{"apiVersion": V1, "kind": "Worker", "name": "orders"}]), json!({})).await;
        wait_for_phase(&stand.api, "replay", Phase::Draining).await;
        let at = (V1, "Worker", "orders");
        let done =
            until_it_gives_way(stand, "replay", at, async || stand.apply_as("kustomize-controller", &from_git).await).await;
        let message = ended(&done, Phase::Failed, Reason::ScaledUpByOthers);
        for words in ["kustomize-controller (Apply at ", "Worker/orders", "Kustomization spec.ignore"] {
            assert!(message.contains(words), "{words}: {message}");
        }
        assert_eq!(stand.replicas(V1, "Worker", "orders").await, 2);
        drop(member);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gitops_tool_that_owns_the_replicas_is_warned_of_in_the_plan() {
    Stand::with(async |stand| {
        for (name, manager, words) in [
            ("argo", "argocd-controller", "RespectIgnoreDifferences=true"),
            ("flux", "kustomize-controller", "Kustomization spec.ignore with paths [/spec/replicas]"),
            ("release", "helm-controller", "driftDetection.ignore"),
            ("chart", "helm", "upgrade the Helm release when the reset is over"),
        ] {
            stand.apply_as(manager, &workload("Deployment", name, 2)).await;
            let warnings = status(&stand.plan(name, json!([{ "name": name }])).await).warnings.clone();
            let found: Vec<_> = warnings.iter().filter(|warning| warning.contains("owns spec.replicas")).collect();
            assert!(found.len() == 1 && found[0].contains(words), "{warnings:?}");
            assert!(found[0].starts_with(&format!("Deployment/{name}: {manager} owns")), "{warnings:?}");

            // As its manifest should be.
            let mut without = workload("Deployment", &format!("{name}-without"), 2);
            without["spec"].as_object_mut().unwrap().remove("replicas");
            stand.apply_as(manager, &without).await;
            let planned = stand.plan(&format!("{name}-without"), json!([{"name": format!("{name}-without")}])).await;
            let warnings = &status(&planned).warnings;
            assert!(warnings.iter().all(|warning| !warning.contains("owns spec.replicas")), "{warnings:?}");
            assert_eq!(status(&planned).targets[0].original_replicas, 1, "the API server has filled it in");
        }
    })
    .await;
}
