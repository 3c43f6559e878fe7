//! In every mode the chart renders the objects that kustomize renders of `deploy/`: there is one truth.

use std::collections::BTreeMap;

use rstest::rstest;
use serde_json::{Value, json};

use super::{CHART, IMAGE, fails, succeeds};

/// The namespace of `deploy/`.
const SYSTEM: &str = "offset-reset-system";

/// By kind, namespace and name.
type Objects = BTreeMap<(String, String, String), Value>;

fn objects(yaml: &str) -> Objects {
    let objects: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    let named = |mut object: Value| {
        // Kustomize takes kinds that it does not know for namespaced ones. kubectl knows better.
        if object["kind"].as_str().is_some_and(|kind| kind.starts_with("ValidatingAdmissionPolicy")) {
            object["metadata"].as_object_mut().unwrap().remove("namespace");
        }
        let word = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        ((word("/kind"), word("/metadata/namespace"), word("/metadata/name")), object)
    };
    objects.into_iter().filter(|object| !object.is_null()).map(named).collect()
}

/// What kustomize renders of some directories.
async fn kustomized(directories: &[&str]) -> Objects {
    let mut all = Objects::new();
    for directory in directories {
        all.extend(objects(&succeeds("kubectl", &["kustomize", directory]).await));
    }
    all
}

async fn templated(values: &[&str]) -> Objects {
    let arguments = [&["template", "any", CHART, "--namespace", SYSTEM][..], &IMAGE, values].concat();
    objects(&succeeds("helm", &arguments).await)
}

/// Without the labels that only one of both tools writes.
fn plain(mut objects: Objects) -> Objects {
    for object in objects.values_mut() {
        let metadata = object["metadata"].as_object_mut().unwrap();
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            for label in ["name", "instance", "version", "managed-by"] {
                labels.remove(&format!("app.kubernetes.io/{label}"));
            }
            labels.remove("helm.sh/chart");
            if labels.is_empty() {
                metadata.remove("labels");
            }
        }
    }
    objects
}

/// Fails at the first place where two objects differ.
fn same(at: &str, left: &Value, right: &Value) {
    match (left, right) {
        (Value::Object(one), Value::Object(other)) => {
            assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>(), "{at}");
            one.iter().for_each(|(key, value)| same(&format!("{at}.{key}"), value, &other[key]));
        }
        (Value::Array(one), Value::Array(other)) => {
            assert_eq!(one.len(), other.len(), "{at}");
            one.iter().zip(other).enumerate().for_each(|(index, (one, other))| same(&format!("{at}[{index}]"), one, other));
        }
        // Helm and kustomize write 100000 as 100000.0 or 1e+05.
        (Value::Number(one), Value::Number(other)) => assert_eq!(one.as_f64(), other.as_f64(), "{at}"),
        _ => assert_eq!(left, right, "{at}"),
    }
}

const CRD: (&str, &str, &str) = ("CustomResourceDefinition", "", "offsetresets.offsetreset.dev");

fn owned((kind, namespace, name): (&str, &str, &str)) -> (String, String, String) {
    (kind.into(), namespace.into(), name.into())
}

#[rstest]
#[case::default(&["deploy"], &[])]
#[case::some_namespaces(&["docs/examples/namespaces"], &["--set", "watch.namespaces={shop,payments}"])]
#[case::keda(&["deploy", "deploy/keda"], &["--set", "keda.enabled=true"])]
#[case::keda_where_the_cluster_has_it(&["deploy", "deploy/keda"], &["--api-versions", "keda.sh/v1alpha1"])]
#[case::strimzi(&["deploy", "deploy/strimzi"], &["--set", "strimzi.enabled=true"])]
#[case::network_policy(&["deploy", "deploy/network-policy"], &["--set", "networkPolicy.enabled=true"])]
#[case::four_eyes(&["deploy", "deploy/four-eyes"], &["--set", "fourEyes.enabled=true"])]
#[case::record_users(&["deploy", "deploy/record-users"], &["--set", "recordUsers.enabled=true"])]
#[case::monitoring(
    &["deploy", "deploy/monitoring"],
    &["--set", "metrics.podMonitor.enabled=true,metrics.prometheusRule.enabled=true,metrics.dashboard.enabled=true"]
)]
#[case::the_defaults_said(&["deploy"], &["--set", "keda.enabled=false,crds.install=true,policies.enabled=true"])]
#[tokio::test]
async fn the_chart_is_deploy(#[case] directories: &[&str], #[case] values: &[&str]) {
    let (mut expected, mut found) = (plain(kustomized(directories).await), plain(templated(values).await));
    // Helm creates the namespace of a release by itself, and deletes nothing that it is told to keep.
    assert!(expected.remove(&owned(("Namespace", "", SYSTEM))).is_some());
    let annotations = found.get_mut(&owned(CRD)).unwrap()["metadata"].as_object_mut().unwrap().remove("annotations");
    assert_eq!(annotations, Some(json!({"helm.sh/resource-policy": "keep"})));
    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    for (name, object) in expected {
        same(&format!("{name:?}"), &object, &found[&name]);
    }
}

#[tokio::test]
async fn the_one_file_is_deploy_with_the_image_of_the_chart() {
    let mut found = objects(&std::fs::read_to_string(super::root().join("install.yaml")).unwrap());
    let deployment = owned(("Deployment", SYSTEM, "offset-reset-operator"));
    let image = "/spec/template/spec/containers/0/image";
    let of_the_chart = objects(&succeeds("helm", &["template", "any", CHART, "--namespace", SYSTEM]).await);
    assert_eq!(found[&deployment].pointer(image), of_the_chart[&deployment].pointer(image));
    *found.get_mut(&deployment).unwrap().pointer_mut(image).unwrap() = json!("offset-reset-operator:dev");
    let expected = kustomized(&["deploy"]).await;
    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    for (name, object) in expected {
        same(&format!("{name:?}"), &object, &found[&name]);
    }
}

#[tokio::test]
async fn in_another_namespace_nothing_names_the_one_of_deploy() {
    let rendered = succeeds(
        "helm",
        &["template", "any", CHART, "--namespace", "elsewhere", "--set", "fourEyes.enabled=true,recordUsers.enabled=true"],
    )
    .await;
    let left: Vec<&str> = rendered.lines().filter(|line| !line.trim_start().starts_with('#') && line.contains(SYSTEM)).collect();
    assert_eq!(left, Vec::<&str>::new());
}

#[tokio::test]
async fn in_some_namespaces_there_is_no_right_in_the_whole_cluster_not_even_for_other_kinds() {
    let kinds = "rbac.extraScalableKinds[0].apiGroup=argoproj.io,rbac.extraScalableKinds[0].resource=rollouts";
    let set = ["--set", "watch.namespaces={shop,payments},keda.enabled=true,strimzi.enabled=true", "--set", kinds];
    let some = templated(&set).await;
    let bound: Vec<&str> =
        some.keys().filter(|(kind, ..)| kind == "ClusterRoleBinding").map(|(.., name)| name.as_str()).collect();
    assert_eq!(bound, ["offset-reset-operator-policies"]);
    for namespace in ["payments", "shop"] {
        let there: Vec<&str> =
            some.keys().filter(|(kind, at, _)| kind == "Role" && at == namespace).map(|(.., name)| name.as_str()).collect();
        let roles = [
            "offset-reset-operator",
            "offset-reset-operator-kinds",
            "offset-reset-operator-keda",
            "offset-reset-operator-strimzi",
        ];
        assert_eq!(there, roles.sorted());
    }
    // Everywhere it is what deploy/examples/rights-for-rollouts.yaml grants.
    let everywhere = templated(&set[2..]).await;
    let role = &everywhere[&owned(("ClusterRole", "", "offset-reset-operator-extra-kinds"))];
    let example = std::fs::read_to_string(super::root().join("deploy/examples/rights-for-rollouts.yaml")).unwrap();
    let example: Value = serde_saphyr::from_str(&example).unwrap();
    assert_eq!(role["rules"], example["rules"]);
    assert_eq!(role["metadata"]["labels"]["offsetreset.dev/aggregate-to-operator"], "true");
}

trait Sorted {
    fn sorted(self) -> Self;
}

impl<const N: usize> Sorted for [&str; N] {
    fn sorted(mut self) -> Self {
        self.sort_unstable();
        self
    }
}

#[rstest]
#[case::a_misspelled_value("replicas=3", "replicas")]
#[case::a_misspelled_value_inside("image.tags=1", "tags")]
#[case::an_unknown_policy("image.pullPolicy=Sometimes", "pullPolicy")]
#[case::a_digest_that_is_none("image.digest=latest", "digest")]
#[case::a_token_endpoint_in_plaintext("oauthTokenEndpoints={http://idp.example.com/token}", "oauthTokenEndpoints")]
#[case::a_duration_without_a_unit("leaderElection.leaseDuration=15x", "leaseDuration")]
#[case::no_policies("policies.enabled=false", "policies.acknowledgeUnsafe")]
#[tokio::test]
async fn values_that_cannot_be_meant_are_refused(#[case] set: &str, #[case] said: &str) {
    let error = fails("helm", &["template", "any", CHART, "--set", set]).await;
    assert!(error.contains(said), "{error}");
}

#[tokio::test]
async fn every_value_reaches_the_operator() {
    let values = [
        "image.registry=example.com,image.repository=o,image.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "watch.namespaces={shop},receiptRetention=48h,concurrency=4,logging.level=debug,logging.format=text",
        "leaderElection.leaseDuration=30s,leaderElection.renewDeadline=20s,leaderElection.retryPeriod=4s,policies.check=false",
        "oauthTokenEndpoints={https://a.example/token,https://b.example/token},extraArgs={--http-address=[::]:8080}",
        "commonLabels.team=data,podLabels.pod=label,podAnnotations.pod=annotation,priorityClassName=high",
        "imagePullSecrets[0].name=registry,extraEnv[0].name=A,extraEnv[0].value=b,nodeSelector.disk=ssd",
    ];
    let mut arguments = vec!["template", "any", CHART, "--namespace", SYSTEM];
    for value in values {
        arguments.extend(["--set", value]);
    }
    let extra = json!([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-extra"}}]);
    let extra = format!("extraObjects={extra}");
    arguments.extend(["--set-json", &extra]);
    let all = objects(&succeeds("helm", &arguments).await);
    let deployment = &all[&owned(("Deployment", SYSTEM, "offset-reset-operator"))];
    let pod = &deployment["spec"]["template"];
    assert_eq!(pod["metadata"]["labels"]["pod"], "label");
    assert_eq!(pod["metadata"]["annotations"]["pod"], "annotation");
    assert_eq!((&pod["spec"]["priorityClassName"], &pod["spec"]["nodeSelector"]["disk"]), (&json!("high"), &json!("ssd")));
    assert_eq!(pod["spec"]["imagePullSecrets"], json!([{"name": "registry"}]));
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["image"], format!("example.com/o@sha256:{}", "0".repeat(64)));
    assert_eq!(container["args"], json!(["run", "--http-address=[::]:8080"]));
    let env: BTreeMap<&str, &str> = container["env"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|variable| Some((variable["name"].as_str()?, variable["value"].as_str()?)))
        .collect();
    let expected = [
        ("A", "b"),
        ("MALLOC_ARENA_MAX", "1"),
        ("MALLOC_TRIM_THRESHOLD_", "131072"),
        ("OFFSET_RESET_CHECK_POLICIES", "false"),
        ("OFFSET_RESET_CONCURRENCY", "4"),
        ("OFFSET_RESET_DEPLOYMENT", "offset-reset-operator"),
        ("OFFSET_RESET_LEADER_ELECTION", "true"),
        ("OFFSET_RESET_LEASE_DURATION", "30s"),
        ("OFFSET_RESET_LOG", "debug"),
        ("OFFSET_RESET_LOG_FORMAT", "text"),
        ("OFFSET_RESET_NAMESPACES", "shop"),
        ("OFFSET_RESET_OAUTH_TOKEN_ENDPOINTS", "https://a.example/token,https://b.example/token"),
        ("OFFSET_RESET_RECEIPT_RETENTION", "48h"),
        ("OFFSET_RESET_RENEW_DEADLINE", "20s"),
        ("OFFSET_RESET_RETRY_PERIOD", "4s"),
    ];
    assert_eq!(env.into_iter().collect::<Vec<_>>(), expected);
    assert!(all.contains_key(&owned(("ConfigMap", "", "any-extra"))), "extraObjects are templates");
    let unlabeled = |(name, object): (&(String, String, String), &Value)| {
        (object["metadata"]["labels"]["team"] != "data" && name.0 != "ConfigMap").then(|| name.clone())
    };
    assert_eq!(all.iter().filter_map(unlabeled).collect::<Vec<_>>(), [], "commonLabels");
    // The selector of a Deployment cannot be changed, so no value does.
    assert_eq!(deployment["spec"]["selector"], json!({"matchLabels": {"app.kubernetes.io/name": "offset-reset-operator"}}));
}
