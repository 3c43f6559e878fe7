//! What cannot be: for each rule of the definition what breaks it, and nothing else.

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

fn entry(change: &Value) -> Value {
    json!({ "resets": [change] })
}

/// The CEL rules that are about one object and not about a change of it, each by the beginning of its message, with changes of a sound spec
/// that break it.
#[allow(clippy::too_many_lines, reason = "a table")]
pub fn of_rules() -> Vec<(&'static str, Vec<Value>)> {
    let timestamp = |value: Value| entry(&json!({"topic": "orders", "timestamp": value}));
    let target = |value: Value| json!({ "targetRefs": [value] });
    let brokers = |list: &str| json!({"kafka": {"bootstrapServers": list}});
    let kafka = |change: Value| {
        let mut kafka = json!({"bootstrapServers": "kafka:9092"});
        for (key, value) in change.as_object().unwrap() {
            if value.is_null() { _ = kafka.as_object_mut().unwrap().remove(key) } else { kafka[key] = value.clone() }
        }
        json!({ "kafka": kafka })
    };
    let authentication = |value: Value| kafka(json!({"tls": {}, "authentication": value}));
    let config = |name: &str, value: &str| kafka(json!({"config": {name: value}}));
    let certificate = json!({"secretName": "s", "certificate": "c", "key": "k"});
    let password = json!({"secretName": "s", "password": "p"});
    vec![
        ("write either resets", vec![json!({"resets": []}), json!({"resets": null}), json!({"undo": {"name": "other"}})]),
        ("fromGroup must name another group", vec![entry(&json!({"topic": "orders", "fromGroup": "g"}))]),
        ("drainTimeout must be at least sessionTimeout", vec![json!({"sessionTimeout": "3m"})]),
        ("holdTimeout must be longer than drainTimeout", vec![json!({"drainTimeout": "10m"}), json!({"drainTimeout": "1h"})]),
        (
            "targetRefs names the same workload twice",
            vec![json!({"targetRefs": [{"name": "a"}, {"kind": "Deployment", "name": "a"}]})],
        ),
        (
            "sessionTimeout must be a duration",
            vec!["10", "0s", "31m", "-1s", "P1D", "1h-59m", "999999999999999999h"]
                .into_iter()
                .map(|text| json!({"sessionTimeout": text}))
                .collect(),
        ),
        (
            "drainTimeout must be a duration",
            vec![json!({"drainTimeout": "ten"}), json!({"drainTimeout": "25h", "holdTimeout": "26h"})],
        ),
        ("holdTimeout must be a duration", vec![json!({"holdTimeout": "1"}), json!({"holdTimeout": "25h"})]),
        (
            "of apps/v1, a Deployment",
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
            "kafka.binding is a whole connection",
            vec![kafka(json!({"bootstrapServers": null, "binding": {"secretName": "s"}, "tls": {}}))],
        ),
        (
            "authentication of type tls is a client certificate",
            vec![kafka(json!({"authentication": {"type": "tls", "certificateAndKey": certificate}}))],
        ),
        (
            "authentication of type tls needs",
            vec![
                authentication(json!({"type": "tls"})),
                authentication(json!({"type": "tls", "certificateAndKey": certificate, "username": "u"})),
                authentication(json!({"type": "tls", "certificateAndKey": certificate, "scope": "s"})),
            ],
        ),
        (
            "authentication of type scram-sha-256, scram-sha-512 and plain needs",
            vec![
                authentication(json!({"type": "scram-sha-512", "passwordSecret": password})),
                authentication(json!({"type": "scram-sha-256", "username": "u"})),
                authentication(json!({"type": "plain", "username": "u", "passwordSecret": password, "clientId": "c"})),
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
            "pattern matches keys of the Secret",
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
            "config has a time that is no number",
            ["-1", "1s", "", "01", "1000000"].into_iter().map(|value| config("request.timeout.ms", value)).collect(),
        ),
        ("config: socket.keepalive.enable", vec![config("socket.keepalive.enable", "yes")]),
        ("config: broker.address.family", vec![config("broker.address.family", "v5")]),
        ("config: client.dns.lookup", vec![config("client.dns.lookup", "none")]),
        ("config: client.id", vec![config("client.id", "a b"), config("client.id", "")]),
        ("remainingMembers: Remove is for", vec![json!({"targetRefs": [], "remainingMembers": "Remove"})]),
        (
            "resource must be as kubectl",
            ["Deployments", "deployments/scale", "deployments.apps", ""]
                .into_iter()
                .map(|resource| target(json!({"name": "a", "resource": resource})))
                .collect(),
        ),
        ("maxReplay must be", vec![json!({"limits": {"maxReplay": -1}})]),
        ("maxSkip must be", vec![json!({"limits": {"maxSkip": -1}})]),
        ("notAfter must be", vec![json!({"notAfter": "1969-12-31T23:59:59Z"}), json!({"notAfter": "9999-12-31T23:59:59Z"})]),
        (
            "each entry of resets needs exactly one target",
            vec![
                entry(&json!({"topic": "orders"})),
                entry(&json!({"topic": "orders", "offset": 1, "timestamp": 1_571_812_144})),
                entry(&json!({"topic": "orders", "position": "Latest", "shiftBy": 1})),
                entry(&json!({"topic": "orders", "duration": "1h", "fromGroup": "other"})),
            ],
        ),
        (
            "each entry of resets needs either topic",
            vec![entry(&json!({"offset": 1})), entry(&json!({"topic": "orders", "topicPattern": "o.*", "offset": 1}))],
        ),
        (
            "topic must be the name of one topic",
            ["or ders", "..", ".", "a/b", "ordérs", "a\n"]
                .into_iter()
                .map(|topic| entry(&json!({"topic": topic, "offset": 1})))
                .collect(),
        ),
        (
            "topicPattern must be a regular expression",
            ["(", "[", "*"].into_iter().map(|pattern| entry(&json!({"topicPattern": pattern, "offset": 1}))).collect(),
        ),
        ("partition must be", vec![entry(&json!({"topic": "orders", "offset": 1, "partition": -2}))]),
        (
            "offset must be 0 or more",
            vec![entry(&json!({"topic": "orders", "offset": -1})), entry(&json!({"topic": "orders", "offset": i64::MIN}))],
        ),
        (
            "timestamp must be Unix time",
            vec![
                timestamp(json!(157_181_214)),
                timestamp(json!(15_718_121_440_i64)),
                timestamp(json!(-1)),
                timestamp(json!(0)),
                timestamp(json!(1_571_812_144_000_000_000_i64)),
                timestamp(json!("yesterday")),
                timestamp(json!("2019-10-23T06:29:00")),
                timestamp(json!("2019-10-23T06:29:04.000")),
            ],
        ),
        (
            "duration must be a duration",
            ["P1D", "0s", "-1h", "1d", "999999999999999999h"]
                .into_iter()
                .map(|ago| entry(&json!({"topic": "orders", "duration": ago})))
                .collect(),
        ),
    ]
}
