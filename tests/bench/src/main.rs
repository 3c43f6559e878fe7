//! How fast the operator is, beside what people use without it. `make bench` runs all of it in one sandbox.

mod parts;
mod results;
mod stand;
mod weight;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Result;
use clap::{Parser, ValueEnum};
use parts::{downtime, finished, growth, idle, large, many, topics};
use results::{Results, load, page, report};
use stand::Stand;

#[derive(Parser)]
struct Arguments {
    /// Fewer rounds and smaller sizes: a few minutes instead of an hour.
    #[arg(long)]
    quick: bool,
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// How many rounds, each of which has everything that is compared once.
    #[arg(long)]
    rounds: Option<usize>,
    /// How many resets at once, in turn, for the part Many; by default 200 and 1,000, and with --quick 50.
    #[arg(long, value_delimiter = ',')]
    resets: Vec<usize>,
    /// The commit of the operator that is measured.
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// Where the results go, as JSON. Results of other parts that are there already stay.
    #[arg(long, default_value = "target/bench.json")]
    out: PathBuf,
    /// The directory of docs/performance.md, into which the results are written as well.
    #[arg(long)]
    docs: Option<PathBuf>,
    /// Measures nothing: reads the results that are there.
    #[arg(long)]
    read: bool,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Memory, CPU and requests when nothing is to be done; the binary. First, while there is nothing that could be cached.
    Idle,
    /// Downtime as consumers see it, and the requests of a reset.
    Downtime,
    /// Many partitions by timestamp, without a workload.
    Large,
    /// Many topics of one partition, near and far.
    Topics,
    /// Many resets at once.
    Many,
    /// How time and memory grow with partitions and resets.
    Growth,
    /// OffsetResets that have finished and stay.
    Finished,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut results: Results = match fs::read(&arguments.out) {
        Ok(text) if arguments.read || !arguments.only.is_empty() => serde_json::from_slice(&text)?,
        _ => Results::default(),
    };
    if !arguments.read {
        results.commit.clone_from(&arguments.commit);
        results.taken = Some(jiff::Timestamp::now());
        results.quick = arguments.quick;
        results.machine = machine()?;
        let stand = Stand::open().await?;
        for part in Part::value_variants() {
            if arguments.only.is_empty() || arguments.only.contains(part) {
                part.measure(&stand, &mut results, &arguments).await?;
                // After each part, so that one that fails takes nothing along.
                fs::write(&arguments.out, serde_json::to_string_pretty(&results)?)?;
            }
        }
        results.machine = format!("{} before and {} after", results.machine, load());
        fs::write(&arguments.out, serde_json::to_string_pretty(&results)?)?;
    }
    println!("\n{}{}", report::tables(&results), results.machine);
    if let Some(docs) = &arguments.docs {
        page::write(&results, docs)?;
    }
    Ok(())
}

impl Part {
    async fn measure(self, stand: &Stand, results: &mut Results, arguments: &Arguments) -> Result<()> {
        let quick = arguments.quick;
        let rounds = arguments.rounds.unwrap_or(if quick { 3 } else { 10 });
        match self {
            Self::Idle => idle::measure(stand, results, quick).await?,
            Self::Downtime => {
                for partitions in [12, 100] {
                    downtime::measure(stand, results, partitions, rounds).await?;
                }
            }
            Self::Large => large::measure(stand, results, if quick { 2_000 } else { 10_000 }, rounds).await?,
            Self::Topics => {
                let (near, far) = (Duration::ZERO, Duration::from_millis(20));
                for (topics, each_way) in if quick { [(100, near), (30, far)] } else { [(300, near), (1_000, far)] } {
                    topics::measure(stand, results, topics, each_way, if quick { 2 } else { rounds }).await?;
                }
            }
            Self::Many => {
                let default = if quick { &[50][..] } else { &[200, 1_000] };
                for many in if arguments.resets.is_empty() { default } else { &arguments.resets } {
                    // Each takes minutes, and has a sample for each of its resets.
                    many::measure(stand, results, *many, if quick { 1 } else { rounds.min(3) }, !quick).await?;
                }
            }
            Self::Growth => {
                // The topics of all sizes are there at once, because a broker that deletes thousands of partitions creates none for
                // minutes. Beside 10,000 the sandbox's broker did not create 15,000 more in time.
                let sizes = if quick { &[10, 100, 1_000][..] } else { &[10, 100, 1_000, 10_000] };
                growth::partitions(stand, results, sizes, if quick { 1 } else { rounds.min(5) }).await?;
                // The part Many has 1,000.
                growth::resets(stand, results, if quick { &[1, 10] } else { &[1, 10, 100, 400] }).await?;
            }
            Self::Finished => {
                // Few partitions, and as many as a status lists at most.
                for (many, partitions) in if quick { &[(500, 3)][..] } else { &[(10_000, 3), (10_000, 50)] } {
                    finished::measure(stand, results, *many, *partitions, quick).await?;
                }
            }
        }
        Ok(())
    }
}

/// The machine's cores and its load.
fn machine() -> Result<String> {
    Ok(format!("{} cores, load {}", std::thread::available_parallelism()?, load()))
}
