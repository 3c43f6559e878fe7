//! The layer in front of the API server.

use std::sync::Arc;

use http::{Method, Request, Uri};
use kube::{Client, client::Body};
use tower::service_fn;

use super::Layer;

/// A client that asks through a layer.
pub fn client<L: Layer>(real: &Client, layer: Arc<L>) -> Client {
    let namespace = real.default_namespace().to_owned();
    let real = real.clone();
    let service = service_fn(move |request: Request<Body>| {
        let (real, layer) = (real.clone(), Arc::clone(&layer));
        async move {
            let kind = kind(request.method(), request.uri());
            let lost = || Err(kube::Error::Service("the answer was lost".into()));
            layer.around(&kind, real.send(request), lost).await
        }
    });
    Client::new(service, namespace)
}

/// What kind of request it is: the verb as RBAC has it, the resource with its subresource, and what else makes it another request.
fn kind(method: &Method, uri: &Uri) -> String {
    let is_set = |wanted: &str| uri.query().unwrap_or_default().split('&').any(|parameter| parameter == wanted);
    let words: Vec<&str> = uri.path().split('/').filter(|word| !word.is_empty()).collect();
    let of_group = match words.first() {
        Some(&"api") => words.get(2..),
        Some(&"apis") => words.get(3..),
        Some(_) | None => None,
    };
    let resource = match of_group {
        Some(["namespaces", _, resource @ ..] | resource) if !resource.is_empty() => resource,
        Some(_) | None => return format!("{method} {}", uri.path()),
    };
    let verb = match (method.as_str(), resource.len()) {
        ("GET", 1) if is_set("watch=true") => "watch",
        ("GET", 1) => "list",
        ("GET", _) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", _) => "delete",
        (other, _) => other,
    };
    let dry_run = if is_set("dryRun=All") { " (dry run)" } else { "" };
    let subresource = resource.get(2).map(|subresource| format!("/{subresource}")).unwrap_or_default();
    format!("{verb} {}{subresource}{dry_run}", resource[0])
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("GET", "/apis/offsetreset.dev/v1alpha1/namespaces/shop/offsetresets/replay?", "get offsetresets")]
    #[case("GET", "/apis/offsetreset.dev/v1alpha1/offsetresets?&limit=1", "list offsetresets")]
    #[case("GET", "/api/v1/namespaces/shop/pods?&labelSelector=app%3Dconsumer", "list pods")]
    #[case("GET", "/api/v1/namespaces/shop/pods?watch=true&timeoutSeconds=290", "watch pods")]
    #[case("PUT", "/apis/apps/v1/namespaces/shop/deployments/c/scale?&dryRun=All", "update deployments/scale (dry run)")]
    #[case("PUT", "/apis/apps/v1/namespaces/shop/deployments/c/scale?", "update deployments/scale")]
    #[case("POST", "/apis/events.k8s.io/v1/namespaces/shop/events?", "create events")]
    #[case("DELETE", "/apis/coordination.k8s.io/v1/namespaces/shop/leases/l", "delete leases")]
    #[case("GET", "/api/v1/namespaces/shop", "get namespaces")]
    #[case("GET", "/apis/apps/v1", "GET /apis/apps/v1")]
    fn requests_are_told_apart_by_verb_and_resource(#[case] method: Method, #[case] uri: Uri, #[case] expected: &str) {
        assert_eq!(kind(&method, &uri), expected);
    }
}
