//! Errors of the API server.

/// An API error in words for people: the API server's own message where there is one.
pub(super) fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.reason),
        other => other.to_string(),
    }
}
