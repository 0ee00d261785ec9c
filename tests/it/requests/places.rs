//! No client keeps OpenEMR from the others: not by a body that does not come, not by an answer that it does not read.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::support::eventually;
use crate::support::gateway::{Certificate, Gateway, config, pass_through};
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
        "Content-Type: application/json\r\nContent-Length: 900\r\n",
        "Content-Length: 70000\r\n",
        "Content-Length: 5000000\r\n",
        "Content-Type: application/fhir+json\r\nTransfer-Encoding: chunked\r\n",
        "Content-Type: text/json\r\nTransfer-Encoding: chunked\r\n",
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

/// Another address of this machine.
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

#[test]
fn one_address_and_one_connection_leave_places_to_others() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["listen"] = json!([{"h2c": true}]);
    config["sites"]["default"]["in_flight"] = json!({"most": 4, "queue": 8, "queue_timeout": "60s", "queue_target": "60s"});
    let gateway = Gateway::with(config);
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    const GREEDY: &str = "/fhir/Patient?_count=1&_id=occupy";
    for http2 in [false, true] {
        openemr.reset();
        openemr.order(&json!({"fhir": {"target": "occupy", "delay_ms": 12_000}}));
        let greedy = gateway.caller();
        let mut connections = Vec::new();
        let streams = http2.then(|| {
            let connection = Http2::plain(gateway.address);
            let begun: Vec<_> = (0..12).map(|_| connection.begin("GET", GREEDY, &[], true)).collect();
            (connection, begun)
        });
        if !http2 {
            for _ in 0..12 {
                let mut connection = greedy.connect();
                connection.write(&request("GET", GREEDY, &[], b""));
                connections.push(connection);
            }
        }
        eventually("three are at OpenEMR", || (openemr.count("fhir_requests") >= 3).then_some(()));
        for _ in 0..5 {
            let mut other = greedy.connect_from(OTHER);
            other.write(&request("GET", PATIENTS, &[], b""));
            assert_eq!(other.read("GET").status, 200);
        }
        let statuses: Vec<u16> = match streams {
            Some((connection, begun)) => begun.into_iter().map(|one| connection.read(one).status).collect(),
            None => connections.iter_mut().map(|connection| connection.read("GET").status).collect(),
        };
        let served = statuses.iter().filter(|status| **status == 200).count();
        assert_eq!((served, statuses.len() - served), (9, 3), "three at once, six wait: {statuses:?}");
    }
}

#[test]
fn connections_have_a_ceiling_for_all_and_for_one_address() {
    let openemr = OpenEmr::start();
    let certificate = Certificate::make();
    for tls in [false, true] {
        let mut config = config(&openemr);
        config["limits"] = json!({"connections": 8, "connections_per_address": 4});
        if tls {
            config["listen"] = json!([{"tls": certificate.tls()}]);
        }
        let gateway = Gateway::with(config);
        // Half-open heads; with TLS, handshakes that do not begin.
        let open = |last: u8, count: usize| -> Vec<Connection> {
            let one = |_| {
                let mut connection = gateway.caller().connect_from(IpAddr::from([127, 0, 0, last]));
                let _ = connection.try_write(if tls { b"" } else { b"GET /hea" });
                connection
            };
            (0..count).map(one).collect()
        };
        fn closed(connections: &mut [Connection]) -> usize {
            connections.iter_mut().map(|connection| usize::from(connection.is_answered())).sum()
        }
        let health = || {
            let mut own = if tls { gateway.caller().connect_tls(&certificate.certificate) } else { gateway.caller().connect() };
            // Without a place it is closed.
            own.try_write(&request("GET", "/health", &[], b"")).ok()?;
            own.is_alive().unwrap_or(false).then(|| own.read("GET").status)
        };
        let mut held = open(2, 12);
        eventually("all but four are closed", || (closed(&mut held) == 8).then_some(()));
        gateway.logs(&["WARN", "connections refused", "limits.connections_per_address: 4"]);
        assert_eq!(health(), Some(200));
        let mut more = open(3, 4);
        more.extend(open(4, 4));
        eventually("there are eight at most", || (closed(&mut more) >= 4).then_some(()));
        assert_eq!(closed(&mut held), 8, "those before stay");
        // Places come back, also those of connections that never became one.
        drop((held, more));
        eventually("there is room again", || {
            let mut again = open(2, 4);
            (health() == Some(200) && closed(&mut again) == 0).then_some(())
        });
    }
}

#[test]
fn half_open_heads_at_128_files_shut_nobody_out() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::within(&["/bin/sh", "-c", "ulimit -n 128; exec \"$@\"", "sh"], config(&openemr));
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    let held: Vec<Connection> = (0..200)
        .map(|_| {
            let mut connection = gateway.caller().connect_from(OTHER);
            let _ = connection.try_write(b"GET /fhir/Pat");
            connection
        })
        .collect();
    gateway.logs(&["WARN", "connections refused"]);
    for _ in 0..10 {
        assert_eq!(gateway.caller().get("/health").status, 200);
        assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    }
    assert!(!gateway.log().contains("Too many open files"), "{}", gateway.log());
    drop(held);
}
