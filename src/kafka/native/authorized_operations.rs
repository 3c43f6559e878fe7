//! PURE: whether reading and deleting are among the operations that a broker reports as allowed (KIP-430).

use crate::{
    kafka::{
        diagnostics::error_codes,
        ffi::{Operations, RawError},
    },
    machine::facts::KafkaErrorKind,
};

/// librdkafka's numbers for `ALL`, `READ` and `DELETE` (`rd_kafka_AclOperation_t`). Brokers list the
/// others where `ALL` is allowed.
const ALL: i32 = 2;
pub(super) const READ: i32 = 3;
pub(super) const DELETE: i32 = 6;

/// Whether each of these operations is allowed; `None` when the broker does not report it, or does not know the
/// group or topic.
///
/// A broker that refuses to describe refuses these too: each implies `DESCRIBE`, so a user who may
/// not describe was not given them (or was denied `DESCRIBE`, which every reset needs too).
///
/// # Errors
/// When no broker answered.
pub(super) fn may<const N: usize>(answer: Result<Operations, RawError>, wanted: [i32; N]) -> Result<Option<[bool; N]>, RawError> {
    let raw = match answer {
        Ok(operations) => {
            let is_allowed = |allowed: &[i32], operation| allowed.contains(&operation) || allowed.contains(&ALL);
            return Ok(operations.map(|allowed| wanted.map(|operation| is_allowed(&allowed, operation))));
        }
        Err(raw) => raw,
    };
    match error_codes::kind(raw.code) {
        KafkaErrorKind::Authorization => Ok(Some([false; N])),
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
    #[case::read_delete_describe(Ok(Some(vec![3, 6, 8])), Some([true, true]))]
    #[case::read_describe(Ok(Some(vec![3, 8])), Some([true, false]))]
    #[case::all(Ok(Some(vec![2])), Some([true, true]))]
    #[case::describe_only(Ok(Some(vec![8])), Some([false, false]))]
    #[case::nothing(Ok(Some(vec![])), Some([false, false]))]
    #[case::of_the_future(Ok(Some(vec![99])), Some([false, false]))]
    #[case::not_reported(Ok(None), None)]
    #[case::topic_refused(failed(29), Some([false, false]))]
    #[case::group_refused(failed(30), Some([false, false]))]
    #[case::no_such_topic(failed(3), None)]
    #[case::no_such_group(failed(69), None)]
    #[case::of_another_kind(failed(-186), None)]
    #[case::without_a_leader(failed(5), None)]
    fn an_operation_is_allowed_when_the_broker_lists_it(
        #[case] answer: Result<Operations, RawError>,
        #[case] expected: Option<[bool; 2]>,
    ) {
        assert_eq!(may(answer, [READ, DELETE]), Ok(expected));
    }

    #[rstest]
    #[case::timed_out(-185)]
    #[case::no_broker(-187)]
    #[case::wrong_password(58)]
    #[case::no_coordinator(16)]
    fn a_missing_answer_is_not_a_refusal(#[case] code: i32) {
        assert_eq!(may(failed(code), [READ]).unwrap_err().code, code);
    }
}
