//! `GET /ready`: what a load balancer asks.

use crate::support::eventually;
use crate::support::gateway::{Gateway, config, free_address, site};
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

/// A second site, at which nobody is.
fn with_a_dead_site(openemr: &OpenEmr, rule: &str) -> Value {
    let mut config = config(openemr);
    config["sites"]["nowhere"] = site(&format!("http://{}", free_address()), "RS384");
    config["ready"] = json!(rule);
    config
}

#[test]
fn a_site_with_a_token_is_ready() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let answer = gateway.caller().get("/ready");
    assert_eq!((answer.status, answer.json()), (200, json!({"ready": true, "sites": {"default": true}})));
    assert_eq!((answer.field("cache-control"), answer.field("content-type")), (Some("no-store"), Some("application/json")));
    assert_eq!(gateway.caller().send("HEAD", "/ready", &[], b"").status, 200);
    let wrong = gateway.caller().post("/ready", &[], b"");
    assert_eq!((wrong.status, wrong.field("allow")), (405, Some("GET, HEAD")));
}

#[test]
fn every_site_counts_unless_one_is_enough() {
    let openemr = OpenEmr::start();
    for (rule, status) in [("all", 503), ("any", 200)] {
        let gateway = Gateway::with(with_a_dead_site(&openemr, rule));
        let answer = gateway.caller().get("/ready");
        let sites = json!({"default": true, "nowhere": false});
        assert_eq!((answer.status, answer.json()), (status, json!({"ready": status == 200, "sites": sites})), "{rule}");
    }
}

#[test]
fn a_gateway_that_starts_without_openemr_becomes_ready_when_it_comes() {
    let openemr = OpenEmr::start();
    openemr.order(&json!({"listener": "down"}));
    let gateway = Gateway::start(&openemr);
    let answer = gateway.caller().get("/ready");
    assert_eq!((answer.status, answer.json()), (503, json!({"ready": false, "sites": {"default": false}})));
    openemr.order(&json!({"listener": "up"}));
    eventually("it is ready", || (gateway.caller().get("/ready").status == 200).then_some(()));
}

#[test]
fn the_route_can_be_moved_and_switched_off() {
    let openemr = OpenEmr::start();
    for (path, elsewhere, here) in [(json!("/lb/up"), 200, 404), (Value::Null, 404, 404)] {
        let mut config = config(&openemr);
        config["routes"] = json!({"ready": path});
        let gateway = Gateway::with(config);
        assert_eq!((gateway.caller().get("/lb/up").status, gateway.caller().get("/ready").status), (elsewhere, here));
    }
}
