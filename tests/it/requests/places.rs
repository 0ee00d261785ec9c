//! No client keeps OpenEMR from the others: not by a body that does not come, not by an answer that it does not read.

use std::time::Duration;

use crate::support::eventually;
use crate::support::gateway::{Gateway, config, pass_through};
use crate::support::http::{Answer, Connection, End, request};
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

const PATIENTS: &str = "/fhir/Patient?_count=1";

/// A gateway with two places in flight, and one in the queue.
fn two_places(openemr: &OpenEmr, limits: Value) -> Gateway {
    let mut config = config(openemr);
    config["listen"] = json!([{"h2c": true}]);
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write", "system/Binary.read"]);
    config["sites"]["default"]["in_flight"] = json!({"most": 2, "queue": 1, "queue_timeout": "2s"});
    config["limits"] = limits;
    let gateway = Gateway::with(config);
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    gateway
}

/// Checks that others get their answers.
fn others_are_served(gateway: &Gateway, while_this_goes_on: &str) {
    for _ in 0..5 {
        let answer = gateway.caller().get(PATIENTS);
        assert_eq!(answer.status, 200, "{while_this_goes_on}: {}", answer.text());
    }
}

const BINARY: &str = "/fhir/Binary/5000";
/// More than the kernel takes for a client that does not read.
const LARGE: usize = 14_000_000;

/// Publishes a Binary of [`LARGE`] bytes.
fn publish(openemr: &OpenEmr) {
    openemr.order(&json!({"binary": {"id": "5000", "bytes": LARGE}}));
}

/// Begins a download, and reads its head alone.
fn download(gateway: &Gateway) -> (Connection, Answer) {
    let mut connection = gateway.caller().connect();
    connection.write(&request("GET", BINARY, &[], b""));
    let head = connection.read_head();
    assert_eq!(head.status, 200);
    (connection, head)
}

fn begin(gateway: &Gateway, method: &str, fields: &str) -> Connection {
    let mut connection = gateway.caller().connect();
    connection.write(format!("{method} /fhir/Patient HTTP/1.1\r\nHost: gateway\r\n{fields}\r\n").as_bytes());
    connection
}

#[test]
fn a_body_that_comes_byte_by_byte_takes_no_place() {
    let openemr = OpenEmr::start();
    let gateway = two_places(&openemr, json!({}));
    let mut slow = Vec::new();
    for fields in [
        "Content-Type: application/fhir+json\r\nContent-Length: 900\r\n",
        "Content-Type: application/pdf\r\nContent-Length: 900\r\n",
        "Content-Length: 70000\r\n",
        "Content-Length: 5000000\r\n",
        "Content-Type: application/fhir+json\r\nTransfer-Encoding: chunked\r\n",
        "Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let mut connection = begin(&gateway, "POST", &format!("{fields}Expect: 100-continue\r\n"));
        // It is asked for its body.
        assert_eq!(connection.read_head().status, 100, "{fields}");
        connection.write(if fields.contains("chunked") { b"384\r\n " } else { b" " });
        slow.push(connection);
    }
    others_are_served(&gateway, "six bodies do not come");
    let http2 = Http2::plain(gateway.address);
    let mut begun = Vec::new();
    for number in 0..40 {
        let length = if number % 2 == 0 { "900" } else { "70000" };
        let mut one = http2.begin("POST", "/fhir/Patient", &[("content-length", length)], false);
        http2.upload(&mut one, b" ", false);
        begun.push(one);
    }
    assert_eq!(http2.get(PATIENTS).status, 200);
    others_are_served(&gateway, "forty streams do not go on");
    assert!(slow.iter_mut().all(|connection| !connection.is_answered()));
}

#[test]
fn a_long_body_that_stops_or_trickles_is_given_up() {
    let openemr = OpenEmr::start();
    let gateway = two_places(&openemr, json!({"read_timeout": "2s", "least_rate": "64KiB"}));
    let before = openemr.state()["last_fhir_request"].clone();
    let mut stopped = begin(&gateway, "POST", "Content-Length: 200000\r\n");
    stopped.write(&[b' '; 70_000]);
    let mut trickling = begin(&gateway, "POST", "Content-Length: 200000\r\n");
    trickling.write(&[b' '; 70_000]);
    let mut sent = 0;
    while !trickling.is_answered() {
        // The gateway may have closed by then.
        let _ = trickling.try_write(b" ");
        sent += 1;
        assert!(sent < 300, "it waits for each byte anew");
        std::thread::sleep(Duration::from_millis(100));
    }
    for mut connection in [stopped, trickling] {
        let answer = connection.read("POST");
        answer.outcome(408);
        assert_eq!(answer.json()["issue"][0]["code"], "timeout");
    }
    assert_eq!(openemr.state()["last_fhir_request"], before, "neither looked whole to OpenEMR");
    others_are_served(&gateway, "two were given up");
    // One that keeps the rate goes through.
    let mut steady = begin(&gateway, "POST", "Content-Type: application/fhir+json\r\nContent-Length: 500000\r\n");
    for _ in 0..50 {
        steady.write(&[b' '; 10_000]);
        std::thread::sleep(Duration::from_millis(20));
    }
    steady.read("POST").outcome(400);
    assert_eq!(openemr.state()["last_fhir_request"]["body_length"], 500_000);
}

#[test]
fn a_get_has_no_body_for_openemr() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::with(pass_through(&openemr));
    for (method, fields, body) in [
        ("GET", "Content-Length: 0\r\n", &b""[..]),
        ("GET", "Content-Length: 26\r\n", b"_REWRITE_COMMAND=default/x"),
        ("GET", "Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        ("GET", "Transfer-Encoding: chunked\r\n", b"3\r\na=b\r\n0\r\n\r\n"),
        ("DELETE", "Content-Length: 2\r\n", b"{}"),
        ("HEAD", "Transfer-Encoding: chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
    ] {
        openemr.reset();
        let mut connection = begin(&gateway, method, fields);
        connection.write(body);
        assert_eq!(connection.read(method).status, if method == "GET" { 200 } else { 404 }, "{method} {fields}");
        assert_eq!(openemr.state()["last_fhir_request"]["body_length"], 0, "{method} {fields}");
        assert!(openemr.received("transfer-encoding").is_empty(), "{method} {fields}");
        // The connection goes on behind the body.
        connection.write(&request("GET", PATIENTS, &[], b""));
        let next = connection.read("GET");
        assert_eq!((next.status, next.end), (200, End::Whole), "{method} {fields}");
    }
    for (fields, body) in [
        ("Content-Length: 100000\r\n", vec![b' '; 100_000]),
        ("Transfer-Encoding: chunked\r\n", [b"2329\r\n".as_slice(), &[b' '; 9001], b"\r\n0\r\n\r\n"].concat()),
    ] {
        let before = openemr.count("fhir_requests");
        let mut connection = begin(&gateway, "GET", fields);
        let _ = connection.try_write(&body);
        connection.read("GET").outcome(400);
        assert_eq!(openemr.count("fhir_requests"), before);
    }
    let http2 = {
        let mut config = config(&openemr);
        config["listen"] = json!([{"h2c": true}]);
        let gateway = Gateway::with(config);
        let http2 = Http2::plain(gateway.address);
        assert_eq!(http2.send("GET", PATIENTS, &[], b"a=b").status, 200);
        let mut begun = http2.begin("GET", PATIENTS, &[], false);
        http2.upload(&mut begun, b"", true);
        http2.read(begun)
    };
    assert_eq!(http2.status, 200);
    assert!(openemr.received("transfer-encoding").is_empty());
}

#[test]
fn answers_that_nobody_reads_hold_no_place() {
    let openemr = OpenEmr::start();
    let gateway = two_places(&openemr, json!({"unread_answers": "256MiB"}));
    publish(&openemr);
    let unread: Vec<_> = (0..3).map(|_| download(&gateway)).collect();
    others_are_served(&gateway, "three answers are not read");
    let http2 = Http2::plain(gateway.address);
    // Each stream stops at its window of 64 KiB.
    let asked = || openemr.came("GET /apis/default/fhir/Binary/5000");
    let begin = |before: u64| {
        let one = http2.begin("GET", BINARY, &[], true);
        eventually("OpenEMR was asked", || (asked() == before + 1).then_some(()));
        one
    };
    let begun: Vec<_> = (3..6).map(begin).collect();
    others_are_served(&gateway, "three streams are not read");
    // Nothing of them is lost.
    for (mut connection, head) in unread {
        let mut length = 0;
        assert_eq!(connection.read_body("GET", &head, |piece| length += piece.len()), End::Whole);
        assert_eq!(length, LARGE);
    }
    for one in begun {
        let answer = http2.read(one);
        assert_eq!((answer.status, answer.end, answer.body.len()), (200, End::Whole, LARGE));
        assert!(answer.body.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8));
    }
}

#[test]
fn who_reads_nothing_of_an_answer_that_does_not_fit_is_given_up() {
    let openemr = OpenEmr::start();
    let gateway = two_places(&openemr, json!({"unread_answers": "64KiB", "write_timeout": "2s", "least_rate": "1MiB"}));
    publish(&openemr);
    let unread: Vec<_> = (0..2).map(|_| download(&gateway)).collect();
    eventually("others are served again", || (gateway.caller().get(PATIENTS).status == 200).then_some(()));
    eventually("both are given up", || (gateway.log().matches("whole=false").count() == 2).then_some(()));
    for (mut connection, head) in unread {
        assert_eq!(connection.read_body("GET", &head, |_| {}), End::Cut);
    }
    let http2 = Http2::plain(gateway.address);
    let begun: Vec<_> = (0..2).map(|_| http2.begin("GET", BINARY, &[], true)).collect();
    eventually("both are given up", || (gateway.log().matches("whole=false").count() == 4).then_some(()));
    others_are_served(&gateway, "all were given up");
    assert!(begun.into_iter().all(|one| http2.read(one).end == End::Cut));
}

#[test]
fn a_slow_reader_gets_the_whole_answer_and_keeps_nobody_waiting() {
    let openemr = OpenEmr::start();
    let gateway = two_places(
        &openemr,
        json!({"write_timeout": "1s", "read_timeout": "1s", "keepalive_timeout": "1s", "unread_answers": "256MiB"}),
    );
    publish(&openemr);
    for last in ["", "Connection: close\r\n"] {
        let mut slow = gateway.caller().connect();
        slow.write(format!("GET {BINARY} HTTP/1.1\r\nHost: gateway\r\n{last}\r\n").as_bytes());
        let head = slow.read_head();
        let (mut length, mut served) = (0, 0);
        let end = slow.read_body("GET", &head, |piece| {
            length += piece.len();
            if length / 4_000_000 > served {
                served += 1;
                others_are_served(&gateway, "one reads slowly");
            }
            std::thread::sleep(Duration::from_millis(piece.len() as u64 / 1_500));
        });
        assert_eq!((end, length), (End::Whole, LARGE), "{last}");
    }
}
