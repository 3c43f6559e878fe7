//! The metrics of a real operator, as they are served.

mod draw;
mod picture;
mod prometheus;
mod traces;

use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    apps::v1::Deployment,
    events::v1::Event,
};
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use offset_reset_operator::api::OffsetReset;
use real_tests::{
    PATIENCE,
    broker::Broker,
    consumers::{Consumed, Kind, Member},
    delete_by_force, deployment,
    process::Process,
    replicas, reset, resets, unique, wait_for_end, with_namespace, within,
};
use serde_json::json;

use prometheus::Prometheus;

/// A reset that holds a Deployment at zero for its drainTimeout and then fails: a member that belongs to no pod keeps its group from
/// becoming empty.
struct Held {
    api: Api<OffsetReset>,
    stranger: Member,
}

impl Held {
    async fn begin(admin: &Client, namespace: &str, drain_timeout: &str) -> Self {
        let (topic, group) = Broker::default().consumed("metrics").await;
        deployment(admin, namespace, "consumer", 2, json!({"containers": [{"name": "c", "image": "none"}]})).await;
        let stranger = Member::start(&group, std::slice::from_ref(&topic), &Kind::default(), 7, Consumed::default());
        let spec = json!({"sessionTimeout": "1s", "drainTimeout": drain_timeout, "holdTimeout": "5m"});
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
        let reset = Held::begin(&admin, &namespace, "3s").await;
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

/// A policy of the cluster's owner that lets no Deployment of a namespace be scaled up. The API server enforces it at the end of this.
async fn forbid_scaling_up(admin: &Client, namespace: &str) -> String {
    let name = unique("none");
    let rule = json!({"apiGroups": ["apps"], "apiVersions": ["*"], "resources": ["deployments/scale"], "operations": ["UPDATE"]});
    let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
    let policy = json!({"metadata": {"name": name}, "spec": {
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": selector},
        "validations": [{"expression": "object.spec.replicas == 0", "message": "none of this costs money"}],
    }});
    let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}});
    let params = PostParams::default();
    let policies = Api::<ValidatingAdmissionPolicy>::all(admin.clone());
    policies.create(&params, &serde_json::from_value(policy).unwrap()).await.unwrap();
    let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(admin.clone());
    bindings.create(&params, &serde_json::from_value(binding).unwrap()).await.unwrap();
    deployment(admin, namespace, "probe", 1, json!({"containers": [{"name": "c", "image": "none"}]})).await;
    let deployments = Api::<Deployment>::namespaced(admin.clone(), namespace);
    let (dry, five) = (PatchParams { dry_run: true, ..PatchParams::default() }, json!({"spec": {"replicas": 5}}));
    let enforced = async {
        while deployments.patch_scale("probe", &dry, &Patch::Merge(&five)).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    within(PATIENCE, enforced).await.expect("the policy is enforced");
    name
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_restore_without_its_reset_and_an_undecodable_reset_are_counted_and_raise_their_alerts() {
    with_namespace(async |admin, namespace| {
        let operator = Process::start(&["--namespace", &namespace]).await;
        operator.until_leads().await;
        let prometheus = Prometheus::scraping(&[&operator]).await;
        let series = |name: &str, value: u32| format!("\noffset_reset_{name}{{namespace=\"{namespace}\"}} {value}\n");
        let until = async |name: &str, value: u32| {
            let line = series(name, value);
            operator.until(&line, "/metrics", |page| page.contains(&line)).await;
        };

        let reset_held = Held::begin(&admin, &namespace, "4m").await;
        // Planning has tried the restore in a dry run, so what forbids it comes later.
        until("held_workloads", 1).await;
        let policy = forbid_scaling_up(&admin, &namespace).await;
        delete_by_force(&reset_held.api, "held").await;
        let events = Api::<Event>::namespaced(admin.clone(), &namespace);
        let is_told = |event: &Event| {
            event.reason.as_deref() == Some("OrphanedHold")
                && event.note.as_ref().is_some_and(|note| note.contains("costs money"))
        };
        let told = async {
            while !events.list(&ListParams::default()).await.unwrap().iter().any(is_told) {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        within(PATIENCE, told).await.expect("an Event tells that the restore is refused");
        let page = operator.ask("/metrics").await.unwrap();
        assert!(page.contains(&series("restores_refused", 1)) && page.contains(&series("undecodable_resets", 0)), "{page}");
        assert_eq!(replicas(&admin, &namespace, "consumer").await, 0);

        // A status with a time that there is not: no schema refuses that, and no type can hold it.
        let junk = reset("junk", "nobody", &json!([{"topic": "t", "offset": 3}]), &json!({"suspend": true}));
        reset_held.api.create(&PostParams::default(), &junk).await.unwrap();
        let raw: Api<DynamicObject> = Api::namespaced_with(admin.clone(), &namespace, &ApiResource::erase::<OffsetReset>(&()));
        let status = json!({"status": {"observedGeneration": 1, "phase": "Planning", "startTime": "2026-11-24T18:00:00+99:99"}});
        raw.patch_status("junk", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        until("undecodable_resets", 1).await;
        // Both wait for their time until they fire, which promtool tests.
        for alert in ["OffsetResetRestoreRefused", "OffsetResetUndecodable"] {
            prometheus.until(&format!("ALERTS{{alertname=\"{alert}\",namespace=\"{namespace}\"}}")).await;
        }

        Api::<ValidatingAdmissionPolicyBinding>::all(admin.clone()).delete(&policy, &DeleteParams::default()).await.unwrap();
        Api::<ValidatingAdmissionPolicy>::all(admin.clone()).delete(&policy, &DeleteParams::default()).await.unwrap();
        raw.delete("junk", &DeleteParams::default()).await.unwrap();
        let restored = "\noffset_reset_orphaned_holds_total 1\n";
        operator.until("restored", "/metrics", |page| page.contains(restored)).await;
        assert_eq!(replicas(&admin, &namespace, "consumer").await, 2);
        let gone = |page: &str| ["restores_refused", "undecodable_resets"].iter().all(|name| !page.contains(&series(name, 1)));
        operator.until("as before", "/metrics", gone).await;
        tokio::task::spawn_blocking(move || drop(reset_held.stranger)).await.unwrap();
        operator.signal("TERM").await;
        assert_eq!(operator.ended().await.status.code(), Some(0));
        prometheus.remove().await;
    })
    .await;
}
