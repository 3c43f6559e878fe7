//! `status`: a reset once.

use jiff::{Timestamp, tz::TimeZone};
use kube::ResourceExt;
use offset_reset_operator::machine;

use crate::{
    cli::StatusArgs,
    cluster::Cluster,
    command::pods::pods,
    exit::{self, Exit, Outcome},
    print::{columns, object, outln},
    view::{DIM, Line, Look, ended, hint, plan, screen, trouble},
};

/// Shows a reset; the exit code is that of `watch`, and 0 while it runs.
pub async fn status(cluster: &Cluster, args: &StatusArgs) -> Outcome {
    let reset = cluster.reset(&args.name).await?;
    let exit = exit::of_reset(&reset).unwrap_or(Exit::Done);
    if let Some(format) = args.output {
        object(&reset, format)?;
        return Ok(exit);
    }
    let zone = TimeZone::system();
    let (pods, unread) = pods(cluster, &reset).await;
    let look = Look { reset: &reset, pods: &pods, now: Timestamp::now(), zone: &zone };
    let columns = columns().filter(|_| !args.verbose);
    for (_, line) in screen(&look, columns.unwrap_or(usize::MAX)) {
        outln(&columns.map_or(line.clone(), |columns| line.fit(columns)));
    }
    let state = reset.status.clone().unwrap_or_default();
    if args.verbose {
        let partitions = cluster.partitions(&reset).await?;
        outln(&Line::default());
        plan(&reset, &partitions, None, &zone).iter().for_each(outln);
        if let Some(command) = &state.equivalent_command {
            outln(&Line::styled(DIM, "With Kafka's own tool, while the consumers are stopped:"));
            command.lines().for_each(|line| outln(&Line::plain(format!("  {line}"))));
        }
        outln(&Line::default());
    }
    if machine::has_ended(&state, reset.spec.dry_run) {
        ended(&reset).iter().for_each(outln);
        trouble(&look, &unread).iter().for_each(outln);
    } else {
        outln(&hint("Watch:", &format!("watch {}", reset.name_any())));
    }
    Ok(exit)
}
