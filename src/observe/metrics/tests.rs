use std::time::Duration;

use super::*;
use crate::observe::request_id::RequestId;
use crate::observe::request_record::{AnsweredBy, Coded};
use crate::observe::trace_context::TraceContext;

fn lists() -> Lists {
    Lists {
        interactions: vec!["read", "search-type"],
        types: &["Observation", "Patient"],
        reasons: &["malformed", "queue_full"],
        routes: &["fhir", "none"],
    }
}

fn coded(number: usize) -> Option<Coded> {
    Some(Coded { word: "w", number })
}

fn record() -> RequestRecord<'static> {
    RequestRecord {
        request_id: RequestId::next(),
        trace: TraceContext::of(None, None).0,
        caller: None,
        client: Some("lab"),
        proto: "HTTP/1.1",
        tls: None,
        method: "GET",
        route: Coded { word: "fhir", number: 0 },
        site: Some("default"),
        resource_type: coded(1),
        interaction: coded(1),
        status: Some(200),
        by: AnsweredBy::OpenEmr,
        reason: None,
        whole: true,
        bytes_in: 0,
        bytes: 900,
        duration: Duration::from_millis(30),
        queued: Duration::ZERO,
        token_wait: Duration::ZERO,
        upstream: Some(Duration::from_millis(25)),
        reused: Some(true),
        node: None,
        upstream_status: Some(200),
        retries: 0,
        shared: false,
        left_out: 0,
    }
}

fn metrics() -> Metrics {
    let metrics = Metrics::new(lists());
    metrics.learn(["default"].into_iter(), ["lab"].into_iter());
    metrics
}

#[test]
fn a_request_is_counted_in_every_family_that_it_belongs_to() {
    let metrics = metrics();
    metrics.count(&record());
    metrics.count(&record());
    metrics.count(&RequestRecord { client: None, status: Some(503), reason: coded(1), upstream: None, reused: None, ..record() });
    metrics.count(&RequestRecord {
        site: None,
        interaction: None,
        route: Coded { word: "none", number: 1 },
        reason: coded(0),
        ..record()
    });
    metrics.count_reload(true);
    metrics.count_failed_handshake();
    let text = write(metrics.samples(), Exposition::Prometheus);
    for line in [
        r#"openemr_gateway_requests_total{site="default",client="lab",interaction="search-type",status_class="2xx"} 2"#,
        r#"openemr_gateway_requests_total{site="default",client="none",interaction="search-type",status_class="5xx"} 1"#,
        r#"openemr_gateway_requests_by_type_total{site="default",resource_type="Patient",status_class="2xx"} 2"#,
        r#"openemr_gateway_unserved_requests_total{site="default",http_route="fhir",reason="queue_full"} 1"#,
        r#"openemr_gateway_response_body_bytes_total{site="default"} 2700"#,
        r#"openemr_gateway_upstream_connections_total{site="default",reused="true"} 2"#,
        r#"openemr_gateway_unserved_requests_total{site="none",http_route="none",reason="malformed"} 1"#,
        r#"openemr_gateway_reloads_total{result="ok"} 1"#,
        "openemr_gateway_last_reload_ok 1",
        "openemr_gateway_failed_handshakes_total 1",
        r#"http_client_request_duration_seconds_bucket{le="0.025",site="default"} 2"#,
        r#"http_client_request_duration_seconds_count{site="default"} 2"#,
        r#"http_server_request_duration_seconds_bucket{le="+Inf",http_route="fhir",status_class="5xx"} 1"#,
        "# TYPE openemr_gateway_requests_total counter",
    ] {
        assert!(text.lines().any(|found| found.replace(".0", "") == line.replace(".0", "")), "{line} in {text}");
    }
    assert!(!text.contains("# EOF"), "{text}");
    let open = write(metrics.samples(), Exposition::OpenMetrics);
    assert!(open.contains("# TYPE openemr_gateway_requests counter\n") && open.ends_with("# EOF\n"), "{open}");
}

#[test]
fn nothing_that_a_caller_sends_makes_another_series() {
    let metrics = metrics();
    metrics.count(&record());
    let known = metrics.samples().len();
    for number in [2, 3, 1 << 40] {
        let name = format!("s{number}");
        // Numbers beyond the lists, and names that no configuration has.
        metrics.count(&RequestRecord { resource_type: coded(number), interaction: None, reason: coded(number), ..record() });
        metrics.count(&RequestRecord { client: Some(&name), status: Some(999), ..record() });
    }
    // One for what has no type, one for other clients in a class of its own, its type there, its duration there.
    assert!(metrics.samples().len() <= known + 4, "{:?}", metrics.samples());
    metrics.count(&RequestRecord { site: Some("unknown"), ..record() });
    assert!(write(metrics.samples(), Exposition::OpenMetrics).contains(r#"site="other""#));
}

#[test]
fn the_format_follows_what_is_accepted() {
    for (accept, format) in [
        (None, Exposition::Prometheus),
        (Some("*/*"), Exposition::Prometheus),
        (Some("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"), Exposition::OpenMetrics),
    ] {
        assert_eq!(Exposition::accepted(accept), format);
    }
}

#[test]
fn the_last_reload_that_failed_shows_until_one_is_good() {
    let metrics = metrics();
    let is_good =
        |metrics: &Metrics| write(metrics.samples(), Exposition::Prometheus).contains("\nopenemr_gateway_last_reload_ok 1");
    for (reload, good) in [(false, false), (true, true), (false, false)] {
        metrics.count_reload(reload);
        assert_eq!(is_good(&metrics), good);
    }
}

#[test]
fn sums_are_those_of_all_sites_and_of_the_fhir_api_alone() {
    let metrics = metrics();
    metrics.learn(["second"].into_iter(), std::iter::empty());
    metrics.count(&record());
    metrics.count(&RequestRecord { site: Some("second"), client: None, status: Some(503), reason: coded(1), ..record() });
    metrics.count(&RequestRecord {
        route: Coded { word: "none", number: 1 },
        site: None,
        status: Some(404),
        reason: coded(0),
        ..record()
    });
    let totals = metrics.totals();
    assert_eq!(totals.requests, [0, 0, 1, 0, 0, 1]);
    assert_eq!(totals.durations.iter().sum::<u64>(), 2);
    assert_eq!(totals.upstream.iter().sum::<u64>(), 2);
    assert_eq!(totals.reasons, [1, 1]);
    let named: Vec<_> = (0..totals.clients.len()).filter(|number| totals.clients[*number] != [0; 6]).collect();
    assert_eq!(named.iter().map(|number| metrics.client_name(*number)).collect::<Vec<_>>(), ["lab", "none"]);
    assert_eq!(metrics.reason(1), "queue_full");
}
