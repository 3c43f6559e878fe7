//! The process itself: it becomes ready, serves, and ends cleanly when it is asked to.

use real_tests::{install_crd, process::Process};

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
