//! The CapabilityStatement and the SMART configuration are answered from memory and name the gateway.

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::gateway::{Gateway, config};
use crate::support::http::{Answer, End};
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;
use crate::support::{eventually, http};
use serde_json::{Value, json};

const METADATA: &str = "/fhir/metadata";
const SMART: &str = "/fhir/.well-known/smart-configuration";

fn fetches(openemr: &OpenEmr) -> u64 {
    openemr.came("GET /apis/default/fhir/metadata")
}

fn with(openemr: &OpenEmr, change: impl FnOnce(&mut Value)) -> Gateway {
    let mut config = config(openemr);
    change(&mut config);
    Gateway::with(config)
}

fn statement(answer: &Answer) -> Value {
    assert_eq!((answer.status, answer.end), (200, End::Whole), "{}", answer.text());
    let statement = answer.json();
    assert_eq!(statement["resourceType"], "CapabilityStatement");
    statement
}

#[test]
fn callers_meet_the_gateway_and_nobody_is_sent_to_openemr() {
    for version in ["8.0", "7.0.3"] {
        let openemr = OpenEmr::with(&["--openemr", version, "--site-address", "https://emr.example.org/openemr"]);
        let gateway = with(&openemr, |config| {
            config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.$export"]);
            config["sites"]["default"]["token_audience"] = json!("https://emr.example.org/openemr/oauth2/default/token");
        });
        let answer = gateway.caller().get(METADATA);
        let said = statement(&answer);
        assert_eq!(said["implementation"]["url"], "http://gateway.example/fhir", "{version}");
        for internal in ["emr.example.org", &openemr.address.to_string(), "oauth-uris", "SMART-on-FHIR"] {
            assert!(!answer.text().contains(internal), "{version}: {internal}");
        }
        let rest = &said["rest"][0];
        assert_eq!(rest["security"]["cors"], false);
        assert!(rest["security"]["description"].as_str().unwrap().contains("no credentials"));
        assert_eq!(said["format"], json!(["application/fhir+json", "json"]));
        let patient = rest["resource"].as_array().unwrap().iter().find(|one| one["type"] == "Patient").unwrap();
        let has_export =
            |operations: &Value| operations.as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "export"));
        assert!(has_export(&patient["operation"]) && !has_export(&rest["operation"]), "{version}: {patient}");
        assert!(patient["searchParam"].as_array().unwrap().len() > 3);
        assert_eq!(answer.field("content-type"), Some("application/fhir+json; charset=utf-8"));
        assert!(answer.field("x-request-id").is_some());

        let smart = gateway.caller().get(SMART);
        assert_eq!((smart.status, smart.field("content-type")), (200, Some("application/json")));
        assert_eq!(smart.json()["capabilities"], json!([]));
        assert!(!smart.text().contains("http") && !smart.text().contains("endpoint"), "{}", smart.text());
        assert_eq!(smart.field("etag").map(str::len), Some(34));
    }
}

#[test]
fn one_fetch_serves_everybody() {
    let openemr = OpenEmr::start();
    openemr.order(&json!({"fhir": {"target": "/metadata", "delay_ms": 3_000}}));
    let gateway = Gateway::start(&openemr);
    let before = fetches(&openemr);
    thread::scope(|scope| {
        // A client that hangs up does not take it from the others.
        gateway.caller().connect().write(&http::request("GET", METADATA, &[], b""));
        for _ in 0..10 {
            scope.spawn(|| statement(&gateway.caller().get(METADATA)));
        }
    });
    assert_eq!(fetches(&openemr) - before, 1);
    for _ in 0..5 {
        statement(&gateway.caller().get(METADATA));
    }
    assert_eq!(fetches(&openemr) - before, 1);
    assert!(!openemr.state()["paths"].to_string().contains("smart-configuration"));
}

#[test]
fn validators_heads_and_compression() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let ask = |method: &str, fields: &[(&str, &str)]| gateway.caller().send(method, METADATA, fields, b"");
    let whole = ask("GET", &[]);
    let tag = whole.field("etag").unwrap();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    assert_eq!(whole.field("cache-control"), Some("private, max-age=300"));
    for known in [tag, &format!("W/{tag}"), &format!("\"other\", {tag}"), "*"] {
        let same = ask("GET", &[("If-None-Match", known)]);
        assert_eq!((same.status, same.field("etag"), same.body.len()), (304, Some(tag), 0), "{known}");
        assert_eq!(same.field("content-length"), None);
    }
    assert_eq!(ask("GET", &[("If-None-Match", "\"other\"")]).body, whole.body);
    let head = ask("HEAD", &[]);
    assert_eq!((head.status, head.field("etag"), head.field("content-length")), (200, Some(tag), whole.field("content-length")));
    for coding in ["gzip", "br", "zstd"] {
        let small = ask("GET", &[("Accept-Encoding", coding)]);
        assert_eq!((small.field("content-encoding"), small.field("vary")), (Some(coding), Some("Accept-Encoding")));
        assert_eq!(small.field("etag"), Some(format!("W/{tag}").as_str()));
        assert!(small.body.len() * 5 < whole.body.len(), "{coding}: {}", small.body.len());
    }
    let mut plain = Vec::new();
    let gzip = ask("GET", &[("Accept-Encoding", "gzip")]);
    flate2::read::GzDecoder::new(gzip.body.as_slice()).read_to_end(&mut plain).unwrap();
    assert_eq!(plain, whole.body);
    // Another name of the gateway's, another document.
    let other = ask("GET", &[("Host", "fhir.example.org:8443")]);
    assert_eq!(statement(&other)["implementation"]["url"], "http://fhir.example.org:8443/fhir");
    assert_ne!(other.field("etag"), whole.field("etag"));
    assert_eq!(ask("GET", &[]).field("etag"), Some(tag));
    // Names that callers make up are not kept without end.
    for nth in 0..50 {
        assert_eq!(ask("GET", &[("Host", &format!("name-{nth}.localhost"))]).status, 200);
    }
    let same = ask("GET", &[("If-None-Match", tag)]);
    assert_eq!(same.status, 304);
    assert_eq!(ask("POST", &[]).field("etag"), None);
}

const SLOW: Duration = Duration::from_secs(8);

#[test]
fn what_is_old_is_given_while_it_is_fetched_again_and_for_as_long_as_that_fails() {
    let openemr = OpenEmr::start();
    let gateway = with(&openemr, |config| config["sites"]["default"]["documents"] = json!({"max_age": "500ms"}));
    let first = gateway.caller().get(METADATA);
    statement(&first);
    let before = fetches(&openemr);
    openemr.order(&json!({"fhir": {"target": "/metadata", "delay_ms": SLOW.as_millis() as u64}}));
    let refreshed = eventually("it is fetched again", || {
        let asked = Instant::now();
        assert_eq!(gateway.caller().get(METADATA).body, first.body);
        assert!(asked.elapsed() < SLOW, "it waited for OpenEMR");
        (fetches(&openemr) > before).then(|| fetches(&openemr))
    });
    // Another one is not begun while that is under way.
    for _ in 0..10 {
        statement(&gateway.caller().get(METADATA));
    }
    assert_eq!(fetches(&openemr), refreshed);
    openemr.order(&json!({"fhir": {"target": "/metadata", "error": "system"}}));
    let log = gateway.log().len();
    eventually("a fetch fails", || {
        assert_eq!(gateway.caller().get(METADATA).body, first.body);
        gateway.log()[log..].contains("its CapabilityStatement cannot be had").then_some(())
    });
    openemr.order(&json!({"listener": "down"}));
    for _ in 0..5 {
        assert_eq!(gateway.caller().get(METADATA).body, first.body);
    }
    assert_eq!(gateway.caller().get(SMART).status, 200);
}

#[test]
fn what_was_never_known_is_503_until_it_is() {
    let openemr = OpenEmr::start();
    openemr.order(&json!({"fhir": {"target": "/metadata", "html": true}}));
    let gateway = Gateway::start(&openemr);
    let answer = gateway.caller().get(METADATA);
    answer.outcome(503);
    assert!(answer.field("retry-after").is_some());
    // That is not asked again for each caller.
    let before = fetches(&openemr);
    for _ in 0..5 {
        gateway.caller().get(METADATA).outcome(503);
    }
    assert!(fetches(&openemr) - before <= 1);
    openemr.order(&json!({"fhir": null}));
    eventually("it is known", || (gateway.caller().get(METADATA).status == 200).then_some(()));
}

#[test]
fn a_reload_keeps_what_is_known_and_shows_what_is_new() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let first = gateway.caller().get(METADATA);
    let before = fetches(&openemr);
    let mut config = gateway.config.clone();
    config["sites"]["default"]["cors"] = json!({"origins": "*"});
    assert!(gateway.reload(&config).contains("is in force"));
    let second = gateway.caller().get(METADATA);
    assert_eq!(statement(&second)["rest"][0]["security"]["cors"], true);
    assert_ne!(first.field("etag"), second.field("etag"));
    assert_eq!(fetches(&openemr), before);
    config["public_url"] = json!("https://fhir.example.org/emr");
    assert!(gateway.reload(&config).contains("is in force"));
    let url = &statement(&gateway.caller().get(METADATA))["implementation"]["url"];
    assert_eq!(url, "https://fhir.example.org/emr/fhir");
}

#[test]
fn openemrs_own_passes_where_it_is_wanted() {
    let openemr = OpenEmr::start();
    for site in [json!({"conformance": "pass_through"}), json!({"repairs": {"documents": false, "links": false}})] {
        let gateway = with(&openemr, |config| {
            config["sites"]["default"].as_object_mut().unwrap().extend(site.as_object().unwrap().clone());
        });
        let answer = gateway.caller().get(METADATA);
        assert!(answer.text().contains("oauth-uris") || answer.text().contains("SMART-on-FHIR"), "{}", answer.text());
        assert!(gateway.caller().get(SMART).text().contains("token_endpoint"));
    }
}

#[test]
fn it_is_the_same_over_http2() {
    let openemr = OpenEmr::start();
    let gateway = with(&openemr, |config| config["listen"] = json!([{"h2c": true}]));
    let client = Http2::plain(gateway.address);
    let answer = client.get(METADATA);
    assert_eq!(statement(&answer)["implementation"]["url"], "http://gateway.example/fhir");
    let tag = answer.field("etag").unwrap();
    let same = client.send("GET", METADATA, &[("if-none-match", tag)], b"");
    assert_eq!((same.status, same.end, same.body.len()), (304, End::Whole, 0));
    assert_eq!(client.send("HEAD", METADATA, &[], b"").body.len(), 0);
}
