//! What every decision of every test, walk and model must say: each condition its own message, and
//! a first sentence that stands alone.

use super::super::{decision::Decision, text::LONGEST_SUMMARY};
use crate::api::{ConditionType, OffsetResetStatus, Phase};

use ConditionType::{Complete, Failed, Ready, Reconciling, Stalled};

/// Called at the end of every pass in the machine's own tests.
pub fn check(decision: &Decision) {
    let status = &decision.status;
    // What a condition of an earlier pass says was checked then; the model stores statuses without
    // messages.
    let messages: Vec<&String> =
        status.conditions.iter().map(|condition| &condition.message).filter(|message| !message.is_empty()).collect();
    for (index, message) in messages.iter().enumerate() {
        assert!(!messages[..index].contains(message), "two conditions say the same: {message}");
        assert!(message.len() <= 32_768, "the API server refuses longer messages");
    }
    for condition in &status.conditions {
        let only_true = [Complete, Failed, Reconciling, Stalled].iter().any(|kind| kind.as_str() == condition.type_);
        assert!(!only_true || condition.status == "True", "{condition:?}");
    }
    if let Some(message) = status.message.as_ref().filter(|message| !message.is_empty()) {
        assert!(message.chars().count() <= LONGEST_SUMMARY, "{message}");
        assert!(!message.ends_with(['.', '…']) && !message.contains(". "), "one sentence: {message}");
        assert!(status.explanation().starts_with(message), "{message}: {}", status.explanation());
        let said = status.conditions.iter().filter(|condition| condition.message.starts_with(message)).count();
        assert!(said <= 1, "said by several conditions: {message}");
    }
    kstatus(status);
}

/// What `kubectl wait`, Flux and kstatus read in each phase.
fn kstatus(status: &OffsetResetStatus) {
    let is = |kind: ConditionType| {
        status.conditions.iter().find(|condition| condition.type_ == kind.as_str()).map(|condition| condition.status.as_str())
    };
    let expected = match status.phase {
        Some(Phase::Succeeded) => (Some("True"), None, None, Some("True"), None),
        Some(Phase::Planned) => (Some("True"), None, None, None, None),
        Some(Phase::Failed | Phase::Cancelled) => (Some("False"), None, Some("True"), None, Some("True")),
        Some(_) | None => (Some("False"), Some("True"), None, None, None),
    };
    // Complete and Failed come with the end of the run; a fixture that begins after it, as the
    // model's, has none.
    let ended = status.completion_time.is_some() && status.message.is_some();
    let outcome = if ended { (is(Complete), is(Failed)) } else { (expected.3, expected.4) };
    assert_eq!((is(Ready), is(Reconciling), is(Stalled), outcome.0, outcome.1), expected, "{:?}", status.phase);
}
