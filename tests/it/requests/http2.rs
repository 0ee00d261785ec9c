//! HTTP/2 with clients: everything that holds for HTTP/1.1, on many streams of one connection, and protection against abuse.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::gateway::{Certificate, Gateway, config};
use crate::support::http::{Answer, End};
use crate::support::http2::{Http2, chosen};
use crate::support::openemr::OpenEmr;
use crate::support::{DEADLINE, eventually};
use serde_json::{Value, json};

const PATIENTS: &str = "/fhir/Patient?_count=5";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A gateway with a listener that speaks HTTP/2 without TLS, too.
fn h2c(openemr: &OpenEmr, change: impl FnOnce(&mut Value)) -> Gateway {
    let mut config = config(openemr);
    config["listen"] = json!([{"h2c": true}]);
    change(&mut config);
    Gateway::with(config)
}

fn fhir(answer: &Answer, status: u16) {
    assert_eq!((answer.status, answer.end), (status, End::Whole), "{}", answer.text());
    for field in ["connection", "transfer-encoding", "keep-alive", "upgrade"] {
        assert_eq!(answer.field(field), None, "{:?}", answer.fields);
    }
    assert!(answer.field("x-request-id").is_some(), "{:?}", answer.fields);
}

#[test]
fn a_tls_listener_offers_it_unless_it_is_switched_off() {
    let openemr = OpenEmr::start();
    let made = Certificate::make();
    let mut config = config(&openemr);
    config["listen"] = json!([{"tls": made.tls()}]);
    let gateway = Gateway::with(config.clone());
    let client = Http2::tls(gateway.address, &made.certificate);
    let answer = client.get(PATIENTS);
    fhir(&answer, 200);
    assert_eq!(answer.json()["resourceType"], "Bundle");
    assert_eq!(client.get("/health").status, 200);
    assert_eq!(chosen(gateway.address, &made.certificate, &["http/1.1"]), Some("http/1.1".to_owned()));
    assert_eq!(chosen(gateway.address, &made.certificate, &[]), None);
    let mut old = gateway.caller().connect_tls(&made.certificate);
    old.write(&crate::support::http::request("GET", PATIENTS, &[], b""));
    assert_eq!(old.read("GET").status, 200);

    config["listen"][0]["http2"] = json!(false);
    let gateway = Gateway::with(config);
    assert_eq!(chosen(gateway.address, &made.certificate, &["h2", "http/1.1"]), Some("http/1.1".to_owned()));
}

#[test]
fn without_tls_both_are_spoken_where_the_listener_says_so() {
    let openemr = OpenEmr::start();
    let gateway = h2c(&openemr, |_| {});
    fhir(&Http2::plain(gateway.address).get(PATIENTS), 200);
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    let received = openemr.received("host");
    assert_eq!(received, [openemr.address.to_string()], "the authority is OpenEMR's own");

    let plain = Gateway::start(&openemr);
    let mut stream = TcpStream::connect(plain.address).unwrap();
    stream.write_all(PREFACE).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(&[0, 0]), "no frame comes back: {answer:?}");
}

#[test]
fn a_request_that_is_shorter_than_the_preface_is_one_of_http1() {
    let openemr = OpenEmr::start();
    let gateway = h2c(&openemr, |config| config["limits"] = json!({"head_timeout": "1s"}));
    let short = b"GET /ready HTTP/1.0\r\n\r\n";
    assert!(short.len() < PREFACE.len());
    let mut caller = gateway.caller().connect();
    caller.write(short);
    assert!(matches!(caller.read("GET").status, 200 | 503));
    // What comes too late is no new request behind a beginning that is lost.
    let mut late = gateway.caller().connect();
    late.write(&PREFACE[..PREFACE.len() - 1]);
    thread::sleep(Duration::from_millis(1_300));
    let _ = late.try_write(b"GET /ready HTTP/1.1\r\nHost: gateway\r\n\r\n");
    assert!(!late.is_alive().unwrap_or(false), "it is answered");
}

#[test]
fn many_requests_share_a_connection() {
    let openemr = OpenEmr::start();
    let gateway = h2c(&openemr, |config| config["sites"]["default"]["in_flight"] = json!({"adaptive": false}));
    let client = Http2::plain(gateway.address);
    openemr.order(&json!({"fhir": {"delay_ms": 3_000}}));
    let begun: Vec<_> = (0..20).map(|_| client.begin("GET", PATIENTS, &[], true)).collect();
    for begun in begun {
        fhir(&client.read(begun), 200);
    }
    assert!(openemr.count("most_fhir_at_once") > 10);
}

#[test]
fn bodies_go_both_ways() {
    let openemr = OpenEmr::start();
    let gateway = h2c(&openemr, |config| {
        config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
    });
    let client = Http2::plain(gateway.address);
    let patient = json!({
        "resourceType": "Patient", "name": [{"use": "official", "family": "Sample", "given": ["Ada"]}],
        "gender": "female", "birthDate": "1984-02-29",
    });
    let form = ("content-type", "application/fhir+json");
    let created = client.send("POST", "/fhir/Patient", &[form], patient.to_string().as_bytes());
    fhir(&created, 201);
    // Without a length, in pieces, larger than what a stream may send at once.
    let mut begun = client.begin("POST", "/fhir/Patient", &[form, ("prefer", "return=minimal")], false);
    for _ in 0..8 {
        client.upload(&mut begun, &[b' '; 50_000], false);
    }
    client.upload(&mut begun, patient.to_string().as_bytes(), true);
    fhir(&client.read(begun), 201);
}

#[test]
fn what_the_gateway_says_itself_is_an_operation_outcome() {
    let openemr = OpenEmr::start();
    let gateway = h2c(&openemr, |config| config["limits"] = json!({"request_head": "4KiB", "request_target": "2KiB"}));
    let client = Http2::plain(gateway.address);
    let refused = client.get("/fhir/Patient/%2e%2e/x");
    fhir(&refused, 400);
    refused.outcome(400);
    client.send("POST", "/fhir//Patient", &[], &[b'x'; 100_000]).outcome(400);
    let long = "x".repeat(5000);
    let too_long = client.send("GET", PATIENTS, &[("x-long", &long)], b"");
    fhir(&too_long, 431);
    too_long.outcome(431);
    // Many short ones, each of which the table of the caller's own connection makes a byte.
    let names: Vec<String> = (0..90).map(|nth| format!("x-{nth}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "a rather long value for a field like that")).collect();
    client.send("GET", PATIENTS, &many, b"").outcome(431);
    let endless = "x".repeat(30_000);
    assert_eq!(client.send("GET", PATIENTS, &[("x-endless", &endless)], b"").status, 431);
    fhir(&client.get(PATIENTS), 200);
    assert_eq!(client.get("/nowhere").status, 404);
}

#[test]
fn a_refused_token_is_replaced_and_a_held_answer_sent() {
    let openemr = OpenEmr::start();
    let gateway = h2c(&openemr, |_| {});
    let client = Http2::plain(gateway.address);
    fhir(&client.get(PATIENTS), 200);
    for way in ["by_admin", "trusted_user", "unknown"] {
        openemr.order(&json!({"revoke_tokens": way}));
        fhir(&client.get(PATIENTS), 200);
    }
    openemr.order(&json!({"revoke_tokens": "by_admin"}));
    let form = ("content-type", "application/x-www-form-urlencoded");
    fhir(&client.send("POST", "/fhir/Patient/_search", &[form], b"_count=2"), 200);
    // A 400 is held back to its end, and sent when Pingora is done with the request.
    let body = r#"{"validationErrors":{"name":"too short"}}"#;
    openemr.order(&json!({"fhir": {"answer": {"status": 400, "body": body}}}));
    fhir(&client.get(PATIENTS), 400);
    fhir(&client.send("POST", "/fhir/Patient", &[], b"{}"), 400);
}

#[test]
fn an_answer_does_not_wait_for_a_body() {
    let openemr = OpenEmr::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let hasty = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n";
            let _ = stream.write_all(format!("{head}{{}}").as_bytes());
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let gateway = h2c(&openemr, |config| {
        let site = &mut config["sites"]["default"];
        site["token_url"] = json!(format!("{}/oauth2/default/token", openemr.base));
        site["fhir_base"] = json!(format!("http://{hasty}/fhir"));
    });
    let client = Http2::plain(gateway.address);
    // A short body is awaited before OpenEMR is asked.
    let mut begun = client.begin("POST", "/fhir/Patient", &[("content-length", "100000")], false);
    client.upload(&mut begun, &[b' '; 60_000], false);
    // The rest never comes.
    fhir(&client.read(begun), 400);
}

#[test]
fn a_body_that_was_cut_does_not_end_in_order() {
    let openemr = OpenEmr::start();
    let gateway = h2c(&openemr, |_| {});
    let client = Http2::plain(gateway.address);
    for framing in ["chunked", "content_length", "http10"] {
        openemr.order(&json!({"fhir": {"framing": framing, "truncate_after": 3000}}));
        let answer = client.get("/fhir/Patient");
        assert!(answer.end == End::Cut || answer.status == 502, "{framing}: {}", answer.status);
    }
    openemr.order(&json!({"fhir": null}));
    fhir(&client.get("/fhir/Patient"), 200);
}

#[test]
fn head_has_no_body_and_options_neither_connection() {
    let openemr = OpenEmr::start();
    let gateway = h2c(&openemr, |_| {});
    let client = Http2::plain(gateway.address);
    for (method, target) in [("HEAD", "/health"), ("HEAD", "/fhir/Patient?_count=1"), ("GET", "/ready")] {
        let answer = client.send(method, target, &[], b"");
        assert_eq!(answer.end, End::Whole, "{method} {target}");
        assert_eq!(answer.body.is_empty(), method == "HEAD", "{method} {target}");
    }
}

#[test]
fn no_more_streams_at_once_than_allowed() {
    let openemr = OpenEmr::start();
    let gateway = h2c(&openemr, |config| config["limits"] = json!({"http2_streams": 3}));
    let client = Http2::plain(gateway.address);
    fhir(&client.get(PATIENTS), 200);
    openemr.reset();
    openemr.order(&json!({"fhir": {"delay_ms": 2_000}}));
    thread::scope(|scope| {
        for _ in 0..9 {
            scope.spawn(|| fhir(&client.get(PATIENTS), 200));
        }
    });
    assert_eq!(openemr.count("most_fhir_at_once"), 3);
}

#[test]
fn whoever_gives_up_requests_without_end_loses_the_connection() {
    let openemr = OpenEmr::start();
    let gateway = h2c(&openemr, |config| {
        config["sites"]["default"]["in_flight"] = json!({"most": 4, "queue": 1});
    });
    // Faster than they can be looked at.
    give_up_until_it_ends(&openemr, &gateway, Duration::ZERO);
    // And so that each has gone to OpenEMR.
    give_up_until_it_ends(&openemr, &gateway, Duration::from_millis(3));
    gateway.logs(&["an HTTP/2 connection was broken off"]);
}

fn give_up_until_it_ends(openemr: &OpenEmr, gateway: &Gateway, pause: Duration) {
    let client = Http2::plain(gateway.address);
    eventually("there is room", || (client.get(PATIENTS).status == 200).then_some(()));
    openemr.reset();
    openemr.order(&json!({"fhir": {"delay_ms": 300}}));
    let mut sent = 0;
    let end = Instant::now() + DEADLINE;
    while !client.has_ended() {
        assert!(Instant::now() < end, "{sent} requests were given up, and the connection still stands");
        if let Ok(begun) = client.try_begin("GET", PATIENTS, &[], true) {
            sent += 1;
            thread::sleep(pause);
            client.cancel(begun);
        }
    }
    client.ended();
    assert!(sent > 20, "a caller may change his mind {sent} times");
    // Others do not notice.
    openemr.order(&json!({"fhir": null}));
    let other = Http2::plain(gateway.address);
    eventually("there is room again", || (other.get(PATIENTS).status == 200).then_some(()));
    assert!(openemr.count("fhir_requests") < 300, "{}", openemr.count("fhir_requests"));
}

#[test]
fn whoever_gives_up_a_few_keeps_it() {
    let openemr = OpenEmr::start();
    let gateway = h2c(&openemr, |_| {});
    let client = Http2::plain(gateway.address);
    fhir(&client.get(PATIENTS), 200);
    openemr.order(&json!({"fhir": {"delay_ms": 50}}));
    for _ in 0..30 {
        let begun = client.begin("GET", PATIENTS, &[], true);
        client.cancel(begun);
        fhir(&client.get("/health"), 200);
    }
    fhir(&client.get(PATIENTS), 200);
}

/// A frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Sends bytes until they are no longer read; how many were taken, at most `most`.
fn send_until_closed(gateway: &Gateway, first: &[u8], piece: &[u8], most: usize) -> usize {
    let mut stream = TcpStream::connect(gateway.address).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    let mut sent = 0;
    if stream.write_all(first).is_err() {
        return sent;
    }
    while sent < most && stream.write_all(piece).is_ok() {
        sent += piece.len();
    }
    sent
}

#[test]
fn a_head_without_an_end_is_cut_off() {
    let openemr = OpenEmr::start();
    let gateway = h2c(&openemr, |_| {});
    let most = 200 << 20;
    // HEADERS without END_HEADERS, and CONTINUATION for ever (CVE-2024-27316): literal fields without indexing.
    let first = [PREFACE, &frame(4, 0, 0, b""), &frame(1, 0, 1, &[0x82, 0x84, 0x86])].concat();
    let mut field = vec![0x00, 0x01, b'x', 0x7f, 0x81, 0x7d];
    field.resize(field.len() + 16_000, b'y');
    let continued = send_until_closed(&gateway, &first, &frame(9, 0, 1, &field), most);
    assert!(continued < most, "{continued} bytes of one head were taken");
    let empty = send_until_closed(&gateway, &first, &frame(9, 0, 1, b""), most);
    assert!(empty < most, "{empty} bytes of empty frames were taken");
    fhir(&Http2::plain(gateway.address).get(PATIENTS), 200);
}

#[test]
fn who_never_begins_and_who_is_idle_is_let_go() {
    let openemr = OpenEmr::start();
    let made = Certificate::make();
    let mut config = config(&openemr);
    config["listen"] = json!([{"tls": made.tls()}]);
    config["limits"] = json!({"read_timeout": "3s", "keepalive_timeout": "3s"});
    let gateway = Gateway::with(config.clone());
    let client = Http2::tls(gateway.address, &made.certificate);
    client.ended();
    let client = Http2::tls(gateway.address, &made.certificate);
    fhir(&client.get(PATIENTS), 200);
    client.ended();
    // One that works is not idle.
    openemr.order(&json!({"fhir": {"delay_ms": 7_000}}));
    fhir(&Http2::tls(gateway.address, &made.certificate).get(PATIENTS), 200);

    config["listen"] = json!([{"h2c": true}]);
    let gateway = Gateway::with(config);
    let mut silent = TcpStream::connect(gateway.address).unwrap();
    silent.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(silent.read(&mut [0; 10]).unwrap(), 0);
}

#[test]
fn a_connection_ends_in_order_after_its_last_request() {
    let openemr = OpenEmr::start();
    let gateway = h2c(&openemr, |config| config["limits"] = json!({"keepalive_requests": 3}));
    let mut client = Http2::plain(gateway.address);
    for _ in 0..3 {
        fhir(&client.get(PATIENTS), 200);
    }
    client.ended_in_order();
}

#[test]
fn on_the_way_out_requests_end_and_connections_with_them() {
    let openemr = OpenEmr::start();
    let mut gateway = h2c(&openemr, |config| {
        config["drain_delay"] = json!("8s");
        config["server"] = json!({"grace_period_seconds": 600});
    });
    let mut idle = Http2::plain(gateway.address);
    let mut busy = Http2::plain(gateway.address);
    fhir(&idle.get(PATIENTS), 200);
    fhir(&busy.get(PATIENTS), 200);
    openemr.order(&json!({"fhir": {"delay_ms": 15_000}}));
    let begun = busy.begin("GET", "/fhir/Patient", &[], true);
    eventually("it is at OpenEMR", || (openemr.count("fhir_at_once") == 1).then_some(()));
    gateway.process.signal("TERM");
    // A connection without a request is ended at once, before any request is rejected.
    idle.ended_in_order();
    // A new connection is still served.
    assert_eq!(Http2::plain(gateway.address).get("/ready").status, 503);
    fhir(&busy.read(begun), 200);
    busy.ended_in_order();
    // In time, without the grace period.
    let status = eventually("the process ends", || gateway.process.ended());
    assert!(status.success());
}
