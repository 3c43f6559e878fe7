//! Many OffsetResets at once: a batch, which is a label.

use clap::Args;

use super::{
    names::{batches, resets},
    words::{batch_name, reset_name},
};

/// One OffsetReset, or all of a batch.
#[derive(Args, Debug, Clone)]
#[group(required = true, multiple = false)]
pub struct Of {
    /// The name of the OffsetReset.
    #[arg(add = resets(), value_parser = reset_name)]
    pub name: Option<String>,
    /// All OffsetResets of this batch, which `plan -l SELECTOR --batch NAME` has made.
    #[arg(long, value_name = "NAME", add = batches(), value_parser = batch_name)]
    pub batch: Option<String>,
}

/// What the words name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// One OffsetReset.
    One(&'a str),
    /// All of a batch.
    Batch(&'a str),
}

impl Of {
    /// Which of both.
    pub fn named(&self) -> Named<'_> {
        match (&self.batch, &self.name) {
            (Some(batch), _) => Named::Batch(batch),
            (None, name) => Named::One(name.as_deref().unwrap_or_default()),
        }
    }
}

/// The workloads for which a batch of OffsetResets is made.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Many at once")]
pub struct ManyArgs {
    /// Plan for each workload with these labels, in place of --group and --target. Its group is that of its annotation
    /// offsetreset.dev/group. Without one the namespace's OffsetResets tell it: those for the workload, and plans without targets that
    /// found members in its pods. Workloads of one group share an OffsetReset.
    #[arg(short = 'l', long, value_name = "LABELS", requires = "batch", group = "whose",
        conflicts_with_all = ["group", "targets", "name", "from_file", "keep"])]
    pub selector: Option<String>,
    /// The name of the batch, which is the label offsetreset.dev/batch of its OffsetResets.
    #[arg(long, value_name = "NAME", requires = "selector", add = batches(), value_parser = batch_name)]
    pub batch: Option<String>,
    /// Also workloads of this kind, such as rollouts.argoproj.io, beside Deployments and StatefulSets; repeat it for several.
    #[arg(long = "kind", value_name = "KIND", requires = "selector")]
    pub kinds: Vec<String>,
}

/// How a batch runs.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Many at once")]
pub struct PaceArgs {
    /// How many resets of a batch run at the same time, and so hold their consumers at zero; the default is 1.
    #[arg(long, value_name = "N", requires = "batch", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_at_zero: Option<u16>,
    /// Run the others of a batch though the plans of some were refused. Without it such a batch does not run.
    #[arg(long, requires = "batch")]
    pub skip_refused: bool,
}

impl PaceArgs {
    /// How many at the same time.
    pub fn limit(&self) -> usize {
        self.max_at_zero.unwrap_or(1).into()
    }
}
