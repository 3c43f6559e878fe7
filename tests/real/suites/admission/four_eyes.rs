//! deploy/four-eyes: everybody may plan, and only whoever has the verb `run` lets a reset move offsets.

use super::*;

/// A namespace in which the policy counts.
async fn four_eyes(test: impl AsyncFnOnce(&Client, &str)) {
    with_namespace(async |admin, namespace| {
        installed(&admin).await;
        let labels = json!({"metadata": {"labels": {FOUR_EYES: "true"}}});
        let namespaces = Api::<Namespace>::all(admin.clone());
        namespaces.patch(&namespace, &PatchParams::default(), &Patch::Merge(&labels)).await.unwrap();
        let nobody = Person::new("nobody").await.may(&admin, &namespace, &[RESETS]).await;
        let counts = async {
            while create(&nobody.client, &namespace, &reset("probe", &json!({}))).await.is_ok() {
                resets(&admin, &namespace).delete("probe", &kube::api::DeleteParams::default()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(PATIENCE, counts).await.expect("the policy counts here");
        test(&admin, &namespace).await;
    })
    .await;
}

/// Somebody who may write resets, and somebody who may let them run and not create any, as deploy/four-eyes/roles.yaml has it.
async fn author_and_runner(admin: &Client, namespace: &str) -> (Person, Person) {
    let author = Person::new("author").await.may(admin, namespace, &[RESETS, "update offsetresets.offsetreset.dev"]).await;
    let runner = Person::new("runner").await;
    let runner = runner.may(admin, namespace, &["get,list,watch,patch,update,run offsetresets.offsetreset.dev"]).await;
    (author, runner)
}

#[rstest::rstest]
#[case::at_once(json!({"suspend": false}))]
#[case::explicitly(json!({"suspend": false, "dryRun": false}))]
#[case::suspended(json!({"suspend": true}))]
#[case::an_undo(json!({"suspend": false, "resets": [], "undo": {"name": "other"}}))]
#[case::without_targets(json!({"suspend": false, "targetRefs": []}))]
#[tokio::test(flavor = "multi_thread")]
async fn an_author_creates_dry_runs_only(#[case] spec: Value) {
    four_eyes(async |admin, namespace| {
        let (author, runner) = author_and_runner(admin, namespace).await;
        let object = reset("r", &spec);
        let why = refused(&create(&author.client, namespace, &object).await, "four-eyes", "may not let this OffsetReset run");
        assert!(why.contains("Create it with dryRun: true; a user with that verb then changes dryRun to false"), "{why}");
        let mut generated = object.clone();
        generated["metadata"] = json!({"generateName": "r-"});
        refused(&create(&author.client, namespace, &generated).await, "four-eyes", "the verb run on offsetresets");
        let params = PatchParams::apply("author").force();
        let applied = api(&author.client, namespace, &object).patch("r", &params, &Patch::Apply(&object)).await;
        refused(&applied.map_err(|error| words(&error)), "four-eyes", "the verb run on offsetresets");

        let mut dry = object.clone();
        dry["spec"]["dryRun"] = json!(true);
        let params = PatchParams::apply("author").force();
        for _ in 0..2 {
            api(&author.client, namespace, &dry).patch("r", &params, &Patch::Apply(&dry)).await.unwrap();
        }
        let own = json!({"metadata": {"labels": {"team": "shop"}}});
        patch(&author.client, namespace, &dry, &own).await.unwrap();
        // Removed, the field has its default, which is false.
        for run in [
            json!({"spec": {"dryRun": false}}),
            json!({"spec": {"dryRun": null}}),
            json!({"spec": {"dryRun": false, "suspend": true}}),
        ] {
            let why =
                refused(&patch(&author.client, namespace, &dry, &run).await, "four-eyes", "may not let this OffsetReset run");
            assert!(why.contains("A user with that verb can do it"), "{why}");
        }
        let mut replaced = api(admin, namespace, &dry).get("r").await.unwrap();
        replaced.data["spec"]["dryRun"] = json!(false);
        let replaced = api(&author.client, namespace, &dry).replace("r", &PostParams::default(), &replaced).await;
        refused(&replaced.map_err(|error| words(&error)), "four-eyes", "may not let this OffsetReset run");
        let without = api(&author.client, namespace, &object).patch("r", &params, &Patch::Apply(&object)).await;
        refused(&without.map_err(|error| words(&error)), "four-eyes", "may not let this OffsetReset run");

        patch(&runner.client, namespace, &dry, &json!({"spec": {"dryRun": false}})).await.unwrap();
        let forbidden = create(&runner.client, namespace, &reset("own", &json!({}))).await.unwrap_err();
        assert!(forbidden.contains("cannot create resource \"offsetresets\""), "{forbidden}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_suspension_needs_the_verb_and_a_suspension_does_not() {
    four_eyes(async |admin, namespace| {
        let (author, runner) = author_and_runner(admin, namespace).await;
        let object = reset("r", &json!({"suspend": true}));
        create(admin, namespace, &object).await.unwrap();
        let (suspend, resume) = (json!({"spec": {"suspend": true}}), json!({"spec": {"suspend": false}}));
        for end in [&resume, &json!({"spec": {"suspend": null}})] {
            refused(&patch(&author.client, namespace, &object, end).await, "four-eyes", "may not let this OffsetReset run");
        }
        patch(&runner.client, namespace, &object, &resume).await.unwrap();
        // What changes nothing, or stops it, needs no verb; nor does what concerns a dry run.
        patch(&author.client, namespace, &object, &resume).await.unwrap();
        patch(&author.client, namespace, &object, &json!({"metadata": {"annotations": {"a": "b"}}})).await.unwrap();
        patch(&author.client, namespace, &object, &suspend).await.unwrap();
        let dry = reset("dry", &json!({"suspend": true, "dryRun": true}));
        create(&author.client, namespace, &dry).await.unwrap();
        patch(&author.client, namespace, &dry, &resume).await.unwrap();
        resets(&author.client, namespace).delete("r", &kube::api::DeleteParams::default()).await.unwrap();
        refused(&create(&author.client, namespace, &object).await, "four-eyes", "may not let this OffsetReset run");
    })
    .await;
}

/// What the reset was when it was reviewed is what runs: another one under its name is not let run.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_was_exchanged_after_its_review_is_not_run() {
    four_eyes(async |admin, namespace| {
        let (author, runner) = author_and_runner(admin, namespace).await;
        let dry = reset("r", &json!({"suspend": false, "dryRun": true}));
        let reviewed = create(&author.client, namespace, &dry).await.unwrap().uid().unwrap();
        resets(&author.client, namespace).delete("r", &kube::api::DeleteParams::default()).await.unwrap();
        create(&author.client, namespace, &reset("r", &json!({"dryRun": true, "group": "another"}))).await.unwrap();
        let run = json!({"metadata": {"uid": reviewed}, "spec": {"dryRun": false}});
        let why = patch(&runner.client, namespace, &dry, &run).await.unwrap_err();
        assert!(why.contains("metadata.uid: Invalid value"), "{why}");
        let found = resets(admin, namespace).get("r").await.unwrap();
        assert!(found.spec.dry_run);
        let run = json!({"metadata": {"uid": found.uid()}, "spec": {"dryRun": false}});
        patch(&runner.client, namespace, &dry, &run).await.unwrap();
    })
    .await;
}

/// A verb for one reset by its name, and the commands of the refusal.
#[tokio::test(flavor = "multi_thread")]
async fn the_verb_may_be_for_one_reset_by_its_name() {
    four_eyes(async |admin, namespace| {
        let one = Person::new("one").await.may(admin, namespace, &[RESETS, "run offsetresets.offsetreset.dev mine"]).await;
        create(&one.client, namespace, &reset("mine", &json!({}))).await.unwrap();
        refused(&create(&one.client, namespace, &reset("other", &json!({}))).await, "four-eyes", &one.name);
    })
    .await;
}
