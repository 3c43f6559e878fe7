//! Problems after a reset has succeeded: consumers that crash, do not resume, or do not continue from the offsets.

use kube::ResourceExt;
use offset_reset_operator::api::{ConditionType, Phase};

use super::{
    line::{DIM, Line},
    progress::Look,
};

/// The problems, and where to look; empty when no problem is known. `unread` are the workloads whose pods could not be read.
pub fn trouble(look: &Look<'_>, unread: &[String]) -> Vec<Line> {
    let (status, namespace) = (look.status(), look.reset.namespace().unwrap_or_default());
    let mut lines = vec![];
    for pod in look.pods {
        let Some(crash) = &pod.crash else { continue };
        let words = format!("{} of {} crashes: {}, {crash}", pod.name, pod.workload, pod.state);
        lines.push(Line::warning(words));
    }
    if let Some(pod) = look.pods.iter().find(|pod| pod.crash.is_some()) {
        lines.push(Line::styled(DIM, "  Log:     ").and(format!("kubectl -n {namespace} logs {} --previous", pod.name)));
    }
    for kind in [ConditionType::ConsumersResumed, ConditionType::ConsumptionProven] {
        let found = status.conditions.iter().find(|condition| condition.type_ == kind.as_str() && condition.status == "False");
        if let Some(condition) = found {
            lines.push(Line::warning(format!("{}: {}", condition.reason, condition.message)));
        }
    }
    if !unread.is_empty() && status.phase != Some(Phase::Planned) {
        let words = format!("The pods of {} could not be read, so whether they run is not known.", unread.join(", "));
        lines.push(Line::styled(DIM, words));
    }
    lines
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use serde_json::json;

    use super::*;
    use crate::view::{PodState, explained};

    /// The status says that they have resumed: they did, before they crashed.
    #[test]
    fn it_is_not_all_well_when_the_consumers_crash() {
        let condition = |kind: &str, status: &str, message: &str| json!({"type": kind, "status": status, "reason": "R", "message": message, "lastTransitionTime": "2026-11-26T21:57:06Z"});
        let reset = serde_json::from_value(json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"namespace": "shop", "name": "r"},
            "spec": {"kafka": {}, "group": "orders"},
            "status": {
                "phase": "Succeeded", "reason": "Succeeded", "message": "done", "conditions": [
                    condition("ConsumersResumed", "True", "All pods are ready"), condition("ConsumptionProven", "False", "overwritten"),
                ],
            },
        }))
        .unwrap();
        let pods = [PodState {
            workload: "Deployment/orders".into(),
            name: "orders-2xk".into(),
            state: "CrashLoopBackOff".into(),
            node: None,
            grace_until: None,
            crash: Some("restarted 3 times, ended 9s ago with exit code 1".into()),
        }];
        let look = Look { reset: &reset, pods: &pods, now: "2026-11-26T22:00:00Z".parse().unwrap(), zone: &TimeZone::UTC };
        let text: Vec<String> = trouble(&look, &["Deployment/other".into()]).iter().map(Line::text).collect();
        assert_eq!(
            text,
            [
                "⚠ orders-2xk of Deployment/orders crashes: CrashLoopBackOff, restarted 3 times, ended 9s ago with exit code 1",
                "  Log:     kubectl -n shop logs orders-2xk --previous",
                "⚠ R: overwritten",
                "The pods of Deployment/other could not be read, so whether they run is not known.",
            ]
        );
        let said: String = explained(&look, &[]).iter().map(|line| line.text() + "\n").collect();
        assert!(said.contains("Not well") && said.contains("crashes") && !said.contains("Nothing has to be done"), "{said}");
        let well = Look { pods: &[], ..look };
        let said: String = explained(&well, &[]).iter().map(|line| line.text() + "\n").collect();
        assert!(said.starts_with("shop/r  group orders  Succeeded"), "{said}");
        assert_eq!(said.lines().next().unwrap().matches("Succeeded").count(), 1, "{said}");
    }
}
