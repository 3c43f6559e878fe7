//! PURE: the names of a batch's objects, which are the same each time.

use crate::cli::MAX_BATCH;

/// How long the name of an OffsetReset of a batch may be, so that names that are made of it fit, too.
const MAX_NAME: usize = 57;

/// The name of the OffsetReset for a workload. The letters at its end tell apart workloads whose names are cut, and those of one name
/// and different kinds.
pub fn object(batch: &str, kind: &str, workload: &str) -> String {
    bounded(&format!("{batch}-{workload}"), &format!("{batch}/{kind}/{workload}"), MAX_NAME)
}

/// The batch of the undos of a batch.
pub fn undo_batch(batch: &str) -> String {
    let name = format!("undo-{batch}");
    if name.len() <= MAX_BATCH { name } else { bounded(&name, batch, MAX_BATCH) }
}

/// The OffsetReset that undoes another one.
pub fn undo(name: &str) -> String {
    format!("undo-{name}")
}

/// So many letters at most, the last of which are the same for the same key.
fn bounded(name: &str, key: &str, most: usize) -> String {
    let kept: String = name.chars().take(most - LETTERS - 1).collect();
    format!("{}-{}", kept.trim_end_matches(['-', '.']), letters(key))
}

/// How many letters tell names apart.
const LETTERS: usize = 5;

/// Letters and digits that are the same for the same key on every machine: FNV-1a.
fn letters(key: &str) -> String {
    const ALPHABET: &[u8; 32] = b"bcdfghjkmnpqrstvwxz2456789aeiuyh";
    let mut hash =
        key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut text = String::new();
    for _ in 0..LETTERS {
        // The high bits, which depend on all bytes.
        text.push(char::from(ALPHABET[usize::try_from(hash >> 59).unwrap_or_default()]));
        hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::short("failover-1", "orders", "failover-1-orders-")]
    #[case::with_a_dot("b", "orders.v2", "b-orders.v2-")]
    #[case::cut_at_a_dash(
        "b",
        "a23456789-a23456789-a23456789-a23456789-a2345678-b",
        "b-a23456789-a23456789-a23456789-a23456789-a2345678-"
    )]
    fn the_name_of_an_object_is_one_that_an_object_may_have(#[case] batch: &str, #[case] workload: &str, #[case] begin: &str) {
        let name = object(batch, "Deployment", workload);
        assert!(name.starts_with(begin) && name.len() <= MAX_NAME, "{name}");
        assert_eq!(name.len(), begin.len() + LETTERS, "{name}");
        assert!(name.split('.').all(|part| !part.starts_with('-') && !part.ends_with('-')), "{name}");
        assert_eq!(name, object(batch, "Deployment", workload), "it is the same each time");
    }

    #[test]
    fn no_two_workloads_have_one_name() {
        let long = "a".repeat(253);
        let names: Vec<String> = (0..2_000)
            .map(|number| object("b", "Deployment", &format!("{long}{number}")))
            .chain([object("b", "StatefulSet", "c"), object("b", "Deployment", "c"), object("b-c", "Deployment", "d")])
            .chain([object("b", "Deployment", "c-d")])
            .collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert!(names.iter().all(|name| name.len() <= MAX_NAME));
    }

    #[test]
    fn the_batch_of_an_undo_is_the_name_of_a_batch() {
        assert_eq!(undo_batch("failover-1"), "undo-failover-1");
        let long = undo_batch(&"b".repeat(MAX_BATCH));
        assert!(long.len() == MAX_BATCH && long.starts_with("undo-bbb"), "{long}");
        assert_ne!(long, undo_batch(&format!("{}c", "b".repeat(MAX_BATCH - 1))));
        assert_eq!(undo("r"), "undo-r");
    }
}
