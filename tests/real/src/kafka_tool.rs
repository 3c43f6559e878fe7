//! Kafka's own command-line tools, kept warm: one virtual machine for any number of commands. tests/real/java/KafkaTool.java runs them.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{broker::Broker, environment, within};

/// A line of Kafka: a broker, and the tools of its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// The one that all tests use.
    Current,
    /// An older one, where there is one.
    Kafka3,
}

impl Line {
    /// Those that there are. Says so when one is left out.
    pub fn all() -> Vec<Self> {
        let all = vec![Self::Current, Self::Kafka3];
        if environment().kafka_3_bootstrap_servers.is_some() {
            return all;
        }
        assert!(environment().existing, "the sandbox has no Kafka 3; start it with `cargo sandbox up --also-kafka-3`");
        eprintln!("no broker of Kafka 3: KAFKA_3_BOOTSTRAP_SERVERS is not set");
        vec![Self::Current]
    }

    pub fn bootstrap_servers(self) -> String {
        match self {
            Self::Current => environment().bootstrap_servers,
            Self::Kafka3 => environment().kafka_3_bootstrap_servers.expect("only a line of Line::all()"),
        }
    }

    pub fn broker(self) -> Broker {
        Broker::new(self.bootstrap_servers())
    }

    /// The directory with its jars. Panics, with what to do, when there is none.
    pub fn libs(self) -> PathBuf {
        let (libs, how) = match self {
            Self::Current => (
                libs_beside("kafka-console-consumer", &env::var_os("PATH").unwrap_or_default()),
                "kafka-console-consumer on the PATH, and the jars in ../libs beside it: `cargo sandbox exec` does that, \
                 or PATH=$PATH:$(cargo sandbox kafka-tools)",
            ),
            Self::Kafka3 => (
                env::var_os("KAFKA_3_LIBS").map(PathBuf::from),
                "KAFKA_3_LIBS: `cargo sandbox exec` sets it, or KAFKA_3_LIBS=$(cargo sandbox kafka-tools --kafka-3)",
            ),
        };
        let found = libs.filter(|libs| libs.is_dir());
        found.unwrap_or_else(|| panic!("no jars of Kafka's tools ({self:?}). They are found by {how}"))
    }
}

/// The jars beside a command of Kafka's.
pub fn libs_beside(command: &str, path: &OsString) -> Option<PathBuf> {
    let bin = env::split_paths(path).find(|dir| dir.join(command).is_file())?;
    Some(bin.join("../libs"))
}

/// A tool's main classes, the newest first: they move between versions.
fn classes(class_or_tool: &str) -> Vec<&str> {
    match class_or_tool {
        "kafka-acls" => vec!["org.apache.kafka.tools.AclCommand", "kafka.admin.AclCommand"],
        "kafka-configs" => vec!["org.apache.kafka.tools.ConfigCommand", "kafka.admin.ConfigCommand"],
        "kafka-consumer-groups" => vec!["org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"],
        "kafka-get-offsets" => vec!["org.apache.kafka.tools.GetOffsetShell"],
        "kafka-topics" => vec!["org.apache.kafka.tools.TopicCommand"],
        class => vec![class],
    }
}

/// A virtual machine with the jars of one line of Kafka that answers requests, one after the other: a line of JSON each, after
/// one that says that it is ready. Ends when it is dropped.
pub struct Jvm {
    process: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Jvm {
    /// Starts it from a program's source; that takes a second or two.
    pub async fn start(line: Line, source: &Path) -> Self {
        let mut command = Command::new("java");
        // Standard output is for answers: the counters that a virtual machine shares in /tmp would make it complain there.
        command
            .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-XX:-UsePerfData", "-cp"])
            .arg(line.libs().join("*"))
            .arg(source)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut process = command.spawn().expect("java, a JDK of 17 or newer, is on the PATH");
        let requests = process.stdin.take().expect("piped");
        let answers = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut jvm = Self { process, requests, answers };
        let ready = jvm.answer().await;
        assert_eq!(ready["ready"], true, "{ready}");
        jvm
    }

    /// The answer to a request.
    pub async fn ask(&mut self, request: &Value) -> Value {
        self.requests.write_all(format!("{request}\n").as_bytes()).await.expect("the virtual machine takes requests");
        self.answer().await
    }

    /// The next answer. What the virtual machine itself has to say is no answer, and goes to the test's output.
    async fn answer(&mut self) -> Value {
        let answer = async {
            while let Some(line) = self.answers.next_line().await.expect("its output is text") {
                if line.starts_with('{') {
                    return Some(serde_json::from_str(&line).expect("an answer is JSON"));
                }
                eprintln!("{line}");
            }
            None
        };
        match within(super::PATIENCE, answer).await {
            Some(Some(answer)) => answer,
            Some(None) => panic!("the virtual machine of Kafka's tools has ended: {:?}", self.process.wait().await),
            None => panic!("Kafka's tool did not answer in {:?}", super::PATIENCE),
        }
    }
}

/// A virtual machine that runs the tools of one line, one command after the other.
pub struct KafkaTool {
    bootstrap_servers: String,
    jvm: Jvm,
}

impl KafkaTool {
    /// Starts it; that takes a second or two.
    pub async fn start(line: Line) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("java/KafkaTool.java");
        Self { bootstrap_servers: line.bootstrap_servers(), jvm: Jvm::start(line, &source).await }
    }

    /// Starts it where a test may change the ACLs of the broker; elsewhere says that it does not run. A cluster of somebody's own may
    /// have no authorizer, or ACLs that matter.
    pub async fn for_acls() -> Option<Self> {
        if environment().existing {
            eprintln!("not tested: needs a broker with an authorizer that the test may use");
            return None;
        }
        Some(Self::start(Line::Current).await)
    }

    /// Runs a tool, by its command's name or its class, with these arguments and no others: the exit status, and all that it wrote.
    pub async fn run(&mut self, class_or_tool: &str, arguments: &[&str]) -> (i32, String) {
        let answer = self.jvm.ask(&json!({"classes": classes(class_or_tool), "args": arguments})).await;
        let status = answer["status"].as_i64().and_then(|status| i32::try_from(status).ok()).expect("a status");
        (status, answer["output"].as_str().expect("an output").to_owned())
    }

    /// Runs a tool against the broker of its line.
    pub async fn at_broker(&mut self, class_or_tool: &str, arguments: &[&str]) -> (i32, String) {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("java/client.properties").display().to_string();
        let servers = self.bootstrap_servers.clone();
        let first = ["--bootstrap-server", &servers, "--command-config", &config];
        self.run(class_or_tool, &[&first[..], arguments].concat()).await
    }

    /// `kafka-consumer-groups` against the broker of its line. Unless the arguments say otherwise, each of its requests may take a
    /// minute, not the 5 s of its default: a busy machine needs longer, and a reset that the tool began would be none, or half of one.
    pub async fn consumer_groups(&mut self, arguments: &[&str]) -> (i32, String) {
        let patient: &[&str] = if arguments.contains(&"--timeout") { &[] } else { &["--timeout", "60000"] };
        self.at_broker("kafka-consumer-groups", &[patient, arguments].concat()).await
    }
}

/// Allows everything on a resource, such as `["--group", "orders"]`, to everybody, except for one operation. Allowing comes first:
/// a resource that has an ACL is closed for all that its ACLs do not allow.
pub async fn deny(tool: &mut KafkaTool, resource: &[&str], operation: &str) {
    for rule in [["--allow-principal", "User:*", "--operation", "All"], ["--deny-principal", "User:*", "--operation", operation]]
    {
        let (status, output) = tool.at_broker("kafka-acls", &[&["--add"], &rule[..], resource].concat()).await;
        assert_eq!(status, 0, "{output}");
    }
    // It is listed as DESCRIBE_CONFIGS.
    let listed = operation.char_indices().fold(String::new(), |listed, (index, letter)| {
        let separator = if index > 0 && letter.is_uppercase() { "_" } else { "" };
        format!("{listed}{separator}{}", letter.to_uppercase())
    });
    let denied = format!("operation={listed}, permissionType=DENY");
    until_the_broker_knows(tool, resource, |listed| listed.contains(&denied)).await;
}

/// Removes all ACLs of a resource.
pub async fn allow_again(tool: &mut KafkaTool, resource: &[&str]) {
    let (status, output) = tool.at_broker("kafka-acls", &[&["--remove", "--force"], resource].concat()).await;
    assert_eq!(status, 0, "{output}");
    until_the_broker_knows(tool, resource, |listed| !listed.contains("permissionType=")).await;
}

/// An ACL is written to the metadata log first, and the tool does not wait until the broker has read it there.
async fn until_the_broker_knows(tool: &mut KafkaTool, resource: &[&str], known: impl Fn(&str) -> bool) {
    let mut last = String::new();
    let asking = async {
        loop {
            let (status, output) = tool.at_broker("kafka-acls", &[&["--list"], resource].concat()).await;
            assert_eq!(status, 0, "{output}");
            if known(&output) {
                return;
            }
            last = output;
        }
    };
    assert!(within(super::PATIENCE, asking).await.is_some(), "the broker does not follow: {last}");
}
