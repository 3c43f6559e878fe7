//! What the derived schemas need beside the types: defaults that are not written, and descriptions
//! that stand.

use schemars::Schema;
use serde_json::Value;

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
pub(super) fn is_zero(n: &i32) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
pub(super) fn is_none_of_them(n: &i64) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
pub(super) fn is_false(yes: &bool) -> bool {
    !*yes
}

/// Keeps the description of a field that is an optional enum: kube would replace it with the
/// description of the enum.
pub(super) fn own_description(schema: &mut Schema) {
    for of in schema.get_mut("anyOf").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(of) = of.as_object_mut() {
            of.remove("description");
        }
    }
}
