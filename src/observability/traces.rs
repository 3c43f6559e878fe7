//! Traces by OTLP: each reset is one trace, whose phases, steps and requests are spans.
//!
//! The trace ID of a reset is its UID, and the IDs of its phases follow from it, so that passes of several operators, one after
//! the other, write one trace. The span of a phase is written when the phase is over, and that of the reset when it has ended.

use std::{
    env,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use jiff::Timestamp;
use kube::ResourceExt;
use opentelemetry::{
    Context, InstrumentationScope, KeyValue,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider},
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response, hyper::HyperClient};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, SdkTracer, SdkTracerProvider, Span, SpanData, SpanEvents, SpanLinks, SpanProcessor},
};
use tokio::runtime::Handle;
use tracing::{Instrument, Metadata, Subscriber, subscriber::Interest};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, dynamic_filter_fn},
    registry::LookupSpan,
};

use crate::api::{OffsetReset, OffsetResetStatus, Phase};

/// The variables that name a collector; without one of them nothing is traced.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// The variables that name a protocol.
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];

/// The target of the operator's own spans.
const TARGET: &str = "offset_reset_operator::traces";

/// The name that kube gives to the span of a request, with its attributes.
const REQUEST: &str = "HTTP";

/// How long a request to the collector takes at most.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long the last spans may take at the end.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// The log message when the collector does not accept spans.
const DROPPED: &str = "traces cannot be sent and are dropped; check OTEL_EXPORTER_OTLP_ENDPOINT. The resets go on";

static TRACES: OnceLock<Traces> = OnceLock::new();

/// The pipeline of all spans to the collector.
struct Traces {
    processor: Shared,
    provider: SdkTracerProvider,
    scope: InstrumentationScope,
}

/// A phase of a reset that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracedPhase {
    /// The phase.
    phase: Phase,
    /// When it began, as the status says.
    start: Timestamp,
}

impl TracedPhase {
    /// The phase that a status is in, unless that is final.
    #[must_use]
    pub fn of(status: &OffsetResetStatus) -> Option<Self> {
        let phase = status.phase.filter(|phase| !phase.is_terminal())?;
        Some(Self { phase, start: status.phase_start_time.as_ref()?.0 })
    }
}

/// Starts tracing where a collector is configured, and returns the layer that records the spans. Requests to the collector run on the
/// current runtime.
///
/// # Errors
/// When the endpoint, the protocol or the headers are invalid.
pub(super) fn layer<S>() -> Result<Option<impl Layer<S>>, Box<dyn std::error::Error + Send + Sync>>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let variable = |name: &&str| env::var(name).ok().filter(|value| !value.is_empty());
    if ENDPOINTS.iter().find_map(variable).is_none() {
        return Ok(None);
    }
    if let Some(protocol) = PROTOCOLS.iter().find_map(variable).filter(|protocol| protocol != "http/protobuf") {
        return Err(format!("OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}, but traces are sent by http/protobuf only. Set it to http/protobuf, and name the collector's port for that in the endpoint, usually 4318").into());
    }
    let connector = HttpsConnectorBuilder::new().with_native_roots()?.https_or_http().enable_http1().build();
    let client = OnRuntime {
        client: HyperClient::new(connector, TIMEOUT, None),
        runtime: Handle::current(),
        fails: AtomicBool::new(false),
    };
    let exporter = SpanExporter::builder().with_http().with_http_client(client).with_protocol(Protocol::HttpBinary).build()?;
    let resource = Resource::builder();
    let resource =
        if env::var("OTEL_SERVICE_NAME").is_ok() { resource } else { resource.with_service_name("offset-reset-operator") };
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    Ok(Some(started(BatchSpanProcessor::builder(exporter).build(), resource.with_attribute(version).build())))
}

fn started<S>(mut processor: BatchSpanProcessor, resource: Resource) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    processor.set_resource(&resource);
    let processor = Shared(Arc::new(processor));
    let provider = SdkTracerProvider::builder().with_span_processor(processor.clone()).with_resource(resource).build();
    let scope = InstrumentationScope::builder("offset-reset-operator").build();
    let tracer = provider.tracer_with_scope(scope.clone());
    let _ = TRACES.set(Traces { processor, provider, scope });
    spans(tracer)
}

/// Records the operator's own spans, and those of requests to the API server that are sent within one of them.
fn spans<S>(tracer: SdkTracer) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let is_request = |metadata: &Metadata<'_>| metadata.name() == REQUEST && metadata.target().starts_with("kube_client");
    let may_be_taken = move |metadata: &Metadata<'_>| metadata.is_span() && (metadata.target() == TARGET || is_request(metadata));
    let filter = dynamic_filter_fn(move |metadata, context| {
        may_be_taken(metadata) && (!is_request(metadata) || context.lookup_current().is_some())
    });
    let filter = filter
        .with_max_level_hint(LevelFilter::DEBUG)
        .with_callsite_filter(move |metadata| if may_be_taken(metadata) { Interest::sometimes() } else { Interest::never() });
    let layer = tracing_opentelemetry::layer().with_tracer(tracer);
    layer
        .with_location(false)
        .with_threads(false)
        .with_level(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(filter)
}

/// Whether the logs leave out a span, which only the traces show.
pub(super) fn is_only_traced(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target() == TARGET
}

/// The span of a step of a reset, below that of its phase.
#[must_use]
pub fn step(reset: &OffsetReset, status: &OffsetResetStatus) -> tracing::Span {
    let Some(trace) = TRACES.get().and_then(|_| trace_id(reset)) else { return tracing::Span::none() };
    let span = tracing::info_span!(target: TARGET, parent: None, "step");
    let parent = span_id(reset, TracedPhase::of(status));
    let _ = span.set_parent(Context::new().with_remote_span_context(context(trace, parent)));
    span
}

/// Runs a call to Kafka in a span of its own, if the call is part of a step.
///
/// # Errors
/// Those of the call.
pub async fn kafka_call<T, E>(call: &'static str, answer: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    if TRACES.get().is_none() || tracing::Span::current().is_none() {
        return answer.await;
    }
    let span = tracing::info_span!(
        target: TARGET,
        "kafka",
        otel.name = call,
        otel.kind = "client",
        messaging.system = "kafka",
        otel.status_code = tracing::field::Empty
    );
    let answer = answer.instrument(span.clone()).await;
    if answer.is_err() {
        span.record("otel.status_code", "ERROR");
    }
    answer
}

/// Writes the span of a phase that is over, with the reason that the status had at its end.
pub fn phase_is_over(reset: &OffsetReset, phase: TracedPhase, end: Timestamp, reason: &'static str) {
    let (id, parent) = (span_id(reset, Some(phase)), span_id(reset, None));
    let attributes = vec![KeyValue::new("offsetreset.reason", reason)];
    export(reset, phase.phase.as_str(), (id, parent), (phase.start, end), attributes, Status::Unset);
}

/// Writes the span of a reset that has ended, in this phase, for this reason.
pub fn reset_is_over(reset: &OffsetReset, (start, end): (Timestamp, Timestamp), phase: Phase, reason: &'static str) {
    let attributes = vec![
        KeyValue::new("k8s.namespace.name", reset.namespace().unwrap_or_default()),
        KeyValue::new("offsetreset.name", reset.name_any()),
        KeyValue::new("offsetreset.uid", reset.uid().unwrap_or_default()),
        KeyValue::new("offsetreset.phase", phase.as_str()),
        KeyValue::new("offsetreset.reason", reason),
        KeyValue::new("messaging.system", "kafka"),
        KeyValue::new("messaging.consumer.group.name", reset.spec.group.clone()),
    ];
    let status = if phase == Phase::Failed { Status::error(reason) } else { Status::Ok };
    let name = if reset.spec.dry_run { "dry run" } else { "reset" };
    export(reset, name, (span_id(reset, None), SpanId::INVALID), (start, end), attributes, status);
}

/// Sends the spans that were not sent yet. It blocks for two seconds at most.
pub fn flush() {
    if let Some(traces) = TRACES.get() {
        let _ = traces.provider.shutdown_with_timeout(FLUSH_LIMIT);
    }
}

fn export(
    reset: &OffsetReset,
    name: &'static str,
    (id, parent): (SpanId, SpanId),
    (start, end): (Timestamp, Timestamp),
    attributes: Vec<KeyValue>,
    status: Status,
) {
    let Some((traces, trace)) = TRACES.get().zip(trace_id(reset)) else { return };
    traces.processor.on_end(SpanData {
        span_context: context(trace, id),
        parent_span_id: parent,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: name.into(),
        start_time: SystemTime::from(start),
        end_time: SystemTime::from(end.max(start)),
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status,
        instrumentation_scope: traces.scope.clone(),
    });
}

fn context(trace: TraceId, span: SpanId) -> SpanContext {
    SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::NONE)
}

/// The trace of a reset: its UID without the dashes.
fn trace_id(reset: &OffsetReset) -> Option<TraceId> {
    let digits: String = reset.metadata.uid.as_ref()?.chars().filter(|digit| *digit != '-').collect();
    (digits.len() == 32).then(|| TraceId::from_hex(&digits).ok()).flatten().filter(|id| *id != TraceId::INVALID)
}

/// The span of a phase; without a phase, that of the whole reset or dry run: the same object may run after its dry run.
fn span_id(reset: &OffsetReset, phase: Option<TracedPhase>) -> SpanId {
    let phase = phase.map_or_else(String::new, |phase| format!("{}/{}", phase.phase.as_str(), phase.start.as_microsecond()));
    let named = format!("{}/{}/{phase}", reset.uid().unwrap_or_default(), reset.spec.dry_run);
    let digest = ring::digest::digest(&ring::digest::SHA256, named.as_bytes());
    let mut id = [0; 8];
    id.copy_from_slice(&digest.as_ref()[..8]);
    SpanId::from_bytes(id)
}

/// One processor for the spans that the layer takes and for those that are written here.
#[derive(Clone, Debug)]
struct Shared(Arc<BatchSpanProcessor>);

impl SpanProcessor for Shared {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.0.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        self.0.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }
}

/// A client whose requests run on tokio: the processor has a thread of its own, which is none of tokio's.
#[derive(Debug)]
struct OnRuntime {
    client: HyperClient<HttpsConnector<HttpConnector>>,
    runtime: Handle,
    /// Whether the last request failed, so that the log has a line when that changes and not one for each request.
    fails: AtomicBool,
}

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, collector) = (self.client.clone(), request.uri().host().unwrap_or_default().to_owned());
        let answer = self.runtime.spawn(async move { client.send_bytes(request).await }).await?;
        let is_taken = answer.as_ref().is_ok_and(|response| response.status().is_success());
        let failed = self.fails.swap(!is_taken, Ordering::Relaxed);
        match &answer {
            Ok(_) if is_taken => {
                if failed {
                    tracing::info!(collector, "traces are sent again");
                }
            }
            _ if failed => {}
            Ok(response) => tracing::warn!(collector, error = %response.status(), "{DROPPED}"),
            Err(error) => tracing::warn!(collector, error = error.as_ref() as &dyn std::error::Error, "{DROPPED}"),
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    fn reset(uid: &str, dry_run: bool) -> OffsetReset {
        serde_json::from_value(json!({
            "apiVersion": "offsetreset.dev/v1alpha1", "kind": "OffsetReset", "metadata": {"name": "replay", "namespace": "shop", "uid": uid},
            "spec": {"kafka": {"bootstrapServers": "k:1"}, "group": "orders", "dryRun": dry_run},
        }))
        .unwrap()
    }

    #[test]
    fn the_trace_of_a_reset_is_its_uid() {
        let id = trace_id(&reset("6f1c2a34-0b5d-4e6f-8a90-b1c2d3e4f506", false)).unwrap();
        assert_eq!(id.to_string(), "6f1c2a340b5d4e6f8a90b1c2d3e4f506");
        for no_uuid in ["", "0-1", "00000000-0000-0000-0000-000000000000", "not-a-uuid-but-32-letters-longgg"] {
            assert_eq!(trace_id(&reset(no_uuid, false)), None, "{no_uuid}");
        }
    }

    #[test]
    fn a_span_is_the_same_in_each_operator_and_another_one_in_each_phase() {
        let phase = |phase, second| Some(TracedPhase { phase, start: Timestamp::from_second(second).unwrap() });
        let phases = [None, phase(Phase::Planning, 1), phase(Phase::Planning, 2), phase(Phase::Draining, 1)];
        let ids = |reset: OffsetReset| phases.map(|phase| span_id(&reset, phase).to_string());
        let all: Vec<String> = [reset("a", false), reset("a", true), reset("b", false)].into_iter().flat_map(ids).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
        assert_eq!(ids(reset("a", false)), ids(reset("a", false)));
    }
}
