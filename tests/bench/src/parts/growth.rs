//! How time and memory grow with partitions and with resets.

use std::time::Duration;

use anyhow::Result;
use real_tests::{process::Process, unique};
use serde_json::json;

use crate::{
    parts::many,
    results::{Curve, Line, Results, quantile},
    stand::{Stand, Topics},
    weight::weigh,
};

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A line without points.
fn line(name: &str) -> Line {
    Line { name: name.to_owned(), points: vec![] }
}

fn put(results: &mut Results, id: &str, title: &str, (x, y): (&str, &str), lines: impl IntoIterator<Item = Line>) {
    let text = str::to_owned;
    results.curves.retain(|old| old.id != id);
    let lines = lines.into_iter().collect();
    results.curves.push(Curve { id: text(id), title: text(title), x: text(x), y: text(y), lines });
}

#[allow(clippy::cast_precision_loss, reason = "a count for an axis")]
fn x(count: usize) -> f64 {
    count as f64
}

/// One reset without a workload, of more and more partitions.
pub async fn partitions(stand: &Stand, results: &mut Results, sizes: &[usize], rounds: usize) -> Result<()> {
    let [mut took, mut after] = [line("create to completion"), line("after the group was seen empty")];
    let [mut own, mut all] = [line("the operator"), line("the operator and its Kafka client")];
    let mut used = vec![];
    for &size in sizes {
        // So that what one size needs is not what the size before has left.
        let operator = stand.operator().await;
        let topics = stand.topics(10, i32::try_from(size / 10)?).await?;
        let namespace = stand.namespace().await?;
        let group = unique("growth");
        let mut points = [vec![], vec![], vec![], vec![]];
        for round in 0..=rounds {
            stand.commit(&group, &topics.all, 0).await?;
            let point = one(stand, &operator, &namespace, &group, &topics).await?;
            println!("growth: {size} partitions, round {round}: {:.0} ms, {:.0} MB", point[0], point[3]);
            // The first one connects.
            if round > 0 {
                points.iter_mut().zip(point).for_each(|(points, value)| points.push(value));
            }
        }
        for (line, samples) in [&mut took, &mut after, &mut own, &mut all].into_iter().zip(points) {
            line.points.push((x(size), samples));
        }
        stand.remove_namespace(&namespace).await?;
        used.push(topics);
        operator.signal("TERM").await;
        operator.ended().await;
    }
    for topics in used {
        stand.delete(topics).await;
    }
    let title = "A reset by timestamp without a workload, by its partitions";
    put(results, "growth-partitions", title, ("partitions", "ms"), [took, after]);
    let title = "The largest memory during a reset, by its partitions";
    put(results, "growth-partitions-memory", title, ("partitions", "MB"), [own, all]);
    Ok(())
}

/// Milliseconds from creation to completion and after the group was empty; the operator's largest memory, and with its clients.
async fn one(stand: &Stand, operator: &Process, namespace: &str, group: &str, topics: &Topics) -> Result<[f64; 4]> {
    let (entries, spec) = (topics.by_timestamp(), json!({"targetRefs": []}));
    let mut run = std::pin::pin!(stand.reset(namespace, group, &entries, &spec));
    let (mut own, mut all) = (0.0_f64, 0.0_f64);
    loop {
        tokio::select! {
            run = &mut run => {
                let run = run?;
                return Ok([run.took, run.after_empty(), own, all]);
            }
            () = tokio::time::sleep(LOOK) => {
                let now = weigh(operator)?;
                (own, all) = (own.max(now.own_mb), all.max(now.all_mb));
            }
        }
    }
}

/// More and more resets at once.
pub async fn resets(stand: &Stand, results: &mut Results, counts: &[usize]) -> Result<()> {
    let [mut took, mut hold, mut memory] = [line("until all are restored"), line("hold, p99"), line("the operator, at most")];
    for &count in counts {
        let operator = stand.operator().await;
        let flood = many::flood(stand, &operator, count, false).await?;
        println!("growth: {count} resets: {:.1}/s", flood.rate);
        took.points.push((x(count), vec![x(count) / flood.rate * 1e3]));
        hold.points.push((x(count), vec![quantile(&flood.holds, 0.99)]));
        memory.points.push((x(count), vec![flood.memory[1]]));
        operator.signal("TERM").await;
        operator.ended().await;
    }
    put(results, "growth-resets", "Resets at once, with a Deployment each", ("resets at once", "ms"), [took, hold]);
    put(results, "growth-resets-memory", "The largest memory, by resets at once", ("resets at once", "MB"), [memory]);
    Ok(())
}
