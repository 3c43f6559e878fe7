//! `report`: a bundle for a bug report. No Secret is read, and no pod template, which may have passwords in plain text.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{ConfigMap, Pod},
    events::v1::Event,
};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, LogParams},
    core::GroupVersionKind,
};
use offset_reset_operator::{
    api::{OffsetReset, TargetRef},
    kubernetes::chain,
};
use serde::Serialize;
use zip::{ZipWriter, write::SimpleFileOptions};

use super::{
    check::{Finding, OPERATOR, findings},
    look::leases,
};
use crate::{
    cli::ReportArgs,
    cluster::Cluster,
    exit::{Exit, Failure, Outcome},
    print::outln,
    view::{GOOD, Line},
};

/// How many lines of each pod's log are read.
const LINES: i64 = 20_000;

/// Files by name, and what could not be read.
#[derive(Default)]
struct Bundle {
    files: Vec<(String, String)>,
    missing: Vec<String>,
}

impl Bundle {
    fn add(&mut self, name: &str, object: Result<impl Serialize, kube::Error>) {
        match object.map(|object| serde_saphyr::to_string(&object)) {
            Ok(Ok(text)) => self.files.push((name.to_owned(), text)),
            Ok(Err(error)) => self.missing.push(format!("{name}: {error}")),
            Err(error) => self.missing.push(format!("{name}: {}", answer(&error))),
        }
    }
}

/// The API server's message, or why there was no answer.
fn answer(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => chain(other),
    }
}

/// Collects everything and writes the file.
pub async fn report(cluster: &Cluster, args: &ReportArgs) -> Outcome {
    let reset = cluster.reset(&args.name).await?;
    let path = args.file.clone().unwrap_or_else(|| PathBuf::from(format!("offset-reset-{}.zip", args.name)));
    let mut bundle = Bundle::default();
    bundle.add("offsetreset.yaml", Ok(&reset));
    config_maps(cluster, &reset, &mut bundle).await;
    events(cluster, &reset, &mut bundle).await;
    targets(cluster, &reset, &mut bundle).await;
    match leases(cluster, false).await {
        Ok(leases) => bundle.add("leases.yaml", Ok(leases)),
        Err(failure) => bundle.missing.push(format!("leases.yaml: {}", failure.what)),
    }
    logs(cluster, &reset, &mut bundle).await;
    let checked: String = findings(cluster).await.iter().flat_map(Finding::lines).fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{}", line.text());
        text
    });
    bundle.files.push(("check.txt".to_owned(), checked));
    if !bundle.missing.is_empty() {
        bundle.files.push(("missing.txt".to_owned(), bundle.missing.join("\n") + "\n"));
    }
    write(&path, &bundle.files).map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
    outln(&Line::styled(GOOD, "✔ ").and(format!("{}: {} files, and no Secret", path.display(), bundle.files.len())));
    for missing in &bundle.missing {
        outln(&Line::warning(format!("not in it: {missing}")));
    }
    outln(&Line::plain("It has names of topics, groups, pods and workloads: look through it before it leaves your company."));
    Ok(Exit::Done)
}

async fn config_maps(cluster: &Cluster, reset: &OffsetReset, bundle: &mut Bundle) {
    let api = Api::<ConfigMap>::namespaced(cluster.client.clone(), &cluster.namespace);
    let status = reset.status.clone().unwrap_or_default();
    if let Some(report) = status.report {
        bundle.add("report.yaml", api.get(&report.config_map).await);
    }
    if let Some(receipt) = status.receipt {
        bundle.add("receipt.yaml", api.get(&receipt.config_map).await);
    }
}

/// Those about the reset, and those about its targets.
async fn events(cluster: &Cluster, reset: &OffsetReset, bundle: &mut Bundle) {
    let api = Api::<Event>::namespaced(cluster.client.clone(), &cluster.namespace);
    let targets: Vec<String> = reset.status.iter().flat_map(|status| &status.targets).map(|target| target.uid.clone()).collect();
    let is_about = |event: &Event| {
        let uid = event.regarding.as_ref().and_then(|object| object.uid.clone()).unwrap_or_default();
        Some(&uid) == reset.metadata.uid.as_ref() || targets.contains(&uid)
    };
    let listed = api.list(&ListParams::default()).await;
    bundle.add("events.yaml", listed.map(|list| list.items.into_iter().filter(is_about).collect::<Vec<_>>()));
}

/// Only the scale of each target: its replicas, and nothing of its pods' template.
async fn targets(cluster: &Cluster, reset: &OffsetReset, bundle: &mut Bundle) {
    for target in reset.status.iter().flat_map(|status| &status.targets).map(TargetRef::from) {
        let (group, version) = target.api_version.split_once('/').unwrap_or(("", &target.api_version));
        let kind = GroupVersionKind::gvk(group, version, &target.kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, &target.checked_resource());
        let api = Api::<DynamicObject>::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource);
        bundle.add(&format!("scale-{}-{}.yaml", target.kind.to_lowercase(), target.name), api.get_scale(&target.name).await);
    }
}

/// The lines of the operator's logs that are about the reset: they have its uid, or in text logs its name as a field.
async fn logs(cluster: &Cluster, reset: &OffsetReset, bundle: &mut Bundle) {
    let all = Api::<Pod>::all(cluster.client.clone());
    let pods = match all.list(&ListParams::default().labels(OPERATOR)).await {
        Ok(pods) => pods.items,
        Err(error) => return bundle.missing.push(format!("logs of the operator: {}", answer(&error))),
    };
    let uid = reset.uid().unwrap_or_default();
    let fields = [uid, format!("\"name\":\"{}\"", reset.name_any()), format!("name=\"{}\"", reset.name_any())];
    for pod in pods {
        let (namespace, pod) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let api = Api::<Pod>::namespaced(cluster.client.clone(), &namespace);
        match api.logs(&pod, &LogParams { tail_lines: Some(LINES), ..LogParams::default() }).await {
            Ok(log) => {
                let about: String = log
                    .lines()
                    .filter(|line| fields.iter().any(|field| line.contains(field)))
                    .fold(String::new(), |text, line| text + line + "\n");
                bundle.files.push((format!("operator-{pod}.log"), about));
            }
            Err(error) => bundle.missing.push(format!("log of {pod}: {}", answer(&error))),
        }
    }
}

fn write(path: &Path, files: &[(String, String)]) -> io::Result<()> {
    let mut zip = ZipWriter::new(File::create(path)?);
    for (name, text) in files {
        zip.start_file(name.as_str(), SimpleFileOptions::default()).map_err(io::Error::other)?;
        zip.write_all(text.as_bytes())?;
    }
    zip.start_file("about.txt", SimpleFileOptions::default()).map_err(io::Error::other)?;
    writeln!(zip, "kubectl-offset_reset {}, {}", env!("CARGO_PKG_VERSION"), Timestamp::now())?;
    zip.finish().map_err(io::Error::other)?;
    Ok(())
}
