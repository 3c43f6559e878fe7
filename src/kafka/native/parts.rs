//! PURE: the outcomes of the parts of a change that were sent at once.

use crate::{
    kafka::{
        diagnostics::error_codes::{self, NOT_AUTHENTICATED},
        ffi::{Answers, PartOutcome, RawError},
    },
    machine::facts::KafkaErrorKind,
};

/// Outcomes of some of the parts, with the number of each part.
pub(super) type Numbered = Vec<(usize, PartOutcome)>;

/// The parts that are sent at once, and which of them are settled. Each keeps its own outcome.
pub(super) struct Parts {
    settled: Vec<Option<PartOutcome>>,
}

impl Parts {
    /// As many parts as `count`, none of them settled.
    pub fn new(count: usize) -> Self {
        Self { settled: vec![None; count] }
    }

    /// The numbers of the parts that are to be sent.
    pub fn unsettled(&self) -> Vec<usize> {
        (0..).zip(&self.settled).filter(|(_, outcome)| outcome.is_none()).map(|(number, _)| number).collect()
    }

    /// Takes the outcomes of an attempt: those of the unsettled parts, in their order. Returns those that the coordinator did not accept:
    /// once it is found, these parts are sent again, and no others.
    ///
    /// # Errors
    /// The gravest error of a whole part on which the session has to act: it closes the client or drops the token, and nothing is sent
    /// again.
    pub fn take(&mut self, outcomes: Vec<PartOutcome>) -> Result<Numbered, RawError> {
        let numbered = self.unsettled().into_iter().zip(outcomes);
        let (again, ended): (Numbered, Numbered) = numbered.partition(|(_, outcome)| refused_by_coordinator(outcome).is_some());
        let failed = ended.iter().filter_map(|(_, outcome)| outcome.as_ref().err()).filter(|raw| gravity(raw) > 0);
        let Some(gravest) = failed.max_by_key(|raw| gravity(raw)).cloned() else {
            self.settle(ended);
            return Ok(again);
        };
        // The session may add to the text of this error, and `end` gives it to the parts that have failed with it.
        let is_other = |(_, outcome): &(usize, PartOutcome)| !matches!(outcome, Err(raw) if raw.code == gravest.code);
        self.settle(ended.into_iter().chain(again).filter(is_other).collect());
        Err(gravest)
    }

    fn settle(&mut self, outcomes: Numbered) {
        for (number, outcome) in outcomes {
            self.settled[number] = Some(outcome);
        }
    }

    /// The outcome of each part after the last attempt: for a part that is not settled, the coordinator's refusal or the error of the
    /// attempt.
    pub fn end(mut self, last: Result<Numbered, RawError>) -> Vec<PartOutcome> {
        let refused = match last {
            Ok(again) => again,
            Err(raw) => self.unsettled().into_iter().map(|number| (number, Err(raw.clone()))).collect(),
        };
        self.settle(refused);
        self.settled.into_iter().flatten().collect()
    }
}

/// The coordinator's error, for the whole part or for a partition.
pub(super) fn refused_by_coordinator(outcome: &PartOutcome) -> Option<&RawError> {
    match outcome {
        Ok(answers) => coordinator_error(answers),
        Err(raw) => Some(raw).filter(|raw| error_codes::is_coordinator(raw)),
    }
}

pub(super) fn coordinator_error<T>(answers: &Answers<T>) -> Option<&RawError> {
    answers.iter().filter_map(|(_, answer)| answer.as_ref().err()).find(|raw| error_codes::is_coordinator(raw))
}

/// Which of several errors the session gets, the highest; 0 where it has nothing to do. See `Session::ask_on`.
fn gravity(raw: &RawError) -> u8 {
    match error_codes::kind(raw.code) {
        _ if raw.code == NOT_AUTHENTICATED => 3,
        _ if is_unknown(raw) => 2,
        KafkaErrorKind::Authorization => 1,
        _ => 0,
    }
}

/// The error of a call whose parts have all failed as a whole: if all errors are of one kind, or none tells whether its part was
/// carried out.
pub(super) fn failed_as_a_whole(outcomes: &[PartOutcome]) -> Option<&RawError> {
    let errors: Option<Vec<&RawError>> = outcomes.iter().map(|outcome| outcome.as_ref().err()).collect();
    let errors = errors?;
    let first = *errors.first()?;
    if errors.iter().all(|raw| error_codes::kind(raw.code) == error_codes::kind(first.code)) {
        return Some(first);
    }
    let is_open = errors.iter().all(|raw| error_codes::is_coordinator(raw) || is_unknown(raw));
    errors.into_iter().find(|raw| is_open && is_unknown(raw))
}

/// Whether a part with this error may have been carried out.
pub(super) fn is_unknown(raw: &RawError) -> bool {
    error_codes::outcome_unknown(error_codes::kind(raw.code))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::machine::facts::TopicPartition;

    const TIMED_OUT: i32 = -185;
    const NOT_COORDINATOR: i32 = 16;
    const GROUP_REFUSED: i32 = 30;
    const HAS_MEMBERS: i32 = 25;

    fn raw(code: i32) -> RawError {
        RawError { code, text: format!("error {code}") }
    }

    /// One partition with this code, 0 for success.
    fn answered(code: i32) -> PartOutcome {
        let answer = if code == 0 { Ok(()) } else { Err(raw(code)) };
        [(TopicPartition::new("orders", 0), answer)].into_iter().map(Ok).collect()
    }

    fn failed(code: i32) -> PartOutcome {
        Err(raw(code))
    }

    /// The outcomes after one attempt, whose error the session hands on unchanged.
    fn after(outcomes: Vec<PartOutcome>) -> (Result<Vec<usize>, i32>, Vec<PartOutcome>) {
        let mut parts = Parts::new(outcomes.len());
        let last = parts.take(outcomes);
        let again = last.as_ref().map(|again| again.iter().map(|(number, _)| *number).collect()).map_err(|raw| raw.code);
        (again, parts.end(last))
    }

    #[rstest]
    #[case::all_succeed(vec![answered(0), answered(0)], Ok(vec![]))]
    #[case::a_partition_is_refused(vec![answered(3), answered(0)], Ok(vec![]))]
    #[case::a_coordinator_moved_between_two(vec![answered(0), answered(NOT_COORDINATOR), answered(0)], Ok(vec![1]))]
    #[case::no_coordinator_for_any(vec![failed(15), failed(15)], Ok(vec![0, 1]))]
    #[case::one_has_no_answer(vec![answered(0), failed(TIMED_OUT), answered(0)], Err(TIMED_OUT))]
    #[case::an_unknown_outcome_is_graver_than_a_refusal(vec![failed(GROUP_REFUSED), failed(TIMED_OUT)], Err(TIMED_OUT))]
    #[case::a_refused_token_is_gravest(vec![failed(NOT_AUTHENTICATED), failed(TIMED_OUT)], Err(NOT_AUTHENTICATED))]
    #[case::a_refused_group_ends_the_search_for_its_coordinator(vec![failed(HAS_MEMBERS), failed(GROUP_REFUSED)], Err(GROUP_REFUSED))]
    #[case::a_group_with_members_ends_no_search_for_its_coordinator(vec![failed(HAS_MEMBERS), failed(NOT_COORDINATOR)], Ok(vec![1]))]
    #[case::nothing_is_sent_again_after_a_failure(vec![answered(NOT_COORDINATOR), failed(TIMED_OUT)], Err(TIMED_OUT))]
    fn each_part_keeps_its_own_outcome(#[case] outcomes: Vec<PartOutcome>, #[case] expected: Result<Vec<usize>, i32>) {
        assert_eq!(after(outcomes.clone()), (expected, outcomes));
    }

    #[test]
    fn only_parts_that_are_not_settled_are_sent_again() {
        let mut parts = Parts::new(3);
        let again = parts.take(vec![answered(0), answered(NOT_COORDINATOR), answered(3)]).unwrap();
        assert_eq!(again, [(1, answered(NOT_COORDINATOR))]);
        assert_eq!(parts.unsettled(), [1]);
        assert_eq!(parts.take(vec![answered(0)]), Ok(vec![]));
        assert_eq!(parts.end(Ok(vec![])), [answered(0), answered(0), answered(3)]);
    }

    #[test]
    fn an_attempt_that_is_not_sent_changes_nothing_of_what_is_settled() {
        let mut parts = Parts::new(2);
        parts.take(vec![answered(0), answered(NOT_COORDINATOR)]).unwrap();
        assert_eq!(parts.end(Err(raw(TIMED_OUT))), [answered(0), failed(TIMED_OUT)]);
    }

    #[test]
    fn what_the_session_adds_to_an_error_reaches_the_parts_that_failed_with_it_only() {
        let mut parts = Parts::new(3);
        let outcomes = vec![answered(0), failed(NOT_AUTHENTICATED), failed(HAS_MEMBERS)];
        assert_eq!(parts.take(outcomes), Err(raw(NOT_AUTHENTICATED)));
        assert_eq!(parts.end(Err(raw(-187))), [answered(0), failed(-187), failed(HAS_MEMBERS)]);
    }

    #[rstest]
    #[case::all_alike(vec![failed(GROUP_REFUSED), failed(GROUP_REFUSED)], Some(GROUP_REFUSED))]
    #[case::of_one_kind(vec![failed(NOT_COORDINATOR), failed(15)], Some(NOT_COORDINATOR))]
    #[case::some_not_accepted_and_the_connection_lost(vec![failed(NOT_COORDINATOR), failed(TIMED_OUT)], Some(TIMED_OUT))]
    #[case::one_has_succeeded(vec![failed(TIMED_OUT), answered(0)], None)]
    #[case::a_partition_is_refused(vec![answered(GROUP_REFUSED)], None)]
    #[case::for_different_reasons(vec![failed(GROUP_REFUSED), failed(TIMED_OUT)], None)]
    fn the_call_fails_as_a_whole_only_when_all_parts_do(#[case] outcomes: Vec<PartOutcome>, #[case] expected: Option<i32>) {
        assert_eq!(failed_as_a_whole(&outcomes).map(|raw| raw.code), expected);
    }
}
