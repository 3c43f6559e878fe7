//! The chart's README: its values, with the comments that explain them.

use std::fmt::Write;

/// A value that a comment explains.
#[derive(Debug)]
pub struct Entry {
    pub path: String,
    pub default: String,
    pub text: String,
}

/// The explained values of a values.yaml: those with a comment right above them.
pub fn entries(values: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = vec![];
    let mut comment = String::new();
    // The keys that lead to a line, each with its indentation.
    let mut path: Vec<(usize, &str)> = vec![];
    for line in values.lines() {
        let text = line.trim_start();
        let depth = line.len() - text.len();
        if let Some(words) = text.strip_prefix("# ") {
            if !comment.is_empty() {
                comment.push(' ');
            }
            comment += words;
        } else if text.is_empty() {
            comment.clear();
        } else {
            let (key, default) = text.split_once(':').unwrap_or_else(|| panic!("no key: {line}"));
            path.retain(|(above, _)| *above < depth);
            path.push((depth, key));
            let path = path.iter().map(|(_, key)| *key).collect::<Vec<_>>().join(".");
            let inside = entries.last().filter(|entry| path.starts_with(&format!("{}.", entry.path)));
            if !comment.is_empty() {
                entries.push(Entry { path, default: default.trim().to_owned(), text: std::mem::take(&mut comment) });
            } else if inside.is_some() {
                // A default of several lines.
                let last = entries.last_mut().unwrap();
                let key = path.strip_prefix(&format!("{}.", last.path)).unwrap();
                let separator = if last.default.is_empty() { "" } else { ", " };
                let _ = write!(last.default, "{separator}{key}: {}", default.trim());
            }
        }
    }
    entries
}

/// The page.
pub fn page(values: &str) -> String {
    let mut page = String::from(
        "<!-- Generated from values.yaml by `make manifests`. Do not edit. -->
# offset-reset-operator

Resets the offsets of Kafka consumer groups: one `OffsetReset` plans the reset while the consumers run, stops them, commits the
offsets once the broker reports the group empty, verifies them and restores the replicas.

    helm install offset-reset-operator charts/offset-reset-operator --namespace offset-reset-system --create-namespace \\
      --set image.registry=YOUR_REGISTRY

The chart installs what `deploy/` does: the operator, its rights, the CRD and the admission policies, without which users would
gain the operator's rights. Two of its objects differ by where Helm is responsible: the namespace is the release's, and the CRD
is a template, so that `helm upgrade` upgrades it, and has the annotation `helm.sh/resource-policy: keep`, so that `helm uninstall`
does not delete the OffsetResets. To delete them too: `kubectl delete crd offsetresets.offsetreset.dev`.

Kubernetes 1.33 or newer. There is one release of this chart in a cluster, because the names of its objects are fixed: the
policies recognize the operator by them.

## Uninstall

    kubectl delete offsetresets --all --all-namespaces       # restores what is held, and waits for it
    helm --namespace offset-reset-system uninstall offset-reset-operator

While consumers are held at zero, the second command is refused for what the operator needs to restore them. The operator
restores them at once, and the command succeeds when it is repeated some seconds later.

## Values

| value | default | meaning |
|---|---|---|
",
    );
    for Entry { path, default, text } in entries(values) {
        let text = text.replace('|', "\\|");
        let _ = writeln!(page, "| `{path}` | `{}` | {text} |", if default.is_empty() { "\"\"" } else { &default });
    }
    page
}
