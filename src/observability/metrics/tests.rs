use std::collections::BTreeMap;

use super::{catalog::Kind, *};

fn metrics() -> Metrics {
    Metrics::new(&["commit"], &["argocd", "other"])
}

/// The name and the type of each metric in the text format.
fn exposed(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

#[test]
fn each_metric_of_the_page_is_exposed_with_its_type_and_meaning_and_no_other() {
    let leading = metrics();
    leading.policy("known", Some(true));
    let current =
        || Current { namespaces: ["shop".to_owned()].into(), deadlines: [("shop".to_owned(), 1.5)].into(), ..Current::default() };
    leading.watch(Some(Box::new(current)));
    let text = leading.encode();
    let exposed = exposed(&text);
    for entry in catalog::ALL {
        let kind = match entry.kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        };
        assert_eq!(exposed.get(entry.name), Some(&kind), "{}\n{text}", entry.name);
        assert!(text.contains(&format!("# HELP {} {}.\n", entry.name, entry.help)), "{}\n{text}", entry.name);
    }
    assert_eq!(exposed.len(), catalog::ALL.len(), "{exposed:?}");
    assert!(!metrics().encode().contains("offset_reset_resets{"), "a standby watches nothing");
}

#[test]
fn counters_are_there_before_the_first_event() {
    let text = metrics().encode();
    for line in [
        "offset_reset_finished_total{phase=\"Failed\",reason=\"GroupNotFound\"} 0",
        "offset_reset_finished_total{phase=\"Succeeded\",reason=\"Succeeded\"} 0",
        "offset_reset_reconcile_total{result=\"error\"} 0",
        "offset_reset_scaled_up_by_others_total{manager=\"argocd\"} 0",
        "offset_reset_phase_duration_seconds_bucket{le=\"0.1\",phase=\"Draining\"} 0",
        "offset_reset_kubernetes_requests_total{method=\"PATCH\",code=\"4xx\"} 0",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line} in\n{text}");
    }
}

#[test]
fn a_pass_without_a_result_has_failed() {
    let metrics = metrics();
    drop(metrics.reconcile_pass());
    metrics.reconcile_pass().completed();
    metrics.finished(Phase::Failed, Reason::GroupNotFound);
    metrics.leads(true);
    metrics.policy("known", Some(true));
    metrics.policy("known", Some(false));
    metrics.policy("unknown", Some(true));
    metrics.policy("unknown", None);
    metrics.api_request("GET", Some(404), Instant::now(), false);
    metrics.api_request("GET", None, Instant::now(), true);
    let text = metrics.encode();
    for line in [
        "offset_reset_reconcile_total{result=\"error\"} 1",
        "offset_reset_reconcile_total{result=\"success\"} 1",
        "offset_reset_finished_total{phase=\"Failed\",reason=\"GroupNotFound\"} 1",
        "offset_reset_reconcile_duration_seconds_count 2",
        "offset_reset_leader 1",
        "offset_reset_policy_enforced{policy=\"known\"} 0",
        "offset_reset_kubernetes_requests_total{method=\"GET\",code=\"4xx\"} 1",
        "offset_reset_kubernetes_requests_total{method=\"GET\",code=\"error\"} 1",
        "offset_reset_kubernetes_request_duration_seconds_count{method=\"GET\"} 1",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    assert!(!text.contains("policy=\"unknown\""), "{text}");
}

#[test]
fn what_a_reset_has_not_committed_is_no_outcome_of_it() {
    let metrics = metrics();
    let totals = Totals { partitions: 10, reset: 4, failed: 1, unconfirmed: 1, left_alone: 1, ..Totals::default() };
    metrics.effect(&totals, 30, 2);
    metrics.dry_run(true);
    metrics.dry_run(false);
    let text = metrics.encode();
    for line in [
        "offset_reset_partitions_total{outcome=\"reset\"} 4",
        "offset_reset_partitions_total{outcome=\"unconfirmed\"} 1",
        "offset_reset_partitions_total{outcome=\"not_committed\"} 3",
        "offset_reset_records_replayed_total 30",
        "offset_reset_records_skipped_total 2",
        "offset_reset_dry_runs_total{result=\"planned\"} 1",
        "offset_reset_dry_runs_total{result=\"refused\"} 1",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    assert!(!text.contains("reason=\"DryRun\""), "{text}");
}

#[test]
fn a_phase_lasts_from_its_beginning_to_that_of_the_next_one() {
    let (metrics, begin) = (metrics(), Timestamp::UNIX_EPOCH);
    let after = |seconds: i64| begin + jiff::SignedDuration::from_secs(seconds);
    metrics.entered("shop/a", Phase::Draining, begin);
    metrics.entered("shop/b", Phase::Draining, begin);
    metrics.entered("shop/a", Phase::Resetting, after(20));
    metrics.forget("shop/b");
    metrics.entered("shop/b", Phase::Resetting, after(100));
    metrics.entered("shop/a", Phase::Failed, after(21));
    metrics.entered("shop/a", Phase::Stopping, after(500));
    let text = metrics.encode();
    for line in [
        "offset_reset_phase_duration_seconds_sum{phase=\"Draining\"} 20.0",
        "offset_reset_phase_duration_seconds_count{phase=\"Draining\"} 1",
        "offset_reset_phase_duration_seconds_sum{phase=\"Resetting\"} 1.0",
        "offset_reset_phase_transitions_total{phase=\"Draining\"} 2",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}
