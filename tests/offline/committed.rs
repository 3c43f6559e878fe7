//! What is generated and committed is current, and what is shown as an example is valid.

use std::{fs, path::Path};

use offset_reset_operator::{
    api::{OffsetReset, crd_yaml, reasons_page},
    machine::request::Request,
    observability::metrics_page,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_committed_crd_is_current() {
    let committed = fs::read_to_string(root().join("crds/offsetresets.yaml")).unwrap();
    assert_eq!(committed, crd_yaml().unwrap(), "crds/offsetresets.yaml is stale: run `make crd` and commit it");
}

#[test]
fn the_committed_page_of_reasons_is_current() {
    let committed = fs::read_to_string(root().join("docs/reasons.md")).unwrap();
    assert_eq!(committed, reasons_page(), "docs/reasons.md is stale: run `make reasons` and commit it");
}

#[test]
fn the_committed_page_of_metrics_is_current() {
    let committed = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    assert_eq!(committed, metrics_page(), "docs/metrics.md is stale: run `make metrics` and commit it");
}

#[test]
fn every_example_can_be_parsed() {
    let mut count = 0;
    for entry in fs::read_dir(root().join("deploy/examples")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        // Beside the resets there are rights for kinds of workloads.
        if text.contains("\nkind: ClusterRole\n") {
            continue;
        }
        let reset: OffsetReset = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Request::parse(&reset).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        count += 1;
    }
    assert!(count >= 3, "only {count} examples");
}
