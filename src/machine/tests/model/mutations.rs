//! Each guard taken away in turn, in the smallest configuration in which it matters: the model has
//! to notice, or it proves nothing.

use std::fmt::Debug;

use super::{
    Explored, explore,
    scenarios::{Aim, Budget, CANARY, Fence, NOTHING, ONE, Scenario, TWO},
};
use crate::{api::OnCanaryFailure, machine::guards::Guard};

/// Back by some records: an offset that is committed already would not be committed again.
const AGAIN: Scenario = Scenario { aim: Aim::Back(5), budget: Budget { deletions: 1, recreations: 1, ..NOTHING }, ..ONE };
const SCALED: Scenario = Scenario { budget: Budget { scales: 1, crashes: 1, ..NOTHING }, ..ONE };

/// Where a guard matters.
fn scenario_for(guard: Guard) -> Scenario {
    match guard {
        Guard::AtZero => Scenario { budget: Budget { scales: 1, ..NOTHING }, ..ONE },
        Guard::ContainersTerminated
        | Guard::GroupEmpty
        | Guard::FinalizerFirst
        | Guard::ClaimOrphaned
        | Guard::RestoredFirst
        | Guard::NotOver
        | Guard::HoldNotOver
        | Guard::ReadBack => ONE,
        Guard::NotSeenAtZero | Guard::NotHeldAgain | Guard::StillAtZero => SCALED,
        Guard::SameWorkloadToStop | Guard::SameWorkload => Scenario { budget: Budget { replacements: 1, ..NOTHING }, ..ONE },
        Guard::ClaimedFirst | Guard::NeededByNoOther => Scenario { one_group: false, ..TWO },
        Guard::FirstInQueue => Scenario { cluster_id: false, ..TWO },
        Guard::GroupNotShared => Scenario { elsewhere: true, ..TWO },
        Guard::PlanFinal => Scenario { aim: Aim::Back(5), budget: Budget { records: 1, ..NOTHING }, ..ONE },
        // The final plan and the first commit rely on one look at the log, so only a commit after that can be out of it.
        Guard::WithinTheLog => Scenario { budget: Budget { retentions: 1, losses: 1, ..NOTHING }, ..ONE },
        Guard::OneRevision => Scenario { budget: Budget { rollouts: 1, ..NOTHING }, ..ONE },
        Guard::OwnPods => Scenario { foreign: true, ..ONE },
        Guard::NoMembersElsewhere => Scenario { budget: Budget { joins: 1, ..NOTHING }, ..ONE },
        Guard::SetByOthers => Scenario { budget: Budget { overrides: 1, ..NOTHING }, ..ONE },
        Guard::NoReceipt | Guard::NothingCommitted | Guard::HasMembers => AGAIN,
        Guard::CanaryRecorded | Guard::NotFromCanary | Guard::CanaryConsumed => CANARY,
        Guard::CanaryGoesOn => Scenario { budget: Budget { records: 1, ..NOTHING }, ..CANARY },
        Guard::NoCanaryCount => Scenario { canary: Some(OnCanaryFailure::Keep), ..ONE },
        Guard::CanarySteady => Scenario { budget: Budget { restarts: 1, records: 1, ..NOTHING }, ..CANARY },
        Guard::NoCanarySince => Scenario { budget: Budget { wipes: 1, ..NOTHING }, ..CANARY },
        Guard::RefusedForSure => Scenario { budget: Budget { losses: 1, deletions: 1, ..NOTHING }, ..ONE },
    }
}

/// Where a fence matters.
fn scenario_without(fence: Fence) -> Scenario {
    match fence {
        Fence::Turns => Scenario { elsewhere: true, ..TWO },
        Fence::StatusVersion => Scenario { budget: Budget { strips: 1, ..AGAIN.budget }, ..AGAIN },
        Fence::ScaleVersion => Scenario { budget: Budget { scales: 1, ..NOTHING }, ..ONE },
        Fence::Broker => Scenario { budget: Budget { joins: 1, ..NOTHING }, ..ONE },
    }
}

/// Those for whom no rule is broken.
fn unnoticed<T: Copy + Debug>(taken_away: impl IntoIterator<Item = (T, Scenario)>) -> Vec<T> {
    let mut unnoticed = vec![];
    for (name, scenario) in taken_away {
        let Explored { states, found, .. } = explore(scenario);
        let words = found.as_ref().map(|(rule, path)| format!("{rule:?}, {} steps away", path.len() - 1));
        println!("without {:20} {} ({states} states)", format!("{name:?}:"), words.as_deref().unwrap_or("NOTHING"));
        if found.is_none() {
            unnoticed.push(name);
        }
    }
    unnoticed
}

#[test]
fn without_any_one_of_the_guards_a_rule_is_broken() {
    let guards = Guard::ALL.into_iter().map(|guard| (guard, Scenario { away: Some(guard), ..scenario_for(guard) }));
    assert_eq!(unnoticed(guards), [], "the model does not miss them");
}

#[test]
fn without_any_one_of_the_fences_around_the_machine_a_rule_is_broken() {
    let fences = Fence::ALL.into_iter().map(|fence| (fence, Scenario { down: Some(fence), ..scenario_without(fence) }));
    assert_eq!(unnoticed(fences), [], "the model does not miss them");
}
