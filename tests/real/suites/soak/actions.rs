//! What happens, and when.

use std::{fmt, time::Duration};

use kube::{ResourceExt, api::DeleteParams};
use offset_reset_operator::api::Phase;
use tokio::process::Command;

use super::world::World;
use real_tests::{
    generators::random::Random,
    parts::{self, Away},
};

/// How long the API server is away.
const API_SERVER_AWAY: Duration = Duration::from_secs(20);

/// How long the broker is frozen: longer than the consumers' sessions.
const FROZEN: Duration = Duration::from_secs(12);

/// How often consumers crash, and how long they run in between.
const CRASHES: u32 = 3;
const BETWEEN_CRASHES: Duration = Duration::from_secs(4);

/// How long it is waited that a reset comes to a phase; it may be waiting for another one, or be over.
const UNTIL_THERE: Duration = Duration::from_secs(40);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    KillOperator,
    KillBroker,
    FreezeBroker,
    KillApiServer,
    DeleteReset,
    ScaleByHand,
    DeleteNamespace,
    RollOut,
    ForeignPod,
    CrashLoop,
}

pub const FAULTS: [Fault; 10] = [
    Fault::KillOperator,
    Fault::KillBroker,
    Fault::FreezeBroker,
    Fault::KillApiServer,
    Fault::DeleteReset,
    Fault::ScaleByHand,
    Fault::DeleteNamespace,
    Fault::RollOut,
    Fault::ForeignPod,
    Fault::CrashLoop,
];

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KillOperator => "the operator is killed",
            Self::KillBroker => "the broker is killed and started again",
            Self::FreezeBroker => "the broker is frozen for longer than a session",
            Self::KillApiServer => "the API server is away for 20 s",
            Self::DeleteReset => "a reset is deleted",
            Self::ScaleByHand => "a workload is scaled by hand",
            Self::DeleteNamespace => "a namespace is deleted while its workload is held",
            Self::RollOut => "a rollout of a broken image begins, and is undone",
            Self::ForeignPod => "a pod with the labels of a workload runs beside it",
            Self::CrashLoop => "consumers crash again and again",
        })
    }
}

/// A fault, and the phase of one of the round's resets at which it comes.
#[derive(Clone, Copy, Debug)]
pub struct Action {
    pub fault: Fault,
    at: Phase,
    /// The operator is killed as well, while the other thing is away.
    kills_too: bool,
}

/// Deals faults: each once, in any order, before any of them comes again.
#[derive(Default)]
pub struct Deck(Vec<Fault>);

impl Deck {
    pub fn deal(&mut self, random: &mut Random) -> Action {
        if self.0.is_empty() {
            self.0.extend(FAULTS);
        }
        let last = i64::try_from(self.0.len()).unwrap() - 1;
        let fault = self.0.swap_remove(usize::try_from(random.within(0..=last)).unwrap());
        let phases = [Phase::Planning, Phase::Stopping, Phase::Draining, Phase::Resetting, Phase::Restoring, Phase::Succeeded];
        let takes_away = matches!(fault, Fault::KillBroker | Fault::FreezeBroker | Fault::KillApiServer);
        Action { fault, at: random.one_of(&phases), kills_too: random.percent(40) && takes_away }
    }
}

impl World {
    /// Waits for the moment, and does it.
    pub async fn take(&mut self, action: &Action, random: &mut Random) {
        let whose = usize::try_from(random.within(0..=1_000_000)).unwrap() % self.round.len();
        let (workload, name) = self.round[whose].clone();
        let came = self.comes_to(&name, action.at).await;
        self.log.say(format!(
            "  {} (when {name} was to be {}, and was {came}{})",
            action.fault,
            action.at.as_str(),
            if action.kills_too { "; the operator is killed too" } else { "" }
        ));
        match action.fault {
            Fault::KillOperator => self.kill_operator().await,
            Fault::KillBroker => {
                let away = Away::killed(parts::BROKER).await;
                if action.kills_too {
                    self.kill_operator().await;
                }
                away.back().await;
            }
            Fault::FreezeBroker => {
                let away = Away::frozen(parts::BROKER).await;
                if action.kills_too {
                    self.kill_operator().await;
                }
                tokio::time::sleep(FROZEN).await;
                away.back().await;
            }
            Fault::KillApiServer => {
                let away = Away::killed(parts::API_SERVER).await;
                if action.kills_too {
                    kill_all(is_the_operator).await;
                }
                tokio::time::sleep(API_SERVER_AWAY).await;
                away.back().await;
                self.is_served_again().await;
            }
            Fault::DeleteReset => {
                // It may be gone already.
                let _ = self.resets.delete(&name, &DeleteParams::default()).await;
            }
            Fault::ScaleByHand => {
                let replicas = i32::try_from(random.within(1..=3)).unwrap();
                self.scale_by_hand(workload, replicas).await;
            }
            Fault::DeleteNamespace => self.delete_a_namespace_while_held().await,
            Fault::RollOut => {
                self.roll_out_and_undo(workload).await;
            }
            Fault::ForeignPod => self.run_a_foreign_pod(workload).await,
            Fault::CrashLoop => {
                for _ in 0..CRASHES {
                    kill_all(|cmdline| is_a_consumer_of(cmdline, &self.workloads[workload].group)).await;
                    tokio::time::sleep(BETWEEN_CRASHES).await;
                }
            }
        }
    }

    /// Waits until a reset has come to a phase or beyond; in which it was then.
    async fn comes_to(&self, name: &str, wanted: Phase) -> &'static str {
        let place = |phase: Option<Phase>| match phase {
            None | Some(Phase::Pending) => 0,
            Some(Phase::Planning) => 1,
            Some(Phase::Stopping) => 2,
            Some(Phase::Draining) => 3,
            Some(Phase::Resetting) => 4,
            Some(Phase::Canary | Phase::Restoring) => 5,
            Some(Phase::Succeeded | Phase::Failed | Phase::Cancelled | Phase::Planned | Phase::Unknown) => 6,
        };
        let begin = std::time::Instant::now();
        loop {
            let found = self.resets.get_opt(name).await;
            let phase = match &found {
                Ok(None) => return "gone",
                Ok(Some(reset)) => reset.status.as_ref().and_then(|status| status.phase),
                Err(_) => None,
            };
            if place(phase) >= place(Some(wanted)) || begin.elapsed() > UNTIL_THERE {
                return phase.map_or("not begun", Phase::as_str);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills its processes, and takes its pods away: a container that is killed again and again is started ever later.
    async fn kill_operator(&self) {
        kill_all(is_the_operator).await;
        let pods = self.operators_pods();
        for pod in pods.list(&kube::api::ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
            let _ =
                pods.delete(&pod.name_any(), &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }).await;
        }
    }
}

/// SIGKILL for every process with such arguments in this sandbox: they are in its PID namespace, and so is this one.
async fn kill_all(is_meant: impl Fn(&str) -> bool) {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_meant = name.bytes().all(|byte| byte.is_ascii_digit())
            && std::fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|line| is_meant(&line));
        if is_meant {
            // It may have ended by itself meanwhile.
            let _ = Command::new("kill").args(["-KILL", &name]).status().await;
        }
    }
}

/// Whether these are the arguments of the operator's container, as /proc has them.
fn is_the_operator(cmdline: &str) -> bool {
    cmdline.split('\0').next().is_some_and(|program| program.rsplit('/').next() == Some("offset-reset-operator"))
}

/// Whether they are those of a console consumer of this group.
fn is_a_consumer_of(cmdline: &str, group: &str) -> bool {
    let words: Vec<&str> = cmdline.split('\0').collect();
    words.windows(2).any(|words| words == ["--group", group])
}

#[test]
fn the_consumers_of_a_group_are_known_by_their_arguments() {
    assert!(is_a_consumer_of("java\0ConsoleConsumer\0--group\0classic-1\0--x\0", "classic-1"));
    assert!(!is_a_consumer_of("java\0ConsoleConsumer\0--group\0classic-10\0", "classic-1"));
}

#[test]
fn the_operators_processes_are_known_by_their_program() {
    assert!(is_the_operator("/offset-reset-operator\0run\0"));
    assert!(
        !is_the_operator("/usr/bin/grep\0offset-reset-operator\0") && !is_the_operator("") && !is_the_operator("/x/soak-1\0")
    );
}
