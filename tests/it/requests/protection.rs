//! The limit on requests in flight: OpenEMR gets no more than `in_flight.most` at once, the rest wait in order or are told
//! when to come back, and each kind of request has its own timeout.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::gateway::{Gateway, config};
use crate::support::http::{Answer, request};
use crate::support::load_report::Row;
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

const PATIENTS: &str = "/fhir/Patient?_count=1";
fn limited(openemr: &OpenEmr, mut in_flight: Value) -> Gateway {
    // All requests come from one address here.
    in_flight["most_of_a_client"] = in_flight["most"].clone();
    in_flight["adaptive"] = json!(false);
    in_flight["queue_target"] = json!("60s");
    let mut config = config(openemr);
    config["sites"]["default"]["in_flight"] = in_flight;
    // Tells when a request has to wait.
    config["log"]["level"] = json!("debug");
    let gateway = Gateway::with(config);
    // What OpenEMR can do is asked once, and that is not what is counted here.
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    openemr.reset();
    gateway
}

/// How many requests have had to wait so far.
fn have_waited(gateway: &Gateway) -> usize {
    gateway.log().matches("waits until OpenEMR has room").count()
}

/// Returns once that many more requests have to wait than `before`.
fn until_wait(gateway: &Gateway, before: usize, count: usize) {
    eventually("a request waits", || (have_waited(gateway) >= before + count).then_some(()));
}

/// Checks that this is 503 with a time to come back, and gives its sentence.
fn sent_away(answer: &Answer) -> String {
    let seconds: u64 = answer.field("retry-after").expect("Retry-After").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    answer.outcome(503)
}

/// Sends so many requests at once, each on a connection of its own, and waits for all answers.
fn at_once(gateway: &Gateway, count: usize) -> Vec<(Answer, Duration)> {
    let asking: Vec<_> = (0..count)
        .map(|_| {
            let caller = gateway.caller();
            thread::spawn(move || {
                let mut connection = caller.connect();
                let sent = Instant::now();
                connection.write(&request("GET", PATIENTS, &[], b""));
                (connection.read("GET"), sent.elapsed())
            })
        })
        .collect();
    asking.into_iter().map(|asking| asking.join().unwrap()).collect()
}

/// Starts a request that OpenEMR works on for so long, and returns once it does.
fn occupy(gateway: &Gateway, openemr: &OpenEmr, milliseconds: u64) -> thread::JoinHandle<Answer> {
    openemr.order(&json!({"fhir": {"target": "occupy", "delay_ms": milliseconds}}));
    let before = openemr.count("fhir_requests");
    let caller = gateway.caller();
    let asking = thread::spawn(move || caller.get("/fhir/Patient?_count=1&_id=occupy"));
    eventually("OpenEMR is at work", || (openemr.count("fhir_requests") > before).then_some(()));
    asking
}

#[test]
fn two_hundred_requests_at_once_are_eight_for_openemr_and_all_are_answered() {
    let openemr = OpenEmr::start();
    let gateway = limited(&openemr, json!({"most": 8, "queue": 200, "queue_timeout": "30s"}));
    openemr.order(&json!({"fhir": {"delay_ms": 300}}));
    let answers = at_once(&gateway, 200);
    let failed = answers.iter().filter(|(answer, _)| answer.status != 200).count() as u64;
    let longest_stall = answers.iter().map(|(_, waited)| *waited).max().unwrap();
    Row { fault: "200 requests at once, 8 allowed".to_owned(), sent: 200, failed, longest_stall }.print();
    assert_eq!(failed, 0);
    assert_eq!(openemr.count("fhir_requests"), 200);
    assert_eq!(openemr.count("most_fhir_at_once"), 8);
}

#[test]
fn beyond_the_queue_there_is_503_at_once() {
    let openemr = OpenEmr::start();
    let gateway = limited(&openemr, json!({"most": 8, "queue": 16, "queue_timeout": "60s"}));
    const DELAY: Duration = Duration::from_secs(6);
    openemr.order(&json!({"fhir": {"delay_ms": DELAY.as_millis() as u64}}));
    let answers = at_once(&gateway, 200);
    let (served, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|(answer, _)| answer.status == 200);
    assert!(served.len() >= 24, "{} served", served.len());
    for (answer, waited) in &refused {
        assert!(sent_away(answer).contains("too many requests wait"), "{}", answer.text());
        assert!(*waited < DELAY, "told after {waited:?}");
    }
    assert_eq!((served.len() + refused.len(), openemr.count("fhir_requests")), (200, served.len() as u64));
    assert_eq!(openemr.count("most_fhir_at_once"), 8);
}

#[test]
fn who_waits_too_long_gets_503() {
    let openemr = OpenEmr::start();
    let gateway = limited(&openemr, json!({"most": 1, "queue": 4, "queue_timeout": "300ms"}));
    let busy = occupy(&gateway, &openemr, 8_000);
    let asked = Instant::now();
    let answer = gateway.caller().get(PATIENTS);
    let waited = asked.elapsed();
    assert!(sent_away(&answer).contains("turn"), "{}", answer.text());
    assert!(waited >= Duration::from_millis(300) && !busy.is_finished(), "{waited:?}");
    assert_eq!(busy.join().unwrap().status, 200);
    assert_eq!(openemr.count("fhir_requests"), 1, "OpenEMR never saw it");
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
}

#[test]
fn a_search_in_parts_takes_its_turn_and_has_one_for_all_of_them() {
    let openemr = OpenEmr::start();
    let gateway = limited(&openemr, json!({"most": 1, "queue": 4, "queue_timeout": "300ms"}));
    let parts = "/fhir/Observation?code=8867-4,9279-1";
    let busy = occupy(&gateway, &openemr, 8_000);
    let told = sent_away(&gateway.caller().get(parts));
    assert!(told.contains("turn") && !busy.is_finished(), "{told}");
    assert_eq!(busy.join().unwrap().status, 200);
    assert_eq!(openemr.count("fhir_requests"), 1, "OpenEMR never saw it");
    assert_eq!(gateway.caller().get(parts).status, 200);
    assert_eq!(openemr.count("fhir_requests"), 3);
}

#[test]
fn the_queue_is_in_order() {
    let openemr = OpenEmr::start();
    let gateway = limited(&openemr, json!({"most": 1, "queue": 8, "queue_timeout": "30s"}));
    let busy = occupy(&gateway, &openemr, 6_000);
    // So far apart that the clients do not overtake each other after their answers.
    openemr.order(&json!({"fhir": {"delay_ms": 1_500}}));
    let (done, order) = std::sync::mpsc::channel();
    for number in 0..5 {
        let (caller, done) = (gateway.caller(), done.clone());
        thread::spawn(move || {
            let mut connection = caller.connect();
            connection.write(&request("GET", PATIENTS, &[], b""));
            assert_eq!(connection.read("GET").status, 200);
            done.send(number).unwrap();
        });
        until_wait(&gateway, 0, number + 1);
    }
    let order: Vec<usize> = (0..5).map(|_| order.recv().unwrap()).collect();
    assert_eq!(order, [0, 1, 2, 3, 4]);
    assert_eq!(busy.join().unwrap().status, 200);
}

#[test]
fn a_caller_who_hangs_up_while_he_waits_gives_back_his_place() {
    let openemr = OpenEmr::start();
    let gateway = limited(&openemr, json!({"most": 1, "queue": 1, "queue_timeout": "20s"}));
    for request in [
        request("GET", PATIENTS, &[], b""),
        request("POST", "/fhir/Patient", &[("Content-Type", "application/fhir+json")], b"{\"resourceType\": \"Patient\"}"),
    ] {
        openemr.reset();
        let busy = occupy(&gateway, &openemr, 8_000);
        let before = have_waited(&gateway);
        let mut leaver = gateway.caller().connect();
        leaver.write(&request);
        until_wait(&gateway, before, 1);
        sent_away(&gateway.caller().get(PATIENTS));
        drop(leaver);
        let patient = eventually("there is room", || Some(gateway.caller().get(PATIENTS)).filter(|answer| answer.status != 503));
        assert_eq!(patient.status, 200);
        assert_eq!(busy.join().unwrap().status, 200);
        assert_eq!(openemr.count("fhir_requests"), 2, "OpenEMR never saw the one who left");
    }
}

#[test]
fn a_body_that_came_while_its_request_waited_arrives_whole() {
    let openemr = OpenEmr::start();
    let gateway = limited(&openemr, json!({"most": 1, "queue": 4, "queue_timeout": "20s"}));
    for length in [3, 60_000, 65_536, 65_537, 300_000] {
        openemr.reset();
        let busy = occupy(&gateway, &openemr, 700);
        let body = format!("{{{}}}", " ".repeat(length - 2)).into_bytes();
        let answer = gateway.caller().post("/fhir/Patient", &[("Content-Type", "application/fhir+json")], &body);
        assert_ne!(answer.status, 503, "{}", answer.text());
        assert_eq!(openemr.state()["last_fhir_request"]["body_length"], length);
        assert_eq!(busy.join().unwrap().status, 200);
    }
}

#[test]
fn every_way_in_which_a_request_ends_gives_back_its_place() {
    let openemr = OpenEmr::start();
    // A permit that is lost makes every later request fail with 503.
    let mut config = config(&openemr);
    config["sites"]["default"]["in_flight"] = json!({"most": 1, "queue": 1, "queue_timeout": "5s"});
    config["sites"]["default"]["timeouts"] = json!({"read": "300ms"});
    let gateway = Gateway::with(config);
    let free = |after: &str| {
        openemr.order(&json!({"fhir": null, "listener": "up"}));
        eventually(&format!("a place after {after}"), || (gateway.caller().get(PATIENTS).status == 200).then_some(()));
    };
    free("the start");
    for (what, orders) in [
        ("no answer", json!({"fhir": {"hang_up": true}})),
        ("an error", json!({"fhir": {"error": "system"}})),
        ("a web page", json!({"fhir": {"html": true}})),
        ("a cut body", json!({"fhir": {"truncate_after": 10}})),
        ("a cut HTTP/1.0 body", json!({"fhir": {"truncate_after": 10, "framing": "http10"}})),
        ("silence", json!({"fhir": {"delay_ms": 3_000}})),
        ("no connection", json!({"listener": "down"})),
        ("no body", json!({"fhir": {"answer": {"status": 204}}})),
    ] {
        openemr.order(&orders);
        let mut connection = gateway.caller().connect();
        connection.write(&request("GET", PATIENTS, &[], b""));
        let head = connection.read_head();
        assert_ne!(head.status, 503, "{what}");
        drop(connection);
        free(what);
    }
    for method in ["HEAD", "OPTIONS", "DELETE"] {
        gateway.caller().send(method, PATIENTS, &[], b"");
        free(method);
    }
    // A client that hangs up in the middle of its body, and one that does so before the answer.
    let mut connection = gateway.caller().connect();
    connection.write(b"POST /fhir/Patient HTTP/1.1\r\nHost: gateway\r\nContent-Length: 1000\r\n\r\nhalf");
    drop(connection);
    free("half a body");
    openemr.order(&json!({"fhir": {"delay_ms": 250}}));
    let mut connection = gateway.caller().connect();
    connection.write(&request("GET", PATIENTS, &[], b""));
    drop(connection);
    free("a caller who did not wait");
}

#[test]
fn a_token_exchange_does_not_stand_in_the_queue() {
    let openemr = OpenEmr::start();
    let gateway = limited(&openemr, json!({"most": 1, "queue": 1, "queue_timeout": "20s"}));
    let busy = occupy(&gateway, &openemr, 10_000);
    let caller = gateway.caller();
    let waiting = thread::spawn(move || caller.get(PATIENTS));
    until_wait(&gateway, 0, 1);
    sent_away(&gateway.caller().get(PATIENTS));
    let before = openemr.count("tokens_issued");
    assert_eq!(gateway.token("?force=true").status, 200);
    assert_eq!(openemr.count("tokens_issued"), before + 1);
    assert!(!busy.is_finished() && !waiting.is_finished(), "the queue was full all the while");
    assert_eq!((busy.join().unwrap().status, waiting.join().unwrap().status), (200, 200));
}

fn exporting(openemr: &OpenEmr) -> Gateway {
    let mut config = config(openemr);
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.$export"]);
    config["sites"]["default"]["timeouts"] = json!({"read": "3s", "export": "60s"});
    // The caller's own export, not one that the gateway makes of it.
    config["sites"]["default"]["repairs"] = json!({"bulk_data": false});
    Gateway::with(config)
}

const EXPORT: [(&str, &str); 2] = [("Accept", "application/fhir+json"), ("Prefer", "respond-async")];

#[test]
fn an_export_has_more_time_than_the_rest() {
    let openemr = OpenEmr::start();
    let gateway = exporting(&openemr);
    openemr.order(&json!({"fhir": {"delay_ms": 8_000}}));
    let answer = gateway.caller().send("GET", "/fhir/Patient/$export", &EXPORT, b"");
    assert_eq!(answer.status, 202, "{}", answer.text());
    gateway.caller().get(PATIENTS).outcome(504);
}

#[test]
fn an_export_is_never_sent_twice() {
    let openemr = OpenEmr::start();
    let gateway = exporting(&openemr);
    let export = || gateway.caller().send("GET", "/fhir/Patient/$export", &EXPORT, b"");
    let (answer, asked) = gateway.meet_a_dead_connection(&openemr, export);
    answer.outcome(502);
    assert_eq!(asked, 0);
    // What was lost on its way back may be at work for minutes.
    openemr.reset();
    openemr.order(&json!({"fhir": {"lose_answer": true, "times": 1}}));
    export().outcome(502);
    assert_eq!(openemr.count("fhir_requests"), 1);
}

#[test]
fn a_search_by_post_that_meets_a_dead_connection_is_repeated_with_its_body() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let (answer, asked) =
        gateway.meet_a_dead_connection(&openemr, || gateway.caller().post("/fhir/Patient/_search", &form, b"name=A&x"));
    assert_eq!((answer.status, asked), (200, 1), "{}", answer.text());
    assert_eq!(openemr.state()["last_fhir_request"]["body_length"], 6);
}
