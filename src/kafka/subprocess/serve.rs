//! The process's side: one client, which answers the calls on standard input.

use std::{
    env,
    os::unix::process::CommandExt,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};
use tokio::sync::mpsc;

use super::protocol::{Reader, Request, Response, now, write};
use crate::kafka::{
    connection::Connection,
    native::{batches, client::Client},
};

/// How many responses wait to be written.
const WAITING_RESPONSES: usize = 64;

/// The limit of the process's memory, in bytes. Stacks count whole, though they are hardly filled:
/// librdkafka has a thread for each broker, and two clients live for a moment while one replaces the
/// other. So 500 brokers need some 500 MB of this limit, and a tenth of it as real memory, which the
/// launcher bounds for all processes together.
const MAX_MEMORY: u64 = 640 << 20;

/// The size of the stack of librdkafka's threads, in bytes. By default it is 8 MB, and then the
/// memory is exhausted by some 40 brokers.
const STACK: u64 = 512 << 10;

/// Bounds the stacks of the process's threads. The C library reads their size when a program starts,
/// so the program starts once more. To be called first, before there are other threads.
///
/// # Errors
/// When the limit cannot be set, or the program cannot be started again.
pub fn limit_stacks() -> std::io::Result<()> {
    let limit = getrlimit(Resource::Stack);
    if limit.current.is_some_and(|size| size <= STACK) {
        return Ok(());
    }
    setrlimit(Resource::Stack, Rlimit { current: Some(STACK), maximum: limit.maximum })?;
    Err(Command::new("/proc/self/exe").args(env::args_os().skip(1)).exec())
}

/// Answers the calls on standard input, on standard output, until the input ends. Then it kills the
/// process: the operator is gone, and neither a call that hangs nor one that may still commit must
/// outlive it.
///
/// # Errors
/// When the process's limits cannot be set; otherwise it does not return.
pub async fn serve() -> std::io::Result<()> {
    // No core dump, which would contain secrets; and bounded memory, see `MAX_MEMORY`.
    for (resource, most) in [(Resource::Core, 0), (Resource::Data, MAX_MEMORY)] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    // A task that panics would leave a call without a response.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        end()
    }));
    let (mut input, mut output) = (Reader::new(tokio::io::stdin()), tokio::io::stdout());
    let Ok(Some(connection)) = input.next::<Connection>().await else { end() };
    let allowed_until = Arc::new(AtomicU64::new(0));
    let allowed = Arc::clone(&allowed_until);
    let allowance = Arc::new(move || match allowed.load(Ordering::SeqCst) {
        u64::MAX => Duration::MAX,
        until => Duration::from_millis(until.saturating_sub(now())),
    });
    let client = Arc::new(Client::new(&connection, allowance).map_err(|raw| batches::no_client(&raw)));
    let (responses, mut waiting) = mpsc::channel::<Response>(WAITING_RESPONSES);
    tokio::spawn(async move {
        while let Some(response) = waiting.recv().await {
            if write(&mut output, &response).await.is_err() {
                end();
            }
        }
    });
    while let Ok(Some(request)) = input.next::<Request>().await {
        match request {
            Request::Allowed(until) => allowed_until.store(until, Ordering::SeqCst),
            Request::Call { number, call, allowed_until: until } => {
                if let Some(until) = until {
                    allowed_until.store(until, Ordering::SeqCst);
                }
                let (client, responses) = (Arc::clone(&client), responses.clone());
                tokio::spawn(async move {
                    let reply = match client.as_ref() {
                        Ok(client) => call.run(client).await,
                        Err(error) => Err(error.clone()),
                    };
                    let _ = responses.send(Response { number, reply }).await;
                });
            }
        }
    }
    end()
}

/// Kills the process. No exit handler runs, which librdkafka's threads could block.
fn end() -> ! {
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}
