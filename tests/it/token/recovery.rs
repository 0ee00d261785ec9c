//! OpenEMR revokes a token before its end and says so in several ways; no client notices any of them.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::gateway::{Gateway, config, pass_through};
use crate::support::http::{Answer, End, request};
use crate::support::openemr::OpenEmr;
use crate::support::{DEADLINE, Stop, eventually};
use serde_json::{Value, json};

const PATIENTS: &str = "/fhir/Patient?_count=1";
const VERSIONS: [&str; 2] = ["8.0", "7.0.3"];
/// The ways in which a token is taken back: 401, 400, 401.
const WAYS: [&str; 3] = ["by_admin", "trusted_user", "unknown"];

fn openemr(version: &str) -> OpenEmr {
    OpenEmr::with(&["--openemr", version])
}

#[test]
fn a_token_that_was_taken_back_is_replaced_and_the_request_repeated() {
    for version in VERSIONS {
        let openemr = openemr(version);
        let gateway = Gateway::start(&openemr);
        for (round, way) in WAYS.into_iter().enumerate() {
            assert_eq!(gateway.caller().get(PATIENTS).status, 200);
            openemr.order(&json!({"revoke_tokens": way}));
            let answer = gateway.caller().get(PATIENTS);
            assert_eq!((answer.status, answer.end), (200, End::Whole), "{version} {way}: {}", answer.text());
            assert_eq!(openemr.count("token_requests"), 2 + round as u64, "{version} {way}");
            let line = gateway.access_line(answer.field("x-request-id").unwrap());
            assert!(line.contains("retries=1"), "{line}");
        }
        gateway.logs(&["refuses token 1 before its end"]);
    }
}

#[test]
fn under_load_one_exchange_replaces_a_token_for_all_and_nobody_notices() {
    for version in VERSIONS {
        let openemr = openemr(version);
        let gateway = Gateway::start(&openemr);
        let (sent, good, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            for caller in 0..8 {
                let (sent, good, over, gateway) = (&sent, &good, &over, &gateway);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let caller_of = gateway.caller();
                        sent.fetch_add(1, Ordering::Relaxed);
                        let answer = match caller % 2 {
                            0 => caller_of.get(PATIENTS),
                            _ => caller_of.post(
                                "/fhir/Patient/_search",
                                &[("Content-Type", "application/x-www-form-urlencoded")],
                                b"family=Nobody",
                            ),
                        };
                        assert_eq!((answer.status, answer.end), (200, End::Whole), "{version}: {}", answer.text());
                        good.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let _stopping = Stop(&over);
            let progress = |by: u64| {
                let from = good.load(Ordering::Relaxed);
                eventually("requests go on", || (good.load(Ordering::Relaxed) >= from + by).then_some(()));
            };
            progress(50);
            for (round, way) in WAYS.into_iter().enumerate() {
                openemr.order(&json!({"revoke_tokens": way}));
                eventually("the token is replaced", || (openemr.count("tokens_issued") == 2 + round as u64).then_some(()));
                progress(50);
            }
        });
        assert_eq!(sent.load(Ordering::Relaxed), good.load(Ordering::Relaxed));
        assert_eq!(openemr.count("token_requests"), 4, "{version}");
    }
}

#[test]
fn tokens_taken_back_again_and_again_are_never_mistaken_for_a_missing_scope() {
    let openemr = openemr("8.0");
    let gateway = Gateway::start(&openemr);
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    let over = AtomicBool::new(false);
    let answered: [AtomicU64; 6] = std::array::from_fn(|_| AtomicU64::new(0));
    let all_went_on = || {
        let from = answered.each_ref().map(|count| count.load(Ordering::SeqCst));
        // The second answer from now on is one to a request that began later.
        let is_past = |(count, from): (&AtomicU64, u64)| count.load(Ordering::SeqCst) >= from + 2;
        eventually("each client gets an answer to a new request", || answered.iter().zip(from).all(is_past).then_some(()));
    };
    thread::scope(|scope| {
        for count in &answered {
            let (over, gateway) = (&over, &gateway);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let answer = gateway.caller().get(PATIENTS);
                    // On a machine that is busy enough, the new token takes more than the five seconds that a request waits for it.
                    assert!(answer.status == 200 || is_without_a_token_yet(&answer), "{} {}", answer.status, answer.text());
                    count.fetch_add(u64::from(answer.status == 200), Ordering::SeqCst);
                }
            });
        }
        let _stopping = Stop(&over);
        // Twice in a row each time: requests are refused again with the token that took the place of the first, as soon
        // as OpenEMR has accepted that one. The burst of five is used up, so that some wait for their turn.
        for way in WAYS {
            for _ in 0..2 {
                let before = openemr.count("tokens_issued");
                openemr.order(&json!({"revoke_tokens": way}));
                eventually("there are patients again", || {
                    let answer = gateway.caller().get(PATIENTS);
                    assert!(answer.status == 200 || is_without_a_token_yet(&answer), "{} {}", answer.status, answer.text());
                    (answer.status == 200).then_some(())
                });
                assert!(openemr.count("tokens_issued") > before);
            }
            // No request is there from one way to the next: none is refused more than twice.
            all_went_on();
        }
    });
}

/// Whether the gateway says that the token which is to replace the refused one is late.
fn is_without_a_token_yet(answer: &Answer) -> bool {
    answer.status == 503 && answer.field("retry-after").is_some()
}

#[test]
fn an_openemr_that_was_restarted_and_knows_no_token_is_served_without_a_lost_request() {
    let address = crate::support::gateway::free_address().to_string();
    let started = |version: &str| OpenEmr::with(&["--openemr", version, "--listen", &address]);
    for version in VERSIONS {
        let openemr = started(version);
        let gateway = Gateway::start(&openemr);
        assert_eq!(gateway.caller().get(PATIENTS).status, 200);
        // Killed; the next one has another signing key and an empty database.
        drop(openemr);
        let openemr = started(version);
        let answers: Vec<Answer> = thread::scope(|scope| {
            let asking: Vec<_> = (0..10).map(|_| scope.spawn(|| gateway.caller().get(PATIENTS))).collect();
            asking.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for answer in answers {
            assert_eq!((answer.status, answer.end), (200, End::Whole), "{version}: {}", answer.text());
        }
        assert_eq!(openemr.count("token_requests"), 1, "{version}");
    }
}

fn created(gateway: &Gateway, family: &str, padding: usize) -> Answer {
    let body = json!({
        "resourceType": "Patient", "gender": "female", "birthDate": "1984-02-29",
        "name": [{"use": "official", "family": family, "given": ["Ada"]}],
        "text": {"status": "additional", "div": format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{}</div>", "x".repeat(padding))},
    });
    gateway.caller().post("/fhir/Patient", &[("Content-Type", "application/fhir+json")], body.to_string().as_bytes())
}

/// How many patients of that name there are.
fn found(gateway: &Gateway, family: &str) -> usize {
    let bundle = gateway.caller().get(&format!("/fhir/Patient?family={family}")).json();
    bundle["entry"].as_array().map_or(0, Vec::len)
}

fn with_write_scope(openemr: &OpenEmr) -> Value {
    let mut config = config(openemr);
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
    config
}

#[test]
fn a_create_is_repeated_while_its_body_is_whole_and_done_once() {
    let openemr = openemr("8.0");
    let gateway = Gateway::with(with_write_scope(&openemr));
    for (way, family) in WAYS.into_iter().zip(["Early", "Middle", "Late"]) {
        openemr.order(&json!({"revoke_tokens": way}));
        let answer = created(&gateway, family, 0);
        assert_eq!(answer.status, 201, "{way}: {}", answer.text());
        assert_eq!(found(&gateway, family), 1, "{way}");
    }
}

#[test]
fn what_cannot_be_repeated_is_said_to_be_undone_and_the_token_replaced_for_the_others() {
    for way in WAYS {
        let openemr = openemr("8.0");
        let gateway = Gateway::with(with_write_scope(&openemr));
        openemr.order(&json!({"revoke_tokens": way}));
        let answer = created(&gateway, "Large", 100_000);
        let words = answer.outcome(503);
        assert!(words.contains("not carried out"), "{way}: {words}");
        assert!(answer.field("retry-after").is_some(), "{way}");
        // The next one finds the new token, without asking for another.
        assert_eq!(found(&gateway, "Large"), 0, "{way}");
        let answer = created(&gateway, "Large", 100_000);
        assert_eq!(answer.status, 201, "{way}: {}", answer.text());
        assert_eq!(openemr.count("token_requests"), 2, "{way}");
    }
}

#[test]
fn a_scope_that_was_not_granted_is_403_and_costs_nothing() {
    for version in VERSIONS {
        let openemr = OpenEmr::with(&["--openemr", version, "--scope", "system/Patient.read"]);
        let gateway = Gateway::start(&openemr);
        for (method, target, scope) in [
            ("GET", "/fhir/Observation", "system/Observation.read"),
            ("POST", "/fhir/Observation/_search", "system/Observation.read"),
            ("POST", "/fhir/Patient", "system/Patient.write"),
        ] {
            let answer = gateway.caller().send(method, target, &[("Content-Type", "application/fhir+json")], b"");
            if version == "7.0.3" && method == "POST" && answer.status == 404 {
                continue;
            }
            let words = answer.outcome(403);
            assert!(words.contains(scope), "{version} {method} {target}: {words}");
            assert_eq!(answer.json()["issue"][0]["code"], "forbidden");
        }
        assert_eq!(gateway.caller().get(PATIENTS).status, 200);
        assert_eq!(openemr.count("token_requests"), 1, "{version}");
    }
}

const UNAUTHORIZED: &str = r#"{"error":"An error occurred","message":"Unauthorized","code":0}"#;
const DENIED: &str =
    r#"{"error":"An error occurred","message":"The resource owner or authorization server denied the request.","code":0}"#;

fn refuse(openemr: &OpenEmr, target: &str, body: &str) {
    openemr.order(&json!({"fhir": {"target": target, "answer": {"status": 401, "body": body}}}));
}

#[test]
fn a_brand_new_token_refused_again_means_the_scope_and_costs_one_exchange_for_ever() {
    for (body, content_type) in [(UNAUTHORIZED, "application/json"), ("", "text/html; charset=utf-8")] {
        for served_before in [false, true] {
            let openemr = openemr("8.0");
            let gateway = Gateway::start(&openemr);
            if served_before {
                assert_eq!(gateway.caller().get("/fhir/Observation").status, 200);
            }
            let answer = json!({"status": 401, "body": body, "content_type": content_type});
            openemr.order(&json!({"fhir": {"target": "/Observation", "answer": answer}}));
            let words = gateway.caller().get("/fhir/Observation").outcome(403);
            assert!(words.contains("system/Observation.read"), "{words}");
            assert_eq!(openemr.count("token_requests"), 2);
            for _ in 0..20 {
                gateway.caller().get("/fhir/Observation").outcome(403);
                assert_eq!(gateway.caller().get(PATIENTS).status, 200);
            }
            assert_eq!(openemr.count("token_requests"), 2);
            // Once it works it is known to work, and a token taken back is replaced again.
            openemr.order(&json!({"fhir": null}));
            assert_eq!(gateway.caller().get("/fhir/Observation").status, 200);
            openemr.order(&json!({"revoke_tokens": "by_admin"}));
            assert_eq!(gateway.caller().get("/fhir/Observation").status, 200);
            assert_eq!(openemr.count("token_requests"), 3);
        }
    }
}

#[test]
fn a_token_taken_back_is_replaced_even_where_only_a_refused_scope_is_asked_for() {
    let openemr = openemr("8.0");
    let gateway = Gateway::start(&openemr);
    refuse(&openemr, "/Observation", UNAUTHORIZED);
    gateway.caller().get("/fhir/Observation").outcome(403);
    openemr.order(&json!({"fhir": null, "revoke_tokens": "by_admin"}));
    assert_eq!(gateway.caller().get("/fhir/Observation").status, 200);
    assert_eq!(openemr.count("token_requests"), 3);
}

#[test]
fn one_request_that_openemr_keeps_refusing_costs_two_tries_and_one_exchange() {
    let openemr = openemr("8.0");
    let gateway = Gateway::start(&openemr);
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    refuse(&openemr, "/apis/", DENIED);
    let (requests, exchanges) = (openemr.count("fhir_requests"), openemr.count("token_requests"));
    gateway.caller().get(PATIENTS).outcome(503);
    assert_eq!((openemr.count("fhir_requests"), openemr.count("token_requests")), (requests + 2, exchanges + 1));
}

#[test]
fn openemr_that_takes_none_of_its_own_tokens_is_not_hammered() {
    let openemr = openemr("8.0");
    let gateway = Gateway::start(&openemr);
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    refuse(&openemr, "/apis/", DENIED);
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                // Long enough for the burst to be used up.
                while began.elapsed() < Duration::from_secs(4) || openemr.count("token_requests") < 3 {
                    let answer = gateway.caller().get(PATIENTS);
                    answer.outcome(503);
                    assert!(answer.field("retry-after").is_some());
                }
            });
        }
    });
    // The first one, a burst of five, and one a second.
    let most = 1 + 5 + began.elapsed().as_secs() + 1;
    let exchanges = openemr.count("token_requests");
    assert!((3..=most).contains(&exchanges), "{exchanges} of at most {most}");
    openemr.order(&json!({"fhir": null}));
    eventually("it heals", || (gateway.caller().get(PATIENTS).status == 200).then_some(()));
}

#[test]
fn a_401_for_which_no_scope_can_be_named_is_said_to_be_the_gateways() {
    let openemr = openemr("8.0");
    let gateway = Gateway::start(&openemr);
    refuse(&openemr, "/.well-known/other", UNAUTHORIZED);
    let answer = gateway.caller().get("/fhir/.well-known/other");
    assert!(answer.outcome(403).contains("whatever access token"));
    assert_eq!(openemr.count("token_requests"), 2);
}

#[test]
fn without_a_new_token_the_caller_is_told_when_to_come_back() {
    let openemr = openemr("8.0");
    let gateway = Gateway::start(&openemr);
    openemr.order(&json!({"revoke_tokens": "by_admin", "token": {"down": true}}));
    let asked = Instant::now();
    let answer = gateway.caller().get(PATIENTS);
    answer.outcome(503);
    let retry_after: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&retry_after), "{retry_after}");
    assert!(asked.elapsed() < DEADLINE, "{:?}", asked.elapsed());
    openemr.order(&json!({"token": null}));
    eventually("it heals", || (gateway.caller().get(PATIENTS).status == 200).then_some(()));
}

#[test]
fn a_short_outage_while_a_token_is_replaced_is_waited_for() {
    let openemr = openemr("8.0");
    let gateway = Gateway::start(&openemr);
    openemr.order(&json!({"revoke_tokens": "by_admin", "token": {"refuse": "not_set_up", "times": 2}}));
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    assert_eq!(openemr.count("token_requests"), 4);
}

#[test]
fn ordinary_400s_pass_unchanged_on_a_connection_that_goes_on() {
    let openemr = openemr("8.0");
    let gateway = Gateway::with(pass_through(&openemr));
    let mut connection = gateway.caller().connect();
    let long = format!(r#"{{"validationErrors":"{}"}}"#, "x".repeat(200_000));
    for framing in ["chunked", "content_length", "http10"] {
        for body in [r#"{"validationErrors":{"_id":"The search field argument was invalid"}}"#, "not JSON", long.as_str()] {
            if framing == "http10" && body == "not JSON" {
                continue; // A body that is no JSON and has no end is no whole answer.
            }
            openemr.order(&json!({"fhir": {"framing": framing, "answer": {"status": 400, "body": body}}}));
            connection.write(&request("GET", PATIENTS, &[], b""));
            let answer = connection.read("GET");
            assert_eq!((answer.status, answer.end), (400, End::Whole), "{framing}");
            assert_eq!(answer.text(), body, "{framing}");
            assert_eq!(answer.field("content-type"), Some("application/json"));
            let line = gateway.access_line(answer.field("x-request-id").unwrap());
            assert!(line.contains("status=400") && line.contains("whole=true"), "{line}");
        }
    }
    openemr.order(&json!({"fhir": null}));
    connection.write(&request("GET", "/fhir/Patient/abc", &[], b""));
    assert_eq!(connection.read("GET").status, 400);
    connection.write(&request("GET", PATIENTS, &[], b""));
    assert_eq!(connection.read("GET").status, 200);
    assert_eq!(openemr.count("token_requests"), 1);
}

#[test]
fn a_400_that_breaks_off_is_not_taken_for_whole() {
    let openemr = openemr("8.0");
    let gateway = Gateway::start(&openemr);
    let body = format!(r#"{{"validationErrors":"{}"}}"#, "x".repeat(5_000));
    for framing in ["chunked", "content_length", "http10"] {
        openemr.order(&json!({"fhir": {"framing": framing, "truncate_after": 1000, "answer": {"status": 400, "body": body}}}));
        let answer = gateway.caller().get(PATIENTS);
        assert!(answer.status == 502 || answer.end == End::Cut, "{framing}: {} {:?}", answer.status, answer.end);
    }
}

#[test]
fn forced_refreshes_have_a_daily_ceiling_and_renewal_has_none() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["sites"]["default"]["forced_refreshes"] = json!({"every": "1ms", "burst": 100, "daily": 3});
    let gateway = Gateway::with(config);
    for _ in 0..3 {
        assert_eq!(gateway.token("?force=true").status, 200);
    }
    let refused = gateway.token("?force=true");
    assert_eq!((refused.status, refused.json()["error"].clone()), (429, json!("too_many_refreshes")));
    let seconds: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((86_000..=86_400).contains(&seconds), "{seconds}");
    assert_eq!((gateway.token("").status, openemr.count("tokens_issued")), (200, 4));
    // A token that OpenEMR no longer takes is replaced all the same.
    for _ in 0..3 {
        openemr.order(&json!({"revoke_tokens": "by_admin"}));
        assert_eq!(gateway.caller().get("/fhir/Patient?_count=1").status, 200);
    }
    assert_eq!((gateway.token("?force=true").status, openemr.count("tokens_issued")), (429, 7));
}

#[test]
fn forced_refreshes_are_limited() {
    let openemr = openemr("8.0");
    let gateway = Gateway::start(&openemr);
    let (mut new, mut limited) = (0, 0);
    let began = Instant::now();
    for _ in 0..40 {
        let answer = gateway.token("?force=true");
        match answer.status {
            200 => new += 1,
            429 => {
                limited += 1;
                assert_eq!(
                    (answer.field("retry-after"), answer.json()["error"].clone()),
                    (Some("1"), json!("too_many_refreshes"))
                );
                assert_eq!(answer.field("content-type"), Some("application/json"));
            }
            status => panic!("{status}: {}", answer.text()),
        }
    }
    assert!(limited > 0);
    assert!((5..=5 + began.elapsed().as_secs() + 1).contains(&new), "{new}");
    assert_eq!(openemr.count("token_requests"), 1 + new);
    // Without `force` the current token is shown.
    assert_eq!(gateway.token("").status, 200);
}

#[test]
fn two_names_of_one_client_share_a_token() {
    let openemr = openemr("8.0");
    let mut config = config(&openemr);
    let mut same = config["sites"]["default"].clone();
    same["token_url"] = json!(format!("{}/oauth2/default/token", openemr.base));
    same["token_audience"] = same["token_url"].clone();
    same["fhir_base"] = json!(format!("{}/apis/default/fhir", openemr.base));
    let mut reversed = same.clone();
    reversed["scopes"].as_array_mut().unwrap().reverse();
    let mut fewer = same.clone();
    fewer["scopes"] = json!(["system/Patient.read"]);
    config["sites"] = json!({"default": same, "again": reversed, "narrow": fewer});
    let gateway = Gateway::with(config);
    for target in ["/fhir", "/again/fhir", "/narrow/fhir"] {
        assert_eq!(gateway.caller().get(&format!("{target}/Patient?_count=1")).status, 200, "{target}");
    }
    let token = |site: &str| gateway.token(&format!("?site={site}")).json()["access_token"].clone();
    assert_eq!(token("default"), token("again"));
    assert_ne!(token("default"), token("narrow"));
    assert_eq!(openemr.count("token_requests"), 2);
}

/// An OpenEMR whose FHIR side answers what the test says, from the request's head alone, and closes. Tokens come from the
/// sandbox.
fn scripted(openemr: &OpenEmr, answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Gateway {
    scripted_with(config(openemr), answer)
}

fn scripted_with(mut config: Value, answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Gateway {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let fhir_base = format!("http://{}/fhir", listener.local_addr().unwrap());
    let answer = std::sync::Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), std::sync::Arc::clone(&answer));
            thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                    head.push(byte[0]);
                }
                let answer = answer(&String::from_utf8_lossy(&head).to_lowercase());
                let _ = stream.write_all(answer.as_bytes());
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            });
        }
    });
    config["sites"]["default"]["fhir_base"] = json!(fhir_base);
    Gateway::with(config)
}

fn json_answer(status: u16, more: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n{body}"
    )
}

#[test]
fn a_refusal_that_comes_compressed_is_asked_for_plainly() {
    let openemr = openemr("8.0");
    let heads = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = std::sync::Arc::clone(&heads);
    let first_token = std::sync::Mutex::new(None);
    // With repairs, OpenEMR is never asked to compress.
    let gateway = scripted_with(pass_through(&openemr), move |head| {
        seen.lock().unwrap().push(head.to_owned());
        let token = head.lines().find(|line| line.starts_with("authorization:")).unwrap_or_default().to_owned();
        let mut first_token = first_token.lock().unwrap();
        match (*first_token.get_or_insert(token.clone()) == token, head.contains("accept-encoding:")) {
            (true, true) => json_answer(400, "Content-Encoding: gzip\r\n", "cannot be read"),
            (true, false) => {
                json_answer(400, "", r#"{"error":"An error occurred","message":"Refresh Token revoked or logged out","code":0}"#)
            }
            (false, _) => json_answer(200, "", r#"{"resourceType":"Bundle"}"#),
        }
    });
    let answer = gateway.caller().send("GET", PATIENTS, &[("Accept-Encoding", "gzip")], b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!((heads.lock().unwrap().len(), openemr.count("token_requests")), (3, 2));
    // What is not sent twice for that reason never has leave to compress.
    let answer = gateway.caller().post("/fhir/Patient", &[("Accept-Encoding", "gzip")], b"{}");
    assert_eq!(answer.status, 200);
    assert!(!heads.lock().unwrap().last().unwrap().contains("accept-encoding"));
}

#[test]
fn a_caller_who_has_not_sent_its_whole_body_gets_the_400_at_once() {
    let openemr = openemr("8.0");
    let body = r#"{"validationErrors":{"name":"is missing"}}"#;
    let gateway = scripted(&openemr, move |_| json_answer(400, "", body));
    let mut connection = gateway.caller().connect();
    connection
        .write(b"POST /fhir/Patient HTTP/1.1\r\nHost: gateway.example\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n");
    assert_eq!(connection.read_head().status, 100);
    // OpenEMR is asked once the gateway has the first part of a long body, and refuses it without the rest.
    connection.write(&[b' '; 60_000]);
    let answer = connection.read("POST");
    assert_eq!(answer.outcome(400), "OpenEMR says: is missing");
    assert_eq!(openemr.count("token_requests"), 1);
}
