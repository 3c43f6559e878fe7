//! The selector of all pods that a workload may control. Pure: the caller reads the object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::Selector;
use serde_json::Value;

/// The labels by which the pods of one revision are told from those of others.
const REVISIONS: [&str; 2] = ["rollouts-pod-template-hash", "pod-template-hash"];

/// The selector of the pods of all revisions: the workload's own `spec.selector`, or else the selector of its scale without the label of
/// a revision. Argo Rollouts reports the stable revision only in its scale, while canary pods consume as well.
///
/// `None` when it would not select more than the scale's.
pub(super) fn of_all_revisions(object: &Value, of_scale: &str) -> Option<String> {
    let own = object.pointer("/spec/selector").and_then(own).or_else(|| without_revision(of_scale))?;
    (own != of_scale).then_some(own)
}

/// A `LabelSelector` as text. Other forms of a selector count as none: a map of labels would read as an empty `LabelSelector`, which
/// selects every pod.
pub(super) fn own(selector: &Value) -> Option<String> {
    let selector: LabelSelector = serde_json::from_value(selector.clone()).ok()?;
    let selector = Selector::try_from(selector).ok().filter(|selector| !selector.selects_all())?;
    Some(selector.to_string())
}

fn without_revision(selector: &str) -> Option<String> {
    let (mut requirements, mut depth) = (vec![String::new()], 0);
    for letter in selector.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        match requirements.last_mut() {
            Some(last) if letter != ',' || depth > 0 => last.push(letter),
            Some(_) | None => requirements.push(String::new()),
        }
    }
    let key = |requirement: &str| {
        let end = requirement.find(|letter: char| "=!".contains(letter) || letter.is_whitespace()).unwrap_or(requirement.len());
        requirement[..end].to_owned()
    };
    requirements.retain(|requirement| !REVISIONS.contains(&key(requirement.trim()).as_str()));
    (!requirements.is_empty()).then(|| requirements.join(","))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::its_own(json!({"matchLabels": {"app": "c"}}), "app=c,rollouts-pod-template-hash=s", Some("app=c"))]
    #[case::its_own_with_expressions(
        json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["c", "d"]}]}), "app=c", Some("app in (c,d)")
    )]
    #[case::the_same(json!({"matchLabels": {"app": "c"}}), "app=c", None)]
    #[case::none_of_its_own(json!(null), "app=c,rollouts-pod-template-hash=s", Some("app=c"))]
    #[case::none_of_its_own_and_no_revision(json!(null), "app=c", None)]
    #[case::a_set_of_revisions(json!(null), "app in (c,d),pod-template-hash in (a,b),tier!=x", Some("app in (c,d),tier!=x"))]
    #[case::a_revision_and_nothing_else(json!(null), "pod-template-hash=s", None)]
    #[case::a_label_that_begins_alike(json!(null), "pod-template-hashes=s", None)]
    #[case::a_map_of_labels(json!({"app": "c"}), "app=c,pod-template-hash=s", Some("app=c"))]
    #[case::text(json!("app=d"), "app=c", None)]
    #[case::everything(json!({}), "app=c", None)]
    #[case::an_unknown_operator(json!({"matchExpressions": [{"key": "app", "operator": "Gt", "values": ["1"]}]}), "app=c", None)]
    fn pods_of_all_revisions_are_selected(#[case] own: Value, #[case] of_scale: &str, #[case] expected: Option<&str>) {
        assert_eq!(of_all_revisions(&json!({"spec": {"selector": own}}), of_scale).as_deref(), expected);
    }
}
