//! PURE: from the operations that a broker lists as allowed (KIP-430) to whether reading is.

use crate::{
    kafka::{
        diagnostics::error_codes,
        ffi::{Fault, Operations},
    },
    machine::facts::KafkaErrorKind,
};

/// librdkafka's numbers for `ALL` and `READ` (`rd_kafka_AclOperation_t`). Brokers list `READ` where `ALL` is allowed.
const ALL: i32 = 2;
const READ: i32 = 3;

/// Whether reading is allowed; `None` when the broker does not say, or knows nothing by that name.
///
/// A broker that refuses the question itself refuses reading too: `READ` implies `DESCRIBE`, so who may not describe was not
/// given `READ` (or was denied `DESCRIBE`, without which no reset can do its work either).
///
/// # Errors
/// When nobody answered.
pub(super) fn may_read(answer: Result<Operations, Fault>) -> Result<Option<bool>, Fault> {
    let fault = match answer {
        Ok(operations) => return Ok(operations.map(|allowed| allowed.contains(&READ) || allowed.contains(&ALL))),
        Err(fault) => fault,
    };
    match error_codes::kind(fault.code) {
        KafkaErrorKind::Authorization => Ok(Some(false)),
        KafkaErrorKind::Unreachable
        | KafkaErrorKind::Timeout
        | KafkaErrorKind::SecretUnavailable
        | KafkaErrorKind::SecretInvalid
        | KafkaErrorKind::Tls
        | KafkaErrorKind::TokenEndpoint
        | KafkaErrorKind::NotAllowed
        | KafkaErrorKind::Authentication
        | KafkaErrorKind::Coordinator => Err(fault),
        KafkaErrorKind::UnknownMember
        | KafkaErrorKind::UnknownTopicOrPartition
        | KafkaErrorKind::Leader
        | KafkaErrorKind::GroupNotFound
        | KafkaErrorKind::UnsupportedGroupType
        | KafkaErrorKind::OtherCluster
        | KafkaErrorKind::UnsupportedForMessageFormat
        | KafkaErrorKind::UnstableOffset
        | KafkaErrorKind::Server
        | KafkaErrorKind::Other => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn fault(code: i32) -> Result<Operations, Fault> {
        Err(Fault { code, text: "in words".into() })
    }

    #[rstest]
    #[case::read_delete_describe(Ok(Some(vec![3, 6, 8])), Some(true))]
    #[case::all(Ok(Some(vec![2])), Some(true))]
    #[case::describe_only(Ok(Some(vec![8])), Some(false))]
    #[case::nothing(Ok(Some(vec![])), Some(false))]
    #[case::of_the_future(Ok(Some(vec![99])), Some(false))]
    #[case::not_said(Ok(None), None)]
    #[case::topic_refused(fault(29), Some(false))]
    #[case::group_refused(fault(30), Some(false))]
    #[case::no_such_topic(fault(3), None)]
    #[case::no_such_group(fault(69), None)]
    #[case::of_another_kind(fault(-186), None)]
    #[case::without_a_leader(fault(5), None)]
    fn reading_is_allowed_when_the_broker_lists_it(#[case] answer: Result<Operations, Fault>, #[case] expected: Option<bool>) {
        assert_eq!(may_read(answer), Ok(expected));
    }

    #[rstest]
    #[case::silence(-185)]
    #[case::no_broker(-187)]
    #[case::wrong_password(58)]
    #[case::no_coordinator(16)]
    fn no_answer_is_no_refusal(#[case] code: i32) {
        assert_eq!(may_read(fault(code)).unwrap_err().code, code);
    }
}
