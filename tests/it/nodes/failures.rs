//! When something breaks on either side of the gateway, the client gets an OperationOutcome that helps it and reveals nothing
//! internal.

use std::net::{Ipv4Addr, TcpListener};

use crate::support::gateway::{Gateway, config, config_for, free_address};
use crate::support::http::request;
use crate::support::openemr::OpenEmr;
use crate::support::{eventually, keys};
use serde_json::json;

const PATIENTS: &str = "/fhir/Patient?_count=1&name=Zebedee";

/// Checks that a text holds no address, no path, no token, no query, and nothing of Rust's or Pingora's.
fn assert_discreet(text: &str, openemr: &OpenEmr) {
    let keys = keys("RS384").display().to_string();
    let port = format!(":{}", openemr.address.port());
    for secret in ["127.0.0.1", "localhost", &port, &keys, "eyJ", "Zebedee", "Error", "Some(", "pingora", "/apis/"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[test]
fn an_openemr_that_is_gone_is_502_until_it_is_back() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    openemr.order(&json!({"listener": "down"}));
    for (method, target) in [("GET", "/fhir/Patient"), ("POST", "/fhir/Patient"), ("PUT", "/fhir/Patient/1")] {
        let answer = gateway.caller().send(method, target, &[], b"{}");
        assert_discreet(&answer.outcome(502), &openemr);
    }
    gateway.logs(&["WARN", "Connection refused"]);
    openemr.order(&json!({"listener": "up"}));
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
}

#[test]
fn an_openemr_that_is_silent_is_504() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["sites"]["default"]["timeouts"] = json!({"read": "3s"});
    let gateway = Gateway::with(config);
    openemr.order(&json!({"fhir": {"delay_ms": 20_000, "times": 1, "target": "/Patient"}}));
    let answer = gateway.caller().get(PATIENTS);
    assert_discreet(&answer.outcome(504), &openemr);
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_504() {
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    let token_url = format!("{}/oauth2/default/token", openemr.base);
    config["sites"]["default"]["fhir_base"] = json!(format!("http://{}/apis/default/fhir", hole.local_addr().unwrap()));
    config["sites"]["default"]["token_url"] = json!(token_url);
    config["sites"]["default"]["timeouts"] = json!({"connect": "5s", "total_connect": "10s", "read": "1s"});
    let gateway = Gateway::with(config);
    assert_discreet(&gateway.caller().get(PATIENTS).outcome(504), &openemr);
}

#[test]
fn a_certificate_that_is_not_trusted_is_refused_and_one_that_is_is_not() {
    let openemr = OpenEmr::with(&["--tls"]);
    // Not trusted: neither the token endpoint nor the FHIR API is spoken to.
    let untrusting = Gateway::with(config_for(&openemr.base));
    untrusting.logs(&["ERROR", "UnknownIssuer"]);
    assert_eq!((openemr.count("token_requests"), openemr.count("fhir_requests")), (0, 0));
    let answer = untrusting.token("?force=true");
    assert_eq!(answer.status, 502);
    assert_discreet(&answer.text().replace("Error", ""), &openemr);

    // Trusted for its name.
    let trusting = Gateway::start(&openemr);
    assert_eq!(trusting.caller().get(PATIENTS).status, 200);
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let mut making = crate::support::Process::start(&["keys", "certificate", "--host", "emr.example", "--out", out]);
    assert!(eventually("the certificate is made", || making.ended()).success());
    let certificate = folder.path().join("emr.example.pem");
    let (certificate, key) = (certificate.to_str().unwrap(), format!("{out}/emr.example-key.pem"));
    let openemr = OpenEmr::with(&["--tls", "--tls-certificate", certificate, "--tls-key", &key]);
    let mut config = config(&openemr);
    config["sites"]["default"]["ca_file"] = json!(certificate);
    let gateway = Gateway::with(config);
    gateway.logs(&["ERROR", "not valid for name"]);
    assert_eq!((openemr.count("token_requests"), openemr.count("fhir_requests")), (0, 0));
}

#[test]
fn a_fhir_side_with_a_bad_certificate_is_502() {
    let tokens = OpenEmr::start();
    let fhir = OpenEmr::with(&["--tls"]);
    let mut config = config(&tokens);
    config["sites"]["default"]["token_url"] = json!(format!("{}/oauth2/default/token", tokens.base));
    config["sites"]["default"]["fhir_base"] = json!(format!("{}/apis/default/fhir", fhir.base));
    let gateway = Gateway::with(config);
    let sentence = gateway.caller().get(PATIENTS).outcome(502);
    assert!(sentence.contains("certificate"), "{sentence}");
    assert_discreet(&sentence, &fhir);
    assert_eq!(fhir.count("fhir_requests"), 0);
    gateway.logs(&["WARN", "UnknownIssuer"]);
}

#[test]
fn a_web_page_where_fhir_was_due_is_502() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    openemr.order(&json!({"fhir": {"html": true}}));
    let answer = gateway.caller().get(PATIENTS);
    assert_discreet(&answer.outcome(502), &openemr);
    assert!(!answer.text().contains("<html"), "{}", answer.text());
}

#[test]
fn openemrs_own_errors_pass_with_their_status() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    for (error, status) in [("system", 500), ("database", 503), ("php_fpm_down", 503), ("php_fpm_timeout", 504)] {
        openemr.order(&json!({"fhir": {"error": error}}));
        assert_eq!(gateway.caller().get(PATIENTS).status, status, "{error}");
    }
    openemr.order(&json!({"fhir": {"hang_up": true}}));
    assert_discreet(&gateway.caller().get(PATIENTS).outcome(502), &openemr);
}

#[test]
fn only_configured_networks_may_call() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["access"] = json!({"allow_from": ["127.0.0.2/32", "::1/128"]});
    let gateway = Gateway::with(config);
    let before = openemr.count("fhir_requests");
    let refused = gateway.caller().get(PATIENTS);
    assert_discreet(&refused.outcome(403), &openemr);
    for target in ["/health", "/.well-known/jwks.json"] {
        assert_eq!(gateway.caller().get(target).status, 403, "{target}");
    }
    assert_eq!(gateway.token("").status, 403);
    assert_eq!(openemr.count("fhir_requests"), before);
    let mut allowed = gateway.caller().connect_from(Ipv4Addr::new(127, 0, 0, 2).into());
    allowed.write(&request("GET", PATIENTS, &[], b""));
    assert_eq!(allowed.read("GET").status, 200);
}

#[test]
fn a_head_over_the_limit_is_431_and_a_broken_one_has_an_answer() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let large = "x".repeat(70_000);
    gateway.caller().send("GET", PATIENTS, &[("X-Large", &large)], b"").outcome(431);
    let many: String = (0..300).map(|n| format!("X-{n}: y\r\n")).collect();
    for (status, bytes) in [
        (400, "GET /fhir/Patient HTTP/1.1\r\n\r\n".to_owned()),
        (400, "GET /fhir/Patient HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned()),
        (400, "NONSENSE\r\n\r\n".to_owned()),
        (400, "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n".to_owned()),
        (501, "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n".to_owned()),
        (431, format!("GET /fhir/Patient HTTP/1.1\r\nHost: a\r\n{many}\r\n")),
    ] {
        let mut connection = gateway.caller().connect();
        connection.write(bytes.as_bytes());
        assert_discreet(&connection.read("GET").outcome(status), &openemr);
    }
    assert_eq!(openemr.count("fhir_requests"), 0);
    assert_eq!(gateway.caller().get(PATIENTS).status, 200, "and it goes on");
}

#[test]
fn a_name_that_cannot_be_resolved_is_said_in_the_log() {
    let mut config = config_for("https://no-such-host.invalid");
    config["sites"]["default"]["timeouts"] = json!({"token": "2s"});
    let gateway = Gateway::with(config);
    gateway.logs(&["ERROR", "no-such-host.invalid"]);
    let answer = gateway.caller().get(PATIENTS);
    assert!(matches!(answer.status, 502 | 503), "{}", answer.text());
    assert!(!answer.text().contains("no-such-host"), "{}", answer.text());
}

#[test]
fn one_address_of_a_name_is_enough() {
    // `localhost` is ::1 as well on many machines, where nobody listens here.
    let openemr = OpenEmr::start();
    let site_address = format!("http://localhost:{}", openemr.address.port());
    let mut config = config(&openemr);
    config["sites"]["default"]["openemr"] = json!(site_address);
    config["sites"]["default"]["token_audience"] = json!(format!("{}/oauth2/default/token", openemr.base));
    let gateway = Gateway::with(config);
    let answer = eventually("an answer by name", || Some(gateway.caller().get(PATIENTS)).filter(|answer| answer.status == 200));
    assert_eq!(answer.json()["resourceType"], "Bundle");
}

#[test]
fn a_taken_port_is_a_clear_error() {
    let openemr = OpenEmr::start();
    let first = Gateway::start(&openemr);
    let mut config = config(&openemr);
    config["listen"] = json!([{"address": first.address.to_string()}]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), config.to_string()).unwrap();
    let mut second = crate::support::Process::start(&["serve", "--config", file.path().to_str().unwrap()]);
    let status = eventually("the second gateway ends", || second.ended());
    let error = eventually("its error", || Some(second.log()).filter(|log| log.contains('\n')));
    assert_eq!(status.code(), Some(1));
    assert!(error.contains(&first.address.to_string()) && error.contains("stop the program"), "{error}");
    assert_ne!(free_address(), first.address);
}
