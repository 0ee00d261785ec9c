//! The accounting of what a running gateway has answered.

use serde_json::{Value, json};

use super::trail::Trail;
use crate::access::case_rows::filled;
use crate::access::limited::Clinic;
use crate::support::command::Folder;

#[test]
fn whatever_showed_a_patient_to_a_client_is_in_the_patients_accounting_and_nothing_else() {
    let trail = Trail::new();
    let clinic = Clinic::with(|config| {
        trail.keep_with(config, &json!({}));
        config["access"]["clients"]["all"]["recipient"] = json!("Clinic East, 1 Main Street");
        config["access"]["clients"]["all"]["purpose"] = json!("TREAT");
    });
    let mut expected = Vec::new();
    for (client, method, target, is_disclosure) in [
        ("all", "GET", "/Patient/{P1}", true),
        ("all", "HEAD", "/Patient/{P1}", false),
        ("all", "GET", "/Observation/{O1}", true),
        ("all", "GET", "/Observation?patient={P1}", true),
        ("all", "GET", "/Patient", true),
        ("all", "GET", "/Patient/{P2}", false),
        ("all", "GET", "/Patient?_id=nobody", false),
        ("all", "GET", "/metadata", false),
        ("vit", "GET", "/Condition/{C1}", false),
        ("nobody", "GET", "/Patient/{P1}", false),
    ] {
        let answer = clinic.ask(client, method, &filled(target), &[], "");
        if is_disclosure {
            expected.push(answer.field("x-request-id").unwrap().to_owned());
        }
    }
    let folder = Folder::empty();
    let account = |patient: &str| -> Vec<Value> {
        let (files, key) = (trail.folder(), trail.beside("ids.key"));
        let (files, key) = (files.to_str().unwrap(), key.to_str().unwrap());
        let place = ["audit", "disclosures", "--folder", files, "--key", key];
        let ended = folder.run(&[&place[..], &["--patient", patient, "--since", "2020-01-01", "--format", "json"]].concat());
        assert_eq!(ended.code, 0, "{}", ended.err);
        serde_json::from_str(&ended.out).unwrap()
    };
    let rows = account(&filled("{P1}"));
    let found: Vec<&str> = rows.iter().map(|row| row["request_id"].as_str().unwrap()).collect();
    assert_eq!(found, expected, "{rows:#?}");
    for row in &rows {
        assert_eq!((&row["recipient"], &row["purpose"]), (&json!("Clinic East, 1 Main Street"), &json!("TREAT")));
    }
    assert_eq!(rows[0]["disclosed"], "Patient: 1 resource by read");
    assert_eq!(account("somebody else"), Vec::<Value>::new());
}
