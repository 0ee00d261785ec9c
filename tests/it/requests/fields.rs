//! Which header fields reach OpenEMR, and which come back from it: those that HTTP and FHIR define for the purpose, and no token.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::support::gateway::{Gateway, config, pass_through};
use crate::support::http::{Answer, request};
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

const PATIENT: &str = "/fhir/Patient?_count=1";
const JSON: (&str, &str) = ("Content-Type", "application/fhir+json");
const BUNDLE: &str = r#"{"resourceType":"Bundle","type":"searchset"}"#;

/// What no client may tell OpenEMR.
const UNWANTED: [(&str, &str); 45] = [
    ("X-Real-IP", "6.6.6.6"),
    ("Client-IP", "6.6.6.6"),
    ("X-Client-IP", "6.6.6.6"),
    ("True-Client-IP", "6.6.6.6"),
    ("CF-Connecting-IP", "6.6.6.6"),
    ("X-Cluster-Client-IP", "6.6.6.6"),
    ("X-Forwarded", "6.6.6.6"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Port", "443"),
    ("X-Forwarded-Prefix", "/x"),
    ("X-Forwarded-Server", "evil.example"),
    ("Forwarded", "for=6.6.6.6;host=evil.example"),
    ("X_Forwarded_For", "6.6.6.6"),
    ("X_Forwarded_Host", "evil.example"),
    ("Content_Type", "application/x-www-form-urlencoded"),
    ("Content_Length", "0"),
    ("Transfer_Encoding", "chunked"),
    ("X_Request_Id", "evil"),
    ("Referer", "https://emr.example/interface"),
    ("Sec-Fetch-Dest", "empty"),
    ("Sec-GPC", "1"),
    ("Sec-Whatever", "1"),
    ("Cookie", "OpenEMR=1"),
    ("Cookie2", "1"),
    ("APICSRFTOKEN", "x"),
    ("Proxy", "http://evil.example"),
    ("Proxy-Authorization", "Basic eDp5"),
    ("X-HTTP-Method", "DELETE"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-Method-Override", "DELETE"),
    ("X-Original-URL", "/admin"),
    ("X-Rewrite-URL", "/admin"),
    ("X-Original-Host", "evil.example"),
    ("X-Host", "evil.example"),
    ("Redirect-Status", "200"),
    ("Range", "bytes=0-9"),
    ("If-Range", "\"1\""),
    ("Accept-Charset", "utf-7"),
    ("Cache-Control", "no-cache"),
    ("Pragma", "no-cache"),
    ("Content-Language", "de"),
    ("Content-MD5", "x"),
    ("X-Own", "1"),
    ("PHP-AUTH-USER", "admin"),
];

/// The names of the fields of the last request at OpenEMR, in lower case and in order.
fn names_at(openemr: &OpenEmr) -> Vec<String> {
    let state = openemr.state();
    let fields = state["last_fhir_request"]["fields"].as_array().unwrap();
    let mut names: Vec<String> = fields.iter().map(|field| field[0].as_str().unwrap().to_ascii_lowercase()).collect();
    names.sort_unstable();
    names
}

#[test]
fn openemr_gets_the_fields_that_a_fhir_server_needs_and_no_others() {
    let openemr = OpenEmr::start();
    for mut config in [config(&openemr), pass_through(&openemr)] {
        config["listen"] = json!([{"h2c": true}]);
        let gateway = Gateway::with(config);
        assert_eq!(gateway.caller().send("GET", PATIENT, &UNWANTED, b"").status, 200);
        let own = ["accept", "authorization", "host", "traceparent", "via", "x-forwarded-for", "x-request-id"];
        assert_eq!(names_at(&openemr), own);
        let known = [
            ("Accept", "application/json"),
            ("Accept-Language", "de"),
            ("If-Modified-Since", "Tue, 24 Nov 2026 02:28:26 GMT"),
            ("If-None-Match", "\"1\""),
            ("Prefer", "handling=lenient"),
            ("User-Agent", "tests"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("tracestate", "a=b"),
        ];
        let fields: Vec<_> = known.into_iter().chain(UNWANTED).collect();
        assert_eq!(gateway.caller().send("GET", PATIENT, &fields, b"").status, 200);
        let mut expected: Vec<String> = own.iter().map(|name| (*name).to_owned()).collect();
        expected.extend(known.iter().map(|(name, _)| name.to_ascii_lowercase()));
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(names_at(&openemr), expected);
        // Over HTTP/2 names are in lower case, and some of these are not allowed at all.
        let lower: Vec<(String, &str)> = fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), *value)).collect();
        let lower: Vec<(&str, &str)> = lower.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(Http2::plain(gateway.address).send("GET", PATIENT, &lower, b"").status, 200);
        assert_eq!(names_at(&openemr), expected);
    }
}

#[test]
fn conditions_reach_openemr_where_they_mean_something() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
    config["sites"]["default"]["conformance"] = json!("pass_through");
    let gateway = Gateway::with(config);
    let all = [
        JSON,
        ("If-Match", "W/\"1\""),
        ("If-None-Match", "*"),
        ("If-Modified-Since", "Tue, 24 Nov 2026 02:28:26 GMT"),
        ("If-Unmodified-Since", "Tue, 24 Nov 2026 02:28:26 GMT"),
        ("If-None-Exist", "identifier=1"),
    ];
    for (method, target, expected) in [
        ("GET", "/fhir/Patient/1", &["if-modified-since", "if-none-match"][..]),
        ("POST", "/fhir/Patient", &["if-none-exist"]),
        ("PUT", "/fhir/Patient/1", &["if-match", "if-none-match", "if-unmodified-since"]),
    ] {
        let body: &[u8] = if method == "GET" { b"" } else { br#"{"resourceType":"Patient","id":"1"}"# };
        let before = openemr.count("fhir_requests");
        let answer = gateway.caller().send(method, target, &all, body);
        assert_eq!(openemr.count("fhir_requests"), before + 1, "{method}: {}", answer.text());
        let names: Vec<String> = names_at(&openemr).into_iter().filter(|name| name.starts_with("if-")).collect();
        assert_eq!(names, expected, "{method}");
    }
}

#[test]
fn fields_that_openemr_would_read_otherwise_are_refused() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    assert_eq!(gateway.caller().get(PATIENT).status, 200);
    let before = openemr.count("fhir_requests");
    let long = "x".repeat(8_001);
    for (fields, status) in [
        (&[JSON, ("Content-Type", "application/x-www-form-urlencoded")][..], 400),
        (&[("Content-Type", "application/x-www-form-urlencoded, application/fhir+json")], 400),
        (&[("Content-Type", "application/x-www-form-urlencoded application/fhir+json")], 400),
        (&[JSON, ("If-None-Exist", "a=1"), ("If-None-Exist", "a=2")], 400),
        (&[JSON, ("Content-Encoding", "gzip")], 415),
        (&[JSON, ("Content-Encoding", "identity, br")], 415),
        (&[JSON, ("User-Agent", &long)], 431),
        (&[JSON, ("Prefer", &long)], 431),
    ] {
        let words = gateway.caller().post("/fhir/Patient", fields, br#"{"resourceType":"Patient"}"#).outcome(status);
        assert!(words.starts_with("The "), "{words}");
    }
    assert_eq!(openemr.count("fhir_requests"), before);
}

/// The token in the head of a request.
fn token_in(head: &str) -> String {
    let fields = head.lines().filter_map(|line| line.split_once(": Bearer "));
    fields.filter(|(name, _)| name.eq_ignore_ascii_case("authorization")).map(|(_, token)| token.to_owned()).collect()
}

/// A server that answers each request with these field lines and this body; it hands out the heads that it got.
fn server(status: u16, fields: String, body: String) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/fhir", listener.local_addr().unwrap());
    let (heads, received) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut seen = Vec::new();
            let mut byte = [0];
            while !seen.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) > 0 {
                seen.push(byte[0]);
            }
            let head = String::from_utf8(seen).unwrap();
            // The token as the server got it, for answers that quote it.
            let token = token_in(&head);
            let (fields, body) = (fields.replace("{token}", &token), body.replace("{token}", &token));
            let answer =
                format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n{fields}\r\n{body}", body.len());
            let _ = heads.send(head);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (base, received)
}

/// A gateway whose token comes from `openemr`, and whose FHIR API is at `base`.
fn before(openemr: &OpenEmr, base: &str, mut config: Value) -> Gateway {
    let site = &mut config["sites"]["default"];
    site["fhir_base"] = json!(base);
    site["token_url"] = json!(format!("{}/oauth2/default/token", openemr.base));
    config["log"]["level"] = json!("debug");
    Gateway::with(config)
}

fn names(answer: &Answer) -> Vec<String> {
    let mut names: Vec<String> = answer.fields.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn clients_get_the_fields_that_http_and_fhir_define_and_no_others() {
    let openemr = OpenEmr::start();
    let unwanted = [
        "Server: Apache/2.4.1",
        "X-Powered-By: PHP/8.2",
        "Set-Cookie: OpenEMR=1",
        "Set-Cookie2: x",
        "Strict-Transport-Security: max-age=9",
        "Access-Control-Allow-Origin: *",
        "Access-Control-Expose-Headers: *",
        "Access-Control-Allow-Private-Network: true",
        "Refresh: 0; url=https://evil.example",
        "Clear-Site-Data: \"*\"",
        "Content-Security-Policy-Report-Only: default-src *",
        "SourceMap: /x",
        "NEL: {}",
        "Report-To: {}",
        "Alt-Svc: h2=\":1\"",
        "Service-Worker-Allowed: /",
        "Timing-Allow-Origin: *",
        "X-Debug-Token-Link: http://10.0.0.5/_profiler",
        "X-Backend-Server: emr-internal-1",
        "X-Sendfile: /etc/passwd",
        "X-Accel-Redirect: /etc/passwd",
        "Accept-Ranges: bytes",
        "X-Request-Id: openemrs",
        "Proxy-Authenticate: Basic",
        "X_Content_Type: x",
        "Content-Type: text/html",
        "WWW-Authenticate: Basic realm=x",
    ];
    let wanted = [
        "ETag: W/\"1\"",
        "Last-Modified: Tue, 24 Nov 2026 02:28:26 GMT",
        "Content-Language: en",
        "Cache-Control: no-store",
        "Expires: 0",
        "Pragma: no-cache",
        "Warning: 199 - x",
        "Preference-Applied: x",
        "X-Progress: 1 of 2",
        "Retry-After: 1",
        "Vary: Accept",
        "Allow: GET",
        "Age: 1",
    ];
    let lines = |lines: &[&str]| lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
    let fields = format!("Content-Type: application/fhir+json\r\n{}{}", lines(&unwanted), lines(&wanted));
    let (base, _heads) = server(200, fields, BUNDLE.to_owned());
    let gateway = before(&openemr, &base, pass_through(&openemr));
    let answer = gateway.caller().get(PATIENT);
    assert_eq!((answer.status, answer.text().as_str()), (200, BUNDLE));
    assert_eq!(answer.field("content-type"), Some("application/fhir+json"));
    assert_ne!(answer.field("x-request-id"), Some("openemrs"));
    let names = names(&answer);
    for line in wanted {
        let (name, value) = line.split_once(": ").unwrap();
        assert!(
            answer.fields.iter().any(|(got, is)| got.eq_ignore_ascii_case(name) && is == value),
            "{name}: {:?}",
            answer.fields
        );
    }
    for line in unwanted {
        let (name, value) = line.split_once(": ").unwrap();
        let came = answer.fields.iter().any(|(got, is)| got.eq_ignore_ascii_case(name) && is == value);
        assert!(!came, "{line}: {names:?}");
    }
}

#[test]
fn a_token_that_openemr_quotes_reaches_neither_client_nor_log() {
    let openemr = OpenEmr::start();
    let error = r#"{"error":"invalid_request","error_description":"Bearer {token} is odd","message":"{token}"}"#;
    let fields = "Content-Type: application/json\r\nLocation: https://evil.example/?t={token}\r\nWarning: 199 - \"{token}\"\r\nLink: <x>\r\n";
    for (status, body) in [(200, BUNDLE), (400, error), (404, error), (500, error), (500, "Fatal error: {token}"), (302, "")] {
        for config in [config(&openemr), pass_through(&openemr)] {
            let (base, heads) = server(status, fields.to_owned(), body.to_owned());
            let gateway = before(&openemr, &base, config);
            let mut connection = gateway.caller().connect();
            connection.write(&request("GET", "/fhir/Patient/1", &[], b""));
            let answer = connection.read("GET");
            let head = heads.iter().find(|head| head.starts_with("GET /fhir/Patient/1")).unwrap();
            let token = token_in(&head);
            assert!(token.len() > 100, "{token}");
            assert!(!answer.fields.iter().any(|(_, value)| value.contains(&token)), "{:?}", answer.fields);
            // What is passed on piece by piece is not searched.
            let is_held = status == 400 || answer.text().contains("OperationOutcome");
            assert!(!is_held || !answer.text().contains(&token), "{status}: {}", answer.text());
            gateway.access_line(answer.field("x-request-id").unwrap());
            assert!(!gateway.log().contains(&token), "{}", gateway.log());
        }
    }
}
