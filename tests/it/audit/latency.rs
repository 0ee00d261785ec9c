//! What a trail adds to the time of a request, at a steady rate: `bench/audit.sh` prints it. Here every request is answered and recorded.

use std::time::Duration;

use serde_json::{Value, json};

use super::trail::Trail;
use crate::support::gateway::{Gateway, config, pass_through};
use crate::support::load::{Load, is_measured, rate};
use crate::support::openemr::OpenEmr;

#[test]
fn every_request_of_a_load_is_answered_and_recorded() {
    let openemr = OpenEmr::start();
    let rounds = if is_measured() { 4 } else { 1 };
    let seconds = Duration::from_secs(if is_measured() { 10 } else { 1 });
    for round in 0..rounds {
        for (name, audit) in [
            ("off", Value::Null),
            ("interval", json!({"sync": "interval"})),
            ("none", json!({"sync": "none"})),
            ("each", json!({"sync": "each"})),
        ] {
            let trail = Trail::new();
            let mut configured = if is_measured() { pass_through(&openemr) } else { config(&openemr) };
            configured["log"]["level"] = json!("warn");
            if !audit.is_null() {
                trail.keep_with(&mut configured, &audit);
            }
            let gateway = Gateway::with(configured);
            let load =
                Load::new(gateway.address, rate(100), seconds).connections(8).get("/fhir/metadata").get("/fhir/Patient?_count=1");
            let report = load.run();
            assert_eq!(report.failed(|status| status == 200), 0, "{:?}", report.failures());
            println!("AUDIT|{round}|{name}|{}", report.summary(|_| true).unwrap());
            if !audit.is_null() {
                assert_eq!(trail.of_kind("request").len() as u64, report.sent());
            }
        }
    }
}
