//! A stage for one reset: a namespace, a Deployment with real members of a group in the place of its pods, and an operator that is held
//! at one place. And what everything is like afterwards, asked of the API server and of the broker themselves.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::{
    apps::v1::Deployment,
    coordination::v1::Lease,
    core::v1::{ConfigMap, Namespace},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use offset_reset_operator::{
    api::{CanaryState, FINALIZER, OffsetReset, Phase, Reason},
    kafka::{GroupAdmin, Pool},
    machine::facts::{Committed, TopicPartition, group},
    run,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::fault::{At, Layer};
use real_tests::{
    broker::Broker,
    consumers::{Follower, Kind},
    deployment, install_crd,
    layer::{kafka, kubernetes},
    reset, resets, rights,
    shop::{Operator, T0, config, ended, status, succeeded},
    unique, within,
};

/// How long anything may take after something was away: whoever waits for it looks ever less often. Nothing is measured against it.
pub const LONG: Duration = Duration::from_mins(3);

/// The name of the OffsetReset on each stage.
const NAME: &str = "replay";

/// Where each group stands before, and where all of it must stand once it was reset: three partitions shifted by minus three, which
/// applied twice would show, and one reset to a time.
pub const BEFORE: [i64; 4] = [50, 8, 30, 90];
pub const AFTER: [i64; 4] = [47, 5, 27, 31];

/// What stands beside the offsets before.
const OF_THE_APPLICATION: &str = "of the application";

/// How many consumers each group has.
const MEMBERS: usize = 2;

/// What all stages share.
pub struct Theatre {
    client: Client,
    broker: Broker,
    topic: String,
}

impl Theatre {
    pub async fn open() -> Self {
        let client = real_tests::client().await;
        install_crd(&client).await;
        let broker = Broker::default();
        let topic = broker.topic("outages", 4).await;
        for partition in 0..4 {
            broker.produce(&topic, partition, &(0..100).map(|second| (T0 + second) * 1000).collect::<Vec<_>>()).await;
        }
        Self { client, broker, topic }
    }

    pub async fn close(self) {
        self.broker.delete_topic(&self.topic).await;
    }
}

pub struct Stage {
    pub at: At,
    pub layer: Arc<Layer>,
    client: Client,
    namespace: String,
    group: String,
    topic: String,
    spec: Value,
    admin: Arc<dyn GroupAdmin>,
    resets: Api<OffsetReset>,
    _follower: Follower,
    operator: Operator,
}

impl Stage {
    pub async fn open(theatre: &Theatre, at: At, spec: Value) -> Self {
        let (client, namespace, group) = (theatre.client.clone(), unique("test"), unique("outages"));
        let new: Namespace = serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &new).await.unwrap();
        let admin = theatre.broker.group_admin().await;
        let before: Vec<_> = partitions(&theatre.topic)
            .into_iter()
            .zip(BEFORE.map(|offset| Committed { offset, metadata: OF_THE_APPLICATION.into() }))
            .collect();
        let answers = admin.commit(&group, &before).await.unwrap();
        assert!(answers.values().all(Result::is_ok), "{answers:?}");
        deployment(
            &client,
            &namespace,
            "consumer",
            2,
            json!({"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "nobody-runs-it"}]}),
        )
        .await;
        let joins_within = Some(Duration::from_secs(30));
        let kind = Kind { never_commits: true, session_timeout_ms: Some(6_000), joins_within, ..Kind::default() };
        let topics = [theatre.topic.clone()];
        let follower = Follower::start(&client, &namespace, "consumer", &group, &topics, &kind);
        let resets = resets(&client, &namespace);
        let layer = Arc::new(Layer::new(at, resets.clone(), NAME));
        let operator = operator(&client, &namespace, &layer).await;
        let topic = theatre.topic.clone();
        let stage = Self { at, layer, client, namespace, group, topic, spec, admin, resets, _follower: follower, operator };
        stage.members_are_back().await.unwrap();
        stage
    }

    pub async fn apply(&self) {
        let mut entries: Vec<Value> =
            (0..3).map(|partition| json!({"topic": self.topic, "partition": partition, "shiftBy": -3})).collect();
        entries.push(json!({"topic": self.topic, "partition": 3, "timestamp": T0 + AFTER[3]}));
        // Nobody waits in vain for a member whose session the broker itself has slept through.
        let mut spec = json!({"sessionTimeout": "6s", "drainTimeout": "8m"});
        for (key, value) in self.spec.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let new = reset(NAME, &self.group, &Value::Array(entries), &spec);
        self.resets.create(&PostParams::default(), &new).await.unwrap();
    }

    pub async fn close(self) {
        self.operator.end().await;
        let namespaces = Api::<Namespace>::all(self.client.clone());
        // It may be gone.
        let _ = namespaces.delete(&self.namespace, &DeleteParams::background()).await;
    }

    pub async fn delete_reset(&self) {
        self.resets.delete(NAME, &DeleteParams::default()).await.unwrap();
    }

    pub async fn delete_namespace(&self) {
        Api::<Namespace>::all(self.client.clone()).delete(&self.namespace, &DeleteParams::background()).await.unwrap();
    }

    /// Waits until the reset is over and all that was held is let go.
    pub async fn settled(&self) -> Result<OffsetReset, String> {
        let is_over = |reset: &OffsetReset| {
            reset.status.as_ref().is_some_and(|status| status.completion_time.is_some())
                && !reset.finalizers().iter().any(|name| name == FINALIZER)
        };
        eventually("over and let go", async || self.resets.get(NAME).await.ok().filter(is_over)).await
    }

    /// Waits until it was refused, with nothing touched.
    pub async fn has_given_up(&self) {
        let refused = async || {
            let status = self.resets.get(NAME).await.ok()?.status?;
            (status.phase == Some(Phase::Failed) && status.hold.is_none()).then_some(())
        };
        // It may never be; whoever waits for this waits for something else too.
        if eventually("refused", refused).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// It has succeeded, as if nothing had been; or the broker was away for so long while it planned that it has given up, and nothing
    /// was touched. A canary of these consumers, which never commit, fails, or proves nothing without a broker.
    pub async fn has_ended_well(&self) -> Result<String, String> {
        let done = self.settled().await?;
        self.nothing_is_held().await?;
        self.members_are_back().await?;
        let status = status(&done);
        if self.at.phase == Phase::Planning && status.reason == Some(Reason::BrokerUnreachable) {
            self.offsets_are(false).await?;
            self.was_scaled(0).await?;
            return Ok("refused while planning, nothing was touched".into());
        }
        if let Some(canary) = &status.canary {
            let ends = match canary.state {
                CanaryState::Failed => (Phase::Failed, Reason::CanaryFailed),
                _ => (Phase::Succeeded, Reason::Succeeded),
            };
            ended(&done, ends.0, ends.1);
            self.offsets_are(true).await?;
            // One more time where it had come to be started.
            self.was_scaled(if canary.start_time.is_some() { 3 } else { 2 }).await?;
            return Ok(format!("the canary is {:?}, {} commits", canary.state, status.commits));
        }
        if status.phase != Some(Phase::Succeeded) {
            return Err(format!("{:?}: {:?}", status.reason, status.message));
        }
        succeeded(&done);
        self.offsets_are(true).await?;
        self.was_scaled(2).await?;
        self.receipt_is_true(true).await?;
        Ok(format!("succeeded, {} commits", status.commits))
    }

    pub async fn reset_is_gone(&self) -> Result<(), String> {
        eventually("gone", async || is_gone(&self.resets, NAME).await.then_some(())).await
    }

    pub async fn namespace_is_gone(&self) -> Result<(), String> {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        eventually("gone with its namespace", async || is_gone(&namespaces, &self.namespace).await.then_some(())).await
    }

    /// Waits until the namespace's end has come to the reset.
    pub async fn reset_is_being_deleted(&self) {
        let deleted = async || match self.resets.get_opt(NAME).await.unwrap() {
            Some(reset) => reset.metadata.deletion_timestamp.map(drop),
            None => Some(()),
        };
        eventually("deleted", deleted).await.unwrap();
    }

    /// The Deployment has its replicas, and no Lease says that anybody holds it.
    pub async fn nothing_is_held(&self) -> Result<(), String> {
        let leases = Api::<Lease>::namespaced(self.client.clone(), &self.namespace);
        let none = async || leases.list(&ListParams::default()).await.ok().filter(|found| found.items.is_empty()).map(drop);
        eventually("without a Lease", none).await?;
        match self.replicas().await {
            Some(2) => Ok(()),
            other => Err(format!("{other:?} replicas instead of 2")),
        }
    }

    pub async fn replicas(&self) -> Option<i32> {
        self.deployment().await.spec.and_then(|spec| spec.replicas)
    }

    async fn deployment(&self) -> Deployment {
        Api::namespaced(self.client.clone(), &self.namespace).get("consumer").await.unwrap()
    }

    /// Its generation counts how often its spec was changed since it was created.
    async fn was_scaled(&self, times: i64) -> Result<(), String> {
        let found = self.deployment().await.metadata.generation.unwrap_or_default() - 1;
        if found == times { Ok(()) } else { Err(format!("it was scaled {found} times instead of {times}")) }
    }

    /// The broker says that all consumers are in the group.
    pub async fn members_are_back(&self) -> Result<(), String> {
        let last = Mutex::new(String::new());
        let back = async || {
            let group = self.admin.describe_group(&self.group).await;
            *last.lock().unwrap() = format!("{group:?}");
            let group = group.ok()?;
            (group::members(&group) == MEMBERS && !group::is_rebalancing(&group)).then_some(())
        };
        let found = eventually("with all its members", back).await;
        let replicas = self.replicas().await;
        found.map_err(|why| format!("{why}: {replicas:?} replicas, and the broker says {}", last.lock().unwrap()))
    }

    async fn committed(&self) -> Result<[Committed; 4], String> {
        let read = async || {
            let all = partitions(&self.topic);
            let mut found = self.admin.committed(&self.group, &all).await.ok()?;
            all.iter().map(|at| found.remove(at)?.ok()?).collect::<Option<Vec<_>>>()?.try_into().ok()
        };
        eventually("read from the broker", read).await
    }

    pub async fn offsets(&self) -> Result<[i64; 4], String> {
        Ok(self.committed().await?.map(|committed| committed.offset))
    }

    /// All of them, or none; and what stands beside them says by whom.
    pub async fn offsets_are(&self, moved: bool) -> Result<(), String> {
        let committed = self.committed().await?;
        let offsets = committed.clone().map(|committed| committed.offset);
        if offsets != if moved { AFTER } else { BEFORE } {
            return Err(format!("the offsets are {offsets:?}"));
        }
        let marker = format!("offset-reset/{}/{NAME}/", self.namespace);
        let says = |committed: &Committed| {
            if moved {
                committed.metadata.text().is_some_and(|text| text.starts_with(&marker))
            } else {
                committed.metadata == OF_THE_APPLICATION
            }
        };
        if committed.iter().all(says) { Ok(()) } else { Err(format!("beside the offsets stands {committed:?}")) }
    }

    /// What is left of the reset says whether anything may have been committed.
    pub async fn receipt_is_true(&self, moved: bool) -> Result<String, String> {
        let config_maps = Api::<ConfigMap>::namespaced(self.client.clone(), &self.namespace);
        let receipts = ListParams::default().labels("offsetreset.dev/receipt=receipt");
        let found = config_maps.list(&receipts).await.map_err(|error| error.to_string())?.items;
        let line = |name: &str| found.first()?.data.as_ref()?.get(name).cloned();
        match (moved, line("state").as_deref(), line("message")) {
            (false, None, None) if found.is_empty() => Ok("nothing was committed, and no receipt is left".into()),
            (true, Some("Succeeded"), Some(_)) => Ok("its receipt says Succeeded".into()),
            (true, Some("Cancelled"), Some(message))
                if message.contains("may have been committed") || message.contains("4 offsets") =>
            {
                Ok(format!("its receipt says Cancelled: {message}"))
            }
            (_, state, message) => Err(format!("{} receipts, {state:?}: {message:?}", found.len())),
        }
    }
}

async fn operator(admin: &Client, namespace: &str, layer: &Arc<Layer>) -> Operator {
    let client = kubernetes::client(&rights::operators_client(admin).await, Arc::clone(layer));
    let kafka = Arc::new(kafka::Layered { pool: Pool::default(), layer: Arc::clone(layer) });
    let (stop, config) = (CancellationToken::new(), config(namespace));
    let task = tokio::spawn(run::operate_on(client, config, kafka, stop.clone()));
    Operator { stop, task }
}

fn partitions(topic: &str) -> Vec<TopicPartition> {
    (0..4).map(|partition| TopicPartition::new(topic, partition)).collect()
}

async fn is_gone<K>(api: &Api<K>, name: &str) -> bool
where
    K: Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    matches!(api.get_opt(name).await, Ok(None))
}

/// Asks until there is an answer. Whom it asks may just be coming back, so that there is nothing that could be watched.
async fn eventually<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> Result<T, String> {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within(LONG, asking).await.ok_or_else(|| format!("it never was {what}"))
}
