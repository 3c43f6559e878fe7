//! The largest that is permitted fits where it has to be stored, with all that is said about it.

use kube::{Api, api::PostParams, core::DynamicObject, discovery::ApiResource};
use offset_reset_operator::api::{OffsetReset, Phase};
use serde_json::json;

use real_tests::{
    brokers, resets,
    shop::{Operator, status},
    wait_for_end, with_namespace,
};

/// What etcd takes of one object is 1.5 MiB.
const MOST_BYTES: usize = 1_500_000;

/// As long as the schema permits.
fn long(text: &str, most: usize) -> String {
    format!("{text}{}", "x".repeat(most - text.len()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_spec_that_is_permitted_is_stored_with_the_status_that_it_gets() {
    let entry = |index: usize| {
        let goal = long("other", 255);
        let ranges: Vec<_> =
            (0..4).map(|range| 2_147_483_600 + 2 * range).map(|first| json!({"from": first, "to": first})).collect();
        json!({"topic": long(&format!("t{index}"), 249), "fromGroup": goal, "partitionRanges": ranges})
    };
    let target = |index: usize| {
        let (kind, version) = (long("Kind", 63), format!("{}/v1", long("group", 200)));
        json!({"kind": kind, "apiVersion": version, "name": long(&format!("w{index}"), 253)})
    };
    let mut servers = brokers();
    while servers.len() < 2_020 {
        servers.push_str(",127.0.0.1:1");
    }
    let spec = json!({
        "targetRefs": (0..16).map(target).collect::<Vec<_>>(), "kafka": {"bootstrapServers": servers}, "group": long("group", 255),
        "runId": long("run", 63), "reason": long("why", 256), "resets": (0..500).map(entry).collect::<Vec<_>>(),
    });
    with_namespace(async |client, namespace| {
        let resource = ApiResource::erase::<OffsetReset>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
        let name = long("largest-", 253);
        let object = DynamicObject::new(&name, &resource).data(json!({"spec": spec}));
        let stored = api.create(&PostParams::default(), &object).await.unwrap();
        let alone = serde_json::to_string(&stored).unwrap().len();
        let operator = Operator::start(&client, &namespace);
        let done = wait_for_end(&resets(&client, &namespace), &name).await;
        assert_eq!(status(&done).phase, Some(Phase::Failed), "{:?}", status(&done).message);
        let whole = serde_json::to_string(&api.get(&name).await.unwrap()).unwrap().len();
        println!("the largest spec: {alone} bytes; with what became of it: {whole} bytes: {:?}", status(&done).reason);
        assert!(whole < MOST_BYTES / 2, "{whole}");
        operator.end().await;
    })
    .await;
}
