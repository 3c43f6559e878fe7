//! Connectors: stopped by their state, and restored to exactly the one that they had.

use rstest::rstest;

use super::*;
use crate::{
    api::{ActionKind, ConditionType},
    machine::{
        Carried, after, awaited_pods, decide,
        decision::{Answer, Decision, Effect},
        facts::{Connector, Rollout, Tasks, state_to_set},
        plan::workloads::{refusal, warnings},
        text::restore_command,
    },
};

/// A connector whose tasks run, or are reported as stopped.
fn connector(state: &str, are_stopped: bool) -> Seen<Workload> {
    let tasks = Tasks { client_id: "connector-consumer-s3-sink-".into(), reported: "its status reports RUNNING".into() };
    let pod = Pod { ips: vec![], tasks: Some(tasks), ready_since: Some(at(-1000)), ..pod("KafkaConnector/s3-sink", are_stopped) };
    let details = WorkloadDetails { connector: Some(of_type(Some("sink"))), ..WorkloadDetails::default() };
    let Seen::Known(found) = workload(i32::from(state != "stopped"), vec![pod]) else { unreachable!() };
    Seen::Known(Workload { state: Some(state.into()), details, ..found })
}

fn of_type(plugin_type: Option<&str>) -> Connector {
    Connector { plugin_type: plugin_type.map(str::to_owned), group: "g".into(), is_ignored: false }
}

fn target() -> TargetRef {
    TargetRef::new("kafka.strimzi.io/v1", "KafkaConnector", "s3-sink")
}

fn request_for_it() -> Request {
    Request { targets: vec![target()], ..request() }
}

/// The Lease of a connector that was in this state.
fn held_from(state: &str) -> Hold {
    Hold { workload: "KafkaConnector/s3-sink".into(), replicas: 1, state: Some(state.into()), ..lease() }
}

/// In a phase, with the connector recorded in this state.
fn status_from(phase: Phase, state: &str) -> OffsetResetStatus {
    let mut status = status_in(phase);
    let recorded = TargetStatus { original_replicas: 1, original_state: Some(state.into()), ..status.targets[0].clone() };
    status.targets[0] = TargetStatus { api_version: target().api_version, kind: target().kind, name: target().name, ..recorded };
    status
}

fn step(status: &OffsetResetStatus, target: Seen<Workload>, hold: Seen<Hold>, now: i64) -> Decision {
    let observed = Observed { holds: vec![hold], ..seen(target, KafkaSeen::NotAsked) };
    decide(Ok(&request_for_it()), status, &observed, at(now))
}

fn members(client_id: &str) -> Group {
    let Group::Found(mut found) = group_in(GroupState::Stable, 2) else { unreachable!() };
    for (index, member) in found.members.iter_mut().enumerate() {
        member.client_id = format!("{client_id}{index}");
        member.host = "10.7.7.7".into();
    }
    Group::Found(found)
}

fn planned(target: Seen<Workload>, group: Group) -> Decision {
    let kafka = KafkaSeen::ForPlan(Box::new(PlanSeen { group, ..plan_seen() }));
    let observed = Observed { holds: vec![Seen::Missing], ..seen(target, kafka) };
    decide(Ok(&request_for_it()), &status_in(Phase::Planning), &observed, at(1))
}

#[rstest]
#[case::running("running", 1)]
#[case::without_a_state("unset", 1)]
#[case::paused("paused", 1)]
#[case::stopped_before("stopped", 0)]
fn the_plan_records_the_state(#[case] state: &str, #[case] replicas: i32) {
    let decision = planned(connector(state, false), members("connector-consumer-s3-sink-"));
    assert_eq!(decision.status.phase, Some(Phase::Stopping), "{}", decision.status.explanation());
    let recorded = &decision.status.targets[0];
    assert_eq!((recorded.original_replicas, recorded.original_state.as_deref()), (replicas, Some(state)));
}

#[test]
fn its_members_are_told_by_their_client_ids() {
    let decision = planned(connector("running", false), members("connector-consumer-s3-sink-"));
    assert_eq!(decision.status.group.unwrap().expected_members, Some(2));
    assert_eq!(decision.status.warnings, [] as [&str; 0]);
    let others = planned(connector("running", false), members("connector-consumer-other-"));
    let warned = others.status.warnings.join("; ");
    assert!(warned.contains("2 of 2 group members run outside the target pods"), "{warned}");
    let Group::Found(mut found) = members("connector-consumer-s3-sink-") else { unreachable!() };
    found.members[1].client_id = "orders".into();
    let shared = planned(connector("running", false), Group::Found(found));
    assert_eq!(shared.status.reason, Some(Reason::GroupShared), "one runs elsewhere for certain");
}

#[rstest]
#[case::a_sink(of_type(Some("sink")), None)]
#[case::a_source(of_type(Some("source")), Some("is a source connector, which has no consumer group"))]
#[case::not_told_yet(of_type(None), Some("does not tell whether it is a sink"))]
#[case::left_alone_by_strimzi(Connector { is_ignored: true, ..of_type(Some("sink")) }, Some("Strimzi does not reconcile"))]
fn only_a_sink_that_strimzi_reconciles_is_stopped(#[case] found: Connector, #[case] refused: Option<&str>) {
    let Seen::Known(workload) = connector("running", false) else { unreachable!() };
    let details = WorkloadDetails { connector: Some(found.clone()), ..workload.details.clone() };
    let refusal = refusal(&target(), &Seen::Known(Workload { details, ..workload }), None);
    match (&refusal, refused) {
        (Some(refusal), Some(words)) => {
            assert!(refusal.message.full().contains(words), "{}", refusal.message.full());
            assert_eq!(refusal.transient, found.plugin_type.is_none(), "a status may come");
        }
        (refusal, expected) => assert_eq!((refusal.is_none(), expected), (true, None)),
    }
}

#[test]
fn a_source_is_told_what_to_use() {
    let Seen::Known(workload) = connector("running", false) else { unreachable!() };
    let details = WorkloadDetails { connector: Some(of_type(Some("source"))), ..WorkloadDetails::default() };
    let refusal = refusal(&target(), &Seen::Known(Workload { details, ..workload }), None).unwrap();
    let said = refusal.message.full();
    for words in ["strimzi.io/connector-offsets: alter", "spec.alterOffsets", "PATCH /connectors/s3-sink/offsets"] {
        assert!(said.contains(words), "{said}");
    }
}

#[rstest]
#[case::the_right_is_missing(Denial::NotAllowed("cannot patch resource".into()), true)]
#[case::a_policy_refuses(Denial::Refused("denied request".into()), false)]
fn a_stop_that_would_be_refused_names_the_rights(#[case] why: Denial, #[case] may_pass: bool) {
    let Seen::Known(workload) = connector("running", false) else { unreachable!() };
    let refusal = refusal(&target(), &Seen::Known(Workload { refusal: Some(why.clone()), ..workload }), None).unwrap();
    let said = refusal.message.full();
    assert!(said.contains(&why.to_string()) && said.contains("kubectl apply -k deploy/strimzi"), "{said}");
    assert_eq!(refusal.transient, may_pass);
}

#[test]
fn a_spec_that_strimzi_has_not_observed_is_waited_for() {
    let Seen::Known(workload) = connector("running", false) else { unreachable!() };
    let details = WorkloadDetails { rollout: Rollout::Unobserved, ..workload.details.clone() };
    let unobserved = Seen::Known(Workload { details, ..workload });
    let decision = planned(unobserved, members("connector-consumer-s3-sink-"));
    assert_eq!((decision.status.phase, decision.status.reason), (Some(Phase::Planning), Some(Reason::WaitingForRollout)));
}

#[test]
fn a_group_of_another_connector_is_warned_of() {
    let Seen::Known(workload) = connector("running", false) else { unreachable!() };
    let found = Connector { group: "connect-s3-sink".into(), ..of_type(Some("sink")) };
    let details = WorkloadDetails { connector: Some(found), ..workload.details.clone() };
    let decision = planned(Seen::Known(Workload { details, ..workload }), members("connector-consumer-s3-sink-"));
    let expected = "The tasks of KafkaConnector/s3-sink consume in group connect-s3-sink, and this reset is about group g";
    assert_eq!(decision.status.warnings, [expected]);
}

#[test]
fn a_git_tool_that_owns_the_state_is_warned_of_with_the_name_of_the_field() {
    let Seen::Known(mut workload) = connector("running", false) else { unreachable!() };
    workload.details.scalers = vec![crate::machine::facts::FieldOwner {
        manager: "argocd-controller".into(),
        operation: "Apply".into(),
        subresource: None,
        time: Some(at(-60)),
    }];
    let warned = warnings(&[target()], &[Seen::Known(workload)]).join("; ");
    assert!(
        warned.contains("argocd-controller owns spec.state, and would start it") && warned.contains("[/spec/state]"),
        "{warned}"
    );
}

#[rstest]
#[case::running("running")]
#[case::without_a_state("unset")]
#[case::paused("paused")]
fn the_lease_has_the_state_before_the_stop(#[case] state: &str) {
    let mut status = status_from(Phase::Stopping, "running");
    status.targets[0].original_state = None;
    let decision = step(&status, connector(state, false), Seen::Missing, 1);
    let Some(Effect::Claim { hold, .. }) = &decision.effect else { panic!("{:?}", decision.effect) };
    assert_eq!((hold.replicas, hold.state.as_deref()), (1, Some(state)));
    let stopped = step(&decision.status, connector(state, false), Seen::Known(hold.clone()), 2);
    assert!(matches!(stopped.effect, Some(Effect::Scale { replicas: 0, kind: ActionKind::Stop, .. })), "{:?}", stopped.effect);
}

#[test]
fn a_state_that_changes_right_before_the_stop_is_the_one_to_restore() {
    let status = status_from(Phase::Stopping, "running");
    let decision = step(&status, connector("paused", false), Seen::Known(held_from("running")), 1);
    let Some(Effect::Claim { hold, .. }) = &decision.effect else { panic!("{:?}", decision.effect) };
    assert_eq!(hold.state.as_deref(), Some("paused"));
    assert_eq!(decision.status.targets[0].original_state.as_deref(), Some("paused"));
}

#[test]
fn it_is_stopped_only_once_its_status_reports_so() {
    let mut status = status_from(Phase::Stopping, "running");
    status.targets[0] = TargetStatus { stop_requested: true, stopped: true, ..status.targets[0].clone() };
    let observed =
        Observed { holds: vec![Seen::Known(held_from("running"))], ..seen(connector("stopped", false), KafkaSeen::NotAsked) };
    let waits = decide(Ok(&request_for_it()), &status, &observed, at(1));
    assert_eq!((waits.status.phase, waits.status.reason), (Some(Phase::Stopping), Some(Reason::WaitingForContainers)));
    let said = waits.status.explanation();
    assert!(said.starts_with("Waiting until Kafka Connect has stopped 1 connector"), "{said}");
    assert!(said.contains("KafkaConnector/s3-sink (its status reports RUNNING)"), "{said}");
    assert_eq!(waits.requeue, Some(SignedDuration::from_millis(500)));
    assert_eq!(awaited_pods(&waits.status, &observed), [] as [&str; 0], "no event tells of it");
    let over = step(&status, connector("stopped", true), Seen::Known(held_from("running")), 2);
    assert_eq!(over.status.phase, Some(Phase::Draining));
    let stopped = over.status.condition_message(ConditionType::ConsumersStopped);
    assert_eq!(stopped, Some("Kafka Connect reports the connectors as STOPPED"));
}

#[test]
fn one_that_is_started_while_it_is_held_is_stopped_again() {
    let mut status = status_from(Phase::Draining, "running");
    status.phase = Some(Phase::Stopping);
    let again = step(&status, connector("paused", false), Seen::Known(held_from("running")), 20);
    assert!(matches!(again.effect, Some(Effect::Scale { replicas: 0, .. })), "{:?}", again.effect);
    assert_eq!(again.status.targets[0].original_state.as_deref(), Some("running"));
    let said = &again.notes[0].message;
    assert!(said.starts_with("KafkaConnector/s3-sink was set to spec.state paused, and is stopped again"), "{said}");
}

/// What is done, and how it ends.
#[rstest]
#[case::still_stopped("stopped", "running", None)]
#[case::without_a_state("stopped", "unset", None)]
#[case::paused("stopped", "paused", None)]
#[case::restored_already("paused", "paused", Some(Restored::Original))]
#[case::another_state_stands("paused", "running", Some(Restored::LeftAsScaledByOthers))]
#[case::an_explicit_state_stands("running", "unset", Some(Restored::LeftAsScaledByOthers))]
fn the_former_state_is_restored_and_another_one_is_left_alone(
    #[case] found: &str,
    #[case] original: &str,
    #[case] settled: Option<Restored>,
) {
    let status = status_from(Phase::Restoring, original);
    let decision = step(&status, connector(found, true), Seen::Known(held_from(original)), 30);
    let recorded = &decision.status.targets[0];
    assert_eq!((recorded.restored, recorded.original_state.as_deref()), (settled, Some(original)));
    let restores = matches!(decision.effect, Some(Effect::Scale { replicas: 1, kind: ActionKind::Restore, .. }));
    assert_eq!(restores, settled.is_none(), "{:?}", decision.effect);
}

#[test]
fn a_wiped_status_gets_the_state_from_the_lease() {
    let mut status = status_from(Phase::Restoring, "running");
    status.targets[0] = TargetStatus { stop_requested: false, stopped: false, ..status.targets[0].clone() };
    let decision = step(&status, connector("stopped", true), Seen::Known(held_from("paused")), 30);
    assert_eq!(decision.status.targets[0].original_state.as_deref(), Some("paused"));
}

/// A CRD of an earlier version removes the state from the status that the API server stores.
#[test]
fn the_restore_has_the_state_of_the_lease_where_the_status_has_lost_it() {
    let mut status = status_from(Phase::Restoring, "paused");
    status.targets[0].original_state = None;
    let observed =
        Observed { holds: vec![Seen::Known(held_from("paused"))], ..seen(connector("stopped", true), KafkaSeen::NotAsked) };
    let effect = decide(Ok(&request_for_it()), &status, &observed, at(30)).effect.expect("it is restored");
    assert!(matches!(&effect, Effect::Scale { replicas: 1, state: Some(state), .. } if state == "paused"), "{effect:?}");
    let carried = Carried::after(&effect, &Answer::Done, observed).expect("it is not read again");
    assert!(matches!(&carried.targets[0], Seen::Known(after) if after.replicas == 1 && after.state.as_deref() == Some("paused")));
}

/// An operator was killed after it had restored the connector, and before it had recorded that.
#[rstest]
#[case::paused("paused", Seen::Known(held_from("paused")), Restored::Original, Some("paused"))]
#[case::running("running", Seen::Known(held_from("running")), Restored::Original, Some("running"))]
#[case::another_state_stands("running", Seen::Known(held_from("paused")), Restored::LeftAsScaledByOthers, Some("paused"))]
#[case::the_lease_was_deleted_by_hand("unset", Seen::Missing, Restored::Original, None)]
fn a_restore_is_told_by_the_lease_where_the_status_has_lost_the_state(
    #[case] found: &str,
    #[case] hold: Seen<Hold>,
    #[case] restored: Restored,
    #[case] original: Option<&str>,
) {
    let mut status = status_from(Phase::Restoring, "paused");
    status.targets[0].original_state = None;
    let decision = step(&status, connector(found, true), hold, 30);
    let recorded = &decision.status.targets[0];
    assert_eq!((recorded.restored, recorded.original_state.as_deref()), (Some(restored), original));
}

#[rstest]
#[case::stopped(0, None, "stopped")]
#[case::a_state(1, Some("paused"), "paused")]
#[case::no_state(1, Some("unset"), "unset")]
#[case::of_an_operator_that_knew_none(1, None, "unset")]
fn the_state_that_is_set(#[case] replicas: i32, #[case] state: Option<&str>, #[case] expected: &str) {
    assert_eq!(state_to_set(replicas, state), expected);
}

#[rstest]
#[case::it_runs("running", "running", false, "True", Reason::ConsumersReady)]
#[case::its_tasks_do_not_run_yet("running", "running", true, "Unknown", Reason::WaitingForConsumers)]
#[case::one_that_was_paused_consumes_nothing("paused", "paused", true, "True", Reason::NoConsumersExpected)]
fn its_tasks_are_looked_at_after_the_restore(
    #[case] found: &str,
    #[case] original: &str,
    #[case] are_stopped: bool,
    #[case] expected: &str,
    #[case] reason: Reason,
) {
    let mut status = status_from(Phase::Restoring, original);
    status.targets[0].restored = Some(Restored::Original);
    let over = step(&status, connector(found, are_stopped), Seen::Missing, 30);
    assert_eq!(over.status.phase, Some(Phase::Succeeded), "{}", over.status.explanation());
    let group = if found == "paused" { group_in(GroupState::Empty, 0) } else { members("connector-consumer-s3-sink-") };
    let observed =
        Observed { finalizer: false, holds: vec![Seen::Missing], ..seen(connector(found, are_stopped), KafkaSeen::Group(group)) };
    let looked = decide(Ok(&request_for_it()), &over.status, &observed, at(40));
    let condition = looked.status.conditions.iter().find(|condition| condition.type_ == "ConsumersResumed").unwrap();
    assert_eq!((condition.status.as_str(), condition.reason.as_str()), (expected, reason.as_str()), "{}", condition.message);
}

#[rstest]
#[case::a_count(deployment(), 3, None, None, "kubectl scale deployment.v1.apps/c --replicas=3")]
#[case::elsewhere(deployment(), 3, None, Some("shop"), "kubectl --namespace shop scale deployment.v1.apps/c --replicas=3")]
#[case::a_state(target(), 1, Some("paused"), None, r#"kubectl patch CONNECTOR --type=merge -p '{"spec":{"state":"paused"}}'"#)]
#[case::no_state(target(), 1, Some("unset"), None, r#"kubectl patch CONNECTOR --type=merge -p '{"spec":{"state":null}}'"#)]
#[case::a_state_that_is_lost(target(), 1, None, None, r#"kubectl patch CONNECTOR --type=merge -p '{"spec":{"state":null}}'"#)]
fn the_command_for_a_person_restores_the_same(
    #[case] target: TargetRef,
    #[case] replicas: i32,
    #[case] state: Option<&str>,
    #[case] namespace: Option<&str>,
    #[case] expected: &str,
) {
    let expected = expected.replace("CONNECTOR", "kafkaconnector.v1.kafka.strimzi.io/s3-sink");
    assert_eq!(restore_command(&target, replicas, state, namespace), expected);
}

fn deployment() -> TargetRef {
    TargetRef::new("apps/v1", "Deployment", "c")
}

/// A CRD of an earlier version has removed the state from the status, and only the kind tells that it is a connector.
#[test]
fn a_connector_whose_state_is_lost_is_still_spoken_of_as_one() {
    let mut status = status_from(Phase::Restoring, "running");
    status.targets[0].restored = Some(Restored::Original);
    let mut status = step(&status, connector("running", false), Seen::Missing, 30).status;
    status.targets[0].original_state = None;
    let group = KafkaSeen::Group(members("connector-consumer-s3-sink-"));
    let observed = Observed { finalizer: false, holds: vec![Seen::Missing], ..seen(connector("running", false), group) };
    let looked = decide(Ok(&request_for_it()), &status, &observed, at(40));
    let said = looked.status.condition_message(ConditionType::ConsumersResumed);
    assert_eq!(said, Some("All tasks of the connectors run, and the group has 2 members"), "none has scaled it");

    let mut status = status_from(Phase::Stopping, "running");
    status.targets[0].original_state = None;
    let effect = Effect::Scale { target: 0, resource_version: "1".into(), replicas: 0, state: None, kind: ActionKind::Stop };
    let observed = seen(connector("running", false), KafkaSeen::NotAsked);
    let ended = after(&status, &effect, &Answer::Overridden(1), &observed, at(2)).status.outcome.unwrap().explanation();
    assert!(ended.starts_with("KafkaConnector/s3-sink does not keep the spec.state stopped that the operator sets"), "{ended}");
}
