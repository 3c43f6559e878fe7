//! Objects that nobody can decode: they stop nobody else, and say what is wrong with them.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{coordination::v1::Lease, core::v1::Event};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::DynamicObject,
    discovery::ApiResource,
};
use offset_reset_operator::{
    api::{OffsetReset, Phase, Reason},
    kafka::{Connection, Connector, GroupAdmin, Pool},
    machine::facts::{Committed, TopicPartition},
};
use serde_json::json;

use real_tests::{
    PATIENCE, brokers,
    consumers::{Consumed, Kind, Member, members},
    deployment,
    generators::refusals,
    produce, replicas, reset, resets,
    shop::{Operator, status},
    topic, unique, wait_for, wait_for_end, wait_for_phase, wait_until_gone, with_namespace, within,
};

/// What the schema lets through, and no type can hold: a time with a zone that there is not. Nothing but a status can have it: for the spec there is a rule.
fn junk() -> serde_json::Value {
    json!({"status": {"observedGeneration": 1, "phase": "Stopping", "startTime": "2026-11-24T18:00:00+99:99"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_be_decoded_stops_nobody_else_and_says_so() {
    with_namespace(async |client, namespace| {
        let (topic, group) = (topic("junk", 1).await, unique("junk"));
        produce(&topic, 0, &[1_571_812_144_000; 10]).await;
        let admin = Pool::default().connect(&Connection::plain(brokers())).await.unwrap();
        let (at, before) = (TopicPartition::new(&topic, 0), Committed { offset: 9, metadata: "".into() });
        assert_eq!(admin.commit(&group, &[(at.clone(), before)]).await.unwrap()[&at], Ok(()));

        let resource = ApiResource::erase::<OffsetReset>(&());
        let raw: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
        let suspended = refusals::changed(&json!({"suspend": true, "group": group}));
        for name in ["junk-1", "junk-2"] {
            let object = DynamicObject::new(name, &resource).data(json!({"spec": suspended}));
            raw.create(&PostParams::default(), &object).await.unwrap();
            raw.patch_status(name, &PatchParams::default(), &Patch::Merge(junk())).await.unwrap();
        }
        let api = resets(&client, &namespace);
        assert!(api.get("junk-1").await.is_err(), "it can be decoded");

        // One that comes before the operator, one that it meets, and one that becomes junk while it works.
        let operator = Operator::start(&client, &namespace);
        let entries = json!([{"topic": topic, "offset": 4}]);
        for name in ["first", "second"] {
            api.create(&PostParams::default(), &reset(name, &group, &entries, &json!({"targetRefs": [], "runId": name})))
                .await
                .unwrap();
            let done = wait_for_end(&api, name).await;
            assert_eq!(status(&done).phase, Some(Phase::Succeeded), "{:?}", status(&done).message);
            raw.patch_status(name, &PatchParams::default(), &Patch::Merge(junk())).await.unwrap();
        }
        let events: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let told = async {
            loop {
                let all = events.list(&ListParams::default()).await.unwrap();
                let about = |event: &&Event| event.involved_object.name.as_deref() == Some("junk-2");
                if let Some(event) = all.iter().find(about) {
                    return event.message.clone().unwrap_or_default();
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        let message = within(PATIENCE, told).await.expect("an Event says what is wrong");
        assert!(message.contains("not a valid OffsetReset") && message.contains("it is ignored"), "{message}");
        // Nothing of ours keeps it from going.
        raw.delete("junk-1", &DeleteParams::default()).await.unwrap();
        assert!(raw.get_opt("junk-1").await.unwrap().is_none_or(|left| left.finalizers().is_empty()));
        operator.end().await;
    })
    .await;
}

/// A Deployment whose group has a member outside of the cluster, so that it does not become empty.
struct Occupied {
    topic: String,
    group: String,
    member: Member,
    admin: Arc<dyn GroupAdmin>,
}

impl Occupied {
    async fn new(client: &Client, namespace: &str) -> Self {
        let (topic, group) = (topic("junk", 1).await, unique("junk"));
        produce(&topic, 0, &[1_571_812_144_000; 10]).await;
        let kind = Kind::default();
        let member = Member::start(&group, std::slice::from_ref(&topic), &kind, 0, Consumed::default());
        let admin = Pool::default().connect(&Connection::plain(brokers())).await.unwrap();
        members(admin.as_ref(), &group, 1).await;
        deployment(client, namespace, "consumer", 2, json!({"containers": [{"name": "c", "image": "nobody-runs-it"}]})).await;
        Self { topic, group, member, admin }
    }
}

/// Creates a reset, and waits until it holds the Deployment at zero.
async fn hold(client: &Client, namespace: &str, name: &str, group: &str, topic: &str) {
    let (api, entries) = (resets(client, namespace), json!([{"topic": topic, "offset": 4}]));
    let spec = json!({"drainTimeout": "10m", "holdTimeout": "20m", "allowNewGroup": true});
    api.create(&PostParams::default(), &reset(name, group, &entries, &spec)).await.unwrap();
    wait_for_phase(&api, name, Phase::Draining).await;
    assert_eq!(replicas(client, namespace, "consumer").await, 0);
}

/// Whatever becomes of the object: the consumers come back, and nothing is committed for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_for_one_that_cannot_be_decoded_any_more_comes_back() {
    with_namespace(async |client, namespace| {
        let Occupied { topic, group, member, admin } = Occupied::new(&client, &namespace).await;
        let (api, operator) = (resets(&client, &namespace), Operator::start(&client, &namespace));
        hold(&client, &namespace, "held", &group, &topic).await;

        let resource = ApiResource::erase::<OffsetReset>(&());
        let raw: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
        raw.patch_status("held", &PatchParams::default(), &Patch::Merge(junk())).await.unwrap();
        assert!(api.get("held").await.is_err(), "it can be decoded");
        let leases = Api::<Lease>::namespaced(client.clone(), &namespace);
        let back = async {
            while replicas(&client, &namespace, "consumer").await != 2
                || !leases.list(&ListParams::default()).await.unwrap().items.is_empty()
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(PATIENCE, back).await.expect("it comes back, and nothing remembers that it was held");
        let at = TopicPartition::new(&topic, 0);
        let committed = admin.committed(&group, std::slice::from_ref(&at)).await.unwrap()[&at].clone().unwrap();
        assert_ne!(committed.map(|committed| committed.offset), Some(4), "nothing was committed for it");
        // It still has the operator's finalizer.
        assert_eq!(raw.get("held").await.unwrap().finalizers().len(), 1);
        raw.delete("held", &DeleteParams::default()).await.unwrap();
        let gone = async {
            while raw.get_opt("held").await.unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(PATIENCE, gone).await.expect("nothing is held for it, so it goes");
        operator.end().await;
        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
    })
    .await;
}

/// What another version of the operator may have written, in the middle of a hold.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_version_has_written_is_stored_and_read_and_its_consumers_come_back() {
    with_namespace(async |client, namespace| {
        let Occupied { topic, group, member, .. } = Occupied::new(&client, &namespace).await;
        let (api, operator) = (resets(&client, &namespace), Operator::start(&client, &namespace));
        for (name, change) in [
            ("known-phase", json!({"status": {"reason": "WaitingForTheMoon", "lastAction": {"type": "Howl", "subject": "s", "time": "2026-11-24T18:00:00.000000Z"}}})),
            ("unknown-phase", json!({"status": {"phase": "Howling", "reason": "TheMoonIsFull"}})),
        ] {
            hold(&client, &namespace, name, &group, &topic).await;
            api.patch_status(name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
            if name == "known-phase" {
                api.delete(name, &DeleteParams::default()).await.unwrap();
                wait_until_gone(&api, name).await;
            } else {
                let ended = wait_for_end(&api, name).await;
                let (phase, reason) = (status(&ended).phase, status(&ended).reason);
                assert_eq!((phase, reason), (Some(Phase::Failed), Some(Reason::OtherVersion)), "{:?}", status(&ended).message);
            }
            assert_eq!(replicas(&client, &namespace, "consumer").await, 2, "{name}");
        }
        // One that another version has ended is left alone, word for word.
        let change = json!({"status": {"phase": "SucceededLater", "reason": "TheMoonHasSet"}});
        let raw: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &ApiResource::erase::<OffsetReset>(&()));
        raw.patch_status("unknown-phase", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
        raw.patch("unknown-phase", &PatchParams::default(), &Patch::Merge(json!({"spec": {"suspend": true}}))).await.unwrap();
        // Another reset that ends after that: the first was looked at as well.
        let (next, entries) = (json!({"targetRefs": [], "dryRun": true}), json!([{"topic": topic, "offset": 4}]));
        api.create(&PostParams::default(), &reset("next", &group, &entries, &next)).await.unwrap();
        wait_for_end(&api, "next").await;
        let left = raw.get("unknown-phase").await.unwrap();
        assert_eq!(left.data["status"]["phase"], "SucceededLater");
        operator.end().await;
        tokio::task::spawn_blocking(move || drop(member)).await.unwrap();
    })
    .await;
}

/// `suspend` may be changed at any time, also in Git after the run; tools that wait compare the generations.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_after_the_end_is_observed() {
    with_namespace(async |client, namespace| {
        let (topic, group) = (topic("observed", 1).await, unique("observed"));
        produce(&topic, 0, &[1_571_812_144_000; 10]).await;
        let (api, operator) = (resets(&client, &namespace), Operator::start(&client, &namespace));
        let entries = json!([{"topic": topic, "offset": 4}]);
        let spec = json!({"targetRefs": [], "allowNewGroup": true});
        api.create(&PostParams::default(), &reset("over", &group, &entries, &spec)).await.unwrap();
        let over = wait_for_end(&api, "over").await;
        assert_eq!(status(&over).phase, Some(Phase::Succeeded), "{:?}", status(&over).message);
        let changed = json!({"spec": {"suspend": true}});
        let changed = api.patch("over", &PatchParams::default(), &Patch::Merge(changed)).await.unwrap();
        assert_eq!(changed.metadata.generation, Some(2));
        let observed = wait_for(&api, "over", "observed", |reset| status(reset).observed_generation == Some(2)).await;
        assert_eq!((status(&observed).phase, status(&observed).commits), (Some(Phase::Succeeded), 1));
        operator.end().await;
    })
    .await;
}
