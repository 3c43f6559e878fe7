//! The machine has no clock, no environment, no client and no async: everything comes in as an
//! argument.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What must not be named in the machine's code.
const IMPURE: [&str; 22] = [
    "Timestamp::now",
    "Zoned::now",
    "SystemTime",
    "Instant",
    "std::env",
    "env::var",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "rand::",
    "tokio",
    "futures",
    "async ",
    ".await",
    "kube::Client",
    "kube::Api",
    "rdkafka",
    "reqwest",
    "hyper",
    "tracing::",
    "println!",
];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().unwrap() != "tests" {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_machine_names_no_clock_no_environment_no_client_and_nothing_async() {
    let mut found = vec![];
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/machine"), &mut found);
    assert!(found.len() > 30, "the machine's files are there: {}", found.len());
    for file in found {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for (line, word) in code.flat_map(|line| IMPURE.map(|word| (line, word))) {
            assert!(!line.contains(word), "{} names {word}: {line}", file.display());
        }
    }
}
