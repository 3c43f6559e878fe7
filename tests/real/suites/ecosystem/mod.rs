//! Beside the controllers of others: KEDA's operator and Flux's kustomize-controller, the real ones, with the operator and a real broker.
//!
//! They run in a sandbox that was started with `--ecosystem`: `make test-ecosystem`.

mod flux;
mod hpa;
mod keda;
mod permissions;
mod scaled_object;
mod source;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use offset_reset_operator::{
    api::{OffsetReset, Phase},
    kafka::GroupAdmin,
    machine::facts::{Committed, TopicPartition, group},
};
use real_tests::{
    PATIENCE,
    broker::Broker,
    consumers::{Consumed, Kind, Member},
    deployment, replicas, reset, resets,
    shop::{Operator, T0},
    unique, with_namespace, within,
};
use serde_json::{Value, json};

/// A namespace with the operator, a Deployment `consumer` of two replicas that nobody runs, and a group that lags behind.
struct Stand {
    client: Client,
    namespace: String,
    api: Api<OffsetReset>,
    broker: Broker,
    admin: Arc<dyn GroupAdmin>,
    /// 100 records in one partition, of which the group has consumed 50.
    topic: String,
    group: String,
}

impl Stand {
    async fn with<T>(test: impl AsyncFnOnce(&Self) -> T) {
        with_namespace(async |client, namespace| {
            let stand = Self::open(client, namespace).await;
            let operator = Operator::start(&stand.client, &stand.namespace);
            test(&stand).await;
            operator.end().await;
        })
        .await;
    }

    /// Without an operator.
    async fn open(client: Client, namespace: String) -> Self {
        permissions::grant(&client, &namespace, &permissions::of_the_component()).await;
        Self::open_without_rights(client, namespace).await
    }

    /// Without an operator, and without rights on KEDA's objects for it.
    async fn open_without_rights(client: Client, namespace: String) -> Self {
        assert!(
            std::env::var_os("SANDBOX_ECOSYSTEM").is_some(),
            "KEDA and Flux do not run here: `make test-ecosystem`, or `cargo sandbox up --ecosystem`"
        );
        let broker = Broker::default();
        let (topic, group) = (broker.topic("ecosystem", 1).await, unique("ecosystem"));
        broker.produce(&topic, 0, &(0..100).map(|second| (T0 + second) * 1000).collect::<Vec<_>>()).await;
        let admin = broker.group_admin().await;
        let stand = Self { api: resets(&client, &namespace), client, namespace, broker, admin, topic, group };
        stand.commit(&stand.group, 50).await;
        stand
    }

    async fn commit(&self, group: &str, offset: i64) {
        let at = TopicPartition::new(&self.topic, 0);
        let answers = self.admin.commit(group, &[(at.clone(), Committed { offset, metadata: String::new() })]).await.unwrap();
        assert!(answers[&at].is_ok(), "{answers:?}");
    }

    async fn committed(&self, group: &str) -> Option<i64> {
        let at = TopicPartition::new(&self.topic, 0);
        let found = self.admin.committed(group, std::slice::from_ref(&at)).await.unwrap();
        found[&at].as_ref().unwrap().as_ref().map(|committed| committed.offset)
    }

    async fn deployment(&self) {
        let pod = json!({"containers": [{"name": "c", "image": "nobody-runs-it"}]});
        deployment(&self.client, &self.namespace, "consumer", 2, pod).await;
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn replicas(&self) -> i32 {
        replicas(&self.client, &self.namespace, "consumer").await
    }

    /// Somebody scales the Deployment by hand.
    async fn scale(&self, replicas: i32) {
        let patch = json!({"spec": {"replicas": replicas}});
        self.deployments().patch_scale("consumer", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// How often its spec was changed since it was created.
    async fn changes(&self) -> i64 {
        self.deployments().get("consumer").await.unwrap().metadata.generation.unwrap() - 1
    }

    async fn until(&self, what: &str, mut wished: impl AsyncFnMut(&Self) -> bool) {
        let waiting = async {
            while !wished(self).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(within(PATIENCE, waiting).await.is_some(), "never was: {what}");
    }

    /// Waits until nobody is said to hold anything.
    async fn no_leases(&self) {
        let leases = Api::<Lease>::namespaced(self.client.clone(), &self.namespace);
        self.until("without Leases", async |_| leases.list(&ListParams::default()).await.unwrap().items.is_empty()).await;
    }

    /// A member of the group that consumes another topic: as long as it is there the group is not empty, and its lag stays.
    async fn member(&self, group: &str) -> Member {
        let other = self.broker.topic("other", 1).await;
        let member = Member::start(group, &[other], &Kind::default(), 0, Consumed::default());
        let admin = &self.admin;
        self.until("joined", async |_| group::members(&admin.describe_group(group).await.unwrap()) == 1).await;
        member
    }

    /// Asks for offset 30 for the group.
    async fn apply(&self, name: &str) {
        self.apply_for(name, &self.group, json!({})).await;
    }

    async fn apply_for(&self, name: &str, group: &str, spec: Value) {
        let entries = json!([{"topic": self.topic, "offset": 30}]);
        self.api.create(&PostParams::default(), &reset(name, group, &entries, &spec)).await.unwrap();
    }

    /// A reset that holds the Deployment at zero until the member that is returned is dropped.
    async fn hold(&self, name: &str) -> Member {
        let member = self.member(&self.group).await;
        self.apply(name).await;
        real_tests::wait_for_phase(&self.api, name, Phase::Draining).await;
        assert_eq!(self.replicas().await, 0);
        member
    }
}

/// Stopping a member blocks.
async fn stop(member: Member) {
    tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
}
