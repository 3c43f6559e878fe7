//! Each change of phase that is listed happens. That no other one happens, `made` checks in all tests and in the model.

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

use crate::api::OnCanaryFailure;
use crate::machine::tests::{
    canary, holds, receipts,
    walk::{self, Turn, World},
    *,
};
use crate::machine::{
    decide,
    transitions::{SEEN, TRANSITIONS},
};

fn planning() -> Observed {
    seen(running(), KafkaSeen::ForPlan(Box::new(plan_seen())))
}

/// Decisions for what does not come up in a walk.
fn decided() {
    let step = |request: &Request, status: &OffsetResetStatus, seen: &Observed| decide(Ok(request), status, seen, at(1));
    let (expired, suspended) = (Request { not_after: Some(at(-1)), ..request() }, Request { suspended: true, ..request() });
    for phase in [Phase::Pending, Phase::Planning] {
        step(&expired, &status_in(phase), &planning());
        step(&suspended, &status_in(phase), &planning());
        step(&request(), &status_in(phase), &planning());
        step(&request(), &status_in(phase), &Observed { deleting: true, ..planning() });
    }
    let dry = OffsetResetStatus { dry_run: true, ..status_in(Phase::Planning) };
    step(&Request { dry_run: true, ..request() }, &dry, &planning());
    for phase in [Phase::Planned, Phase::Failed] {
        step(&request(), &OffsetResetStatus { phase: Some(phase), ..dry.clone() }, &planning());
    }
    let there = PlanSeen { group: group_in(GroupState::Empty, 0), committed: per_partition(&committed(10, "")), ..plan_seen() };
    step(&request(), &status_in(Phase::Planning), &seen(gone(), KafkaSeen::ForPlan(Box::new(there))));
    let admitted = Observed { finalizer: false, others: vec![holds::other("uid-2", Some(Phase::Draining))], ..planning() };
    step(&request(), &holds::with_cluster(status_in(Phase::Stopping)), &admitted);
    let joined = commit_seen(group_in(GroupState::Stable, 1), &committed(50, ""));
    step(&request(), &status_in(Phase::Resetting), &seen(gone(), joined.clone()));
    step(&request(), &status_in(Phase::Resetting), &seen(running(), joined));
    receipts::pending(receipts::of("uid-0", receipts::over(Phase::Succeeded)), running(), Seen::Missing);
    let held = Seen::Known(Hold { since: at(-60), ..lease() });
    receipts::pending(receipts::of("uid-1", receipts::committing()), gone(), held);
    canary::runs(OnCanaryFailure::Undo);
    for on_failure in [OnCanaryFailure::Keep, OnCanaryFailure::Undo] {
        canary::fails(on_failure);
    }
    step(&request(), &status_in(Phase::Unknown), &planning());
    step(&request(), &OffsetResetStatus { hold: None, ..status_in(Phase::Unknown) }, &planning());
}

/// Runs in which anything may happen; always the same ones.
fn walked() {
    let mut runner = TestRunner::deterministic();
    for _ in 0..100 {
        let turns = walk::turns().new_tree(&mut runner).unwrap().current();
        let mut world = World::new(Goal::Offset(10), false, None);
        for turn in turns {
            world.turn(turn);
        }
        for turn in [Turn::Pass, Turn::Kubelet, Turn::Session, Turn::Time(1)].into_iter().cycle().take(200) {
            world.turn(turn);
        }
    }
}

#[test]
fn each_listed_change_of_phase_happens() {
    decided();
    walked();
    let seen = SEEN.take();
    let never: Vec<_> = TRANSITIONS.iter().filter(|listed| !seen.contains(&(listed.from, listed.to))).collect();
    assert!(never.is_empty(), "{never:#?}");
    for (index, listed) in TRANSITIONS.iter().enumerate() {
        let twice = TRANSITIONS[..index].iter().any(|other| (other.from, other.to) == (listed.from, listed.to));
        assert!(!twice, "{listed:?} is listed twice");
    }
}
