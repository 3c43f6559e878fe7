//! What is recorded, as one picture: the status, and the report that has the partitions which do not fit into it.
//!
//! A plan of up to [`MAX_LISTED_PARTITIONS`] partitions stands in the status, and the status is what counts. Of a larger one the status
//! lists those that matter most, and the report is what counts. The report is written before the status: a status never tells of
//! partitions that no report has. Both are written over the version that was read only.

use std::cmp::Reverse;

use super::{Context, Error};
use crate::{
    api::{MAX_LISTED_PARTITIONS, OffsetReset, OffsetResetStatus, PartitionOutcome, PartitionStatus, Phase, ReportStatus},
    kubernetes::{Files, ReportRead, ReportWrite, Stored, report_name},
    machine::{
        Decision,
        plan::export::{ReportRef, equivalent_command},
        request::Request,
    },
};
use jiff::Timestamp;
use kube::ResourceExt;

/// What the listed partitions may weigh in a status, in bytes.
const MOST_LISTED_BYTES: usize = 150_000;

/// What is recorded of a reset.
pub(super) struct Picture {
    /// The status, with all partitions where this pass needs them.
    pub status: OffsetResetStatus,
    /// The report was read.
    looked: bool,
    /// The version of the report that was read; `None` when there is none, or none was needed.
    version: Option<String>,
    /// Why partitions that are needed are not there.
    pub lost: Option<String>,
    /// Why the report cannot be written: what stands under its name is not of this reset, or may not be read.
    barred: Option<String>,
}

/// Reads what is recorded; the report only in those phases that work on the partitions.
pub(super) async fn load(context: &Context, reset: &OffsetReset) -> Result<Picture, Error> {
    let mut picture =
        Picture { status: reset.status.clone().unwrap_or_default(), looked: false, version: None, lost: None, barred: None };
    // What is to bring consumers back does not wait for a report that cannot be read.
    let ends = reset.metadata.deletion_timestamp.is_some() || is_overdue(&picture.status, (context.clock)());
    if ends || !matches!(picture.status.phase, Some(Phase::Planning | Phase::Resetting)) {
        return Ok(picture);
    }
    picture.look(context, reset).await?;
    Ok(picture)
}

/// Whether the consumers have been held for as long as they may be.
pub(super) fn is_overdue(status: &OffsetResetStatus, now: Timestamp) -> bool {
    status.hold.as_ref().is_some_and(|hold| hold.deadline.0 <= now)
}

impl Picture {
    async fn look(&mut self, context: &Context, reset: &OffsetReset) -> Result<(), Error> {
        match context.reports.read(reset).await.map_err(Error::ReadReport)? {
            ReportRead::Found(report) => {
                self.version = Some(report.version);
                self.complete(report.partitions);
            }
            ReportRead::Missing => self.miss("somebody has deleted it".to_owned()),
            ReportRead::Unreadable { version, why } => {
                self.barred = version.is_none().then(|| why.clone());
                self.version = version;
                self.miss(why);
            }
        }
        self.looked = true;
        Ok(())
    }

    /// With another status, and what was seen of the report.
    fn with(&self, status: OffsetResetStatus) -> Self {
        let Self { looked, version, lost, barred, .. } = self;
        Self { status, looked: *looked, version: version.clone(), lost: lost.clone(), barred: barred.clone() }
    }

    fn complete(&mut self, partitions: Vec<PartitionStatus>) {
        let omitted = usize::try_from(self.status.partitions_omitted).unwrap_or(0);
        if omitted == 0 {
            return;
        }
        let expected = self.status.partitions.len() + omitted;
        if self.status.phase == Some(Phase::Resetting) && partitions.len() != expected {
            return self.miss(format!("it has {} partitions, and the plan had {expected}", partitions.len()));
        }
        self.status.partitions = partitions;
        self.status.partitions_omitted = 0;
    }

    fn miss(&mut self, why: String) {
        if self.status.partitions_omitted > 0 && self.status.phase == Some(Phase::Resetting) {
            self.lost = Some(why);
        }
    }
}

/// How storing ended.
pub(super) enum Outcome {
    /// It stands.
    Stands(Box<OffsetReset>, Box<Picture>),
    /// Something has changed since it was read: nothing may follow.
    Stale,
    /// The report cannot be stored; why.
    Refused(String),
}

/// Writes what a decision has changed: first the report, then the status.
pub(super) async fn keep(
    context: &Context,
    reset: OffsetReset,
    request: Option<&Request>,
    old: &Picture,
    decision: &Decision,
) -> Result<Outcome, Error> {
    let mut next = old.with(decision.status.clone());
    if next.status == old.status {
        return Ok(Outcome::Stands(Box::new(reset), Box::new(next)));
    }
    if next.status.partitions != old.status.partitions && next.status.partitions_omitted == 0 {
        if !next.looked {
            // A status that has lost its plan may have a report from before.
            next.look(context, &reset).await?;
        }
        if let Some(why) = &next.barred {
            return Ok(Outcome::Refused(why.clone()));
        }
        let files = match Files::of(&next.status.partitions) {
            Ok(files) => files,
            Err(why) => return Ok(Outcome::Refused(why)),
        };
        if let Some(why) = files.too_large(next.status.final_plan_time.is_none()) {
            return Ok(Outcome::Refused(why));
        }
        let compressed = files.is_compressed();
        context.leads()?;
        match context.reports.write(&reset, files, next.version.as_deref()).await.map_err(Error::WriteReport)? {
            ReportWrite::Written(version) => next.version = Some(version),
            ReportWrite::Stale => return Ok(Outcome::Stale),
            ReportWrite::Refused(why) => return Ok(Outcome::Refused(why)),
        }
        let config_map = report_name(&reset);
        if let Some(request) = request {
            let namespace = reset.namespace().unwrap_or_default();
            let place = ReportRef { namespace: &namespace, config_map: &config_map, compressed };
            next.status.equivalent_command = Some(equivalent_command(request, &next.status.partitions, place));
        }
        next.status.report = Some(ReportStatus { config_map, compressed });
    }
    // The receipt stands before the status that a commit relies on.
    let first_commit = old.status.commits == 0 || old.status.receipt.is_none();
    if let (Some(receipt), Some(at)) = (&next.status.receipt, &next.status.final_plan_time)
        && first_commit
        && next.status.commits > 0
        && !receipt.settled
    {
        context.leads()?;
        let opened = context.receipts.open(&reset, &receipt.config_map, at.0, &next.status).await;
        match opened.map_err(Error::Receipt)? {
            ReportWrite::Written(_) => {}
            ReportWrite::Stale => return Ok(Outcome::Stale),
            ReportWrite::Refused(why) => return Ok(Outcome::Refused(format!("its receipt: {why}"))),
        }
    }
    write_status(context, reset, next).await
}

/// Writes the status alone: for when the report cannot be written any more, and consumers must not wait for it.
pub(super) async fn keep_without_report(
    context: &Context,
    reset: OffsetReset,
    old: &Picture,
    decision: &Decision,
    why: &str,
) -> Result<Outcome, Error> {
    let mut status = decision.status.clone();
    let warning = format!("the report could not be brought up to date: {why}");
    if !status.warnings.contains(&warning) && status.warnings.len() < crate::api::MAX_WARNINGS {
        status.warnings.push(warning);
    }
    write_status(context, reset, old.with(status)).await
}

async fn write_status(context: &Context, reset: OffsetReset, picture: Picture) -> Result<Outcome, Error> {
    context.leads()?;
    match context.resets.write_status(&reset, &listed(&picture.status)).await.map_err(Error::WriteStatus)? {
        Stored::Written(written) => Ok(Outcome::Stands(written, Box::new(picture))),
        Stored::Stale => Ok(Outcome::Stale),
    }
}

/// The status with as many partitions as it may list: all, or else those that matter most.
fn listed(status: &OffsetResetStatus) -> OffsetResetStatus {
    let mut listed = status.clone();
    if status.partitions_omitted > 0 {
        return listed;
    }
    let weight = |planned: &PartitionStatus| serde_json::to_string(planned).map_or(usize::MAX, |text| text.len());
    let total = status.partitions.iter().map(weight).fold(0, usize::saturating_add);
    if status.partitions.len() <= MAX_LISTED_PARTITIONS && total <= MOST_LISTED_BYTES {
        return listed;
    }
    let matters = |planned: &PartitionStatus| match planned.outcome {
        PartitionOutcome::Failed => 3,
        PartitionOutcome::Unconfirmed | PartitionOutcome::Skipped => 2,
        PartitionOutcome::Planned | PartitionOutcome::Reset | PartitionOutcome::Unchanged => i32::from(planned.clamped.is_some()),
    };
    // Stable: within what matters equally, the order of the plan stays.
    listed.partitions.sort_by_key(|planned| Reverse(matters(planned)));
    let mut bytes = 0_usize;
    let fits = listed.partitions.iter().take(MAX_LISTED_PARTITIONS).take_while(|planned| {
        bytes = bytes.saturating_add(weight(planned));
        bytes <= MOST_LISTED_BYTES
    });
    // One always stays, so that the omission can be told from a plan that was not made.
    let fits = fits.count().max(1);
    listed.partitions.truncate(fits);
    listed.partitions_omitted = i32::try_from(status.partitions.len() - fits).unwrap_or(i32::MAX);
    listed
}
