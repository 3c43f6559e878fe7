//! A reset of many partitions by timestamp, without a workload, beside Kafka's own tool and beside a program with Kafka's
//! AdminClient that runs already.

use std::path::Path;

use anyhow::{Context, Result};
use real_tests::{
    brokers,
    kafka_tool::{Jvm, Line},
    unique,
};
use serde_json::json;

use crate::{
    results::{Results, Table},
    stand::{Stand, Topics, tool},
};

const OURS: &str = "an OffsetReset, create to completion";
const AFTER_EMPTY: &str = "of that, after the group was seen empty";
const TOOL: &str = "kafka-consumer-groups --to-datetime --execute";
const WARM: &str = "a warm AdminClient: lookups, alter, list";

/// Before the second record of each partition.
const DATE: [&str; 2] = ["--to-datetime", "1970-01-01T00:25:00.000"];
const MILLIS: i64 = 1_500_000;

pub async fn measure(stand: &Stand, results: &mut Results, partitions: i32, rounds: usize) -> Result<()> {
    let operator = stand.operator().await;
    // A broker takes its time for each partition of a topic: so ten topics.
    let topics = stand.topics(10, partitions / 10).await?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("java/WarmAdmin.java");
    let mut jvm = Jvm::start(Line::Current, &source).await;
    let namespace = stand.namespace().await?;
    let note = format!(
        "{partitions} partitions of ten topics, two records each, and a group for each that is compared, which has committed offset 0 \
         for all of them. The tool is started from the shell, as people do; the AdminClient is connected and has done the same before. \
         Neither of the two checks a limit, stores what it is about to do, or looks whether the group stays empty."
    );
    let mut whole =
        Table::new(&format!("large-{partitions}"), &format!("{partitions} partitions by timestamp"), "ms", &note).beside(TOOL);
    let mut at_zero = Table::new(
        &format!("large-at-zero-{partitions}"),
        &format!("{partitions} partitions by timestamp: the part in which consumers would be at zero"),
        "ms",
        "From status.hold.groupEmptyTime to status.hold.endTime, beside the whole of the tool's run, for all of which consumers are \
         at zero.",
    )
    .beside(TOOL);
    let groups = Groups { ours: unique("ours"), tool: unique("tool"), warm: unique("warm") };
    // The first time is for the virtual machine, for the operator's connection and for the broker's caches.
    for round in 0..=rounds {
        for group in [&groups.ours, &groups.tool, &groups.warm] {
            stand.commit(group, &topics.all, 0).await?;
        }
        let mut order = [OURS, TOOL, WARM];
        order.rotate_left(round % 3);
        for name in order {
            let samples: Vec<(&str, f64)> = match name {
                OURS => {
                    let spec = json!({"targetRefs": []});
                    let run = stand.reset(&namespace, &groups.ours, &topics.by_timestamp(), &spec).await?;
                    vec![(OURS, run.took), (AFTER_EMPTY, run.after_empty())]
                }
                TOOL => vec![(TOOL, tool(&groups.tool, &topics.names, &DATE).await?)],
                _ => warm(&mut jvm, &groups.warm, &topics).await?,
            };
            for (name, sample) in samples {
                println!("{partitions} partitions, round {round}: {name}: {sample:.0} ms");
                if round > 0 {
                    whole.add(name, sample);
                    if [TOOL, AFTER_EMPTY].contains(&name) {
                        at_zero.add(name, sample);
                    }
                }
            }
        }
    }
    results.put(whole);
    results.put(at_zero);
    stand.remove_namespace(&namespace).await?;
    stand.delete(topics).await;
    operator.signal("TERM").await;
    operator.ended().await;
    Ok(())
}

struct Groups {
    ours: String,
    tool: String,
    warm: String,
}

/// Its three steps, one after the other.
async fn warm(jvm: &mut Jvm, group: &str, topics: &Topics) -> Result<Vec<(&'static str, f64)>> {
    let answer = jvm
        .ask(&json!({
            "servers": brokers(), "group": group, "topics": topics.names, "partitions": topics.partitions, "timestamp": MILLIS,
        }))
        .await;
    let step = |name: &str| answer[name].as_f64().with_context(|| format!("{name} of {answer}"));
    Ok(vec![(WARM, step("lookup")? + step("alter")? + step("list")?)])
}
