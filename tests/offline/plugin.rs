//! The kubectl plugin is a small program: it has nothing of what the operator needs to speak to Kafka.

use std::process::Command;

#[test]
fn the_plugin_is_built_without_librdkafka_and_openssl() {
    let mut command = Command::new(env!("CARGO"));
    command.args(["tree", "--locked", "--offline", "-p", "kubectl-offset-reset", "-e", "normal,build", "--prefix", "none"]);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"offset-reset-operator") && names.contains(&"kube-client"), "{names:?}");
    for unwanted in ["rdkafka", "rdkafka-sys", "openssl", "openssl-sys", "openssl-src", "kafka-protocol", "axum"] {
        assert!(!names.contains(&unwanted), "{unwanted} is in the tree of the plugin");
    }
}
