//! Changes of a sound spec: those that leave it sound, and for each CEL rule of the CRD those that
//! break it.

use serde_json::{Value, json};

/// A spec that makes sense.
pub fn sound() -> Value {
    json!({
        "targetRefs": [{"name": "consumer"}],
        "kafka": {"bootstrapServers": "kafka:9092"},
        "group": "g",
        "resets": [{"topic": "orders", "offset": 10}],
    })
}

/// A sound spec with something else in some fields; null takes a field away.
pub fn changed(change: &Value) -> Value {
    let mut spec = sound();
    for (key, value) in change.as_object().unwrap() {
        if value.is_null() {
            spec.as_object_mut().unwrap().remove(key);
        } else {
            spec[key] = value.clone();
        }
    }
    spec
}

pub fn one(entry: &Value) -> Value {
    json!({ "resets": [entry] })
}

/// A change of `kafka`: fields to add or, as null, to remove.
pub fn kafka(change: &Value) -> Value {
    let mut kafka = json!({"bootstrapServers": "kafka:9092"});
    for (key, value) in change.as_object().unwrap() {
        if value.is_null() { _ = kafka.as_object_mut().unwrap().remove(key) } else { kafka[key] = value.clone() }
    }
    json!({ "kafka": kafka })
}

pub fn tls(source: &Value) -> Value {
    kafka(&json!({"tls": {"trustedCertificates": [source]}}))
}

pub fn authentication(authentication: &Value) -> Value {
    kafka(&json!({"tls": {}, "authentication": authentication}))
}

pub fn config(config: &Value) -> Value {
    kafka(&json!({ "config": config }))
}

/// Words of the API server's CEL engine. An answer with them does not say what to write.
pub const WORDS_OF_THE_ENGINE: [&str; 6] =
    ["no such overload", "evaluation error", "rule evaluation", "evaluating rule", "for rule:", "type conversion"];

/// Regular expressions that only RE2 itself can tell from valid ones: the answer has its words
/// beside our message.
pub fn only_the_engine_knows(change: &Value) -> bool {
    let pattern = change["resets"][0]["topicPattern"].as_str();
    pattern.is_some_and(|pattern| ["a{2,1}", "[z-a]", "\\q", "(a))(", "a)|(b"].contains(&pattern))
}

/// The CEL rules that are about one object and not about a change of it, each by the beginning of
/// its message, with changes of a sound spec that break it.
#[allow(clippy::too_many_lines, reason = "a table")]
pub fn of_rules() -> Vec<(&'static str, Vec<Value>)> {
    let timestamp = |value: Value| one(&json!({"topic": "orders", "timestamp": value}));
    let target = |value: Value| json!({ "targetRefs": [value] });
    let brokers = |list: &str| json!({"kafka": {"bootstrapServers": list}});
    let kafka = |change: Value| kafka(&change);
    let authentication = |value: Value| authentication(&value);
    let config = |name: &str, value: &str| config(&json!({name: value}));
    let certificate = json!({"secretName": "s", "certificate": "c", "key": "k"});
    let password = json!({"secretName": "s", "password": "p"});
    vec![
        (
            "write either resets",
            vec![
                json!({"resets": []}),
                json!({"resets": null}),
                json!({"undo": {"name": "other"}}),
                json!({"resetsFrom": {"configMapKeyRef": {"name": "offsets", "key": "offsets.csv"}}}),
                json!({"resets": [], "undo": {"name": "other"}, "resetsFrom": {"configMapKeyRef": {"name": "offsets", "key": "offsets.csv"}}}),
            ],
        ),
        (
            "configMapKeyRef.name must be",
            vec![json!({"resets": null, "resetsFrom": {"configMapKeyRef": {"name": "../other", "key": "k"}}})],
        ),
        (
            "configMapKeyRef.key must be",
            vec![json!({"resets": null, "resetsFrom": {"configMapKeyRef": {"name": "other", "key": "a/b"}}})],
        ),
        ("fromGroup must name another group", vec![one(&json!({"topic": "orders", "fromGroup": "g"}))]),
        ("drainTimeout must be at least sessionTimeout", vec![json!({"sessionTimeout": "3m"})]),
        ("holdTimeout must be longer than drainTimeout", vec![json!({"drainTimeout": "10m"}), json!({"drainTimeout": "1h"})]),
        (
            "targetRefs names the same workload twice",
            vec![json!({"targetRefs": [{"name": "a"}, {"kind": "Deployment", "name": "a"}]})],
        ),
        (
            "sessionTimeout must be a duration",
            vec!["", "10", "0s", "31m", "-1s", "P1D", "1h-59m", "999999999999999999h", "1e3s", "infs", "1 m", "NaN"]
                .into_iter()
                .map(|text| json!({"sessionTimeout": text}))
                .collect(),
        ),
        (
            "reason must be one line",
            ["a\nb", "a\r", "\u{0}", "\u{7f}", "\u{85}", "a\u{2028}b", "a\u{202e}b", "\u{2069}"]
                .into_iter()
                .map(|text| json!({"reason": text}))
                .collect(),
        ),
        (
            "drainTimeout must be a duration",
            ["", "ten", "999999999999999999h", "2562048h", "-2m", "\u{0661}s"]
                .into_iter()
                .map(|text| json!({"drainTimeout": text}))
                .chain([json!({"drainTimeout": "25h", "holdTimeout": "26h"})])
                .collect(),
        ),
        (
            "holdTimeout must be a duration",
            ["", "1", "25h", "forever", "9999999999999999s"].into_iter().map(|text| json!({"holdTimeout": text})).collect(),
        ),
        (
            "resumeTimeout must be a duration",
            ["", "0s", "1", "25h", "forever", "9999999999999999s"]
                .into_iter()
                .map(|text| json!({"resumeTimeout": text}))
                .collect(),
        ),
        (
            "replicas of a canary must be 1 or more",
            [0, -1, i64::from(i32::MIN)]
                .into_iter()
                .map(|replicas| json!({"restore": {"canary": {"replicas": replicas}}}))
                .collect(),
        ),
        (
            "timeout of a canary must be a duration",
            ["", "0s", "3", "25h", "-3m", "forever", "9999999999999999s"]
                .into_iter()
                .map(|timeout| json!({"restore": {"canary": {"timeout": timeout}}}))
                .collect(),
        ),
        (
            "restore.canary.timeout and drainTimeout must together",
            vec![
                json!({"restore": {"canary": {"timeout": "8m"}}}),
                json!({"restore": {"canary": {}}, "holdTimeout": "5m"}),
                json!({"restore": {"canary": {"timeout": "24h"}}, "drainTimeout": "1s", "holdTimeout": "24h"}),
            ],
        ),
        (
            "restore.canary needs a workload in targetRefs",
            vec![json!({"restore": {"canary": {}}, "targetRefs": []}), json!({"restore": {"canary": {}}, "targetRefs": null})],
        ),
        (
            "restore.canary cannot be combined with a KafkaConnector",
            ["v1", "v1beta2"]
                .into_iter()
                .map(|version| {
                    let connector =
                        json!({"apiVersion": format!("kafka.strimzi.io/{version}"), "kind": "KafkaConnector", "name": "a"});
                    json!({"restore": {"canary": {}}, "targetRefs": [{"name": "b"}, connector]})
                })
                .collect(),
        ),
        (
            "a KafkaConnect cannot be a target",
            vec![target(json!({"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaConnect", "name": "a"}))],
        ),
        (
            "a KafkaMirrorMaker2 cannot be a target",
            vec![target(json!({"apiVersion": "kafka.strimzi.io/v1beta2", "kind": "KafkaMirrorMaker2", "name": "a"}))],
        ),
        (
            "of apps/v1, only a Deployment",
            vec![target(json!({"kind": "DaemonSet", "name": "a"})), target(json!({"kind": "Rollout", "name": "a"}))],
        ),
        (
            "apiVersion must be as in",
            ["apps", "argoproj.io/", "a/b/v1", "../v1", "apps/v1?x"]
                .into_iter()
                .map(|version| target(json!({"apiVersion": version, "kind": "Rollout", "name": "a"})))
                .collect(),
        ),
        (
            "kind must be as in",
            ["deployments", "", "Roll out", "../Deployment"]
                .into_iter()
                .map(|kind| target(json!({"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "name": "a"})))
                .collect(),
        ),
        (
            "name must be the workload's metadata.name",
            ["../other", "a/scale", "a?dryRun=All", "A", "-a", "a.", "a b"]
                .into_iter()
                .map(|name| target(json!({"name": name})))
                .collect(),
        ),
        (
            "undo.name must be the metadata.name",
            vec![json!({"resets": null, "undo": {"name": "../other"}}), json!({"resets": null, "undo": {"name": "Replay"}})],
        ),
        (
            "bootstrapServers must be",
            ["kafka", "kafka:9092, other:9092", "SSL://kafka:9092", "kafka:9092,", ":9092", "kafka:port", "kafka:123456"]
                .into_iter()
                .map(brokers)
                .collect(),
        ),
        (
            "kafka needs either bootstrapServers",
            vec![kafka(json!({"bootstrapServers": null})), kafka(json!({"binding": {"secretName": "s"}}))],
        ),
        (
            "kafka.binding excludes tls and authentication",
            vec![kafka(json!({"bootstrapServers": null, "binding": {"secretName": "s"}, "tls": {}}))],
        ),
        (
            "authentication of type tls needs kafka.tls",
            vec![kafka(json!({"authentication": {"type": "tls", "certificateAndKey": certificate}}))],
        ),
        (
            "authentication of type tls needs certificateAndKey",
            vec![
                authentication(json!({"type": "tls"})),
                authentication(json!({"type": "tls", "certificateAndKey": certificate, "username": "u"})),
                authentication(json!({"type": "tls", "certificateAndKey": certificate, "scope": "s"})),
                authentication(json!({"type": "tls", "certificateAndKey": certificate, "saslExtensions": {"a": "b"}})),
            ],
        ),
        (
            "authentication with a password needs",
            vec![
                authentication(json!({"type": "scram-sha-512", "passwordSecret": password})),
                authentication(json!({"type": "scram-sha-256", "username": "u"})),
                authentication(json!({"type": "plain", "username": "u", "passwordSecret": password, "clientId": "c"})),
                authentication(json!({"type": "plain", "username": "u", "passwordSecret": password, "audience": "a"})),
                authentication(json!({"type": "plain", "username": "u", "passwordSecret": password, "headerUrlencode": true})),
                authentication(json!({"type": "plain", "username": "u", "passwordSecret": password, "credentialsIn": "Body"})),
            ],
        ),
        (
            "authentication of type oauth needs",
            vec![
                authentication(json!({"type": "oauth"})),
                authentication(json!({
                    "type": "oauth", "tokenEndpointUri": "https://idp/token", "clientId": "c",
                    "clientSecret": {"secretName": "s", "key": "k"}, "username": "u",
                })),
            ],
        ),
        (
            "saslExtensions must have",
            [json!({"auth": "x"}), json!({"a-b": "x"}), json!({"a": ""}), json!({"a": "\u{1}"})]
                .into_iter()
                .map(|extensions| {
                    let secret = json!({"secretName": "s", "key": "k"});
                    authentication(json!({
                        "type": "oauth", "tokenEndpointUri": "https://idp/token", "clientId": "c", "clientSecret": secret,
                        "saslExtensions": extensions,
                    }))
                })
                .collect(),
        ),
        (
            "tokenEndpointUri must be",
            ["http://idp/token", "https://", "https://user@idp/token", "https://idp/token?a=b", "file:///etc/passwd"]
                .into_iter()
                .map(|uri| {
                    let secret = json!({"secretName": "s", "key": "k"});
                    authentication(json!({"type": "oauth", "tokenEndpointUri": uri, "clientId": "c", "clientSecret": secret}))
                })
                .collect(),
        ),
        (
            "each entry of trustedCertificates needs either",
            vec![
                kafka(json!({"tls": {"trustedCertificates": [{"secretName": "s"}]}})),
                kafka(json!({"tls": {"trustedCertificates": [{"secretName": "s", "certificate": "c", "pattern": "*"}]}})),
            ],
        ),
        (
            "pattern must select keys of the Secret",
            vec![kafka(json!({"tls": {"trustedCertificates": [{"secretName": "s", "pattern": "[a-z]"}]}}))],
        ),
        (
            "config cannot set TLS and SASL",
            ["ssl.ca.location", "sasl.kerberos.kinit.cmd", "security.protocol", "enable.ssl.certificate.verification"]
                .into_iter()
                .map(|name| config(name, "x"))
                .collect(),
        ),
        ("config cannot name brokers", vec![config("bootstrap.servers", "k:1"), config("metadata.broker.list", "k:1")]),
        (
            "config has a property that is not on the list",
            ["plugin.library.paths", "group.id", "debug", "enable.auto.commit"]
                .into_iter()
                .map(|name| config(name, "x"))
                .collect(),
        ),
        (
            "config has a time that is not a number",
            ["-1", "1s", "", "01", "1000000"].into_iter().map(|value| config("request.timeout.ms", value)).collect(),
        ),
        ("config: socket.keepalive.enable", vec![config("socket.keepalive.enable", "yes")]),
        ("config: broker.address.family", vec![config("broker.address.family", "v5")]),
        ("config: client.dns.lookup", vec![config("client.dns.lookup", "none")]),
        ("config: client.id", vec![config("client.id", "a b"), config("client.id", "")]),
        ("remainingMembers: Remove needs a workload", vec![json!({"targetRefs": [], "remainingMembers": "Remove"})]),
        (
            "resource must be as kubectl",
            ["Deployments", "deployments/scale", "deployments.apps", ""]
                .into_iter()
                .map(|resource| target(json!({"name": "a", "resource": resource})))
                .collect(),
        ),
        ("maxReplay must be", vec![json!({"limits": {"maxReplay": -1}})]),
        ("maxSkip must be", vec![json!({"limits": {"maxSkip": -1}})]),
        (
            "maxCatchUp must be",
            ["0s", "8761h", "-1h", "soon"].into_iter().map(|text| json!({"limits": {"maxCatchUp": text}})).collect(),
        ),
        (
            "notAfter must be",
            [
                "1969-12-31T23:59:59Z",
                "9999-12-31T23:59:59Z",
                "",
                "tomorrow",
                "2026-11-24",
                "2026-11-24T18:00:00",
                "2026-11-24T18:00:00+99:99",
                "2026-02-30T18:00:00Z",
                "2027-02-29T18:00:00Z",
                "2026-11-24T24:00:00Z",
                "2026-11-24T18:00:60Z",
                "2026-11-24 18:00:00Z",
                "1795543200",
            ]
            .into_iter()
            .map(|at| json!({"notAfter": at}))
            .collect(),
        ),
        (
            "each entry of resets needs exactly one target",
            vec![
                one(&json!({"topic": "orders"})),
                one(&json!({"topic": "orders", "offset": 1, "timestamp": 1_571_812_144})),
                one(&json!({"topic": "orders", "position": "Latest", "shiftBy": 1})),
                one(&json!({"topic": "orders", "duration": "1h", "fromGroup": "other"})),
            ],
        ),
        (
            "each entry of resets needs either topic",
            vec![one(&json!({"offset": 1})), one(&json!({"topic": "orders", "topicPattern": "o.*", "offset": 1}))],
        ),
        (
            "topic must be the name of one topic",
            ["", "or ders", "..", ".", "a/b", "ordérs", "a\n"]
                .into_iter()
                .map(|topic| one(&json!({"topic": topic, "offset": 1})))
                .collect(),
        ),
        (
            "topicPattern must be a regular expression",
            [
                "(", ")", "[", "*", "+a", "a**", "a(*b)", "a|*", "(?!a)", "(?<=a)b", "orders[", "a\\", "(a", "a{2,1}", "[z-a]",
                "\\q", "(a))(", "a)|(b",
            ]
            .into_iter()
            .map(|pattern| one(&json!({"topicPattern": pattern, "offset": 1})))
            .collect(),
        ),
        ("partition must be", vec![one(&json!({"topic": "orders", "offset": 1, "partition": -2}))]),
        (
            "write partition for one partition",
            vec![
                one(&json!({"topic": "orders", "offset": 1, "partition": 0, "partitions": [1]})),
                one(&json!({"topic": "orders", "offset": 1, "partition": 0, "partitionRanges": [{"from": 1, "to": 2}]})),
            ],
        ),
        (
            "the entries of resets have more than 2,000",
            vec![json!({"resets": (0..3)
                .map(|entry| json!({"topic": format!("t{entry}"), "offset": 1, "partitions": (0..667).collect::<Vec<i32>>()}))
                .collect::<Vec<_>>()})],
        ),
        (
            "a range of partitions goes",
            vec![one(&json!({"topic": "orders", "offset": 1, "partitionRanges": [{"from": 0, "to": 1}, {"from": 3, "to": 2}]}))],
        ),
        (
            "offset must be 0 or more",
            vec![one(&json!({"topic": "orders", "offset": -1})), one(&json!({"topic": "orders", "offset": i64::MIN}))],
        ),
        (
            "timestamp must be Unix time",
            vec![
                timestamp(json!(157_181_214)),
                timestamp(json!(15_718_121_440_i64)),
                timestamp(json!(-3)),
                timestamp(json!(1)),
                timestamp(json!(1_571_812_144_000_000_000_i64)),
                timestamp(json!("yesterday")),
                timestamp(json!("2019-10-23T06:29:00")),
                timestamp(json!("2019-10-23T06:29:04.000")),
                timestamp(json!("")),
                timestamp(json!("2019-10-23")),
                timestamp(json!("157181214")),
                timestamp(json!("15718121440")),
                timestamp(json!("-3")),
                timestamp(json!("00")),
                timestamp(json!("now")),
                timestamp(json!("a".repeat(1000))),
                timestamp(json!(i64::MIN)),
            ],
        ),
        ("timestamp 0 and -2 are no times", [json!(0), json!(-2), json!("0"), json!("-2")].map(timestamp).into()),
        ("timestamp -1 is no time", [json!(-1), json!("-1")].map(timestamp).into()),
        (
            "duration must be a duration",
            ["", "P1D", "0s", "-1h", "1d", "999999999999999999h", "2562048h", "99999999999s", "yesterday"]
                .into_iter()
                .map(|ago| one(&json!({"topic": "orders", "duration": ago})))
                .collect(),
        ),
    ]
}
