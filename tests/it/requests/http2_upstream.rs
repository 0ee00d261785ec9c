//! HTTP/2 with OpenEMR, where a web server in front of it offers that: everything that holds for HTTP/1.1.

use std::sync::atomic::Ordering;
use std::thread;

use crate::support::gateway::{Gateway, config};
use crate::support::http::End;
use crate::support::http2_front::Front;
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

const PATIENTS: &str = "/fhir/Patient?_count=5";

/// A gateway whose FHIR requests go by way of `front`.
fn gateway(openemr: &OpenEmr, front: &Front, change: impl FnOnce(&mut Value)) -> Gateway {
    let mut config = config(openemr);
    let site = &mut config["sites"]["default"];
    site["scopes"] = json!(["system/Patient.read", "system/Patient.write", "system/Observation.read"]);
    site["token_url"] = json!(format!("{}/oauth2/default/token", openemr.base));
    site["fhir_base"] = json!(format!("{}/apis/default/fhir", front.base()));
    site["ca_file"] = json!(front.certificate.certificate);
    change(site);
    Gateway::with(config)
}

#[test]
fn requests_share_a_connection_and_are_answered_alike() {
    let openemr = OpenEmr::start();
    let front = Front::of(openemr.address);
    let gateway = gateway(&openemr, &front, |_| {});
    for _ in 0..5 {
        let answer = gateway.caller().get(PATIENTS);
        assert_eq!((answer.status, answer.end), (200, End::Whole), "{}", answer.text());
        assert_eq!(answer.json()["resourceType"], "Bundle");
    }
    openemr.order(&json!({"fhir": {"delay_ms": 300}}));
    let eight_at_once = || {
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(gateway.caller().get(PATIENTS).status, 200));
            }
        });
    };
    // Pingora's threads have connections of their own, and those that come while one is being made make more.
    eight_at_once();
    let before = front.seen.connections();
    eight_at_once();
    let more = front.seen.connections() - before;
    assert!(more <= 4, "{more} connections for eight requests at once");
    assert!(front.seen.streams() >= 21);
}

#[test]
fn bodies_refusals_and_held_answers() {
    let openemr = OpenEmr::start();
    let front = Front::of(openemr.address);
    let gateway = gateway(&openemr, &front, |_| {});
    let caller = gateway.caller();
    let patient = json!({
        "resourceType": "Patient", "name": [{"use": "official", "family": "Sample", "given": ["Ada"]}],
        "gender": "female", "birthDate": "1984-02-29",
    });
    let form = [("Content-Type", "application/fhir+json")];
    assert_eq!(caller.post("/fhir/Patient", &form, patient.to_string().as_bytes()).status, 201);
    for way in ["by_admin", "trusted_user", "unknown"] {
        openemr.order(&json!({"revoke_tokens": way}));
        let answer = caller.get(PATIENTS);
        assert_eq!((answer.status, answer.end), (200, End::Whole), "{way}: {}", answer.text());
        openemr.order(&json!({"revoke_tokens": way}));
        let answer = caller.post("/fhir/Patient", &form, patient.to_string().as_bytes());
        assert_eq!((answer.status, answer.end), (201, End::Whole), "{way}: {}", answer.text());
    }
    let body = r#"{"validationErrors":{"name":"too short"}}"#;
    openemr.order(&json!({"fhir": {"answer": {"status": 400, "body": body}}}));
    assert_eq!(caller.get(PATIENTS).status, 400);
    openemr.order(&json!({"fhir": {"answer": {"status": 404}}}));
    assert_eq!(caller.get("/fhir/Patient/nobody").status, 404);
    // A second refusal without a word: it is the scope.
    openemr.order(&json!({"fhir": {"target": "/Observation", "answer": {"status": 401}}}));
    caller.get("/fhir/Observation?patient=1").outcome(403);
    assert_eq!(caller.get(PATIENTS).status, 200);
}

#[test]
fn a_body_that_was_cut_does_not_end_in_order() {
    let openemr = OpenEmr::start();
    let front = Front::of(openemr.address);
    let gateway = gateway(&openemr, &front, |_| {});
    for framing in ["chunked", "content_length"] {
        openemr.order(&json!({"fhir": {"target": "/Patient", "framing": framing, "truncate_after": 3000}}));
        let answer = gateway.caller().get("/fhir/Patient");
        assert!(answer.end == End::Cut || answer.status == 502, "{framing}: {} {:?}", answer.status, answer.end);
    }
    openemr.order(&json!({"fhir": null}));
    assert_eq!(gateway.caller().get("/fhir/Patient").end, End::Whole);
}

#[test]
fn what_was_refused_unseen_is_sent_once_more_whatever_it_is() {
    let openemr = OpenEmr::start();
    let front = Front::of(openemr.address);
    let gateway = gateway(&openemr, &front, |_| {});
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    front.seen.refuse.store(1, Ordering::SeqCst);
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    front.seen.refuse.store(1, Ordering::SeqCst);
    let body = json!({"resourceType": "Patient", "name": [{"use": "official", "family": "S", "given": ["A"]}], "gender": "male", "birthDate": "1984-02-29"});
    let before = openemr.came("POST /apis/default/fhir/Patient");
    assert_eq!(gateway.caller().post("/fhir/Patient", &[], body.to_string().as_bytes()).status, 201);
    assert_eq!(openemr.came("POST /apis/default/fhir/Patient"), before + 1);
    assert_eq!(front.seen.refuse.load(Ordering::SeqCst), 0);
    // A connection that ends under a request: what may be repeated is, and what may not is not.
    front.seen.hang_up.store(1, Ordering::SeqCst);
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    front.seen.hang_up.store(1, Ordering::SeqCst);
    let before = openemr.came("POST /apis/default/fhir/Patient");
    assert_eq!(gateway.caller().post("/fhir/Patient", &[], body.to_string().as_bytes()).status, 502);
    assert_eq!(openemr.came("POST /apis/default/fhir/Patient"), before);
}

#[test]
fn an_old_caller_gets_an_old_answer() {
    let openemr = OpenEmr::start();
    let front = Front::of(openemr.address);
    let gateway = gateway(&openemr, &front, |_| {});
    let mut connection = gateway.caller().connect();
    connection.write(b"GET /fhir/Patient?_count=5 HTTP/1.0\r\n\r\n");
    let answer = connection.read("GET");
    assert_eq!((answer.status, answer.field("transfer-encoding")), (200, None));
    assert_eq!(answer.json()["resourceType"], "Bundle");
}

#[test]
fn it_is_not_offered_where_it_is_switched_off() {
    let openemr = OpenEmr::start();
    let front = Front::of(openemr.address);
    let gateway = gateway(&openemr, &front, |site| site["connections"] = json!({"http2": false}));
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    assert_eq!(front.seen.streams(), 0);
}
