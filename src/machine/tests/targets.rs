//! What is refused and what is warned of while a target's consumers still run, and who is named
//! when it is scaled up later.

use rstest::rstest;

use super::*;
use crate::machine::{
    MAX_REHOLDS, decide,
    facts::{Controller, FieldOwner, Hpa, Unscalable},
    plan::workloads::{named_twice, refusal, warnings},
};

fn target(kind: &str) -> TargetRef {
    let (api_version, name) = ("apps/v1".into(), "consumer".into());
    TargetRef {
        api_version,
        kind: kind.into(),
        resource: None,
        name,
        accept_volume_deletion: false,
        accept_revision_change: false,
    }
}

fn known(details: WorkloadDetails) -> Seen<Workload> {
    with(3, details)
}

fn with(replicas: i32, details: WorkloadDetails) -> Seen<Workload> {
    let Seen::Known(workload) = workload(replicas, vec![]) else { unreachable!() };
    Seen::Known(Workload { details, ..workload })
}

fn owner(manager: &str, subresource: Option<&str>, at_second: i64) -> FieldOwner {
    let operation = if subresource.is_some() { "Update" } else { "Apply" };
    FieldOwner {
        manager: manager.into(),
        operation: operation.into(),
        subresource: subresource.map(str::to_owned),
        time: Some(at(at_second)),
    }
}

fn controlled() -> WorkloadDetails {
    let controller = Controller { api_version: "argoproj.io/v1alpha1".into(), kind: "Rollout".into(), name: "orders".into() };
    WorkloadDetails { controller: Some(controller), ..WorkloadDetails::default() }
}

fn volatile() -> WorkloadDetails {
    WorkloadDetails { deletes_volumes: true, ..WorkloadDetails::default() }
}

fn unset(reported: i32) -> WorkloadDetails {
    WorkloadDetails { unset: Some(reported), ..WorkloadDetails::default() }
}

#[rstest]
#[case::no_such_kind(
    Seen::Unknown("?".into()),
    Some(Unscalable::Unknown { served: vec![] }),
    Reason::TargetKindUnknown,
    "No kind Worker of apps/v1 is served. Write apiVersion and kind as in the manifest of consumer"
)]
#[case::another_version(
    Seen::Unknown("?".into()),
    Some(Unscalable::Unknown { served: vec!["apps/v2".into(), "apps/v3".into()] }),
    Reason::TargetKindUnknown,
    "does not serve Worker under apps/v1, but under apps/v2 and apps/v3. Write that as its apiVersion"
)]
#[case::no_scale(
    Seen::Unknown("?".into()),
    Some(Unscalable::NoScale),
    Reason::TargetNotScalable,
    "has no scale subresource"
)]
#[case::of_the_cluster(
    Seen::Unknown("?".into()),
    Some(Unscalable::NotNamespaced),
    Reason::TargetNotScalable,
    "is not namespaced"
)]
#[case::checked_for_another_resource(
    known(WorkloadDetails::default()),
    Some(Unscalable::OtherResource { resource: "workerz".into() }),
    Reason::TargetKindUnknown,
    "is workerz, and the right of this OffsetReset's creator to scale it was checked for workers. Write resource: workerz in"
)]
#[case::not_there(Seen::Missing, None, Reason::TargetNotFound, "Worker/consumer does not exist in this namespace")]
#[case::controlled(
    known(controlled()),
    None,
    Reason::TargetHasController,
    "would scale it up. That is Rollout/orders (argoproj.io/v1alpha1). Name Rollout/orders in targetRefs"
)]
#[case::controlled_at_zero(with(0, controlled()), None, Reason::TargetHasController, "Rollout/orders")]
#[case::volumes(known(volatile()), None, Reason::VolumesWouldBeDeleted, "set acceptVolumeDeletion: true on this targetRef")]
#[case::volumes_of_one_that_may_be_scaled_up_before_the_stop(
    with(0, volatile()),
    None,
    Reason::VolumesWouldBeDeleted,
    "set acceptVolumeDeletion: true on this targetRef"
)]
#[case::unset_but_many(known(unset(2)), None, Reason::TargetNotScalable, "Set its spec.replicas")]
fn what_must_not_be_stopped_is_refused_with_what_to_do(
    #[case] seen: Seen<Workload>,
    #[case] unscalable: Option<Unscalable>,
    #[case] reason: Reason,
    #[case] words: &str,
) {
    let refusal = refusal(&target("Worker"), &seen, unscalable.as_ref()).unwrap();
    assert_eq!((refusal.reason, refusal.transient), (reason, false), "{}", refusal.message);
    assert!(refusal.message.full().contains(words), "{}", refusal.message);
}

#[rstest]
#[case::plain(known(WorkloadDetails::default()), false)]
#[case::volumes_may_go(known(volatile()), true)]
#[case::unset_is_one(with(1, unset(0)), false)]
#[case::unset_is_one_and_there_is_one(with(1, unset(1)), false)]
fn what_may_be_stopped_is_not_refused(#[case] seen: Seen<Workload>, #[case] accept_volume_deletion: bool) {
    assert_eq!(refusal(&TargetRef { accept_volume_deletion, ..target("StatefulSet") }, &seen, None), None);
}

#[test]
fn a_kind_that_could_not_be_looked_up_is_tried_again() {
    let refusal = refusal(&target("Worker"), &Seen::Unknown("no route to host".into()), None).unwrap();
    assert_eq!((refusal.reason, refusal.transient), (Reason::TargetUnreachable, true));
}

#[test]
fn one_workload_under_two_names_is_refused() {
    let targets = [target("Worker"), TargetRef { api_version: "apps/v2".into(), ..target("Worker") }];
    let seen = [known(WorkloadDetails::default()), known(WorkloadDetails::default())];
    let refusal = named_twice(&targets, &seen).unwrap();
    assert_eq!(refusal.reason, Reason::InvalidSpec);
    assert!(refusal.message.full().starts_with("targetRefs[0] and targetRefs[1] name the same workload"), "{}", refusal.message);
    assert_eq!(named_twice(&targets, &[Seen::Missing, Seen::Missing]), None);
    assert_eq!(named_twice(&targets[..1], &seen[..1]), None);
}

/// Restoring since 0 s, with the kind unserved from `since` on.
fn unserved(since: i64, unscalable: Option<Unscalable>, now: i64) -> OffsetResetStatus {
    let mut status = status_in(Phase::Restoring);
    status.targets[0].kind_gone_since = Some(micro(since));
    let target = Seen::Unknown("the API server serves no such kind".into());
    let observed = Observed { unscalable: vec![unscalable], holds: vec![held()], ..seen(target, KafkaSeen::NotAsked) };
    decide(Ok(&request()), &status, &observed, at(now)).status
}

#[rstest]
#[case::not_for_long(0, Some(Unscalable::Unknown { served: vec![] }), 29, None)]
#[case::for_half_a_minute(0, Some(Unscalable::Unknown { served: vec![] }), 30, Some(Restored::Gone))]
#[case::only_lately_although_it_has_restored_for_long(100, Some(Unscalable::Unknown { served: vec![] }), 129, None)]
#[case::it_has_moved_to_another_version(0, Some(Unscalable::Unknown { served: vec!["apps/v2".into()] }), 900, None)]
#[case::it_has_lost_its_scale(0, Some(Unscalable::NoScale), 900, None)]
#[case::it_is_unknown(0, None, 900, None)]
fn a_target_whose_kind_is_gone_is_gone_and_no_other(
    #[case] since: i64,
    #[case] unscalable: Option<Unscalable>,
    #[case] now: i64,
    #[case] expected: Option<Restored>,
) {
    let counts_on = matches!(&unscalable, Some(Unscalable::Unknown { served }) if served.is_empty());
    let status = unserved(since, unscalable, now);
    assert_eq!((status.phase, status.targets[0].restored), (Some(Phase::Restoring), expected));
    assert_eq!(status.targets[0].kind_gone_since.is_some(), counts_on, "what is served in between starts the time again");
}

fn owned_by(owners: &[FieldOwner]) -> WorkloadDetails {
    WorkloadDetails { scalers: owners.to_vec(), ..WorkloadDetails::default() }
}

fn autoscaled(min_replicas: i32, scaled_to_zero: bool) -> WorkloadDetails {
    WorkloadDetails { autoscalers: vec![Hpa { name: "lag".into(), min_replicas, scaled_to_zero }], ..WorkloadDetails::default() }
}

#[rstest]
#[case::no_owner(WorkloadDetails::default(), &[])]
#[case::a_person(owned_by(&[owner("kubectl-edit", None, 0)]), &[])]
#[case::argo_cd(owned_by(&[owner("argocd-controller", None, 0)]), &["argocd-controller owns spec.replicas", "selfHeal within seconds", "RespectIgnoreDifferences=true"])]
#[case::flux(owned_by(&[owner("kustomize-controller", None, 0)]), &["at its next interval or commit", "Kustomization spec.ignore with paths [/spec/replicas]"])]
#[case::flux_helm(owned_by(&[owner("helm-controller", None, 0)]), &["driftDetection.ignore"])]
#[case::helm(owned_by(&[owner("helm", None, 0)]), &["at the next upgrade", "upgrade the Helm release when the reset is over"])]
#[case::an_autoscaler_that_is_off_at_zero(autoscaled(1, false), &[])]
#[case::an_autoscaler_to_zero(autoscaled(0, false), &["HorizontalPodAutoscaler/lag may scale Deployment/consumer up from zero", "may become True"])]
#[case::an_autoscaler_that_was_at_zero(autoscaled(2, true), &["minReplicas is 2 and its condition ScaledToZero is True"])]
#[case::volumes(volatile(), &["loses its volumes"])]
#[case::unset(unset(0), &["which counts as 1"])]
#[case::not_seen(WorkloadDetails { unseen: Some("forbidden".into()), ..WorkloadDetails::default() }, &["Deployment/consumer: forbidden"])]
fn what_is_worth_a_look_is_said(#[case] details: WorkloadDetails, #[case] words: &[&str]) {
    let warnings = warnings(&[target("Deployment")], &[known(details)]);
    assert_eq!(warnings.len(), usize::from(!words.is_empty()), "{warnings:?}");
    for words in words {
        assert!(warnings[0].contains(words), "{warnings:?}");
    }
}

#[test]
fn the_warnings_stand_in_the_plan_and_in_events() {
    let details = owned_by(&[owner("argocd-controller", None, 0)]);
    let observed = seen(known(details), KafkaSeen::ForPlan(Box::new(plan_seen())));
    let decision = decide(Ok(&request()), &status_in(Phase::Planning), &observed, at(1));
    let status = decision.status;
    assert_eq!(status.phase, Some(Phase::Stopping), "a warning refuses nothing");
    assert!(status.warnings.iter().any(|warning| warning.contains("argocd-controller")), "{:?}", status.warnings);
    for warning in &status.warnings {
        assert!(decision.notes.iter().any(|note| note.warning && note.message == *warning), "{warning}");
    }
}

/// Scaled up by these owners again and again: the first Event's message and the final one.
fn scaled_up(details: &WorkloadDetails) -> (String, String) {
    let mut status = status_in(Phase::Stopping);
    status.targets[0] = target_status(true);
    let mut first = None;
    for _ in 0..=MAX_REHOLDS {
        let up = decide(Ok(&request()), &status, &seen(with(5, details.clone()), KafkaSeen::NotAsked), at(60));
        first = first.or_else(|| up.notes.first().map(|note| note.message.clone()));
        if let Some(outcome) = up.status.outcome {
            assert_eq!((outcome.phase, outcome.reason), (Phase::Failed, Reason::ScaledUpByOthers));
            return (first.unwrap(), outcome.explanation());
        }
        assert_eq!(up.status.reason, Some(Reason::ScaledUpByOthers));
        status =
            decide(Ok(&request()), &up.status, &seen(workload(0, vec![pod("a", false)]), KafkaSeen::NotAsked), at(60)).status;
    }
    panic!("it never gives way");
}

#[rstest]
#[case::argo_cd(&[owner("argocd-controller", None, 59)], "argocd-controller (Apply at 2027-01-15T08:00:59Z)", "RespectIgnoreDifferences=true")]
#[case::flux(&[owner("kustomize-controller", None, 59)], "kustomize-controller (Apply at", "spec.ignore")]
#[case::an_autoscaler(&[FieldOwner { time: None, ..owner("kube-controller-manager", Some("scale"), 0) }], "kube-controller-manager (Update of scale)", "minReplicas")]
#[case::keda(&[owner("keda", Some("scale"), 59)], "keda (Update of scale at", "autoscaling.keda.sh/paused")]
#[case::a_person(&[owner("kubectl", Some("scale"), 59)], "kubectl (Update of scale at", "wait with kubectl")]
#[case::a_stranger(&[owner("acme-scaler", None, 59)], "acme-scaler (Apply at", "Keep it from setting spec.replicas")]
#[case::two(&[owner("kubectl", Some("scale"), 59), owner("argocd-controller", None, 58)], "argocd-controller (Apply at", "wait with kubectl")]
#[case::an_owner_from_before_the_stop(&[owner("argocd-controller", None, -31)], "another controller or a user", "metadata.managedFields does not record the client")]
#[case::no_owner_that_is_known(&[], "another controller or a user", "metadata.managedFields does not record the client")]
fn who_scales_it_up_is_named_with_what_to_do(#[case] owners: &[FieldOwner], #[case] who: &str, #[case] advice: &str) {
    let (event, end) = scaled_up(&owned_by(owners));
    for message in [&event, &end] {
        assert!(message.contains(who) && message.contains(advice), "{message}");
        assert!(message.contains("Deployment/consumer"), "{message}");
    }
    assert!(end.contains("4 times") && end.contains("set it to 5") && end.contains("No offset was changed"), "{end}");
}

#[test]
fn a_client_that_could_not_be_read_is_another_controller_or_a_user() {
    let (event, _) = scaled_up(&WorkloadDetails { unseen: Some("forbidden".into()), ..WorkloadDetails::default() });
    assert!(
        event.starts_with("Deployment/consumer was scaled up to 5, and is scaled down again. This was done by another"),
        "{event}"
    );
    assert!(event.contains("forbidden. Keep"), "{event}");
}

#[rstest]
#[case::an_autoscaler(
    "lag",
    "HorizontalPodAutoscaler/lag scales it: a HorizontalPodAutoscaler leaves what is at zero alone, unless"
)]
#[case::keda("keda-hpa-orders", "HorizontalPodAutoscaler/keda-hpa-orders scales it: pause its ScaledObject")]
fn where_no_owner_is_recorded_the_autoscalers_are_named(#[case] name: &str, #[case] words: &str) {
    let autoscaler = Hpa { name: name.into(), min_replicas: 1, scaled_to_zero: false };
    let (event, end) = scaled_up(&WorkloadDetails { autoscalers: vec![autoscaler], ..WorkloadDetails::default() });
    assert!(event.contains("another controller or a user") && event.contains(words), "{event}");
    assert!(end.contains(words), "{end}");
}

fn terminating(name: &str, node: Option<&str>, grace_until: i64) -> Pod {
    Pod { node: node.map(str::to_owned), deletion: Some(at(grace_until)), ..pod(name, false) }
}

#[rstest]
#[case::within_its_grace(vec![terminating("a", Some("n1"), 90)], "pod a (terminating, grace period until 2027-01-15T08:01:30Z)", false)]
#[case::killed_just_now(vec![terminating("a", Some("n1"), 50)], "pod a (terminating, grace period until 2027-01-15T08:00:50Z)", false)]
#[case::its_node_does_not_answer(
    vec![pod("a", false), terminating("b", Some("n1"), 30)],
    "pod b (its grace period ended at 2027-01-15T08:00:30Z, and node n1 has not reported that its containers have terminated), pod a",
    true
)]
#[case::lost_ones_are_named_before_many_others(
    vec![pod("a", false), pod("b", false), pod("c", false), pod("d", false), pod("e", false), terminating("f", Some("n1"), 0)],
    "Still running: pod f (its grace period ended",
    true
)]
#[case::ended_on_time(vec![Pod { terminated: true, ..terminating("a", Some("n1"), 0) }, pod("b", false)], "Still running: pod b", false)]
fn a_pod_on_a_lost_node_is_named_with_what_a_person_may_do(#[case] pods: Vec<Pod>, #[case] words: &str, #[case] lost: bool) {
    let mut status = status_in(Phase::Stopping);
    status.targets[0].stop_requested = true;
    let decision = decide(Ok(&request()), &status, &seen(workload(0, pods), KafkaSeen::NotAsked), at(60));
    let message = decision.status.explanation();
    assert_eq!(decision.status.reason, Some(Reason::WaitingForContainers));
    assert!(message.contains(words), "{message}");
    assert_eq!(message.contains("kubectl delete pod --grace-period=0 --force"), lost, "{message}");
    assert!(decision.requeue.is_some(), "it is looked at again");
}

#[test]
fn a_lost_node_is_waited_for_to_the_limit_and_named_in_the_end() {
    let mut status = status_in(Phase::Stopping);
    status.targets[0].stop_requested = true;
    let observed = seen(workload(0, vec![terminating("a", Some("n1"), 30)]), KafkaSeen::NotAsked);
    let waits = decide(Ok(&request()), &status, &observed, at(599)).status;
    assert_eq!(waits.phase, Some(Phase::Stopping));
    let outcome = decide(Ok(&request()), &waits, &observed, at(600)).status.outcome.unwrap();
    assert_eq!((outcome.phase, outcome.reason), (Phase::Failed, Reason::HoldTimeout));
    let said = outcome.explanation();
    assert!(said.contains("pod a (its grace") && said.contains("node n1"), "{said}");
}
