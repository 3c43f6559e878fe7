//! Nobody has the operator read a Secret that they may not read themselves.
//!
//! The policy is tried on a stand-in for the definition, under a group of its own, whose spec takes anything: so each field is tried by itself, and
//! a list longer than the definition lets it be.

use offset_reset_operator::api::{GROUP, crd};

use super::*;

/// The stand-in's group.
const ANYTHING: &str = "anything.tests.offsetreset.dev";

/// As many Secrets as the policy can ask about in one OffsetReset.
const MOST: usize = 24;

/// Each place in the spec that names a Secret.
const PLACES: [&str; 6] = [
    "/kafka/tls/trustedCertificates/0/secretName",
    "/kafka/authentication/certificateAndKey/secretName",
    "/kafka/authentication/passwordSecret/secretName",
    "/kafka/authentication/clientSecret/secretName",
    "/kafka/authentication/tlsTrustedCertificates/0/secretName",
    BINDING,
];

/// A whole connection in one Secret.
const BINDING: &str = "/kafka/binding/secretName";

/// Installs the stand-in and the policy for it, and waits until it counts.
async fn stand_in(admin: &Client, namespace: &str) {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    use kube::runtime::{conditions, wait::await_condition};
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let install = async {
        let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("offsetresets.{ANYTHING}")},
            "spec": {
                "group": ANYTHING, "scope": "Namespaced", "names": {"kind": "OffsetReset", "plural": "offsetresets"},
                "versions": [{
                    "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": anything}}},
                }],
            },
        });
        let params = PatchParams::apply("tests").force();
        let crds = Api::<CustomResourceDefinition>::all(admin.clone());
        let name = format!("offsetresets.{ANYTHING}");
        crds.patch(&name, &params, &Patch::Apply(&definition)).await.unwrap();
        await_condition(crds, &name, conditions::is_crd_established()).await.unwrap();
        for mut document in policies("ValidatingAdmissionPolicy")
            .into_iter()
            .filter(|document| document["metadata"]["name"] == "offset-reset-secrets")
        {
            document["metadata"]["name"] = json!("anything-offset-reset-secrets");
            if document["kind"] == "ValidatingAdmissionPolicy" {
                document["spec"]["matchConstraints"]["resourceRules"][0]["apiGroups"] = json!([ANYTHING]);
                let api = Api::<ValidatingAdmissionPolicy>::all(admin.clone());
                api.patch("anything-offset-reset-secrets", &params, &Patch::Apply(&document)).await.unwrap();
            } else {
                document["spec"]["policyName"] = json!("anything-offset-reset-secrets");
                document["spec"]["matchResources"]["namespaceSelector"]["matchLabels"] = json!({GUARDED: "true"});
                let api = Api::<ValidatingAdmissionPolicyBinding>::all(admin.clone());
                api.patch("anything-offset-reset-secrets", &params, &Patch::Apply(&document)).await.unwrap();
            }
        }
    };
    INSTALLED.get_or_init(|| install).await;
    let nobody = Person::new("nobody").await.may(admin, namespace, &[CREATE]).await;
    let counts = async {
        loop {
            let probe = named(&unique("probe"), BINDING, "somebodys");
            match create(&nobody.client, namespace, &probe).await {
                Err(why) if why.contains("may not read Secret") => return,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    within(PATIENCE, counts).await.expect("the policy counts for the stand-in");
}

const CREATE: &str = "create,get,patch offsetresets.anything.tests.offsetreset.dev";

/// A reset that names a Secret in one place.
fn named(name: &str, place: &str, secret: &str) -> Value {
    let mut steps: Vec<&str> = place.split('/').skip(1).collect();
    steps.reverse();
    let spec =
        steps.into_iter().fold(json!(secret), |inner, step| if step == "0" { json!([inner]) } else { json!({ step: inner }) });
    json!({"apiVersion": format!("{ANYTHING}/v1alpha1"), "kind": "OffsetReset", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_the_namespace_is_sent_nowhere_for_whoever_may_not_read_it() {
    guarded(async |admin, namespace| {
        stand_in(admin, namespace).await;
        let mallory = Person::new("mallory")
            .await
            .may(admin, namespace, &[CREATE, "get secrets another", "list,watch,patch secrets"])
            .await;
        for place in PLACES {
            let why = refused_by(
                &create(&mallory.client, namespace, &named("theft", place, "payments-db")).await,
                "anything-offset-reset-secrets",
            );
            assert!(
                why.contains(
                    "may not read Secret payments-db, with which this OffsetReset would connect: get on secrets is missing"
                ),
                "{why}"
            );
        }
        let alice = mallory.may(admin, namespace, &["get secrets payments-db"]).await;
        for place in PLACES {
            create(&alice.client, namespace, &named(&unique("own"), place, "payments-db")).await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_policy_it_would_be() {
    guarded(async |admin, guarded| {
        stand_in(admin, guarded).await;
        unguarded(async |admin, namespace| {
            let mallory = Person::new("mallory").await.may(admin, namespace, &[CREATE]).await;
            for place in PLACES {
                create(&mallory.client, namespace, &named(&unique("theft"), place, "payments-db")).await.unwrap();
            }
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_as_many_secrets_as_can_be_asked_about_is_and_more_are_refused() {
    guarded(async |admin, namespace| {
        stand_in(admin, namespace).await;
        let secret = |index: usize| format!("{}{index}", "s".repeat(250));
        let object = |name: &str, count: usize| {
            let mut object = named(name, BINDING, &secret(0));
            let certificates: Vec<Value> = (1..count).map(|index| json!({"secretName": secret(index)})).collect();
            object["spec"]["kafka"]["tls"]["trustedCertificates"] = json!(certificates);
            object
        };
        let rule = |names: Vec<String>| format!("get secrets {}", names.join(" "));
        let tries = (0..MOST).map(|missing| async move {
            let others = rule((0..MOST).filter(|index| *index != missing).map(secret).collect());
            let person = Person::new("carol").await.may(admin, namespace, &[CREATE, &others]).await;
            let why =
                refused_by(&create(&person.client, namespace, &object("missing", MOST)).await, "anything-offset-reset-secrets");
            assert!(why.contains(&format!("may not read Secret {}, ", secret(missing))), "{why}");
        });
        futures::future::join_all(tries).await;
        let dave = Person::new("dave").await.may(admin, namespace, &[CREATE, "get secrets"]).await;
        create(&dave.client, namespace, &object("all", MOST)).await.unwrap();
        let why = refused_by(&create(&dave.client, namespace, &object("more", MOST + 1)).await, "anything-offset-reset-secrets");
        assert!(why.contains("names more Secrets than the policy offset-reset-secrets can check (24)"), "{why}");
    })
    .await;
}

/// A field that a later version adds is asked about as well, or this fails.
#[test]
fn every_place_of_the_definition_that_names_a_secret_is_asked_about() {
    let definition = serde_json::to_value(crd()).unwrap();
    assert_eq!(definition["spec"]["group"], GROUP);
    let mut found = vec![];
    places(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"], "", &mut found);
    let unknown: Vec<&String> = found.iter().filter(|place| !PLACES.contains(&place.as_str())).collect();
    assert!(unknown.is_empty(), "deploy/rights/policies.yaml does not ask about {unknown:?}; add them there and here");
}

fn places(schema: &Value, at: &str, found: &mut Vec<String>) {
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let at = format!("{at}/{name}");
        if name.to_lowercase().contains("secret") && inner["type"] == "string" {
            found.push(at.clone());
        }
        places(inner, &at, found);
    }
    if schema["items"].is_object() {
        places(&schema["items"], &format!("{at}/0"), found);
    }
}

/// The lines of a file of `spec.resetsFrom` show in the status.
#[tokio::test(flavor = "multi_thread")]
async fn a_config_map_is_read_only_for_a_user_who_may_read_it() {
    guarded(async |admin, namespace| {
        let spec = json!({"targetRefs": [], "resets": null, "resetsFrom": {"configMapKeyRef": {"name": "offsets", "key": "offsets.csv"}}});
        let object = reset("r", &spec);
        let author = Person::new("paula").await.may(admin, namespace, &["create offsetresets.offsetreset.dev"]).await;
        let why = refused(&create(&author.client, namespace, &object).await, "secrets", "may not read ConfigMap offsets");
        assert!(why.contains("get on configmaps is missing") && why.contains("--resource-name=offsets"), "{why}");
        let author = author.may(admin, namespace, &["get configmaps"]).await;
        create(&author.client, namespace, &object).await.unwrap();
    })
    .await;
}
