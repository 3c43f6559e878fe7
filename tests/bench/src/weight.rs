//! The operator's memory and CPU time, its Kafka clients' processes included.

use std::fs;

use anyhow::{Context, Result};
use real_tests::process::Process;

/// The memory and CPU time of a process and its clients.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weight {
    /// The operator's own resident memory, in MB.
    pub own_mb: f64,
    /// That and its Kafka clients'.
    pub all_mb: f64,
    /// Time on the CPU since the start, in milliseconds: also of clients that have exited.
    pub cpu_ms: f64,
}

pub fn weigh(operator: &Process) -> Result<Weight> {
    let (own_mb, own_cpu) = (resident(operator.id())?, cpu(operator.id())?);
    let mut weight = Weight { own_mb, all_mb: own_mb, cpu_ms: own_cpu };
    for client in operator.clients() {
        // A client that exits meanwhile has no memory.
        weight.all_mb += resident(client).unwrap_or(0.0);
        weight.cpu_ms += cpu(client).unwrap_or(0.0);
    }
    Ok(weight)
}

/// The resident memory of a process, in MB.
pub fn resident(pid: u32) -> Result<f64> {
    memory(pid, "VmRSS:")
}

/// The most that it has been since its start, in MB.
pub fn peak(pid: u32) -> Result<f64> {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, which: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(which)).context("a process has memory")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// A process's time on the CPU since its start, with that of children that have ended, in milliseconds.
pub fn cpu(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("a name in brackets")?;
    let words: Vec<&str> = rest.split(' ').collect();
    // utime, stime, cutime and cstime, in ticks of 10 ms.
    let ticks = words.get(11..15).context("four numbers of ticks")?.iter().map(|ticks| ticks.parse::<f64>());
    Ok(ticks.sum::<Result<f64, _>>()? * 10.0)
}
