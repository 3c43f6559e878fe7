//! Random specs and plans, and specs that break a rule, without an API server: the parser and the planner refuse them in words. `INPUT_SEED`
//! repeats a run.

use offset_reset_operator::{
    api::{OffsetReset, OffsetResetSpec},
    machine::request::Request,
};
use serde_json::{Value, json};

use crate::generators::{accepted, any_plan, any_spec, random::Random, refusals};

/// How many specs go through the parser, and how many requests through the planner.
const PARSED: usize = 50_000;
const PLANNED: usize = 20_000;

fn seed() -> u64 {
    let seed = std::env::var("INPUT_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap());
    println!("INPUT_SEED={seed}");
    seed
}

#[test]
fn any_spec_is_a_request_or_is_refused_in_words() {
    let mut random = Random(seed());
    let (mut requests, mut refused, mut undecodable) = (0, 0, 0);
    for _ in 0..PARSED {
        let spec = any_spec::any_spec(&mut random);
        match any_spec::parsed(&spec) {
            Ok(_) => requests += 1,
            Err(why) if why.starts_with("cannot be decoded") => undecodable += 1,
            Err(_) => refused += 1,
        }
    }
    println!("{requests} requests, {refused} refused, {undecodable} that cannot be decoded");
    assert!(requests > PARSED / 100 && refused > PARSED / 100 && undecodable > PARSED / 100);
    any_spec::from_bytes(b"{\"group\": 7}");
}

#[test]
fn any_request_has_a_sound_plan_or_is_refused_in_words_whatever_kafka_says() {
    let mut random = Random(seed());
    let (mut plans, mut refused) = (0, std::collections::BTreeMap::<_, usize>::new());
    for _ in 0..PLANNED {
        let request = any_plan::any_request(&mut random);
        match any_plan::planned(&request, &any_plan::any_seen(&mut random, &request)) {
            Ok(_) => plans += 1,
            Err(refusals) => *refused.entry(refusals[0].reason.as_str()).or_default() += 1,
        }
    }
    println!("{plans} plans; refused: {refused:?}");
    assert!(plans > PLANNED / 20 && refused.len() > 5);
}

/// The beginnings of the rules that the parser checks while it parses an entry, in words of its
/// own.
const IN_OWN_WORDS: [&str; 6] = [
    "each entry of resets needs exactly one target",
    "each entry of resets needs either topic",
    "partition must be",
    "offset must be",
    "timestamp ",
    "duration must be",
];

/// What the parser understands although the API server does not: a time or a pattern that is
/// written in another way.
const UNDERSTOOD: [&str; 3] = ["2026-11-24T18:00:60Z", "2026-11-24 18:00:00Z", "a**"];

fn parsed(change: &Value) -> Option<Result<Request, String>> {
    let object = json!({
        "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset",
        "metadata": {"name": "r", "namespace": "shop", "uid": "u", "creationTimestamp": "2026-11-24T18:00:00Z"},
        "spec": refusals::changed(change),
    });
    // An object that cannot be decoded never comes to the machine.
    let reset = serde_json::from_value::<OffsetReset>(object).ok()?;
    Some(Request::parse(&reset).map_err(|invalid| invalid.to_string()))
}

/// An older CRD, or one without rules, may let through what the rules refuse.
#[test]
fn what_a_rule_refuses_the_parser_refuses_in_the_same_words() {
    let mut wrong = vec![];
    for (rule, changes) in refusals::of_rules() {
        for change in changes {
            match parsed(&change) {
                None => {}
                Some(Ok(_)) if UNDERSTOOD.iter().any(|text| change.to_string().contains(text)) => {}
                Some(Ok(_)) => wrong.push(format!("{rule}: accepted {change}")),
                Some(Err(invalid)) => {
                    let same = IN_OWN_WORDS.iter().any(|own| rule.starts_with(own)) || invalid.contains(rule);
                    if !invalid.starts_with("spec.") || !same {
                        wrong.push(format!("{rule}: {change} was refused with {invalid}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_the_rules_accept_the_parser_accepts() {
    for change in accepted::accepted() {
        let parsed = parsed(&change).unwrap_or_else(|| panic!("{change} cannot be decoded"));
        assert!(parsed.is_ok(), "{change}: {parsed:?}");
    }
}

#[test]
fn a_sound_spec_breaks_no_rule() {
    let spec: OffsetResetSpec = serde_json::from_value(refusals::sound()).unwrap();
    assert!(Request::parse(&OffsetReset::new("sound", spec)).is_ok());
}
