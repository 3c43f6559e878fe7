//! Clients in processes of their own: what happens when such a process ends, for whatever reason.

use std::sync::Arc;

use offset_reset_operator::{
    kafka::{Connection, Connector, GroupAdmin, Pool},
    machine::facts::KafkaErrorKind,
};
use tokio::{io::AsyncReadExt, net::TcpListener};

use real_tests::{
    PATIENCE, brokers,
    process::{clients_with, kill},
    unique, within,
};

/// Clients whose processes can be told from all others of this test's process.
struct Marked {
    pool: Pool,
    mark: String,
}

impl Marked {
    fn new() -> Self {
        let mark = unique("apart").replace('-', "_");
        let words = ["--log", &format!("off,{mark}=off")];
        Self { pool: clients_with(&words, Arc::new(|| std::time::Duration::MAX)), mark }
    }

    fn processes(&self) -> Vec<u32> {
        let is_ours = |pid: &u32| {
            let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.contains(&self.mark)
        };
        real_tests::process::clients_of(std::process::id()).into_iter().filter(is_ours).collect()
    }

    async fn connect(&self, brokers: &str) -> Arc<dyn GroupAdmin> {
        self.pool.connect(&Connection::plain(brokers)).await.unwrap()
    }

    async fn until_none_is_left(&self) {
        let gone = async {
            while !self.processes().is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        within(PATIENCE, gone).await.expect("no process is left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_process_is_killed_ends_with_what_has_happened() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (marked, address) = (Marked::new(), listener.local_addr().unwrap().to_string());
    let admin = marked.connect(&address).await;
    assert!(marked.processes().is_empty(), "none is started before anything is asked");
    let asked = async {
        loop {
            // Whoever only looks whether somebody listens says nothing.
            let (mut stream, _) = listener.accept().await.unwrap();
            if stream.read_u8().await.is_ok() {
                let processes = marked.processes();
                assert_eq!(processes.len(), 1);
                kill(processes[0]).await;
                return;
            }
        }
    };
    let (both, ()) = tokio::join!(futures::future::join(admin.cluster_id(), admin.describe_group("orders")), asked);
    for error in [both.0.unwrap_err(), both.1.unwrap_err()] {
        assert_eq!(error.kind, KafkaErrorKind::Timeout, "{error}");
        assert!(error.message.contains(&address) && error.message.contains("signal: 9 (SIGKILL)"), "{error}");
    }
    marked.until_none_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_serves_many_calls_is_started_again_and_ends_with_its_client() {
    let marked = Marked::new();
    let admin = marked.connect(&brokers()).await;
    let ids = futures::future::join_all((0..40).map(|_| admin.cluster_id())).await;
    assert!(ids.iter().all(|id| matches!(id, Ok(Some(_)))), "{ids:?}");
    let first = marked.processes();
    assert_eq!(first.len(), 1);
    kill(first[0]).await;
    let again = async { while admin.cluster_id().await.is_err() {} };
    within(PATIENCE, again).await.expect("another process answers");
    assert_eq!(marked.processes().len(), 1);
    drop((admin, marked.pool));
    let gone = async {
        while real_tests::process::clients_of(std::process::id())
            .iter()
            .any(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().contains(&marked.mark))
        {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    within(PATIENCE, gone).await.expect("it goes with the pool");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_clusters_than_there_may_be_processes_are_each_asked_in_turn() {
    // Each address is another connection to the same brokers; where nobody listens no process is started.
    let marked = Marked::new();
    let none = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = marked.connect(&none.to_string()).await.cluster_id().await.unwrap_err();
    assert!(refused.kind == KafkaErrorKind::Unreachable && refused.message.contains("connection refused by"), "{refused}");
    assert!(marked.processes().is_empty());
    let admins = futures::future::join_all((1..=40).map(async |count| {
        let list = vec![brokers(); count].join(",");
        marked.connect(&list).await
    }))
    .await;
    let ids = futures::future::join_all(admins.iter().map(|admin| admin.cluster_id())).await;
    assert!(ids.iter().all(|id| matches!(id, Ok(Some(_)))), "{ids:?}");
    assert!(marked.processes().len() <= 32, "{:?}", marked.processes());
}
