//! The whole picture of a reset, and what fits of it.

use kube::ResourceExt;
use offset_reset_operator::{api::OffsetReset, machine};

use super::{
    line::{DIM, Line, WARN},
    progress::Look,
};

/// The picture of a reset: lines, each with a rank; the higher the rank, the sooner it gives way.
pub fn screen(look: &Look<'_>, columns: usize) -> Vec<(u8, Line)> {
    let status = look.status();
    let title = look.title();
    let mut lines = if title.width() <= columns {
        vec![(0, title)]
    } else {
        let [phase, name] = look.narrow_title();
        vec![(0, phase), (1, name)]
    };
    lines.extend(users(look.reset).map(|line| (3, line)));
    let ended = machine::has_ended(&status, look.reset.spec.dry_run);
    let current_is_shown = status.phase.is_some_and(|phase| {
        use offset_reset_operator::api::Phase;
        phase == Phase::Planning || (phase.may_hold() && phase != Phase::Unknown)
    });
    if !ended && !current_is_shown {
        let said = if status.phase.is_none() { "The operator has not seen it yet".to_owned() } else { status.explanation() };
        lines.push((0, Line::plain(said)));
    }
    lines.extend(look.milestones(columns));
    lines.extend(look.targets());
    if !status.warnings.is_empty() {
        let many = super::words::many(i64::try_from(status.warnings.len()).unwrap_or(i64::MAX), "warning");
        let name = look.reset.metadata.name.as_deref().unwrap_or_default();
        lines.push((3, Line::styled(WARN, format!("⚠ {many}")).with(DIM, format!("  kubectl offset-reset status {name} -v"))));
    }
    lines
}

/// Who created a reset and who let it run, where deploy/record-users is applied.
fn users(reset: &OffsetReset) -> Option<Line> {
    let of = |key: &str| reset.annotations().get(&format!("offsetreset.dev/{key}"));
    let created = of("created-by").map(|user| format!("created by {user}"));
    let run = of("run-by").map(|user| format!("run by {user}"));
    let both: Vec<String> = created.into_iter().chain(run).collect();
    (!both.is_empty()).then(|| Line::styled(DIM, both.join(", ")))
}

/// The lines that fit into a terminal. Those of the highest ranks give way first, the last ones before the first, and a line says how
/// many are missing.
pub fn fitted(lines: &[(u8, Line)], columns: usize, rows: usize) -> Vec<Line> {
    let mut kept: Vec<&(u8, Line)> = lines.iter().collect();
    // One row is for the line about what is missing.
    let room = if kept.len() > rows { rows.saturating_sub(1) } else { rows };
    while kept.len() > room {
        let highest = kept.iter().map(|(rank, _)| *rank).max().unwrap_or_default();
        let Some(last) = kept.iter().rposition(|(rank, _)| *rank == highest) else { break };
        kept.remove(last);
    }
    let mut shown: Vec<Line> = kept.iter().map(|(_, line)| line.fit(columns)).collect();
    let missing = lines.len() - shown.len();
    if missing > 0 {
        shown.push(Line::styled(DIM, format!("… {missing} more lines")).fit(columns));
    }
    shown.truncate(rows);
    shown
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::all(5, &["a", "b", "c", "d", "e"])]
    #[case::one_missing(4, &["a", "b", "e", "… 2 more lines"])]
    #[case::only_the_first(3, &["a", "e", "… 3 more lines"])]
    #[case::too_small(2, &["a", "… 4 more lines"])]
    #[case::nothing(0, &[])]
    fn what_matters_least_gives_way(#[case] rows: usize, #[case] expected: &[&str]) {
        let lines = [(0, "a"), (1, "b"), (4, "c"), (4, "d"), (0, "e")].map(|(rank, text)| (rank, Line::plain(text)));
        let shown: Vec<String> = fitted(&lines, 80, rows).iter().map(Line::text).collect();
        assert_eq!(shown, expected);
    }

    #[rstest]
    #[case::none(serde_json::json!({}), None)]
    #[case::both(
        serde_json::json!({"offsetreset.dev/created-by": "ann", "offsetreset.dev/run-by": "bob"}),
        Some("created by ann, run by bob")
    )]
    #[case::a_plan(serde_json::json!({"offsetreset.dev/created-by": "ann"}), Some("created by ann"))]
    fn the_users_are_named_where_they_are_recorded(#[case] annotations: serde_json::Value, #[case] expected: Option<&str>) {
        let reset = serde_json::from_value(serde_json::json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "r", "annotations": annotations},
            "spec": {"kafka": {}, "group": "orders"},
        }))
        .unwrap();
        assert_eq!(users(&reset).map(|line| line.text()).as_deref(), expected);
    }

    #[test]
    fn a_canary_shows_how_far_it_is_and_until_when_it_may_run() {
        use jiff::tz::TimeZone;
        use serde_json::json;

        use crate::view::Look;

        let condition = |kind: &str, status: &str, message: &str| json!({"type": kind, "status": status, "reason": "R", "message": message, "lastTransitionTime": "2026-11-26T21:57:06Z"});
        let reset = serde_json::from_value(json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"namespace": "shop", "name": "r"},
            "spec": {"kafka": {}, "group": "orders"},
            "status": {
                "phase": "Canary", "message": "A canary runs",
                "conditions": [
                    condition("OffsetsReset", "True", "12 offsets"), condition("ConsumersRestored", "False", "After the canary"),
                    condition("ConsumptionProven", "Unknown", "11 of 12"),
                ],
                "hold": {"startTime": "2026-11-26T21:57:04.000000Z", "deadline": "2026-11-26T22:07:04.000000Z"},
                "canary": {
                    "state": "Running", "message": "A canary runs", "replicas": 1, "partitionsConsumed": 11, "partitionsWithRecords": 12,
                    "startTime": "2026-11-26T21:57:06.000000Z", "deadline": "2026-11-26T22:00:06.000000Z",
                },
                "targets": [{
                    "apiVersion": "apps/v1", "kind": "Deployment", "name": "orders", "uid": "u", "originalReplicas": 3,
                    "stopRequested": true, "stopped": true, "canaryReplicas": 1,
                }],
            },
        }))
        .unwrap();
        let look = Look { reset: &reset, pods: &[], now: "2026-11-26T21:57:09Z".parse().unwrap(), zone: &TimeZone::UTC };
        let text: Vec<String> = screen(&look, 100).iter().map(|(_, line)| line.text()).collect();
        assert_eq!(
            text,
            [
                "shop/r  group orders  Canary  5s held, at most 10m",
                "○ Planned",
                "○ ConsumersStopped",
                "○ GroupEmpty",
                "✔ OffsetsReset      21:57:06  12 offsets",
                "✗ ConsumersRestored           After the canary",
                "○ ConsumersResumed",
                "● ConsumptionProven           A canary runs",
                "                              11 of 12 partitions; must pass by 22:00:06 (in 2m57s)",
                "⧉ Deployment/orders  a canary of 1, 3 to restore",
            ]
        );
    }

    #[test]
    fn a_reset_that_drains_shows_what_it_waits_for_until_when_and_whom_it_holds() {
        use jiff::tz::TimeZone;
        use serde_json::json;

        use crate::view::{Look, PodState};

        let reached = |kind: &str, message: &str| json!({"type": kind, "status": "True", "reason": "R", "message": message, "lastTransitionTime": "2026-11-26T21:57:06Z"});
        let reset = serde_json::from_value(json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"namespace": "shop", "name": "r"},
            "spec": {"kafka": {}, "group": "orders"},
            "status": {
                "phase": "Draining", "message": "Waiting until the group is empty", "warnings": ["w"],
                "conditions": [reached("Planned", "3 partitions"), reached("ConsumersStopped", "The last container has terminated")],
                "hold": {
                    "startTime": "2026-11-26T21:57:04.000000Z", "deadline": "2026-11-26T22:07:04.000000Z",
                    "sessionEndTime": "2026-11-26T21:57:16.000000Z", "drainDeadline": "2026-11-26T21:59:06.000000Z",
                },
                "group": {
                    "type": "Classic", "state": "Stable", "membersBefore": 3, "members": 2,
                    "memberDetails": [{"clientId": "c", "instanceId": "orders-1", "host": "/10.1.2.7", "pod": "orders-2xk"}],
                },
                "targets": [{
                    "apiVersion": "apps/v1", "kind": "Deployment", "name": "orders", "uid": "u", "originalReplicas": 3,
                    "stopRequested": true, "stopped": true,
                    "autoscaler": {"kind": "ScaledObject", "name": "orders", "pauses": 1},
                }],
            },
        }))
        .unwrap();
        let pods = [PodState {
            workload: "Deployment/orders".into(),
            name: "orders-2xk".into(),
            state: "Terminating".into(),
            node: Some("n1".into()),
            grace_until: "2026-11-26T21:57:34Z".parse().ok(),
            crash: None,
        }];
        let look = Look { reset: &reset, pods: &pods, now: "2026-11-26T21:57:07Z".parse().unwrap(), zone: &TimeZone::UTC };
        let text: Vec<String> = screen(&look, 100).iter().map(|(_, line)| line.text()).collect();
        assert_eq!(
            text,
            [
                "shop/r  group orders  Draining  3s at zero, at most 10m",
                "✔ Planned           21:57:06  3 partitions",
                "✔ ConsumersStopped  21:57:06  The last container has terminated",
                "● GroupEmpty                  Waiting until the group is empty",
                "                              sessionTimeout ends 21:57:16 (in 9s); given up 21:59:06 (in 1m59s)",
                "                              member orders-1 (static) at 10.1.2.7, pod orders-2xk",
                "                              and 1 more",
                "○ OffsetsReset",
                "○ ConsumersRestored           by 22:07:04 whatever happens",
                "○ ConsumersResumed",
                "○ ConsumptionProven",
                "⧉ Deployment/orders  at zero, 3 to restore; ScaledObject/orders paused",
                "  └ orders-2xk  Terminating, node n1, grace until 21:57:34",
                "⚠ 1 warning  kubectl offset-reset status r -v",
            ]
        );
        let small: Vec<String> = fitted(&screen(&look, 40), 40, 7).iter().map(Line::text).collect();
        assert_eq!(
            small,
            [
                "Draining  3s at zero, at most 10m",
                "shop/r  group orders",
                "✔ Planned           21:57:06",
                "● GroupEmpty",
                "  Waiting until the group is empty",
                "⧉ Deployment/orders  at zero, 3 to rest…",
                "… 7 more lines",
            ]
        );
    }
}
