//! The CRD on a real API server: what is refused at apply and in which words, what a new object
//! looks like, and what kubectl shows.

mod applied;

use std::process::{Output, Stdio};

use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    core::DynamicObject,
    discovery::ApiResource,
};
use offset_reset_operator::api::{EXAMPLE, OffsetReset};
use real_tests::{
    PATIENCE, client, environment,
    generators::{
        accepted,
        refusals::{authentication, changed, config, kafka, one, tls},
    },
    install_crd, resets, unique, with_namespace, within,
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

/// What must be refused, with words that must be in the answer.
#[allow(clippy::too_many_lines, reason = "a table")]
fn refused() -> Vec<(Value, &'static str)> {
    let timestamp = |value: Value| one(&json!({"topic": "orders", "timestamp": value}));
    let (scram, certificate) = (
        json!({"type": "scram-sha-512", "username": "u", "passwordSecret": {"secretName": "s", "password": "p"}}),
        json!({"secretName": "s", "certificate": "user.crt", "key": "user.key"}),
    );
    let (password, client_secret) = (json!({"secretName": "s", "password": "p"}), json!({"secretName": "s", "key": "k"}));
    let oauth = |endpoint: &str, more: &Value| {
        let mut oauth = json!({"type": "oauth", "tokenEndpointUri": endpoint, "clientId": "c", "clientSecret": client_secret});
        oauth.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        authentication(&oauth)
    };
    let units = "timestamp must be Unix time, or RFC 3339 with a zone in quotes.";
    vec![
        (one(&json!({"topic": "orders"})), "Write one of offset, timestamp, position, shiftBy, duration and fromGroup"),
        (
            one(&json!({"topic": "orders", "offset": 1, "timestamp": 1_571_812_144})),
            "Write one of offset, timestamp, position, shiftBy, duration and fromGroup",
        ),
        (one(&json!({"topic": "orders", "offset": -1})), "offset must be 0 or more"),
        (one(&json!({"topic": "orders", "offset": 1, "partition": -2})), "or -1 for all partitions"),
        (one(&json!({"topic": "or ders", "offset": 1})), "topic must be the name of one topic"),
        (one(&json!({"topic": "..", "offset": 1})), "topic must be the name of one topic"),
        (one(&json!({"topic": "", "offset": 1})), "write topicPattern: \".*\""),
        (one(&json!({"offset": 1})), "write topicPattern: \".*\""),
        (timestamp(json!(157_181_214)), units),
        (timestamp(json!(15_718_121_440i64)), units),
        (timestamp(json!(-1)), "For the end of the log write position: Latest instead of timestamp"),
        (timestamp(json!("0")), "For the first record that is kept write position: Earliest instead of timestamp"),
        (timestamp(json!(1_571_812_144_000_000_000i64)), units),
        (timestamp(json!("157181214")), units),
        (timestamp(json!("yesterday")), units),
        (timestamp(json!("2019-10-23T06:29:00")), units),
        (timestamp(json!("2019-10-23T06:29:04.000")), units),
        (one(&json!({"topic": "orders", "position": "Latest", "shiftBy": 1})), "needs exactly one target"),
        (one(&json!({"topic": "orders", "position": "Beginning"})), "position"),
        (one(&json!({"topic": "orders", "topicPattern": "o.*", "offset": 1})), "needs either topic or topicPattern"),
        (
            one(&json!({"topicPattern": "(", "offset": 1})),
            "resets[0].topicPattern: Invalid value: \"(\": topicPattern must be a regular",
        ),
        (one(&json!({"topicPattern": "", "offset": 1})), "topicPattern"),
        (one(&json!({"topic": "orders", "duration": "P1D"})), "duration must be a duration such as 90m or 36h"),
        (one(&json!({"topic": "orders", "duration": "0s"})), "duration must be a duration such as 90m or 36h"),
        (one(&json!({"topic": "orders", "fromGroup": ""})), "fromGroup"),
        (one(&json!({"topic": "orders", "fromGroup": "g"})), "fromGroup must name another group"),
        (json!({"undo": {"name": "other"}}), "write either resets"),
        (json!({"resets": [], "undo": {"name": ""}}), "undo.name"),
        (json!({"outOfRange": "Ignore"}), "outOfRange"),
        (json!({"limits": {"maxReplay": -1}}), "maxReplay must be 0 or more"),
        (json!({"limits": {"maxSkip": -1}}), "maxSkip must be 0 or more"),
        (json!({"limits": {"maxCatchUp": "0s"}}), "maxCatchUp must be a duration of up to 8760h, such as 2h"),
        (json!({"isolationLevel": "Serializable"}), "isolationLevel"),
        (json!({"notAfter": "tomorrow"}), "notAfter must be a time after 1970 with a zone, such as 2026-11-24T18:00:00Z"),
        (json!({"suspend": "no"}), "suspend"),
        (json!({"ttlSecondsAfterFinished": -1}), "ttlSecondsAfterFinished"),
        (json!({"resets": []}), "write either resets"),
        (json!({"resets": null}), "write either resets"),
        (json!({"group": ""}), "group"),
        (json!({"kafka": {"bootstrapServers": "kafka"}}), "bootstrapServers must be host:port"),
        (json!({"kafka": {"bootstrapServers": "kafka:9092, other:9092"}}), "bootstrapServers must be host:port"),
        (json!({"kafka": {"bootstrapServers": "SSL://kafka:9092"}}), "bootstrapServers must be host:port"),
        (kafka(&json!({"bootstrapServers": null})), "kafka needs either bootstrapServers"),
        (kafka(&json!({"binding": {"secretName": "b"}})), "kafka needs either bootstrapServers"),
        (json!({"kafka": {"binding": {"secretName": "b"}, "tls": {}}}), "kafka.binding excludes tls and authentication"),
        (
            json!({"kafka": {"binding": {"secretName": "b"}, "authentication": scram}}),
            "kafka.binding excludes tls and authentication",
        ),
        (json!({"kafka": {"binding": {"secretName": ""}}}), "kafka.binding.secretName"),
        (
            tls(&json!({"secretName": "s"})),
            "needs either certificate or pattern. certificate is one key of the Secret, such as ca.crt",
        ),
        (tls(&json!({"secretName": "s", "certificate": "a", "pattern": "*"})), "needs either certificate"),
        (tls(&json!({"secretName": "s", "pattern": "a/*"})), "pattern must select keys of the Secret"),
        (tls(&json!({"secretName": "", "certificate": "a"})), "secretName"),
        (tls(&json!({"certificate": "a"})), "secretName"),
        (
            json!({"kafka": {"bootstrapServers": "k:9092", "tls": {"trustedCertificates": vec![json!({"secretName": "s", "certificate": "a"}); 17]}}}),
            "trustedCertificates",
        ),
        (authentication(&json!({"type": "kerberos"})), "authentication.type"),
        (authentication(&json!({"type": "tls"})), "type tls needs certificateAndKey, and nothing else"),
        (
            authentication(&json!({"type": "tls", "certificateAndKey": certificate, "username": "u"})),
            "type tls needs certificateAndKey, and nothing else",
        ),
        (kafka(&json!({"authentication": {"type": "tls", "certificateAndKey": certificate}})), "write tls too"),
        (
            authentication(&json!({"type": "tls", "certificateAndKey": {"secretName": "s", "certificate": "c"}})),
            "authentication.certificateAndKey.key",
        ),
        (
            authentication(&json!({"type": "scram-sha-512", "username": "u"})),
            "needs username and passwordSecret, and nothing else",
        ),
        (authentication(&json!({"type": "scram-sha-256", "passwordSecret": password})), "needs username and passwordSecret"),
        (authentication(&json!({"type": "plain"})), "needs username and passwordSecret"),
        (
            authentication(&json!({"type": "plain", "username": "u", "passwordSecret": password, "scope": "s"})),
            "needs username and passwordSecret, and nothing else",
        ),
        (authentication(&json!({"type": "plain", "username": "", "passwordSecret": password})), "authentication.username"),
        (
            authentication(&json!({"type": "oauth", "clientId": "c", "clientSecret": client_secret})),
            "type oauth needs tokenEndpointUri, clientId and clientSecret",
        ),
        (oauth("https://idp/token", &json!({"username": "u"})), "type oauth needs tokenEndpointUri, clientId and clientSecret"),
        (oauth("http://idp/token", &json!({})), "tokenEndpointUri must be an https:// address"),
        (oauth("https://user:secret@idp/token", &json!({})), "tokenEndpointUri must be an https:// address"),
        (oauth("https://idp/token?to=https://other", &json!({})), "tokenEndpointUri must be an https:// address"),
        (config(&json!({"ssl.ca.location": "/etc/passwd"})), "config cannot set TLS and SASL"),
        (config(&json!({"sasl.kerberos.kinit.cmd": "sh"})), "config cannot set TLS and SASL"),
        (config(&json!({"sasl.oauthbearer.token.endpoint.url": "https://x"})), "config cannot set TLS and SASL"),
        (config(&json!({"ssl.endpoint.identification.algorithm": "none"})), "config cannot set TLS and SASL"),
        (config(&json!({"enable.ssl.certificate.verification": "false"})), "config cannot set TLS and SASL"),
        (config(&json!({"security.protocol": "plaintext"})), "config cannot set TLS and SASL"),
        (config(&json!({"bootstrap.servers": "other:9092"})), "config cannot name brokers"),
        (config(&json!({"plugin.library.paths": "x.so"})), "config has a property that is not on the list"),
        (config(&json!({"group.id": "g"})), "config has a property that is not on the list"),
        (config(&json!({"request.timeout.ms": "soon"})), "config has a time that is not a number of milliseconds"),
        (config(&json!({"request.timeout.ms": "1000000"})), "config has a time that is not a number of milliseconds"),
        (config(&json!({"request.timeout.ms": 1000})), "config.request.timeout.ms"),
        (config(&json!({"socket.keepalive.enable": "yes"})), "must be \"true\" or \"false\""),
        (config(&json!({"broker.address.family": "v5"})), "broker.address.family must be any, v4 or v6"),
        (config(&json!({"client.dns.lookup": "never"})), "client.dns.lookup must be use_all_dns_ips or"),
        (config(&json!({"client.id": "a b"})), "client.id must have only letters"),
        (config(&json!({"client.id": "a".repeat(256)})), "config.client.id"),
        (json!({"targetRefs": [{"name": "a"}, {"name": "a"}]}), "names the same workload twice. Name it once"),
        (json!({"targetRefs": [{"kind": "DaemonSet", "name": "a"}]}), "A DaemonSet has no replicas: stop it yourself"),
        (json!({"targetRefs": [{"kind": "Rollout", "name": "a"}]}), "write its apiVersion too, such as argoproj.io/v1alpha1"),
        (json!({"targetRefs": [{"kind": "deployments", "name": "a"}]}), "kind must be as in the workload's own manifest"),
        (json!({"targetRefs": [{"kind": "", "name": "a"}]}), "kind must be as in the workload's own manifest"),
        (json!({"targetRefs": [{"apiVersion": "apps", "name": "a"}]}), "apiVersion must be as in the workload's own manifest"),
        (json!({"targetRefs": [{"apiVersion": "argoproj.io/", "kind": "Rollout", "name": "a"}]}), "apiVersion must be as in"),
        (json!({"targetRefs": [{"apiVersion": "a/b/v1", "kind": "Rollout", "name": "a"}]}), "apiVersion must be as in"),
        (json!({"targetRefs": [{"name": "a", "acceptVolumeDeletion": "yes"}]}), "acceptVolumeDeletion"),
        (json!({"targetRefs": [{"name": ""}]}), "name"),
        (json!({"sessionTimeout": "10"}), "sessionTimeout must be a duration"),
        (json!({"sessionTimeout": "0s"}), "sessionTimeout must be a duration"),
        (json!({"sessionTimeout": "31m"}), "sessionTimeout must be a duration"),
        (json!({"sessionTimeout": "3m"}), "drainTimeout must be at least sessionTimeout"),
        (json!({"drainTimeout": "ten"}), "drainTimeout must be a duration"),
        (json!({"drainTimeout": "10m"}), "holdTimeout must be longer than drainTimeout"),
        (json!({"holdTimeout": "1"}), "holdTimeout must be a duration"),
        (json!({"resumeTimeout": "0s"}), "resumeTimeout must be a duration"),
        (json!({"resumeTimeout": "25h"}), "resumeTimeout must be a duration"),
        (json!({"remainingMembers": "Kill"}), "Unsupported value: \"Kill\": supported values: \"Wait\", \"Remove\""),
        (
            json!({"targetRefs": [], "remainingMembers": "Remove"}),
            "remainingMembers: Remove needs a workload in targetRefs. It removes",
        ),
    ]
}

async fn create(api: &Api<DynamicObject>, spec: Value) -> Result<DynamicObject, String> {
    let resource = ApiResource::erase::<OffsetReset>(&());
    let object = DynamicObject::new(&unique("r"), &resource).data(json!({ "spec": spec }));
    api.create(&PostParams::default(), &object).await.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_at_apply_in_words_that_say_what_to_write() {
    with_namespace(async |client, namespace| {
        let resource = ApiResource::erase::<OffsetReset>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
        let minor: u32 = client.apiserver_version().await.unwrap().minor.parse().unwrap();
        for (change, words) in refused() {
            // Up to 1.33 an API server names the type of what breaks a rule of CEL, and not the value.
            let words = if minor <= 33 { words.replace("\"(\"", "\"string\"") } else { words.to_owned() };
            match create(&api, changed(&change)).await {
                Ok(_) => panic!("accepted: {change}"),
                Err(error) => assert!(error.contains(&words), "{change}\n  was refused with: {error}\n  instead of: {words}"),
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_sense_is_accepted() {
    with_namespace(async |client, namespace| {
        let resource = ApiResource::erase::<OffsetReset>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &resource);
        for change in accepted::accepted() {
            if let Err(error) = create(&api, changed(&change)).await {
                panic!("{change} was refused: {error}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spec_of_a_one_shot_cannot_be_changed_and_its_metadata_can() {
    with_namespace(async |client, namespace| {
        let api = resets(&client, &namespace);
        let new = real_tests::reset("once", "g", &json!([{"topic": "orders", "offset": 10}]), &json!({}));
        let mut stored = api.create(&PostParams::default(), &new).await.unwrap();
        stored.labels_mut().insert("team".into(), "shop".into());
        api.replace("once", &PostParams::default(), &stored).await.unwrap();
        // Every field that there is: one that is forgotten in the rule would be found here.
        let properties = properties_of_the_spec();
        let changes = [
            ("targetRefs", json!([{"name": "other"}])),
            ("kafka", json!({"bootstrapServers": "other:9092"})),
            ("group", json!("other")),
            ("resets", json!([{"topic": "orders", "offset": 11}])),
            ("undo", json!({"name": "other"})),
            ("resetsFrom", json!({"configMapKeyRef": {"name": "offsets", "key": "offsets.csv"}})),
            ("outOfRange", json!("Skip")),
            ("limits", json!({"maxReplay": 5})),
            ("dryRun", json!(true)),
            ("notAfter", json!("2019-10-23T06:29:04Z")),
            ("runId", json!("2")),
            ("reason", json!("INC-4711")),
            ("isolationLevel", json!("ReadCommitted")),
            ("allowNewGroup", json!(true)),
            ("allowNoMembers", json!(true)),
            ("remainingMembers", json!("Remove")),
            ("sessionTimeout", json!("11s")),
            ("drainTimeout", json!("121s")),
            ("holdTimeout", json!("601s")),
            ("resumeTimeout", json!("10m")),
            ("restore", json!({"canary": {"replicas": 1, "timeout": "1m"}})),
        ];
        let named: Vec<&str> = changes.iter().map(|(name, _)| *name).collect();
        let mutable = ["suspend", "ttlSecondsAfterFinished"];
        // These may be changed at any time; the machine says when that has an effect.
        for (field, value) in [
            ("suspend", json!(true)),
            ("ttlSecondsAfterFinished", json!(60)),
            ("ttlSecondsAfterFinished", json!(0)),
            ("ttlSecondsAfterFinished", Value::Null),
        ] {
            let stored = api.get("once").await.unwrap();
            change(&api, &stored, field, value).await.unwrap();
        }
        let stored = api.get("once").await.unwrap();
        assert!(
            properties.iter().all(|name| mutable.contains(&name.as_str()) || named.contains(&name.as_str())),
            "no change is tried for one of {properties:?}"
        );
        for (field, value) in changes {
            let error = match change(&api, &stored, field, value).await {
                Ok(_) => panic!("{field} could be changed"),
                Err(error) => error.to_string(),
            };
            assert!(error.contains("Create another OffsetReset under a new name"), "{field}: {error}");
        }
    })
    .await;
}

fn properties_of_the_spec() -> Vec<String> {
    let crd = serde_json::to_value(offset_reset_operator::api::crd()).unwrap();
    let properties = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    properties.as_object().unwrap().keys().cloned().collect()
}

async fn change(api: &Api<OffsetReset>, stored: &OffsetReset, field: &str, value: Value) -> Result<OffsetReset, kube::Error> {
    let mut changed = serde_json::to_value(stored).unwrap();
    changed["spec"][field] = value;
    api.replace(&stored.name_any(), &PostParams::default(), &serde_json::from_value(changed).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_may_become_a_run_and_not_the_other_way_round() {
    with_namespace(async |client, namespace| {
        let api = resets(&client, &namespace);
        let spec = json!({"dryRun": true, "limits": {"maxReplay": 5}, "outOfRange": "Fail"});
        let new = real_tests::reset("dry", "g", &json!([{"topic": "orders", "offset": 10}]), &spec);
        let stored = api.create(&PostParams::default(), &new).await.unwrap();
        let stored = change(&api, &stored, "dryRun", json!(false)).await.unwrap();
        let error = change(&api, &stored, "dryRun", json!(true)).await.unwrap_err().to_string();
        assert!(error.contains("dryRun can only be changed from true to false"), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_object_is_not_taken_for_done_before_the_operator_has_seen_it() {
    with_namespace(async |client, namespace| {
        let api = resets(&client, &namespace);
        let new = real_tests::reset("fresh", "g", &json!([{"topic": "orders", "offset": 10}]), &json!({}));
        let stored = api.create(&PostParams::default(), &new).await.unwrap();
        // kstatus: an observed generation that differs from the object's means "in progress".
        assert_eq!(stored.status.unwrap().observed_generation, Some(-1));
        assert_eq!(stored.spec.resets[0].partition, -1);
        assert_eq!(stored.spec.target_refs[0].kind, "Deployment");
        assert_eq!(stored.spec.session_timeout, None, "only consumers know it");
        assert_eq!(std::time::Duration::from(stored.spec.drain_timeout).as_secs(), 120);
        assert_eq!(std::time::Duration::from(stored.spec.hold_timeout).as_secs(), 600);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_committed_crd_is_the_one_that_the_api_server_accepts() {
    let client = client().await;
    install_crd(&client).await;
}

/// What kubectl prints, with something on its standard input. An API server lists a new CRD in its discovery and in its OpenAPI a
/// moment after it serves the CRD's objects.
async fn kubectl(arguments: &[&str], input: &str) -> String {
    const NOT_LISTED_YET: [&str; 2] = ["the server doesn't have a resource type", "couldn't find resource for"];
    let listed = async {
        loop {
            let output = kubectl_once(arguments, input).await;
            let (shown, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
            if output.status.success() {
                return shown;
            }
            assert!(NOT_LISTED_YET.iter().any(|words| errors.contains(words)), "kubectl {arguments:?}: {shown}{errors}");
        }
    };
    within(PATIENCE, listed).await.expect("kubectl knows the short name")
}

/// kubectl looks up short names in its cache alone, which may be older than the CRD, so it gets an empty one.
async fn kubectl_once(arguments: &[&str], input: &str) -> Output {
    let cache = std::env::temp_dir().join(unique("kubectl-cache"));
    let mut child = tokio::process::Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(environment().kubeconfig)
        .arg("--cache-dir")
        .arg(&cache)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl is on the PATH: run this with `cargo sandbox exec`");
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    std::fs::remove_dir_all(&cache).unwrap();
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_get_shows_how_far_a_reset_is_and_until_when_it_holds_the_consumers() {
    with_namespace(async |client, namespace| {
        let api = resets(&client, &namespace);
        let new = real_tests::reset("replay", "orders", &json!([{"topic": "orders", "offset": 10}]), &json!({}));
        api.create(&PostParams::default(), &new).await.unwrap();
        let status = json!({"status": {
            "observedGeneration": 1, "phase": "Draining", "reason": "WaitingForGroup", "progress": "0/3",
            "heldUntil": "2126-11-24T18:10:00Z", "targetNames": "Deployment/orders +2", "message": "One member remains.",
            "totals": {"partitions": 3, "reset": 0, "failed": 0, "clamped": 1, "replayed": 24879, "skipped": 2880},
            "hold": {
                "startTime": "2126-11-24T18:00:00.000000Z", "deadline": "2126-11-24T18:10:00.000000Z", "downtime": "12.3s",
            },
        }});
        api.patch_status("replay", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        let namespace = namespace.as_str();
        for (arguments, headings, cells) in [
            (
                vec!["get", "ofr", "-n", namespace],
                "NAME GROUP PHASE PROGRESS REASON UNTIL AGE MESSAGE",
                "replay orders Draining 0/3 WaitingForGroup 2126-11-24T18:10:00Z",
            ),
            (
                vec!["get", "offsetresets.offsetreset.dev", "-n", namespace, "-o", "wide"],
                "NAME GROUP PHASE PROGRESS REASON UNTIL TARGETS REPLAYED SKIPPED CLAMPED DOWNTIME AGE MESSAGE",
                "replay orders Draining 0/3 WaitingForGroup 2126-11-24T18:10:00Z Deployment/orders +2 24879 2880 1 12.3s",
            ),
        ] {
            let shown = kubectl(&arguments, "").await;
            let lines: Vec<String> = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
            assert_eq!(lines[0], headings, "{shown}");
            assert!(lines[1].starts_with(cells) && lines[1].ends_with("One member remains."), "{shown}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_explain_shows_an_example_that_can_be_applied() {
    with_namespace(async |_, namespace| {
        let shown = kubectl(&["explain", "ofr"], "").await;
        let example: Vec<String> = EXAMPLE.lines().map(|line| format!("    {line}")).collect();
        assert!(shown.contains(&example.join("\n")), "{shown}");
        let arguments = ["apply", "-n", &namespace, "--server-side", "--dry-run=server", "-f", "-"];
        let applied = kubectl(&arguments, EXAMPLE).await;
        assert!(applied.contains("replay-orders serverside-applied (server dry run)"), "{applied}");
    })
    .await;
}
