//! deploy/record-users: the annotations of an OffsetReset name the user who created it and the user who let it run, whatever
//! a request has for them.

use real_tests::admission_kind;

use super::*;

const CREATED_BY: &str = "offsetreset.dev/created-by";
const RUN_BY: &str = "offsetreset.dev/run-by";
const UPDATE: &str = "update offsetresets.offsetreset.dev";

/// The policies that set the annotations. The suite's own set has those that check them.
async fn recording(admin: &Client) {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED
        .get_or_init(|| async {
            for mut document in policies("MutatingAdmissionPolicy") {
                let (kind, name) = (text(&document["kind"]).to_owned(), format!("tests-{}", text(&document["metadata"]["name"])));
                let resource = admission_kind(admin, &kind).await;
                document["apiVersion"] = json!(resource.api_version);
                document["metadata"]["name"] = json!(name);
                if kind == "MutatingAdmissionPolicyBinding" {
                    document["spec"]["policyName"] = json!(name);
                    document["spec"]["matchResources"]["namespaceSelector"]["matchLabels"] = json!({RECORDED: "true"});
                }
                let (api, params) =
                    (Api::<DynamicObject>::all_with(admin.clone(), &resource), PatchParams::apply("tests").force());
                api.patch(&name, &params, &Patch::Apply(&document)).await.unwrap();
            }
        })
        .await;
}

/// A namespace in which the annotations are checked, and set as well if `sets`.
async fn recorded(sets: bool, test: impl AsyncFnOnce(&Client, &str)) {
    with_namespace(async |admin, namespace| {
        installed(&admin).await;
        recording(&admin).await;
        let mut labels = json!({CHECKED: "true"});
        if sets {
            labels[RECORDED] = json!("true");
        }
        let namespaces = Api::<Namespace>::all(admin.clone());
        let labels = json!({"metadata": {"labels": labels}});
        namespaces.patch(&namespace, &PatchParams::default(), &Patch::Merge(&labels)).await.unwrap();
        // Admission knows policies and namespaces by watches of its own.
        let both = async {
            loop {
                let mut probe = reset("probe", &json!({}));
                let plain = create(&admin, &namespace, &probe).await.unwrap();
                resets(&admin, &namespace).delete("probe", &kube::api::DeleteParams::default()).await.unwrap();
                probe["metadata"]["annotations"] = json!({CREATED_BY: "nobody"});
                let forged = create(&admin, &namespace, &probe).await;
                if forged.is_ok() {
                    resets(&admin, &namespace).delete("probe", &kube::api::DeleteParams::default()).await.unwrap();
                }
                let is_set = plain.annotations().contains_key(CREATED_BY);
                // Only without the other policy it is seen that the forged value is refused.
                if if sets { is_set } else { forged.is_err() } {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(PATIENCE, both).await.expect("the policies count here");
        test(&admin, &namespace).await;
    })
    .await;
}

/// The users that an object names: who created it, and who let it run.
fn named(object: &DynamicObject) -> [Option<&str>; 2] {
    [CREATED_BY, RUN_BY].map(|key| object.annotations().get(key).map(String::as_str))
}

async fn person(admin: &Client, namespace: &str, name: &str) -> Person {
    Person::new(name).await.may(admin, namespace, &[RESETS, UPDATE]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_who_create_a_reset_and_let_it_run_are_recorded() {
    recorded(true, async |admin, namespace| {
        let (author, runner) = (person(admin, namespace, "author").await, person(admin, namespace, "runner").await);
        let mut object = reset("planned", &json!({"suspend": false, "dryRun": true}));
        object["metadata"]["annotations"] = json!({CREATED_BY: "someone", RUN_BY: "someone", "own": "kept"});
        let created = create(&author.client, namespace, &object).await.unwrap();
        assert_eq!(named(&created), [Some(&*author.name), None], "a forged value is replaced");
        assert_eq!(created.annotations()["own"], "kept");

        let run = json!({"spec": {"dryRun": false}, "metadata": {"annotations": {RUN_BY: "someone", CREATED_BY: "someone"}}});
        let running = patch(&runner.client, namespace, &object, &run).await.unwrap();
        assert_eq!(named(&running), [Some(&*author.name), Some(&*runner.name)]);

        for change in [
            json!({"metadata": {"annotations": {CREATED_BY: "someone", RUN_BY: "someone"}}}),
            json!({"metadata": {"annotations": {CREATED_BY: null, RUN_BY: null}}}),
            json!({"metadata": {"annotations": null}}),
            json!({"metadata": {"finalizers": ["offsetreset.dev/test"]}}),
            json!({"metadata": {"finalizers": null}}),
        ] {
            let after = patch(&author.client, namespace, &object, &change).await.unwrap();
            assert_eq!(named(&after), [Some(&*author.name), Some(&*runner.name)], "{change}");
        }
        let mut replaced = api(admin, namespace, &object).get("planned").await.unwrap();
        replaced.metadata.annotations = None;
        let replaced =
            api(&author.client, namespace, &object).replace("planned", &PostParams::default(), &replaced).await.unwrap();
        assert_eq!(named(&replaced), [Some(&*author.name), Some(&*runner.name)]);
    })
    .await;
}

#[rstest::rstest]
#[case::at_once(json!({"suspend": false}), None, true)]
#[case::suspended_then_resumed(json!({"suspend": true}), Some(json!({"suspend": false})), false)]
#[case::a_suspended_dry_run(json!({"suspend": true, "dryRun": true}), Some(json!({"suspend": false, "dryRun": false})), false)]
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_runs_once_it_is_neither_a_dry_run_nor_suspended(
    #[case] spec: Value,
    #[case] then: Option<Value>,
    #[case] by_its_author: bool,
) {
    recorded(true, async |admin, namespace| {
        let (author, runner) = (person(admin, namespace, "author").await, person(admin, namespace, "runner").await);
        let object = reset("r", &spec);
        let created = create(&author.client, namespace, &object).await.unwrap();
        assert_eq!(named(&created), [Some(&*author.name), by_its_author.then_some(&*author.name)]);
        if let Some(then) = then {
            for (key, value) in then.as_object().unwrap() {
                let change = json!({"spec": {key: value}});
                patch(&runner.client, namespace, &object, &change).await.unwrap();
            }
            let running = api(admin, namespace, &object).get("r").await.unwrap();
            assert_eq!(named(&running), [Some(&*author.name), Some(&*runner.name)]);
        }
        // Another suspension: the last user who lets it run counts.
        patch(&author.client, namespace, &object, &json!({"spec": {"suspend": true}})).await.unwrap();
        let again = patch(&author.client, namespace, &object, &json!({"spec": {"suspend": false}})).await.unwrap();
        assert_eq!(named(&again), [Some(&*author.name), Some(&*author.name)]);
    })
    .await;
}

/// As on Kubernetes before 1.36, which has no policies that set anything.
#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_sets_them_they_are_absent_or_true() {
    recorded(false, async |admin, namespace| {
        let author = person(admin, namespace, "author").await;
        let mut object = reset("r", &json!({"suspend": true}));
        for (key, whose) in [(CREATED_BY, "created"), (RUN_BY, "let")] {
            object["metadata"]["annotations"] = json!({key: "someone"});
            let why = refused(&create(&author.client, namespace, &object).await, "users", key);
            assert!(why.contains("It names the user who") && why.contains(whose), "{why}");
        }
        object["metadata"]["annotations"] = json!({CREATED_BY: author.name});
        create(&author.client, namespace, &object).await.unwrap();
        for value in [json!(null), json!("someone")] {
            let change = json!({"metadata": {"annotations": {CREATED_BY: value}}});
            refused(&patch(&author.client, namespace, &object, &change).await, "users", "must be");
        }
        let run = patch(&author.client, namespace, &object, &json!({"spec": {"suspend": false}})).await.unwrap();
        assert_eq!(named(&run), [Some(&*author.name), None]);
        let plain = create(&author.client, namespace, &reset("plain", &json!({}))).await.unwrap();
        assert_eq!(named(&plain), [None, None]);
    })
    .await;
}
