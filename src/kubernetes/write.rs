//! How a write ended: one type, and one rule for every object that the operator writes.

use kube::api::{DeleteParams, Preconditions};

use super::errors::denial;
use crate::machine::facts::Denial;

/// The result of a write that is certain. Where the outcome is unknown (no answer, or the API server is in trouble), the
/// write returns the `kube::Error` instead, and the next pass reads the object again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome<T> {
    /// Written, with what the API server returned.
    Done(T),
    /// The object has changed since it was read, exists already or is gone. Nothing was written: read it again.
    Stale,
    /// The API server does not let the operator write it, or not yet; its message.
    NotAllowed(String),
    /// The API server refused the write, and would refuse it again; its message.
    Refused(String),
}

impl<T> WriteOutcome<T> {
    /// The same outcome with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> WriteOutcome<U> {
        match self {
            Self::Done(value) => WriteOutcome::Done(change(value)),
            Self::Stale => WriteOutcome::Stale,
            Self::NotAllowed(why) => WriteOutcome::NotAllowed(why),
            Self::Refused(why) => WriteOutcome::Refused(why),
        }
    }
}

/// Deletes only the version, and where a UID is given only the object, that was read.
pub(super) fn delete_only(version: Option<String>, uid: Option<String>) -> DeleteParams {
    DeleteParams::default().preconditions(Preconditions { resource_version: version, uid })
}

/// What the API server's answer to a write means. Not found goes by its code: for a group that it does not serve, the API
/// server answers in plain text, without a reason.
pub(super) fn classify<T>(answer: Result<T, kube::Error>) -> Result<WriteOutcome<T>, kube::Error> {
    match answer {
        Ok(value) => Ok(WriteOutcome::Done(value)),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() || status.code == 404 => {
            Ok(WriteOutcome::Stale)
        }
        Err(error) => match denial(&error) {
            Some(Denial::NotAllowed(why)) => Ok(WriteOutcome::NotAllowed(why)),
            Some(Denial::Refused(why)) => Ok(WriteOutcome::Refused(why)),
            None => Err(error),
        },
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
        let is_allowed = |outcome: &WriteOutcome<()>| !matches!(outcome, WriteOutcome::NotAllowed(_));
        let answer = Err(kube::Error::Api(Box::new(Status::failure("m", reason).with_code(code))));
        assert!(classify::<()>(answer).ok().is_none_or(|outcome| is_allowed(&outcome)));
        assert_eq!(classify(Ok(7)).unwrap().map(|seven| seven + 1), WriteOutcome::Done(8));
    }

    /// Messages as API servers, policies and webhooks write them.
    #[rstest]
    #[case::rbac(
        403,
        r#"deployments.apps "c" is forbidden: User "system:serviceaccount:s:o" cannot update resource "deployments/scale" in API group "apps" in the namespace "shop""#,
        true
    )]
    #[case::a_role_that_is_not_there_yet(
        403,
        r#"leases.coordination.k8s.io is forbidden: User "u" cannot create resource "leases" in API group "coordination.k8s.io" in the namespace "shop": RBAC: clusterrole.rbac.authorization.k8s.io "o" not found"#,
        true
    )]
    #[case::a_path(403, r#"forbidden: User "system:anonymous" cannot get path "/api""#, true)]
    #[case::a_token_that_is_not_known_yet(401, "Unauthorized", true)]
    #[case::a_policy(
        403,
        r#"deployments.apps "c" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: consumers stay"#,
        false
    )]
    #[case::a_webhook(403, r#"admission webhook "guard.example.com" denied the request: consumers stay"#, false)]
    #[case::a_quota(403, r#"configmaps "r" is forbidden: exceeded quota: q, requested: count/configmaps=1"#, false)]
    #[case::a_namespace_that_ends(
        403,
        r#"leases "l" is forbidden: unable to create new content in namespace shop because it is being terminated"#,
        false
    )]
    #[case::another_code(422, r#"User "u" cannot do it"#, false)]
    fn what_an_authorizer_refuses_is_told_from_what_admission_refuses(
        #[case] code: u16,
        #[case] message: &str,
        #[case] may_pass: bool,
    ) {
        let answer = Err(kube::Error::Api(Box::new(Status::failure(message, "Forbidden").with_code(code))));
        let outcome = classify::<()>(answer).unwrap();
        let expected = format!("{message} (Forbidden)");
        assert_eq!(outcome, if may_pass { WriteOutcome::NotAllowed(expected) } else { WriteOutcome::Refused(expected) });
    }
}
