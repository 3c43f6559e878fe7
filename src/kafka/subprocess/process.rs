//! A client's process, from the operator's side.

use std::{
    collections::HashMap,
    os::fd::AsFd,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::BufReader,
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
};
use tokio_util::task::AbortOnDropHandle;

use super::protocol::{Answered, Call, Told, read, write};
use crate::{
    kafka::connection::Connection,
    machine::facts::{KafkaError, KafkaErrorKind},
};

/// How many questions wait to be written.
const QUESTIONS: usize = 64;

/// How often it is looked whether something has waited for its answer for too long.
const OVERDUE_LOOK: Duration = Duration::from_secs(1);

/// What of the operator's environment its clients have: where the public authorities' certificates are.
const ENVIRONMENT: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

type Answer = Result<Value, KafkaError>;

/// What is started: the operator's own program.
pub(super) struct Program {
    pub path: PathBuf,
    pub arguments: Vec<String>,
}

/// A process, which is ended when this is dropped.
pub(super) struct Process {
    brokers: String,
    number: AtomicU64,
    questions: mpsc::Sender<Told>,
    waiting: Arc<Mutex<Waiting>>,
    tended: AbortOnDropHandle<()>,
}

/// Something that was asked.
struct Question {
    answer: oneshot::Sender<Answer>,
    /// When the answer is to be there at the latest.
    until: Instant,
}

/// Who waits for an answer.
struct Waiting {
    questions: HashMap<u64, Question>,
    /// A broker has answered.
    has_answered: bool,
    /// When the last answer came.
    used: Instant,
    /// How the process has ended, once it has.
    ended: Option<String>,
}

impl Waiting {
    fn end(&mut self, how: String) {
        self.ended = Some(how);
        // Whoever waits is told by this.
        self.questions.clear();
    }
}

impl Process {
    pub fn start(program: &Program, connection: &Connection, place: OwnedSemaphorePermit) -> Result<Self, KafkaError> {
        let failed = |error: std::io::Error| {
            let message = format!("no process for a Kafka client can be started from {}: {error}", program.path.display());
            KafkaError::new(KafkaErrorKind::Unreachable, message)
        };
        let mut command = Command::new(&program.path);
        command.args(&program.arguments).env_clear();
        command.envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        // It logs to where the operator does, a line at a time.
        let logs = std::io::stdout().as_fd().try_clone_to_owned().map_err(failed)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(logs).kill_on_drop(true);
        // A signal from a terminal is for the operator, which first finishes what is under way.
        command.process_group(0);
        let child = command.spawn().map_err(failed)?;
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let waiting = Waiting { questions: HashMap::new(), has_answered: false, used: Instant::now(), ended: None };
        let waiting = Arc::new(Mutex::new(waiting));
        let (tended, connection) = (Arc::clone(&waiting), connection.clone());
        let brokers = connection.bootstrap_servers.clone();
        let tended = tokio::spawn(async move {
            tend(child, connection, asked, &tended).await;
            drop(place);
        });
        Ok(Self { brokers, number: AtomicU64::new(0), questions, waiting, tended: AbortOnDropHandle::new(tended) })
    }

    pub fn lives(&self) -> bool {
        lock(&self.waiting).ended.is_none()
    }

    /// Asks, and returns where the answer will come; nothing comes when the process ends before, and it ends when the answer is not there
    /// within `limit`, also when nobody waits for it any more: it would hang for whoever asks next. Where it has ended already, the
    /// question comes back.
    pub async fn ask(&self, call: Call, limit: Duration) -> Result<oneshot::Receiver<Answer>, Call> {
        let Ok(place) = self.questions.reserve().await else { return Err(call) };
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let (answer, receiver) = oneshot::channel();
        let mut waiting = lock(&self.waiting);
        if waiting.ended.is_some() {
            return Err(call);
        }
        waiting.questions.insert(number, Question { answer, until: Instant::now() + limit });
        place.send(Told::Asked(number, call));
        Ok(receiver)
    }

    /// How willingly it is ended for another one, the first ones first; `None` while it is being asked something.
    pub fn idle(&self) -> Option<(bool, Instant)> {
        let waiting = lock(&self.waiting);
        (waiting.ended.is_none() && waiting.questions.is_empty()).then_some((waiting.has_answered, waiting.used))
    }

    /// Ends it unless it is being asked something.
    pub fn end_if_idle(&self) {
        let mut waiting = lock(&self.waiting);
        if waiting.questions.is_empty() {
            waiting.end("another cluster is asked in its place".into());
            self.tended.abort();
        }
    }

    /// Says for how long commits may be under way; when what was asked still waits to be written, this need not be said.
    pub fn allow(&self, until: u64) {
        let _ = self.questions.try_send(Told::Allowed(until));
    }

    /// Nobody knows how far it has come.
    pub fn why_it_ended(&self, what: &str) -> KafkaError {
        let how = lock(&self.waiting).ended.clone().unwrap_or_else(|| "it is being ended".into());
        let message = format!(
            "the Kafka client's own process for {} ended while {what} ({how}): what is there may be no Kafka broker, for an answer that none \
             gives can do that, or somebody has killed it. Another one is started when it is tried again",
            self.brokers
        );
        KafkaError::new(KafkaErrorKind::Timeout, message)
    }
}

/// Brings questions in and answers out, until the process has ended.
async fn tend(mut child: Child, connection: Connection, asked: mpsc::Receiver<Told>, waiting: &Mutex<Waiting>) {
    let brokers = connection.bootstrap_servers.clone();
    let how = match (child.stdin.take(), child.stdout.take()) {
        (Some(input), Some(output)) => {
            tokio::select! {
                how = listen(output, waiting) => how,
                how = tell(input, connection, asked) => how,
                how = overdue(waiting) => Some(how),
            }
        }
        _ => Some("it has no input or output".into()),
    };
    let _ = child.start_kill();
    let status = child.wait().await;
    let how = how.unwrap_or_else(|| status.map_or_else(|error| error.to_string(), |status| status.to_string()));
    tracing::warn!(how, brokers, "a Kafka client's process has ended");
    lock(waiting).end(how);
}

/// Why it is not listened to any more; `None` when it has ended by itself.
async fn listen(output: ChildStdout, waiting: &Mutex<Waiting>) -> Option<String> {
    let mut output = BufReader::new(output);
    loop {
        match read::<Answered>(&mut output).await {
            Ok(Some(Answered(number, answer))) => {
                let mut waiting = lock(waiting);
                waiting.used = Instant::now();
                waiting.has_answered |= !matches!(&answer, Err(error) if is_nobodys(error.kind));
                // Nobody waits where what was asked was given up.
                if let Some(who) = waiting.questions.remove(&number) {
                    let _ = who.answer.send(answer);
                }
            }
            Ok(None) => return None,
            Err(error) => return Some(format!("what it said cannot be read: {error}")),
        }
    }
}

/// Whether an error may have come about without any broker.
fn is_nobodys(kind: KafkaErrorKind) -> bool {
    match kind {
        KafkaErrorKind::Unreachable
        | KafkaErrorKind::SecretUnavailable
        | KafkaErrorKind::SecretInvalid
        | KafkaErrorKind::Tls
        | KafkaErrorKind::TokenEndpoint
        | KafkaErrorKind::NotAllowed
        | KafkaErrorKind::Timeout
        | KafkaErrorKind::Other => true,
        KafkaErrorKind::Authentication
        | KafkaErrorKind::Authorization
        | KafkaErrorKind::Coordinator
        | KafkaErrorKind::UnknownMember
        | KafkaErrorKind::UnknownTopicOrPartition
        | KafkaErrorKind::Leader
        | KafkaErrorKind::GroupNotFound
        | KafkaErrorKind::UnsupportedGroupType
        | KafkaErrorKind::OtherCluster
        | KafkaErrorKind::UnsupportedForMessageFormat
        | KafkaErrorKind::UnstableOffset
        | KafkaErrorKind::Server => false,
    }
}

/// Waits until something was not answered within its time.
async fn overdue(waiting: &Mutex<Waiting>) -> String {
    loop {
        let now = Instant::now();
        if lock(waiting).questions.values().any(|question| question.until <= now) {
            return "it had not answered within its time".into();
        }
        tokio::time::sleep(OVERDUE_LOOK).await;
    }
}

/// Why nothing is told any more. It does not say how the process ended, which is known in a moment.
async fn tell(mut input: ChildStdin, connection: Connection, mut asked: mpsc::Receiver<Told>) -> Option<String> {
    if write(&mut input, &connection).await.is_err() {
        return None;
    }
    drop(connection);
    while let Some(told) = asked.recv().await {
        match write(&mut input, &told).await {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return None,
            Err(error) => return Some(format!("it cannot be asked: {error}")),
        }
    }
    None
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn what_does_not_answer_is_ended_also_when_nobody_waits_for_the_answer_any_more() {
        let program = Program { path: "sleep".into(), arguments: vec!["1000".into()] };
        let place = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let mut process = Process::start(&program, &Connection::plain("nobody:9092"), place).unwrap();
        let patient = process.ask(Call::ClusterId, Duration::MAX / 4).await;
        drop(process.ask(Call::ClusterId, Duration::ZERO).await);
        assert!(process.idle().is_none(), "it is asked something");
        tokio::time::timeout(Duration::from_mins(1), &mut process.tended).await.expect("it is ended").unwrap();
        assert!(!process.lives());
        assert!(patient.ok().expect("it was asked").await.is_err(), "whoever else waits is told");
        assert!(process.why_it_ended("waiting").message.contains("it had not answered within its time"));
    }
}
