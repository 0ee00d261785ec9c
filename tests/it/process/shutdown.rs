//! How the gateway ends: at once when a person says so, after its requests when a service manager does.

use crate::support::gateway::{Gateway, config};
use crate::support::http::{End, request};
use crate::support::openemr::OpenEmr;
use crate::support::{Process, eventually};
use serde_json::json;

#[test]
fn ctrl_c_ends_it_at_once() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    // If it waited for either, it would not end in time.
    config["server"] = json!({"grace_period_seconds": 600});
    config["drain_delay"] = json!("600s");
    let mut gateway = Gateway::with(config);
    gateway.process.signal("INT");
    let status = eventually("the gateway ends", || gateway.process.ended());
    assert!(status.success(), "{status}");
}

#[test]
fn ctrl_c_ends_the_demo_and_the_stand_in_at_once() {
    let mut openemr = OpenEmr::start();
    openemr.process.signal("INT");
    assert!(eventually("the sandbox ends", || openemr.process.ended()).success());

    let address = crate::support::gateway::free_address().to_string();
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Process::start_in(folder.path(), &["demo", "--listen", &address]);
    let output = eventually("the demo's greeting", || Some(demo.output()).filter(|output| output.contains("Ctrl-C")));
    assert_eq!(output.lines().filter(|line| line.trim_start().starts_with("curl ")).count(), 3, "{output}");
    let caller = crate::support::http::Caller::new(address.parse().unwrap());
    let answer = caller.send("GET", "/fhir/Patient?_count=5", &[("Host", &address)], b"");
    assert_eq!((answer.status, answer.json()["entry"].as_array().unwrap().len()), (200, 5));
    demo.signal("INT");
    assert!(eventually("the demo ends", || demo.ended()).success());
}

#[test]
fn sigterm_lets_a_request_end() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["server"] = json!({"grace_period_seconds": 60, "graceful_shutdown_timeout_seconds": 1});
    let mut gateway = Gateway::with(config);
    openemr.order(&json!({"fhir": {"delay_ms": 1000}}));
    let mut connection = gateway.caller().connect();
    connection.write(&request("GET", "/fhir/Patient?_count=1", &[], b""));
    eventually("OpenEMR has the request", || (openemr.count("fhir_requests") == 1).then_some(()));
    gateway.process.signal("TERM");
    let answer = connection.read("GET");
    assert_eq!((answer.status, answer.end), (200, End::Whole));
    let status = eventually("the gateway ends", || gateway.process.ended());
    assert!(status.success(), "{status}");
}
