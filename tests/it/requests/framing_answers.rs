//! What OpenEMR's web server says between a request and its answer, and answers whose end it declares twice.

use crate::support::gateway::{Gateway, pass_through};
use crate::support::http::request;
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;
use crate::support::raw_openemr::{RawOpenEmr, Received, patient};
use serde_json::json;

const BODY: &str = r#"{"resourceType":"Patient","id":"1"}"#;

/// A gateway in front of a server that answers a request with `mark=N` with the Nth of these, a create with the first, and others
/// with a Patient.
fn in_front_of(openemr: &OpenEmr, answers: Vec<String>) -> (Gateway, RawOpenEmr) {
    let raw = RawOpenEmr::start(move |request: &Received| {
        let is_create = request.head.starts_with("POST ");
        let marked = request.head.split_once("mark=").and_then(|(_, rest)| rest.split(' ').next()?.parse::<usize>().ok());
        marked.or(is_create.then_some(0)).map_or_else(|| patient(request), |nth| answers[nth].clone().into_bytes())
    });
    let mut config = pass_through(openemr);
    config["listen"] = json!([{"h2c": true}]);
    let site = &mut config["sites"]["default"];
    site["fhir_base"] = json!(raw.fhir_base());
    site["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
    (Gateway::with(config), raw)
}

fn answer(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\n{fields}\r\n{body}")
}

#[test]
fn informational_answers_nobody_asked_for_are_dropped() {
    let openemr = OpenEmr::start();
    let whole = answer(&format!("Content-Length: {}\r\n", BODY.len()), BODY);
    let (gateway, _raw) = in_front_of(
        &openemr,
        vec![
            format!("HTTP/1.1 100 Continue\r\n\r\n{whole}"),
            format!("HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n{whole}"),
            format!("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n{whole}"),
            format!("HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n{whole}"),
            format!("HTTP/1.1 199 X\r\n\r\n{whole}"),
        ],
    );
    let client = Http2::plain(gateway.address);
    for nth in 0..5 {
        let target = format!("/fhir/Patient?mark={nth}");
        let mut connection = gateway.caller().connect();
        for _ in 0..2 {
            connection.write(&request("GET", &target, &[], b""));
            let answer = connection.read("GET");
            assert_eq!((answer.status, answer.text().as_str()), (200, BODY), "{nth}");
        }
        let mut old = gateway.caller().connect();
        old.write(format!("GET {target} HTTP/1.0\r\nHost: gateway.example\r\nExpect: 100-continue\r\n\r\n").as_bytes());
        let answer = old.read("GET");
        assert_eq!((answer.status, answer.text().as_str()), (200, BODY), "{nth}, HTTP/1.0");
        let answer = client.get(&target);
        assert_eq!((answer.status, answer.text().as_str()), (200, BODY), "{nth}, HTTP/2");
    }
}

#[test]
fn a_continue_that_was_asked_for_comes_once_and_bare() {
    let openemr = OpenEmr::start();
    let whole = answer(&format!("Content-Length: {}\r\n", BODY.len()), BODY);
    let (gateway, _raw) = in_front_of(
        &openemr,
        vec![format!(
            "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\nX-Field: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\n\r\n{whole}"
        )],
    );
    let mut connection = gateway.caller().connect();
    let fields = [("Expect", "100-continue"), ("Content-Type", "application/fhir+json")];
    connection.write(&request("POST", "/fhir/Patient", &fields, br#"{"resourceType":"Patient"}"#));
    let first = connection.read_head();
    assert_eq!(first.status, 100);
    assert!(first.fields.is_empty(), "{:?}", first.fields);
    let answer = connection.read("POST");
    assert_eq!((answer.status, answer.text().as_str()), (200, BODY));
}

#[test]
fn an_answer_that_changes_the_protocol_or_ends_twice_is_502_and_its_connection_is_not_used_again() {
    let openemr = OpenEmr::start();
    let length = BODY.len();
    let answers = vec![
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nanything".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nContent-Length: 0\r\n\r\n".to_owned(),
        answer(&format!("Content-Length: {length}\r\nContent-Length: {length}\r\n"), BODY),
        answer(&format!("Content-Length: {length}\r\nContent-Length: 3\r\n"), BODY),
        answer(&format!("Content-Length: {length}, {length}\r\n"), BODY),
        answer("Content-Length: -1\r\n", BODY),
        answer(&format!("Content-Length: +{length}\r\n"), BODY),
        answer("Content-Length: x\r\n", BODY),
        answer("Content-Length: \r\n", BODY),
        answer("Content-Length: 99999999999999999999\r\n", BODY),
        answer("Transfer-Encoding: gzip, chunked\r\n", &format!("{length:x}\r\n{BODY}\r\n0\r\n\r\n")),
        answer("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", &format!("{length:x}\r\n{BODY}\r\n0\r\n\r\n")),
        answer("Transfer-Encoding: identity\r\n", BODY),
    ];
    let count = answers.len();
    let (gateway, raw) = in_front_of(&openemr, answers);
    let client = Http2::plain(gateway.address);
    for nth in 0..count {
        let target = format!("/fhir/Patient?mark={nth}");
        for upgrade in [&[][..], &[("Connection", "Upgrade"), ("Upgrade", "h2c")]] {
            gateway.caller().send("GET", &target, upgrade, b"").outcome(502);
        }
        client.get(&target).outcome(502);
        let next = gateway.caller().get("/fhir/Patient?mark=none");
        assert_eq!((next.status, next.text().as_str()), (200, BODY), "{nth}");
    }
    let all = raw.received("");
    for (bad, behind) in
        all.iter().zip(&all[1..]).filter(|(bad, _)| bad.head.contains("mark=") && !bad.head.contains("mark=none"))
    {
        assert_ne!(bad.connection, behind.connection, "{} before {}", bad.head, behind.head);
    }
}
