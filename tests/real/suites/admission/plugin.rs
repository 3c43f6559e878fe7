//! A policy's refusal, as the kubectl plugin shows it.

use real_tests::plugin::Plugin;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_words_of_a_policy_are_shown_as_they_are_with_what_to_do() {
    guarded(async |admin, namespace| {
        let person = Person::new("nightwatch").await.may(admin, namespace, &[RESETS]).await;
        let printed = Plugin::called(namespace, &person.name)
            .run(&["plan", "--group", "g", "--topic", "t", "--to-latest", "--target", "orders", "--bootstrap-server", "k:9092"])
            .await;
        assert_eq!(printed.code, Some(1), "{printed:?}");
        assert!(
            printed.err.contains("ValidatingAdmissionPolicy '") && printed.err.contains("offset-reset-targets"),
            "{printed:?}"
        );
        assert!(printed.err.contains("Nothing was changed. Ask for the right that the policy names"), "{printed:?}");
        assert!(resets(admin, namespace).list(&kube::api::ListParams::default()).await.unwrap().items.is_empty());
    })
    .await;
}
