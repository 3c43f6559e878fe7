//! A name is a name, and no path: it goes into the address that the operator asks.

use super::*;

#[rstest::rstest]
#[case::another_namespace(json!({"targetRefs": [{"name": "x/../../../../namespaces/kube-system/deployments/coredns"}]}), "metadata.name")]
#[case::another_subresource(json!({"targetRefs": [{"name": "orders/status?x="}]}), "metadata.name")]
#[case::encoded(json!({"targetRefs": [{"name": "orders%2Fstatus"}]}), "metadata.name")]
#[case::a_command(json!({"targetRefs": [{"name": "orders; sh"}]}), "metadata.name")]
#[case::a_subresource_as_resource(json!({"targetRefs": [{"name": "orders", "resource": "deployments/status"}]}), "kubectl api-resources")]
#[case::a_resource_of_a_group(json!({"targetRefs": [{"name": "orders", "resource": "deployments.apps"}]}), "kubectl api-resources")]
#[case::a_secret_elsewhere(
    json!({"kafka": {"binding": {"secretName": "../../kube-system/secrets/x"}}}), "spec.kafka.binding.secretName in body should match"
)]
#[case::a_certificate_elsewhere(
    json!({"kafka": {"bootstrapServers": "a:1", "tls": {"trustedCertificates": [{"secretName": "x?watch=true", "certificate": "c"}]}}}),
    "spec.kafka.tls.trustedCertificates[0].secretName in body should match"
)]
#[case::undo(json!({"resets": [], "undo": {"name": "../../../namespaces/other/offsetresets/r"}}), "undo.name must be")]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_name_is_refused(#[case] spec: Value, #[case] expected: &str) {
    unguarded(async |admin, namespace| {
        let why = create(admin, namespace, &reset("r", &spec)).await.unwrap_err();
        assert!(why.contains(expected), "{why}");
    })
    .await;
}
