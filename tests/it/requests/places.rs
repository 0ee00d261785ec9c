//! No client keeps OpenEMR from the others: not by a body that does not come, not by an answer that it does not read.

use std::time::Duration;

use crate::support::gateway::{Gateway, config, pass_through};
use crate::support::http::{Connection, End, request};
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

const PATIENTS: &str = "/fhir/Patient?_count=1";

/// A gateway with two places in flight, and one in the queue.
fn two_places(openemr: &OpenEmr, limits: Value) -> Gateway {
    let mut config = config(openemr);
    config["listen"] = json!([{"h2c": true}]);
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
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
