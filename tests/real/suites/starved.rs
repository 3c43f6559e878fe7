//! One object that costs as much as the schema permits, beside a leader that has to keep its lease and a sound reset.

use std::time::Instant;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::PostParams};
use offset_reset_operator::api::{Phase, Reason};
use real_tests::{process::Process, reset, resets, unique, wait_for_end, with_namespace};
use serde_json::{Value, json};

/// As many patterns as a spec may have.
fn patterns(pattern: &str) -> Value {
    (0..500).map(|partition| json!({"topicPattern": pattern, "position": "Current", "partition": partition})).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_patterns_cost_the_leader_neither_its_lease_nor_its_memory() {
    with_namespace(async |client, namespace| {
        let words = ["--namespace", namespace.as_str(), "--lease-namespace", namespace.as_str(), "--leader-election"];
        let operator = Process::start(&words).await;
        operator.until_leads().await;
        let (api, none) = (resets(&client, &namespace), json!({"targetRefs": []}));
        let (begin, long) = (Instant::now(), "a?".repeat(124));
        // The first one stopped the operator, again and again, for as long as it was there; the others are too large.
        for (name, pattern, reason) in [
            ("classes", r"\w{20}", Reason::GroupNotFound),
            ("repeated", r"(\w{30}){30}", Reason::InvalidSpec),
            ("long", long.as_str(), Reason::InvalidSpec),
        ] {
            let one = reset(name, &unique("starved"), &patterns(pattern), &none);
            api.create(&PostParams::default(), &one).await.unwrap();
            let status = wait_for_end(&api, name).await.status.unwrap();
            assert_eq!((status.phase, status.reason), (Some(Phase::Failed), Some(reason)), "{:?}", status.message);
            println!("{name}: {:?} after {:?}, {}", status.message, begin.elapsed(), operator.memory());
        }
        let leases: Api<Lease> = Api::namespaced(client.clone(), &namespace);
        let lease = leases.get("offset-reset-operator").await.unwrap().spec.unwrap();
        assert_eq!(lease.lease_transitions.unwrap_or_default(), 0, "it was never lost");
        assert!(operator.ask("/livez").await.is_some_and(|answer| answer.starts_with("HTTP/1.1 200")));
        operator.signal("TERM").await;
        assert!(operator.ended().await.status.success());
    })
    .await;
}
