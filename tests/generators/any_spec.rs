//! Specs of any kind, most of them wrong in some way, and what must hold of each. The same for the bounded run of the tests and for a fuzzer.

use offset_reset_operator::{api::OffsetReset, machine::request::Request};
use serde_json::{Value, json};

use super::{any_plan, random::Random, refusals};

/// Where something is put, as a JSON pointer into a spec.
const PLACES: [&str; 49] = [
    "",
    "/targetRefs",
    "/targetRefs/0",
    "/targetRefs/0/name",
    "/targetRefs/0/kind",
    "/targetRefs/0/apiVersion",
    "/targetRefs/0/acceptVolumeDeletion",
    "/kafka",
    "/kafka/bootstrapServers",
    "/kafka/tls",
    "/kafka/tls/trustedCertificates",
    "/kafka/authentication",
    "/kafka/authentication/type",
    "/kafka/authentication/username",
    "/kafka/authentication/passwordSecret",
    "/kafka/binding",
    "/kafka/config",
    "/kafka/config/client.id",
    "/group",
    "/resets",
    "/resets/0",
    "/resets/0/topic",
    "/resets/0/topicPattern",
    "/resets/0/partition",
    "/resets/0/partitions",
    "/resets/0/partitions/0",
    "/resets/0/partitionRanges",
    "/resets/0/partitionRanges/0/to",
    "/resets/0/offset",
    "/resets/0/timestamp",
    "/resets/0/position",
    "/resets/0/shiftBy",
    "/resets/0/duration",
    "/resets/0/fromGroup",
    "/undo",
    "/limits",
    "/limits/maxReplay",
    "/limits/maxCatchUp",
    "/notAfter",
    "/runId",
    "/sessionTimeout",
    "/drainTimeout",
    "/holdTimeout",
    "/resumeTimeout",
    "/dryRun",
    "/restore",
    "/restore/canary",
    "/restore/canary/replicas",
    "/restore/canary/timeout",
];

/// What is put there: what fits somewhere and is at some edge, and what fits nowhere.
fn thing(random: &mut Random) -> Value {
    const TEXTS: [&str; 40] = [
        "",
        " ",
        "a",
        "orders",
        "..",
        "(",
        "((((((((((a{99}){99}){99}",
        "\\",
        "\\p{L}+",
        "[[:alpha:]]",
        "(?i)a",
        "(?R)",
        "a\u{0}b",
        "\u{feff}",
        "ö🦀",
        "10s",
        "1h1ms",
        "0.000000001ms",
        "1.5h",
        "999999999h",
        "99999999999999999999h",
        "1h-5m",
        "-0s",
        "1e9s",
        "2562047h",
        "infs",
        ".5h",
        "2019-10-23T06:29:04Z",
        "2019-10-23T06:29:04+99:99",
        "2019-02-30T00:00:00Z",
        "2019-10-23T06:29:60Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "2019-10-23t06:29:04z",
        "2019-10-23T06:29:04x5Z",
        "+12019-10-23T06:29:04Z",
        "Latest",
        "kafka:9092",
        "[::1]:9092",
        "apps/v1",
    ];
    const NUMBERS: [i64; 14] = [
        0,
        1,
        -1,
        -2,
        2_147_483_647,
        2_147_483_648,
        i64::MAX,
        i64::MIN,
        1_571_812_144,
        1_571_812_144_000,
        9_999_999_999,
        999_999_999,
        1 << 53,
        42,
    ];
    // Some fit, so that what is inside of them is reached.
    const JSON: [&str; 20] = [
        "[]",
        "{}",
        "[{}]",
        "[0, 3]",
        r#"[{"from": 0, "to": 2147483647}]"#,
        r#"[{"from": 1, "to": 1}, {"from": 1, "to": 2}]"#,
        "1e300",
        "0.5",
        "[[[[]]]]",
        r#"{"secretName": "s"}"#,
        r#"{"secretName": "s", "password": "p"}"#,
        r#"{"trustedCertificates": [{"secretName": "s", "certificate": "ca.crt"}]}"#,
        r#"{"type": "plain", "username": "u", "passwordSecret": {"secretName": "s", "password": "p"}}"#,
        r#"{"type": "tls", "certificateAndKey": {"secretName": "s", "certificate": "c", "key": "k"}}"#,
        r#"{"type": "oauth", "tokenEndpointUri": "https://a/b", "clientId": "c", "clientSecret": {"secretName": "s", "key": "k"}}"#,
        r#"{"canary": {"replicas": 1}}"#,
        r#"{"client.id": "c"}"#,
        r#"{"ssl.ca.location": "/etc/passwd"}"#,
        r#"{"request.timeout.ms": "1000"}"#,
        r#"{"plugin.library.paths": "/tmp/a.so"}"#,
    ];
    match random.within(0..=9) {
        0..=4 => json!(random.one_of(&TEXTS)),
        5 | 6 => json!(random.one_of(&NUMBERS)),
        7 => random.one_of(&[Some(true), Some(false), None]).map_or(Value::Null, Value::Bool),
        8 => json!(random.one_of(&TEXTS).repeat(usize::try_from(random.within(1..=300)).unwrap())),
        _ => random.one_of(&JSON).parse().unwrap(),
    }
}

/// A sound spec with something else in up to three places.
pub fn any_spec(random: &mut Random) -> Value {
    let mut spec = refusals::sound();
    for _ in 0..random.one_of(&[1, 1, 1, 2, 3]) {
        let (place, thing) = (random.one_of(&PLACES), thing(random));
        if let Some((parent, field)) = place.rsplit_once('/')
            && let Some(parent) = spec.pointer_mut(parent)
        {
            match parent {
                Value::Object(fields) => drop(fields.insert(field.to_owned(), thing)),
                Value::Array(items) if items.is_empty() => items.push(thing),
                Value::Array(items) => items[0] = thing,
                _ => {}
            }
            // Half of the time the one goal that an entry may have.
            if parent.get("offset").is_some() && field != "offset" && random.percent(50) {
                parent.as_object_mut().unwrap().remove("offset");
            }
        }
    }
    spec
}

/// Decodes and parses it: a request, or why not, in words that name a field; never a panic.
pub fn parsed(spec: &Value) -> Result<Request, String> {
    let object = json!({
        "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset",
        "metadata": {"name": "any", "namespace": "shop", "uid": "u", "creationTimestamp": "2026-11-24T18:00:00Z"}, "spec": spec,
    });
    let reset: OffsetReset = serde_json::from_value(object).map_err(|error| format!("cannot be decoded: {error}"))?;
    Request::parse(&reset).map_err(|invalid| {
        let invalid = invalid.to_string();
        assert!(invalid.starts_with("spec.") && invalid.contains(": ") && invalid.len() < 20_000, "{invalid}");
        invalid
    })
}

/// The same from the bytes of a fuzzer: as they are, and as the source of chance; and what is a request is planned, whatever Kafka says.
pub fn from_bytes(bytes: &[u8]) {
    let seed = bytes.iter().fold(0_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    let mut random = Random(seed);
    let specs = [serde_json::from_slice::<Value>(bytes).ok(), Some(any_spec(&mut random))];
    for request in specs.iter().flatten().filter_map(|spec| parsed(spec).ok()) {
        _ = any_plan::planned(&request, &any_plan::any_seen(&mut random, &request));
    }
}
