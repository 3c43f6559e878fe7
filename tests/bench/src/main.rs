//! How fast the operator is, beside what people use without it. `make bench` runs all of it in one sandbox.

mod consumers;
mod downtime;
mod idle;
mod large;
mod report;
mod samples;
mod stand;
mod weight;

use std::{fs, path::PathBuf};

use anyhow::Result;
use clap::{Parser, ValueEnum};
use samples::Results;
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
    /// The commit of the operator that is measured.
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// Where the results go, as JSON. Results of other parts that are there already stay.
    #[arg(long, default_value = "target/bench.json")]
    out: PathBuf,
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
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { 3 } else { 10 });
    let mut results: Results = match fs::read(&arguments.out) {
        Ok(text) if !arguments.only.is_empty() => serde_json::from_slice(&text)?,
        _ => Results::default(),
    };
    results.commit = arguments.commit;
    results.taken = Some(jiff::Timestamp::now());
    results.quick = arguments.quick;
    results.machine = machine()?;
    let stand = Stand::open().await?;
    for part in Part::value_variants() {
        if !arguments.only.is_empty() && !arguments.only.contains(part) {
            continue;
        }
        match part {
            Part::Downtime => {
                for partitions in [12, 100] {
                    downtime::measure(&stand, &mut results, partitions, rounds).await?;
                }
            }
            Part::Large => large::measure(&stand, &mut results, if arguments.quick { 2_000 } else { 10_000 }, rounds).await?,
            Part::Idle => idle::measure(&stand, &mut results, arguments.quick).await?,
        }
        // After each part, so that one that fails takes nothing along.
        fs::write(&arguments.out, serde_json::to_string_pretty(&results)?)?;
    }
    println!("\n{}", report::tables(&results));
    println!("{}; {}", results.machine, machine()?);
    Ok(())
}

/// The machine's cores and its load.
fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    Ok(format!("{cores} cores, load {load}"))
}
