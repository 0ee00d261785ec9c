//! What the log says of requests that did not go well, and how often.

use std::net::TcpStream;

use crate::support::gateway::{Certificate, Gateway, config};
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

#[test]
fn an_access_line_says_who_answered_and_why() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["sites"]["default"]["timeouts"] = json!({"read": "1s"});
    let gateway = Gateway::with(config);
    let caller = gateway.caller();
    let line = |method: &str, target: &str, body: &[u8]| {
        let answer = caller.send(method, target, &[], body);
        gateway.logs(&[" access ", &format!("request_id={} ", answer.field("x-request-id").unwrap())])
    };
    for (method, target, words) in [
        ("GET", "/health", &["route=health ", "by=gateway ", "reason=- "][..]),
        ("GET", "/nothing", &["route=none ", "by=gateway ", "reason=no_route "]),
        ("GET", "/fhir/metadata", &["route=fhir ", "by=memory ", "reason=- "]),
        ("DELETE", "/fhir/Observation/1", &["by=gateway ", "reason=not_supported ", "upstream_status=0 "]),
        ("GET", "/fhir/Condition?code:missing=true", &["by=gateway ", "reason=parameter "]),
        ("GET", "/fhir/Patient/not-there", &["by=openemr ", "reason=openemr_refused ", "node=http"]),
        ("GET", "/fhir/../x", &["route=none ", "by=gateway ", "reason=unsafe_target "]),
    ] {
        let line = line(method, target, b"");
        for word in words {
            assert!(line.contains(word), "{method} {target}: {word} in {line}");
        }
    }
    openemr.order(&json!({"fhir": {"delay_ms": 20_000, "times": 1, "target": "/Patient"}}));
    let late = line("GET", "/fhir/Patient?name=x", b"");
    assert!(late.contains("status=504 by=gateway reason=upstream_timeout "), "{late}");
    let upstream: f64 = late.split_once("upstream_ms=").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    assert!(upstream > 0.0, "{late}");
    openemr.order(&json!({"listener": "down"}));
    let refused = line("GET", "/fhir/Patient?name=x", b"");
    assert!(refused.contains("status=502 by=gateway reason=connect "), "{refused}");
    // Its warning says the same, in fields.
    let id = refused.split_once("request_id=").unwrap().1.split(' ').next().unwrap();
    gateway.logs(&[" WARN ", "nothing listens there", &format!("request_id={id} reason=connect")]);
}

#[test]
fn a_warning_that_repeats_is_written_once_and_counted() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["log"] = json!({"level": "info", "format": "json", "repeats": "2s"});
    let gateway = Gateway::with(config);
    openemr.order(&json!({"fhir": {"html": true, "target": "/Patient"}}));
    for _ in 0..20 {
        gateway.caller().get("/fhir/Patient?name=x").outcome(502);
    }
    gateway.logs(&["\"warn\"", " more in ", "web page"]);
    let log = gateway.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let about = |line: &&Value| line["level"] == "warn" && line["message"].as_str().unwrap().contains("web page");
    let written = lines.iter().filter(about).filter(|line| line["request_id"].is_string()).count();
    let counts =
        lines.iter().filter(about).filter_map(|line| line["message"].as_str()?.split_once(" more in ")?.0.parse::<usize>().ok());
    let counted: usize = counts.sum();
    // Windows may have begun meanwhile; each request is told of once.
    assert!(written < 20 && written + counted <= 20 && counted > 0, "{written} written, {counted} counted");
}

#[test]
fn probes_can_be_left_out() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["log"] = json!({"level": "info", "probes": false});
    let gateway = Gateway::with(config);
    let probe = gateway.caller().get("/health");
    assert_eq!(gateway.caller().send("POST", "/health", &[], b"").status, 405);
    gateway.logs(&[" access ", "route=health", "reason=not_supported"]);
    gateway.access_line(gateway.caller().get("/fhir/Patient?_count=1").field("x-request-id").unwrap());
    assert!(!gateway.log().contains(probe.field("x-request-id").unwrap()), "{}", gateway.log());
}

#[test]
fn a_probe_of_a_tls_port_is_not_logged_and_a_bad_handshake_is_no_error() {
    use std::io::Write;

    let openemr = OpenEmr::start();
    let certificate = Certificate::make();
    let mut config = config(&openemr);
    config["listen"] = json!([{"tls": certificate.tls()}]);
    let gateway = Gateway::with(config);
    let address = gateway.address;
    drop(TcpStream::connect(address).unwrap());
    let mut other = TcpStream::connect(address).unwrap();
    other.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    gateway.logs(&[" WARN ", "handshake error: TLSHandshakeFailure"]);
    let log = gateway.log();
    assert!(!log.contains(" ERROR "), "{log}");
    assert_eq!(log.matches("handshake").count(), 1, "{log}");
}
