//! What identifies a reset: a key made of its spec, and the name of its receipt.

use serde_json::Value;

use crate::api::OffsetResetSpec;

/// How many hexadecimal digits of the hash stand in names.
const DIGITS: usize = 16;

/// The key of what a reset does: a hash of its spec, without the fields that only say whether it
/// may begin, when its object is deleted, or why it was made. Another `runId` gives another key.
///
/// Fields with their default value do not count, so that a field of a later version changes no key.
#[must_use]
pub fn key(spec: &OffsetResetSpec) -> String {
    let default = serde_json::json!({ "kafka": { "bootstrapServers": "" }, "group": "" });
    let default = serde_json::from_value::<OffsetResetSpec>(default).ok().and_then(|spec| serde_json::to_value(spec).ok());
    let mut value = serde_json::to_value(spec).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        fields.retain(|name, value| {
            let is_default = default.as_ref().and_then(|default| default.get(name)) == Some(value);
            // It was the default once, which the API server has stored in objects that name none.
            let was_default = name == "sessionTimeout" && value == "10s";
            !is_default && !was_default && !matches!(name.as_str(), "dryRun" | "suspend" | "ttlSecondsAfterFinished" | "reason")
        });
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, canonical(&value).as_bytes());
    digest
        .as_ref()
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .take(DIGITS)
        .map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0'))
        .collect()
}

/// The name of the ConfigMap with the receipt of a reset of this name and key.
#[must_use]
pub fn receipt_name(reset: &str, key: &str) -> String {
    let kept = reset.get(..reset.len().min(220)).unwrap_or_default().trim_end_matches(['.', '-']);
    format!("{kept}-receipt-{key}")
}

/// JSON with its keys in order, whatever the order of a type's fields is.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort_unstable();
            let fields = names.into_iter().map(|name| format!("{}:{}", Value::from(name.as_str()), canonical(&fields[name])));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(fields: &Value) -> OffsetResetSpec {
        let mut spec = json!({
            "targetRefs": [{"name": "consumer"}], "kafka": {"bootstrapServers": "k:9092"}, "group": "g",
            "resets": [{"topic": "t", "offset": 1}],
        });
        for (name, value) in fields.as_object().unwrap() {
            spec[name] = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn the_key_is_the_same_for_the_same_work_in_every_version() {
        // Pinned: a key that changes with a version of the operator would let old manifests run
        // again.
        let pinned = key(&spec(&json!({})));
        assert_eq!(pinned, "93a612f0c409c02c");
        for same in [
            json!({"suspend": true}),
            json!({"dryRun": true}),
            json!({"reason": "INC-4711"}),
            json!({"ttlSecondsAfterFinished": 60}),
            json!({"drainTimeout": "120s"}),
            json!({"sessionTimeout": "10s"}),
            json!({"outOfRange": "Clamp"}),
            json!({"targetRefs": [{"name": "consumer", "kind": "Deployment", "apiVersion": "apps/v1"}]}),
        ] {
            assert_eq!(key(&spec(&same)), pinned, "{same}");
        }
        for other in [
            json!({"runId": "2"}),
            json!({"group": "h"}),
            json!({"resets": [{"topic": "t", "offset": 2}]}),
            json!({"drainTimeout": "3m"}),
            json!({"notAfter": "2026-11-24T18:00:00Z"}),
        ] {
            assert_ne!(key(&spec(&other)), pinned, "{other}");
        }
    }
}
