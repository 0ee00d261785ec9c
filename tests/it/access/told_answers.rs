//! Whatever OpenEMR answers, and however it is written: a limited client gets nothing of it but what was tested.

use serde_json::{Value, json};

use super::api_keys::{digest_of, key_of};
use crate::support::http::Answer;
use crate::support::http2::Http2;
use crate::support::told_openemr::{FRAMINGS, Framing, Told};

/// A text that stands in resources of another patient, and nowhere else.
const SECRET: &str = "SECRET-OF-P9";
const FHIR: (&str, &str) = ("Content-Type", "application/fhir+json");

/// Clients: one of the patient P1, one that may see Patients who are female, one that writes only, and one that may have everything.
fn told() -> Told {
    told_with(|_| {})
}

fn told_with(configure: impl FnOnce(&mut Value)) -> Told {
    Told::openemr(|config| {
        let client = |name: &str, scopes: &[&str], more: Value| {
            let mut client = json!({"scopes": scopes, "api_keys": [digest_of(name)]});
            client.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            client
        };
        config["access"]["allow_from"] = json!(["127.0.0.0/8"]);
        config["access"]["clients"] = json!({
            "panel": client("panel", &["system/*.cruds"], json!({"patients": {"ids": ["P1"]}, "operations": ["DocumentReference/$docref"]})),
            "women": client("women", &["system/Patient.cruds?gender=female"], json!({})),
            "writer": client("writer", &["system/Patient.cu"], json!({})),
            "pat": client("pat", &["system/Patient.rs"], json!({})),
            "doc": client("doc", &["system/Patient.rs"], json!({"operations": ["DocumentReference/$docref"]})),
            "all": client("all", &["system/*.cruds"], json!({})),
        });
        config["sites"]["default"]["scopes"] = json!([
            "system/Patient.read",
            "system/Patient.write",
            "system/DocumentReference.read",
            "system/DocumentReference.$docref"
        ]);
        configure(config);
    })
}

fn ask(told: &Told, client: &str, method: &str, target: &str, body: &str) -> Answer {
    let key = key_of(client);
    let fields = [("X-API-Key", key.as_str()), ("Content-Type", "application/fhir+json")];
    let fields = if body.is_empty() { &fields[..1] } else { &fields[..] };
    told.gateway.caller().send(method, target, fields, body.as_bytes())
}

fn own() -> Value {
    json!({"resourceType": "Patient", "id": "P1", "gender": "female", "name": [{"use": "official", "family": "Own"}]})
}

fn foreign() -> Value {
    json!({"resourceType": "Patient", "id": "P9", "gender": "male", "name": [{"use": "official", "family": SECRET}]})
}

fn bundle(entries: &[Value]) -> Value {
    let entry: Vec<_> = entries.iter().map(|resource| json!({"resource": resource})).collect();
    json!({"resourceType": "Bundle", "type": "collection", "total": entry.len(), "entry": entry})
}

fn assert_no_secret(answer: &Answer, about: &str) {
    let head = format!("{:?}", answer.fields);
    assert!(!answer.text().contains(SECRET) && !head.contains(SECRET), "{about}: {} {head} {}", answer.status, answer.text());
}

#[test]
fn no_status_and_no_spelling_of_an_answer_shows_what_was_not_tested() {
    let told = told();
    let twice = foreign().to_string().replacen('{', r#"{"id":"P1","#, 1);
    let bodies = [
        foreign().to_string(),
        bundle(&[foreign()]).to_string(),
        bundle(&[own(), foreign()]).to_string(),
        bundle(&[bundle(&[foreign()])]).to_string(),
        json!([foreign()]).to_string(),
        json!({"resourceType": "Bundle", "type": "batch-response", "entry": [{"response": {"outcome": foreign()}}]}).to_string(),
        json!({"resourceType": "Parameters", "parameter": [{"resource": foreign()}]}).to_string(),
        json!({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "x", "details": {"coding": [foreign()]}}]}).to_string(),
        twice.clone(),
        twice.replacen("\"id\":\"P9\"", "\"\\u0069d\":\"P9\"", 1),
        foreign().to_string().replacen("resourceType", "\\u0072esourceType", 1),
        format!("{}{}", own(), foreign()),
        format!("\u{feff}{}", foreign()),
        SECRET.to_owned(),
    ];
    let kinds = [
        Some("application/fhir+json"),
        Some("application/json"),
        Some("text/plain"),
        Some("text/html"),
        Some("application/fhir+xml"),
        None,
    ];
    for status in [200, 201, 202, 203, 206, 300, 400, 404, 410, 422, 500] {
        for kind in kinds {
            for body in &bodies {
                let fields: Vec<(&str, &str)> = kind.map(|kind| ("Content-Type", kind)).into_iter().collect();
                told.tell(status, &fields, body, Framing::Length);
                for (client, target) in [
                    ("panel", "/fhir/Patient?_count=5"),
                    ("panel", "/fhir/Patient"),
                    ("women", "/fhir/Patient?name=a"),
                    ("women", "/fhir/Patient/P9"),
                    ("panel", "/fhir/Patient/P1"),
                    ("panel", "/fhir/DocumentReference/D9"),
                ] {
                    assert_no_secret(
                        &ask(&told, client, "GET", target, ""),
                        &format!("{client} {target}: {status} {kind:?} {body}"),
                    );
                }
            }
        }
    }
}

#[test]
fn the_framing_of_an_answer_makes_no_difference() {
    let told = told();
    for framing in FRAMINGS {
        told.tell(200, &[FHIR], bundle(&[own(), foreign()]).to_string(), framing);
        for client in ["panel", "women"] {
            let answer = ask(&told, client, "GET", "/fhir/Patient", "");
            assert_eq!((answer.status, &answer.json()["total"]), (200, &json!(1)), "{framing:?} {client}: {}", answer.text());
            assert!(answer.text().contains("Own"));
            assert_no_secret(&answer, client);
        }
        told.tell(200, &[FHIR], own().to_string(), framing);
        assert_eq!(ask(&told, "women", "GET", "/fhir/Patient/P1", "").json()["id"], "P1", "{framing:?}");
    }
}

#[test]
fn a_head_tells_nothing_of_what_was_not_tested() {
    let told = told_with(|config| config["sites"]["default"]["repairs"] = json!({"head": false}));
    told.tell(
        200,
        &[FHIR, ("ETag", "W/\"9\""), ("Last-Modified", "Tue, 24 Nov 2026 02:28:26 GMT")],
        foreign().to_string(),
        Framing::Length,
    );
    let hidden = ask(&told, "women", "HEAD", "/fhir/Patient/P9", "");
    told.tell(404, &[], "", Framing::Length);
    let unknown = ask(&told, "women", "HEAD", "/fhir/Patient/P8", "");
    let lasting = |answer: &Answer| {
        let mut fields = answer.fields.clone();
        fields.retain(|(name, _)| !["date", "x-request-id"].contains(&name.to_ascii_lowercase().as_str()));
        (answer.status, fields)
    };
    assert_eq!(lasting(&hidden), lasting(&unknown));
    assert_eq!(hidden.status, 404);
    told.tell(200, &[FHIR, ("ETag", "W/\"9\"")], bundle(&[foreign()]).to_string(), Framing::Length);
    let found = ask(&told, "women", "HEAD", "/fhir/Patient", "");
    assert_eq!((found.status, found.field("content-length"), found.field("etag")), (200, None, None));
    told.tell(200, &[FHIR], own().to_string(), Framing::Length);
    let (head, whole) = (ask(&told, "women", "HEAD", "/fhir/Patient/P1", ""), ask(&told, "women", "GET", "/fhir/Patient/P1", ""));
    assert_eq!((head.status, head.field("content-length")), (200, whole.field("content-length")));
}

#[test]
fn what_is_there_must_be_permitted_before_it_is_changed() {
    let told = told();
    let theirs = own().to_string().replace("P1", "P9");
    // The body is good, and what is there is not.
    told.tell(200, &[FHIR], foreign().to_string(), Framing::Length);
    let answer = ask(&told, "women", "PUT", "/fhir/Patient/P9", &theirs);
    answer.outcome(404);
    assert_no_secret(&answer, "update");
    assert_eq!(told.raw.received("PUT ").len(), 0);
    // What is there is good, and the body is not.
    told.tell(200, &[FHIR], own().to_string(), Framing::Length);
    let male = own().to_string().replace("female", "male");
    for (client, target, body) in [
        ("women", "/fhir/Patient/P1", male.as_str()),
        ("women", "/fhir/Patient/P1", r#"{"resourceType":"Patient","id":"P1"}"#),
        ("panel", "/fhir/Patient/P9", &theirs),
    ] {
        ask(&told, client, "PUT", target, body).outcome(403);
    }
    ask(&told, "women", "POST", "/fhir/Patient", &male).outcome(403);
    let twice = own().to_string().replacen("\"gender\":\"female\"", "\"gender\":\"male\",\"gender\":\"female\"", 1);
    ask(&told, "women", "PUT", "/fhir/Patient/P1", &twice).outcome(400);
    let long = own().to_string().replace("Own", &"x".repeat(70_000));
    ask(&told, "women", "PUT", "/fhir/Patient/P1", &long).outcome(413);
    assert_eq!(told.raw.received("PUT ").len() + told.raw.received("POST /fhir/Patient ").len(), 0);
    // Both are.
    assert_eq!(ask(&told, "women", "PUT", "/fhir/Patient/P1", &own().to_string()).status, 200);
    assert_eq!(ask(&told, "panel", "PUT", "/fhir/Patient/P1", &own().to_string()).status, 200);
    assert_eq!(told.raw.received("PUT ").len(), 2);
}

#[test]
fn the_answer_to_a_write_shows_what_the_client_may_read() {
    for writes in [true, false] {
        let told = told_with(|config| {
            config["sites"]["default"]["repairs"] = json!({"writes": writes, "errors": writes, "content": writes})
        });
        let secret = own().to_string().replace("Own", SECRET);
        told.tell(200, &[FHIR], &secret, Framing::Length);
        let sent = own().to_string();
        for prefer in ["", "return=representation", "return=OperationOutcome", "return=minimal"] {
            let key = key_of("writer");
            let fields = [("X-API-Key", key.as_str()), ("Content-Type", "application/fhir+json"), ("Prefer", prefer)];
            let answer = told.gateway.caller().send("PUT", "/fhir/Patient/P1", &fields, sent.as_bytes());
            assert_eq!(answer.status, 200, "{prefer}: {}", answer.text());
            assert_no_secret(&answer, prefer);
        }
        let answer = ask(&told, "all", "PUT", "/fhir/Patient/P1", &sent);
        assert!(answer.text().contains(SECRET), "{}", answer.text());
        // A create is answered with ids, and the resource is read back.
        for body in [json!({"pid": 1, "uuid": "P1"}).to_string(), secret.clone()] {
            told.tell(201, &[FHIR], body, Framing::Length);
            let answer = ask(&told, "writer", "POST", "/fhir/Patient", &sent);
            assert_eq!(answer.status, 201, "{}", answer.text());
            assert_no_secret(&answer, "create");
        }
    }
}

#[test]
fn no_switch_of_a_repair_takes_the_test_away() {
    let off: Value = [
        "links",
        "errors",
        "content",
        "search",
        "bundles",
        "writes",
        "head",
        "trailing_slash",
        "interactions",
        "documents",
        "bulk_data",
    ]
    .into_iter()
    .map(|name| (name.to_owned(), json!(false)))
    .collect::<serde_json::Map<_, _>>()
    .into();
    for paging in ["slice", "native", "off"] {
        let told = told_with(|config| {
            let site = &mut config["sites"]["default"];
            site["repairs"] = off.clone();
            site["paging"] = json!(paging);
        });
        told.tell(200, &[FHIR], bundle(&[own(), foreign()]).to_string(), Framing::Length);
        for target in ["/fhir/Patient", "/fhir/Patient/", "/fhir/Patient?_count=1", "/fhir/Patient?_summary=count"] {
            let answer = ask(&told, "women", "GET", target, "");
            assert_eq!(answer.status, 200, "{paging} {target}: {}", answer.text());
            assert_eq!(answer.json()["total"], 1, "{paging} {target}: {}", answer.text());
            assert_no_secret(&answer, target);
        }
        for status in [200, 404, 500] {
            told.tell(status, &[FHIR], foreign().to_string(), Framing::Length);
            for target in ["/fhir/Patient", "/fhir/Patient/P9"] {
                assert_no_secret(&ask(&told, "women", "GET", target, ""), target);
            }
        }
    }
}

#[test]
fn docref_shows_the_documents_of_its_patients() {
    let told = told();
    let document = |id: &str, patient: &str, text: &str| json!({"resourceType": "DocumentReference", "id": id, "subject": {"reference": format!("Patient/{patient}")}, "description": text});
    told.tell(200, &[FHIR], bundle(&[document("D1", "P1", "own"), document("D9", "P9", SECRET)]).to_string(), Framing::Length);
    let answer = ask(&told, "panel", "GET", "/fhir/DocumentReference/$docref?patient=P1", "");
    assert_eq!((answer.status, &answer.json()["total"]), (200, &json!(1)), "{}", answer.text());
    assert_no_secret(&answer, "docref");
    ask(&told, "panel", "GET", "/fhir/DocumentReference/$docref?patient=P9", "").outcome(403);
    ask(&told, "panel", "GET", "/fhir/DocumentReference/$docref", "").outcome(403);
    told.tell(200, &[FHIR], document("D9", "P9", SECRET).to_string(), Framing::Length);
    let answer = ask(&told, "panel", "GET", "/fhir/DocumentReference/$docref?patient=P1", "");
    answer.outcome(502);
    assert_no_secret(&answer, "docref");
}

#[test]
fn the_access_line_says_how_much_was_left_out() {
    let told = told();
    told.tell(200, &[FHIR], bundle(&[own(), foreign(), foreign()]).to_string(), Framing::Length);
    let answer = ask(&told, "women", "GET", "/fhir/Patient", "");
    let line = told.gateway.access_line(answer.field("x-request-id").unwrap());
    assert!(line.contains(" client=women ") && line.contains(" left_out=2"), "{line}");
    let answer = ask(&told, "all", "GET", "/fhir/Patient", "");
    let line = told.gateway.access_line(answer.field("x-request-id").unwrap());
    assert!(line.contains(" left_out=0"), "{line}");
    assert!(!told.gateway.log().contains(SECRET));
}

#[test]
fn no_shared_cache_keeps_what_a_client_got() {
    let told = told();
    for (sent, due) in [
        (None, "no-store"),
        (Some("public, max-age=600"), "no-store"),
        (Some("max-age=600"), "no-store"),
        (Some("no-cache, Private"), "no-cache, Private"),
        (Some("no-store"), "no-store"),
    ] {
        let fields: Vec<_> = sent.map(|value| ("Cache-Control", value)).into_iter().chain([FHIR]).collect();
        told.tell(200, &fields, own().to_string(), Framing::Length);
        assert_eq!(ask(&told, "all", "GET", "/fhir/Patient/P1", "").field("cache-control"), Some(due), "{sent:?}");
        assert_eq!(ask(&told, "women", "GET", "/fhir/Patient/P1", "").field("cache-control"), Some("no-store"), "{sent:?}");
    }
}

fn observation(references: &Value) -> Value {
    let mut observation = json!({"resourceType": "Observation", "id": "O1", "status": "final", "valueString": SECRET});
    observation.as_object_mut().unwrap().extend(references.as_object().unwrap().clone());
    observation
}

/// What is shown to a client of P1 of an Observation with these references, by search and by read, and whether it may write it.
#[test]
fn who_sees_a_resource_of_several_patients_may_not_change_it() {
    let told = told();
    let to = |reference: &str| json!({"reference": reference});
    for (references, is_shown, is_written) in [
        (json!({"subject": to("Patient/P1")}), true, true),
        (json!({"subject": to("Patient/P1"), "performer": [to("Practitioner/1"), to("Patient/P1")]}), true, true),
        (json!({"subject": to("Patient/P1/_history/2")}), true, true),
        (json!({"subject": to("Patient/P9"), "performer": [to("Patient/P1")]}), true, false),
        (json!({"subject": to("Patient/P1"), "performer": [to("Patient/P9")]}), true, false),
        (json!({"subject": [to("Patient/P1"), to("Patient/P9")]}), true, false),
        (json!({"subject": {"identifier": {"value": "9"}}, "performer": [to("Patient/P1")]}), true, false),
        (json!({"subject": to("https://other.example/fhir/Patient/P9"), "performer": [to("Patient/P1")]}), true, false),
        (json!({"subject": to("Practitioner/P1")}), false, false),
        (json!({"subject": to("Patient/P9")}), false, false),
        (json!({"subject": to("patient/P1")}), false, false),
        (json!({"subject": to("Patient/P1/_history/../../P9")}), false, false),
        (json!({"subject": to("Patient/P1/_history/Patient/P9")}), false, false),
        (json!({"subject": to("https://other.example/fhir/Patient/P1")}), false, false),
        (json!({}), false, false),
    ] {
        let resource = observation(&references);
        told.tell(200, &[FHIR], bundle(std::slice::from_ref(&resource)).to_string(), Framing::Length);
        let found = ask(&told, "panel", "GET", "/fhir/Observation", "");
        // A search is narrowed to what is about a patient: who performed something finds it by its id alone.
        let is_found = is_shown && references["subject"].to_string().contains("\"Patient/P1");
        assert_eq!((found.status, found.text().contains(SECRET)), (200, is_found), "{references}: {}", found.text());
        told.tell(200, &[FHIR], resource.to_string(), Framing::Length);
        let read = ask(&told, "panel", "GET", "/fhir/Observation/O1", "");
        assert_eq!(read.text().contains(SECRET), is_shown, "{references}: {}", read.text());
        for (method, target) in [("POST", "/fhir/Observation"), ("PUT", "/fhir/Observation/O1")] {
            let written = ask(&told, "panel", method, target, &resource.to_string());
            assert_eq!(written.status < 300, is_written, "{method} {references}: {} {}", written.status, written.text());
        }
        // The body is good, and what is there is of others, too.
        let own = observation(&json!({"subject": to("Patient/P1")}));
        let written = ask(&told, "panel", "PUT", "/fhir/Observation/O1", &own.to_string());
        assert_eq!(written.status, if is_written { 200 } else { 404 }, "{references}: {}", written.text());
    }
}

#[test]
fn types_that_hold_anybodys_data_are_none_of_a_patient_list() {
    let told = told();
    told.tell(
        200,
        &[FHIR],
        bundle(&[json!({"resourceType": "Location", "id": "1", "name": SECRET})]).to_string(),
        Framing::Length,
    );
    for target in ["/fhir/Location", "/fhir/Location/1", "/fhir/Linkage", "/fhir/Bundle/1"] {
        let answer = ask(&told, "panel", "GET", target, "");
        answer.outcome(403);
        assert_no_secret(&answer, target);
    }
    for name in ["observation", "Observatio", "Location", "Linkage", "NewInR6"] {
        let entry = json!({"resourceType": name, "id": "1", "subject": {"reference": "Patient/P1"}, "name": SECRET});
        told.tell(200, &[FHIR], bundle(&[own(), entry]).to_string(), Framing::Length);
        let answer = ask(&told, "panel", "GET", "/fhir/Patient", "");
        assert_eq!((answer.status, &answer.json()["total"]), (200, &json!(1)), "{name}: {}", answer.text());
        assert_no_secret(&answer, name);
    }
}

#[test]
fn a_client_of_some_types_gets_no_other() {
    let told = told();
    let other = observation(&json!({"subject": {"reference": "Patient/P1"}}));
    told.tell(200, &[FHIR], bundle(&[own(), other.clone()]).to_string(), Framing::Length);
    let found = ask(&told, "pat", "GET", "/fhir/Patient", "");
    assert_eq!((found.status, found.json()["entry"].as_array().unwrap().len()), (200, 1), "{}", found.text());
    assert_no_secret(&found, "search");
    told.tell(200, &[FHIR], other.to_string(), Framing::Length);
    for target in ["/fhir/Patient", "/fhir/Patient/P1"] {
        let answer = ask(&told, "pat", "GET", target, "");
        answer.outcome(502);
        assert_no_secret(&answer, target);
    }
    ask(&told, "doc", "POST", "/fhir/DocumentReference/$docref?patient=P1", "").outcome(403);
}

#[test]
fn no_field_of_openemrs_tells_of_what_was_not_tested() {
    let told = told();
    let fields = [
        FHIR,
        ("Link", "<https://x.example/Patient/SECRET-OF-P9>; rel=next"),
        ("Content-Location", "/apis/default/fhir/Patient/SECRET-OF-P9"),
        ("Location", "/apis/default/fhir/Patient/SECRET-OF-P9"),
        ("Warning", "199 - \"SECRET-OF-P9\""),
        ("Content-Disposition", "attachment; filename=\"SECRET-OF-P9\""),
        ("X-Progress", "SECRET-OF-P9"),
        ("Content-Language", "SECRET-OF-P9"),
        ("ETag", "W/\"SECRET-OF-P9\""),
        ("Preference-Applied", "SECRET-OF-P9"),
    ];
    for body in [bundle(&[own()]).to_string(), own().to_string()] {
        told.tell(200, &fields, body, Framing::Length);
        for (method, target) in
            [("GET", "/fhir/Patient"), ("HEAD", "/fhir/Patient"), ("GET", "/fhir/Patient/P1"), ("HEAD", "/fhir/Patient/P1")]
        {
            assert_no_secret(&ask(&told, "women", method, target, ""), &format!("{method} {target}"));
        }
    }
    let answer = ask(&told, "women", "GET", "/fhir/Patient/P1", "");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn what_is_no_json_is_not_written() {
    let told = told();
    told.tell(200, &[FHIR], own().to_string(), Framing::Length);
    let good = own().to_string();
    for bad in ["01e", "nul", "\"a\nb\"", "+1", "[1,]"] {
        let body = good.replacen('{', &format!("{{\"x\":{bad},"), 1);
        ask(&told, "women", "PUT", "/fhir/Patient/P1", &body).outcome(400);
    }
    assert_eq!(told.raw.received("PUT ").len(), 0);
}

#[test]
fn over_http_2_the_same_is_tested() {
    let told = told();
    let connection = Http2::plain(told.gateway.address);
    let key = key_of("women");
    let send = |method: &str, target: &str, body: &str| {
        let fields = [("x-api-key", key.as_str()), ("content-type", "application/fhir+json")];
        connection.send(method, target, &fields, body.as_bytes())
    };
    told.tell(200, &[FHIR], bundle(&[own(), foreign()]).to_string(), Framing::Length);
    for (method, target, body) in
        [("GET", "/fhir/Patient", ""), ("POST", "/fhir/Patient/_search", "_count=5"), ("HEAD", "/fhir/Patient", "")]
    {
        let form = [("x-api-key", key.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        let answer = connection.send(method, target, &form, body.as_bytes());
        assert_eq!(answer.status, 200, "{method}: {}", answer.text());
        assert!(method == "HEAD" || answer.json()["total"] == 1, "{method}: {}", answer.text());
        assert_no_secret(&answer, method);
    }
    told.tell(200, &[FHIR], foreign().to_string(), Framing::Length);
    for (method, body, status) in
        [("GET", String::new(), 404), ("HEAD", String::new(), 404), ("PUT", own().to_string().replace("P1", "P9"), 404)]
    {
        let answer = send(method, "/fhir/Patient/P9", &body);
        assert_eq!(answer.status, status, "{method}: {}", answer.text());
        assert_no_secret(&answer, method);
    }
    let refused = send("PUT", "/fhir/Patient/P9", &foreign().to_string());
    assert_eq!(refused.status, 403, "{}", refused.text());
    let long = own().to_string().replace("Own", &"x".repeat(200_000));
    assert_eq!(send("PUT", "/fhir/Patient/P1", &long).status, 413);
    assert_eq!(told.raw.received("PUT ").len(), 0);
}
