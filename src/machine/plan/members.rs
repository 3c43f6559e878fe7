//! The members of a group, matched with the pods of the targets by their addresses.

use core::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use crate::machine::facts::{
    Group, GroupMember, Pod, Seen, Workload,
    group::{has_address, runs_in},
};

/// How many members a message names, and of how many the pod is looked for.
pub(super) const NAMED: usize = 5;

/// The members of a group, apart by where they run.
#[derive(Debug, PartialEq)]
pub(in crate::machine) struct Membership<'a> {
    /// Those in a pod of the targets, by its address; and in the tasks of a connector, by its client ids.
    pub own: Vec<&'a GroupMember>,
    /// Those at the address of a node on which such a pod runs: NAT hides their pods, or they use the host's network.
    pub hidden: Vec<&'a GroupMember>,
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
        let pods: Vec<&Pod> = known(workloads).flat_map(|workload| &workload.pods).collect();
        let (own, rest): (Vec<_>, Vec<_>) = members.iter().partition(|member| pods.iter().any(|pod| runs_in(member, pod)));
        let is_hidden = |member: &&GroupMember| pods.iter().any(|pod| has_address(&pod.node_ips, &member.host));
        let (hidden, others) = rest.into_iter().partition(is_hidden);
        Self { own, hidden, others }
    }

    /// How many members are expected after the restore: those that run in pods of the targets, as far as the pods are that will
    /// be restored. Members whose pods are gone do not count, and those of pods beyond the replica count (the surge of a rollout)
    /// in proportion. A pod that has not been ready for longer than `settling` counts with one member: the others at its
    /// address may be those of containers that crashed in it. Where no address matches (NAT, a service mesh), members are not
    /// told apart.
    pub fn expected(&self, workloads: &[Seen<Workload>], settling: SignedDuration, now: Timestamp) -> usize {
        let settled = |pod: &Pod| pod.was_ready_for(settling, now);
        let in_proportion = |members: usize, pods: usize, replicas: usize| match pods {
            0 => 0,
            pods => members * replicas.min(pods) / pods,
        };
        let replicas = |workload: &Workload| usize::try_from(workload.consuming_replicas()).unwrap_or(0);
        if self.own.is_empty() {
            let members = self.hidden.len() + self.others.len();
            let pods: Vec<&Pod> = known(workloads).flat_map(|workload| &workload.pods).filter(|pod| !pod.terminated).collect();
            let all = if pods.iter().all(|pod| settled(pod)) { members } else { members.min(pods.len()) };
            // Without pods the members run elsewhere, and come back by themselves.
            return if pods.is_empty() { all } else { in_proportion(all, pods.len(), known(workloads).map(replicas).sum()) };
        }
        let of_one = |workload: &Workload| {
            let at = |pod: &Pod| self.own.iter().filter(|member| runs_in(member, pod)).count();
            let members: Vec<usize> = workload
                .pods
                .iter()
                .map(|pod| if settled(pod) { at(pod) } else { at(pod).min(1) })
                .filter(|members| *members > 0)
                .collect();
            in_proportion(members.iter().sum(), members.len(), replicas(workload))
        };
        self.hidden.len() + known(workloads).map(of_one).sum::<usize>().min(self.own.len())
    }

    /// Whether addresses tell members apart: they do where at least one is that of a pod.
    pub fn is_told_by_address(&self) -> bool {
        !self.own.is_empty()
    }

    pub fn len(&self) -> usize {
        self.own.len() + self.hidden.len() + self.others.len()
    }
}

pub(super) fn known(workloads: &[Seen<Workload>]) -> impl Iterator<Item = &Workload> {
    workloads.iter().filter_map(|seen| match seen {
        Seen::Known(workload) => Some(workload),
        Seen::Unknown(_) | Seen::Missing => None,
    })
}

/// The addresses of members whose pods are worth a look, a few of them: those that run outside the target pods.
#[must_use]
pub fn unmatched_addresses(group: &Group, workloads: &[Seen<Workload>]) -> Vec<IpAddr> {
    // Without targets every member runs outside them.
    if workloads.is_empty() { vec![] } else { unmatched(&Membership::of(group, workloads)) }
}

/// See [`unmatched_addresses`].
pub(super) fn unmatched(membership: &Membership<'_>) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = membership.others.iter().filter_map(|member| address(member)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(NAMED);
    addresses
}

/// A member's address; `None` where the broker reports a name.
pub(super) fn address(member: &GroupMember) -> Option<IpAddr> {
    member.host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// Some of the members in words, and how many more there are.
pub(super) fn and_more(mut names: Vec<String>, all: usize) -> String {
    if all > names.len() {
        names.push(format!("{} more", all - names.len()));
    }
    names.join("; ")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::machine::{
        plan::membership::tests::{at_addresses, members},
        tests::at,
    };

    #[rstest]
    #[case::an_unmatched_one(&["10.0.0.1", "10.0.0.9", "10.0.0.9"], &["10.0.0.1"], &["10.0.0.9"])]
    #[case::ipv6_as_kubernetes_spells_it(&["10.0.0.1", "fd00:0:0:0:0:0:0:9"], &["10.0.0.1"], &["fd00::9"])]
    #[case::ipv4_as_kubernetes_spells_it(&["10.0.0.1", "::ffff:10.0.0.9"], &["10.0.0.1"], &["10.0.0.9"])]
    #[case::where_no_address_matches(&["10.0.0.9", "10.0.0.8"], &["10.0.0.1"], &["10.0.0.8", "10.0.0.9"])]
    #[case::none_without_a_target(&["10.0.0.9"], &[], &[])]
    #[case::none_for_a_name(&["10.0.0.1", "unknown-host"], &["10.0.0.1"], &[])]
    #[case::none_for_a_node(&["10.0.0.1", "192.168.0.1"], &["10.0.0.1"], &[])]
    #[case::a_few_of_many(
        &["10.0.0.1", "10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"], &["10.0.0.1"],
        &["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5"]
    )]
    fn pods_are_looked_for_at_the_addresses_of_a_few_unmatched_members(
        #[case] hosts: &[&str],
        #[case] ips: &[&str],
        #[case] expected: &[&str],
    ) {
        let workloads = if ips.is_empty() { vec![] } else { at_addresses(ips, &[]) };
        let found = unmatched_addresses(&members(hosts), &workloads);
        assert_eq!(found.iter().map(IpAddr::to_string).collect::<Vec<_>>(), expected);
    }

    /// The pods belong to a workload of two replicas.
    #[rstest]
    #[case::ghosts_do_not_count(&["10.0.0.1", "10.0.0.8", "10.0.0.9"], &["10.0.0.1"], 100, 1)]
    #[case::behind_nat_those_of_the_node_count(&["10.0.0.1", "192.168.0.1", "10.0.0.9"], &["10.0.0.1"], 100, 2)]
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
