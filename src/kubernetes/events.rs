//! Events on the `OffsetReset` and on the workloads it stops. A failure to publish never fails a pass, and no pass waits for an
//! Event: consumers may be at zero.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource, ResourceExt,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use super::{limit::limited_to, outbox::Outbox};
use crate::{
    api::{FIELD_MANAGER, OffsetReset, Reason, TargetRef, TargetStatus},
    machine::{Note, facts::Hold},
};

/// The time limit for publishing an Event.
const LIMIT: Duration = Duration::from_secs(2);

/// The longest note of an Event, in bytes (the API allows 1,024).
const MAX_NOTE: usize = 1_000;

/// The longest reason in a note, in bytes: a spec may have 256 characters of up to four.
const MAX_REASON: usize = 500;

/// The most bytes of "OffsetReset NAME: " before a note on a workload, and of the mark of a note that was cut.
const MAX_NAME: usize = 200;

/// Publishes Events.
#[derive(Clone)]
pub struct Announcer {
    recorder: Recorder,
    outbox: Arc<Outbox>,
}

impl Announcer {
    /// Publishes through this client; `instance` is the pod's name, where it is known. To be called in a runtime.
    #[must_use]
    pub fn new(client: Client, instance: Option<String>) -> Self {
        let reporter = Reporter { controller: FIELD_MANAGER.into(), instance };
        Self { recorder: Recorder::new(client, reporter), outbox: Arc::default() }
    }

    /// Publishes the notes of a decision, each on the `OffsetReset` and, where it is about a target, on that workload too.
    pub fn announce(&self, reset: &OffsetReset, targets: &[TargetStatus], notes: &[Note]) {
        for note in notes {
            let note = &Note { message: with_reason(&note.message, reset.spec.reason.as_deref()), ..note.clone() };
            self.publish(note, reset.object_ref(&()));
            if let Some(target) = note.target.and_then(|index| targets.get(index)) {
                let message = shorten(&format!("OffsetReset {}: {}", reset.name_any(), note.message));
                let on_target = Note { message, ..note.clone() };
                self.publish(&on_target, target_ref(reset, target));
            }
        }
    }

    /// Publishes on an `OffsetReset` that it cannot be decoded. The status of such an object cannot be written either.
    pub fn announce_undecodable(&self, on: &ObjectReference, why: &str) {
        let message = format!(
            "this object is not a valid OffsetReset, so it is ignored: {why}. Delete it and create it again with a valid spec"
        );
        let note = Note { warning: true, reason: Reason::InvalidSpec, message, target: None };
        self.publish(&note, on.clone());
    }

    /// Publishes on a finished `OffsetReset`, at the end of its time to live, that the API server refuses to delete it.
    pub fn announce_not_deleted(&self, reset: &OffsetReset, why: &str) {
        let message = format!(
            "The API server refuses to delete this OffsetReset, whose ttlSecondsAfterFinished has passed. Nothing is held for \
             it, and the operator tries again every ten minutes. Allow the operator to delete OffsetResets (deploy/rights), or \
             delete this OffsetReset yourself. The API server's answer: {why}"
        );
        let note = Note { warning: true, reason: Reason::NotDeleted, message, target: None };
        self.publish(&note, reset.object_ref(&()));
    }

    /// Publishes on a workload what was done for a hold whose `OffsetReset` is gone.
    pub fn announce_orphan(&self, namespace: &str, workload: &TargetRef, hold: &Hold, message: &str) {
        let on = ObjectReference {
            api_version: Some(workload.api_version.clone()),
            kind: Some(workload.kind.clone()),
            name: Some(workload.name.clone()),
            namespace: Some(namespace.to_owned()),
            uid: Some(hold.uid.clone()),
            ..ObjectReference::default()
        };
        let note = Note { warning: true, reason: Reason::OrphanedHold, message: message.to_owned(), target: None };
        self.publish(&note, on);
    }

    /// Waits until the Events so far are published, or for `limit`.
    pub async fn flush(&self, limit: Duration) {
        self.outbox.flush(limit).await;
    }

    fn publish(&self, note: &Note, on: ObjectReference) {
        let event = Event {
            type_: if note.warning { EventType::Warning } else { EventType::Normal },
            reason: note.reason.as_str().to_owned(),
            note: Some(shorten(&note.message)),
            action: "ResetOffsets".into(),
            secondary: None,
        };
        let (recorder, reason) = (self.recorder.clone(), note.reason.as_str());
        let object = on.uid.clone().unwrap_or_default();
        let published = async move {
            if let Err(error) = limited_to(LIMIT, recorder.publish(&event, &on)).await {
                tracing::warn!(%error, reason, "failed to publish an Event");
            }
        };
        if !self.outbox.post(&object, published) {
            tracing::warn!(reason, detail = note.message, "an Event was dropped, because too many Events wait to be published");
        }
    }
}

/// A note that ends with spec.reason, however long the note is.
fn with_reason(message: &str, reason: Option<&str>) -> String {
    let Some(reason) = reason else { return message.to_owned() };
    let reason = format!(". spec.reason: {}", shorten_to(reason, MAX_REASON));
    // The name of the OffsetReset comes before it on a workload.
    let room = MAX_NOTE.saturating_sub(reason.len() + MAX_NAME);
    format!("{}{reason}", shorten_to(message, room))
}

fn target_ref(reset: &OffsetReset, target: &TargetStatus) -> ObjectReference {
    ObjectReference {
        api_version: Some(target.api_version.clone()),
        kind: Some(target.kind.clone()),
        name: Some(target.name.clone()),
        namespace: reset.namespace(),
        uid: Some(target.uid.clone()),
        ..ObjectReference::default()
    }
}

fn shorten(message: &str) -> String {
    shorten_to(message, MAX_NOTE)
}

fn shorten_to(message: &str, most: usize) -> String {
    if message.len() <= most {
        return message.to_owned();
    }
    format!("{}…", &message[..message.floor_char_boundary(most)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_ends_with_the_reason_however_long_both_are() {
        assert_eq!(with_reason("The plan is complete", None), "The plan is complete");
        assert_eq!(with_reason("The plan is complete", Some("INC-1")), "The plan is complete. spec.reason: INC-1");
        let long = with_reason(&"ж".repeat(2_000), Some(&"🦀".repeat(256)));
        assert!(long.ends_with("🦀…") && long.starts_with('ж'), "{long}");
        assert!(long.len() + "OffsetReset : ".len() + 150 <= MAX_NOTE);
    }
}
