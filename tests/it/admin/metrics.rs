use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::json;

use super::Admin;
use crate::support::eventually;
use crate::support::gateway::{Certificate, config};
use crate::support::openemr::OpenEmr;

/// The value of the series that begins with this name and these labels.
fn value(metrics: &str, series: &str) -> Option<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|number| number.parse().unwrap())
}

#[test]
fn what_requests_meet_is_counted() {
    let openemr = OpenEmr::start();
    let admin = Admin::start(config(&openemr));
    let caller = admin.gateway.caller();
    for _ in 0..3 {
        assert_eq!(caller.get("/fhir/Patient?_count=1").status, 200);
    }
    assert_eq!(caller.get("/nothing").status, 404);
    openemr.order(&json!({"fhir": {"html": true, "times": 1, "target": "/Patient"}}));
    caller.get("/fhir/Patient?name=x").outcome(502);
    let served = r#"openemr_gateway_requests_total{site="default",client="none",interaction="search-type",status_class="2xx"}"#;
    // The client has its answer before the request is counted.
    let text = eventually("the requests are counted", || {
        let text = admin.get("/metrics").body;
        let failed = r#"openemr_gateway_unserved_requests_total{site="default",http_route="fhir",reason="not_fhir"}"#;
        (value(&text, served) == Some(3.0) && value(&text, failed) == Some(1.0)).then_some(text)
    });
    for (series, least) in [
        (r#"openemr_gateway_requests_by_type_total{site="default",resource_type="Patient",status_class="5xx"}"#, 1.0),
        (r#"http_server_request_duration_seconds_count{http_route="none",status_class="4xx"}"#, 1.0),
        (r#"http_client_request_duration_seconds_count{site="default"}"#, 4.0),
        (r#"openemr_gateway_response_body_bytes_total{site="default"}"#, 100.0),
        (r#"openemr_gateway_in_flight_limit{site="default"}"#, 1.0),
        (r#"openemr_gateway_token_exchanges_total{site="default",result="ok"}"#, 1.0),
        (r#"openemr_gateway_token_left_seconds{site="default"}"#, 1.0),
        ("process_resident_memory_bytes", 1_000_000.0),
        (r#"openemr_gateway_token_failures{site="default"}"#, 0.0),
        ("openemr_gateway_last_reload_ok", 1.0),
        ("openemr_gateway_client_connections_limit", 10.0),
        ("process_open_fds", 3.0),
        ("process_threads", 2.0),
    ] {
        assert!(value(&text, series).is_some_and(|value| value >= least), "{series} in {text}");
    }
    let built = text.lines().find(|line| line.starts_with("openemr_gateway_build_info{")).unwrap();
    for label in [&format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), "commit=\"", "target=\""] {
        assert!(built.contains(label), "{label} in {built}");
    }
    assert!(!text.contains("name=x"));
}

#[test]
fn each_limit_has_a_reason_of_its_own() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["sites"]["default"]["rate"] = json!("1/h");
    let admin = Admin::start(config.clone());
    let caller = admin.gateway.caller();
    let refused = |reason: &str, path: &str, series: &str| {
        eventually(&format!("{reason} is counted"), || {
            caller.get(path);
            let text = admin.get("/metrics").body;
            value(&text, &format!("openemr_gateway_unserved_requests_total{{{series},reason=\"{reason}\"}}"))
                .filter(|count| *count >= 1.0)
        });
    };
    let fhir = r#"site="default",http_route="fhir""#;
    refused("rate_site", "/fhir/Patient?_count=1", fhir);
    let mut changed = admin.gateway.config.clone();
    changed["limits"]["rate_per_address"] = json!("1/h");
    changed["limits"]["burst_per_address"] = json!(1);
    changed["limits"]["local_rate_per_address"] = json!("1/h");
    admin.gateway.reload(&changed);
    refused("rate_address", "/fhir/Patient?_count=1", fhir);
    refused("rate_local", "/health", r#"site="none",http_route="health""#);
}

#[test]
fn a_failed_handshake_is_counted() {
    let (openemr, certificate) = (OpenEmr::start(), Certificate::make());
    let mut config = config(&openemr);
    config["listen"] = json!([{"tls": certificate.tls()}]);
    let admin = Admin::start(config);
    eventually("it is counted", || {
        let mut client = TcpStream::connect(admin.gateway.address).unwrap();
        let _ = client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let _ = client.read_to_end(&mut Vec::new());
        value(&admin.get("/metrics").body, "openemr_gateway_failed_handshakes_total").filter(|count| *count >= 1.0)
    });
    let text = admin.get("/metrics").body;
    let left =
        text.lines().find(|line| line.starts_with(r#"openemr_gateway_certificate_left_seconds{kind="listener","#)).unwrap();
    assert!(left.rsplit(' ').next().unwrap().parse::<f64>().unwrap() > 86_400.0, "{left}");
}

#[test]
fn both_formats_are_served_and_well_formed() {
    let openemr = OpenEmr::start();
    let admin = Admin::start(config(&openemr));
    admin.gateway.caller().get("/fhir/Patient?_count=1");
    let old = admin.get("/metrics");
    assert!(old.head.contains("content-type: text/plain; version=0.0.4"), "{}", old.head);
    let new = admin.send("GET", "/metrics", &["Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5"], "");
    assert!(new.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{}", new.head);
    assert!(new.body.ends_with("# EOF\n"), "{}", new.body);
    let mut seen = BTreeSet::new();
    for line in old.body.lines() {
        match line.strip_prefix("# ") {
            Some(comment) => assert!(comment.starts_with("HELP ") || comment.starts_with("TYPE "), "{line}"),
            None => {
                let (series, number) = line.rsplit_once(' ').unwrap();
                assert!(number.parse::<f64>().is_ok(), "{line}");
                assert!(seen.insert(series.to_owned()), "{series} is there twice");
            }
        }
    }
    // Each is described.
    let types: BTreeSet<&str> = old.body.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for series in &seen {
        let name = series.split('{').next().unwrap();
        let of_histogram = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
        assert!(types.contains(name) || of_histogram.is_some_and(|name| types.contains(name)), "{series}");
    }
}

#[test]
fn what_callers_make_up_makes_no_series() {
    let openemr = OpenEmr::start();
    let admin = Admin::start(config(&openemr));
    let caller = admin.gateway.caller();
    let series = || admin.get("/metrics").body.lines().filter(|line| !line.starts_with('#')).count();
    caller.get("/fhir/Zebedee/1");
    let before = eventually("it is counted", || {
        let text = admin.get("/metrics").body;
        // In every family, not in some of them.
        let is_counted = text.contains(r#"resource_type="none""#)
            && text.contains(r#"http_server_request_duration_seconds_count{http_route="fhir""#);
        is_counted.then(|| text.lines().filter(|line| !line.starts_with('#')).count())
    });
    for number in 0..50 {
        caller.get(&format!("/fhir/Zebedee{number}/1"));
        caller.get(&format!("/zebedee{number}"));
    }
    let last = caller.get("/zebedee");
    admin.gateway.access_line(last.field("x-request-id").unwrap());
    // The first request to no route adds its histogram.
    assert!(series() <= before + 22, "{before} then {}", series());
    assert!(!admin.get("/metrics").body.to_ascii_lowercase().contains("zebedee"));
}
