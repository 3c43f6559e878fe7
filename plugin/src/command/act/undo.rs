//! `undo`: back to the offsets that a reset found.

use jiff::{Timestamp, tz::TimeZone};
use kube::{ResourceExt, api::PostParams};

use super::{
    confirm::{NOT_CONFIRMED, agreed, right_context},
    make::go_on,
    others::{self, Undone},
    steps,
};
use crate::{
    cli::UndoArgs,
    cluster::Cluster,
    exit::{Exit, Failure, Outcome, is_undone, may_have_changed},
    manifest,
    print::errln,
    view::{DIM, Line},
};

/// Plans the undo, shows it, asks, and runs it.
pub async fn undo(cluster: &Cluster, name: &str, args: &UndoArgs) -> Outcome {
    right_context(cluster, &args.run)?;
    let of = cluster.reset(name).await?;
    let status = of.status.clone().unwrap_or_default();
    if !may_have_changed(&status) {
        let ended = offset_reset_operator::machine::has_ended(&status, of.spec.dry_run);
        let failure = Failure::new(format!("OffsetReset {name} has changed no offset: there is nothing to undo."));
        return Err(if ended { failure } else { failure.advice(format!("To end it: kubectl offset-reset cancel {name}")) });
    }
    if is_undone(&status) {
        return Err(Failure::new(format!(
            "OffsetReset {name} is undone already: its canary failed, and the offsets from before are committed again."
        )));
    }
    let all = steps::others(cluster).await.unwrap_or_default();
    match others::undone(&all, &of) {
        None => {}
        Some(Undone::Now(by)) => {
            let by = by.name_any();
            return Err(Failure::new(format!("OffsetReset {name} is being undone already, by {by}."))
                .advice(format!("To follow it: kubectl offset-reset watch {by}")));
        }
        Some(Undone::Before(by)) => {
            others::undone_before(name, by, Timestamp::now(), &TimeZone::system()).iter().for_each(errln);
            if !agreed("Plan another undo?", args.run.yes)? {
                return Ok(NOT_CONFIRMED);
            }
        }
    }
    let new = match &args.new_name {
        Some(new) => new.clone(),
        None => free_name(cluster, name).await?,
    };
    errln(&Line::styled(DIM, format!("► creating {}/{new} (dry run)", cluster.namespace)));
    steps::post(cluster, &manifest::undo(&of, &new), &PostParams::default()).await?;
    let (reset, exit) = steps::planned(cluster, &new, args.timeout).await?;
    steps::show(cluster, &reset, None, None).await?;
    if exit != Exit::Done {
        steps::refused(&reset);
        return Ok(exit);
    }
    go_on(cluster, &reset, &args.run, args.timeout).await
}

/// `undo-NAME`, or with some letters when there is one.
async fn free_name(cluster: &Cluster, of: &str) -> Outcome<String> {
    let name = format!("undo-{of}");
    let found = cluster.resets().get_metadata_opt(&name).await;
    let found = found.map_err(|error| Failure::request(&format!("read OffsetReset {name}"), &error))?;
    Ok(if found.is_some() { format!("{name}-{}", manifest::some_letters()) } else { name })
}
