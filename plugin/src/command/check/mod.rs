//! `check`: the install, and what the current user may do.

mod finding;
mod install;
mod opt_in;
mod rights;

pub use finding::Finding;
pub use install::OPERATOR;

use finding::State;

use crate::{
    cli::CheckArgs,
    cluster::Cluster,
    command::look::{leases, listed},
    exit::{Exit, Outcome, has_ended},
    print::outln,
};

/// Prints all findings; the exit code is 1 when one of them is bad.
pub async fn check(cluster: &Cluster, args: &CheckArgs) -> Outcome {
    let mut findings = findings(cluster).await;
    if args.before_uninstall {
        findings.extend(before_uninstall(cluster).await?);
    }
    findings.iter().flat_map(Finding::lines).for_each(|line| outln(&line));
    Ok(if findings.iter().any(|finding| finding.state == State::Bad) { Exit::Error } else { Exit::Done })
}

/// All about the install and the current user's rights.
pub async fn findings(cluster: &Cluster) -> Vec<Finding> {
    let mut findings = vec![Finding::new(
        State::Good,
        format!(
            "kubectl-offset_reset {}, context {}, namespace {}",
            env!("CARGO_PKG_VERSION"),
            cluster.context,
            cluster.namespace
        ),
    )];
    findings.push(install::server(cluster).await);
    // Without an answer of the API server the rest is only noise.
    if findings.iter().any(|finding| finding.state == State::Bad) {
        return findings;
    }
    findings.push(install::crd(cluster).await);
    findings.extend(install::policies(cluster).await);
    findings.extend(install::operator(cluster).await);
    findings.extend(opt_in::keda(cluster).await);
    findings.extend(rights::rights(cluster).await);
    findings.extend(opt_in::strimzi(cluster).await);
    findings
}

/// Why no operator works on any OffsetReset, and the advice; `None` when one works, or when the cause is not known.
pub async fn trouble(cluster: &Cluster) -> Option<(String, String)> {
    install::trouble(cluster).await.map(Finding::into_words)
}

/// Whether the operator can be uninstalled now.
async fn before_uninstall(cluster: &Cluster) -> Outcome<Vec<Finding>> {
    let held = leases(cluster, true).await?;
    let all = listed(cluster, true).await?;
    let names = |names: Vec<String>| names.join(", ");
    let active: Vec<String> = all
        .iter()
        .filter(|(_, reset)| reset.as_ref().is_none_or(|reset| !has_ended(reset)))
        .map(|(object, _)| shown(&object.metadata))
        .collect();
    let finalized: Vec<String> = all
        .iter()
        .filter(|(object, _)| {
            object.metadata.finalizers.iter().flatten().any(|name| name == offset_reset_operator::api::FINALIZER)
        })
        .map(|(object, _)| shown(&object.metadata))
        .collect();
    Ok(vec![
        if held.is_empty() {
            Finding::new(State::Good, "no workload is held at zero")
        } else {
            Finding::new(State::Bad, format!("workloads are held at zero: {}", held.len()))
                .advice("Look: kubectl offset-reset holds -A")
        },
        if active.is_empty() {
            Finding::new(State::Good, "no OffsetReset is under way")
        } else {
            Finding::new(State::Bad, format!("under way: {}", names(active)))
                .advice("Let them end, or end them: kubectl offset-reset cancel NAME -n NAMESPACE")
        },
        if finalized.is_empty() {
            Finding::new(State::Good, "no OffsetReset has a finalizer, so the CRD can be deleted")
        } else {
            Finding::new(State::Bad, format!("with a finalizer, which only the operator removes: {}", names(finalized)))
                .advice("Wait until the operator has restored their workloads.")
        },
    ])
}

fn shown(metadata: &kube::api::ObjectMeta) -> String {
    format!("{}/{}", metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}
