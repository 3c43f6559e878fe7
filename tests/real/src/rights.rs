//! The operator's rights: those that `deploy/` gives it, and a client that has just them.

use std::{collections::BTreeSet, fmt, fs, path::Path};

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::ServiceAccount,
};
use kube::{
    Api, Client, Config,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{PATIENCE, environment, within};

/// Where the operator is, as `deploy/kustomization.yaml` has it.
pub const NAMESPACE: &str = "offset-reset-system";

/// The operator's account there.
const ACCOUNT: &str = "offset-reset-operator";

/// The operator, as the API server calls it.
pub fn user() -> String {
    format!("system:serviceaccount:{NAMESPACE}:{ACCOUNT}")
}

/// One thing that may be done, or was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    pub group: String,
    /// With its subresource, as RBAC writes it.
    pub resource: String,
    pub verb: String,
    /// In this namespace only; everywhere when absent.
    pub namespace: Option<String>,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if let Some(namespace) = &self.namespace {
            write!(f, " in {namespace}")?;
        }
        Ok(())
    }
}

/// Every document of the manifests in `deploy/`, except the CRD.
fn documents() -> Vec<Value> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let parts = ["rights", "operator"].into_iter().flat_map(|part| fs::read_dir(dir.join(part)).unwrap());
    let mut files: Vec<_> = parts.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let parse = |path| serde_saphyr::from_multiple::<Value>(&fs::read_to_string(path).unwrap()).unwrap();
    files.into_iter().flat_map(parse).collect()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn all<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

/// The bindings that give the operator something.
fn bindings(documents: &[Value]) -> Vec<&Value> {
    let is_operator = |subject: &Value| subject["kind"] == "ServiceAccount" && subject["name"] == ACCOUNT;
    let binds = |document: &&Value| all(document, "subjects").any(is_operator);
    documents.iter().filter(binds).collect()
}

/// The roles that bindings name; with the namespace in which they count, where they do not count everywhere.
fn roles<'a>(documents: &'a [Value], bindings: &[&'a Value]) -> Vec<(&'a Value, Option<String>)> {
    let role = |binding: &&'a Value| {
        let named = |document: &&Value| {
            document["kind"] == binding["roleRef"]["kind"] && document["metadata"]["name"] == binding["roleRef"]["name"]
        };
        let namespace = (binding["kind"] == "RoleBinding").then(|| match text(binding, "/metadata/namespace") {
            "" => NAMESPACE.to_owned(),
            namespace => namespace.to_owned(),
        });
        (documents.iter().find(named).expect("a binding's role is in deploy/, too"), namespace)
    };
    bindings.iter().map(role).collect()
}

/// What `deploy/` lets the operator do.
pub fn granted() -> BTreeSet<Right> {
    let documents = documents();
    let mut granted = BTreeSet::new();
    for (role, namespace) in roles(&documents, &bindings(&documents)) {
        for rule in all(role, "rules") {
            for group in all(rule, "apiGroups") {
                for resource in all(rule, "resources") {
                    for verb in all(rule, "verbs") {
                        let word = |value: &Value| value.as_str().unwrap().to_owned();
                        let (group, resource, verb) = (word(group), word(resource), word(verb));
                        granted.insert(Right { group, resource, verb, namespace: namespace.clone() });
                    }
                }
            }
        }
    }
    granted
}

/// The object for which a right counts, where it is for some objects by their names only.
fn named(right: &Right) -> Option<String> {
    let documents = documents();
    let has = |rule: &Value, key: &str, word: &str| all(rule, key).any(|value| value == word);
    let grants = |rule: &&Value| {
        has(rule, "apiGroups", &right.group) && has(rule, "resources", &right.resource) && has(rule, "verbs", &right.verb)
    };
    let there = roles(&documents, &bindings(&documents)).into_iter().filter(|(_, namespace)| *namespace == right.namespace);
    let granting: Vec<&Value> = there.flat_map(|(role, _)| all(role, "rules")).filter(grants).collect();
    // A rule without names covers all objects.
    let names: Option<Vec<&Value>> = granting.into_iter().map(|rule| rule["resourceNames"].get(0)).collect();
    names?.first()?.as_str().map(str::to_owned)
}

/// A client of the operator's account, with the rights that `deploy/` gives it: what is missing there fails the tests that need it.
pub async fn operators_client(admin: &Client) -> Client {
    let kubeconfig = operators_kubeconfig(admin).await;
    Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()).unwrap()
}

/// The same as a kubeconfig, for an operator in a process of its own.
pub async fn operators_kubeconfig(admin: &Client) -> Kubeconfig {
    // A client's connections belong to the runtime of the test that made it, but a token may be shared.
    static TOKEN: OnceCell<String> = OnceCell::const_new();
    let token = TOKEN.get_or_init(|| install(admin)).await;
    let mut kubeconfig = Kubeconfig::read_from(environment().kubeconfig).unwrap();
    for user in &mut kubeconfig.auth_infos {
        user.auth_info = Some(serde_json::from_value(json!({ "token": token })).unwrap());
    }
    kubeconfig
}

/// Installs the account and its rights, waits until they count, and returns a token of the account.
async fn install(admin: &Client) -> String {
    let documents = documents();
    let of_kind = |kind: &'static str| documents.iter().filter(move |document| document["kind"] == kind);
    let bindings = bindings(&documents);
    let roles = roles(&documents, &bindings).into_iter().map(|(role, _)| role);
    let accounts = of_kind("ServiceAccount").filter(|account| account["metadata"]["name"] == ACCOUNT);
    // What bounds the token, so that all suites show that it bounds nothing that a reset needs.
    let bounds = documents.iter().filter(|document| {
        text(document, "/kind").starts_with("ValidatingAdmissionPolicy")
            && text(document, "/metadata/name").starts_with("offset-reset-operator-")
    });
    for document in of_kind("Namespace").chain(accounts).chain(roles).chain(bindings.iter().copied()).chain(bounds) {
        apply(admin, document).await;
    }
    let reviews = Api::<SubjectAccessReview>::all(admin.clone());
    for right in granted() {
        let (resource, subresource) = right.resource.split_once('/').unwrap_or((&right.resource, ""));
        let attributes = ResourceAttributes {
            group: Some(right.group.clone()),
            resource: Some(resource.to_owned()),
            subresource: Some(subresource.to_owned()).filter(|subresource| !subresource.is_empty()),
            verb: Some(right.verb.clone()),
            name: named(&right),
            namespace: right.namespace.clone(),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: Some(user()),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let allowed = async {
            while !reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        within(PATIENCE, allowed).await.unwrap_or_else(|| panic!("the operator may {right}, says deploy/"));
    }
    let spec = TokenRequestSpec { expiration_seconds: Some(4 * 3600), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let accounts = Api::<ServiceAccount>::namespaced(admin.clone(), NAMESPACE);
    let answer = accounts.create_token_request(ACCOUNT, &PostParams::default(), &request).await.unwrap();
    answer.status.unwrap().token
}

async fn apply(admin: &Client, document: &Value) {
    let (group, version) = text(document, "/apiVersion").split_once('/').unwrap_or(("", text(document, "/apiVersion")));
    let kind = text(document, "/kind");
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let api: Api<DynamicObject> = match (kind, text(document, "/metadata/namespace")) {
        (
            "Namespace" | "ClusterRole" | "ClusterRoleBinding" | "ValidatingAdmissionPolicy" | "ValidatingAdmissionPolicyBinding",
            _,
        ) => Api::all_with(admin.clone(), &resource),
        (_, "") => Api::namespaced_with(admin.clone(), NAMESPACE, &resource),
        (_, namespace) => Api::namespaced_with(admin.clone(), namespace, &resource),
    };
    let mut document = document.clone();
    // What kustomize does with `namespace:`.
    for subject in document.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
        subject["namespace"] = json!(NAMESPACE);
    }
    let name = text(&document, "/metadata/name").to_owned();
    api.patch(&name, &PatchParams::apply("tests").force(), &Patch::Apply(&document)).await.unwrap();
}
