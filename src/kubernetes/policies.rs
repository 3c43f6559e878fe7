//! The admission policies without which users gain the operator's rights: whether the API server enforces them.

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::{Api, Client};

use super::{
    errors::{describe, is_not_allowed},
    limit::limited,
};

/// A policy of `deploy/`, and the consequence of its absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The name of the policy and of its binding.
    pub name: &'static str,
    /// What is possible without it, as a clause.
    pub without_it: &'static str,
}

/// The policy that keeps the install from being deleted while something is held.
pub const IN_USE_POLICY: &str = "offset-reset-in-use";

/// The policies that the operator relies on.
pub const POLICIES: [Policy; 6] = [
    Policy {
        name: "offset-reset-targets",
        without_it: "a user who may create OffsetResets can stop workloads that this user may not scale",
    },
    Policy {
        name: "offset-reset-secrets",
        without_it: "a user who may create OffsetResets can send Secrets that this user may not read to a broker of their own",
    },
    Policy {
        name: "offset-reset-memory",
        without_it: "a user who may write Leases or ConfigMaps can make the operator scale workloads and commit offsets",
    },
    Policy {
        name: "offset-reset-operator-objects",
        without_it: "the operator's token can write every ConfigMap and Lease that its roles cover, kube-system's included",
    },
    Policy {
        name: "offset-reset-operator-changes",
        without_it: "the operator's token can change the spec of OffsetResets and ScaledObjects, and Events of other controllers",
    },
    Policy {
        name: IN_USE_POLICY,
        without_it: "the operator can be deleted while it holds consumers at zero, and they stay there",
    },
];

/// Whether the API server enforces a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyState {
    /// It does.
    Enforced,
    /// It does not; the reason, as a clause.
    NotEnforced(String),
    /// The operator cannot read it; the API server's message.
    Unknown(String),
}

/// Reads policies.
#[derive(Clone)]
pub struct Policies {
    client: Client,
}

impl Policies {
    /// Reads through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Whether the API server enforces a policy, read live.
    ///
    /// # Errors
    /// When the API server cannot be asked. That it refuses the operator is an answer.
    pub async fn look(&self, name: &str) -> Result<PolicyState, kube::Error> {
        let policies = Api::<ValidatingAdmissionPolicy>::all(self.client.clone());
        let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(self.client.clone());
        match tokio::try_join!(limited(policies.get_opt(name)), limited(bindings.get_opt(name))) {
            Ok((policy, binding)) => Ok(state(policy.as_ref(), binding.as_ref())),
            Err(error) if is_not_allowed(&error) => Ok(PolicyState::Unknown(describe(&error))),
            Err(error) => Err(error),
        }
    }

    /// Whether a policy has its binding, enforced or not; `None` when that is unknown.
    pub async fn is_bound(&self, name: &str) -> Option<bool> {
        let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(self.client.clone());
        match limited(bindings.get_metadata_opt(name)).await {
            Ok(found) => Some(found.is_some_and(|binding| binding.metadata.deletion_timestamp.is_none())),
            Err(error) => {
                tracing::debug!(%error, name, "cannot read the binding of a policy");
                None
            }
        }
    }
}

/// What a policy and its binding amount to. Where a binding applies, by its matchResources, is an administrator's choice.
fn state(policy: Option<&ValidatingAdmissionPolicy>, binding: Option<&ValidatingAdmissionPolicyBinding>) -> PolicyState {
    let Some(policy) = policy else { return PolicyState::NotEnforced("it is not installed".into()) };
    let Some(binding) = binding else { return PolicyState::NotEnforced("its binding is not installed".into()) };
    let (policy_spec, binding_spec) = (policy.spec.clone().unwrap_or_default(), binding.spec.clone().unwrap_or_default());
    let denies = binding_spec.validation_actions.unwrap_or_default().iter().any(|action| action == "Deny");
    if binding_spec.policy_name.as_ref() != policy.metadata.name.as_ref() {
        PolicyState::NotEnforced("its binding names another policy".into())
    } else if !denies {
        PolicyState::NotEnforced("its binding does not have the validation action Deny".into())
    } else if policy_spec.failure_policy.as_deref() == Some("Ignore") {
        PolicyState::NotEnforced("its failurePolicy is Ignore".into())
    } else if policy_spec.validations.unwrap_or_default().is_empty() {
        PolicyState::NotEnforced("it has no validations".into())
    } else {
        PolicyState::Enforced
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    /// The documents of all manifests of the install, wherever below deploy/ they are; not of what is applied on its own.
    fn installed() -> Vec<Value> {
        let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")];
        let mut documents = vec![];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap();
                if path.is_dir() && !["examples", "four-eyes", "record-users"].contains(&name) {
                    directories.push(path);
                } else if path.extension().is_some_and(|extension| extension == "yaml") {
                    documents.extend(serde_saphyr::from_multiple::<Value>(&fs::read_to_string(&path).unwrap()).unwrap());
                }
            }
        }
        documents
    }

    #[test]
    fn the_policies_of_the_install_are_those_that_are_checked_and_count_as_enforced() {
        let documents = installed();
        let of_kind = |kind: &str| -> Vec<&Value> { documents.iter().filter(|document| document["kind"] == kind).collect() };
        let (policies, bindings) = (of_kind("ValidatingAdmissionPolicy"), of_kind("ValidatingAdmissionPolicyBinding"));
        let names = |of: &[&Value]| -> BTreeSet<String> {
            of.iter().map(|document| document["metadata"]["name"].as_str().unwrap().to_owned()).collect()
        };
        let checked: BTreeSet<String> = POLICIES.iter().map(|policy| policy.name.to_owned()).collect();
        assert_eq!(names(&policies), checked);
        assert_eq!(names(&bindings), checked);
        for policy in policies {
            let binding = bindings.iter().find(|binding| binding["metadata"]["name"] == policy["metadata"]["name"]).unwrap();
            let (policy, binding) = ((*policy).clone(), (**binding).clone());
            let found = state(Some(&serde_json::from_value(policy).unwrap()), Some(&serde_json::from_value(binding).unwrap()));
            assert_eq!(found, PolicyState::Enforced);
        }
    }

    #[test]
    fn the_operator_may_read_each_of_them_by_its_name() {
        let is_it =
            |document: &Value| document["metadata"]["name"] == "offset-reset-operator-policies" && document["rules"].is_array();
        let role = installed().into_iter().find(is_it).unwrap();
        let names: Vec<&str> = POLICIES.iter().map(|policy| policy.name).collect();
        assert_eq!(role["rules"][0]["resourceNames"], json!(names));
    }

    #[rstest]
    #[case::enforced(json!({}), json!({}), None)]
    #[case::no_policy(Value::Null, json!({}), Some("it is not installed"))]
    #[case::no_binding(json!({}), Value::Null, Some("its binding is not installed"))]
    #[case::of_another_policy(json!({}), json!({"policyName": "q"}), Some("its binding names another policy"))]
    #[case::only_audits(json!({}), json!({"validationActions": ["Audit", "Warn"]}), Some("the validation action Deny"))]
    #[case::lets_errors_pass(json!({"failurePolicy": "Ignore"}), json!({}), Some("its failurePolicy is Ignore"))]
    #[case::checks_nothing(json!({"validations": []}), json!({}), Some("it has no validations"))]
    fn what_does_not_deny_is_not_enforced(#[case] policy: Value, #[case] binding: Value, #[case] expected: Option<&str>) {
        let over = |usual: Value, change: &Value| {
            change.as_object().map(|change| {
                let mut spec = usual;
                change.iter().for_each(|(key, value)| spec[key] = value.clone());
                json!({"metadata": {"name": "p"}, "spec": spec})
            })
        };
        let policy = over(json!({"failurePolicy": "Fail", "validations": [{"expression": "true"}]}), &policy);
        let binding = over(json!({"policyName": "p", "validationActions": ["Deny"]}), &binding);
        let (policy, binding) = (
            policy.map(|policy| serde_json::from_value(policy).unwrap()),
            binding.map(|binding| serde_json::from_value(binding).unwrap()),
        );
        match (state(policy.as_ref(), binding.as_ref()), expected) {
            (PolicyState::Enforced, None) => {}
            (PolicyState::NotEnforced(why), Some(expected)) => assert!(why.contains(expected), "{why}"),
            (found, _) => panic!("{found:?}"),
        }
    }
}
