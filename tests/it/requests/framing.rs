//! The framing of HTTP/1 requests: what two readers could read in two ways is refused, with an answer, before OpenEMR sees
//! anything of it; and a head that does not come has an end.

use crate::support::gateway::{Certificate, Gateway, config};
use crate::support::http::{Connection, request};
use crate::support::openemr::OpenEmr;
use serde_json::json;

const GOOD: &str = "GET /fhir/Patient?_count=1 HTTP/1.1\r\nHost: gateway.example\r\n\r\n";

/// How the bytes of a request are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Whole,
    ByteByByte,
    BehindAGoodOne,
    OverTls,
}

fn get(more: &str) -> String {
    format!("GET /fhir/Patient HTTP/1.1\r\nHost: gateway.example\r\n{more}\r\n")
}

fn post(more: &str, body: &str) -> String {
    format!("POST /fhir/Patient HTTP/1.1\r\nHost: gateway.example\r\nContent-Type: application/fhir+json\r\n{more}\r\n{body}")
}

fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}

/// The spellings, and the status of the answer to each.
fn refused() -> Vec<(u16, String)> {
    let line = |line: &str| format!("{line}\r\nHost: gateway.example\r\n\r\n");
    let mut all = Vec::new();
    for first in [
        "GET /fhir/Patient",
        "GET",
        "GET  /fhir/Patient HTTP/1.1",
        "GET /fhir/Patient  HTTP/1.1",
        "GET /fhir/Patient HTTP/1.1 ",
        "GET /fhir/Pat ient HTTP/1.1",
        "GET\t/fhir/Patient\tHTTP/1.1",
        "GET /fhir/Patient http/1.1",
        "GET /fhir/Patient HTTP/1.1.1",
        "GET /fhir/Patient\0 HTTP/1.1",
        "GET /fhir/Pati\u{e9}nt HTTP/1.1",
        "GE{T /fhir/Patient HTTP/1.1",
        "GET fhir/Patient HTTP/1.1",
        "GET http://user@gateway.example/fhir/Patient HTTP/1.1",
        "GET http://other.example/fhir/Patient HTTP/1.1",
        "GET http:/\\gateway.example/fhir/Patient HTTP/1.1",
    ] {
        all.push((400, line(first)));
    }
    all.push((505, line("GET /fhir/Patient HTTP/2.0")));
    all.push((505, line("GET /fhir/Patient HTTP/0.9")));
    all.push((505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()));
    all.push((405, line("CONNECT gateway.example:443 HTTP/1.1")));
    for more in [
        "Host: gateway.example\r\n",
        "X: a\r\n b\r\n",
        "X : a\r\n",
        "X\t: a\r\n",
        ": a\r\n",
        "no colon\r\n",
        "X(Y): a\r\n",
        "X: a\rb\r\n",
        "X: a\nY: b\r\n",
        "X: a\0\r\n",
        "X: \x0b\r\n",
        "Content-Length : 0\r\n",
    ] {
        all.push((400, get(more)));
    }
    all.push((400, "GET /fhir/Patient HTTP/1.1\nHost: gateway.example\n\n".to_owned()));
    for length in
        ["5\r\nContent-Length: 5", "5\r\nContent-Length: 6", "5, 5", "+5", "-1", "5x", "0x5", "", "1e3", "9223372036854775808"]
    {
        all.push((400, post(&format!("Content-Length: {length}\r\n"), "")));
    }
    all.push((400, post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")));
    all.push((400, post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n")));
    all.push((400, post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")));
    all.push((400, "POST /fhir/Patient HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned()));
    for coding in ["gzip, chunked", "chunked, chunked", "identity", "xchunked", "chunked;q=1", "\"chunked\"", ""] {
        all.push((501, post(&format!("Transfer-Encoding: {coding}\r\n"), "0\r\n\r\n")));
    }
    for body in [
        "\r\n0\r\n\r\n",
        ";5\r\nabcde\r\n0\r\n\r\n",
        "5 \r\nabcde\r\n0\r\n\r\n",
        " 5\r\nabcde\r\n0\r\n\r\n",
        "5\nabcde\r\n0\r\n\r\n",
        "5;\r\nabcde\r\n0\r\n\r\n",
        "5;a\nb\r\nabcde\r\n0\r\n\r\n",
        "5\r\nabcdefg\r\n0\r\n\r\n",
        "5\r\nabcde0\r\n\r\n",
        "0x5\r\nabcde\r\n0\r\n\r\n",
        "-5\r\nabcde\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabcde\r\n0\r\n\r\n",
        "0\n\r\n",
        "0\r\nX: a\r\n\r\n",
    ] {
        all.push((400, chunked(body)));
    }
    all
}

fn send(gateway: &Gateway, certificate: &Certificate, way: Way, bytes: &[u8]) -> Connection {
    let caller = gateway.caller();
    let mut connection = if way == Way::OverTls { caller.connect_tls(&certificate.certificate) } else { caller.connect() };
    match way {
        Way::Whole | Way::OverTls => connection.write(bytes),
        Way::ByteByByte => {
            for byte in bytes {
                // The answer can be there before the last byte.
                if connection.is_answered() || connection.try_write(&[*byte]).is_err() {
                    break;
                }
            }
        }
        Way::BehindAGoodOne => {
            connection.write(&[GOOD.as_bytes(), bytes].concat());
            assert_eq!(connection.read("GET").status, 200, "{}", bytes.escape_ascii());
        }
    }
    connection
}

#[test]
fn an_ambiguous_request_is_refused_with_an_answer_and_openemr_sees_nothing_of_it() {
    let openemr = OpenEmr::start();
    let certificate = Certificate::make();
    let plain = Gateway::start(&openemr);
    let mut secure = config(&openemr);
    secure["listen"] = json!([{"tls": certificate.tls()}]);
    let secure = Gateway::with(secure);
    for way in [Way::Whole, Way::ByteByByte, Way::BehindAGoodOne, Way::OverTls] {
        let gateway = if way == Way::OverTls { &secure } else { &plain };
        for (status, bytes) in refused() {
            let before = openemr.count("fhir_requests");
            let mut connection = send(gateway, &certificate, way, bytes.as_bytes());
            let answer = connection.read("GET");
            assert_eq!(answer.status, status, "{way:?} {bytes:?}: {}", answer.text());
            answer.outcome(status);
            assert_eq!(answer.field("connection"), Some("close"), "{way:?} {bytes:?}");
            assert_eq!(answer.field("server"), None);
            assert!(connection.closes(), "{way:?} {bytes:?}");
            gateway.access_line(answer.field("x-request-id").unwrap());
            let seen = openemr.count("fhir_requests") - before;
            assert_eq!(seen, u64::from(way == Way::BehindAGoodOne), "{way:?} {bytes:?}");
        }
        let answer = gateway.caller().connect().is_answered();
        assert!(!answer, "a fresh connection waits");
    }
    assert_eq!(plain.caller().get("/fhir/Patient?_count=1").status, 200);
}

#[test]
fn what_is_not_http_is_closed_without_a_word() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    for bytes in
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"\0\0\0\0", b"{}\r\n\r\n", b"\n\n", b" GET / HTTP/1.1\r\n\r\n"]
    {
        let mut connection = gateway.caller().connect();
        connection.write(bytes);
        assert!(connection.closes(), "{}", bytes.escape_ascii());
    }
    assert_eq!(gateway.caller().get("/health").status, 200);
}

#[test]
fn strange_but_unambiguous_requests_are_served() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let form = |framing: &str, body: &str| {
        let head =
            "POST /fhir/Patient/_search HTTP/1.1\r\nHost: gateway.example\r\nContent-Type: application/x-www-form-urlencoded\r\n";
        format!("{head}{framing}\r\n{body}")
    };
    for bytes in [
        format!("\r\n{GOOD}"),
        "GET /fhir/Patient?_count=1 HTTP/1.1\r\nhost:gateway.example\r\nX-Empty:\r\nX-Tab:\ta\t\r\nX-Latin: \u{e9}\r\n\r\n"
            .to_owned(),
        "GET http://gateway.example/fhir/Patient?_count=1 HTTP/1.1\r\nHost: gateway.example\r\n\r\n".to_owned(),
        form("content-length:   8 \r\n", "_count=1"),
        form("Transfer-Encoding: Chunked\r\n", "008;ext=\"a;b\"\r\n_count=1\r\n00\r\n\r\n"),
        form("Transfer-Encoding: chunked\r\n", "3;a;b\r\n_co\r\n5\r\nunt=1\r\n0\r\n\r\n"),
    ] {
        for pieces in [1, bytes.len()] {
            let mut connection = gateway.caller().connect();
            for piece in bytes.as_bytes().chunks(bytes.len() / pieces) {
                connection.write(piece);
            }
            // Two of them, and the connection goes on.
            for _ in 0..2 {
                assert_eq!(connection.read("GET").status, 200, "{bytes:?}");
                connection.write(bytes.as_bytes());
            }
        }
    }
}

#[test]
fn many_requests_in_one_write_are_answered_in_order() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let mut connection = gateway.caller().connect();
    let mut bytes = Vec::new();
    for nth in 0..30 {
        match nth % 3 {
            0 => bytes.extend(request("GET", "/health", &[], b"")),
            1 => bytes.extend(request("POST", "/oauth/token", &[], b"some body")),
            _ => {
                let framing = ("Transfer-Encoding", "chunked");
                let form = ("Content-Type", "application/x-www-form-urlencoded");
                let head = request("POST", "/fhir/Patient/_search", &[form, framing], b"");
                let head = String::from_utf8(head).unwrap().replace("Content-Length: 0\r\n", "");
                bytes.extend_from_slice(format!("{head}8\r\n_count=1\r\n0\r\n\r\n").as_bytes());
            }
        }
    }
    bytes.extend(request("GET", "/nowhere", &[("Connection", "close")], b""));
    for piece in bytes.chunks(7) {
        connection.write(piece);
    }
    for nth in 0..30 {
        let answer = connection.read("GET");
        assert_eq!(answer.status, 200, "{nth}: {}", answer.text());
    }
    assert_eq!(connection.read("GET").status, 404);
    assert!(connection.closes());
}

#[test]
fn the_head_of_a_request_has_a_deadline_and_a_size() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["limits"] =
        json!({"head_timeout": "500ms", "request_head": "8KiB", "request_target": "4KiB", "keepalive_timeout": "60s"});
    let gateway = Gateway::with(config);
    // Bytes that come one at a time do not move the deadline, at the beginning or between requests.
    for begins_with_a_good_one in [false, true] {
        let mut connection = gateway.caller().connect();
        if begins_with_a_good_one {
            connection.write(GOOD.as_bytes());
            assert_eq!(connection.read("GET").status, 200);
        }
        connection.write(b"GET /fhir/Patient HTTP/1.1\r\nX: ");
        while !connection.is_answered() {
            if connection.try_write(b"x").is_err() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let answer = connection.read("GET");
        assert!(answer.outcome(408).contains("in time"));
        assert!(connection.closes());
        gateway.access_line(answer.field("x-request-id").unwrap());
    }
    // Nothing at all.
    assert!(gateway.caller().connect().closes());
    // One that has had an answer may wait longer for its next request.
    let mut waiting = gateway.caller().connect();
    waiting.write(GOOD.as_bytes());
    assert_eq!(waiting.read("GET").status, 200);
    let mut dead = gateway.caller().connect();
    dead.write(b"GET /");
    assert_eq!(dead.read("GET").status, 408);
    waiting.write(GOOD.as_bytes());
    assert_eq!(waiting.read("GET").status, 200);

    for (status, bytes) in [
        (414, format!("GET /fhir/Patient?{} HTTP/1.1\r\n", "x".repeat(50_000))),
        (414, format!("GET /fhir/Patient?{}", "x".repeat(50_000))),
        (431, get(&format!("X: {}\r\n", "x".repeat(50_000)))),
        (431, get(&"X: y\r\n".repeat(5_000))),
        (431, get(&"X: y\r\n".repeat(300))),
        (431, get(&"X: y\r\n".repeat(200))),
    ] {
        let mut connection = gateway.caller().connect();
        // The answer comes before the last of it.
        let _ = connection.try_write(bytes.as_bytes());
        connection.read("GET").outcome(status);
    }
    assert_eq!(gateway.caller().get("/fhir/Patient?_count=1").status, 200);
}
