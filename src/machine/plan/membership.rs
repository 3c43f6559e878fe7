//! Whether the group is the one that the targets' pods use: its members are matched with pods by their addresses.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{
    members::{Membership, NAMED, and_more, known},
    others::Others,
};
use crate::{
    api::{Reason, RemainingMembers},
    machine::{
        facts::{ForeignPod, Group, GroupMember, Pod, Seen, Workload, group},
        guards::Guard,
        refusal::Refusal,
        request::Request,
        text::{Message, count},
        time::later,
    },
};

/// Kafka's default for session.timeout.ms since 3.0 (KIP-735): a member of a killed pod may stay as long even where spec.sessionTimeout
/// is shorter. The consumers run meanwhile, so a longer wait harms none of them.
pub(in crate::machine) const DEFAULT_SESSION: SignedDuration = SignedDuration::from_secs(45);

/// How long the group must have no members while the pods are ready, seen in more than one pass.
const WITHOUT_MEMBERS: SignedDuration = SignedDuration::from_secs(20);

/// How long the broker keeps a member that did not leave, as far as that is known.
#[derive(Clone, Copy)]
pub(in crate::machine) struct Session {
    pub timeout: Option<SignedDuration>,
    /// Whether that is the group's configuration on the broker, and not sessionTimeout.
    pub is_on_broker: bool,
}

impl Session {
    /// By the spec, and for a group of the new protocol by its configuration on the broker. The longer one, because a group that changes
    /// its protocol has members of both.
    pub fn of(request: &Request, on_broker: Option<SignedDuration>) -> Self {
        let timeout = request.session_timeout.max(on_broker);
        Self { timeout, is_on_broker: on_broker.is_some() && timeout == on_broker }
    }

    pub fn or_default(self) -> SignedDuration {
        self.timeout.unwrap_or(DEFAULT_SESSION)
    }

    /// When the broker removes a member that was stable and did not leave, if the last container terminated at this time; `None` where
    /// the timeout is not known.
    pub fn end(self, terminated: Timestamp) -> Option<MicroTime> {
        Some(MicroTime(later(terminated, self.timeout?)))
    }
}

/// Why the group is not one that a stop of the targets empties, or whose offsets move their consumers. `foreign_pods` have the addresses
/// of members that run outside the target pods, and `on_broker` is the session timeout that the broker has for the group.
pub(in crate::machine) fn refusals(
    request: &Request,
    group: &Group,
    workloads: &[Seen<Workload>],
    foreign_pods: &[ForeignPod],
    on_broker: Option<SignedDuration>,
    now: Timestamp,
) -> Vec<Refusal> {
    let membership = Membership::of(group, workloads);
    let mut refusals = vec![];
    let others = Others::of(&membership, workloads, foreign_pods);
    let run_elsewhere = if membership.is_told_by_address() {
        !membership.others.is_empty()
    } else {
        others.are_of_other_workloads(request, &membership, workloads)
    };
    if !Guard::NoMembersElsewhere.allows(!run_elsewhere) {
        let session = Session::of(request, on_broker).or_default().max(DEFAULT_SESSION);
        refusals.extend(others.shared(request, &membership, session, now));
    }
    if !request.allow_no_members
        && let Some(pods) = without_members(request, group, workloads, now)
    {
        let message = Message::naming([&request.group], |[group]| format!("Group {group} has no members although pods are ready"))
            .detail(format!("{pods}. They use another group, or assign(), so the reset would not move them"))
            .advice(
                "Correct spec.group; or set allowNoMembers: true if the consumers use assign() and only commit in the group, or hang and \
                 left it after max.poll.interval.ms; and create the reset under a new name",
            );
        let patience = Some(WITHOUT_MEMBERS);
        refusals.push(Refusal { reason: Reason::GroupHasNoMembers, message, transient: true, patience, waiting: None });
    }
    refusals
}

/// The pods in words, when all of them have been ready for longer than the session timeout and the group has no member. Consumers in a
/// crash loop without a readiness probe look the same for a few seconds each time, and those are what resets are for.
fn without_members(request: &Request, group: &Group, workloads: &[Seen<Workload>], now: Timestamp) -> Option<String> {
    if group::members(group) > 0 {
        return None;
    }
    let pods: Vec<&Pod> = known(workloads).flat_map(|workload| &workload.pods).filter(|pod| !pod.terminated).collect();
    let settled = |pod: &&Pod| pod.deletion.is_none() && pod.was_ready_for(request.settling(), now);
    let ready = !pods.is_empty() && pods.iter().all(settled);
    (!Guard::HasMembers.allows(!ready)).then(|| describe(request, workloads))
}

fn describe(request: &Request, workloads: &[Seen<Workload>]) -> String {
    let mut all = 0;
    let names = request.targets.iter().zip(workloads).filter_map(|(target, seen)| match seen {
        Seen::Known(_) if target.is_connector() => {
            all += 1;
            Some(format!("{}/{}", target.kind, target.name))
        }
        Seen::Known(workload) if !workload.pods.is_empty() => {
            let ready = workload.pods.iter().filter(|pod| pod.ready).count();
            all += ready;
            Some(format!("{} of {}/{}", count(ready, "pod", "pods"), target.kind, target.name))
        }
        Seen::Known(_) | Seen::Unknown(_) | Seen::Missing => None,
    });
    let names = names.collect::<Vec<_>>().join(" and ");
    format!("{names} {} ready", if all == 1 { "is" } else { "are" })
}

/// What is worth a look about the members though it refuses nothing: one sentence at most.
pub(in crate::machine) fn warning(
    request: &Request,
    group: &Group,
    workloads: &[Seen<Workload>],
    foreign_pods: &[ForeignPod],
) -> Option<String> {
    let membership = Membership::of(group, workloads);
    if membership.len() == 0 {
        let ready = known(workloads).flat_map(|workload| &workload.pods).any(|pod| pod.ready && pod.deletion.is_none());
        return ready.then(|| {
            format!(
                "{}, and group {} has no members: unless they are just starting, they use another group, or assign()",
                describe(request, workloads),
                request.group
            )
        });
    }
    if request.targets.is_empty() {
        return None;
    }
    let all = membership.len();
    let named = |members: &[&GroupMember]| {
        let names = members.iter().take(NAMED).map(|member| format!("{} at {}", member.client_id, member.host));
        and_more(names.collect(), members.len())
    };
    if !membership.is_told_by_address() {
        let others = Others::of(&membership, workloads, foreign_pods);
        let is_refused = others.are_of_other_workloads(request, &membership, workloads);
        if is_refused && request.remaining_members == RemainingMembers::Wait {
            return None;
        }
        let unless = if others.any_in_a_workload() {
            "Unless the targets connect to Kafka through these pods, as through a proxy, targetRefs names the wrong workload"
        } else {
            "Unless NAT hides their address, another workload uses the group"
        };
        let named = [others.named(), named(&membership.hidden)].into_iter().filter(|names| !names.is_empty());
        return Some(format!(
            "{all} of {all} group members run outside the target pods: {}. {unless}, and stopping the targets will not empty the group",
            named.collect::<Vec<_>>().join("; ")
        ));
    }
    if !membership.others.is_empty() && request.remaining_members == RemainingMembers::Remove {
        return Some(format!(
            "{} of {all} group members run outside the target pods: {}. remainingMembers: Remove removes them; those that still run join \
             again, and the group does not become empty",
            membership.others.len(),
            named(&membership.others)
        ));
    }
    (!membership.hidden.is_empty()).then(|| {
        format!(
            "{} of {all} group members have the address of a node: {}. If they do not run in pods of the targets, stopping the targets \
             will not empty the group",
            membership.hidden.len(),
            named(&membership.hidden)
        )
    })
}

#[cfg(test)]
pub(super) mod tests {
    use rstest::rstest;

    use super::*;
    use crate::machine::{
        facts::{Controller, GroupState, WorkloadDetails},
        tests::{at, group_in, pod, request, workload},
    };

    pub fn members(hosts: &[&str]) -> Group {
        let Group::Found(mut found) = group_in(GroupState::Stable, 1) else { unreachable!() };
        let member = found.members.remove(0);
        found.members = hosts.iter().map(|host| GroupMember { host: (*host).into(), ..member.clone() }).collect();
        Group::Found(found)
    }

    pub fn foreign(name: &str, ip: &str, running_since: Option<i64>) -> ForeignPod {
        let controller = Controller { api_version: "apps/v1".into(), kind: "Deployment".into(), name: "other".into() };
        ForeignPod { name: name.into(), controller: Some(controller), ips: vec![ip.into()], running_since: running_since.map(at) }
    }

    pub fn at_addresses(ips: &[&str], foreign_ips: &[&str]) -> Vec<Seen<Workload>> {
        let pods = ips.iter().map(|ip| Pod {
            ips: vec![(*ip).into()],
            node_ips: vec!["192.168.0.1".into()],
            ready_since: Some(at(0)),
            ..pod("c", false)
        });
        let Seen::Known(found) = workload(2, pods.collect()) else { unreachable!() };
        let foreign_pods = foreign_ips.iter().map(|ip| foreign("other", ip, Some(0))).collect();
        vec![Seen::Known(Workload { details: WorkloadDetails { foreign_pods, ..WorkloadDetails::default() }, ..found })]
    }

    pub fn said(refusals: &[Refusal]) -> Option<String> {
        assert!(refusals.len() <= 1, "{refusals:?}");
        refusals.first().map(|refusal| match refusal.patience {
            Some(patience) => format!("{} for {} s", refusal.reason, patience.as_secs()),
            None => refusal.reason.to_string(),
        })
    }

    #[rstest]
    #[case::all_are_own(&["10.0.0.1", "10.0.0.2"], &["10.0.0.1", "10.0.0.2"], &[], None)]
    #[case::one_runs_elsewhere(&["10.0.0.1", "10.0.0.9"], &["10.0.0.1"], &[], Some("GroupShared for 50 s"))]
    #[case::one_runs_in_a_pod_of_another_controller(&["10.0.0.1", "10.0.0.9"], &["10.0.0.1"], &["10.0.0.9"], Some("GroupShared"))]
    #[case::no_address_matches_behind_a_mesh(&["127.0.0.6", "127.0.0.6"], &["10.0.0.1", "10.0.0.2"], &[], None)]
    #[case::java_spells_ipv6_in_full(&["fd00:0:0:0:0:0:0:5"], &["fd00::5"], &[], None)]
    #[case::ipv4_as_ipv6(&["::ffff:10.0.0.1"], &["10.0.0.1"], &[], None)]
    #[case::a_foreign_pod_in_another_spelling(&["10.0.0.1", "fd00:0:0:0:0:0:0:9"], &["10.0.0.1"], &["fd00::9"], Some("GroupShared"))]
    #[case::one_has_the_address_of_a_node(&["10.0.0.1", "192.168.0.1"], &["10.0.0.1"], &[], None)]
    #[case::no_members_for_long(&[], &["10.0.0.1"], &[], Some("GroupHasNoMembers for 20 s"))]
    #[case::no_members_and_no_pods(&[], &[], &[], None)]
    fn a_group_that_is_shared_or_unused_is_refused_only_when_it_is_certain(
        #[case] hosts: &[&str],
        #[case] ips: &[&str],
        #[case] foreign: &[&str],
        #[case] expected: Option<&str>,
    ) {
        let found = refusals(&request(), &members(hosts), &at_addresses(ips, foreign), &[], None, at(100));
        assert_eq!(said(&found).as_deref(), expected, "{found:?}");
    }

    #[rstest]
    #[case::it_has_run_for_longer_than_a_session(&[foreign("o-1", "10.0.0.9", Some(0))], 10, "GroupShared")]
    #[case::the_address_may_have_been_that_of_a_killed_pod(&[foreign("o-1", "10.0.0.9", Some(60))], 10, "GroupShared for 50 s")]
    #[case::its_session_is_longer_still(&[foreign("o-1", "10.0.0.9", Some(0))], 120, "GroupShared for 125 s")]
    #[case::it_has_not_started(&[foreign("o-1", "10.0.0.9", None)], 10, "GroupShared for 50 s")]
    #[case::two_pods_have_the_address(
        &[foreign("o-1", "10.0.0.9", Some(0)), foreign("o-2", "10.0.0.9", Some(0))], 10, "GroupShared for 50 s"
    )]
    #[case::one_pod_that_was_seen_twice(&[foreign("o-1", "10.0.0.9", Some(0)), foreign("o-1", "10.0.0.9", Some(0))], 10, "GroupShared")]
    #[case::it_is_at_another_address(&[foreign("o-1", "10.0.0.8", Some(0))], 10, "GroupShared for 50 s")]
    fn a_member_belongs_to_another_workload_for_certain_when_its_pod_has_had_the_address_for_long(
        #[case] foreign_pods: &[ForeignPod],
        #[case] session: i64,
        #[case] expected: &str,
    ) {
        let request = Request { session_timeout: Some(SignedDuration::from_secs(session)), ..request() };
        let group = members(&["10.0.0.1", "10.0.0.9"]);
        let found = refusals(&request, &group, &at_addresses(&["10.0.0.1"], &[]), foreign_pods, None, at(100));
        assert_eq!(said(&found).as_deref(), Some(expected), "{found:?}");
    }

    #[test]
    fn what_is_refused_and_what_is_waited_for_is_named() {
        let (group, workloads) = (members(&["10.0.0.1", "10.0.0.9"]), at_addresses(&["10.0.0.1"], &[]));
        let certain = refusals(&request(), &group, &workloads, &[foreign("o-1", "10.0.0.9", Some(0))], None, at(100));
        assert_eq!(
            certain[0].message.full(),
            "1 member runs in a pod of Deployment/other, so the group would not become empty. Group g has 2 members in all. Outside the \
             target pods: consumer at 10.0.0.9, pod o-1 of Deployment/other. Add Deployment/other to targetRefs, or stop it yourself, and \
             create the reset under a new name"
        );
        let of = |name: &str, foreign: ForeignPod| ForeignPod {
            controller: Some(Controller { name: name.into(), ..foreign.controller.clone().unwrap() }),
            ..foreign
        };
        let three = members(&["10.0.0.1", "10.0.0.8", "10.0.0.9"]);
        for (first, second, expected) in [
            ("other", "other", "2 members run in pods of Deployment/other, so the group would not become empty"),
            ("other", "third", "2 members run in pods of 2 other workloads, so the group would not become empty"),
        ] {
            let pods = [of(first, foreign("o-1", "10.0.0.8", Some(0))), of(second, foreign("o-2", "10.0.0.9", Some(0)))];
            assert_eq!(refusals(&request(), &three, &workloads, &pods, None, at(100))[0].message.summary(), expected);
        }
        let waits = refusals(&request(), &group, &workloads, &[], None, at(100));
        assert_eq!(
            waits[0].waiting.as_ref().unwrap().full(),
            "Waiting for 1 member that runs outside the target pods to leave the group. Group g has 2 members in all. Outside the \
             target pods: consumer at 10.0.0.9. A member whose pod was killed leaves when its session ends; one that is still there then \
             belongs to another workload"
        );
    }

    #[rstest]
    #[case::all_run_in_target_pods(&["10.0.0.1"], RemainingMembers::Wait, None)]
    #[case::no_address_matches(&["127.0.0.6", "127.0.0.6"], RemainingMembers::Wait, Some("2 of 2 group members run outside the target pods"))]
    #[case::the_address_of_a_node(&["10.0.0.1", "192.168.0.1"], RemainingMembers::Wait, Some("1 of 2 group members have the address of a node"))]
    #[case::refused_and_so_not_warned_of(&["10.0.0.1", "10.0.0.9"], RemainingMembers::Wait, None)]
    #[case::removed(&["10.0.0.1", "10.0.0.9"], RemainingMembers::Remove, Some("1 of 2 group members run outside the target pods"))]
    fn one_warning_at_most_is_about_the_members(
        #[case] hosts: &[&str],
        #[case] remaining_members: RemainingMembers,
        #[case] expected: Option<&str>,
    ) {
        let request = Request { remaining_members, ..request() };
        let warned = warning(&request, &members(hosts), &at_addresses(&["10.0.0.1"], &[]), &[]);
        match (&warned, expected) {
            (Some(warned), Some(words)) => assert!(warned.starts_with(words), "{warned}"),
            (warned, expected) => assert_eq!(warned.as_deref(), expected),
        }
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
        assert_eq!(refusals(&request, &members(&[]), &workloads, &[], None, at(now)).len(), refused);
        assert!(warning(&request, &members(&[]), &workloads, &[]).is_some_and(|warning| warning.contains("has no members")));
    }

    #[test]
    fn those_who_remain_may_be_removed_unless_they_certainly_run() {
        let request = Request { remaining_members: RemainingMembers::Remove, ..request() };
        let (group, workloads) = (members(&["10.0.0.1", "10.0.0.9"]), at_addresses(&["10.0.0.1"], &[]));
        let found = |foreign_pods: &[ForeignPod]| said(&refusals(&request, &group, &workloads, foreign_pods, None, at(100)));
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[foreign("o-1", "10.0.0.9", Some(60))]), None, "it may be the address of a killed pod");
        assert_eq!(found(&[foreign("o-1", "10.0.0.9", Some(0))]).as_deref(), Some("GroupShared"));
    }
}
