//! OpenEMR checks assertions and tokens by its own clock: the gateway finds out how far off that is.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::support::gateway::Gateway;
use crate::support::openemr::OpenEmr;
use serde_json::json;

const PATIENTS: &str = "/fhir/Patient?_count=1";

fn off_by(version: &str, seconds: i64, more: &[&str]) -> OpenEmr {
    let openemr = OpenEmr::with(&[&["--openemr", version], more].concat());
    openemr.order(&json!({"clock_offset_seconds": seconds}));
    openemr
}

fn warnings(gateway: &Gateway) -> usize {
    gateway.log().lines().filter(|line| line.contains("this machine's clock is")).count()
}

#[test]
fn ten_minutes_either_way_cost_one_more_signature_and_no_failure() {
    for version in ["8.0", "7.0.3"] {
        for (seconds, words) in [(600, "600 s behind OpenEMR's"), (-600, "600 s ahead of OpenEMR's")] {
            let openemr = off_by(version, seconds, &[]);
            let gateway = Gateway::start(&openemr);
            let answer = gateway.caller().get(PATIENTS);
            assert_eq!(answer.status, 200, "{version} {seconds}: {}", answer.text());
            // Refused once, signed anew with another jti within the same attempt: the schedule knows of no failure.
            assert_eq!((openemr.count("token_requests"), openemr.count("tokens_issued")), (2, 1), "{version} {seconds}");
            let log = gateway.log();
            assert!(!log.contains("no token (failure"), "{log}");
            let line = gateway.logs(&["this machine's clock is"]);
            let about = |off: i64| line.contains(&words.replace("600", &(600 + off).to_string()));
            assert!(about(0) || about(1) || about(-1), "{line}");
            let claims = openemr.state()["last_token_request"]["assertion_claims"].clone();
            let (iat, exp) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
            let there = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap() + seconds;
            assert!((there - iat).abs() < 30 && exp - iat == 240, "{claims}, and it is {there} there");
            // From then on the first assertion is right, and the warning is not repeated.
            assert_eq!(gateway.token("?force=true").status, 200);
            assert_eq!(openemr.count("token_requests"), 3, "{version} {seconds}");
            assert_eq!(warnings(&gateway), 1, "{}", gateway.log());
        }
    }
}

#[test]
fn a_clock_that_is_set_while_running_is_followed() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    for (seconds, requests) in [(3_600, 2), (-3_600, 2), (0, 2), (0, 1)] {
        let before = openemr.count("token_requests");
        openemr.order(&json!({"clock_offset_seconds": seconds}));
        assert_eq!(gateway.token("?force=true").status, 200, "{seconds}");
        assert_eq!(openemr.count("token_requests") - before, requests, "{seconds}");
    }
    gateway.logs(&["agree again"]);
    assert_eq!(warnings(&gateway), 2, "{}", gateway.log());
}

#[test]
fn a_few_seconds_are_nobodys_business() {
    let openemr = off_by("8.0", 6, &[]);
    let gateway = Gateway::start(&openemr);
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    assert_eq!((openemr.count("token_requests"), warnings(&gateway)), (1, 0));
}

#[test]
fn a_date_more_than_a_day_off_is_not_believed() {
    let openemr = off_by("8.0", 200_000, &[]);
    let gateway = Gateway::start(&openemr);
    gateway.logs(&["WARN", "more than a day off"]);
    gateway.logs(&["no token (failure", "invalid_"]);
    // Put right, it heals by itself.
    openemr.order(&json!({"clock_offset_seconds": 0}));
    crate::support::eventually("a token", || (gateway.caller().get(PATIENTS).status == 200).then_some(()));
}

#[test]
fn a_tokens_life_is_counted_here_whatever_time_it_is_there() {
    for seconds in [600, -600] {
        let openemr = off_by("8.0", seconds, &["--token-lifetime", "3"]);
        let began = Instant::now();
        let gateway = Gateway::start(&openemr);
        let issued = crate::support::eventually("the token is renewed twice", || {
            let answer = gateway.caller().get(PATIENTS);
            assert_eq!(answer.status, 200, "{seconds}: {}", answer.text());
            Some(openemr.count("tokens_issued")).filter(|issued| *issued >= 3)
        });
        // Renewed after 2.25 s at the earliest.
        let most = 1 + (began.elapsed().as_secs_f64() / 2.25) as u64;
        assert!(issued <= most, "{issued} of {most}");
        // One request was refused for the clock.
        assert_eq!(openemr.count("token_requests"), openemr.count("tokens_issued") + 1);
    }
}
