//! The Helm chart, by the real Helm: what it renders is what kustomize renders of `deploy/`, and what becomes of an install over its life.

mod lifecycle;
mod rendered;
mod valid;

use std::{path::Path, process::Output, sync::LazyLock};

use real_tests::{PATIENCE, unique, within};
use tokio::process::Command;

/// The chart.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/offset-reset-operator");

/// The values with which the chart uses the image of `deploy/`.
const IMAGE: [&str; 4] = ["--set", "image.registry=,image.repository=offset-reset-operator", "--set", "image.tag=dev"];

/// Helm's own files, of this run only.
static HOME: LazyLock<std::path::PathBuf> = LazyLock::new(|| std::env::temp_dir().join(unique("helm")));

/// Where the repository is.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A command on the PATH, such as helm or kubectl. It takes its cluster from `KUBECONFIG`.
async fn command(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.current_dir(root()).args(arguments);
    for (variable, directory) in [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")] {
        command.env(variable, HOME.join(directory));
    }
    within(PATIENCE * 3, command.output())
        .await
        .unwrap_or_else(|| panic!("{program} {arguments:?} does not end"))
        .unwrap_or_else(|error| panic!("{program}, which `cargo sandbox exec` has on its PATH: {error}"))
}

/// What a command prints that succeeds.
async fn succeeds(program: &str, arguments: &[&str]) -> String {
    let output = command(program, arguments).await;
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a command prints as its errors that fails.
async fn fails(program: &str, arguments: &[&str]) -> String {
    let output = command(program, arguments).await;
    assert!(!output.status.success(), "{program} {arguments:?} should fail: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}
