//! Whose turn it is.

use rstest::rstest;

use jiff::SignedDuration;

use super::at;
use crate::{
    api::Phase,
    machine::{coordination::queue::blocker, facts::PeerReset},
};

pub(super) fn peer(name: &str, created: i64, phase: Option<Phase>) -> PeerReset {
    PeerReset {
        uid: format!("uid-{name}"),
        namespace: "shop".into(),
        name: name.into(),
        created: at(created),
        deleting: false,
        finalizer: false,
        key: "key".into(),
        cluster_id: None,
        suspended: false,
        dry_run: false,
        phase,
        waits: false,
        planned: false,
        group: "g".into(),
        brokers: vec!["kafka:9092".into()],
        workloads: vec!["Deployment/consumer".into()],
        targets: vec![],
        hold_start: None,
        hold_timeout: SignedDuration::from_mins(10),
        drain_timeout: SignedDuration::from_mins(2),
    }
}

fn elsewhere(other: PeerReset) -> PeerReset {
    PeerReset { group: "h".into(), workloads: vec!["Deployment/other".into()], ..other }
}

#[rstest]
#[case::no_other(vec![], None)]
#[case::itself(vec![peer("own", 5, None)], None)]
#[case::an_older_one_waits(vec![peer("old", 1, Some(Phase::Pending))], Some("shop/old"))]
#[case::an_older_one_that_was_not_seen_yet(vec![peer("old", 1, None)], Some("shop/old"))]
#[case::an_older_one_that_is_suspended(vec![PeerReset { suspended: true, ..peer("old", 1, Some(Phase::Pending)) }], None)]
#[case::one_that_was_suspended_too_late(vec![PeerReset { suspended: true, ..peer("young", 9, Some(Phase::Stopping)) }], Some("shop/young"))]
#[case::a_younger_one_waits(vec![peer("young", 9, Some(Phase::Pending))], None)]
#[case::a_younger_one_is_under_way(vec![peer("young", 9, Some(Phase::Planning))], Some("shop/young"))]
#[case::under_way_goes_before_older(vec![peer("old", 1, None), peer("young", 9, Some(Phase::Draining))], Some("shop/young"))]
#[case::finished_ones_do_not_count(
    vec![peer("a", 1, Some(Phase::Succeeded)), peer("b", 1, Some(Phase::Failed)), peer("c", 1, Some(Phase::Cancelled))],
    None
)]
#[case::born_in_the_same_second_the_name_decides(vec![peer("name-before-own", 5, None)], Some("shop/name-before-own"))]
#[case::other_group_and_workload(vec![elsewhere(peer("old", 1, Some(Phase::Stopping)))], None)]
#[case::same_workload_other_group_shares_its_stop(vec![PeerReset { group: "h".into(), ..peer("old", 1, Some(Phase::Stopping)) }], None)]
#[case::same_workload_that_is_coming_back(
    vec![PeerReset { group: "h".into(), ..peer("old", 1, Some(Phase::Restoring)) }],
    Some("shop/old")
)]
#[case::same_workload_that_has_been_held_for_too_long_to_join(
    vec![PeerReset { group: "h".into(), hold_start: Some(at(10 - 481)), ..peer("old", 1, Some(Phase::Draining)) }],
    Some("shop/old")
)]
#[case::same_workload_that_can_just_be_joined(
    vec![PeerReset { group: "h".into(), hold_start: Some(at(10 - 480)), ..peer("old", 1, Some(Phase::Draining)) }],
    None
)]
#[case::an_older_one_that_waits_with_another_group(vec![PeerReset { group: "h".into(), ..peer("old", 1, None) }], None)]
#[case::a_dry_run_of_the_same_group(vec![PeerReset { dry_run: true, ..peer("old", 1, Some(Phase::Planning)) }], None)]
#[case::same_workload_name_in_another_namespace(
    vec![PeerReset { group: "h".into(), namespace: "bank".into(), ..peer("old", 1, Some(Phase::Stopping)) }],
    None
)]
#[case::same_group_in_another_namespace(
    vec![PeerReset { namespace: "bank".into(), workloads: vec![], ..peer("old", 1, Some(Phase::Stopping)) }],
    Some("bank/old")
)]
#[case::same_group_by_other_names_of_the_brokers(
    vec![PeerReset { brokers: vec!["other:9092".into()], workloads: vec![], ..peer("old", 1, Some(Phase::Stopping)) }],
    Some("shop/old")
)]
#[case::same_name_of_a_group_on_other_brokers_in_another_namespace(
    vec![PeerReset {
        brokers: vec!["other:9092".into()], namespace: "bank".into(), workloads: vec![], ..peer("old", 1, Some(Phase::Stopping))
    }],
    None
)]
fn the_oldest_goes_first_and_who_is_under_way_before_all(#[case] others: Vec<PeerReset>, #[case] expected: Option<&str>) {
    let blocked_by = blocker(&peer("own", 5, None), &others, at(10));
    assert_eq!(blocked_by.map(|blocker| blocker.name), expected.map(str::to_owned));
}
