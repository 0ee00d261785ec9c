//! A filter that cannot be used is refused: no answer is wider than its question.

use std::collections::BTreeSet;

use crate::support::gateway::{Gateway, config};
use crate::support::http::Answer;
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const LENIENT: (&str, &str) = ("Prefer", "handling=lenient");
const STRICT: (&str, &str) = ("Prefer", "handling=strict");
const VERSIONS: [&str; 3] = ["8.0", "7.0.3", "next"];
const TYPES: [&str; 6] = ["Patient", "Observation", "Condition", "Encounter", "Immunization", "Group"];

fn gateway_with(openemr: &OpenEmr, change: impl FnOnce(&mut Value)) -> Gateway {
    let mut config = config(openemr);
    let site = &mut config["sites"]["default"];
    site["scopes"] = TYPES.iter().map(|name| json!(format!("system/{name}.read"))).collect();
    change(site);
    Gateway::with(config)
}

fn gateway(openemr: &OpenEmr) -> Gateway {
    gateway_with(openemr, |_| {})
}

/// The answer to a search by GET, and to the same by POST.
fn both(gateway: &Gateway, search: &str, fields: &[(&str, &str)]) -> [Answer; 2] {
    let (resource_type, query) = search.split_once('?').unwrap();
    let with_form: Vec<_> = fields.iter().copied().chain([FORM]).collect();
    [
        gateway.caller().send("GET", &format!("/fhir/{search}"), fields, b""),
        gateway.caller().post(&format!("/fhir/{resource_type}/_search"), &with_form, query.as_bytes()),
    ]
}

/// What OpenEMR was asked last: the target behind its FHIR base.
fn received(openemr: &OpenEmr) -> String {
    let target = openemr.state()["last_fhir_request"]["target"].clone();
    target.as_str().unwrap().strip_prefix("/apis/default/fhir").unwrap().to_owned()
}

/// The parameters of which an answer says something, with how it says it.
fn told(bundle: &Value) -> Vec<(String, String)> {
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    let outcomes = entries.iter().filter(|entry| entry["search"]["mode"] == "outcome");
    let issues = outcomes.flat_map(|entry| entry["resource"]["issue"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    issues.map(|issue| (text(&issue["location"][0]), text(&issue["severity"]))).collect()
}

fn matches(bundle: &Value) -> usize {
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    entries.iter().filter(|entry| entry["search"]["mode"] == "match").count()
}

#[test]
fn what_openemr_cannot_filter_by_reaches_nobody_whatever_the_client_prefers() {
    for version in VERSIONS {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let gateway = gateway(&openemr);
        assert_eq!(gateway.caller().get("/fhir/Patient?_count=1").status, 200);
        let before = openemr.count("fhir_requests");
        for (search, name) in [
            ("Patient?name:missing=true", "name:missing"),
            ("Patient?gender:not-in=CANARY", "gender:not-in"),
            ("Observation?code:in=CANARY&code:above=CANARY", "code:in"),
            ("Observation?code:below=CANARY", "code:below"),
            ("Observation?code:text=CANARY", "code:text"),
            ("Patient?identifier:of-type=CANARY", "identifier:of-type"),
            ("Observation?patient:identifier=CANARY", "patient:identifier"),
            ("Patient?name:invented=CANARY", "name:invented"),
            ("Patient?gender:exact=male", "gender:exact"),
            ("Observation?patient.name=CANARY", "patient.name"),
            ("Observation?subject:Patient.name=CANARY", "subject:Patient.name"),
            ("Patient?_has:Observation:patient:code=CANARY", "_has:Observation:patient:code"),
            ("Patient?_filter=CANARY", "_filter"),
            ("Patient?_query=CANARY", "_query"),
            ("Patient?_list=CANARY", "_list"),
            ("Patient?_text=CANARY", "_text"),
            ("Patient?_content=CANARY", "_content"),
            ("Patient?_tag=CANARY&gender=male", "_tag"),
            ("Patient?active=true&gender=male", "active"),
            ("Encounter?status=finished", "status"),
            ("Observation?subject=Group/1", "subject"),
            ("Observation?patient=Group/1", "patient"),
            ("Observation?subject=Patient/1,Group/1", "subject"),
            ("Observation?patient=https://other.example/fhir/Patient/1", "patient"),
            ("Observation?patient=", "patient"),
            ("Observation?subject=", "subject"),
            ("Observation?patient", "patient"),
            ("Observation?_id=", "_id"),
            ("Patient?_id=,", "_id"),
            ("Patient?identifier=&name=A", "identifier"),
            ("Patient?%69dentifier=&name=A", "identifier"),
            ("Patient?family=A,", "family"),
            ("Patient?family=%25", "family"),
            ("Patient?family:contains=_", "family:contains"),
            ("Patient?family=Smith%5C,Jones", "family"),
            ("Patient?identifier=http://example.org/mrn|", "identifier"),
            ("Patient?identifier:not=1", "identifier:not"),
            ("Patient?birthdate=yesterday", "birthdate"),
            ("Condition?category=health-concern", "category"),
        ] {
            for fields in [&[][..], &[LENIENT], &[STRICT]] {
                for answer in both(&gateway, search, fields) {
                    let text = answer.outcome(400);
                    assert!(text.contains(&format!("The parameter {name} ")), "{version} {search}: {text}");
                    assert!(!text.contains("CANARY") && !text.contains("handling"), "{search}: {text}");
                }
            }
        }
        assert_eq!(openemr.count("fhir_requests"), before, "{version}");
        assert!(!gateway.log().contains("CANARY"));
    }
}

#[test]
fn a_misspelt_name_is_refused_with_the_one_that_was_meant() {
    for version in VERSIONS {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let gateway = gateway(&openemr);
        for (search, name, meant) in [
            ("Patient?nam=CANARY", "nam", Some("name")),
            ("Patient?name=A&dob=CANARY", "dob", Some("birthdate")),
            ("Patient?name=A&birthDate=CANARY", "birthDate", Some("birthdate")),
            ("Observation?patinet=CANARY", "patinet", Some("patient")),
            ("Patient?name=A&limit=CANARY", "limit", Some("_count")),
            ("Patient?name=A&shoe-size=CANARY", "shoe-size", None),
        ] {
            for answer in both(&gateway, search, &[]) {
                let text = answer.outcome(400);
                assert!(text.starts_with(&format!("The parameter {name} is known neither ")), "{text}");
                assert_eq!(text.contains("was meant"), meant.is_some(), "{text}");
                assert!(meant.is_none_or(|meant| text.contains(&format!("Probably {meant} was meant."))), "{text}");
                let knows = if search.starts_with("Patient") { "family, gender" } else { "date, patient, subject" };
                assert!(text.contains("can be searched by: ") && text.contains(knows), "{text}");
                assert!(!text.contains("CANARY"), "{text}");
            }
        }
        for search in
            ["Patient?_include=Patient:organization", "Encounter?_sort=date", "Patient?_count=many", "Patient?_summary=x"]
        {
            let text = gateway.caller().get(&format!("/fhir/{search}")).outcome(400);
            assert!(text.contains("handling=lenient"), "{text}");
        }
    }
}

#[test]
fn what_nobody_knows_is_left_out_for_who_wants_that_but_never_the_last_filter() {
    for version in VERSIONS {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let refuses = gateway(&openemr);
        let leaves_out = gateway_with(&openemr, |site| site["search"] = json!({"unknown": "leave_out"}));
        let all = refuses.caller().get("/fhir/Patient?birthdate=ge1900").json();
        for (gateway, fields) in [(&refuses, &[LENIENT][..]), (&leaves_out, &[]), (&leaves_out, &[LENIENT])] {
            for answer in both(gateway, "Patient?birthdate=ge1900&shoe-size=CANARY&_include=Patient:organization", fields) {
                assert_eq!(answer.status, 200, "{}", answer.text());
                let bundle = answer.json();
                assert_eq!(matches(&bundle), matches(&all), "{version}");
                let warning = |name: &str| (format!("http.{name}"), "warning".to_owned());
                assert_eq!(told(&bundle), [warning("shoe-size"), warning("_include")]);
                assert!(!answer.text().contains("CANARY"));
            }
            for search in ["Patient?nam=Smith", "Patient?shoe-size=44&_count=3", "Patient?nam=Smith&name=&_=1"] {
                for answer in both(gateway, search, fields) {
                    let text = answer.outcome(400);
                    assert!(text.contains("no filter left"), "{text}");
                }
            }
            gateway.caller().send("GET", "/fhir/Patient?birthdate=ge1900&active=true", fields, b"").outcome(400);
        }
        for answer in both(&leaves_out, "Patient?birthdate=ge1900&shoe-size=44", &[STRICT]) {
            answer.outcome(400);
        }
    }
}

#[test]
fn what_browsers_tools_add_and_what_is_empty_asks_for_nothing() {
    for version in VERSIONS {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let gateway = gateway(&openemr);
        let information = |name: &str| (format!("http.{name}"), "information".to_owned());
        let all = matches(&gateway.caller().get("/fhir/Patient").json());
        for (query, names) in [
            (
                "_=1795487302&utm_source=mail&utm_campaign=x&fbclid=y&gclid=z",
                &["_", "utm_source", "utm_campaign", "fbclid", "gclid"][..],
            ),
            ("birthdate=ge1900&_=1", &["_"]),
            ("name=&birthdate=ge1900&gender", &["name", "gender"]),
        ] {
            for answer in both(&gateway, &format!("Patient?{query}"), &[]) {
                let bundle = answer.json();
                assert_eq!((answer.status, matches(&bundle)), (200, all), "{version} {query}");
                assert_eq!(told(&bundle), names.iter().map(|name| information(name)).collect::<Vec<_>>(), "{query}");
            }
        }
        gateway.caller().send("GET", "/fhir/Patient?_=1", &[STRICT], b"").outcome(400);
        assert_eq!(gateway.caller().send("GET", "/fhir/Patient?name=&given=A", &[STRICT], b"").status, 200);
    }
}

#[test]
fn what_openemr_has_is_sent_though_it_is_not_announced() {
    for version in VERSIONS {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let gateway = gateway(&openemr);
        for sent in [
            "/Patient?family:exact=Smith&given:contains=a",
            "/Patient?name:prefix=A&address:suffix=b",
            "/Patient?gender:not=male",
            "/Observation?code:not=http://loinc.org|8480-6",
        ] {
            assert_eq!(gateway.caller().get(&format!("/fhir{sent}")).status, 200, "{version} {sent}");
            assert_eq!(received(&openemr), sent);
        }
        for code in ["problem-list-item", "http://terminology.hl7.org/CodeSystem/condition-category|encounter-diagnosis"] {
            let answer = gateway.caller().get(&format!("/fhir/Condition?category={code}"));
            if version != "7.0.3" {
                assert_eq!(answer.status, 200, "{}", answer.text());
                assert_eq!(received(&openemr), format!("/Condition?category={code}"));
            } else {
                answer.outcome(400);
            }
        }
    }
}

#[test]
fn times_that_openemr_makes_up_are_told() {
    for version in VERSIONS {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let gateway = gateway(&openemr);
        for (resource_type, is_told) in
            [("Observation", true), ("Immunization", true), ("Patient", false), ("Condition", false), ("Encounter", false)]
        {
            for fields in [&[][..], &[LENIENT], &[STRICT]] {
                for answer in both(&gateway, &format!("{resource_type}?_lastUpdated=ge2000-01-01"), fields) {
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    let expected = [("http._lastUpdated".to_owned(), "warning".to_owned())];
                    assert_eq!(told(&answer.json()), if is_told { &expected[..] } else { &[] }, "{version} {resource_type}");
                }
            }
        }
    }
}

#[test]
fn a_date_that_openemr_compares_with_the_beginning_alone_is_told_unless_a_patient_bounds_the_search() {
    for version in VERSIONS {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let gateway = gateway(&openemr);
        let all = gateway.caller().get("/fhir/Encounter?_count=1000").json();
        let subject = all["entry"][0]["resource"]["subject"]["reference"].as_str().unwrap().to_owned();
        let of_patient =
            all["entry"].as_array().unwrap().iter().filter(|one| one["resource"]["subject"]["reference"] == *subject);
        let of_patient = of_patient.count();
        let warning = [("http.date".to_owned(), "warning".to_owned())];
        for (query, found, is_told) in [
            // Every Encounter goes on, so it is not over in 2100.
            ("date=ge2100-01-01".to_owned(), 0, true),
            (format!("date=ge2100-01-01&patient={subject}"), of_patient, false),
            (format!("date=ge2100-01-01&date=lt2100-01-01&subject={subject}"), of_patient, false),
            (format!("date=eb2100-01-01&patient={subject}"), 0, false),
            ("date=sa2100-01-01".to_owned(), 0, false),
        ] {
            for answer in both(&gateway, &format!("Encounter?{query}"), &[]) {
                assert_eq!((matches(&answer.json()), answer.status), (found, 200), "{version} {query}");
                assert_eq!(told(&answer.json()), if is_told { &warning[..] } else { &[] }, "{version} {query}");
            }
            for answer in both(&gateway, &format!("Encounter?{query}"), &[STRICT]) {
                assert_eq!(answer.status, if is_told { 400 } else { 200 }, "{version} {query}");
            }
        }
    }
}

/// The search parameters that FHIR R4 and US Core define, by type.
const DEFINED: &str = include_str!("../../../src/fhir/search_parameters.txt");

/// A value that a search parameter may have.
fn value(name: &str, kind: &str) -> &'static str {
    match (name, kind) {
        ("_id", _) => "f9af7275-0000-4000-8000-000000000001",
        ("category", _) => "problem-list-item",
        ("_sort", _) => "family",
        ("_total", _) => "none",
        ("_summary", _) => "true",
        (_, "reference") => "Patient/f9af7275-0000-4000-8000-000000000001",
        (_, "date") => "ge2024-01-01",
        (_, "number") => "3",
        _ => "a",
    }
}

#[test]
fn what_the_capability_statement_announces_is_what_works() {
    for version in VERSIONS {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let gateway = gateway(&openemr);
        let statement = gateway.caller().get("/fhir/metadata").json();
        assert!(!statement.to_string().contains("searchInclude"), "{version}");
        let rest = &statement["rest"][0];
        let of_all = rest["searchParam"].as_array().unwrap();
        assert_eq!(of_all.iter().map(|one| &one["name"]).collect::<Vec<_>>(), ["_count", "_summary", "_elements", "_total"]);
        let mut refused = BTreeSet::new();
        for resource in rest["resource"].as_array().unwrap() {
            let resource_type = resource["type"].as_str().unwrap();
            let interactions = resource["interaction"].as_array().unwrap();
            if !interactions.iter().any(|interaction| interaction["code"] == "search-type")
                || resource_type == "OperationDefinition"
            {
                continue;
            }
            let own = resource["searchParam"].as_array().unwrap();
            let announced: Vec<_> = own.iter().map(|one| one["name"].as_str().unwrap()).collect();
            for parameter in own.iter().chain(of_all) {
                let (name, kind) = (parameter["name"].as_str().unwrap(), parameter["type"].as_str().unwrap());
                let id =
                    if resource_type == "Provenance" && name != "_id" { "&_id=f9af7275-0000-4000-8000-000000000001" } else { "" };
                let is_tested = parameter["documentation"].as_str().is_some_and(|text| text.contains("in a search that has"));
                let id = if is_tested && name != "_id" { "&_id=f9af7275-0000-4000-8000-000000000001" } else { id };
                let answer = gateway.caller().get(&format!("/fhir/{resource_type}?{name}={}{id}", value(name, kind)));
                // A type for which the token has no scope is another matter.
                assert!(matches!(answer.status, 200 | 403), "{version} {resource_type}.{name}: {}", answer.text());
            }
            let line = DEFINED.lines().find_map(|line| line.strip_prefix(resource_type)?.strip_prefix(": ")).unwrap_or_default();
            for name in line.split_whitespace().filter(|name| !announced.contains(name)) {
                for fields in [&[][..], &[LENIENT]] {
                    let target = format!("/fhir/{resource_type}?_id=f9af7275-0000-4000-8000-000000000001&{name}=a");
                    gateway.caller().send("GET", &target, fields, b"").outcome(400);
                }
                refused.insert(name);
            }
            let includes = resource.get("searchRevInclude");
            assert!(includes.is_none_or(|includes| *includes == json!(["Provenance:target"])), "{version} {resource_type}");
            let id = "_id=f9af7275-0000-4000-8000-000000000001";
            let with = gateway.caller().get(&format!("/fhir/{resource_type}?_revinclude=Provenance:target&{id}"));
            assert_eq!(with.status == 400, includes.is_none(), "{version} {resource_type}: {}", with.text());
        }
        // Neither OpenEMR nor the gateway selects by numbers, quantities, composites and URIs.
        let expected = ["code-value-quantity", "length", "near", "phonetic", "value-quantity"];
        assert!(expected.iter().all(|name| refused.contains(name)) && !refused.contains("status"), "{refused:?}");
    }
    let openemr = OpenEmr::start();
    let untouched = gateway_with(&openemr, |site| site["repairs"] = json!({"search": false}));
    assert!(untouched.caller().get("/fhir/metadata").text().contains("searchInclude"));
}

#[test]
fn a_read_of_a_part_that_there_is_not_is_refused() {
    for version in VERSIONS {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let gateway = gateway(&openemr);
        let found = gateway.caller().get("/fhir/Patient?_count=1").json();
        let patient = found["entry"][0]["resource"]["id"].as_str().unwrap().to_owned();
        for (query, parameter) in [("_summary=CANARY", "_summary"), ("_elements=a-b", "_elements"), ("_pretty=CANARY", "_pretty")]
        {
            let text = gateway.caller().get(&format!("/fhir/Patient/{patient}?{query}")).outcome(400);
            assert_eq!(text, format!("The parameter {parameter} has an invalid value."));
        }
        for query in ["", "?_summary=text", "?_elements=name&_pretty=true", "?_summary="] {
            assert_eq!(gateway.caller().get(&format!("/fhir/Patient/{patient}{query}")).status, 200, "{query}");
        }
    }
}

#[test]
fn without_repairs_everything_passes_as_it_comes() {
    for version in VERSIONS {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let gateway = gateway_with(&openemr, |site| {
            site["conformance"] = json!("pass_through");
            site["paging"] = json!("off");
        });
        for asked in ["/Patient?nam=Smith&_=1&name:missing=true&&_id=", "/Observation?subject=Group/1&patient.name=A&_include=*"]
        {
            gateway.caller().send("GET", &format!("/fhir{asked}"), &[STRICT], b"");
            assert_eq!(received(&openemr), asked);
        }
    }
}

#[test]
fn a_value_without_a_name_is_refused() {
    for version in VERSIONS {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let gateway = gateway(&openemr);
        for fields in [&[][..], &[LENIENT], &[STRICT]] {
            for search in ["Patient?=CANARY", "Patient?gender=male&=CANARY"] {
                for answer in both(&gateway, search, fields) {
                    let text = answer.outcome(400);
                    assert!(text.contains("no name") && !text.contains("CANARY"), "{text}");
                }
            }
        }
        gateway.caller().get("/fhir/Patient/1?=CANARY").outcome(400);
    }
}
