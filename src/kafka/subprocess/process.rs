//! A client's process, seen from the operator.

use std::{
    collections::HashMap,
    os::fd::AsFd,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{mpsc, oneshot},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    memory::Memory,
    protocol::{Call, Reader, Reply, Request, Response, write},
    slot::{Slot, Standing},
};
use crate::{
    kafka::{connection::Connection, diagnostics::error_codes::without_broker},
    machine::facts::{KafkaError, KafkaErrorKind},
};

/// How many requests wait to be written.
const WAITING_REQUESTS: usize = 64;

/// How often calls are checked against their time limits.
const OVERDUE_CHECK: Duration = Duration::from_secs(1);

/// The environment variables that a process inherits: the location of the public CAs' certificates.
const ENVIRONMENT: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

type Answer = Result<Reply, KafkaError>;

/// The program of the processes: the operator's own.
pub(super) struct Program {
    pub path: PathBuf,
    pub arguments: Vec<String>,
}

/// A process, which is killed when this is dropped.
pub(super) struct Process {
    brokers: String,
    number: AtomicU64,
    requests: mpsc::Sender<Request>,
    calls: Arc<Mutex<Calls>>,
    task: AbortOnDropHandle<()>,
}

/// An idle process, in the order in which such processes are stopped for others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Idle {
    /// A reset that holds consumers uses it.
    pub is_preferred: bool,
    /// A broker has answered its client.
    pub has_answered: bool,
    used: Instant,
}

/// Gives the slot back when the process has exited, or was killed with its task.
struct GivenBack<'a>(&'a Mutex<Calls>);

impl Drop for GivenBack<'_> {
    fn drop(&mut self) {
        self.0.lock().slot = None;
    }
}

/// A call without an answer so far.
struct Waiting {
    answer: oneshot::Sender<Answer>,
    /// The call's time limit.
    until: Instant,
}

/// The calls of a process, and its state.
struct Calls {
    waiting: HashMap<u64, Waiting>,
    standing: Standing,
    slot: Option<Slot>,
    /// When the last answer came.
    used: Instant,
    /// How the process exited, once it has.
    exited: Option<String>,
}

impl Calls {
    fn exit(&mut self, how: String) {
        self.exited = Some(how);
        // Dropping the senders ends the calls.
        self.waiting.clear();
    }
}

impl Process {
    /// Starts a process, which keeps its slot until it has exited.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(
        program: &Program,
        connection: &Connection,
        slot: Slot,
        standing: Standing,
        memory: &Arc<Memory>,
    ) -> Result<Self, KafkaError> {
        let failed = |error: std::io::Error| {
            let message = format!("cannot start a process for a Kafka client from {}: {error}", program.path.display());
            KafkaError::new(KafkaErrorKind::Unreachable, message)
        };
        let mut command = Command::new(&program.path);
        command.args(&program.arguments).env_clear();
        command.envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        // Its log goes to the operator's, line by line.
        let logs = std::io::stdout().as_fd().try_clone_to_owned().map_err(failed)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(logs).kill_on_drop(true);
        // A signal from a terminal must reach only the operator, which first finishes what is under
        // way.
        command.process_group(0);
        let child = command.spawn().map_err(failed)?;
        let (requests, queue) = mpsc::channel(WAITING_REQUESTS);
        let calls = Calls { waiting: HashMap::new(), standing, slot: Some(slot), used: Instant::now(), exited: None };
        let calls = Arc::new(Mutex::new(calls));
        let brokers = connection.bootstrap_servers.to_string();
        let (state, connection, memory) = (Arc::clone(&calls), connection.clone(), Arc::clone(memory));
        let task = tokio::spawn(async move {
            let slot = GivenBack(&state);
            run(child, connection, queue, &state, &memory).await;
            drop(slot);
        });
        Ok(Self { brokers, number: AtomicU64::new(0), requests, calls, task: AbortOnDropHandle::new(task) })
    }

    /// Whether the process has not exited.
    pub fn is_running(&self) -> bool {
        self.calls.lock().exited.is_none()
    }

    /// Makes a call, and returns the receiver of its answer. The receiver fails when the process
    /// exits first. The process is killed when the answer has not come within `limit`, even when
    /// the receiver is gone: the process would hang for the next call too.
    ///
    /// # Errors
    /// The call itself, when the process exited before it received the call.
    pub async fn ask(&self, call: Call, allowed_until: Option<u64>, limit: Duration) -> Result<oneshot::Receiver<Answer>, Call> {
        let Ok(permit) = self.requests.reserve().await else { return Err(call) };
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let (answer, receiver) = oneshot::channel();
        let mut calls = self.calls.lock();
        if calls.exited.is_some() {
            return Err(call);
        }
        calls.waiting.insert(number, Waiting { answer, until: Instant::now() + limit });
        permit.send(Request::Call { number, call, allowed_until });
        Ok(receiver)
    }

    /// In which order idle processes are stopped for others; `None` while a call is under way.
    pub fn idle(&self) -> Option<Idle> {
        let calls = self.calls.lock();
        let (is_preferred, has_answered) = (calls.standing.is_preferred(), calls.standing.has_answered());
        (calls.exited.is_none() && calls.waiting.is_empty()).then_some(Idle { is_preferred, has_answered, used: calls.used })
    }

    /// Kills the process unless a call is under way.
    pub fn stop_if_idle(&self) {
        let mut calls = self.calls.lock();
        if calls.waiting.is_empty() {
            calls.exit("it made room for another cluster's client".into());
            self.task.abort();
        }
    }

    /// Renews the allowance for commits. A full queue drops it: the commit itself, with its own
    /// allowance, is still in that queue.
    pub fn allow(&self, until: u64) {
        let _ = self.requests.try_send(Request::Allowed(until));
    }

    /// The error of a call during which the process exited. The call may have been carried out.
    pub fn why_it_exited(&self, doing: &str) -> KafkaError {
        let how = self.calls.lock().exited.clone().unwrap_or_else(|| "it is being stopped".into());
        let message = format!(
            "the Kafka client's process for {} exited while {doing} ({how}): an answer that no Kafka broker gives can crash it, or it was \
             killed. The next attempt starts another one",
            self.brokers
        );
        KafkaError::new(KafkaErrorKind::Timeout, message)
    }
}

/// Passes requests to the process and answers back, until it has exited.
async fn run(
    mut child: Child,
    connection: Connection,
    queue: mpsc::Receiver<Request>,
    calls: &Mutex<Calls>,
    memory: &Arc<Memory>,
) {
    let brokers = connection.bootstrap_servers.to_string();
    let why = match (child.id(), child.stdin.take(), child.stdout.take()) {
        (Some(pid), Some(input), Some(output)) => {
            tokio::select! {
                why = receive(output, calls) => why,
                why = send(input, connection, queue) => why,
                why = overdue(calls) => Some(why),
                why = memory.exceeded_by(pid) => Some(why),
            }
        }
        _ => Some("it has no input or output".into()),
    };
    let _ = child.start_kill();
    let status = child.wait().await;
    let how = why.unwrap_or_else(|| status.map_or_else(|error| error.to_string(), |status| status.to_string()));
    tracing::warn!(how, brokers, "a Kafka client's process exited");
    calls.lock().exit(how);
}

/// Passes answers to their calls. Returns why it stopped; `None` when the process closed its
/// output.
async fn receive(output: ChildStdout, calls: &Mutex<Calls>) -> Option<String> {
    let mut output = Reader::new(output);
    loop {
        match output.next().await {
            Ok(Some(Response { number, reply })) => {
                let mut calls = calls.lock();
                calls.used = Instant::now();
                if !matches!(&reply, Err(error) if without_broker(error.kind)) {
                    calls.standing.answered();
                    if let Some(slot) = &mut calls.slot {
                        slot.unproven = None;
                    }
                }
                if let Some(call) = calls.waiting.remove(&number) {
                    // The caller may be gone.
                    let _ = call.answer.send(reply);
                }
            }
            Ok(None) => return None,
            Err(error) => return Some(format!("its answer cannot be read: {error}")),
        }
    }
}

/// Waits until a call has exceeded its time limit.
async fn overdue(calls: &Mutex<Calls>) -> String {
    loop {
        let now = Instant::now();
        if calls.lock().waiting.values().any(|call| call.until <= now) {
            return "it did not answer in time".into();
        }
        tokio::time::sleep(OVERDUE_CHECK).await;
    }
}

/// Sends the connection, and then the requests. Returns why it stopped; `None` when the process
/// closed its input, whose exit status is known in a moment.
async fn send(mut input: ChildStdin, connection: Connection, mut queue: mpsc::Receiver<Request>) -> Option<String> {
    if write(&mut input, &connection).await.is_err() {
        return None;
    }
    drop(connection);
    while let Some(request) = queue.recv().await {
        match write(&mut input, &request).await {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return None,
            Err(error) => return Some(format!("a request cannot be sent to it: {error}")),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_process_that_does_not_answer_is_killed_even_when_the_caller_is_gone() {
        let program = Program { path: "sleep".into(), arguments: vec!["1000".into()] };
        let slot = Slot { place: Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap(), unproven: None };
        let (connection, standing) = (Connection::plain("nobody:9092"), Standing::default());
        let mut process = Process::start(&program, &connection, slot, standing, &Arc::default()).unwrap();
        let patient = process.ask(Call::ClusterId {}, None, Duration::MAX / 4).await;
        drop(process.ask(Call::ClusterId {}, None, Duration::ZERO).await);
        assert!(process.idle().is_none(), "a call is under way");
        tokio::time::timeout(Duration::from_mins(1), &mut process.task).await.expect("it exits").unwrap();
        assert!(!process.is_running());
        assert!(patient.ok().expect("it was sent").await.is_err(), "the other call ends too");
        assert!(process.why_it_exited("waiting").message.contains("it did not answer in time"));
    }
}
