//! The words of the command line. Its help is the page docs/cli.md.

mod batch;
mod connection;
mod examples;
mod format;
mod goal;
mod names;
mod words;

use clap::{ArgGroup, Args, Parser, Subcommand};

pub use batch::{ManyArgs, Named, Of, PaceArgs};
pub use connection::Connection;
pub use format::{Format, Lines};
pub use goal::{GoalArgs, KafkaArgs, MakeArgs, RunArgs, Where, Which};
pub use names::option as workload;
use names::{explainable, resets};
use words::reset_name;
pub use words::{MAX_BATCH, Target, go_duration};

/// Plans, runs, watches and undoes resets of Kafka consumer groups.
///
/// It speaks to the Kubernetes API server only: no connection to Kafka and no password of Kafka is needed.
/// The offset-reset operator in the cluster does the rest.
///
/// Exit codes: 0 done; 1 the command itself could not be carried out; 2 the reset failed or its plan was refused, and no offset was
/// changed; 3 the reset failed after it had changed offsets, or may have; 4 the timeout is over, the reset goes on; 5 cancelled, or
/// not confirmed; 6 (holds --exit-code) a workload is held; 130 Ctrl-C, the reset goes on.
#[derive(Parser, Debug)]
#[command(name = "kubectl offset-reset", bin_name = "kubectl offset-reset", version, max_term_width = 100)]
#[command(disable_version_flag = true, infer_subcommands = false)]
pub struct Cli {
    /// Where to and as whom.
    #[command(flatten)]
    pub connection: Connection,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How `plan` and `create` are used: what clap makes of their groups is one line of 300 characters.
const MAKE: &str = "kubectl offset-reset NAME --group GROUP {--topic T[:0,1]|--all-topics} {--to-earliest|--to-latest|...} \
    {--bootstrap-server B|--strimzi-user U|--binding S|--like R} [--target [KIND/]NAME] [OPTIONS]";

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Makes a plan and shows it; nothing is stopped and no offset is changed.
    ///
    /// It creates an OffsetReset with dryRun: true, which `run` carries out later; with --selector and --batch one for each group
    /// whose workloads have these labels.
    /// Exit codes: 0 the plan stands, 2 the plan was refused, 4 timeout.
    #[command(override_usage = MAKE.replace("NAME --group GROUP", "plan {--group GROUP|-l LABELS --batch B}"), after_help = examples::PLAN)]
    Plan(PlanArgs),
    /// Makes a plan, asks for confirmation, carries it out and watches it.
    #[command(override_usage = MAKE.replace("NAME --group", "create --group"), after_help = examples::CREATE)]
    Create(CreateArgs),
    /// Carries out a plan, after confirmation, or all plans of a batch.
    ///
    /// Of a batch one reset runs after another, or --max-at-zero at the same time. After the first failure nothing more is started,
    /// and running resets continue to their end.
    #[command(after_help = examples::RUN)]
    Run(RunNameArgs),
    /// Follows a reset until it ends; Ctrl-C leaves it running.
    #[command(after_help = examples::WATCH)]
    Watch(WatchArgs),
    /// Shows a reset once.
    #[command(after_help = examples::STATUS)]
    Status(StatusArgs),
    /// Explains how a reset stands and what to do, or what a reason means.
    ///
    /// A reason, such as GroupNotEmpty, is explained without a cluster.
    #[command(after_help = examples::EXPLAIN)]
    Explain(ExplainArgs),
    /// Restores the offsets that another reset found: plan, confirmation, run.
    #[command(after_help = examples::UNDO)]
    Undo(UndoArgs),
    /// Cancels a reset that has not ended, and waits until its workloads are restored.
    ///
    /// It deletes the OffsetReset, and with it its report. To keep them, first run `export NAME --before` for the offsets, or
    /// `report NAME` for everything. Offsets that were changed cannot be undone once the OffsetReset is gone.
    #[command(after_help = examples::CANCEL)]
    Cancel(CancelArgs),
    /// Keeps resets from beginning.
    #[command(after_help = examples::SUSPEND)]
    Suspend(NamesArgs),
    /// Lets suspended resets begin.
    #[command(after_help = examples::RESUME)]
    Resume(NamesArgs),
    /// Lists resets.
    #[command(after_help = examples::LIST)]
    List(ListArgs),
    /// Lists the workloads that are held at zero: for which reset, and until when.
    #[command(after_help = examples::HOLDS)]
    Holds(HoldsArgs),
    /// Prints the offsets before or after a reset, as CSV for --from-file of Kafka's tool and of `plan`.
    #[command(override_usage = "kubectl offset-reset export [OPTIONS] <--before|--after> <NAME>", after_help = examples::EXPORT)]
    Export(ExportArgs),
    /// Checks the install, and what the current user may do.
    #[command(after_help = examples::CHECK)]
    Check(CheckArgs),
    /// Collects all about a reset for a bug report; Secrets are never read.
    #[command(after_help = examples::REPORT)]
    Report(ReportArgs),
    /// Deletes resets that ended long ago, with their reports.
    #[command(after_help = examples::PRUNE)]
    Prune(PruneArgs),
    /// Prints the script with which kubectl completes this plugin's words.
    #[command(after_help = examples::COMPLETION)]
    Completion,
    /// Prints the version.
    Version,
    /// Prints the page docs/cli.md.
    #[command(hide = true)]
    Docs,
}

/// `plan`.
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// What to make.
    #[command(flatten)]
    pub make: MakeArgs,
    /// For which workloads.
    #[command(flatten)]
    pub many: ManyArgs,
    /// Whether the planned OffsetReset stays; false deletes it after it was shown.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, help_heading = "Object and output")]
    pub keep: bool,
}

/// `create`.
#[derive(Args, Debug)]
pub struct CreateArgs {
    /// What to make.
    #[command(flatten)]
    pub make: MakeArgs,
    /// How to run it.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `run`.
#[derive(Args, Debug)]
pub struct RunNameArgs {
    /// Which.
    #[command(flatten)]
    pub of: Of,
    /// How many at once.
    #[command(flatten)]
    pub pace: PaceArgs,
    /// How to run it.
    #[command(flatten)]
    pub run: RunArgs,
    /// How long to watch at most, such as 90s or 15m; then the exit code is 4 and the reset goes on. By default there is no limit.
    #[arg(long, value_name = "DURATION", value_parser = words::duration)]
    pub timeout: Option<std::time::Duration>,
}

/// `watch`.
#[derive(Args, Debug)]
pub struct WatchArgs {
    /// Which.
    #[command(flatten)]
    pub of: Of,
    /// How long to watch at most, such as 90s or 15m; then the exit code is 4 and the reset goes on. By default there is no limit.
    #[arg(long, value_name = "DURATION", value_parser = words::duration)]
    pub timeout: Option<std::time::Duration>,
    /// json prints one object a transition.
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Lines>,
    /// One line a transition, even in a terminal.
    #[arg(long)]
    pub plain: bool,
}

/// `status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// The name of the OffsetReset.
    #[arg(add = resets(), value_parser = reset_name)]
    pub name: String,
    /// The whole object, as JSON or YAML.
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Format>,
    /// With partitions, warnings and the command of Kafka's own tool.
    #[arg(short, long)]
    pub verbose: bool,
}

/// `explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The name of an OffsetReset, or of a reason, such as GroupNotEmpty.
    #[arg(add = explainable(), value_name = "NAME|REASON")]
    pub name: String,
}

/// `undo`.
#[derive(Args, Debug)]
pub struct UndoArgs {
    /// Which.
    #[command(flatten)]
    pub of: Of,
    /// The name of the new OffsetReset; by default undo-NAME.
    #[arg(long = "name", value_name = "NAME", id = "new_name", conflicts_with = "batch")]
    pub new_name: Option<String>,
    /// How many at once.
    #[command(flatten)]
    pub pace: PaceArgs,
    /// How to run it.
    #[command(flatten)]
    pub run: RunArgs,
    /// How long to wait at most, such as 90s or 15m. By default there is no limit.
    #[arg(long, value_name = "DURATION", value_parser = words::duration)]
    pub timeout: Option<std::time::Duration>,
}

/// `cancel`.
#[derive(Args, Debug)]
pub struct CancelArgs {
    /// Which.
    #[command(flatten)]
    pub of: Of,
    /// Does not ask, even when offsets were changed already.
    #[arg(short, long)]
    pub yes: bool,
    /// How long to wait for the workloads at most; then the exit code is 4.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = words::duration)]
    pub timeout: std::time::Duration,
}

/// `suspend` and `resume`.
#[derive(Args, Debug)]
pub struct NamesArgs {
    /// The names of the OffsetResets.
    #[arg(required = true, add = resets(), value_parser = reset_name)]
    pub names: Vec<String>,
}

/// `list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// In all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Only those that have not ended.
    #[arg(long)]
    pub active: bool,
    /// Only those of this batch.
    #[arg(long, value_name = "NAME", add = names::batches(), value_parser = words::batch_name)]
    pub batch: Option<String>,
    /// As JSON or YAML.
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Format>,
}

/// `holds`.
#[derive(Args, Debug)]
pub struct HoldsArgs {
    /// In all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Exit with code 6 when a workload is held.
    #[arg(long)]
    pub exit_code: bool,
}

/// `export`.
#[derive(Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[group(skip)]
#[command(group = ArgGroup::new("file").required(true))]
pub struct ExportArgs {
    /// The name of the OffsetReset.
    #[arg(add = resets(), value_parser = reset_name)]
    pub name: String,
    /// The offsets that were committed before the reset.
    #[arg(long, group = "file")]
    pub before: bool,
    /// The offsets that the reset has set, or would set.
    #[arg(long, group = "file")]
    pub after: bool,
    /// The offsets that the group does not consume because of the reset, as ranges from the first to before the last column.
    #[arg(long, group = "file")]
    pub skipped: bool,
    /// The offsets that the group consumes again because of the reset, as ranges from the first to before the last column.
    #[arg(long, group = "file")]
    pub replayed: bool,
}

/// `check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Also whether the operator can be uninstalled now: nothing is held, and no reset is under way.
    #[arg(long)]
    pub before_uninstall: bool,
}

/// `report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// The name of the OffsetReset.
    #[arg(add = resets(), value_parser = reset_name)]
    pub name: String,
    /// The file to write; by default offset-reset-NAME.zip.
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<std::path::PathBuf>,
}

/// `prune`.
#[derive(Args, Debug)]
pub struct PruneArgs {
    /// How long ago they ended at least, such as 30d.
    #[arg(long, value_name = "DURATION", value_parser = words::duration)]
    pub older_than: std::time::Duration,
    /// In all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Only lists them.
    #[arg(long)]
    pub dry_run: bool,
    /// Does not ask.
    #[arg(short, long)]
    pub yes: bool,
}
