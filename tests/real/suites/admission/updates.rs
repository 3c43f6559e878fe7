//! Whoever lets a reset begin is asked, and nobody else is.

use super::*;

/// A reset of an admin, and somebody without any right to what it names.
async fn stranger(admin: &Client, namespace: &str, spec: Value) -> (Person, Value) {
    let object = reset("r", &spec);
    create(admin, namespace, &object).await.unwrap();
    let stranger = Person::new("heidi").await.may(admin, namespace, &[RESETS]).await;
    (stranger, object)
}

#[rstest::rstest]
#[case::a_label(json!({"metadata": {"labels": {"team": "shop"}}}))]
#[case::a_finalizer(json!({"metadata": {"finalizers": ["offsetreset.dev/restore-replicas"]}}))]
#[case::the_same_once_more(json!({"spec": {"suspend": false}}))]
#[case::a_suspend(json!({"spec": {"suspend": true}}))]
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_lets_nothing_begin_needs_no_right(#[case] change: Value) {
    guarded(async |admin, namespace| {
        let (stranger, object) = stranger(admin, namespace, json!({"suspend": false})).await;
        patch(&stranger.client, namespace, &object, &change).await.unwrap();
        let none = json!({"metadata": {"finalizers": null}});
        patch(admin, namespace, &object, &none).await.unwrap();
    })
    .await;
}

#[rstest::rstest]
#[case::ends_a_suspend(json!({"suspend": true}), json!({"suspend": false}))]
#[case::ends_a_dry_run(json!({"suspend": false, "dryRun": true}), json!({"dryRun": false}))]
#[case::ends_a_dry_run_and_suspends(json!({"suspend": false, "dryRun": true}), json!({"dryRun": false, "suspend": true}))]
#[case::ends_both(json!({"suspend": true, "dryRun": true}), json!({"dryRun": false, "suspend": false}))]
#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_another_user_made_begins_only_for_a_user_with_all_the_rights_that_it_needs(
    #[case] made: Value,
    #[case] change: Value,
) {
    guarded(async |admin, namespace| {
        let (stranger, object) = stranger(admin, namespace, made).await;
        let change = json!({ "spec": change });
        refused(&patch(&stranger.client, namespace, &object, &change).await, "targets", "may not scale Deployment/orders");
        let entitled = stranger.may(admin, namespace, &["update deployments.apps/scale"]).await;
        patch(&entitled.client, namespace, &object, &change).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_is_not_asked_about_nor_what_is_being_deleted() {
    guarded(async |admin, namespace| {
        let (stranger, object) = stranger(admin, namespace, json!({})).await;
        let reporter = stranger.may(admin, namespace, &["get,update,patch offsetresets.offsetreset.dev/status"]).await;
        let status = json!({"status": {"phase": "Pending", "message": "m"}});
        resets(&reporter.client, namespace).patch_status("r", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();

        patch(admin, namespace, &object, &json!({"metadata": {"finalizers": ["tests.offsetreset.dev/kept"]}})).await.unwrap();
        resets(&reporter.client, namespace).delete("r", &kube::api::DeleteParams::default()).await.unwrap();
        // What a tool does that has not heard of the deletion yet.
        let applied = json!({"spec": {"suspend": false}, "metadata": {"finalizers": null}});
        patch(&reporter.client, namespace, &object, &applied).await.unwrap();
    })
    .await;
}
