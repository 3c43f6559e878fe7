//! What is stored of an object that a tool applies, and which values are the same value.

use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    core::DynamicObject,
    discovery::ApiResource,
};
use offset_reset_operator::api::OffsetReset;
use real_tests::{reset, resets, with_namespace};
use serde_json::{Value, json};

/// What a GitOps tool compares: the fields that it has applied. A list is one value, so an item with an added default differs.
#[tokio::test(flavor = "multi_thread")]
async fn lists_are_stored_as_they_were_applied_by_server_side_apply() {
    with_namespace(async |client, namespace| {
        let trusted = json!([{"secretName": "ca", "certificate": "ca.crt"}]);
        let sent = json!({
            "targetRefs": [{"name": "consumer"}, {"name": "consumer", "kind": "StatefulSet"}],
            "kafka": {"bootstrapServers": "kafka:9093", "tls": {"trustedCertificates": trusted}},
            "group": "g",
            "resets": [{"topic": "orders", "offset": 10}, {"topic": "payments", "partition": 3, "position": "Latest"}],
        });
        let object = json!({"apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "applied"}, "spec": sent});
        let resource = ApiResource::erase::<OffsetReset>(&());
        let api = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &resource);
        let mut versions = vec![];
        for manager in ["argocd-controller", "argocd-controller", "argocd-controller", "kustomize-controller"] {
            let applied = api.patch("applied", &PatchParams::apply(manager), &Patch::Apply(&object)).await.unwrap();
            for pointer in ["/targetRefs", "/resets", "/kafka"] {
                assert_eq!(applied.data["spec"].pointer(pointer), sent.pointer(pointer), "{pointer} by {manager}");
            }
            assert_eq!(applied.data["spec"]["outOfRange"], "Clamp", "defaults outside of lists are stored, and no tool minds them");
            assert_eq!(applied.metadata.generation, Some(1), "no spec is changed");
            versions.push(applied.resource_version().unwrap());
        }
        // The second apply stores the default of the status, which the API server adds to every object that it reads.
        assert_eq!(versions[1], versions[2], "another apply writes nothing");
        let stored = resets(&client, &namespace).get("applied").await.unwrap().spec;
        assert_eq!((stored.resets[0].partition, stored.resets[1].partition), (-1, 3));
        assert_eq!((stored.target_refs[0].kind.as_str(), stored.target_refs[0].api_version.as_str()), ("Deployment", "apps/v1"));
        assert_eq!(stored.target_refs[1].kind, "StatefulSet");
    })
    .await;
}

/// A default that is written and one that is left out are the same value.
#[rstest::rstest]
#[case::both_left_out(json!([{"name": "a"}, {"name": "a"}]), true)]
#[case::one_kind_written(json!([{"name": "a"}, {"name": "a", "kind": "Deployment"}]), true)]
#[case::one_version_written(json!([{"name": "a", "apiVersion": "apps/v1"}, {"name": "a"}]), true)]
#[case::both_written(json!([{"name": "a", "apiVersion": "apps/v1"}, {"name": "a", "kind": "Deployment"}]), true)]
#[case::another_kind(json!([{"name": "a"}, {"name": "a", "kind": "StatefulSet"}]), false)]
#[case::another_group(json!([{"name": "a", "kind": "Thing", "apiVersion": "x.dev/v1"}, {"name": "a", "kind": "Thing", "apiVersion": "y.dev/v1"}]), false)]
#[case::another_group_with_the_usual_kind(json!([{"name": "a"}, {"name": "a", "apiVersion": "x.dev/v1"}]), false)]
#[case::another_name(json!([{"name": "a"}, {"name": "b"}]), false)]
#[tokio::test(flavor = "multi_thread")]
async fn a_workload_is_named_once_whether_its_kind_is_written_or_not(#[case] targets: Value, #[case] is_twice: bool) {
    with_namespace(async |client, namespace| {
        let object = json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "r"},
            "spec": {"targetRefs": targets, "kafka": {"bootstrapServers": "k:1"}, "group": "g", "resets": [{"topic": "t", "offset": 1}]},
        });
        let resource = ApiResource::erase::<OffsetReset>(&());
        let api = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &resource);
        let answer = api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await;
        match answer {
            Ok(_) => assert!(!is_twice),
            Err(error) => assert!(is_twice && error.to_string().contains("names the same workload twice"), "{error}"),
        }
    })
    .await;
}

#[rstest::rstest]
#[case::name("kafka:9092", true)]
#[case::names("kafka-0.kafka:9092,kafka-1.kafka:9092", true)]
#[case::ipv4("10.0.0.1:9092,10.0.0.2:9092", true)]
#[case::ipv6("[fd00::1]:9092", true)]
#[case::several_ipv6("[fd00::1]:9092,[fd00::2]:9092,[::ffff:10.0.0.3]:9092", true)]
#[case::mixed("[fd00::1]:9092,kafka:9092,10.0.0.1:9092", true)]
#[case::ipv6_without_brackets("fd00::1:9092", false)]
#[case::brackets_around_a_name("[kafka]:9092", false)]
#[case::no_port("[fd00::1]", false)]
#[case::empty_entry("[fd00::1]:9092,,[fd00::2]:9092", false)]
#[case::a_trailing_comma("kafka:9092,", false)]
#[tokio::test(flavor = "multi_thread")]
async fn brokers_are_listed_by_name_and_by_address_of_either_family(#[case] servers: &str, #[case] is_valid: bool) {
    with_namespace(async |client, namespace| {
        let new =
            real_tests::reset("r", "g", &json!([{"topic": "t", "offset": 1}]), &json!({"kafka": {"bootstrapServers": servers}}));
        match resets(&client, &namespace).create(&PostParams::default(), &new).await {
            Ok(_) => assert!(is_valid),
            Err(error) => assert!(!is_valid && error.to_string().contains("An IPv6 address stands in brackets"), "{error}"),
        }
        // The operator has the same rule.
        assert_eq!(offset_reset_operator::api::BootstrapServers::parse(servers).is_some(), is_valid);
    })
    .await;
}

/// Which client wrote which field is recorded for the status as a whole: a list of its fields would be a third of the object.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_keeps_one_owner_for_the_whole_status() {
    with_namespace(async |client, namespace| {
        let api = resets(&client, &namespace);
        let new = reset("owned", "group", &json!([{"topic": "orders", "offset": 10}]), &json!({"targetRefs": []}));
        let stored = api.create(&PostParams::default(), &new).await.unwrap();
        let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "R", "message": "m", "lastTransitionTime": "2026-11-24T18:00:00Z"});
        let status = json!({"phase": "Planning", "commits": 0, "conditions": [condition("Planned"), condition("Ready")]});
        let patch = Patch::Merge(json!({ "status": status }));
        let params = PatchParams { field_manager: Some("the-operator".into()), ..PatchParams::default() };
        let written = api.patch_status(&stored.name_any(), &params, &patch).await.unwrap();
        let owner = written.managed_fields().iter().find(|entry| entry.manager.as_deref() == Some("the-operator")).unwrap();
        assert_eq!(owner.fields_v1.as_ref().unwrap().0, json!({"f:status": {}}));
    })
    .await;
}
