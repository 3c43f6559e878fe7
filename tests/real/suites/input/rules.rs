//! Every rule of the CRD, on a real API server and in the operator's own parser: both refuse the
//! same, in the same words. The schema's rules are broken one by one as they are found in it; for
//! those of CEL there is a table. A rule without a case fails the test.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use kube::{Api, api::PostParams, core::DynamicObject, discovery::ApiResource};
use offset_reset_operator::api::OffsetReset;
use serde_json::{Value, json};

use real_tests::{generators::refusals, unique, with_namespace};

/// A way to break a rule, what must be in the answer, and whether the words of the CEL engine may
/// be in it too.
#[derive(Debug)]
struct Breach {
    rule: String,
    spec: Value,
    words: Vec<String>,
    engine_may_speak: bool,
}

/// The CRD's schema of the spec, as it is committed.
fn schema() -> Value {
    let crd: Value = serde_saphyr::from_str(include_str!("../../../../crds/offsetresets.yaml")).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

/// A place in a spec: names of fields, and `[]` for the first item of a list.
type Place = Vec<String>;

fn shown(place: &Place) -> String {
    format!("spec.{}", place.join(".")).replace(".[]", "[0]").trim_end_matches('.').to_owned()
}

/// A sound spec with a value at a place, or with nothing there.
fn with(place: &Place, value: Option<&Value>) -> Value {
    fn put(at: &mut Value, place: &[String], value: Option<&Value>) {
        match (place, value) {
            ([], Some(value)) => *at = value.clone(),
            ([], None) => unreachable!("a field is taken away from where it is"),
            ([last], None) => {
                at.as_object_mut().unwrap().remove(last);
            }
            ([first, rest @ ..], _) if first == "[]" => {
                if at.as_array().is_none_or(Vec::is_empty) {
                    *at = json!([{}]);
                }
                put(&mut at[0], rest, value);
            }
            ([first, rest @ ..], _) => {
                if at.get(first).is_none() && !rest.is_empty() {
                    at[first] = json!({});
                }
                put(&mut at[first.as_str()], rest, value);
            }
        }
    }
    let mut spec = refusals::sound();
    put(&mut spec, place, value);
    spec
}

/// A breach for each keyword of the schema, with a value made from the keyword's own.
fn breaches(schema: &Value, place: &Place, found: &mut Vec<Breach>) {
    for (word, value) in schema.as_object().unwrap() {
        let size = || usize::try_from(value.as_u64().unwrap()).unwrap();
        let (wrong, words) = match (word.as_str(), value.as_str()) {
            (
                "properties"
                | "items"
                | "additionalProperties"
                | "x-kubernetes-validations"
                | "description"
                | "default"
                | "nullable",
                _,
            ) => continue,
            // The spec as a whole is not a value of a field.
            ("type", _) if place.is_empty() => continue,
            ("type", Some("string" | "array" | "object")) => (json!(7), format!("must be of type {}", value.as_str().unwrap())),
            ("type", Some(kind)) => (json!("seven"), format!("must be of type {kind}")),
            ("x-kubernetes-int-or-string", _) => (json!(true), "must be of type integer,string".into()),
            ("enum", _) => (json!("NoSuchThing"), "supported values".into()),
            ("maxLength", _) => (json!("a".repeat(size() + 1)), format!("Too long: may not be more than {value} bytes")),
            ("minLength", _) if size() == 1 => (json!(""), "should be at least 1 chars long".into()),
            ("maxItems", _) => {
                (json!(vec![refusals::sound()[&place[0]][0].clone(); size() + 1]), format!("must have at most {value} items"))
            }
            ("minimum", _) => (json!(-1), "should be greater than or equal to 0".into()),
            ("maximum", _) if value.as_f64() == Some(f64::from(i32::MAX)) => {
                (json!(1_i64 << 31), format!("should be less than or equal to {}", i32::MAX))
            }
            ("x-kubernetes-list-type", Some("set")) => (json!([3, 0, 3]), "Duplicate value: 3".into()),
            ("pattern", _) => (json!("../other"), "should match".into()),
            ("minItems", _) => (json!([]), format!("should have at least {value} items")),
            ("maxProperties", _) => {
                let many: serde_json::Map<_, _> = (0..=size()).map(|number| (format!("p{number}"), json!("v"))).collect();
                (json!(many), format!("must have at most {value} items"))
            }
            // The operator could not read such numbers.
            ("format", Some("int32")) => (json!(1_i64 << 31), "Invalid value".into()),
            ("format", Some("int64")) => (json!(1e30), "Invalid value".into()),
            ("required", _) => {
                for name in value.as_array().unwrap() {
                    let field = place.iter().cloned().chain([name.as_str().unwrap().to_owned()]).collect();
                    let words = vec![format!("{}: Required value", shown(&field))];
                    found.push(Breach {
                        rule: format!("{}: required", shown(&field)),
                        spec: with(&field, None),
                        words,
                        engine_may_speak: false,
                    });
                }
                continue;
            }
            (word, _) => panic!("there is no breach for {word} of {}", shown(place)),
        };
        let rule = format!("{}: {word}", shown(place));
        let words = vec![shown(place), words];
        found.push(Breach { rule, spec: with(place, Some(&wrong)), words, engine_may_speak: false });
    }
    for (name, of) in schema["properties"].as_object().into_iter().flatten() {
        breaches(of, &place.iter().cloned().chain([name.clone()]).collect(), found);
    }
    // A key of a map may be anything; one without dots is easiest to find again in the answer.
    for (name, of) in [("[]", schema.get("items")), ("any", schema.get("additionalProperties"))] {
        if let Some(of) = of {
            breaches(of, &place.iter().cloned().chain([name.to_owned()]).collect(), found);
        }
    }
}

/// The messages of the rules of CEL, those about a change left out: `definition` changes every
/// field that there is.
fn messages(schema: &Value, place: &Place, found: &mut Vec<String>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let message = rule["message"].as_str();
        let message = message.unwrap_or_else(|| panic!("a rule of {} has no message: {rule}", shown(place)));
        if !rule["rule"].as_str().unwrap().contains("oldSelf") {
            found.push(message.to_owned());
        }
    }
    for (name, of) in schema["properties"].as_object().into_iter().flatten() {
        messages(of, &place.iter().cloned().chain([name.clone()]).collect(), found);
    }
    if let Some(items) = schema.get("items") {
        messages(items, &place.iter().cloned().chain(["[]".to_owned()]).collect(), found);
    }
}

/// A breach for every rule that there is.
fn all() -> Vec<Breach> {
    let (schema, mut found, mut rules) = (schema(), vec![], vec![]);
    breaches(&schema, &vec![], &mut found);
    messages(&schema, &vec![], &mut rules);
    let mut cases: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (message, changes) in refusals::of_rules() {
        assert!(rules.iter().any(|rule| rule.starts_with(message)), "no rule begins with '{message}'");
        assert!(!changes.is_empty() && cases.insert(message, changes).is_none(), "'{message}' has one entry with cases");
    }
    for rule in rules {
        let case = cases.iter().find(|(message, _)| rule.starts_with(**message));
        let (_, changes) = case.unwrap_or_else(|| panic!("no case in tests/generators/refusals.rs breaks the rule '{rule}'"));
        for change in changes {
            let engine_may_speak = refusals::only_the_engine_knows(change);
            found.push(Breach {
                rule: rule.clone(),
                spec: refusals::changed(change),
                words: vec![rule.clone()],
                engine_may_speak,
            });
        }
    }
    found
}

/// What is wrong with the answer to a breach.
async fn tried(api: &Api<DynamicObject>, resource: &ApiResource, breach: Breach) -> Option<String> {
    let object = DynamicObject::new(&unique("r"), resource).data(json!({"spec": breach.spec}));
    let error = match api.create(&PostParams::default(), &object).await {
        Ok(_) => return Some(format!("{}: accepted {}", breach.rule, breach.spec)),
        Err(error) => error.to_string(),
    };
    let spoken = refusals::WORDS_OF_THE_ENGINE.iter().find(|words| error.contains(**words));
    if let Some(words) = spoken.filter(|_| !breach.engine_may_speak) {
        return Some(format!("{}: '{words}' is in\n    {error:.600}", breach.rule));
    }
    let missing: Vec<_> = breach.words.iter().filter(|words| !error.contains(words.as_str())).collect();
    (!missing.is_empty()).then(|| format!("{}: {missing:?} is not in\n    {error:.600}", breach.rule))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_of_the_crd_refuses_what_breaks_it_in_its_own_words() {
    with_namespace(async |client, namespace| {
        let resource = ApiResource::erase::<OffsetReset>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &resource);
        let sound = DynamicObject::new(&unique("r"), &resource).data(json!({"spec": refusals::sound()}));
        api.create(&PostParams::default(), &sound).await.unwrap();
        let breaches = all();
        let count = breaches.len();
        let tries = breaches.into_iter().map(|breach| tried(&api, &resource, breach));
        let found: Vec<Option<String>> = stream::iter(tries).buffer_unordered(8).collect().await;
        let wrong: Vec<String> = found.into_iter().flatten().collect();
        assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
        println!("{count} breaches of the rules were refused");
    })
    .await;
}
