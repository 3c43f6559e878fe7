//! Kafka clients' processes that are killed under a call: the operator lives, goes on with another one, and says no more than what is so.

use std::{sync::atomic::Ordering, time::Duration};

use kube::api::PostParams;
use offset_reset_operator::{
    api::Phase,
    kafka::{Connection, Connector, Pool},
    machine::facts::{Committed, TopicPartition},
};
use serde_json::json;

use super::hostile::{Attack, Proxy};
use real_tests::{
    PATIENCE, brokers,
    process::{Process, kill},
    produce, reset, resets, topic, unique, wait_for_end, with_namespace, within,
};

/// Under which request a process is killed, by the request's number in Kafka's protocol.
const KILLED: [(&str, i16); 3] = [("offset-commit", 8), ("describe-groups", 15), ("list-offsets", 2)];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_client_does_when_it_is_killed_the_operator_lives_and_the_reset_ends_as_it_says() {
    with_namespace(async |client, namespace| {
        let topic = topic("killed", 1).await;
        produce(&topic, 0, &[1_571_812_144_000; 10]).await;
        let admin = Pool::default().connect(&Connection::plain(brokers())).await.unwrap();
        let (at, before) = ([TopicPartition::new(&topic, 0)], Committed { offset: 9, metadata: "".into() });
        let api = resets(&client, &namespace);
        let operator = Process::start(&["--namespace", &namespace, "--log", "warn"]).await;
        operator.until_leads().await;
        for (kind, number) in KILLED {
            let (group, proxy) = (unique(kind), Proxy::start(Attack::Withheld, number, &topic).await);
            assert_eq!(admin.commit(&group, &[(at[0].clone(), before.clone())]).await.unwrap()[&at[0]], Ok(()));
            let spec = json!({"targetRefs": [], "kafka": {"bootstrapServers": proxy.address}});
            let entries = json!([{"topic": topic, "offset": 4}]);
            let others = operator.clients();
            api.create(&PostParams::default(), &reset(&group, &group, &entries, &spec)).await.unwrap();
            let under_way = async {
                while proxy.spoiled.load(Ordering::SeqCst) == 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            within(PATIENCE, under_way).await.unwrap_or_else(|| panic!("{kind}: it was never asked"));
            let clients: Vec<u32> = operator.clients().into_iter().filter(|pid| !others.contains(pid)).collect();
            assert_eq!(clients.len(), 1, "{kind}");
            kill(clients[0]).await;
            let status = wait_for_end(&api, &group).await.status.unwrap();
            assert_eq!(status.phase, Some(Phase::Succeeded), "{kind}: {:?}", status.message);
            let committed = admin.committed(&group, &at).await.unwrap()[&at[0]].clone().unwrap().unwrap();
            assert_eq!(committed.offset, 4, "{kind}");
        }
        // The operator is ended as nothing can be answered to: no client outlives it.
        let clients = operator.clients();
        assert_eq!(clients.len(), KILLED.len(), "each has been started again, and once");
        operator.signal("KILL").await;
        let said = String::from_utf8(operator.ended().await.stdout).unwrap();
        let gone = async {
            // Of one that has ended, nothing is left in there.
            while clients.iter().any(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| !words.is_empty())) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(PATIENCE, gone).await.expect("none outlives the operator");
        let ended = said.lines().filter(|line| line.contains("a Kafka client's process exited") && line.contains("SIGKILL"));
        assert_eq!(ended.count(), KILLED.len(), "{said}");
    })
    .await;
}
