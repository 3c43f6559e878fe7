//! The kubectl plugin as a process, as a person has it: without a terminal, unless a test gives it one.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdout, Command},
};

use super::{PATIENCE, environment, process::program, within};

/// The plugin in one namespace.
pub struct Plugin {
    namespace: String,
    user: Option<String>,
}

/// How a command ended, and what it printed.
#[derive(Debug)]
pub struct Printed {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Plugin {
    pub fn new(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), user: None }
    }

    /// As a user with fewer rights.
    pub fn called(namespace: &str, user: &str) -> Self {
        Self { namespace: namespace.to_owned(), user: Some(user.to_owned()) }
    }

    /// Its binary, beside the operator's.
    pub fn binary() -> String {
        std::env::var("PLUGIN").unwrap_or_else(|_| {
            let built = std::path::Path::new(&program()).with_file_name("kubectl-offset_reset");
            assert!(built.is_file(), "no {}: build it first, with `cargo build --workspace`", built.display());
            built.to_str().unwrap().to_owned()
        })
    }

    /// The words of a whole command line.
    pub fn words(&self, words: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        all.extend(["--namespace".to_owned(), self.namespace.clone()]);
        all.extend(self.user.iter().flat_map(|user| ["--as".to_owned(), user.clone()]));
        all
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(Self::binary());
        command.args(self.words(words)).env("KUBECONFIG", environment().kubeconfig).env("TZ", "UTC").env_remove("NO_COLOR");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Starts a command, and does not wait.
    pub fn start(&self, words: &[&str]) -> Started {
        Self::spawn(self.command(words))
    }

    fn spawn(mut command: Command) -> Started {
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Started { child, out, read: String::new() }
    }

    /// What may follow these words, as kubectl asks for it.
    pub async fn completes(&self, words: &[&str]) -> String {
        let mut command = Command::new(Self::binary());
        command.args(["__complete", "--namespace", &self.namespace]).args(words).env("KUBECONFIG", environment().kubeconfig);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Self::spawn(command).ended().await.out
    }

    /// Runs a command to its end.
    pub async fn run(&self, words: &[&str]) -> Printed {
        self.start(words).ended().await
    }

    /// Runs a command in a terminal, and types a line once it asks for it.
    pub async fn in_terminal(&self, words: &[&str], question: &str, answer: &str) -> Printed {
        let words = [vec![Self::binary()], self.words(words)].concat();
        let line: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--flush", "--command", &line.join(" "), "/dev/null"]);
        command.env("KUBECONFIG", environment().kubeconfig).env("TZ", "UTC").env("TERM", "xterm-256color");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut started = Self::spawn(command);
        let mut keyboard = started.child.stdin.take().unwrap();
        started.shows(question).await;
        keyboard.write_all(format!("{answer}\r").as_bytes()).await.unwrap();
        let printed = started.ended().await;
        drop(keyboard);
        printed
    }

    /// Runs a command in a terminal of a size, types a line once it asks for it, and returns its exit code with what the
    /// terminal showed, each part with its time since the start.
    pub async fn recorded(
        &self,
        (columns, rows): (u16, u16),
        words: &[&str],
        question: &str,
        answer: &str,
    ) -> (Option<i32>, Vec<(Duration, String)>) {
        let words = [vec![Self::binary()], self.words(words)].concat();
        let line: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let line = format!("stty cols {columns} rows {rows}; {}", line.join(" "));
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]);
        command.env("KUBECONFIG", environment().kubeconfig).env("TZ", "UTC").env("TERM", "xterm-256color");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let begin = std::time::Instant::now();
        let mut child = command.spawn().unwrap();
        let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (mut shown, mut bytes, mut is_asked) = (vec![], vec![], false);
        let recording = async {
            loop {
                let mut some = [0; 4_096];
                let count = screen.read(&mut some).await.unwrap();
                if count == 0 {
                    return child.wait().await.unwrap().code();
                }
                bytes.extend_from_slice(&some[..count]);
                // A letter may be cut in two.
                let whole = std::str::from_utf8(&bytes).map_or_else(|error| error.valid_up_to(), str::len);
                shown.push((begin.elapsed(), String::from_utf8(bytes.drain(..whole).collect()).unwrap()));
                if !is_asked && shown.iter().map(|(_, text)| text.as_str()).collect::<String>().contains(question) {
                    is_asked = true;
                    keyboard.write_all(format!("{answer}\r").as_bytes()).await.unwrap();
                }
            }
        };
        let code = within(PATIENCE, recording).await.expect("it ends");
        (code, shown)
    }

    /// Runs a command that must end with this code, and returns its standard output.
    #[track_caller]
    pub fn ends(&self, code: i32, words: &[&str]) -> impl Future<Output = String> {
        let place = std::panic::Location::caller();
        let (started, shown) = (self.start(words), words.join(" "));
        async move {
            let printed = started.ended().await;
            assert_eq!(printed.code, Some(code), "{shown}, called at {place}: {printed:#?}");
            printed.out
        }
    }
}

/// A command that runs.
pub struct Started {
    child: Child,
    out: BufReader<ChildStdout>,
    read: String,
}

impl Started {
    /// Waits until it has printed a line with these words.
    pub async fn prints(&mut self, words: &str) {
        let reading = async {
            while !self.read.contains(words) {
                let count = self.out.read_line(&mut self.read).await.unwrap();
                assert!(count > 0, "it ended without {words}: {}", self.read);
            }
        };
        assert!(within(PATIENCE, reading).await.is_some(), "it never prints {words}");
    }

    /// Waits until these words stand on the screen, in a line that is not complete.
    async fn shows(&mut self, words: &str) {
        let reading = async {
            while !self.read.contains(words) {
                let mut some = [0; 1_024];
                let count = self.out.read(&mut some).await.unwrap();
                assert!(count > 0, "it ended without {words}: {}", self.read);
                self.read.push_str(&String::from_utf8_lossy(&some[..count]));
            }
        };
        assert!(within(PATIENCE, reading).await.is_some(), "it never shows {words}: {}", self.read);
    }

    /// Waits until it ends, as long as it prints something now and then: a command about many OffsetResets takes as long as these.
    pub async fn ended(mut self) -> Printed {
        let mut err = self.child.stderr.take().unwrap();
        let errors = tokio::spawn(async move {
            let mut text = String::new();
            err.read_to_string(&mut text).await.map(|_| text)
        });
        let (mut out, mut some) = (self.read.into_bytes(), [0; 4_096]);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        loop {
            match within(PATIENCE, self.out.read(&mut some)).await {
                Some(Ok(0)) => break,
                Some(read) => out.extend_from_slice(&some[..read.unwrap()]),
                None => panic!("it does not end; so far: {}", text(out)),
            }
        }
        let ending = async { (self.child.wait().await.unwrap().code(), errors.await.unwrap().unwrap()) };
        let Some((code, err)) = within(PATIENCE, ending).await else { panic!("it does not end; so far: {}", text(out)) };
        Printed { code, out: text(out), err }
    }

    /// Presses Ctrl-C.
    pub async fn interrupt(&self) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().await.unwrap().success());
    }
}
