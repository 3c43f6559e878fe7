//! The metadata string of a partition's commits: the one before, and the one that an undo restores.
//!
//! Some consumers keep state in it that belongs to its offset, such as the records after the offset
//! that are processed already. So it is restored only together with its own offset.

use k8s_openapi::ByteString;

use crate::api::PartitionStatus;
use crate::machine::facts::Metadata;

/// Records the metadata that stands beside the committed offset before the reset.
pub(in crate::machine) fn record_before(planned: &mut PartitionStatus, found: Option<&Metadata>) {
    let found = found.filter(|metadata| !metadata.is_empty());
    (planned.before_metadata, planned.before_metadata_base64) = found.map_or((None, None), fields);
}

/// The metadata that stood beside the committed offset before the reset; empty when there was none.
pub(in crate::machine) fn before(planned: &PartitionStatus) -> Metadata {
    of_fields(planned.before_metadata.as_ref(), planned.before_metadata_base64.as_ref()).unwrap_or_default()
}

/// Records the metadata that is to be restored.
pub(in crate::machine) fn record_target(planned: &mut PartitionStatus, metadata: &Metadata) {
    (planned.target_metadata, planned.target_metadata_base64) = fields(metadata);
}

/// The metadata to restore, if any: the target may have been moved away from its offset.
pub(in crate::machine) fn to_restore(planned: &PartitionStatus) -> Option<Metadata> {
    let metadata = of_fields(planned.target_metadata.as_ref(), planned.target_metadata_base64.as_ref());
    metadata.filter(|_| planned.requested_offset == Some(planned.target_offset))
}

/// Whether the metadata that is to be restored stays behind, because its offset is out of range.
pub(in crate::machine) fn stays_behind(planned: &PartitionStatus) -> bool {
    let metadata = of_fields(planned.target_metadata.as_ref(), planned.target_metadata_base64.as_ref());
    metadata.is_some_and(|metadata| !metadata.is_empty()) && to_restore(planned).is_none()
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
