//! Beside the controllers of others: KEDA's operator and Flux's kustomize-controller, the real ones, with the operator and a real broker.
//!
//! They run in a sandbox that was started with `--ecosystem`: `make test-ecosystem`.

mod flux;
mod hpa;
mod keda;
mod permissions;
mod scaled_object;
mod source;

use std::ops::Deref;

use kube::{
    Client,
    api::{Patch, PatchParams, PostParams},
};
use offset_reset_operator::api::Phase;
use real_tests::{
    consumers::{Consumed, Kind, Member},
    env::GroupEnv,
    reset,
    shop::T0,
    with_namespace,
};
use serde_json::{Value, json};

/// A namespace with the operator, a Deployment `consumer` of two replicas that nobody runs, and a group that lags behind.
///
/// The topic has 100 records in one partition, of which the group has consumed 50.
struct Stand(GroupEnv);

impl Deref for Stand {
    type Target = GroupEnv;

    fn deref(&self) -> &GroupEnv {
        &self.0
    }
}

impl Stand {
    async fn with<T>(test: impl AsyncFnOnce(&Self) -> T) {
        with_namespace(async |client, namespace| {
            let stand = Self::open(client, namespace).await;
            stand.operated(async || _ = test(&stand).await).await;
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
        let records: Vec<i64> = (0..100).map(|second| T0 + second).collect();
        Self(GroupEnv::open(client, namespace, "ecosystem", &records, 50).await)
    }

    async fn commit(&self, group: &str, offset: i64) {
        self.0.commit(group, &self.topic, &[(0, offset)]).await;
    }

    async fn committed(&self, group: &str) -> Option<i64> {
        self.offset_of(group).await
    }

    /// Somebody scales the Deployment by hand.
    async fn scale(&self, replicas: i32) {
        let patch = json!({"spec": {"replicas": replicas}});
        self.deployments().patch_scale("consumer", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// A member of the group that consumes another topic: as long as it is there the group is not empty, and its lag stays.
    async fn member(&self, group: &str) -> Member {
        let other = self.broker.topic("other", 1).await;
        let member = Member::start(group, &[other], &Kind::default(), 0, Consumed::default());
        self.members(group, 1).await;
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
