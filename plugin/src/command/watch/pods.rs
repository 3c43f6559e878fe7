//! The pods of a reset's targets, while they stop or start: looked up every second, beside the watch.

use std::time::Duration;

use kube::ResourceExt;
use offset_reset_operator::api::{OffsetReset, Phase, TargetRef};
use tokio::{sync::watch, task::JoinHandle};

use crate::{cluster::Cluster, command::pods::pods_of, view::PodState};

/// The pods are looked up until this is dropped.
pub struct Pods {
    targets: watch::Sender<Vec<TargetRef>>,
    found: watch::Receiver<Vec<PodState>>,
    task: JoinHandle<()>,
}

impl Drop for Pods {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts to look.
pub fn follow(cluster: &Cluster, reset: &OffsetReset) -> Pods {
    let (targets, mut of) = watch::channel(vec![]);
    let (tell, found) = watch::channel(vec![]);
    let (client, namespace) = (cluster.client.clone(), reset.namespace().unwrap_or_default());
    let task = tokio::spawn(async move {
        loop {
            let targets: Vec<TargetRef> = of.borrow_and_update().clone();
            let mut pods = vec![];
            for target in &targets {
                // Without the right to see them they are not shown: the rest of the picture stands.
                pods.extend(pods_of(&client, &namespace, target).await.unwrap_or_default());
            }
            if tell.send(pods).is_err() {
                return;
            }
            let _ = tokio::time::timeout(Duration::from_secs(1), of.changed()).await;
        }
    });
    Pods { targets, found, task }
}

impl Pods {
    /// Looks at the pods of these targets from now on, while they may be held.
    pub fn look_at(&self, reset: &OffsetReset) {
        let status = reset.status.as_ref().filter(|status| status.phase.is_some_and(Phase::may_hold));
        let targets: Vec<TargetRef> =
            status.map(|status| status.targets.iter().map(TargetRef::from).collect()).unwrap_or_default();
        self.targets.send_if_modified(|before| {
            let is_new = *before != targets;
            *before = targets;
            is_new
        });
    }

    /// The pods, as they were a moment ago.
    pub fn found(&self) -> Vec<PodState> {
        self.found.borrow().clone()
    }
}
