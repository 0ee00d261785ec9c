//! Clients that send a byte now and then: each wait for the rest has an end, and others are served meanwhile. That of an HTTP/1 head is
//! tested in `requests::framing`, that of a long HTTP/1 body in `requests::places`.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::gateway::{Certificate, Gateway, config};
use crate::support::http::{Connection, request};
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;
use crate::support::{DEADLINE, eventually};

const PATIENTS: &str = "/fhir/Patient?_count=1";
/// Between two bytes of a slow client: less than any limit here, so that each of them would begin a wait anew.
const BETWEEN_BYTES: Duration = Duration::from_millis(50);

fn with(openemr: &OpenEmr, limits: Value) -> Gateway {
    let mut config = config(openemr);
    config["listen"] = json!([{"h2c": true}]);
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
    config["sites"]["default"]["in_flight"] = json!({"most": 2, "queue": 1});
    config["limits"] = limits;
    let gateway = Gateway::with(config);
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    gateway
}

/// Does this at every byte until it says that it is over.
fn until_over(what: &str, mut step: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !step() {
        assert!(Instant::now() < end, "never given up: {what}");
        thread::sleep(BETWEEN_BYTES);
    }
}

#[test]
fn a_body_that_comes_byte_by_byte_is_given_up_before_openemr_is_asked() {
    let openemr = OpenEmr::start();
    let gateway = with(&openemr, json!({"read_timeout": "1s", "least_rate": "1MiB"}));
    let before = openemr.count("fhir_requests");
    for fields in ["Content-Length: 9000", "Content-Length: 60000", "Transfer-Encoding: chunked"] {
        let mut slow = gateway.caller().connect();
        slow.write(format!("POST /fhir/Patient HTTP/1.1\r\nHost: gateway\r\n{fields}\r\n\r\n").as_bytes());
        let piece: &[u8] = if fields.contains("chunked") { b"1\r\n \r\n" } else { b" " };
        until_over(fields, || slow.is_answered() || slow.try_write(piece).is_err());
        slow.read("POST").outcome(408);
    }
    let http2 = Http2::plain(gateway.address);
    let mut begun = http2.begin("POST", "/fhir/Patient", &[("content-length", "9000")], false);
    upload_slowly(&http2, &mut begun);
    http2.read(begun).outcome(408);
    assert_eq!(http2.get(PATIENTS).status, 200, "the connection goes on");
    assert_eq!(openemr.count("fhir_requests"), before + 1);
}

/// Sends a byte now and then until the gateway wants no more.
fn upload_slowly(http2: &Http2, begun: &mut crate::support::http2::Begun) {
    until_over("an HTTP/2 body", || {
        let sent = begun.body.send_data(bytes::Bytes::from_static(b" "), false);
        sent.is_err() || http2.has_ended()
    });
}

#[test]
fn a_long_http2_body_that_trickles_gives_its_permit_back() {
    let openemr = OpenEmr::start();
    let gateway = with(&openemr, json!({"read_timeout": "2s", "least_rate": "64KiB"}));
    let before = openemr.state()["last_fhir_request"].clone();
    let http2 = Http2::plain(gateway.address);
    let mut begun = http2.begin("POST", "/fhir/Patient", &[("content-length", "200000")], false);
    http2.upload(&mut begun, &[b' '; 70_000], false);
    upload_slowly(&http2, &mut begun);
    http2.read(begun).outcome(408);
    assert_eq!(openemr.state()["last_fhir_request"], before, "it never looked whole to OpenEMR");
    // Of two permits, both are there.
    openemr.order(&json!({"fhir": {"delay_ms": 300}}));
    let two: Vec<_> = (0..2).map(|_| http2.begin("GET", PATIENTS, &[], true)).collect();
    eventually("both are at OpenEMR", || (openemr.count("fhir_at_once") == 2).then_some(()));
    assert!(two.into_iter().all(|one| http2.read(one).status == 200));
}

/// A frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

#[test]
fn an_http2_head_that_comes_byte_by_byte_ends_its_connection() {
    let openemr = OpenEmr::start();
    let gateway = with(&openemr, json!({"read_timeout": "1s", "keepalive_timeout": "1s", "head_timeout": "1s"}));
    // GET http /health gateway, in literals of HPACK.
    let head = [&b"\x82\x86\x04\x07/health\x01\x07gateway"[..]].concat();
    let (headers, end_of_head_and_stream) = (1, 4 | 1);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let settings = frame(4, 0, 0, &[]);
    let good = frame(headers, end_of_head_and_stream, 1, &head);
    // It would take ten minutes and more.
    let endless = frame(headers, 0, 3, &[b' '; 14_000]);
    for (what, first, slowly) in [
        ("a preface", vec![], [&preface[..], &settings].concat()),
        ("the first head", [&preface[..], &settings].concat(), endless.clone()),
        ("a later head", [&preface[..], &settings, &good].concat(), endless),
    ] {
        let mut stream = TcpStream::connect(gateway.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        stream.write_all(&first).unwrap();
        let mut rest = slowly.into_iter();
        until_over(what, || {
            let byte = rest.next().unwrap_or_else(|| panic!("{what}: all was taken"));
            stream.write_all(&[byte]).is_err() || has_ended(&mut stream)
        });
    }
}

/// Whether the other side has ended the connection; what it has sent before is dropped.
fn has_ended(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 4096];
    match stream.read(&mut answer) {
        Ok(count) => count == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

#[test]
fn slow_clients_of_one_address_fill_its_places_and_no_others() {
    let openemr = OpenEmr::start();
    let certificate = Certificate::make();
    const OF_AN_ADDRESS: usize = 16;
    for tls in [false, true] {
        let mut config = config(&openemr);
        config["sites"]["default"]["in_flight"] = json!({"most": 2, "queue": 1});
        // Nothing of them ends by itself while this test lasts.
        config["limits"] = json!({
            "connections": 64, "connections_per_address": OF_AN_ADDRESS, "head_timeout": "10m", "read_timeout": "10m",
        });
        if tls {
            config["listen"] = json!([{"tls": certificate.tls()}]);
        }
        let gateway = Gateway::with(config);
        let slow = IpAddr::from([127, 0, 0, 2]);
        let begin = |index: usize| {
            let mut connection = if tls {
                gateway.caller().connect_tls_from(slow, &certificate.certificate)
            } else {
                gateway.caller().connect_from(slow)
            };
            // Heads, and bodies behind a head that is complete. A connection without a place is closed.
            let begin: &[u8] = match index % 2 {
                0 => b"GET /fhir/Patient HTTP/1.1\r\nHost: gateway\r\nX-Slow: ",
                _ => b"POST /fhir/Patient HTTP/1.1\r\nHost: gateway\r\nContent-Length: 900\r\n\r\n",
            };
            connection.try_write(begin).is_ok().then_some(connection)
        };
        let mut held: Vec<Connection> = (0..3 * OF_AN_ADDRESS).filter_map(begin).collect();
        gateway.logs(&["WARN", "connections refused", &format!("limits.connections_per_address: {OF_AN_ADDRESS}")]);
        let patients = || {
            let mut other = if tls { gateway.caller().connect_tls(&certificate.certificate) } else { gateway.caller().connect() };
            other.write(&request("GET", PATIENTS, &[], b""));
            other.read("GET").status
        };
        for _ in 0..5 {
            held.iter_mut().for_each(|connection| drop(connection.try_write(b" ")));
            assert_eq!(patients(), 200, "TLS: {tls}");
        }
        assert_eq!(openemr.count("most_fhir_at_once"), 1, "none of the slow ones is at OpenEMR");
    }
}
