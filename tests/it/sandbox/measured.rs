//! Holds the sandbox to what was measured on running OpenEMRs and is not in the recordings: what a search finds, what
//! fails, and how. Each row names what OpenEMR does; the numbers are those of the sandbox's own population.

use openemr_gateway::sandbox::{Personality, Settings};
use serde_json::Value;

use crate::support::sandbox::{Answer, RunningSandbox, send};

const FHIR: &str = "/apis/default/fhir";
const PATIENTS: usize = 40;
/// How many of them have a chart.
const CHARTS: usize = PATIENTS / 10;

/// What a request must be answered with.
enum Expected {
    /// The resources of this search, which are some.
    Same(&'static str),
    /// As many resources.
    Total(usize),
    /// This status, with this in the body.
    Status(u16, &'static str),
}
use Expected::{Same, Status, Total};

const EVERYBODY: Expected = Same("Patient");
const NOBODY: Expected = Total(0);
const ANY: &[Personality] = &[Personality::V8_0, Personality::V7_0_3];
const EIGHT: &[Personality] = &[Personality::V8_0];
const SEVEN: &[Personality] = &[Personality::V7_0_3];
const ERROR: Expected = Status(500, r#"{"error":"An error occurred","message":"System error occurred","code":0}"#);
const EMPTY_500: Expected = Status(500, "");

/// What OpenEMR does, where, the search (with a form if it is a POST), and the answer.
type Row = (&'static str, &'static [Personality], &'static str, Option<&'static str>, Expected);

const SEARCHES: &[Row] = &[
    (
        "the last of equal names counts",
        ANY,
        "Patient?birthdate=ge1960-01-01&birthdate=lt1980-01-01",
        None,
        Same("Patient?birthdate=lt1980-01-01"),
    ),
    (
        "the last of equal names counts",
        ANY,
        "Patient?birthdate=lt1980-01-01&birthdate=ge1960-01-01",
        None,
        Same("Patient?birthdate=ge1960-01-01"),
    ),
    (
        "also in a form",
        ANY,
        "Patient/_search",
        Some("birthdate=ge1960-01-01&birthdate=lt1980-01-01"),
        Same("Patient?birthdate=lt1980-01-01"),
    ),
    ("arrays are ignored", ANY, "Patient?birthdate[]=ge1960-01-01&birthdate[]=lt1980-01-01", None, EVERYBODY),
    (
        "a name in both places filters nothing",
        ANY,
        "Patient/_search?birthdate=ge1960-01-01",
        Some("birthdate=lt1980-01-01"),
        EVERYBODY,
    ),
    (
        "other names then filter",
        ANY,
        "Patient/_search?birthdate=ge1960-01-01&gender=male",
        Some("birthdate=lt1980-01-01"),
        Same("Patient?gender=male"),
    ),
    ("an empty value is ignored", ANY, "Patient?_id=&family=&bogus=", None, EVERYBODY),
    ("an unknown name finds nobody", ANY, "Patient?nam=Smith", None, NOBODY),
    ("a chain is an unknown name", ANY, "Observation?patient.name=Smith", None, NOBODY),
    ("exact is exact", ANY, "Patient?family:exact=Smith", None, Same("Patient?family=Smith")),
    ("exact minds case", ANY, "Patient?family:exact=smith", None, NOBODY),
    ("contains", ANY, "Patient?family:contains=MIT", None, Same("Patient?family=Smith")),
    ("suffix", ANY, "Patient?family:suffix=mith", None, Same("Patient?family=Smith")),
    ("prefix", ANY, "Patient?family:prefix=smit", None, Same("Patient?family=Smith")),
    ("not", ANY, "Patient?gender:not=male", None, Same("Patient?gender=female")),
    ("an unknown modifier is none", ANY, "Patient?family:text=Smit", None, Same("Patient?family=Smith")),
    ("an unknown modifier is none", ANY, "Patient?gender:in=male", None, Same("Patient?gender=male")),
    ("missing finds everybody", ANY, "Patient?family:missing=true", None, EVERYBODY),
    ("or fails", EIGHT, "Patient?birthdate:missing=true", None, ERROR),
    ("or fails", SEVEN, "Patient?birthdate:missing=true", None, EMPTY_500),
    ("a modifier does not make a name known", ANY, "Patient?active:not=true", None, NOBODY),
    ("codes in a list need systems", ANY, "Observation?code=8867-4,29463-7", None, NOBODY),
    (
        "with them they are found",
        ANY,
        "Observation?code=http://loinc.org|8867-4,http://loinc.org|29463-7",
        None,
        Total(2 * PATIENTS),
    ),
    ("families in a list are found", ANY, "Patient?family=Smith,Tran", None, Same("Patient?family=Tran,Smith")),
    ("a month out of range", ANY, "Patient?birthdate=1900-13-01", None, NOBODY),
    ("a range with dots", ANY, "Patient?birthdate=1930-01-01..1980-01-01", None, NOBODY),
    ("a blank for the plus", ANY, "Observation?date=ge2010-01-01T00:00:00+02:00", None, NOBODY),
    ("a plus", ANY, "Observation?date=ge2010-01-01T00:00:00%2B02:00", None, Same("Observation")),
    ("a time without seconds", ANY, "Observation?date=ge2010-01-01T00:00Z", None, NOBODY),
    ("category, not announced", EIGHT, "Condition?category=problem-list-item", None, Total(PATIENTS / 2 - CHARTS)),
    ("category, not announced", EIGHT, "Condition?category=encounter-diagnosis", None, Total(CHARTS)),
    ("any other means all", EIGHT, "Condition?category=health-concern", None, Same("Condition")),
    ("not on 7.0.3", SEVEN, "Condition?category=problem-list-item", None, NOBODY),
    ("not with a status", EIGHT, "Condition?category=problem-list-item&clinical-status=active", None, ERROR),
    ("a status alone", ANY, "Condition?clinical-status=active", None, NOBODY),
    ("few value sets", EIGHT, "ValueSet?_count=50", None, ERROR),
    ("many value sets", EIGHT, "ValueSet?_count=200", None, Same("ValueSet")),
    ("one value set", EIGHT, "ValueSet/language", None, ERROR),
    ("one value set", SEVEN, "ValueSet/language", None, EMPTY_500),
    ("practitioners by name", EIGHT, "Practitioner?name=A", None, Status(500, "Query Error: ")),
    ("practitioners by name", SEVEN, "Practitioner?name=A", None, EMPTY_500),
    ("practitioners by family", ANY, "Practitioner?family:contains=a", None, Same("Practitioner?family:contains=A")),
    ("organizations by address", EIGHT, "Organization?address=1", None, Status(500, "Query Error: ")),
    ("organizations by city", ANY, "Organization?address-city=Sample", None, Total(1)),
    ("goals by description", EIGHT, "Goal?description=walk", None, ERROR),
    ("goals by description", SEVEN, "Goal?description=walk", None, NOBODY),
    ("goals by target date", ANY, "Goal?target-date=ge2000", None, NOBODY),
    ("an id that is none", EIGHT, "Observation?_id=nonsense", None, ERROR),
    ("dispenses by status", EIGHT, "MedicationDispense?status=completed", None, Status(200, "<p>Query Error: ")),
    ("immunizations come twice", ANY, "Immunization", None, Total(2 * 2 * CHARTS)),
    ("orders by OpenEMR's word", EIGHT, "ServiceRequest?status=complete", None, Total(CHARTS)),
    ("the null flavour is in no column", ANY, "DiagnosticReport?code=UNK", None, NOBODY),
    ("the null flavour is in no column", ANY, "DocumentReference?type=UNK", None, NOBODY),
    ("pulse oximetry by its one code", ANY, "Observation?code=59408-5", None, Total(CHARTS)),
    ("pulse oximetry by its other code", ANY, "Observation?code=2708-6", None, Total(PATIENTS)),
    ("of a period, the start alone", ANY, "Encounter?date=gt2024-06-01", None, NOBODY),
    ("reports by category", ANY, "DiagnosticReport?category=LAB", None, Total(2 * CHARTS)),
    ("reports by date", ANY, "DiagnosticReport?date=lt2024-01-01", None, Total(CHARTS)),
    ("documents by date", ANY, "DocumentReference?date=ge2024", None, Total(2 * CHARTS)),
    ("documents by type", ANY, "DocumentReference?type=http://loinc.org|11506-3", None, Total(CHARTS)),
    ("procedures by date", ANY, "Procedure?date=2024-01-11", None, Total(CHARTS)),
    ("teams by status", ANY, "CareTeam?status=inactive", None, Total(CHARTS)),
    ("plans by status", EIGHT, "CarePlan?status=completed", None, Total(CHARTS)),
    ("plans by status", SEVEN, "CarePlan?status=completed", None, NOBODY),
    ("goals by status", EIGHT, "Goal?lifecycle-status=completed", None, Total(CHARTS)),
    ("goals by status", SEVEN, "Goal?lifecycle-status=completed", None, NOBODY),
    ("coverages by payor", EIGHT, "Coverage?status=cancelled", None, Total(CHARTS)),
    ("prescriptions by intent", ANY, "MedicationRequest?intent=plan&status=stopped", None, Total(CHARTS)),
    ("places by name", EIGHT, "Location?name=harbour", None, Total(1)),
    ("places by name", SEVEN, "Location?name=harbour", None, NOBODY),
    ("roles by specialty", ANY, "PractitionerRole?specialty=163W00000X", None, Total(1)),
    ("specimens by date", EIGHT, "Specimen?collected=2024-01-10", None, Total(CHARTS)),
    ("specimens by status", EIGHT, "Specimen?status=available", None, Total(CHARTS)),
    ("answers by date", EIGHT, "QuestionnaireResponse?authored=lt2024-02-01", None, Total(CHARTS)),
    ("pictures by type", EIGHT, "Media?content-type=image", None, Total(CHARTS)),
    ("appointments by date", ANY, "Appointment?date=ge2024-01-01", None, Total(CHARTS)),
    ("no such type", SEVEN, "ServiceRequest", None, Status(404, "")),
    ("no such type", SEVEN, "Specimen", None, Status(404, "")),
    ("no such type", SEVEN, "RelatedPerson", None, Status(404, "")),
    ("orders by FHIR's word", EIGHT, "ServiceRequest?status=completed", None, NOBODY),
];

/// What no release announces, and what therefore finds nobody.
const NOT_ANNOUNCED: &[&str] = &[
    "AllergyIntolerance?clinical-status=active",
    "CarePlan?date=ge2000",
    "CareTeam?role=59058001",
    "Condition?onset-date=ge2000",
    "Condition?recorded-date=ge2000",
    "Condition?code=E11.9",
    "Condition?encounter=x",
    "Condition?abatement-date=ge2000",
    "Device?type=14106009",
    "Device?status=active",
    "DiagnosticReport?status=final",
    "DocumentReference?status=current",
    "DocumentReference?period=ge2000",
    "Encounter?class=AMB",
    "Encounter?status=finished",
    "Encounter?type=185349003",
    "Encounter?identifier=x",
    "Encounter?location=x",
    "Encounter?discharge-disposition=home",
    "Immunization?date=ge2000",
    "Immunization?status=completed",
    "MedicationRequest?authoredon=ge2000",
    "MedicationRequest?encounter=x",
    "Observation?status=final",
    "Patient?death-date=ge2000",
    "Practitioner?identifier=x",
    "Procedure?status=completed",
    "Procedure?code=80146002",
];
const NOT_ANNOUNCED_BY_8_0: &[&str] = &["QuestionnaireResponse?status=completed", "RelatedPerson?name=Okafor"];
const NOT_ANNOUNCED_BY_7_0_3: &[&str] = &[
    "CarePlan?status=active",
    "Goal?target-date=ge2000",
    "Location?address=1",
    "Location?address-city=Sample",
    "Location?address-state=CA",
    "Location?address-postalcode=0",
];

async fn ask(sandbox: &RunningSandbox, token: &str, target: &str, form: Option<&str>) -> Answer {
    let authorization = format!("Bearer {token}");
    let fields = [("Authorization", authorization.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
    let method = if form.is_some() { "POST" } else { "GET" };
    send(sandbox.address, method, &format!("{FHIR}/{target}"), &fields, form.unwrap_or_default()).await
}

fn ids(answer: &Answer) -> Vec<String> {
    let bundle = answer.json();
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    assert_eq!(bundle["total"].as_u64(), Some(entries.len() as u64), "{bundle}");
    entries.iter().map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_find_and_fail_as_measured() {
    let mut wrong = Vec::new();
    for personality in ANY {
        let settings = Settings { personality: *personality, patients: PATIENTS, ..Settings::default() };
        let sandbox = RunningSandbox::start(settings, None).await;
        let token = sandbox.token(&personality.system_scopes().join(" ")).await;
        for (what, on, target, form, expected) in SEARCHES {
            if !on.contains(personality) {
                continue;
            }
            let answer = ask(&sandbox, &token, target, *form).await;
            let failed = match expected {
                Same(other) => {
                    let expected = ids(&ask(&sandbox, &token, other, None).await);
                    answer.status != 200 || expected.is_empty() || ids(&answer) != expected
                }
                Total(total) => answer.status != 200 || ids(&answer).len() != *total,
                Status(status, "") => answer.status != *status || !answer.body.is_empty(),
                Status(status, part) => answer.status != *status || !answer.text().contains(part),
            };
            if failed {
                wrong.push(format!("{personality} {what}: {target} {form:?}: {} {:.300}", answer.status, answer.text()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_announced_finds_nobody_though_there_is_somebody() {
    for (personality, more) in [(Personality::V8_0, NOT_ANNOUNCED_BY_8_0), (Personality::V7_0_3, NOT_ANNOUNCED_BY_7_0_3)] {
        let sandbox = RunningSandbox::start(Settings { personality, patients: PATIENTS, ..Settings::default() }, None).await;
        let token = sandbox.token(&personality.system_scopes().join(" ")).await;
        for target in NOT_ANNOUNCED.iter().chain(more) {
            let answer = ask(&sandbox, &token, target, None).await;
            assert_eq!((answer.status, ids(&answer).len()), (200, 0), "{personality} {target}");
            let all = ask(&sandbox, &token, target.split('?').next().unwrap(), None).await;
            assert!(!ids(&all).is_empty(), "{personality} {target}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_generated_for_a_post_alone() {
    for personality in ANY {
        let settings = Settings { personality: *personality, patients: PATIENTS, ..Settings::default() };
        let sandbox = RunningSandbox::start(settings, None).await;
        let token = sandbox.token("system/DocumentReference.read system/DocumentReference.$docref").await;
        let document = ask(&sandbox, &token, "DocumentReference", None).await.json()["entry"][0]["resource"].clone();
        let patient = document["subject"]["reference"].as_str().unwrap().to_owned();
        let target = format!("DocumentReference/$docref?patient={}", patient.trim_start_matches("Patient/"));
        assert_eq!(ask(&sandbox, &token, &target, None).await.status, 404);
        let found = ask(&sandbox, &token, &target, Some("")).await;
        assert_eq!(ids(&found).len(), 1, "{}", found.text());
        assert_eq!(found.json()["entry"][0]["resource"]["subject"]["reference"], patient.as_str());
        let nobody = ask(&sandbox, &token, "DocumentReference/$docref", Some(&target)).await;
        assert_eq!(ids(&nobody).len(), 0, "parameters of the form do not count");
    }
}

/// OpenEMR makes Provenances of all resources of all types, for minutes; Apache waits for one.
#[tokio::test(flavor = "multi_thread")]
async fn provenances_without_an_id_outlast_apache() {
    let sandbox = crate::support::sandbox::started().await;
    let token = sandbox.token("system/Provenance.read system/Patient.read").await;
    sandbox.order(&serde_json::json!({"export": {"apache_waits_ms": 10}})).await;
    assert_eq!(ask(&sandbox, &token, "Provenance", None).await.status, 504);
    let id = ids(&ask(&sandbox, &token, "Patient?_count=1", None).await).remove(0);
    let found = ask(&sandbox, &token, &format!("Provenance?_id=Patient-PSK-{id}"), None).await;
    assert_eq!(ids(&found), [format!("Patient-PSK-{id}")]);
    let read: Value = ask(&sandbox, &token, &format!("Provenance/Patient-PSK-{id}"), None).await.json();
    assert_eq!(read["target"][0]["reference"], format!("Patient/{id}"));
}

const GOOD: &str = r#""name":[{"use":"official","family":"Newman","given":["Ann"]}],"gender":"female","birthDate":"1980-01-02""#;
const NPI: &str = r#""identifier":[{"system":"http://hl7.org/fhir/sid/us-npi","value":"1234567893"}]"#;

/// What OpenEMR 8.0 does, the type to create, its members, the status, and what the answer has.
const CREATES: &[(&str, &str, &[&str], u16, &str)] = &[
    ("a patient", "Patient", &[GOOD], 201, r#"{"pid":"#),
    (
        "any extension",
        "Patient",
        &[GOOD, r#""extension":[{"url":"http://example.org/x","valueString":"x"}]"#],
        500,
        "System error occurred",
    ),
    ("no extension", "Patient", &[GOOD, r#""extension":[]"#], 201, r#"{"pid":"#),
    (
        "a name without a use is none",
        "Patient",
        &[r#""name":[{"family":"Newman","given":["Ann"]}],"gender":"female","birthDate":"1980-01-02""#],
        400,
        r#"{"validationErrors":{"fname":{"Required::NON_EXISTENT_KEY":"fname must be provided, but does not exist"},"lname":"#,
    ),
    (
        "the official name, wherever it stands",
        "Patient",
        &[
            r#""name":[{"use":"nickname","given":["A"]},{"use":"official","family":"Newman","given":["Ann"]}],"gender":"female","birthDate":"1980-01-02""#,
        ],
        201,
        r#"{"pid":"#,
    ),
    (
        "a year is no date of birth",
        "Patient",
        &[r#""birthDate":"1980""#, GOOD_BUT_DATE],
        400,
        "Date of Birth must be a valid date",
    ),
    ("a practitioner", "Practitioner", &[GOOD, NPI], 201, r#"{"id":4,"uuid":""#),
    ("a practitioner without an NPI", "Practitioner", &[GOOD], 400, r#"{"validationErrors":{"npi":"#),
    ("an organization", "Organization", &[r#""name":"Second Clinic""#, NPI], 201, r#"{"id":4,"uuid":""#),
    (
        "an organization without an NPI",
        "Organization",
        &[r#""name":"Second Clinic""#],
        400,
        r#"{"validationErrors":{"facility_npi":"#,
    ),
    ("no other type", "Location", &[r#""name":"Room""#], 404, "Route not found"),
];
const GOOD_BUT_DATE: &str = r#""name":[{"use":"official","family":"Newman","given":["Ann"]}],"gender":"female""#;

async fn write(
    sandbox: &RunningSandbox,
    token: &str,
    method: &str,
    target: &str,
    members: &[&str],
    condition: (&str, &str),
) -> Answer {
    let resource_type = target.split('/').next().unwrap();
    let body = format!(r#"{{"resourceType":"{resource_type}",{}}}"#, members.join(","));
    let authorization = format!("Bearer {token}");
    let fields = [("Authorization", authorization.as_str()), ("Content-Type", "application/fhir+json"), condition];
    send(sandbox.address, method, &format!("{FHIR}/{target}"), &fields, &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_succeed_and_fail_as_measured() {
    let sandbox = crate::support::sandbox::started().await;
    let token = sandbox.token("system/Patient.write system/Practitioner.write system/Organization.write").await;
    let condition = ("If-None-Exist", "family=Newman");
    let mut wrong = Vec::new();
    for (what, resource_type, members, status, part) in CREATES {
        let answer = write(&sandbox, &token, "POST", resource_type, members, condition).await;
        if answer.status != *status || !answer.text().contains(part) {
            wrong.push(format!("{what}: {} {}", answer.status, answer.text()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let second = write(&sandbox, &token, "POST", "Patient", &[GOOD], condition).await;
    assert_eq!(second.status, 201, "the condition is ignored: {}", second.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_succeed_and_fail_as_measured() {
    let sandbox = crate::support::sandbox::started().await;
    let types = ["Patient", "Practitioner", "Organization"];
    let scopes: Vec<String> =
        types.iter().flat_map(|name| ["read", "write"].map(|level| format!("system/{name}.{level}"))).collect();
    let token = sandbox.token(&scopes.join(" ")).await;
    let unknown = "00000000-0000-4000-8000-000000000000";
    for resource_type in types {
        let target = format!("{resource_type}/{unknown}");
        let answer = write(&sandbox, &token, "PUT", &target, &[GOOD], ("If-Match", "W/\"1\"")).await;
        let words = format!(r#"{{"validationErrors":{{"uuid":{{"{unknown}":"UUID {unknown} does not exist"}}}}}}"#);
        assert_eq!((answer.status, answer.text()), (400, words));
        let id = ids(&ask(&sandbox, &token, resource_type, None).await).remove(0);
        let name = if resource_type == "Organization" { r#""name":"Renamed""# } else { GOOD };
        let target = format!("{resource_type}/{id}");
        for condition in [("If-Match", "W/\"999\""), ("If-None-Match", "*")] {
            let answer = write(&sandbox, &token, "PUT", &target, &[name, r#""id":"another""#], condition).await;
            assert_eq!((answer.status, &answer.json()["id"]), (200, &Value::from(id.as_str())), "{}", answer.text());
        }
    }
    // As it was read, a Patient has extensions; a name without a use is left out of the change.
    let patient = ask(&sandbox, &token, "Patient?_count=1", None).await.json()["entry"][0]["resource"].clone();
    let target = format!("{FHIR}/Patient/{}", patient["id"].as_str().unwrap());
    let authorization = format!("Bearer {token}");
    let put = async |resource: &Value| {
        send(sandbox.address, "PUT", &target, &[("Authorization", &authorization)], &resource.to_string()).await
    };
    assert_eq!(put(&patient).await.status, 500);
    let mut changed = patient.clone();
    changed.as_object_mut().unwrap().remove("extension");
    changed["name"][0].as_object_mut().unwrap().remove("use");
    changed["name"][0]["family"] = Value::from("Other");
    let answer = put(&changed).await;
    assert_eq!((answer.status, &answer.json()["name"][0]["family"]), (200, &patient["name"][0]["family"]));
}

/// `meta.lastUpdated` is kept for Patient, Condition and Encounter alone.
#[tokio::test(flavor = "multi_thread")]
async fn most_types_were_last_updated_now() {
    let sandbox = crate::support::sandbox::started().await;
    let types =
        ["Patient", "Condition", "Encounter", "Observation", "Organization", "Location", "Practitioner", "Immunization", "Goal"];
    let a_day = 86_400;
    sandbox.order(&serde_json::json!({"token_lifetime_seconds": 2 * a_day})).await;
    let token = sandbox.token(&types.map(|name| format!("system/{name}.read")).join(" ")).await;
    sandbox.order(&serde_json::json!({"clock_offset_seconds": a_day})).await;
    let updated = |resource: &Value, pointer: &str| -> jiff::Timestamp {
        resource.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer}: {resource}")).parse().unwrap()
    };
    for name in types {
        let kept = ["Patient", "Condition", "Encounter"].contains(&name);
        let bundle = ask(&sandbox, &token, name, None).await.json();
        let found = bundle["entry"][0]["resource"].clone();
        let read = ask(&sandbox, &token, &format!("{name}/{}", found["id"].as_str().unwrap()), None).await.json();
        let tomorrow = jiff::Timestamp::now().as_second() + a_day / 2;
        for resource in [found, read] {
            assert_eq!(updated(&resource, "/meta/lastUpdated").as_second() > tomorrow, !kept, "{resource}");
        }
        let since = jiff::Timestamp::from_second(tomorrow).unwrap();
        let late = ask(&sandbox, &token, &format!("{name}?_lastUpdated=ge{since}"), None).await;
        assert_eq!(ids(&late).is_empty(), kept, "{name}");
    }
    for (name, pointer) in [("Organization", "/address/0/period/start"), ("Location", "/address/period/start")] {
        let found = ask(&sandbox, &token, name, None).await.json()["entry"][0]["resource"].clone();
        let year = updated(&found, "/meta/lastUpdated").as_second() - updated(&found, pointer).as_second();
        assert_eq!(year, 365 * 86_400, "{found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_definition_stands_in_the_place_of_its_entry() {
    let sandbox = crate::support::sandbox::started().await;
    let answer = send(sandbox.address, "GET", &format!("{FHIR}/OperationDefinition"), &[], "").await;
    let bundle = answer.json();
    assert_eq!(bundle["total"], 1);
    assert_eq!(bundle["entry"][0]["resourceType"], "OperationDefinition");
    assert_eq!(bundle["entry"][0].get("resource"), None);
    let unread = send(sandbox.address, "GET", &format!("{FHIR}/OperationDefinition/$bulkdata-status"), &[], "").await;
    assert_eq!(unread.status, 401);
    let token = sandbox.token("system/OperationDefinition.read").await;
    let read = ask(&sandbox, &token, "OperationDefinition/$bulkdata-status", None).await.json();
    assert_eq!(read["name"], "$bulkdata-status");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_binary_is_nothing_and_an_expired_one_is_not_found() {
    let sandbox = crate::support::sandbox::started().await;
    let token = sandbox.token("system/Binary.read system/Patient.read system/Patient.$export system/*.$bulkdata-status").await;
    let unknown = ask(&sandbox, &token, "Binary/1", None).await;
    assert_eq!((unknown.status, unknown.field("Content-Type"), unknown.body.len()), (200, None, 0));
    sandbox.order(&serde_json::json!({"export": {"files_live_seconds": 0}})).await;
    let authorization = format!("Bearer {token}");
    let fields = [("Authorization", authorization.as_str()), ("Accept", "application/fhir+json"), ("Prefer", "respond-async")];
    let kick_off = send(sandbox.address, "GET", &format!("{FHIR}/Patient/$export"), &fields, "").await;
    let status = kick_off.field("Content-Location").unwrap().split_once("/fhir/").unwrap().1.to_owned();
    let manifest = ask(&sandbox, &token, &status, None).await.json();
    let file = manifest["output"][0]["url"].as_str().unwrap().split_once("/fhir/").unwrap().1.to_owned();
    assert_eq!(ask(&sandbox, &token, &file, None).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_down_and_a_site_that_is_missing_break_the_json_of_8_0() {
    let down = r#"Check that you can ping the server 127.0.0.1.<p>{"error":"An error occurred","message":"Call to a member function prepare() on bool","code":0}"#;
    for personality in ANY {
        let on_8_0 = *personality == Personality::V8_0;
        let sandbox =
            RunningSandbox::start(Settings { personality: *personality, patients: 1, ..Settings::default() }, None).await;
        let token = sandbox.token("system/Patient.read").await;
        sandbox.order(&serde_json::json!({"fhir": {"error": "database"}, "token": {"refuse": "database"}})).await;
        for answer in [ask(&sandbox, &token, "Patient", None).await, sandbox.ask_token("system/Patient.read").await] {
            let content_type = if on_8_0 { "application/json" } else { "text/html; charset=utf-8" };
            assert_eq!((answer.status, answer.field("Content-Type")), (500, Some(content_type)));
            assert_eq!(answer.text(), if on_8_0 { down } else { "" });
        }
        sandbox.order(&serde_json::json!({"fhir": {"error": "no_site"}})).await;
        let answer = ask(&sandbox, &token, "Patient", None).await;
        let objects = serde_json::Deserializer::from_slice(&answer.body).into_iter::<Value>();
        let errors: Vec<Value> = objects.map(Result::unwrap).collect();
        assert_eq!((answer.status, errors.len()), (400, if on_8_0 { 2 } else { 0 }));
        assert_eq!(errors.first(), errors.get(1));
    }
}
