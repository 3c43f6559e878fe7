//! Which cluster and which broker the tests run against: explicitly given, never whatever context happens to be current.

use std::path::PathBuf;

use anyhow::{Result, bail};

/// Where the tests run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The kubeconfig of a cluster admin.
    pub kubeconfig: PathBuf,
    /// The brokers, reachable from here and from pods.
    pub bootstrap_servers: String,
    /// A second broker, of the line of Kafka 3. None unless the sandbox was started with one, or the user has named theirs.
    pub kafka_3_bootstrap_servers: Option<String>,
    /// Somebody's own cluster, and not the sandbox.
    pub existing: bool,
}

/// What `cargo sandbox exec` has set, or with `CLUSTER=existing` what the user has.
pub fn environment() -> Result<Environment> {
    from(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

fn from(get: impl Fn(&str) -> Option<String>) -> Result<Environment> {
    let existing = match get("CLUSTER").as_deref() {
        None | Some("sandbox") => false,
        Some("existing") => true,
        Some(other) => bail!("CLUSTER={other} is neither 'sandbox' (the default) nor 'existing'"),
    };
    if !existing && get("SANDBOX_NAME").is_none() {
        bail!(
            "this runs on real parts: use `make test`, or `cargo sandbox up` and then `cargo sandbox exec -- CMD`. \
             On a cluster of your own: CLUSTER=existing with KUBECONFIG and KAFKA_BOOTSTRAP_SERVERS set"
        );
    }
    match (get("KUBECONFIG"), get("KAFKA_BOOTSTRAP_SERVERS")) {
        (Some(kubeconfig), Some(bootstrap_servers)) => {
            let kafka_3_bootstrap_servers = get("KAFKA_3_BOOTSTRAP_SERVERS");
            Ok(Environment { kubeconfig: kubeconfig.into(), bootstrap_servers, kafka_3_bootstrap_servers, existing })
        }
        _ => bail!("both KUBECONFIG and KAFKA_BOOTSTRAP_SERVERS must be set; the current context is never used by accident"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(set: &[(&str, &str)]) -> Result<Environment> {
        from(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn a_kubeconfig_alone_is_never_used() {
        let both = [("KUBECONFIG", "/k"), ("KAFKA_BOOTSTRAP_SERVERS", "b:9092")];
        assert!(with(&both).is_err(), "somebody's own, but not asked for");
        assert!(with(&[("CLUSTER", "existing"), ("KUBECONFIG", "/k")]).is_err());
        assert!(with(&[&both[..], &[("CLUSTER", "prod")]].concat()).is_err());
        assert!(with(&[&both[..], &[("CLUSTER", "existing")]].concat()).unwrap().existing);
        let sandbox = with(&[&both[..], &[("SANDBOX_NAME", "default")]].concat()).unwrap();
        assert!(!sandbox.existing && sandbox.kafka_3_bootstrap_servers.is_none());
    }
}
