//! `deploy/` is the one source of the manifests. The chart's templates and `install.yaml` are generated from it, and the chart's
//! README from its values. `make manifests` writes them, and these tests fail when one of them is not current. What Helm and
//! kustomize render of both is compared by the suite `charts`.

mod argocd;
mod document;
mod install;
mod readme;
mod templates;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// With this in the environment a generated file is written instead of compared.
const WRITE: &str = "WRITE_MANIFESTS";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn chart() -> PathBuf {
    root().join("charts/offset-reset-operator")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Fails when a committed file is not what would be generated.
fn is_current(path: &Path, generated: &str) {
    if std::env::var_os(WRITE).is_some() {
        fs::write(path, generated).unwrap();
        return;
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(committed == generated, "{} is not current: run `make manifests` and commit it", path.display());
}

/// The files that `make manifests` writes.
mod written {
    use super::{argocd, chart, install, is_current, read, readme, root, templates};

    #[test]
    fn the_templates_of_the_chart_are_current() {
        for (name, text) in templates::generated() {
            is_current(&chart().join("templates").join(name), &text);
        }
    }

    /// Helm reads only files of the chart.
    #[test]
    fn the_dashboard_of_the_chart_is_current() {
        is_current(&chart().join("files/dashboard.json"), &read("deploy/monitoring/dashboard.json"));
    }

    #[test]
    fn the_one_file_is_current() {
        is_current(&root().join("install.yaml"), &install::file());
    }

    #[test]
    fn the_patch_for_argo_cd_is_current() {
        is_current(&root().join("deploy/argocd/argocd-cm.yaml"), &argocd::config_map());
    }

    #[test]
    fn the_readme_of_the_chart_is_current() {
        is_current(&chart().join("README.md"), &readme::page(&read(chart().join("values.yaml"))));
    }
}

#[test]
fn the_chart_has_the_version_of_the_operator() {
    let chart: Value = serde_saphyr::from_str(&read(chart().join("Chart.yaml"))).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((&chart["version"], &chart["appVersion"]), (&version.into(), &version.into()));
    let images = chart["annotations"]["artifacthub.io/images"].as_str().unwrap();
    assert!(images.contains(&format!("image: {}\n", install::image())), "{images}");
    let compatibility = read("docs/start/compatibility.md");
    let minor =
        compatibility.lines().find_map(|line| line.strip_prefix("| Kubernetes | ")).and_then(|line| line.split(' ').next());
    assert_eq!(chart["kubeVersion"], format!(">={}.0-0", minor.unwrap()));
}

fn values() -> Value {
    serde_saphyr::from_str(&read(chart().join("values.yaml"))).unwrap()
}

fn schema() -> Value {
    serde_json::from_str(&read(chart().join("values.schema.json"))).unwrap()
}

/// The paths of all values, as deep as the schema names their keys.
fn paths(schema: &Value, at: &str, found: &mut BTreeSet<String>) {
    match schema["properties"].as_object() {
        Some(keys) => keys.iter().for_each(|(key, value)| paths(value, &format!("{at}.{key}"), found)),
        None => drop(found.insert(at.to_owned())),
    }
}

#[test]
fn the_schema_has_each_value_and_no_other() {
    fn compare(at: &str, value: &Value, schema: &Value) {
        let Some(properties) = schema["properties"].as_object() else { return };
        assert_eq!(schema["additionalProperties"], Value::Bool(false), "{at}: a misspelled value has to be refused");
        let known: BTreeSet<&String> = properties.keys().filter(|key| *key != "global").collect();
        let given: BTreeSet<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(known, given, "{at}");
        value.as_object().unwrap().iter().for_each(|(key, value)| compare(&format!("{at}.{key}"), value, &properties[key]));
    }
    compare("", &values(), &schema());
}

#[test]
fn every_value_is_used_by_a_template_and_explained() {
    let mut all = BTreeSet::new();
    paths(&schema(), "", &mut all);
    // For Helm and charts that include this one.
    assert!(all.remove(".global"));
    let entries = fs::read_dir(chart().join("templates")).unwrap().map(|entry| entry.unwrap().path());
    let templates: String = entries.map(read).collect();
    let explained: BTreeMap<String, String> =
        readme::entries(&read(chart().join("values.yaml"))).into_iter().map(|entry| (entry.path, entry.text)).collect();
    for path in all {
        // The last word, because `with` may have named the rest.
        let last = path.rsplit('.').next().unwrap();
        let used = templates.contains(&format!(".Values{path}")) || templates.contains(&format!(" .{last} }}"));
        assert!(used, "no template uses {path}");
        let known = |(of, text): (&String, &String)| path[1..].starts_with(of.as_str()) && !text.is_empty();
        assert!(explained.iter().any(known), "values.yaml does not explain {path}");
    }
}
