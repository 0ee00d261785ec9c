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

/// Both answers: `/ready` with its status, and what `/health` says in a word.
fn standing(gateway: &Gateway) -> (u16, Value, Value) {
    let answer = gateway.caller().get("/ready");
    (answer.status, answer.json(), gateway.caller().get("/health").json()["status"].clone())
}

#[test]
fn a_new_site_without_a_token_leaves_a_running_gateway_ready() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let mut both = gateway.config.clone();
    both["sites"]["nowhere"] = site(&format!("http://{}", free_address()), "RS384");
    assert!(gateway.reload(&both).contains("is in force"));
    gateway.logs(&["WARN", "site nowhere is new and has no token", "/ready does not count it"]);
    let apart = json!({"ready": true, "sites": {"default": true, "nowhere": false}, "not_counted": ["nowhere"]});
    assert_eq!(standing(&gateway), (200, apart.clone(), json!("degraded")));
    assert!(gateway.caller().get("/nowhere/fhir/Patient").outcome(503).contains("token"));
    assert_eq!(gateway.caller().get("/fhir/Patient?_count=1").status, 200);
    // Nor does it count because another reload has changed it.
    both["sites"]["nowhere"]["scopes"] = json!(["system/Patient.read"]);
    assert!(gateway.reload(&both).contains("is in force"));
    assert_eq!(standing(&gateway), (200, apart, json!("degraded")));
    // A gateway that is left with it alone serves nobody.
    let mut alone = both.clone();
    alone["sites"] = json!({"nowhere": both["sites"]["nowhere"]});
    assert!(gateway.reload(&alone).contains("is in force"));
    let (status, said, word) = standing(&gateway);
    assert_eq!((status, &said["ready"], word), (503, &json!(false), json!("down")));
    // A site that was there from the start counts.
    let started = Gateway::with(with_a_dead_site(&openemr, "all"));
    assert_eq!(started.caller().get("/ready").json(), json!({"ready": false, "sites": {"default": true, "nowhere": false}}));
}

#[test]
fn a_new_site_counts_from_its_first_token_on() {
    let openemr = OpenEmr::start();
    let late = OpenEmr::with(&["--token-lifetime", "3", "--site", "default", "--site", "north"]);
    late.order(&json!({"listener": "down"}));
    let gateway = Gateway::start(&openemr);
    let mut both = gateway.config.clone();
    both["sites"]["north"] = site(&late.base, "RS384");
    assert!(gateway.reload(&both).contains("is in force"));
    assert_eq!(gateway.caller().get("/ready").json()["not_counted"], json!(["north"]));
    late.order(&json!({"listener": "up"}));
    let said = |sites: Value, ready: bool| json!({"ready": ready, "sites": sites});
    let becomes = |status: u16, body: Value| {
        eventually("readiness changes", || {
            let answer = gateway.caller().get("/ready");
            (answer.status == status && answer.json() == body).then_some(())
        });
    };
    becomes(200, said(json!({"default": true, "north": true}), true));
    // It has been served: to lose its token makes the gateway unready, as with any site, after another reload, too.
    late.order(&json!({"listener": "down"}));
    becomes(503, said(json!({"default": true, "north": false}), false));
    both["sites"]["north"]["scopes"] = json!(["system/Patient.read"]);
    assert!(gateway.reload(&both).contains("is in force"));
    becomes(503, said(json!({"default": true, "north": false}), false));
    late.order(&json!({"listener": "up"}));
    becomes(200, said(json!({"default": true, "north": true}), true));
}

#[test]
fn a_site_with_another_name_keeps_its_token_and_counts() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let mut renamed = gateway.config.clone();
    let mut same = renamed["sites"]["default"].clone();
    same["fhir_base"] = json!(format!("{}/apis/default/fhir", openemr.base));
    same["token_url"] = json!(format!("{}/oauth2/default/token", openemr.base));
    renamed["sites"] = json!({"clinic": same});
    assert!(gateway.reload(&renamed).contains("is in force"));
    assert_eq!(gateway.caller().get("/ready").json(), json!({"ready": true, "sites": {"clinic": true}}));
    assert_eq!(openemr.count("token_requests"), 1);
}
