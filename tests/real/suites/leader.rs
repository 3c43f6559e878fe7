//! Two operators, of which one works: real processes on a real API server and a real broker, killed, ended, frozen and cut off.
//!
//! How long a change of leaders takes is printed, not asserted: the machine may be busy.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::DeserializeGuard,
};
use offset_reset_operator::{
    api::{ActionKind, OffsetReset, Phase},
    cli::Config,
    kafka::{Allowance, Connection, Connector, GroupAdmin, Pool},
    kubernetes::leader::{Leadership, Lost},
    machine::facts::{Committed, KafkaError, TopicPartition},
    reconcile::{Context, Error as PassError, reconcile, reconcile_hold},
    run,
};
use real_tests::{
    PATIENCE,
    broker::Broker,
    delete_by_force, deployment,
    generators::random::Random,
    layer::{self, Layer},
    process::{Process, clients, clients_with, configured, free_address},
    replicas, reset, resets,
    shop::{Operator, Shop, T0, status, succeeded},
    unique, wait_for_end, wait_for_phase, with_namespace, within,
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Of one that is to lose it: short, so that the tests are. Should it lose it by itself on a busy machine before, the other takes over too.
const SHORT: [&str; 6] = ["--lease-duration", "5s", "--renew-deadline", "4s", "--retry-period", "300ms"];

/// A lease that does not run out while a test waits, however busy the machine is. When it is taken over, that is by what its holder has
/// promised: so whoever stands by has these terms in all tests.
const ENDLESS: [&str; 4] = ["--lease-duration", "1h", "--renew-deadline", "50m"];

/// Arguments for operators that share a namespace, and their lease with it.
fn arguments<'a>(namespace: &'a str, terms: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["--namespace", namespace, "--lease-namespace", namespace, "--leader-election"];
    words.extend(["--retry-period", "500ms"].iter().filter(|_| !terms.contains(&"--retry-period")));
    words.extend(terms);
    words
}

/// Two that want to lead: the one that does, on these terms, and the one that stands by.
async fn two(namespace: &str, terms: &[&str]) -> (Process, Process) {
    let leader = Process::start(&arguments(namespace, terms)).await;
    leader.until_leads().await;
    let other = Process::start(&arguments(namespace, &ENDLESS)).await;
    other.until_ready().await;
    assert!(other.stands_by().await, "it is ready, and does not lead");
    (leader, other)
}

fn leases(client: &Client, namespace: &str) -> Api<Lease> {
    Api::namespaced(client.clone(), namespace)
}

/// Who holds the lease, and how often it has changed hands.
async fn holder(client: &Client, namespace: &str) -> (String, i32) {
    let spec = leases(client, namespace).get("offset-reset-operator").await.unwrap().spec.unwrap();
    (spec.holder_identity.unwrap_or_default(), spec.lease_transitions.unwrap_or_default())
}

/// A process that has ended because its lease was lost, and what it said.
#[track_caller]
fn lost(output: &std::process::Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let logged = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(i32::from(run::LEASE_LOST)), "{said}\n{logged}");
    assert!(logged.contains("leader election lost"), "{logged}");
    said
}

/// A group without consumers, of which each reset takes a fraction of a second, and a Deployment of two that is stopped for it.
struct Idle {
    client: Client,
    namespace: String,
    topic: String,
    group: String,
    api: Api<OffsetReset>,
    admin: Arc<dyn GroupAdmin>,
}

impl Idle {
    async fn open(client: Client, namespace: String) -> Self {
        let broker = Broker::default();
        let (topic, group) = (broker.topic("leader", 1).await, unique("leader"));
        broker.produce(&topic, 0, &(0..100).map(|second| (T0 + second) * 1000).collect::<Vec<_>>()).await;
        deployment(&client, &namespace, "consumer", 2, json!({"containers": [{"name": "c", "image": "nobody-runs-it"}]})).await;
        let idle = Self { api: resets(&client, &namespace), client, namespace, topic, group, admin: broker.group_admin().await };
        idle.commit(100).await;
        idle
    }

    fn at(&self) -> TopicPartition {
        TopicPartition::new(&self.topic, 0)
    }

    async fn commit(&self, offset: i64) {
        let answers = self.admin.commit(&self.group, &[(self.at(), Committed { offset, metadata: "ours".into() })]).await;
        assert!(answers.as_ref().unwrap()[&self.at()].is_ok(), "{answers:?}");
    }

    async fn committed(&self) -> Committed {
        self.admin.committed(&self.group, &[self.at()]).await.unwrap()[&self.at()].clone().unwrap().unwrap()
    }

    async fn apply(&self, name: &str, mut entry: Value) {
        entry["topic"] = json!(self.topic);
        self.api.create(&PostParams::default(), &reset(name, &self.group, &json!([entry]), &json!({}))).await.unwrap();
    }

    /// All that a late operator could have changed.
    async fn everything(&self, name: &str) -> (Option<String>, Option<i64>, i32, Committed) {
        let deployment = Api::<Deployment>::namespaced(self.client.clone(), &self.namespace).get("consumer").await.unwrap();
        let replicas = replicas(&self.client, &self.namespace, "consumer").await;
        let version = self.api.get(name).await.unwrap().resource_version();
        // A Deployment's version changes with its pods as well; its generation only when somebody scales it.
        (version, deployment.metadata.generation, replicas, self.committed().await)
    }
}

async fn in_idle<T>(test: impl AsyncFnOnce(&Idle) -> T) {
    with_namespace(async |client, namespace| test(&Idle::open(client, namespace).await).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_killed_is_followed_by_the_one_that_stands_by() {
    in_idle(async |idle| {
        let (leader, other) = two(&idle.namespace, &SHORT).await;
        let (first, _) = holder(&idle.client, &idle.namespace).await;
        leader.signal("KILL").await;
        let begin = Instant::now();
        idle.apply("after", json!({"shiftBy": -3})).await;
        other.until_leads().await;
        let led = begin.elapsed();
        succeeded(&wait_for_end(&idle.api, "after").await);
        println!(
            "killed, lease of 5 s: leads after {:.1} s, a reset is over after {:.1} s",
            led.as_secs_f64(),
            begin.elapsed().as_secs_f64()
        );
        assert_eq!(idle.committed().await.offset, 97);
        let (second, transitions) = holder(&idle.client, &idle.namespace).await;
        assert!(first != second && transitions == 1, "{first}, {second}, {transitions}");
        other.signal("TERM").await;
        assert!(other.ended().await.status.success());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_asked_to_end_lets_go_and_the_other_goes_on_at_once() {
    with_namespace(async |client, namespace| {
        let kind = real_tests::consumers::Kind { is_static: true, session_timeout_ms: Some(6_000), ..Default::default() };
        let mut shop = Shop::open(client.clone(), namespace.clone(), &kind).await;
        // The shop comes with an operator in this process.
        let none = Operator { stop: CancellationToken::new(), task: tokio::spawn(async { Ok(()) }) };
        std::mem::replace(&mut shop.operator, none).end().await;
        let (leader, other) = two(&namespace, &ENDLESS).await;
        shop.apply_with("handed-over", json!([{"partition": 0, "offset": 50}]), json!({"sessionTimeout": "6s"})).await;
        let held = wait_for_phase(&shop.api, "handed-over", Phase::Draining).await;
        leader.signal("TERM").await;
        let begin = Instant::now();
        other.until_leads().await;
        println!("released: the other leads after {:.1} s", begin.elapsed().as_secs_f64());
        let ended = leader.ended().await;
        let logged = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert!(ended.status.success() && logged.contains("released leader lease"), "{logged}");
        let done = shop.run("handed-over").await;
        succeeded(&done);
        assert_eq!(status(&done).hold.as_ref().unwrap().start_time, status(&held).hold.as_ref().unwrap().start_time);
        assert_eq!(shop.replicas().await, 2);
        other.signal("TERM").await;
        assert!(other.ended().await.status.success());
        let (nobody, transitions) = holder(&client, &namespace).await;
        assert_eq!((nobody.as_str(), transitions), ("", 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stands_by_is_ready_and_does_nothing() {
    in_idle(async |idle| {
        let held = json!({
            "metadata": {"name": "offset-reset-operator"},
            "spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 3600, "renewTime": "2019-10-23T06:29:04.000000Z"},
        });
        let leases = leases(&idle.client, &idle.namespace);
        leases.create(&PostParams::default(), &serde_json::from_value(held).unwrap()).await.unwrap();
        let operator = Process::start(&arguments(&idle.namespace, &ENDLESS)).await;
        operator.until_ready().await;
        assert!(operator.stands_by().await);
        idle.apply("waits", json!({"offset": 60})).await;
        // It looks twice a second; however often it has, this is the moment from which it may lead.
        within(PATIENCE, async {
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_secs(2) {
                assert!(
                    idle.api.get("waits").await.unwrap().status.unwrap_or_default().phase.is_none() && operator.stands_by().await
                );
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await
        .unwrap();
        let release = Patch::Merge(json!({"spec": {"holderIdentity": ""}}));
        leases.patch("offset-reset-operator", &PatchParams::default(), &release).await.unwrap();
        succeeded(&wait_for_end(&idle.api, "waits").await);
        operator.until_leads().await;
    })
    .await;
}

/// A leader is frozen while a reset is under way: another finishes it, and is ended. Then the old one goes on, with the lease free
/// and nobody else there who could change anything.
async fn frozen(idle: &Idle, leader: Process, other: Process, name: &str, before: i64) {
    let begin = Instant::now();
    other.until_leads().await;
    let led = begin.elapsed();
    succeeded(&wait_for_end(&idle.api, name).await);
    other.signal("TERM").await;
    assert!(other.ended().await.status.success());
    let then = idle.everything(name).await;
    assert_eq!((then.2, then.3.offset), (2, before - 3), "shifted once, and both replicas are back");

    leader.signal("CONT").await;
    let thawed = Instant::now();
    let said = lost(&leader.ended().await);
    println!(
        "frozen, lease of 5 s: the other leads after {:.1} s; the old one, once it goes on, has ended after {:.0} ms",
        led.as_secs_f64(),
        thawed.elapsed().as_secs_f64() * 1000.0,
    );
    assert!(said.contains("could not be renewed for 4 s"), "{said}");
    assert_eq!(idle.everything(name).await, then, "whoever was frozen has changed nothing");
    assert_eq!(holder(&idle.client, &idle.namespace).await.0, "", "and has not taken the lease");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_frozen_at_any_moment_past_its_lease_ends_by_itself_and_has_changed_nothing() {
    let seed = 20_261_125;
    println!("seed {seed}");
    let mut random = Random(seed);
    in_idle(async |idle| {
        let mut caught = vec![];
        for round in 0..6 {
            let (leader, other) = two(&idle.namespace, &SHORT).await;
            let (name, before) = (format!("frozen-{round}"), 100 - 3 * round);
            idle.apply(&name, json!({"shiftBy": -3})).await;
            // There is no event for "any moment".
            tokio::time::sleep(Duration::from_millis(random.bits() % 1500)).await;
            leader.signal("STOP").await;
            let at = idle.api.get(&name).await.unwrap().status.and_then(|status| status.phase);
            caught.push(at.map_or("None", Phase::as_str));
            frozen(idle, leader, other, &name, before).await;
        }
        println!("frozen in {caught:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_frozen_while_the_consumers_are_held_ends_by_itself_and_has_changed_nothing() {
    in_idle(async |idle| {
        let (leader, other) = two(&idle.namespace, &SHORT).await;
        // Somebody in the group: the reset waits for it, and is frozen while it does.
        let kind = real_tests::consumers::Kind { is_static: true, session_timeout_ms: Some(6_000), ..Default::default() };
        let topics = [idle.topic.clone()];
        let member =
            real_tests::consumers::Member::start(&idle.group, &topics, &kind, 0, real_tests::consumers::Consumed::default());
        idle.apply("frozen", json!({"shiftBy": -3})).await;
        wait_for_phase(&idle.api, "frozen", Phase::Draining).await;
        leader.signal("STOP").await;
        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
        frozen(idle, leader, other, "frozen", 100).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_somebody_steals_clears_or_deletes_ends_the_process() {
    with_namespace(async |client, namespace| {
        let leases = leases(&client, &namespace);
        let steal = json!({"spec": {"holderIdentity": "thief"}});
        let clear = json!({"spec": {"holderIdentity": null}});
        for (name, patch, words) in [
            ("stolen", Some(steal), "thief holds it now"),
            ("cleared", Some(clear), "removed this instance's name from it"),
            ("deleted", None, "has deleted it"),
        ] {
            let words_of = arguments(&namespace, &[&ENDLESS[..], &["--lease-name", name]].concat()).clone();
            let operator = Process::start(&words_of).await;
            operator.until_leads().await;
            // A label is no reason to let go.
            let label = Patch::Merge(json!({"metadata": {"labels": {"team": "shop"}}}));
            let labelled = leases.patch(name, &PatchParams::default(), &label).await.unwrap();
            let renewed = async {
                while leases.get(name).await.unwrap().resource_version() == labelled.resource_version() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            within(PATIENCE, renewed).await.expect("it renews what somebody has labelled");
            match patch {
                Some(patch) => drop(leases.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap()),
                None => drop(leases.delete(name, &DeleteParams::default()).await.unwrap()),
            }
            let said = lost(&operator.ended().await);
            assert!(said.contains(&format!("leader lease {namespace}/{name} lost")) && said.contains(words), "{said}");
        }
    })
    .await;
}

/// A way to the API server that can be cut: then whatever is sent or awaited hangs, as in a network that loses everything.
struct Cut {
    cut: Arc<AtomicBool>,
    kubeconfig: PathBuf,
}

impl Cut {
    async fn open(namespace: &str) -> Self {
        let kubeconfig = kube::config::Kubeconfig::read_from(real_tests::environment().kubeconfig).unwrap();
        let mut through = kubeconfig.clone();
        let cluster = through.clusters[0].cluster.as_mut().unwrap();
        let real = cluster.server.clone().unwrap();
        let real = real.trim_start_matches("https://").trim_end_matches('/');
        let (host, port) = real.rsplit_once(':').unwrap_or((real, "443"));
        let (host, port) = (host.to_owned(), port.parse::<u16>().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        cluster.server = Some(format!("https://{}", listener.local_addr().unwrap()));
        cluster.tls_server_name = Some(host.clone());
        let path = std::env::temp_dir().join(format!("kubeconfig-{namespace}"));
        std::fs::write(&path, serde_json::to_vec(&through).unwrap()).unwrap();
        let cut = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&cut);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect((host.as_str(), port)).await.unwrap();
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(carry(near_in, far_out, Arc::clone(&seen)));
                tokio::spawn(carry(far_in, near_out, Arc::clone(&seen)));
            }
        });
        Self { cut, kubeconfig: path }
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

async fn carry(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf, cut: Arc<AtomicBool>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut bytes = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if cut.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_cut_off_from_the_api_server_ends_before_the_other_takes_over() {
    with_namespace(async |client, namespace| {
        let cut = Cut::open(&namespace).await;
        // Far apart, so that who was first can be told on a busy machine too.
        let terms = ["--lease-duration", "14s", "--renew-deadline", "4s"];
        let leader = Process::start_with(&cut.kubeconfig, &free_address().await, &arguments(&namespace, &terms));
        leader.until_leads().await;
        let other = Process::start(&arguments(&namespace, &ENDLESS)).await;
        other.until_ready().await;
        cut.cut.store(true, Ordering::SeqCst);
        let begin = Instant::now();
        let said = lost(&leader.ended().await);
        assert!(said.contains("could not be renewed for 4 s") && said.contains("did not answer within"), "{said}");
        assert!(other.stands_by().await, "the lease has not run out yet");
        let ended = begin.elapsed();
        other.until_leads().await;
        println!(
            "cut off, lease of 14 s: the old one has ended after {:.1} s, the other leads after {:.1} s",
            ended.as_secs_f64(),
            begin.elapsed().as_secs_f64()
        );
        assert_eq!(holder(&client, &namespace).await.1, 1);
    })
    .await;
}

fn config(namespace: &str, terms: &[&str]) -> Config {
    configured(&arguments(namespace, terms))
}

#[tokio::test(flavor = "multi_thread")]
async fn in_somebody_elses_process_a_lost_lease_is_an_error_and_ends_nothing_else() {
    with_namespace(async |client, namespace| {
        let config = config(&namespace, &ENDLESS);
        let operator = tokio::spawn(run::operate(client.clone(), config, CancellationToken::new()));
        let leases = leases(&client, &namespace);
        let held = async {
            while leases.get_opt("offset-reset-operator").await.unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(PATIENCE, held).await.expect("it leads");
        leases.delete("offset-reset-operator", &DeleteParams::default()).await.unwrap();
        let ended = within(PATIENCE, operator).await.expect("it ends").unwrap();
        assert!(matches!(&ended, Err(run::Error::LeaseLost { lost: Lost::Deleted, .. })), "{ended:?}");

        let contradiction = ["--lease-duration", "10s", "--renew-deadline", "10s"];
        let config = self::config(&namespace, &contradiction);
        let refused = run::operate(client.clone(), config, CancellationToken::new()).await.unwrap_err();
        assert!(run::chain(&refused).contains("must be shorter than the lease duration"), "{refused}");
    })
    .await;
}

/// Delays writes of Leases from a moment on, as a busy API server does.
#[derive(Default)]
struct SlowWrites(AtomicBool);

impl Layer for SlowWrites {
    async fn around<T: Send, E: Send>(
        &self,
        kind: &str,
        request: impl Future<Output = Result<T, E>> + Send,
        _: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        if self.0.load(Ordering::SeqCst) && kind == "update leases" {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        request.await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_is_released_when_the_api_server_takes_longer_than_a_retry_period() {
    with_namespace(async |client, namespace| {
        let (slow, stop) = (Arc::new(SlowWrites::default()), CancellationToken::new());
        let layered = layer::kubernetes::client(&client, Arc::clone(&slow));
        let operator = tokio::spawn(run::operate(layered, config(&namespace, &ENDLESS), stop.clone()));
        let leases = leases(&client, &namespace);
        let held = async {
            while leases.get_opt("offset-reset-operator").await.unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(PATIENCE, held).await.expect("it leads");
        slow.0.store(true, Ordering::SeqCst);
        stop.cancel();
        within(PATIENCE, operator).await.expect("it ends").unwrap().unwrap();
        assert_eq!(holder(&client, &namespace).await.0, "", "after four retry periods");
    })
    .await;
}

/// Clients of a cluster. Leading is over with the third time that a pass asks for one: after it has read the empty group, after it
/// has read the offsets for the plan, and after it has recorded that it is going to commit.
struct Lapsing {
    pool: Pool,
    leadership: Leadership,
    asked: AtomicUsize,
}

#[async_trait]
impl Connector for Lapsing {
    async fn connect(&self, connection: &Connection) -> Result<Arc<dyn GroupAdmin>, KafkaError> {
        if self.asked.fetch_add(1, Ordering::SeqCst) == 2 {
            self.leadership.end();
        }
        self.pool.connect(connection).await
    }
}

/// One pass, as the controller does it.
async fn pass(idle: &Idle, name: &str, context: &Arc<Context>) -> Result<(), PassError> {
    let guarded = Api::<DeserializeGuard<OffsetReset>>::namespaced(idle.client.clone(), &idle.namespace);
    let object = guarded.get(name).await.unwrap();
    Box::pin(reconcile(Arc::new(object), Arc::clone(context))).await.map(|_| ())
}

fn context(idle: &Idle, kafka: Arc<dyn Connector>, leadership: &Leadership) -> Arc<Context> {
    let config = config(&idle.namespace, &[]);
    Arc::new(run::context(&idle.client, &config, kafka, run::new_metrics(), leadership.clone()))
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_lead_for_certain_records_nothing_and_begins_no_effect() {
    in_idle(async |idle| {
        let leadership = Leadership::none_yet();
        let kafka = Arc::new(Lapsing { pool: clients(), leadership: leadership.clone(), asked: AtomicUsize::new(0) });
        idle.apply("late", json!({"shiftBy": -3})).await;
        let late = context(idle, Arc::<Lapsing>::clone(&kafka), &leadership);
        let before = idle.everything("late").await;
        assert!(matches!(pass(idle, "late", &late).await, Err(PassError::NotLeading)));
        assert_eq!(idle.everything("late").await, before, "it does not lead yet");

        leadership.extend(Instant::now() + Duration::from_hours(1));
        let until_lapsed = async {
            loop {
                kafka.asked.store(0, Ordering::SeqCst);
                if let Err(error) = pass(idle, "late", &late).await {
                    break error;
                }
            }
        };
        let stopped = within(PATIENCE, until_lapsed).await.expect("it comes to the commit");
        assert!(matches!(stopped, PassError::NotLeading), "{stopped:?}");
        let recorded = status(&idle.api.get("late").await.unwrap()).clone();
        let action = recorded.last_action.map(|action| action.kind);
        assert_eq!((recorded.commits, action), (1, Some(ActionKind::Commit)), "it had recorded that it was going to commit");
        assert_eq!(idle.committed().await, Committed { offset: 100, metadata: "ours".into() }, "and did not");

        // Whoever leads finds the intent, reads back that nothing came of it, and does it.
        let next = context(idle, Arc::new(clients()), &Leadership::unconditional());
        let until_over = async {
            while idle.api.get("late").await.unwrap().status.unwrap_or_default().completion_time.is_none() {
                pass(idle, "late", &next).await.unwrap();
            }
        };
        within(PATIENCE, until_over).await.expect("it ends");
        let done = idle.api.get("late").await.unwrap();
        succeeded(&done);
        assert_eq!((status(&done).commits, idle.committed().await.offset), (2, 97), "shifted once");
        assert_eq!(replicas(&idle.client, &idle.namespace, "consumer").await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_lead_for_certain_brings_back_nothing_that_is_held_for_nobody() {
    in_idle(async |idle| {
        let topics = [idle.topic.clone()];
        let kind = real_tests::consumers::Kind::default();
        let member =
            real_tests::consumers::Member::start(&idle.group, &topics, &kind, 0, real_tests::consumers::Consumed::default());
        let leadership = Leadership::unconditional();
        let leads = context(idle, Arc::new(clients()), &leadership);
        idle.apply("orphan", json!({"offset": 60})).await;
        let until_held = async {
            while replicas(&idle.client, &idle.namespace, "consumer").await != 0 {
                pass(idle, "orphan", &leads).await.unwrap();
            }
        };
        within(PATIENCE, until_held).await.expect("it is held");
        delete_by_force(&idle.api, "orphan").await;

        let leases = leases(&idle.client, &idle.namespace);
        let held = leases.list(&ListParams::default().labels("offsetreset.dev/lease=hold")).await.unwrap().items.remove(0);
        let late = context(idle, Arc::new(clients()), &Leadership::none_yet());
        let refused = Box::pin(reconcile_hold(Arc::new(held.clone()), late)).await.unwrap_err();
        assert!(matches!(refused, PassError::NotLeading), "{refused:?}");
        let still = leases.get(&held.name_any()).await.unwrap();
        assert_eq!(still.resource_version(), held.resource_version());
        assert_eq!(replicas(&idle.client, &idle.namespace, "consumer").await, 0, "whoever leads brings it back");

        let until_forgotten = async {
            while leases.get_opt(&held.name_any()).await.unwrap().is_some() {
                Box::pin(reconcile_hold(Arc::new(held.clone()), Arc::clone(&leads))).await.unwrap();
            }
        };
        within(PATIENCE, until_forgotten).await.expect("its Lease goes");
        assert_eq!(replicas(&idle.client, &idle.namespace, "consumer").await, 2);
        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_sent_only_within_the_time_that_the_lease_has_left() {
    in_idle(async |idle| {
        for (left, sent) in [(Duration::ZERO, false), (Duration::from_millis(99), false), (Duration::from_secs(30), true)] {
            let allowance: Allowance = Arc::new(move || left);
            let connection = Connection::plain(real_tests::brokers());
            let admin = clients_with(&[], allowance).connect(&connection).await.unwrap();
            let wanted = Committed { offset: 60, metadata: "late".into() };
            let answer = admin.commit(&idle.group, &[(idle.at(), wanted)]).await;
            if sent {
                assert_eq!((answer.unwrap()[&idle.at()].clone(), idle.committed().await.offset), (Ok(()), 60));
            } else {
                let error = answer.unwrap_err();
                assert!(
                    error.message.contains("can no longer be sure that it is the leader") && error.kind.is_transient(),
                    "{error}"
                );
                assert_eq!(idle.committed().await.offset, 100);
            }
        }
    })
    .await;
}
