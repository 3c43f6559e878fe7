//! A real Kafka Connect: one worker in distributed mode for all tests, with the connectors that read and write files.

use std::{
    env, fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::OnceCell,
};

use real_tests::{PATIENCE, brokers, kafka_tool::Line, unique, within};

/// The worker, by the port of its REST API.
pub struct Connect {
    port: u16,
    /// The worker is killed when the input of this is closed: when the tests are over.
    _shell: Child,
}

impl Connect {
    /// The worker, which the first test starts; that takes some seconds.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Connect> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    async fn start() -> Self {
        // Free a moment ago, which is as good as it gets: the worker reports its port in its log only.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (cluster, dir) = (unique("connect"), env::temp_dir());
        let properties = dir.join(format!("{cluster}.properties"));
        let servers = brokers();
        let text = format!(
            "bootstrap.servers={servers}\ngroup.id={cluster}\nlisteners=http://127.0.0.1:{port}\n\
             key.converter=org.apache.kafka.connect.storage.StringConverter\n\
             value.converter=org.apache.kafka.connect.storage.StringConverter\n\
             config.storage.topic={cluster}-configs\nconfig.storage.replication.factor=1\n\
             offset.storage.topic={cluster}-offsets\noffset.storage.replication.factor=1\noffset.storage.partitions=1\n\
             status.storage.topic={cluster}-status\nstatus.storage.replication.factor=1\nstatus.storage.partitions=1\n\
             offset.flush.interval.ms=500\nscheduled.rebalance.max.delay.ms=0\nplugin.discovery=service_load\n"
        );
        fs::write(&properties, text).unwrap();
        let log = fs::File::create(dir.join(format!("{cluster}.log"))).unwrap();
        // The shell outlives the tests by no more than the moment in which their end closes its input.
        let script = r#""$@" & worker=$!; read -r _; kill -9 "$worker""#;
        let shell = Command::new("sh")
            .args(["-c", script, "connect", "java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-cp"])
            .arg(Line::Current.libs().join("*"))
            .arg("org.apache.kafka.connect.cli.ConnectDistributed")
            .arg(&properties)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("java, a JDK of 17 or newer, is on the PATH");
        let connect = Self { port, _shell: shell };
        let ready = async {
            while !matches!(connect.ask("GET", "/connectors", &Value::Null).await, Ok((200, _))) {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        within(PATIENCE, ready)
            .await
            .unwrap_or_else(|| panic!("Kafka Connect does not start; see {cluster}.log in {}", dir.display()));
        connect
    }

    /// Asks its REST API: the status and the body of the answer.
    pub async fn ask(&self, method: &str, path: &str, body: &Value) -> Result<(u16, Value), std::io::Error> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        // In version 1.0 an answer ends with its connection, and is in one piece.
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok((status, serde_json::from_str(body).unwrap_or_default()))
    }

    /// What it reports of a connector, while it knows it.
    pub async fn status(&self, name: &str) -> Option<Value> {
        self.ask("GET", &format!("/connectors/{name}/status"), &Value::Null)
            .await
            .ok()
            .filter(|(code, _)| *code == 200)
            .map(|(_, body)| body)
    }

    /// The state of a connector.
    pub async fn state(&self, name: &str) -> String {
        let status = self.status(name).await.unwrap_or_default();
        status["connector"]["state"].as_str().unwrap_or_default().to_owned()
    }

    /// Creates a connector, or changes its configuration.
    pub async fn configure(&self, name: &str, config: &Value) {
        let (code, answer) = self.ask("PUT", &format!("/connectors/{name}/config"), config).await.unwrap();
        // A rebalance is answered with 409, and the next attempt comes soon.
        assert!(matches!(code, 200 | 201 | 409), "{code}: {answer}");
    }

    /// Stops, pauses or resumes a connector.
    pub async fn transition(&self, name: &str, to: &str) {
        let answer = self.ask("PUT", &format!("/connectors/{name}/{to}"), &Value::Null).await.unwrap();
        assert!(matches!(answer.0, 202 | 204 | 409), "{answer:?}");
    }

    pub async fn delete(&self, name: &str) {
        self.ask("DELETE", &format!("/connectors/{name}"), &json!(null)).await.unwrap();
    }
}

/// A file that a sink writes, or a source reads.
pub fn file(name: &str) -> PathBuf {
    env::temp_dir().join(format!("{name}.txt"))
}
