//! OpenTelemetry traces: a collector gets the spans of requests, which fit what clients and OpenEMR know of the trace, and nothing
//! that names a patient. A collector that is away stops nothing.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::gateway::{Gateway, config, free_address};
use crate::support::http::{Answer, request};
use crate::support::openemr::OpenEmr;
use crate::support::raw_openemr::RawOpenEmr;
use crate::support::told_openemr::{Framing, framed};

const PATIENTS: &str = "/fhir/Patient?_count=1";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// A collector.
struct Collector {
    raw: RawOpenEmr,
    /// The status that it answers with.
    status: Arc<AtomicU16>,
}

impl Collector {
    fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn on(listener: TcpListener) -> Self {
        let status = Arc::new(AtomicU16::new(200));
        let told = Arc::clone(&status);
        let raw = RawOpenEmr::on(listener, move |_| {
            framed(told.load(Ordering::Relaxed), &[("Content-Type", "application/x-protobuf")], b"", Framing::Length)
        });
        Self { raw, status }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.raw.address)
    }

    /// Everything that it was sent.
    fn spans(&self) -> Vec<Span> {
        let mut all = Vec::new();
        for received in self.raw.received("/v1/traces ") {
            assert_eq!(received.field("content-type"), Some("application/x-protobuf"));
            let message = ExportTraceServiceRequest::decode(&received.body[..]).unwrap();
            for resource in message.resource_spans {
                all.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
        all
    }

    /// Waits for the spans of the request with this answer: its own first, then those of its parts.
    fn of(&self, answer: &Answer) -> Vec<Span> {
        let id = answer.field("x-request-id").unwrap();
        eventually("the spans of a request arrive", || {
            let spans = self.spans();
            let request = spans.iter().find(|span| attribute(span, "gateway.request_id").as_deref() == Some(id))?;
            let parts = spans.iter().filter(|span| span.parent_span_id == request.span_id);
            Some(std::iter::once(request).chain(parts).cloned().collect())
        })
    }
}

/// A gateway whose traces go there.
fn traced(openemr: &OpenEmr, endpoint: &str, more: &Value) -> Gateway {
    let mut config = config(openemr);
    config["tracing"] = tracing(endpoint, more);
    Gateway::with(config)
}

fn tracing(endpoint: &str, more: &Value) -> Value {
    let mut tracing = json!({"endpoint": endpoint});
    tracing.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    tracing
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match found.value.clone()?.value? {
        Any::StringValue(text) => text,
        Any::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn names(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

/// `traceparent` at OpenEMR: trace, parent, flags.
fn parent_at(openemr: &OpenEmr) -> [String; 3] {
    let received = openemr.received("traceparent");
    assert_eq!(received.len(), 1, "{received:?}");
    let parts: Vec<&str> = received[0].split('-').collect();
    [parts[1].to_owned(), parts[2].to_owned(), parts[3].to_owned()]
}

/// A request in a trace, with this flag.
fn in_trace(gateway: &Gateway, target: &str, flags: &str) -> Answer {
    gateway.caller().send("GET", target, &[("traceparent", &format!("00-{TRACE}-{SPAN}-{flags}"))], b"")
}

#[test]
fn spans_fit_what_client_and_openemr_know_of_the_trace_and_name_no_patient() {
    let (openemr, collector) = (OpenEmr::start(), Collector::start());
    let mut config = config(&openemr);
    config["access"] = json!("open");
    config["tracing"] = tracing(&collector.endpoint(), &json!({}));
    let gateway = Gateway::with(config);
    assert_eq!(gateway.caller().get("/health").status, 200);

    let mut connection = gateway.caller().connect_from("127.0.0.77".parse().unwrap());
    let parent = format!("00-{TRACE}-{SPAN}-01");
    connection.write(&request("GET", "/fhir/Patient?name=Zebulon&_count=1", &[("traceparent", &parent)], b""));
    let answer = connection.read("GET");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let [trace, sent, flags] = parent_at(&openemr);
    let spans = collector.of(&answer);
    assert_eq!(names(&spans), ["GET fhir", "GET openemr"]);
    let [whole, exchange] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((hex(&whole.trace_id).as_str(), hex(&whole.parent_span_id).as_str()), (TRACE, SPAN));
    assert_eq!((trace.as_str(), flags.as_str()), (TRACE, "01"));
    assert_eq!((&exchange.trace_id, hex(&exchange.span_id)), (&whole.trace_id, sent));
    assert!(whole.start_time_unix_nano <= exchange.start_time_unix_nano);
    assert!(
        exchange.start_time_unix_nano < exchange.end_time_unix_nano && exchange.end_time_unix_nano <= whole.end_time_unix_nano
    );
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("fhir.resource_type", "Patient"),
        ("fhir.interaction", "search-type"),
        ("gateway.site", "default"),
        ("gateway.answered_by", "openemr"),
    ] {
        assert_eq!(attribute(whole, key).as_deref(), Some(value), "{key}");
    }

    // Without a trace of the client's, one begins here, with the id that the log has.
    let answer = gateway.caller().get("/fhir/Patient/00000000-0000-4000-8000-00004711abcd");
    assert_eq!(answer.status, 404, "{}", answer.text());
    let spans = collector.of(&answer);
    let [whole, exchange] = &spans[..] else { panic!("{spans:?}") };
    assert!(whole.parent_span_id.is_empty());
    let line = gateway.access_line(answer.field("x-request-id").unwrap());
    assert!(line.contains(&format!(" trace_id={} ", hex(&whole.trace_id))), "{line}");
    assert_eq!(parent_at(&openemr), [hex(&whole.trace_id), hex(&exchange.span_id), "01".to_owned()]);
    assert_eq!(attribute(whole, "gateway.reason").as_deref(), Some("openemr_refused"));
    assert_eq!(attribute(exchange, "error.type").as_deref(), Some("404"));

    let received = collector.raw.received("");
    for secret in ["Zebulon", "00000000-0000-4000-8000-00004711abcd", "127.0.0.77", "_count", "Bearer"] {
        let found = received.iter().find(|received| received.body.windows(secret.len()).any(|part| part == secret.as_bytes()));
        assert!(found.is_none(), "{secret} is in {found:?}");
    }
    assert!(!names(&collector.spans()).contains(&"GET health"), "probes have no spans");
}

#[test]
fn waits_for_a_token_and_in_the_queue_are_spans() {
    let (openemr, collector) = (OpenEmr::start(), Collector::start());
    let mut config = config(&openemr);
    config["sites"]["default"]["in_flight"] =
        json!({"most": 1, "queue_timeout": "60s", "queue_target": "60s", "adaptive": false});
    config["tracing"] = tracing(&collector.endpoint(), &json!({}));
    let gateway = Gateway::with(config);
    openemr.order(&json!({"revoke_tokens": "by_admin"}));
    let answer = gateway.caller().get(PATIENTS);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let spans = collector.of(&answer);
    assert_eq!(names(&spans)[..2], ["GET fhir", "token"], "{:?}", names(&spans));
    let exchange = spans.last().unwrap();
    assert_eq!(attribute(exchange, "http.request.resend_count").as_deref(), Some("1"), "{exchange:?}");
    assert_eq!(parent_at(&openemr)[1], hex(&exchange.span_id));
    assert!(spans[1].end_time_unix_nano <= exchange.start_time_unix_nano, "the token comes before the try with it");

    openemr.order(&json!({"fhir": {"delay_ms": 300}}));
    let mut connections = [1, 2].map(|id| {
        let mut connection = gateway.caller().connect();
        connection.write(&request("GET", &format!("/fhir/Patient?_count=1&_id={id}"), &[], b""));
        connection
    });
    let answers = connections.each_mut().map(|connection| connection.read("GET"));
    let queued: Vec<Vec<Span>> = answers.iter().map(|answer| collector.of(answer)).filter(|spans| spans.len() == 3).collect();
    let [queued] = &queued[..] else { panic!("one of two has to wait: {queued:?}") };
    assert_eq!(names(queued), ["GET fhir", "queue", "GET openemr"]);
    assert!(queued[1].end_time_unix_nano <= queued[2].start_time_unix_nano);
}

#[test]
fn the_share_decides_and_a_client_has_no_more_recorded_than_it() {
    let (openemr, collector) = (OpenEmr::start(), Collector::start());
    let mut gateway = traced(&openemr, &collector.endpoint(), &json!({"sample": 0, "sample_continued": 1}));
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    assert_eq!(parent_at(&openemr)[2], "00");
    assert_eq!(in_trace(&gateway, PATIENTS, "00").status, 200);
    assert_eq!(parent_at(&openemr)[2], "00");
    let recorded = in_trace(&gateway, PATIENTS, "01");
    assert_eq!(parent_at(&openemr)[2], "01");
    let mut other = gateway.config.clone();
    other["tracing"]["sample_continued"] = Value::Null;
    assert!(gateway.reload(&other).contains("is in force"));
    assert_eq!(in_trace(&gateway, PATIENTS, "01").status, 200);
    assert_eq!(parent_at(&openemr)[2], "00");
    // What is left goes out before the end of the process.
    gateway.process.signal("TERM");
    assert!(eventually("the gateway ends", || gateway.process.ended()).success());
    let spans = collector.spans();
    assert_eq!(names(&spans), ["GET fhir", "GET openemr"]);
    assert_eq!(attribute(&spans[0], "gateway.request_id").as_deref(), recorded.field("x-request-id"));
}

#[test]
fn a_collector_that_is_away_stops_nothing_and_gets_what_waited() {
    let (openemr, address) = (OpenEmr::start(), free_address());
    let fields = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(fields.path(), "# of the clinic\nX-Scope-OrgID: 7\nAuthorization: Bearer s3cr3t\n").unwrap();
    let gateway = traced(&openemr, &format!("http://{address}/otlp"), &json!({"headers_file": fields.path()}));
    let answer = gateway.caller().get(PATIENTS);
    assert_eq!(answer.status, 200, "{}", answer.text());
    gateway.logs(&["traces do not arrive", &address.to_string(), "Connection refused"]);
    let later = gateway.caller().get(PATIENTS);
    assert_eq!(later.status, 200, "{}", later.text());

    let collector = Collector::on(TcpListener::bind(address).unwrap());
    collector.status.store(503, Ordering::Relaxed);
    let received = collector.raw.until("POST /otlp/v1/traces ", 1);
    assert_eq!(received[0].field("authorization"), Some("Bearer s3cr3t"));
    assert_eq!(received[0].field("x-scope-orgid"), Some("7"));
    collector.status.store(200, Ordering::Relaxed);
    gateway.logs(&["traces arrive again; the spans of 0 requests are lost"]);
    collector.of(&later);
    let first = collector.of(&answer).remove(0);
    let times = collector.spans().iter().filter(|span| span.span_id == first.span_id).count();
    assert!(times > 1, "what the collector did not take was not sent again");
    assert!(!gateway.log().contains("s3cr3t"));
}

#[test]
fn a_collector_that_refuses_is_told_of_with_what_mends_it() {
    let openemr = OpenEmr::with(&["--tls"]);
    let endpoint = openemr.base.clone();
    let gateway = traced(&openemr, &endpoint, &json!({}));
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    gateway.logs(&["traces do not arrive", "Name its authority in tracing.ca_file"]);
    let mut trusting = gateway.config.clone();
    trusting["tracing"]["ca_file"] = json!(openemr.certificate);
    trusting["tracing"]["endpoint"] = json!(format!("{endpoint}/nowhere"));
    let gateway = Gateway::with(without_address(trusting));
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    gateway.logs(&["traces do not arrive", "is tracing.endpoint the base of OTLP/HTTP?", "the spans of 1 requests are lost"]);
}

/// A configuration for another gateway.
fn without_address(mut config: Value) -> Value {
    config["listen"] = json!([]);
    config["server"] = Value::Null;
    config
}

#[test]
fn a_reload_turns_traces_on_elsewhere_and_off() {
    let (openemr, one, other) = (OpenEmr::start(), Collector::start(), Collector::start());
    let gateway = Gateway::start(&openemr);
    let reload = |tracing: Value| {
        let mut config = gateway.config.clone();
        config["tracing"] = tracing;
        assert!(gateway.reload(&config).contains("is in force"));
    };
    // While they are off, the flag is the client's.
    for flags in ["00", "01"] {
        assert_eq!(in_trace(&gateway, PATIENTS, flags).status, 200);
        assert_eq!(parent_at(&openemr)[2], flags);
    }
    for collector in [&one, &other] {
        reload(tracing(&collector.endpoint(), &json!({"service_name": "clinic"})));
        let answer = gateway.caller().get(PATIENTS);
        assert_eq!(names(&collector.of(&answer)), ["GET fhir", "GET openemr"]);
    }
    reload(Value::Null);
    gateway.logs(&["traces go nowhere any more"]);
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    assert_eq!(parent_at(&openemr)[2], "00");
    for collector in [&one, &other] {
        assert_eq!(collector.spans().len(), 2);
        assert!(collector.raw.received("")[0].body.windows(6).any(|part| part == b"clinic"));
    }
}
