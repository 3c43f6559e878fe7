//! The templates that are generated from `deploy/`: its manifests with their comments, with the release's namespace and labels, and
//! each under the condition that the values set for it. The templates that depend on many values are written by hand.

use std::fmt::Write;

use super::{
    document::{Document, documents},
    read,
};

const NAMESPACE: &str = "{{ $.Release.Namespace }}";
const LABELS: &str = "  labels:\n    {{- include \"offset-reset-operator.labels\" $ | nindent 4 }}\n";
const EVERYWHERE: &str = "and $.Values.rbac.create (not $.Values.watch.namespaces)";
const KEDA: &str = "and $.Values.rbac.create (include \"offset-reset-operator.keda\" $)";
const STRIMZI: &str = "and $.Values.rbac.create $.Values.strimzi.enabled";

/// The files by their names.
pub fn generated() -> Vec<(&'static str, String)> {
    vec![
        ("crds.yaml", file(&["crds/offsetresets.yaml"], crd)),
        ("rbac.yaml", file(&["deploy/rights/rbac.yaml"], rbac)),
        ("rbac-policy-reader.yaml", file(&["deploy/rights/policy-reader.yaml"], |it| guarded("$.Values.rbac.create", it))),
        ("rbac-users.yaml", file(&["deploy/rights/users.yaml"], |it| guarded("$.Values.rbac.create", it))),
        ("rbac-namespaces.yaml", file(&["deploy/namespaced/role/role.yaml"], |it| in_each("$.Values.rbac.create", &it))),
        ("rbac-keda.yaml", file(&["deploy/keda/rbac.yaml"], |it| beside(KEDA, &it))),
        ("rbac-strimzi.yaml", file(&["deploy/strimzi/rbac.yaml"], |it| beside(STRIMZI, &it))),
        ("policies.yaml", file(&["deploy/rights/policies.yaml"], |it| guarded("$.Values.policies.enabled", it))),
        (
            "policies-operator.yaml",
            file(&["deploy/rights/operator-policies.yaml"], |it| guarded("$.Values.policies.enabled", it)),
        ),
        ("policies-in-use.yaml", file(&["deploy/rights/in-use.yaml"], |it| guarded("$.Values.policies.enabled", it))),
        ("prometheus-rule.yaml", file(&["deploy/monitoring/prometheus-rule.yaml"], alerts)),
        (
            "four-eyes.yaml",
            file(&["deploy/four-eyes/policy.yaml", "deploy/four-eyes/roles.yaml"], |it| guarded("$.Values.fourEyes.enabled", it)),
        ),
        (
            "record-users.yaml",
            file(&["deploy/record-users/mutating.yaml", "deploy/record-users/validating.yaml"], |it| {
                guarded("$.Values.recordUsers.enabled", it)
            }),
        ),
    ]
}

fn file(sources: &[&str], template: impl Fn(Document) -> String) -> String {
    let mut text = format!("{{{{- /* Generated from {} by `make manifests`. Do not edit. */ -}}}}\n", sources.join(" and "));
    for source in sources {
        let manifest = read(source);
        // Alerts have templates of their own, which are Prometheus' to fill.
        text.extend(documents(&manifest.replace("{{", "{{ \"{{\" }}")).into_iter().map(&template));
    }
    text
}

/// With the labels of the release, beside its own.
fn labeled(document: Document) -> Document {
    let plain = "  labels: {app.kubernetes.io/name: offset-reset-operator}\n";
    if document.text.contains(&format!("\n{plain}")) {
        return document.replaced(plain, LABELS);
    }
    if document.text.contains("\n  labels:\n") {
        let document = document.replaced("  labels:\n", LABELS);
        let mut text = String::new();
        for line in document.text.lines() {
            let optional = line.starts_with("    rbac.authorization.k8s.io/aggregate-to-");
            let (before, after) =
                if optional { ("    {{- if $.Values.rbac.aggregateToDefaultRoles }}\n", "    {{- end }}\n") } else { ("", "") };
            let _ = write!(text, "{before}{line}\n{after}");
        }
        return Document { text };
    }
    document.with_metadata(LABELS)
}

fn guarded(condition: &str, document: Document) -> String {
    let Document { text } = labeled(document.in_namespace(NAMESPACE));
    format!("{{{{- if {condition} }}}}\n---\n{text}{{{{- end }}}}\n")
}

/// The same in each of the namespaces in which the operator works.
fn in_each(condition: &str, document: &Document) -> String {
    // The subject's namespace is the release's.
    let document =
        Document { text: document.text.replace("offset-reset-system", NAMESPACE) }.with_metadata("  namespace: {{ . }}\n");
    let Document { text } = labeled(document);
    format!("{{{{- if {condition} }}}}\n{{{{- range $.Values.watch.namespaces }}}}\n---\n{text}{{{{- end }}}}\n{{{{- end }}}}\n")
}

fn crd(document: Document) -> String {
    let keep = "  {{- if or $.Values.crds.keep $.Values.crds.annotations }}
  annotations:
    {{- if $.Values.crds.keep }}
    helm.sh/resource-policy: keep
    {{- end }}
    {{- with $.Values.crds.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}\n";
    guarded("$.Values.crds.install", document.with_metadata(keep))
}

fn alerts(document: Document) -> String {
    let labels = "  labels:
    {{- include \"offset-reset-operator.labels\" $ | nindent 4 }}
    {{- with .labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}\n";
    let plain = "  labels: {app.kubernetes.io/name: offset-reset-operator}\n";
    let document = document.with_metadata("  namespace: {{ $.Release.Namespace }}\n").replaced(plain, labels);
    let Document { text } = document;
    format!(
        "{{{{- with $.Values.metrics.prometheusRule }}}}\n{{{{- if .enabled }}}}\n---\n{text}{{{{- end }}}}\n{{{{- end }}}}\n"
    )
}

fn rbac(document: Document) -> String {
    match (document.kind(), document.name()) {
        ("ServiceAccount", _) => {
            let annotations = "  {{- with $.Values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}\n";
            guarded("$.Values.serviceAccount.create", document.with_metadata(annotations))
        }
        ("Role", "offset-reset-operator-leader") => {
            // What a patch of the component adds, where there is no ClusterRole.
            let component = read("deploy/namespaced/kustomization.yaml");
            let rule = component.lines().find_map(|line| line.strip_prefix("      value: ")).unwrap();
            let text = format!("{}{{{{- if $.Values.watch.namespaces }}}}\n- {rule}\n{{{{- end }}}}\n", document.text);
            guarded("$.Values.rbac.create", Document { text })
        }
        ("RoleBinding", "offset-reset-operator-leader") => guarded("$.Values.rbac.create", document),
        ("ClusterRole" | "ClusterRoleBinding", "offset-reset-operator" | "offset-reset-operator-kinds") => {
            guarded(EVERYWHERE, document)
        }
        other => panic!("what is the condition of {other:?}?"),
    }
}

/// In the whole cluster, or the same as Roles in each namespace.
fn beside(condition: &str, document: &Document) -> String {
    let everywhere = guarded(&format!("and (not $.Values.watch.namespaces) ({condition})"), document.clone());
    let text = document.text.replace("kind: ClusterRole", "kind: Role");
    everywhere + &in_each(condition, &Document { text })
}
