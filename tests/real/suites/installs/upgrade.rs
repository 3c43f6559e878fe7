//! The manifests of an earlier commit are replaced by those of this one while consumers are held at zero: the hold goes on and ends well,
//! and nothing that both have is lost. In a control plane without other tests: the install is the whole cluster's.
//!
//! The operator runs in the test's process, with the account of the install, and is replaced as a rollout replaces it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use kube::Client;
use offset_reset_operator::api::Phase;
use real_tests::{shop::status, unique, with_namespace};
use serde_json::Value;

use super::uninstall::{Held, INSTALL, account, installable, is_in_use, kubectl, kubectl_succeeds, long, operator, until};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The `install.yaml` of earlier commits, each with its name: the copy in tests/real/manifests, and that of the commit before this one
/// where git has it and it is another.
fn earlier() -> Vec<(String, String)> {
    let copies = std::fs::read_dir(root().join("tests/real/manifests")).unwrap().map(|entry| entry.unwrap().path());
    let copies = copies.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let read = |path: PathBuf| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(&path).unwrap());
    let mut all: Vec<(String, String)> = copies.map(read).collect();
    assert_eq!(all.len(), 1, "one copy is kept: tests/real/manifests/README.md");
    let git = std::process::Command::new("git").args(["show", "HEAD~1:install.yaml"]).current_dir(root()).output();
    match git {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8(output.stdout).unwrap();
            if all.iter().all(|(_, copy)| *copy != text) {
                all.push(("the commit before this one".into(), text));
            }
        }
        _ => println!("git does not have the commit before this one, so only the copy is upgraded"),
    }
    all
}

/// The objects of a file as they are in the cluster: kind, namespace and name, with their UIDs.
async fn there(file: &str) -> BTreeMap<String, String> {
    let output = kubectl(&["get", "-f", file, "--ignore-not-found", "-o", "json"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let named = |object: &Value| {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        (format!("{} {}/{}", text("/kind"), text("/metadata/namespace"), text("/metadata/name")), text("/metadata/uid"))
    };
    list["items"].as_array().unwrap().iter().map(named).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifests_of_an_earlier_commit_are_upgraded_to_these_during_a_hold() {
    let _alone = INSTALL.lock().await;
    let new = root().join("install.yaml").to_str().unwrap().to_owned();
    for (commit, text) in earlier() {
        let old = std::env::temp_dir().join(unique("install"));
        std::fs::write(&old, text).unwrap();
        let old = old.to_str().unwrap().to_owned();
        println!("from {commit}");
        with_namespace(async |admin, namespace| upgrade(admin, namespace, &old, &new).await).await;
        kubectl_succeeds(&["delete", "-f", &new, "--ignore-not-found", "--wait"]).await;
        std::fs::remove_file(old).unwrap();
    }
}

async fn upgrade(admin: Client, namespace: String, old: &str, new: &str) {
    // What other tests have installed, and this one's CRD, which every test finds: applied otherwise, and by other managers.
    until("without another install", async || {
        kubectl(&["delete", "-f", new, "--ignore-not-found", "--wait"]).await.status.success()
    })
    .await;
    installable(&admin).await;
    kubectl_succeeds(&["apply", "--server-side", "-f", old]).await;
    let before = there(old).await;
    assert!(before.len() > 15, "{before:?}");
    let first = operator(account(&admin).await);
    let held = Held::begin(admin.clone(), namespace, long()).await;
    assert!(is_in_use(&admin).await);
    let planned = held.env.api.get("replay").await.unwrap();
    let leases = held.env.leases().list(&kube::api::ListParams::default()).await.unwrap().items;
    assert_eq!(leases.len(), 1);

    // As the page on upgrades says.
    let output = kubectl(&["apply", "--server-side", "-f", new]).await;
    let (printed, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && printed.lines().all(|line| line.ends_with(" serverside-applied")), "{printed}{errors}");
    // What the API server has is what this commit has: a difference would be printed.
    let difference = kubectl(&["diff", "--server-side", "-f", new]).await;
    assert_eq!((difference.status.code(), String::from_utf8_lossy(&difference.stdout).as_ref()), (Some(0), ""));
    let (after, left) = (there(new).await, there(old).await);
    for (object, uid) in &before {
        match after.get(object) {
            Some(now) => assert_eq!(now, uid, "{object} was deleted and created again"),
            None => println!("only the earlier manifests have {object}; it stays: {}", left.contains_key(object)),
        }
    }
    held.is_held().await;

    first.end().await;
    held.is_held().await;
    let second = operator(account(&admin).await);
    held.env
        .until("led by the next operator", async |env| {
            let reset = env.api.get("replay").await.unwrap();
            assert_eq!(status(&reset).phase, Some(Phase::Draining), "{}", status(&reset).explanation());
            !env.leases().list(&kube::api::ListParams::default()).await.unwrap().items.is_empty()
        })
        .await;
    let now = held.env.api.get("replay").await.unwrap();
    let kept = |reset: &offset_reset_operator::api::OffsetReset| {
        let status = status(reset);
        let times = status.hold.as_ref().map(|hold| (hold.start_time.clone(), hold.deadline.clone()));
        let replicas: Vec<_> = status.targets.iter().map(|target| (target.name.clone(), target.original_replicas)).collect();
        (reset.metadata.uid.clone(), reset.spec.clone(), times, replicas, status.partitions.clone())
    };
    assert_eq!(kept(&now), kept(&planned));
    let leases_now = held.env.leases().list(&kube::api::ListParams::default()).await.unwrap().items;
    assert_eq!(
        (&leases_now[0].metadata.uid, &leases_now[0].metadata.annotations),
        (&leases[0].metadata.uid, &leases[0].metadata.annotations)
    );

    held.succeeds().await;
    until("in use no more", async || !is_in_use(&admin).await).await;
    second.end().await;
}
