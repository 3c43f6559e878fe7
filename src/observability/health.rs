//! `/livez`, `/readyz` and `/metrics`. A process that is not ready lists what it waits for; one that is not alive is restarted.
//! `/readyz` also lists warnings, such as policies that are missing.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Liveness, Metrics};

/// The conditions under which the operator is ready, all known from the start.
#[derive(Clone, Default)]
pub struct Readiness {
    conditions: Arc<Mutex<BTreeMap<&'static str, bool>>>,
    warnings: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Readiness {
    /// Not ready until each of these conditions is set.
    #[must_use]
    pub fn waiting_for(conditions: &[&'static str]) -> Self {
        let conditions = conditions.iter().map(|name| (*name, false)).collect();
        Self { conditions: Arc::new(Mutex::new(conditions)), warnings: Arc::default() }
    }

    /// Sets a condition to true or false.
    pub fn set(&self, name: &'static str, ready: bool) {
        self.conditions.lock().insert(name, ready);
    }

    /// Sets or removes a warning. The page lists warnings, and they do not change whether the operator is ready.
    pub fn warn(&self, name: &'static str, warning: Option<String>) {
        let mut warnings = self.warnings.lock();
        match warning {
            Some(warning) => warnings.insert(name, warning),
            None => warnings.remove(name),
        };
    }

    /// The warnings.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().values().cloned().collect()
    }

    /// The conditions that are not true yet.
    #[must_use]
    pub fn pending(&self) -> Vec<&'static str> {
        let conditions = self.conditions.lock();
        conditions.iter().filter(|(_, ready)| !**ready).map(|(name, _)| *name).collect()
    }
}

/// Serves until `stop` is cancelled.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    liveness: Liveness,
    metrics: Metrics,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(livez).with_state(liveness))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(encode).with_state(metrics));
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn livez(State(liveness): State<Liveness>) -> (StatusCode, String) {
    let stuck = liveness.stuck();
    if stuck.is_empty() {
        (StatusCode::OK, "ok".into())
    } else {
        tracing::error!(
            stuck = stuck.join("; "),
            "the operator is stuck, so /livez fails and the kubelet restarts the container"
        );
        (StatusCode::SERVICE_UNAVAILABLE, format!("stuck: {}", stuck.join("; ")))
    }
}

async fn readyz(State(readiness): State<Readiness>) -> (StatusCode, String) {
    let pending = readiness.pending();
    let (code, first) = if pending.is_empty() {
        (StatusCode::OK, "ok".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}", pending.join(", ")))
    };
    let warnings = readiness.warnings().into_iter().map(|warning| format!("\nwarning: {warning}"));
    (code, first + &warnings.collect::<String>())
}

async fn encode(State(metrics): State<Metrics>) -> ([(&'static str, &'static str); 1], String) {
    ([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.encode())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn ask(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn it_is_alive_before_it_is_ready_and_lists_what_it_waits_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let liveness = Liveness::default();
        let (readiness, stop) = (Readiness::waiting_for(&["crd", "controller"]), CancellationToken::new());
        let server = tokio::spawn(serve(listener, readiness.clone(), liveness.clone(), Metrics::new(&[], &[]), stop.clone()));
        assert!(ask(address, "/livez").await.starts_with("HTTP/1.1 200"));
        let answer = ask(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("waiting for: controller, crd"), "{answer}");
        readiness.set("crd", true);
        readiness.set("controller", true);
        let answer = ask(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nok"), "{answer}");
        readiness.warn("policy", Some("policy p is not enforced".into()));
        let answer = ask(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\nwarning: policy p is not enforced"), "{answer}");
        readiness.warn("policy", None);
        assert!(ask(address, "/readyz").await.ends_with("\r\n\r\nok"));
        liveness.turned("leader election", std::time::Duration::ZERO);
        let answer = ask(address, "/livez").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("stuck: leader election"), "{answer}");
        assert!(ask(address, "/metrics").await.contains("offset_reset_reconcile"));
        stop.cancel();
        server.await.unwrap().unwrap();
    }
}
