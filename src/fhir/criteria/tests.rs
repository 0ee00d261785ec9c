//! Criteria on whole resources, by R4's own rules.

use serde_json::{Value, json};

use super::criterion::Untestable;
use super::*;

mod dates;
mod naive;
mod properties;

fn criteria(resource_type: &str, parameters: &[(&str, &str)]) -> Criteria {
    let mut criteria = Criteria::default();
    for (name, value) in parameters {
        criteria.and(Criterion::read(resource_type, name, value).unwrap_or_else(|why| panic!("{name}={value}: {why:?}")));
    }
    criteria
}

fn is_met(resource_type: &str, name: &str, value: &str, resource: &Value) -> bool {
    criteria(resource_type, &[(name, value)]).are_met_by(resource.to_string().as_bytes()).unwrap()
}

/// Asserts which of the values a resource meets.
fn assert_met(resource_type: &str, name: &str, resource: &Value, met: &[&str], not_met: &[&str]) {
    for value in met {
        assert!(is_met(resource_type, name, value, resource), "{name}={value} of {resource}");
    }
    for value in not_met {
        assert!(!is_met(resource_type, name, value, resource), "{name}={value} of {resource}");
    }
}

const LOINC: &str = "http://loinc.org";

#[test]
fn a_code_is_found_with_its_system_and_without() {
    let observation = json!({"code": {"coding": [
        {"system": LOINC, "code": "8480-6"}, {"code": "Local"}, {"system": "", "code": "empty"}, {"system": "urn:x", "display": "no code"}
    ], "text": "text"}});
    let met = [
        "8480-6",
        "http://loinc.org|8480-6",
        "http://loinc.org|",
        "|Local",
        "Local",
        "local",
        "|LOCAL",
        "|empty",
        "urn:x|",
        "x,8480-6",
        "http://loinc.org|x,|Local",
        "x,urn:x|",
    ];
    let not_met = [
        "8480",
        "8480-67",
        "http://loinc.org|Local",
        "|8480-6",
        "http://LOINC.org|8480-6",
        "http://loinc.orgs|",
        "urn:x|Local",
        "urn:x|empty",
        "text",
        "no code",
        "urn:y|",
        "x,y",
    ];
    assert_met("Observation", "code", &observation, &met, &not_met);
    assert_met("Observation", "code:not", &observation, &not_met, &met);
}

#[test]
fn not_holds_where_there_is_no_element() {
    for without in [json!({}), json!({"status": null}), json!({"_status": {"extension": []}}), json!({"code": {"text": "x"}})] {
        assert_met("Observation", "status:not", &without, &["final", "final,amended"], &[]);
        assert_met("Observation", "code:not", &without, &["a"], &[]);
        assert_met("Observation", "status", &without, &[], &["final"]);
    }
    let last = json!({"status": "final"});
    assert_met(
        "Observation",
        "status:not",
        &last,
        &["amended", "amended,preliminary", "urn:x|final"],
        &["final", "amended,final"],
    );
}

#[test]
fn a_code_of_fhirs_own_has_the_system_that_fhir_binds_it_to() {
    let status = "http://hl7.org/fhir/observation-status";
    let observation = json!({"status": "final"});
    let met = ["final", &format!("{status}|final"), &format!("{status}|")];
    let not_met = ["FINAL", "|final", &format!("{status}|amended"), "urn:x|final", "urn:x|", "fina"];
    assert_met("Observation", "status", &observation, &met, &not_met);
    assert_met("Encounter", "_id", &json!({"id": "aB"}), &["aB", "|aB", "x,aB"], &["ab", "AB", "x|aB", "a"]);
}

#[test]
fn identifiers_booleans_and_telecoms_are_tokens() {
    let practitioner = json!({
        "identifier": [{"system": "http://hl7.org/fhir/sid/us-npi", "value": "1234567890"}, {"value": "X1"}],
        "active": true,
        "telecom": [{"system": "phone", "value": "555-0101"}, {"system": "email", "value": "A@example.org"}],
    });
    let met = ["1234567890", "http://hl7.org/fhir/sid/us-npi|1234567890", "http://hl7.org/fhir/sid/us-npi|", "|X1", "x1"];
    assert_met("Practitioner", "identifier", &practitioner, &met, &["123456789", "|1234567890", "urn:x|X1", "us-npi|1234567890"]);
    let met = ["true", "http://hl7.org/fhir/special-values|true", "http://terminology.hl7.org/CodeSystem/special-values|true"];
    assert_met("Practitioner", "active", &practitioner, &met, &["false", "1", "urn:x|true", "|true"]);
    assert_met("Practitioner", "phone", &practitioner, &["555-0101"], &["a@example.org", "555"]);
    assert_met(
        "Practitioner",
        "email",
        &practitioner,
        &["a@example.org", "|a@example.org", "email|a@example.org"],
        &["555-0101"],
    );
    assert_met("Practitioner", "telecom", &practitioner, &["a@example.org", "555-0101", "phone|555-0101"], &["email|555-0101"]);
}

#[test]
fn deceased_is_told_from_both_elements_and_from_none() {
    for (patient, deceased, living) in [
        (json!({}), false, true),
        (json!({"deceasedBoolean": false}), false, true),
        (json!({"deceasedBoolean": true}), true, false),
        (json!({"deceasedDateTime": "2024-01-01"}), true, false),
    ] {
        let asked = |name, value| is_met("Patient", name, value, &patient);
        assert_eq!((asked("deceased", "true"), asked("deceased", "false")), (deceased, living), "{patient}");
        assert_eq!((asked("deceased:not", "true"), asked("deceased:not", "false")), (living, deceased), "{patient}");
    }
}

#[test]
fn elements_are_found_in_arrays_whatever_the_depth() {
    let encounter = json!({
        "location": [{"location": {"reference": "Location/1"}}, [{"location": [{"reference": "Location/2"}]}], null, {"location": null}],
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "type": [{"coding": [{"code": "a"}]}, {"coding": {"code": "b"}}],
        "hospitalization": {"dischargeDisposition": {"coding": [{"code": "home"}]}},
    });
    assert_met("Encounter", "location", &encounter, &["1", "2", "Location/2"], &["3", "Patient/1"]);
    assert_met("Encounter", "class", &encounter, &["AMB", "http://terminology.hl7.org/CodeSystem/v3-ActCode|AMB"], &["EMER"]);
    assert_met("Encounter", "type", &encounter, &["a", "b"], &["c"]);
    assert_met("Encounter", "discharge-disposition", &encounter, &["home"], &["other"]);
    let condition = json!({"extension": [
        {"url": "http://hl7.org/fhir/StructureDefinition/condition-assertedDate", "valueDateTime": "2024-02-01"},
        {"url": "urn:other", "valueDateTime": "2010-01-01"},
    ]});
    assert_met("Condition", "asserted-date", &condition, &["2024", "2024-02-01"], &["2010"]);
    let patient = json!({"extension": [{"url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race", "extension": [
        {"url": "ombCategory", "valueCoding": {"system": "urn:oid:2.16.840.1.113883.6.238", "code": "2106-3"}},
        {"url": "text", "valueString": "White"},
    ]}]});
    assert_met("Patient", "race", &patient, &["2106-3", "urn:oid:2.16.840.1.113883.6.238|2106-3"], &["White", "2028-9"]);
    assert_met("Patient", "ethnicity", &patient, &[], &["2106-3"]);
}

#[test]
fn references_lead_to_a_type_and_an_id() {
    let subject = |reference: &str| json!({"subject": {"reference": reference}});
    let patient = subject("Patient/1");
    assert_met(
        "Observation",
        "patient",
        &patient,
        &["1", "Patient/1", "2,1"],
        &["2", "Group/1", "Patient/12", "http://x/Patient/1"],
    );
    assert_met("Observation", "subject", &patient, &["1", "Patient/1", "Group/1,Patient/1"], &["Group/1", "Device/1"]);
    assert_met("Observation", "subject:Patient", &patient, &["1", "Patient/1"], &["2"]);
    assert_met("Observation", "subject:Group", &patient, &[], &["1", "Group/1"]);
    let group = subject("Group/1");
    assert_met("Observation", "patient", &group, &[], &["1", "Patient/1", "Group/1"]);
    assert_met("Observation", "subject", &group, &["1", "Group/1"], &["Patient/1"]);
    let versioned = subject("Patient/1/_history/3");
    assert_met("Observation", "patient", &versioned, &["1", "Patient/1"], &["3"]);
    let absolute = subject("https://other/fhir/Patient/1");
    assert_met(
        "Observation",
        "patient",
        &absolute,
        &["https://other/fhir/Patient/1"],
        &["1", "Patient/1", "https://other/fhir/Patient/2"],
    );
    let both = subject("https://other/fhir/Patient/1/_history/2");
    let met = ["https://other/fhir/Patient/1", "https://other/fhir/Patient/1/_history/2"];
    assert_met("Observation", "patient", &both, &met, &["https://other/fhir/Patient/1/_history/3"]);
    assert_met("Observation", "patient", &subject("https://other/Group/1"), &[], &["https://other/Group/1", "1"]);
    for none in [
        subject("#1"),
        subject("1"),
        subject(""),
        subject("x/Patient/1"),
        json!({"subject": {"display": "1"}}),
        json!({"subject": "Patient/1"}),
    ] {
        assert_met("Observation", "patient", &none, &[], &["1", "Patient/1", "#1"][..2]);
    }
    let provenance = json!({"target": [{"reference": "Condition/7"}, {"reference": "urn:uuid:7"}]});
    assert_met(
        "Provenance",
        "target",
        &provenance,
        &["7", "Condition/7", "urn:uuid:7", "x,urn:uuid:7"],
        &["Patient/7", "urn:uuid:8"],
    );
    let response = json!({"questionnaire": "http://x/Questionnaire/1|2.0"});
    let met = ["http://x/Questionnaire/1", "http://x/Questionnaire/1\\|2.0"];
    assert_met("QuestionnaireResponse", "questionnaire", &response, &met, &["http://x/Questionnaire/1\\|3.0", "1"]);
}

#[test]
fn texts_begin_with_the_value_whatever_the_case_and_the_accents() {
    let patient = json!({"name": [
        {"use": "official", "family": "Garc\u{ed}a L\u{f3}pez", "given": ["Jos\u{e9}", "B"], "prefix": ["Dr."], "period": {"start": "1990"}},
        {"text": "STRASSE Ma\u{308}rz"},
    ]});
    let met = ["garcia", "GARC\u{cd}A l", "jose", "b", "dr", "stra\u{df}e m\u{e4}r", "strasse maerz,garci\u{301}a"];
    assert_met("Patient", "name", &patient, &met, &["lopez", "arcia", "josef", "official", "1990", "dr  "]);
    assert_met("Patient", "name:contains", &patient, &["l\u{f3}pez", "arc", "SS", "m\u{e4}"], &["lopezz", "offic"]);
    assert_met(
        "Patient",
        "name:exact",
        &patient,
        &["Garc\u{ed}a L\u{f3}pez", "B", "x,Dr."],
        &["garc\u{ed}a l\u{f3}pez", "Garc\u{ed}a", "Jose", "b"],
    );
    assert_met("Patient", "family", &patient, &["garcia"], &["jose", "strasse"]);
    let location = json!({"name": "Clinic", "alias": ["Old Clinic"], "address": {"use": "work", "line": ["1 Main St", "Floor 2"], "city": "Z\u{fc}rich", "postalCode": "00037"}});
    assert_met("Location", "address", &location, &["1 main", "floor", "zurich", "000"], &["main", "work", "37"]);
    assert_met("Location", "address-postalcode", &location, &["00037", "0"], &["37"]);
    assert_met("Location", "name", &location, &["clin", "old"], &["lini"]);
    // Of several values that begin alike, and of those that stand between them in order.
    assert_met(
        "Location",
        "name",
        &location,
        &["c,cl,cline,clip,clit", "a,clin,clinib,b,clinica", "clinica,old clinic"],
        &["clinica,clinb,b,z"],
    );
}

#[test]
fn missing_is_whether_there_is_an_element() {
    for (name, with, without) in [
        ("status", json!({"status": "final"}), json!({"status": null})),
        ("code", json!({"code": {"text": "x"}}), json!({"code": []})),
        ("date", json!({"effectivePeriod": {}}), json!({"effective": "2024"})),
        ("subject", json!({"subject": {"display": "x"}}), json!({"subject": [null]})),
        ("value-string", json!({"valueString": "x"}), json!({"valueCodeableConcept": {"coding": []}})),
    ] {
        let name = format!("{name}:missing");
        assert_met("Observation", &name, &with, &["false"], &["true"]);
        assert_met("Observation", &name, &without, &["true"], &["false"]);
        assert_met("Observation", &name, &json!({}), &["true"], &["false"]);
    }
}

#[test]
fn escapes_stand_for_the_characters_behind_them() {
    let patient = json!({"identifier": [{"system": "a|b", "value": "1,2"}, {"value": "c\\$"}]});
    assert_met(
        "Patient",
        "identifier",
        &patient,
        &["1\\,2", "a\\|b|1\\,2", "a\\|b|", "c\\\\\\$", "c\\\\$"],
        &["1", "2", "a\\|b\\|1\\,2"],
    );
    assert_met("Patient", "name", &json!({"name": {"text": "Doe, J$"}}), &["doe\\, j$", "doe\\, j\\$"], &["j"]);
}

#[test]
fn what_cannot_be_tested_is_said_to_be_so() {
    use Untestable::{Modifier, Undefined, Value};
    for (name, value, why) in [
        ("shoe", "x", Undefined),
        ("", "x", Undefined),
        (":not", "x", Undefined),
        ("value-quantity", "5", Undefined),
        ("status:in", "x", Modifier),
        ("status:", "x", Modifier),
        ("status:Not", "x", Modifier),
        ("status:not:not", "x", Modifier),
        ("status:text", "x", Modifier),
        ("date:not", "2024", Modifier),
        ("subject:not", "1", Modifier),
        ("subject:identifier", "a|b", Modifier),
        ("subject:Shoe", "1", Modifier),
        ("patient:Group", "1", Modifier),
        ("status:exact", "x", Modifier),
        ("value-string:not", "x", Modifier),
        ("status", "", Value),
        ("status", "a,", Value),
        ("status", ",a", Value),
        ("status", "a,,b", Value),
        ("status", "|", Value),
        ("status", "a|b|c", Value),
        ("status", "a\\", Value),
        ("status", "a\\b", Value),
        ("status:missing", "yes", Value),
        ("status:missing", "true,false", Value),
        ("status:missing", "", Value),
        ("date", "ap2024", Value),
        ("date", "", Value),
        ("date", "2024,", Value),
        ("subject", "", Value),
        ("subject", "Patient/", Value),
        ("subject", "/1", Value),
        ("subject", "Shoe/1", Value),
        ("subject", "Patient/1/_history/2", Value),
        ("subject", "#1", Value),
        ("subject:Patient", "Group/1", Value),
        ("subject:Patient", "http://x/Patient/1", Value),
        ("value-string", "", Value),
        ("value-string", "a,", Value),
        ("value-string", "\u{301}", Value),
    ] {
        assert_eq!(Criterion::read("Observation", name, value), Err(why), "{name}={value}");
    }
    assert_eq!(Criterion::read("Shoe", "_id", "x"), Err(Undefined));
    let long = "a".repeat(257);
    assert_eq!(Criterion::read("Observation", "value-string:contains", &long), Err(Value));
    assert!(Criterion::read("Observation", "value-string", &long).is_ok());
}

#[test]
fn all_criteria_must_be_met() {
    let range = criteria("Patient", &[("birthdate", "ge1960-01-01"), ("birthdate", "lt1980-01-01"), ("gender", "female")]);
    let patient = |day: &str, gender: &str| json!({"birthDate": day, "gender": gender}).to_string();
    for (day, gender, met) in [
        ("1960-01-01", "female", true),
        ("1959-12-31", "female", false),
        ("1980-01-01", "female", false),
        ("1970", "male", false),
    ] {
        assert_eq!(range.are_met_by(patient(day, gender).as_bytes()), Ok(met), "{day} {gender}");
    }
    assert!(Criteria::default().is_empty() && !range.is_empty());
    assert_eq!(Criteria::default().are_met_by(b"{}"), Ok(true));
}

#[test]
fn any_spelling_of_a_resource_is_read() {
    let last = criteria("Observation", &[("status", "final"), ("code", "a/b")]);
    for (text, met) in [
        (r#"{"status":"final","code":{"coding":[{"code":"a\/b"}]}}"#, Ok(true)),
        (
            "\u{feff} {\n\t\"st\\u0061tus\" : \"fin\\u0061l\" ,\r\"code\" : { \"coding\" : [ { \"c\\u006fde\" : \"a/b\" } ] } } \n",
            Ok(true),
        ),
        (
            r#"{"text":{"div":"\"status\":\"final\""},"contained":[{"status":"final","code":{"coding":[{"code":"a/b"}]}}]}"#,
            Ok(false),
        ),
        (r#"{"Status":"final","code":{"coding":[{"code":"a/b"}]}}"#, Ok(false)),
        (r#"{"status":5,"code":"a/b"}"#, Ok(false)),
        (r#"{"status":"final","status":"final","code":{"coding":[{"code":"a/b"}]}}"#, Err(Illegible)),
        (r#"{"status":"final","code":{"coding":[{"code":"a/b","code":"a/b"}]}}"#, Err(Illegible)),
        (r#"{"status":"final","st\u0061tus":null}"#, Err(Illegible)),
        (r#"{"other":1,"other":2}"#, Ok(false)),
        (r#"{"status":"final""#, Err(Illegible)),
        (r#"{"status":"final"} x"#, Err(Illegible)),
        (r#"{"status":finale}"#, Err(Illegible)),
        (r#"{"status":{]}"#, Err(Illegible)),
        ("[]", Err(Illegible)),
        ("", Err(Illegible)),
        ("null", Err(Illegible)),
        ("\"x\"", Err(Illegible)),
    ] {
        assert_eq!(last.are_met_by(text.as_bytes()), met, "{text}");
    }
    let deep = format!(r#"{{"status":"final","code":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(last.are_met_by(deep.as_bytes()), Err(Illegible));
}

/// Lists as long as a request's head lets them be.
#[test]
fn long_lists_find_what_each_of_their_values_finds() {
    let list = |part: &dyn Fn(usize) -> String| (0..10_000).map(part).collect::<Vec<_>>().join(",");
    let observation = json!({
        "id": "a7777", "code": {"coding": [{"system": LOINC, "code": "7777-9"}]}, "subject": {"reference": "Patient/7777"},
        "effectiveDateTime": "7777-06-15", "valueString": "So x7777y",
    });
    let other = json!({
        "id": "b7777", "code": {"coding": [{"system": "urn:x", "code": "7777-9"}]}, "subject": {"reference": "Group/7777"},
        "effectivePeriod": {"start": "7777-06-30", "end": "7777-07-01"}, "valueString": "So x77z",
    });
    for (name, value) in [
        ("_id", list(&|number| format!("a{number}"))),
        ("code", list(&|number| format!("{LOINC}|{number}-9"))),
        ("code", list(&|number| format!("{LOINC}|7777-9,urn:y{number}|7777-9"))),
        ("patient", list(&|number| format!("Patient/{number}"))),
        ("date", list(&|number| format!("{:04}-06", number.max(1)))),
        ("value-string", list(&|number| format!("so x{number}y"))),
        ("value-string:contains", list(&|number| format!("x{number}Y"))),
        ("value-string:exact", list(&|number| format!("So x{number}y"))),
    ] {
        let criteria = criteria("Observation", &[(name, &value)]);
        assert_eq!(criteria.are_met_by(observation.to_string().as_bytes()), Ok(true), "{name}");
        assert_eq!(criteria.are_met_by(other.to_string().as_bytes()), Ok(false), "{name}");
    }
}
