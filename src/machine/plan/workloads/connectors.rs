//! Whether a connector can be stopped for a reset: it has to be a sink, and Strimzi has to reconcile it.

use crate::{
    api::{Reason, TargetRef},
    machine::{
        facts::{Connector, Denial, Seen, Workload},
        refusal::Refusal,
        request::Request,
        text::{Message, name_ref},
    },
};

/// Why a connector cannot be a target; `None` when it can.
#[must_use]
pub(super) fn refusal(target: &TargetRef, connector: &Connector) -> Option<Refusal> {
    let name = name_ref(target);
    if connector.is_ignored {
        let message = Message::naming([&name], |[name]| format!("Strimzi does not reconcile {name}, so it would not be stopped"))
            .detail("It has the annotation strimzi.io/pause-reconciliation")
            .advice("Remove the annotation, and create the reset under a new name");
        return Some(Refusal::lasting(Reason::TargetNotScalable, message));
    }
    match connector.plugin_type.as_deref() {
        Some("sink") => None,
        Some("source") => {
            let message = Message::naming([&name], |[name]| format!("{name} is a source connector, which has no consumer group"))
                .detail("A source connector keeps its position in the source in the offsets topic of Kafka Connect")
                .advice(format!(
                    "Set its spec.state to stopped, and change its offsets with spec.alterOffsets and the annotation \
                     strimzi.io/connector-offsets: alter, or with PATCH /connectors/{}/offsets of Kafka Connect",
                    target.name
                ));
            Some(Refusal::lasting(Reason::TargetNotScalable, message))
        }
        other => {
            let reported = other.map_or_else(
                || "Its status.connectorStatus.type is missing".to_owned(),
                |other| format!("Its status.connectorStatus.type is {other}"),
            );
            let message = Message::naming([&name], |[name]| format!("The status of {name} does not tell whether it is a sink"))
                .detail(reported)
                .advice(
                    "Check that Strimzi runs, and that the label strimzi.io/cluster of the connector names a KafkaConnect with the \
                     annotation strimzi.io/use-connector-resources: \"true\"",
                );
            Some(Refusal::passing(Reason::TargetUnreachable, message))
        }
    }
}

/// The API server would refuse the stop.
#[must_use]
pub(super) fn not_stoppable(name: &str, why: &Denial) -> Message {
    Message::naming([name], |[name]| format!("{name} cannot be stopped by the operator")).detail(why.to_string()).advice(
        "Grant the right with `kubectl apply -k deploy/strimzi` (get and patch of kafkaconnectors in kafka.strimzi.io) or remove what \
         refuses the request, and create the reset under a new name",
    )
}

/// A reset of another group than the one in which a connector consumes. Some sinks have a second one, such as the control group of
/// the Iceberg sink, so it is no refusal.
#[must_use]
pub(in crate::machine) fn warnings(request: &Request, workloads: &[Seen<Workload>]) -> Vec<String> {
    let of_another = |(target, seen): (&TargetRef, &Seen<Workload>)| {
        let Seen::Known(workload) = seen else { return None };
        let connector = workload.details.connector.as_ref().filter(|connector| connector.group != request.group)?;
        Some(format!(
            "The tasks of {} consume in group {}, and this reset is about group {}",
            name_ref(target),
            connector.group,
            request.group
        ))
    };
    request.targets.iter().zip(workloads).filter_map(of_another).collect()
}
