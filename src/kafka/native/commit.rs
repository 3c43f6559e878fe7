//! Commits offsets and removes them, part by part, for as long as that is allowed.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use rdkafka::consumer::Consumer;

use super::{
    batches,
    parts::{self, Parts, coordinator_error},
    session::{Native, Session},
};
use crate::{
    kafka::{
        diagnostics::error_codes,
        ffi::{self, Answers, Handle, PartOutcome, RawError},
        port::Allowance,
    },
    machine::facts::{Committed, KafkaError, KafkaErrorKind, PerPartition, TopicPartition},
};

/// The time limit of a request.
pub(super) const REQUEST_LIMIT: Duration = Duration::from_secs(15);

/// A commit is not sent when less time than this remains for it.
const SHORTEST_COMMIT: Duration = Duration::from_millis(100);

/// How many parts are sent at once. A broker handles the requests of a connection one after another; with two in flight it has the
/// next one while the client reads an answer. More would only wait there, within the same time limit, and past the end of the allowance.
const PARTS_AT_ONCE: usize = 2;

/// librdkafka's code for a timeout.
const TIMED_OUT: i32 = -185;

/// The rights that a refused removal of offsets needs: a commit needs only Read on the group.
const NEEDS_DELETE: &str =
    "to remove committed offsets the operator needs the operation Delete on the group, and Read on the topic";

pub(super) fn handle(native: &Native) -> Handle {
    Handle::new(native.client().native_ptr())
}

pub(super) fn about(group: &str) -> String {
    format!("group {group}")
}

pub(super) fn without_coordinator_error<T>(answers: &Answers<T>) -> bool {
    coordinator_error(answers).is_none()
}

/// Commits offsets.
///
/// # Errors
/// When all parts of the first two have failed as a whole, with errors of one kind.
pub(super) fn commit(
    session: &Session,
    allowance: &Allowance,
    group: &str,
    offsets: &[(TopicPartition, Committed)],
) -> Result<PerPartition<()>, KafkaError> {
    let parts = batches::commit_chunks(group, offsets);
    in_parts(session, allowance, group, &parts, |(at, _)| at, ffi::alter)
}

/// Removes committed offsets. A group that no longer exists has none, so the removal has succeeded. Any other refusal of
/// the whole request is one of each partition, as it is for commits.
///
/// # Errors
/// When all parts of the first two have failed as a whole, with errors of one kind, unless it is known that nothing was removed.
pub(super) fn delete(
    session: &Session,
    allowance: &Allowance,
    group: &str,
    partitions: &[TopicPartition],
) -> Result<PerPartition<()>, KafkaError> {
    let parts: Vec<&[TopicPartition]> = partitions.chunks(batches::PARTITIONS_PER_COMMIT).collect();
    let all = |answer: Result<(), KafkaError>| partitions.iter().map(|at| (at.clone(), answer.clone())).collect();
    match in_parts(session, allowance, group, &parts, |at| at, ffi::delete) {
        Ok(mut answers) => {
            // The group of a part that was sent twice, or of the parts after another client has deleted it.
            let is_gone =
                |answer: &Result<(), KafkaError>| matches!(answer, Err(error) if error.kind == KafkaErrorKind::GroupNotFound);
            answers.values_mut().filter(|answer| is_gone(answer)).for_each(|answer| *answer = Ok(()));
            Ok(answers)
        }
        Err(error) => match error.kind {
            KafkaErrorKind::GroupNotFound => Ok(all(Ok(()))),
            KafkaErrorKind::Authorization => {
                let message = format!("{}; {NEEDS_DELETE}", error.message);
                Ok(all(Err(KafkaError::new(error.kind, message))))
            }
            KafkaErrorKind::UnknownMember | KafkaErrorKind::Other => Ok(all(Err(error))),
            _ => Err(error),
        },
    }
}

/// Sends a request for each part, two at once. Once a part has no answer, or the coordinator did not accept it after all
/// attempts, the next two are not sent: the consumers wait at zero meanwhile.
///
/// The allowance is read before each attempt to send two parts, and is their time limit. librdkafka uses the same clock, so a
/// request that waits in librdkafka for a coordinator or a connection while the process is frozen times out unsent.
fn in_parts<T>(
    session: &Session,
    allowance: &Allowance,
    group: &str,
    parts: &[&[T]],
    at: impl Fn(&T) -> &TopicPartition,
    send: impl Fn(Handle, &str, &[&[T]], Duration) -> Vec<PartOutcome>,
) -> Result<PerPartition<()>, KafkaError> {
    let mut answers: PerPartition<()> = BTreeMap::new();
    let mut stopped_by: Option<KafkaError> = None;
    for together in parts.chunks(PARTS_AT_ONCE) {
        if let Some(earlier) = &stopped_by {
            let message = format!("not sent, because an earlier part of the commit failed: {}", earlier.message);
            let error = KafkaError::new(earlier.kind, message);
            answers.extend(together.iter().copied().flatten().map(|entry| (at(entry).clone(), Err(error.clone()))));
            continue;
        }
        let outcomes = at_once(session, allowance, group, together, &send);
        if answers.is_empty()
            && let Some(raw) = parts::failed_as_a_whole(&outcomes)
        {
            return Err(error_codes::error(raw, &about(group)));
        }
        for (part, outcome) in together.iter().zip(outcomes) {
            let unknown = outcome.as_ref().err().filter(|raw| parts::is_unknown(raw));
            let stops = parts::refused_by_coordinator(&outcome).or(unknown);
            stopped_by = stopped_by.or_else(|| stops.map(|raw| error_codes::error(raw, &about(group))));
            let asked = part.iter().map(&at);
            match outcome {
                Ok(found) => answers.extend(batches::complete(asked, found)),
                Err(raw) => {
                    let error = error_codes::error(&raw, &about(group));
                    answers.extend(asked.map(|at| (at.clone(), Err(error.clone()))));
                }
            }
        }
    }
    Ok(answers)
}

/// Sends the parts at once, and awaits them all. Those that the coordinator did not accept are sent again.
fn at_once<T>(
    session: &Session,
    allowance: &Allowance,
    group: &str,
    together: &[&[T]],
    send: impl Fn(Handle, &str, &[&[T]], Duration) -> Vec<PartOutcome>,
) -> Vec<PartOutcome> {
    let parts = RefCell::new(Parts::new(together.len()));
    // Sent again after a coordinator's error: to write the same offsets twice, or to remove offsets that do not exist, changes nothing.
    let ask = |native: &Native| {
        let unsettled: Vec<&[T]> = parts.borrow().unsettled().into_iter().map(|number| together[number]).collect();
        match allowance() {
            left if left < SHORTEST_COMMIT => Err(RawError {
                code: TIMED_OUT,
                text: "not sent: this operator can no longer be sure that it is the leader".into(),
            }),
            left => parts.borrow_mut().take(send(handle(native), group, &unsettled, left.min(REQUEST_LIMIT))),
        }
    };
    let last = session.with_coordinator(group, ask, Vec::is_empty);
    parts.into_inner().end(last)
}
