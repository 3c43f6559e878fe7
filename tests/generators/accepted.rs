//! Changes of a sound spec that leave it sound.

use serde_json::{Value, json};

use super::refusals::{authentication, config, kafka, one, tls};

/// Changes of a sound spec that leave it sound.
#[allow(clippy::too_many_lines, reason = "a table")]
pub fn accepted() -> Vec<Value> {
    vec![
        json!({}),
        json!({"targetRefs": null}),
        json!({"targetRefs": []}),
        json!({"targetRefs": [{"name": "a"}, {"kind": "StatefulSet", "name": "a", "acceptVolumeDeletion": true}]}),
        json!({"targetRefs": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "a"}]}),
        json!({"targetRefs": [{"apiVersion": "v1", "kind": "ReplicationController", "name": "a"}]}),
        one(&json!({"topic": "test", "partition": 0, "offset": 10})),
        one(&json!({"topic": "test", "partition": 0, "timestamp": 1_571_812_144})),
        one(&json!({"topic": "test", "partition": -1, "timestamp": 1_571_812_144_000i64})),
        one(&json!({"topic": "test", "timestamp": "2019-10-23T06:29:04Z"})),
        one(&json!({"topic": "test", "timestamp": "1571812144"})),
        one(&json!({"topic": "test", "timestamp": "1571812144000"})),
        one(&json!({"topic": "test", "timestamp": "2019-10-23T14:29:04.250+08:00"})),
        one(&json!({"topic": "test", "offset": i64::MAX})),
        one(&json!({"topic": "test", "position": "Earliest"})),
        one(&json!({"topic": "test", "partitions": [0, 3], "offset": 1})),
        json!({"resets": (0..2)
            .map(|entry| json!({"topic": format!("t{entry}"), "offset": 1, "partitions": (0..1_000).collect::<Vec<i32>>()}))
            .collect::<Vec<_>>()}),
        one(
            &json!({"topic": "test", "partition": -1, "partitions": [7], "partitionRanges": [{"from": 0, "to": 5}, {"from": 9, "to": 9}], "offset": 1}),
        ),
        one(&json!({"topic": "test", "shiftBy": -100})),
        one(&json!({"topic": "test", "duration": "36h30m"})),
        one(&json!({"topicPattern": "orders\\..*", "fromGroup": "other"})),
        json!({"resets": null, "undo": {"name": "replay"}}),
        json!({"resets": null, "resetsFrom": {"configMapKeyRef": {"name": "orders.offsets-1", "key": "offsets_1.csv"}}}),
        json!({"outOfRange": "Skip", "limits": {"maxReplay": 0, "maxSkip": 10, "maxCatchUp": "8760h"}, "isolationLevel": "ReadCommitted", "allowNewGroup": true, "suspend": true, "notAfter": "2026-11-24T18:00:00Z"}),
        json!({"ttlSecondsAfterFinished": 0}),
        json!({"ttlSecondsAfterFinished": 2_147_483_647}),
        json!({"kafka": {"bootstrapServers": "a.b.c:9092,10.0.0.1:9093"}}),
        json!({"kafka": {"bootstrapServers": "[::1]:9092"}}),
        json!({"kafka": {"binding": {"secretName": "orders-kafka"}}}),
        kafka(&json!({"tls": {}})),
        tls(&json!({"secretName": "shop-cluster-ca-cert", "certificate": "ca.crt"})),
        tls(&json!({"secretName": "shop-cluster-ca-cert", "pattern": "*.crt"})),
        authentication(
            &json!({"type": "tls", "certificateAndKey": {"secretName": "orders", "certificate": "user.crt", "key": "user.key"}}),
        ),
        authentication(
            &json!({"type": "scram-sha-512", "username": "orders", "passwordSecret": {"secretName": "orders", "password": "password"}}),
        ),
        kafka(
            &json!({"authentication": {"type": "plain", "username": "$ConnectionString", "passwordSecret": {"secretName": "orders", "password": "password"}}}),
        ),
        authentication(&json!({
            "type": "oauth", "tokenEndpointUri": "https://idp.example.com:8443/oauth2/token", "clientId": "orders", "scope": "kafka read",
            "clientSecret": {"secretName": "orders", "key": "secret"}, "tlsTrustedCertificates": [{"secretName": "idp", "certificate": "ca.crt"}],
            "audience": "https://kafka", "credentialsIn": "Body", "headerUrlencode": false,
            "saslExtensions": {"logicalCluster": "lkc-1", "identityPoolId": "a b"},
        })),
        config(&json!({
            "client.id": "replay.orders_1-a", "request.timeout.ms": "20000", "broker.address.family": "v4", "socket.keepalive.enable": "true",
            "client.dns.lookup": "use_all_dns_ips", "retry.backoff.ms": "0",
        })),
        json!({"runId": "2026-11-25.1"}),
        json!({"reason": "INC-4711: \u{201e}wrong\u{201c} tax rate / see https://wiki.example.com (\u{1f980})"}),
        json!({"reason": "\u{00e9}".repeat(256)}),
        json!({"sessionTimeout": "1m30s", "drainTimeout": "1h", "holdTimeout": "1h1ms", "resumeTimeout": "24h"}),
        json!({"restore": {}}),
        json!({"restore": {"canary": {}}}),
        json!({"restore": {"canary": {"replicas": 2, "timeout": "90s", "onFailure": "Undo"}}}),
        json!({"restore": {}, "targetRefs": []}),
        // At the edges of the rules.
        json!({"restore": {"canary": {"replicas": i32::MAX, "timeout": "7m59.999s"}}}),
        one(&json!({"topic": "test", "timestamp": "2019-10-23t06:29:04z"})),
        one(&json!({"topic": "test", "timestamp": 9_999_999_999_999_i64})),
        one(&json!({"topic": "test", "duration": "300000h"})),
        one(&json!({"topic": "test", "duration": "36000000s"})),
        one(&json!({"topic": "test", "duration": "1.5h0.5m"})),
        one(&json!({"topicPattern": "(orders|payments)[.-](eu|us){1,2}\\d+?", "offset": 1})),
        one(&json!({"topicPattern": "[*+(]+", "offset": 1})),
        one(&json!({"topicPattern": "orders\\(\\\\", "offset": 1})),
        one(&json!({"topicPattern": "(?i)(?:a)(?P<b>c)", "offset": 1})),
        json!({"notAfter": "1971-01-01T00:00:00Z"}),
        json!({"notAfter": "2028-02-29T23:59:59.123456789-12:30"}),
        json!({"notAfter": "9998-12-31T23:59:59+14:00"}),
        json!({"sessionTimeout": "0.5ms"}),
        json!({"sessionTimeout": "1800000ms", "drainTimeout": "82800s", "holdTimeout": "24h"}),
    ]
}
