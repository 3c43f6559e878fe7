//! People and accounts with just the rights that a test gives them.

use k8s_openapi::api::{authorization::v1::SubjectAccessReview, rbac::v1::Role, rbac::v1::RoleBinding};
use kube::{
    Api, Client, Config,
    api::{Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use super::{PATIENCE, environment, unique, within};

/// Somebody, as the API server sees them.
pub struct Person {
    pub name: String,
    pub client: Client,
}

impl Person {
    /// Somebody whom no other test knows.
    pub async fn new(name: &str) -> Self {
        Self::called(&unique(name)).await
    }

    /// Who is called so, such as a service account: by impersonation, so that the rights are theirs and no others.
    pub async fn called(name: &str) -> Self {
        let kubeconfig = Kubeconfig::read_from(environment().kubeconfig).unwrap();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        config.auth_info.impersonate = Some(name.to_owned());
        Self { name: name.to_owned(), client: Client::try_from(config).unwrap() }
    }

    /// Gives them a Role in a namespace, and waits until it counts. A rule is `verbs resource.group/subresource name ...`.
    pub async fn may(self, admin: &Client, namespace: &str, rules: &[&str]) -> Self {
        let params = PatchParams::apply("tests").force();
        let (role, rules) = (unique("role"), rules.iter().copied().map(rule).collect::<Vec<_>>());
        let object = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": role}, "rules": rules,
        });
        Api::<Role>::namespaced(admin.clone(), namespace).patch(&role, &params, &Patch::Apply(&object)).await.unwrap();
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": self.name}],
        });
        let bindings = Api::<RoleBinding>::namespaced(admin.clone(), namespace);
        bindings.patch(&role, &params, &Patch::Apply(&binding)).await.unwrap();
        // Roles are read in the order in which they were written, so the last right is the last to count.
        if let Some(last) = rules.last() {
            self.waits_until_allowed(admin, namespace, last).await;
        }
        self
    }

    async fn waits_until_allowed(&self, admin: &Client, namespace: &str, rule: &Value) {
        let (resource, subresource) = text(&rule["resources"][0]).split_once('/').unwrap_or((text(&rule["resources"][0]), ""));
        let attributes = json!({
            "group": rule["apiGroups"][0], "resource": resource, "subresource": subresource, "verb": rule["verbs"][0],
            "name": rule["resourceNames"][0], "namespace": namespace,
        });
        let review = json!({"spec": {"user": self.name, "resourceAttributes": attributes}});
        let review: SubjectAccessReview = serde_json::from_value(review).unwrap();
        let reviews = Api::<SubjectAccessReview>::all(admin.clone());
        let counts = async {
            while !reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        within(PATIENCE, counts).await.unwrap_or_else(|| panic!("{} never may {rule}", self.name));
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn rule(words: &str) -> Value {
    let mut words = words.split(' ');
    let (verbs, what) = (words.next().unwrap(), words.next().unwrap());
    let (resource, subresource) = what.split_once('/').map_or((what, None), |(resource, sub)| (resource, Some(sub)));
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    let resource = subresource.map_or(resource.to_owned(), |sub| format!("{resource}/{sub}"));
    let mut rule = json!({"apiGroups": [group], "resources": [resource], "verbs": verbs.split(',').collect::<Vec<_>>()});
    let names: Vec<&str> = words.collect();
    if !names.is_empty() {
        rule["resourceNames"] = json!(names);
    }
    rule
}
