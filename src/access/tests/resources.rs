//! The test of resources by tables.

use serde_json::{Value, json};

use super::{bases, caller, client, listed, policy};
use crate::access::caller::Caller;
use crate::access::permitted::{permitted, permitted_of_search};
use crate::access::policy::Policy;
use crate::access::rule::Letter;
use crate::fhir::criteria::Illegible;

fn permits(caller: &Caller, letter: Letter, resource: &str) -> Result<bool, Illegible> {
    let resource_type = serde_json::from_str::<Value>(resource).ok();
    let resource_type = resource_type.as_ref().and_then(|value| value["resourceType"].as_str()).unwrap_or("Observation");
    permitted(caller, letter, &bases()).0.permits(resource_type, resource.as_bytes())
}

fn panel() -> Caller {
    caller(Policy { patients: listed(&["P1", "P2"]), ..policy("system/*.cruds") })
}

/// Whether a client with P1 and P2 on its list may read a resource.
fn belongs(resource: Value) -> bool {
    permits(&panel(), Letter::Read, &resource.to_string()).unwrap()
}

fn of(reference: &str) -> Value {
    json!({"reference": reference})
}

#[test]
fn references_lead_to_patients_in_every_form() {
    for (reference, belonging) in [
        ("Patient/P1", true),
        ("Patient/P2/_history/3", true),
        ("https://gw/fhir/Patient/P1", true),
        ("https://emr/apis/default/fhir/Patient/P1", true),
        ("https://emr/apis/default/fhir/Patient/P1/_history/1", true),
        ("Patient/P9", false),
        ("patient/P1", false),
        ("Patient/p1", false),
        ("P1", false),
        ("Group/P1", false),
        ("/Patient/P1", false),
        ("Patient/P1/", false),
        ("Patient/P1?x", false),
        ("Patient/P1#x", false),
        ("Patient/P9/_history/P1", false),
        ("Patient/", false),
        ("https://evil/fhir/Patient/P1", false),
        ("https://gw/fhirPatient/P1", false),
        ("https://gw/fhir/x/Patient/P1", false),
        ("http://gw/fhir/Patient/P1", false),
        ("urn:uuid:P1", false),
        ("#P1", false),
        ("", false),
    ] {
        assert_eq!(belongs(json!({"resourceType": "Observation", "subject": of(reference)})), belonging, "{reference}");
    }
    for subject in
        [json!(null), json!("Patient/P1"), json!({"display": "Patient/P1"}), json!({"reference": 1}), json!([]), json!(1)]
    {
        assert!(!belongs(json!({"resourceType": "Observation", "subject": subject})), "{subject}");
    }
}

#[test]
fn each_element_of_the_compartment_counts_and_no_other() {
    let one = || of("Patient/P1");
    for (resource, belonging) in [
        (json!({"resourceType": "Patient", "id": "P1"}), true),
        (json!({"resourceType": "Patient", "id": "P9"}), false),
        (json!({"resourceType": "Patient", "id": "P9", "link": [{"other": one()}]}), false),
        (json!({"resourceType": "Patient"}), false),
        (json!({"resourceType": "Observation", "performer": [of("Practitioner/1"), one()]}), true),
        (json!({"resourceType": "Observation", "focus": [one()]}), false),
        (json!({"resourceType": "Observation", "contained": [{"resourceType": "Observation", "subject": one()}]}), false),
        (json!({"resourceType": "Observation", "extension": [{"subject": one()}], "subject": of("Patient/P9")}), false),
        (json!({"resourceType": "Appointment", "participant": [{"actor": of("Patient/P9")}, {"actor": one()}]}), true),
        (json!({"resourceType": "Appointment", "participant": [{"actor": of("Location/1")}]}), false),
        (json!({"resourceType": "Group", "member": [{"entity": of("Patient/P9")}, {"entity": one()}]}), false),
        (json!({"resourceType": "Group", "member": [{"entity": of("Patient/P2")}, {"entity": one()}]}), true),
        (json!({"resourceType": "Group", "member": []}), false),
        (json!({"resourceType": "Device", "patient": one()}), true),
        (json!({"resourceType": "Device"}), false),
        (json!({"resourceType": "Coverage", "subscriber": of("Patient/P9"), "payor": [one()]}), true),
        (json!({"resourceType": "Provenance", "target": [of("Observation/1"), one()]}), true),
        (json!({"resourceType": "Provenance", "target": [of("Observation/1")]}), false),
        (json!({"resourceType": "Person", "link": [{"target": one()}]}), true),
        (json!({"resourceType": "Encounter", "subject": one()}), true),
        (json!({"resourceType": "Encounter", "participant": [{"individual": one()}]}), false),
        (json!({"resourceType": "AuditEvent", "agent": [{"who": of("Device/1")}], "entity": [{"what": one()}]}), true),
        (json!({"resourceType": "Task", "for": one()}), true),
        (json!({"resourceType": "Task", "owner": one()}), false),
        // Outside of the compartment.
        (json!({"resourceType": "Organization"}), true),
        (json!({"resourceType": "Practitioner", "id": "P9"}), true),
        // Anything can be in these.
        (json!({"resourceType": "Binary", "securityContext": one()}), false),
        (json!({"resourceType": "Bundle", "entry": []}), false),
        (json!({"resourceType": "Parameters", "subject": one()}), false),
    ] {
        assert_eq!(belongs(resource.clone()), belonging, "{resource}");
    }
}

#[test]
fn rules_and_their_constraints_are_met() {
    let category = |code: &str| json!([{"coding": [{"system": super::VITAL.split('|').next(), "code": code}]}]);
    let observation = |code: &str, status: &str| {
        json!({"resourceType": "Observation", "id": "O1", "category": category(code), "status": status}).to_string()
    };
    for (name, resource, permitted) in [
        ("vit", observation("vital-signs", "final"), true),
        ("vit", observation("laboratory", "final"), false),
        ("vit", json!({"resourceType": "Observation"}).to_string(), false),
        ("two", observation("laboratory", "final"), true),
        ("two", observation("exam", "final"), false),
        ("wide", observation("exam", "final"), true),
        ("pair", observation("vital-signs", "final"), true),
        ("pair", observation("vital-signs", "amended"), false),
        ("vit", json!({"resourceType": "Patient"}).to_string(), false),
        ("none", observation("vital-signs", "final"), false),
        ("all", observation("vital-signs", "final"), true),
        ("tag", json!({"resourceType": "Basic", "meta": {"tag": [{"code": "a"}]}}).to_string(), true),
        ("tag", json!({"resourceType": "Basic", "meta": {"tag": [{"code": "b"}]}}).to_string(), false),
        ("claim", json!({"resourceType": "Organization"}).to_string(), false),
    ] {
        assert_eq!(permits(&client(name), Letter::Read, &resource), Ok(permitted), "{name} {resource}");
    }
    let vital = observation("vital-signs", "final");
    assert_eq!(permits(&client("vwri"), Letter::Create, &vital), Ok(true));
    assert_eq!(permits(&client("vwri"), Letter::Read, &vital), Ok(false));
}

#[test]
fn both_the_list_and_the_constraint_must_be_met() {
    let resource = |patient: &str, code: &str| {
        let category = json!([{"coding": [{"system": super::VITAL.split('|').next(), "code": code}]}]);
        json!({"resourceType": "Observation", "subject": of(patient), "category": category}).to_string()
    };
    for (patient, code, permitted) in
        [("Patient/P1", "vital-signs", true), ("Patient/P1", "laboratory", false), ("Patient/P9", "vital-signs", false)]
    {
        assert_eq!(permits(&client("pvit"), Letter::Search, &resource(patient, code)), Ok(permitted), "{patient} {code}");
    }
}

#[test]
fn what_is_searched_needs_s_and_what_is_included_needs_r() {
    let (patient, observation) = (r#"{"resourceType":"Patient","id":"P1"}"#, r#"{"resourceType":"Observation","id":"O1"}"#);
    let split = client("split");
    for (searched, resource_type, resource, permitted) in [
        ("Observation", "Observation", observation, true),
        ("Observation", "Patient", patient, true),
        ("Patient", "Patient", patient, false),
        ("Patient", "Observation", observation, false),
    ] {
        let test = permitted_of_search(&split, searched, &bases());
        assert_eq!(test.0.permits(resource_type, resource.as_bytes()), Ok(permitted), "{searched} {resource_type}");
    }
}

#[test]
fn a_resource_of_another_type_than_was_said_is_not_permitted() {
    let test = permitted(&panel(), Letter::Read, &bases());
    let foreign = br#"{"resourceType":"Patient","id":"P9"}"#;
    assert_eq!(test.0.permits("Organization", foreign), Ok(false));
    assert_eq!(test.0.permits("Organization", br#"{"id":"1"}"#), Err(Illegible));
    assert_eq!(test.0.permits("Organization", br#"{"resourceType":["Organization"]}"#), Err(Illegible));
}

#[test]
fn what_is_there_twice_is_never_shown() {
    let (panel, vital) = (panel(), client("vit"));
    let (mine, foreign) = (r#"{"reference":"Patient/P1"}"#, r#"{"reference":"Patient/P9"}"#);
    for name in ["subject", r"\u0073ubject", r"subj\u0065ct", r"s\u0075bject"] {
        for (first, second) in [(mine, foreign), (foreign, mine), (mine, "null"), ("null", mine)] {
            for more in ["", r#""contained":[{"subject":1}],"#, r#""text":{"div":"\u003Cp\u003E"},"#] {
                let resource = format!(r#"{{"resourceType":"Observation",{more}"subject":{first},"{name}":{second}}}"#);
                assert_eq!(permits(&panel, Letter::Read, &resource), Err(Illegible), "{resource}");
                let resource = format!(r#"{{"{name}":{first},{more}"subject":{second},"resourceType":"Observation"}}"#);
                assert_eq!(permits(&panel, Letter::Read, &resource), Err(Illegible), "{resource}");
            }
        }
    }
    for resource in [
        r#"{"resourceType":"Observation","resourceType":"Patient","subject":{"reference":"Patient/P1"}}"#,
        r#"{"resourceType":"Observation","subject":{"reference":"Patient/P1"},"resource\u0054ype":"Patient"}"#,
        r#"{"resourceType":"Observation","subject":{"reference":"Patient/P1","reference":"Patient/P9"}}"#,
        r#"{"resourceType":"Observation","subject":{"reference":"Patient/P1","referenc\u0065":"Patient/P9"}}"#,
        r#"{"resourceType":"Observation","subject":{"reference":"Patient/P1""#,
        r#"{}{"resourceType":"Observation","subject":{"reference":"Patient/P1"}}"#,
        r#"[{"resourceType":"Observation","subject":{"reference":"Patient/P1"}}]"#,
        "",
        "null",
    ] {
        let found = permitted(&panel, Letter::Read, &bases()).0.permits("Observation", resource.as_bytes());
        assert_eq!(found, Err(Illegible), "{resource}");
    }
    for twice in ["category", r"c\u0061tegory"] {
        let category =
            r#"[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}]}]"#;
        let resource = format!(r#"{{"resourceType":"Observation","category":{category},"{twice}":[]}}"#);
        assert_eq!(permits(&vital, Letter::Read, &resource), Err(Illegible), "{twice}");
    }
    // What is not looked at may be there twice.
    let resource = r#"{"resourceType":"Observation","subject":{"reference":"Patient/P1"},"note":1,"note":2}"#;
    assert_eq!(permits(&panel, Letter::Read, resource), Ok(true));
}

#[test]
fn any_legal_spelling_is_read() {
    for resource in [
        " { \"resourceType\" : \"Observation\" , \"subject\" : { \"reference\" : \"Patient/P1\" } } \n",
        r#"{"resourceType":"Observation","subject":{"reference":"Patient\/P1"}}"#,
        r#"{"r\u0065sourceType":"Observ\u0061tion","subj\u0065ct":{"ref\u0065rence":"Pati\u0065nt/P1"}}"#,
        "\u{feff}{\"resourceType\":\"Observation\",\"subject\":{\"type\":\"Patient\",\"reference\":\"Patient/P1\"}}",
        r#"{"note":"\\\"subject\\\":","resourceType":"Observation","a":["subject"],"subject":[{"reference":"Patient/P9"},{"reference":"Patient/P1"}]}"#,
        r#"{"subject":{"reference":"Patient/P1"},"code":"subject","x":{"resourceType":"Patient"},"resourceType":"Observation"}"#,
    ] {
        let found = permitted(&panel(), Letter::Read, &bases()).0.permits("Observation", resource.as_bytes());
        assert_eq!(found, Ok(true), "{resource}");
    }
    // The names as texts, and as names of other objects.
    for resource in [
        r#"{"resourceType":"Observation","note":"subject","text":{"subject":{"reference":"Patient/P1"}}}"#,
        r#"{"resourceType":"Observation","a":"\"subject\":{\"reference\":\"Patient/P1\"}"}"#,
        r#"{"resourceType":"Observation","a":["subject",{"reference":"Patient/P1"}]}"#,
    ] {
        let found = permitted(&panel(), Letter::Read, &bases()).0.permits("Observation", resource.as_bytes());
        assert_eq!(found, Ok(false), "{resource}");
    }
}
