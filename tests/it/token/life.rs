//! The gateway's token is requested once and renewed ahead of its end without a failed request, and every failure is explained.

use std::collections::HashSet;
use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::gateway::{Gateway, config};
use crate::support::http::{Caller, request};
use crate::support::openemr::{CLIENT, OpenEmr};
use crate::support::{Stop, eventually, keys};
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

const PATIENTS: &str = "/fhir/Patient?_count=1";

/// The access token, as a loopback caller sees it.
fn token_of(gateway: &Gateway) -> String {
    let answer = gateway.token("");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

/// What the last assertion claimed.
fn claims(openemr: &OpenEmr) -> Value {
    openemr.state()["last_token_request"]["assertion_claims"].clone()
}

#[test]
fn many_requests_cost_one_exchange() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connection = gateway.caller().connect();
                for _ in 0..10 {
                    connection.write(&request("GET", PATIENTS, &[], b""));
                    assert_eq!(connection.read("GET").status, 200);
                }
            });
        }
    });
    assert_eq!((openemr.count("token_requests"), openemr.count("fhir_requests")), (1, 80));
}

#[test]
fn the_token_request_is_what_smart_asks_for_and_nothing_else() {
    let openemr = OpenEmr::start();
    let _gateway = Gateway::start(&openemr);
    let asked = openemr.state()["last_token_request"].clone();
    assert_eq!((&asked["method"], &asked["target"]), (&json!("POST"), &json!("/oauth2/default/token")));
    assert_eq!(asked["form_fields"], json!(["grant_type", "scope", "client_assertion_type", "client_assertion"]));
    let scopes = asked["scope"].as_str().unwrap().split(' ').collect::<HashSet<_>>();
    assert_eq!(scopes, HashSet::from(["system/Patient.read", "system/Observation.read", "system/Binary.read"]));

    let names: Vec<String> =
        asked["fields"].as_array().unwrap().iter().map(|field| field[0].as_str().unwrap().to_lowercase()).collect();
    let names: HashSet<&str> = names.iter().map(String::as_str).collect();
    assert!(
        names.is_subset(&HashSet::from(["host", "accept", "content-type", "content-length", "user-agent", "connection"])),
        "{names:?}"
    );
    let host =
        asked["fields"].as_array().unwrap().iter().find(|field| field[0].as_str().unwrap().eq_ignore_ascii_case("host")).unwrap();
    assert_eq!(host[1], openemr.address.to_string());

    let set: Value = serde_json::from_slice(&std::fs::read(keys("RS384").join("jwks.json")).unwrap()).unwrap();
    assert_eq!(asked["assertion_header"], json!({"typ": "JWT", "alg": "RS384", "kid": set["keys"][0]["kid"]}));
    let claims = claims(&openemr);
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!(CLIENT), &json!(CLIENT)));
    assert_eq!(claims["aud"], format!("{}/oauth2/default/token", openemr.base));
    let (iat, exp) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(exp - iat == 240 && now.abs_diff(iat) < 60, "{claims}");
    let jti = uuid::Uuid::parse_str(claims["jti"].as_str().unwrap()).unwrap();
    assert_eq!(jti.get_version_num(), 4);
    assert_eq!(claims.as_object().unwrap().len(), 6, "{claims}");
}

#[test]
fn a_forced_refresh_changes_the_token_and_signs_anew() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let (first, first_jti) = (token_of(&gateway), claims(&openemr)["jti"].clone());
    assert_eq!(token_of(&gateway), first);
    let answer = gateway.token("?force=true");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let forced = answer.json();
    assert_eq!(forced["token_type"], "Bearer");
    assert!((290..=300).contains(&forced["expires_in"].as_u64().unwrap()), "{forced}");
    assert!(forced["scope"].as_str().unwrap().contains("system/Patient.read"));
    assert_ne!(forced["access_token"], first);
    assert_ne!(claims(&openemr)["jti"], first_jti);
    gateway.caller().get(PATIENTS);
    assert_eq!(openemr.received("authorization"), [format!("Bearer {}", forced["access_token"].as_str().unwrap())]);
    assert_eq!(openemr.count("token_requests"), 2);
}

#[test]
fn forced_refreshes_that_meet_cause_one_exchange() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let before = token_of(&gateway);
    // Slow enough for all of them to arrive while the first is at it.
    openemr.order(&json!({"token": {"delay_ms": 5_000}}));
    let tokens: HashSet<String> = thread::scope(|scope| {
        let asking: Vec<_> = (0..20).map(|_| scope.spawn(|| gateway.token("?force=true"))).collect();
        let answers = asking.into_iter().map(|thread| thread.join().unwrap());
        answers.map(|answer| answer.json()["access_token"].as_str().unwrap().to_owned()).collect()
    });
    assert_eq!(tokens.len(), 1);
    assert!(!tokens.contains(&before));
    assert_eq!(openemr.count("token_requests"), 2);
}

/// Four clients, until so many tokens were issued, one a life.
fn traffic_over_tokens_that_live(seconds: u32, tokens: u64) {
    let openemr = OpenEmr::with(&["--token-lifetime", &seconds.to_string()]);
    let began = Instant::now();
    let gateway = Gateway::start(&openemr);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stopping = Stop(&over);
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = gateway.caller().connect();
                while !over.load(Ordering::Relaxed) {
                    connection.write(&request("GET", PATIENTS, &[], b""));
                    let answer = connection.read("GET");
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    thread::sleep(Duration::from_millis(3));
                }
            });
        }
        eventually("the token is renewed again and again", || (openemr.count("tokens_issued") >= tokens).then_some(()));
    });
    // No token is replaced before 75 % of its life.
    let most = 1 + (began.elapsed().as_secs_f64() / (f64::from(seconds) * 0.75)) as u64;
    let issued = openemr.count("tokens_issued");
    assert!(issued <= most, "{issued} of {most}");
    eventually("as many tokens as exchanges", || {
        (openemr.count("token_requests") == openemr.count("tokens_issued")).then_some(())
    });
}

#[test]
fn a_life_of_two_seconds_is_renewed_without_a_lost_request() {
    traffic_over_tokens_that_live(2, 5);
}

#[test]
fn a_life_of_three_seconds_is_renewed_without_a_lost_request() {
    traffic_over_tokens_that_live(3, 4);
}

#[test]
fn a_request_waits_for_the_first_token() {
    let openemr = OpenEmr::start();
    // Longer than the gateway's start waits, and not as long as both, start and request.
    openemr.order(&json!({"token": {"delay_ms": 9_000, "times": 1}}));
    let gateway = Gateway::start(&openemr);
    assert_eq!(openemr.count("tokens_issued"), 0);
    let asked = Instant::now();
    let answer = gateway.caller().get(PATIENTS);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(asked.elapsed() > Duration::from_millis(100), "it did not have to wait: {:?}", asked.elapsed());
    assert_eq!(openemr.count("token_requests"), 1);
}

#[test]
fn requests_wait_when_renewal_takes_longer_than_the_token_lives() {
    let openemr = OpenEmr::with(&["--token-lifetime", "6"]);
    let gateway = Gateway::start(&openemr);
    // Renewal begins after 4.8 s at the latest, and the old token serves for 5.4 s.
    openemr.order(&json!({"token": {"delay_ms": 3_500}}));
    eventually("a request waits", || {
        let asked = Instant::now();
        let answer = gateway.caller().get(PATIENTS);
        assert_eq!(answer.status, 200, "{}", answer.text());
        (asked.elapsed() > Duration::from_secs(1)).then_some(())
    });
    assert!(openemr.count("tokens_issued") > 1);
}

#[test]
fn without_a_token_endpoint_requests_get_503_until_it_is_back() {
    let openemr = OpenEmr::start();
    openemr.order(&json!({"token": {"down": true}}));
    let gateway = Gateway::start(&openemr);
    let answer = gateway.caller().get(PATIENTS);
    let words = answer.outcome(503);
    assert!(!words.contains("127.0.0.1"), "{words}");
    let retry_after: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&retry_after), "{retry_after}");
    assert_eq!(openemr.count("fhir_requests"), 0);
    gateway.logs(&["no token", "token endpoint"]);
    // No restart is needed.
    openemr.order(&json!({"token": null}));
    eventually("a token at last", || (gateway.caller().get(PATIENTS).status == 200).then_some(()));
    gateway.logs(&["a token at last"]);
}

#[test]
fn a_gateway_that_starts_before_openemr_heals_when_it_comes() {
    let openemr = OpenEmr::start();
    openemr.order(&json!({"listener": "down"}));
    let gateway = Gateway::start(&openemr);
    gateway.logs(&["no token", "cannot be reached"]);
    gateway.caller().get(PATIENTS).outcome(503);
    openemr.order(&json!({"listener": "up"}));
    eventually("OpenEMR is served", || (gateway.caller().get(PATIENTS).status == 200).then_some(()));
}

#[test]
fn pulling_the_plug_and_putting_it_back_heals() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    openemr.order(&json!({"listener": "down"}));
    let words = gateway.caller().get(PATIENTS).outcome(502);
    assert!(!words.contains("127.0.0.1"), "{words}");
    openemr.order(&json!({"listener": "up"}));
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    assert_eq!(openemr.count("token_requests"), 1);
}

#[test]
fn a_failed_renewal_leaves_the_token_in_hand_in_use() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let token = token_of(&gateway);
    openemr.order(&json!({"token": {"refuse": "unknown_client"}}));
    let refused = gateway.token("?force=true");
    assert_eq!((refused.status, refused.json()["error"].clone()), (502, json!("token_exchange_failed")));
    gateway.logs(&["no new token", "the one in hand is good for", "invalid_client"]);
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    assert_eq!(token_of(&gateway), token);
}

#[test]
fn every_refusal_is_logged_with_openemrs_words_and_the_likely_cause() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["sites"]["default"]["forced_refreshes"] = json!({"every": "1ms", "burst": 1000, "daily": 100000});
    let gateway = Gateway::with(config);
    let with_fault = |fault: Value, words: &[&str]| {
        let from = gateway.log().len();
        openemr.order(&json!({"token": fault}));
        let refused = gateway.token("?force=true");
        assert_eq!((refused.status, refused.json()["error"].clone()), (502, json!("token_exchange_failed")), "{fault}");
        let said = refused.text();
        assert!(!said.contains("127.0.0.1") && !said.contains("eyJ") && !said.contains(CLIENT), "{said}");
        gateway.logs_after(from, words);
        // Settled again, so that the next refusal is an answer to the next question.
        openemr.order(&json!({"token": null}));
        assert_eq!(gateway.token("?force=true").status, 200, "{fault}");
    };
    let refuse = |kind: &str, words: &[&str]| with_fault(json!({"refuse": kind}), words);
    refuse("unknown_client", &["401 invalid_client", "Client authentication failed", "not enabled"]);
    refuse("bad_assertion", &["400 invalid_client", "Client authentication failed", "first RSA key"]);
    refuse("issued_too_long_ago", &["400 invalid_request", "Token issued too far in the past", "clock"]);
    refuse("missing_jti", &["400 invalid_request", "Missing jti claim"]);
    refuse("invalid_scope", &["400 invalid_scope", "Check the `system/", "system scopes are off"]);
    refuse("unsupported_grant_type", &["400 unsupported_grant_type", "not OpenEMR's token endpoint"]);
    refuse("not_set_up", &["500 server_error", "Server was not properly setup", "the next attempt succeeds"]);
    refuse("exception", &["answered 500", "HTML page"]);
    let answer = |status: u16, body: &str| json!({"answer": {"status": status, "body": body}});
    with_fault(
        answer(400, r#"{"error":"unauthorized_client","error_description":"x"}"#),
        &["unauthorized_client", "not registered for client_credentials"],
    );
    with_fault(answer(200, "{}"), &["answered 200", "token_type"]);
    with_fault(answer(200, r#"{"token_type":"Bearer","access_token":"a b","expires_in":300,"scope":"s"}"#), &["access_token"]);
    with_fault(answer(204, ""), &["answered 204"]);
    with_fault(answer(302, ""), &["answered 302"]);
    with_fault(
        answer(400, &format!(r#"{{"error":"e","error_description":"first\nsecond {}"}}"#, "x".repeat(5000))),
        &["400 e", "first second"],
    );
    with_fault(json!({"answer": {"status": 503, "body": "<html>", "content_type": "text/html"}}), &["answered 503", "HTML page"]);
    with_fault(json!({"html": true}), &["answered 200", "HTML page"]);
    with_fault(json!({"oversize_bytes": 100_000}), &["larger than 65536 bytes"]);
    with_fault(json!({"truncate": true}), &["broke off"]);
    with_fault(json!({"down": true}), &["broke off"]);
    with_fault(json!({"lose_answer": true}), &["broke off"]);
    with_fault(json!({"expires_in": 0}), &["expires_in"]);
    with_fault(json!({"expires_in": -5}), &["expires_in"]);
    let longest = gateway.log().lines().map(str::len).max().unwrap();
    assert!(longest < 2000, "a line of {longest} bytes");
}

#[test]
fn a_silent_token_endpoint_is_given_up_in_time() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["sites"]["default"]["timeouts"] = json!({"token": "500ms"});
    let gateway = Gateway::with(config);
    openemr.order(&json!({"token": {"delay_ms": 60_000}}));
    let asked = Instant::now();
    assert_eq!(gateway.token("?force=true").status, 502);
    assert!(asked.elapsed() < Duration::from_secs(60), "{:?}", asked.elapsed());
    gateway.logs(&["did not answer within 500ms"]);
}

#[test]
fn a_disabled_client_and_system_scopes_switched_off_are_named() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    openemr.order(&json!({"clients": {CLIENT: {"enabled": false}}}));
    assert_eq!(gateway.token("?force=true").status, 502);
    gateway.logs(&["401 invalid_client", "not enabled"]);
    openemr.order(&json!({"clients": {CLIENT: {"enabled": true}}, "system_scopes": "off"}));
    eventually("the scopes are refused", || gateway.token("?force=true").text().contains("log says why").then_some(()));
    gateway.logs(&["400 invalid_scope", "system scopes are off"]);
}

#[test]
fn a_different_audience_is_a_setting() {
    let openemr = OpenEmr::with(&["--site-address", "https://emr.example.org"]);
    let mut config = config(&openemr);
    let without = Gateway::with(config.clone());
    without.logs(&["400 invalid_client", "token_audience"]);
    config["sites"]["default"]["token_audience"] = json!("https://emr.example.org/oauth2/default/token");
    let gateway = Gateway::with(config);
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
}

#[test]
fn a_lost_answer_is_followed_by_a_new_assertion() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    openemr.order(&json!({"token": {"lose_answer": true, "times": 1}}));
    assert_eq!(gateway.token("?force=true").status, 502);
    let lost = claims(&openemr)["jti"].clone();
    // OpenEMR has used that jti up: another attempt with it would be 400 for ever.
    let refused = openemr.count("assertions_refused");
    assert_eq!(gateway.token("?force=true").status, 200);
    assert_ne!(claims(&openemr)["jti"], lost);
    assert_eq!(openemr.count("assertions_refused"), refused);
}

#[test]
fn scopes_that_openemr_drops_are_named() {
    let openemr = OpenEmr::with(&["--scope", "system/Patient.read"]);
    let gateway = Gateway::start(&openemr);
    let line = gateway.logs(&["did not grant"]);
    assert!(line.contains("system/Observation.read") && line.contains("system/Binary.read"), "{line}");
    assert!(!line.contains("system/Patient.read"), "{line}");
    assert_eq!(gateway.token("").json()["scope"], "system/Patient.read");
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    let words = gateway.caller().get("/fhir/Observation").outcome(403);
    assert!(words.contains("system/Observation.read"), "{words}");
    assert_eq!(openemr.count("token_requests"), 1);
}

#[test]
fn an_empty_grant_is_a_failure() {
    let openemr = OpenEmr::with(&["--scope", "system/Encounter.read"]);
    let gateway = Gateway::start(&openemr);
    gateway.logs(&["no token", "granted none of the scopes"]);
    gateway.caller().get(PATIENTS).outcome(503);
    assert_eq!(openemr.count("fhir_requests"), 0);
}

#[test]
fn a_token_of_thirty_kilobytes_works() {
    let openemr = OpenEmr::start();
    openemr.order(&json!({"token": {"pad_token_bytes": 30_000}}));
    let gateway = Gateway::start(&openemr);
    let token = token_of(&gateway);
    assert!(token.len() > 30_000, "{}", token.len());
    let answer = gateway.caller().get(PATIENTS);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(openemr.received("authorization"), [format!("Bearer {token}")]);
}

#[test]
fn a_token_is_shown_to_whom_the_configuration_says() {
    let openemr = OpenEmr::start();
    for (exposure, shown) in [("loopback", true), ("always", true), ("never", false)] {
        let mut config = config(&openemr);
        config["token_exposure"] = json!(exposure);
        let gateway = Gateway::with(config);
        let answer = gateway.token("");
        let answered = answer.json();
        gateway.caller().get(PATIENTS);
        let used = openemr.received("authorization")[0].strip_prefix("Bearer ").unwrap().to_owned();
        if shown {
            assert_eq!(answered["access_token"], used, "{exposure}");
        } else {
            assert!(!answer.text().contains(&used[..20]), "{exposure}");
            let prefix: String =
                digest(&SHA256, used.as_bytes()).as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(answered["access_token_sha256_prefix"], prefix);
        }
    }
}

/// An address of this machine that is not loopback. Nothing is sent to find it.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback() && !address.is_unspecified())
}

#[test]
fn a_caller_from_elsewhere_does_not_see_the_token() {
    let Some(own) = own_address() else {
        println!("this machine has no address but loopback: nothing to test");
        return;
    };
    let openemr = OpenEmr::start();
    for (exposure, shown) in [("loopback", false), ("always", true), ("never", false)] {
        let mut config = config(&openemr);
        let address = crate::support::gateway::free_address();
        config["listen"] = json!([{"address": format!("0.0.0.0:{}", address.port())}]);
        config["access"] = json!({"allow_from": "open", "anonymous": "everything"});
        config["token_exposure"] = json!(exposure);
        let gateway = Gateway::with(config);
        let from_elsewhere = Caller::new((own, gateway.address.port()).into()).post("/oauth/token", &[], b"").json();
        assert_eq!(from_elsewhere["access_token"].is_string(), shown, "{exposure}: {from_elsewhere}");
        assert_eq!(from_elsewhere["access_token_sha256_prefix"].is_string(), !shown, "{exposure}");
    }
}

#[test]
fn a_token_answer_with_a_byte_order_mark_is_read_like_any_other() {
    let openemr = OpenEmr::start();
    let body =
        "\u{feff}{\"scope\":\"system/Patient.read\",\"token_type\":\"Bearer\",\"expires_in\":300,\"access_token\":\"abc\"}";
    openemr.order(&json!({"token": {"answer": {"status": 200, "body": body}}}));
    let gateway = Gateway::start(&openemr);
    let granted = eventually("the gateway has the token", || {
        let answer = gateway.token("");
        (answer.status == 200).then(|| answer.json())
    });
    assert_eq!(granted["access_token"], "abc");
}
