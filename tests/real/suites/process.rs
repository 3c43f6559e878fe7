//! The process itself: it becomes ready, serves, ends cleanly when it is asked to, and lets no other process look into it.

use std::{fs, os::unix::fs::PermissionsExt, process::Stdio};

use kube::api::PostParams;
use real_tests::{
    PATIENCE,
    broker::Broker,
    install_crd,
    process::{Process, ask, free_address, unprivileged},
    reset, resets, rights,
    shop::succeeded,
    unique, wait_for_end, with_namespace, within,
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_it_cleanly_and_its_logs_are_json_when_asked_for() {
    install_crd(&real_tests::client().await).await;
    let operator = Process::start(&["--namespace", "nobody", "--log-format", "json"]).await;
    operator.until_ready().await;
    assert!(operator.ask("/livez").await.unwrap().starts_with("HTTP/1.1 200"));
    let metrics = operator.ask("/metrics").await.unwrap();
    assert!(metrics.contains("offset_reset_reconcile"), "{metrics}");
    operator.until_leads().await;

    operator.signal("TERM").await;
    let output = operator.ended().await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let messages: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .map(|line| line["message"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(messages.last().map(String::as_str), Some("stopped"), "{messages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_comes_while_it_is_still_starting_ends_it_as_well() {
    install_crd(&real_tests::client().await).await;
    // Ready is said a few milliseconds before the watches have heard what there is; where exactly a stop falls is chance.
    for attempt in 0..15 {
        let operator = Process::start(&["--namespace", "nobody"]).await;
        operator.until_ready().await;
        operator.signal("TERM").await;
        assert_eq!(operator.ended().await.status.code(), Some(0), "attempt {attempt}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_said_and_fails() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let output = Process::start_at(&address, &[]).ended().await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&format!("cannot listen on {address}")) && said.contains("Address already in use"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_reached_by_addresses_of_both_families() {
    install_crd(&real_tests::client().await).await;
    let port = free_address().await.rsplit_once(':').unwrap().1.to_owned();
    let operator = Process::start_at(&format!("[::]:{port}"), &["--namespace", "nobody"]);
    operator.until_ready().await;
    for address in ["127.0.0.1", "[::1]"] {
        let answer = ask(&format!("{address}:{port}"), "/livez").await;
        assert!(answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 200")), "{address}");
    }
}

/// A cluster on which the policies of `deploy/` were left out: the integration tests install none of them for users.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_missing_is_reported_and_the_operator_is_ready_all_the_same() {
    let admin = real_tests::client().await;
    install_crd(&admin).await;
    // With the account come the policies that bound it.
    rights::operators_client(&admin).await;
    let operator = Process::start(&["--namespace", "nobody"]).await;
    operator.until_ready().await;
    let looked = async {
        while !operator.ask("/metrics").await.is_some_and(|text| text.contains("policy=\"offset-reset-operator-changes\"")) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    within(PATIENCE, looked).await.expect("it looks at all policies");
    let metrics = operator.ask("/metrics").await.unwrap();
    for (policy, enforced) in [("targets", 0), ("secrets", 0), ("memory", 0), ("operator-objects", 1), ("operator-changes", 1)] {
        let line = format!("offset_reset_policy_enforced{{policy=\"offset-reset-{policy}\"}} {enforced}");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    let page = operator.ask("/readyz").await.unwrap();
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("\r\n\r\nok\n"), "{page}");
    let expected = "warning: policy offset-reset-targets is not enforced: it";
    assert!(
        page.contains(expected) && page.contains("Apply the manifests again: helm upgrade, or kubectl apply -k deploy/"),
        "{page}"
    );
    assert!(!page.contains("offset-reset-operator-changes"), "{page}");
    operator.signal("TERM").await;
    let log = String::from_utf8(operator.ended().await.stdout).unwrap();
    assert!(log.contains("WARN") && log.contains("policy offset-reset-targets is not enforced: it"), "{log}");
}

/// A user as OpenShift gives a namespace.
const UID: u32 = 1_000_680_000;

/// Code that a malicious broker gets into a Kafka client's process has that process's user, which is the operator's too.
#[tokio::test(flavor = "multi_thread")]
async fn it_resets_as_any_user_and_no_process_of_that_user_looks_into_it_or_its_clients() {
    with_namespace(async |admin, namespace| {
        let (topic, group) = Broker::default().consumed("process").await;

        let kubeconfig = std::env::temp_dir().join(unique("kubeconfig"));
        fs::copy(real_tests::environment().kubeconfig, &kubeconfig).unwrap();
        fs::set_permissions(&kubeconfig, fs::Permissions::from_mode(0o644)).unwrap();
        let operator = Process::start_unprivileged(&kubeconfig, UID, &["--namespace", &namespace]).await;
        operator.until_ready().await;
        let new = reset("r", &group, &json!([{"topic": topic, "offset": 3}]), &json!({"targetRefs": []}));
        resets(&admin, &namespace).create(&PostParams::default(), &new).await.unwrap();
        succeeded(&wait_for_end(&resets(&admin, &namespace), "r").await);
        let clients = operator.clients();
        assert!(!clients.is_empty(), "its Kafka client runs as a process of its own");

        // What the same reader finds in a process that does not keep it out.
        let mut open = unprivileged(UID).args(["sleep", "1000"]).env("SECRET", "found").kill_on_drop(true).spawn().unwrap();
        let open_id = open.id().unwrap();
        let started = async {
            while !fs::read_to_string(format!("/proc/{open_id}/cmdline")).unwrap().starts_with("sleep") {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        within(PATIENCE, started).await.expect("it starts");
        for (what, command) in [
            ("its environment", "cat /proc/PID/environ"),
            ("its memory", "dd if=/proc/PID/mem bs=1 count=0"),
            ("the layout of its memory", "cat /proc/PID/maps"),
            ("its files", "ls /proc/PID/fd"),
            ("its root directory", "ls /proc/PID/root"),
        ] {
            let read = async |pid: u32| {
                let command = command.replace("PID", &pid.to_string());
                let output = unprivileged(UID).args(["sh", "-c", &command]).stdin(Stdio::null()).output().await.unwrap();
                (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
            };
            let (is_read, words) = read(open_id).await;
            assert!(is_read, "{what} of another process of that user: {words}");
            for pid in clients.iter().copied().chain([operator.id()]) {
                let (is_read, words) = read(pid).await;
                assert!(!is_read && words.contains("Permission denied"), "{what} of {pid}: {words}");
            }
        }
        open.kill().await.unwrap();
        operator.signal("TERM").await;
        assert_eq!(operator.ended().await.status.code(), Some(0));
        fs::remove_file(&kubeconfig).unwrap();
    })
    .await;
}
