//! The configuration files of the parts.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use serde_json::{Value, json};

/// The node's address: on a bridge of the sandbox's own network namespace, so every sandbox can have the same.
pub const NODE_IP: &str = "10.200.0.1";
/// The API server's address inside the cluster: the first of the services.
pub const SERVICE_IP: &str = "10.96.0.1";
/// Where services are.
pub const SERVICE_CIDR: &str = "10.96.0.0/16";
/// Where pods are.
pub const POD_CIDR: &str = "10.201.0.0/16";
/// The node's name.
pub const NODE: &str = "sandbox";
/// The pause image, made here from busybox.
pub const PAUSE_IMAGE: &str = "localhost/pause:sandbox";

/// Who the operator is, as `deploy/` installs it: what it asks of the API server is written down.
pub const AUDITED: &str = "system:serviceaccount:offset-reset-system:offset-reset-operator";

/// One of the sandbox's brokers.
#[derive(Clone, Copy, Debug)]
pub struct Broker {
    /// The part's name, and its directory's.
    pub part: &'static str,
    /// Its clients' port; its controller has the next one, and the listener behind a proxy and that proxy the two after it.
    port: u16,
    /// What only this line has.
    own: &'static str,
    /// How its virtual machine is told where the configuration of its log is, but for the file, and that file's contents.
    logging: (&'static str, &'static str),
}

/// The broker that is always there.
pub const KAFKA: Broker =
    Broker { part: "kafka", port: 9092, own: SHARE_GROUPS, logging: ("-Dlog4j2.configurationFile=", LOG4J_2) };
/// The older line beside it.
pub const KAFKA_3: Broker = Broker { part: "kafka-3", port: 9192, own: "", logging: ("-Dlog4j.configuration=file:", LOG4J_1) };

impl Broker {
    /// Its address for the sandbox itself, for pods, and for `exec`.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        format!("{NODE_IP}:{}", self.port)
    }

    /// The address that the broker advertises to clients that connect to [`Self::behind_distant`]. Nothing listens there unless a
    /// benchmark starts a proxy, which passes everything on to `behind_distant` with a delay.
    #[must_use]
    pub fn distant(&self) -> String {
        format!("{NODE_IP}:{}", self.port + 3)
    }

    /// The listener that advertises [`Self::distant`].
    #[must_use]
    pub fn behind_distant(&self) -> String {
        format!("{NODE_IP}:{}", self.port + 2)
    }

    /// Its `server.properties`.
    #[must_use]
    pub fn properties(&self, dir: &Path) -> PathBuf {
        dir.join(self.part).join("server.properties")
    }

    /// The argument for its virtual machine that says what to log.
    #[must_use]
    pub fn logging(&self, dir: &Path) -> String {
        format!("{}{}", self.logging.0, self.log4j(dir).display())
    }

    /// Where its log is.
    #[must_use]
    pub fn data(&self, dir: &Path) -> PathBuf {
        dir.join(self.part).join("data")
    }

    fn log4j(&self, dir: &Path) -> PathBuf {
        dir.join(self.part).join("log4j.properties")
    }

    fn write(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir.join(self.part))?;
        fs::write(self.properties(dir), self.server_properties(dir))?;
        Ok(fs::write(self.log4j(dir), self.logging.1)?)
    }

    fn server_properties(&self, dir: &Path) -> String {
        let (clients, controllers) = (self.bootstrap_servers(), format!("{NODE_IP}:{}", self.port + 1));
        let (distant, behind) = (self.distant(), self.behind_distant());
        let (data, own) = (self.data(dir), self.own);
        format!(
            "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controllers}
listeners=PLAINTEXT://{clients},DISTANT://{behind},CONTROLLER://{controllers}
advertised.listeners=PLAINTEXT://{clients},DISTANT://{distant}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,DISTANT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
{SETTINGS}{own}",
            data = data.display()
        )
    }
}

/// Writes every file into `dir`; `cgroup` is the sandbox's own.
pub fn write(dir: &Path, runtime: &Path, cgroup: &str) -> Result<()> {
    for sub in ["cni", "etcd", "logs"] {
        fs::create_dir_all(dir.join(sub))?;
    }
    json_file(&dir.join("kubeconfig"), &kubeconfig(dir, "admin"))?;
    json_file(&dir.join("kubelet.kubeconfig"), &kubeconfig(dir, "kubelet"))?;
    json_file(&dir.join("audit-policy.json"), &audit_policy())?;
    json_file(&dir.join("kubelet.json"), &kubelet(dir, cgroup))?;
    json_file(&dir.join("kube-proxy.json"), &kube_proxy(dir))?;
    json_file(&dir.join("cni/10-bridge.conflist"), &cni(dir))?;
    fs::write(dir.join("containerd.toml"), containerd(dir, runtime))?;
    KAFKA.write(dir)?;
    KAFKA_3.write(dir)
}

fn json_file(path: &Path, value: &Value) -> Result<()> {
    Ok(fs::write(path, serde_json::to_string_pretty(value)?)?)
}

fn kubeconfig(dir: &Path, user: &str) -> Value {
    let pki = dir.join("pki");
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "sandbox",
        "clusters": [{"name": "sandbox", "cluster": {"server": format!("https://{NODE_IP}:6443"), "certificate-authority": pki.join("ca.crt")}}],
        "users": [{"name": user, "user": {
            "client-certificate": pki.join(format!("{user}.crt")), "client-key": pki.join(format!("{user}.key"))}}],
        "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": user}}],
    })
}

/// Who has asked for what, and what came of it: of the operator; of connectors by any client, because the tests impersonate the operator
/// there, which is not known yet when these rules count; and of nothing else.
fn audit_policy() -> Value {
    let connectors = json!({"group": "kafka.strimzi.io", "resources": ["kafkaconnectors", "kafkaconnectors/*"]});
    json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "Metadata", "users": [AUDITED]}, {"level": "Metadata", "resources": [connectors]}, {"level": "None"},
        ],
    })
}

fn kubelet(dir: &Path, cgroup: &str) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true}, "x509": {"clientCAFile": dir.join("pki/ca.crt")}},
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs", "cgroupRoot": cgroup, "failCgroupV1": false, "failSwapOn": false,
        "clusterDNS": ["10.96.0.10"], "clusterDomain": "cluster.local",
        // A kubelet deletes the logs of pods that it does not know: in the usual place those of every other sandbox.
        "podLogsDir": dir.join("pod-logs"),
        "containerRuntimeEndpoint": format!("unix://{}", dir.join("containerd.sock").display()),
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%"},
        "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
        "enforceNodeAllocatable": ["pods"], "localStorageCapacityIsolation": false,
        "nodeStatusUpdateFrequency": "4s", "syncFrequency": "10s", "serializeImagePulls": false, "registryPullQPS": 0,
        // Tests create and delete pods by the dozen, and must not wait for a queue that protects large clusters.
        "kubeAPIQPS": 100, "kubeAPIBurst": 200, "maxPods": 200,
    })
}

fn kube_proxy(dir: &Path) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": dir.join("kubeconfig")},
        "mode": "iptables", "clusterCIDR": POD_CIDR, "hostnameOverride": NODE,
        // The machine's conntrack table is not ours to change.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "healthzBindAddress": "127.0.0.1:10256", "metricsBindAddress": "127.0.0.1:10249",
    })
}

fn cni(dir: &Path) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "sandbox",
        "plugins": [{
            "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
            "ipam": {"type": "host-local", "dataDir": dir.join("ipam"), "ranges": [[{"subnet": POD_CIDR}]], "routes": [{"dst": "0.0.0.0/0"}]},
        }],
    })
}

fn containerd(dir: &Path, runtime: &Path) -> String {
    let (dir, runtime) = (dir.display(), runtime.display());
    format!(
        r#"version = 3
root = "{dir}/containerd"
state = "{dir}/containerd-state"

[grpc]
address = "{dir}/containerd.sock"

[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
# The machine may lack CAP_SYS_RESOURCE, and then no container could lower its score.
restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "{runtime}/runc"

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{runtime}"]
conf_dir = "{dir}/cni"
"#
    )
}

/// What both lines are told. All that has no ACL is allowed, so that a test can deny something on its own group or topic to
/// everybody; and retention and the cleaner work within a second, where a real broker lets them wait for minutes.
const SETTINGS: &str = "auto.create.topics.enable=false
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
group.consumer.session.timeout.ms=8000
group.consumer.min.session.timeout.ms=3000
group.consumer.heartbeat.interval.ms=1000
group.consumer.min.heartbeat.interval.ms=500
log.initial.task.delay.ms=500
log.retention.check.interval.ms=500
log.segment.delete.delay.ms=1000
log.cleaner.backoff.ms=500
log.cleaner.dedupe.buffer.size=8388608
";

/// Share groups came with Kafka 4.
const SHARE_GROUPS: &str = "share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
";

const LOG4J_2: &str = "rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c{1}: %m%n
logger.server.name=kafka.server.KafkaRaftServer
logger.server.level=info
";

/// The same, as Kafka 3 has it.
const LOG4J_1: &str = "log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %c{1}: %m%n
log4j.logger.kafka.server.KafkaRaftServer=INFO
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_services_and_the_node_do_not_overlap() {
        let first_two = |address: &str| address.split('.').take(2).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(first_two(SERVICE_IP), first_two(SERVICE_CIDR));
        assert_ne!(first_two(POD_CIDR), first_two(SERVICE_CIDR));
        assert_ne!(first_two(POD_CIDR), first_two(NODE_IP));
    }

    #[test]
    fn the_brokers_share_neither_ports_nor_directories() {
        assert!(KAFKA.port.abs_diff(KAFKA_3.port) > 3, "each has four ports");
        let theirs = KAFKA_3.server_properties(Path::new("/d"));
        assert!(theirs.contains("log.dirs=/d/kafka-3/data\n") && !theirs.contains("share."), "{theirs}");
    }
}
