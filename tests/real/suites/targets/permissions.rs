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
struct Rights {
    namespace: String,
    name: String,
}

impl Rights {
    async fn kubectl(&self, verb: &str, manifest: &str) {
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
    async fn client(&self) -> Client {
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
        let (own, added) =
            (include_str!("../../../../deploy/rbac.yaml"), include_str!("../../../../deploy/examples/rights-for-rollouts.yaml"));
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
