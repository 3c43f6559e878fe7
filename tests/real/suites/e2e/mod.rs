//! End to end on a node: the operator in its pod under its own rights, Kafka's own console consumers in theirs.

mod canary;
mod rollouts;

use std::{process::Stdio, time::Duration};

use k8s_openapi::api::{core::v1::Pod, events::v1::Event};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, LogParams, PostParams},
};
use offset_reset_operator::api::{OffsetReset, OffsetResetStatus, Phase, Reason};
use real_tests::{
    PATIENCE, broker::Broker, condition, consumers::members, deployment, produce, replicas, resets, topic, unique, wait_for,
    wait_for_comeback, wait_until_gone, with_namespace, within,
};
use serde_json::{Value, json};
use tokio::{
    process::Command,
    sync::{Mutex, OnceCell},
};

/// The operator's namespace, as in `deploy/`.
const SYSTEM: &str = "offset-reset-system";

/// Installs the operator as a user would, once for all tests.
async fn installed() {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED
        .get_or_init(|| async {
            kubectl(&["apply", "-k", concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy")]).await;
            rolled_out().await;
        })
        .await;
}

async fn rolled_out() {
    kubectl(&["-n", SYSTEM, "rollout", "status", "deployment/offset-reset-operator", "--timeout=120s"]).await;
}

/// Held while the operator's own pods are looked at, or killed.
static PODS: Mutex<()> = Mutex::const_new(());

/// The pod that leads, as its lease says.
async fn leader() -> String {
    let holder = kubectl(&["-n", SYSTEM, "get", "lease", "offset-reset-operator", "-o", "jsonpath={.spec.holderIdentity}"]).await;
    holder.rsplit_once('_').map(|(pod, _)| pod.to_owned()).unwrap_or_default()
}

/// Kills the pod that leads, says how long it took until another one did, and waits until there are two again.
async fn fail_over() {
    let _undisturbed = PODS.lock().await;
    let killed = leader().await;
    kubectl(&["-n", SYSTEM, "delete", "pod", &killed, "--force", "--grace-period=0"]).await;
    let begin = std::time::Instant::now();
    let followed = async {
        while [killed.clone(), String::new()].contains(&leader().await) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within(PATIENCE, followed).await.expect("the other one leads");
    println!("the leader's pod is gone: another leads after {:.1} s", begin.elapsed().as_secs_f64());
    rolled_out().await;
}

async fn kubectl(arguments: &[&str]) -> String {
    let kubeconfig = real_tests::environment().kubeconfig;
    let output =
        Command::new("kubectl").arg("--kubeconfig").arg(kubeconfig).args(arguments).stdin(Stdio::null()).output().await.unwrap();
    assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Console consumers in pods.
struct Consumers {
    client: Client,
    namespace: String,
    topic: String,
    group: String,
    api: Api<OffsetReset>,
}

impl Consumers {
    /// A topic of two partitions with 100 records each, one per second from a time on, and a Deployment that has consumed them.
    async fn start(client: Client, namespace: String, replicas: i32, properties: &[&str], pod: Value) -> Self {
        let (topic, group) = Self::topic_and_group().await;
        let consumers = Self::deploy(client, namespace, (topic, group), replicas, properties, &[], pod).await;
        consumers.consumed("after the start", |lines| lines.len() >= 200).await;
        // One of them alone may have consumed all of that.
        consumers.have_joined(replicas).await;
        consumers
    }

    async fn topic_and_group() -> (String, String) {
        let (topic, group) = (topic("test", 2).await, unique("group"));
        for partition in 0..2 {
            produce(&topic, partition, &(0..100).map(|second| (1_571_812_104 + second) * 1000).collect::<Vec<_>>()).await;
        }
        (topic, group)
    }

    async fn have_joined(&self, replicas: i32) {
        let admin = Broker::default().group_admin().await;
        members(admin.as_ref(), &self.group, usize::try_from(replicas).unwrap()).await;
    }

    /// A Deployment of consumers; `formatter` are properties of what prints the records.
    async fn deploy(
        client: Client,
        namespace: String,
        (topic, group): (String, String),
        replicas: i32,
        properties: &[&str],
        formatter: &[&str],
        pod: Value,
    ) -> Self {
        let mut arguments = vec![
            "org.apache.kafka.tools.consumer.ConsoleConsumer".to_owned(),
            "--bootstrap-server".into(),
            real_tests::brokers(),
            "--topic".into(),
            topic.clone(),
            "--group".into(),
            group.clone(),
        ];
        let wanted = ["auto.offset.reset=earliest", "auto.commit.interval.ms=500"];
        arguments.extend(
            wanted.iter().chain(properties).flat_map(|property| ["--command-property".to_owned(), (*property).to_owned()]),
        );
        for property in ["print.partition=true", "print.offset=true"].iter().chain(formatter) {
            arguments.extend(["--formatter-property".to_owned(), (*property).to_owned()]);
        }
        let mut spec = json!({
            "containers": [{
                "name": "consumer", "image": "kafka-client:dev", "imagePullPolicy": "IfNotPresent", "args": arguments,
                // Without a request a pod has next to no time on a machine that other tests keep busy.
                "resources": {"requests": {"cpu": "300m"}},
            }],
        });
        for (key, value) in pod.as_object().unwrap() {
            if key == "command" {
                spec["containers"][0][key] = value.clone();
            } else {
                spec[key] = value.clone();
            }
        }
        deployment(&client, &namespace, "consumer", replicas, spec).await;
        let api = resets(&client, &namespace);
        Self { client, namespace, topic, group, api }
    }

    /// Everything that the running consumers have printed.
    async fn lines(&self) -> Vec<String> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let mut lines = vec![];
        for pod in pods.list(&ListParams::default().labels("app=consumer")).await.unwrap() {
            if let Ok(log) = pods.logs(&pod.name_any(), &LogParams::default()).await {
                lines.extend(log.lines().filter(|line| line.starts_with("Partition:")).map(str::to_owned));
            }
        }
        lines
    }

    /// What their pods wait for, for a test that fails.
    async fn state(&self) -> String {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let mut state = vec![];
        for pod in pods.list(&ListParams::default().labels("app=consumer")).await.unwrap() {
            let log = pods.logs(&pod.name_any(), &LogParams { tail_lines: Some(5), ..LogParams::default() }).await;
            let status = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
            state.push(format!("{}: {status:?}, log: {log:?}", pod.name_any()));
        }
        state.join("\n")
    }

    async fn consumed(&self, when: &str, wished: impl Fn(&[String]) -> bool) {
        let waiting = async {
            while !wished(&self.lines().await) {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let found = within(PATIENCE, waiting).await;
        assert!(found.is_some(), "{when}: {:?}\n{}", self.lines().await, self.state().await);
    }

    /// The pods are new ones after a restore, so what they print is what was consumed since.
    async fn consumed_again_from(&self, partition: i32, offset: i64) {
        let first = format!("Partition:{partition}\tOffset:{offset}\t");
        let before = format!("Partition:{partition}\tOffset:{}\t", offset - 1);
        let last = format!("Partition:{partition}\tOffset:99\t");
        let has = |lines: &[String], start: &str| lines.iter().any(|line| line.starts_with(start));
        self.consumed("after the reset", |lines| has(lines, &first) && has(lines, &last) && !has(lines, &before)).await;
    }

    async fn apply(&self, name: &str, mut entries: Value, spec: Value) {
        for entry in entries.as_array_mut().unwrap() {
            entry["topic"] = json!(self.topic);
        }
        self.api.create(&PostParams::default(), &real_tests::reset(name, &self.group, &entries, &spec)).await.unwrap();
    }

    async fn replicas(&self) -> i32 {
        replicas(&self.client, &self.namespace, "consumer").await
    }

    /// Events about a kind of object: reasons.
    async fn events(&self, kind: &str) -> Vec<String> {
        let events = Api::<Event>::namespaced(self.client.clone(), &self.namespace).list(&ListParams::default()).await.unwrap();
        let about = |event: &Event| event.regarding.as_ref().and_then(|object| object.kind.as_deref()) == Some(kind);
        let ours = |event: &Event| event.reporting_controller.as_deref() == Some("offset-reset-operator");
        events.items.iter().filter(|event| about(event) && ours(event)).filter_map(|event| event.reason.clone()).collect()
    }
}

async fn with_consumers<T>(replicas: i32, properties: &[&str], pod: Value, test: impl AsyncFnOnce(&Consumers) -> T) {
    installed().await;
    with_namespace(async |client, namespace| {
        let consumers = Consumers::start(client, namespace, replicas, properties, pod).await;
        test(&consumers).await
    })
    .await;
}

fn status(reset: &OffsetReset) -> &OffsetResetStatus {
    reset.status.as_ref().unwrap()
}

fn succeeded(reset: &OffsetReset, replicas: i32) {
    assert_eq!(
        (status(reset).phase, status(reset).reason),
        (Some(Phase::Succeeded), Some(Reason::Succeeded)),
        "{:#?}",
        status(reset)
    );
    assert_eq!(condition(reset, "ConsumersResumed"), ("True".into(), "ConsumersReady".into()));
    let target = &status(reset).targets[0];
    assert_eq!((target.original_replicas, target.ready_pods), (replicas, Some(replicas)));
    assert_eq!(status(reset).group.as_ref().unwrap().members, replicas);
    assert!(
        status(reset).partitions.iter().all(|partition| partition.after.is_some() && partition.after == partition.target_offset)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_two_requests_of_the_api_on_classic_consumers() {
    with_consumers(2, &[], json!({}), async |consumers| {
        // {"topic": "test", "partition": 0, "message_offset": 10}
        consumers.apply("to-offset", json!([{"partition": 0, "offset": 10}]), json!({})).await;
        let done = wait_for_comeback(&consumers.api, "to-offset").await;
        succeeded(&done, 2);
        assert_eq!(status(&done).group.as_ref().unwrap().group_type, "Classic");
        consumers.consumed_again_from(0, 10).await;
        let told = consumers.events("Deployment").await;
        assert!(["ScaledToZero", "ReplicasAccepted"].iter().all(|reason| told.iter().any(|event| event == reason)), "{told:?}");
        assert!(consumers.events("OffsetReset").await.contains(&"Succeeded".to_owned()));
        // {"topic": "test", "partition": 0, "timestamp": 1571812144}
        consumers.apply("to-timestamp", json!([{"partition": 0, "timestamp": 1_571_812_144}]), json!({})).await;
        succeeded(&wait_for_comeback(&consumers.api, "to-timestamp").await, 2);
        consumers.consumed_again_from(0, 40).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_of_the_new_protocol_and_all_partitions() {
    with_consumers(2, &["group.protocol=consumer"], json!({}), async |consumers| {
        consumers.apply("all", json!([{"offset": 90}]), json!({})).await;
        let done = wait_for_comeback(&consumers.api, "all").await;
        succeeded(&done, 2);
        assert_eq!(status(&done).group.as_ref().unwrap().group_type, "Consumer");
        consumers.consumed_again_from(0, 90).await;
        consumers.consumed_again_from(1, 90).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_that_are_killed_never_leave_and_are_waited_for() {
    // With -Xrs the JVM handles no signals, and the first process of a container is deaf to those it does not handle: the kubelet
    // kills it when its grace is over, and it cannot say goodbye.
    let deaf =
        ["/opt/jre/bin/java", "-Xrs", "-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", "/opt/kafka/libs/*"];
    let killed = json!({"terminationGracePeriodSeconds": 1, "command": deaf});
    with_consumers(1, &["session.timeout.ms=12000", "heartbeat.interval.ms=1000"], killed, async |consumers| {
        consumers.apply("killed", json!([{"partition": 0, "offset": 50}]), json!({"sessionTimeout": "12s"})).await;
        let waiting = wait_for(&consumers.api, "killed", "waiting for a member that did not leave", |reset| {
            let status = reset.status.clone().unwrap_or_default();
            status.phase == Some(Phase::Draining) && status.explanation().contains("pod consumer-")
        });
        assert_eq!(status(&waiting.await).group.as_ref().unwrap().members, 1);
        let done = wait_for_comeback(&consumers.api, "killed").await;
        succeeded(&done, 1);
        let hold = status(&done).hold.clone().unwrap();
        let waited = hold.group_empty_time.unwrap().0.duration_since(hold.containers_terminated_time.unwrap().0);
        assert!(waited.as_secs() >= 3, "the wait was real: {waited}");
        consumers.consumed_again_from(0, 50).await;
    })
    .await;
}

/// Waits until a reset holds its target at zero. Its phase may be Stopping or Draining: where a container takes longer to terminate than a
/// session lasts, the group is empty as soon as the broker is asked.
async fn wait_until_held(api: &Api<OffsetReset>, name: &str) -> OffsetReset {
    let is_held = |reset: &OffsetReset| {
        reset.status.as_ref().is_some_and(|status| status.targets.iter().any(|target| target.is_held() && target.stopped))
    };
    wait_for(api, name, "holding its target at zero", is_held).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_killed_goes_on_where_it_was_and_deleting_restores() {
    let static_members = ["group.instance.id=only", "session.timeout.ms=12000", "heartbeat.interval.ms=1000"];
    with_consumers(1, &static_members, json!({}), async |consumers| {
        consumers.apply("interrupted", json!([{"partition": 1, "offset": 70}]), json!({"sessionTimeout": "12s"})).await;
        let held = wait_until_held(&consumers.api, "interrupted").await;
        assert_eq!(status(&held).targets[0].original_replicas, 1);
        fail_over().await;
        let done = wait_for_comeback(&consumers.api, "interrupted").await;
        succeeded(&done, 1);
        assert_eq!(status(&done).hold.as_ref().unwrap().start_time, status(&held).hold.as_ref().unwrap().start_time);
        consumers.consumed_again_from(1, 70).await;

        consumers.apply("cancelled", json!([{"offset": 0}]), json!({"sessionTimeout": "12s"})).await;
        wait_until_held(&consumers.api, "cancelled").await;
        assert_eq!(consumers.replicas().await, 0);
        consumers.api.delete("cancelled", &DeleteParams::default()).await.unwrap();
        wait_until_gone(&consumers.api, "cancelled").await;
        assert_eq!(consumers.replicas().await, 1, "before it went");
    })
    .await;
}

/// The same brokers by another name: the short form of an address, or a host name with its final dot.
fn brokers_by_another_name() -> String {
    let brokers = real_tests::brokers();
    let (host, port) = brokers.split(',').next().unwrap().rsplit_once(':').unwrap();
    match host.parse::<std::net::Ipv4Addr>().map(|address| address.octets()) {
        Ok([a, b, c, d]) => format!("{a}.{b}.{}:{port}", u32::from(c) * 256 + u32::from(d)),
        Err(_) => format!("{host}.:{port}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_resets_of_one_group_run_one_after_the_other_whatever_they_call_the_brokers() {
    let static_members = ["group.instance.id=only", "session.timeout.ms=8000", "heartbeat.interval.ms=1000"];
    with_consumers(1, &static_members, json!({}), async |consumers| {
        with_namespace(async |client, elsewhere| {
            consumers.apply("first", json!([{"partition": 1, "offset": 70}]), json!({"sessionTimeout": "8s"})).await;
            wait_until_held(&consumers.api, "first").await;
            let others = resets(&client, &elsewhere);
            let spec = json!({
                "targetRefs": [], "kafka": {"bootstrapServers": brokers_by_another_name()}, "sessionTimeout": "1s", "drainTimeout": "2s",
            });
            let second = real_tests::reset("second", &consumers.group, &json!([{"topic": consumers.topic, "offset": 5}]), &spec);
            others.create(&PostParams::default(), &second).await.unwrap();
            let waiting = wait_for(&others, "second", "waiting for the first", |reset| {
                reset.status.as_ref().is_some_and(|status| status.reason == Some(Reason::WaitingForOtherReset))
            });
            let waiting = waiting.await;
            let message = status(&waiting).explanation();
            assert!(message.contains("same group of the same cluster"), "{message}");
            let first = wait_for_comeback(&consumers.api, "first").await;
            succeeded(&first, 1);
            // Nobody stops its consumers for the second one, which comes to its commit before they have joined, or ends without one.
            let second = real_tests::wait_for_end(&others, "second").await;
            assert!(
                matches!(status(&second).reason, Some(Reason::Succeeded | Reason::GroupNotEmpty)),
                "{:?}",
                status(&second).message
            );
            let hold = |reset: &OffsetReset| status(reset).hold.clone().unwrap();
            assert!(hold(&second).start_time >= hold(&first).end_time.unwrap(), "one after the other");
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_runs_restricted_and_says_how_it_is() {
    installed().await;
    let namespace =
        kubectl(&["get", "namespace", SYSTEM, "-o", "jsonpath={.metadata.labels.pod-security\\.kubernetes\\.io/enforce}"]).await;
    assert_eq!(namespace, "restricted");
    let _undisturbed = PODS.lock().await;
    let path = |path: &str| format!("/api/v1/namespaces/{SYSTEM}/pods/{{pod}}:8080/proxy{path}");
    let pods = kubectl(&[
        "-n",
        SYSTEM,
        "get",
        "pod",
        "-l",
        "app.kubernetes.io/name=offset-reset-operator",
        "--field-selector",
        "status.phase=Running",
        "-o",
        "jsonpath={.items[*].metadata.name}",
    ]);
    let pods = pods.await;
    assert_eq!(pods.split(' ').count(), 2, "one works, one stands by: {pods}");
    for container in containers().await {
        let limits = &container["resources"]["limits"];
        assert!(limits["cpu"].is_string() && limits["memory"].is_string(), "{limits}");
    }
    for pod in pods.split(' ') {
        for (at, expected) in [("/livez", "ok"), ("/readyz", "ok"), ("/metrics", "offset_reset_leader ")] {
            let answer = kubectl(&["get", "--raw", &path(at).replace("{pod}", pod)]).await;
            assert!(answer.contains(expected), "{at} of {pod}: {answer}");
        }
    }
}

/// The operator's containers, as they run.
async fn containers() -> Vec<Value> {
    let selector = "app.kubernetes.io/name=offset-reset-operator";
    let pods: Value = serde_json::from_str(&kubectl(&["-n", SYSTEM, "get", "pod", "-l", selector, "-o", "json"]).await).unwrap();
    let pods = pods["items"].as_array().unwrap();
    pods.iter().flat_map(|pod| pod["spec"]["containers"].as_array().unwrap().clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_gets_into_the_operators_container_finds_no_shell_and_no_package_manager() {
    installed().await;
    let _undisturbed = PODS.lock().await;
    let run = async |program: &str| {
        let kubeconfig = real_tests::environment().kubeconfig;
        let output = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["-n", SYSTEM, "exec", "deployment/offset-reset-operator", "--", program, "--version"])
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let words = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&words).into_owned())
    };
    let (ran, words) = run("/usr/local/bin/offset-reset-operator").await;
    assert!(ran && words.contains("offset-reset-operator "), "what is there can be run: {words}");
    for program in ["sh", "bash", "dash", "ash", "busybox", "apt-get", "dpkg", "apk", "rpm", "perl", "python3", "curl", "wget"] {
        let (ran, words) = run(program).await;
        assert!(!ran && words.contains("executable file not found"), "{program}: {words}");
    }
}
