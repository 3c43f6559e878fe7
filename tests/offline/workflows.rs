//! The workflows run nothing that can change under its name, with no more rights than they need.

use std::{fs, path::Path};

use regex::Regex;

fn workflows() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/workflows");
    let read = |entry: Result<fs::DirEntry, _>| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap())
    };
    fs::read_dir(directory).unwrap().map(read).collect()
}

#[test]
fn every_action_is_pinned_by_its_commit_with_its_version_beside() {
    let pinned = Regex::new(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$").unwrap();
    let mut count = 0;
    for (name, text) in workflows() {
        for line in text.lines().filter(|line| line.contains("uses:")) {
            assert!(pinned.is_match(line), "{name}: {line}");
            count += 1;
        }
    }
    assert!(count > 5, "only {count} actions");
}

#[test]
fn a_workflow_has_no_rights_but_those_that_each_job_names() {
    for (name, text) in workflows() {
        assert!(text.contains("\npermissions: {}\n"), "{name}");
        let (jobs, rights) = (text.matches("\n    runs-on: ").count(), text.matches("\n    permissions: {").count());
        assert_eq!(jobs, rights, "{name}: each job names its rights");
        let (checkouts, kept) = (text.matches("actions/checkout@").count(), text.matches("persist-credentials: false").count());
        assert_eq!(checkouts, kept, "{name}: no token stays in the checkout");
    }
}
