//! The picture of the dashboard in docs/monitoring.md: two operators, resets that end in several ways, a real Prometheus, and its answers
//! to the dashboard's own queries. `make dashboard-picture` keeps it; otherwise this tests that every panel can be drawn.
//!
//! `DASHBOARD_PICTURE` is the file, `DASHBOARD_SECONDS` how long resets run (one of each kind, when absent).

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use kube::api::{Patch, PatchParams};
use offset_reset_operator::api::{OffsetReset, Phase, Reason};
use real_tests::{
    consumers::{Consumed, Follower, Kind, Member},
    env::TestEnv,
    process::{Process, free_address},
    rights,
    shop::{ended, succeeded},
    unique, wait_for_end, wait_for_phase, with_namespace,
};
use serde_json::{Value, json};

use super::{
    draw::{Panel, Series, Time, svg},
    prometheus::{MONITORING, Prometheus},
};

/// A namespace with consumers that resets stop and start.
struct Stage {
    stand: TestEnv,
    topic: String,
    group: String,
    count: usize,
}

impl Stage {
    async fn apply(&mut self, kind: &str, goal: Value, more: Value) -> String {
        self.count += 1;
        let name = format!("{kind}-{}", self.count);
        let mut entry = json!({"topic": self.topic, "partition": 0});
        entry.as_object_mut().unwrap().extend(goal.as_object().unwrap().clone());
        let mut spec = json!({"targetRefs": [{"name": "consumer"}], "sessionTimeout": "1s", "holdTimeout": "5m"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.stand.apply(&name, &self.group, json!([entry]), spec).await;
        name
    }

    async fn run(&mut self, kind: &str, goal: Value, more: Value) -> OffsetReset {
        let name = self.apply(kind, goal, more).await;
        wait_for_end(&self.stand.api, &name).await
    }

    /// A member that belongs to no pod, so that a reset cannot go on; the group has it.
    async fn stranger(&self, members: usize) -> Member {
        let stranger = Member::start(&self.group, std::slice::from_ref(&self.topic), &Kind::default(), 7, Consumed::default());
        self.stand.members(&self.group, members).await;
        stranger
    }

    async fn consumers_back(&self) {
        self.stand.members(&self.group, 2).await;
    }

    /// A reset of each kind.
    async fn round(&mut self) {
        succeeded(&self.run("replay", json!({"position": "Earliest"}), json!({})).await);
        self.consumers_back().await;
        let dry = self.run("dry", json!({"position": "Earliest"}), json!({"dryRun": true})).await;
        ended(&dry, Phase::Planned, Reason::DryRun);
        succeeded(&self.run("back", json!({"shiftBy": -30}), json!({})).await);
        self.consumers_back().await;
        let refused = self.run("refused", json!({"position": "Earliest"}), json!({"limits": {"maxReplay": 1}})).await;
        assert_eq!(refused.status.unwrap().phase, Some(Phase::Failed));

        // The consumers have much to do, and are told to skip it.
        let stranger = self.stranger(3).await;
        let name = self.apply("held", json!({"offset": 40}), json!({"drainTimeout": "2m"})).await;
        wait_for_phase(&self.stand.api, &name, Phase::Draining).await;
        let scale = json!({"spec": {"replicas": 1}});
        self.stand.deployments().patch_scale("consumer", &PatchParams::default(), &Patch::Merge(scale)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(8)).await;
        tokio::task::spawn_blocking(move || drop(stranger)).await.unwrap();
        let after = wait_for_end(&self.stand.api, &name).await;
        assert!(after.status.unwrap().phase.is_some_and(Phase::is_terminal));
        let scale = json!({"spec": {"replicas": 2}});
        self.stand.deployments().patch_scale("consumer", &PatchParams::default(), &Patch::Merge(scale)).await.unwrap();
        self.consumers_back().await;

        let stranger = self.stranger(3).await;
        let failed = self.run("stuck", json!({"offset": 90}), json!({"drainTimeout": "3s"})).await;
        ended(&failed, Phase::Failed, Reason::GroupNotEmpty);
        tokio::task::spawn_blocking(move || drop(stranger)).await.unwrap();
        self.consumers_back().await;
    }
}

/// What a legend shows of a series.
fn name(target: &Value, labels: &Value) -> String {
    let mut name = target["legendFormat"].as_str().unwrap_or_default().to_owned();
    for (label, value) in labels.as_object().into_iter().flatten() {
        name = name.replace(&format!("{{{{{label}}}}}"), value.as_str().unwrap());
    }
    name
}

async fn series(prometheus: &Prometheus, target: &Value, time: Time) -> Vec<Series> {
    let expression = target["expr"].as_str().unwrap().replace("$namespace", ".*");
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times of this century in whole seconds")]
    let answer = prometheus.range(&expression, (time.begin as i64, time.end as i64), time.step as u32).await;
    let of_one = |series: &Value| {
        let values = series["values"].as_array().unwrap().iter();
        let points = values.map(|point| (point[0].as_f64().unwrap(), point[1].as_str().unwrap().parse::<f64>().unwrap()));
        Series { name: name(target, &series["metric"]), points: points.filter(|(_, value)| value.is_finite()).collect() }
    };
    answer.iter().map(of_one).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_of_the_dashboard_is_drawn_from_the_answers_of_a_real_prometheus() {
    with_namespace(async |admin, namespace| {
        let stand = TestEnv::open(admin.clone(), namespace.clone()).await;
        let kubeconfig = std::env::temp_dir().join(unique("kubeconfig"));
        let account = rights::operators_kubeconfig(&admin).await;
        fs::write(&kubeconfig, serde_json::to_string(&account).unwrap()).unwrap();
        let arguments = ["--namespace", &namespace, "--leader-election", "--lease-namespace", rights::NAMESPACE];
        let operators = [
            Process::start_with(&kubeconfig, &free_address().await, &arguments),
            Process::start_with(&kubeconfig, &free_address().await, &arguments),
        ];
        let prometheus = Prometheus::scraping(&operators.each_ref()).await;
        prometheus.until("sum(offset_reset_leader) == 1").await;
        prometheus.until("count_over_time(offset_reset_finished_total{reason=\"GroupNotEmpty\"}[1m]) >= 2").await;
        let begin = jiff::Timestamp::now().as_second();

        let (topic, group) = (stand.topic().await, unique("dashboard"));
        stand.deployment().await;
        let topics = std::slice::from_ref(&topic);
        let _follower = Follower::start(&admin, &namespace, "consumer", &group, topics, &Kind::default());
        let mut stage = Stage { stand, topic: topic.clone(), group, count: 0 };
        stage.consumers_back().await;
        let seconds = std::env::var("DASHBOARD_SECONDS").map_or(0, |seconds| seconds.parse().unwrap());
        let started = Instant::now();
        loop {
            stage.round().await;
            if started.elapsed() > Duration::from_secs(seconds) {
                break;
            }
            // So that the picture shows each of them.
            tokio::time::sleep(Duration::from_secs(seconds / 24)).await;
        }
        // One is held while the picture is made.
        let stranger = stage.stranger(3).await;
        let held = stage.apply("held", json!({"offset": 60}), json!({"drainTimeout": "2m"})).await;
        wait_for_phase(&stage.stand.api, &held, Phase::Draining).await;
        prometheus.until("sum(offset_reset_held_workloads) == 1").await;
        tokio::time::sleep(Duration::from_secs(seconds.min(10))).await;

        let end = jiff::Timestamp::now().as_second();
        let step = ((end - begin) / 120).max(1);
        // From a multiple of the step on, so that the last sample is the end.
        let begin = end - (end - begin) / step * step;
        #[allow(clippy::cast_precision_loss, reason = "times of this century in seconds")]
        let time = Time { begin: begin as f64, end: end as f64, step: step as f64 };
        let dashboard: Value =
            serde_json::from_str(&fs::read_to_string(Path::new(MONITORING).join("dashboard.json")).unwrap()).unwrap();
        let mut panels = vec![];
        for json in dashboard["panels"].as_array().unwrap() {
            let mut found = vec![];
            for target in json["targets"].as_array().into_iter().flatten() {
                found.extend(series(&prometheus, target, time).await);
            }
            panels.push(Panel { json, series: found });
        }
        let mut marked = vec![];
        for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
            for found in series(&prometheus, annotation, time).await {
                let stretches = found.points.chunk_by(|before, after| after.0 - before.0 < time.step * 1.5);
                marked.extend(stretches.map(|stretch| (stretch[0].0, stretch[stretch.len() - 1].0 + time.step)));
            }
        }
        let title = format!(
            "{}: Prometheus' answers to the queries of the dashboard, {}. Orange: consumers at zero.",
            dashboard["title"].as_str().unwrap(),
            jiff::Timestamp::from_second(end).unwrap().strftime("%Y-%m-%d, UTC"),
        );
        let picture = svg(&title, &panels, time, &marked);
        if let Ok(path) = std::env::var("DASHBOARD_PICTURE") {
            fs::write(path, &picture).unwrap();
        }

        tokio::task::spawn_blocking(move || drop(stranger)).await.unwrap();
        succeeded(&wait_for_end(&stage.stand.api, &held).await);
        // What never happens here, and shows so.
        let empty: Vec<&str> = panels
            .iter()
            .filter(|panel| panel.json["type"] != "row" && panel.series.iter().all(|series| series.points.is_empty()))
            .map(|panel| panel.json["title"].as_str().unwrap())
            .collect();
        assert!(empty.is_empty(), "no series: {empty:?}");
        assert!(!marked.is_empty(), "the holds are marked");
        for operator in operators {
            operator.signal("TERM").await;
            assert_eq!(operator.ended().await.status.code(), Some(0));
        }
        prometheus.remove().await;
        fs::remove_file(kubeconfig).unwrap();
    })
    .await;
}
