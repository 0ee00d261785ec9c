//! What the gateway tests itself means what FHIR R4 says ("Search", 3.1.1.4), with each modifier, beside what OpenEMR is asked.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, config};
use crate::support::openemr::OpenEmr;

const VERSIONS: [&str; 2] = ["8.0", "7.0.3"];
const STATUS: &str = "http://hl7.org/fhir/observation-status";

fn gateway(openemr: &OpenEmr) -> Gateway {
    let mut config = config(openemr);
    let types = ["Patient", "Observation", "Encounter", "Practitioner"];
    config["sites"]["default"]["scopes"] = types.iter().map(|name| json!(format!("system/{name}.read"))).collect();
    Gateway::with(config)
}

fn matches(bundle: &Value) -> Vec<Value> {
    let entries = bundle["entry"].as_array().into_iter().flatten();
    entries.filter(|entry| entry["search"]["mode"] == "match").map(|entry| entry["resource"].clone()).collect()
}

fn ids<'a>(resources: impl IntoIterator<Item = &'a Value>) -> BTreeSet<String> {
    resources.into_iter().map(|resource| resource["id"].as_str().unwrap().to_owned()).collect()
}

/// The Observations of one patient who has some of several statuses, and the patient's id.
fn of_one_patient(gateway: &Gateway) -> (String, Vec<Value>) {
    let all = matches(&gateway.caller().get("/fhir/Observation").json());
    let patients: BTreeSet<String> = all.iter().map(|one| one["subject"]["reference"].as_str().unwrap().to_owned()).collect();
    let of =
        |patient: &String| all.iter().filter(|one| one["subject"]["reference"] == json!(patient)).cloned().collect::<Vec<_>>();
    let statuses = |patient: &String| of(patient).iter().map(|one| one["status"].to_string()).collect::<BTreeSet<_>>().len();
    let patient = patients.iter().max_by_key(|patient| (statuses(patient), of(patient).len())).unwrap();
    (patient.strip_prefix("Patient/").unwrap().to_owned(), of(patient))
}

#[test]
fn each_kind_and_modifier_selects_what_fhir_says() {
    for version in VERSIONS {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let gateway = gateway(&openemr);
        let (patient, all) = of_one_patient(&gateway);
        let day = all.iter().filter_map(|one| one["effectiveDateTime"].as_str()).max().unwrap()[..10].to_owned();
        let encounter = all.iter().find_map(|one| one["encounter"]["reference"].as_str()).unwrap_or("Encounter/none").to_owned();
        let encounter_id = encounter.strip_prefix("Encounter/").unwrap();
        let begins = |one: &Value, text: &str| one["effectiveDateTime"].as_str().is_some_and(|date| date.starts_with(text));
        type Meets<'a> = Box<dyn Fn(&Value) -> bool + 'a>;
        let cases: Vec<(String, Meets<'_>)> = vec![
            ("status=final".to_owned(), Box::new(|one| one["status"] == "final")),
            (format!("status={STATUS}%7Cfinal,x"), Box::new(|one| one["status"] == "final")),
            (format!("status={STATUS}%7C"), Box::new(|_| true)),
            ("status=%7Cfinal".to_owned(), Box::new(|_| false)),
            ("status=FINAL".to_owned(), Box::new(|_| false)),
            ("status:not=final".to_owned(), Box::new(|one| one["status"] != "final")),
            (
                "status:not=final,preliminary,amended".to_owned(),
                Box::new(|one| !["final", "preliminary", "amended"].map(|code| json!(code)).contains(&one["status"])),
            ),
            (
                "status:not=registered&status:not=amended".to_owned(),
                Box::new(|one| one["status"] != "registered" && one["status"] != "amended"),
            ),
            ("status=final&status=preliminary".to_owned(), Box::new(|_| false)),
            ("status:missing=true".to_owned(), Box::new(|_| false)),
            ("encounter:missing=true".to_owned(), Box::new(|one| one["encounter"].is_null())),
            ("encounter:missing=false".to_owned(), Box::new(|one| !one["encounter"].is_null())),
            (format!("encounter={encounter_id}"), Box::new(|one| one["encounter"]["reference"] == json!(encounter))),
            (format!("encounter:Encounter={encounter_id}"), Box::new(|one| one["encounter"]["reference"] == json!(encounter))),
            (format!("encounter=Encounter/x,{encounter}"), Box::new(|one| one["encounter"]["reference"] == json!(encounter))),
            (format!("encounter=EpisodeOfCare/{encounter_id}"), Box::new(|_| false)),
            (format!("date=ge{day}&date=le{day}"), Box::new(|one| begins(one, &day))),
            (
                format!("date=ge{}&date=lt{day}", &day[..4]),
                Box::new(|one| begins(one, &day[..4]) && one["effectiveDateTime"].as_str().unwrap() < day.as_str()),
            ),
            (format!("date=ne{day}&date=ge1900"), Box::new(|one| one["effectiveDateTime"].is_string() && !begins(one, &day))),
        ];
        // So many cases tell some of them from others.
        let mut telling = 0;
        for (query, meets) in cases {
            let answer = gateway.caller().get(&format!("/fhir/Observation?patient={patient}&{query}"));
            let expected = ids(all.iter().filter(|one| meets(one)));
            telling += usize::from(!expected.is_empty() && expected.len() < all.len());
            let bundle = answer.json();
            assert_eq!(answer.status, 200, "{version} {query}: {bundle}");
            assert_eq!(ids(&matches(&bundle)), expected, "{version} {query}");
            assert_eq!(bundle["total"], expected.len(), "{version} {query}");
            let target = bundle["link"][0]["url"].as_str().unwrap().to_owned();
            let name = query.split('=').next().unwrap();
            assert!(target.contains(&name.replace(':', "%3A")) || target.contains(name), "{version} {query}: {target}");
        }
        assert!(telling >= 6, "{version}: only {telling} cases tell some Observations from others");
    }
}

#[test]
fn what_is_no_criterion_is_refused_and_reaches_nobody() {
    for version in VERSIONS {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let gateway = gateway(&openemr);
        let (patient, _) = of_one_patient(&gateway);
        let before = openemr.count("fhir_requests");
        for (name, value) in [
            ("status:in", "CANARY"),
            ("status:text", "CANARY"),
            ("status", "CANARY%7CCANARY%7CCANARY"),
            ("status", "CANARY%5C"),
            ("status:missing", "CANARY"),
            ("encounter", "CANARY/1"),
            ("encounter:Group", "1"),
            ("issued", "ap2024"),
            ("issued", "2023-02-29"),
            ("value-quantity", "5"),
        ] {
            let answer = gateway.caller().get(&format!("/fhir/Observation?patient={patient}&{name}={value}"));
            let text = answer.outcome(400);
            assert!(text.contains(name) && !text.contains("CANARY"), "{version} {name}={value}: {text}");
        }
        assert_eq!(openemr.count("fhir_requests"), before, "{version}");
        assert!(!gateway.log().contains("CANARY"));
    }
}

#[test]
fn a_list_of_thousands_is_tested_and_not_sent() {
    let openemr = OpenEmr::with(&["--openemr", "8.0"]);
    let gateway = gateway(&openemr);
    let (patient, all) = of_one_patient(&gateway);
    let many: String = (0..4_000).map(|number| format!("x{number},")).collect();
    let form = format!("patient={patient}&status={many}final&encounter:missing=false");
    let fields = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = gateway.caller().post("/fhir/Observation/_search", &fields, form.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let expected = ids(all.iter().filter(|one| one["status"] == "final" && one["encounter"].is_object()));
    assert_eq!(ids(&matches(&answer.json())), expected);
    assert!(!expected.is_empty() && expected.len() < all.len());
    let sent = openemr.state()["last_fhir_request"]["target"].as_str().unwrap().len();
    assert!(sent < 200, "{sent} bytes");
}
