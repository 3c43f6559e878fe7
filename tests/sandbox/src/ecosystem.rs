//! The controllers of others with which the operator has to get along: KEDA and Flux, the real ones. No part of the plain build: from
//! nothing they take longer than everything else together.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::build::{cache_dir, go_build, key, part, run};

const KEDA: [(&str, &str); 2] =
    [("go.mod", include_str!("../modules/keda/go.mod")), ("go.sum", include_str!("../modules/keda/go.sum"))];
const FLUX: [(&str, &str); 2] =
    [("go.mod", include_str!("../modules/flux/go.mod")), ("go.sum", include_str!("../modules/flux/go.sum"))];

/// Where they are.
#[derive(Clone, Debug)]
pub struct Ecosystem {
    /// KEDA: its `operator`, and `crds`.
    pub keda: PathBuf,
    /// Flux: its `kustomize-controller`, and `crds`.
    pub flux: PathBuf,
}

impl Ecosystem {
    /// Where they are or will be.
    #[must_use]
    pub fn locate() -> Self {
        let dir = cache_dir();
        Self { keda: dir.join(format!("keda-{}", key(&KEDA))), flux: dir.join(format!("flux-{}", key(&FLUX))) }
    }

    /// Whether both are built.
    #[must_use]
    pub fn is_built(&self) -> bool {
        self.keda.exists() && self.flux.exists()
    }

    /// Builds what is missing.
    pub fn ensure(&self) -> Result<()> {
        let build = |name: &'static str, expect: &'static str, module: &'static str| {
            move |into: &Path, work: &Path| {
                let mut go = go_build(into, work);
                run(name, expect, go.args(["-ldflags", "-s -w", "tool"]))?;
                copy_crds(module, into, work)
            }
        };
        part("KEDA", &self.keda, &KEDA, build("KEDA", "about 15 minutes on 2 cores", "github.com/kedacore/keda/v2"))?;
        let module = "github.com/fluxcd/kustomize-controller";
        part("Flux", &self.flux, &FLUX, build("Flux", "about 8 minutes on 2 cores", module))?;
        Ok(())
    }
}

/// The definitions of a module's own resources stand in its source, which the Go command has by now.
fn copy_crds(module: &str, into: &Path, work: &Path) -> Result<()> {
    let output = Command::new("go").current_dir(work).args(["list", "-m", "-f", "{{.Dir}}", module]).output()?;
    if !output.status.success() {
        bail!("go list -m {module}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let from = Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("config/crd/bases");
    let to = into.join("crds");
    fs::create_dir_all(&to)?;
    for entry in fs::read_dir(&from).with_context(|| format!("the definitions in {}", from.display()))? {
        let entry = entry?;
        // Not copied as a file: the module cache is read-only, and the copy must not be.
        fs::write(to.join(entry.file_name()), fs::read(entry.path())?)?;
    }
    Ok(())
}

/// The sources that kustomize-controller watches. Their definitions come with another of Flux's controllers, which cannot be built
/// here and is not needed: whoever writes a source writes what that controller would have. So their schemas are open.
pub(crate) fn flux_sources() -> Value {
    let version = json!({
        "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
    });
    let definition = |kind: &str, plural: &str| {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.source.toolkit.fluxcd.io")},
            "spec": {
                "group": "source.toolkit.fluxcd.io", "scope": "Namespaced", "versions": [version],
                "names": {"kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase()},
            },
        })
    };
    let sources = [
        ("GitRepository", "gitrepositories"),
        ("OCIRepository", "ocirepositories"),
        ("Bucket", "buckets"),
        ("ExternalArtifact", "externalartifacts"),
    ];
    let items: Vec<Value> = sources.iter().map(|(kind, plural)| definition(kind, plural)).collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_two_entries_of_the_cache_of_the_versions_that_are_pinned() {
        let ecosystem = Ecosystem::locate();
        assert_ne!(ecosystem.keda, ecosystem.flux);
        assert!(KEDA[0].1.contains("github.com/kedacore/keda/v2 v2.21.0"));
        assert!(FLUX[0].1.contains("github.com/fluxcd/kustomize-controller v1.9.6"));
    }
}
