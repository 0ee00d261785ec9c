//! The faults that the sandbox has on demand, and its counters.

use std::time::{Duration, Instant};

use crate::support::sandbox::{CLIENT, PATIENT_READ, PATIENTS, RunningSandbox, exchange, refused, send, started, write_request};
use openemr_gateway::sandbox::{Personality, Settings};
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, net::TcpStream};

#[tokio::test]
async fn the_token_endpoint_goes_wrong_on_demand() {
    let sandbox = started().await;
    let fault = |fault: Value| {
        let mut fault = fault;
        fault["times"] = json!(1);
        json!({"token": fault})
    };
    let ask = || sandbox.ask_token(PATIENT_READ);
    let assertion = || sandbox.sign(sandbox.claims());

    sandbox.order(&fault(json!({"down": true}))).await;
    assert!(sandbox.try_token(PATIENT_READ, &assertion()).await.is_err());
    assert_eq!(ask().await.status, 200);

    sandbox.order(&fault(json!({"lose_answer": true}))).await;
    let lost = assertion();
    assert!(sandbox.try_token(PATIENT_READ, &lost).await.is_err());
    refused(&sandbox.ask_token_with(PATIENT_READ, &lost).await, 400, "invalid_client");

    for (refusal, status, error) in [
        ("unknown_client", 401, "invalid_client"),
        ("bad_assertion", 400, "invalid_client"),
        ("issued_too_long_ago", 400, "invalid_request"),
        ("missing_jti", 400, "invalid_request"),
        ("invalid_scope", 400, "invalid_scope"),
        ("unsupported_grant_type", 400, "unsupported_grant_type"),
        ("not_set_up", 500, "server_error"),
    ] {
        sandbox.order(&fault(json!({"refuse": refusal}))).await;
        refused(&ask().await, status, error);
    }

    sandbox.order(&fault(json!({"answer": {"status": 503, "body": "later", "content_type": "text/plain"}}))).await;
    let answer = ask().await;
    assert_eq!((answer.status, answer.text().as_str()), (503, "later"));
    sandbox.order(&fault(json!({"html": true}))).await;
    assert!(ask().await.field("Content-Type").unwrap().starts_with("text/html"));
    sandbox.order(&fault(json!({"truncate": true}))).await;
    assert!(sandbox.try_token(PATIENT_READ, &assertion()).await.is_err());
    sandbox.order(&fault(json!({"oversize_bytes": 100_000}))).await;
    assert!(ask().await.body.len() > 100_000);
    sandbox.order(&fault(json!({"expires_in": 7, "drop_scopes": [PATIENT_READ]}))).await;
    let answer = ask().await.json();
    assert_eq!((&answer["expires_in"], &answer["scope"]), (&json!(7), &json!("")));
    sandbox.order(&fault(json!({"pad_token_bytes": 30_000}))).await;
    let padded = sandbox.token(PATIENT_READ).await;
    assert!(padded.len() > 30_000);
    assert_eq!(sandbox.get(PATIENTS, &padded).await.unwrap().status, 200);
    sandbox.order(&fault(json!({"delay_ms": 200}))).await;
    let since = Instant::now();
    assert_eq!(ask().await.status, 200);
    assert!(since.elapsed() >= Duration::from_millis(200));

    let state = sandbox.state().await;
    assert_eq!(state["last_token_request"]["assertion_claims"]["sub"], CLIENT);
    assert!(state["assertions_refused"].as_u64().unwrap() >= 8);
}

#[tokio::test]
async fn the_fhir_side_goes_wrong_on_demand() {
    let sandbox = started().await;
    let token = sandbox.token(PATIENT_READ).await;
    let get = || sandbox.get(PATIENTS, &token);
    let fault = |fault: Value| {
        let mut fault = fault;
        fault["times"] = json!(1);
        json!({"fhir": fault})
    };
    for (error, status, words) in [
        ("system", 500, "System error occurred"),
        ("database", 500, "Check that you can ping"),
        ("php_fpm_down", 503, "Service Unavailable"),
        ("php_fpm_timeout", 504, "Gateway Timeout"),
    ] {
        sandbox.order(&fault(json!({"error": error}))).await;
        let answer = get().await.unwrap();
        assert_eq!(answer.status, status);
        assert!(answer.text().contains(words), "{}", answer.text());
    }
    sandbox.order(&fault(json!({"html": true}))).await;
    let answer = get().await.unwrap();
    assert_eq!((answer.status, answer.field("Content-Type")), (200, Some("text/html; charset=UTF-8")));
    for framing in ["chunked", "content_length"] {
        for ending in ["close_notify", "reset"] {
            sandbox.order(&fault(json!({"framing": framing, "truncate_after": 100, "ending": ending}))).await;
            assert!(get().await.is_err(), "{framing} {ending}");
        }
    }
    for framing in ["chunked", "content_length", "http10"] {
        sandbox.order(&fault(json!({"framing": framing, "shorten_to": 100}))).await;
        let answer = get().await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, 100), "{framing}");
        sandbox.order(&fault(json!({"framing": framing, "append": "<br />"}))).await;
        let text = get().await.unwrap().text();
        assert!(text.ends_with("}<br />"), "{framing}: {text}");
    }
    sandbox.order(&fault(json!({"framing": "http10"}))).await;
    let answer = get().await.unwrap();
    assert_eq!((answer.version.as_str(), answer.field("Connection")), ("HTTP/1.0", Some("close")));
    assert_eq!(answer.field("Content-Length"), None);
    assert_eq!(answer.json()["total"], 5);
    sandbox.order(&fault(json!({"framing": "http10", "truncate_after": 100, "ending": "reset"}))).await;
    assert!(get().await.is_err());
    sandbox.order(&fault(json!({"hang_up": true}))).await;
    assert!(get().await.is_err());
    sandbox.order(&fault(json!({"html": true, "target": "/Observation"}))).await;
    assert_eq!(get().await.unwrap().json()["total"], 5);
}

#[tokio::test]
async fn a_token_is_turned_down_in_every_way_that_openemr_has() {
    const DENIED: &str = "The resource owner or authorization server denied the request.";
    const LOGGED_OUT: &str = "Refresh Token revoked or logged out";
    let of_8_0 = [
        ("unparsable", 401, DENIED),
        ("not_verified", 401, DENIED),
        ("revoked", 401, r#""code":9"#),
        ("no_trusted_user", 400, LOGGED_OUT),
        ("not_in_database", 401, "invalid token or expired token"),
        ("other_site", 401, DENIED),
        ("scope_missing", 401, r#""message":"Unauthorized""#),
        ("policy", 403, "Organization policy"),
    ];
    let of_7_0_3 = [
        ("unparsable", 401, "must have two dots"),
        ("not_verified", 401, "could not be verified"),
        ("revoked", 401, "has been revoked"),
        ("no_trusted_user", 400, LOGGED_OUT),
        ("not_in_database", 401, ""),
        ("other_site", 400, ""),
        ("scope_missing", 401, ""),
        ("policy", 401, ""),
    ];
    for (personality, expected) in [(Personality::V8_0, of_8_0), (Personality::V7_0_3, of_7_0_3)] {
        let sandbox = RunningSandbox::start(Settings { personality, patients: 1, ..Settings::default() }, None).await;
        let token = sandbox.token(PATIENT_READ).await;
        for (how, status, words) in expected {
            sandbox.order(&json!({"fhir": {"refuse": how, "times": 1}})).await;
            let answer = sandbox.get(PATIENTS, &token).await.unwrap();
            assert_eq!(answer.status, status, "{personality} {how}");
            assert!(answer.text().contains(words) && (answer.body.is_empty() == words.is_empty()), "{how}: {}", answer.text());
        }
        assert_eq!(sandbox.get(PATIENTS, &token).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn silence_ends_with_the_callers_patience_and_keeps_no_worker() {
    let settings = Settings { workers: 1, patients: 1, ..Settings::default() };
    let sandbox = RunningSandbox::start(settings, None).await;
    let token = sandbox.token(PATIENT_READ).await;
    sandbox.order(&json!({"token": {"silent": true}, "fhir": {"silent": true, "target": "/Observation"}})).await;
    let fields = [("Content-Type", "application/x-www-form-urlencoded")];
    let mut asking = TcpStream::connect(sandbox.address).await.unwrap();
    write_request(&mut asking, "POST", "/oauth2/default/token", &fields, b"grant_type=client_credentials").await.unwrap();
    let mut reading = TcpStream::connect(sandbox.address).await.unwrap();
    write_request(&mut reading, "GET", "/apis/default/fhir/Observation", &[], b"").await.unwrap();
    until(&sandbox, |state| state["requests_dropped"] == 2).await;
    assert_eq!(sandbox.get(PATIENTS, &token).await.unwrap().status, 200);
    let state = sandbox.state().await;
    assert_eq!((&state["fhir_at_once"], &state["exchanges"][1]["ended_ms"]), (&json!(1), &Value::Null));
    for stream in [&mut asking, &mut reading] {
        assert!(tokio::time::timeout(Duration::from_millis(50), stream.read_u8()).await.is_err(), "not silent");
    }
    drop((asking, reading));
    until(&sandbox, |state| state["fhir_at_once"] == 0 && state["exchanges"][1]["ended_ms"].is_u64()).await;
}

async fn until(sandbox: &RunningSandbox, is_so: impl Fn(&Value) -> bool) {
    let end = Instant::now() + crate::support::sandbox::DEADLINE;
    loop {
        let state = sandbox.state().await;
        if is_so(&state) {
            return;
        }
        assert!(Instant::now() < end, "never: {state:#}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_a_token_claims_can_be_anything() {
    let sandbox = started().await;
    for (order, member, expected) in [
        (json!({"token_type": "mac"}), "token_type", json!("mac")),
        (json!({"token_type": 7}), "token_type", json!(7)),
        (json!({"expires_in": -5}), "expires_in", json!(-5)),
        (json!({"expires_in": "300"}), "expires_in", json!("300")),
        (json!({"expires_in": 1e300}), "expires_in", json!(1e300)),
    ] {
        sandbox.order(&json!({"token": order})).await;
        assert_eq!(sandbox.ask_token(PATIENT_READ).await.json()[member], expected);
    }
    for (date, expected) in [("yesterday", Some("yesterday")), ("", None)] {
        sandbox.order(&json!({"token": {"date": date}})).await;
        assert_eq!(sandbox.ask_token(PATIENT_READ).await.field("Date"), expected);
    }
    sandbox.order(&json!({"token": null, "token_lifetime_seconds": 7})).await;
    assert_eq!(sandbox.ask_token(PATIENT_READ).await.json()["expires_in"], 7);
}

#[tokio::test]
async fn faults_may_be_a_list_and_requests_are_counted_by_path() {
    let sandbox = started().await;
    let token = sandbox.token(PATIENT_READ).await;
    let faults = json!({"fhir": [
        {"target": "/metadata", "answer": {"status": 500}},
        {"target": "/Patient", "delay_ms": 2_000},
    ]});
    sandbox.order(&faults).await;
    let metadata = "/apis/default/fhir/metadata";
    assert_eq!(send(sandbox.address, "GET", metadata, &[], "").await.status, 500);
    let both = tokio::join!(sandbox.get(PATIENTS, &token), sandbox.get(PATIENTS, &token));
    assert_eq!((both.0.unwrap().status, both.1.unwrap().status), (200, 200));
    let state = sandbox.state().await;
    assert_eq!(state["paths"]["GET /apis/default/fhir/Patient"], 2);
    assert_eq!(state["paths"][format!("GET {metadata}")], 1);
    assert_eq!((&state["most_fhir_at_once"], &state["fhir_requests"], &state["probes"]), (&json!(2), &json!(2), &json!(1)));
    assert!(state["last_fhir_request"]["target"].as_str().unwrap().contains("/Patient"));
    let exchange = &state["exchanges"][0];
    assert!(exchange["began_ms"].as_u64().unwrap() <= exchange["ended_ms"].as_u64().unwrap());
}

#[tokio::test]
async fn an_answer_can_be_lost_after_the_deed() {
    let sandbox = started().await;
    let token = sandbox.token("system/Patient.write system/Patient.read").await;
    let authorization = format!("Bearer {token}");
    let fields = [("Authorization", authorization.as_str()), ("Content-Type", "application/fhir+json")];
    let patient = json!({
        "resourceType": "Patient", "name": [{"use": "official", "family": "Lost", "given": ["Answer"]}],
        "gender": "female", "birthDate": "1980-01-01",
    });
    sandbox.order(&json!({"fhir": {"method": "POST", "lose_answer": true, "times": 1}})).await;
    let stream = TcpStream::connect(sandbox.address).await.unwrap();
    let path = "/apis/default/fhir/Patient";
    assert!(exchange(stream, "POST", path, &fields, patient.to_string().as_bytes()).await.is_err());
    let found = sandbox.get(&format!("{path}?family=Lost"), &token).await.unwrap().json();
    assert_eq!(found["total"], 1, "{found}");
}

#[tokio::test]
async fn it_answers_with_another_patients_resources_and_ignores_filters_on_demand() {
    let sandbox = started().await;
    let scopes = "system/Patient.read system/Observation.read system/Organization.read system/CareTeam.read";
    let token = sandbox.token(scopes).await;
    let get = async |target: &str| sandbox.get(&format!("/apis/default/fhir/{target}"), &token).await.unwrap().json();
    let patient = |letter: &str| format!("00000000-0000-4000-8000-0000000000{letter}{letter}");
    let observation = |id: &str, of: &str| json!({"resourceType": "Observation", "id": patient(id), "status": "final", "subject": {"reference": format!("Patient/{}", patient(of))}});
    let (ours, theirs) = (patient("a"), patient("b"));
    let resources = json!([
        {"resourceType": "Patient", "id": ours}, {"resourceType": "Patient", "id": theirs},
        observation("c", "a"), observation("d", "b"),
    ]);
    sandbox.order(&json!({"resources": resources})).await;
    let ids = |bundle: &Value| -> Vec<String> {
        let entries = bundle["entry"].as_array().into_iter().flatten();
        entries.map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned()).collect()
    };
    let search = format!("Observation?patient={ours}");
    assert_eq!(ids(&get(&search).await), [patient("c")]);
    assert_eq!(get(&format!("Observation/{}", patient("c"))).await["id"], json!(patient("c")));

    sandbox.order(&json!({"fhir": {"foreign_patient": theirs}})).await;
    assert_eq!(ids(&get(&search).await), [patient("d"), patient("d")], "in its place, and behind it");
    assert_eq!(get(&format!("Observation/{}", patient("c"))).await["id"], json!(patient("d")));
    assert_eq!(get(&format!("Patient/{ours}")).await["id"], json!(theirs));
    let organization = &ids(&get("Organization").await)[0];
    assert_eq!(organization, &theirs, "the Patient, where there is none of the type");

    sandbox.order(&json!({"fhir": {"ignore_parameters": ["patient"]}})).await;
    let all = ids(&get(&search).await);
    assert!(all.contains(&patient("c")) && all.contains(&patient("d")) && all.len() > 10, "{all:?}");
}
