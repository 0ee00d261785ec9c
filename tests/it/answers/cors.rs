//! Cross-origin requests of web pages: the gateway decides what they may send and read, without asking OpenEMR.

use crate::support::gateway::{Gateway, config};
use crate::support::http::Answer;
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

const PATIENTS: &str = "/fhir/Patient?_count=5";
const APP: &str = "https://app.example.org";
const EVIL: &str = "https://evil.example";

fn with_cors(openemr: &OpenEmr, cors: Value) -> Gateway {
    let mut config = config(openemr);
    config["sites"]["default"]["cors"] = cors;
    config["listen"] = json!([{"h2c": true}]);
    Gateway::with(config)
}

fn cors_fields(answer: &Answer) -> Vec<String> {
    let names = answer.fields.iter().map(|(name, _)| name.to_ascii_lowercase());
    names.filter(|name| name.starts_with("access-control-")).collect()
}

fn preflight(gateway: &Gateway, target: &str, origin: &str, more: &[(&str, &str)]) -> Answer {
    let mut fields = vec![("Origin", origin), ("Access-Control-Request-Method", "PUT")];
    fields.extend(more);
    gateway.caller().send("OPTIONS", target, &fields, b"")
}

#[test]
fn a_preflight_is_answered_here_even_when_openemr_is_out() {
    let openemr = OpenEmr::start();
    let gateway = with_cors(&openemr, json!({"origins": [APP], "credentials": true, "max_age": "5m"}));
    openemr.order(&json!({"listener": "down"}));
    openemr.order(&json!({"revoke_tokens": "by_admin"}));
    let before = openemr.count("fhir_requests");
    let leave = preflight(&gateway, "/fhir/Patient/1", APP, &[("Access-Control-Request-Headers", "if-match, content-type")]);
    assert_eq!((leave.status, leave.body.len()), (204, 0));
    assert_eq!((leave.field("content-length"), leave.field("content-type")), (None, None));
    assert_eq!(leave.field("access-control-allow-origin"), Some(APP));
    assert_eq!(leave.field("access-control-allow-credentials"), Some("true"));
    assert_eq!(leave.field("access-control-max-age"), Some("300"));
    assert!(leave.field("access-control-allow-methods").unwrap().contains("PUT"));
    let allowed = leave.field("access-control-allow-headers").unwrap();
    assert!(["If-Match", "Content-Type", "Prefer", "If-None-Exist"].iter().all(|name| allowed.contains(name)), "{allowed}");
    let vary = leave.field("vary").unwrap();
    assert!(vary.contains("Origin") && vary.contains("Access-Control-Request-Method"), "{vary}");
    assert!(leave.field("x-request-id").is_some());

    for origin in [EVIL, "null", "https://app.example.org.evil.example", "http://app.example.org"] {
        let none = preflight(&gateway, "/fhir/Patient/1", origin, &[]);
        assert_eq!((none.status, cors_fields(&none)), (204, vec![]), "{origin}");
        assert!(none.field("vary").unwrap().contains("Origin"));
    }
    assert_eq!(openemr.count("fhir_requests"), before);
    let http2 = Http2::plain(gateway.address);
    let fields = [("origin", APP), ("access-control-request-method", "GET")];
    assert_eq!(http2.send("OPTIONS", PATIENTS, &fields, b"").field("access-control-allow-origin"), Some(APP));
}

#[test]
fn answers_say_who_may_see_them_and_openemr_has_no_say() {
    let openemr = OpenEmr::start();
    let gateway = with_cors(&openemr, json!({"origins": [APP]}));
    let ask = |target: &str, origin: &str| gateway.caller().send("GET", target, &[("Origin", origin)], b"");
    let seen = ask(PATIENTS, APP);
    assert_eq!((seen.status, seen.field("access-control-allow-origin")), (200, Some(APP)));
    assert_eq!(seen.field("access-control-allow-credentials"), None);
    let exposed = seen.field("access-control-expose-headers").unwrap();
    for name in ["ETag", "Location", "Content-Location", "X-Request-Id", "Retry-After", "RateLimit-Policy", "X-Progress", "Link"]
    {
        assert!(exposed.contains(name), "{exposed}");
    }
    assert!(openemr.received("origin").is_empty());
    let unseen = ask(PATIENTS, EVIL);
    assert_eq!((unseen.status, cors_fields(&unseen)), (200, vec![]));
    for answer in [&seen, &unseen, &gateway.caller().get(PATIENTS)] {
        let vary: Vec<_> = answer.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("vary")).collect();
        assert!(vary.iter().any(|(_, value)| value == "Origin"), "{vary:?}");
    }
    // The gateway's own errors and OpenEMR's, or a page could not tell them from a broken network.
    assert_eq!(ask("/fhir/Patient?birthdate=yesterday", APP).field("access-control-allow-origin"), Some(APP));
    assert_eq!(ask("/fhir/Patient/nobody", APP).field("access-control-allow-origin"), Some(APP));
    let body = r#"{"validationErrors":{"name":"too short"}}"#;
    openemr.order(&json!({"fhir": {"answer": {"status": 400, "body": body}}}));
    let refused = ask(PATIENTS, APP);
    assert_eq!((refused.status, refused.field("access-control-allow-origin")), (400, Some(APP)));
    // Local routes are for programs.
    assert!(cors_fields(&ask("/health", APP)).is_empty());
    assert!(cors_fields(&ask("/.well-known/jwks.json", APP)).is_empty());
}

#[test]
fn any_origin_may_read_without_credentials() {
    let openemr = OpenEmr::start();
    let gateway = with_cors(&openemr, json!({"origins": "*"}));
    let answer = gateway.caller().send("GET", PATIENTS, &[("Origin", EVIL)], b"");
    assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.field("access-control-allow-credentials"), None);
    let private = [("Access-Control-Request-Private-Network", "true")];
    let leave = preflight(&gateway, PATIENTS, EVIL, &private);
    assert_eq!(leave.field("access-control-allow-origin"), Some("*"));
    assert_eq!(leave.field("access-control-allow-private-network"), None, "the internet is not let in");
    let named = with_cors(&openemr, json!({"origins": [APP]}));
    let leave = preflight(&named, PATIENTS, APP, &private);
    assert_eq!(leave.field("access-control-allow-private-network"), Some("true"));
    assert_eq!(preflight(&named, PATIENTS, EVIL, &private).field("access-control-allow-private-network"), None);
}

#[test]
fn without_rules_there_is_no_leave_for_anybody() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let answer = gateway.caller().send("GET", PATIENTS, &[("Origin", APP)], b"");
    assert_eq!((answer.status, cors_fields(&answer), answer.field("access-control-allow-origin")), (200, vec![], None));
    let before = openemr.count("fhir_requests");
    for fields in [vec![], vec![("Origin", APP)], vec![("Origin", APP), ("Access-Control-Request-Method", "GET")]] {
        let options = gateway.caller().send("OPTIONS", "/fhir/Patient", &fields, b"");
        assert_eq!((options.status, cors_fields(&options)), (204, vec![]));
        assert!(options.field("allow").unwrap().contains("GET"));
    }
    assert_eq!(openemr.count("fhir_requests"), before);
}

#[test]
fn no_page_writes_without_leave() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
    let gateway = Gateway::with(config.clone());
    let patient = json!({
        "resourceType": "Patient", "name": [{"use": "official", "family": "Sample", "given": ["Ada"]}],
        "gender": "female", "birthDate": "1984-02-29",
    });
    let patient = patient.to_string();
    let send = |gateway: &Gateway, media_type: &'static str, fields: &[(&'static str, &'static str)]| {
        let mut all = vec![("Content-Type", media_type)];
        all.extend(fields);
        gateway.caller().post("/fhir/Patient", &all, patient.as_bytes())
    };
    let post = |gateway: &Gateway, fields| send(gateway, "application/fhir+json", fields);
    let before = openemr.count("fhir_requests");
    // The first is what a form of any page can send: no preflight is asked for.
    for media_type in ["text/plain", "application/fhir+json"] {
        for field in [("Origin", EVIL), ("Origin", "null"), ("Sec-Fetch-Site", "cross-site")] {
            send(&gateway, media_type, &[field]).outcome(403);
        }
    }
    send(&gateway, "text/plain", &[]).outcome(415);
    let forced = gateway.caller().post("/oauth/token?force=true", &[("Origin", EVIL)], b"");
    assert_eq!(forced.status, 403);
    assert_eq!((openemr.count("fhir_requests"), openemr.count("token_requests")), (before, 1));
    // Programs, and pages of the gateway's own origin.
    assert_eq!(post(&gateway, &[]).status, 201);
    assert_eq!(post(&gateway, &[("Origin", "http://gateway.example")]).status, 201);
    assert_eq!(post(&gateway, &[("Origin", "https://behind.example"), ("Sec-Fetch-Site", "same-origin")]).status, 201);
    config["sites"]["default"]["cors"] = json!({"origins": [APP]});
    let gateway = Gateway::with(config);
    let created = post(&gateway, &[("Origin", APP)]);
    assert_eq!((created.status, created.field("access-control-allow-origin")), (201, Some(APP)));
    post(&gateway, &[("Origin", EVIL)]).outcome(403);
}

#[test]
fn who_may_not_call_gets_no_leave_either() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["sites"]["default"]["cors"] = json!({"origins": "*"});
    config["access"] = json!({"allow_from": ["192.0.2.1"]});
    let gateway = Gateway::with(config);
    assert_eq!(preflight(&gateway, PATIENTS, APP, &[]).status, 403);
}

#[test]
fn rules_change_with_a_reload() {
    let openemr = OpenEmr::start();
    let gateway = with_cors(&openemr, json!({"origins": [APP]}));
    let ask = || gateway.caller().send("GET", PATIENTS, &[("Origin", EVIL)], b"");
    assert_eq!(ask().field("access-control-allow-origin"), None);
    let mut config = gateway.config.clone();
    config["sites"]["default"]["cors"]["origins"] = json!([APP, EVIL]);
    assert!(gateway.reload(&config).contains("is in force"));
    assert_eq!(ask().field("access-control-allow-origin"), Some(EVIL));
}
