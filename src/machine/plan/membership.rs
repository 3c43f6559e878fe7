//! Whether the group is the one that the targets' pods use: its members are matched with pods by their addresses.

use core::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use crate::{
    api::{Reason, RemainingMembers},
    machine::{
        facts::{ForeignPod, Group, GroupMember, Pod, Seen, Workload, group},
        guards::Guard,
        refusal::Refusal,
        request::Request,
        text::{Message, count},
    },
};

/// How long a member without a pod is waited for beyond its session timeout, for the broker looks at sessions only now and then.
const LATE: SignedDuration = SignedDuration::from_secs(5);

/// How long the group must have no members while the pods are ready, seen in more than one pass.
const WITHOUT_MEMBERS: SignedDuration = SignedDuration::from_secs(6);

/// How many members a message names.
const NAMED: usize = 5;

/// The members of a group, apart by where they run.
#[derive(Debug, PartialEq)]
pub(in crate::machine) struct Membership<'a> {
    /// Those at the address of a pod of the targets.
    pub own: Vec<&'a GroupMember>,
    /// Those at any other address.
    pub others: Vec<&'a GroupMember>,
}

impl<'a> Membership<'a> {
    /// Matches the members of a group with the pods of the targets.
    pub fn of(group: &'a Group, workloads: &[Seen<Workload>]) -> Self {
        let members = match group {
            Group::NotFound => &[][..],
            Group::Found(found) => &found.members,
        };
        let is_own = |member: &&GroupMember| known(workloads).any(|workload| runs_at(&workload.pods, &member.host));
        let (own, others) = members.iter().partition(is_own);
        Self { own, others }
    }

    /// How many members are expected after the restore: those that run in pods of the targets, as far as the pods are that will be
    /// restored. Members whose pods are gone do not count, and those of pods beyond the replica count (the surge of a rollout) in
    /// proportion. A pod that has not been ready for longer than the session timeout counts with one member: the others at its address may
    /// be those of containers that crashed in it. Where no address matches (NAT, a service mesh), members are not told apart.
    pub fn expected(&self, workloads: &[Seen<Workload>], session_timeout: SignedDuration, now: Timestamp) -> usize {
        let settled = |pod: &Pod| {
            let since = pod.ready_since.filter(|_| pod.ready);
            since.is_some_and(|since| now.duration_since(since) > session_timeout)
        };
        let in_proportion = |members: usize, pods: usize, replicas: usize| match pods {
            0 => 0,
            pods => members * replicas.min(pods) / pods,
        };
        let replicas = |workload: &Workload| usize::try_from(workload.replicas).unwrap_or(0);
        if self.own.is_empty() {
            let pods: Vec<&Pod> = known(workloads).flat_map(|workload| &workload.pods).filter(|pod| !pod.terminated).collect();
            let all = if pods.iter().all(|pod| settled(pod)) { self.others.len() } else { self.others.len().min(pods.len()) };
            // Without pods the members run elsewhere, and come back by themselves.
            return if pods.is_empty() { all } else { in_proportion(all, pods.len(), known(workloads).map(replicas).sum()) };
        }
        let of_one = |workload: &Workload| {
            let at = |pod: &Pod| self.own.iter().filter(|member| runs_at(std::slice::from_ref(pod), &member.host)).count();
            let members: Vec<usize> = workload
                .pods
                .iter()
                .map(|pod| if settled(pod) { at(pod) } else { at(pod).min(1) })
                .filter(|members| *members > 0)
                .collect();
            in_proportion(members.iter().sum(), members.len(), replicas(workload))
        };
        known(workloads).map(of_one).sum::<usize>().min(self.own.len())
    }
}

fn known(workloads: &[Seen<Workload>]) -> impl Iterator<Item = &Workload> {
    workloads.iter().filter_map(|seen| match seen {
        Seen::Known(workload) => Some(workload),
        Seen::Unknown(_) | Seen::Missing => None,
    })
}

fn runs_at(pods: &[Pod], host: &str) -> bool {
    pods.iter().flat_map(|pod| &pod.ips).any(|ip| is_same_address(ip, host))
}

/// Addresses are compared as addresses: Java writes `fd00:0:0:0:0:0:0:5` where Kubernetes writes `fd00::5`.
pub(in crate::machine) fn is_same_address(one: &str, other: &str) -> bool {
    match (one.parse::<IpAddr>(), other.parse::<IpAddr>()) {
        (Ok(one), Ok(other)) => one.to_canonical() == other.to_canonical(),
        (Ok(_) | Err(_), _) => one == other,
    }
}

/// Why the group is not one that a stop of the targets empties, or whose offsets move their consumers.
pub(in crate::machine) fn refusals(
    request: &Request,
    group: &Group,
    workloads: &[Seen<Workload>],
    now: Timestamp,
) -> Vec<Refusal> {
    let membership = Membership::of(group, workloads);
    let mut refusals = vec![];
    // Only where some addresses match is it certain that addresses tell anything.
    let elsewhere = !membership.own.is_empty() && !membership.others.is_empty();
    if !Guard::NoMembersElsewhere.allows(!elsewhere) && request.remaining_members == RemainingMembers::Wait {
        refusals.push(shared(request, &membership, workloads));
    }
    if !request.allow_no_members
        && let Some(pods) = without_members(request, group, workloads, now)
    {
        let message = Message::naming([&request.group], |[group]| format!("Group {group} has no members although pods are ready"))
            .detail(format!("{pods}. They use another group, or assign(), so the reset would not move them"))
            .advice(
                "Correct spec.group, or set allowNoMembers: true if the consumers use assign() and only commit in the group, and create \
                 the reset under a new name",
            );
        let patience = Some(WITHOUT_MEMBERS);
        refusals.push(Refusal { reason: Reason::GroupHasNoMembers, message, transient: true, patience });
    }
    refusals
}

/// Another workload uses the group: for certain when the address is that of a pod of another controller, and otherwise when the member is
/// still there after its session timeout, for a member whose pod was killed is gone by then.
fn shared(request: &Request, membership: &Membership<'_>, workloads: &[Seen<Workload>]) -> Refusal {
    let foreign: Vec<&ForeignPod> = known(workloads).flat_map(|workload| &workload.details.foreign_pods).collect();
    let pod_of = |member: &GroupMember| foreign.iter().find(|pod| pod.ips.iter().any(|ip| is_same_address(ip, &member.host)));
    let certain = membership.others.iter().any(|member| pod_of(member).is_some());
    let names = membership.others.iter().take(NAMED).map(|member| {
        let pod = pod_of(member).map(|pod| format!(", pod {}", pod.name)).unwrap_or_default();
        format!("{} at {}{pod}", member.client_id, member.host)
    });
    let mut names: Vec<String> = names.collect();
    if membership.others.len() > NAMED {
        names.push(format!("{} more", membership.others.len() - NAMED));
    }
    let others = count(membership.others.len(), "member runs", "members run");
    let message = Message::new(format!("{others} in no pod of the targets, so their stop would not empty the group"))
        .detail(format!(
            "Group {} has {} in all. In no pod of the targets: {}",
            request.group,
            count(membership.others.len() + membership.own.len(), "member", "members"),
            names.join("; ")
        ))
        .advice(
            "Add their workload to targetRefs, or stop it yourself, or set remainingMembers: Remove if they no longer run, and create the \
             reset under a new name",
        );
    let patience = Some(request.session_timeout.saturating_add(LATE));
    Refusal { reason: Reason::GroupShared, message, transient: !certain, patience: patience.filter(|_| !certain) }
}

/// The pods in words, when all of them have been ready for longer than the session timeout and the group has no member. Consumers in a
/// crash loop without a readiness probe look the same for a few seconds each time, and those are what resets are for.
fn without_members(request: &Request, group: &Group, workloads: &[Seen<Workload>], now: Timestamp) -> Option<String> {
    if group::members(group) > 0 {
        return None;
    }
    let pods: Vec<&Pod> = known(workloads).flat_map(|workload| &workload.pods).filter(|pod| !pod.terminated).collect();
    let settled = |pod: &&Pod| {
        let since = pod.ready_since.filter(|_| pod.ready && pod.deletion.is_none());
        since.is_some_and(|since| now.duration_since(since) > request.session_timeout)
    };
    let ready = !pods.is_empty() && pods.iter().all(settled);
    (!Guard::HasMembers.allows(!ready)).then(|| describe(request, workloads))
}

fn describe(request: &Request, workloads: &[Seen<Workload>]) -> String {
    let names = request.targets.iter().zip(workloads).filter_map(|(target, seen)| match seen {
        Seen::Known(workload) if !workload.pods.is_empty() => {
            let ready = workload.pods.iter().filter(|pod| pod.ready).count();
            Some(format!("{ready} pods of {}/{}", target.kind, target.name))
        }
        Seen::Known(_) | Seen::Unknown(_) | Seen::Missing => None,
    });
    format!("{} are ready", names.collect::<Vec<_>>().join(" and "))
}

/// What is worth a look though it refuses nothing: pods are ready, and the group has no members.
pub(in crate::machine) fn warning(request: &Request, group: &Group, workloads: &[Seen<Workload>]) -> Option<String> {
    let ready = known(workloads).flat_map(|workload| &workload.pods).any(|pod| pod.ready && pod.deletion.is_none());
    (ready && group::members(group) == 0).then(|| {
        format!(
            "{}, and group {} has no members: unless they are just starting, they use another group, or assign()",
            describe(request, workloads),
            request.group
        )
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::machine::{
        facts::{ForeignPod, GroupState, WorkloadDetails},
        tests::{at, group_in, pod, request, workload},
    };

    fn members(hosts: &[&str]) -> Group {
        let Group::Found(mut found) = group_in(GroupState::Stable, 1) else { unreachable!() };
        let member = found.members.remove(0);
        found.members = hosts.iter().map(|host| GroupMember { host: (*host).into(), ..member.clone() }).collect();
        Group::Found(found)
    }

    fn at_addresses(ips: &[&str], foreign: &[&str]) -> Vec<Seen<Workload>> {
        let pods = ips.iter().map(|ip| Pod { ips: vec![(*ip).into()], ready_since: Some(at(0)), ..pod("c", false) });
        let Seen::Known(found) = workload(2, pods.collect()) else { unreachable!() };
        let foreign_pods =
            foreign.iter().map(|ip| ForeignPod { name: "other".into(), controller: None, ips: vec![(*ip).into()] }).collect();
        vec![Seen::Known(Workload { details: WorkloadDetails { foreign_pods, ..WorkloadDetails::default() }, ..found })]
    }

    #[rstest]
    #[case::all_are_own(&["10.0.0.1", "10.0.0.2"], &["10.0.0.1", "10.0.0.2"], &[], None)]
    #[case::one_runs_elsewhere(&["10.0.0.1", "10.0.0.9"], &["10.0.0.1"], &[], Some("GroupShared for 15 s"))]
    #[case::one_runs_in_a_pod_of_another_controller(&["10.0.0.1", "10.0.0.9"], &["10.0.0.1"], &["10.0.0.9"], Some("GroupShared"))]
    #[case::no_address_matches_behind_a_mesh(&["127.0.0.6", "127.0.0.6"], &["10.0.0.1", "10.0.0.2"], &[], None)]
    #[case::java_spells_ipv6_in_full(&["fd00:0:0:0:0:0:0:5"], &["fd00::5"], &[], None)]
    #[case::no_members_for_long(&[], &["10.0.0.1"], &[], Some("GroupHasNoMembers for 6 s"))]
    #[case::no_members_and_no_pods(&[], &[], &[], None)]
    fn a_group_that_is_shared_or_unused_is_refused_only_when_it_is_certain(
        #[case] hosts: &[&str],
        #[case] ips: &[&str],
        #[case] foreign: &[&str],
        #[case] expected: Option<&str>,
    ) {
        let found = refusals(&request(), &members(hosts), &at_addresses(ips, foreign), at(100));
        let said = found.first().map(|refusal| match refusal.patience {
            Some(patience) => format!("{} for {} s", refusal.reason, patience.as_secs()),
            None => refusal.reason.to_string(),
        });
        assert_eq!((said.as_deref(), found.len()), (expected, usize::from(expected.is_some())), "{found:?}");
    }

    #[rstest]
    #[case::accepted(true, 100, 0)]
    #[case::not_ready_for_long_enough(false, 9, 0)]
    #[case::certain(false, 100, 1)]
    fn pods_of_a_crash_loop_and_consumers_that_assign_are_not_refused(
        #[case] allow_no_members: bool,
        #[case] now: i64,
        #[case] refused: usize,
    ) {
        let request = Request { allow_no_members, ..request() };
        let workloads = at_addresses(&["10.0.0.1"], &[]);
        assert_eq!(refusals(&request, &members(&[]), &workloads, at(now)).len(), refused);
        assert!(warning(&request, &members(&[]), &workloads).is_some_and(|warning| warning.contains("has no members")));
    }

    #[test]
    fn those_who_remain_may_be_removed() {
        let request = Request { remaining_members: RemainingMembers::Remove, ..request() };
        assert_eq!(refusals(&request, &members(&["10.0.0.1", "10.0.0.9"]), &at_addresses(&["10.0.0.1"], &[]), at(100)), []);
    }

    /// The pods belong to a workload of two replicas.
    #[rstest]
    #[case::ghosts_do_not_count(&["10.0.0.1", "10.0.0.8", "10.0.0.9"], &["10.0.0.1"], 100, 1)]
    #[case::behind_a_mesh_all_count(&["127.0.0.6", "127.0.0.6"], &["10.0.0.1", "10.0.0.2"], 100, 2)]
    #[case::several_threads_in_each_pod(&["10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.2"], &["10.0.0.1", "10.0.0.2"], 100, 4)]
    #[case::ghosts_of_a_container_that_crashed(&["10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2"], &["10.0.0.1", "10.0.0.2"], 5, 2)]
    #[case::a_surge(&["10.0.0.1", "10.0.0.2", "10.0.0.3"], &["10.0.0.1", "10.0.0.2", "10.0.0.3"], 100, 2)]
    #[case::a_surge_whose_pod_has_not_joined(&["10.0.0.1", "10.0.0.2"], &["10.0.0.1", "10.0.0.2", "10.0.0.3"], 100, 2)]
    #[case::a_surge_behind_a_mesh(&["127.0.0.6", "127.0.0.6", "127.0.0.6"], &["10.0.0.1", "10.0.0.2", "10.0.0.3"], 100, 2)]
    #[case::ghosts_behind_a_mesh(&["127.0.0.6", "127.0.0.6", "127.0.0.6"], &["10.0.0.1", "10.0.0.2"], 5, 2)]
    fn members_of_the_pods_are_expected_back(
        #[case] hosts: &[&str],
        #[case] ips: &[&str],
        #[case] now: i64,
        #[case] expected: usize,
    ) {
        let workloads = at_addresses(ips, &[]);
        let group = members(hosts);
        let membership = Membership::of(&group, &workloads);
        assert_eq!(membership.expected(&workloads, SignedDuration::from_secs(10), at(now)), expected);
    }
}
