//! The forecast in words: a sentence, warnings, and a refusal.

use super::{CatchUp, Topic, name_partitions};
use crate::api::{ForecastOf, ForecastUnknown, Reason};
use crate::machine::{
    facts::TopicPartition,
    refusal::Refusal,
    request::Request,
    text::{Message, count, some},
    time::as_in_spec,
};

/// How many topics a warning names.
const NAMED: usize = 3;

/// On what the bound depends.
const CONDITION: &str = "if it consumes no faster, and producers write no less, than while this was measured";

/// What the forecast says in one sentence; nothing when nothing was read, or when there is nothing to consume.
pub(super) fn summary(total: &ForecastOf, nothing_read: bool) -> String {
    if nothing_read || total.backlog == 0 {
        return String::new();
    }
    if total.never_catches_up {
        return "At the measured rates the group never catches up".to_owned();
    }
    match (&total.catch_up_at_least, total.unknown) {
        (Some(time), None) => format!("The group takes at least {time} to catch up, {CONDITION}"),
        (Some(time), Some(unknown)) => format!(
            "The group takes at least {time} to catch up, {CONDITION}; on some partitions that is not known, because {}",
            unknown.because()
        ),
        // Nobody asked for it.
        (None, Some(ForecastUnknown::NotMeasured) | None) => String::new(),
        (None, Some(unknown)) => format!("How long the group takes to catch up is not known, because {}", unknown.because()),
    }
}

/// What may keep the group from catching up, or from its records, and the access that would tell more.
pub(super) fn warnings(request: &Request, topics: &[Topic], unreadable: &[&str]) -> Vec<String> {
    let mut warnings = vec![];
    let expiring = topics.iter().fold(0_i64, |all, topic| all.saturating_add(topic.expiring));
    if expiring > 0 {
        let partitions: Vec<TopicPartition> = topics.iter().flat_map(|topic| topic.expiring_at.iter().cloned()).collect();
        warnings.push(format!(
            "{} from the target on may expire before the consumers reach them, on {}: retention.ms is over for them, or will be within \
             holdTimeout ({})",
            count(expiring, "record", "records"),
            name_partitions(&partitions),
            as_in_spec(request.hold_timeout)
        ));
    }
    let late: Vec<&str> = topics.iter().filter(|topic| topic.outlasts_retention).map(|topic| topic.name.as_str()).collect();
    if !late.is_empty() {
        warnings.push(format!(
            "records of {} may expire before the consumers reach them: at the measured rate it takes longer to consume what is there than \
             retention.ms keeps it",
            some(&late, NAMED)
        ));
    }
    let behind: Vec<&Topic> = topics.iter().filter(|topic| topic.longest == Some(CatchUp::Never)).collect();
    if let Some(first) = behind.first() {
        let names: Vec<&str> = behind.iter().map(|topic| topic.name.as_str()).collect();
        warnings.push(format!(
            "the group does not catch up on {} at the measured rates: on {} {} records a minute are produced, and the group consumes {}",
            some(&names, NAMED),
            first.name,
            first.produced.unwrap_or(0),
            first.consumed.unwrap_or(0)
        ));
    }
    if !unreadable.is_empty() {
        warnings.push(format!(
            "whether records expire before the consumers reach them is not known for {}: that needs the operation DescribeConfigs on the \
             topic",
            some(unreadable, NAMED)
        ));
    }
    warnings
}

/// Why `limits.maxCatchUp` does not allow the plan: the bound exceeds it, or there is no bound.
pub(super) fn refusal(request: &Request, longest: Option<CatchUp>, total: &ForecastOf) -> Option<Refusal> {
    let limit = request.max_catch_up?;
    let limit_is = as_in_spec(limit);
    let correct = "Look at status.forecast, then correct the targets or raise limits.maxCatchUp";
    match longest {
        Some(CatchUp::Never) => {
            let message = Message::new(format!("The group never catches up, and limits.maxCatchUp is {limit_is}"))
                .detail("At the measured rates at least as much is produced on a partition as the group consumes there")
                .advice(correct);
            Some(Refusal::lasting(Reason::LimitExceeded, message))
        }
        Some(CatchUp::AtLeast(time)) if time > limit => {
            let message = Message::new(format!(
                "The group takes at least {} to catch up, and limits.maxCatchUp is {limit_is}",
                as_in_spec(time)
            ))
            .detail(format!("That holds {CONDITION}"))
            .advice(correct);
            Some(Refusal::lasting(Reason::LimitExceeded, message))
        }
        Some(CatchUp::AtLeast(_)) | None => {
            let unknown = total.unknown?;
            let message = Message::new("limits.maxCatchUp is given, and how long the group takes to catch up is not known")
                .detail(format!("On some partitions it is not known, because {}", unknown.because()))
                .advice("Leave limits.maxCatchUp out, or limit the records with limits.maxReplay, and create the reset under a new name");
            // A group that rebalances is stable soon, and a broker may answer soon.
            let passing = matches!(unknown, ForecastUnknown::NoMembers | ForecastUnknown::NotMeasured);
            Some(Refusal { transient: passing, ..Refusal::lasting(Reason::CatchUpUnknown, message) })
        }
    }
}
