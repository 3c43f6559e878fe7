//! A node that does not answer: one that is registered, and that no kubelet is behind.

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::DeleteParams;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_on_a_lost_node_is_named_and_waited_for_until_a_person_decides() {
    Stand::with(async |stand| {
        let nodes = Api::<Node>::all(stand.client.clone());
        let node = unique("lost");
        nodes
            .create(&PostParams::default(), &serde_json::from_value(json!({"metadata": {"name": node}})).unwrap())
            .await
            .unwrap();
        let mut deployment = workload("Deployment", "orders", 1);
        deployment["spec"]["template"]["spec"]["nodeName"] = json!(node);
        deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(1);
        stand.create(deployment).await;
        let pods = Api::<Pod>::namespaced(stand.client.clone(), &stand.namespace);
        let pod = async {
            loop {
                if let Some(pod) = pods.list(&ListParams::default().labels("app=orders")).await.unwrap().items.first() {
                    return pod.metadata.name.clone().unwrap();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let pod = within(PATIENCE, pod).await.expect("it has a pod");
        stand.apply("replay", json!([{"name": "orders"}]), json!({})).await;
        let says = |reset: &OffsetReset, words: &str| status(reset).explanation().contains(words);
        wait_for(&stand.api, "replay", "waiting for the pod's grace", |reset| {
            says(reset, &format!("pod {pod} (terminating, grace period until"))
        })
        .await;
        let lost =
            wait_for(&stand.api, "replay", "aware of the node", |reset| says(reset, &format!("node {node} has not reported")))
                .await;
        let message = status(&lost).explanation();
        assert!(message.contains(&format!("pod {pod} (its grace period ended at")), "{message}");
        assert!(message.contains("kubectl delete pod --grace-period=0 --force"), "{message}");
        assert_eq!((status(&lost).phase, status(&lost).reason), (Some(Phase::Stopping), Some(Reason::WaitingForContainers)));
        assert_eq!(stand.committed().await, Some(10), "nothing is committed beside a container that may run");

        // What the message says.
        pods.delete(&pod, &DeleteParams::default().grace_period(0)).await.unwrap();
        succeeded(&wait_for_end(&stand.api, "replay").await);
        assert_eq!(stand.replicas("apps/v1", "Deployment", "orders").await, 1);
        assert_eq!(stand.committed().await, Some(3));
        nodes.delete(&node, &DeleteParams::default()).await.unwrap();
    })
    .await;
}
