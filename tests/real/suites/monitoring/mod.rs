//! The metrics of a real operator, as they are served.

mod prometheus;
mod traces;

use kube::{Api, Client, api::PostParams};
use offset_reset_operator::api::OffsetReset;
use real_tests::{
    broker::Broker,
    consumers::{Consumed, Kind, Member},
    deployment,
    process::Process,
    reset, resets, wait_for_end, with_namespace,
};
use serde_json::json;

/// A reset that holds a Deployment at zero for three seconds and then fails: a member that belongs to no pod keeps its group from
/// becoming empty.
struct Held {
    api: Api<OffsetReset>,
    stranger: Member,
}

impl Held {
    async fn begin(admin: &Client, namespace: &str) -> Self {
        let (topic, group) = Broker::default().consumed("metrics").await;
        deployment(admin, namespace, "consumer", 2, json!({"containers": [{"name": "c", "image": "none"}]})).await;
        let stranger = Member::start(&group, std::slice::from_ref(&topic), &Kind::default(), 7, Consumed::default());
        let spec = json!({"sessionTimeout": "1s", "drainTimeout": "3s", "holdTimeout": "5m"});
        let api = resets(admin, namespace);
        let new = reset("held", &group, &json!([{"topic": topic, "offset": 3}]), &spec);
        api.create(&PostParams::default(), &new).await.unwrap();
        Self { api, stranger }
    }

    async fn end(self) -> OffsetReset {
        let done = wait_for_end(&self.api, "held").await;
        tokio::task::spawn_blocking(move || drop(self.stranger)).await.unwrap();
        done
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_show_what_is_held_now_and_afterwards_how_that_ended() {
    with_namespace(async |admin, namespace| {
        let operator = Process::start(&["--namespace", &namespace]).await;
        operator.until_leads().await;
        let reset = Held::begin(&admin, &namespace).await;
        let held = format!("offset_reset_held_workloads{{namespace=\"{namespace}\"}} 1\n");
        let draining = format!("offset_reset_resets{{namespace=\"{namespace}\",phase=\"Draining\"}} 1\n");
        operator.until("holding", "/metrics", |page| page.contains(&held) && page.contains(&draining)).await;
        let page = operator.ask("/metrics").await.unwrap();
        let deadline = format!("offset_reset_hold_deadline_timestamp_seconds{{namespace=\"{namespace}\"}} ");
        let deadline: f64 = page.split_once(&deadline).expect(&page).1.lines().next().unwrap().parse().unwrap();
        let recorded = reset.end().await.status.unwrap().hold.unwrap();
        assert!((deadline - recorded.deadline.0.as_duration().as_secs_f64()).abs() < 1.5, "{deadline} {recorded:?}");

        let none = format!("offset_reset_held_workloads{{namespace=\"{namespace}\"}} 0\n");
        operator.until("through", "/metrics", |page| page.contains(&none)).await;
        let page = operator.ask("/metrics").await.unwrap();
        for line in [
            "offset_reset_finished_total{phase=\"Failed\",reason=\"GroupNotEmpty\"} 1",
            "offset_reset_finished_total{phase=\"Succeeded\",reason=\"Succeeded\"} 0",
            "offset_reset_downtime_seconds_count 1",
            "offset_reset_phase_duration_seconds_count{phase=\"Draining\"} 1",
            "offset_reset_records_replayed_total 0",
            "offset_reset_kafka_clients 1.0",
        ] {
            assert!(page.contains(&format!("\n{line}\n")), "{line} in\n{page}");
        }
        let number = |name: &str| -> f64 {
            let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name} in\n{page}")).parse().unwrap()
        };
        assert!(number("process_resident_memory_bytes") > 1e6 && number("process_open_fds") > 3.0, "{page}");
        assert!(number("process_cpu_seconds_total") > 0.0 && number("process_max_fds") > 3.0, "{page}");
        let age = jiff::Timestamp::now().as_duration().as_secs_f64() - number("process_start_time_seconds");
        // The kernel counts the start in hundredths of a second after a boot time in whole seconds.
        assert!((-2.0..600.0).contains(&age), "{age}");
        assert!(number("offset_reset_kubernetes_requests_total{method=\"GET\",code=\"2xx\"}") > 3.0, "{page}");
        assert!(number("offset_reset_kafka_request_duration_seconds_count{call=\"describe_group\"}") > 1.0, "{page}");
        operator.signal("TERM").await;
        assert_eq!(operator.ended().await.status.code(), Some(0));
    })
    .await;
}
