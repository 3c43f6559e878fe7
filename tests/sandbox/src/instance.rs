//! One sandbox: up, exec, status, logs, down. Its whole state is a directory and the namespaces of one process.

use std::{
    fmt,
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    build::{Cache, has_node_parts},
    config,
    control::{self, Order},
    ecosystem::Ecosystem,
    packages,
};

/// What runs in a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Parts {
    /// etcd, kube-apiserver, kube-controller-manager and Kafka: pods are created, but nothing runs them.
    ControlPlane,
    /// That, and kube-scheduler, containerd, kubelet and kube-proxy: pods run.
    Node,
}

impl Parts {
    /// As on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Node => "node",
        }
    }
}

/// What a sandbox is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct Makeup {
    /// What runs in it.
    #[arg(long, value_enum, default_value = "node")]
    pub parts: Parts,
    /// A second broker beside the first, of an older line: Kafka 3.
    #[arg(long)]
    pub also_kafka_3: bool,
    /// KEDA's operator and Flux's kustomize-controller, beside Kubernetes.
    #[arg(long)]
    pub ecosystem: bool,
}

impl Makeup {
    /// Whether it has all that another one has.
    fn covers(self, other: Self) -> bool {
        self.parts >= other.parts && self.also_kafka_3 >= other.also_kafka_3 && self.ecosystem >= other.ecosystem
    }

    fn parse(text: &str) -> Option<Self> {
        let (text, ecosystem) = text.strip_suffix(AND_ECOSYSTEM).map_or((text, false), |rest| (rest, true));
        let (parts, also_kafka_3) = text.strip_suffix(AND_KAFKA_3).map_or((text, false), |parts| (parts, true));
        Some(Self { parts: Parts::from_str(parts, false).ok()?, also_kafka_3, ecosystem })
    }
}

impl fmt::Display for Makeup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kafka_3 = if self.also_kafka_3 { AND_KAFKA_3 } else { "" };
        let ecosystem = if self.ecosystem { AND_ECOSYSTEM } else { "" };
        write!(formatter, "{}{kafka_3}{ecosystem}", self.parts.as_str())
    }
}

const AND_KAFKA_3: &str = ", kafka-3";
const AND_ECOSYSTEM: &str = ", ecosystem";

/// A sandbox, by its name.
#[derive(Clone, Debug)]
pub struct Sandbox {
    name: String,
    dir: PathBuf,
}

/// The sandbox's own cgroup, in every hierarchy.
pub(crate) fn cgroup_name(name: &str) -> String {
    format!("offset-reset-sandbox-{name}")
}

impl Sandbox {
    /// The sandbox of a name: lower case letters, digits and dashes, for it becomes part of paths.
    pub fn new(name: &str) -> Result<Self> {
        if name.is_empty()
            || name.len() > 20
            || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        {
            bail!("a sandbox's name has up to 20 lower case letters, digits and dashes, not '{name}'");
        }
        // Short, because the paths of unix sockets may have 107 characters.
        Ok(Self { name: name.to_owned(), dir: Path::new("/run/offset-reset-sandbox").join(name) })
    }

    /// Where its state, logs and kubeconfig are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts it, building what is missing; with `cluster_only` neither Helm nor the other tools of the tests. One that runs already
    /// with at least these parts is left as it is; one with fewer parts, or of which a part has ended, is replaced.
    pub fn up(&self, makeup: Makeup, cluster_only: bool) -> Result<()> {
        packages::check_machine()?;
        let _lock = self.lock_start()?;
        if let (Some(_), Some(running)) = (self.init(), self.makeup()) {
            let ended = fs::read_to_string(self.dir.join("ended")).unwrap_or_default();
            if ended.is_empty() && running.covers(makeup) {
                println!("sandbox {} is up already ({running}), state in {}", self.name, self.dir.display());
                return Ok(());
            }
            let why = if ended.is_empty() { "it has fewer parts".to_owned() } else { ended.trim().replace('\n', "; ") };
            println!("sandbox {} is up, but {why}: it is replaced", self.name);
        }
        if makeup.parts == Parts::Node {
            has_node_parts()?;
        }
        self.down()?;
        let cache = Cache::locate();
        if cluster_only {
            cache.ensure_cluster()?;
        } else {
            cache.ensure()?;
        }
        if makeup.ecosystem {
            Ecosystem::locate().ensure()?;
        }
        let begin = Instant::now();
        fs::create_dir_all(self.dir.join("logs"))?;
        make_cgroups(&self.name)?;
        let log = File::create(self.dir.join("logs/supervisor.log"))?;
        let mut unshare = Command::new("unshare");
        unshare
            .args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"])
            .arg(std::env::current_exe()?)
            .args(["supervise", "--name", &self.name, "--parts", makeup.parts.as_str()])
            .args(makeup.also_kafka_3.then_some("--also-kafka-3"))
            .args(makeup.ecosystem.then_some("--ecosystem"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: Ctrl-C on `up` must not take the sandbox along.
            .process_group(0);
        let mut child = unshare.spawn().context("starting unshare")?;
        loop {
            if self.dir.join("ready").exists() {
                println!("sandbox {} is up ({makeup}) after {:.1} s", self.name, begin.elapsed().as_secs_f32());
                return Ok(());
            }
            if let Some(status) = child.try_wait()? {
                let why =
                    fs::read_to_string(self.dir.join("failed")).unwrap_or_else(|_| format!("its first process ended ({status})"));
                let log = fs::read_to_string(self.dir.join("logs/supervisor.log")).unwrap_or_default();
                bail!("sandbox {} did not come up: {why}\n{log}\nLogs: {}", self.name, self.dir.join("logs").display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Replaces this process by a command inside the sandbox, with its kubeconfig and brokers in the environment and the tools on its PATH.
    pub fn exec(&self, command: &[String]) -> Result<()> {
        let mut nsenter = self.command_inside(command)?;
        Err(nsenter.exec()).context("starting nsenter")
    }

    /// A command inside the sandbox, in the same working directory.
    pub fn command_inside(&self, command: &[String]) -> Result<Command> {
        let (Some(init), Some(makeup)) = (self.init(), self.makeup()) else {
            bail!("sandbox {} is not up; `cargo sandbox up` starts it", self.name)
        };
        let cache = Cache::locate();
        let mut path = vec![cache.kubernetes.clone(), cache.kafka.join("bin"), cache.helm.clone(), cache.gitops.clone()];
        path.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
        let mut nsenter = Command::new("nsenter");
        nsenter
            .args(["-t", &init.as_raw_nonzero().to_string(), "-n", "-m", "-p", "--", "/bin/sh", "-c", "cd \"$0\" && exec \"$@\""])
            .arg(std::env::current_dir()?)
            .args(command)
            .env("PATH", std::env::join_paths(path)?)
            .env("KUBECONFIG", self.dir.join("kubeconfig"))
            // kubectl keeps what an API server serves under its address, and that is the same in each sandbox.
            .env("KUBECACHEDIR", self.dir.join("kubectl-cache"))
            .env("KAFKA_BOOTSTRAP_SERVERS", config::KAFKA.bootstrap_servers())
            .env("SANDBOX_NAME", &self.name)
            .env("SANDBOX_DIR", &self.dir)
            .env("SANDBOX_PARTS", makeup.parts.as_str());
        if makeup.also_kafka_3 {
            nsenter.env("KAFKA_3_BOOTSTRAP_SERVERS", config::KAFKA_3.bootstrap_servers());
            nsenter.env("KAFKA_3_LIBS", cache.kafka_3.join("libs"));
        }
        if makeup.ecosystem {
            nsenter.env("SANDBOX_ECOSYSTEM", "1");
        }
        Ok(nsenter)
    }

    /// Prints what runs.
    pub fn status(&self) -> Result<()> {
        match (self.init(), self.makeup()) {
            (Some(init), Some(makeup)) => {
                println!(
                    "sandbox {} is up ({makeup}), first process {}, state in {}",
                    self.name,
                    init.as_raw_nonzero(),
                    self.dir.display()
                );
                print!("{}", fs::read_to_string(self.dir.join("logs/supervisor.log"))?);
            }
            (Some(_), None) => println!("sandbox {} is starting", self.name),
            (None, _) => println!("sandbox {} is down", self.name),
        }
        Ok(())
    }

    /// Does something to a part, and waits until it is done: from in- or outside of the sandbox.
    pub fn order(&self, order: Order, part: &str) -> Result<()> {
        control::give(&self.dir, order, part)
    }

    /// The log of a part.
    pub fn log(&self, part: &str) -> Result<String> {
        let logs = self.dir.join("logs");
        fs::read_to_string(logs.join(format!("{part}.log"))).with_context(|| {
            let parts: Vec<String> = fs::read_dir(&logs)
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|entry| entry.file_name().to_string_lossy().strip_suffix(".log").map(str::to_owned))
                .collect();
            format!("no log of '{part}'; there are: {}", parts.join(", "))
        })
    }

    /// Ends it, and leaves nothing behind: no process, mount, namespace, cgroup or file. Also after a crash, and when there is none.
    pub fn down(&self) -> Result<()> {
        // `unshare` ends just after its child, the first process, and until then holds the namespaces: also when somebody
        // else has killed the first process a moment ago.
        let processes = self.processes();
        if let Some(init) = self.init() {
            kill_process(init, Signal::KILL).ok();
        }
        let begin = Instant::now();
        // With its first process the kernel ends the whole PID namespace; the mounts go with the last of them.
        for pid in processes {
            while is_alive(pid) {
                if begin.elapsed() > Duration::from_secs(20) {
                    bail!("process {} of sandbox {} does not end", pid.as_raw_nonzero(), self.name);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        remove_cgroups(&self.name)?;
        let begin = Instant::now();
        while self.dir.exists() {
            match fs::remove_dir_all(&self.dir) {
                Ok(()) => break,
                // The last processes may still be ending, and hold files.
                Err(_) if begin.elapsed() < Duration::from_secs(10) => std::thread::sleep(Duration::from_millis(50)),
                Err(error) => return Err(error).with_context(|| format!("removing {}", self.dir.display())),
            }
        }
        Ok(())
    }

    /// Held while one `up` works: a second one at the same time would take the half-started sandbox for a crashed one and end it.
    /// `down` does not take it, so that a start that hangs can be ended. Beside the state directory, which `down` removes.
    fn lock_start(&self) -> Result<File> {
        let path = self.dir.with_extension("lock");
        fs::create_dir_all(self.dir.parent().context("the state directory has a parent")?)?;
        let lock = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
        if lock.try_lock().is_err() {
            eprintln!("sandbox: {} is being started by somebody else; waiting for them", self.name);
            lock.lock()?;
        }
        Ok(lock)
    }

    /// The first process of its namespaces, as this machine numbers it, if it lives: the child of `unshare`.
    fn init(&self) -> Option<Pid> {
        running().find(|(_, cmdline)| is_first_process(cmdline, &self.name)).map(|(pid, _)| pid)
    }

    /// The first process and the `unshare` that started it.
    fn processes(&self) -> Vec<Pid> {
        let is_own = |cmdline: &str| is_first_process(cmdline, &self.name) || is_unshare(cmdline, &self.name);
        running().filter(|(_, cmdline)| is_own(cmdline)).map(|(pid, _)| pid).collect()
    }

    fn makeup(&self) -> Option<Makeup> {
        Makeup::parse(fs::read_to_string(self.dir.join("ready")).ok()?.trim())
    }
}

/// Whether these arguments, as /proc has them, are those of the first process of the sandbox `name`. They say so also when
/// `unshare` was killed, when a number was given to another process, and when the state directory is gone.
fn is_first_process(cmdline: &str, name: &str) -> bool {
    let words: Vec<&str> = cmdline.split('\0').collect();
    // `unshare` has them too, but as somebody else's arguments.
    words.get(1..4).is_some_and(|words| words == ["supervise", "--name", name])
}

/// Whether they are those of the `unshare` that starts the sandbox `name`.
fn is_unshare(cmdline: &str, name: &str) -> bool {
    let words: Vec<&str> = cmdline.split('\0').collect();
    words.first() == Some(&"unshare") && words.windows(3).any(|words| words == ["supervise", "--name", name])
}

/// Every process with its arguments, as /proc has them.
fn running() -> impl Iterator<Item = (Pid, String)> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let pid = Pid::from_raw(entry.file_name().to_string_lossy().parse().ok()?)?;
        Some((pid, fs::read_to_string(entry.path().join("cmdline")).ok()?))
    })
}

/// Whether it still runs. One that has ended and was not yet collected by its parent holds nothing any more.
fn is_alive(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Every hierarchy that is mounted: many with version 1, one with version 2.
fn cgroup_roots() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mut roots = vec![];
    for line in mounts.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if let [_, path, kind, ..] = words[..]
            && (kind == "cgroup" || kind == "cgroup2")
        {
            roots.push(PathBuf::from(path));
        }
    }
    roots
}

fn make_cgroups(name: &str) -> Result<()> {
    for root in cgroup_roots() {
        let controllers = root.join("cgroup.subtree_control");
        if controllers.exists() {
            // Version 2: children get only the controllers that are handed down. Where that is refused, the kubelet says so.
            for controller in ["cpu", "cpuset", "memory", "pids", "io"] {
                let _ = fs::write(&controllers, format!("+{controller}"));
            }
        }
        let dir = root.join(cgroup_name(name));
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    }
    Ok(())
}

/// Removes the cgroups of the sandbox, the deepest first. They must be empty; right after a kill they may not be yet.
fn remove_cgroups(name: &str) -> Result<()> {
    let begin = Instant::now();
    loop {
        let left: Vec<PathBuf> =
            cgroup_roots().into_iter().map(|root| root.join(cgroup_name(name))).filter(|dir| dir.exists()).collect();
        if left.is_empty() {
            return Ok(());
        }
        for dir in &left {
            remove_cgroup(dir);
        }
        if begin.elapsed() > Duration::from_secs(10) {
            bail!("these cgroups are still in use: {left:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn remove_cgroup(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    // Fails while something is in it; the caller comes again.
    let _ = fs::remove_dir(dir);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_part_of_paths_and_is_checked() {
        assert!(Sandbox::new("default").is_ok());
        for name in ["", "a/b", "..", "UPPER", "a-name-that-is-much-too-long"] {
            assert!(Sandbox::new(name).is_err(), "{name}");
        }
    }

    #[test]
    fn the_first_process_is_known_by_its_arguments_alone() {
        assert!(is_first_process("/t/sandbox\0supervise\0--name\0one\0--parts\0node\0", "one"));
        for other in [
            "/t/sandbox\0supervise\0--name\0two\0--parts\0node\0",
            "unshare\0--net\0/t/sandbox\0supervise\0--name\0one\0",
            "/t/sandbox\0--name\0one\0up\0",
            "",
        ] {
            assert!(!is_first_process(other, "one"), "{other:?}");
            assert_eq!(is_unshare(other, "one"), other.starts_with("unshare"), "{other:?}");
        }
    }

    #[test]
    fn a_node_has_all_that_a_control_plane_has() {
        let [node, control_plane] = [Parts::Node, Parts::ControlPlane].map(plain);
        assert!(node.covers(control_plane) && !control_plane.covers(node));
    }

    #[test]
    fn what_runs_is_read_as_it_was_written_and_what_comes_beside_is_no_part_of_a_node() {
        for parts in [Parts::ControlPlane, Parts::Node] {
            let without = plain(parts);
            for with in [
                Makeup { also_kafka_3: true, ..without },
                Makeup { ecosystem: true, ..without },
                Makeup { also_kafka_3: true, ecosystem: true, ..without },
            ] {
                assert_eq!(Makeup::parse(&with.to_string()), Some(with));
                assert!(with.covers(without) && !without.covers(with));
            }
            assert_eq!(Makeup::parse(&without.to_string()), Some(without));
        }
    }

    fn plain(parts: Parts) -> Makeup {
        Makeup { parts, also_kafka_3: false, ecosystem: false }
    }
}
