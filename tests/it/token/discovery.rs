//! A site configured by its FHIR base alone: its token endpoint is taken from the server's SMART configuration.

use crate::support::eventually;
use crate::support::gateway::{Gateway, config};
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

const PATIENTS: &str = "/fhir/Patient?_count=5";
const SMART: &str = "smart-configuration";

/// A configuration that names neither OpenEMR's address nor its token URL.
fn by_its_base(openemr: &OpenEmr) -> Value {
    let mut config = config(openemr);
    let site = config["sites"]["default"].as_object_mut().unwrap();
    site.remove("openemr");
    site.insert("fhir_base".to_owned(), json!(format!("{}/apis/default/fhir", openemr.base)));
    config
}

fn asked(openemr: &OpenEmr) -> u64 {
    openemr.came("GET /apis/default/fhir/.well-known/smart-configuration")
}

fn points_to(openemr: &OpenEmr, endpoint: &str) {
    let body = json!({"token_endpoint": endpoint}).to_string();
    openemr.order(&json!({"fhir": {"target": SMART, "answer": {"status": 200, "body": body}}}));
}

#[test]
fn the_token_endpoint_is_asked_for_once() {
    for version in ["8.0", "7.0.3"] {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let gateway = Gateway::with(by_its_base(&openemr));
        assert_eq!(gateway.caller().get(PATIENTS).status, 200, "{version}");
        gateway.logs(&["site default", "token endpoint is", "/oauth2/default/token"]);
        assert_eq!((asked(&openemr), openemr.count("token_requests")), (1, 1));
        assert_eq!(gateway.token("?force=true").status, 200);
        assert_eq!((asked(&openemr), openemr.count("token_requests")), (1, 2));
    }
}

#[test]
fn over_tls_too() {
    let openemr = OpenEmr::with(&["--tls"]);
    let mut config = by_its_base(&openemr);
    config["sites"]["default"]["ca_file"] = json!(openemr.certificate);
    let gateway = Gateway::with(config);
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
}

#[test]
fn a_server_that_does_not_say_it_is_asked_again() {
    let openemr = OpenEmr::start();
    openemr.order(&json!({"fhir": {"target": SMART, "error": "system"}}));
    let gateway = Gateway::with(by_its_base(&openemr));
    gateway.logs(&["site default", "SMART configuration", "status 500"]);
    gateway.caller().get(PATIENTS).outcome(503);
    assert_eq!(openemr.count("token_requests"), 0);
    openemr.order(&json!({"fhir": null}));
    eventually("there is a token", || (gateway.caller().get(PATIENTS).status == 200).then_some(()));
}

#[test]
fn no_assertion_travels_in_the_open() {
    let openemr = OpenEmr::start();
    for (endpoint, problem) in
        [("http://emr.example.org/oauth2/default/token", "not https"), ("/oauth2/default/token", "token_endpoint")]
    {
        points_to(&openemr, endpoint);
        let gateway = Gateway::with(by_its_base(&openemr));
        gateway.logs(&["site default", problem]);
        gateway.caller().get(PATIENTS).outcome(503);
    }
    assert_eq!(openemr.count("token_requests"), 0);
}

#[test]
fn no_assertion_for_the_configured_audience_goes_to_another_server() {
    let (openemr, elsewhere) = (OpenEmr::start(), OpenEmr::start());
    let mut config = by_its_base(&openemr);
    config["sites"]["default"]["token_audience"] = json!(format!("{}/oauth2/default/token", openemr.base));
    points_to(&openemr, &format!("{}/oauth2/default/token", elsewhere.base));
    let gateway = Gateway::with(config.clone());
    gateway.logs(&["site default", "SMART configuration", "neither at the origin of token_audience", "token_url"]);
    gateway.caller().get(PATIENTS).outcome(503);
    assert_eq!(elsewhere.count("token_requests"), 0);
    // At OpenEMR's own origin it is used.
    openemr.order(&json!({"fhir": null}));
    eventually("there is a token", || (gateway.caller().get(PATIENTS).status == 200).then_some(()));
    // And so it is at the audience's.
    config["sites"]["default"]["token_audience"] = json!(format!("{}/oauth2/default/token", elsewhere.base));
    points_to(&openemr, &format!("{}/oauth2/default/token", elsewhere.base));
    let gateway = Gateway::with(config);
    gateway.logs(&["site default", "its token endpoint is", &elsewhere.address.to_string()]);
    eventually("it is asked", || (elsewhere.count("token_requests") > 0).then_some(()));
}

#[test]
fn an_endpoint_that_moves_is_found_again() {
    let (openemr, elsewhere) = (OpenEmr::start(), OpenEmr::start());
    let gateway = Gateway::with(by_its_base(&openemr));
    assert_eq!(gateway.token("").status, 200);
    let before = asked(&openemr);
    // As long as exchanges succeed, it is not looked up again.
    points_to(&openemr, &format!("{}/oauth2/default/token", elsewhere.base));
    assert_eq!(gateway.token("?force=true").status, 200);
    assert_eq!((asked(&openemr), elsewhere.count("token_requests")), (before, 0));
    openemr.order(&json!({"token": {"down": true}}));
    assert_eq!(gateway.token("?force=true").status, 502);
    eventually("tokens come from the other one", || {
        gateway.token("?force=true");
        (elsewhere.count("token_requests") > 0).then_some(())
    });
    gateway.logs(&["token endpoint is", &elsewhere.address.to_string()]);
    // When that cannot be read, the last one holds.
    openemr.order(&json!({"fhir": {"target": SMART, "html": true}}));
    elsewhere.order(&json!({"token": {"refuse": "not_set_up", "times": 1}}));
    assert_eq!(gateway.token("?force=true").status, 502);
    eventually("tokens come from there again", || (gateway.token("?force=true").status == 200).then_some(()));
}

#[test]
fn a_reload_that_changes_nothing_of_it_keeps_the_token() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::with(by_its_base(&openemr));
    let before = gateway.token("").json()["access_token"].clone();
    let mut config = gateway.config.clone();
    config["sites"]["default"]["paging"] = json!("native");
    assert!(gateway.reload(&config).contains("is in force"));
    assert_eq!(gateway.token("").json()["access_token"], before);
    // A changed node is found anew.
    config["sites"]["default"]["connections"] = json!({"idle_timeout": "3s"});
    assert!(gateway.reload(&config).contains("is in force"));
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    assert_eq!(gateway.token("?force=true").status, 200);
    config["sites"]["default"]["token_url"] = json!(format!("{}/oauth2/default/token", openemr.base));
    assert!(gateway.reload(&config).contains("is in force"));
    assert_eq!(gateway.token("?force=true").status, 200);
}
