//! How the containers of a pod exited.

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};

use crate::machine::facts::Exit;

/// How the container that crashed last exited: before it was started again, or just now, as `has_exited` tells.
pub(super) fn last_exit(status: &PodStatus, has_exited: impl Fn(&ContainerStatus) -> bool) -> Option<Exit> {
    let crashed = status.container_statuses.iter().flatten().filter_map(|container| {
        let now = container.state.as_ref().filter(|_| has_exited(container)).and_then(|state| state.terminated.as_ref());
        let before = || container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        Some((container, now.or_else(before)?))
    });
    let (container, exit) = crashed.max_by_key(|(_, exit)| exit.finished_at.as_ref().map(|at| at.0))?;
    Some(Exit {
        container: container.name.clone(),
        code: exit.exit_code,
        reason: exit.reason.clone(),
        message: exit.message.clone(),
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use crate::kubernetes::workloads::pods::pod;

    #[rstest]
    #[case::none(json!([{"state": {"running": {}}}]), None)]
    #[case::just_now(json!([{"state": {"terminated": {"exitCode": 3, "reason": "Error", "message": "m"}}}]), Some((3, Some("Error"), Some("m"))))]
    #[case::started_again(
        json!([{"state": {"running": {}}, "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]),
        Some((137, Some("OOMKilled"), None))
    )]
    #[case::waits_to_be_started(
        json!([{"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1}}}]),
        Some((1, None, None))
    )]
    #[case::the_last_of_two(
        json!([
            {"state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-11-24T12:00:01Z"}}},
            {"state": {"running": {}}, "lastState": {"terminated": {"exitCode": 2, "finishedAt": "2026-11-24T12:00:02Z"}}},
        ]),
        Some((2, None, None))
    )]
    fn the_exit_of_the_container_that_crashed_last_is_told(
        #[case] mut containers: serde_json::Value,
        #[case] expected: Option<(i32, Option<&str>, Option<&str>)>,
    ) {
        for container in containers.as_array_mut().unwrap() {
            container.as_object_mut().unwrap().extend(
                json!({"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 1}).as_object().unwrap().clone(),
            );
        }
        let found = json!({"metadata": {"name": "p"}, "status": {"phase": "Running", "containerStatuses": containers}});
        let exit = pod(serde_json::from_value(found).unwrap()).last_exit;
        let told = exit.as_ref().map(|exit| (exit.code, exit.reason.as_deref(), exit.message.as_deref()));
        assert_eq!(told, expected);
    }
}
