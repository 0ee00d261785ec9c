//! The methods that clients may use are a closed set, on every route and whatever the gateway repairs.

use serde_json::json;

use crate::support::gateway::{Gateway, config, pass_through};
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;

const ALLOW: &str = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";
const TARGETS: [&str; 8] =
    ["/fhir/Patient/1", "/fhir", "/fhir/$export", "/fhir/metadata", "/health", "/oauth/token", "/.well-known/jwks.json", "/no"];

fn refused_everywhere(gateway: &Gateway, openemr: &OpenEmr) {
    for (method, status) in [
        ("TRACE", 405),
        ("TRACK", 501),
        ("DEBUG", 501),
        ("PROPFIND", 501),
        ("SEARCH", 501),
        ("get", 501),
        ("Post", 501),
        ("X-INVENTED", 501),
    ] {
        for target in TARGETS {
            let answer = gateway.caller().send(method, target, &[], b"");
            assert_eq!(answer.status, status, "{method} {target}: {}", answer.text());
            assert_eq!(answer.field("allow"), Some(ALLOW), "{method} {target}");
            if target.starts_with("/fhir") {
                answer.outcome(status);
            }
        }
    }
    // Pingora itself refuses it, without a body.
    assert_eq!(gateway.caller().send("CONNECT", "gateway.example:443", &[], b"").status, 405);
    let http2 = Http2::plain(gateway.address);
    for (method, status) in [("TRACE", 405), ("TRACK", 501)] {
        assert_eq!(http2.send(method, "/fhir/Patient/1", &[], b"").status, status, "{method}");
    }
    // The gateway itself asks for the CapabilityStatement and for tokens.
    let state = openemr.state();
    let came: Vec<&String> = state["paths"].as_object().unwrap().keys().collect();
    assert!(came.iter().all(|came| came.starts_with("GET ") || came.starts_with("POST ")), "{came:?}");
}

#[test]
fn no_other_method_arrives_at_openemr() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["listen"] = json!([{"h2c": true}]);
    let gateway = Gateway::with(config);
    refused_everywhere(&gateway, &openemr);
    let read = gateway.caller().get("/fhir/Patient?_count=1");
    assert_eq!(read.status, 200, "{}", read.text());
}

#[test]
fn no_other_method_arrives_without_repairs() {
    let openemr = OpenEmr::start();
    let mut config = pass_through(&openemr);
    config["listen"] = json!([{"h2c": true}]);
    refused_everywhere(&Gateway::with(config), &openemr);
}

#[test]
fn no_other_method_arrives_while_the_capability_statement_is_unknown() {
    let openemr = OpenEmr::start();
    openemr.order(&json!({"fhir": {"target": "metadata", "answer": {"status": 500}}}));
    let mut config = config(&openemr);
    config["listen"] = json!([{"h2c": true}]);
    refused_everywhere(&Gateway::with(config), &openemr);
}
