//! The operator with the rights of `deploy/` and no others.

use std::process::Stdio;

use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{io::AsyncWriteExt, process::Command};

use super::{
    definitions::{GROUP, V1},
    *,
};

/// The manifests under names of their own, so that no other operator gains or loses rights by a test.
pub struct Rights {
    pub namespace: String,
    pub name: String,
}

impl Rights {
    /// Applies a manifest of `deploy/`, or deletes what it has.
    pub async fn kubectl(&self, verb: &str, manifest: &str) {
        let text = manifest
            .replace("offset-reset-operator", &self.name)
            .replace("offset-reset-system", &self.namespace)
            .replace("aggregate-to-operator", &format!("aggregate-to-{}", self.name));
        let mut kubectl = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(real_tests::environment().kubeconfig)
            .args(["--namespace", &self.namespace, verb, "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        kubectl.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
        assert!(kubectl.wait().await.unwrap().success());
    }

    /// A client with the rights of the operator's service account.
    pub async fn client(&self) -> Client {
        let kubeconfig = Kubeconfig::read_from(real_tests::environment().kubeconfig).unwrap();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        config.auth_info.impersonate = Some(format!("system:serviceaccount:{}:{}", self.namespace, self.name));
        Client::try_from(config).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_of_the_manifests_are_enough_and_those_for_another_kind_can_be_added() {
    with_namespace(async |client, namespace| {
        definitions::install_all(&client).await;
        let stand = Stand::open(client, namespace.clone()).await;
        let rights = Rights { namespace, name: unique("rights") };
        let (own, added) = (
            include_str!("../../../../deploy/rights/rbac.yaml"),
            include_str!("../../../../deploy/examples/rights-for-rollouts.yaml"),
        );
        let added = added.replace("argoproj.io", GROUP).replace("rollouts", "workers");
        rights.kubectl("apply", own).await;
        let operator = Operator::start_as(rights.client().await, &stand.namespace);

        stand.create(workload("Deployment", "orders", 2)).await;
        stand.create(workload("StatefulSet", "orders", 2)).await;
        let done = stand.run("built-in", json!([{"name": "orders"}, {"kind": "StatefulSet", "name": "orders"}])).await;
        succeeded(&done);
        let warnings = &status(&done).warnings;
        let is_about_rights = |warning: &String| warning.contains("could not be listed") || warning.contains("could not be read");
        assert!(!warnings.iter().any(is_about_rights), "{warnings:?}");

        // Or there would be nothing to change.
        stand.commit(&stand.group, &stand.topic, &[(0, 10)]).await;
        stand.custom(V1, "Worker", "payments", json!({"replicas": 3})).await;
        stand.apply("custom", json!([{"apiVersion": V1, "kind": "Worker", "name": "payments"}]), json!({})).await;
        let words =
            "The operator needs get on workers, and get and update on workers/scale, of API group \"tests.offsetreset.dev\"";
        let refused = |reset: &OffsetReset| status(reset).explanation().contains(words);
        let planning = wait_for(&stand.api, "custom", "without the rights", refused).await;
        assert_eq!((status(&planning).phase, status(&planning).reason), (Some(Phase::Planning), Some(Reason::TargetUnreachable)));
        // Whoever reads that soon enough need not even apply it again.
        rights.kubectl("apply", &added).await;
        succeeded(&wait_for_end(&stand.api, "custom").await);
        assert_eq!(stand.replicas(V1, "Worker", "payments").await, 3);

        operator.end().await;
        rights.kubectl("delete", &added).await;
        rights.kubectl("delete", own).await;
    })
    .await;
}

/// The operator may not create Leases: neither everywhere nor in its own namespace, which is the one of the test here.
fn without_create(manifest: &str) -> String {
    let (everywhere, own) = ("verbs: [get, list, watch, create, update, delete]", "verbs: [create]");
    assert!(manifest.contains(everywhere) && manifest.contains(own));
    manifest.replace(everywhere, "verbs: [get, list, watch, update, delete]").replace(own, "verbs: [get]")
}

/// A right that is granted two seconds after the reset was applied: to scale, which planning tries; and to create Leases,
/// which is needed first when the target is to be stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_granted_right_after_the_reset_was_applied_is_not_too_late() {
    let all = include_str!("../../../../deploy/rights/rbac.yaml");
    let scale = "[deployments/scale, statefulsets/scale]\n  verbs: [get, update]";
    assert!(all.contains(scale));
    for (name, without, phase, words) in [
        (
            "scale",
            all.replace(scale, &scale.replace(", update", "")),
            Phase::Planning,
            "cannot update resource \"deployments/scale\"",
        ),
        ("lease", without_create(all), Phase::Stopping, "cannot create resource \"leases\""),
    ] {
        with_namespace(async |client, namespace| {
            let stand = Stand::open(client, namespace.clone()).await;
            let rights = Rights { namespace, name: unique("rights") };
            rights.kubectl("apply", &without).await;
            let operator = Operator::start_as(rights.client().await, &stand.namespace);
            stand.create(workload("Deployment", "orders", 2)).await;
            stand.apply(name, json!([{"name": "orders"}]), json!({})).await;
            let refused = |reset: &OffsetReset| status(reset).explanation().contains(words);
            let waits = wait_for(&stand.api, name, "without the right", refused).await;
            assert_eq!((status(&waits).phase, status(&waits).reason), (Some(phase), Some(Reason::TargetUnreachable)));
            tokio::time::sleep(Duration::from_secs(2)).await;
            rights.kubectl("apply", all).await;
            let done = wait_for_end(&stand.api, name).await;
            succeeded(&done);
            assert_eq!(status(&done).not_allowed_since, None);
            operator.end().await;
            rights.kubectl("delete", all).await;
        })
        .await;
    }
}

/// One that is never granted ends the reset, after half a minute of planning or five seconds of a hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_never_granted_ends_the_reset() {
    let all = include_str!("../../../../deploy/rights/rbac.yaml");
    with_namespace(async |client, namespace| {
        let stand = Stand::open(client, namespace.clone()).await;
        let rights = Rights { namespace, name: unique("rights") };
        rights.kubectl("apply", &without_create(all)).await;
        let operator = Operator::start_as(rights.client().await, &stand.namespace);
        stand.create(workload("Deployment", "orders", 2)).await;
        stand.apply("never", json!([{"name": "orders"}]), json!({})).await;
        let done = wait_for_end(&stand.api, "never").await;
        let message = ended(&done, Phase::Failed, Reason::TargetUnreachable);
        assert!(message.contains("its Lease could not be written") && message.contains("No offset was changed"), "{message}");
        let hold = status(&done).hold.clone().unwrap();
        let seconds = hold.end_time.unwrap().0.duration_since(hold.start_time.0).as_secs();
        assert!((5..30).contains(&seconds), "{seconds} s");
        operator.end().await;
        rights.kubectl("delete", all).await;
    })
    .await;
}
