//! Replicas that somebody sets right when the operator has found them unset: the count of that moment comes back, not the one that unset
//! replicas count as.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::{Method, Request};
use kube::{ResourceExt, client::Body};
use rstest::rstest;
use tower::service_fn;

use super::{definitions::V1, *};

/// When the replicas are set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// In the first look before the stop, between the answer that they are unset and the next request.
    FoundUnset,
    /// When the Lease is created, between that look and the stop.
    Claimed,
}

/// The operator's requests go through here: the replicas are set before an answer arrives. From then on `is_set`.
fn setting_replicas(stand: &Stand, replicas: i32, when: When, is_set: Arc<AtomicBool>) -> Client {
    let (admin, namespace) = (stand.client.clone(), stand.namespace.clone());
    let default = namespace.clone();
    let service = service_fn(move |request: Request<Body>| {
        let (admin, namespace, is_set) = (admin.clone(), namespace.clone(), Arc::clone(&is_set));
        async move {
            let asked = request.uri().path();
            let is_look = request.method() == Method::GET && asked.ends_with("/workers/orders/scale");
            let is_claim = request.method() == Method::POST && asked.ends_with("/leases");
            let answer = admin.send(request).await?;
            let is_moment = match when {
                When::Claimed => is_claim && answer.status().is_success(),
                When::FoundUnset if is_look && answer.status().is_server_error() => {
                    !real_tests::resets(&admin, &namespace).get("replay").await?.finalizers().is_empty()
                }
                When::FoundUnset => false,
            };
            if is_moment && !is_set.load(Ordering::SeqCst) {
                let (resource, _) = pinned_kind(&admin, &GroupVersionKind::gvk(definitions::GROUP, "v1", "Worker")).await?;
                let workers = Api::<DynamicObject>::namespaced_with(admin, &namespace, &resource);
                let patch = json!({"spec": {"replicas": replicas}});
                workers.patch("orders", &PatchParams::default(), &Patch::Merge(&patch)).await?;
                is_set.store(true, Ordering::SeqCst);
            }
            Ok::<_, kube::Error>(answer)
        }
    });
    Client::new(service, default)
}

#[rstest]
#[case::while_they_are_found_unset(When::FoundUnset)]
#[case::between_the_look_and_the_stop(When::Claimed)]
#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_are_set_right_before_the_stop_are_not_lost(#[case] when: When) {
    with_namespace(async |client, namespace| {
        definitions::install_all(&client).await;
        let stand = Stand::open(client, namespace).await;
        stand.custom(V1, "Worker", "orders", json!({})).await;
        let is_set = Arc::new(AtomicBool::new(false));
        let client = setting_replicas(&stand, 5, when, Arc::clone(&is_set));
        let operator = Operator::start_as(client, &stand.namespace);
        let done = stand.run("replay", json!([{"apiVersion": V1, "kind": "Worker", "name": "orders"}])).await;
        succeeded(&done);
        assert!(is_set.load(Ordering::SeqCst), "the replicas were set while the operator was at it");
        assert_eq!(status(&done).targets[0].original_replicas, 5);
        assert_eq!(stand.replicas(V1, "Worker", "orders").await, 5);
        operator.end().await;
    })
    .await;
}
