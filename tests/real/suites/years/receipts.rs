//! The expiry of receipts.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use real_tests::{
    env::TestEnv,
    process::configured,
    shop::{Operator, status, succeeded},
    unique, wait_until_gone, with_namespace,
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_deleted_a_while_after_its_run_unless_a_reset_of_that_name_exists() {
    with_namespace(async |client, namespace| {
        let stand = TestEnv::open(client, namespace).await;
        let config = configured(&["--namespace", &stand.namespace, "--receipt-retention", "3s"]);
        let operator = Operator::start_configured(&stand.client, config);
        let (topic, group) = (stand.topic().await, unique("receipts"));
        stand.commit(&group, &topic, &[(0, 50)]).await;
        let entries = json!([{"topic": topic, "partition": 0, "shiftBy": -10}]);
        let maps = Api::<ConfigMap>::namespaced(stand.client.clone(), &stand.namespace);
        let exists = async |name: &str| maps.get_opt(name).await.unwrap().is_some();
        let mut receipts = vec![];
        for name in ["gone", "stays"] {
            let done = stand.run(name, &group, entries.clone(), json!({})).await;
            succeeded(&done);
            receipts.push(status(&done).receipt.clone().unwrap().config_map);
            assert!(exists(&receipts[receipts.len() - 1]).await);
        }
        // One that a user has written by hand.
        let planted = json!({
            "metadata": {"name": "planted", "labels": {"offsetreset.dev/receipt": "receipt"}},
            "data": {"uid": "u", "name": "none", "state": "Succeeded", "endTime": "2020-01-01T00:00:00Z", "message": "m"},
        });
        maps.create(&PostParams::default(), &serde_json::from_value(planted).unwrap()).await.unwrap();
        stand.api.delete("gone", &DeleteParams::default()).await.unwrap();
        wait_until_gone(&stand.api, "gone").await;
        stand.until("without the receipt", async |_| !exists(&receipts[0]).await).await;
        assert!(exists(&receipts[1]).await, "its OffsetReset exists");
        assert!(exists("planted").await, "it is not the operator's");

        stand.api.delete("stays", &DeleteParams::default()).await.unwrap();
        stand.until("without the other receipt", async |_| !exists(&receipts[1]).await).await;
        // As documented: without its receipt it runs again.
        succeeded(&stand.run("gone", &group, entries, json!({})).await);
        assert_eq!(stand.committed(&group, &topic).await[0], Some(20));
        operator.end().await;
    })
    .await;
}
