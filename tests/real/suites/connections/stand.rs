//! A broker of its own with every kind of listener, for all tests here, and the Secrets that its users have.

use std::{
    fmt::Write,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use offset_reset_operator::machine::facts::{Committed, TopicPartition};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use super::{
    leaderless,
    tokens::{self, Signer},
};
use real_tests::{PATIENCE, broker::Broker, kafka_tool::Line, unique, within};

/// In clear, over TLS with client certificates, and with passwords over TLS.
pub const CLEAR: &str = "127.0.0.1:9492";
pub const MUTUAL: &str = "127.0.0.1:9493";
pub const PASSWORDS: &str = "127.0.0.1:9494";
/// With PLAIN in clear.
pub const PASSWORDS_IN_CLEAR: &str = "127.0.0.1:9499";
/// Over TLS, with a certificate for another name, one that has expired, and one of the future.
pub const OTHER_NAME: &str = "127.0.0.1:9496";
pub const EXPIRED: &str = "127.0.0.1:9497";
pub const EARLY: &str = "127.0.0.1:9498";
pub const CONTROLLER: &str = "127.0.0.1:9495";

/// The cluster's id.
pub const CLUSTER: &str = "c2VjdXJlZHNlY3VyZWRzZQ";

/// Each listener: its name, its protocol, its address.
const LISTENERS: [(&str, &str, &str); 7] = [
    ("CLEAR", "PLAINTEXT", CLEAR),
    ("MUTUAL", "SSL", MUTUAL),
    ("PASSWORDS", "SASL_SSL", PASSWORDS),
    ("PASSWORDS_IN_CLEAR", "SASL_PLAINTEXT", PASSWORDS_IN_CLEAR),
    ("OTHER_NAME", "SSL", OTHER_NAME),
    ("EXPIRED", "SSL", EXPIRED),
    ("EARLY", "SSL", EARLY),
];

/// What must never be seen.
pub const SCRAM_PASSWORD: &str = "planted-scram-5f1c";
pub const PLAIN_PASSWORD: &str = "planted-plain-77ab";
pub const WRONG_PASSWORD: &str = "planted-wrong-90de";

/// Users with SCRAM, all with the same password. One may do everything: admin.
const USERS: [&str; 4] = ["orders", "admin", ROTATING, super::acls::USER];
/// Whose password one test changes.
pub const ROTATING: &str = "rotating";

/// The names of topics and groups on which everybody may do everything begin like this.
const OPEN: &str = "secured";

/// Serves TLS with a certificate, the certificates of its chain after it, and its key, all as PEM.
pub fn acceptor(chain: &[&str], key: &str) -> TlsAcceptor {
    let chain = chain.iter().map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).collect();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// An authority.
pub struct Authority {
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// For how long a certificate is valid, in years.
type Years = (i32, i32);
pub const VALID: Years = (2020, 2100);

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// An authority that this one has issued.
    pub fn intermediate(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A client's certificate, and its key.
    pub fn sign(&self, name: &str) -> (String, String) {
        self.sign_for(name, None, VALID)
    }

    /// A certificate for a name and perhaps an address or another name, and its key.
    pub fn sign_for(&self, name: &str, at: Option<SanType>, (from, to): Years) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names.extend(at);
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 12, 31));
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// The broker.
pub struct Secured {
    pub authority: Authority,
    /// Its standard input is open until this process ends.
    _shell: Child,
    /// Whose tokens it believes.
    pub signer: Arc<Signer>,
}

/// The one of this process: starting it takes seconds.
pub async fn secured() -> &'static Secured {
    static BROKER: OnceCell<Secured> = OnceCell::const_new();
    BROKER.get_or_init(Secured::start).await
}

impl Secured {
    async fn start() -> Self {
        let dir = std::env::temp_dir().join(unique("secured"));
        fs::create_dir_all(&dir).unwrap();
        let authority = Authority::new("cluster-ca");
        let properties = dir.join("server.properties");
        let signer = Arc::new(Signer::new());
        fs::write(&properties, tokens::with_listener(&server_properties(&dir, &authority), &dir, &signer)).unwrap();
        let shell = run(&dir, &properties);
        let up = async {
            while tokio::net::TcpStream::connect(CLEAR).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(PATIENCE, up).await.unwrap_or_else(|| panic!("no broker: {:?}", fs::read_to_string(dir.join("log"))));
        let everybody = ["--allow-principal", "User:*", "--operation", "All", "--resource-pattern-type", "prefixed"];
        acls(&[&["--add"], &everybody[..], &["--topic", OPEN, "--group", OPEN]].concat());
        leaderless::make_topic().await;
        Self { authority, _shell: shell, signer }
    }
}

/// Runs it, and ends and removes it when this process ends, however that is: the shell's standard input is closed then.
fn run(dir: &Path, properties: &Path) -> Child {
    let script = r#"
        dir=$1 properties=$2 libs=$3 cluster=$4; shift 4
        kafka() { exec java -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$libs" "$@"; }
        (kafka kafka.tools.StorageTool format -t "$cluster" -c "$properties" "$@") || exit
        exec 3<&0
        kafka kafka.Kafka "$properties" &
        cat <&3 >/dev/null
        kill -9 $!
        rm -rf "$dir""#;
    let log = fs::File::create(dir.join("log")).unwrap();
    let libs = format!("{}/*", Line::Current.libs().display());
    let mut shell = Command::new("/bin/sh");
    // What the virtual machine may read besides.
    shell.env("JAVA_TOOL_OPTIONS", tokens::allowed(dir).join(" "));
    shell.args(["-c", script, "secured"]).arg(dir).arg(properties).arg(libs).arg(CLUSTER);
    for user in USERS {
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            shell.args(["--add-scram", &format!("{mechanism}=[name={user},password={SCRAM_PASSWORD}]")]);
        }
    }
    shell.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// Kafka's own tool for ACLs, once.
fn acls(arguments: &[&str]) {
    let libs = format!("{}/*", Line::Current.libs().display());
    let mut tool = Command::new("java");
    tool.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &libs, "org.apache.kafka.tools.AclCommand"]);
    let output = tool.args(["--bootstrap-server", CLEAR]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// A PEM as a value of a properties file.
fn line(pem: &str) -> String {
    pem.trim_end().replace('\n', "\\n")
}

fn server_properties(dir: &Path, authority: &Authority) -> String {
    let listeners = LISTENERS.map(|(name, _, address)| format!("{name}://{address}")).join(",");
    let protocols = LISTENERS.map(|(name, protocol, _)| format!("{name}:{protocol}")).join(",");
    let mut all = String::new();
    let mut set = |name: &str, value: &str| writeln!(all, "{name}={value}").unwrap();
    set("process.roles", "broker,controller");
    set("node.id", "1");
    set("controller.quorum.voters", &format!("1@{CONTROLLER}"));
    set("listeners", &format!("{listeners},CONTROLLER://{CONTROLLER}"));
    set("advertised.listeners", &listeners);
    set("listener.security.protocol.map", &format!("{protocols},CONTROLLER:PLAINTEXT"));
    set("controller.listener.names", "CONTROLLER");
    set("inter.broker.listener.name", "CLEAR");
    set("log.dirs", &dir.join("data").display().to_string());
    set("offsets.topic.num.partitions", "1");
    set("offsets.topic.replication.factor", "1");
    set("group.initial.rebalance.delay.ms", "0");
    // Less than the marker of a reset has.
    set("offset.metadata.max.bytes", "64");
    set("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
    set("super.users", "User:ANONYMOUS;User:admin");
    certificates(authority, &mut set);
    passwords(&mut set);
    all
}

/// What the listeners show over TLS, and whom they trust.
fn certificates(authority: &Authority, set: &mut impl FnMut(&str, &str)) {
    let here = || Some(SanType::IpAddress("127.0.0.1".parse().unwrap()));
    let elsewhere = Some(SanType::DnsName("elsewhere.example".try_into().unwrap()));
    for (listener, at, years) in [
        ("", here(), VALID),
        ("listener.name.other_name.", elsewhere, VALID),
        ("listener.name.expired.", here(), (2020, 2020)),
        ("listener.name.early.", here(), (2099, 2100)),
    ] {
        let (certificate, key) = authority.sign_for("broker", at, years);
        set(&format!("{listener}ssl.keystore.type"), "PEM");
        set(&format!("{listener}ssl.keystore.certificate.chain"), &line(&certificate));
        set(&format!("{listener}ssl.keystore.key"), &line(&key));
    }
    set("ssl.truststore.type", "PEM");
    set("ssl.truststore.certificates", &line(&authority.certificate));
    set("listener.name.mutual.ssl.client.auth", "required");
}

/// Who is known by a password.
fn passwords(set: &mut impl FnMut(&str, &str)) {
    let plain = format!("org.apache.kafka.common.security.plain.PlainLoginModule required user_orders=\"{PLAIN_PASSWORD}\";");
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    set("sasl.enabled.mechanisms", "SCRAM-SHA-256,SCRAM-SHA-512,PLAIN");
    set("listener.name.passwords.plain.sasl.jaas.config", &plain);
    set("listener.name.passwords.scram-sha-256.sasl.jaas.config", scram);
    set("listener.name.passwords.scram-sha-512.sasl.jaas.config", scram);
    set("listener.name.passwords_in_clear.sasl.enabled.mechanisms", "PLAIN");
    set("listener.name.passwords_in_clear.plain.sasl.jaas.config", &plain);
}

/// A topic of ten records and a group at its end, of which everybody may do everything.
pub async fn topic_and_group() -> (String, String) {
    secured().await;
    Broker::new(CLEAR).consumed(OPEN).await
}

/// Writes ten records.
pub async fn fill(broker: &Broker, topic: &str) {
    broker.produce(topic, 0, &[1_571_812_144_000; 10]).await;
}

/// Commits behind the last one.
pub async fn commit(broker: &Broker, topic: &str, group: &str) {
    let at_end = [(TopicPartition::new(topic, 0), Committed { offset: 10, metadata: "".into() })];
    let committed = broker.group_admin().await.commit(group, &at_end).await.unwrap();
    assert!(committed.values().all(Result::is_ok), "{committed:?}");
}

/// Writes a Secret, or writes it anew.
pub async fn secret(client: &Client, namespace: &str, name: &str, data: Value) {
    let secret: Secret = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data,
    }))
    .unwrap();
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    secrets.patch(name, &PatchParams::apply("tests").force(), &Patch::Apply(&secret)).await.unwrap();
}

/// `spec.kafka`, with what is not null.
pub fn kafka(servers: &str, tls: &Value, authentication: &Value) -> Value {
    let mut kafka = json!({"bootstrapServers": servers});
    for (key, value) in [("tls", tls), ("authentication", authentication)] {
        if !value.is_null() {
            kafka[key] = value.clone();
        }
    }
    kafka
}

/// `spec.kafka.tls` that trusts a Secret's `ca.crt`.
pub fn trust(secret: &str) -> Value {
    json!({"trustedCertificates": [{"secretName": secret, "certificate": "ca.crt"}]})
}

pub fn password(kind: &str, secret: &str) -> Value {
    json!({"type": kind, "username": "orders", "passwordSecret": {"secretName": secret, "password": "password"}})
}

pub fn certificate(secret: &str, certificate: &str, key: &str) -> Value {
    json!({"type": "tls", "certificateAndKey": {"secretName": secret, "certificate": certificate, "key": key}})
}
