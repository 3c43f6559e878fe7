//! How a command ended: its exit code, and the words of a failure.

use std::{fmt, process::ExitCode};

use offset_reset_operator::{
    api::{CanaryState, OffsetReset, OffsetResetStatus, Phase},
    kubernetes::chain,
    machine,
};

/// How a command ended, for scripts: the codes are an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// What was asked for is done; a plan stands.
    Done = 0,
    /// The command itself could not be carried out: wrong words, no cluster, no such object, a refusal of the API server.
    Error = 1,
    /// The reset failed, or its plan was refused, and no offset was changed.
    Unchanged = 2,
    /// The reset failed after it had changed offsets, or may have.
    Partly = 3,
    /// The time of `--timeout` is over; the reset goes on.
    Timeout = 4,
    /// The reset was cancelled, or the question was not answered with yes.
    Cancelled = 5,
    /// `holds --exit-code`: a workload is held at zero.
    Held = 6,
    /// Ctrl-C; the reset goes on.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Whether a reset, or the plan of a dry run, has ended.
pub fn has_ended(reset: &OffsetReset) -> bool {
    reset.status.as_ref().is_some_and(|status| machine::has_ended(status, reset.spec.dry_run))
}

/// How a reset ended; `None` while it has not.
pub fn of_reset(reset: &OffsetReset) -> Option<Exit> {
    let status = reset.status.as_ref().filter(|_| has_ended(reset))?;
    Some(match status.phase {
        Some(Phase::Succeeded | Phase::Planned) => Exit::Done,
        Some(Phase::Cancelled) => Exit::Cancelled,
        _ if may_have_changed(status) => Exit::Partly,
        _ => Exit::Unchanged,
    })
}

/// Whether the reset changed offsets, or may have.
pub fn may_have_changed(status: &OffsetResetStatus) -> bool {
    let totals = status.totals.unwrap_or_default();
    // A canary starts once the offsets are committed; while they are undone, the totals count only those from before.
    let canary_ran = status.canary.as_ref().is_some_and(|canary| canary.start_time.is_some());
    !status.dry_run && (totals.reset > 0 || totals.unconfirmed > 0 || canary_ran)
}

/// Whether the offsets from before the reset are committed again, because its canary had failed.
pub fn is_undone(status: &OffsetResetStatus) -> bool {
    status.canary.as_ref().is_some_and(|canary| canary.state == CanaryState::Undone)
}

/// Whether an undo has something to take back.
pub fn can_be_undone(status: &OffsetResetStatus) -> bool {
    may_have_changed(status) && !is_undone(status)
}

/// Whether any of these resets changed offsets, or may have.
pub fn any_changed<'a>(mut resets: impl Iterator<Item = &'a OffsetReset>) -> bool {
    resets.any(|reset| reset.status.as_ref().is_some_and(may_have_changed))
}

/// How several resets ended: 2 only when none of them has changed an offset.
pub fn of_batch(ends: impl Iterator<Item = Exit>, has_changed: bool) -> Exit {
    let failures: Vec<Exit> = ends.filter(|exit| *exit != Exit::Done).collect();
    match failures.first() {
        None => Exit::Done,
        Some(_) if failures.contains(&Exit::Partly) => Exit::Partly,
        Some(_) if failures.contains(&Exit::Unchanged) && has_changed => Exit::Partly,
        Some(_) if failures.contains(&Exit::Unchanged) => Exit::Unchanged,
        Some(first) => *first,
    }
}

/// Why a command could not be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened; the first sentence stands alone.
    pub what: String,
    /// What to do.
    pub advice: Option<String>,
}

/// What a command results in.
pub type Outcome<T = Exit> = Result<T, Failure>;

impl Failure {
    /// With exit code 1.
    pub fn new(what: impl Into<String>) -> Self {
        Self { exit: Exit::Error, what: what.into(), advice: None }
    }

    /// Says what to do.
    pub fn advice(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    /// A request that the API server has not carried out: its answer is shown as it is.
    pub fn request(doing: &str, error: &kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            let why = chain(error);
            if matches!(error, kube::Error::BuildRequest(_)) {
                return Self::new(format!("cannot {doing}: no request can be made of this.\n{why}"));
            }
            return Self::new(format!("cannot {doing}: the API server cannot be reached.\n{why}"))
                .advice("Check the connection and the context: kubectl cluster-info");
        };
        let failure = Self::new(format!("cannot {doing}.\n{}", status.message));
        // Whatever code and reason the policy gives its answer.
        if status.message.contains("ValidatingAdmissionPolicy") {
            return failure
                .advice("Nothing was changed. Ask for the right that the policy names, or have a user with that right do it.");
        }
        match status.code {
            401 => failure.advice("Sign in to the cluster again; kubectl auth whoami shows the current user."),
            403 => {
                failure.advice("Nothing was changed. Ask an administrator for the right; kubectl auth can-i --list shows yours.")
            }
            // kube's words for a list, and an API server's own for everything else.
            404 if ["could not find the requested resource", "page not found"]
                .iter()
                .any(|words| status.message.contains(words)) =>
            {
                failure.advice(
                    "The operator's CRD is not installed in this cluster. To see what is missing: kubectl offset-reset check",
                )
            }
            404 if status.message.starts_with("namespaces ") => {
                failure.advice("Is it the right context and namespace? To see those that exist: kubectl get namespaces")
            }
            404 => {
                failure.advice("To see all of the namespace: kubectl offset-reset list. Is it the right context and namespace?")
            }
            409 if status.message.contains("already exists") => {
                failure.advice("Choose another name with --name; `list` shows those that exist.")
            }
            409 => failure.advice("It has changed meanwhile: try again."),
            422 => failure.advice("Nothing was changed. Correct what the API server names, and try again."),
            _ => failure,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.advice {
            Some(advice) => write!(f, "\n{advice}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case::not_begun(json!(null), false, None)]
    #[case::running(json!({"phase": "Draining"}), false, None)]
    #[case::planned(json!({"phase": "Planned", "dryRun": true}), true, Some(Exit::Done))]
    #[case::told_to_run(json!({"phase": "Planned", "dryRun": true}), false, None)]
    #[case::refused(json!({"phase": "Failed", "dryRun": true, "reason": "GroupNotFound"}), true, Some(Exit::Unchanged))]
    #[case::succeeded(json!({"phase": "Succeeded"}), false, Some(Exit::Done))]
    #[case::failed_before(json!({"phase": "Failed", "totals": totals(0, 0)}), false, Some(Exit::Unchanged))]
    #[case::failed_after(json!({"phase": "Failed", "totals": totals(1, 0)}), false, Some(Exit::Partly))]
    #[case::may_have(json!({"phase": "Failed", "totals": totals(0, 1)}), false, Some(Exit::Partly))]
    #[case::canary_undone(json!({"phase": "Failed", "reason": "CanaryUndone", "totals": totals(2, 0)}), false, Some(Exit::Partly))]
    #[case::cancelled(json!({"phase": "Cancelled", "totals": totals(1, 0)}), false, Some(Exit::Cancelled))]
    fn a_reset_that_ended_has_an_exit_code(#[case] status: Value, #[case] dry_run: bool, #[case] expected: Option<Exit>) {
        let reset = json!({
            "metadata": {"name": "r"}, "spec": {"kafka": {}, "group": "g", "dryRun": dry_run}, "status": status,
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset",
        });
        assert_eq!(of_reset(&serde_json::from_value(reset).unwrap()), expected);
    }

    #[rstest]
    #[case::nothing_changed("Planned", totals(0, 0), false, (false, false))]
    #[case::kept("Failed", totals(2, 0), true, (true, true))]
    #[case::is_being_undone("Undoing", totals(0, 0), true, (true, true))]
    #[case::undone("Undone", totals(2, 0), true, (true, false))]
    fn a_reset_that_is_undone_already_is_not_undone_again(
        #[case] canary: &str,
        #[case] totals: Value,
        #[case] has_started: bool,
        #[case] expected: (bool, bool),
    ) {
        let mut canary = json!({"state": canary, "message": "so it is", "replicas": 1});
        if has_started {
            canary["startTime"] = json!("2026-11-28T08:43:29.813911Z");
        }
        let status = serde_json::from_value(json!({"totals": totals, "canary": canary})).unwrap();
        assert_eq!((may_have_changed(&status), can_be_undone(&status)), expected);
    }

    #[rstest]
    #[case::all(&[Exit::Done, Exit::Done], true, Exit::Done)]
    #[case::none_changed(&[Exit::Unchanged], false, Exit::Unchanged)]
    #[case::another_changed(&[Exit::Done, Exit::Unchanged], true, Exit::Partly)]
    #[case::partly(&[Exit::Unchanged, Exit::Partly], true, Exit::Partly)]
    #[case::cancelled(&[Exit::Done, Exit::Cancelled], true, Exit::Cancelled)]
    #[case::cancelled_and_failed(&[Exit::Cancelled, Exit::Unchanged], true, Exit::Partly)]
    #[case::cancelled_and_failed_before(&[Exit::Cancelled, Exit::Unchanged], false, Exit::Unchanged)]
    #[case::not_told(&[Exit::Error], false, Exit::Error)]
    fn a_batch_has_one_exit_code(#[case] ends: &[Exit], #[case] has_changed: bool, #[case] expected: Exit) {
        assert_eq!(of_batch(ends.iter().copied(), has_changed), expected);
    }

    #[rstest]
    #[case::policy(
        422,
        "ValidatingAdmissionPolicy 'offset-reset-targets' with binding 'offset-reset-targets' denied request: no right",
        "Ask for the right"
    )]
    #[case::right(403, "offsetresets.offsetreset.dev is forbidden: User \"eve\" cannot create", "Ask an administrator")]
    #[case::rule(
        422,
        "OffsetReset.offsetreset.dev \"r\" is invalid: spec: drainTimeout must be",
        "Correct what the API server names"
    )]
    #[case::no_crd(404, "the server could not find the requested resource", "kubectl offset-reset check")]
    #[case::no_crd_said_by_an_api_server(404, "404 page not found", "kubectl offset-reset check")]
    #[case::changed(409, "Operation cannot be fulfilled: the object has been modified", "try again")]
    #[case::missing(404, "offsetresets.offsetreset.dev \"r\" not found", "kubectl offset-reset list")]
    #[case::no_namespace(404, "namespaces \"shp\" not found", "kubectl get namespaces")]
    #[case::there_is_one(409, "offsetresets.offsetreset.dev \"r\" already exists", "another name")]
    fn the_api_servers_words_are_shown_as_they_are_with_what_to_do(
        #[case] code: u16,
        #[case] message: &str,
        #[case] advice: &str,
    ) {
        let status: kube::core::Status =
            serde_json::from_value(json!({"code": code, "message": message, "status": "Failure"})).unwrap();
        let failure = Failure::request("create OffsetReset shop/r", &kube::Error::Api(Box::new(status)));
        assert_eq!(failure.what, format!("cannot create OffsetReset shop/r.\n{message}"));
        assert!(failure.advice.unwrap().contains(advice));
    }

    fn totals(reset: i64, unconfirmed: i64) -> Value {
        json!({"partitions": 3, "reset": reset, "unconfirmed": unconfirmed, "failed": 1, "clamped": 0, "replayed": 0, "skipped": 0})
    }
}
