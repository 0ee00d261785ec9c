//! Answers are compressed for clients that accept it, except where that would not help.

use std::io::Read;

use crate::support::gateway::{Gateway, config};
use crate::support::http::{Answer, End};
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;
use serde_json::json;

const PATIENTS: &str = "/fhir/Patient?_count=5";

fn decoded(answer: &Answer) -> Vec<u8> {
    let mut text = Vec::new();
    let body = answer.body.as_slice();
    match answer.field("content-encoding") {
        None => text = body.to_vec(),
        Some("gzip") => drop(flate2::read::GzDecoder::new(body).read_to_end(&mut text).unwrap()),
        Some("br") => drop(brotli::Decompressor::new(body, 4096).read_to_end(&mut text).unwrap()),
        Some("zstd") => text = zstd::stream::decode_all(body).unwrap(),
        Some(other) => panic!("{other}"),
    }
    text
}

fn ask(gateway: &Gateway, target: &str, accept: &str) -> Answer {
    gateway.caller().send("GET", target, &[("Accept-Encoding", accept)], b"")
}

/// What a Bundle says, without the moment at which it was made.
fn said(answer: &Answer) -> serde_json::Value {
    let mut bundle: serde_json::Value = serde_json::from_slice(&decoded(answer)).unwrap();
    bundle["meta"] = json!(null);
    bundle["timestamp"] = json!(null);
    bundle
}

#[test]
fn a_large_bundle_travels_as_a_tenth() {
    let openemr = OpenEmr::with(&["--patients", "900"]);
    let gateway = Gateway::start(&openemr);
    let plain = gateway.caller().get("/fhir/Patient");
    assert!(plain.body.len() > 2_000_000, "{}", plain.body.len());
    assert_eq!((plain.field("content-encoding"), plain.field("vary")), (None, Some("Accept-Encoding")));
    for coding in ["gzip", "br", "zstd"] {
        let small = ask(&gateway, "/fhir/Patient", coding);
        assert_eq!((small.status, small.end, small.field("content-encoding")), (200, End::Whole, Some(coding)));
        assert_eq!((small.field("content-length"), small.field("vary")), (None, Some("Accept-Encoding")));
        assert!(small.body.len() * 10 < plain.body.len(), "{coding}: {}", small.body.len());
        assert_eq!(said(&small), said(&plain), "{coding}");
    }
}

#[test]
fn the_caller_chooses() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    for (accept, coding) in [
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("gzip, deflate, br", Some("br")),
        ("gzip, deflate", Some("gzip")),
        ("gzip;q=0", None),
        ("identity, gzip;q=0.5", None),
        ("deflate", None),
    ] {
        let answer = ask(&gateway, PATIENTS, accept);
        assert_eq!(answer.field("content-encoding"), coding, "{accept}");
        assert_eq!(said(&answer)["resourceType"], "Bundle");
    }
    let client = {
        let mut config = config(&openemr);
        config["listen"] = json!([{"h2c": true}]);
        Gateway::with(config)
    };
    let http2 = Http2::plain(client.address).send("GET", PATIENTS, &[("accept-encoding", "zstd")], b"");
    assert_eq!((http2.end, http2.field("content-encoding")), (End::Whole, Some("zstd")));
    assert_eq!(said(&http2)["resourceType"], "Bundle");
}

#[test]
fn what_would_not_shrink_is_left_alone() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let answer = |answer| openemr.order(&json!({"fhir": {"framing": "content_length", "answer": answer}}));
    for (status, content_type, length, compressed) in [
        (200, "application/json", 1024, true),
        (200, "application/json", 1023, false),
        (200, "application/fhir+ndjson", 5000, true),
        (200, "application/pdf", 5000, false),
        (404, "application/json", 5000, false),
    ] {
        let body = format!("{{\"a\":\"{}\"}}", "b".repeat(length - 8));
        answer(json!({"status": status, "content_type": content_type, "body": body}));
        let answer = ask(&gateway, "/fhir/Binary/1", "gzip");
        let case = format!("{status} {content_type} {length}: {:?}", answer.fields);
        assert_eq!((answer.status, answer.end), (status, End::Whole), "{case}");
        assert_eq!(answer.field("content-encoding").is_some(), compressed, "{case}");
    }
    openemr.order(&json!({"fhir": null}));
    assert_eq!(ask(&gateway, "/health", "gzip").field("content-encoding"), None);
}

#[test]
fn a_cut_body_is_not_made_whole() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    for framing in ["chunked", "content_length"] {
        openemr.order(&json!({"fhir": {"framing": framing, "truncate_after": 5000}}));
        let answer = ask(&gateway, PATIENTS, "zstd");
        assert!(answer.end == End::Cut || answer.status == 502, "{framing}: {} {:?}", answer.status, answer.end);
    }
}

#[test]
fn an_old_caller_gets_no_chunks() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let mut connection = gateway.caller().connect();
    connection.write(b"GET /fhir/Patient?_count=5 HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n");
    let answer = connection.read("GET");
    assert_eq!((answer.field("content-encoding"), answer.field("transfer-encoding")), (Some("gzip"), None));
    assert_eq!(said(&answer)["resourceType"], "Bundle");
}

#[test]
fn it_can_be_switched_off() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["compression"] = json!({"enabled": false});
    let gateway = Gateway::with(config);
    let answer = ask(&gateway, PATIENTS, "gzip");
    assert_eq!((answer.field("content-encoding"), answer.field("vary")), (None, None));
}
