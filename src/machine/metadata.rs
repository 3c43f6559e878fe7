//! The metadata string that Kafka stores beside a committed offset, and what of it a partition has
//! recorded: the one before, and the one that an undo restores.
//!
//! Some consumers keep state in it that belongs to its offset, such as the records after the offset
//! that are processed already. So it is restored only together with its own offset.

use std::fmt;

use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};

use crate::api::PartitionStatus;

/// The string that a consumer stores beside a committed offset. Bytes: Kafka's protocol has UTF-8
/// there, and not every broker checks it. Some consumers keep state in it, so it is kept as it is.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Recorded", into = "Recorded")]
pub struct Metadata(Vec<u8>);

/// As it is recorded in JSON: as text where it is text, and in base64 otherwise.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Recorded {
    Text(String),
    Bytes { base64: ByteString },
}

impl Metadata {
    /// Whether there is none: Kafka does not tell none from an empty one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its length in bytes, which a broker limits.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The bytes as they are.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, where it is UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}

impl PartialEq<&str> for Metadata {
    fn eq(&self, text: &&str) -> bool {
        self.0 == text.as_bytes()
    }
}

impl From<&str> for Metadata {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Metadata {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<Vec<u8>> for Metadata {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<Recorded> for Metadata {
    fn from(recorded: Recorded) -> Self {
        match recorded {
            Recorded::Text(text) => text.into(),
            Recorded::Bytes { base64 } => base64.0.into(),
        }
    }
}

impl From<Metadata> for Recorded {
    fn from(metadata: Metadata) -> Self {
        match String::from_utf8(metadata.0) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Bytes { base64: ByteString(error.into_bytes()) },
        }
    }
}

/// Records the metadata that stands beside the committed offset before the reset.
pub fn record_before(planned: &mut PartitionStatus, found: Option<&Metadata>) {
    let found = found.filter(|metadata| !metadata.is_empty());
    (planned.before_metadata, planned.before_metadata_base64) = found.map_or((None, None), fields);
}

/// The metadata that stood beside the committed offset before the reset; empty when there was none.
pub fn before(planned: &PartitionStatus) -> Metadata {
    of_fields(planned.before_metadata.as_ref(), planned.before_metadata_base64.as_ref()).unwrap_or_default()
}

/// Records the metadata that is to be restored.
pub fn record_target(planned: &mut PartitionStatus, metadata: &Metadata) {
    (planned.target_metadata, planned.target_metadata_base64) = fields(metadata);
}

/// The metadata to restore, if any: the target may have been moved away from its offset.
pub fn to_restore(planned: &PartitionStatus) -> Option<Metadata> {
    let metadata = of_fields(planned.target_metadata.as_ref(), planned.target_metadata_base64.as_ref());
    let own = if planned.undone.is_some() { planned.before } else { planned.requested_offset };
    metadata.filter(|_| own == planned.target_offset)
}

/// Whether the metadata that is to be restored stays behind, because its offset is out of range.
pub fn stays_behind(planned: &PartitionStatus) -> bool {
    let metadata = of_fields(planned.target_metadata.as_ref(), planned.target_metadata_base64.as_ref());
    metadata.is_some_and(|metadata| !metadata.is_empty()) && to_restore(planned).is_none()
}

/// The beginning of the metadata string of every OffsetReset's commits.
const MARK: &str = "offset-reset/";

/// The OffsetReset, as namespace/name, that has set an offset with this metadata, and its UID.
fn marked(metadata: &Metadata) -> Option<(&str, &str)> {
    let (name, uid) = without_reason(metadata.text()?).strip_prefix(MARK)?.rsplit_once('/')?;
    Some((name, uid))
}

/// The mark alone: spec.reason follows after the first space, and no name or UID has one.
pub fn without_reason(marker: &str) -> &str {
    marker.split(' ').next().unwrap_or_default()
}

/// Whether metadata that was sent is a mark with a reason after it.
pub fn has_reason(sent: &Metadata) -> bool {
    sent.text().is_some_and(|text| text.starts_with(MARK) && text.contains(' '))
}

/// The OffsetReset other than the one with this UID that has set an offset, as namespace/name.
pub fn set_by(found: &Metadata, own_uid: &str) -> Option<String> {
    marked(found).filter(|(_, uid)| *uid != own_uid).map(|(name, _)| name.to_owned())
}

/// The OffsetReset of another name that has set an offset since the plan became final, as
/// namespace/name. One of this name is an earlier run of the same spec, which is continued.
pub fn set_meanwhile_by(found: &Metadata, planned: &PartitionStatus, own_marker: &str) -> Option<String> {
    let own = marked(&own_marker.into()).map(|(name, _)| name.to_owned());
    let (name, _) = marked(found)?;
    let is_new = *found != before(planned) && to_restore(planned).as_ref() != Some(found);
    (is_new && own.as_deref() != Some(name)).then(|| name.to_owned())
}

/// As text, or in base64 where it is not UTF-8: a status is JSON.
fn fields(metadata: &Metadata) -> (Option<String>, Option<ByteString>) {
    match metadata.text() {
        Some(text) => (Some(text.to_owned()), None),
        None => (None, Some(ByteString(metadata.as_bytes().to_vec()))),
    }
}

fn of_fields(text: Option<&String>, bytes: Option<&ByteString>) -> Option<Metadata> {
    text.map(|text| text.as_str().into()).or_else(|| bytes.map(|bytes| bytes.0.clone().into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn metadata_of_any_bytes_survives_json(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let metadata = Metadata::from(bytes);
            let json = serde_json::to_string(&metadata).unwrap();
            prop_assert_eq!(serde_json::from_str::<Metadata>(&json).unwrap(), metadata);
        }
    }

    #[test]
    fn the_mark_is_read_whatever_the_reason_after_it_is() {
        let by = |text: &str| set_by(&text.into(), "own");
        assert_eq!(by("offset-reset/shop/replay/uid").as_deref(), Some("shop/replay"));
        assert_eq!(by("offset-reset/shop/replay/uid INC-4711: see https://wiki/a/b").as_deref(), Some("shop/replay"));
        assert_eq!(by("offset-reset/shop/replay/own because"), None);
        assert_eq!(by("of the application / x"), None);
        assert!(has_reason(&"offset-reset/shop/replay/uid why".into()) && !has_reason(&"offset-reset/shop/replay/uid".into()));
        assert!(!has_reason(&"of the application".into()));
    }

    #[test]
    fn text_is_recorded_as_text_and_other_bytes_in_base64() {
        let recorded = |metadata: Metadata| serde_json::to_string(&metadata).unwrap();
        assert_eq!(recorded("bAAkAAoA".into()), "\"bAAkAAoA\"");
        assert_eq!(recorded(vec![0xff, 0].into()), "{\"base64\":\"/wA=\"}");
        assert_eq!(Metadata::from(vec![0xff, 0]).text(), None);
    }
}
