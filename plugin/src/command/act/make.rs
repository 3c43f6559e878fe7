//! `plan`, `create` and `run`.

use std::time::Duration;

use jiff::Timestamp;
use kube::{ResourceExt, api::DeleteParams};
use offset_reset_operator::{api::OffsetReset, machine};

use super::{
    confirm::{NOT_CONFIRMED, confirmed, right_context},
    steps,
};
use crate::{
    cli::{CreateArgs, Format, MakeArgs, PlanArgs, RunArgs, RunNameArgs, Where},
    cluster::Cluster,
    command::check::trouble,
    exit::{Exit, Failure, Outcome},
    manifest::{Manifest, made},
    print::{errln, object, outln, raw},
    view::{DIM, Line, hint, words::ago},
};

/// `plan`: a dry run, shown.
pub async fn plan(cluster: &Cluster, args: &PlanArgs) -> Outcome {
    let make = &args.make;
    let manifest = made(cluster, make, true).await?;
    if let Some(place) = make.output.dry_run {
        return only_shown(cluster, make, &manifest, place).await;
    }
    let (reset, exit) = new_plan(cluster, make, &manifest).await?;
    let name = reset.name_any();
    if !args.keep {
        let deleted = cluster.resets().delete(&name, &DeleteParams::default()).await;
        deleted.map_err(|error| Failure::request(&format!("delete OffsetReset {name} again"), &error))?;
        return Ok(exit);
    }
    if make.output.output.is_none() {
        outln(&Line::default());
        if exit == Exit::Done {
            outln(&hint("Run:", &format!("run {name}")));
            outln(&hint("Delete:", &format!("cancel {name}")));
        } else {
            steps::refused(&reset);
        }
    }
    Ok(exit)
}

/// `create`: plan, question, run, watch.
pub async fn create(cluster: &Cluster, args: &CreateArgs) -> Outcome {
    right_context(cluster, &args.run)?;
    if let Some(place) = args.make.output.dry_run {
        let manifest = made(cluster, &args.make, false).await?;
        return only_shown(cluster, &args.make, &manifest, place).await;
    }
    let manifest = made(cluster, &args.make, true).await?;
    let (reset, exit) = new_plan(cluster, &args.make, &manifest).await?;
    if exit != Exit::Done {
        steps::refused(&reset);
        return Ok(exit);
    }
    go_on(cluster, &reset, &args.run, args.make.output.timeout).await
}

/// `run NAME`.
pub async fn run(cluster: &Cluster, name: &str, args: &RunNameArgs) -> Outcome {
    right_context(cluster, &args.run)?;
    let reset = cluster.reset(name).await?;
    let status = reset.status.clone().unwrap_or_default();
    if !reset.spec.dry_run {
        return Err(if machine::has_ended(&status, false) {
            let phase = status.phase.map_or("ended", offset_reset_operator::api::Phase::as_str);
            Failure::new(format!("OffsetReset {name} has run already: {phase}. A reset runs once."))
                .advice(format!("To do the same again: kubectl offset-reset create --like {name} ..."))
        } else {
            Failure::new(format!("OffsetReset {name} runs already."))
                .advice(format!("To follow it: kubectl offset-reset watch {name}"))
        });
    }
    let (reset, exit) = steps::planned(cluster, name, args.timeout).await?;
    steps::show(cluster, &reset, None, None).await?;
    if exit != Exit::Done {
        steps::refused(&reset);
        return Ok(exit);
    }
    if let Some(at) = reset.status.as_ref().and_then(|status| status.plan_time.as_ref()) {
        outln(&Line::styled(DIM, format!("planned {}", ago(at.0, Timestamp::now()))));
    }
    go_on(cluster, &reset, &args.run, args.timeout).await
}

/// Question, run, watch.
pub(super) async fn go_on(cluster: &Cluster, reset: &OffsetReset, run: &RunArgs, timeout: Option<Duration>) -> Outcome {
    if let Some((what, advice)) = trouble(cluster).await {
        errln(&Line::warning(format!("{what}. The reset starts once an operator works. {advice}")));
    }
    if confirmed(cluster, reset, run, Timestamp::now())? {
        steps::let_run(cluster, reset, run, timeout).await
    } else {
        Ok(NOT_CONFIRMED)
    }
}

async fn new_plan(cluster: &Cluster, make: &MakeArgs, manifest: &Manifest) -> Outcome<(OffsetReset, Exit)> {
    errln(&Line::styled(DIM, format!("► creating {}/{} (dry run)", cluster.namespace, manifest.name())));
    if let Some(at) = make.goal.to_datetime {
        errln(&Line::styled(
            DIM,
            format!("► to {at}, which is {} here", crate::view::words::full(at, &jiff::tz::TimeZone::system())),
        ));
    }
    steps::create(cluster, manifest, false).await?;
    let (reset, exit) = steps::planned(cluster, manifest.name(), make.output.timeout).await?;
    steps::show(cluster, &reset, make.output.partitions, make.output.output).await?;
    Ok((reset, exit))
}

/// `--dry-run`: the manifest, which the API server checks with `server`.
async fn only_shown(cluster: &Cluster, make: &MakeArgs, manifest: &Manifest, place: Where) -> Outcome {
    if place == Where::Server {
        steps::create(cluster, manifest, true).await?;
    }
    let format = make.output.output.unwrap_or(Format::Yaml);
    if let Some(file) = &manifest.file {
        let config_map = serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"offsets.csv": file},
            "metadata": {"name": manifest.config_map(), "namespace": cluster.namespace},
        });
        object(&config_map, format)?;
        if format == Format::Yaml {
            raw("---");
        }
    }
    object(&manifest.object, format)?;
    Ok(Exit::Done)
}
