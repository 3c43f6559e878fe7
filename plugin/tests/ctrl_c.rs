//! The plugin beside an API server that hangs, which a real one does not do when it is asked to: it says so, and Ctrl-C ends it at once,
//! with what goes on without it.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};

use rstest::rstest;
use serde_json::{Value, json};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// How a request begins, how often it is answered, and with what.
type Answer = (&'static str, usize, Value);

/// A server that answers these requests, and hangs at the first other one, which it tells.
struct Server {
    address: String,
    hangs: Receiver<String>,
}

impl Server {
    fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (tell, hangs) = channel();
        let answers = Arc::new(Mutex::new(answers));
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (answers, tell) = (Arc::clone(&answers), tell.clone());
                std::thread::spawn(move || serve(connection, &answers, &tell));
            }
        });
        Self { address, hangs }
    }

    fn kubeconfig(&self) -> PathBuf {
        std::env::temp_dir().join(format!("kubeconfig-{}", self.address.replace(':', "-")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.kubeconfig());
    }
}

fn serve(connection: TcpStream, answers: &Mutex<Vec<Answer>>, tell: &Sender<String>) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let mut writer = connection;
    loop {
        let (mut first, mut length) = (String::new(), 0);
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let line = line.trim_end().to_lowercase();
            if line.is_empty() {
                break;
            }
            length = line.strip_prefix("content-length: ").map_or(length, |number| number.parse().unwrap());
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).unwrap();
        let found =
            answers.lock().unwrap().iter_mut().find(|(begin, left, _)| first.starts_with(begin) && *left > 0).map(|answer| {
                answer.1 -= 1;
                answer.2.clone()
            });
        let Some(answer) = found else {
            let _ = tell.send(first);
            std::thread::park_timeout(PATIENCE);
            return;
        };
        let body = answer.to_string();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        writer.write_all((head + &body).as_bytes()).unwrap();
    }
}

fn start(server: &Server, words: &[&str]) -> Child {
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", server.address)}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}], "users": [{"name": "u", "user": {}}],
    });
    let path = server.kubeconfig();
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-offset_reset"));
    command.args(words).env("KUBECONFIG", &path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Presses Ctrl-C, and returns the exit code and what was printed.
fn interrupted(child: Child) -> (Option<i32>, String) {
    let pressed = Instant::now();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(pressed.elapsed() < Duration::from_secs(10), "it does not end at once");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

fn planned(dry_run: bool) -> Value {
    json!({
        "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "r", "namespace": "shop", "uid": "u-1"},
        "spec": {"kafka": {"bootstrapServers": "k:9092"}, "group": "g", "dryRun": dry_run, "resets": [{"topic": "t", "offset": 1}]},
        "status": {"phase": "Planned", "dryRun": true},
    })
}

fn list(kind: &str) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {}, "items": []})
}

const RESET: &str = "GET /apis/offsetreset.dev/v1alpha1/namespaces/shop/offsetresets/r";

#[rstest]
#[case::told_to_run("PATCH", &["it may run, and goes on without this command", "watch r", "cancel r"])]
#[case::before_the_first_look_at_it(RESET, &["The reset goes on without this command", "cancel r"])]
fn after_the_confirmation_ctrl_c_says_that_the_reset_goes_on(#[case] hangs_at: &str, #[case] expected: &[&str]) {
    let answers = vec![
        (RESET, 2, planned(true)),
        ("GET /apis/apps/v1/deployments", 1, list("DeploymentList")),
        ("GET /apis/offsetreset.dev/v1alpha1/namespaces/shop/offsetresets?&limit", 1, list("OffsetResetList")),
        ("PATCH", usize::from(hangs_at != "PATCH"), planned(false)),
    ];
    let server = Server::start(answers);
    let child = start(&server, &["run", "r", "--yes"]);
    let request = server.hangs.recv_timeout(PATIENCE).unwrap();
    assert!(request.starts_with(hangs_at), "{request}");
    let (code, text) = interrupted(child);
    assert_eq!(code, Some(130), "{text}");
    for words in expected {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn that_the_api_server_does_not_answer_is_said() {
    let server = Server::start(vec![]);
    let mut child = start(&server, &["list"]);
    let mut line = String::new();
    let mut err = BufReader::new(child.stderr.take().unwrap());
    err.read_line(&mut line).unwrap();
    let expected = format!("the API server at {} has not answered for 2 s; waiting. Ctrl-C ends it.", server.address);
    assert!(line.contains(&expected), "{line}");
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let mut rest = String::new();
    err.read_to_string(&mut rest).unwrap();
    assert!(kill.success() && child.wait().unwrap().code() == Some(130), "{rest}");
    assert!(rest.contains("Nothing was created, and nothing was changed"), "{rest}");
}
