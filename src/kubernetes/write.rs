//! How a write ended: one type, and one rule for every object that the operator writes.

use super::errors::{describe, is_refusal};

/// The result of a write that is certain. Where the outcome is unknown (no answer, or the API server is in trouble), the
/// write returns the `kube::Error` instead, and the next pass reads the object again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome<T> {
    /// Written, with what the API server returned.
    Done(T),
    /// The object has changed since it was read, exists already or is gone. Nothing was written: read it again.
    Stale,
    /// The API server refused the write, and would refuse it again; its message.
    Refused(String),
}

impl<T> WriteOutcome<T> {
    /// The same outcome with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> WriteOutcome<U> {
        match self {
            Self::Done(value) => WriteOutcome::Done(change(value)),
            Self::Stale => WriteOutcome::Stale,
            Self::Refused(why) => WriteOutcome::Refused(why),
        }
    }
}

/// What the API server's answer to a write means. Not found goes by its code: for a group that it does not serve, the API
/// server answers in plain text, without a reason.
pub(super) fn classify<T>(answer: Result<T, kube::Error>) -> Result<WriteOutcome<T>, kube::Error> {
    match answer {
        Ok(value) => Ok(WriteOutcome::Done(value)),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() || status.code == 404 => {
            Ok(WriteOutcome::Stale)
        }
        Err(error) if is_refusal(&error) => Ok(WriteOutcome::Refused(describe(&error))),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::response::Status;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::conflict(409, "Conflict", Some(WriteOutcome::Stale))]
    #[case::exists_already(409, "AlreadyExists", Some(WriteOutcome::Stale))]
    #[case::not_found(404, "NotFound", Some(WriteOutcome::Stale))]
    #[case::not_found_in_plain_text(404, "", Some(WriteOutcome::Stale))]
    #[case::forbidden(403, "Forbidden", Some(WriteOutcome::Refused("m (Forbidden)".into())))]
    #[case::invalid(422, "Invalid", Some(WriteOutcome::Refused("m (Invalid)".into())))]
    #[case::too_many_requests(429, "TooManyRequests", None)]
    #[case::internal_error(500, "InternalError", None)]
    #[case::timeout(504, "Timeout", None)]
    fn only_an_answer_that_a_retry_cannot_change_is_a_refusal(
        #[case] code: u16,
        #[case] reason: &str,
        #[case] expected: Option<WriteOutcome<()>>,
    ) {
        let answer = Err(kube::Error::Api(Box::new(Status::failure("m", reason).with_code(code))));
        assert_eq!(classify::<()>(answer).ok(), expected);
        assert_eq!(classify(Ok(7)).unwrap().map(|seven| seven + 1), WriteOutcome::Done(8));
    }
}
