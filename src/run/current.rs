//! What the watches know at a moment, for the metrics.

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;

use super::scope::Guarded;
use crate::{
    api::{OffsetReset, Phase},
    kubernetes::hold_in,
    observability::{Current, Metrics},
    reconcile::{Context, RefusedOrphans},
};

/// Shows in the metrics what the watches have, until the returned guard is dropped.
pub(super) fn shown(context: &Context) -> Shown {
    let (resets, leases) = (context.resets.watches.clone(), context.claims.watches.clone());
    let refused = context.refused_orphans.clone();
    let read = move || current(resets.all().iter().map(AsRef::as_ref), leases.all().iter().map(AsRef::as_ref), &refused);
    context.metrics.watch(Some(Box::new(read)));
    Shown(context.metrics.clone())
}

/// Shows what is watched in the metrics until it is dropped.
pub(super) struct Shown(Metrics);

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.watch(None);
    }
}

/// Counts OffsetResets and holds by namespace. An OffsetReset that the operator has not seen yet counts as Pending, and one that
/// cannot be decoded as Unknown and by itself.
fn current<'a>(
    resets: impl Iterator<Item = &'a Guarded>,
    leases: impl Iterator<Item = &'a Lease>,
    refused_orphans: &RefusedOrphans,
) -> Current {
    let mut current = Current::default();
    for guard in resets {
        let namespace = guard.namespace().unwrap_or_default();
        let phase = match &guard.0 {
            Ok(reset) => reset.status.as_ref().and_then(|status| status.phase).unwrap_or(Phase::Pending),
            Err(_) => Phase::Unknown,
        };
        current.namespaces.insert(namespace.clone());
        if !phase.is_terminal() {
            *current.resets.entry((namespace.clone(), phase.as_str())).or_default() += 1;
        }
        if guard.0.is_err() {
            *current.undecodable.entry(namespace.clone()).or_default() += 1;
        }
        let refused = guard.0.as_ref().map_or(0, refused);
        if refused > 0 {
            *current.refused.entry(namespace).or_default() += refused;
        }
    }
    for lease in leases {
        let Ok((_, hold)) = hold_in(lease) else { continue };
        let namespace = lease.namespace().unwrap_or_default();
        current.namespaces.insert(namespace.clone());
        *current.held.entry(namespace.clone()).or_default() += 1;
        if refused_orphans.contains(lease) {
            *current.refused.entry(namespace.clone()).or_default() += 1;
        }
        let until = hold.until.as_duration().as_secs_f64();
        let earliest = current.deadlines.entry(namespace).or_insert(until);
        *earliest = earliest.min(until);
    }
    current
}

/// How many targets the API server refuses to restore.
fn refused(reset: &OffsetReset) -> i64 {
    let Some(status) = reset.status.as_ref().filter(|status| status.phase == Some(Phase::Restoring)) else { return 0 };
    let refused = status.targets.iter().filter(|target| target.is_held() && target.refusals > 0);
    i64::try_from(refused.count()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn reset(namespace: &str, status: &Value) -> Guarded {
        serde_json::from_value(json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "r", "namespace": namespace},
            "spec": {"kafka": {"bootstrapServers": "k:1"}, "group": "g", "resets": [{"topic": "t", "offset": 1}]},
            "status": status,
        }))
        .unwrap()
    }

    fn target(refusals: i32, restored: Option<&str>) -> Value {
        let mut target = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "1", "originalReplicas": 3, "stopRequested": true,
            "refusals": refusals,
        });
        if let Some(restored) = restored {
            target["restored"] = json!(restored);
        }
        target
    }

    #[test]
    fn resets_and_refused_restores_are_counted_by_namespace() {
        let undecodable = serde_json::from_value(json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "x", "namespace": "odd"}, "spec": 1,
        }))
        .unwrap();
        let restoring = json!({
            "phase": "Restoring", "targets": [target(0, None), target(2, None), target(1, Some("Original")), target(1, None)],
        });
        let resets = [
            reset("shop", &json!({"phase": "Draining"})),
            reset("shop", &json!({"phase": "Draining"})),
            reset("shop", &json!({"observedGeneration": -1})),
            reset("shop", &restoring),
            reset("idle", &json!({"phase": "Failed", "targets": [target(3, None)]})),
            undecodable,
        ];
        let current = current(resets.iter(), std::iter::empty(), &RefusedOrphans::default());
        assert_eq!(current.namespaces, ["idle", "odd", "shop"].map(str::to_owned).into());
        let counts = [(("odd", "Unknown"), 1), (("shop", "Draining"), 2), (("shop", "Pending"), 1), (("shop", "Restoring"), 1)];
        let counts = counts.map(|((namespace, phase), count)| ((namespace.to_owned(), phase), count));
        assert_eq!(current.resets, counts.into());
        assert_eq!(current.refused, [("shop".to_owned(), 2)].into());
        assert_eq!(current.undecodable, [("odd".to_owned(), 1)].into());
        assert!(current.held.is_empty() && current.deadlines.is_empty());
    }
}
