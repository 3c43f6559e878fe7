//! Random specs through the API server; `tests/offline/input.rs` has many more through the parser alone. `INPUT_SEED` repeats a run.

use futures::{StreamExt, stream};
use kube::{Api, api::PostParams, core::DynamicObject, discovery::ApiResource};
use offset_reset_operator::api::OffsetReset;
use serde_json::{Value, json};

use real_tests::{
    generators::{any_spec, random::Random},
    unique, with_namespace,
};

/// How many specs go through the API server.
const APPLIED: usize = 600;

fn seed() -> u64 {
    let seed = std::env::var("INPUT_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap());
    println!("INPUT_SEED={seed}");
    seed
}

/// Whether a spec was accepted, and whether it is refused, by then at the latest.
async fn applied(api: &Api<DynamicObject>, resource: &ApiResource, spec: Value) -> (bool, bool) {
    let only_tried = PostParams { dry_run: true, field_manager: None };
    let object = DynamicObject::new(&unique("any"), resource).data(json!({"spec": spec}));
    match api.create(&only_tried, &object).await {
        Ok(stored) => {
            let why = any_spec::parsed(&stored.data["spec"]).err();
            let undecodable = why.as_ref().is_some_and(|why| why.contains("cannot be decoded"));
            assert!(!undecodable, "{spec} was let through, and {why:?}");
            (true, why.is_some())
        }
        Err(kube::Error::Api(refusal)) => {
            assert!(refusal.message.contains("spec"), "{spec}: {refusal:?}");
            (false, true)
        }
        Err(error) => panic!("{spec}: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_server_lets_through_can_be_decoded_and_what_not_is_refused_for_its_spec() {
    with_namespace(async |client, namespace| {
        let resource = ApiResource::erase::<OffsetReset>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &resource);
        let mut random = Random(seed());
        let specs: Vec<_> = (0..APPLIED).map(|_| any_spec::any_spec(&mut random)).collect();
        let tries = specs.into_iter().map(|spec| applied(&api, &resource, spec));
        let found: Vec<(bool, bool)> = stream::iter(tries).buffer_unordered(8).collect().await;
        let accepted = found.iter().filter(|(accepted, _)| *accepted).count();
        let later = found.iter().filter(|(accepted, refused)| *accepted && *refused).count();
        println!("{APPLIED} specs: {accepted} accepted, {later} of them refused while planning");
        assert!(accepted > 0 && accepted < APPLIED);
    })
    .await;
}
