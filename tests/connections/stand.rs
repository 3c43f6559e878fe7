//! A broker of its own with every kind of listener, and the Secrets that its users have.

use std::{fmt::Write, fs, path::PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use tokio::process::{Child, Command};

use crate::common::{kafka_tool::Line, unique};

/// In clear, over TLS with client certificates, and with passwords over TLS.
pub const CLEAR: &str = "127.0.0.1:9492";
pub const MUTUAL: &str = "127.0.0.1:9493";
pub const PASSWORDS: &str = "127.0.0.1:9494";
const CONTROLLER: &str = "127.0.0.1:9495";

/// What must never be seen.
pub const SCRAM_PASSWORD: &str = "planted-scram-5f1c";
pub const PLAIN_PASSWORD: &str = "planted-plain-77ab";
pub const WRONG_PASSWORD: &str = "planted-wrong-90de";

/// An authority.
pub struct Authority {
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A certificate for a name, and its key.
    pub fn sign(&self, name: &str, address: Option<&str>) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names.extend(address.map(|address| SanType::IpAddress(address.parse().unwrap())));
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// The broker. Ends when it is dropped.
pub struct Secured {
    _process: Child,
    dir: PathBuf,
    pub authority: Authority,
}

impl Drop for Secured {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.dir);
    }
}

impl Secured {
    pub async fn start() -> Self {
        let dir = std::env::temp_dir().join(unique("secured"));
        fs::create_dir_all(&dir).unwrap();
        let authority = Authority::new("cluster-ca");
        let (certificate, key) = authority.sign("broker", Some("127.0.0.1"));
        let properties = dir.join("server.properties");
        fs::write(&properties, server_properties(&dir, &authority.certificate, &certificate, &key)).unwrap();
        let libs = format!("{}/*", Line::Current.libs().display());
        let java = |class: &str| {
            let mut command = Command::new("java");
            command.args(["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &libs, class]).kill_on_drop(true);
            command
        };
        let user = |mechanism: &str| format!("{mechanism}=[name=orders,password={SCRAM_PASSWORD}]");
        let formatted = java("kafka.tools.StorageTool")
            .args(["format", "-t", "c2VjdXJlZHNlY3VyZWRzZQ", "-c"])
            .arg(&properties)
            .args(["--add-scram", &user("SCRAM-SHA-256"), "--add-scram", &user("SCRAM-SHA-512")])
            .output()
            .await
            .unwrap();
        assert!(formatted.status.success(), "{formatted:?}");
        let log = fs::File::create(dir.join("log")).unwrap();
        let process = java("kafka.Kafka").arg(&properties).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Self { _process: process, dir, authority }
    }
}

/// A PEM as a value of a properties file.
fn line(pem: &str) -> String {
    pem.trim_end().replace('\n', "\\n")
}

fn server_properties(dir: &std::path::Path, authority: &str, certificate: &str, key: &str) -> String {
    let mut all = String::new();
    let plain = format!("org.apache.kafka.common.security.plain.PlainLoginModule required user_orders=\"{PLAIN_PASSWORD}\";");
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    for (name, value) in [
        ("process.roles", "broker,controller".to_owned()),
        ("node.id", "1".to_owned()),
        ("controller.quorum.voters", format!("1@{CONTROLLER}")),
        ("listeners", format!("CLEAR://{CLEAR},MUTUAL://{MUTUAL},PASSWORDS://{PASSWORDS},CONTROLLER://{CONTROLLER}")),
        ("advertised.listeners", format!("CLEAR://{CLEAR},MUTUAL://{MUTUAL},PASSWORDS://{PASSWORDS}")),
        ("listener.security.protocol.map", "CLEAR:PLAINTEXT,MUTUAL:SSL,PASSWORDS:SASL_SSL,CONTROLLER:PLAINTEXT".to_owned()),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        ("inter.broker.listener.name", "CLEAR".to_owned()),
        ("log.dirs", dir.join("data").display().to_string()),
        ("offsets.topic.num.partitions", "1".to_owned()),
        ("offsets.topic.replication.factor", "1".to_owned()),
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
        ("ssl.keystore.type", "PEM".to_owned()),
        ("ssl.keystore.certificate.chain", line(certificate)),
        ("ssl.keystore.key", line(key)),
        ("ssl.truststore.type", "PEM".to_owned()),
        ("ssl.truststore.certificates", line(authority)),
        ("listener.name.mutual.ssl.client.auth", "required".to_owned()),
        ("sasl.enabled.mechanisms", "SCRAM-SHA-256,SCRAM-SHA-512,PLAIN".to_owned()),
        ("listener.name.passwords.plain.sasl.jaas.config", plain),
        ("listener.name.passwords.scram-sha-256.sasl.jaas.config", scram.to_owned()),
        ("listener.name.passwords.scram-sha-512.sasl.jaas.config", scram.to_owned()),
    ] {
        writeln!(all, "{name}={value}").unwrap();
    }
    all
}
