//! The parsed specs, each parsed once for a generation of its object: patterns take memory and time to compile.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt;
use parking_lot::Mutex;

use super::aside::aside;
use crate::{
    api::{OffsetReset, Phase},
    kubernetes::ConfigMaps,
    machine::{
        facts::{KafkaError, KafkaErrorKind},
        request::{InvalidSpec, Request, Work},
    },
};

/// How many parsed specs are kept: those used last. Each has a megabyte of patterns at most.
const KEPT: usize = 32;

type Parsed = Arc<Result<Request, InvalidSpec>>;

/// The parsed specs that were used last.
#[derive(Default)]
pub struct Requests {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// By the UID of the object.
    by_uid: HashMap<String, Entry>,
    uses: u64,
}

struct Entry {
    version: Version,
    parsed: Parsed,
    used: u64,
}

/// All that a parsed spec depends on and that may change: the name never does, and the API server counts the generations of the
/// spec.
#[derive(Clone, PartialEq)]
struct Version {
    generation: i64,
    planning_start: Option<MicroTime>,
}

impl Requests {
    /// The spec of an object, parsed unless it is kept.
    pub(super) async fn parse(&self, reset: &OffsetReset, may_hold: bool) -> Parsed {
        let (Some(uid), Some(generation)) = (reset.uid(), reset.metadata.generation) else {
            return Arc::new(parse(reset, may_hold).await);
        };
        let planning_start = reset.status.as_ref().and_then(|status| status.planning_start_time.clone());
        let version = Version { generation, planning_start };
        if let Some(parsed) = self.kept.lock().get(&uid, &version) {
            return parsed;
        }
        let parsed = Arc::new(parse(reset, may_hold).await);
        self.kept.lock().keep(uid, version, &parsed);
        parsed
    }
}

/// Parses a spec: with patterns beside the asynchronous workers, and otherwise here. Each look at each of many finished resets parses
/// its spec again, and the asynchronous workers would go from one thread to another with each, whose stacks all stay in memory.
async fn parse(reset: &OffsetReset, may_hold: bool) -> Result<Request, InvalidSpec> {
    if reset.spec.resets.iter().any(|entry| entry.topic_pattern.is_some()) {
        aside(may_hold, || Request::parse(reset)).await
    } else {
        Request::parse(reset)
    }
}

/// The request with the lines of its file as entries, where planning needs them; or the error, where the file cannot be read.
pub(super) async fn with_file(config_maps: &ConfigMaps, parsed: &Parsed, phase: Option<Phase>) -> (Parsed, Option<KafkaError>) {
    let Ok(Request { work: Work::File(file), namespace, .. }) = parsed.as_ref() else { return (Arc::clone(parsed), None) };
    if phase != Some(Phase::Planning) {
        return (Arc::clone(parsed), None);
    }
    match config_maps.read(namespace, file).await {
        Ok(text) => {
            let read = aside(false, || parsed.as_ref().clone().and_then(|request| request.with_file(file, &text))).await;
            (Arc::new(read), None)
        }
        Err(why) => (Arc::clone(parsed), Some(KafkaError::new(KafkaErrorKind::FileUnavailable, why))),
    }
}

impl Kept {
    fn get(&mut self, uid: &str, version: &Version) -> Option<Parsed> {
        let entry = self.by_uid.get_mut(uid).filter(|entry| entry.version == *version)?;
        self.uses += 1;
        entry.used = self.uses;
        Some(Arc::clone(&entry.parsed))
    }

    fn keep(&mut self, uid: String, version: Version, parsed: &Parsed) {
        self.uses += 1;
        self.by_uid.insert(uid, Entry { version, parsed: Arc::clone(parsed), used: self.uses });
        if self.by_uid.len() > KEPT
            && let Some(oldest) = self.by_uid.iter().min_by_key(|(_, entry)| entry.used).map(|(uid, _)| uid.clone())
        {
            self.by_uid.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reset(uid: &str, generation: i64, status: &serde_json::Value) -> OffsetReset {
        serde_json::from_value(json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset",
            "metadata": {"name": "r", "namespace": "shop", "uid": uid, "generation": generation},
            "spec": {"kafka": {"bootstrapServers": "k:1"}, "group": "g", "resets": [{"topicPattern": ".*", "duration": "1h"}]},
            "status": status,
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn a_spec_is_parsed_once_until_it_changes() {
        let (requests, began) = (Requests::default(), json!({"planningStartTime": "2026-11-24T12:00:00.000000Z"}));
        let first = requests.parse(&reset("a", 1, &json!({})), false).await;
        let other_status = reset("a", 1, &json!({"message": "waiting"}));
        assert!(Arc::ptr_eq(&first, &requests.parse(&other_status, true).await));
        for changed in [reset("a", 2, &json!({})), reset("a", 2, &began), reset("b", 2, &began)] {
            let parsed = requests.parse(&changed, false).await;
            assert!(!Arc::ptr_eq(&first, &parsed));
            assert_eq!(*parsed, Request::parse(&changed));
        }
    }

    #[tokio::test]
    async fn the_specs_used_last_are_kept_and_no_more() {
        let requests = Requests::default();
        let parse = |number: usize| {
            let reset = reset(&number.to_string(), 1, &json!({}));
            async { requests.parse(&{ reset }, false).await }
        };
        let (first, second) = (parse(0).await, parse(1).await);
        for number in 2..KEPT {
            parse(number).await;
        }
        assert!(Arc::ptr_eq(&first, &parse(0).await));
        parse(KEPT).await;
        assert_eq!(requests.kept.lock().by_uid.len(), KEPT);
        assert!(Arc::ptr_eq(&first, &parse(0).await), "it was used again");
        assert!(!Arc::ptr_eq(&second, &parse(1).await), "it was used least recently");
    }
}
