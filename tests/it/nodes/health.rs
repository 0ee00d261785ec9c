//! `GET /health` tells how OpenEMR's nodes stand; `GET /ready` does not depend on them.

use crate::nodes::several::Cluster;
use crate::support::eventually;
use crate::support::gateway::{Gateway, config};
use crate::support::http::Answer;
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

const PATIENTS: &str = "/fhir/Patient?_count=1";

fn health(gateway: &Gateway) -> Value {
    let answer = gateway.caller().get("/health");
    assert_eq!(answer.status, 200, "whatever it says");
    answer.json()
}

/// Waits until the gateway and its only site are said to stand so.
fn becomes(gateway: &Gateway, status: &str, nodes: &Value) {
    eventually(status, || {
        let health = health(gateway);
        let site = &health["sites"][0];
        ((&health["status"], &site["status"], &site["nodes"]) == (&json!(status), &json!(status), nodes)).then_some(())
    });
}

fn counts(healthy: u32, degraded: u32, ejected: u32) -> Value {
    json!({"healthy": healthy, "degraded": degraded, "ejected": ejected})
}

fn ready(gateway: &Gateway) -> (u16, Value) {
    let answer = gateway.caller().get("/ready");
    (answer.status, answer.json())
}

fn ready_is_unmoved(gateway: &Gateway) {
    assert_eq!(ready(gateway), (200, json!({"ready": true, "sites": {"default": true}})));
}

/// The only node of a gateway that checks it so often.
fn alone(health_check: &Value) -> (OpenEmr, Gateway) {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["sites"]["default"]["health_check"] = health_check.clone();
    let gateway = Gateway::with(config);
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    (openemr, gateway)
}

#[test]
fn one_node_out_is_degraded_all_out_is_down_and_back_is_ok() {
    let mut cluster = Cluster::start(2);
    let gateway = Gateway::with(cluster.config());
    becomes(&gateway, "ok", &counts(2, 0, 0));
    cluster.kill(0);
    becomes(&gateway, "degraded", &counts(1, 0, 1));
    ready_is_unmoved(&gateway);
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    cluster.kill(1);
    becomes(&gateway, "down", &counts(0, 0, 2));
    gateway.caller().get(PATIENTS).outcome(503);
    ready_is_unmoved(&gateway);
    cluster.revive(1);
    becomes(&gateway, "degraded", &counts(1, 0, 1));
    cluster.revive(0);
    becomes(&gateway, "ok", &counts(2, 0, 0));
}

#[test]
fn a_node_that_answers_its_checks_with_errors_is_degraded() {
    let cluster = Cluster::start(2);
    let gateway = Gateway::with(cluster.config());
    becomes(&gateway, "ok", &counts(2, 0, 0));
    cluster.node(0).order(&json!({"fhir": {"target": "/metadata", "error": "database"}}));
    becomes(&gateway, "degraded", &counts(1, 1, 0));
    cluster.order(&json!({"fhir": null}));
    becomes(&gateway, "ok", &counts(2, 0, 0));
}

#[test]
fn the_only_node_is_known_to_be_down_although_nobody_asks() {
    let (openemr, gateway) = alone(&json!({"interval": "100ms", "timeout": "2s"}));
    becomes(&gateway, "ok", &counts(1, 0, 0));
    openemr.order(&json!({"listener": "down"}));
    becomes(&gateway, "down", &counts(0, 0, 1));
    ready_is_unmoved(&gateway);
    openemr.order(&json!({"listener": "up"}));
    becomes(&gateway, "ok", &counts(1, 0, 0));
}

#[test]
fn the_only_node_is_degraded_from_a_failed_request_to_an_answered_one() {
    let (openemr, gateway) = alone(&json!({"interval": "1h"}));
    openemr.order(&json!({"listener": "down"}));
    gateway.caller().get(PATIENTS).outcome(502);
    becomes(&gateway, "degraded", &counts(0, 1, 0));
    ready_is_unmoved(&gateway);
    openemr.order(&json!({"listener": "up"}));
    eventually("it is served", || (gateway.caller().get(PATIENTS).status == 200).then_some(()));
    becomes(&gateway, "ok", &counts(1, 0, 0));
}

#[test]
fn the_only_node_is_not_left_out_because_its_checks_take_long() {
    let (openemr, gateway) = alone(&json!({"interval": "100ms", "timeout": "1s"}));
    openemr.order(&json!({"fhir": {"target": "/metadata", "delay_ms": 60_000}}));
    gateway.logs(&["WARN", "site default: node", "answers its checks with errors, or not in time"]);
    becomes(&gateway, "degraded", &counts(0, 1, 0));
    let answer: Answer = gateway.caller().get(PATIENTS);
    assert_eq!(answer.status, 200, "{}", answer.text());
    openemr.order(&json!({"fhir": null}));
    becomes(&gateway, "ok", &counts(1, 0, 0));
}

#[test]
fn health_says_when_openemr_answered_last() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["sites"]["default"]["health_check"] = json!({"interval": "1h"});
    let gateway = Gateway::with(config);
    assert_eq!(health(&gateway)["sites"][0]["answered_ago"], Value::Null, "nothing has been asked");
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    let ago = || health(&gateway)["sites"][0]["answered_ago"].as_u64().unwrap();
    eventually("time passes", || (ago() >= 2).then_some(()));
    openemr.order(&json!({"fhir": {"error": "system", "times": 1, "target": "/Patient"}}));
    assert!(gateway.caller().get(PATIENTS).status >= 500);
    // An error is an answer. Less than an hour, in any case.
    eventually("it is counted from the latest answer", || (ago() < 2).then_some(()));
    assert_eq!(health(&gateway)["status"], "ok");
}
