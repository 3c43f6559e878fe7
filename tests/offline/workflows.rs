//! The workflows run nothing that can change under its name, with no more rights than they need, and the image is built of nothing else.

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

#[test]
fn every_image_that_the_operators_image_is_built_of_is_pinned_by_its_digest() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Dockerfile")).unwrap();
    let pinned = Regex::new(r"^[a-z0-9.-]+\.[a-z]+/[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}$").unwrap();
    // The stages of the Dockerfile itself, which arguments choose, and nothing.
    let own = ["scratch", "compile", "prebuilt", "binary", "${BINARY}", "${BASE}"];
    let named = text.lines().filter_map(|line| {
        let image = line.strip_prefix("FROM ").or_else(|| {
            line.strip_prefix("ARG ")?
                .split_once('=')
                .filter(|(name, _)| ["BASE", "BINARY"].contains(name))
                .map(|(_, image)| image)
        })?;
        image.split(' ').next()
    });
    let images: Vec<&str> = named.filter(|image| !own.contains(image)).collect();
    assert_eq!(images.len(), 2, "{images:?}");
    for image in images {
        assert!(pinned.is_match(image), "{image}");
    }
}
