//! A good status with a body that is no FHIR is an error, and never begins as an answer.

use crate::support::http::{Answer, End, request};
use crate::support::http2::Http2;
use crate::support::told_openemr::{FRAMINGS, Framing, Told};
use serde_json::json;

const JSON: (&str, &str) = ("Content-Type", "application/json");
const HTML: (&str, &str) = ("Content-Type", "text/html; charset=UTF-8");
const NOTICE: &str = "<br />\n<b>Deprecated</b>:  json_decode(): Passing null is deprecated in <b>/var/www/x.php</b> on line <b>8</b><br />\n{\"id\":\"p1\",\"resourceType\":\"Patient\"}";
const PAGE: &str = "<!DOCTYPE html><html><head><title>OpenEMR Login</title></head></html>";
const ERROR: &str = r#"{"error":"An error occurred","message":"SQLSTATE in /var/www/x.php","code":0}"#;
/// A read, a search that goes on as it is, and one that is changed on its way.
const TARGETS: [&str; 3] = ["/fhir/Patient/1", "/fhir/Patient", "/fhir/Patient?name=a&_count=2"];

fn is_refused(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 502, "{what}: {}", answer.text());
    answer.outcome(502);
    for word in ["/var/www", "Deprecated", "SQLSTATE", "Login", "<b>", "127.0.0.1", "p1"] {
        assert!(!answer.text().contains(word), "{what}: {}", answer.text());
    }
}

#[test]
fn what_is_no_fhir_is_an_error_in_any_framing() {
    let told = Told::start();
    let http2 = Http2::plain(told.gateway.address);
    for (what, status, fields, body) in [
        ("a notice before the resource", 200, &[JSON][..], NOTICE),
        ("a warning in plain text", 200, &[JSON], "\nWarning: Undefined variable in /var/www/x.php on line 3\n{}"),
        ("a page as JSON", 200, &[JSON], PAGE),
        ("a page", 200, &[HTML], PAGE),
        ("a page without a type", 200, &[], PAGE),
        ("a page that is accepted", 202, &[HTML], PAGE),
        ("a page as JSON that is accepted", 202, &[JSON], PAGE),
        ("a page from a proxy", 203, &[HTML], PAGE),
        ("a page without a type from a proxy", 203, &[], PAGE),
        ("nothing", 200, &[JSON], ""),
        ("nothing without a type", 200, &[], ""),
        ("blanks", 200, &[JSON], " \r\n"),
        ("an array", 200, &[JSON], "[]"),
        ("null", 200, &[JSON], "null"),
        ("a number", 200, &[JSON], "17"),
        ("a string", 200, &[JSON], "\"p1\""),
        ("an error object", 200, &[JSON], ERROR),
        ("two error objects", 200, &[JSON], &format!("{ERROR}{ERROR}")),
        ("an error object without a type", 200, &[], ERROR),
        ("another object", 200, &[JSON], r#"{"pid":1,"uuid":"p1"}"#),
        ("a type that is none", 200, &[JSON], r#"{"resourceType":17,"id":"p1"}"#),
        ("a PDF", 200, &[("Content-Type", "application/pdf")], "%PDF-p1"),
        ("a part", 206, &[JSON], r#"{"resourceType":"Patient","id":"p1"}"#),
        ("choices", 300, &[HTML], PAGE),
        ("a proxy to use", 305, &[("Location", "http://127.0.0.1/")], PAGE),
        ("an unknown redirect", 399, &[JSON], "{}"),
        ("no status of HTTP's", 700, &[JSON], r#"{"resourceType":"Patient","id":"p1"}"#),
    ] {
        for framing in FRAMINGS {
            told.tell(status, fields, body, framing);
            for target in TARGETS {
                let what = format!("{what}, {framing:?}, {target}");
                is_refused(&told.gateway.caller().get(target), &what);
                is_refused(&http2.get(target), &format!("{what}, HTTP/2"));
            }
        }
    }
    told.tell(204, &[], "", Framing::Length);
    is_refused(&told.gateway.caller().get(TARGETS[0]), "no content");
}

#[test]
fn the_log_says_what_came_and_none_of_its_words() {
    let told = Told::start();
    for (body, cause) in [
        (NOTICE, "no JSON (a message of PHP's, or a web page)"),
        ("", "an empty body"),
        ("[]", "JSON that is no object"),
        (ERROR, "one of its error objects"),
        ("{}", "an object without resourceType"),
    ] {
        told.tell(200, &[JSON], body, Framing::Length);
        let answer = told.gateway.caller().get(TARGETS[0]);
        is_refused(&answer, body);
        let id = answer.field("x-request-id").unwrap();
        told.gateway.access_line(id);
        let log = told.gateway.log();
        assert!(log.lines().any(|line| line.contains(id) && line.contains(cause)), "{cause}: {log}");
        assert!(!log.contains("json_decode") && !log.contains("SQLSTATE"), "{log}");
    }
}

#[test]
fn a_resource_is_known_by_its_structure() {
    let told = Told::start();
    let http2 = Http2::plain(told.gateway.address);
    let link = format!("{}/Patient/1", told.base());
    let far = format!(r#"{{"text":"{}","url":"{link}","resourceType":"Patient"}}"#, "x".repeat(70_000));
    for (fields, body) in [
        (&[JSON][..], format!(r#"{{"resourceType":"Patient","url":"{link}"}}"#)),
        (
            &[JSON],
            format!(
                "\u{feff}{{ \"id\" : \"1\",\n\"meta\": {{\"tag\": [{{\"a\":\"}}]\"}}]}}, \"resourceType\" : \"Patient\", \"url\":\"{link}\" }}\n"
            ),
        ),
        (&[JSON], format!(r#"{{"resource\u0054ype":"\u0050atient","url":"{link}"}}"#)),
        (&[("Content-Type", "text/json")], format!(r#"{{"resourceType":"Patient","url":"{link}"}}"#)),
        (&[("Content-Type", "text/plain")], format!(r#"{{"resourceType":"Patient","url":"{link}"}}"#)),
        (&[], format!(r#"{{"resourceType":"Patient","url":"{link}"}}"#)),
        (&[JSON], far),
    ] {
        let expected = body.replace(&told.base(), &told.public_base());
        for framing in FRAMINGS {
            told.tell(200, fields, &body, framing);
            let mut connection = told.gateway.caller().connect();
            for _ in 0..2 {
                connection.write(&request("GET", "/fhir/Patient/1", &[], b""));
                let answer = connection.read("GET");
                assert_eq!((answer.status, answer.end), (200, End::Whole), "{framing:?}");
                assert_eq!(answer.field("content-type"), Some("application/fhir+json; charset=utf-8"), "{fields:?}");
                assert!(answer.text() == expected, "{framing:?}: {} {}", answer.text(), answer.body.len());
                let line = told.gateway.access_line(answer.field("x-request-id").unwrap());
                assert!(line.contains("status=200") && line.contains("whole=true"), "{line}");
            }
            connection.write(&request("HEAD", "/fhir/Patient/1", &[], b""));
            let head = connection.read("HEAD");
            assert_eq!((head.status, head.end), (200, End::Whole), "{framing:?}");
            let answer = http2.get("/fhir/Patient/1");
            assert_eq!((answer.status, answer.end), (200, End::Whole), "{framing:?}, HTTP/2");
            assert!(answer.text() == expected, "{framing:?}, HTTP/2");
            let mut old = told.gateway.caller().connect();
            old.write(b"GET /fhir/Patient/1 HTTP/1.0\r\nHost: gateway.example\r\n\r\n");
            let answer = old.read("GET");
            assert!(answer.status == 200 && answer.text() == expected, "{framing:?}, HTTP/1.0: {answer:?}");
            assert_eq!(answer.field("transfer-encoding"), None);
        }
    }
}

#[test]
fn a_resource_whose_type_comes_very_late_streams() {
    let told = Told::start();
    let body = format!(r#"{{"text":"{}","resourceType":"Patient"}}"#, "x".repeat(3_000_000));
    for framing in [Framing::Length, Framing::Close] {
        told.tell(200, &[JSON], &body, framing);
        let answer = told.gateway.caller().get("/fhir/Patient/1");
        assert!(answer.status == 200 && answer.text() == body, "{framing:?}: {} of {}", answer.body.len(), body.len());
    }
}

#[test]
fn a_resource_that_is_cut_short_is_an_error() {
    let told = Told::start();
    for body in ["{", r#"{"id":"p1","meta":{"#, r#"{"resourceType":"Pat"#] {
        for framing in FRAMINGS {
            told.tell(200, &[JSON], body, framing);
            is_refused(&told.gateway.caller().get("/fhir/Patient/1"), body);
        }
    }
}

#[test]
fn what_openemr_answers_to_a_write_is_due() {
    let told = Told::start();
    let resource = br#"{"resourceType":"Patient","id":"1"}"#;
    let fields = [("Content-Type", "application/fhir+json")];
    for (status, body) in [(200, NOTICE), (200, ERROR), (200, PAGE), (202, PAGE), (200, "[]"), (200, "")] {
        told.tell(status, &[JSON], body, Framing::Chunks);
        is_refused(&told.gateway.caller().send("PUT", "/fhir/Patient/1", &fields, resource), body);
        if status == 200 {
            is_refused(&told.gateway.caller().post("/fhir/Patient", &fields, resource), &format!("create {body}"));
        }
    }
    told.tell(200, &[JSON], r#"{"id":"1","resourceType":"Patient"}"#, Framing::Chunks);
    let updated = told.gateway.caller().send("PUT", "/fhir/Patient/1", &fields, resource);
    assert_eq!((updated.status, updated.json()["id"].clone()), (200, json!("1")));
}

#[test]
fn without_repairs_the_bytes_pass() {
    let told = Told::with(|site| {
        site["conformance"] = json!("pass_through");
        site["paging"] = json!("off");
    });
    for body in [NOTICE, "[]", ERROR, "null"] {
        for framing in FRAMINGS {
            told.tell(200, &[JSON], body, framing);
            let answer = told.gateway.caller().get("/fhir/Patient/1");
            assert_eq!((answer.status, answer.text().as_str()), (200, body), "{framing:?}");
        }
    }
}

#[test]
fn a_redirect_names_its_likely_cause() {
    let told = Told::start();
    let address = told.raw.address;
    for (location, cause) in [
        (format!("https://{address}/fhir/Patient/1"), "https"),
        ("https://emr.example.org/fhir/Patient/1".to_owned(), "another name"),
        (format!("http://{address}/openemr/interface/login"), "sub-folder"),
    ] {
        told.tell(302, &[("Location", &location), HTML], PAGE, Framing::Length);
        let answer = told.gateway.caller().get("/fhir/Patient/1");
        is_refused(&answer, &location);
        let id = answer.field("x-request-id").unwrap();
        told.gateway.access_line(id);
        let log = told.gateway.log();
        let line = log.lines().find(|line| line.contains(id) && line.contains("redirects")).unwrap_or_else(|| panic!("{log}"));
        assert!(line.contains(cause), "{cause}: {line}");
    }
}

#[test]
fn a_503_always_says_when_to_come_back() {
    let told = Told::start();
    let ping = r#"Check that you can ping the server 10.1.2.3.<p>{"error":"An error occurred","message":"Call to a member function prepare() on bool","code":0}"#;
    for (status, fields, body, expected) in
        [(503, &[HTML][..], "<h1>down</h1>", "5"), (503, &[HTML, ("Retry-After", "120")], "", "120"), (500, &[JSON], ping, "5")]
    {
        for framing in FRAMINGS {
            told.tell(status, fields, body, framing);
            for target in TARGETS {
                let answer = told.gateway.caller().get(target);
                answer.outcome(503);
                assert_eq!(answer.field("retry-after"), Some(expected), "{body}");
                assert!(!answer.text().contains("10.1.2.3") && !answer.text().contains("ping"), "{}", answer.text());
            }
        }
    }
    // 7.0.3 says nothing.
    told.tell(500, &[HTML], "", Framing::Length);
    told.gateway.caller().get("/fhir/Patient/1").outcome(500);
}
