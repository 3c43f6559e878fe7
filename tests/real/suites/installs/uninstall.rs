//! The install is taken away while consumers are held at zero, in each of the ways in which a person does it. They are back afterwards.
//!
//! `deploy/` is installed and deleted by kubectl; the operator runs in the test's process, with the account of that install. One test at a
//! time, and beside no others: the CRD and the operator's rights are the whole cluster's.

use std::{process::Output, time::Duration};

use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    authorization::v1::SubjectAccessReview,
    coordination::v1::Lease,
    core::v1::{Namespace, ServiceAccount},
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use offset_reset_operator::{
    api::{OffsetReset, Phase, Reason},
    run,
};
use real_tests::{
    PATIENCE,
    consumers::{Consumed, Kind, Member},
    env::TestEnv,
    environment, install_crd,
    process::configured,
    replicas,
    rights::{NAMESPACE, user},
    shop::{Operator, status},
    unique, wait_for_end, wait_for_phase, with_namespace, within,
};
use serde_json::{Value, json};
use tokio::{process::Command, sync::Mutex};
use tokio_util::sync::CancellationToken;

use crate::{connectors::strimzi::connectors, kills::connector};

/// One install at a time.
pub(super) static INSTALL: Mutex<()> = Mutex::const_new(());

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy");
const STRIMZI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/strimzi");

pub(super) async fn kubectl(arguments: &[&str]) -> Output {
    let mut command = Command::new("kubectl");
    command.arg("--kubeconfig").arg(environment().kubeconfig).args(arguments);
    within(PATIENCE, command.output()).await.expect("kubectl ends").unwrap()
}

pub(super) async fn kubectl_succeeds(arguments: &[&str]) {
    let output = kubectl(arguments).await;
    assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) async fn until(what: &str, mut wished: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !wished().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within(PATIENCE, waiting).await.unwrap_or_else(|| panic!("never was: {what}"));
}

/// Installs `deploy/`, and returns a client of the operator's account.
async fn install(admin: &Client) -> Client {
    installable(admin).await;
    kubectl_succeeds(&["apply", "-k", DEPLOY]).await;
    install_crd(admin).await;
    account(admin).await
}

/// Waits until nothing of an earlier install is still being deleted.
pub(super) async fn installable(admin: &Client) {
    let namespaces = Api::<Namespace>::all(admin.clone());
    // One that is still being deleted takes nothing new.
    until("without the old namespace", async || {
        let found = namespaces.get_opt(NAMESPACE).await.unwrap();
        found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_none())
    })
    .await;
    until("without the old CRD", async || {
        let found =
            kubectl(&["get", "crd", "offsetresets.offsetreset.dev", "-o", "jsonpath={.metadata.deletionTimestamp}"]).await;
        found.stdout.is_empty()
    })
    .await;
}

/// A client of the operator's account, once its rights count.
pub(super) async fn account(admin: &Client) -> Client {
    let reviews = Api::<SubjectAccessReview>::all(admin.clone());
    let rights = [
        ("offsetreset.dev", "offsetresets", "list"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings", "get"),
    ];
    for (group, resource, verb) in rights {
        let name = (verb == "get").then_some("offset-reset-in-use");
        let attributes = json!({"group": group, "resource": resource, "verb": verb, "name": name});
        let review = json!({"spec": {"user": user(), "resourceAttributes": attributes}});
        let review: SubjectAccessReview = serde_json::from_value(review).unwrap();
        until("allowed", async || reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed).await;
    }
    let accounts = Api::<ServiceAccount>::namespaced(admin.clone(), NAMESPACE);
    let request: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": [], "expirationSeconds": 3600}})).unwrap();
    let answer = accounts.create_token_request("offset-reset-operator", &PostParams::default(), &request).await.unwrap();
    let mut kubeconfig = Kubeconfig::read_from(environment().kubeconfig).unwrap();
    for user in &mut kubeconfig.auth_infos {
        user.auth_info = Some(serde_json::from_value(json!({"token": answer.status.as_ref().unwrap().token})).unwrap());
    }
    Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()).unwrap()
}

/// Waits until the API server protects what is in use, with a mark like the operator's: it takes up a new policy within some seconds.
async fn is_protected() {
    let mark = json!({"metadata": {"name": "probe", "labels": {"offsetreset.dev/in-use": "true"}}});
    let marks = Api::<ServiceAccount>::namespaced(real_tests::client().await, NAMESPACE);
    marks.create(&PostParams::default(), &serde_json::from_value(mark).unwrap()).await.unwrap();
    until("protected", async || !may_be_deleted().await).await;
    marks.delete("probe", &DeleteParams::default()).await.unwrap();
    until("without a protection that nothing needs", may_be_deleted).await;
}

async fn may_be_deleted() -> bool {
    kubectl(&["delete", "clusterrole", "offset-reset-operator", "--dry-run=server"]).await.status.success()
}

/// The operator as `deploy/` runs it.
pub(super) fn operator(client: Client) -> Operator {
    operator_for(client, &[])
}

fn operator_for(client: Client, more: &[&str]) -> Operator {
    let words =
        ["--leader-election", "--lease-namespace", NAMESPACE, "--retry-period", "200ms", "--deployment", "offset-reset-operator"];
    let config = configured(&[&words[..], more].concat());
    let stop = CancellationToken::new();
    Operator { task: tokio::spawn(run::operate(client, config, stop.clone())), stop }
}

/// A namespace with consumers that are held at zero: a member outside of the cluster keeps the group from becoming empty.
pub(crate) struct Held {
    pub(crate) env: TestEnv,
    member: Member,
}

impl Held {
    pub(crate) async fn begin(client: Client, namespace: String, spec: Value) -> Self {
        let env = TestEnv::open(client, namespace).await;
        env.deployment().await;
        let (topic, group) = (env.topic().await, unique("uninstall"));
        env.commit(&group, &topic, &[(0, 50)]).await;
        let member = Member::start(&group, std::slice::from_ref(&topic), &Kind::default(), 0, Consumed::default());
        env.members(&group, 1).await;
        let mut full = json!({"targetRefs": [{"name": "consumer"}]});
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        env.apply("replay", &group, json!([{"topic": topic, "partition": 0, "offset": 30}]), full).await;
        wait_for_phase(&env.api, "replay", Phase::Draining).await;
        assert_eq!(env.replicas().await, 0);
        Self { env, member }
    }

    async fn restored(&self) {
        self.env.until("restored", async |env| replicas(&env.client, &env.namespace, "consumer").await == 2).await;
    }

    pub(crate) async fn ended_for_the_uninstall(&self) {
        let ended = wait_for_end(&self.env.api, "replay").await;
        let (phase, reason, said) = (status(&ended).phase, status(&ended).reason, status(&ended).explanation());
        assert_eq!((phase, reason), (Some(Phase::Failed), Some(Reason::OperatorRemoved)), "{said}");
        assert!(said.contains("is being uninstalled, so the consumers are restored. No offset was changed"), "{said}");
        assert_eq!(self.env.replicas().await, 2);
    }

    pub(crate) async fn is_held(&self) {
        let reset = self.env.api.get("replay").await.unwrap();
        assert_eq!(status(&reset).phase, Some(Phase::Draining), "{}", status(&reset).explanation());
        assert_eq!(self.env.replicas().await, 0);
    }

    /// The group becomes empty, and the reset ends as if nothing had happened meanwhile.
    pub(crate) async fn succeeds(self) -> TestEnv {
        let env = self.end().await;
        let ended = wait_for_end(&env.api, "replay").await;
        assert_eq!(status(&ended).phase, Some(Phase::Succeeded), "{}", status(&ended).explanation());
        assert_eq!(env.replicas().await, 2);
        env.no_leases().await;
        env
    }

    /// Ends the member that keeps the group from becoming empty.
    pub(crate) async fn end(self) -> TestEnv {
        let Self { env, member } = self;
        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
        env
    }
}

pub(super) fn long() -> Value {
    json!({"drainTimeout": "10m", "holdTimeout": "20m"})
}

/// Whether the mark says that the install is in use.
pub(crate) async fn is_in_use(admin: &Client) -> bool {
    let in_use = ListParams::default().labels("offsetreset.dev/in-use=true");
    !Api::<ServiceAccount>::namespaced(admin.clone(), NAMESPACE).list(&in_use).await.unwrap().items.is_empty()
}

async fn unprotect() {
    kubectl_succeeds(&["delete", "validatingadmissionpolicybinding", "offset-reset-in-use"]).await;
    until("without protection", may_be_deleted).await;
}

/// What a person does who patches away what keeps the CRD from going.
async fn remove_crd_by_force(env: &TestEnv) {
    kubectl_succeeds(&["delete", "crd", "offsetresets.offsetreset.dev", "--wait=false"]).await;
    let none = json!({"metadata": {"finalizers": null}});
    let api: Api<OffsetReset> = Api::namespaced(env.client.clone(), &env.namespace);
    // The API server may have to delete the objects first.
    let _ = api.patch("replay", &PatchParams::default(), &Patch::Merge(&none)).await;
    until("without the CRD", async || {
        let _ = api.patch("replay", &PatchParams::default(), &Patch::Merge(&none)).await;
        !kubectl(&["get", "crd", "offsetresets.offsetreset.dev"]).await.status.success()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_obvious_command_is_refused_during_a_hold_and_the_next_time_nothing_is_held() {
    let _alone = INSTALL.lock().await;
    with_namespace(async |admin, namespace| {
        let client = install(&admin).await;
        is_protected().await;
        let operator = operator(client);
        let held = Held::begin(admin.clone(), namespace, long()).await;
        assert!(is_in_use(&admin).await);
        for scaled in [0, 1] {
            let scale = format!("--replicas={scaled}");
            let scaled_down = kubectl(&["-n", NAMESPACE, "scale", "deployment/offset-reset-operator", &scale]).await;
            assert_eq!(scaled_down.status.success(), scaled == 1, "{scaled_down:?}");
        }

        let refused = kubectl(&["delete", "-k", DEPLOY, "--wait=false"]).await;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success(), "{said}");
        for what in [
            "namespaces \"offset-reset-system\"",
            "customresourcedefinitions.apiextensions.k8s.io \"offsetresets.offsetreset.dev\"",
            "serviceaccounts \"offset-reset-operator\"",
            "clusterroles.rbac.authorization.k8s.io \"offset-reset-operator\"",
            "clusterrolebindings.rbac.authorization.k8s.io \"offset-reset-operator\"",
            "clusterroles.rbac.authorization.k8s.io \"offset-reset-operator-policies\"",
            "clusterrolebindings.rbac.authorization.k8s.io \"offset-reset-operator-policies\"",
            "rolebindings.rbac.authorization.k8s.io \"offset-reset-operator-leader\"",
            "deployments.apps \"offset-reset-operator\"",
        ] {
            let line = said.lines().find(|line| line.contains(&format!("{what} is forbidden")));
            let line = line.unwrap_or_else(|| panic!("{what} in {said}"));
            assert!(
                line.contains("consumers are held at zero, and only the operator restores them, so this request is refused"),
                "{line}"
            );
        }
        println!("{}", said.lines().next().unwrap_or_default());

        // The same command has deleted the policy: the operator takes that for what it is.
        held.ended_for_the_uninstall().await;
        until("in use no more", async || !is_in_use(&admin).await).await;
        kubectl_succeeds(&["delete", "-k", DEPLOY, "--wait=false", "--ignore-not-found"]).await;
        until("without the CRD", async || !kubectl(&["get", "crd", "offsetresets.offsetreset.dev"]).await.status.success()).await;
        assert_eq!(held.env.replicas().await, 2);
        operator.kill().await;
        held.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_whose_deployment_goes_restores_what_it_holds_and_one_that_is_followed_does_not() {
    let _alone = INSTALL.lock().await;
    with_namespace(async |admin, namespace| {
        let client = install(&admin).await;
        unprotect().await;
        kubectl_succeeds(&["-n", NAMESPACE, "scale", "deployment/offset-reset-operator", "--replicas=2"]).await;
        let first = operator(client.clone());
        let held = Held::begin(admin.clone(), namespace.clone(), long()).await;
        first.end().await;
        assert_eq!(held.env.replicas().await, 0, "the next leader goes on");

        let second = operator(client);
        until("led by the next one", async || {
            let leases = Api::<Lease>::namespaced(admin.clone(), NAMESPACE);
            let lease = leases.get("offset-reset-operator").await.unwrap();
            lease.spec.and_then(|spec| spec.holder_identity).is_some_and(|holder| !holder.is_empty())
        })
        .await;
        kubectl_succeeds(&["-n", NAMESPACE, "scale", "deployment/offset-reset-operator", "--replicas=0"]).await;
        second.end().await;
        held.ended_for_the_uninstall().await;
        held.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_has_its_state_back_when_the_install_goes_and_the_rights_for_it_stay_until_then() {
    let _alone = INSTALL.lock().await;
    with_namespace(async |admin, namespace| {
        let client = install(&admin).await;
        is_protected().await;
        kubectl_succeeds(&["apply", "-k", STRIMZI]).await;
        connector::install(&admin).await;
        let operator = operator(client);
        let env = TestEnv::open(admin.clone(), namespace).await;
        let connectors = connectors(&admin, &env.namespace);
        connector::create(&connectors, "sink").await;
        let (topic, group) = (env.topic().await, unique("uninstall"));
        env.commit(&group, &topic, &[(0, 50)]).await;
        let mut spec = long();
        spec["targetRefs"] = json!([connector::target("sink")]);
        env.apply("replay", &group, json!([{"topic": topic, "partition": 0, "offset": 30}]), spec).await;
        // Nothing reports the stop, so that it is held.
        let state = async || connectors.get("sink").await.unwrap().data["spec"]["state"].clone();
        until("stopped", async || state().await == "stopped").await;
        let deleted = kubectl(&["delete", "clusterrole", "offset-reset-operator-strimzi", "--dry-run=server"]).await;
        let said = String::from_utf8_lossy(&deleted.stderr);
        assert!(!deleted.status.success() && said.contains("consumers are held at zero"), "{said}");
        unprotect().await;
        kubectl_succeeds(&["-n", NAMESPACE, "scale", "deployment/offset-reset-operator", "--replicas=0"]).await;
        operator.end().await;
        let ended = wait_for_end(&env.api, "replay").await;
        assert_eq!((status(&ended).phase, status(&ended).reason), (Some(Phase::Failed), Some(Reason::OperatorRemoved)));
        assert_eq!(state().await, connector::STATE);
        env.no_leases().await;
        kubectl_succeeds(&["delete", "-k", STRIMZI]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_crd_an_operator_restores_what_was_held() {
    let _alone = INSTALL.lock().await;
    with_namespace(async |admin, namespace| {
        let client = install(&admin).await;
        let first = operator(client.clone());
        let held = Held::begin(admin.clone(), namespace.clone(), long()).await;
        first.kill().await;
        unprotect().await;
        remove_crd_by_force(&held.env).await;
        assert_eq!(held.env.replicas().await, 0, "held for no reset");

        // One that finds no CRD at its start.
        let second = operator(client);
        held.restored().await;
        held.env.no_leases().await;
        until("in use no more", async || !is_in_use(&admin).await).await;
        second.end().await;
        install(&admin).await;
        held.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reinstalled_operator_restores_what_was_held_before_everything_was_deleted() {
    let _alone = INSTALL.lock().await;
    with_namespace(async |admin, namespace| {
        let client = install(&admin).await;
        let first = operator(client);
        let held = Held::begin(admin.clone(), namespace.clone(), long()).await;
        first.kill().await;
        unprotect().await;
        kubectl_succeeds(&["delete", "-k", DEPLOY, "--wait=false", "--ignore-not-found"]).await;
        remove_crd_by_force(&held.env).await;
        assert_eq!(held.env.replicas().await, 0, "nothing restores it");

        let second = operator(install(&admin).await);
        held.restored().await;
        held.env.no_leases().await;
        second.end().await;
        held.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_in_a_namespace_that_is_watched_no_more_is_restored_after_its_hold() {
    let _alone = INSTALL.lock().await;
    with_namespace(async |admin, namespace| {
        let client = install(&admin).await;
        let first = operator_for(client.clone(), &["--namespaces", &namespace]);
        let spec = json!({"sessionTimeout": "1s", "drainTimeout": "8s", "holdTimeout": "9s"});
        let held = Held::begin(admin.clone(), namespace.clone(), spec).await;
        first.kill().await;

        let second = operator_for(client, &["--namespaces", "another-namespace"]);
        held.restored().await;
        held.env.no_leases().await;
        until("in use no more", async || !is_in_use(&admin).await).await;
        // Watched again, it finds its replicas as they were.
        second.end().await;
        let third = operator_for(install(&admin).await, &["--namespaces", &namespace]);
        let ended = wait_for_end(&held.env.api, "replay").await;
        assert_eq!((status(&ended).phase, status(&ended).reason), (Some(Phase::Failed), Some(Reason::HoldTimeout)));
        assert_eq!(held.env.replicas().await, 2);
        third.end().await;
        held.end().await;
    })
    .await;
}
