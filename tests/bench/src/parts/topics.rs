//! Many topics of one partition each, near the broker and far from it.

use std::time::{Duration, Instant};

use anyhow::Result;
use real_tests::{brokers, unique};
use serde_json::json;

use crate::{
    parts::distance::Distance,
    results::{Results, Table},
    stand::{Stand, tool_at},
};

const OURS: &str = "an OffsetReset, create to completion";
const AFTER_EMPTY: &str = "of that, after the group was seen empty";
const TOOL: &str = "kafka-consumer-groups --to-datetime --execute";
const DATE: [&str; 2] = ["--to-datetime", "1970-01-01T00:25:00.000"];

/// After so long no other round begins.
const LONG: Duration = Duration::from_mins(10);

pub async fn measure(stand: &Stand, results: &mut Results, topics: usize, each_way: Duration, rounds: usize) -> Result<()> {
    let distance = if each_way.is_zero() { None } else { Some(Distance::start(each_way).await?) };
    let servers = distance.as_ref().map_or_else(brokers, |distance| distance.bootstrap_servers.clone());
    let operator = stand.operator().await;
    let made = stand.topics(topics, 1).await?;
    let namespace = stand.namespace().await?;
    let millis = each_way.as_millis();
    let how = if distance.is_some() { format!("{millis} ms each way to the broker") } else { "near the broker".into() };
    let mut table = Table::new(
        &format!("topics-{topics}-{millis}ms"),
        &format!("{topics} topics of one partition by timestamp, {how}"),
        "ms",
        "Without a workload. The distance is a proxy that also is what the broker tells its clients to connect to.",
    )
    .beside(TOOL);
    let (ours, theirs) = (unique("ours"), unique("tool"));
    let mut refused = None;
    let begin = Instant::now();
    for round in 0..rounds {
        for group in [&ours, &theirs] {
            stand.commit(group, &made.all, 0).await?;
        }
        let mut order = [OURS, TOOL];
        order.rotate_left(round % 2);
        for name in order {
            if name == TOOL {
                table.add(TOOL, tool_at(&servers, &theirs, &made.names, &DATE).await?);
                continue;
            }
            let spec = json!({"targetRefs": [], "kafka": {"bootstrapServers": servers}});
            match stand.reset(&namespace, &ours, &made.by_timestamp(), &spec).await {
                Ok(run) => {
                    table.add(OURS, run.took);
                    table.add(AFTER_EMPTY, run.after_empty());
                }
                Err(error) => refused = Some(format!("{error:#}")),
            }
        }
        println!("{topics} topics, {how}, round {}", round + 1);
        // It would be refused again, each time after a minute or more; and one that takes minutes needs no ten rounds.
        if refused.is_some() || begin.elapsed() > LONG {
            break;
        }
    }
    if let Some(why) = refused {
        table.note = format!("{} The OffsetReset did not succeed: {why}", table.note);
    }
    results.put(table);
    stand.remove_namespace(&namespace).await?;
    stand.delete(made).await;
    operator.signal("TERM").await;
    operator.ended().await;
    Ok(())
}
