#![allow(clippy::unwrap_used)]

use std::time::Instant;

use super::*;
use crate::observe::finished_request::Course;
use crate::observe::request_id::RequestId;
use crate::observe::request_record::{AnsweredBy, Coded, RequestRecord};
use crate::observe::trace_context::{Sampling, TraceContext};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const MS: Duration = Duration::from_millis(1);

fn coded(word: &'static str) -> Coded {
    Coded { word, number: 0 }
}

fn context(parent: Option<&str>) -> TraceContext {
    TraceContext::of(parent.map(str::as_bytes), Some(Sampling { begun: 1.0, continued: 1.0 })).0
}

/// A search that waited for a token and in the queue, and was answered by OpenEMR.
fn record(parent: Option<&str>) -> RequestRecord<'static> {
    RequestRecord {
        request_id: RequestId::next(),
        trace: context(parent),
        caller: Some([192, 0, 2, 77].into()),
        client: Some("lab"),
        proto: "HTTP/2",
        tls: Some("TLSv1_3"),
        method: "GET",
        route: coded("fhir"),
        site: Some("default"),
        resource_type: Some(coded("Patient")),
        interaction: Some(coded("search-type")),
        status: Some(200),
        by: AnsweredBy::OpenEmr,
        reason: None,
        whole: true,
        bytes_in: 0,
        bytes: 1234,
        duration: 100 * MS,
        queued: 20 * MS,
        token_wait: 10 * MS,
        upstream: Some(50 * MS),
        reused: Some(true),
        node: Some("https://emr.example:8443/apis/default/fhir"),
        upstream_status: Some(200),
        retries: 1,
        shared: false,
        left_out: 0,
    }
}

fn course() -> Course {
    let started = Instant::now();
    let after = |ms: u32| Some(started + ms * MS);
    Course { started, token_wait: after(5), queue: after(15), upstream: after(40), method: "POST" }
}

/// The spans of a record, in the message that a collector gets.
fn spans_of(record: &RequestRecord<'_>, course: &Course) -> Vec<Span> {
    let mut message = message(&[FinishedRequest::new(record, course)], "clinic", "one");
    let mut scopes = message.resource_spans.pop().unwrap().scope_spans;
    assert!(message.resource_spans.is_empty() && scopes.len() == 1);
    scopes.pop().unwrap().spans
}

/// An attribute as text.
fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match found.value.clone()?.value? {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        other => panic!("{other:?}"),
    })
}

fn has(span: &Span, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        assert_eq!(attribute(span, key).as_deref(), Some(*value), "{key} of {}", span.name);
    }
}

/// From the begin of the first span to begin and end of this one, in milliseconds.
fn times(span: &Span, first: &Span) -> (u64, u64) {
    let after = |time: u64| (time - first.start_time_unix_nano) / 1_000_000;
    (after(span.start_time_unix_nano), after(span.end_time_unix_nano))
}

#[test]
fn a_request_is_a_span_and_its_parts_are_spans_below_it() {
    let record = record(Some(PARENT));
    let spans = spans_of(&record, &course());
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["GET fhir", "token", "queue", "POST openemr"]);
    let [request, token, queue, upstream] = &spans[..] else { panic!("{spans:?}") };
    for span in &spans {
        assert_eq!(span.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
        assert_eq!(span.status, None);
    }
    assert_eq!(request.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    assert_eq!((request.kind(), request.flags), (SpanKind::Server, 0x301));
    for (part, kind) in [(token, SpanKind::Internal), (queue, SpanKind::Internal), (upstream, SpanKind::Client)] {
        assert_eq!((&part.parent_span_id, part.kind(), part.flags), (&request.span_id, kind, 0x101), "{}", part.name);
    }
    // OpenEMR's own spans are below that of the exchange.
    let sent = record.trace.upstream_value();
    assert!(
        sent.to_str().unwrap().contains(&format!("-{:016x}-01", u64::from_be_bytes(upstream.span_id[..].try_into().unwrap())))
    );
    let found: Vec<(u64, u64)> = spans.iter().map(|span| times(span, request)).collect();
    assert_eq!(found, [(0, 100), (5, 15), (15, 35), (40, 90)]);
    has(
        request,
        &[
            ("http.request.method", "GET"),
            ("http.route", "fhir"),
            ("http.response.status_code", "200"),
            ("http.response.body.size", "1234"),
            ("url.scheme", "https"),
            ("network.protocol.version", "2"),
            ("tls.protocol.version", "1.3"),
            ("gateway.request_id", record.request_id.as_str()),
            ("gateway.site", "default"),
            ("gateway.client", "lab"),
            ("gateway.answered_by", "openemr"),
            ("fhir.resource_type", "Patient"),
            ("fhir.interaction", "search-type"),
        ],
    );
    has(
        upstream,
        &[
            ("http.request.method", "POST"),
            ("http.request.resend_count", "1"),
            ("http.response.status_code", "200"),
            ("gateway.node", "https://emr.example:8443/apis/default/fhir"),
            ("server.address", "emr.example"),
            ("server.port", "8443"),
            ("url.scheme", "https"),
        ],
    );
    let shown = format!("{spans:?}");
    assert!(!shown.contains("192.0.2.77") && !shown.contains("url.full") && !shown.contains("url.path"), "{shown}");
}

#[test]
fn what_did_not_happen_has_no_span() {
    let mut record = RequestRecord { queued: Duration::ZERO, token_wait: Duration::ZERO, upstream: None, ..record(None) };
    let none = Course { token_wait: None, queue: None, upstream: None, ..course() };
    let spans = spans_of(&record, &none);
    assert_eq!(spans.len(), 1);
    assert!(spans[0].parent_span_id.is_empty() && spans[0].flags == 0x101);
    (record.tls, record.proto, record.method) = (None, "other", "other");
    let spans = spans_of(&record, &none);
    assert_eq!(spans[0].name, "HTTP fhir");
    has(&spans[0], &[("http.request.method", "_OTHER"), ("url.scheme", "http")]);
    assert_eq!(attribute(&spans[0], "network.protocol.version"), None);
}

#[test]
fn an_error_is_one_where_it_happened() {
    for (status, whole, reason, upstream_status, of_request, of_exchange) in [
        (Some(404), true, Some("openemr_refused"), Some(404), None, Some("404")),
        (Some(503), true, Some("openemr_failed"), Some(503), Some("503"), Some("503")),
        (Some(504), true, Some("upstream_timeout"), None, Some("504"), Some("upstream_timeout")),
        (None, false, Some("client_left"), None, None, Some("client_left")),
        (Some(200), false, Some("cut_short"), Some(200), Some("cut_short"), None),
    ] {
        let record = RequestRecord { status, whole, reason: reason.map(coded), upstream_status, ..record(None) };
        let spans = spans_of(&record, &course());
        for (span, expected) in [(&spans[0], of_request), (&spans[3], of_exchange)] {
            assert_eq!(attribute(span, "error.type").as_deref(), expected, "{} {reason:?}", span.name);
            let is_error = span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error);
            assert_eq!(is_error, expected.is_some());
        }
        assert_eq!(attribute(&spans[0], "gateway.reason").as_deref(), reason);
    }
}

#[test]
fn the_message_names_the_service() {
    let requests = [FinishedRequest::new(&record(None), &course()), FinishedRequest::new(&record(Some(PARENT)), &course())];
    let message = message(&requests, "clinic", "one");
    let [only] = &message.resource_spans[..] else { panic!("{message:?}") };
    let attributes = only.resource.clone().unwrap().attributes;
    let shown = format!("{attributes:?}");
    assert!(["service.name", "clinic", "service.instance.id", "one"].iter().all(|part| shown.contains(part)), "{shown}");
    assert_eq!(only.scope_spans[0].scope.clone().unwrap().name, "openemr-gateway");
    assert_eq!(only.scope_spans[0].spans.len(), 8);
}
