//! Errors of the API server: their words, and which of them a retry cannot change.

use crate::machine::facts::Denial;

/// The API server's own message and reason where there are any, for status messages, Events and logs.
pub(super) fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.reason),
        other => other.to_string(),
    }
}

/// An error's message, followed by those of its sources.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some errors repeat the message of their source.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Whether the API server knows no such object, or, when objects are listed, no such kind. For a group that it does not serve it
/// answers in plain text, without a reason.
#[must_use]
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether the API server refused the request itself, so that the same request would be refused again. Too many
/// requests (429) and every 5xx pass by themselves.
pub(super) fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if (400..429).contains(&status.code))
}

/// Whether the API server has refused a request because of who sent it: not authenticated (401), or not authorized (403). An API
/// server that has just started, or an authorizer behind it, may not know all tokens and rights yet, so this may pass.
///
/// Admission denies with 403, too. Every authorizer's refusal has the same form, and no admission's has: `User "…" cannot …`.
pub(super) fn is_not_allowed(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let by_authorizer = || status.message.split_once("User \"").is_some_and(|(_, user)| user.contains("\" cannot "));
    status.code == 401 || (status.code == 403 && by_authorizer())
}

/// Why the API server refuses a request, if it does.
pub(super) fn denial(error: &kube::Error) -> Option<Denial> {
    if is_not_allowed(error) {
        Some(Denial::NotAllowed(describe(error)))
    } else {
        is_refusal(error).then(|| Denial::Refused(describe(error)))
    }
}
