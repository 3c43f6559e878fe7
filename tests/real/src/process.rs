//! The operator as a process of its own.

use std::{
    fs::File,
    io::{Read as _, Seek as _},
    path::Path,
    process::{Output, Stdio},
    sync::Arc,
    time::Duration,
};

use offset_reset_operator::{
    cli::{self, Arguments, Config},
    kafka::{Allowance, Pool},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
};

use super::{PATIENCE, environment, within};

/// The operator's binary: `OPERATOR`, such as one built for release, or the one that was built beside the tests.
pub fn program() -> String {
    std::env::var("OPERATOR").unwrap_or_else(|_| {
        // The tests are in target/debug/deps, the operator in target/debug.
        let tests = std::env::current_exe().unwrap();
        let built = tests.ancestors().nth(2).unwrap().join("offset-reset-operator");
        assert!(
            built.is_file(),
            "no {}: build the operator first, with `cargo build`, or name its binary in OPERATOR",
            built.display()
        );
        built.to_str().unwrap().to_owned()
    })
}

/// How an operator in the test's own process is configured: its Kafka clients are processes of their own all the same.
pub fn configured(words: &[&str]) -> Config {
    use clap::Parser;
    // Without requests that come by the clock: some tests count requests, or fail each of them once.
    let usual = ["offset-reset-operator", "run", "--http-address", "127.0.0.1:0", "--check-policies=false"];
    let words = [&usual[..], words].concat();
    let cli::Command::Run(config) = Arguments::parse_from(&words).command else { unreachable!("it was told to run") };
    // What the clients log is nothing that the test framework could keep to itself.
    let log = if words.contains(&"--log") { config.log.clone() } else { "off".into() };
    Config { program: Some(program().into()), log, ..config }
}

/// Kafka clients as the operator has them: each is a process of its own.
pub fn clients() -> Pool {
    clients_with(&[], Arc::new(|| Duration::MAX))
}

/// The same, with more words for the processes, and commits only while they are allowed.
pub fn clients_with(words: &[&str], allowance: Allowance) -> Pool {
    Pool::subprocesses(program().into(), configured(words).client_arguments(), allowance)
}

/// One that runs, or has run; it goes with this.
pub struct Process {
    child: Child,
    /// Its standard output: a pipe that is not read would be full at some time, and then the operator would wait.
    output: Option<File>,
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
        Self::start_program(program().as_ref(), kubeconfig, address, arguments)
    }

    /// Starts another build of it.
    pub fn start_program(program: &Path, kubeconfig: &Path, address: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(["run", "--http-address", address]).args(arguments).env("KUBECONFIG", kubeconfig);
        Self::spawn(command, address.to_owned())
    }

    /// Starts it with more variables in its environment.
    pub async fn start_in(environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        let address = free_address().await;
        let mut command = Command::new(program());
        command.args(["run", "--http-address", &address]).args(arguments);
        command.env("KUBECONFIG", super::environment().kubeconfig).envs(environment.iter().copied());
        Self::spawn(command, address)
    }

    /// Starts it as OpenShift's restricted-v2 does: as a user that no image knows, in the group root, without any privilege.
    pub async fn start_unprivileged(kubeconfig: &Path, uid: u32, arguments: &[&str]) -> Self {
        let address = free_address().await;
        let mut command = unprivileged(uid);
        command.arg(program()).args(["run", "--http-address", &address]).args(arguments).env("KUBECONFIG", kubeconfig);
        Self::spawn(command, address)
    }

    fn spawn(mut command: Command, address: String) -> Self {
        let path = std::env::temp_dir().join(super::unique("operator-log"));
        let output = File::options().read(true).append(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        let stdout = output.try_clone().unwrap();
        let child = command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        Self { child, output: Some(output), address }
    }

    /// Its process ID.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Starts it on an address; what it logs goes into a file.
    pub fn start_into(log: File, address: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program());
        command.args(["run", "--http-address", address]).args(arguments).env("KUBECONFIG", environment().kubeconfig);
        let child = command.stdin(Stdio::null()).stdout(log).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        Self { child, output: None, address: address.to_owned() }
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

    /// Waits until a page answers as it should.
    pub async fn until(&self, what: &str, path: &str, wished: impl Fn(&str) -> bool) {
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

    /// Its Kafka clients' processes.
    pub fn clients(&self) -> Vec<u32> {
        clients_of(self.child.id().expect("it runs"))
    }

    /// What it weighs now, and what it has weighed at most.
    pub fn memory(&self) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().expect("it runs"))).unwrap();
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
        format!("{} (at most {})", line("VmRSS:"), line("VmHWM:"))
    }

    /// Waits until it has ended.
    pub async fn ended(self) -> Output {
        let mut ended = within(PATIENCE, self.child.wait_with_output()).await.expect("it ends").unwrap();
        if let Some(mut output) = self.output {
            output.rewind().unwrap();
            output.read_to_end(&mut ended.stdout).unwrap();
        }
        ended
    }
}

/// A command whose program and arguments are still to be added: it runs them as a user without any privilege.
pub fn unprivileged(uid: u32) -> Command {
    let uid = format!("--reuid={uid}");
    let mut command = Command::new("setpriv");
    command.args([&uid, "--regid=0", "--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]);
    command.env_clear();
    command
}

/// The processes of the Kafka clients that a process has started.
pub fn clients_of(parent: u32) -> Vec<u32> {
    let (parent, is_number) = (parent.to_string(), |name: &str| name.bytes().all(|byte| byte.is_ascii_digit()));
    let all = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_client = |pid: &String| {
        let read = |what: &str| std::fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
        // After the program's name, in brackets, come the state and the parent.
        let stat = read("stat");
        let its_parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        its_parent == Some(&parent) && read("cmdline").contains("\0kafka-client\0")
    };
    all.filter(|name| is_number(name)).filter(is_client).map(|pid| pid.parse().unwrap()).collect()
}

/// Kills a process as nothing can be answered to.
pub async fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().await.unwrap().success());
}

/// A port that was free a moment ago.
pub async fn free_address() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

/// What is answered at an address; `None` when nothing is.
pub async fn ask(address: &str, path: &str) -> Option<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}
