//! The API server accepts every manifest, with no unknown and no duplicate field: `kubectl apply --dry-run=server` validates strictly.

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, api::PostParams};
use real_tests::install_crd;
use rstest::rstest;
use serde_json::json;

use super::{CHART, HOME, IMAGE, root, succeeds};

const SYSTEM: &str = "offset-reset-system";

/// What a dry run needs to be there: the CRD, and the operator's namespace. Both stay.
async fn prepared() -> Client {
    let client = real_tests::client().await;
    install_crd(&client).await;
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": SYSTEM}})).unwrap();
    // Another test may have created it.
    let _ = Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await;
    client
}

/// Applies without effect; returns how many objects the API server accepted.
async fn accepted(arguments: &[&str]) -> usize {
    let always = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict"];
    let printed = succeeds("kubectl", &[&always[..], arguments].concat()).await;
    let objects = printed.lines().filter(|line| line.ends_with("serverside-applied (server dry run)")).count();
    assert_eq!(objects, printed.lines().count(), "{printed}");
    objects
}

#[tokio::test]
async fn every_example_is_accepted() {
    prepared().await;
    let files = std::fs::read_dir(root().join("deploy/examples")).unwrap().count();
    assert_eq!(accepted(&["--namespace", "default", "-f", "deploy/examples"]).await, files);
}

#[rstest]
#[case::whole(&["-k", "deploy"], 28)]
#[case::one_file(&["-f", "install.yaml"], 28)]
#[case::keda(&["-k", "deploy/keda"], 2)]
#[case::strimzi(&["-k", "deploy/strimzi"], 2)]
#[case::four_eyes(&["-k", "deploy/four-eyes"], 3)]
#[case::network_policy(&["-k", "deploy/network-policy"], 1)]
#[tokio::test]
async fn every_manifest_is_accepted(#[case] arguments: &[&str], #[case] least: usize) {
    prepared().await;
    let objects = accepted(arguments).await;
    assert!(objects >= least, "only {objects} objects");
}

/// Before Kubernetes 1.36 the API server accepts the half that the page says to apply there.
#[tokio::test]
async fn the_policies_that_record_users_are_accepted() {
    let client = prepared().await;
    let is_whole = real_tests::admission_kind(&client, "MutatingAdmissionPolicy").await.version == "v1";
    let (arguments, objects) =
        if is_whole { (["-k", "deploy/record-users"], 4) } else { (["-f", "deploy/record-users/validating.yaml"], 2) };
    assert_eq!(accepted(&arguments).await, objects);
}

#[rstest]
#[case::default("replicaCount=2")]
#[case::all_at_once(
    "keda.enabled=true,strimzi.enabled=true,networkPolicy.enabled=true,fourEyes.enabled=true,commonLabels.team=data"
)]
#[case::some_namespaces("watch.namespaces={default,kube-public},keda.enabled=true")]
#[tokio::test]
async fn everything_that_the_chart_renders_is_accepted(#[case] values: &str) {
    prepared().await;
    let kinds = "rbac.extraScalableKinds[0].apiGroup=argoproj.io,rbac.extraScalableKinds[0].resource=rollouts";
    let arguments = ["template", "any", CHART, "--namespace", SYSTEM, "--set", values, "--set", kinds];
    let rendered = succeeds("helm", &[&arguments[..], &IMAGE].concat()).await;
    std::fs::create_dir_all(&*HOME).unwrap();
    let file = HOME.join(format!("{}.yaml", real_tests::unique("rendered")));
    std::fs::write(&file, rendered).unwrap();
    let objects = accepted(&["-f", file.to_str().unwrap()]).await;
    assert!(objects >= 28, "only {objects} objects");
}

#[tokio::test]
async fn a_misspelled_field_would_be_refused() {
    prepared().await;
    let example = std::fs::read_to_string(root().join("deploy/examples/to-offset.yaml")).unwrap();
    std::fs::create_dir_all(&*HOME).unwrap();
    let file = HOME.join("misspelled.yaml");
    std::fs::write(&file, format!("{example}  dryrun: true\n")).unwrap();
    let dry_run = ["apply", "--namespace", "default", "--dry-run=server", "--validate=strict", "-f", file.to_str().unwrap()];
    let refused = super::fails("kubectl", &dry_run).await;
    assert!(refused.contains("unknown field \"spec.dryrun\""), "{refused}");
}
