//! What is recorded of requests and events.

use serde_json::{Value, json};

use super::trail::{Trail, is_private};
use crate::access::api_keys::{digest_of, key_of};
use crate::access::case_rows::filled;
use crate::access::limited::Clinic;
use crate::support::eventually;
use crate::support::http::{Answer, End, request};
use crate::support::http2::Http2;

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

/// The clinic with a trail.
fn audited(more: &Value) -> (Clinic, Trail) {
    let trail = Trail::new();
    let clinic = Clinic::with(|config| trail.keep_with(config, more));
    (clinic, trail)
}

/// The record of an answered request, which must be there by now.
fn record_of(trail: &Trail, answer: &Answer) -> Value {
    trail.of_request(answer.field("x-request-id").unwrap())
}

#[test]
fn each_request_to_a_fhir_route_has_one_record_when_its_answer_has_come() {
    let (clinic, trail) = audited(&json!({"ids": "plain"}));
    let p1 = filled("{P1}");
    for (client, method, target, body, expected) in [
        (
            "all",
            "GET",
            "/Patient/{P1}",
            "",
            json!({"interaction": "read", "type": "Patient", "id": p1, "status": 200, "outcome": "success",
            "decision": "allowed", "patients": [p1], "entries": 1, "credential": "api_key"}),
        ),
        ("all", "HEAD", "/Patient/{P1}", "", json!({"interaction": "read", "status": 200, "bytes": 0})),
        ("vit", "GET", "/Observation", "", json!({"interaction": "search-type", "decision": "narrowed", "outcome": "success"})),
        ("all", "GET", "/Observation/{O1}", "", json!({"id": filled("{O1}"), "patients": [p1], "patients_unknown": null})),
        ("all", "GET", "/Observation/{O0}", "", json!({"patients": null, "patients_unknown": true})),
        ("all", "GET", "/Patient?_id={P1}", "", json!({"interaction": "search-type", "patients": [p1], "entries": 1})),
        ("all", "GET", "/Patient?_id=nobody", "", json!({"entries": 0, "patients": null, "patients_unknown": null})),
        (
            "all",
            "GET",
            "/Patient/9d6cf1e0-0000-4000-8000-000000000000",
            "",
            json!({"status": 404, "outcome": "refused", "patients": null}),
        ),
        ("all", "GET", "/Patient?_sort=favourite", "", json!({"status": 400, "outcome": "refused"})),
        ("all", "GET", "/Nothing/1", "", json!({"status": 404, "type": null})),
        ("vit", "GET", "/Condition/{C1}", "", json!({"status": 403, "outcome": "refused", "decision": "refused"})),
        ("all", "GET", "/metadata", "", json!({"interaction": "capabilities", "status": 200, "patients_unknown": null})),
        (
            "nobody",
            "GET",
            "/Patient/{P1}",
            "",
            json!({"status": 401, "outcome": "refused", "decision": null, "client": null,
            "credential": "none"}),
        ),
        ("all", "GET", "/Patient/%2e%2e/x", "", json!({"status": 400, "outcome": "refused", "interaction": null})),
        ("all", "DELETE", "/Patient/{P1}", "", json!({"interaction": "delete"})),
    ] {
        let answer = clinic.ask(client, method, &filled(target), &[], body);
        let record = record_of(&trail, &answer);
        assert_eq!(record["status"], answer.status, "{method} {target}");
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(record[key], *value, "{key} of {method} {target}: {record}");
        }
        assert_eq!(record["address"], "127.0.0.1");
        assert!(record["duration_ms"].as_f64().unwrap() > 0.0 && record["time"].is_string());
        if record["status"] != 401 && record["interaction"].is_string() {
            assert_eq!((&record["client"], &record["site"]), (&json!(client), &json!("default")), "{target}");
        }
        if method != "HEAD" {
            assert_eq!(record["bytes"], answer.body.len(), "{method} {target}");
        }
    }
    assert!(trail.files().iter().all(|file| is_private(file)) && is_private(&trail.folder()));
}

#[test]
fn ids_are_hashed_unless_asked_for_and_no_file_holds_what_was_searched_for() {
    for (form, has_ids, is_plain) in [("hashed", true, false), ("plain", true, true), ("none", false, false)] {
        let (clinic, trail) = audited(&json!({"ids": form}));
        let read = record_of(&trail, &clinic.get("all", &filled("/Patient/{P1}")));
        let found = record_of(&trail, &clinic.get("all", &filled("/Observation?patient={P1}&code=secretcode")));
        let form_search = clinic.ask("all", "POST", "/Patient/_search", &[FORM], &filled("_id={P1}&name=secretname"));
        record_of(&trail, &form_search);
        assert_eq!((read["id"].is_string(), read["patients"].is_array()), (has_ids, has_ids), "{form}: {read}");
        assert_eq!(read["id"] == filled("{P1}"), is_plain);
        if has_ids {
            assert_eq!(read["patients"][0], read["id"], "the same patient has the same hash");
        }
        assert!(found["entries"].is_number());
        let text = trail.text();
        assert_eq!(text.contains(&filled("{P1}")), is_plain, "{form}");
        assert!(!text.contains("secret") && !text.contains("Abel"), "{form}");
        assert_eq!(trail.beside("ids.key").exists(), form == "hashed");
    }
}

#[test]
fn a_hash_names_the_same_patient_after_a_restart() {
    let trail = Trail::new();
    let hash = || {
        let clinic = Clinic::with(|config| trail.keep(config));
        record_of(&trail, &clinic.get("all", &filled("/Patient/{P1}")))["id"].clone()
    };
    assert_eq!(hash(), hash());
    assert!(is_private(&trail.beside("ids.key")));
}

#[test]
fn writes_are_about_the_patient_of_the_resource_whatever_the_answer_shows() {
    let (clinic, trail) = audited(&json!({"ids": "plain"}));
    let p1 = filled("{P1}");
    let patient = json!({"resourceType": "Patient", "id": p1, "name": [{"use": "official", "family": "Abel", "given": ["A"]}],
        "birthDate": "1980-01-01", "gender": "female"});
    for prefer in ["return=minimal", "return=representation"] {
        let fields = [("Content-Type", "application/fhir+json"), ("Prefer", prefer)];
        let answer = clinic.ask("all", "PUT", &format!("/Patient/{p1}"), &fields, &patient.to_string());
        let record = record_of(&trail, &answer);
        assert_eq!((answer.status, &record["patients"], &record["id"]), (200, &json!([p1]), &json!(p1)), "{prefer}: {record}");
    }
    let mut new = patient;
    new.as_object_mut().unwrap().remove("id");
    let answer = clinic.ask("all", "POST", "/Patient", &[("Content-Type", "application/fhir+json")], &new.to_string());
    let record = record_of(&trail, &answer);
    assert_eq!((answer.status, &record["interaction"]), (201, &json!("create")), "{}", answer.text());
    assert_eq!(record["patients"], json!([answer.json()["id"]]), "{record}");
}

#[test]
fn of_an_answer_with_many_patients_each_is_recorded_in_parts_that_say_whose_they_are() {
    const PATIENTS: usize = 2500;
    let (clinic, trail) = audited(&json!({"ids": "plain"}));
    let patient = |number: usize| json!({"resourceType": "Patient", "id": format!("many-{number}"), "gender": "male"});
    clinic.openemr.order(&json!({"resources": (0..PATIENTS).map(patient).collect::<Value>()}));
    let answer = clinic.get("all", "/Patient?gender=male");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let id = answer.field("x-request-id").unwrap();
    let record = trail.of_request(id);
    let parts: Vec<Value> = trail.of_kind("patients").into_iter().filter(|part| part["request_id"] == id).collect();
    assert_eq!(record["parts"], parts.len());
    assert!(!parts.is_empty());
    let mut named: Vec<&str> = Vec::new();
    for part in parts.iter().chain([&record]) {
        let patients = part["patients"].as_array().unwrap();
        assert!(patients.len() <= 1000, "{}", patients.len());
        assert_eq!((&part["client"], &part["type"], &part["site"]), (&json!("all"), &json!("Patient"), &json!("default")));
        named.extend(patients.iter().map(|id| id.as_str().unwrap()));
    }
    named.sort_unstable();
    let all = named.len();
    named.dedup();
    assert_eq!(named.len(), all, "each patient once");
    assert_eq!(named.iter().filter(|id| id.starts_with("many-")).count(), PATIENTS);
    assert_eq!(record["entries"], answer.json()["entry"].as_array().unwrap().len());
}

#[test]
fn compressed_and_http2_answers_are_recorded_like_all_others() {
    let (clinic, trail) = audited(&json!({"ids": "plain"}));
    let answer = clinic.ask("all", "GET", "/Patient?_count=50", &[("Accept-Encoding", "gzip")], "");
    assert_eq!(answer.field("content-encoding"), Some("gzip"));
    let record = record_of(&trail, &answer);
    assert_eq!(record["bytes"], answer.body.len());
    assert!(record["patients"].as_array().unwrap().len() > 2, "{record}");

    let trail = Trail::new();
    let clinic = Clinic::with(|config| {
        trail.keep_with(config, &json!({"ids": "plain"}));
        config["listen"] = json!([{"h2c": true}]);
    });
    let client = Http2::plain(clinic.gateway.address);
    let key = key_of("all");
    for target in [filled("/fhir/Patient/{P1}"), "/fhir/Patient?_count=50".to_owned(), "/fhir/Patient?_sort=a".to_owned()] {
        let answer = client.send("GET", &target, &[("x-api-key", &key)], b"");
        let record = record_of(&trail, &answer);
        assert_eq!((&record["status"], &record["bytes"]), (&json!(answer.status), &json!(answer.body.len())), "{target}");
    }
}

#[test]
fn an_answer_that_is_broken_off_is_recorded_with_the_patients_that_may_have_arrived() {
    let (clinic, trail) = audited(&json!({"ids": "plain"}));
    let patient = |number: usize| json!({"resourceType": "Patient", "id": format!("many-{number}"), "gender": "male"});
    clinic.openemr.order(&json!({"resources": (0..5000).map(patient).collect::<Value>()}));
    clinic.openemr.order(&json!({"fhir": [{"target": "/Patient?gender=male", "truncate_after": 400_000}]}));
    let mut connection = clinic.connect();
    let key = format!("Bearer {}", key_of("all"));
    connection.write(&request("GET", "/fhir/Patient?gender=male", &[("Authorization", &key)], b""));
    let head = connection.read_head();
    let mut body = Vec::new();
    let end = connection.read_body("GET", &head, |piece| body.extend_from_slice(piece));
    assert!(end != End::Whole, "{} of {}", body.len(), head.status);
    let record = eventually("the record is there", || trail.of_kind("request").pop());
    assert_eq!((&record["outcome"], &record["status"]), (&json!("broken_off"), &json!(200)), "{record}");
    let text = String::from_utf8_lossy(&body).into_owned();
    let named: Vec<Value> =
        trail.records().into_iter().flat_map(|record| record["patients"].as_array().cloned().unwrap_or_default()).collect();
    for number in (0..5000).filter(|number| text.contains(&format!("\"many-{number}\""))) {
        assert!(named.contains(&json!(format!("many-{number}"))), "{number}");
    }
}

#[test]
fn what_changes_who_may_call_is_recorded_as_events() {
    let trail = Trail::new();
    let clinic = Clinic::with(|config| {
        trail.keep(config);
        config["access"]["clients"]["loc"] = json!({"scopes": [], "local": ["force_refresh"], "api_keys": [digest_of("loc")],
            "recipient": "Operations, 1 Main St", "purpose": "HOPERAT"});
    });
    let exchange = trail.of_kind("token_exchange").remove(0);
    assert_eq!((&exchange["site"], &exchange["outcome"]), (&json!("default"), &json!("success")));
    let refused = clinic.gateway.caller().send("GET", "/fhir/Patient", &[("X-API-Key", "oegw_0_wrong")], b"");
    let refused_id = refused.field("x-request-id").unwrap();
    let event = trail.of_kind("credential_refused").remove(0);
    assert_eq!((&event["request_id"], &event["detail"]), (&json!(refused_id), &json!("the API key is no client's")));
    assert_eq!(trail.of_request(refused_id)["status"], 401);
    assert!(!trail.text().contains("wrong"));
    let forced = clinic.gateway.caller().send("POST", "/oauth/token?force=true", &[("X-API-Key", &key_of("loc"))], b"");
    let event = trail.of_kind("forced_refresh").remove(0);
    assert_eq!((&event["client"], &event["status"]), (&json!("loc"), &json!(forced.status)), "{}", forced.text());
    assert_eq!(forced.status, 200);
    assert_eq!((&event["recipient"], &event["purpose"]), (&json!("Operations, 1 Main St"), &json!("HOPERAT")));
    assert_eq!(trail.of_kind("token_exchange").len(), 2);
    clinic.gateway.reload(&clinic.gateway.config);
    let event = eventually("the reload is recorded", || trail.of_kind("reload").pop());
    assert_eq!(event["outcome"], "success");
    clinic.gateway.reload(&json!({"nonsense": 1}));
    eventually("the failed reload is recorded", || trail.of_kind("reload").pop().filter(|event| event["outcome"] == "failed"));
}
