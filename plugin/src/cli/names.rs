//! Completion of names, which come from the cluster.

use std::time::Duration;

use clap::Parser;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use kube::ResourceExt;
use offset_reset_operator::api::{OffsetReset, Reason};

use super::connection::Connection;
use crate::cluster::Cluster;

/// How long a key press may wait for the cluster.
const PATIENCE: Duration = Duration::from_secs(2);

/// The names of the namespace's OffsetResets.
pub(super) fn resets() -> ArgValueCandidates {
    ArgValueCandidates::new(|| listed().iter().map(candidate).collect())
}

/// The same, and reasons.
pub(super) fn explainable() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let reasons = Reason::ALL.iter().map(|reason| CompletionCandidate::new(reason.as_str()));
        listed().iter().map(candidate).chain(reasons).collect()
    })
}

fn candidate(reset: &OffsetReset) -> CompletionCandidate {
    let phase = reset.status.as_ref().and_then(|status| status.phase).map_or("new", offset_reset_operator::api::Phase::as_str);
    CompletionCandidate::new(reset.name_any()).help(Some(format!("{phase}, group {}", reset.spec.group).into()))
}

/// Nothing where the cluster does not answer: a completion has no place for words.
fn listed() -> Vec<OffsetReset> {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return vec![] };
    let connection = typed();
    runtime.block_on(async {
        let listing = async {
            let cluster = Cluster::connect(&connection).await.ok()?;
            Some(cluster.resets().list(&kube::api::ListParams::default()).await.ok()?.items)
        };
        tokio::time::timeout(PATIENCE, listing).await.ok().flatten().unwrap_or_default()
    })
}

/// The options for the cluster among the words so far, which are no whole command yet.
fn typed() -> Connection {
    #[derive(Parser)]
    #[command(ignore_errors = true, disable_help_flag = true)]
    struct Typed {
        #[command(flatten)]
        connection: Connection,
        #[arg(trailing_var_arg = false, num_args = 0..)]
        _rest: Vec<String>,
    }
    let words = std::env::args_os().filter(|word| word != "__complete");
    Typed::try_parse_from(words).map(|typed| typed.connection).unwrap_or_default()
}
