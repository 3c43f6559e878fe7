//! Back to what stood there before another reset.

use offset_reset_operator::api::{Phase, Reason};
use serde_json::json;

use super::{TestEnv, ended};
use real_tests::{
    shop::{status, succeeded},
    unique,
};

fn undo(name: &str) -> serde_json::Value {
    json!({"undo": {"name": name}})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_goes_back_to_what_was_before_and_can_be_undone_itself() {
    TestEnv::with(async |stand| {
        let (topic, group) = (stand.topic().await, unique("undo"));
        stand.commit(&group, &topic, &[(0, 50), (1, 5)]).await;
        succeeded(&stand.run("mistake", &group, json!([{"topic": topic, "position": "Latest"}]), json!({})).await);
        assert_eq!(stand.committed(&group, &topic).await, [Some(100), Some(10), Some(0)]);
        let done = stand.run("back", &group, json!([]), undo("mistake")).await;
        succeeded(&done);
        assert_eq!(stand.committed(&group, &topic).await, [Some(50), Some(5), None], "exactly what was there");
        let warnings = status(&done).warnings.join("\n");
        assert!(warnings.contains(&format!("the committed offset of partition 2 of topic {topic} is removed")), "{warnings}");
        assert!(!warnings.contains("has changed since"), "{warnings}");
        let command = status(&done).equivalent_command.as_ref().unwrap();
        assert!(command.contains("--from-file after.csv"), "{command}");
        assert!(command.ends_with(&format!("--delete-offsets --topic {topic}:2")), "{command}");

        // The group goes on, and the log's start too: then the undo of the undo says so, and stays within the log.
        stand.commit(&group, &topic, &[(0, 60)]).await;
        stand.broker.delete_records(&topic, &[(1, 8)]).await;
        let again = stand.run("forth", &group, json!([]), undo("back")).await;
        succeeded(&again);
        assert_eq!(stand.committed(&group, &topic).await, [Some(100), Some(10), Some(0)]);
        let warnings = status(&again).warnings.join("\n");
        assert!(warnings.contains(&format!("changed since OffsetReset back on partition 0 of topic {topic}")), "{warnings}");
        succeeded(&stand.run("clamped", &group, json!([]), undo("mistake")).await);
        assert_eq!(stand.committed(&group, &topic).await, [Some(50), Some(8), None]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_back_is_refused() {
    TestEnv::with(async |stand| {
        let (topic, group, other) = (stand.topic().await, unique("undo"), unique("other"));
        for group in [&group, &other] {
            stand.commit(group, &topic, &[(0, 50)]).await;
        }
        succeeded(&stand.run("of-another", &other, json!([{"topic": topic, "offset": 30}]), json!({})).await);
        stand.run("dry", &group, json!([{"topic": topic, "offset": 30}]), json!({"dryRun": true})).await;
        for (name, of, words) in [
            ("missing", "nobody", "does not exist in this namespace"),
            ("another-group", "of-another", "was about another group"),
            ("nothing-set", "dry", "has committed no offset"),
        ] {
            let message = ended(&stand.run(name, &group, json!([]), undo(of)).await, Phase::Failed, Reason::UndoNotPossible);
            assert!(message.contains(words), "{name}: {message}");
        }
        let message = ended(&stand.run("itself", &group, json!([]), undo("itself")).await, Phase::Failed, Reason::InvalidSpec);
        assert!(message.contains("cannot undo itself"), "{message}");
        assert_eq!(stand.committed(&group, &topic).await, [Some(50), None, None]);
    })
    .await;
}
