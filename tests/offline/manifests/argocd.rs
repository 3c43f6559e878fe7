//! The scripts for Argo CD as a patch of its ConfigMap.

use std::fmt::Write;

use super::read;

const SCRIPTS: &str = "deploy/argocd/resource_customizations/offsetreset.dev/OffsetReset";

fn indented(text: &str, by: usize) -> String {
    text.lines().fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "{}", format!("{}{line}", " ".repeat(by)).trim_end());
        all
    })
}

pub fn config_map() -> String {
    let script = |name: &str, by: usize| indented(&read(format!("{SCRIPTS}/{name}")), by);
    let mut text = String::from(
        "# Generated from the scripts in resource_customizations by `make manifests`. Do not edit.
# kubectl -n argocd patch configmap argocd-cm --patch-file deploy/argocd/argocd-cm.yaml
data:
  resource.customizations.health.offsetreset.dev_OffsetReset: |\n",
    );
    text += &script("health.lua", 4);
    text += "  resource.customizations.actions.offsetreset.dev_OffsetReset: |\n    discovery.lua: |\n";
    text += &script("actions/discovery.lua", 6);
    text += "    definitions:\n";
    for action in ["run", "suspend", "resume"] {
        let lua = script(&format!("actions/{action}/action.lua"), 8);
        let _ = write!(text, "    - name: {action}\n      action.lua: |\n{lua}");
    }
    text
}
