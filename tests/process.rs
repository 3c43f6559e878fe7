//! The process itself: it becomes ready, serves, and ends cleanly when it is asked to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic: that is how it fails")]

mod common;

use std::{process::Stdio, time::Duration};

use common::{PATIENCE, environment, install_crd, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_offset-reset-operator");

/// A port that was free a moment ago.
async fn free_address() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

async fn ask(address: &str, path: &str) -> Option<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

async fn until_ready(address: &str) {
    let ready = async {
        while !ask(address, "/readyz").await.is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(PATIENCE, ready).await.expect("it becomes ready");
}

fn operator(arguments: &[&str]) -> Child {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env("KUBECONFIG", environment().kubeconfig);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_it_cleanly_and_its_logs_are_json_when_asked_for() {
    install_crd(&common::client().await).await;
    let address = free_address().await;
    let child = operator(&["run", "--namespace", "nobody", "--http-address", &address, "--log-format", "json"]);
    until_ready(&address).await;
    assert!(ask(&address, "/livez").await.unwrap().starts_with("HTTP/1.1 200"));
    assert!(ask(&address, "/metrics").await.unwrap().contains("offset_reset_reconcile"));

    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let output = within(PATIENCE, child.wait_with_output()).await.expect("it ends").unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let messages: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .map(|line| line["message"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(messages.last().map(String::as_str), Some("ended"), "{messages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_comes_while_it_is_still_starting_ends_it_as_well() {
    install_crd(&common::client().await).await;
    // Ready is said a few milliseconds before the watches have heard what there is; where exactly a stop falls is chance.
    for attempt in 0..15 {
        let address = free_address().await;
        let child = operator(&["run", "--namespace", "nobody", "--http-address", &address]);
        until_ready(&address).await;
        let pid = child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        let output = within(PATIENCE, child.wait_with_output()).await;
        assert_eq!(output.unwrap_or_else(|| panic!("attempt {attempt} never ends")).unwrap().status.code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_said_and_fails() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let child = operator(&["run", "--http-address", &address]);
    let output = within(PATIENCE, child.wait_with_output()).await.expect("it ends").unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&format!("cannot listen on {address}")) && said.contains("Address already in use"), "{said}");
}
