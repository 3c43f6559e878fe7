//! The stored state of a reset: its status, and its report with the partitions that do not fit into the status.
//!
//! A plan of up to [`MAX_LISTED_PARTITIONS`] partitions is in the status, which is authoritative. Of a larger plan the status
//! lists the most important partitions, and the report is authoritative. There the report is written before the status, so that a
//! status never relies on a report that does not exist. A report that only repeats the status may be written later: a commit and
//! a restore do not wait for it. Each is written only over the version that was read.

use std::cmp::Reverse;

use crate::reconcile::{context::Context, error::Error, scheduler::FileVersions};
use crate::{
    api::{
        ActionKind, MAX_LISTED_PARTITIONS, OffsetReset, OffsetResetStatus, PartitionOutcome, PartitionStatus, Phase, ReportStatus,
    },
    kubernetes::{Files, ReportRead, WriteOutcome, report_name},
    machine::{
        self, Decision, Effect,
        facts::Denial,
        plan::export::{ReportRef, equivalent_command},
        request::Request,
    },
};
use jiff::Timestamp;
use kube::ResourceExt;

/// The most bytes of the listed partitions in a status, as JSON.
const MAX_LISTED_BYTES: usize = 150_000;

/// The state of a reset, as this pass has read it, or as its steps have changed it.
pub(super) struct StoredState {
    /// The status; with all partitions, where this pass needs them.
    pub status: OffsetResetStatus,
    /// Whether the report was read.
    report_read: bool,
    /// The version of the report that was read; `None` when there is none, or none was needed.
    report_version: Option<String>,
    /// Why partitions that are needed are missing.
    pub report_lost: Option<Denial>,
    /// Why the report cannot be written: another object has its name, or the operator may not read it.
    report_blocked: Option<Denial>,
    /// The report may be behind the status, and is written with the next change.
    report_due: bool,
    /// The ConfigMaps that the operator has written, and may replace without reading them.
    files: FileVersions,
}

/// Whether a step with this status needs the report: it works on partitions that the status may not list. A restore does not
/// wait for the report.
pub(super) fn needs_report(reset: &OffsetReset, status: &OffsetResetStatus, now: Timestamp) -> bool {
    let ends = reset.metadata.deletion_timestamp.is_some() || is_overdue(status, now);
    match status.phase {
        // The plan of an earlier step, or of the dry run.
        Some(Phase::Planning) => !ends && (status.report.is_some() || status.plan_time.is_some()),
        Some(Phase::Resetting | Phase::Canary) => status.partitions_omitted > 0 && !ends,
        _ => status.partitions_omitted > 0 && machine::needs_offsets(status),
    }
}

/// Whether the hold has reached its deadline.
pub(super) fn is_overdue(status: &OffsetResetStatus, now: Timestamp) -> bool {
    status.hold.as_ref().is_some_and(|hold| hold.deadline.0 <= now)
}

impl StoredState {
    /// The state of an object as it was read, without its report.
    pub fn of(reset: &OffsetReset, files: FileVersions) -> Self {
        let status = reset.status.clone().unwrap_or_default();
        // An earlier pass may have ended before it wrote a report that was due.
        let may_be_due = matches!(status.phase, Some(Phase::Resetting | Phase::Restoring)) && status.final_plan_time.is_some();
        let report_due = may_be_due && status.report.is_some() && status.partitions_omitted == 0;
        Self { status, report_read: false, report_version: None, report_lost: None, report_blocked: None, report_due, files }
    }

    /// The ConfigMaps that the next pass need not read before it writes them.
    pub fn into_files(self) -> FileVersions {
        self.files
    }

    /// The version of the receipt, where it is known and this effect changes the receipt.
    pub fn take_receipt(&mut self, effect: &Effect) -> Option<String> {
        if matches!(effect, Effect::SettleReceipt { .. }) { self.files.receipt.take() } else { None }
    }

    /// Whether the report was read.
    pub fn report_read(&self) -> bool {
        self.report_read
    }

    /// Reads the report, and takes the partitions from it that the status does not list.
    pub async fn read_report(&mut self, context: &Context, reset: &OffsetReset) -> Result<(), Error> {
        match context.reports.read(reset).await.map_err(Error::ReadReport)? {
            ReportRead::Found(report) => {
                self.report_version = Some(report.version);
                self.add_omitted(report.partitions);
            }
            ReportRead::Missing => self.lose(Denial::Refused("it was deleted".to_owned())),
            ReportRead::Unreadable { version, why } => {
                self.report_blocked = version.is_none().then(|| why.clone());
                self.report_version = version;
                self.lose(why);
            }
        }
        self.report_read = true;
        Ok(())
    }

    /// The same with another status.
    fn with(&self, status: OffsetResetStatus) -> Self {
        Self {
            status,
            report_read: self.report_read,
            report_version: self.report_version.clone(),
            report_lost: self.report_lost.clone(),
            report_blocked: self.report_blocked.clone(),
            report_due: self.report_due,
            files: self.files.clone(),
        }
    }

    fn add_omitted(&mut self, partitions: Vec<PartitionStatus>) {
        let omitted = usize::try_from(self.status.partitions_omitted).unwrap_or(0);
        if omitted == 0 {
            return;
        }
        let expected = self.status.partitions.len() + omitted;
        if self.status.phase == Some(Phase::Resetting) && partitions.len() != expected {
            let why = format!("it has {} partitions, but the plan has {expected}", partitions.len());
            return self.lose(Denial::Refused(why));
        }
        // What is over must not change with a report that was not updated at its end.
        let is_over = self.status.phase.is_some_and(Phase::is_terminal);
        if is_over && self.status.totals != Some(machine::totals::totals(&partitions)) {
            return;
        }
        self.status.partitions = partitions;
        self.status.partitions_omitted = 0;
    }

    fn lose(&mut self, why: Denial) {
        if self.status.partitions_omitted > 0 && self.status.phase == Some(Phase::Resetting) {
            self.report_lost = Some(why);
        }
    }
}

/// The object and the state as they are stored now.
pub(super) type Persisted = Box<(OffsetReset, StoredState)>;

/// Writes what has changed since `old`, the status that is stored: first the report, then the status. `Refused` and
/// `NotAllowed` mean that the report or the receipt cannot be written.
pub(super) async fn persist(
    context: &Context,
    reset: OffsetReset,
    request: Option<&Request>,
    old: &OffsetResetStatus,
    state: &StoredState,
    decision: &Decision,
) -> Result<WriteOutcome<Persisted>, Error> {
    let mut next = state.with(decision.status.clone());
    if next.status == *old {
        return Ok(WriteOutcome::Done(Box::new((reset, next))));
    }
    next.report_due |= next.status.partitions != old.partitions;
    // Without partitions there is no plan to report.
    next.report_due &= next.status.partitions_omitted == 0 && !next.status.partitions.is_empty();
    // Consumers do not wait for a report that only repeats the status.
    let awaited = matches!(
        &decision.effect,
        Some(Effect::Commit(_) | Effect::RemoveOffsets(_) | Effect::Scale { kind: ActionKind::Restore, .. })
    );
    let mut files = None;
    if next.report_due && !(awaited && is_listed(&next.status)) {
        let found = match Files::of(&next.status.partitions) {
            Ok(files) => files,
            Err(why) => return Ok(WriteOutcome::Refused(why)),
        };
        if let Some(why) = found.too_large(next.status.final_plan_time.is_none()) {
            return Ok(WriteOutcome::Refused(why));
        }
        let compressed = found.is_compressed();
        files = Some(found.clone());
        match write_report(context, &reset, &mut next, found).await? {
            WriteOutcome::Done(version) => {
                next.files.report = Some(version.clone());
                next.report_version = Some(version);
            }
            WriteOutcome::Stale => return Ok(WriteOutcome::Stale),
            WriteOutcome::NotAllowed(why) => return Ok(WriteOutcome::NotAllowed(why)),
            WriteOutcome::Refused(why) => return Ok(WriteOutcome::Refused(why)),
        }
        let config_map = report_name(&reset);
        if let Some(request) = request {
            let namespace = reset.namespace().unwrap_or_default();
            let place = ReportRef { namespace: &namespace, config_map: &config_map, compressed };
            next.status.equivalent_command = Some(equivalent_command(request, &next.status.partitions, place));
        }
        next.status.report = Some(ReportStatus { config_map, compressed });
        next.report_due = false;
    }
    // The receipt is written before the status that a commit relies on.
    let first_commit = old.commits == 0 || old.receipt.is_none();
    if let (Some(receipt), Some(at)) = (&next.status.receipt, &next.status.final_plan_time)
        && first_commit
        && next.status.commits > 0
        && !receipt.settled
    {
        // The receipt has the report's files. To make those of many partitions takes a while.
        let files = match files.map_or_else(|| Files::of(&next.status.partitions), Ok) {
            Ok(files) => files,
            Err(why) => return Ok(WriteOutcome::Refused(format!("its receipt could not be written: {why}"))),
        };
        context.require_leadership()?;
        let opened = context.receipts.open(&reset, &receipt.config_map, at.0, next.status.group.as_ref(), files).await;
        match opened.map_err(Error::Receipt)? {
            WriteOutcome::Done(version) => next.files.receipt = Some(version),
            WriteOutcome::Stale => return Ok(WriteOutcome::Stale),
            WriteOutcome::NotAllowed(why) => {
                return Ok(WriteOutcome::NotAllowed(format!("its receipt could not be written: {why}")));
            }
            WriteOutcome::Refused(why) => return Ok(WriteOutcome::Refused(format!("its receipt could not be written: {why}"))),
        }
    }
    Box::pin(write_status(context, reset, next)).await
}

/// Writes the report over the version that was read or written last; that of a first plan is created, without a look whether there is
/// one.
async fn write_report(
    context: &Context,
    reset: &OffsetReset,
    next: &mut StoredState,
    files: Files,
) -> Result<WriteOutcome<String>, Error> {
    context.require_leadership()?;
    if !next.report_read {
        let known = next.files.report.take();
        if known.is_some() || next.status.report.is_none() {
            let written = context.reports.write(reset, files.clone(), known.as_deref()).await.map_err(Error::WriteReport)?;
            if matches!(written, WriteOutcome::Done(_)) {
                return Ok(written);
            }
        }
        // Another client has changed it, or a status that was edited by hand has lost its plan, and an earlier report exists.
        next.read_report(context, reset).await?;
    }
    match &next.report_blocked {
        Some(Denial::NotAllowed(why)) => Ok(WriteOutcome::NotAllowed(why.clone())),
        Some(Denial::Refused(why)) => Ok(WriteOutcome::Refused(why.clone())),
        None => context.reports.write(reset, files, next.report_version.as_deref()).await.map_err(Error::WriteReport),
    }
}

/// Writes the status without the report, when the report cannot be written and consumers must not wait for it.
pub(super) async fn persist_without_report(
    context: &Context,
    reset: OffsetReset,
    state: &StoredState,
    decision: &Decision,
    why: &str,
) -> Result<WriteOutcome<Persisted>, Error> {
    let mut status = decision.status.clone();
    let warning = format!("the report is not up to date, because it could not be written: {why}");
    if !status.warnings.contains(&warning) && status.warnings.len() < crate::api::MAX_WARNINGS {
        status.warnings.push(warning);
    }
    Box::pin(write_status(context, reset, state.with(status))).await
}

async fn write_status(context: &Context, reset: OffsetReset, stored: StoredState) -> Result<WriteOutcome<Persisted>, Error> {
    context.require_leadership()?;
    match context.resets.write_status(&reset, &listed(&stored.status)).await.map_err(Error::WriteStatus)? {
        WriteOutcome::Done(written) => Ok(WriteOutcome::Done(Box::new((written, stored)))),
        WriteOutcome::NotAllowed(why) | WriteOutcome::Refused(why) => Err(Error::StatusRefused(why)),
        WriteOutcome::Stale => Ok(WriteOutcome::Stale),
    }
}

/// The size of a partition in a status, in bytes.
fn weight(planned: &PartitionStatus) -> usize {
    serde_json::to_string(planned).map_or(usize::MAX, |text| text.len())
}

/// Whether the status may list all partitions that it has.
fn is_listed(status: &OffsetResetStatus) -> bool {
    let total = || status.partitions.iter().map(weight).fold(0, usize::saturating_add);
    status.partitions_omitted > 0 || (status.partitions.len() <= MAX_LISTED_PARTITIONS && total() <= MAX_LISTED_BYTES)
}

/// The status with as many partitions as it may list: all of them, or else the most important ones.
fn listed(status: &OffsetResetStatus) -> OffsetResetStatus {
    let mut listed = status.clone();
    if is_listed(status) {
        return listed;
    }
    let matters = |planned: &PartitionStatus| match planned.outcome {
        PartitionOutcome::Failed => 3,
        PartitionOutcome::Reset if planned.overwritten.is_some() => 3,
        PartitionOutcome::Unconfirmed | PartitionOutcome::Skipped => 2,
        PartitionOutcome::Planned | PartitionOutcome::Reset | PartitionOutcome::Unchanged => i32::from(planned.clamped.is_some()),
    };
    // A stable sort keeps the order of the plan among equals.
    listed.partitions.sort_by_key(|planned| Reverse(matters(planned)));
    let mut bytes = 0_usize;
    let fits = listed.partitions.iter().take(MAX_LISTED_PARTITIONS).take_while(|planned| {
        bytes = bytes.saturating_add(weight(planned));
        bytes <= MAX_LISTED_BYTES
    });
    // At least one stays, so that this differs from a status without a plan.
    let fits = fits.count().max(1);
    listed.partitions.truncate(fits);
    listed.partitions_omitted = i32::try_from(status.partitions.len() - fits).unwrap_or(i32::MAX);
    listed
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case::a_plan_of_an_earlier_step("Planning", json!({"planTime": "2026-11-27T10:00:00.000000Z"}), true)]
    #[case::a_report_of_an_earlier_step("Planning", json!({"report": {"configMap": "c", "compressed": false}}), true)]
    #[case::a_first_plan("Planning", json!({}), false)]
    #[case::partitions_are_not_listed("Resetting", json!({"partitionsOmitted": 3}), true)]
    #[case::all_are_listed("Resetting", json!({}), false)]
    #[case::a_canary_may_be_undone("Canary", json!({"partitionsOmitted": 3}), true)]
    #[case::a_restore_does_not_wait("Restoring", json!({"partitionsOmitted": 3}), false)]
    #[case::the_group_is_awaited("Draining", json!({"partitionsOmitted": 3}), false)]
    fn the_report_is_read_where_a_step_works_on_its_partitions(#[case] phase: &str, #[case] change: Value, #[case] needed: bool) {
        let mut status = json!({
            "phase": phase,
            "hold": {"startTime": "2026-11-27T10:00:00.000000Z", "deadline": "2026-11-27T10:10:00.000000Z"},
        });
        status.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let status: OffsetResetStatus = serde_json::from_value(status).unwrap();
        let mut reset: OffsetReset = serde_json::from_value(json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "replay", "namespace": "shop"},
            "spec": {"kafka": {"bootstrapServers": "k:1"}, "group": "orders"},
        }))
        .unwrap();
        let (within, after) = ("2026-11-27T10:09:59Z".parse().unwrap(), "2026-11-27T10:10:00Z".parse().unwrap());
        assert_eq!(needs_report(&reset, &status, within), needed);
        assert!(!needs_report(&reset, &status, after), "the hold is over");
        reset.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(within));
        assert!(!needs_report(&reset, &status, within), "it is being deleted");
    }
}
