//! The phases that a pass enters, with their lines in the log and their spans.

use jiff::Timestamp;
use kube::ResourceExt;

use crate::{
    api::{OffsetReset, OffsetResetStatus, Phase},
    observability::traces::{self, TracedPhase},
};

/// A phase that was entered.
pub(super) struct Entered {
    pub phase: Phase,
    /// When, as the status says.
    pub at: Timestamp,
    reason: &'static str,
    /// The message of the status.
    detail: String,
    /// The phase before, and the reason at its end.
    before: Option<(TracedPhase, &'static str)>,
    /// When the operator first saw the reset.
    first_seen: Option<Timestamp>,
}

/// The phase that a change of the status enters.
pub(super) fn entered(old: &OffsetResetStatus, new: &OffsetResetStatus, now: Timestamp) -> Option<Entered> {
    let phase = new.phase.filter(|_| new.phase != old.phase)?;
    let at = new.phase_start_time.as_ref().map_or(now, |time| time.0);
    let reason = |status: &OffsetResetStatus| status.reason.map_or("", |reason| reason.as_str());
    let before = TracedPhase::of(old).map(|phase| (phase, reason(old)));
    let first_seen = new.start_time.as_ref().map(|time| time.0);
    Some(Entered { phase, at, reason: reason(new), detail: new.explanation(), before, first_seen })
}

/// Writes the spans of the phase before, and of the reset if it has ended.
pub(super) fn trace_phase(reset: &OffsetReset, entered: &Entered) {
    if let Some((phase, reason)) = entered.before {
        traces::phase_is_over(reset, phase, entered.at, reason);
    }
    if let Some(start) = entered.first_seen.filter(|_| entered.phase.is_terminal()) {
        traces::reset_is_over(reset, (start, entered.at), entered.phase, entered.reason);
    }
}

/// The status message goes into the field `detail`: the text of the event has the key `message` in JSON.
pub(super) fn log_phase(reset: &OffsetReset, entered: &Entered) {
    tracing::info!(
        namespace = reset.namespace(),
        name = reset.name_any(),
        uid = reset.uid(),
        phase = entered.phase.as_str(),
        reason = entered.reason,
        detail = entered.detail,
        "phase changed"
    );
}

#[cfg(test)]
mod tests {
    use std::{io::Write, sync::Arc};

    use parking_lot::Mutex;
    use serde_json::json;

    use super::*;

    /// A log in memory.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_json_line_of_a_phase_has_each_key_once() {
        let reset: OffsetReset = serde_json::from_value(json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "replay", "namespace": "shop", "uid": "0-1"},
            "spec": {"kafka": {"bootstrapServers": "k:1"}, "group": "orders"},
            "status": {"observedGeneration": 1, "phase": "Draining", "reason": "WaitingForGroup", "message": "1 of 3 members"},
        }))
        .unwrap();
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let entered = entered(&OffsetResetStatus::default(), reset.status.as_ref().unwrap(), Timestamp::UNIX_EPOCH);
            log_phase(&reset, &entered.unwrap());
        });
        let line = String::from_utf8(log.0.lock().clone()).unwrap();
        let keys = ["message", "detail", "phase", "reason", "namespace", "name", "uid"];
        assert!(keys.iter().all(|key| line.matches(&format!("\"{key}\":")).count() == 1), "{line}");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["message"], &line["detail"]), (&json!("phase changed"), &json!("1 of 3 members")));
    }
}
