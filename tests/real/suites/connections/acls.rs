//! The least ACLs, as the documentation lists them: with them a reset does all it can, and without any one of them nothing is stopped, and
//! the message has the command that gives it. Real authorizer, real tool.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt, path::Path};

use kube::{Api, api::PostParams};
use offset_reset_operator::{
    api::{OffsetReset, Phase, Reason},
    machine::facts::TopicPartition,
};
use serde_json::{Value, json};

use super::{
    left::left,
    stand::{CLEAR, PASSWORDS, SCRAM_PASSWORD, commit, fill, kafka, secret, secured, trust},
};
use real_tests::{
    PATIENCE,
    broker::Broker,
    deployment,
    kafka_tool::{KafkaTool, Line},
    reset, resets,
    shop::{Operator, status},
    unique, wait_for_end, with_namespace, within,
};

/// A user whose name a shell would take apart, and who may do nothing by default.
pub const USER: &str = "it's orders; $HOME";

const PAGE: &str = include_str!("../../../../docs/connecting-to-kafka.md");

/// The ACLs of the page: what `--add` is told of each, with the page's names.
fn documented() -> Vec<Vec<String>> {
    let lines = PAGE.lines().filter(|line| line.starts_with("kafka-acls.sh "));
    lines.map(|line| line.split(' ').skip_while(|word| *word != "--operation").map(str::to_owned).collect()).collect()
}

/// A user's group, topic, and the group whose offsets are taken, by the names that they have on the page.
struct Granted {
    tool: KafkaTool,
    names: BTreeMap<&'static str, String>,
}

impl Granted {
    async fn new() -> Self {
        secured().await;
        let broker = Broker::new(CLEAR);
        let (topic, group, source) = (broker.topic("least", 2).await, unique("it's least $HOME"), unique("source of least"));
        fill(&broker, &topic).await;
        commit(&broker, &topic, &group).await;
        commit(&broker, &topic, &source).await;
        let names = BTreeMap::from([("orders-consumer", group), ("orders", topic), ("orders-archive", source)]);
        Self { tool: KafkaTool::start(Line::Current).await, names }
    }

    fn group(&self) -> &str {
        &self.names["orders-consumer"]
    }

    fn topic(&self) -> &str {
        &self.names["orders"]
    }

    fn named(&self, words: &[String]) -> Vec<String> {
        words.iter().map(|word| self.names.get(word.as_str()).unwrap_or(word).clone()).collect()
    }

    async fn acls(&mut self, arguments: &[&str]) -> String {
        let (status, output) = self.tool.run("kafka-acls", &[&["--bootstrap-server", CLEAR], arguments].concat()).await;
        assert_eq!(status, 0, "{output}");
        output
    }

    /// Gives these and no others.
    async fn give(&mut self, rights: &[Vec<String>]) {
        let principal = format!("User:{USER}");
        for resource in [["--group", "orders-consumer"], ["--topic", "orders"], ["--group", "orders-archive"]] {
            let resource = [resource[0], &self.names[resource[1]].clone()];
            self.acls(&[&["--remove", "--force"], &resource[..]].concat()).await;
        }
        for right in rights {
            let right = self.named(right);
            let right: Vec<&str> = right.iter().map(String::as_str).collect();
            self.acls(&[&["--add", "--allow-principal", &principal], &right[..]].concat()).await;
        }
        self.until_the_broker_has(rights.len()).await;
    }

    /// An ACL is written first, and read by the broker's authorizer later.
    async fn until_the_broker_has(&mut self, count: usize) {
        let principal = format!("User:{USER}");
        let mut last = String::new();
        let asking = async {
            loop {
                last = self.acls(&["--list", "--principal", &principal]).await;
                if last.matches("permissionType=ALLOW").count() == count {
                    return;
                }
            }
        };
        let found = within(PATIENCE, asking).await;
        assert!(found.is_some(), "the broker does not have {count} ACLs: {last}");
    }

    /// Runs the commands of a message, as a person would: a shell takes them apart, Kafka's own tool carries them out. Their words.
    async fn run_the_commands_of(&mut self, message: &str, dir: &Path) -> Vec<Vec<String>> {
        let (_, commands) = message.split_once("Ask a Kafka administrator to run: ").expect(message);
        let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap());
        let output = tokio::process::Command::new("/bin/sh")
            .args(["-ec", commands])
            .env("PATH", path)
            .current_dir(dir)
            .output()
            .await
            .unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let output = String::from_utf8(output.stdout).unwrap();
        let commands = output.split_terminator("\n\0").map(|command| command.split_terminator('\0').map(str::to_owned).collect());
        let commands: Vec<Vec<String>> = commands.collect();
        // The shell was where the administrator's file is; the tool is somewhere else.
        let config = dir.join("admin.properties").display().to_string();
        for command in &commands {
            let words: Vec<&str> =
                command.iter().map(|word| if word == "admin.properties" { &config } else { word }.as_str()).collect();
            let (status, output) = self.tool.run("kafka-acls", &words).await;
            assert_eq!(status, 0, "{words:?}: {output}");
        }
        commands
    }
}

/// Needs every one of the rights.
fn all(topic: &str, source: &Value) -> Value {
    let mut entries = entry(topic, source);
    entries.as_array_mut().unwrap().push(json!({"topic": topic, "partition": 1, "position": "None"}));
    entries
}

fn entry(topic: &str, target: &Value) -> Value {
    let mut entry = json!({"topic": topic, "partition": 0});
    entry.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
    json!([entry])
}

async fn run(api: &Api<OffsetReset>, name: &str, group: &str, entries: &Value, spec: &Value) -> OffsetReset {
    api.create(&PostParams::default(), &reset(name, group, entries, spec)).await.unwrap();
    wait_for_end(api, name).await
}

fn is_at(done: &OffsetReset, phase: Phase, offset: i64) {
    let status = status(done);
    assert_eq!(status.phase, Some(phase), "{:?}", status.message);
    assert_eq!(status.partitions[0].target_offset, Some(offset), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_acls_of_the_documentation_are_enough_and_without_any_one_of_them_its_command_is_named() {
    let (broker, mut stand) = (secured().await, Granted::new().await);
    let rights = documented();
    assert_eq!(rights.len(), 4, "{rights:?}");
    let dir = tempdir();
    std::fs::write(dir.join("admin.properties"), admin(&broker.authority.certificate)).unwrap();
    let tool = dir.join("kafka-acls.sh");
    std::fs::write(&tool, "#!/bin/sh\nprintf '%s\\0' \"$@\"\nprintf '\\n\\0'\n").unwrap();
    std::fs::set_permissions(tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    with_namespace(async |client, namespace| {
        let operator = Operator::start(&client, &namespace);
        secret(&client, &namespace, "cluster-ca", json!({"ca.crt": broker.authority.certificate})).await;
        secret(&client, &namespace, "orders", json!({"password": SCRAM_PASSWORD})).await;
        let user = json!({"type": "scram-sha-512", "username": USER, "passwordSecret": {"secretName": "orders", "password": "password"}});
        let spec = json!({"targetRefs": [], "kafka": kafka(PASSWORDS, &trust("cluster-ca"), &user)});
        let with = |key: &str, value: Value| {
            let mut spec = spec.clone();
            spec[key] = value;
            spec
        };
        let api = resets(&client, &namespace);
        let (group, topic) = (stand.group().to_owned(), stand.topic().to_owned());
        let source = json!({"fromGroup": stand.names["orders-archive"]});

        // Without each, everything else being there; and then what the message says.
        for (index, missing) in rights.iter().enumerate() {
            let rest: Vec<Vec<String>> = rights.iter().filter(|right| *right != missing).cloned().collect();
            stand.give(&rest).await;
            let refused = run(&api, &format!("without-{index}"), &group, &all(&topic, &source), &spec).await;
            let (status, message) = (status(&refused), status(&refused).explanation());
            eprintln!("without {missing:?}: {message}");
            assert_eq!((status.phase, status.reason), (Some(Phase::Failed), Some(Reason::AuthorizationFailed)), "{message}");
            assert!(message.contains("Nothing was stopped and no offset was changed"), "{message}");
            let (named, commands) = (stand.named(missing), stand.run_the_commands_of(&message, &dir).await);
            assert!(commands.iter().any(|command| command.ends_with(&named)), "{message} does not name {named:?}");
            stand.until_the_broker_has(rights.len()).await;
            let done = run(&api, &format!("with-{index}"), &group, &all(&topic, &source), &spec).await;
            is_at(&done, Phase::Succeeded, 10);
        }

        // All that a reset can do, with these ACLs and no others.
        stand.give(&rights).await;
        for (name, target, spec, phase, offset) in [
            ("offset", json!({"offset": 3}), spec.clone(), Phase::Succeeded, 3),
            ("time", json!({"timestamp": 1_571_812_144}), spec.clone(), Phase::Succeeded, 0),
            ("latest", json!({"position": "Latest"}), with("isolationLevel", json!("ReadCommitted")), Phase::Succeeded, 10),
            ("shift", json!({"shiftBy": -2}), spec.clone(), Phase::Succeeded, 8),
            ("dry", json!({"offset": 1}), with("dryRun", json!(true)), Phase::Planned, 1),
        ] {
            is_at(&run(&api, name, &group, &entry(&topic, &target), &spec).await, phase, offset);
        }
        // A static member that has stopped, and whose session lasts for minutes.
        deployment(&client, &namespace, "consumer", 1, json!({"containers": [{"name": "c", "image": "nobody-runs-it"}]})).await;
        left(Broker::new(CLEAR).group_admin().await.as_ref(), &topic, &group).await;
        let mut evict = with("remainingMembers", json!("Remove"));
        evict["targetRefs"] = json!([{"name": "consumer"}]);
        is_at(&run(&api, "evict", &group, &entry(&topic, &json!({"offset": 7})), &evict).await, Phase::Succeeded, 7);
        let pattern = json!([{"topicPattern": "least.*", "position": "Earliest"}]);
        is_at(&run(&api, "pattern", &group, &pattern, &spec).await, Phase::Succeeded, 0);
        let mut undo = reset("undo", &group, &json!([]), &spec);
        undo.spec.resets.clear();
        undo.spec.undo = serde_json::from_value(json!({"name": "pattern"})).unwrap();
        api.create(&PostParams::default(), &undo).await.unwrap();
        is_at(&wait_for_end(&api, "undo").await, Phase::Succeeded, 7);
        let at = TopicPartition::new(&topic, 0);
        let admin = Broker::new(CLEAR).group_admin().await;
        let committed = admin.committed(&group, std::slice::from_ref(&at)).await.unwrap();
        assert_eq!(committed[&at].as_ref().unwrap().as_ref().unwrap().offset, 7);
        let removed = run(&api, "none", &group, &entry(&topic, &json!({"position": "None"})), &spec).await;
        assert_eq!(status(&removed).phase, Some(Phase::Succeeded), "{:?}", status(&removed).message);
        assert_eq!(admin.committed(&group, std::slice::from_ref(&at)).await.unwrap()[&at], Ok(None));
        operator.end().await;
    })
    .await;
    std::fs::remove_dir_all(dir).unwrap();
}

fn tempdir() -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(unique("acls"));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// How an administrator reaches the listener that the resets use.
fn admin(authority: &str) -> String {
    let login = "org.apache.kafka.common.security.scram.ScramLoginModule required";
    format!(
        "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nssl.truststore.type=PEM\nssl.truststore.certificates={}\n\
         sasl.jaas.config={login} username=\"admin\" password=\"{SCRAM_PASSWORD}\";\n",
        authority.trim_end().replace('\n', "\\n")
    )
}
