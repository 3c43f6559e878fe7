//! `plan -l SELECTOR --batch NAME`: a dry run for each group whose workloads match.

use std::collections::BTreeSet;

use futures::StreamExt;
use kube::{ResourceExt, api::PostParams};
use offset_reset_operator::api::OffsetReset;
use serde_json::{Value, json};

use super::{
    find::{Earlier, Skipped, Workload, grouped, workloads},
    follow::{Followed, Seen},
    tell::Hindrances,
};
use crate::{
    cli::{Format, PlanArgs, Where},
    cluster::{AT_ONCE, Cluster, is_of_batch},
    command::act::{owners, steps},
    exit::{Exit, Failure, Outcome, has_ended, of_reset},
    interrupt::{Left, leaves},
    manifest::{Common, Manifest, kinds},
    print::{errln, object, outln, raw},
    view::{BAD, DIM, Line, batch as table, hint},
};

/// Makes the plans that do not exist yet, and shows all.
pub async fn plan(cluster: &Cluster, batch: &str, args: &PlanArgs) -> Outcome {
    let (make, selector) = (&args.make, args.many.selector.as_deref().unwrap_or_default());
    let common = Common::read(cluster, make).await?;
    let found = workloads(cluster, &kinds(cluster, &args.many.kinds).await?, selector).await?;
    if found.is_empty() {
        return Err(Failure::new(format!("no workload in namespace {} has the labels {selector}.", cluster.namespace))
            .advice(format!("To look: kubectl get deployments,statefulsets -l '{selector}'. Other kinds: --kind KIND")));
    }
    let all = steps::others(cluster).await?;
    let members = if found.iter().any(Workload::is_unnamed) { owners::of_members(cluster, &all).await } else { vec![] };
    let (ones, skipped) = grouped(batch, &found, Earlier { resets: &all, members: &members });
    skipped.iter().flat_map(Skipped::lines).for_each(|line| errln(&line));
    if ones.is_empty() {
        return Err(Failure::new("none of these workloads has a known group, so there is nothing to plan."));
    }
    let plan_of = |one| common.plan(make, &cluster.namespace, batch, one);
    let manifests: Vec<Manifest> = ones.iter().map(plan_of).collect::<Outcome<_>>()?;
    if let Some(place) = make.output.dry_run {
        return only_shown(cluster, &manifests, place, make.output.output.unwrap_or(Format::Yaml)).await;
    }
    let known = known(batch, &manifests, &all)?;
    let missing: Vec<&Manifest> = manifests.iter().filter(|manifest| !known.contains(group(manifest))).collect();
    leaves(Left::BatchPlans(batch.to_owned()));
    let there = if known.is_empty() { String::new() } else { format!("; {} exist already", known.len()) };
    errln(&Line::styled(DIM, format!("► creating {} dry runs of batch {batch} in {}{there}", missing.len(), cluster.namespace)));
    let failed = create(cluster, &missing).await;
    let groups: BTreeSet<&str> = manifests.iter().map(group).collect();
    let expected = manifests.len() - failed.len();
    let (resets, is_over) = planned(cluster, batch, &groups, expected, make.output.timeout).await;
    let resets: Vec<&OffsetReset> = resets.values().filter(|reset| groups.contains(reset.spec.group.as_str())).collect();
    if let Some(format) = make.output.output {
        object(&json!({"apiVersion": "v1", "kind": "List", "items": resets}), format)?;
    } else {
        table(&resets).iter().for_each(outln);
    }
    for (name, failure) in &failed {
        errln(&Line::styled(BAD, "✗ ").and(format!("{name} was not created: {}", failure.to_string().replace('\n', " "))));
    }
    if !skipped.is_empty() {
        errln(&Line::warning(format!("skipped workloads, each with what to do above: {}", skipped.len())));
    }
    if make.output.output.is_none() {
        next(batch, &resets).iter().for_each(outln);
    }
    Ok(ended(&resets, failed.len(), is_over))
}

fn group(manifest: &Manifest) -> &str {
    manifest.object["spec"]["group"].as_str().unwrap_or_default()
}

/// PURE: the groups of the batch's resets that exist already. Those that would do something else are no part of this plan.
fn known(batch: &str, manifests: &[Manifest], all: &[OffsetReset]) -> Outcome<BTreeSet<String>> {
    let own = |reset: &&OffsetReset| is_of_batch(reset, batch);
    let (mut known, mut others) = (BTreeSet::new(), vec![]);
    for manifest in manifests {
        if let Some(reset) = all.iter().filter(own).find(|reset| reset.spec.group == group(manifest)) {
            if !is_same(manifest, reset) {
                others.push(reset.name_any());
            }
            known.insert(reset.spec.group.clone());
        }
    }
    if others.is_empty() {
        return Ok(known);
    }
    let names = others.join(", ");
    let words = format!("batch {batch} has other plans already: {names}. Nothing was created.");
    Err(Failure::new(words).advice(
        "They differ in offsets, workloads or the connection to Kafka. Choose another name with --batch, or delete a plan that has not \
         run: kubectl offset-reset cancel NAME",
    ))
}

/// Whether both reset the same offsets of the same consumers.
fn is_same(manifest: &Manifest, reset: &OffsetReset) -> bool {
    let Ok(made) = serde_json::from_value::<OffsetReset>(manifest.object.clone()) else { return false };
    let parts = |reset: &OffsetReset| {
        let spec = serde_json::to_value(&reset.spec).unwrap_or_default();
        ["resets", "kafka", "targetRefs"].map(|field| spec.get(field).cloned().unwrap_or(Value::Null))
    };
    parts(&made) == parts(reset)
}

/// Creates the objects, and returns those that could not be created.
async fn create(cluster: &Cluster, manifests: &[&Manifest]) -> Vec<(String, Failure)> {
    let creating = manifests.iter().map(|manifest| async move {
        let created = steps::posted(cluster, &manifest.object, &PostParams::default()).await;
        created.err().map(|failure| (manifest.name().to_owned(), failure))
    });
    futures::stream::iter(creating).buffered(AT_ONCE).filter_map(std::future::ready).collect().await
}

/// Waits until the plans are made, or refused; and whether the time was over before that.
async fn planned(
    cluster: &Cluster,
    batch: &str,
    groups: &BTreeSet<&str>,
    expected: usize,
    timeout: Option<std::time::Duration>,
) -> (Seen, bool) {
    let mut followed = Followed::start(cluster, batch).await;
    let mut hindrances = Hindrances::default();
    let is_made = |seen: &Seen| {
        hindrances.next(seen);
        let mut own = seen.values().filter(|reset| groups.contains(reset.spec.group.as_str()));
        own.clone().count() >= expected && own.all(|reset| !reset.spec.dry_run || has_ended(reset))
    };
    let is_over = !followed.until(timeout, is_made).await;
    (followed.seen().clone(), is_over)
}

/// What to do with the plans.
fn next(batch: &str, resets: &[&OffsetReset]) -> Vec<Line> {
    let refused = resets.iter().filter(|reset| reset.spec.dry_run && of_reset(reset) == Some(Exit::Unchanged));
    let mut lines = vec![Line::default()];
    match refused.count() {
        0 => lines.push(hint("Run:", &format!("run --batch {batch}"))),
        refused => {
            lines.push(Line::plain(format!("Refused plans: {refused}. The batch does not run as it is.")));
            lines.push(hint("Explain:", "explain NAME"));
            lines.push(hint("Without:", &format!("run --batch {batch} --skip-refused")));
        }
    }
    lines.push(hint("Delete:", &format!("cancel --batch {batch}")));
    lines
}

/// How the command ended.
fn ended(resets: &[&OffsetReset], failed: usize, is_over: bool) -> Exit {
    if failed > 0 {
        Exit::Error
    } else if is_over {
        errln(&Line::warning("The timeout is over, and not every plan is made yet. Nothing is stopped."));
        Exit::Timeout
    } else if resets.iter().any(|reset| reset.spec.dry_run && of_reset(reset) == Some(Exit::Unchanged)) {
        Exit::Unchanged
    } else {
        Exit::Done
    }
}

/// `--dry-run`: the manifests, for Git.
async fn only_shown(cluster: &Cluster, manifests: &[Manifest], place: Where, format: Format) -> Outcome {
    if place == Where::Server {
        let params = PostParams { dry_run: true, ..PostParams::default() };
        for manifest in manifests {
            steps::posted(cluster, &manifest.object, &params).await?;
        }
    }
    let objects: Vec<&Value> = manifests.iter().map(|manifest| &manifest.object).collect();
    match format {
        Format::Json => object(&json!({"apiVersion": "v1", "kind": "List", "items": objects}), format)?,
        Format::Yaml => {
            for (index, manifest) in objects.into_iter().enumerate() {
                if index > 0 {
                    raw("---");
                }
                object(manifest, format)?;
            }
        }
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::cluster::BATCH;

    fn manifest(spec: &Value) -> Manifest {
        let mut object = json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "b-c-xxxxx", "labels": {BATCH: "b"}},
            "spec": {
                "kafka": {"bootstrapServers": "k:9092"}, "group": "g", "targetRefs": [{"name": "c"}], "dryRun": true,
                "resets": [{"topic": "t", "position": "Earliest"}],
            },
        });
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        Manifest { object, file: None }
    }

    fn stored(spec: &Value, batch: &str) -> OffsetReset {
        let mut object = manifest(spec).object;
        object["metadata"]["labels"] = json!({BATCH: batch});
        serde_json::from_value(object).unwrap()
    }

    #[rstest]
    #[case::none(json!({"group": "h"}), "b", Some(0))]
    #[case::of_another_batch(json!({}), "a", Some(0))]
    #[case::the_same(json!({}), "b", Some(1))]
    #[case::the_same_that_has_run(json!({"dryRun": false}), "b", Some(1))]
    #[case::to_another_place(json!({"resets": [{"topic": "t", "position": "Latest"}]}), "b", None)]
    #[case::of_another_workload(json!({"targetRefs": [{"name": "d"}]}), "b", None)]
    fn a_plan_of_the_batch_is_not_made_twice(#[case] spec: Value, #[case] batch: &str, #[case] expected: Option<usize>) {
        let found = known("b", &[manifest(&json!({}))], &[stored(&spec, batch)]);
        assert_eq!(found.as_ref().ok().map(BTreeSet::len), expected, "{found:?}");
        if let Err(failure) = found {
            assert!(failure.to_string().contains("batch b has other plans already: b-c-xxxxx"), "{failure}");
        }
    }
}
