//! Replicas that somebody sets right when the operator has found them unset: the count of that moment comes back, not the one that unset
//! replicas count as.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::{Method, Request};
use k8s_openapi::api::coordination::v1::Lease;
use kube::client::Body;
use tower::service_fn;

use super::{definitions::V1, *};

/// What the operator asks goes through here: as soon as it has a Lease, and then hears that the replicas are unset, they are set before the
/// answer arrives. From then on `is_set`.
fn setting_replicas(stand: &Stand, replicas: i32, is_set: Arc<AtomicBool>) -> Client {
    let (admin, namespace) = (stand.client.clone(), stand.namespace.clone());
    let default = namespace.clone();
    let service = service_fn(move |request: Request<Body>| {
        let (admin, namespace, is_set) = (admin.clone(), namespace.clone(), Arc::clone(&is_set));
        async move {
            let of_scale = request.method() == Method::GET && request.uri().path().ends_with("/workers/orders/scale");
            let answer = admin.send(request).await?;
            let leases = Api::<Lease>::namespaced(admin.clone(), &namespace);
            if of_scale && answer.status().is_server_error() && !leases.list(&ListParams::default()).await?.items.is_empty() {
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

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_are_set_while_they_are_found_unset_are_not_lost() {
    with_namespace(async |client, namespace| {
        definitions::install_all(&client).await;
        let stand = Stand::open(client, namespace).await;
        stand.custom(V1, "Worker", "orders", json!({})).await;
        let is_set = Arc::new(AtomicBool::new(false));
        let client = setting_replicas(&stand, 5, Arc::clone(&is_set));
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
