//! Reports policies that the API server does not enforce: an install without them lends the operator's rights to its users.

use std::{collections::BTreeMap, time::Duration};

use kube::Client;

use crate::{
    kubernetes::{POLICIES, Policies, Policy, PolicyState, chain},
    observability::{Metrics, Readiness},
};

/// The wait between two looks.
const LOOK: Duration = Duration::from_mins(1);

/// Looks at the policies from time to time, until it is dropped. A state is logged when it is new; the metric and the
/// readiness page have the latest one. The operator stays ready: without it consumers would stay at zero.
pub(super) async fn watch_policies(client: Client, metrics: Metrics, readiness: Readiness) {
    let policies = Policies::new(client);
    let mut logged = BTreeMap::new();
    loop {
        for policy in &POLICIES {
            match policies.look(policy.name).await {
                Ok(state) => {
                    metrics.policy(policy.name, enforced(&state));
                    readiness.warn(policy.name, warning(policy, &state));
                    if logged.get(policy.name) != Some(&state) {
                        log(policy, &state, logged.contains_key(policy.name));
                        logged.insert(policy.name, state);
                    }
                }
                // The state is the last one that was read.
                Err(error) => tracing::debug!(policy = policy.name, error = chain(&error), "failed to read a policy; retrying"),
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn enforced(state: &PolicyState) -> Option<bool> {
    match state {
        PolicyState::Enforced => Some(true),
        PolicyState::NotEnforced(_) => Some(false),
        PolicyState::Unknown(_) => None,
    }
}

/// What a person must know of a policy, if anything.
fn warning(policy: &Policy, state: &PolicyState) -> Option<String> {
    let Policy { name, without_it } = policy;
    match state {
        PolicyState::Enforced => None,
        PolicyState::NotEnforced(why) => Some(format!(
            "policy {name} is not enforced: {why}. Without it {without_it}. Apply the manifests again: helm upgrade, or kubectl apply -k deploy/"
        )),
        PolicyState::Unknown(why) => Some(format!(
            "policy {name} cannot be read, so it may be missing: {why}. Without it {without_it}. \
             Apply deploy/rights/policy-reader.yaml, or check it yourself and set OFFSET_RESET_CHECK_POLICIES to false"
        )),
    }
}

fn log(policy: &Policy, state: &PolicyState, is_change: bool) {
    match warning(policy, state) {
        Some(warning) => tracing::warn!(policy = policy.name, "{warning}"),
        None if is_change => tracing::info!(policy = policy.name, "policy {} is enforced again", policy.name),
        None => tracing::debug!(policy = policy.name, "policy {} is enforced", policy.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_says_what_is_missing_what_is_possible_and_what_to_run() {
        let policy = &POLICIES[0];
        assert_eq!(warning(policy, &PolicyState::Enforced), None);
        let missing = warning(policy, &PolicyState::NotEnforced("it is not installed".into())).unwrap();
        assert_eq!(
            missing,
            "policy offset-reset-targets is not enforced: it is not installed. Without it a user who may create OffsetResets \
             can stop workloads that this user may not scale. Apply the manifests again: helm upgrade, or kubectl apply -k deploy/"
        );
        let unknown = warning(policy, &PolicyState::Unknown("User \"o\" cannot get it (Forbidden)".into())).unwrap();
        assert!(unknown.contains("cannot be read, so it may be missing: User \"o\" cannot get it"), "{unknown}");
        assert!(unknown.contains("deploy/rights/policy-reader.yaml"), "{unknown}");
        for state in [PolicyState::Unknown(String::new()), PolicyState::NotEnforced("it is not installed".into())] {
            for policy in &POLICIES {
                let text = warning(policy, &state).unwrap();
                let first = text.split(". ").next().unwrap();
                assert!(first.len() <= 100, "{first}");
            }
        }
    }
}
