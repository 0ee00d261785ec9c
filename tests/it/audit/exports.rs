//! Bulk exports: each patient in a file that was downloaded is recorded.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::trail::Trail;
use crate::access::api_keys::digest_of;
use crate::access::exporting::{Ward, file};
use crate::support::command::Folder;

const PATIENTS: usize = 500;

#[test]
fn an_export_of_500_patients_leaves_500_disclosures() {
    let trail = Trail::new();
    let clients = json!({"study": {"scopes": ["system/*.rs"], "export": ["system", "patient"], "api_keys": [digest_of("study")],
        "recipient": "Example Study, 1 Main St, Springfield", "purpose": "HRESCH"}});
    let ward = Ward::with_config(clients, |config| trail.keep_with(config, &json!({"ids": "plain"})));
    let patient = |number: usize| json!({"resourceType": "Patient", "id": format!("study-{number}"), "gender": "female"});
    ward.openemr.order(&json!({"resources": (0..PATIENTS).map(patient).collect::<Value>()}));
    let manifest = ward.exported("study", "/Patient/$export?_type=Patient");
    let file = ward.get("study", &file(&manifest, "Patient"));
    assert_eq!(file.status, 200, "{}", file.text());
    let in_file: BTreeSet<String> =
        file.text().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned()).collect();
    assert!(in_file.len() >= PATIENTS, "{}", in_file.len());
    let id = file.field("x-request-id").unwrap();
    let record = trail.of_request(id);
    assert_eq!(
        (&record["interaction"], &record["entries"]),
        (&json!("export-file"), &json!(file.text().lines().count())),
        "{record}"
    );
    let named: BTreeSet<String> = trail
        .records()
        .into_iter()
        .filter(|record| record["request_id"] == id)
        .flat_map(|record| record["patients"].as_array().cloned().unwrap_or_default())
        .map(|id| id.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(named, in_file);
    let folder = trail.folder();
    for number in [0, PATIENTS - 1] {
        let patient = format!("study-{number}");
        let arguments =
            ["audit", "disclosures", "--folder", folder.to_str().unwrap(), "--patient", &patient, "--since", "2020-01-01"];
        let ended = Folder::empty().run(&arguments);
        assert_eq!((ended.code, ended.out.lines().count()), (0, 2), "{} {}", ended.out, ended.err);
        assert!(ended.out.contains("Example Study, 1 Main St, Springfield") && ended.out.contains("HRESCH"), "{}", ended.out);
    }
    let steps: Vec<Value> = trail.of_kind("request").into_iter().map(|record| record["interaction"].clone()).collect();
    assert!(steps.contains(&json!("export")) && steps.contains(&json!("export-status")), "{steps:?}");
}
