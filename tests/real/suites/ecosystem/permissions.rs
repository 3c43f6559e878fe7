//! What the operator may do to KEDA's objects is granted apart from everything else: with the rights of deploy/ alone, and with those of
//! deploy/keda. They are granted in the namespace of a test, because the tests beside it have their own operator with the same account.

use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Duration};

use k8s_openapi::api::{
    authorization::v1::SubjectAccessReview,
    rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use offset_reset_operator::api::{Phase, Reason};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Stand, scaled_object::ScaledObject};
use real_tests::{
    PATIENCE, rights,
    shop::{Operator, status, succeeded},
    wait_for_end, with_namespace, within,
};

/// An object of deploy/keda, as kubectl renders it.
fn in_the_component<T: DeserializeOwned>(kind: &str) -> T {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/keda");
    let output = Command::new("kubectl").arg("kustomize").arg(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let documents: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap();
    let found = documents.into_iter().find(|document| document["kind"] == kind).unwrap();
    serde_json::from_value(found).unwrap()
}

/// The rules of deploy/keda.
pub fn of_the_component() -> Vec<PolicyRule> {
    in_the_component::<ClusterRole>("ClusterRole").rules.unwrap()
}

/// Lets the operator do that in a namespace, and no more than that beside what deploy/ grants.
pub async fn grant(client: &Client, namespace: &str, rules: &[PolicyRule]) {
    let params = PatchParams::apply("tests").force();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "keda"}, "rules": rules,
    });
    Api::<Role>::namespaced(client.clone(), namespace).patch("keda", &params, &Patch::Apply(&role)).await.unwrap();
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "keda"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "keda"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": rights::user()}],
    });
    let bindings = Api::<RoleBinding>::namespaced(client.clone(), namespace);
    bindings.patch("keda", &params, &Patch::Apply(&binding)).await.unwrap();
    let reviews = Api::<SubjectAccessReview>::all(client.clone());
    let granted: Vec<&String> = rules.iter().flat_map(|rule| &rule.verbs).collect();
    for verb in ["get", "list", "patch"] {
        let attributes = json!({"group": "keda.sh", "resource": "scaledobjects", "verb": verb, "namespace": namespace});
        let review = json!({"spec": {"user": rights::user(), "resourceAttributes": attributes}});
        let review: SubjectAccessReview = serde_json::from_value(review).unwrap();
        let expected = granted.iter().any(|granted| *granted == verb);
        let counts = async {
            while reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed != expected {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(PATIENCE, counts).await.unwrap_or_else(|| panic!("{verb} of scaledobjects never was allowed: {expected}"));
    }
}

/// What the operator has done with ScaledObjects in a namespace, by the audit log of the API server.
fn used_in(namespace: &str) -> BTreeSet<String> {
    let log = Path::new(&std::env::var_os("SANDBOX_DIR").unwrap()).join("audit.log");
    let log = fs::read_to_string(log).unwrap();
    // Tests beside this one have their operators, of whom the last line may be half written.
    let lines = log.lines().filter(|line| line.contains(namespace));
    let events = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ours = events.filter(|event| {
        let about = &event["objectRef"];
        event["user"]["username"] == rights::user().as_str()
            && (&about["resource"], &about["namespace"]) == (&json!("scaledobjects"), &json!(namespace))
            && event["annotations"]["authorization.k8s.io/decision"] == "allow"
    });
    ours.map(|event| event["verb"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_component_grants_to_the_account_of_the_operator() {
    let binding = in_the_component::<ClusterRoleBinding>("ClusterRoleBinding");
    let role = in_the_component::<ClusterRole>("ClusterRole");
    assert_eq!(Some(binding.role_ref.name), role.metadata.name);
    let subjects = binding.subjects.unwrap();
    let users: Vec<String> = subjects
        .iter()
        .map(|own| format!("system:serviceaccount:{}:{}", own.namespace.as_deref().unwrap_or_default(), own.name))
        .collect();
    assert_eq!(users, [rights::user()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_rights_it_is_said_exactly_what_to_grant_and_with_them_it_works() {
    with_namespace(async |client, namespace| {
        let stand = Stand::open_without_rights(client, namespace).await;
        stand.deployment().await;
        let scaled = ScaledObject::create(&stand, json!({})).await;
        let operator = Operator::start(&stand.client, &stand.namespace);

        stand.apply_for("unseen", &stand.group, json!({"dryRun": true})).await;
        let done = wait_for_end(&stand.api, "unseen").await;
        assert_eq!(status(&done).phase, Some(Phase::Planned), "{:?}", status(&done).message);
        let warnings = status(&done).warnings.join("\n");
        assert!(
            warnings.contains("may not see whether it scales Deployment/consumer") && warnings.contains("deploy/keda"),
            "{warnings}"
        );

        let mut read_only = of_the_component();
        for rule in &mut read_only {
            rule.verbs.retain(|verb| verb != "patch");
        }
        grant(&stand.client, &stand.namespace, &read_only).await;
        stand.apply("not-allowed").await;
        let done = wait_for_end(&stand.api, "not-allowed").await;
        let message = status(&done).explanation();
        assert_eq!(
            (status(&done).phase, status(&done).reason),
            (Some(Phase::Failed), Some(Reason::AutoscalerNotPaused)),
            "{message}"
        );
        assert!(message.contains("cannot patch resource \"scaledobjects\"") && message.contains("deploy/keda"), "{message}");
        assert_eq!((stand.replicas().await, status(&done).hold.is_none()), (2, true), "nothing was stopped");

        grant(&stand.client, &stand.namespace, &of_the_component()).await;
        stand.apply("allowed").await;
        succeeded(&wait_for_end(&stand.api, "allowed").await);
        assert_eq!((stand.replicas().await, stand.committed(&stand.group).await), (2, Some(30)));
        scaled.goes_on().await;
        operator.end().await;
        let granted: BTreeSet<String> = of_the_component().into_iter().flat_map(|rule| rule.verbs).collect();
        assert_eq!(used_in(&stand.namespace), granted, "used, and granted by deploy/keda");
    })
    .await;
}
