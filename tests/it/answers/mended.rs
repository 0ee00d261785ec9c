//! Resources that OpenEMR writes, and strict clients refuse, come as valid FHIR: in Bundles, reads, answers to writes and files of
//! exports; each repair has a switch, and is counted.

use crate::support::http::End;
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;
use crate::support::told_openemr::{FRAMINGS, Framing, Told};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// Each repair: a member as OpenEMR writes it, and what becomes of it.
const MEMBERS: [(&str, &str, &str); 9] = [
    ("empty_members", r#""address":[null],"photo":{"title":""},"name":[{"given":["A",null]}]"#, r#""name":[{"given":["A"]}]"#),
    (
        "misplaced_objects",
        r#""maritalStatus":{"coding":[{"display":{"extension":[{"valueCode":"unknown","url":"u"}]}}]}"#,
        r#""maritalStatus":{"coding":[{"_display":{"extension":[{"valueCode":"unknown","url":"u"}]}}]}"#,
    ),
    ("numbers_for_text", r#""maritalStatus":{"coding":[{"code":197361}]}"#, r#""maritalStatus":{"coding":[{"code":"197361"}]}"#),
    (
        "nameless_extensions",
        r#""generalPractitioner":[{"extension":[{"extension":[{"valueCode":"unknown","url":"u"}]}],"display":"x"}]"#,
        r#""generalPractitioner":[{"display":"x"}]"#,
    ),
    (
        "oid_systems",
        r#""identifier":[{"system":"2.16.840.1.113883.6.90","value":"x"}]"#,
        r#""identifier":[{"system":"urn:oid:2.16.840.1.113883.6.90","value":"x"}]"#,
    ),
    (
        "absent_reasons",
        r#""extension":[{"valueCoding":{"system":"DataAbsentReason","code":"unknown"},"url":"u"}]"#,
        r#""extension":[{"valueCoding":{"system":"http://terminology.hl7.org/CodeSystem/data-absent-reason","code":"unknown"},"url":"u"}]"#,
    ),
    (
        "prefixed_codes",
        r#""maritalStatus":{"coding":[{"code":"SNOMED-CT:80146002","system":"http:\/\/snomed.info\/sct"}]}"#,
        r#""maritalStatus":{"coding":[{"code":"80146002","system":"http:\/\/snomed.info\/sct"}]}"#,
    ),
    (
        "narratives",
        r#""text":{"status":"generated","div":"\u003Cdiv\u003E \u003Cp\u003EA & <b>B\u003C\/p\u003E\u003C\/div\u003E"}"#,
        r#""text":{"status":"generated","div":"<div> <p>A &amp; &lt;b&gt;B</p></div>"}"#,
    ),
    (
        "groups",
        r#""contained":[{"id":"g","resourceType":"Group","member":[{"entity":{"reference":"Patient\/1"}}]}]"#,
        r#""contained":[{"id":"g","resourceType":"Group","member":[{"entity":{"reference":"Patient\/1"}}],"type":"person","actual":true}]"#,
    ),
];

/// A Patient with a member.
fn patient(member: &str) -> String {
    format!(r#"{{"id":"1","resourceType":"Patient",{member},"gender":"female"}}"#)
}

fn bundle(resource: &str) -> String {
    format!(
        r#"{{"resourceType":"Bundle","type":"collection","total":1,"link":[],"entry":[{{"fullUrl":"x/Patient/1","resource":{resource}}}]}}"#
    )
}

/// The counts of the first site.
fn counts(told: &Told) -> Value {
    told.gateway.caller().get("/health").json()["sites"][0]["mended"].clone()
}

#[test]
fn what_is_read_and_what_is_found_is_mended_however_it_comes() {
    let told = Told::start();
    for (repair, before, after) in MEMBERS {
        for framing in FRAMINGS {
            told.tell(200, &[JSON], patient(before), framing);
            let read = told.gateway.caller().get("/fhir/Patient/1");
            assert_eq!((read.status, read.end, read.text()), (200, End::Whole, patient(after)), "{repair} {framing:?}");
            told.tell(200, &[JSON], bundle(&patient(before)), framing);
            let found = told.gateway.caller().get("/fhir/Patient?name=x");
            assert_eq!((found.status, found.end), (200, End::Whole), "{repair} {framing:?}");
            assert!(found.text().contains(&patient(after)), "{repair} {framing:?}: {}", found.text());
        }
        told.tell(200, &[JSON], patient(before), Framing::Length);
        let read = Http2::plain(told.gateway.address).get("/fhir/Patient/1");
        assert_eq!(read.text(), patient(after), "{repair} over HTTP/2");
        // What is right already stays, to the byte.
        told.tell(200, &[JSON], patient(after), Framing::Chunks);
        let read = told.gateway.caller().get("/fhir/Patient/1");
        assert_eq!(read.text(), patient(after), "{repair} again");
    }
}

#[test]
fn a_value_set_without_status_has_an_unknown_one() {
    let told = Told::start();
    let value_set =
        |status: &str| format!(r#"{{"id":"1","resourceType":"Patient","contained":[{{"resourceType":"ValueSet"{status}}}]}}"#);
    told.tell(200, &[JSON], value_set(""), Framing::Chunks);
    assert_eq!(told.gateway.caller().get("/fhir/Patient/1").text(), value_set(r#","status":"unknown""#));
    assert_eq!(counts(&told), json!({"value_set_status": 1}));
}

#[test]
fn each_repair_can_be_switched_off_alone() {
    for (off, before, _) in MEMBERS {
        let told = Told::with(|site| site["repairs"] = json!({off: false}));
        told.tell(200, &[JSON], patient(before), Framing::Length);
        assert_eq!(told.gateway.caller().get("/fhir/Patient/1").text(), patient(before), "{off} is off");
        assert_eq!(counts(&told), Value::Null, "{off} is off");
        let others = MEMBERS.iter().filter(|(repair, ..)| *repair != off);
        let (before_others, after_others): (Vec<_>, Vec<_>) = others.map(|(_, before, after)| (*before, *after)).unzip();
        let of = |members: &[&str]| members.iter().map(|member| patient(member)).collect::<Vec<_>>().join(",");
        told.tell(200, &[JSON], patient(&format!(r#""contained":[{}]"#, of(&before_others))), Framing::Length);
        let read = told.gateway.caller().get("/fhir/Patient/1").text();
        assert_eq!(read, patient(&format!(r#""contained":[{}]"#, of(&after_others))), "all but {off}");
    }
}

#[test]
fn without_repairs_nothing_is_mended_unless_one_is_switched_on() {
    let all: Vec<&str> = MEMBERS.iter().map(|(_, before, _)| *before).collect();
    let body = patient(&format!(r#""contained":[{}]"#, all.iter().map(|member| patient(member)).collect::<Vec<_>>().join(",")));
    let told = Told::with(|site| site["conformance"] = json!("pass_through"));
    told.tell(200, &[JSON], &body, Framing::Length);
    assert_eq!(told.gateway.caller().get("/fhir/Patient/1").text(), body);
    assert_eq!(counts(&told), Value::Null);
    let told = Told::with(|site| {
        site["conformance"] = json!("pass_through");
        site["repairs"] = json!({"numbers_for_text": true});
    });
    told.tell(200, &[JSON], &body, Framing::Length);
    let read = told.gateway.caller().get("/fhir/Patient/1").text();
    assert_eq!(read, body.replace("197361", "\"197361\""));
}

#[test]
fn repairs_are_counted_until_the_site_is_gone() {
    let told = Told::start();
    assert_eq!(counts(&told), Value::Null, "nothing was mended yet");
    told.tell(200, &[JSON], patient(r#""address":[null],"photo":[{}],"birthDate":1984"#), Framing::Length);
    for times in 1..3 {
        told.gateway.caller().get("/fhir/Patient/1");
        assert_eq!(counts(&told), json!({"empty_members": 4 * times, "numbers_for_text": times}));
    }
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(told.gateway.config_file()).unwrap()).unwrap();
    config["log"] = json!({"level": "info"});
    told.gateway.reload(&config);
    assert_eq!(counts(&told), json!({"empty_members": 8, "numbers_for_text": 2}), "after a reload");
}

#[test]
fn answers_to_head_and_errors_and_documents_are_left_alone() {
    let told = Told::start();
    let body = patient(r#""address":[null]"#);
    told.tell(200, &[JSON], &body, Framing::Length);
    let head = told.gateway.caller().send("HEAD", "/fhir/Patient/1", &[], b"");
    assert_eq!((head.status, head.body.len(), head.field("content-length")), (200, 0, None));
    let document = r#"{"text":{},"list":[null],"code":""}"#;
    told.tell(200, &[JSON, ("Content-Disposition", "attachment; filename=a")], document, Framing::Length);
    assert_eq!(told.gateway.caller().get("/fhir/Binary/1").text(), document);
    let binary = r#"{"resourceType":"Binary","contentType":"text/plain","data":""}"#;
    told.tell(200, &[JSON], binary, Framing::Length);
    assert_eq!(told.gateway.caller().get("/fhir/Binary/1").text(), binary);
    told.tell(400, &[JSON], r#"{"validationErrors":{"name":[""]},"x":null}"#, Framing::Length);
    told.gateway.caller().get("/fhir/Patient/1").outcome(400);
    assert_eq!(counts(&told), Value::Null);
}

#[test]
fn what_comes_back_after_a_write_is_mended() {
    let told = Told::start();
    let caller = told.gateway.caller();
    let (_, before, after) = MEMBERS[5];
    let new = r#"{"resourceType":"Patient","name":[{"use":"official","family":"x"}]}"#;
    // The answer to a create that is the resource itself, and to an update.
    told.tell(201, &[JSON], patient(before), Framing::Chunks);
    let created = caller.post("/fhir/Patient", &[("Content-Type", "application/fhir+json")], new.as_bytes());
    assert_eq!((created.status, created.text()), (201, patient(after)));
    told.tell(200, &[JSON], patient(before), Framing::Chunks);
    let fields = [("Content-Type", "application/fhir+json")];
    let updated = caller.send("PUT", "/fhir/Patient/1", &fields, new.as_bytes());
    assert_eq!((updated.status, updated.text()), (200, patient(after)));
}

#[test]
fn a_patient_of_openemr_8_can_be_read_changed_and_written_although_it_was_mended() {
    let openemr = OpenEmr::with(&["--openemr", "8.0", "--resources", "openemr"]);
    let mut config = crate::support::gateway::config(&openemr);
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
    let gateway = crate::support::gateway::Gateway::with(config);
    let caller = gateway.caller();
    let mut patient = caller.get("/fhir/Patient?_count=1").json()["entry"][0]["resource"].clone();
    assert!(!patient.to_string().contains("\"DataAbsentReason\""), "{patient}");
    assert!(patient.to_string().contains("CodeSystem/data-absent-reason"), "{patient}");
    patient["gender"] = json!("other");
    let target = format!("/fhir/Patient/{}", patient["id"].as_str().unwrap());
    let written = caller.send("PUT", &target, &[("Content-Type", "application/fhir+json")], patient.to_string().as_bytes());
    assert_eq!(written.status, 200, "{}", written.text());
    assert_eq!((&written.json()["gender"], written.text().contains("\"DataAbsentReason\"")), (&json!("other"), false));
    // What is read back after a create.
    let new = json!({"resourceType": "Patient", "name": [{"use": "official", "family": "Mended", "given": ["A"]}], "gender": "female", "birthDate": "1984-02-29"});
    let created = caller.post("/fhir/Patient", &[("Content-Type", "application/fhir+json")], new.to_string().as_bytes());
    assert_eq!(created.status, 201, "{}", created.text());
    assert!(!created.text().contains("\"DataAbsentReason\""), "{}", created.text());
    assert!(created.json().to_string().contains("CodeSystem/data-absent-reason"), "{}", created.text());
}

#[test]
fn the_lines_of_an_exports_file_are_mended() {
    let told = Told::with(|site| site["bulk_data"] = json!({"folder": "bulk"}));
    let before: Vec<String> = MEMBERS.iter().map(|(_, before, _)| patient(before)).collect();
    let after: Vec<String> = MEMBERS.iter().map(|(_, _, after)| patient(after)).collect();
    // Each with an id of its own, because a resource comes once.
    let numbered = |lines: &[String]| -> Vec<String> {
        lines.iter().enumerate().map(|(number, line)| line.replacen("\"1\"", &format!("\"n{number}\""), 1)).collect()
    };
    for framing in FRAMINGS {
        let fields = [("Content-Type", "application/fhir+ndjson"), ("Content-Disposition", "attachment; filename=a.ndjson")];
        told.tell(200, &fields, numbered(&before).join("\n"), framing);
        let file = told.gateway.caller().get("/fhir/Binary/1");
        assert_eq!((file.status, file.end, file.text()), (200, End::Whole, numbered(&after).join("\n") + "\n"), "{framing:?}");
    }
}
