//! Rollouts, crash loops and pods of others, as a real controller manager and a real kubelet make them. The pods only wait, and an
//! administrator has committed the group's offsets: `allowNoMembers`.

use k8s_openapi::api::core::v1::Pod;

use super::*;

const PAUSE: &str = "localhost/pause:sandbox";
const MISSING: &str = "localhost/missing:sandbox";

/// A namespace with the installed operator, and a group that has committed offset 50 of a topic.
struct Bench {
    client: Client,
    namespace: String,
    group: String,
    topic: String,
    api: Api<OffsetReset>,
}

impl Bench {
    async fn with<T>(test: impl AsyncFnOnce(&Self) -> T) {
        with_namespace(async |client, namespace| {
            installed().await;
            let (topic, group) = (topic("test", 1).await, unique("group"));
            produce(&topic, 0, &(0..100).map(|second| (1_571_812_104 + second) * 1000).collect::<Vec<_>>()).await;
            let admin = Broker::default().group_admin().await;
            let at = offset_reset_operator::machine::facts::TopicPartition::new(&topic, 0);
            let committed = offset_reset_operator::machine::facts::Committed { offset: 50, metadata: String::new().into() };
            let answers = admin.commit(&group, &[(at, committed)]).await;
            assert!(answers.as_ref().unwrap().values().all(Result::is_ok), "{answers:?}");
            let api = resets(&client, &namespace);
            let bench = Self { client, namespace, group, topic, api };
            test(&bench).await;
        })
        .await;
    }

    async fn kubectl(&self, arguments: &[&str]) -> String {
        kubectl(&[&["-n", &self.namespace], arguments].concat()).await
    }

    async fn create(&self, object: &Value) {
        let path = std::env::temp_dir().join(unique("object"));
        std::fs::write(&path, object.to_string()).unwrap();
        self.kubectl(&["create", "-f", path.to_str().unwrap()]).await;
        std::fs::remove_file(&path).unwrap();
    }

    async fn apply(&self, name: &str, target: Value) {
        let entries = json!([{"topic": self.topic, "partition": 0, "offset": 10}]);
        let spec = json!({"targetRefs": [target], "allowNoMembers": true});
        self.api.create(&PostParams::default(), &real_tests::reset(name, &self.group, &entries, &spec)).await.unwrap();
    }

    async fn pods(&self) -> Vec<Pod> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        pods.list(&ListParams::default().labels("app=consumer")).await.unwrap().items
    }

    /// The images of the pods that are ready, sorted.
    async fn ready(&self) -> Vec<String> {
        let is_ready = |pod: &Pod| {
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        };
        let image =
            |pod: Pod| pod.spec.unwrap().containers[0].env.as_ref().map_or_else(String::new, |env| env[0].value.clone().unwrap());
        let pods = self.pods().await;
        let running = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let mut revisions: Vec<String> = running.filter(is_ready).map(image).collect();
        revisions.sort();
        revisions
    }

    /// Waits until the rollout of the Deployment has exceeded its progress deadline.
    async fn exceeds_its_deadline(&self) {
        let reason = r#"jsonpath={.status.conditions[?(@.type=="Progressing")].reason}"#;
        let exceeded = async || self.kubectl(&["get", "deployment/consumer", "-o", reason]).await == "ProgressDeadlineExceeded";
        self.until("the deadline is exceeded", exceeded).await;
    }

    async fn until(&self, what: &str, mut wished: impl AsyncFnMut() -> bool) {
        let waiting = async {
            while !wished().await {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        assert!(within(PATIENCE, waiting).await.is_some(), "{what}: {:?}", self.kubectl(&["get", "all", "-o", "wide"]).await);
    }
}

/// A workload whose pods have their revision in their environment.
fn workload(kind: &str, replicas: i32, spec: &Value) -> Value {
    let container = json!({
        "name": "c", "image": PAUSE, "imagePullPolicy": "IfNotPresent", "env": [{"name": "REVISION", "value": "1"}],
        "resources": {"requests": {"cpu": "20m"}},
    });
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "consumer"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "consumer"}},
            "template": {
                "metadata": {"labels": {"app": "consumer"}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
            },
        },
    });
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    object
}

fn revision(image: &str, revision: &str) -> String {
    let container = json!({"name": "c", "image": image, "env": [{"name": "REVISION", "value": revision}]});
    json!({"spec": {"template": {"spec": {"containers": [container]}}}}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_of_a_broken_image_is_waited_for_and_what_ran_comes_back() {
    Bench::with(async |bench| {
        bench.create(&workload("Deployment", 3, &json!({}))).await;
        bench.until("three pods are ready", async || bench.ready().await.len() == 3).await;
        bench.kubectl(&["patch", "deployment/consumer", "-p", &revision(MISSING, "2")]).await;
        bench.until("a pod of the new revision is there", async || bench.pods().await.len() == 4).await;
        bench.apply("replay", json!({"name": "consumer"})).await;
        let waits =
            |reset: &OffsetReset| reset.status.as_ref().is_some_and(|status| status.reason == Some(Reason::WaitingForRollout));
        let waiting = wait_for(&bench.api, "replay", "waiting for the rollout", waits).await;
        let message = status(&waiting).explanation();
        assert!(message.contains("1 of 4 pods have its newest revision"), "{message}");
        assert_eq!(bench.ready().await, ["1", "1", "1"], "the consumers run");
        bench.kubectl(&["rollout", "undo", "deployment/consumer"]).await;
        let done = wait_for_comeback(&bench.api, "replay").await;
        assert_eq!(status(&done).reason, Some(Reason::Succeeded), "{}", status(&done).explanation());
        assert_eq!(bench.ready().await, ["1", "1", "1"], "all of the revision that ran");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_past_its_deadline_is_refused_and_nothing_is_stopped() {
    Bench::with(async |bench| {
        bench.create(&workload("Deployment", 2, &json!({"progressDeadlineSeconds": 3}))).await;
        bench.until("two pods are ready", async || bench.ready().await.len() == 2).await;
        bench.kubectl(&["patch", "deployment/consumer", "-p", &revision(MISSING, "2")]).await;
        bench.exceeds_its_deadline().await;
        bench.apply("replay", json!({"name": "consumer"})).await;
        let refused = real_tests::wait_for_end(&bench.api, "replay").await;
        assert_eq!(status(&refused).reason, Some(Reason::RolloutIncomplete), "{}", status(&refused).explanation());
        assert_eq!(bench.ready().await, ["1", "1"], "the consumers run");
        // As the targetRef accepts it, the newest revision comes back, and that one has no image.
        bench.apply("accepted", json!({"name": "consumer", "acceptRevisionChange": true})).await;
        let done = real_tests::wait_for_end(&bench.api, "accepted").await;
        assert_eq!(status(&done).reason, Some(Reason::Succeeded), "{}", status(&done).explanation());
        bench.until("no old pod runs", async || bench.ready().await.is_empty()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_of_one_revision_that_crash_are_reset_even_past_their_progress_deadline() {
    Bench::with(async |bench| {
        let mut crashing = workload("Deployment", 2, &json!({"progressDeadlineSeconds": 3}));
        crashing["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["/nowhere"]);
        bench.create(&crashing).await;
        bench.exceeds_its_deadline().await;
        bench.apply("replay", json!({"name": "consumer"})).await;
        let done = real_tests::wait_for_end(&bench.api, "replay").await;
        assert_eq!(status(&done).reason, Some(Reason::Succeeded), "{}", status(&done).explanation());
        assert_eq!(replicas(&bench.client, &bench.namespace, "consumer").await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_stateful_set_would_forget_its_older_revision_and_is_refused() {
    Bench::with(async |bench| {
        let spec = json!({
            "serviceName": "consumer", "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}},
        });
        bench.create(&workload("StatefulSet", 2, &spec)).await;
        bench.until("two pods are ready", async || bench.ready().await.len() == 2).await;
        bench.kubectl(&["patch", "statefulset/consumer", "-p", &revision(PAUSE, "2")]).await;
        bench.until("the pod above the partition is new", async || bench.ready().await == ["1", "2"]).await;
        bench.apply("replay", json!({"kind": "StatefulSet", "name": "consumer"})).await;
        let refused = real_tests::wait_for_end(&bench.api, "replay").await;
        assert_eq!(status(&refused).reason, Some(Reason::RolloutIncomplete), "{}", status(&refused).explanation());
        assert_eq!(bench.ready().await, ["1", "2"], "the consumers run");
        // Kubernetes itself forgets the older revision, once the controller of the StatefulSet has seen that no pod has it any more:
        // a reset may be over before.
        bench.apply("accepted", json!({"kind": "StatefulSet", "name": "consumer", "acceptRevisionChange": true})).await;
        let done = wait_for_comeback(&bench.api, "accepted").await;
        assert_eq!(status(&done).reason, Some(Reason::Succeeded), "{}", status(&done).explanation());
        let revisions = bench.ready().await;
        assert!(revisions.len() == 2 && revisions[1] == "2", "{revisions:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_pod_with_the_targets_labels_keeps_no_consumer_at_zero() {
    Bench::with(async |bench| {
        bench.create(&workload("Deployment", 2, &json!({}))).await;
        let job = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "migrate", "labels": {"app": "consumer"}},
            "spec": {"containers": [{"name": "c", "image": PAUSE, "imagePullPolicy": "IfNotPresent"}]},
        });
        bench.create(&job).await;
        bench.until("three pods are ready", async || bench.ready().await.len() == 3).await;
        bench.apply("replay", json!({"name": "consumer"})).await;
        let done = wait_for_comeback(&bench.api, "replay").await;
        assert_eq!(status(&done).reason, Some(Reason::Succeeded), "{}", status(&done).explanation());
        let warnings = status(&done).warnings.join("\n");
        assert!(warnings.contains("migrate without a controller"), "{warnings}");
        assert_eq!(status(&done).targets[0].ready_pods, Some(2), "the other pod does not count");
    })
    .await;
}
