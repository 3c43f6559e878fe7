//! Draining: the broker is asked until it reports the group as empty. The session timeout is a
//! bound that is reported, not a sleep.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use crate::api::{ActionKind, ConditionType, Phase, Reason, RemainingMembers};
use crate::machine::{
    decision::{Decision, Effect},
    facts::{Group, GroupType, KafkaSeen, group},
    pass::Pass,
    plan::membership::{DEFAULT_SESSION, Session},
    refusal::Refusal,
    request::Request,
    text::{Message, count},
    time::{clock, later},
};

/// How soon the broker is asked again after an error, and the longest pause between two requests.
const LESS_OFTEN: SignedDuration = SignedDuration::from_secs(1);

/// The shortest pause between two requests.
const OFTEN: SignedDuration = SignedDuration::from_millis(20);

/// How long members may take to leave by themselves after the last container has terminated, before
/// they are removed.
const LEAVE_BY_THEMSELVES: SignedDuration = SignedDuration::from_secs(1);

/// How soon the remaining members are removed again: a live member joins again at once.
const REMOVE_AGAIN: SignedDuration = SignedDuration::from_secs(3);

/// How many times members are removed. A member that has joined again after that is alive, and does
/// not run in a target.
const MAX_REMOVALS: i32 = 3;

/// The pause between two requests to the broker, by the time since the last container has
/// terminated: an eighth of it, so that the empty group is seen late by that much at most. Members
/// leave right after their containers have terminated, or else when their sessions expire.
#[must_use]
pub fn pause(waited: SignedDuration) -> SignedDuration {
    (waited / 8).clamp(OFTEN, LESS_OFTEN)
}

pub(in crate::machine) fn decide(mut pass: Pass<'_>, request: &Request) -> Decision {
    if !pass.consumers_are_stopped() {
        return pass.stop_again();
    }
    let terminated =
        pass.status.hold.as_ref().and_then(|hold| hold.containers_terminated_time.as_ref()).map_or(pass.now, |at| at.0);
    let interval = pause(pass.now.duration_since(terminated));
    let over =
        pass.status.hold.as_ref().and_then(|hold| hold.drain_deadline.as_ref()).is_some_and(|deadline| pass.now >= deadline.0);

    match &pass.seen.kafka {
        KafkaSeen::Group(seen) => {
            let status = group::status(seen, pass.status.group.as_ref(), &pass.pods());
            let empty = group::is_empty(seen);
            let members = Remaining {
                named: group::name_members(&status),
                are_all_outside: group::are_all_outside(&status, &request.targets),
            };
            let state = status.state.clone();
            pass.status.group = Some(status);
            if empty {
                let at = pass.instant();
                if let Some(hold) = &mut pass.status.hold {
                    hold.group_empty_time = Some(at);
                }
                let message = format!("The broker reports group {} as {state}", request.group);
                pass.condition(ConditionType::GroupEmpty, Some(true), Reason::GroupEmpty, message);
                let message =
                    Message::new("The group is empty, and the offsets are committed next").detail("The consumers are at zero");
                return pass.go_on(Phase::Resetting, Reason::Committing, message);
            }
            if over {
                let message = not_empty(&pass, request, seen, &state, &members);
                return pass.finish(Phase::Failed, Reason::GroupNotEmpty, message);
            }
            if let Some(effect) = remove_members(&mut pass, request, seen, terminated, &members.named) {
                return pass.act(effect);
            }
            let message = waiting(&pass, request, seen, &state, &members);
            pass.wait(Reason::WaitingForGroup, message, interval)
        }
        KafkaSeen::Failed(error) if over || !error.kind.is_transient() => {
            let refusal = Refusal::of_cluster(error, "the state of the group", &request.kafka);
            let message = refusal.message.detail(pass.offsets_changed());
            pass.finish(Phase::Failed, refusal.reason, message)
        }
        KafkaSeen::Failed(error) => {
            let refusal = Refusal::of_cluster(error, "the state of the group", &request.kafka);
            let message = refusal.message.detail("The operator asks again whether the group is empty; the consumers are at zero");
            pass.wait(refusal.reason, message, LESS_OFTEN)
        }
        KafkaSeen::NotAsked | KafkaSeen::ForPlan(_) | KafkaSeen::ForCommit(_) | KafkaSeen::AfterReset(_) => pass.again(),
    }
}

/// The members that are still in the group.
struct Remaining {
    /// Them in words; empty where the broker lists none.
    named: String,
    /// None of them is known to run in a pod of the targets.
    are_all_outside: bool,
}

/// The session of the members that are still in the group: only those of the new protocol have the broker's configuration.
fn session_of(pass: &Pass<'_>, request: &Request, seen: &Group) -> Session {
    let on_broker = pass.status.group.as_ref().and_then(group::session_on_broker);
    Session::of(request, on_broker.filter(|_| group::is_of_new_protocol(seen)))
}

/// drainTimeout has expired.
fn not_empty(pass: &Pass<'_>, request: &Request, seen: &Group, state: &str, members: &Remaining) -> Message {
    let message =
        Message::naming([&request.group], |[group]| format!("Group {group} was still {state} when drainTimeout expired"));
    let message = if members.named.is_empty() {
        message.detail(none_listed(seen))
    } else {
        message.detail(format!("Its remaining members: {}", members.named))
    };
    let session = session_of(pass, request, seen);
    let (what, kept) = kept_for(session, seen);
    let drain = request.drain_timeout.as_secs();
    let by_default = match session.timeout {
        Some(_) => String::new(),
        None => format!(", and a session timeout is {} s by Kafka's default", DEFAULT_SESSION.as_secs()),
    };
    let gone = if request.drain_timeout <= kept {
        format!("raise drainTimeout above {} s: the broker keeps a consumer that is gone for {what}{by_default}", kept.as_secs())
    } else if session.is_on_broker {
        format!(
            "raise drainTimeout ({drain} s) above the group's consumer.session.timeout.ms on the broker, which was raised since the plan \
             ({} s then)",
            session.or_default().as_secs()
        )
    } else if group::is_of_new_protocol(seen) {
        format!(
            "the group's consumer.session.timeout.ms on the broker is longer than drainTimeout ({drain} s): raise drainTimeout above it"
        )
    } else if let Some(session) = request.session_timeout {
        format!(
            "their session.timeout.ms is longer than sessionTimeout ({} s), because drainTimeout ({drain} s) is longer than {what}: \
             set sessionTimeout to theirs, and drainTimeout to more than twice that",
            session.as_secs()
        )
    } else {
        format!(
            "their session.timeout.ms is longer than Kafka's default ({} s), because drainTimeout ({drain} s) is longer than {what}: \
             set sessionTimeout to theirs, and drainTimeout to more than twice that",
            DEFAULT_SESSION.as_secs()
        )
    };
    let advice = if members.named.is_empty() {
        format!("If no consumer of the group runs any more, {gone}")
    } else if members.are_all_outside {
        format!(
            "Check targetRefs first: no remaining member has the address of a target pod, so targetRefs names the wrong workload unless NAT \
             or a proxy hides the addresses. Otherwise stop those consumers too; or, if they are gone, {gone}"
        )
    } else {
        format!("Stop those consumers too; or, if they are gone, {gone}")
    };
    message.detail(pass.offsets_changed()).advice(advice).advice("Then create the reset under a new name")
}

/// What keeps a group without a listed member from being empty.
fn none_listed(seen: &Group) -> &'static str {
    if group::is_rebalancing(seen) {
        "The broker lists no members: a consumer that was given a member id and did not join with it keeps the group from becoming empty \
         until its session expires"
    } else {
        "The broker lists no members"
    }
}

/// For how long a rebalance of classic members lasts at most: the default of max.poll.interval.ms,
/// and the time that the broker gives a new member to join.
const REBALANCE: SignedDuration = SignedDuration::from_mins(5);

/// How long at most the broker keeps consumers that are gone, if their session timeout is the known one or Kafka's default.
///
/// A classic member that was stable is removed one session timeout after its last heartbeat. One
/// that died while it joined is kept until the rebalance is over, and for a session timeout from
/// then on; the rebalance is over when the other members have joined or were removed, and so as a
/// rule after a session timeout. Members of the new protocol do not join together.
fn kept_for(session: Session, seen: &Group) -> (&'static str, SignedDuration) {
    let session = session.or_default();
    if group::is_of_new_protocol(seen) {
        ("one session timeout", session)
    } else if group::is_rebalancing(seen) {
        ("max.poll.interval.ms (5 minutes by default) and one session timeout", REBALANCE.saturating_add(session))
    } else {
        ("two session timeouts", session.saturating_add(session))
    }
}

/// Removes the remaining members from a classic group, when the spec says so.
fn remove_members(pass: &mut Pass<'_>, request: &Request, seen: &Group, terminated: Timestamp, members: &str) -> Option<Effect> {
    let Group::Found(found) = seen else { return None };
    // The broker lets no client remove members of the new protocol.
    if request.remaining_members == RemainingMembers::Wait || found.group_type != GroupType::Classic || found.members.is_empty() {
        return None;
    }
    let too_early =
        pass.now.duration_since(terminated) < LEAVE_BY_THEMSELVES || pass.was_just_tried(ActionKind::RemoveMembers, REMOVE_AGAIN);
    if too_early || pass.status.member_removals >= MAX_REMOVALS {
        return None;
    }
    pass.status.member_removals += 1;
    let message = Message::naming([&request.group], |[group]| {
        format!("Removing {} from group {group}", count(found.members.len(), "remaining member", "remaining members"))
    })
    .detail(format!("They are {members}"));
    pass.note(false, Reason::RemovingMembers, message.full(), None);
    pass.say(Reason::RemovingMembers, message);
    Some(Effect::RemoveMembers(found.members.clone()))
}

/// The members could not be removed: the reset waits for them to leave, as without
/// `remainingMembers: Remove`.
pub(in crate::machine) fn removal_refused(mut pass: Pass<'_>, why: &str) -> Decision {
    let message = Message::new("The remaining members could not be removed from the group")
        .detail(why)
        .detail("The reset waits until their sessions expire, and gives up after drainTimeout");
    pass.note(true, Reason::RemovingMembers, message.full(), None);
    pass.again()
}

/// The members and how long the reset waits for them; the text does not change while nothing
/// changes.
fn waiting(pass: &Pass<'_>, request: &Request, seen: &Group, state: &str, members: &Remaining) -> Message {
    let summary = match group::members(seen) {
        0 => format!("Waiting until the group is empty; the broker reports it as {state}"),
        number => format!("Waiting until the group is empty; {} in it", count(number, "member is still", "members are still")),
    };
    let message =
        Message::new(summary).detail(format!("All containers have terminated, and the broker reports the group as {state}"));
    let message = if members.named.is_empty() {
        message.detail(none_listed(seen))
    } else {
        message.detail(format!("Remaining members: {}", members.named))
    };
    let message = if members.are_all_outside {
        message
            .detail("None of them has the address of a target pod: unless NAT or a proxy hides it, targetRefs names the wrong workload")
            .advice("If it does, delete the OffsetReset: the targets are then restored at once")
    } else {
        message
    };
    let Some(hold) = &pass.status.hold else { return message };
    let known = session_of(pass, request, seen);
    let session = match hold.containers_terminated_time.as_ref().and_then(|terminated| known.end(terminated.0)) {
        Some(end) => kept_until(pass, known, seen, &end),
        None => kept_by_default(seen),
    };
    let deadline = hold.drain_deadline.as_ref().map(clock).unwrap_or_default();
    message.detail(session).detail(format!("The consumers are at zero, and the reset waits until {deadline} at most"))
}

/// How long the broker keeps members that are gone, where the spec does not say how long their sessions are: no time of day, because
/// one by Kafka's default would not hold for consumers that have another session timeout.
fn kept_by_default(seen: &Group) -> String {
    let default = DEFAULT_SESSION.as_secs();
    if group::is_of_new_protocol(seen) {
        return format!(
            "Members that did not leave are removed by the broker when their session expires, after the group's \
             consumer.session.timeout.ms on the broker ({default} s by Kafka's default)"
        );
    }
    let joining = if group::is_rebalancing(seen) {
        "one that died while it joined the group is kept for max.poll.interval.ms (5 minutes by default) and one session timeout"
    } else {
        "one that died while it joined the group is kept for two session timeouts"
    };
    format!(
        "Members that did not leave are removed by the broker when their session expires, after their session.timeout.ms ({default} s by \
         Kafka's default; spec.sessionTimeout is not set); {joining}"
    )
}

/// Until when the broker keeps members that are gone; `session_end` is one session timeout after
/// the last container has terminated.
fn kept_until(pass: &Pass<'_>, session: Session, seen: &Group, session_end: &MicroTime) -> String {
    let (what, kept) = kept_for(session, seen);
    let last = MicroTime(later(session_end.0, kept.saturating_sub(session.or_default())));
    let (by_session, by_last) = (clock(session_end), clock(&last));
    let by = if session.is_on_broker { "the group's consumer.session.timeout.ms on the broker" } else { "sessionTimeout" };
    if pass.now < session_end.0 {
        let removed = format!("The broker removes members that did not leave at {by_session}, when their session expires ({by})");
        return if group::is_of_new_protocol(seen) {
            removed
        } else {
            format!("{removed}; one that died while it joined the group is kept until {by_last} ({what})")
        };
    }
    if pass.now < last.0 {
        return format!(
            "{by} expired at {by_session}: a consumer that died while it joined the group is kept until {by_last} ({what}); \
             otherwise their session.timeout.ms is longer, or they are still running"
        );
    }
    let longer = if session.is_on_broker {
        "it was raised since the plan"
    } else if group::is_of_new_protocol(seen) {
        "the group's consumer.session.timeout.ms on the broker is longer"
    } else {
        "their session.timeout.ms is longer"
    };
    format!("By {by} the broker should have removed stopped consumers by {by_last}: {longer}, or they still run")
}
