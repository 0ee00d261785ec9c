//! One fault after the other while requests come at a steady rate: every one of them is answered as if nothing was.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::gateway::{Gateway, config};
use crate::support::load::{self, Load, as_long_as_needed, rate};
use crate::support::openemr::OpenEmr;
use crate::support::permits::LOADS;
use serde_json::{Value, json};

const PATIENTS: &str = "/fhir/Patient?_count=1";

fn load(address: SocketAddr, share: u32) -> Load {
    Load::new(address, rate(400) / share, as_long_as_needed()).get(PATIENTS)
}

/// Does something again and again, at most once in `every`, three times at least; gives how often. All requests that
/// come meanwhile must be answered with 200.
fn survives(fault: &str, address: SocketAddr, every: Duration, mut hurt: impl FnMut(usize)) -> usize {
    let _permit = LOADS.take();
    let load = load(address, 1).start();
    eventually("the load is under way", || (load.done() > 20).then_some(()));
    let mut rounds = 0;
    while if load::is_measured() { !load.is_over() } else { rounds < 3 } {
        let next = Instant::now() + every;
        hurt(rounds);
        rounds += 1;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    load.end().expect(fault, |status| status == 200);
    rounds
}

fn quiet(openemr: &OpenEmr) -> Value {
    let mut config = config(openemr);
    config["log"]["level"] = json!("warn");
    config
}

#[test]
fn tokens_that_are_taken_back() {
    for version in ["8.0", "7.0.3"] {
        let openemr = OpenEmr::with(&["--openemr", version, "--patients", "1"]);
        let gateway = Gateway::with(quiet(&openemr));
        let ways = ["by_admin", "trusted_user", "unknown"];
        let rounds =
            survives(&format!("token taken back, OpenEMR {version}"), gateway.address, Duration::from_secs(2), |round| {
                openemr.order(&json!({"revoke_tokens": ways[round % ways.len()]}));
                // With a new token, which OpenEMR takes.
                assert_eq!(gateway.caller().get(PATIENTS).status, 200);
            });
        assert_eq!(openemr.count("token_requests") as usize, rounds + 1, "{rounds} tokens were taken back");
    }
}

#[test]
fn a_token_endpoint_that_fails_while_a_token_is_in_hand() {
    let openemr = OpenEmr::with(&["--patients", "1"]);
    let gateway = Gateway::with(quiet(&openemr));
    let faults = [
        json!({"down": true}),
        json!({"answer": {"status": 500}}),
        json!({"html": true}),
        json!({"truncate": true}),
        json!({"oversize_bytes": 10_000_000}),
        json!({"token_type": "mac"}),
        json!({"expires_in": -300}),
        json!({"lose_answer": true}),
        json!({"refuse": "not_set_up"}),
        json!({"delay_ms": 1000}),
    ];
    survives("token endpoint fails, a token in hand", gateway.address, Duration::from_secs(2), |round| {
        openemr.order(&json!({"token": faults[round % faults.len()]}));
        let before = openemr.count("token_requests");
        // Whatever comes of it.
        gateway.token("?force=true");
        assert!(openemr.count("token_requests") > before, "nobody met the fault");
        openemr.order(&json!({"token": null}));
    });
}

#[test]
fn a_token_endpoint_that_is_down_for_longer_than_a_token_lives() {
    let _permit = LOADS.take();
    let openemr = OpenEmr::with(&["--patients", "1", "--token-lifetime", "10"]);
    let gateway = Gateway::with(quiet(&openemr));
    // The first token comes after the listener is open.
    eventually("there is a token", || (gateway.caller().get(PATIENTS).status == 200).then_some(()));
    let before = openemr.count("fhir_requests");
    openemr.order(&json!({"token": {"down": true}}));
    // Those that wait for the next attempt must not keep others from being sent.
    let load = load(gateway.address, 8).connections(512).start();
    eventually("requests are answered", || (load.done() > 20).then_some(()));
    let mut served = 0;
    eventually("the token has ended", || {
        let status = gateway.caller().get(PATIENTS).status;
        served += u64::from(status == 200);
        (status == 503).then_some(())
    });
    let done = load.done();
    eventually("requests go on", || (load.done() > done + 20).then_some(()));
    let report = load.end();
    report.expect("token endpoint down beyond the token's life", |status| matches!(status, 200 | 503));
    let answers = report.statuses();
    assert!(answers.contains_key(&200) && answers.contains_key(&503), "{report}");
    // Nothing was sent to OpenEMR that it would have refused.
    assert_eq!(openemr.count("fhir_requests") - before, answers[&200] + served);
    assert!(!load::is_measured() || report.longest_stall() < Duration::from_secs(7), "patience is 5 s: {report}");
}

#[test]
fn clocks_that_are_set() {
    let openemr = OpenEmr::with(&["--patients", "1"]);
    let gateway = Gateway::with(quiet(&openemr));
    survives("OpenEMR's clock set by 10 minutes", gateway.address, Duration::from_secs(3), |round| {
        let seconds = [600, 0, -600, 0][round % 4];
        openemr.order(&json!({"clock_offset_seconds": seconds}));
    });
}

#[test]
fn connections_that_openemr_closes_as_a_request_comes() {
    let openemr = OpenEmr::with(&["--patients", "1"]);
    let gateway = Gateway::with(quiet(&openemr));
    survives("OpenEMR closes kept connections", gateway.address, Duration::from_millis(300), |round| {
        let fault = [json!({"close_reused": true, "times": 5}), json!({"close_idle": true, "times": 20})][round % 2].clone();
        openemr.order(&json!({"fhir": fault}));
    });
}

#[test]
fn reloads() {
    let openemr = OpenEmr::with(&["--patients", "1"]);
    let gateway = Gateway::start(&openemr);
    survives("configuration reloaded", gateway.address, Duration::from_millis(200), |round| {
        let mut changed = gateway.config.clone();
        let health = ["/health", "/alive"][round % 2];
        changed["routes"] = json!({"health": health});
        if round % 3 == 2 {
            changed["sites"] = json!({});
        }
        assert_eq!(gateway.reload(&changed).contains("is in force"), round % 3 != 2);
    });
    assert_eq!(openemr.count("token_requests"), 1);
}

#[test]
fn upgrades() {
    let openemr = OpenEmr::with(&["--patients", "1"]);
    let mut gateway = Gateway::start(&openemr);
    let address = gateway.address;
    // Half of the requests on connections of their own: those must never be refused.
    let _permit = LOADS.take();
    let fresh = load(address, 2).fresh_connections().start();
    let kept = load(address, 2).connections(8).start();
    let mut rounds = 0;
    while if load::is_measured() { !fresh.is_over() } else { rounds < 3 } {
        let next = gateway.successor();
        gateway.process.signal("QUIT");
        eventually("the new process listens", || next.log().contains("listening on ").then_some(()));
        eventually("the old process ends", || gateway.process.ended());
        gateway.process = next;
        rounds += 1;
    }
    println!("{rounds} upgrades");
    fresh.end().expect("upgraded, new connections", |status| status == 200);
    kept.end().expect("upgraded, kept connections", |status| status == 200);
}
