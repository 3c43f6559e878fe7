//! One of two replicas comes back first: real consumers follow the replicas of a Deployment. Pods do not run here, so that a test
//! reports their crashes in place of a kubelet; in `e2e` a consumer really crashes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use offset_reset_operator::{
    api::{CanaryState, CanaryStatus, OffsetReset, Phase, Reason, Restored},
    kafka::Pool,
    machine::facts::{Committed, TopicPartition},
};
use real_tests::{
    PATIENCE, condition,
    consumers::Kind,
    delete_by_force,
    layer::{Layer, kafka::Layered},
    shop::{Operator, Shop, ended, in_a_shop, status, succeeded},
    wait_for, wait_for_end, wait_for_phase, wait_until_gone, with_namespace, within,
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::whole::faults::{Fault, Faulty};

/// Consumers that never commit do not consume past a target, as far as anyone can see.
fn silent() -> Kind {
    Kind { never_commits: true, ..Kind::default() }
}

fn canary(timeout: &str, on_failure: &str) -> Value {
    json!({
        "targetRefs": [{"name": "consumer"}],
        "restore": {"canary": {"replicas": 1, "timeout": timeout, "onFailure": on_failure}},
    })
}

fn canary_of(reset: &OffsetReset) -> CanaryStatus {
    status(reset).canary.clone().expect("it says what became of the canary")
}

/// Waits until the canary has its replica.
async fn runs(shop: &Shop, name: &str) -> OffsetReset {
    let running = |reset: &OffsetReset| {
        let canary = reset.status.as_ref().and_then(|status| status.canary.as_ref());
        canary.is_some_and(|canary| canary.start_time.is_some())
    };
    wait_for(&shop.api, name, "a canary that runs", running).await
}

/// Reports a crash of the containers of all pods, as a kubelet does.
async fn crash(shop: &Shop) {
    let api = Api::<Pod>::namespaced(shop.client.clone(), &shop.namespace);
    let pods = async || api.list(&ListParams::default().labels("app=consumer")).await.unwrap().items;
    shop.until("a pod of the canary", async |_| pods().await.iter().any(|pod| pod.metadata.deletion_timestamp.is_none())).await;
    for pod in pods().await {
        let container = json!({
            "name": pod.spec.as_ref().unwrap().containers[0].name, "image": "i", "imageID": "", "ready": false, "restartCount": 1,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 7, "reason": "Error", "message": "poison record"}},
        });
        let patch = json!({"status": {"phase": "Running", "containerStatuses": [container]}});
        api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(&patch)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_comes_first_and_the_other_follows_when_it_has_consumed() {
    in_a_shop(Kind::default(), async |shop| {
        let since = shop.follower.count();
        shop.apply_with("replay", json!([{"offset": 30, "partition": 0}]), canary("30s", "Undo")).await;
        let running = runs(shop, "replay").await;
        assert_eq!(status(&running).phase, Some(Phase::Canary));
        assert_eq!(shop.replicas().await, 1);
        let lease = shop.leases().list(&ListParams::default()).await.unwrap().items.remove(0);
        let counts =
            ["offsetreset.dev/replicas", "offsetreset.dev/canary-replicas"].map(|name| lease.annotations()[name].as_str());
        assert_eq!(counts, ["2", "1"], "whoever finds it knows both");
        let done = shop.run("replay").await;
        succeeded(&done);
        let canary = canary_of(&done);
        assert_eq!(
            (canary.state, canary.partitions_consumed, canary.partitions_with_records),
            (CanaryState::Passed, 1, 1),
            "{}",
            canary.message
        );
        assert_eq!(shop.replicas().await, 2);
        assert_eq!(condition(&done, "ConsumptionProven"), ("True".into(), "ConsumptionContinued".into()));
        shop.consumed_again(since, &[(0, 30)]).await;
        shop.no_leases().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_does_not_consume_in_time_is_kept_or_undone_and_all_replicas_come_back() {
    for (on_failure, reason, state, offset) in
        [("Keep", Reason::CanaryFailed, CanaryState::Failed, 30), ("Undo", Reason::CanaryUndone, CanaryState::Undone, 100)]
    {
        with_namespace(async |client, namespace| {
            let shop = Shop::open(client, namespace, &silent()).await;
            // They have consumed, and said so once.
            let group = shop.group.clone();
            empty(&shop).await;
            shop.commit(&group, &shop.topic, &[(0, 100)]).await;
            scale(&shop, 2).await;
            shop.members(&group, 2).await;
            shop.apply_with("replay", json!([{"offset": 30, "partition": 0}]), canary("3s", on_failure)).await;
            let done = wait_for_end(&shop.api, "replay").await;
            let said = ended(&done, Phase::Failed, reason);
            assert!(said.contains("The canary has not committed past the target within 3 seconds on partition 0"), "{said}");
            assert_eq!((canary_of(&done).state, shop.replicas().await), (state, 2));
            assert_eq!(shop.committed(&group, &shop.topic).await[0], Some(offset));
            let partition = &status(&done).partitions[0];
            assert_eq!((partition.before, partition.after), (Some(100), Some(offset)));
            shop.no_leases().await;
            shop.close().await;
        })
        .await;
    }
}

/// Scales the Deployment, as its owner.
async fn scale(shop: &Shop, replicas: i32) {
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    shop.deployments().patch_scale("consumer", &PatchParams::default(), &patch).await.unwrap();
}

async fn empty(shop: &Shop) {
    scale(shop, 0).await;
    shop.members(&shop.group, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_ends_the_canary_at_once_and_the_offsets_from_before_are_committed_with_their_metadata() {
    in_a_shop(silent(), async |shop| {
        empty(shop).await;
        shop.commit(&shop.group, &shop.topic, &[(0, 90)]).await;
        scale(shop, 2).await;
        shop.members(&shop.group, 2).await;
        shop.apply_with("replay", json!([{"offset": 30}]), canary("5m", "Undo")).await;
        runs(shop, "replay").await;
        crash(shop).await;
        let done = wait_for_end(&shop.api, "replay").await;
        let said = ended(&done, Phase::Failed, Reason::CanaryUndone);
        assert!(said.contains("A container of the canary was started again or crashed in pod consumer-"), "{said}");
        let exit = "exited with code 7 (Error), and its termination message is: poison record";
        assert!(canary_of(&done).message.ends_with(exit), "{}", canary_of(&done).message);
        let at = TopicPartition::new(&shop.topic, 0);
        let found = shop.admin.committed(&shop.group, std::slice::from_ref(&at)).await.unwrap();
        assert_eq!(found[&at], Ok(Some(Committed { offset: 90, metadata: "of the application".into() })));
        // There was none before on the others, so that none is there again.
        assert_eq!(shop.committed(&shop.group, &shop.topic).await, [Some(90), None, None]);
        assert_eq!((shop.replicas().await, canary_of(&done).state), (2, CanaryState::Undone));
        assert_eq!(condition(&done, "OffsetsReset"), ("False".into(), "CanaryUndone".into()));
        shop.no_leases().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_is_deleted_during_its_canary_restores_all_replicas_before_it_goes() {
    in_a_shop(silent(), async |shop| {
        shop.apply_with("replay", json!([{"offset": 30, "partition": 0}]), canary("5m", "Undo")).await;
        runs(shop, "replay").await;
        shop.api.delete("replay", &DeleteParams::default()).await.unwrap();
        wait_until_gone(&shop.api, "replay").await;
        assert_eq!(shop.replicas().await, 2, "before it went");
        assert_eq!(shop.committed(&shop.group, &shop.topic).await[0], Some(30), "the offsets stay");
        shop.no_leases().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_whose_reset_is_gone_is_restored_by_its_lease() {
    in_a_shop(silent(), async |shop| {
        shop.apply_with("replay", json!([{"offset": 30, "partition": 0}]), canary("5m", "Undo")).await;
        runs(shop, "replay").await;
        delete_by_force(&shop.api, "replay").await;
        shop.until("all replicas", async |env| env.replicas().await == 2).await;
        shop.no_leases().await;
    })
    .await;
}

/// A broker that does not describe the group any more once a canary runs: only a canary asks where transactions begin.
#[derive(Default)]
struct Silent {
    canary_runs: AtomicBool,
    asked: Notify,
    given_up: Arc<AtomicBool>,
}

/// Tells, once it is dropped, that the operator does not wait for the answer any more.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Layer for Silent {
    async fn around<T: Send, E: Send>(
        &self,
        kind: &str,
        request: impl Future<Output = Result<T, E>> + Send,
        _: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        if kind == "Kafka stable_ends" {
            self.canary_runs.store(true, Ordering::Relaxed);
        }
        if kind == "Kafka describe_group" && self.canary_runs.load(Ordering::Relaxed) {
            let _waiting = Waiting(Arc::clone(&self.given_up));
            self.asked.notify_one();
            return std::future::pending().await;
        }
        request.await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_pass_restores_the_workload_of_a_canary_while_the_broker_does_not_answer() {
    in_a_shop(silent(), async |shop| {
        shop.operator.stop.cancel();
        let layer = Arc::new(Silent::default());
        let kafka = Arc::new(Layered { pool: Pool::default(), layer: Arc::clone(&layer) });
        let other = Operator::start_on(&shop.client, &shop.namespace, kafka);
        shop.apply_with("replay", json!([{"offset": 30, "partition": 0}]), canary("5m", "Undo")).await;
        within(PATIENCE, layer.asked.notified()).await.expect("the operator asks for the group while the canary runs");
        delete_by_force(&shop.api, "replay").await;
        shop.until("all replicas", async |env| env.replicas().await == 2).await;
        assert!(!layer.given_up.load(Ordering::Relaxed), "the pass over the Lease did not wait for the answer");
        shop.no_leases().await;
        other.kill().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_another_client_sets_ends_the_canary_and_stays() {
    in_a_shop(silent(), async |shop| {
        shop.apply_with("replay", json!([{"offset": 30, "partition": 0}]), canary("5m", "Undo")).await;
        runs(shop, "replay").await;
        scale(shop, 3).await;
        let done = wait_for_end(&shop.api, "replay").await;
        succeeded_but_for_the_target(&done);
        assert_eq!(canary_of(&done).state, CanaryState::Unproven);
        assert_eq!(status(&done).targets[0].restored, Some(Restored::LeftAsScaledByOthers));
        assert_eq!(shop.replicas().await, 3);
    })
    .await;
}

fn succeeded_but_for_the_target(reset: &OffsetReset) {
    ended(reset, Phase::Succeeded, Reason::Succeeded);
    assert_eq!(condition(reset, "ConsumersRestored"), ("True".into(), "TargetLeftAlone".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_without_a_record_proves_nothing_and_the_others_follow() {
    in_a_shop(Kind::default(), async |shop| {
        shop.apply_with("to-the-end", json!([{"position": "Latest", "partition": 2}]), canary("30s", "Undo")).await;
        let done = wait_for_end(&shop.api, "to-the-end").await;
        // The only partition has no records at all.
        let canary = canary_of(&done);
        assert_eq!((canary.state, canary.partitions_with_records), (CanaryState::Unproven, 0), "{}", canary.message);
        assert!(canary.message.contains("There is no record to consume"), "{}", canary.message);
        ended(&done, Phase::Succeeded, Reason::Succeeded);
        assert_eq!(shop.replicas().await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_that_a_canary_follows_and_another_one_that_none_can() {
    in_a_shop(Kind::default(), async |shop| {
        let mut spec = canary("30s", "Undo");
        spec["dryRun"] = json!(true);
        shop.apply_with("plan", json!([{"offset": 30, "partition": 0}]), spec.clone()).await;
        let planned = wait_for_end(&shop.api, "plan").await;
        let said = ended(&planned, Phase::Planned, Reason::DryRun);
        assert!(said.contains("1 of 2 replicas of Deployment/consumer comes back first"), "{said}");
        assert_eq!(canary_of(&planned).state, CanaryState::Planned);
        spec["restore"]["canary"]["replicas"] = json!(2);
        shop.apply_with("too-many", json!([{"offset": 30, "partition": 0}]), spec).await;
        let planned = wait_for_end(&shop.api, "too-many").await;
        assert_eq!(canary_of(&planned).state, CanaryState::NotRun);
        assert_eq!(shop.replicas().await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_broker_does_not_answer_the_canary_proves_nothing_and_all_replicas_come_back() {
    in_a_shop(Kind::default(), async |shop| {
        shop.operator.stop.cancel();
        let other = Operator::start_on(&shop.client, &shop.namespace, Arc::new(Faulty::new(Fault::NoStableEnds)));
        shop.apply_with("replay", json!([{"offset": 30, "partition": 0}]), canary("3s", "Undo")).await;
        wait_for_phase(&shop.api, "replay", Phase::Canary).await;
        let done = wait_for_end(&shop.api, "replay").await;
        ended(&done, Phase::Succeeded, Reason::Succeeded);
        let canary = canary_of(&done);
        assert_eq!(canary.state, CanaryState::Unproven, "{}", canary.message);
        assert!(canary.message.contains("could not be read until the end of the canary"), "{}", canary.message);
        assert_eq!(shop.replicas().await, 2);
        other.end().await;
    })
    .await;
}
