//! Errors of the API server: their words, and which of them a retry cannot change.

/// The API server's own message and reason where there are any, for status messages, Events and logs.
pub(super) fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.reason),
        other => other.to_string(),
    }
}

/// Whether the API server refused the request itself, so that the same request would be refused again. Too many
/// requests (429) and every 5xx pass by themselves.
pub(super) fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if (400..429).contains(&status.code))
}
