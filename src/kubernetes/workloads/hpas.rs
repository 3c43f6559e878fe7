//! HorizontalPodAutoscalers: which of them scales a workload, and what a plan has to know of it. Pure: the caller reads them.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::{ResourceExt, discovery::ApiResource};

use crate::machine::facts::Hpa;

/// Whether it scales the workload of this kind and name.
pub(super) fn scales(found: &HorizontalPodAutoscaler, resource: &ApiResource, name: &str) -> bool {
    let Some(spec) = &found.spec else { return false };
    let of = &spec.scale_target_ref;
    let group = of.api_version.as_deref().unwrap_or_default().split_once('/').map_or("", |(group, _)| group);
    (group, of.kind.as_str(), of.name.as_str()) == (resource.group.as_str(), resource.kind.as_str(), name)
}

/// What a plan has to know of it.
pub(super) fn hpa(found: &HorizontalPodAutoscaler) -> Hpa {
    let conditions = found.status.iter().flat_map(|status| status.conditions.iter().flatten());
    Hpa {
        name: found.name_any(),
        min_replicas: found.spec.as_ref().and_then(|spec| spec.min_replicas).unwrap_or(1),
        scaled_to_zero: conditions.into_iter().any(|condition| condition.type_ == "ScaledToZero" && condition.status == "True"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_hpa_has_a_lower_bound() {
        let found = |spec: Value, status: Value| {
            let mut spec = spec;
            spec["maxReplicas"] = json!(9);
            spec["scaleTargetRef"] = json!({"kind": "Deployment", "name": "c"});
            hpa(&serde_json::from_value(json!({"metadata": {"name": "h"}, "spec": spec, "status": status})).unwrap())
        };
        let conditions =
            |kind: &str, status: &str| json!({"desiredReplicas": 0, "conditions": [{"type": kind, "status": status}]});
        let plain = found(json!({}), json!({"desiredReplicas": 0}));
        assert_eq!((plain.name.as_str(), plain.min_replicas, plain.scaled_to_zero), ("h", 1, false));
        assert!(found(json!({"minReplicas": 0}), conditions("ScaledToZero", "True")).scaled_to_zero);
        assert!(!found(json!({"minReplicas": 0}), conditions("ScaledToZero", "False")).scaled_to_zero);
        assert!(!found(json!({"minReplicas": 0}), conditions("ScalingActive", "True")).scaled_to_zero);
    }
}
