//! Builds the pinned parts once, into a cache outside the checkout, keyed by what they are built from.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io::IsTerminal,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::packages;

/// A version of Kubernetes that is built here.
#[derive(Debug)]
struct Kubernetes {
    /// The version that its binaries report; the pinned module's.
    version: &'static str,
    module: [(&'static str, &'static str); 2],
    /// What its API server is told beside the usual.
    api_server: &'static [&'static str],
}

/// The newest version: all that a node needs.
const NEWEST: Kubernetes = Kubernetes {
    version: "1.37.2",
    module: [("go.mod", include_str!("../modules/kubernetes/go.mod")), ("go.sum", include_str!("../modules/kubernetes/go.sum"))],
    api_server: &[],
};

/// The oldest version that the operator supports: the API server and the controllers only.
const OLDEST: Kubernetes = Kubernetes {
    version: "1.33.13",
    module: [
        ("go.mod", include_str!("../modules/kubernetes-oldest/go.mod")),
        ("go.sum", include_str!("../modules/kubernetes-oldest/go.sum")),
    ],
    // Off by default in this version, on in the newest. The operator does not need them; it tells users about autoscalers and
    // policies that clusters may have with these.
    api_server: &[
        "--feature-gates=HPAScaleToZero=true,MutatingAdmissionPolicy=true",
        "--runtime-config=admissionregistration.k8s.io/v1alpha1=true",
    ],
};

/// Which of the two a sandbox runs: `newest` (the default) or `oldest`.
const WHICH_KUBERNETES: &str = "SANDBOX_KUBERNETES";

impl Kubernetes {
    /// The one that the environment asks for.
    fn wanted() -> &'static Self {
        if std::env::var_os(WHICH_KUBERNETES).is_some_and(|which| which == "oldest") { &OLDEST } else { &NEWEST }
    }

    /// Where its binaries are or will be.
    fn dir(&self) -> PathBuf {
        cache_dir().join(format!("kubernetes-{}-{}", self.version, key(&self.module)))
    }

    fn build(&self, into: &Path, work: &Path) -> Result<()> {
        let (place, version) = ("k8s.io/component-base/version", self.version);
        let (minor, _) = version.trim_start_matches("1.").split_once('.').unwrap_or_default();
        let flags = format!("-s -w -X {place}.gitVersion=v{version} -X {place}.gitMajor=1 -X {place}.gitMinor={minor}");
        let mut go = go_build(into, work);
        run(&format!("Kubernetes {version}"), "about 11 minutes on 2 cores", go.args(["-ldflags", &flags, "tool"]))
    }
}

/// An older line of Kafka, beside the one that the module pins.
pub const KAFKA_3_VERSION: &str = "3.9.2";

const RUNTIME: [(&str, &str); 2] =
    [("go.mod", include_str!("../modules/runtime/go.mod")), ("go.sum", include_str!("../modules/runtime/go.sum"))];
const HELM: [(&str, &str); 2] =
    [("go.mod", include_str!("../modules/helm/go.mod")), ("go.sum", include_str!("../modules/helm/go.sum"))];
const GITOPS: [(&str, &str); 3] = [
    ("go.mod", include_str!("../modules/gitops/go.mod")),
    ("go.sum", include_str!("../modules/gitops/go.sum")),
    ("main.go", include_str!("../modules/gitops/main.go")),
];
const KAFKA: [(&str, &str); 1] = [("pom.xml", include_str!("../modules/kafka/pom.xml"))];

/// Kafka's command-line tools, as commands on the PATH of `exec`.
const KAFKA_TOOLS: [(&str, &str); 7] = [
    ("kafka-console-consumer", "org.apache.kafka.tools.consumer.ConsoleConsumer"),
    ("kafka-console-producer", "org.apache.kafka.tools.ConsoleProducer"),
    ("kafka-consumer-groups", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"),
    ("kafka-delete-records", "org.apache.kafka.tools.DeleteRecordsCommand"),
    ("kafka-get-offsets", "org.apache.kafka.tools.GetOffsetShell"),
    ("kafka-storage", "kafka.tools.StorageTool"),
    ("kafka-topics", "org.apache.kafka.tools.TopicCommand"),
];

/// Fails when a node is wanted of a version that is built without a kubelet.
pub fn has_node_parts() -> Result<()> {
    let wanted = Kubernetes::wanted();
    if wanted.module[0].1.contains("cmd/kubelet") {
        return Ok(());
    }
    bail!("Kubernetes {} is built without a kubelet: use --parts control-plane, or unset {WHICH_KUBERNETES}", wanted.version)
}

/// What the API server of the wanted version is told beside the usual.
#[must_use]
pub fn api_server_arguments() -> &'static [&'static str] {
    Kubernetes::wanted().api_server
}

/// Where the parts are.
#[derive(Clone, Debug)]
pub struct Cache {
    /// kube-apiserver, kubelet, kubectl and the rest.
    pub kubernetes: PathBuf,
    /// etcd (named `server`), containerd, runc and the CNI plugins.
    pub runtime: PathBuf,
    /// Helm.
    pub helm: PathBuf,
    /// The program `gitops`: Argo CD's Lua engine, and kstatus.
    pub gitops: PathBuf,
    /// Kafka: `libs` with the jars, `bin` with its tools as commands.
    pub kafka: PathBuf,
    /// The older line of Kafka: `libs` only.
    pub kafka_3: PathBuf,
}

/// The cache's directory: `$XDG_CACHE_HOME/offset-reset-sandbox`.
#[must_use]
pub fn cache_dir() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache"), PathBuf::from);
    base.join("offset-reset-sandbox")
}

impl Cache {
    /// Where the parts are or will be.
    #[must_use]
    pub fn locate() -> Self {
        let dir = cache_dir();
        Self {
            kubernetes: Kubernetes::wanted().dir(),
            runtime: dir.join(format!("runtime-{}", key(&RUNTIME))),
            helm: dir.join(format!("helm-{}", key(&HELM))),
            gitops: dir.join(format!("gitops-{}", key(&GITOPS))),
            kafka: dir.join(format!("kafka-{}", key(&KAFKA))),
            kafka_3: dir.join(format!("kafka-{KAFKA_3_VERSION}-{}", key(&KAFKA))),
        }
    }

    /// Builds Kafka, if it is missing: its jars and its tools. Needs a JDK and Maven only.
    pub fn ensure_kafka(&self) -> Result<()> {
        let build = |into: &Path, work: &Path| {
            run("Apache Kafka from its jars", "half a minute", &mut kafka_jars(into, work))?;
            kafka_tools(into)
        };
        part("Apache Kafka", &self.kafka, &KAFKA, build)
    }

    /// Builds the older line of Kafka, if it is missing: its jars, from the same module.
    pub fn ensure_kafka_3(&self) -> Result<()> {
        let name = format!("Apache Kafka {KAFKA_3_VERSION}");
        let build = |into: &Path, work: &Path| {
            let mut maven = kafka_jars(into, work);
            maven.arg(format!("-Dkafka.version={KAFKA_3_VERSION}"));
            run(&format!("{name} from its jars"), "half a minute", &mut maven)
        };
        part(&name, &self.kafka_3, &KAFKA, build)
    }

    /// Builds what manifests are tested with, if it is missing: Helm and `gitops`. Needs Go only.
    pub fn ensure_manifest_tools(&self) -> Result<()> {
        let helm = |into: &Path, work: &Path| {
            run("Helm", "about 3 minutes on 2 cores", go_build(into, work).args(["-ldflags", "-s -w", "tool"]))
        };
        part("Helm", &self.helm, &HELM, helm)?;
        let gitops = |into: &Path, work: &Path| {
            run("Argo CD's Lua engine and kstatus", "half a minute", go_build(into, work).args(["-ldflags", "-s -w", "."]))
        };
        part("what GitOps tools make of objects", &self.gitops, &GITOPS, gitops)
    }

    /// Builds everything that is missing.
    pub fn ensure(&self) -> Result<()> {
        self.ensure_cluster()?;
        self.ensure_kafka_3()?;
        self.ensure_manifest_tools()
    }

    /// Builds what a cluster with a broker consists of, if it is missing.
    pub fn ensure_cluster(&self) -> Result<()> {
        packages::ensure()?;
        self.ensure_kafka()?;
        let build_runtime = |into: &Path, work: &Path| {
            let mut go = go_build(into, work);
            run(
                "etcd, containerd, runc and CNI",
                "about 3 minutes on 2 cores",
                go.args(["-tags", "seccomp", "-ldflags", "-s -w", "tool"]),
            )
        };
        part("the container runtime", &self.runtime, &RUNTIME, build_runtime)?;
        let kubernetes = Kubernetes::wanted();
        part("Kubernetes", &self.kubernetes, &kubernetes.module, |into, work| kubernetes.build(into, work))
    }
}

fn kafka_jars(into: &Path, work: &Path) -> Command {
    let mut maven = Command::new("mvn");
    maven
        .current_dir(work)
        .args(["-q", "-B", "dependency:copy-dependencies"])
        .arg(format!("-DoutputDirectory={}", into.join("libs").display()));
    maven
}

pub(crate) fn go_build(into: &Path, work: &Path) -> Command {
    let mut go = Command::new("go");
    go.current_dir(work).args(["build", "-trimpath", "-mod=readonly", "-o"]).arg(format!("{}/", into.display()));
    go
}

/// Builds one part into a directory of its own and renames it into place: half a part is never found.
pub(crate) fn part(name: &str, into: &Path, files: &[(&str, &str)], build: impl Fn(&Path, &Path) -> Result<()>) -> Result<()> {
    if into.exists() {
        return Ok(());
    }
    let parent = into.parent().context("the cache has a parent")?;
    fs::create_dir_all(parent)?;
    // Not `with_extension`: a version has dots of its own.
    let beside = |suffix: &str| PathBuf::from(format!("{}.{suffix}", into.display()));
    let lock = File::create(beside("lock"))?;
    if lock.try_lock().is_err() {
        eprintln!("sandbox: somebody else builds {name}; waiting for them");
        lock.lock()?;
    }
    if into.exists() {
        return Ok(());
    }
    let work = beside("work");
    let new = beside("new");
    for dir in [&work, &new] {
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir)?;
    }
    for (file, text) in files {
        fs::write(work.join(file), text)?;
    }
    build(&new, &work).with_context(|| format!("building {name}"))?;
    fs::rename(&new, into)?;
    fs::remove_dir_all(&work)?;
    Ok(())
}

/// Runs a long command, and says every now and then that it still does.
pub(crate) fn run(what: &str, expect: &str, command: &mut Command) -> Result<()> {
    eprintln!("sandbox: building {what} (once; expect {expect})");
    let log = tempfile()?;
    let mut child =
        command.stdin(Stdio::null()).stdout(log.1.try_clone()?).stderr(log.1).spawn().with_context(|| format!("{command:?}"))?;
    let begin = Instant::now();
    let every = Duration::from_secs(if std::io::stderr().is_terminal() { 10 } else { 30 });
    let mut said = begin;
    loop {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                let text = fs::read_to_string(&log.0).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                bail!("{command:?} failed ({status}):\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
            }
            eprintln!("sandbox: {what}: done in {} s", begin.elapsed().as_secs());
            let _ = fs::remove_file(&log.0);
            return Ok(());
        }
        if said.elapsed() >= every {
            said = Instant::now();
            eprintln!("sandbox: {what}: still building, {} s so far", begin.elapsed().as_secs());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn tempfile() -> Result<(PathBuf, File)> {
    let path = cache_dir().join(format!("build-{}.log", std::process::id()));
    let file = File::create(&path)?;
    Ok((path, file))
}

/// The jars hold no scripts, so each tool gets one.
fn kafka_tools(into: &Path) -> Result<()> {
    let bin = into.join("bin");
    fs::create_dir_all(&bin)?;
    for (name, class) in KAFKA_TOOLS {
        let path = bin.join(name);
        let script = format!(
            "#!/bin/sh\nexec java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp \"$(dirname \"$0\")/../libs/*\" {class} \"$@\"\n"
        );
        fs::write(&path, script)?;
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    Ok(())
}

/// A short name for what something is built from.
pub(crate) fn key<K: Hash>(of: &K) -> String {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_keyed_by_what_a_part_is_built_from() {
        assert_ne!(key(&NEWEST.module), key(&RUNTIME));
        assert_ne!(key(&HELM), key(&RUNTIME));
        assert_ne!(key(&[("go.mod", "a")]), key(&[("go.mod", "b")]));
        assert_ne!(NEWEST.dir(), OLDEST.dir());
        assert!(OLDEST.dir().to_string_lossy().contains(OLDEST.version));
    }

    #[test]
    fn the_version_that_is_said_is_the_version_that_is_pinned() {
        for kubernetes in [NEWEST, OLDEST] {
            assert!(kubernetes.module[0].1.contains(&format!("k8s.io/kubernetes v{}", kubernetes.version)));
        }
    }

    #[test]
    fn the_two_lines_of_kafka_are_two_entries_of_the_cache() {
        let cache = Cache::locate();
        assert_ne!(cache.kafka, cache.kafka_3);
        assert!(KAFKA[0].1.contains("<kafka.version>4."), "what -Dkafka.version replaces");
    }
}
