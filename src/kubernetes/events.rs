//! Events on the `OffsetReset` and on the workloads it stops. A failure to publish never fails a pass, and no pass waits for an
//! Event: consumers may be at zero.

use std::{collections::HashMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource, ResourceExt,
    runtime::{
        events::{Event, EventType, Recorder, Reporter},
        reflector::ObjectRef,
    },
};
use parking_lot::Mutex;

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

/// Recorders, each for one message. A recorder counts an Event that it has published before in the Event's series, and counts two with
/// the same reason on the same object as one, whatever their messages are (kube-runtime 5.0): the second warning of a plan would not be
/// published.
type ByMessage = HashMap<String, Recorder>;

/// The most messages with a recorder. The API server may refuse a restore with other words each time, for days.
const MAX_MESSAGES: usize = 64;

/// Publishes Events.
#[derive(Clone)]
pub struct Announcer {
    client: Client,
    reporter: Reporter,
    /// For Events that do not come from a decision.
    others: Arc<Mutex<ByMessage>>,
    /// Those of each reset. They keep each Event for six minutes, and their maps never shrink: those of all resets would stay as large as
    /// they were after the most resets at once.
    of_resets: Arc<Mutex<HashMap<ObjectRef<OffsetReset>, ByMessage>>>,
    outbox: Arc<Outbox>,
}

impl Announcer {
    /// Publishes through this client; `instance` is the pod's name, where it is known. To be called in a runtime.
    #[must_use]
    pub fn new(client: Client, instance: Option<String>) -> Self {
        let reporter = Reporter { controller: FIELD_MANAGER.into(), instance };
        Self { client, reporter, others: Arc::default(), of_resets: Arc::default(), outbox: Arc::default() }
    }

    /// Publishes the notes of a decision, each on the `OffsetReset` and, where it is about a target, on that workload too. One like
    /// an earlier one is counted with it, until [`Self::forget`] is called.
    pub fn announce(&self, reset: &OffsetReset, targets: &[TargetStatus], notes: &[Note]) {
        for note in notes {
            let recorder = self.recorder_of(reset, &note.message);
            let note = &Note { message: with_reason(&note.message, reset.spec.reason.as_deref()), ..note.clone() };
            self.publish(&recorder, note, reset.object_ref(&()));
            if let Some(target) = note.target.and_then(|index| targets.get(index)) {
                let message = shorten(&format!("OffsetReset {}: {}", reset.name_any(), note.message));
                let on_target = Note { message, ..note.clone() };
                self.publish(&recorder, &on_target, target_ref(reset, target));
            }
        }
    }

    /// Drops what is kept to count the Events of a reset whose run has ended, or that is gone. Those that wait are still published.
    pub fn forget(&self, reset: &ObjectRef<OffsetReset>) {
        self.of_resets.lock().remove(reset);
    }

    fn recorder_of(&self, reset: &OffsetReset, message: &str) -> Recorder {
        self.recorder(self.of_resets.lock().entry(ObjectRef::from_obj(reset)).or_default(), message)
    }

    fn recorder(&self, by_message: &mut ByMessage, message: &str) -> Recorder {
        if by_message.len() >= MAX_MESSAGES && !by_message.contains_key(message) {
            by_message.clear();
        }
        let new = || Recorder::new(self.client.clone(), self.reporter.clone());
        by_message.entry(message.to_owned()).or_insert_with(new).clone()
    }

    /// Publishes a note that does not come from a decision.
    fn publish_other(&self, note: &Note, on: ObjectReference) {
        let recorder = self.recorder(&mut self.others.lock(), &note.message);
        self.publish(&recorder, note, on);
    }

    /// Publishes on an `OffsetReset` that it cannot be decoded. The status of such an object cannot be written either.
    pub fn announce_undecodable(&self, on: &ObjectReference, why: &str) {
        let message = format!(
            "this object is not a valid OffsetReset, so it is ignored: {why}. Delete it and create it again with a valid spec"
        );
        let note = Note { warning: true, reason: Reason::InvalidSpec, message, target: None };
        self.publish_other(&note, on.clone());
    }

    /// Publishes on a finished `OffsetReset`, at the end of its time to live, that the API server refuses to delete it.
    pub fn announce_not_deleted(&self, reset: &OffsetReset, why: &str) {
        let message = format!(
            "The API server refuses to delete this OffsetReset, whose ttlSecondsAfterFinished has passed. Nothing is held for \
             it, and the operator tries again every ten minutes. Allow the operator to delete OffsetResets (deploy/rights), or \
             delete this OffsetReset yourself. The API server's answer: {why}"
        );
        let note = Note { warning: true, reason: Reason::NotDeleted, message, target: None };
        self.publish_other(&note, reset.object_ref(&()));
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
        self.publish_other(&note, on);
    }

    /// Waits until the Events so far are published, or for `limit`.
    pub async fn flush(&self, limit: Duration) {
        self.outbox.flush(limit).await;
    }

    fn publish(&self, recorder: &Recorder, note: &Note, on: ObjectReference) {
        let event = Event {
            type_: if note.warning { EventType::Warning } else { EventType::Normal },
            reason: note.reason.as_str().to_owned(),
            note: Some(shorten(&note.message)),
            action: "ResetOffsets".into(),
            secondary: None,
        };
        let (recorder, reason) = (recorder.clone(), note.reason.as_str());
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
    use std::task::{Context, Poll};

    use futures::future::BoxFuture;
    use serde_json::json;

    use super::*;

    /// Records the method and the object of each Event that is sent, and answers as an API server does.
    #[derive(Clone, Default)]
    struct Sent(Arc<Mutex<Vec<String>>>);

    impl tower::Service<http::Request<kube::client::Body>> for Sent {
        type Response = http::Response<kube::client::Body>;
        type Error = kube::Error;
        type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: http::Request<kube::client::Body>) -> Self::Future {
            let sent = Arc::clone(&self.0);
            Box::pin(async move {
                let (method, body) = (request.method().clone(), request.into_body().collect_bytes().await?);
                let event: serde_json::Value = serde_json::from_slice(&body).map_err(kube::Error::SerdeError)?;
                let (on, count) = (&event["regarding"]["name"], &event["series"]["count"]);
                sent.lock().push(format!("{method} {} {count}", on.as_str().unwrap_or_default()));
                Ok(http::Response::new(kube::client::Body::from(body.to_vec())))
            })
        }
    }

    #[tokio::test]
    async fn an_event_is_counted_with_an_earlier_one_of_the_same_run_only() {
        let sent = Sent::default();
        let announcer = Announcer::new(Client::new(sent.clone(), "shop"), None);
        let reset = |name: &str| -> OffsetReset {
            serde_json::from_value(json!({
                "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset",
                "metadata": {"name": name, "namespace": "shop", "uid": name},
                "spec": {"kafka": {"bootstrapServers": "k:1"}, "group": "g", "resets": [{"topic": "t", "offset": 1}]},
            }))
            .unwrap()
        };
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "1", "originalReplicas": 1});
        let targets: Vec<TargetStatus> = vec![serde_json::from_value(target).unwrap()];
        let announce_as = async |name: &str, message: &str| {
            let note = Note { warning: true, reason: Reason::InvalidSpec, message: message.into(), target: Some(0) };
            announcer.announce(&reset(name), &targets, &[note]);
            announcer.flush(Duration::MAX).await;
            let mut sent = std::mem::take(&mut *sent.0.lock());
            sent.sort();
            sent
        };
        let announce = async |name: &str| announce_as(name, "so").await;
        assert_eq!(announce("one").await, ["POST one null", "POST web null"]);
        assert_eq!(announce("one").await, ["PATCH one 2", "PATCH web 2"]);
        assert_eq!(announce_as("one", "another").await, ["POST one null", "POST web null"], "the message is another one");
        // The Event on the workload names its OffsetReset.
        assert_eq!(announce("two").await, ["POST two null", "POST web null"]);
        announcer.forget(&ObjectRef::new("one").within("shop"));
        assert_eq!(announce("one").await, ["POST one null", "POST web null"]);
        assert_eq!(announce("two").await, ["PATCH two 2", "PATCH web 2"]);
        for number in 0..2 * MAX_MESSAGES {
            announce_as("two", &number.to_string()).await;
        }
        let kept = announcer.of_resets.lock().values().map(HashMap::len).max();
        assert!(kept.is_some_and(|kept| kept <= MAX_MESSAGES), "there may be more messages without end: {kept:?}");
    }

    #[test]
    fn a_note_ends_with_the_reason_however_long_both_are() {
        assert_eq!(with_reason("The plan is complete", None), "The plan is complete");
        assert_eq!(with_reason("The plan is complete", Some("INC-1")), "The plan is complete. spec.reason: INC-1");
        let long = with_reason(&"ж".repeat(2_000), Some(&"🦀".repeat(256)));
        assert!(long.ends_with("🦀…") && long.starts_with('ж'), "{long}");
        assert!(long.len() + "OffsetReset : ".len() + 150 <= MAX_NOTE);
    }
}
