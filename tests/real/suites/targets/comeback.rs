//! What comes after the restore: a slow comeback, and a count that is set after it. Pods do not run here, so no consumer joins the group.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use offset_reset_operator::machine::facts::{Committed, TopicPartition};
use real_tests::condition;

use super::{autoscaled::autoscaler, *};

/// Makes pods of a workload ready, as a kubelet would, and waits for as many; there are no others.
async fn ready(stand: &Stand, name: &str, count: usize) {
    let api = Api::<Pod>::namespaced(stand.client.clone(), &stand.namespace);
    let pods = async || {
        let found = api.list(&ListParams::default().labels(&format!("app={name}"))).await.unwrap().items;
        let current: Vec<Pod> = found.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
        (current.len() == count).then_some(current)
    };
    let waiting = async {
        loop {
            if let Some(found) = pods().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let found = within(PATIENCE, waiting).await.expect("the controller creates and deletes its pods");
    for pod in found {
        let patch = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(&patch)).await.unwrap();
    }
}

/// The message of a condition.
fn said(reset: &OffsetReset, kind: &str) -> String {
    let found = status(reset).conditions.iter().find(|condition| condition.type_ == kind);
    found.map(|condition| condition.message.clone()).unwrap_or_default()
}

async fn wait_for_reason(stand: &Stand, name: &str, reason: Reason) -> OffsetReset {
    let known = |reset: &OffsetReset| condition(reset, "ConsumersResumed").1 == reason.as_str();
    wait_for(&stand.api, name, reason.as_str(), known).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comeback_that_is_late_is_told_and_recorded_when_it_comes() {
    Stand::with(async |stand| {
        stand.create(workload("Deployment", "orders", 2)).await;
        stand.apply("replay", json!([{"name": "orders"}]), json!({"resumeTimeout": "1s", "allowNoMembers": true})).await;
        let missed = wait_for_reason(stand, "replay", Reason::ConsumersNotReady).await;
        assert_eq!(condition(&missed, "ConsumersResumed").0, "False");
        let message = said(&missed, "ConsumersResumed");
        assert!(message.contains("0 of 2 pods of Deployment/orders are ready"), "{message}");
        succeeded(&missed);
        assert_eq!(stand.told("OffsetReset", "replay", Reason::ConsumersNotReady).await, [message]);
        ready(stand, "orders", 2).await;
        let back = wait_for_reason(stand, "replay", Reason::ConsumersReady).await;
        assert_eq!(condition(&back, "ConsumersResumed").0, "True");
        let message = said(&back, "ConsumersResumed");
        assert!(message.contains("All pods are ready") && message.contains("later than resumeTimeout"), "{message}");
    })
    .await;
}

/// Makes the containers of all pods crash in a loop, as a kubelet would report it.
async fn crash(stand: &Stand, name: &str) {
    let api = Api::<Pod>::namespaced(stand.client.clone(), &stand.namespace);
    for pod in api.list(&ListParams::default().labels(&format!("app={name}"))).await.unwrap() {
        let container = json!({
            "name": pod.spec.as_ref().unwrap().containers[0].name, "image": "i", "imageID": "", "ready": false, "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 7}},
        });
        let conditions = json!([{"type": "Ready", "status": "False"}]);
        let patch = json!({"status": {"phase": "Running", "conditions": conditions, "containerStatuses": [container]}});
        api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(&patch)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comeback_is_taken_back_when_the_consumers_crash() {
    Stand::with(async |stand| {
        stand.create(workload("Deployment", "orders", 2)).await;
        stand.apply("replay", json!([{"name": "orders"}]), json!({"allowNoMembers": true})).await;
        succeeded(&wait_for_end(&stand.api, "replay").await);
        ready(stand, "orders", 2).await;
        wait_for_reason(stand, "replay", Reason::ConsumersReady).await;
        // Nothing was consumed, so the operator still looks.
        crash(stand, "orders").await;
        let crashed = wait_for_reason(stand, "replay", Reason::WaitingForConsumers).await;
        let message = said(&crashed, "ConsumersResumed");
        assert!(message.contains("containers crash again and again in 2 pods, such as orders-"), "{message}");
        let plugin = real_tests::plugin::Plugin::new(&stand.namespace);
        for command in ["explain", "status"] {
            let text = plugin.ends(0, &[command, "replay"]).await;
            let words = "of Deployment/orders crashes: CrashLoopBackOff, restarted 3 times, ended with exit code 7";
            assert!(text.contains(words) && text.contains("--previous"), "{command}: {text}");
            assert!(!text.contains("Nothing has to be done"), "{command}: {text}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_start_one_after_the_other_get_more_time() {
    Stand::with(async |stand| {
        let mut ordered = workload("StatefulSet", "orders", 2);
        ordered["spec"]["minReadySeconds"] = json!(30);
        stand.create(ordered).await;
        let done = stand.run("replay", json!([{"kind": "StatefulSet", "name": "orders"}])).await;
        succeeded(&done);
        assert_eq!(status(&done).targets[0].ordered_min_ready_seconds, Some(30));
        let hold = status(&done).hold.as_ref().unwrap();
        let time = hold.resume_deadline.as_ref().unwrap().0.duration_since(hold.end_time.as_ref().unwrap().0);
        assert_eq!(time.as_secs(), 5 * 60 + 2 * (60 + 30));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_an_autoscaler_sets_after_the_restore_is_the_one_that_is_waited_for() {
    Stand::with(async |stand| {
        stand.create(workload("Deployment", "orders", 3)).await;
        stand.create(autoscaler("orders", 1)).await;
        stand.apply("replay", json!([{"name": "orders"}]), json!({"allowNoMembers": true})).await;
        let done = wait_for_end(&stand.api, "replay").await;
        succeeded(&done);
        // The API server records no client for a write through scale, once there was one from zero: only the autoscaler tells.
        stand.scale_as("load-scaler", "apps/v1", "Deployment", "orders", 1).await;
        ready(stand, "orders", 1).await;
        let back = wait_for_reason(stand, "replay", Reason::ConsumersReady).await;
        assert_eq!(condition(&back, "ConsumersResumed").0, "True");
        let message = said(&back, "ConsumersResumed");
        let words = "Deployment/orders was scaled from 3 to 1 after the restore by another controller or a user; HorizontalPodAutoscaler \
                     orders-load scales it";
        assert!(message.contains(words), "{message}");
        assert_eq!(stand.replicas("apps/v1", "Deployment", "orders").await, 1, "it stays");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_count_was_set_to_zero_no_consumers_are_expected() {
    Stand::with(async |stand| {
        stand.create(workload("Deployment", "orders", 2)).await;
        let done = stand.run("replay", json!([{"name": "orders"}])).await;
        succeeded(&done);
        stand.apply_as("argocd-controller", &workload("Deployment", "orders", 0)).await;
        let known = wait_for_reason(stand, "replay", Reason::NoConsumersExpected).await;
        assert_eq!(condition(&known, "ConsumersResumed").0, "True");
        let message = said(&known, "ConsumersResumed");
        assert!(
            message.contains("Deployment/orders was scaled from 2 to 0 after the restore by argocd-controller (Apply at "),
            "{message}"
        );
    })
    .await;
}

/// Its zero is the hold of the second one, and not the end of the consumers.
#[tokio::test(flavor = "multi_thread")]
async fn the_hold_of_the_next_reset_is_not_taken_for_an_autoscalers_zero() {
    Stand::with(async |stand| {
        stand.create(workload("Deployment", "orders", 2)).await;
        stand.apply("first", json!([{"name": "orders"}]), json!({"allowNoMembers": true})).await;
        succeeded(&wait_for_end(&stand.api, "first").await);
        let member = stand.member().await;
        stand.apply("second", json!([{"name": "orders"}]), json!({"runId": "2"})).await;
        wait_for_phase(&stand.api, "second", Phase::Draining).await;
        let held = |reset: &OffsetReset| said(reset, "ConsumersResumed").contains("is held at zero by OffsetReset second");
        let first = wait_for(&stand.api, "first", "waiting for the second", held).await;
        assert_eq!(condition(&first, "ConsumersResumed").0, "Unknown");
        succeeded(&stand.let_go("second", member).await);
        ready(stand, "orders", 2).await;
        wait_for_reason(stand, "first", Reason::ConsumersReady).await;
    })
    .await;
}

/// As MirrorMaker 2 does over groups without members: nothing of it shows in the group.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_commits_over_the_offsets_before_the_consumers_are_there_is_told_of() {
    Stand::with(async |stand| {
        stand.create(workload("Deployment", "orders", 2)).await;
        stand.apply("replay", json!([{"name": "orders"}]), json!({})).await;
        let stored = |reset: &OffsetReset| {
            let partitions = reset.status.iter().flat_map(|status| &status.partitions);
            partitions.map(|partition| partition.after).eq([Some(3)])
        };
        wait_for(&stand.api, "replay", "read back", stored).await;
        let (group, topic, admin) = (stand.group.clone(), stand.topic.clone(), stand.admin.clone());
        let end = Committed { offset: 10, metadata: String::new().into() };
        let mirror = tokio::spawn(async move {
            loop {
                let offsets = [(TopicPartition::new(&topic, 0), end.clone())];
                // Refused while the group has members.
                let _ = admin.commit(&group, &offsets).await;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        let overwritten = |reset: &OffsetReset| condition(reset, "ConsumptionProven").0 == "False";
        let found = wait_for(&stand.api, "replay", "known to be overwritten", overwritten).await;
        mirror.abort();
        assert_eq!(condition(&found, "ConsumptionProven").1, Reason::OffsetsOverwritten.as_str());
        let message = said(&found, "ConsumptionProven");
        let words = format!("partition 0 of topic {topic}: {topic}-0 has 10 instead of 3", topic = stand.topic);
        assert!(message.contains(&words), "{message}");
        let partition = &status(&found).partitions[0];
        assert_eq!(partition.overwritten.as_ref().and_then(|found| found.offset), Some(10));
        assert_eq!(status(&found).consumption.as_ref().map(|counts| counts.overwritten), Some(1));
        succeeded(&found);
        assert_eq!(stand.told("OffsetReset", "replay", Reason::OffsetsOverwritten).await, [message]);
    })
    .await;
}

/// The same without a target: nobody is restored, and the offsets are looked at all the same.
#[tokio::test(flavor = "multi_thread")]
async fn without_targets_too() {
    Stand::with(async |stand| {
        stand.apply("replay", json!([]), json!({})).await;
        let done = wait_for_end(&stand.api, "replay").await;
        succeeded(&done);
        assert_eq!(condition(&done, "ConsumersResumed").1, Reason::NoConsumersExpected.as_str());
        stand.commit(&stand.group, &stand.topic, &[(0, 7)]).await;
        let overwritten = |reset: &OffsetReset| condition(reset, "ConsumptionProven").0 == "False";
        let found = wait_for(&stand.api, "replay", "known to be overwritten", overwritten).await;
        assert!(said(&found, "ConsumptionProven").contains("has 7 instead of 3, set while the group had no member"));
        assert!(status(&found).hold.as_ref().unwrap().watched_until.is_none(), "nothing more is to be learned");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_reset_of_the_group_is_named() {
    Stand::with(async |stand| {
        stand.apply("first", json!([]), json!({})).await;
        succeeded(&wait_for_end(&stand.api, "first").await);
        let to = json!([{"topic": stand.topic, "offset": 5}]);
        succeeded(&stand.0.run("second", &stand.group, to, json!({})).await);
        let overwritten = |reset: &OffsetReset| condition(reset, "ConsumptionProven").0 == "False";
        let found = wait_for(&stand.api, "first", "known to be overwritten", overwritten).await;
        let words = format!("OffsetReset {}/second has set the offset again", stand.namespace);
        assert!(said(&found, "ConsumptionProven").contains(&words), "{}", said(&found, "ConsumptionProven"));
        let second = stand.api.get("second").await.unwrap();
        assert_eq!(condition(&second, "ConsumptionProven"), ("Unknown".into(), "WaitingForConsumption".into()));
    })
    .await;
}
