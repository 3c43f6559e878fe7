//! `holds`: the workloads at zero, from the operator's Leases.

use jiff::{Timestamp, tz::TimeZone};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, ResourceExt, api::ListParams};
use offset_reset_operator::{
    api::{LEASE_LABEL, Phase},
    kubernetes::hold_in,
};

use super::list::{listed, namespace_exists};
use crate::{
    cli::HoldsArgs,
    cluster::Cluster,
    exit::{Exit, Failure, Outcome},
    print::outln,
    view::{
        Line, Table,
        words::{clock, size, span, until},
    },
};

/// Lists what is held at zero, for whom, and until when.
pub async fn holds(cluster: &Cluster, args: &HoldsArgs) -> Outcome {
    let leases = match leases(cluster, args.all_namespaces).await {
        Ok(leases) => leases,
        Err(failure) => return by_status(cluster, args, &failure).await,
    };
    if leases.is_empty() {
        if !args.all_namespaces {
            namespace_exists(cluster).await?;
        }
        let place = if args.all_namespaces { "the cluster".to_owned() } else { format!("namespace {}", cluster.namespace) };
        outln(&Line::plain(format!("No workload is held at zero in {place}.")));
        return Ok(Exit::Done);
    }
    let resets = listed(cluster, args.all_namespaces).await?;
    let (now, zone) = (Timestamp::now(), TimeZone::system());
    let mut table = Table::new(&["NAMESPACE", "WORKLOAD", ">REPLICAS", ">HELD", "UNTIL", "FOR", "KEDA"]);
    let mut unreadable = vec![];
    for lease in &leases {
        let namespace = lease.namespace().unwrap_or_default();
        let hold = match hold_in(lease) {
            Ok((_, hold)) => hold,
            Err(why) => {
                unreadable.push(format!("Lease {namespace}/{} cannot be read: {why}", lease.name_any()));
                continue;
            }
        };
        let names: Vec<&str> = hold.claims.iter().map(|claim| claim.name.as_str()).collect();
        let targets = resets.iter().filter_map(|(object, reset)| Some((object, reset.as_ref()?))).filter(|(object, _)| {
            object.namespace().as_deref() == Some(&namespace)
                && hold.claims.iter().any(|claim| Some(&claim.uid) == object.metadata.uid.as_ref())
        });
        let is_paused = targets.flat_map(|(_, reset)| reset.status.iter().flat_map(|status| &status.targets)).any(|target| {
            target.uid == hold.uid && target.autoscaler.as_ref().is_some_and(|scaler| scaler.pauses > 0 && !scaler.resumed)
        });
        table.row([
            namespace,
            hold.workload.clone(),
            size(hold.replicas, hold.state.as_deref()),
            span(now.duration_since(hold.since)),
            format!("{} ({})", clock(hold.until, now, &zone), until(hold.until, now)),
            names.join(", "),
            if is_paused { "paused".to_owned() } else { "-".to_owned() },
        ]);
    }
    if table.rows() > 0 {
        table.lines().iter().for_each(outln);
    }
    for words in unreadable {
        outln(&Line::warning(words));
    }
    Ok(if args.exit_code { Exit::Held } else { Exit::Done })
}

/// Without the right to see Leases: what the resets say. A hold whose reset is gone is in its Lease only.
async fn by_status(cluster: &Cluster, args: &HoldsArgs, failure: &Failure) -> Outcome {
    let resets = listed(cluster, args.all_namespaces).await.map_err(|_| failure.clone())?;
    let (now, zone) = (Timestamp::now(), TimeZone::system());
    let mut table = Table::new(&["NAMESPACE", "WORKLOAD", ">REPLICAS", "UNTIL", "FOR"]);
    for (object, reset) in resets.iter().filter_map(|(object, reset)| Some((object, reset.as_ref()?))) {
        let Some(status) = reset.status.as_ref().filter(|status| status.phase.is_some_and(Phase::may_hold)) else { continue };
        for target in status.targets.iter().filter(|target| target.is_held()) {
            let until = status
                .hold
                .as_ref()
                .map(|hold| format!("{} ({})", clock(hold.deadline.0, now, &zone), until(hold.deadline.0, now)));
            table.row([
                object.namespace().unwrap_or_default(),
                format!("{}/{}", target.kind, target.name),
                size(target.original_replicas, target.original_state.as_deref()),
                until.unwrap_or_default(),
                object.name_any(),
            ]);
        }
    }
    let is_held = table.rows() > 0;
    if is_held {
        table.lines().iter().for_each(outln);
    } else {
        outln(&Line::plain("No OffsetReset holds a workload at zero."));
    }
    outln(&Line::warning("Only what OffsetResets report: you may not list Leases, which have the whole truth."));
    Ok(if is_held && args.exit_code { Exit::Held } else { Exit::Done })
}

/// The Leases that record holds.
pub async fn leases(cluster: &Cluster, all_namespaces: bool) -> Outcome<Vec<Lease>> {
    let api: Api<Lease> = if all_namespaces {
        Api::all(cluster.client.clone())
    } else {
        Api::namespaced(cluster.client.clone(), &cluster.namespace)
    };
    let params = ListParams::default().labels(&format!("{LEASE_LABEL}=hold"));
    let found = api.list(&params).await.map_err(|error| Failure::request("list the Leases of held workloads", &error))?;
    Ok(found.items)
}
