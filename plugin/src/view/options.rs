//! The options of this plugin for fields of the spec that a message names.

/// A field as messages name it, and the option that sets it.
const OPTIONS: [(&str, &str); 23] = [
    ("targetRefs", "--target"),
    ("bootstrapServers", "--bootstrap-server"),
    ("resets", "--topic"),
    ("topicPattern", "--all-topics"),
    ("partition", "--topic TOPIC:PARTITIONS"),
    ("partitions", "--topic TOPIC:PARTITIONS"),
    ("partitionRanges", "--topic TOPIC:PARTITIONS"),
    ("timestamp", "--to-datetime"),
    ("shiftBy", "--shift-by"),
    ("fromGroup", "--from-group"),
    ("limits.maxReplay", "--max-replay"),
    ("limits.maxSkip", "--max-skip"),
    ("limits.maxCatchUp", "--max-catch-up"),
    ("outOfRange", "--out-of-range"),
    ("isolationLevel", "--isolation-level"),
    ("notAfter", "--not-after"),
    ("allowNewGroup", "--allow-new-group"),
    ("allowNoMembers", "--allow-no-members"),
    ("remainingMembers", "--remaining-members"),
    ("sessionTimeout", "--session-timeout"),
    ("drainTimeout", "--drain-timeout"),
    ("holdTimeout", "--hold-timeout"),
    ("runId", "--run-id"),
];

/// The fields that only a manifest can set.
const MANIFEST_ONLY: [&str; 3] = ["acceptRevisionChange", "resetsFrom", "authentication"];

/// The options for the fields that a text names; `None` when it names none.
pub fn options(text: &str) -> Option<String> {
    let words: Vec<&str> = text
        .split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '.'))
        .map(|word| word.trim_matches('.'))
        .collect();
    let is_named = |field: &str| {
        words.iter().any(|word| {
            let word = word.strip_prefix("spec.").unwrap_or(word);
            // A field of one lowercase word is also a word of its own.
            word == field && (field.chars().any(char::is_uppercase) || text.contains(&format!("spec.{field}")))
        })
    };
    let mut said: Vec<String> =
        OPTIONS.iter().filter(|(field, _)| is_named(field)).map(|(field, option)| format!("{option} sets {field}")).collect();
    let only = MANIFEST_ONLY.iter().filter(|field| is_named(field));
    said.extend(only.map(|field| format!("only a manifest sets {field} (create --dry-run=client -o yaml prints one)")));
    (!said.is_empty()).then(|| format!("With the plugin: {}", said.join("; ")))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("raise holdTimeout, and create it again", Some("With the plugin: --hold-timeout sets holdTimeout"))]
    #[case("Correct spec.resets, and create the reset under a new name", Some("With the plugin: --topic sets resets"))]
    #[case("limits.maxReplay is 10.", Some("With the plugin: --max-replay sets limits.maxReplay"))]
    #[case("set allowNewGroup: true", Some("With the plugin: --allow-new-group sets allowNewGroup"))]
    #[case(
        "Name them in spec.targetRefs, or set allowNoMembers: true",
        Some("With the plugin: --target sets targetRefs; --allow-no-members sets allowNoMembers")
    )]
    #[case(
        "set acceptRevisionChange: true on its targetRef",
        Some("With the plugin: only a manifest sets acceptRevisionChange (create --dry-run=client -o yaml prints one)")
    )]
    #[case("write partitionRanges: [{from: 0, to: 3}]", Some("With the plugin: --topic TOPIC:PARTITIONS sets partitionRanges"))]
    #[case("spec.partitions has 3 twice", Some("With the plugin: --topic TOPIC:PARTITIONS sets partitions"))]
    #[case("the group resets its partition", None)]
    #[case("3 partitions have no commit", None)]
    #[case("the broker is unreachable", None)]
    fn fields_are_named_as_options(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(options(text).as_deref(), expected);
    }

    #[test]
    fn every_option_is_one() {
        let page = include_str!("../../../docs/cli.md");
        for (field, option) in OPTIONS {
            let name = option.split(' ').next().unwrap();
            assert!(page.contains(&format!("`{name}")), "{field}: {option}");
        }
    }
}
