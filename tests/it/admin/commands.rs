use std::net::TcpListener;
use std::path::Path;

use serde_json::json;

use super::Admin;
use crate::support::eventually;
use crate::support::gateway::{Gateway, config};
use crate::support::openemr::OpenEmr;

#[test]
fn health_tells_of_nodes_and_of_the_last_token_error() {
    let openemr = OpenEmr::start();
    let admin = Admin::start(config(&openemr));
    eventually("a token", || (admin.get("/health").json()["sites"][0]["has_token"] == true).then_some(()));
    let health = admin.get("/health").json();
    let site = &health["sites"][0];
    assert_eq!((site["name"].as_str(), site["nodes"][0]["state"].as_str()), (Some("default"), Some("healthy")), "{health}");
    assert!(site["nodes"][0]["url"].as_str().unwrap().starts_with(&openemr.base) && site["token_error"].is_null(), "{health}");
    assert_eq!(admin.get("/ready").status, 200);

    openemr.order(&json!({"token": {"refuse": "bad_assertion"}}));
    assert_eq!(admin.order("POST", "/refresh", "").status, 502);
    let failed = eventually("the error", || {
        let health = admin.get("/health").json();
        health["sites"][0]["token_error"].is_object().then(|| health["sites"][0]["token_error"].clone())
    });
    assert!(failed["since"].as_str().unwrap() <= failed["at"].as_str().unwrap(), "{failed}");
    assert!(failed["failures"].as_u64().unwrap() >= 1 && !failed["cause"].as_str().unwrap().is_empty(), "{failed}");
    openemr.order(&json!({"token": null}));
    eventually("it heals", || (admin.order("POST", "/refresh", "").status == 200).then_some(()));
    assert!(admin.get("/health").json()["sites"][0]["token_error"].is_null());
    assert_eq!(admin.order("POST", "/refresh?site=none", "").status, 404);
}

#[test]
fn the_level_of_the_log_is_shown_and_set() {
    let openemr = OpenEmr::start();
    let admin = Admin::start(config(&openemr));
    assert_eq!(admin.get("/log-level").json(), json!({"level": "info"}));
    assert_eq!(admin.order("PUT", "/log-level", "loud").status, 400);
    assert_eq!(admin.order("PUT", "/log-level", &"x".repeat(2000)).status, 413);
    assert_eq!(admin.order("PUT", "/log-level", "warn").json(), json!({"level": "warn"}));
    let id = admin.gateway.caller().get("/fhir/Patient?_count=1").field("x-request-id").unwrap().to_owned();
    // The client has its answer before it is decided whether there is a line.
    eventually("the request is counted", || admin.get("/metrics").body.contains("openemr_gateway_requests_total{").then_some(()));
    assert_eq!(admin.order("PUT", "/log-level", "info").status, 200);
    let last = admin.gateway.caller().get("/fhir/Patient?_count=1");
    admin.gateway.access_line(last.field("x-request-id").unwrap());
    assert!(!admin.gateway.log().contains(&id));
}

#[test]
fn the_effective_configuration_holds_no_secret() {
    let openemr = OpenEmr::start();
    let admin = Admin::start(config(&openemr));
    let shown = admin.get("/config");
    assert_eq!(shown.status, 200);
    assert!(shown.body.contains("client_id") && shown.body.contains("private_key"), "{}", shown.body);
    assert!(!shown.body.contains("BEGIN") && !shown.body.contains("PRIVATE"), "{}", shown.body);
}

#[test]
fn it_reloads_and_drains() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["drain_delay"] = json!("20s");
    let admin = Admin::start(config);
    assert_eq!(admin.order("POST", "/reload", "").json(), json!({"begun": "reload"}));
    admin.gateway.logs(&["the configuration was read again and is in force"]);
    let metrics = admin.get("/metrics").body;
    assert!(metrics.lines().any(|line| line.starts_with(r#"openemr_gateway_reloads_total{result="ok"} 1"#)), "{metrics}");
    assert_eq!(admin.order("POST", "/drain", "").status, 202);
    admin.gateway.logs(&["SIGTERM: not ready any more"]);
    assert_eq!(admin.get("/ready").status, 503);
}

#[test]
fn in_an_upgrade_the_new_process_listens_at_the_same_address() {
    let openemr = OpenEmr::start();
    let mut admin = Admin::start(config(&openemr));
    let started = |admin: &Admin| {
        let text = admin.get("/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix("process_start_time_seconds ")).map(str::to_owned);
        line.unwrap()
    };
    let before = started(&admin);
    let socket = admin.gateway.config["server"]["upgrade_sock"].as_str().unwrap().to_owned();
    eventually("it can be upgraded", || Path::new(&socket).exists().then_some(()));
    let successor = admin.gateway.successor();
    eventually("it waits for the listeners", || successor.log().contains("token 1 for").then_some(()));
    admin.gateway.process.signal("QUIT");
    eventually("the old one ends", || admin.gateway.process.ended());
    assert_ne!(started(&admin), before);
    assert_eq!(admin.get("/ready").status, 200);
}

#[test]
fn an_address_that_is_taken_keeps_the_gateway_from_nothing() {
    let openemr = OpenEmr::start();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(&openemr);
    config["admin"]["address"] = json!(other.local_addr().unwrap().to_string());
    let gateway = Gateway::with(config);
    gateway.logs(&["WARN", "the admin listener", "cannot be opened"]);
    assert_eq!(gateway.caller().get("/fhir/Patient?_count=1").status, 200);
}
