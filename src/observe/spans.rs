//! The spans of finished requests, as OpenTelemetry's protocol writes them.
//!
//! Names of attributes follow its semantic conventions for HTTP where these know them. `url.path`, `url.full`, `url.query` and
//! `client.address`, which they want, are left out: paths hold ids of patients, queries their names, and a patient's own app has the
//! patient's address.
//!
//! Decision: `docs/decisions/54-opentelemetry.md`.

use std::time::{Duration, SystemTime};

use http::Uri;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use super::finished_request::{FinishedRequest, Part, Upstream};
use super::trace_context::SpanIds;

/// What makes the spans.
const SCOPE: &str = "openemr-gateway";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Of a span's flags: it was recorded.
const SAMPLED: u32 = 0x001;
/// Whether its parent is in another process is known.
const REMOTE_IS_KNOWN: u32 = 0x100;
/// It is.
const REMOTE: u32 = 0x200;

/// Attributes as they are collected.
#[derive(Default)]
struct Attributes(Vec<KeyValue>);

/// Returns the message with the spans of these requests. `service` is the name of the service, `instance` that of the process.
#[must_use]
pub(crate) fn message(requests: &[FinishedRequest], service: &str, instance: &str) -> ExportTraceServiceRequest {
    let mut attributes = Attributes::default();
    attributes.text("service.name", service);
    attributes.text("service.version", VERSION);
    attributes.text("service.instance.id", instance);
    let resource = Resource { attributes: attributes.0, ..Resource::default() };
    let scope = InstrumentationScope { name: SCOPE.to_owned(), version: VERSION.to_owned(), ..InstrumentationScope::default() };
    let spans = requests.iter().flat_map(spans).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

/// The span of a request, then those of its parts.
fn spans(request: &FinishedRequest) -> impl Iterator<Item = Span> {
    let ids = request.trace.spans();
    let wait = |name: &str, id: u64, part: Option<Part>| {
        part.map(|part| Span { name: name.to_owned(), kind: SpanKind::Internal.into(), ..child(request, &ids, id, part) })
    };
    [
        Some(whole(request, &ids)),
        wait("token", ids.token_wait, request.token_wait),
        wait("queue", ids.queue, request.queue),
        request.upstream.as_ref().map(|upstream| exchange(request, &ids, upstream)),
    ]
    .into_iter()
    .flatten()
}

fn whole(request: &FinishedRequest, ids: &SpanIds) -> Span {
    let mut attributes = Attributes::default();
    attributes.text("http.request.method", method(request.method));
    attributes.text("http.route", request.route);
    attributes.text("url.scheme", if request.tls.is_some() { "https" } else { "http" });
    if let Some(version) = request.proto.strip_prefix("HTTP/") {
        attributes.text("network.protocol.version", if version == "2.0" { "2" } else { version });
    }
    attributes.text_if("tls.protocol.version", request.tls);
    attributes.number_if("http.response.status_code", request.status);
    attributes.number("http.request.body.size", request.bytes_in);
    attributes.number("http.response.body.size", request.bytes);
    attributes.text("gateway.request_id", request.request_id.as_str());
    attributes.text_if("gateway.site", request.site.as_deref());
    attributes.text_if("gateway.client", request.client.as_deref());
    attributes.text("gateway.answered_by", request.by.word());
    attributes.text_if("gateway.reason", request.reason);
    if request.shared {
        attributes.put("gateway.shared", Value::BoolValue(true));
    }
    if request.left_out > 0 {
        attributes.number("gateway.left_out", request.left_out);
    }
    attributes.text_if("fhir.resource_type", request.resource_type);
    attributes.text_if("fhir.interaction", request.interaction);
    let error = match request.status {
        Some(status) if status >= 500 => Some(status.to_string()),
        // A client that leaves is no error of the gateway's.
        _ if !request.whole => request.reason.filter(|reason| *reason != "client_left").map(str::to_owned),
        _ => None,
    };
    let is_remote = if ids.parent.is_some() { REMOTE } else { 0 };
    Span {
        name: format!("{} {}", named(request.method), request.route),
        kind: SpanKind::Server.into(),
        parent_span_id: ids.parent.map_or_else(Vec::new, |parent| parent.to_be_bytes().to_vec()),
        flags: SAMPLED | REMOTE_IS_KNOWN | is_remote,
        status: attributes.error(error),
        attributes: attributes.0,
        ..bare(request, ids, ids.request, Part { after: Duration::ZERO, took: request.duration })
    }
}

/// The latest try at OpenEMR, to the head of its answer.
fn exchange(request: &FinishedRequest, ids: &SpanIds, upstream: &Upstream) -> Span {
    let Upstream { part, node, status, retries, .. } = upstream;
    let mut attributes = Attributes::default();
    attributes.text("http.request.method", method(upstream.method));
    attributes.text_if("gateway.node", node.as_deref());
    if let Some(url) = node.as_deref().and_then(|node| node.parse::<Uri>().ok()) {
        attributes.text_if("url.scheme", url.scheme_str());
        attributes.text_if("server.address", url.host());
        let default = if url.scheme_str() == Some("https") { 443_u16 } else { 80 };
        attributes.number("server.port", url.port_u16().unwrap_or(default));
    }
    attributes.number_if("http.response.status_code", *status);
    if *retries > 0 {
        attributes.number("http.request.resend_count", *retries);
    }
    let error = match status {
        Some(status) => (*status >= 400).then(|| status.to_string()),
        None => Some(request.reason.unwrap_or("_OTHER").to_owned()),
    };
    Span {
        name: format!("{} openemr", named(upstream.method)),
        kind: SpanKind::Client.into(),
        status: attributes.error(error),
        attributes: attributes.0,
        ..child(request, ids, ids.upstream, *part)
    }
}

fn child(request: &FinishedRequest, ids: &SpanIds, id: u64, part: Part) -> Span {
    Span { parent_span_id: ids.request.to_be_bytes().to_vec(), flags: SAMPLED | REMOTE_IS_KNOWN, ..bare(request, ids, id, part) }
}

fn bare(request: &FinishedRequest, ids: &SpanIds, id: u64, part: Part) -> Span {
    let begin = request.started + part.after;
    Span {
        trace_id: ids.trace.to_be_bytes().to_vec(),
        span_id: id.to_be_bytes().to_vec(),
        start_time_unix_nano: nanoseconds(begin),
        end_time_unix_nano: nanoseconds(begin + part.took),
        ..Span::default()
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The method in an attribute.
fn method(name: &'static str) -> &'static str {
    if name == "other" { "_OTHER" } else { name }
}

/// The method in the name of a span.
fn named(method: &'static str) -> &'static str {
    if method == "other" { "HTTP" } else { method }
}

impl Attributes {
    fn put(&mut self, key: &str, value: Value) {
        let value = Some(AnyValue { value: Some(value) });
        self.0.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
    }

    fn text(&mut self, key: &str, text: &str) {
        self.put(key, Value::StringValue(text.to_owned()));
    }

    fn text_if(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    fn number(&mut self, key: &str, number: impl TryInto<i64>) {
        self.put(key, Value::IntValue(number.try_into().unwrap_or(i64::MAX)));
    }

    fn number_if(&mut self, key: &str, number: Option<u16>) {
        if let Some(number) = number {
            self.number(key, number);
        }
    }

    /// Adds what kind of error there was; gives the status of the span.
    fn error(&mut self, kind: Option<String>) -> Option<Status> {
        let kind = kind?;
        self.text("error.type", &kind);
        Some(Status { code: StatusCode::Error.into(), ..Status::default() })
    }
}

#[cfg(test)]
mod tests;
