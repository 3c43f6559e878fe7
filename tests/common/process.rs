//! The operator as a process of its own.

use std::{
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
};

use super::{PATIENCE, environment, within};

/// The one that was built for the test, or another one, such as one built for release.
fn program() -> String {
    std::env::var("OPERATOR").unwrap_or_else(|_| env!("CARGO_BIN_EXE_offset-reset-operator").into())
}

/// One that runs, or has run; it goes with this.
pub struct Process {
    child: Child,
    pub address: String,
}

impl Process {
    /// Starts it on a port of its own, and does not wait.
    pub async fn start(arguments: &[&str]) -> Self {
        Self::start_at(&free_address().await, arguments)
    }

    /// Starts it on an address.
    pub fn start_at(address: &str, arguments: &[&str]) -> Self {
        Self::start_with(environment().kubeconfig.as_ref(), address, arguments)
    }

    /// Starts it with a kubeconfig of its own.
    pub fn start_with(kubeconfig: &Path, address: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program());
        command.args(["run", "--http-address", address]).args(arguments).env("KUBECONFIG", kubeconfig);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        Self { child, address: address.to_owned() }
    }

    /// Starts it on an address; what it logs goes into a file.
    pub fn start_into(log: std::fs::File, address: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program());
        command.args(["run", "--http-address", address]).args(arguments).env("KUBECONFIG", environment().kubeconfig);
        let child = command.stdin(Stdio::null()).stdout(log).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        Self { child, address: address.to_owned() }
    }

    /// What it answers; `None` when it does not.
    pub async fn ask(&self, path: &str) -> Option<String> {
        within(Duration::from_secs(5), ask(&self.address, path)).await.flatten()
    }

    pub async fn until_ready(&self) {
        self.until("ready", "/readyz", |answer| answer.starts_with("HTTP/1.1 200")).await;
    }

    pub async fn until_leads(&self) {
        self.until("the leader", "/metrics", |answer| answer.contains("\noffset_reset_leader 1\n")).await;
    }

    pub async fn stands_by(&self) -> bool {
        self.ask("/metrics").await.is_some_and(|answer| answer.contains("\noffset_reset_leader 0\n"))
    }

    async fn until(&self, what: &str, path: &str, wished: impl Fn(&str) -> bool) {
        let waiting = async {
            while !self.ask(path).await.is_some_and(|answer| wished(&answer)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(within(PATIENCE, waiting).await.is_some(), "it never was {what}: {:?}", self.ask(path).await);
    }

    /// Sends it a signal: TERM, KILL, STOP, CONT.
    pub async fn signal(&self, signal: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().await.unwrap().success());
    }

    /// What it weighs now, and what it has weighed at most.
    pub fn memory(&self) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().expect("it runs"))).unwrap();
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
        format!("{} (at most {})", line("VmRSS:"), line("VmHWM:"))
    }

    /// Waits until it has ended.
    pub async fn ended(self) -> Output {
        within(PATIENCE, self.child.wait_with_output()).await.expect("it ends").unwrap()
    }
}

/// A port that was free a moment ago.
pub async fn free_address() -> String {
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
