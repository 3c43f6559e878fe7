//! What everything is like after a run, without what is different in each.

use std::collections::BTreeMap;

use kube::ResourceExt;
use offset_reset_operator::api::OffsetReset;
use regex::Regex;
use serde_json::{Value, json};

use real_tests::shop::status;

/// What everything is like after a run, without what is different in each: times, names, UIDs.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    pub status: Value,
    /// What stands beside each offset.
    pub metadata: Vec<String>,
    /// ConfigMaps by name.
    pub config_maps: BTreeMap<String, Value>,
}

impl End {
    /// In what it differs from another one, line by line; empty when in nothing.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let lines = |end: &Self| -> Vec<String> {
            let all = json!({"status": end.status, "metadata": end.metadata, "configMaps": end.config_maps});
            serde_json::to_string_pretty(&all).unwrap().lines().map(str::to_owned).collect()
        };
        let (ours, theirs) = (lines(self), lines(other));
        let only = |lines: &[String], others: &[String], sign: char| {
            lines.iter().filter(|line| !others.contains(line)).map(|line| format!("{sign} {}", line.trim())).collect::<Vec<_>>()
        };
        let mut found = [only(&theirs, &ours, '-'), only(&ours, &theirs, '+')].concat();
        if found.is_empty() && self != other {
            found.push(format!("{self:?} and {other:?}"));
        }
        found
    }
}

/// The words that are different in each run.
pub struct Names(Vec<(String, &'static str)>, Regex, Regex);

impl Names {
    /// Those of a run: its namespace, its group, its workload, and what its OffsetReset names.
    pub fn of([namespace, group, workload]: [&str; 3], reset: &OffsetReset) -> Self {
        let status = status(reset);
        let own = [(namespace, "NAMESPACE"), (group, "GROUP"), (workload, "WORKLOAD")];
        let mut names: Vec<_> = own.into_iter().map(|(name, word)| (name.to_owned(), word)).collect();
        names.push((reset.uid().unwrap(), "UID"));
        names.extend(status.targets.iter().map(|target| (target.uid.clone(), "UID-OF-WORKLOAD")));
        names.extend(status.report.iter().map(|record| (record.config_map.clone(), "RECORD")));
        names.extend(status.receipt.iter().map(|receipt| (receipt.config_map.clone(), "RECEIPT")));
        let times = r"\d{4}-\d\d-\d\dT[0-9:.]+Z|\d\d:\d\d:\d\d( UTC|Z)?|\b\d+(\.\d+)? ?(ms|s|seconds?)\b";
        Self(names, Regex::new(times).unwrap(), Regex::new("WORKLOAD(-[a-z0-9]+)+").unwrap())
    }

    pub fn without(&self, text: &str) -> String {
        let named = self.0.iter().fold(text.to_owned(), |text, (name, word)| text.replace(name, word));
        self.2.replace_all(&self.1.replace_all(&named, "TIME"), "POD").into_owned()
    }

    pub fn without_in(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.without(text)),
            Value::Array(all) => all.iter().map(|value| self.without_in(value)).collect(),
            Value::Object(all) => all.iter().map(|(key, value)| (key.clone(), self.without_in(value))).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }
}
