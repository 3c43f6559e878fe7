//! A restore that the API server refuses: tried again less and less often, and at once when the workload changes.

use rstest::rstest;

use crate::machine::tests::*;
use crate::{
    api::RefusalStatus,
    machine::{
        after, decide,
        decision::{Answer, Effect},
    },
};

/// The restore is refused again and again, each time as soon as it is tried again; when that is, in
/// seconds from the first refusal on.
#[test]
fn a_refused_restore_is_tried_again_less_and_less_often_and_published_once() {
    let observed = seen(gone(), KafkaSeen::NotAsked);
    let (mut status, mut tried, mut published) = (status_in(Phase::Restoring), vec![], 0);
    for now in 0..150 {
        let decision = decide(Ok(&request()), &status, &observed, at(now));
        let Some(effect) = &decision.effect else {
            assert_eq!(decision.status, status, "nothing is written in between");
            assert!(decision.requeue.unwrap() <= SignedDuration::from_secs(5), "{:?}", decision.requeue);
            continue;
        };
        tried.push(now);
        let refused = after(&decision.status, effect, &Answer::Refused("quota".into()), &observed, at(now));
        published += refused.notes.len();
        assert!(refused.status.explanation().contains("at least every 30 s"), "{}", refused.status.explanation());
        status = refused.status;
    }
    assert_eq!((tried, published), (vec![0, 1, 3, 7, 15, 31, 61, 91, 121], 1));
}

#[rstest]
#[case::as_it_was("7", "quota", 39, false, 0)]
#[case::the_time_is_over("7", "quota", 40, true, 0)]
#[case::the_workload_has_changed("8", "quota", 11, true, 0)]
#[case::the_workload_changes_all_the_time("8", "quota", 10, false, 0)]
#[case::other_words("7", "a policy", 40, true, 1)]
fn a_change_of_the_workload_wakes_a_refused_restore_and_new_words_are_published(
    #[case] version: &str,
    #[case] words: &str,
    #[case] now: i64,
    #[case] tries: bool,
    #[case] published: usize,
) {
    let mut status = status_in(Phase::Restoring);
    status.targets[0].refusals = 9;
    let refusal = RefusalStatus { time: micro(10), resource_version: "7".into(), message: "quota".into() };
    status.targets[0].last_refusal = Some(refusal);
    let Seen::Known(workload) = gone() else { unreachable!() };
    let target = Seen::Known(Workload { resource_version: version.into(), ..workload });
    let observed = seen(target, KafkaSeen::NotAsked);
    let decision = decide(Ok(&request()), &status, &observed, at(now));
    assert_eq!(matches!(decision.effect, Some(Effect::Scale { replicas: 3, .. })), tries);
    if let Some(effect) = &decision.effect {
        let again = after(&decision.status, effect, &Answer::Refused(words.into()), &observed, at(now));
        assert_eq!(again.notes.len(), published);
        let accepted = after(&decision.status, effect, &Answer::Done, &observed, at(now));
        assert_eq!(accepted.status.targets[0].last_refusal, None);
    }
}
