//! Requests at work at once.

use serde_json::{Value, json};

use super::rates::{ELSEWHERE, HERE, PATIENTS, from, of, open, with_clients};
use crate::access::api_keys::key_of;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::http::{Connection, request};
use crate::support::openemr::OpenEmr;

const SLOW: &str = "/fhir/Patient?_id=slow";

/// A request at which OpenEMR is at work from now on.
fn at_work(openemr: &OpenEmr, gateway: &Gateway, fields: &[(&str, &str)]) -> Connection {
    openemr.order(&json!({"fhir": {"target": "_id=slow", "delay_ms": 20_000}}));
    let before = openemr.count("fhir_requests");
    let mut slow = gateway.caller().connect_from(HERE.parse().unwrap());
    slow.write(&request("GET", SLOW, fields, b""));
    eventually("OpenEMR has the request", || (openemr.count("fhir_requests") > before).then_some(()));
    slow
}

fn gateway(openemr: &OpenEmr, limits: &Value) -> Gateway {
    let mut config = with_clients(openemr, &["lab", "app"], &json!({"at_once": 1}));
    config["limits"] = limits.clone();
    Gateway::with(config)
}

#[test]
fn a_client_has_no_more_requests_at_work_than_it_may_and_gets_each_place_back() {
    let openemr = OpenEmr::start();
    let gateway = gateway(&openemr, &json!({}));
    let key = key_of("lab");
    let slow = at_work(&openemr, &gateway, &[("X-API-Key", &key)]);
    let refused = of(&gateway, "lab", PATIENTS);
    assert!(refused.outcome(429).contains("at once"));
    assert_eq!((refused.field("retry-after"), refused.field("ratelimit")), (Some("1"), None));
    gateway.logs(&[refused.field("x-request-id").unwrap(), "more requests at once than the client's at_once allows"]);
    assert_eq!(of(&gateway, "app", PATIENTS).status, 200);
    // A client that hangs up has its place again, as one has whose request is refused or answered.
    drop(slow);
    eventually("the place is free", || (of(&gateway, "lab", PATIENTS).status == 200).then_some(()));
    for (target, status) in [
        ("/fhir/Observation", 403),
        (PATIENTS, 200),
        ("/fhir/Patient/9d6cf1e0-0000-4000-8000-000000000000", 404),
        (PATIENTS, 200),
    ] {
        // The answer is there before its request has ended.
        eventually("it is answered", || (of(&gateway, "lab", target).status == status).then_some(()));
    }
}

#[test]
fn an_address_has_no_more_requests_at_work_than_it_may_local_routes_aside() {
    let openemr = OpenEmr::start();
    let mut config = open(&openemr);
    config["limits"] = json!({"requests_per_address": 1});
    let gateway = Gateway::with(config);
    let _slow = at_work(&openemr, &gateway, &[]);
    let refused = from(&gateway, HERE, "GET", PATIENTS, &[]);
    assert!(refused.outcome(429).contains("at once"));
    assert_eq!(from(&gateway, HERE, "GET", "/health", &[]).status, 200);
    assert_eq!(from(&gateway, ELSEWHERE, "GET", PATIENTS, &[]).status, 200);
}
