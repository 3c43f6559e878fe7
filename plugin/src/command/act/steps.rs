//! The steps that commands share: create, wait for the plan, show it, let it run.

use std::time::Duration;

use jiff::tz::TimeZone;
use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{
    Api, Resource, ResourceExt,
    api::{DynamicObject, Patch, PatchParams, PostParams},
};
use offset_reset_operator::api::OffsetReset;
use serde_json::{Value, json};

use super::{others, owners::hint as hint_targets};
use crate::{
    cli::{Format, RunArgs, Which},
    cluster::Cluster,
    command::{
        check::trouble,
        look::listed,
        watch::{End, Options, follow, until_end},
    },
    exit::{Exit, Failure, Outcome},
    interrupt::{Left, leaves},
    manifest::Manifest,
    print::{errln, object, outln},
    view::{Line, hint, options, plan, undo},
};

/// How long the operator may take to see a new object before a line says that it has not.
const UNSEEN: Duration = Duration::from_secs(10);

/// Who writes the ConfigMap with a file.
const MANAGER: &str = "kubectl-offset-reset";

/// Creates the object, and before it the ConfigMap with its file.
pub(super) async fn create(cluster: &Cluster, manifest: &Manifest, dry_run: bool) -> Outcome<OffsetReset> {
    let params = PostParams { dry_run, field_manager: Some(MANAGER.to_owned()) };
    let config_maps = Api::<ConfigMap>::namespaced(cluster.client.clone(), &cluster.namespace);
    if let Some(file) = &manifest.file {
        let name = manifest.config_map();
        let config_map = json!({"metadata": {"name": name}, "data": {"offsets.csv": file}});
        let config_map: ConfigMap = serde_json::from_value(config_map).map_err(|error| Failure::new(error.to_string()))?;
        if !dry_run {
            leaves(Left::MaybePlan(name_of(&manifest.object).to_owned()));
        }
        let created = config_maps.create(&params, &config_map).await;
        created.map_err(|error| Failure::request(&format!("create ConfigMap {name} with the file"), &error))?;
    }
    let created = post(cluster, &manifest.object, &params).await;
    match (&manifest.file, &created, dry_run) {
        (Some(_), Ok(reset), false) => {
            // So that it goes with the reset. A user who may not do that has one ConfigMap more.
            let owner = OwnerReference { controller: None, block_owner_deletion: None, ..owner(reset) };
            let patch = Patch::Merge(json!({"metadata": {"ownerReferences": [owner]}}));
            let _ = config_maps.patch(&manifest.config_map(), &PatchParams::default(), &patch).await;
        }
        (Some(_), Err(_), false) => {
            let _ = config_maps.delete(&manifest.config_map(), &kube::api::DeleteParams::default()).await;
        }
        _ => {}
    }
    created
}

fn name_of(manifest: &Value) -> &str {
    manifest["metadata"]["name"].as_str().unwrap_or_default()
}

fn owner(reset: &OffsetReset) -> OwnerReference {
    reset.owner_ref(&()).unwrap_or_default()
}

/// As [`posted`]; Ctrl-C says that the plan may exist.
pub(super) async fn post(cluster: &Cluster, manifest: &Value, params: &PostParams) -> Outcome<OffsetReset> {
    if !params.dry_run {
        leaves(Left::MaybePlan(name_of(manifest).to_owned()));
    }
    posted(cluster, manifest, params).await
}

/// Creates an object as it is written: with no more fields than the manifest has.
pub async fn posted(cluster: &Cluster, manifest: &Value, params: &PostParams) -> Outcome<OffsetReset> {
    let name = name_of(manifest);
    let doing = format!("create OffsetReset {}/{name}", cluster.namespace);
    let wrong = |error: serde_json::Error| Failure::new(format!("cannot {doing}: {error}"));
    let resource = kube::api::ApiResource::erase::<OffsetReset>(&());
    let api = Api::<DynamicObject>::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource);
    let object: DynamicObject = serde_json::from_value(manifest.clone()).map_err(wrong)?;
    let created = api.create(params, &object).await.map_err(|error| Failure::request(&doing, &error))?;
    if !is_kept(&manifest["spec"], &created.data["spec"]) {
        if !params.dry_run {
            let _ = api.delete(name, &kube::api::DeleteParams::default()).await;
        }
        return Err(Failure::new(
            "the CRD in the cluster is older than this plugin and has dropped fields of the spec. Nothing was stopped. \
             Upgrade the operator with its CRD, or use the plugin of its version",
        ));
    }
    serde_json::to_value(&created).and_then(serde_json::from_value).map_err(wrong)
}

/// Whether each field that was sent is stored: an API server whose CRD does not know a field drops it, and what is left may mean more.
fn is_kept(sent: &Value, kept: &Value) -> bool {
    match (sent, kept) {
        (Value::Object(sent), Value::Object(kept)) => {
            sent.iter().all(|(field, value)| kept.get(field).is_some_and(|kept| is_kept(value, kept)))
        }
        (Value::Array(sent), Value::Array(kept)) => {
            sent.len() == kept.len() && sent.iter().zip(kept).all(|(sent, kept)| is_kept(sent, kept))
        }
        (Value::Null, _) => true,
        _ => sent.is_object() == kept.is_object() && sent.is_array() == kept.is_array(),
    }
}

/// Waits until the plan is made, or refused.
pub(super) async fn planned(cluster: &Cluster, name: &str, timeout: Option<Duration>) -> Outcome<(OffsetReset, Exit)> {
    leaves(Left::Plan(name.to_owned()));
    let options = Options { timeout, quiet: true, ..Options::default() };
    // On the heap, because the futures of requests are large.
    let unseen = Box::pin(async {
        tokio::time::sleep(UNSEEN).await;
        // The known cause was printed already.
        if is_unseen(cluster, name).await && trouble(cluster).await.is_none() {
            errln(&Line::warning(NOT_SEEN));
        }
        std::future::pending::<()>().await;
    });
    let end = tokio::select! {
        end = Box::pin(until_end(cluster, name, options)) => end?,
        () = unseen => unreachable!("it never ends"),
    };
    match end {
        End::Ended(reset, exit) => Ok((*reset, exit)),
        End::Gone(_) => {
            Err(Failure { exit: Exit::Cancelled, ..Failure::new(format!("OffsetReset {name} was deleted meanwhile.")) })
        }
        End::Timeout(no_operator) => {
            let why = Box::pin(why_no_plan(cluster, name, no_operator)).await;
            let failure = Failure::new(format!("{why}\nThe timeout is over, and the plan of {name} is not made yet."));
            let advice = format!(
                "Nothing is stopped, and the plan is made once that is possible.\nLook:    kubectl offset-reset status {name}\n\
                 Delete:  kubectl offset-reset cancel {name}"
            );
            Err(Failure { exit: Exit::Timeout, ..failure.advice(advice) })
        }
    }
}

const NOT_SEEN: &str = "No operator has seen it for 10 s. Is one running? kubectl offset-reset check";

async fn is_unseen(cluster: &Cluster, name: &str) -> bool {
    cluster.reset(name).await.is_ok_and(|reset| reset.status.is_none_or(|status| status.phase.is_none()))
}

/// Why there is no plan: no operator works, or what the operator has reported.
async fn why_no_plan(cluster: &Cluster, name: &str, no_operator: Option<Line>) -> String {
    if let Some(line) = no_operator {
        return line.text().trim_start_matches("⚠ ").to_owned();
    }
    let look = tokio::time::timeout(Duration::from_secs(2), cluster.reset(name)).await;
    match look.ok().and_then(Result::ok).map(|reset| reset.status.unwrap_or_default()) {
        Some(status) if status.phase.is_some() => {
            let reason = status.reason.map(|reason| format!("{reason}: ")).unwrap_or_default();
            format!("{reason}{}", status.explanation())
        }
        Some(_) => "no operator has seen it. Is one running? kubectl offset-reset check".to_owned(),
        None => "the API server does not answer.".to_owned(),
    }
}

/// Prints a plan.
pub(super) async fn show(cluster: &Cluster, reset: &OffsetReset, which: Option<Which>, format: Option<Format>) -> Outcome<()> {
    if let Some(format) = format {
        return object(reset, format);
    }
    let partitions = cluster.partitions(reset).await?;
    let zone = TimeZone::system();
    let lines =
        if reset.spec.undo.is_some() { undo(reset, &partitions, which, &zone) } else { plan(reset, &partitions, which, &zone) };
    lines.iter().for_each(outln);
    hint_targets(cluster, reset).await.iter().for_each(outln);
    // Without the right to list them the plugin names none.
    others::in_the_way(&others(cluster).await.unwrap_or_default(), reset).iter().for_each(outln);
    Ok(())
}

/// The resets of the namespace, as far as this version can read them.
pub async fn others(cluster: &Cluster) -> Outcome<Vec<OffsetReset>> {
    Ok(listed(cluster, false).await?.into_iter().filter_map(|(_, reset)| reset).collect())
}

/// What to do about a plan that was refused.
pub(super) fn refused(reset: &OffsetReset) {
    let (name, status) = (reset.name_any(), reset.status.clone().unwrap_or_default());
    if let Some(words) = options(&status.explanation()) {
        outln(&Line::plain(words));
    }
    outln(&hint("Explain:", &format!("explain {name}")));
    outln(&hint("Delete:", &format!("cancel {name}")));
}

/// Lets a planned reset run: only the object whose plan was confirmed.
pub async fn told_to_run(cluster: &Cluster, name: &str, uid: Option<String>) -> Outcome<()> {
    let patch = Patch::Merge(json!({"metadata": {"uid": uid}, "spec": {"dryRun": false}}));
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patched = cluster.resets().patch(name, &params, &patch).await;
    patched.map_err(|error| Failure::request(&format!("let OffsetReset {name} run"), &error))?;
    Ok(())
}

/// Lets a planned reset run, and watches it.
pub(super) async fn let_run(cluster: &Cluster, reset: &OffsetReset, run: &RunArgs, timeout: Option<Duration>) -> Outcome {
    let name = reset.name_any();
    leaves(Left::MaybeRuns(name.clone()));
    told_to_run(cluster, &name, reset.uid()).await?;
    leaves(Left::Runs(name.clone()));
    if run.no_watch {
        outln(&Line::plain(format!("OffsetReset {name} runs.")));
        outln(&hint("Watch:", &format!("watch {name}")));
        outln(&hint("Cancel:", &format!("cancel {name}")));
        return Ok(Exit::Done);
    }
    follow(cluster, &name, Options { timeout, ..Options::default() }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_the_api_server_drops_is_noticed() {
        let sent = json!({"group": "g", "resets": [{"topic": "t", "partitions": [0, 2]}]});
        let mut kept = json!({"group": "g", "suspend": false, "resets": [{"topic": "t", "partition": -1, "partitions": [0, 2]}]});
        assert!(is_kept(&sent, &kept));
        kept["resets"][0].as_object_mut().unwrap().remove("partitions");
        assert!(!is_kept(&sent, &kept));
    }
}
