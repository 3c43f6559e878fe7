//! PURE: whether reading is among the operations that a broker reports as allowed (KIP-430).

use crate::{
    kafka::{
        diagnostics::error_codes,
        ffi::{Operations, RawError},
    },
    machine::facts::KafkaErrorKind,
};

/// librdkafka's numbers for `ALL` and `READ` (`rd_kafka_AclOperation_t`). Brokers list `READ` where
/// `ALL` is allowed.
const ALL: i32 = 2;
const READ: i32 = 3;

/// Whether reading is allowed; `None` when the broker does not report it, or does not know the
/// group or topic.
///
/// A broker that refuses to describe refuses reading too: `READ` implies `DESCRIBE`, so a user who
/// may not describe was not given `READ` (or was denied `DESCRIBE`, which every reset needs too).
///
/// # Errors
/// When no broker answered.
pub(super) fn may_read(answer: Result<Operations, RawError>) -> Result<Option<bool>, RawError> {
    let raw = match answer {
        Ok(operations) => return Ok(operations.map(|allowed| allowed.contains(&READ) || allowed.contains(&ALL))),
        Err(raw) => raw,
    };
    match error_codes::kind(raw.code) {
        KafkaErrorKind::Authorization => Ok(Some(false)),
        kind if kind == KafkaErrorKind::Coordinator || error_codes::outcome_unknown(kind) => Err(raw),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn failed(code: i32) -> Result<Operations, RawError> {
        Err(RawError { code, text: "a text".into() })
    }

    #[rstest]
    #[case::read_delete_describe(Ok(Some(vec![3, 6, 8])), Some(true))]
    #[case::all(Ok(Some(vec![2])), Some(true))]
    #[case::describe_only(Ok(Some(vec![8])), Some(false))]
    #[case::nothing(Ok(Some(vec![])), Some(false))]
    #[case::of_the_future(Ok(Some(vec![99])), Some(false))]
    #[case::not_reported(Ok(None), None)]
    #[case::topic_refused(failed(29), Some(false))]
    #[case::group_refused(failed(30), Some(false))]
    #[case::no_such_topic(failed(3), None)]
    #[case::no_such_group(failed(69), None)]
    #[case::of_another_kind(failed(-186), None)]
    #[case::without_a_leader(failed(5), None)]
    fn reading_is_allowed_when_the_broker_lists_it(#[case] answer: Result<Operations, RawError>, #[case] expected: Option<bool>) {
        assert_eq!(may_read(answer), Ok(expected));
    }

    #[rstest]
    #[case::timed_out(-185)]
    #[case::no_broker(-187)]
    #[case::wrong_password(58)]
    #[case::no_coordinator(16)]
    fn a_missing_answer_is_not_a_refusal(#[case] code: i32) {
        assert_eq!(may_read(failed(code)).unwrap_err().code, code);
    }
}
