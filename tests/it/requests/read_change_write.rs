//! A resource is read, changed, and written: what OpenEMR does not take is not lost in silence.

use crate::support::gateway::{Gateway, config};
use crate::support::http::Answer;
use crate::support::openemr::OpenEmr;
use crate::support::raw_openemr::{RawOpenEmr, Received};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("Content-Type", "application/fhir+json");
const LENIENT: (&str, &str) = ("Prefer", "handling=lenient");

fn writing(openemr: &OpenEmr) -> Gateway {
    let mut config = config(openemr);
    let scopes = ["Patient", "Practitioner"].map(|name| [format!("system/{name}.read"), format!("system/{name}.write")]);
    config["sites"]["default"]["scopes"] = json!(scopes.concat());
    Gateway::with(config)
}

fn new_patient() -> Value {
    json!({
        "resourceType": "Patient", "name": [{"use": "official", "family": "Testing", "given": ["Tessa"]}],
        "gender": "female", "birthDate": "1980-02-03",
    })
}

fn send(gateway: &Gateway, method: &str, target: &str, more: &[(&str, &str)], resource: &Value) -> Answer {
    let fields: Vec<_> = [JSON].iter().chain(more).copied().collect();
    gateway.caller().send(method, target, &fields, resource.to_string().as_bytes())
}

fn create(gateway: &Gateway, more: &[(&str, &str)], resource: &Value) -> Answer {
    send(gateway, "POST", &format!("/fhir/{}", resource["resourceType"].as_str().unwrap()), more, resource)
}

/// A patient with extensions of OpenEMR's own, and its place.
fn a_patient(gateway: &Gateway) -> (Value, String) {
    let patient = gateway.caller().get("/fhir/Patient?_count=1").json()["entry"][0]["resource"].clone();
    assert!(patient["extension"].as_array().is_some_and(|list| !list.is_empty()), "{patient}");
    let target = format!("/fhir/Patient/{}", patient["id"].as_str().unwrap());
    (patient, target)
}

#[test]
fn a_patient_can_be_written_as_it_was_read() {
    let openemr = OpenEmr::start();
    let gateway = writing(&openemr);
    let (mut patient, target) = a_patient(&gateway);
    let extensions = patient["extension"].clone();
    let answer = send(&gateway, "PUT", &target, &[], &patient);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!((answer.json()["id"].clone(), answer.json()["extension"].clone()), (patient["id"].clone(), extensions));
    assert_eq!(answer.field("preference-applied"), None, "nothing is lost");
    patient["name"][0]["family"] = json!("Changed");
    let answer = send(&gateway, "PUT", &target, &[("Prefer", "return=OperationOutcome")], &patient);
    let issues = answer.json()["issue"].clone();
    assert_eq!((answer.status, issues[1]["severity"].clone()), (200, json!("information")), "{issues}");
    assert_eq!(issues[1]["expression"][0], "Patient.extension[0]", "{issues}");
    assert_eq!(gateway.caller().get(&target).json()["name"][0]["family"], "Changed");
}

#[test]
fn an_extension_that_openemr_would_lose_is_refused() {
    let openemr = OpenEmr::start();
    let gateway = writing(&openemr);
    let (patient, target) = a_patient(&gateway);
    let new = json!({"url": "http://example.org/secret-url", "valueString": "Secretvalue"});
    let (mut added, mut changed, mut nested, mut of_primitive, mut modifier) =
        (patient.clone(), patient.clone(), patient.clone(), patient.clone(), patient.clone());
    added["extension"].as_array_mut().unwrap().push(new.clone());
    changed["extension"][0] = new.clone();
    nested["name"][0]["extension"] = json!([new]);
    of_primitive["_birthDate"] = json!({"extension": [new]});
    modifier["modifierExtension"] = json!([new]);
    let last = format!("Patient.extension[{}]", patient["extension"].as_array().unwrap().len());
    let before = openemr.came(&format!("PUT /apis/default{target}"));
    for (resource, path) in [
        (&added, last.as_str()),
        (&changed, "Patient.extension[0]"),
        (&nested, "Patient.name[0].extension[0]"),
        (&of_primitive, "Patient.birthDate.extension[0]"),
        (&modifier, "Patient.modifierExtension[0]"),
    ] {
        let answer = send(&gateway, "PUT", &target, &[], resource);
        let words = answer.outcome(422);
        assert!(words.contains(path) && !words.contains("ecret"), "{words}");
        let issue = answer.json()["issue"][0].clone();
        assert_eq!((issue["code"].clone(), issue["expression"].clone()), (json!("extension"), json!([path])));
    }
    // Of a new resource OpenEMR has none.
    let mut created = new_patient();
    created["extension"] = patient["extension"].clone();
    create(&gateway, &[], &created).outcome(422);
    // Leniency does not go so far as to change the meaning of the resource.
    send(&gateway, "PUT", &target, &[LENIENT], &modifier).outcome(422);
    assert_eq!(openemr.came(&format!("PUT /apis/default{target}")), before);
    assert_eq!(openemr.came("POST /apis/default/fhir/Patient"), 0);
    assert_eq!(gateway.caller().get(&target).json(), patient);
}

#[test]
fn what_the_client_lets_be_left_out_is_told() {
    let openemr = OpenEmr::start();
    let gateway = writing(&openemr);
    let (mut patient, target) = a_patient(&gateway);
    patient["extension"] = json!([{"url": "http://example.org/x", "valueString": "Secretvalue"}]);
    let mut created = new_patient();
    created["extension"] = patient["extension"].clone();
    for (method, target, resource, status) in [("PUT", target.as_str(), &patient, 200), ("POST", "/fhir/Patient", &created, 201)]
    {
        for prefer in ["handling=lenient", "handling=lenient, return=OperationOutcome"] {
            let answer = send(&gateway, method, target, &[("Prefer", prefer)], resource);
            assert_eq!(answer.status, status, "{method}: {}", answer.text());
            assert!(answer.field("location").is_some());
            assert_eq!(answer.field("preference-applied"), Some("handling=lenient"));
            let issue = answer.json()["issue"][1].clone();
            assert_eq!((issue["severity"].clone(), issue["code"].clone()), (json!("warning"), json!("extension")), "{issue}");
            assert_eq!(issue["expression"], json!(["Patient.extension[0]"]));
            assert!(!answer.text().contains("Secretvalue"));
        }
        let answer = send(&gateway, method, target, &[("Prefer", "handling=lenient, return=representation")], resource);
        assert_eq!((answer.status, answer.json()["resourceType"].clone()), (status, json!("Patient")));
        assert_eq!(answer.field("preference-applied"), Some("handling=lenient"));
        assert!(!answer.text().contains("Secretvalue"), "OpenEMR does not have it");
        let answer = send(&gateway, method, target, &[("Prefer", "handling=lenient, return=minimal")], resource);
        assert_eq!((answer.status, answer.field("preference-applied")), (status, Some("handling=lenient")));
    }
}

#[test]
fn a_name_without_use_is_sent_as_the_official_one() {
    let openemr = OpenEmr::start();
    let gateway = writing(&openemr);
    let npi = json!([{"system": "http://hl7.org/fhir/sid/us-npi", "value": "1234567893"}]);
    let practitioner = json!({"resourceType": "Practitioner", "identifier": npi, "name": [{"family": "Nouse", "given": ["A"]}]});
    let with_names = |names: Value| {
        let mut patient = new_patient();
        patient["name"] = names;
        patient
    };
    for (resource, family) in [
        (practitioner, "Nouse"),
        (with_names(json!([{"family": "Nouse", "given": ["A"]}])), "Nouse"),
        (with_names(json!([{"use": "usual", "family": "Usual", "given": ["A"]}])), "Usual"),
        (
            with_names(json!([{"use": "maiden", "family": "Maiden", "given": ["A"]}, {"family": "Nouse", "given": ["A"]}])),
            "Nouse",
        ),
        (
            with_names(json!([{"family": "Nouse", "given": ["A"]}, {"use": "official", "family": "Official", "given": ["A"]}])),
            "Official",
        ),
    ] {
        let answer = create(&gateway, &[], &resource);
        assert_eq!((answer.status, answer.json()["name"][0]["family"].clone()), (201, json!(family)), "{}", answer.text());
        assert_eq!(answer.field("preference-applied"), None);
    }
    let told = create(&gateway, &[("Prefer", "return=OperationOutcome")], &with_names(json!([{"family": "A", "given": ["A"]}])));
    assert_eq!(told.json()["issue"][1]["expression"], json!(["Patient.name[0]"]), "{}", told.text());
    // An update, in which OpenEMR would keep the old name without a word.
    let (_, target) = a_patient(&gateway);
    let answer = send(&gateway, "PUT", &target, &[], &with_names(json!([{"family": "Nouse", "given": ["A"]}])));
    assert_eq!((answer.status, answer.json()["name"][0]["family"].clone()), (200, json!("Nouse")), "{}", answer.text());
    // Names whose use says that they are not official.
    let others = with_names(json!([{"use": "maiden", "family": "A", "given": ["A"]}, {"use": "nickname", "family": "B"}]));
    assert!(create(&gateway, &[], &others).outcome(422).contains("official"));
    let lenient = create(&gateway, &[LENIENT], &others);
    assert_eq!((lenient.status, lenient.field("preference-applied")), (201, Some("handling=lenient")), "{}", lenient.text());
}

#[test]
fn a_long_resource_is_looked_at_on_its_way() {
    let openemr = OpenEmr::start();
    let raw = RawOpenEmr::start(|request: &Received| {
        let body = match request.head.split_ascii_whitespace().nth(1) {
            Some("/fhir/metadata") => json!({"resourceType": "CapabilityStatement", "software": {"name": "OpenEMR"}, "rest": []}),
            _ => json!({"resourceType": "Patient", "id": "7"}),
        };
        let (body, length) = (body.to_string(), body.to_string().len());
        format!("HTTP/1.1 201 Created\r\nContent-Type: application/fhir+json\r\nContent-Length: {length}\r\n\r\n{body}").into()
    });
    let mut config = config(&openemr);
    config["sites"]["default"]["fhir_base"] = json!(raw.fhir_base());
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
    config["sites"]["default"]["repairs"] = json!({"interactions": false});
    let gateway = Gateway::with(config);
    let mut patient = new_patient();
    patient["photo"] = json!([{"data": "A".repeat(200_000)}]);
    let answer = create(&gateway, &[], &patient);
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(raw.until("POST /fhir/Patient", 1)[0].body, patient.to_string().as_bytes());
    patient["contact"] = json!([{"extension": [{"url": "x"}]}]);
    for fields in [&[][..], &[LENIENT]] {
        let words = create(&gateway, fields, &patient).outcome(422);
        assert!(words.contains("64 KiB"), "{words}");
    }
    assert_eq!(raw.received("POST /fhir/Patient").len(), 1, "no other arrives whole");
}
