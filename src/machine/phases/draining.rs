//! Draining: the broker is asked until it calls the group free. The session timeout is a bound that is reported, not a sleep.

use jiff::{SignedDuration, Timestamp};

use crate::api::{ActionKind, ConditionType, Phase, Reason, RemainingMembers};
use crate::machine::{
    decision::{Decision, Effect},
    facts::{Group, GroupType, KafkaSeen, group},
    pass::Pass,
    refusal::{Refusal, kafka_reason},
    request::Request,
    time::clock,
};

/// How often the broker is asked right after the last container has ended, when members that leave are just leaving.
const OFTEN: SignedDuration = SignedDuration::from_millis(250);

/// For how long it is asked that often.
const OFTEN_FOR: SignedDuration = SignedDuration::from_secs(5);

/// How often it is asked after that: what is left waits for a session timeout.
const LESS_OFTEN: SignedDuration = SignedDuration::from_secs(1);

/// How long members may take to leave by themselves after the last container has ended, before they are taken out.
const LEAVE_BY_THEMSELVES: SignedDuration = SignedDuration::from_secs(1);

/// How soon what is still left is taken out again: a live member joins again at once.
const REMOVE_AGAIN: SignedDuration = SignedDuration::from_secs(3);

/// How many times members are taken out. Whoever has joined again after that is alive, and is not of the targets.
const MAX_REMOVALS: i32 = 3;

pub(in crate::machine) fn decide(mut pass: Pass<'_>, request: &Request) -> Decision {
    if !pass.consumers_are_gone() {
        return pass.not_gone();
    }
    let ended = pass.status.hold.as_ref().and_then(|hold| hold.containers_terminated_time.as_ref()).map_or(pass.now, |at| at.0);
    let often = pass.now.duration_since(ended) < OFTEN_FOR;
    let interval = if often { OFTEN } else { LESS_OFTEN };
    let over =
        pass.status.hold.as_ref().and_then(|hold| hold.drain_deadline.as_ref()).is_some_and(|deadline| pass.now >= deadline.0);

    match &pass.seen.kafka {
        KafkaSeen::Group(seen) => {
            let status = group::status(seen, pass.status.group.as_ref(), &pass.pods());
            let free = group::is_free(seen);
            let members = group::name_members(&status);
            let state = status.state.clone();
            pass.status.group = Some(status);
            if free {
                let at = pass.instant();
                if let Some(hold) = &mut pass.status.hold {
                    hold.group_empty_time = Some(at);
                }
                let message = format!("the broker calls group {} {state}", request.group);
                pass.condition(ConditionType::GroupEmpty, Some(true), Reason::GroupEmpty, message);
                return pass.go_on(Phase::Resetting, Reason::Committing, "the group is free; offsets are about to be committed");
            }
            if over {
                let message = format!(
                    "group {} was still {state} when drainTimeout was over; left in it: {members}. Stop those consumers too, or, if they \
                     are gone, raise drainTimeout above their session.timeout.ms. {}",
                    request.group,
                    pass.offsets_said()
                );
                return pass.finish(Phase::Failed, Reason::GroupNotEmpty, message);
            }
            if let Some(effect) = remove_members(&mut pass, request, seen, ended, &members) {
                return pass.act(effect);
            }
            let message = waiting(&pass, &state, &members);
            pass.wait(Reason::WaitingForGroup, message, interval)
        }
        KafkaSeen::Failed(error) if over || !error.kind.is_transient() => {
            let message = format!("cannot ask the broker for group {}: {error}. {}", request.group, pass.offsets_said());
            pass.finish(Phase::Failed, kafka_reason(error.kind), message)
        }
        KafkaSeen::Failed(error) => {
            let refusal = Refusal::from_kafka(error, "the broker cannot be asked whether the group is free");
            pass.wait(refusal.reason, refusal.message, LESS_OFTEN)
        }
        KafkaSeen::NotAsked | KafkaSeen::ForPlan(_) | KafkaSeen::ForCommit(_) => pass.again(),
    }
}

/// Takes out of a classic group whoever is left in it, when the spec says so.
fn remove_members(pass: &mut Pass<'_>, request: &Request, seen: &Group, ended: Timestamp, members: &str) -> Option<Effect> {
    let Group::Found(found) = seen else { return None };
    // Of the new protocol the broker lets nobody be taken out by others.
    if request.remaining_members == RemainingMembers::Wait || found.group_type != GroupType::Classic || found.members.is_empty() {
        return None;
    }
    let too_early =
        pass.now.duration_since(ended) < LEAVE_BY_THEMSELVES || pass.was_just_tried(ActionKind::RemoveMembers, REMOVE_AGAIN);
    if too_early || pass.status.member_removals >= MAX_REMOVALS {
        return None;
    }
    pass.status.member_removals += 1;
    let message = format!("takes out of group {} who is left in it: {members}", request.group);
    pass.note(false, Reason::RemovingMembers, message.clone(), None);
    pass.say(Reason::RemovingMembers, message);
    Some(Effect::RemoveMembers(found.members.clone()))
}

/// They could not be taken out: it is waited for them, as without.
pub(in crate::machine) fn removal_refused(mut pass: Pass<'_>, why: &str) -> Decision {
    let message = format!("members that are left could not be taken out of the group: {why}. Their sessions are waited for");
    pass.note(true, Reason::RemovingMembers, message, None);
    pass.again()
}

/// Who is waited for and until when, in words that do not change while nothing changes.
fn waiting(pass: &Pass<'_>, state: &str, members: &str) -> String {
    let Some(hold) = &pass.status.hold else { return String::new() };
    let deadline = hold.drain_deadline.as_ref().map(clock).unwrap_or_default();
    let session = match &hold.session_end_time {
        Some(end) if pass.now < end.0 => {
            format!("members that did not leave are forgotten when their session ends, by sessionTimeout at {}", clock(end))
        }
        Some(end) => format!("sessionTimeout was over at {}, so theirs is longer, or they still run", clock(end)),
        None => String::new(),
    };
    format!("the containers have ended, the group is {state}; still in it: {members}; {session}; waits until {deadline} at most")
}
