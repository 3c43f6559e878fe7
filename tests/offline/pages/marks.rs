//! Each code block says what the tests do with it, and says it truly.

use std::fs;

use regex::Regex;
use serde_json::Value;

use super::{
    root,
    source::{Block, blocks, pages},
};

/// Groups of kinds that the API server of the tests has.
const SERVED: [&str; 5] = ["v1", "apps/v1", "rbac.authorization.k8s.io/v1", "offsetreset.dev/v1alpha1", "v1/list"];

fn all() -> Vec<Block> {
    pages(root()).iter().flat_map(|page| blocks(root(), page)).collect()
}

fn documents(block: &Block) -> Vec<Value> {
    let separated = block.text.split("\n---\n").map(serde_saphyr::from_str::<Value>);
    separated.map(|parsed| parsed.unwrap_or_else(|error| panic!("{}: {error}", block.place))).collect()
}

fn is_complete(document: &Value) -> bool {
    document["apiVersion"].is_string() && document["kind"].is_string() && document["metadata"]["name"].is_string()
}

fn is_served(document: &Value) -> bool {
    SERVED.contains(&document["apiVersion"].as_str().unwrap_or_default())
}

#[test]
fn each_block_has_a_language_and_a_mark_that_are_known() {
    let known = [
        ("yaml", ""),
        ("yaml", "fragment"),
        ("yaml", "foreign"),
        ("sh", ""),
        ("sh", "not-run"),
        ("console", ""),
        ("text", ""),
        ("promql", ""),
    ];
    let all = all();
    for block in &all {
        assert!(
            known.iter().any(|(language, mark)| block.is(language, mark)),
            "{}: {} {}",
            block.place,
            block.language,
            block.mark
        );
    }
    for (language, mark) in known {
        assert!(all.iter().any(|block| block.is(language, mark)), "no block is {language} {mark}: the parser misses them");
    }
}

/// An indented block has no mark.
#[test]
fn no_code_block_is_made_by_indentation() {
    let item = Regex::new(r"^\s*([-*]|\d+\.) ").unwrap();
    for page in pages(root()) {
        let text = fs::read_to_string(root().join(&page)).unwrap();
        let (mut fenced, mut listed, mut blank) = (false, false, true);
        for (index, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            } else if !fenced {
                listed = item.is_match(line) || (listed && (line.starts_with(' ') || line.is_empty()));
                assert!(listed || !blank || !line.starts_with("    "), "{page}:{}: {line}", index + 1);
            }
            blank = line.is_empty();
        }
    }
}

#[test]
fn a_manifest_is_complete_and_of_a_kind_that_is_served_or_is_marked() {
    for block in all().iter().filter(|block| block.language == "yaml") {
        let documents = documents(block);
        let complete = documents.iter().all(is_complete);
        match block.mark.as_str() {
            "" => assert!(complete && documents.iter().all(is_served), "{}: is a fragment, or foreign", block.place),
            "foreign" => assert!(complete && !documents.iter().any(is_served), "{}: could be applied", block.place),
            _ => assert!(!complete, "{}: is complete, so it must not be marked as a fragment", block.place),
        }
    }
}
