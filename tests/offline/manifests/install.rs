//! `install.yaml`: all of `deploy/` in one file, with the image of the release that the chart has.

use serde_json::Value;

use super::{
    document::{Document, documents},
    read, root, values,
};

const NAMESPACE: &str = "offset-reset-system";

/// The image that the chart installs by default.
pub fn image() -> String {
    let image = &values()["image"];
    let word = |key: &str| image[key].as_str().unwrap();
    format!("{}/{}:{}", word("registry"), word("repository"), env!("CARGO_PKG_VERSION"))
}

/// The documents of a directory, in the order in which its kustomization lists them.
fn listed(directory: &str, found: &mut Vec<Document>) {
    let kustomization: Value = serde_saphyr::from_str(&read(format!("{directory}/kustomization.yaml"))).unwrap();
    for resource in kustomization["resources"].as_array().unwrap() {
        let path = format!("{directory}/{}", resource.as_str().unwrap());
        if root().join(&path).is_dir() {
            listed(&path, found);
        } else {
            found.extend(documents(&read(path)));
        }
    }
}

pub fn file() -> String {
    let mut found = vec![];
    listed("deploy", &mut found);
    let position = |kind: &str| found.iter().position(|document| document.kind() == kind).unwrap();
    assert!(position("Namespace") < position("ServiceAccount"), "the namespace comes before what is in it");
    let mut text = String::from(
        "# Generated from deploy/ by `make manifests`. Do not edit.
# kubectl apply --server-side -f install.yaml
# docs/guide/install.md has the other ways, docs/guide/uninstall-and-upgrade.md the way back.\n",
    );
    for document in found {
        let document = document.in_namespace(NAMESPACE);
        let own = "image: offset-reset-operator\n";
        let released = format!("image: {}\n", image());
        text += "---\n";
        text += &document.text.replace(own, &released);
    }
    text
}
