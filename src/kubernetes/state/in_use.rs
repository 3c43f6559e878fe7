//! The mark that says that the install is in use: something is held at zero, in these namespaces. It is in the operator's own
//! namespace, and written before anything is stopped.
//!
//! The policy `offset-reset-in-use` refuses to delete the operator's rights, its Deployment, its namespace and the CRD while it
//! exists. And an operator that watches fewer namespaces than before finds there where something is still held.
//!
//! It is a ServiceAccount without any rights, because an API server always watches those. Of a kind that only a policy has it
//! watch, such as Lease, it keeps what it has seen last when the policy is deleted and created again (seen in Kubernetes 1.33 to
//! 1.37: the policy's informer is stopped and never started again), so that the policy would refuse for ever, or never.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::ServiceAccount};
use kube::{
    Api, Client, ResourceExt,
    api::{ObjectMeta, PostParams},
};
use tokio::sync::{RwLock, RwLockReadGuard};

use super::claims::Claims;
use crate::api::FIELD_MANAGER;
use crate::kubernetes::{
    limit::limited,
    write::{WriteOutcome, classify, delete_only},
};

/// The label, with the value "true".
const IN_USE: &str = "offsetreset.dev/in-use";

/// The annotation with the namespaces, separated by commas.
const NAMESPACES: &str = "offsetreset.dev/namespaces";

/// How often a mark that another write has changed is read again.
const ATTEMPTS: u32 = 3;

/// Reads and writes this mark.
pub struct InUse {
    marks: Api<ServiceAccount>,
    deployments: Api<Deployment>,
    name: String,
    /// The namespaces that it names; `None` until it was read. Whoever has it for reading may begin a hold in one of
    /// them; for writing it is taken to remove some.
    recorded: RwLock<Option<BTreeSet<String>>>,
}

/// What allows to begin a hold: the namespace stays recorded as long as this lives.
pub type Recorded<'a> = RwLockReadGuard<'a, Option<BTreeSet<String>>>;

impl InUse {
    /// The mark of the operators with the leader lease of this name.
    #[must_use]
    pub fn new(client: Client, namespace: &str, leader_lease: &str) -> Self {
        Self {
            marks: Api::namespaced(client.clone(), namespace),
            deployments: Api::namespaced(client, namespace),
            name: format!("{leader_lease}-in-use"),
            recorded: RwLock::default(),
        }
    }

    /// Records that something is about to be held in a namespace. The result is kept until that is recorded there.
    ///
    /// Where the API server refuses the write, as with the rights of an older release, only the protection is missing.
    ///
    /// # Errors
    /// When it is unknown whether it was written.
    pub async fn begin(&self, namespace: &str) -> Result<Recorded<'_>, kube::Error> {
        let is_recorded = |recorded: &Option<BTreeSet<String>>| recorded.as_ref().is_some_and(|all| all.contains(namespace));
        let known = self.recorded.read().await;
        if is_recorded(&known) {
            return Ok(known);
        }
        drop(known);
        let mut recorded = self.recorded.write().await;
        for _ in 0..ATTEMPTS {
            let mark = limited(self.marks.get_opt(&self.name)).await?;
            let mut all = mark.as_ref().map(namespaces).unwrap_or_default();
            all.insert(namespace.to_owned());
            match self.write(mark.as_ref(), &all).await? {
                WriteOutcome::Done(()) => {
                    *recorded = Some(all);
                    break;
                }
                WriteOutcome::Stale => {}
                WriteOutcome::NotAllowed(why) | WriteOutcome::Refused(why) => {
                    tracing::warn!(
                        mark = self.name,
                        why,
                        "cannot record that the install is in use, so nothing keeps it from being deleted while consumers are held"
                    );
                    break;
                }
            }
        }
        Ok(recorded.downgrade())
    }

    /// The namespaces in which something may be held.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn recorded(&self) -> Result<BTreeSet<String>, kube::Error> {
        if let Some(all) = &*self.recorded.read().await {
            return Ok(all.clone());
        }
        let mut recorded = self.recorded.write().await;
        let mark = limited(self.marks.get_opt(&self.name)).await?;
        Ok(recorded.insert(mark.as_ref().map(namespaces).unwrap_or_default()).clone())
    }

    /// Keeps those of the recorded namespaces in which something is held, and removes the others. No hold begins meanwhile. Returns
    /// those that cannot be read, each with the error; they are kept.
    ///
    /// # Errors
    /// When it is unknown whether it was written.
    pub async fn settle(&self, claims: &Claims) -> Result<Vec<(String, kube::Error)>, kube::Error> {
        let mut recorded = self.recorded.write().await;
        let mark = limited(self.marks.get_opt(&self.name)).await?;
        let all = mark.as_ref().map(namespaces).unwrap_or_default();
        let (mut held, mut unreadable) = (BTreeSet::new(), vec![]);
        for namespace in &all {
            match claims.list(namespace).await {
                Ok(leases) if leases.is_empty() => continue,
                Ok(_) => {}
                // Unknown never counts as released.
                Err(error) => unreadable.push((namespace.clone(), error)),
            }
            held.insert(namespace.clone());
        }
        // Read again the next time, unless all of this succeeds.
        *recorded = None;
        if held != all || (held.is_empty() && mark.is_some()) {
            match self.write(mark.as_ref(), &held).await? {
                WriteOutcome::Done(()) => {}
                WriteOutcome::Stale => return Ok(unreadable),
                WriteOutcome::NotAllowed(why) | WriteOutcome::Refused(why) => {
                    tracing::warn!(mark = self.name, why, "cannot record that the install is no longer in use");
                    return Ok(unreadable);
                }
            }
        }
        *recorded = Some(held);
        Ok(unreadable)
    }

    /// Whether the operator's own Deployment is deleted, is being deleted, or is to have no pods; `None` when that is unknown.
    pub async fn deployment_goes(&self, name: &str) -> Option<bool> {
        let found = limited(self.deployments.get_opt(name)).await;
        let found = found.inspect_err(|error| tracing::debug!(%error, name, "cannot read the operator's own Deployment")).ok()?;
        Some(found.is_none_or(|deployment| {
            deployment.metadata.deletion_timestamp.is_some() || deployment.spec.and_then(|spec| spec.replicas) == Some(0)
        }))
    }

    /// Writes the mark over the version that was read; deletes it when nothing is held.
    async fn write(&self, read: Option<&ServiceAccount>, all: &BTreeSet<String>) -> Result<WriteOutcome<()>, kube::Error> {
        let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.into()) };
        let version = read.and_then(ResourceExt::resource_version);
        let written = match read {
            Some(_) if all.is_empty() => {
                let params = delete_only(version, None);
                limited(self.marks.delete(&self.name, &params)).await.map(drop)
            }
            Some(_) => limited(self.marks.replace(&self.name, &params, &self.mark(all, version))).await.map(drop),
            None if all.is_empty() => Ok(()),
            None => limited(self.marks.create(&params, &self.mark(all, None))).await.map(drop),
        };
        classify(written)
    }

    fn mark(&self, all: &BTreeSet<String>, version: Option<String>) -> ServiceAccount {
        let names: Vec<&str> = all.iter().map(String::as_str).collect();
        ServiceAccount {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                resource_version: version,
                labels: Some(BTreeMap::from([(IN_USE.to_owned(), "true".to_owned())])),
                annotations: Some(BTreeMap::from([(NAMESPACES.to_owned(), names.join(","))])),
                ..ObjectMeta::default()
            },
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        }
    }
}

/// The namespaces that a mark names.
fn namespaces(mark: &ServiceAccount) -> BTreeSet<String> {
    let named = mark.annotations().get(NAMESPACES).map(String::as_str).unwrap_or_default();
    named.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
