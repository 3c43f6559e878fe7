//! Members in pods that no target controls. Nobody runs pods here: a test gives pods the addresses from which it speaks to the broker.

use k8s_openapi::api::core::v1::Pod;
use offset_reset_operator::machine::facts::Group;
use tokio::task::block_in_place;

use super::*;
use crate::kafka::wire::Wire;

/// Waits for the only pod of a Deployment, and writes into its status that it has run at an address since 2026.
async fn runs_at(stand: &Stand, name: &str, address: &str) -> String {
    let pods = Api::<Pod>::namespaced(stand.client.clone(), &stand.namespace);
    let created = async {
        loop {
            if let [pod] = &pods.list(&ListParams::default().labels(&format!("app={name}"))).await.unwrap().items[..] {
                return pod.metadata.name.clone().unwrap();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let pod = within(PATIENCE, created).await.unwrap_or_else(|| panic!("{name} never has its pod"));
    let container = json!({
        "name": "c", "image": "nobody-runs-it", "imageID": "", "ready": true, "restartCount": 0,
        "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
    });
    let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let status = json!({"status": {
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "containerStatuses": [container], "conditions": [ready],
    }});
    pods.patch_status(&pod, &PatchParams::default(), &Patch::Strategic(&status)).await.unwrap();
    pod
}

/// A member of the group for each address. They answer no rebalance, so the broker keeps both for half a minute.
async fn members_at(stand: &Stand, addresses: [&str; 2]) -> [Wire; 2] {
    let members = addresses.map(|address| {
        let mut member = block_in_place(|| Wire::to_coordinator_from(address, &stand.group));
        block_in_place(|| member.ask_to_join("consumer", "range"));
        member
    });
    stand.members(&stand.group, 2).await;
    members
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_in_a_pod_of_another_deployment_is_refused_at_once_and_both_are_named() {
    Stand::with(async |stand| {
        let (own, other) = ("127.0.0.8", "127.0.0.9");
        stand.create(workload("Deployment", "orders", 1)).await;
        stand.create(workload("Deployment", "replay", 1)).await;
        runs_at(stand, "orders", own).await;
        let pod = runs_at(stand, "replay", other).await;
        let _members = members_at(stand, [own, other]).await;
        let both = json!([{"name": "orders"}, {"name": "replay"}]);
        stand.apply("both", both, json!({"dryRun": true})).await;
        for (name, spec) in
            [("wait", json!({})), ("remove", json!({"remainingMembers": "Remove"})), ("dry", json!({"dryRun": true}))]
        {
            stand.apply(name, json!([{"name": "orders"}]), spec).await;
            let refused = wait_for_end(&stand.api, name).await;
            ended(&refused, Phase::Failed, Reason::GroupShared);
            let said = status(&refused).explanation();
            assert!(
                said.starts_with("1 member runs in a pod of Deployment/replay, so the group would not become empty")
                    && said.contains(&format!("at {other}, pod {pod} of Deployment/replay"))
                    && said.contains("Add Deployment/replay to targetRefs"),
                "{said}"
            );
        }
        assert_eq!(stand.replicas("apps/v1", "Deployment", "orders").await, 1, "it was not stopped");
        let planned = wait_for_end(&stand.api, "both").await;
        ended(&planned, Phase::Planned, Reason::DryRun);
        let found = status(&planned);
        assert_eq!(found.group.as_ref().unwrap().expected_members, Some(2));
        assert!(found.warnings.iter().all(|warning| !warning.contains("member")), "{:?}", found.warnings);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_target_is_not_stopped_when_all_members_run_in_pods_of_another_deployment() {
    Stand::with(async |stand| {
        let (own, others) = ("127.0.0.7", ["127.0.0.8", "127.0.0.9"]);
        for name in ["payments", "orders", "replay"] {
            stand.create(workload("Deployment", name, 1)).await;
        }
        runs_at(stand, "payments", own).await;
        let pods = [runs_at(stand, "orders", others[0]).await, runs_at(stand, "replay", others[1]).await];
        let members = members_at(stand, others).await;
        for (name, spec) in [("run", json!({})), ("dry", json!({"dryRun": true}))] {
            stand.apply(name, json!([{"name": "payments"}]), spec).await;
            let refused = wait_for_end(&stand.api, name).await;
            ended(&refused, Phase::Failed, Reason::GroupShared);
            let said = status(&refused).explanation();
            for words in [
                "2 members run in pods of 2 other workloads, so the group would not become empty",
                &format!("pod {} of Deployment/orders", pods[0]),
                &format!("pod {} of Deployment/replay", pods[1]),
                "targetRefs names the wrong workload",
                "allowNoMembers: true",
            ] {
                assert!(said.contains(words), "{words}: {said}");
            }
        }
        assert_eq!(stand.replicas("apps/v1", "Deployment", "payments").await, 1, "it was not stopped");
        stand.apply("proxy", json!([{"name": "payments"}]), json!({"dryRun": true, "allowNoMembers": true})).await;
        let planned = wait_for_end(&stand.api, "proxy").await;
        ended(&planned, Phase::Planned, Reason::DryRun);
        let found = status(&planned);
        assert!(found.message.as_ref().is_some_and(|message| message.contains("warning")), "{:?}", found.message);
        assert!(found.warnings.iter().any(|warning| warning.contains(&pods[0])), "{:?}", found.warnings);
        drop(members);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_at_an_address_that_no_pod_has_is_waited_for() {
    Stand::with(async |stand| {
        let (own, other) = ("127.0.0.8", "127.0.0.9");
        stand.create(workload("Deployment", "orders", 1)).await;
        runs_at(stand, "orders", own).await;
        let _members = members_at(stand, [own, other]).await;
        // The pod stays ready, and the group has no members in the end.
        stand.apply("waits", json!([{"name": "orders"}]), json!({"allowNoMembers": true})).await;
        let waits = wait_for(&stand.api, "waits", "a wait", |reset| {
            reset.status.as_ref().is_some_and(|status| status.reason == Some(Reason::GroupShared))
        })
        .await;
        let said = status(&waits).explanation();
        assert_eq!(status(&waits).phase, Some(Phase::Planning), "{said}");
        assert!(said.starts_with("Waiting for 1 member that runs outside the target pods to leave the group"), "{said}");
        let Group::Found(found) = stand.admin.describe_group(&stand.group).await.unwrap() else { panic!("it has members") };
        stand.admin.remove_members(&stand.group, &found.members).await.unwrap();
        succeeded(&wait_for_end(&stand.api, "waits").await);
    })
    .await;
}
