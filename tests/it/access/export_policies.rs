//! Exports by policy: levels, types and patients of the kick-off, and what comes of a file at the time when it is fetched.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::api_keys::{client, digest_of};
use super::exporting::{Ward, below, file};
use crate::support::eventually;
use crate::support::http::{Answer, End};

const VITAL: &str = "http://terminology.hl7.org/CodeSystem/observation-category|vital-signs";
const NDJSON: &str = "application/fhir+ndjson";

/// A client with these scopes, and with further keys.
pub fn limited(name: &str, scopes: &[&str], more: Value) -> Value {
    let mut client = json!({"scopes": scopes, "api_keys": [digest_of(name)]});
    client.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client
}

/// A ward with the client `all` that may do everything.
fn ward() -> Ward {
    Ward::with(json!({"all": client("all")}))
}

/// Puts further clients into force, beside `all`.
fn with(ward: &mut Ward, clients: &[(&str, Value)]) {
    let mut all = json!({"all": client("all")});
    for (name, client) in clients {
        all[*name] = client.clone();
    }
    ward.reload(all);
}

pub fn ids(resources: &[Value]) -> BTreeSet<String> {
    resources.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

fn types(manifest: &Value) -> Vec<String> {
    let output = manifest["output"].as_array().unwrap();
    output.iter().map(|entry| entry["type"].as_str().unwrap().to_owned()).collect()
}

/// Whether a resource refers to one of these patients.
fn is_of(resource: &Value, patients: &[&str]) -> bool {
    patients.iter().any(|id| resource["id"] == **id || resource.to_string().contains(&format!("\"Patient/{id}\"")))
}

fn is_vital(resource: &Value) -> bool {
    resource["category"].to_string().contains("vital-signs")
}

fn refused(answer: &Answer, status: u16, words: &str) {
    answer.outcome(status);
    assert!(answer.text().contains(words), "{words}: {}", answer.text());
}

#[test]
fn levels_and_types_are_those_of_the_policy() {
    let mut ward = ward();
    with(
        &mut ward,
        &[
            ("exp", limited("exp", &["system/Patient.rs", "system/Observation.rs"], json!({"export": ["patient"]}))),
            ("pat", limited("pat", &["system/Patient.rs"], json!({}))),
            ("grp", limited("grp", &["system/*.rs"], json!({"export": ["Group/1"]}))),
            ("any", limited("any", &["system/*.rs"], json!({"export": ["group", "system"]}))),
            (
                "split",
                limited(
                    "split",
                    &["system/Patient.r", "system/Observation.s", "system/Condition.rs", "system/Encounter.cud"],
                    json!({"export": ["patient"]}),
                ),
            ),
        ],
    );
    for (client, target, words) in [
        ("exp", "/$export", "export"),
        ("exp", "/%24export", "export"),
        ("exp", "/Group/1/$export", "export"),
        ("exp", "/Patient/$export?_type=Patient,Condition", "system/Condition.r"),
        ("exp", "/Patient/$export?_type=Patient&_type=Condition", "system/Condition.r"),
        ("exp", "/Patient/$export?_type=Patient,Provenance", "system/Provenance.r"),
        ("exp", "/Patient/$export?_type=Condition", "system/Condition.r"),
        ("pat", "/Patient/$export", "export"),
        ("grp", "/Group/2/$export", "export"),
        ("grp", "/Patient/$export", "export"),
        ("any", "/Patient/$export", "export"),
        ("split", "/Patient/$export?_type=Patient", "system/Patient."),
        ("split", "/Patient/$export?_type=Observation", "system/Observation.r"),
        ("split", "/Patient/$export?_type=Encounter", "system/Encounter.r"),
    ] {
        refused(&ward.begin(client, target), 403, words);
    }
    let parameters = json!([{"name": "_type", "valueString": "Patient,Condition"}]);
    refused(&ward.post("exp", "/Patient/$export", &parameters), 403, "system/Condition.r");
    assert_eq!(ward.came("$export"), 0, "OpenEMR was not asked");
    // Without names, what is permitted.
    assert_eq!(types(&ward.exported("exp", "/Patient/$export")), ["Patient", "Observation"]);
    assert_eq!(types(&ward.exported("split", "/Patient/$export")), ["Condition"]);
    assert_eq!(types(&ward.exported("grp", "/Group/1/$export?_type=Patient")), ["Patient"]);
    assert_eq!(types(&ward.exported("any", "/Group/2/$export?_type=Patient")), ["Patient"]);
    // Leniently, the rest.
    let lenient = [("Accept", "application/fhir+json"), ("Prefer", "respond-async, handling=lenient")];
    let answer = ward.ask("exp", "GET", "/fhir/Patient/$export?_type=Patient,Condition", &lenient, "");
    assert_eq!(answer.status, 202, "{}", answer.text());
    let manifest = ward.ended("exp", &below(&json!(answer.field("content-location").unwrap())));
    assert_eq!(types(&manifest), ["Patient"]);
    let errors = ward.errors("exp", &manifest);
    assert!(errors.contains("system/Condition.rs"), "{errors}");
    let kick_offs = ward.openemr.state()["exports"]["kick_offs"].to_string();
    assert!(!kick_offs.contains("\"Encounter\""), "{kick_offs}");
}

#[test]
fn a_file_holds_what_the_policy_permits_of_it_and_tells_nothing_of_the_rest() {
    let mut ward = ward();
    let whole = ward.exported("all", "/Patient/$export?_type=Patient,Observation,Immunization");
    let [patients, observations, immunizations] =
        ["Patient", "Observation", "Immunization"].map(|name| ward.lines("all", &whole, name));
    // One of whom there are Immunizations, and one of whom there are none.
    let is_known = |id: &str, of: &[Value]| of.iter().any(|one| is_of(one, &[id]));
    let of_whom = patients.iter().map(|patient| patient["id"].as_str().unwrap()).filter(|id| is_known(id, &observations));
    let (some, none): (Vec<&str>, Vec<&str>) = of_whom.partition(|id| is_known(id, &immunizations));
    let (p1, p2) = (some.first().unwrap(), none.first().unwrap());
    let listed = [*p1, *p2];
    let list = json!({"patients": {"ids": listed}, "export": ["patient"]});
    let vital = format!("system/Observation.rs?category={VITAL}");
    let no_match = limited("nobody", &["system/*.rs"], json!({"patients": {"ids": ["nobody"]}, "export": ["patient"]}));
    with(
        &mut ward,
        &[
            ("vexp", limited("vexp", &[&vital], json!({"export": ["patient"]}))),
            ("pexp", limited("pexp", &["system/*.rs"], list.clone())),
            ("pvit", limited("pvit", &[&vital], list)),
            ("one", limited("one", &["system/Observation.r", &vital.replace(".rs", ".s")], json!({"export": ["patient"]}))),
            ("nobody", no_match),
        ],
    );
    let all: Vec<&Value> = patients.iter().chain(&observations).chain(&immunizations).collect();
    let expected = |name: &str, test: &dyn Fn(&Value) -> bool| -> BTreeSet<String> {
        let of = all.iter().filter(|one| one["resourceType"] == name && test(one));
        of.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    let vital = |one: &Value| is_vital(one);
    let theirs = |one: &Value| is_of(one, &listed);
    let both = |one: &Value| is_vital(one) && is_of(one, &listed);
    type Test<'t> = &'t dyn Fn(&Value) -> bool;
    let tests: [(&str, &str, Test<'_>); 7] = [
        ("vexp", "Observation", &vital),
        // What may be read is not what may be listed.
        ("one", "Observation", &vital),
        ("pexp", "Patient", &theirs),
        ("pexp", "Observation", &theirs),
        ("pexp", "Immunization", &theirs),
        ("pvit", "Observation", &both),
        ("nobody", "Observation", &|_| false),
    ];
    for (client, name, test) in tests {
        let manifest = ward.exported(client, &format!("/Patient/$export?_type={name}"));
        let found = ids(&ward.lines(client, &manifest, name));
        assert_eq!(found, expected(name, test), "{client} {name}");
        assert!(client == "nobody" || (!found.is_empty() && found.len() < expected(name, &|_| true).len()), "{client} {name}");
        // HEAD tells no more.
        let head = ward.ask(client, "HEAD", &file(&manifest, name), &[], "");
        assert_eq!((head.status, head.field("content-length")), (200, None), "{client} {name}");
    }
    // The filter of the client's own narrows it further.
    let manifest = ward.exported("pexp", "/Patient/$export?_type=Patient&_typeFilter=Patient?gender=female");
    let female = |one: &Value| theirs(one) && one["gender"] == "female";
    assert_eq!(ids(&ward.lines("pexp", &manifest, "Patient")), expected("Patient", &female));
}

#[test]
fn whatever_openemr_writes_nobody_else_s_resources_come_out() {
    let mut ward = ward();
    let list = json!({"patients": {"ids": ["p1"]}, "export": ["patient"]});
    with(&mut ward, &[("pexp", limited("pexp", &["system/*.rs"], list))]);
    let file = file(&ward.exported("pexp", "/Patient/$export?_type=Observation"), "Observation");
    let of = |id: &str, patient: &str| {
        json!({"resourceType": "Observation", "id": id, "status": "final", "code": {"text": "x"}, "subject": {"reference": patient}}).to_string()
    };
    let openemr = format!("{}/apis/default/fhir", ward.openemr.base);
    let foreign = json!({"resourceType": "Patient", "id": "p9"}).to_string();
    let theirs = json!({"resourceType": "Patient", "id": "p1"}).to_string();
    let lines = [
        of("o1", "Patient/p1"),
        of("o9", "Patient/p9"),
        of("o2", &format!("{openemr}/Patient/p1")),
        of("o8", "https://elsewhere.example/fhir/Patient/p1"),
        // Of another type than the file's: OpenEMR has exported such.
        foreign,
        theirs,
        of("o3", "Patient/p1"),
    ];
    for piece_bytes in [1, 100_000] {
        let answer = json!({"status": 200, "content_type": NDJSON, "body": lines.join("\n")});
        ward.openemr.order(&json!({"fhir": {"target": "/Binary/", "answer": answer, "piece_bytes": piece_bytes}}));
        let answer = ward.get("pexp", &file);
        assert_eq!((answer.status, answer.end), (200, End::Whole));
        let found: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(ids(&found), ["o1", "o2", "o3"].map(str::to_owned).into());
        assert_eq!(found.len(), 3);
    }
    // What cannot be told ends the download, and does not come out.
    for bad in [
        r#"{"resourceType":"Observation","id":"o9","subject":{"reference":"Patient/p9"},"subject":{"reference":"Patient/p1"}}"#,
        r#"{"resourceType":"Observation","resourceType":"Observation","id":"o9","subject":{"reference":"Patient/p1"}}"#,
        r#"{"id":"o9","subject":{"reference":"Patient/p1"}}"#,
    ] {
        let body = [&of("o1", "Patient/p1"), bad, &of("o3", "Patient/p1")].map(ToString::to_string).join("\n");
        let answer = json!({"status": 200, "content_type": NDJSON, "body": body});
        ward.openemr.order(&json!({"fhir": {"target": "/Binary/", "answer": answer}}));
        let answer = ward.get("pexp", &file);
        assert!(answer.end != End::Whole || answer.status == 502, "{bad}: {}", answer.status);
        assert!(!answer.text().contains("o9"), "{bad}: {}", answer.text());
    }
    ward.gateway.logs(&["cannot be tested by the policy"]);
    // Something else than NDJSON.
    for content_type in ["application/json", "text/plain", "application/octet-stream"] {
        let answer = json!({"status": 200, "content_type": content_type, "body": of("o9", "Patient/p9")});
        ward.openemr.order(&json!({"fhir": {"target": "/Binary/", "answer": answer}}));
        let answer = ward.get("pexp", &file);
        assert!(answer.status == 502 && !answer.text().contains("o9"), "{content_type}: {} {}", answer.status, answer.text());
    }
}

#[test]
fn a_kick_off_that_names_others_patients_is_refused() {
    let mut ward = ward();
    let list = json!({"patients": {"ids": ["p1", "p2"]}, "export": ["patient", "system"]});
    with(&mut ward, &[("pexp", limited("pexp", &["system/*.rs"], list))]);
    let by_reference = |id: &str| json!({"name": "patient", "valueReference": {"reference": format!("Patient/{id}")}});
    let in_text = |text: &str| json!({"name": "patient", "valueString": text});
    for parameters in [
        json!([by_reference("p1"), by_reference("p9")]),
        json!([by_reference("p9"), by_reference("p1")]),
        json!([in_text("Patient/p1,Patient/p9")]),
        json!([in_text("p9")]),
        json!([{"name": "patient", "valueReference": {"display": "Jane"}}]),
    ] {
        let answer = ward.post("pexp", "/Patient/$export", &parameters);
        assert_eq!(answer.status, 403, "{parameters}: {}", answer.text());
        assert!(!answer.text().contains("p9"), "{}", answer.text());
    }
    for query in ["patient=Patient/p9", "patient=Patient/p1&patient=Patient/p9", "patient=p1,p9", "%70atient=p9"] {
        assert_eq!(ward.begin("pexp", &format!("/Patient/$export?{query}")).status, 403, "{query}");
    }
    // It is not supported for anybody, and never left out.
    refused(&ward.post("pexp", "/Patient/$export", &json!([by_reference("p1")])), 400, "patient");
    refused(&ward.begin("all", "/Patient/$export?patient=Patient/p9"), 400, "patient");
    assert_eq!(ward.came("$export"), 0);
}

#[test]
fn openemrs_ids_of_files_are_no_way_around() {
    let mut ward = ward();
    let list = json!({"patients": {"ids": ["p1"]}, "export": ["patient"]});
    with(
        &mut ward,
        &[
            ("bin", limited("bin", &["system/*.rs"], json!({"export": ["patient"]}))),
            ("pexp", limited("pexp", &["system/*.rs"], list)),
        ],
    );
    ward.exported("bin", "/Patient/$export?_type=Patient");
    ward.exported("all", "/Patient/$export?_type=Patient");
    let mut binaries = BTreeSet::new();
    for plan in std::fs::read_dir(ward.folder.path().join("bulk/default")).unwrap() {
        let plan: Value = serde_json::from_slice(&std::fs::read(plan.unwrap().path()).unwrap()).unwrap();
        let job = plan["job"].as_str().unwrap().to_owned();
        binaries.insert((plan["types"][0]["state"]["done"]["files"][0].as_str().unwrap().to_owned(), job));
    }
    assert_eq!(binaries.len(), 2);
    for (id, job) in &binaries {
        for target in [
            format!("/fhir/Binary/{id}"),
            format!("/fhir/Binary/{id}/"),
            format!("/fhir/Binary/0{id}"),
            format!("/fhir/Binary/{id}?job={job}"),
            format!("/fhir/Binary/{id}?_format=json"),
        ] {
            for client in ["bin", "pexp"] {
                let answer = ward.get(client, &target);
                assert!(matches!(answer.status, 400 | 403 | 404), "{client} {target}: {}", answer.status);
                assert!(!answer.text().contains("birthDate"), "{client} {target}");
            }
        }
        assert_eq!(ward.get("all", &format!("/fhir/Binary/{id}")).status, 200);
    }
    // A document is another thing.
    let answer = json!({"status": 200, "content_type": "text/plain", "body": "a letter"});
    ward.openemr.order(&json!({"fhir": {"target": "/Binary/", "answer": answer}}));
    assert_eq!(ward.get("bin", "/fhir/Binary/7").text(), "a letter");
    ward.get("pexp", "/fhir/Binary/7").outcome(403);
}

#[test]
fn a_policy_that_a_reload_narrows_holds_for_files_that_are_there() {
    let mut ward = ward();
    let scopes = ["system/Patient.rs", "system/Observation.rs"];
    let export = json!({"export": ["patient"]});
    with(&mut ward, &[("exp", limited("exp", &scopes, export.clone()))]);
    let status = ward.kick_off("exp", "/Patient/$export");
    let manifest = ward.ended("exp", &status);
    let [patients, observations] = ["Patient", "Observation"].map(|name| file(&manifest, name));
    let before = ward.lines("exp", &manifest, "Patient");
    assert_eq!((before.len(), ward.get("exp", &observations).status), (20, 200));
    // A type.
    with(&mut ward, &[("exp", limited("exp", &scopes[..1], export.clone()))]);
    assert_eq!(ward.lines("exp", &manifest, "Patient").len(), 20);
    refused(&ward.get("exp", &observations), 403, "system/Observation.rs");
    // A letter.
    with(&mut ward, &[("exp", limited("exp", &["system/Patient.s", "system/Observation.rs"], export.clone()))]);
    refused(&ward.get("exp", &patients), 403, "system/Patient.rs");
    // Constraints, and patients.
    with(&mut ward, &[("exp", limited("exp", &["system/Patient.rs?gender=female"], export.clone()))]);
    let women = ward.lines("exp", &manifest, "Patient");
    assert!(!women.is_empty() && women.len() < 20 && women.iter().all(|one| one["gender"] == "female"));
    let id = before[3]["id"].as_str().unwrap();
    with(&mut ward, &[("exp", limited("exp", &scopes, json!({"export": ["patient"], "patients": {"ids": [id]}})))]);
    assert_eq!(ids(&ward.lines("exp", &manifest, "Patient")), [id.to_owned()].into());
    // The level.
    for export in [json!({}), json!({"export": ["system", "group"]})] {
        with(&mut ward, &[("exp", limited("exp", &scopes, export))]);
        for target in [&status, &patients] {
            let answer = ward.get("exp", target);
            assert_eq!(answer.status, 403, "{target}: {}", answer.text());
        }
        assert_eq!(ward.ask("exp", "DELETE", &status, &[], "").status, 403);
    }
    with(&mut ward, &[("exp", limited("exp", &scopes, export))]);
    assert_eq!(ward.lines("exp", &manifest, "Patient").len(), 20);
    assert_eq!(ward.ask("exp", "DELETE", &status, &[], "").status, 202);
    eventually("OpenEMR has deleted its jobs", || (ward.came("DELETE /apis/default/fhir/$bulkdata-status") >= 2).then_some(()));
}

#[test]
fn exports_that_the_gateway_does_not_keep_are_for_those_who_may_do_everything() {
    let mut ward = ward();
    with(&mut ward, &[("exp", limited("exp", &["system/*.rs"], json!({"export": ["system", "patient"]})))]);
    ward.config["sites"]["default"]["repairs"] = json!({"bulk_data": false});
    let clients = ward.config["access"]["clients"].clone();
    ward.reload(clients);
    for target in ["/$export", "/Patient/$export", "/$bulkdata-status?job=1"] {
        ward.begin("exp", target).outcome(403);
    }
    assert_eq!(ward.came("$"), 0);
    assert_eq!(ward.begin("all", "/Patient/$export").status, 202);
    let answer = json!({"status": 200, "content_type": NDJSON, "body": "{\"resourceType\":\"Patient\",\"id\":\"p9\"}"});
    ward.openemr.order(&json!({"fhir": {"target": "/Binary/", "answer": answer}}));
    ward.get("exp", "/fhir/Binary/7").outcome(404);
}
