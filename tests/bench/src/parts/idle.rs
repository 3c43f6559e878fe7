//! What the operator costs when it has nothing to do, and how large its binary is.

use std::time::Duration;

use anyhow::Result;
use real_tests::process::Process;

use crate::{
    results::{Results, Table},
    stand::{Stand, command},
    weight::weigh,
};

/// How long it is let be before it is looked at: its first lists and watches are done.
pub const START: Duration = Duration::from_secs(10);

pub async fn measure(stand: &Stand, results: &mut Results, quick: bool) -> Result<()> {
    let operator = stand.operator().await;
    let standing_by = stand.start().await;
    while !standing_by.stands_by().await {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(START).await;
    let mut memory =
        Table::new("memory", "Resident memory when nothing is to be done", "MB", "VmRSS, ten seconds after the start.");
    memory.add("leading", weigh(&operator)?.own_mb);
    memory.add("standing by", weigh(&standing_by)?.own_mb);
    results.put(memory);
    let mut idle = Table::new(
        "idle",
        "What it costs when nothing is to be done",
        "as each says",
        "The leader's time on the CPU, and the requests of the leader and of the one that stands by, most of which renew or read \
         the leader lease.",
    );
    for _ in 0..if quick { 1 } else { 5 } {
        let (cpu, requests) = one_span(stand, &operator, Duration::from_secs(if quick { 20 } else { 60 })).await?;
        idle.add("millicores", cpu);
        idle.add("requests a minute, of both", requests);
    }
    results.put(idle);
    for operator in [operator, standing_by] {
        operator.signal("TERM").await;
        operator.ended().await;
    }
    results.put(size().await?);
    Ok(())
}

/// The leader's millicores, and the requests a minute.
pub async fn one_span(stand: &Stand, operator: &Process, span: Duration) -> Result<(f64, f64)> {
    let (since, before) = (stand.audit_position()?, weigh(operator)?.cpu_ms);
    tokio::time::sleep(span).await;
    let cpu = (weigh(operator)?.cpu_ms - before) / span.as_secs_f64();
    let requests = f64::from(u32::try_from(stand.requests(since)?.len())?);
    Ok((cpu, requests * 60.0 / span.as_secs_f64()))
}

/// The binary's size without its symbols.
async fn size() -> Result<Table> {
    let stripped = std::env::temp_dir().join(real_tests::unique("stripped"));
    let program = real_tests::process::program();
    command("strip", &["-o", &stripped.display().to_string(), &program]).await?;
    let mut table = Table::new("binary", "The operator's binary, stripped", "MB", "1 MB is 1,000,000 bytes.");
    #[allow(clippy::cast_precision_loss, reason = "it is not so large")]
    table.add("size", std::fs::metadata(&stripped)?.len() as f64 / 1e6);
    std::fs::remove_file(stripped)?;
    Ok(table)
}
