//! The members outside the target pods, and the pods of other workloads that some of them run in.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use super::members::{Membership, NAMED, address, and_more, known, unmatched};
use crate::{
    api::{Reason, RemainingMembers, TargetRef},
    machine::{
        facts::{ForeignPod, GroupMember, Seen, Workload, group::has_address},
        refusal::Refusal,
        request::Request,
        text::{Message, count},
    },
};

/// How long a member without a pod is waited for beyond its session timeout, for the broker looks at sessions only now and then.
const LATE: SignedDuration = SignedDuration::from_secs(5);

/// The members outside the target pods, each with the pod at its address.
pub(super) struct Others<'a> {
    members: Vec<(&'a GroupMember, Option<&'a ForeignPod>)>,
}

impl<'a> Others<'a> {
    /// `foreign_pods` have the addresses of members.
    pub fn of(membership: &Membership<'a>, workloads: &'a [Seen<Workload>], foreign_pods: &'a [ForeignPod]) -> Self {
        let foreign: Vec<&ForeignPod> =
            known(workloads).flat_map(|workload| &workload.details.foreign_pods).chain(foreign_pods).collect();
        let pod_of = |member: &GroupMember| {
            let mut at = foreign.iter().filter(|pod| has_address(&pod.ips, &member.host));
            let first = at.next()?;
            // An address that several pods have tells nothing. One pod may be seen in two ways.
            at.all(|other| other.name == first.name).then_some(*first)
        };
        Self { members: membership.others.iter().map(|member| (*member, pod_of(member))).collect() }
    }

    /// Whether another workload uses the group, though no address is that of a target pod: each member has the address of a pod of its
    /// own that another controller has, and a pod of the targets is ready without being a member. NAT has no such address.
    ///
    /// A proxy in the namespace, through which the targets connect, may have one. It is told by several members at its address; where
    /// it has as many pods as the group has members, only `allowNoMembers` tells it. So do the threads of one consumer look, and for
    /// them there is a warning. Members that the controllers do not tell apart, and the tasks of connectors, may be the targets' own.
    pub fn are_of_other_workloads(&self, request: &Request, membership: &Membership<'_>, workloads: &[Seen<Workload>]) -> bool {
        let told = |workload: &Workload| workload.details.counted.is_none();
        if request.allow_no_members
            || !membership.hidden.is_empty()
            || request.targets.iter().any(TargetRef::is_connector)
            || !known(workloads).all(told)
            || !known(workloads).flat_map(|workload| &workload.pods).any(|pod| pod.ready && pod.deletion.is_none())
        {
            return false;
        }
        // Only so many are looked for.
        let looked_for = unmatched(membership);
        let sought = |member: &GroupMember| address(member).is_none_or(|address| looked_for.contains(&address));
        let sought = self.members.iter().filter(|(member, _)| sought(member));
        let pods: Option<Vec<&str>> =
            sought.map(|(_, pod)| pod.filter(|pod| pod.controller.is_some()).map(|pod| pod.name.as_str())).collect();
        pods.is_some_and(|pods| !pods.is_empty() && pods.iter().collect::<HashSet<_>>().len() == pods.len())
    }

    /// Another workload uses the group. For certain when a pod of its own has had the member's address for longer than a session lasts:
    /// a member that was there before the pod, at the same address, would be gone. Otherwise when the member is still there after its
    /// session timeout, for a member whose pod was killed is gone by then.
    ///
    /// Where the spec lets members be removed, only the certain ones are refused: removed, they would join again at once.
    pub fn shared(
        &self,
        request: &Request,
        membership: &Membership<'_>,
        session: SignedDuration,
        now: Timestamp,
    ) -> Option<Refusal> {
        let is_certain = |pod: &&ForeignPod| pod.running_since.is_some_and(|since| now.duration_since(since) > session);
        let certain: Vec<&ForeignPod> = self.members.iter().filter_map(|(_, pod)| *pod).filter(is_certain).collect();
        if !certain.is_empty() {
            return Some(Refusal::lasting(Reason::GroupShared, self.certainly_shared(request, membership, &certain)));
        }
        if self.members.is_empty() || request.remaining_members == RemainingMembers::Remove {
            return None;
        }
        let others = count(self.members.len(), "member runs", "members run");
        let message = Message::new(format!("{others} outside the target pods, so stopping the targets would not empty the group"))
            .detail(self.describe(request, membership))
            .detail(none_is_own(membership))
            .advice(
                "Add their workload to targetRefs, or stop it yourself; set sessionTimeout to their session.timeout.ms if that is longer, \
                 or remainingMembers: Remove if they no longer run; and create the reset under a new name",
            );
        let they = count(self.members.len(), "member that runs", "members that run");
        let waiting = Message::new(format!("Waiting for {they} outside the target pods to leave the group"))
            .detail(self.describe(request, membership))
            .detail("A member whose pod was killed leaves when its session ends; one that is still there then belongs to another workload");
        let patience = Some(session.saturating_add(LATE));
        Some(Refusal { reason: Reason::GroupShared, message, transient: true, patience, waiting: Some(waiting) })
    }

    fn certainly_shared(&self, request: &Request, membership: &Membership<'_>, certain: &[&ForeignPod]) -> Message {
        let mut workloads: Vec<String> = certain.iter().map(|pod| workload_of(pod)).collect();
        workloads.sort_unstable();
        workloads.dedup();
        let which = match &workloads[..] {
            [only] => only.clone(),
            all => count(all.len(), "other workload", "other workloads"),
        };
        let advice = match (&workloads[..], membership.is_told_by_address()) {
            ([only], true) => format!("Add {only} to targetRefs, or stop it yourself, and create the reset under a new name"),
            (_, true) => "Add them to targetRefs, or stop them yourself, and create the reset under a new name".to_owned(),
            (_, false) => format!(
                "Name {which} in targetRefs; or set allowNoMembers: true if the targets connect to Kafka through these pods, as through a \
                 proxy; and create the reset under a new name"
            ),
        };
        let members = count(certain.len(), "member runs", "members run");
        let has_controller = certain.iter().any(|pod| pod.controller.is_some());
        let place = |which: &str| match certain.len() {
            _ if workloads.len() == 1 && !has_controller => which.to_owned(),
            1 => format!("a pod of {which}"),
            _ => format!("pods of {which}"),
        };
        Message::naming([&which], |[which]| format!("{members} in {}, so the group would not become empty", place(which)))
            .detail(self.describe(request, membership))
            .detail(none_is_own(membership))
            .advice(advice)
    }

    fn describe(&self, request: &Request, membership: &Membership<'_>) -> String {
        format!(
            "Group {} has {} in all. Outside the target pods: {}",
            request.group,
            count(membership.len(), "member", "members"),
            self.named()
        )
    }

    /// A few of them, each with its pod.
    pub fn named(&self) -> String {
        let names = self.members.iter().take(NAMED).map(|(member, pod)| {
            let pod = pod.map(|pod| format!(", {}", pod_and_workload(pod))).unwrap_or_default();
            format!("{} at {}{pod}", member.client_id, member.host)
        });
        and_more(names.collect(), self.members.len())
    }

    /// Whether one of them has the address of a pod that another controller has.
    pub fn any_in_a_workload(&self) -> bool {
        self.members.iter().any(|(_, pod)| pod.is_some_and(|pod| pod.controller.is_some()))
    }
}

/// What it means where no member runs in a target pod.
fn none_is_own(membership: &Membership<'_>) -> &'static str {
    if membership.is_told_by_address() {
        ""
    } else {
        "No member runs in a pod of the targets, so targetRefs names the wrong workload"
    }
}

/// The workload that a pod belongs to, by the object that controls it.
fn workload_of(pod: &ForeignPod) -> String {
    match &pod.controller {
        Some(controller) => format!("{}/{}", controller.kind, controller.name),
        None => format!("Pod/{}", pod.name),
    }
}

fn pod_and_workload(pod: &ForeignPod) -> String {
    match &pod.controller {
        Some(_) => format!("pod {} of {}", pod.name, workload_of(pod)),
        None => format!("pod {}, which has no controller", pod.name),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::machine::{
        plan::membership::{
            refusals,
            tests::{at_addresses, foreign, members, said},
            warning,
        },
        tests::{at, request},
    };

    /// The target's pod at 10.0.0.1 is ready, and no member runs in it.
    #[rstest]
    #[case::one_in_each_pod_of_another_workload(&["10.0.0.8", "10.0.0.9"], &two_pods(Some(0)), |_: &mut Request, _: &mut Workload| {}, "GroupShared")]
    #[case::their_pods_may_have_the_addresses_of_killed_ones(
        &["10.0.0.8", "10.0.0.9"], &two_pods(Some(60)), |_: &mut Request, _: &mut Workload| {}, "GroupShared for 50 s"
    )]
    #[case::several_at_one_address_as_through_a_proxy(&["10.0.0.8", "10.0.0.8", "10.0.0.9"], &two_pods(Some(0)), |_: &mut Request, _: &mut Workload| {}, "warned")]
    #[case::one_is_at_an_address_without_a_pod(&["10.0.0.7", "10.0.0.8", "10.0.0.9"], &two_pods(Some(0)), |_: &mut Request, _: &mut Workload| {}, "warned")]
    #[case::one_is_at_a_node(&["192.168.0.1", "10.0.0.8"], &two_pods(Some(0)), |_: &mut Request, _: &mut Workload| {}, "warned")]
    #[case::one_has_a_name_for_its_address(&["10.0.0.8", "some-host"], &two_pods(Some(0)), |_: &mut Request, _: &mut Workload| {}, "warned")]
    #[case::more_than_are_looked_for(
        &["10.0.0.8", "10.0.0.9", "10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4"],
        &[two_pods(Some(0)), three_more_pods()].concat(),
        |_: &mut Request, _: &mut Workload| {},
        "GroupShared"
    )]
    #[case::a_pod_without_a_controller(
        &["10.0.0.8"], &[ForeignPod { controller: None, ..foreign("o-1", "10.0.0.8", Some(0)) }], |_: &mut Request, _: &mut Workload| {}, "warned"
    )]
    #[case::allowed(&["10.0.0.8"], &two_pods(Some(0)), |request: &mut Request, _: &mut Workload| request.allow_no_members = true, "warned")]
    #[case::their_removal_does_not_empty_it(
        &["10.0.0.8"], &two_pods(Some(0)), |request: &mut Request, _: &mut Workload| request.remaining_members = RemainingMembers::Remove, "GroupShared"
    )]
    #[case::they_may_be_removed(
        &["10.0.0.8"], &two_pods(Some(60)), |request: &mut Request, _: &mut Workload| request.remaining_members = RemainingMembers::Remove, "warned"
    )]
    #[case::the_target_is_not_ready(&["10.0.0.8"], &two_pods(Some(0)), |_: &mut Request, workload: &mut Workload| workload.pods[0].ready = false, "warned")]
    #[case::the_target_stops(&["10.0.0.8"], &two_pods(Some(0)), |_: &mut Request, workload: &mut Workload| workload.pods[0].deletion = Some(at(99)), "warned")]
    #[case::the_target_has_no_pods(&["10.0.0.8"], &two_pods(Some(0)), |_: &mut Request, workload: &mut Workload| workload.pods.clear(), "warned")]
    #[case::its_pods_are_not_told_by_controllers(
        &["10.0.0.8"], &two_pods(Some(0)), |_: &mut Request, workload: &mut Workload| workload.details.counted = Some(1), "warned"
    )]
    #[case::the_target_is_a_connector(&["10.0.0.8"], &two_pods(Some(0)), |request: &mut Request, _: &mut Workload| be_connector(request), "warned")]
    fn a_group_whose_members_all_run_in_pods_of_other_workloads_is_refused_unless_a_proxy_hides_the_targets(
        #[case] hosts: &[&str],
        #[case] foreign_pods: &[ForeignPod],
        #[case] change: fn(&mut Request, &mut Workload),
        #[case] expected: &str,
    ) {
        let mut request = request();
        let Seen::Known(mut found) = at_addresses(&["10.0.0.1"], &[]).remove(0) else { unreachable!() };
        change(&mut request, &mut found);
        let (group, workloads) = (members(hosts), [Seen::Known(found)]);
        let refused = refusals(&request, &group, &workloads, foreign_pods, None, at(100));
        let warned = warning(&request, &group, &workloads, foreign_pods);
        let said = said(&refused).or_else(|| warned.clone().map(|_| "warned".to_owned()));
        assert_eq!(said.as_deref(), Some(expected), "{refused:?} {warned:?}");
        assert!(
            refused.is_empty() || request.remaining_members == RemainingMembers::Remove || warned.is_none(),
            "said once: {warned:?}"
        );
    }

    fn two_pods(running_since: Option<i64>) -> Vec<ForeignPod> {
        [("o-1", "10.0.0.8"), ("o-2", "10.0.0.9")].map(|(name, ip)| foreign(name, ip, running_since)).to_vec()
    }

    fn three_more_pods() -> Vec<ForeignPod> {
        [("o-3", "10.1.0.1"), ("o-4", "10.1.0.2"), ("o-5", "10.1.0.3")].map(|(name, ip)| foreign(name, ip, Some(0))).to_vec()
    }

    fn be_connector(request: &mut Request) {
        request.targets[0].api_version = "kafka.strimzi.io/v1".into();
        request.targets[0].kind = "KafkaConnector".into();
    }

    #[test]
    fn a_wrong_target_is_named_with_the_workload_of_the_members() {
        let workloads = at_addresses(&["10.0.0.1"], &[]);
        let said = |hosts: &[&str], since: i64| {
            let refused = refusals(&request(), &members(hosts), &workloads, &two_pods(Some(since)), None, at(100));
            let waits = refused.first().and_then(|refused| refused.waiting.as_ref().or(Some(&refused.message)));
            waits.map(Message::full).or_else(|| warning(&request(), &members(hosts), &workloads, &two_pods(Some(since)))).unwrap()
        };
        assert_eq!(
            said(&["10.0.0.8", "10.0.0.9"], 0),
            "2 members run in pods of Deployment/other, so the group would not become empty. Group g has 2 members in all. Outside the \
             target pods: consumer at 10.0.0.8, pod o-1 of Deployment/other; consumer at 10.0.0.9, pod o-2 of Deployment/other. No member \
             runs in a pod of the targets, so targetRefs names the wrong workload. Name Deployment/other in targetRefs; or set \
             allowNoMembers: true if the targets connect to Kafka through these pods, as through a proxy; and create the reset under a \
             new name"
        );
        assert_eq!(
            said(&["10.0.0.8"], 60),
            "Waiting for 1 member that runs outside the target pods to leave the group. Group g has 1 member in all. Outside the target \
             pods: consumer at 10.0.0.8, pod o-1 of Deployment/other. A member whose pod was killed leaves when its session ends; one \
             that is still there then belongs to another workload"
        );
        assert_eq!(
            said(&["10.0.0.8", "10.0.0.8"], 0),
            "2 of 2 group members run outside the target pods: consumer at 10.0.0.8, pod o-1 of Deployment/other; consumer at 10.0.0.8, \
             pod o-1 of Deployment/other. Unless the targets connect to Kafka through these pods, as through a proxy, targetRefs names \
             the wrong workload, and stopping the targets will not empty the group"
        );
    }
}
