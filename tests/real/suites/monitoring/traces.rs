//! Traces: each reset is one trace. A server of the test takes the place of a collector, and reads OTLP by its published types.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{Router, body::Bytes, extract::State, routing::post};
use kube::api::PostParams;
use opentelemetry_proto::tonic::{collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span};
use prost::Message;
use real_tests::{
    broker::Broker,
    install_crd,
    process::{Process, free_address},
    reset, resets,
    shop::succeeded,
    wait_for_end, with_namespace,
};
use serde_json::json;
use tokio::sync::Mutex;

type Received = Arc<Mutex<Vec<Span>>>;

/// Starts a server that keeps the spans that it receives: its address.
async fn collector(received: Received) -> String {
    async fn receive(State(received): State<Received>, body: Bytes) {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let spans = request.resource_spans.into_iter().flat_map(|resource| {
            let resource_attributes = format!("{:?}", resource.resource);
            assert!(resource_attributes.contains("offset-reset-operator"), "{resource_attributes}");
            resource.scope_spans.into_iter().flat_map(|scope| scope.spans)
        });
        received.lock().await.extend(spans);
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = Router::new().route("/v1/traces", post(receive)).with_state(received);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_one_trace_whose_phases_steps_and_requests_are_spans() {
    with_namespace(async |admin, namespace| {
        let received = Received::default();
        let endpoint = format!("http://{}", collector(Arc::clone(&received)).await);
        let operator = Process::start_in(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)], &["--namespace", &namespace]).await;
        operator.until_ready().await;
        let ((topic, group), resets) = (Broker::default().consumed("traced").await, resets(&admin, &namespace));
        let new = reset("r", &group, &json!([{"topic": topic, "offset": 3}]), &json!({"targetRefs": []}));
        let uid = resets.create(&PostParams::default(), &new).await.unwrap().metadata.uid.unwrap();
        succeeded(&wait_for_end(&resets, "r").await);
        operator.signal("TERM").await;
        let output = operator.ended().await;
        assert_eq!(output.status.code(), Some(0));
        let log = String::from_utf8(output.stdout).unwrap();
        assert!(log.contains("phase changed") && !log.contains("step"), "the logs show no span: {log}");

        let spans = received.lock().await;
        let trace: BTreeSet<String> = spans.iter().map(|span| hex(&span.trace_id)).collect();
        assert_eq!(trace, [uid.replace('-', "")].into(), "nothing else is traced");
        let by_id: BTreeMap<&[u8], &Span> = spans.iter().map(|span| (&span.span_id[..], span)).collect();
        assert_eq!(by_id.len(), spans.len(), "each has an ID of its own");
        let parent = |span: &Span| by_id.get(&span.parent_span_id[..]).map(|parent| parent.name.as_str());

        let roots: Vec<&Span> = spans.iter().filter(|span| span.parent_span_id.is_empty()).collect();
        let [root] = roots[..] else { panic!("{roots:?}") };
        assert_eq!(root.name, "reset");
        let attributes = format!("{:?}", root.attributes);
        assert!(
            [&group, &namespace, &uid, &"Succeeded".to_owned()].iter().all(|word| attributes.contains(*word)),
            "{attributes}"
        );
        let mut phases: Vec<&Span> = spans.iter().filter(|span| parent(span) == Some("reset") && span.name != "step").collect();
        phases.sort_by_key(|phase| phase.start_time_unix_nano);
        let names: Vec<&str> = phases.iter().map(|phase| phase.name.as_str()).collect();
        assert_eq!(names, ["Planning", "Stopping", "Draining", "Resetting", "Restoring"]);
        for pair in phases.windows(2) {
            assert_eq!(pair[0].end_time_unix_nano, pair[1].start_time_unix_nano, "{} {}", pair[0].name, pair[1].name);
        }
        for span in spans.iter().filter(|span| span.name == "step") {
            let parent = parent(span);
            assert!(parent.is_some_and(|parent| parent == "reset" || names.contains(&parent)), "{parent:?}");
        }
        let requests: Vec<&Span> = spans.iter().filter(|span| span.kind == 3).collect();
        assert!(requests.iter().all(|request| parent(request) == Some("step")), "{requests:?}");
        for (name, phase) in [("describe_group", "Planning"), ("commit", "Resetting"), ("replace_status", "Resetting")] {
            let in_phase = |request: &&&Span| parent(by_id[&request.parent_span_id[..]]) == Some(phase);
            let found = requests.iter().filter(|request| request.name == name).find(in_phase);
            assert!(found.is_some(), "{name} in {phase}: {:?}", requests.iter().map(|span| &span.name).collect::<Vec<_>>());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_delays_nothing_and_is_said_in_the_log() {
    with_namespace(async |admin, namespace| {
        let endpoint = format!("http://{}", free_address().await);
        let operator = Process::start_in(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)], &["--namespace", &namespace]).await;
        operator.until_ready().await;
        let ((topic, group), resets) = (Broker::default().consumed("traced").await, resets(&admin, &namespace));
        let new = reset("r", &group, &json!([{"topic": topic, "offset": 3}]), &json!({"targetRefs": []}));
        resets.create(&PostParams::default(), &new).await.unwrap();
        succeeded(&wait_for_end(&resets, "r").await);
        operator.signal("TERM").await;
        let output = operator.ended().await;
        assert_eq!(output.status.code(), Some(0));
        let log = String::from_utf8(output.stdout).unwrap();
        let said: Vec<&str> = log.lines().filter(|line| line.contains("traces cannot be sent")).collect();
        assert!(said.len() == 1 && said[0].contains("Connection refused"), "{log}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protocol_that_it_does_not_speak_is_said_and_keeps_it_from_nothing() {
    install_crd(&real_tests::client().await).await;
    let grpc = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    let operator = Process::start_in(&grpc, &["--namespace", "nobody"]).await;
    operator.until_ready().await;
    operator.signal("TERM").await;
    let output = operator.ended().await;
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("OTEL_EXPORTER_OTLP_PROTOCOL is grpc, but traces are sent by http/protobuf only"), "{said}");
}

fn hex(bytes: &[u8]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes.try_into().unwrap()))
}
