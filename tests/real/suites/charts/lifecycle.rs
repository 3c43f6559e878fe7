//! The life of a release on a node: installed, upgraded, rolled back and uninstalled, also while consumers are held at zero. One
//! test at a time, and beside no others: the CRD and the policies are the whole cluster's.

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use offset_reset_operator::api::{OffsetReset, Phase, Reason};
use real_tests::{shop::status, wait_for_end, wait_for_phase, with_namespace};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{CHART, IMAGE, command, fails, succeeds};
use crate::installs::uninstall::{Held, is_in_use, until};

/// One install at a time.
static INSTALL: Mutex<()> = Mutex::const_new(());

const NAMESPACE: &str = "offset-reset-system";
const RELEASE: &str = "offset-reset-operator";
const CRD: &str = "offsetresets.offsetreset.dev";

/// Runs helm for the release, and waits for its pods.
async fn helm(verb: &str, more: &[&str]) -> String {
    let arguments = [&[verb, RELEASE][..], more, &["--namespace", NAMESPACE, "--wait", "--timeout", "150s"]].concat();
    succeeds("helm", &arguments).await
}

async fn install() -> String {
    // One that is still being deleted takes nothing new.
    until("without the old namespace", async || {
        let found = command("kubectl", &["get", "namespace", NAMESPACE, "-o", "jsonpath={.metadata.deletionTimestamp}"]).await;
        found.stdout.is_empty()
    })
    .await;
    helm("install", &[&[CHART, "--create-namespace"][..], &IMAGE].concat()).await
}

/// The revisions, each with its state.
async fn history() -> Vec<(u64, String)> {
    let history = succeeds("helm", &["history", RELEASE, "--namespace", NAMESPACE, "--output", "json"]).await;
    let history: Vec<Value> = serde_json::from_str(&history).unwrap();
    let revision = |entry: &Value| (entry["revision"].as_u64().unwrap(), entry["status"].as_str().unwrap().to_owned());
    history.iter().map(revision).collect()
}

/// The objects of the release that are left, of every kind that it has.
async fn remaining(client: &Client) -> Vec<String> {
    let kinds = [
        ("", "v1", "ServiceAccount"),
        ("", "v1", "Service"),
        ("apps", "v1", "Deployment"),
        ("policy", "v1", "PodDisruptionBudget"),
        ("rbac.authorization.k8s.io", "v1", "ClusterRole"),
        ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding"),
        ("rbac.authorization.k8s.io", "v1", "Role"),
        ("rbac.authorization.k8s.io", "v1", "RoleBinding"),
        ("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding"),
        ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
    ];
    let ours = ListParams::default().labels("app.kubernetes.io/instance=offset-reset-operator");
    let mut left = vec![];
    for (group, version, kind) in kinds {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        for object in Api::<DynamicObject>::all_with(client.clone(), &resource).list(&ours).await.unwrap() {
            left.push(format!("{kind} {}", object.metadata.name.unwrap_or_default()));
        }
    }
    left
}

/// Uninstalls a release while nothing is held. The CRD stays; then it is deleted as well.
async fn uninstall(client: &Client) {
    // The operator notes that nothing is held any more right after the last Lease is gone.
    until("in use no more", async || !is_in_use(client).await).await;
    helm("uninstall", &[]).await;
    assert_eq!(remaining(client).await, [format!("CustomResourceDefinition {CRD}")]);
    succeeds("kubectl", &["delete", "crd", CRD]).await;
}

fn long() -> Value {
    json!({"drainTimeout": "10m", "holdTimeout": "20m"})
}

/// The name of the pod that leads.
async fn leader() -> String {
    let lease = ["-n", NAMESPACE, "get", "lease", RELEASE, "--ignore-not-found", "-o", "jsonpath={.spec.holderIdentity}"];
    let holder = succeeds("kubectl", &lease).await;
    holder.rsplit_once('_').map(|(pod, _)| pod.to_owned()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_ends_with_a_plan_that_can_be_pasted_and_an_uninstall_keeps_the_crd() {
    let _alone = INSTALL.lock().await;
    let client = real_tests::client().await;
    let printed = install().await;
    let at = printed.find("kubectl apply -f - <<'EOF'").unwrap_or_else(|| panic!("no plan to paste in {printed}"));
    let pasted = &printed[at..printed.rfind("\nEOF\n").unwrap() + 5];
    let answer = succeeds("sh", &["-c", pasted]).await;
    assert_eq!(answer, "offsetreset.offsetreset.dev/first-plan created\n");
    let resets = Api::<OffsetReset>::namespaced(client.clone(), "default");
    let ended = wait_for_end(&resets, "first-plan").await;
    // In the namespace is no such Deployment.
    assert_eq!(status(&ended).phase, Some(Phase::Failed), "{}", status(&ended).explanation());

    helm("uninstall", &[]).await;
    assert_eq!(remaining(&client).await, [format!("CustomResourceDefinition {CRD}")]);
    assert_eq!(status(&resets.get("first-plan").await.unwrap()), status(&ended), "kept with its CRD");

    // Over the CRD that was kept it is installed again, and finds what was there.
    install().await;
    assert_eq!(history().await, [(1, "deployed".into())]);
    succeeds("kubectl", &["-n", "default", "delete", "offsetreset", "first-plan"]).await;
    uninstall(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_and_a_rollback_during_a_hold_go_on_with_it() {
    let _alone = INSTALL.lock().await;
    install().await;
    let admin = real_tests::client().await;
    with_namespace(async |client, namespace| {
        let held = Held::begin(client, namespace, long()).await;
        let first = leader().await;
        helm("upgrade", &[&[CHART, "--set", "podAnnotations.revision=two,replicaCount=3"][..], &IMAGE].concat()).await;
        until("led by a pod of the new revision", async || ![first.clone(), String::new()].contains(&leader().await)).await;
        held.is_held().await;

        helm("rollback", &["1"]).await;
        let state = |revision: u64, state: &str| (revision, state.to_owned());
        let expected = [state(1, "superseded"), state(2, "superseded"), state(3, "deployed")];
        assert_eq!(history().await, expected);
        held.is_held().await;

        held.succeeds().await;
    })
    .await;
    uninstall(&admin).await;
}

/// The Roles of the release in other namespaces than its own.
async fn roles() -> Vec<String> {
    let all = succeeds(
        "kubectl",
        &[
            "get",
            "roles",
            "-A",
            "-l",
            "app.kubernetes.io/instance=offset-reset-operator",
            "--field-selector",
            "metadata.name=offset-reset-operator",
            "-o",
            "jsonpath={.items[*].metadata.namespace}",
        ],
    )
    .await;
    sorted(all.split_whitespace())
}

fn sorted<T: ToString>(names: impl IntoIterator<Item = T>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn during_a_hold_the_watched_namespaces_change_only_where_nothing_is_held() {
    let _alone = INSTALL.lock().await;
    let admin = real_tests::client().await;
    let [first, other, third] = ["a", "b", "c"].map(|name| real_tests::unique(&format!("watched-{name}")));
    for name in [&first, &other, &third] {
        succeeds("kubectl", &["create", "namespace", name]).await;
    }
    let watch = |names: &[&String]| {
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        format!("watch.namespaces={{{}}}", names.join(","))
    };
    install().await;
    let upgrade = async |watched: &str| {
        let arguments = [
            &["upgrade", RELEASE, CHART, "--namespace", NAMESPACE, "--wait", "--timeout", "150s"][..],
            &IMAGE,
            &["--set", watched],
        ];
        command("helm", &arguments.concat()).await
    };
    let upgraded = async |watched: &str| {
        let output = upgrade(watched).await;
        assert!(output.status.success(), "{watched}: {}", String::from_utf8_lossy(&output.stderr));
    };
    upgraded(&watch(&[&first, &other])).await;
    let held = Held::begin(admin.clone(), first.clone(), long()).await;
    let before = leader().await;

    let output = upgrade(&watch(&[&other])).await;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it should be refused");
    println!("{errors}");
    for words in [
        format!("consumers are held at zero in these namespaces: {first}. With this change the operator would no longer watch"),
        format!("would go from {first},{other} to {other}. Wait until"),
    ] {
        assert!(errors.contains(&words), "{words} in {errors}");
    }
    // Nothing of it has happened: the same operator goes on, with its rights.
    assert_eq!((leader().await, roles().await), (before, sorted([&first, &other])));
    held.is_held().await;
    let states: Vec<String> = history().await.into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, ["superseded", "deployed", "failed"]);

    // Where nothing is held may be watched no more, and a namespace may be added.
    upgraded(&watch(&[&first, &third])).await;
    assert_eq!(roles().await, sorted([&first, &third]));
    held.is_held().await;

    // All namespaces instead of some: it happens, and the old rights where consumers are held stay until nothing is held.
    let output = upgrade("watch.namespaces=null").await;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && errors.contains("repeat the command"), "{errors}");
    assert!(roles().await.contains(&first));
    held.is_held().await;

    held.succeeds().await;
    until("in use no more", async || !is_in_use(&admin).await).await;
    upgraded("watch.namespaces=null").await;
    assert_eq!(roles().await, [""; 0]);
    uninstall(&admin).await;
    for name in [&first, &other, &third] {
        succeeds("kubectl", &["delete", "namespace", name, "--wait=false"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uninstall_during_a_hold_is_refused_and_restores_everything_and_then_succeeds() {
    let _alone = INSTALL.lock().await;
    install().await;
    let admin = real_tests::client().await;
    with_namespace(async |client, namespace| {
        let held = Held::begin(client, namespace, long()).await;
        // Helm gives the cause with --debug only.
        let refused = fails("helm", &["uninstall", RELEASE, "--namespace", NAMESPACE, "--debug"]).await;
        for what in [
            "customresourcedefinitions",
            "serviceaccounts",
            "clusterroles",
            "clusterrolebindings",
            "rolebindings",
            "deployments.apps",
        ] {
            let kept = what == "customresourcedefinitions";
            let line = refused.lines().find(|line| line.contains(what) && line.contains("is forbidden"));
            assert_eq!(line.is_none(), kept, "{what} in {refused}");
            assert!(
                line.is_none_or(|line| line.contains("consumers are held at zero, and only the operator restores them")),
                "{line:?}"
            );
        }
        held.ended_for_the_uninstall().await;
        let env = held.end().await;
        env.no_leases().await;
        until("uninstalled by the same command", async || {
            command("helm", &["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait"]).await.status.success()
        })
        .await;
        assert_eq!(remaining(&admin).await, [format!("CustomResourceDefinition {CRD}")]);
        let kept = env.api.get("replay").await.unwrap();
        assert_eq!((status(&kept).phase, status(&kept).reason), (Some(Phase::Failed), Some(Reason::OperatorRemoved)));
        assert_eq!(kept.metadata.finalizers, None, "nothing waits for an operator");
    })
    .await;
    succeeds("kubectl", &["delete", "crd", CRD]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_refused_uninstall_a_rollback_keeps_the_operator() {
    let _alone = INSTALL.lock().await;
    install().await;
    let client = real_tests::client().await;
    let whole = remaining(&client).await;
    // Refused as during a hold, by a mark like the operator's.
    let mark = json!({"metadata": {"name": "mark", "labels": {"offsetreset.dev/in-use": "true"}}});
    let marks = Api::<ServiceAccount>::namespaced(client.clone(), NAMESPACE);
    marks.create(&PostParams::default(), &serde_json::from_value(mark).unwrap()).await.unwrap();
    let delete = ["delete", "clusterrole", "offset-reset-operator", "--dry-run=server"];
    until("protected", async || !command("kubectl", &delete).await.status.success()).await;
    fails("helm", &["uninstall", RELEASE, "--namespace", NAMESPACE]).await;
    assert!(remaining(&client).await.len() < whole.len(), "the rest is gone, such as the policies");
    // What a person would try first.
    let refused =
        fails("helm", &[&["upgrade", "--install", RELEASE, CHART, "--namespace", NAMESPACE][..], &IMAGE].concat()).await;
    assert!(refused.contains("has no deployed releases"), "{refused}");

    helm("rollback", &["1"]).await;
    assert_eq!(remaining(&client).await, whole);
    marks.delete("mark", &DeleteParams::default()).await.unwrap();
    until("without protection", async || command("kubectl", &delete).await.status.success()).await;
    uninstall(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_file_is_applied_and_applying_deploy_over_it_changes_nothing() {
    let _alone = INSTALL.lock().await;
    let text = std::fs::read_to_string(super::root().join("install.yaml")).unwrap();
    let released = text.lines().find(|line| line.trim_start().starts_with("image: ")).unwrap();
    let file = super::HOME.join("install.yaml");
    std::fs::create_dir_all(&*super::HOME).unwrap();
    std::fs::write(&file, text.replace(released, "        image: offset-reset-operator:dev")).unwrap();
    let apply = ["apply", "--server-side", "-f", file.to_str().unwrap()];
    succeeds("kubectl", &apply).await;
    succeeds("kubectl", &["-n", NAMESPACE, "rollout", "status", "deployment/offset-reset-operator", "--timeout=120s"]).await;
    let again = succeeds("kubectl", &apply).await;
    assert!(!again.is_empty() && again.lines().all(|line| line.ends_with(" serverside-applied")), "{again}");
    // What the API server has is what kustomize renders: a difference would be printed.
    let difference = command("kubectl", &["diff", "--server-side", "--force-conflicts", "-k", "deploy"]).await;
    assert_eq!((difference.status.code(), String::from_utf8(difference.stdout).unwrap()), (Some(0), String::new()));
    succeeds("kubectl", &["delete", "--wait=true", "-f", file.to_str().unwrap()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_deploy_has_installed_a_release_takes_over_during_a_hold() {
    let _alone = INSTALL.lock().await;
    let admin = real_tests::client().await;
    succeeds("kubectl", &["apply", "-k", "deploy"]).await;
    succeeds("kubectl", &["-n", NAMESPACE, "rollout", "status", "deployment/offset-reset-operator", "--timeout=120s"]).await;
    with_namespace(async |client, namespace| {
        let held = Held::begin(client, namespace, long()).await;
        let take = ["--take-ownership", "--force-conflicts"];
        helm("install", &[&[CHART][..], &take, &IMAGE].concat()).await;
        wait_for_phase(&held.env.api, "replay", Phase::Draining).await;
        held.is_held().await;
        held.succeeds().await;
    })
    .await;
    uninstall(&admin).await;
    // The namespace is not the release's.
    succeeds("kubectl", &["delete", "namespace", NAMESPACE]).await;
}
