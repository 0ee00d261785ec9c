//! What is written on a connection to OpenEMR: requests, one behind the other, and not a byte besides. The server counts them.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};

use crate::support::eventually;
use crate::support::gateway::{Gateway, config, pass_through};
use crate::support::http::request;
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;
use crate::support::raw_openemr::{RawOpenEmr, Received, patient};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/fhir+json");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const PATIENT: &[u8] = br#"{"resourceType":"Patient","id":"1"}"#;

/// A gateway in front of `raw`, with tokens from the sandbox. It speaks HTTP/2 without TLS, too.
fn in_front_of(raw: &RawOpenEmr, mut config: Value) -> Gateway {
    config["listen"] = json!([{"h2c": true}]);
    let site = &mut config["sites"]["default"];
    site["fhir_base"] = json!(raw.fhir_base());
    site["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
    // One place: the next request finds the connection in the pool.
    site["in_flight"] = json!({"most": 1});
    Gateway::with(config)
}

/// Sends a request over HTTP/2 in these DATA frames, the last of which ends the stream.
fn send(client: &Http2, method: &str, target: &str, fields: &[(&str, &str)], frames: &[&[u8]]) -> u16 {
    let mut begun = client.begin(method, target, fields, false);
    for (nth, frame) in frames.iter().enumerate() {
        client.upload(&mut begun, frame, nth + 1 == frames.len());
    }
    client.read(begun).status
}

/// Another caller's request behind this one; whether it went over the same connection. It may not: a connection can be on its
/// way to the pool, or be given up because OpenEMR answered before the client's bytes were read.
fn next_is_on_the_connection(gateway: &Gateway, raw: &RawOpenEmr, before: &Received) -> bool {
    let answer = gateway.caller().get("/fhir/Patient/last");
    assert_eq!((answer.status, answer.text().as_bytes()), (200, PATIENT));
    raw.received("/Patient/last").iter().any(|last| last.connection == before.connection)
}

#[test]
fn a_body_without_length_ends_once_however_its_end_comes() {
    let mut used_again = 0;
    let openemr = OpenEmr::start();
    let raw = RawOpenEmr::content();
    for config in [pass_through(&openemr), config(&openemr)] {
        let gateway = in_front_of(&raw, config);
        let client = Http2::plain(gateway.address);
        let half = PATIENT.split_at(9);
        for frames in [
            &[PATIENT, b""][..],
            &[half.0, half.1, b""],
            &[b"", PATIENT, b""],
            &[b"", b"", PATIENT],
            &[PATIENT],
            &[PATIENT, b"", b"", b""],
        ] {
            for method in ["POST", "PUT", "PATCH"] {
                let count = raw.received(&format!("{method} ")).len();
                let target = if method == "POST" { "/fhir/Patient" } else { "/fhir/Patient/1" };
                send(&client, method, target, &[JSON], frames);
                let Some(received) = raw.received(&format!("{method} ")).into_iter().nth(count) else {
                    assert_eq!(method, "PATCH", "OpenEMR has no PATCH");
                    continue;
                };
                assert_eq!(received.body, PATIENT, "{method} {frames:?}");
                used_again += u32::from(next_is_on_the_connection(&gateway, &raw, &received));
            }
        }
        // No byte at all, and a body that is read ahead.
        for (target, fields, frames, body) in [
            ("/fhir/Patient", &[JSON][..], &[&b""[..]][..], &b""[..]),
            ("/fhir/Patient", &[JSON], &[b"", b""], b""),
            ("/fhir/Patient/_search", &[FORM], &[b"name=A", b""], b"name=A"),
            ("/fhir/Patient/_search", &[FORM], &[b"name", b"=A", b""], b"name=A"),
        ] {
            let count = raw.received("POST ").len();
            send(&client, "POST", target, fields, frames);
            let Some(received) = raw.received("POST ").into_iter().nth(count) else { continue };
            assert_eq!(received.body, body, "{target} {frames:?}");
            used_again += u32::from(next_is_on_the_connection(&gateway, &raw, &received));
        }
    }
    assert!(used_again > 0, "no connection was used again");
}

#[test]
fn a_method_without_a_body_is_never_chunked() {
    let mut used_again = 0;
    let openemr = OpenEmr::start();
    let raw = RawOpenEmr::content();
    let gateway = in_front_of(&raw, pass_through(&openemr));
    let client = Http2::plain(gateway.address);
    for method in ["GET", "HEAD", "DELETE"] {
        for frames in [&[&b""[..]][..], &[b"", b""], &[b"stray"], &[b"stray", b""]] {
            let word = format!("{method} /fhir/Patient/1 ");
            let count = raw.received(&word).len();
            let status = send(&client, method, "/fhir/Patient/1", &[], frames);
            let Some(received) = raw.received(&word).into_iter().nth(count) else {
                assert!(status == 400 && frames.iter().any(|frame| !frame.is_empty()), "{method} {frames:?}: {status}");
                continue;
            };
            assert_eq!(received.field("transfer-encoding"), None, "{method} {frames:?}");
            assert!(received.body.is_empty(), "{method} {frames:?}");
            used_again += u32::from(next_is_on_the_connection(&gateway, &raw, &received));
        }
    }
    // HTTP/1.1 can say it in two ways.
    for framing in ["Transfer-Encoding: chunked\r\n\r\n5\r\nstray\r\n0\r\n\r\n", "Content-Length: 5\r\n\r\nstray"] {
        let count = raw.received("GET /fhir/Patient/1 ").len();
        let mut connection = gateway.caller().connect();
        connection.write(format!("GET /fhir/Patient/1 HTTP/1.1\r\nHost: gateway.example\r\n{framing}").as_bytes());
        let status = connection.read("GET").status;
        let Some(received) = raw.received("GET /fhir/Patient/1 ").into_iter().nth(count) else {
            assert_eq!(status, 400, "{framing:?}");
            continue;
        };
        assert_eq!((received.field("transfer-encoding"), received.body.len()), (None, 0), "{framing:?}");
    }
    assert!(used_again > 0, "no connection was used again");
}

#[test]
fn a_connection_whose_body_was_cut_off_is_not_used_again() {
    let openemr = OpenEmr::start();
    let raw = RawOpenEmr::content();
    let mut config = pass_through(&openemr);
    config["limits"] = json!({"request_body": "64KiB", "read_timeout": "1s"});
    let gateway = in_front_of(&raw, config);
    let whole = |nth: usize| {
        assert_eq!(gateway.caller().get(&format!("/fhir/Patient?nth={nth}")).status, 200);
        raw.until(&format!("nth={nth} "), 1);
    };
    whole(0);
    let client = Http2::plain(gateway.address);
    // HTTP/2: fewer bytes than declared, more of them, a reset, a body beyond the limit without and with a length.
    send(&client, "POST", "/fhir/Patient", &[JSON, ("content-length", "50")], &[b"ten bytes.", b""]);
    whole(1);
    send(&client, "POST", "/fhir/Patient", &[JSON, ("content-length", "5")], &[b"ten bytes."]);
    whole(2);
    let mut begun = client.begin("POST", "/fhir/Patient", &[JSON], false);
    client.upload(&mut begun, b"ten bytes.", false);
    client.cancel(begun);
    whole(3);
    send(&client, "POST", "/fhir/Patient", &[JSON], &[&[b' '; 50_000], &[b' '; 50_000]]);
    whole(4);
    // HTTP/1.1: beyond the limit, fewer bytes than declared, no last chunk.
    let mut connection = gateway.caller().connect();
    connection.write(b"POST /fhir/Patient HTTP/1.1\r\nHost: gateway.example\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n");
    connection.write(&[b' '; 70_000]);
    connection.write(b"\r\n0\r\n\r\n");
    assert_eq!(connection.read("POST").status, 413);
    whole(5);
    for framing in ["Content-Length: 50", "Transfer-Encoding: chunked"] {
        let mut connection = gateway.caller().connect();
        connection.write(
            format!("POST /fhir/Patient HTTP/1.1\r\nHost: gateway.example\r\n{framing}\r\n\r\na\r\nten bytes.\r\n").as_bytes(),
        );
        drop(connection);
    }
    whole(6);
    // Whatever reached OpenEMR of these ended its connection: reading all connections as requests finds no stray byte.
    for cut in raw.received("POST ") {
        assert!(
            raw.received("")
                .iter()
                .filter(|other| other.connection == cut.connection)
                .all(|other| other.head.starts_with("GET "))
        );
    }
}

#[test]
fn an_answer_before_the_end_of_the_body_leaves_no_byte_behind() {
    let openemr = OpenEmr::start();
    let raw = RawOpenEmr::content();
    let gateway = in_front_of(&raw, pass_through(&openemr));
    for version in ["1.0", "1.1"] {
        let count = raw.received("POST ").len();
        let mut connection = gateway.caller().connect();
        let head =
            format!("POST /fhir/Patient HTTP/{version}\r\nHost: gateway.example\r\nContent-Length: {}\r\n\r\n", PATIENT.len());
        connection.write(head.as_bytes());
        connection.write(PATIENT);
        assert_eq!(connection.read("POST").status, 200);
        let received = raw.until("POST ", count + 1).pop().unwrap();
        assert_eq!(received.body, PATIENT);
        next_is_on_the_connection(&gateway, &raw, &received);
    }
    // Chunks of HTTP/1.1, in pieces and with what is behind them in one.
    let mut connection = gateway.caller().connect();
    let mut bytes = b"POST /fhir/Patient HTTP/1.1\r\nHost: gateway.example\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for piece in PATIENT.chunks(7) {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes.extend_from_slice(&request("GET", "/fhir/Patient?_id=pipelined", &[], b""));
    let count = raw.received("POST ").len();
    connection.write(&bytes);
    assert_eq!((connection.read("POST").status, connection.read("GET").status), (200, 200));
    let received = raw.until("POST ", count + 1).pop().unwrap();
    assert_eq!(received.body, PATIENT);
    assert_eq!(raw.received("_id=pipelined").len(), 1);
}

#[test]
fn a_repeated_request_writes_its_body_once_on_each_connection() {
    let openemr = OpenEmr::start();
    // The first search on a used connection meets its end; it is sent again, with its body.
    let refused = Arc::new(AtomicBool::new(false));
    let (used, is_refused) = (Mutex::new(HashSet::new()), Arc::clone(&refused));
    let raw = RawOpenEmr::start(move |request| {
        let is_used = !used.lock().unwrap().insert(request.connection);
        if is_used && request.head.contains("_search") && !is_refused.swap(true, SeqCst) {
            return Vec::new();
        }
        patient(request)
    });
    let gateway = in_front_of(&raw, pass_through(&openemr));
    let client = Http2::plain(gateway.address);
    let mut sent = 0;
    // A connection can be on its way to the pool: then the search gets another one.
    eventually("a search on a used connection", || {
        assert_eq!(gateway.caller().get("/fhir/Patient?_id=first").status, 200);
        assert_eq!(send(&client, "POST", "/fhir/Patient/_search", &[FORM], &[b"name=A", b""]), 200);
        sent += 1;
        refused.load(SeqCst).then_some(())
    });
    let searches = raw.received("_search");
    assert_eq!(searches.len(), sent + 1);
    assert!(searches.iter().all(|search| search.body == b"name=A"), "{searches:?}");
}
