//! Random specs and plans, and specs that break a rule, without an API server: the parser and the planner refuse them in words. `INPUT_SEED`
//! repeats a run.

use offset_reset_operator::{
    api::{OffsetReset, OffsetResetSpec},
    machine::request::Request,
};
use serde_json::json;

use crate::generators::{any_plan, any_spec, random::Random, refusals};

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

/// What an older definition, or none of its rules, would have let through.
#[test]
fn what_the_rules_would_refuse_is_refused_without_them_as_well() {
    let mut accepted = vec![];
    for (rule, changes) in refusals::of_rules() {
        for change in changes {
            let object = json!({
                "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset",
                "metadata": {"name": "r", "namespace": "shop", "uid": "u", "creationTimestamp": "2026-11-24T18:00:00Z"},
                "spec": refusals::changed(&change),
            });
            // One that cannot be decoded never comes to the machine.
            let Ok(reset) = serde_json::from_value::<OffsetReset>(object) else { continue };
            match Request::parse(&reset) {
                // The time is over, or is not, all the same.
                Ok(_) if rule.starts_with("notAfter") => {}
                Ok(_) => accepted.push(format!("{rule}: {change}")),
                Err(invalid) => assert!(invalid.to_string().starts_with("spec."), "{invalid}"),
            }
        }
    }
    assert!(accepted.is_empty(), "{}", accepted.join("\n"));
}

#[test]
fn a_sound_spec_breaks_no_rule() {
    let spec: OffsetResetSpec = serde_json::from_value(refusals::sound()).unwrap();
    assert!(Request::parse(&OffsetReset::new("sound", spec)).is_ok());
}
