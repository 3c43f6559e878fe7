//! Whether the group is empty. The broker is the lock; unknown never counts as empty.

use core::net::IpAddr;

use jiff::SignedDuration;

use super::{
    kafka::{Group, GroupDescription, GroupMember, GroupState, GroupType},
    workload::Pod,
};
use crate::api::{GroupStatus, MemberStatus, TargetRef};
use crate::machine::guards::Guard;

/// How many members the status names.
const NAMED_MEMBERS: usize = 10;

/// Whether the broker would accept a commit from a client that is not a member: Empty, Dead or not
/// found, and no member listed.
#[must_use]
pub fn is_empty(group: &Group) -> bool {
    Guard::GroupEmpty.allows(match group {
        Group::NotFound => true,
        Group::Found(found) => match found.state {
            GroupState::Empty | GroupState::Dead => found.members.is_empty(),
            GroupState::Stable | GroupState::PreparingRebalance | GroupState::CompletingRebalance | GroupState::Unknown => false,
        },
    })
}

/// Whether the group exists: it has members, or is Empty, or has commits (a 3.x broker reports an
/// unknown group as Dead).
#[must_use]
pub fn is_known(group: &Group, has_commits: bool) -> bool {
    match group {
        Group::NotFound => has_commits,
        Group::Found(found) => match found.state {
            GroupState::Dead => has_commits || !found.members.is_empty(),
            GroupState::Empty
            | GroupState::Stable
            | GroupState::PreparingRebalance
            | GroupState::CompletingRebalance
            | GroupState::Unknown => true,
        },
    }
}

/// Whether a classic group is between two generations: its members do not consume right now.
#[must_use]
pub fn is_rebalancing(group: &Group) -> bool {
    matches!(group, Group::Found(found) if matches!(found.state, GroupState::PreparingRebalance | GroupState::CompletingRebalance))
}

/// Whether the members use the new protocol (KIP-848), in which the broker decides how long a session lasts.
#[must_use]
pub fn is_of_new_protocol(group: &Group) -> bool {
    matches!(group, Group::Found(found) if found.group_type == GroupType::Consumer)
}

/// How long a session lasts by the group's configuration on the broker, where it was read.
#[must_use]
pub fn session_on_broker(group: &GroupStatus) -> Option<SignedDuration> {
    group.session_timeout_ms.filter(|millis| *millis > 0).map(SignedDuration::from_millis)
}

/// The members of a group.
#[must_use]
pub fn members(group: &Group) -> usize {
    match group {
        Group::NotFound => 0,
        Group::Found(found) => found.members.len(),
    }
}

/// The group as the status shows it. `members_before` is kept from the plan when there is one
/// already.
#[must_use]
pub fn status(group: &Group, previous: Option<&GroupStatus>, pods: &[&Pod]) -> GroupStatus {
    let count = i32::try_from(members(group)).unwrap_or(i32::MAX);
    let unknown = GroupDescription {
        group_type: GroupType::Unknown,
        state: GroupState::Dead,
        assignor: String::new(),
        members: vec![],
        assigned_topics: None,
    };
    let found = match group {
        Group::NotFound => &unknown,
        Group::Found(found) => found,
    };
    let group_type = match found.group_type {
        GroupType::Classic => "Classic".to_owned(),
        GroupType::Consumer => "Consumer".to_owned(),
        // An empty group may not report its type any more; it is still what it was.
        GroupType::Unknown => previous.map_or_else(|| "Unknown".to_owned(), |previous| previous.group_type.clone()),
    };
    GroupStatus {
        cluster_id: previous.and_then(|previous| previous.cluster_id.clone()),
        group_type,
        session_timeout_ms: previous.and_then(|previous| previous.session_timeout_ms),
        state: state_name(group).to_owned(),
        members_before: previous.map_or(count, |previous| previous.members_before),
        expected_members: previous.and_then(|previous| previous.expected_members),
        expected_of_replicas: previous.and_then(|previous| previous.expected_of_replicas),
        members: count,
        member_details: found
            .members
            .iter()
            .take(NAMED_MEMBERS)
            .map(|member| MemberStatus {
                client_id: member.client_id.clone(),
                instance_id: member.instance_id.clone(),
                host: member.host.clone(),
                pod: pod_of(&member.host, previous, pods),
            })
            .collect(),
    }
}

/// The pod with an address: a current one, or the one that was recorded for the member before, for
/// its pod may be gone by now.
fn pod_of(host: &str, previous: Option<&GroupStatus>, pods: &[&Pod]) -> Option<String> {
    pods.iter()
        .find(|pod| has_address(&pod.ips, host))
        .map(|pod| pod.name.clone())
        .or_else(|| previous?.member_details.iter().find(|member| member.host == host)?.pod.clone())
}

/// Whether a member runs in a pod: by its address, or by its client id where the tasks of a connector
/// stand for the pod.
#[must_use]
pub fn runs_in(member: &GroupMember, pod: &Pod) -> bool {
    has_address(&pod.ips, &member.host) || pod.tasks.as_ref().is_some_and(|tasks| tasks.have_client_id(&member.client_id))
}

/// Whether an address is one of these.
#[must_use]
pub fn has_address(ips: &[String], host: &str) -> bool {
    ips.iter().any(|ip| is_same_address(ip, host))
}

/// Whether two addresses are the same, however they are spelled: Java writes `fd00:0:0:0:0:0:0:5`
/// where Kubernetes writes `fd00::5`, and an IPv4 address may come as `::ffff:10.0.0.1`.
fn is_same_address(one: &str, other: &str) -> bool {
    match (one.parse::<IpAddr>(), other.parse::<IpAddr>()) {
        (Ok(one), Ok(other)) => one.to_canonical() == other.to_canonical(),
        (Ok(_) | Err(_), _) => one == other,
    }
}

/// The state as the broker reports it.
#[must_use]
pub fn state_name(group: &Group) -> &'static str {
    match group {
        Group::NotFound => "NotFound",
        Group::Found(found) => match found.state {
            GroupState::Empty => "Empty",
            GroupState::Dead => "Dead",
            GroupState::Stable => "Stable",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Unknown => "Unknown",
        },
    }
}

/// The members for messages, with what helps to find them.
#[must_use]
pub fn name_members(status: &GroupStatus) -> String {
    let mut names: Vec<String> = status
        .member_details
        .iter()
        .map(|member| {
            let instance = member.instance_id.as_ref().map(|id| format!(", static member {id}")).unwrap_or_default();
            // What Kafka Connect begins the client ids of sink tasks with.
            let outside = if member.client_id.starts_with("connector-consumer-") {
                ", a task of a connector"
            } else {
                ", outside the target pods"
            };
            let pod = member.pod.as_ref().map_or_else(|| outside.to_owned(), |pod| format!(", pod {pod}"));
            format!("{} at {}{instance}{pod}", member.client_id, member.host)
        })
        .collect();
    let more = usize::try_from(status.members).unwrap_or(0).saturating_sub(names.len());
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names.join("; ")
}

/// Whether there are members and none of them is known to run in a pod of the targets: `targets` may not be theirs. The tasks of
/// connectors run in no pod of a target.
#[must_use]
pub fn are_all_outside(status: &GroupStatus, targets: &[TargetRef]) -> bool {
    !targets.is_empty()
        && !targets.iter().any(TargetRef::is_connector)
        && !status.member_details.is_empty()
        && status.member_details.iter().all(|member| member.pod.is_none())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::machine::facts::GroupMember;

    fn group(state: GroupState, members: usize) -> Group {
        let member =
            GroupMember { member_id: "m".into(), client_id: "c".into(), instance_id: None, host: "10.0.0.1".into(), assigned: 1 };
        let (group_type, assignor) = (GroupType::Classic, "range".to_owned());
        Group::Found(GroupDescription { group_type, state, assignor, members: vec![member; members], assigned_topics: None })
    }

    #[rstest]
    #[case::not_found(Group::NotFound, true)]
    #[case::empty(group(GroupState::Empty, 0), true)]
    #[case::dead(group(GroupState::Dead, 0), true)]
    #[case::dead_with_a_member_is_a_contradiction(group(GroupState::Dead, 1), false)]
    #[case::empty_with_a_member_is_a_contradiction(group(GroupState::Empty, 1), false)]
    #[case::stable(group(GroupState::Stable, 1), false)]
    #[case::stable_without_members_is_not_what_empty_looks_like(group(GroupState::Stable, 0), false)]
    #[case::preparing(group(GroupState::PreparingRebalance, 1), false)]
    #[case::completing(group(GroupState::CompletingRebalance, 1), false)]
    #[case::unknown_is_never_empty(group(GroupState::Unknown, 0), false)]
    fn only_a_group_that_the_broker_reports_as_empty_is_empty(#[case] group: Group, #[case] empty: bool) {
        assert_eq!(is_empty(&group), empty);
    }

    #[rstest]
    #[case::as_it_is("10.0.0.1", "10.0.0.1", true)]
    #[case::another("10.0.0.1", "10.0.0.10", false)]
    #[case::in_full("fd00:0:0:0:0:0:0:5", "fd00::5", true)]
    #[case::in_capitals("FD00::A", "fd00::a", true)]
    #[case::another_of_ipv6("fd00::6", "fd00::5", false)]
    #[case::mapped("::ffff:10.0.0.1", "10.0.0.1", true)]
    #[case::mapped_as_java_writes_it("0:0:0:0:0:ffff:a00:1", "10.0.0.1", true)]
    #[case::a_name("kafka-0.kafka", "kafka-0.kafka", true)]
    #[case::nothing("", "10.0.0.1", false)]
    fn addresses_are_compared_as_addresses(#[case] one: &str, #[case] other: &str, #[case] same: bool) {
        assert_eq!((is_same_address(one, other), is_same_address(other, one)), (same, same));
    }

    #[test]
    fn the_pod_of_a_member_is_found_by_an_address_that_is_spelled_otherwise() {
        let Group::Found(mut found) = group(GroupState::Stable, 1) else { unreachable!() };
        found.members[0].host = "fd00:0:0:0:0:0:0:5".into();
        let pod = Pod { ips: vec!["fd00::5".into()], ..crate::machine::tests::pod("c-0", false) };
        let shown = status(&Group::Found(found), None, &[&pod]);
        assert_eq!(shown.member_details[0].pod.as_deref(), Some("c-0"));
    }

    #[rstest]
    #[case::kafka_4_says_not_found(Group::NotFound, false, false)]
    #[case::kafka_3_says_dead(group(GroupState::Dead, 0), false, false)]
    #[case::dead_but_with_commits_as_on_event_hubs(group(GroupState::Dead, 0), true, true)]
    #[case::empty_exists(group(GroupState::Empty, 0), false, true)]
    #[case::live(group(GroupState::Stable, 2), false, true)]
    fn a_group_is_known_by_members_state_or_commits(#[case] group: Group, #[case] has_commits: bool, #[case] known: bool) {
        assert_eq!(is_known(&group, has_commits), known);
    }
}
