//! The process's side: one client, and whoever asks it on standard input.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::process::{Resource, Rlimit, Signal, getpid, kill_process, setrlimit};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;

use super::protocol::{Answered, Call, Told, now, read, write};
use crate::{
    kafka::{
        connection::Connection,
        native::{batches, client::Client},
        port::GroupAdmin,
    },
    machine::facts::{KafkaError, KafkaErrorKind, PerPartition},
};

/// How many answers wait to be written.
const ANSWERS: usize = 64;

/// How much memory it may have, in bytes; some 80 MB of it are stacks that are never filled.
const MOST_MEMORY: u64 = 384 << 20;

/// Answers what is asked on standard input, on standard output, until the input ends. Then the process ends at once: whoever asked is gone, and
/// nothing that hangs in here, or that still may commit, is to outlive it.
///
/// # Errors
/// When it cannot begin; otherwise it ends by itself.
pub async fn serve() -> std::io::Result<()> {
    // What is in its memory is nobody's to find on a disk; and whatever a broker answers, it alone does not fill the memory that the operator has
    // beside it.
    for (resource, most) in [(Resource::Core, 0), (Resource::Data, MOST_MEMORY)] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    // What panics would leave a question without an answer.
    let said = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        said(panic);
        end()
    }));
    let (mut input, mut output) = (tokio::io::stdin(), tokio::io::stdout());
    let Ok(Some(connection)) = read::<Connection>(&mut input).await else { end() };
    let allowed_until = Arc::new(AtomicU64::new(0));
    let allowed = Arc::clone(&allowed_until);
    let allowance = Arc::new(move || match allowed.load(Ordering::SeqCst) {
        u64::MAX => Duration::MAX,
        until => Duration::from_millis(until.saturating_sub(now())),
    });
    let client = Arc::new(Client::new(&connection, allowance).map_err(|fault| batches::no_client(&fault)));
    let (answers, mut answered) = mpsc::channel::<Answered>(ANSWERS);
    tokio::spawn(async move {
        while let Some(answer) = answered.recv().await {
            if write(&mut output, &answer).await.is_err() {
                end();
            }
        }
    });
    while let Ok(Some(told)) = read::<Told>(&mut input).await {
        match told {
            // What is said later counts, also when it is less.
            Told::Allowed(until) => allowed_until.store(until, Ordering::SeqCst),
            Told::Asked(number, call) => {
                if let Call::Commit { allowed_until: until, .. } = &call {
                    allowed_until.store(*until, Ordering::SeqCst);
                }
                let (client, answers) = (Arc::clone(&client), answers.clone());
                tokio::spawn(async move {
                    let answer = match client.as_ref() {
                        Ok(client) => answer(client, call).await,
                        Err(error) => Err(error.clone()),
                    };
                    let _ = answers.send(Answered(number, answer)).await;
                });
            }
        }
    }
    end()
}

/// As SIGKILL does: nothing is run on the way out, where librdkafka's threads may be in the way.
fn end() -> ! {
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}

async fn answer(client: &Client, call: Call) -> Result<Value, KafkaError> {
    match call {
        Call::ClusterId => value(client.cluster_id().await?),
        Call::DescribeGroup { group } => value(client.describe_group(&group).await?),
        Call::Partitions { topic } => value(client.partitions(&topic).await?),
        Call::Bounds { partitions } => each(client.bounds(&partitions).await?),
        Call::StableEnds { partitions } => each(client.stable_ends(&partitions).await?),
        Call::OffsetsForTimes { times } => each(client.offsets_for_times(&times).await?),
        Call::Committed { group, partitions } => each(client.committed(&group, &partitions).await?),
        Call::AllCommitted { group } => each(client.all_committed(&group).await?),
        Call::Commit { group, offsets, .. } => each(client.commit(&group, &offsets).await?),
        Call::RemoveMembers { group, members } => value(client.remove_members(&group, &members).await?),
        Call::Access { group, topics } => value(client.access(&group, &topics).await?),
    }
}

fn each<T: Serialize>(answers: PerPartition<T>) -> Result<Value, KafkaError> {
    value(answers.into_iter().collect::<Vec<_>>())
}

fn value(answer: impl Serialize) -> Result<Value, KafkaError> {
    // Nothing that is answered has what JSON cannot write.
    serde_json::to_value(answer).map_err(|error| KafkaError::new(KafkaErrorKind::Timeout, error.to_string()))
}
