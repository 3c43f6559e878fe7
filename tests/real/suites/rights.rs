//! The operator's rights are exactly what it uses: what it asked of the API server while the other suites ran, by the audit log of the
//! sandbox, is held against what `deploy/` grants. It runs last, and needs no cluster any more.
//!
//! `AUDIT_LOG` names the log; otherwise it is that of the sandbox in which this runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use real_tests::rights::{Right, granted, user};
use rstest::rstest;
use serde_json::{Value, json};

/// How often each right was asked for, and how often in vain.
#[derive(Default)]
struct Asked {
    allowed: BTreeMap<Right, usize>,
    refused: BTreeMap<Right, usize>,
}

impl Asked {
    /// Of the operator in a log, one event in a line. A watch has two events; what is no resource, as discovery, needs no right of ours.
    fn in_log(log: &str) -> Self {
        let mut asked = Self::default();
        for line in log.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let (about, stage) = (&event["objectRef"], &event["stage"]);
            if event["user"]["username"] != user().as_str() || stage == "ResponseStarted" || !about.is_object() {
                continue;
            }
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let subresource = about["subresource"].as_str().map(|name| format!("/{name}")).unwrap_or_default();
            let right = Right {
                group: text(&about["apiGroup"]),
                resource: text(&about["resource"]) + &subresource,
                verb: text(&event["verb"]),
                namespace: about["namespace"].as_str().map(str::to_owned),
            };
            // Admission refuses with 403 as well; whether a right was missing is what the authorizer has said.
            let is_refused = event["annotations"]["authorization.k8s.io/decision"] == "forbid";
            *if is_refused { &mut asked.refused } else { &mut asked.allowed }.entry(right).or_default() += 1;
        }
        asked
    }

    /// In what the log and the grants differ, in words.
    fn differences(&self, granted: &BTreeSet<Right>) -> Vec<String> {
        let covers = |granted: &Right, asked: &Right| {
            let same = (&granted.group, &granted.resource, &granted.verb) == (&asked.group, &asked.resource, &asked.verb);
            same && (granted.namespace.is_none() || granted.namespace == asked.namespace)
        };
        let unused = granted.iter().filter(|right| !self.allowed.keys().any(|asked| covers(right, asked)));
        let elsewhere = self.allowed.keys().filter(|asked| !granted.iter().any(|right| covers(right, asked)));
        let unused = unused.map(|right| format!("granted, and never used: {right}"));
        let elsewhere = elsewhere.map(|asked| format!("used, and not granted in deploy/: {asked}"));
        let refused = self.refused.iter().map(|(asked, times)| format!("refused, {times} times: {asked}"));
        unused.chain(elsewhere).chain(refused).collect()
    }
}

/// Wherever it was asked for.
fn everywhere(asked: &BTreeMap<Right, usize>) -> BTreeMap<Right, usize> {
    let mut sums = BTreeMap::new();
    for (right, times) in asked {
        *sums.entry(Right { namespace: None, ..right.clone() }).or_default() += times;
    }
    sums
}

#[test]
fn the_rights_that_deploy_grants_are_exactly_those_that_are_used() {
    let path = std::env::var("AUDIT_LOG").map(PathBuf::from).ok();
    let path = path.or_else(|| std::env::var("SANDBOX_DIR").map(|dir| PathBuf::from(dir).join("audit.log")).ok());
    let path = path.expect("AUDIT_LOG names the audit log of the API server that the other suites ran on; `make test` keeps it");
    let asked = Asked::in_log(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
    let granted = granted();
    println!("granted in deploy/:");
    for right in &granted {
        println!("  {right}");
    }
    println!("used, by {}:", path.display());
    for (right, times) in everywhere(&asked.allowed) {
        println!("  {times:6} {right}");
    }
    let differences = asked.differences(&granted);
    assert!(differences.is_empty(), "deploy/ does not grant exactly what is used:\n{}", differences.join("\n"));
    println!("rights: {} granted, all of them used, none refused", granted.len());
}

fn event(verb: &str, resource: &str, subresource: Option<&str>, namespace: &str, decision: &str) -> String {
    json!({
        "stage": "ResponseComplete", "verb": verb, "user": {"username": user()},
        "objectRef": {"resource": resource, "subresource": subresource, "namespace": namespace},
        "annotations": {"authorization.k8s.io/decision": decision},
    })
    .to_string()
}

#[rstest]
#[case::as_granted(event("list", "pods", None, "shop", "allow"), "list pods", None, &[])]
#[case::subresource(event("get", "pods", Some("scale"), "shop", "allow"), "get pods/scale", None, &[])]
#[case::in_its_namespace(event("list", "pods", None, "home", "allow"), "list pods", Some("home"), &[])]
#[case::never_used(String::new(), "list pods", None, &["granted, and never used: list pods"])]
#[case::refused(
    event("list", "pods", None, "shop", "forbid"), "list pods", None,
    &["granted, and never used: list pods", "refused, 1 times: list pods in shop"]
)]
#[case::not_ours(
    event("get", "pods", None, "shop", "allow"), "list pods", None,
    &["granted, and never used: list pods", "used, and not granted in deploy/: get pods in shop"]
)]
#[case::in_another_namespace(
    event("list", "pods", None, "shop", "allow"), "list pods", Some("home"),
    &["granted, and never used: list pods in home", "used, and not granted in deploy/: list pods in shop"]
)]
fn a_difference_is_found(#[case] log: String, #[case] granted: &str, #[case] namespace: Option<&str>, #[case] expected: &[&str]) {
    let (verb, resource) = granted.split_once(' ').unwrap();
    let right = Right {
        group: String::new(),
        resource: resource.to_owned(),
        verb: verb.to_owned(),
        namespace: namespace.map(str::to_owned),
    };
    assert_eq!(Asked::in_log(&log).differences(&BTreeSet::from([right])), expected);
}
