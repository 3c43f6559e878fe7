//! The first process of the sandbox's namespaces. Starts the parts, waits until each serves, and reaps whatever ends.
//! When it ends, the kernel ends everything else with it.

use std::{
    fs::{self, File},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

use crate::{
    broker,
    build::{self, Cache},
    config::{self, NODE, NODE_IP, SERVICE_CIDR, SERVICE_IP},
    control::{Ear, Order},
    ecosystem::{Ecosystem, flux_sources},
    images,
    instance::{Makeup, Parts, cgroup_name},
    pki,
};

/// How long a part may take to serve on a machine that is busy.
const LIMIT: Duration = Duration::from_mins(2);

/// How often it is looked whether something has ended, or an order was given.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

const KEDA: &str = "keda-operator";
const FLUX: &str = "kustomize-controller";

/// Where they say whether they are well; in the sandbox's own network.
const KEDA_HEALTH: &str = "127.0.0.1:8081";
const FLUX_HEALTH: &str = "127.0.0.1:9440";

struct Supervisor {
    dir: PathBuf,
    cache: Cache,
    parts: Vec<Part>,
    begin: Instant,
}

/// A part that was started.
struct Part {
    name: &'static str,
    /// Starts it, also once more.
    command: Command,
    child: Child,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Up,
    Frozen,
    /// Somebody has told us to.
    Killed,
    /// By itself.
    Ended,
}

impl State {
    /// In the words that `up` repeats; none when all is well.
    fn trouble(self) -> Option<&'static str> {
        match self {
            Self::Up => None,
            Self::Frozen => Some("is frozen"),
            Self::Killed => Some("was killed"),
            Self::Ended => Some("has ended"),
        }
    }

    fn runs(self) -> bool {
        match self {
            Self::Up | Self::Frozen => true,
            Self::Killed | Self::Ended => false,
        }
    }
}

impl Part {
    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Never to a number that may be somebody else's by now.
    fn signal(&self, signal: Signal) -> Result<()> {
        match self.pid() {
            Some(pid) if self.state.runs() => Ok(kill_process(pid, signal)?),
            Some(_) | None => bail!("it does not run"),
        }
    }
}

/// Runs as the first process. Returns only on failure; what went wrong is in `failed` then.
pub fn run(name: &str, dir: &Path, makeup: Makeup) -> Result<()> {
    let mut supervisor = Supervisor { dir: dir.to_owned(), cache: Cache::locate(), parts: vec![], begin: Instant::now() };
    let ear = match supervisor.start(name, makeup).and_then(|()| Ear::open(dir)) {
        Ok(ear) => ear,
        Err(error) => {
            fs::write(dir.join("failed"), format!("{error:#}"))?;
            return Err(error);
        }
    };
    fs::write(dir.join("ready"), makeup.to_string())?;
    // One after the other on one thread: a process that an order waits for must not be collected by anybody else.
    loop {
        supervisor.reap()?;
        ear.hear(|order, part| supervisor.carry_out(order, part));
        std::thread::sleep(LOOK_AGAIN);
    }
}

impl Supervisor {
    fn start(&mut self, name: &str, Makeup { parts, also_kafka_3, ecosystem }: Makeup) -> Result<()> {
        network()?;
        self.resolver()?;
        let names =
            ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"];
        pki::write(&self.dir.join("pki"), &[NODE_IP, SERVICE_IP, "127.0.0.1"], &names, NODE)?;
        config::write(&self.dir, &self.cache.runtime, &format!("/{}", cgroup_name(name)))?;

        // Everything that can start beside everything else does.
        let (libs, libs_3) = (self.cache.kafka.join("libs"), self.cache.kafka_3.join("libs"));
        self.kafka(&config::KAFKA, &libs)?;
        if also_kafka_3 {
            self.kafka(&config::KAFKA_3, &libs_3)?;
        }
        self.etcd()?;
        if parts == Parts::Node {
            self.containerd()?;
        }
        self.wait_for("etcd")?;
        self.kube_apiserver()?;
        if parts == Parts::Node {
            self.wait_for("containerd")?;
            images::load_into(&self.dir, &self.cache, &images::pause_image()?)?;
        }
        self.wait_for("kube-apiserver")?;
        self.kube_controller_manager()?;
        if parts == Parts::Node {
            self.kube_scheduler()?;
            self.kube_proxy()?;
            self.kubelet()?;
        }
        self.wait_for(config::KAFKA.part)?;
        if also_kafka_3 {
            self.wait_for(config::KAFKA_3.part)?;
        }
        self.wait_for("kube-controller-manager")?;
        if parts == Parts::Node {
            self.wait_for("kubelet")?;
        }
        if ecosystem {
            self.keda()?;
            self.flux()?;
            self.wait_for(KEDA)?;
            self.wait_for(FLUX)?;
        }
        Ok(())
    }

    /// Collects what has ended: parts, and the orphans that containers' shims hand to us.
    fn reap(&mut self) -> Result<()> {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if let Some(part) = self.parts.iter_mut().find(|part| part.state.runs() && part.pid() == Some(pid)) {
                eprintln!("{} has ended: {status:?}", part.name);
                part.state = State::Ended;
                self.report()?;
            }
        }
        Ok(())
    }

    /// For `up`, which must not take what is left for a whole sandbox.
    fn report(&self) -> Result<()> {
        let trouble = |part: &Part| Some(format!("{} {}\n", part.name, part.state.trouble()?));
        Ok(fs::write(self.dir.join("ended"), self.parts.iter().filter_map(trouble).collect::<String>())?)
    }

    fn carry_out(&mut self, order: Order, name: &str) -> Result<()> {
        let names = || self.parts.iter().map(|part| part.name).collect::<Vec<_>>().join(", ");
        let Some(index) = self.parts.iter().position(|part| part.name == name) else {
            bail!("there is no such part; there are: {}", names())
        };
        let part = &mut self.parts[index];
        match (order, part.state) {
            (Order::Kill, _) => {
                part.signal(Signal::KILL)?;
                part.child.wait()?;
                part.state = State::Killed;
            }
            (Order::Freeze, State::Up) => {
                part.signal(Signal::STOP)?;
                part.state = State::Frozen;
            }
            (Order::Thaw, State::Frozen) => {
                part.signal(Signal::CONT)?;
                part.state = State::Up;
            }
            (Order::Start, State::Killed | State::Ended) => {
                part.child = part.command.spawn()?;
                part.state = State::Up;
                let name = part.name;
                self.begin = Instant::now();
                self.report()?;
                return self.wait_for(name);
            }
            (Order::Start | Order::Freeze | Order::Thaw, state) => {
                bail!("it {}", state.trouble().unwrap_or("is up already"))
            }
        }
        eprintln!("{name} {}", self.parts[index].state.trouble().unwrap_or("goes on"));
        self.report()
    }

    /// No name server is reachable in here. One that refuses makes a look-up fail at once, where silence would take ten seconds.
    fn resolver(&self) -> Result<()> {
        let own = self.dir.join("resolv.conf");
        fs::write(&own, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")?;
        let status = Command::new("mount").arg("--bind").arg(&own).arg("/etc/resolv.conf").status()?;
        if !status.success() {
            bail!("mounting the sandbox's own resolv.conf failed ({status})");
        }
        Ok(())
    }

    fn kafka(&mut self, broker: &config::Broker, libs: &Path) -> Result<()> {
        let libs = format!("{}/*", libs.display());
        let (properties, logging) = (broker.properties(&self.dir).display().to_string(), broker.logging(&self.dir));
        let data = broker.data(&self.dir).display().to_string();
        // Formatting and serving are two programs of one part; the first has nothing to do when the part is started again.
        let script = "[ -e \"$4/meta.properties\" ] || java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 $2 -cp \"$1\" \
                      kafka.tools.StorageTool format -t c2FuZGJveHNhbmRib3hzYQ -c \"$3\" && exec java -Xms256m -Xmx1g -XX:+UseSerialGC -XX:TieredStopAtLevel=1 $2 -cp \"$1\" kafka.Kafka \"$3\"";
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "kafka", &libs, &logging, &properties, &data]);
        self.spawn(broker.part, command)
    }

    fn etcd(&mut self) -> Result<()> {
        let mut command = self.runtime("server");
        command.arg("--data-dir").arg(self.dir.join("etcd")).args([
            "--unsafe-no-fsync",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--log-level=warn",
        ]);
        self.spawn("etcd", command)
    }

    fn kube_apiserver(&mut self) -> Result<()> {
        let pki = self.dir.join("pki");
        let file = |name: &str| pki.join(name).display().to_string();
        let mut command = self.kubernetes("kube-apiserver");
        command.args([
            "--etcd-servers=http://127.0.0.1:2379".to_owned(),
            format!("--advertise-address={NODE_IP}"),
            format!("--bind-address={NODE_IP}"),
            format!("--service-cluster-ip-range={SERVICE_CIDR}"),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--allow-privileged=true".to_owned(),
            format!("--client-ca-file={}", file("ca.crt")),
            format!("--tls-cert-file={}", file("apiserver.crt")),
            format!("--tls-private-key-file={}", file("apiserver.key")),
            format!("--kubelet-client-certificate={}", file("admin.crt")),
            format!("--kubelet-client-key={}", file("admin.key")),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", file("service-accounts.pub")),
            format!("--service-account-signing-key-file={}", file("service-accounts.key")),
            format!("--cert-dir={}", pki.display()),
            format!("--audit-policy-file={}", self.dir.join("audit-policy.json").display()),
            format!("--audit-log-path={}", self.dir.join("audit.log").display()),
            // In megabytes; one file, so that whoever reads it has all of it.
            "--audit-log-maxsize=2000".to_owned(),
        ]);
        command.args(build::api_server_arguments());
        self.spawn("kube-apiserver", command)
    }

    fn kube_controller_manager(&mut self) -> Result<()> {
        let pki = self.dir.join("pki");
        let mut command = self.kubernetes("kube-controller-manager");
        // Each controller is an account of its own with its own rights, as on a real cluster: what policies refuse them shows.
        command.args(["--leader-elect=false", "--bind-address=127.0.0.1", "--use-service-account-credentials=true"]).args([
            format!("--kubeconfig={}", self.dir.join("kubeconfig").display()),
            format!("--root-ca-file={}", pki.join("ca.crt").display()),
            format!("--service-account-private-key-file={}", pki.join("service-accounts.key").display()),
            // Tests must not wait behind a queue that protects large clusters.
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
        ]);
        self.spawn("kube-controller-manager", command)
    }

    fn kube_scheduler(&mut self) -> Result<()> {
        let mut command = self.kubernetes("kube-scheduler");
        command.args(["--leader-elect=false", "--bind-address=127.0.0.1"]);
        command.arg(format!("--kubeconfig={}", self.dir.join("kubeconfig").display()));
        self.spawn("kube-scheduler", command)
    }

    fn kube_proxy(&mut self) -> Result<()> {
        let mut command = self.kubernetes("kube-proxy");
        command.arg(format!("--config={}", self.dir.join("kube-proxy.json").display()));
        self.spawn("kube-proxy", command)
    }

    fn kubelet(&mut self) -> Result<()> {
        let mut command = self.kubernetes("kubelet");
        command.args([
            format!("--config={}", self.dir.join("kubelet.json").display()),
            format!("--kubeconfig={}", self.dir.join("kubelet.kubeconfig").display()),
            format!("--root-dir={}", self.dir.join("kubelet").display()),
            format!("--cert-dir={}", self.dir.join("pki").display()),
            format!("--hostname-override={NODE}"),
            format!("--node-ip={NODE_IP}"),
        ]);
        self.spawn("kubelet", command)
    }

    fn containerd(&mut self) -> Result<()> {
        let mut command = self.runtime("containerd");
        command.arg("--config").arg(self.dir.join("containerd.toml"));
        self.spawn("containerd", command)
    }

    /// As a process beside Kubernetes' own, with an admin's rights. Without its metrics adapter an HPA cannot go from 1 to more; from 0
    /// to 1 and back is the operator's own work.
    fn keda(&mut self) -> Result<()> {
        let from = Ecosystem::locate().keda;
        self.definitions(&from.join("crds"))?;
        // For its adapter's connection, which nobody opens here.
        let certificates = self.dir.join("keda");
        fs::create_dir_all(&certificates)?;
        for (own, file) in [("ca.crt", "ca.crt"), ("apiserver.crt", "tls.crt"), ("apiserver.key", "tls.key")] {
            fs::copy(self.dir.join("pki").join(own), certificates.join(file))?;
        }
        let mut command = Command::new(from.join("operator"));
        command
            .args(["--metrics-bind-address=0", "--metrics-service-bind-address=127.0.0.1:9666"])
            .args(["--enable-webhook-patching=false", "--enable-apiservice-patching=false"])
            .arg(format!("--health-probe-bind-address={KEDA_HEALTH}"))
            .arg(format!("--cert-dir={}", certificates.display()))
            .env("KUBECONFIG", self.dir.join("kubeconfig"))
            .envs([("WATCH_NAMESPACE", ""), ("POD_NAMESPACE", "default"), ("KEDA_CLUSTER_OBJECT_NAMESPACE", "default")]);
        self.spawn(KEDA, command)
    }

    /// Likewise. Its sources are `ExternalArtifact`s, which anybody may write.
    fn flux(&mut self) -> Result<()> {
        let from = Ecosystem::locate().flux;
        self.definitions(&from.join("crds"))?;
        let sources = self.dir.join("flux-sources.json");
        fs::write(&sources, flux_sources().to_string())?;
        self.definitions(&sources)?;
        let mut command = Command::new(from.join("kustomize-controller"));
        command
            .args(["--feature-gates=ExternalArtifact=true", "--metrics-addr=0", "--interval-jitter-percentage=0"])
            .args(["--concurrent=8", "--requeue-dependency=1s"])
            .arg(format!("--health-addr={FLUX_HEALTH}"))
            .env("KUBECONFIG", self.dir.join("kubeconfig"))
            .env("RUNTIME_NAMESPACE", "default");
        self.spawn(FLUX, command)
    }

    /// Applies definitions of resources, and waits until they are served.
    fn definitions(&self, of: &Path) -> Result<()> {
        let file = of.display().to_string();
        self.kubectl(&["apply", "--server-side", "--filename", &file])?;
        self.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "--filename", &file])?;
        Ok(())
    }

    fn kubernetes(&self, program: &str) -> Command {
        Command::new(self.cache.kubernetes.join(program))
    }

    fn runtime(&self, program: &str) -> Command {
        Command::new(self.cache.runtime.join(program))
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.kubernetes("kubectl");
        command.arg("--kubeconfig").arg(self.dir.join("kubeconfig")).arg("--cache-dir").arg(self.dir.join("kubectl-cache"));
        let output = command.args(arguments).output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn spawn(&mut self, part: &'static str, mut command: Command) -> Result<()> {
        let log = File::create(self.dir.join("logs").join(format!("{part}.log")))?;
        // containerd finds its shim and the CNI plugins find iptables on the PATH.
        let path = format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", self.cache.runtime.display());
        // Collecting garbage is a quarter of what an API server does under tests; with this it grows to about a gigabyte instead.
        command.env("GOGC", "300");
        command.env("PATH", path).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {part}: {command:?}"))?;
        self.parts.push(Part { name: part, command, child, state: State::Up });
        Ok(())
    }

    /// Whether a part serves; of one that nobody waits for, whether it was started.
    fn serves(&self, part: &str) -> bool {
        let broker = [config::KAFKA, config::KAFKA_3].into_iter().find(|broker| broker.part == part);
        match (broker, part) {
            (Some(broker), _) => broker::serves_groups(&broker.bootstrap_servers()).unwrap_or(false),
            (None, "etcd") => TcpStream::connect("127.0.0.1:2379").is_ok(),
            (None, "containerd") => UnixStream::connect(self.dir.join("containerd.sock")).is_ok(),
            (None, "kube-apiserver") => self.kubectl(&["get", "--raw", "/readyz"]).is_ok(),
            (None, "kube-controller-manager") => self.kubectl(&["get", "serviceaccount", "default", "-n", "default"]).is_ok(),
            (None, "kubelet") => {
                let ready = ["get", "node", NODE, "-o", "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}"];
                self.kubectl(&ready).is_ok_and(|out| out == "True")
            }
            (None, KEDA) => TcpStream::connect(KEDA_HEALTH).is_ok(),
            (None, FLUX) => TcpStream::connect(FLUX_HEALTH).is_ok(),
            (None, _) => true,
        }
    }

    /// Waits until a part serves; over at once when one has ended that should run.
    fn wait_for(&mut self, part: &'static str) -> Result<()> {
        let begin = Instant::now();
        while !self.serves(part) {
            for Part { name, child, state, .. } in &mut self.parts {
                if state.runs()
                    && let Some(status) = child.try_wait()?
                {
                    *state = State::Ended;
                    let log = fs::read_to_string(self.dir.join("logs").join(format!("{name}.log"))).unwrap_or_default();
                    let lines: Vec<&str> = log.lines().collect();
                    let last = lines[lines.len().saturating_sub(10)..].join("\n");
                    let ended = format!("{name} has ended ({status}) while {part} was awaited; the end of its log:\n{last}");
                    self.report()?;
                    bail!(ended);
                }
            }
            if begin.elapsed() > LIMIT {
                bail!("{part} does not serve after {} s; see `cargo sandbox logs {part}`", LIMIT.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        println!("{part} serves after {:.1} s", self.begin.elapsed().as_secs_f32());
        Ok(())
    }
}

/// The namespace's own network: loopback, and the node's address on a bridge with a default route, which kubelet and kube-proxy want.
fn network() -> Result<()> {
    for command in [
        "mount --make-rprivate /",
        "ip link set lo up",
        "ip link add host0 type bridge",
        &format!("ip address add {NODE_IP}/32 dev host0"),
        "ip link set host0 up",
        "ip route add default dev host0",
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        let status = Command::new(words[0]).args(&words[1..]).status().with_context(|| command.to_owned())?;
        if !status.success() {
            bail!("{command} failed ({status})");
        }
    }
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("switching on ip_forward")?;
    Ok(())
}
