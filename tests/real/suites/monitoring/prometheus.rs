//! The metrics as a real Prometheus reads them: every expression of the dashboard and of the alerts in `deploy/monitoring`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use kube::api::PostParams;
use real_tests::{
    PATIENCE,
    broker::Broker,
    process::{Process, free_address},
    reset, resets,
    shop::succeeded,
    unique, wait_for_end, with_namespace, within,
};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::Held;

pub(super) const MONITORING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/monitoring");

/// Debian's Prometheus: the folder of its programs.
fn programs() -> PathBuf {
    std::env::var_os("PROMETHEUS").expect("PROMETHEUS is the folder that `cargo sandbox prometheus` prints").into()
}

/// A new folder with the rules as Prometheus reads them, out of the PrometheusRule.
fn rules() -> PathBuf {
    let dir = std::env::temp_dir().join(unique("monitoring"));
    fs::create_dir(&dir).unwrap();
    let rule: Value =
        serde_saphyr::from_str(&fs::read_to_string(Path::new(MONITORING).join("prometheus-rule.yaml")).unwrap()).unwrap();
    // JSON is YAML.
    fs::write(dir.join("rules.yaml"), rule["spec"].to_string()).unwrap();
    dir
}

async fn promtool(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new(programs().join("promtool")).args(arguments).current_dir(dir).output().await.unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}: {}{words}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_alert_fires_when_it_should_and_only_then() {
    let dir = rules();
    let tests = fs::read_to_string(Path::new(MONITORING).join("alerts_test.yaml")).unwrap();
    fs::write(dir.join("alerts_test.yaml"), &tests).unwrap();
    println!("{}", promtool(&dir, &["check", "rules", "rules.yaml"]).await);
    println!("{}", promtool(&dir, &["test", "rules", "alerts_test.yaml"]).await);
    let rules: Value = serde_json::from_str(&fs::read_to_string(dir.join("rules.yaml")).unwrap()).unwrap();
    let tests: Value = serde_saphyr::from_str(&tests).unwrap();
    let tests: Vec<&Value> =
        tests["tests"].as_array().unwrap().iter().flat_map(|test| test["alert_rule_test"].as_array().unwrap()).collect();
    let alerts = rules["groups"][0]["rules"].as_array().unwrap();
    for alert in alerts {
        let name = alert["alert"].as_str().unwrap();
        let fires = |expected: bool| {
            let of_it = tests.iter().filter(|test| test["alertname"] == name);
            of_it.filter(|test| test["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty()) == expected).count()
        };
        assert!(fires(true) > 0 && fires(false) > 0, "{name} is tested both ways");
        let page = alert["annotations"]["runbook"].as_str().unwrap();
        let page =
            fs::read_to_string(Path::new(MONITORING).join("../..").join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(
            page.starts_with(&format!("# {name}\n")) && page.contains(alert["expr"].as_str().unwrap()),
            "the runbook of {name}"
        );
    }
    assert!(alerts.len() > 10);
    fs::remove_dir_all(dir).unwrap();
}

/// A Prometheus that scrapes operators every half second.
pub(super) struct Prometheus {
    server: Child,
    url: String,
    dir: PathBuf,
}

impl Prometheus {
    pub(super) async fn scraping(operators: &[&Process]) -> Self {
        let (dir, address) = (rules(), free_address().await);
        let targets: Vec<&String> = operators.iter().map(|operator| &operator.address).collect();
        let configuration = json!({
            "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{"job_name": "operator", "honor_labels": true, "static_configs": [{"targets": targets}]}],
        });
        fs::write(dir.join("prometheus.yaml"), configuration.to_string()).unwrap();
        let server = Command::new(programs().join("prometheus"))
            .args(["--config.file", "prometheus.yaml", "--storage.tsdb.path", "data", "--web.listen-address", &address])
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.join("log")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let prometheus = Self { server, url: format!("http://{address}"), dir };
        let ready = async {
            while !real_tests::process::ask(&address, "/-/ready").await.is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        within(PATIENCE, ready).await.expect("Prometheus is ready");
        prometheus
    }

    /// The series that an expression has now.
    async fn query(&self, expression: &str) -> Vec<Value> {
        let answer = promtool(&self.dir, &["query", "instant", "--format", "json", &self.url, expression]).await;
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{expression}: {error}: {answer}"))
    }

    /// The series of an expression between two Unix times, a value each `step` seconds.
    pub(super) async fn range(&self, expression: &str, (begin, end): (i64, i64), step: u32) -> Vec<Value> {
        let times = [format!("--start={begin}"), format!("--end={end}"), format!("--step={step}s")];
        let times = times.each_ref().map(String::as_str);
        let arguments = [&["query", "range", "--format", "json"][..], &times, &[&self.url, expression]].concat();
        let answer = promtool(&self.dir, &arguments).await;
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{expression}: {error}: {answer}"))
    }

    /// Ends it, and deletes its folder.
    pub(super) async fn remove(mut self) {
        self.server.kill().await.unwrap();
        fs::remove_dir_all(&self.dir).unwrap();
    }

    pub(super) async fn until(&self, expression: &str) {
        let waiting = async {
            while self.query(expression).await.is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        };
        assert!(within(PATIENCE, waiting).await.is_some(), "it never has a series: {expression}");
    }
}

/// The expressions of the dashboard, for all namespaces, each with its panel's title.
fn of_the_dashboard() -> Vec<(String, String)> {
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(Path::new(MONITORING).join("dashboard.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let asked = panels.flat_map(|panel| {
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets
            .into_iter()
            .map(|target| (panel["title"].as_str().unwrap().to_owned(), target["expr"].as_str().unwrap().to_owned()))
    });
    let annotations = dashboard["annotations"]["list"].as_array().unwrap().iter();
    let annotated = annotations.map(|annotation| ("annotation".to_owned(), annotation["expr"].as_str().unwrap().to_owned()));
    asked.chain(annotated).map(|(title, expression)| (title, expression.replace("$namespace", ".*"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_has_an_answer_to_every_expression_of_the_dashboard_and_the_first_failure_raises_its_alert() {
    with_namespace(async |admin, namespace| {
        let operator = Process::start(&["--namespace", &namespace]).await;
        operator.until_leads().await;
        let prometheus = Prometheus::scraping(&[&operator]).await;
        prometheus.until("offset_reset_leader == 1").await;
        // Right before a panel would be asked for it, because an `increase` needs two samples.
        prometheus.until("count_over_time(offset_reset_finished_total{reason=\"GroupNotEmpty\"}[1m]) >= 2").await;

        let (topic, group) = Broker::default().consumed("metrics").await;
        let new = reset("moved", &group, &json!([{"topic": topic, "offset": 3}]), &json!({"targetRefs": []}));
        resets(&admin, &namespace).create(&PostParams::default(), &new).await.unwrap();
        succeeded(&wait_for_end(&resets(&admin, &namespace), "moved").await);
        let held = Held::begin(&admin, &namespace, "3s").await;
        let of_a_hold = ["Next deadline", "Unfinished OffsetResets by phase", "annotation"];
        let panels = of_the_dashboard();
        assert!(panels.len() > 20, "{panels:?}");
        for (title, expression) in panels.iter().filter(|(title, _)| of_a_hold.contains(&title.as_str())) {
            println!("{title}: {expression}");
            prometheus.until(expression).await;
        }
        held.end().await;
        for (title, expression) in panels.iter().filter(|(title, _)| !of_a_hold.contains(&title.as_str())) {
            println!("{title}: {expression}");
            prometheus.until(expression).await;
        }
        prometheus.until("ALERTS{alertname=\"OffsetResetFailed\",reason=\"GroupNotEmpty\",alertstate=\"firing\"}").await;
        prometheus.until("offset_reset_records_replayed_total == 7").await;
        let quiet = prometheus.query("ALERTS{alertname!=\"OffsetResetFailed\",alertname!=\"OffsetResetPolicyMissing\"}").await;
        assert!(quiet.is_empty(), "{quiet:?}");
        operator.signal("TERM").await;
        assert_eq!(operator.ended().await.status.code(), Some(0));
        prometheus.remove().await;
    })
    .await;
}
