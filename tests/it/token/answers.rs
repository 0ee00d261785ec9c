//! What the token endpoint answers is understood however it is written, an error is the error that it says, and the time for
//! which the token endpoint wants to be left alone is kept.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::gateway::{Gateway, config_for};
use crate::support::raw_openemr::{RawOpenEmr, Received, patient};

const PATIENTS: &str = "/fhir/Patient/1";

/// An OpenEMR whose token endpoint gives answers that a test can change.
struct Setting {
    openemr: RawOpenEmr,
    answer: Arc<Mutex<String>>,
}

impl Setting {
    fn new(answer: String) -> Self {
        let answer = Arc::new(Mutex::new(answer));
        let given = Arc::clone(&answer);
        let openemr = RawOpenEmr::start(move |request: &Received| {
            if request.head.starts_with("POST ") { given.lock().unwrap().clone().into_bytes() } else { patient(request) }
        });
        Self { openemr, answer }
    }

    fn config(&self) -> Value {
        let mut config = config_for(&format!("http://{}", self.openemr.address));
        config["sites"]["default"]["scopes"] = json!(["system/Patient.read"]);
        config
    }

    fn exchanges(&self) -> usize {
        self.openemr.received("POST ").len()
    }
}

fn answer(status: u16, fields: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{fields}\r\n{body}")
}

fn grant(members: &str) -> String {
    answer(200, "", &format!(r#"{{{members},"access_token":"abc"}}"#))
}

#[test]
fn a_token_response_is_understood_however_it_is_written() {
    let bearer = r#""token_type":"Bearer""#;
    let read = r#""scope":"system/Patient.read""#;
    for (body, scope) in [
        (grant(&format!(r#"{bearer},{read},"expires_in":"300""#)), "system/Patient.read"),
        (grant(&format!(r#"{bearer},{read},"expires_in":300.0"#)), "system/Patient.read"),
        (grant(&format!(r#"{bearer},"expires_in":300"#)), "system/Patient.read"),
        (grant(r#""token_type":"BEARER","scope":"system/Patient.rs","expires_in":300,"jti":[{}]"#), "system/Patient.rs"),
        (
            answer(200, "", &format!("\u{feff}\n {{{bearer},{read},\"expires_in\":300,\"access_token\":\"a\"}}")),
            "system/Patient.read",
        ),
    ] {
        let setting = Setting::new(body.clone());
        let gateway = Gateway::with(setting.config());
        let token = eventually("a token", || Some(gateway.token("")).filter(|token| token.status == 200)).json();
        assert_eq!(token["scope"], scope, "{body}");
        assert!((200..=300).contains(&token["expires_in"].as_u64().unwrap()), "{body}: {token}");
        assert_eq!(gateway.caller().get(PATIENTS).status, 200, "{body}");
        assert!(!gateway.log().contains("did not grant"), "{body}: {}", gateway.log());
    }
}

#[test]
fn a_scope_that_is_not_granted_in_either_syntax_is_named() {
    let setting = Setting::new(grant(r#""token_type":"Bearer","scope":"system/Patient.r","expires_in":300"#));
    let gateway = Gateway::with(setting.config());
    gateway.logs(&["WARN", "did not grant system/Patient.read"]);
}

#[test]
fn an_error_in_a_200_is_the_error_that_it_says() {
    let body = r#"{"error":"invalid_scope","error_description":"unknown","hint":"Check the `system/Foo.read` scope"}"#;
    let setting = Setting::new(answer(200, "", body));
    let gateway = Gateway::with(setting.config());
    gateway.logs(&["ERROR", "answered 200 invalid_scope", "hint \"Check the `system/Foo.read` scope\"", "Likely cause"]);
    gateway.caller().get(PATIENTS).outcome(503);
}

#[test]
fn the_time_that_the_token_endpoint_asks_for_is_kept_and_told() {
    let error = r#"{"error":"temporarily_unavailable"}"#;
    // By the server's own clock, which is an hour behind.
    let now = SystemTime::now() - Duration::from_secs(3600);
    let [date, later] = [now, now + Duration::from_secs(120)].map(httpdate::fmt_http_date);
    for (status, fields, longest) in [
        (429, "Retry-After: 120\r\n".to_owned(), 120),
        (503, format!("Retry-After: {later}\r\nDate: {date}\r\n"), 121),
        (400, "Retry-After: 120\r\n".to_owned(), 120),
        (503, "Retry-After: 1000000\r\n".to_owned(), 300),
    ] {
        let setting = Setting::new(answer(status, &fields, error));
        let gateway = Gateway::with(setting.config());
        gateway.logs(&["no token (failure 1)", &status.to_string()]);
        let refused = gateway.caller().get(PATIENTS);
        refused.outcome(503);
        let forced = gateway.token("?force=true");
        assert_eq!(forced.status, 502, "{fields}");
        for told in [refused, forced] {
            let wait: u64 = told.field("retry-after").unwrap().parse().unwrap();
            assert!((31..=longest).contains(&wait), "{status} {fields}: {wait}");
        }
        assert_eq!(setting.exchanges(), 1, "{status} {fields}");
    }
}

#[test]
fn a_token_comes_when_the_time_is_over() {
    let setting = Setting::new(answer(429, "Retry-After: 1\r\n", r#"{"error":"slow_down"}"#));
    let gateway = Gateway::with(setting.config());
    gateway.logs(&["no token (failure 1)"]);
    *setting.answer.lock().unwrap() = grant(r#""token_type":"Bearer","expires_in":300"#);
    eventually("a token", || (gateway.caller().get(PATIENTS).status == 200).then_some(()));
}
