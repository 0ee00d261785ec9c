use super::*;
use crate::openemr::export::owner::Owner;
use crate::openemr::export::plan::tests::{ended, plan, with_provenance};
use proptest::prelude::*;
use serde_json::json;

#[test]
fn a_php_time_is_an_instant() {
    for (date, zone, expected) in [
        ("2026-11-24 02:28:30.000000", "UTC", Some("2026-11-24T02:28:30.000Z")),
        ("2026-11-24 02:28:30.250000", "+02:00", Some("2026-11-24T00:28:30.250Z")),
        ("2026-11-24 02:28:30.000000", "-05:30", Some("2026-11-24T07:58:30.000Z")),
        ("2026-07-01 12:00:00.000000", "America/New_York", Some("2026-07-01T16:00:00.000Z")),
        ("2026-11-24 02:28:30.000000", "Middle/Earth", None),
        ("2026-11-24 02:28:30.000000", "+aa:bb", None),
        ("soon", "UTC", None),
    ] {
        let php = json!({"date": date, "timezone_type": 3, "timezone": zone});
        assert_eq!(time(&php).map(instant::from_millis).as_deref(), expected, "{date} {zone}");
    }
    assert_eq!(time(&json!("2026-11-24T02:28:30+01:00")).map(instant::from_millis).as_deref(), Some("2026-11-24T01:28:30.000Z"));
    assert_eq!(time(&json!(7)), None);
}

#[test]
fn openemrs_manifest_is_read_and_its_hosts_are_not_believed() {
    let body = br#"{"transactionTime":{"date":"2026-11-24 02:28:30.000000","timezone_type":3,"timezone":"UTC"},"request":"\/apis\/dispatch.php\/default\/fhir\/Patient\/$export?_type=Patient","requiresAccessToken":true,"output":[{"url":"https:\/\/elsewhere\/apis\/default\/fhir\/Binary\/100061","type":"Patient"},{"url":"https:\/\/h\/Binary\/2","type":"Goal"}],"error":[null,{"url":"https:\/\/h\/Binary\/3","type":"OperationOutcome"}]}"#;
    let patient = TypePlan::waiting("Patient", true);
    let ended = read(body, &patient).unwrap();
    let expected = FinishedJob {
        began: Some(1_795_487_310_000),
        files: vec!["100061".to_owned()],
        errors: vec!["3".to_owned()],
        made_from: vec![],
        has_failed: false,
    };
    assert_eq!(ended, expected);
    let inline = json!({"output": [], "error": [{"resourceType": "OperationOutcome"}]}).to_string();
    assert!(read(inline.as_bytes(), &patient).unwrap().has_failed);
    for bad in [
        "",
        "{}",
        "[]",
        r#"{"output":{}}"#,
        r#"{"output":[{"type":"Patient","url":"https://h/Binary/.."}]}"#,
        r#"{"output":[{"type":"Patient","url":"https://h/Goal/1"}]}"#,
    ] {
        assert_eq!(read(bad.as_bytes(), &patient), None, "{bad}");
    }
}

#[test]
fn a_manifest_names_the_gateway_alone() {
    let mut plan = plan(&[("Patient", true), ("Goal", true)]);
    plan.kicked_off(0, 5_000);
    plan.accepted(0, "j".to_owned(), 5_100);
    plan.done(0, ended(&["1", "2"], &["3"], &[]), 5_200);
    plan.kicked_off(1, 5_300);
    plan.failed(1, Cause::Status(504), 9_000);
    let manifest: Value = serde_json::from_str(&write(&plan, "https://gw/fhir", Shown::All)).unwrap();
    let errors = format!("https://gw/fhir/$bulkdata-errors?job={}", plan.job);
    let file = |name: &str| format!("https://gw/fhir/$bulkdata-file/{}/{name}.ndjson", plan.job);
    assert_eq!(plan.given_files().map(|file| file.id).collect::<Vec<_>>(), ["1", "2", "3"]);
    assert_eq!(
        manifest,
        json!({
            "transactionTime": "1970-01-01T00:00:04.000Z",
            "request": "http://gw/fhir/Group/g-1/$export?_type=Patient",
            "requiresAccessToken": false,
            "output": [{"type": "Patient", "url": file("Patient-1")}, {"type": "Patient", "url": file("Patient-2")}],
            "deleted": [],
            "error": [{"type": "OperationOutcome", "url": file("OperationOutcome-3")}, {"type": "OperationOutcome", "url": errors}],
        })
    );
    let lines: Vec<Value> = outcomes(&plan, Shown::All).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let issues: Vec<(&str, &str)> = lines
        .iter()
        .map(|outcome| {
            assert_eq!(outcome["resourceType"], "OperationOutcome");
            (outcome["issue"][0]["code"].as_str().unwrap(), outcome["issue"][0]["diagnostics"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        issues,
        [
            ("timeout", "Goal: OpenEMR failed with status 504. It was not tried again."),
            ("not-supported", "The parameter _elements is not supported and was left out."),
        ]
    );
}

#[test]
fn provenance_comes_with_the_resources_that_it_was_made_from() {
    let mut plan = with_provenance(&["Patient", "Observation", "Goal"], true);
    for (index, ended) in [
        ended(&["1"], &[], &[]),
        ended(&["2"], &[], &[]),
        ended(&["3"], &[], &[]),
        ended(&["5"], &[], &["4"]),
        FinishedJob { has_failed: true, ..ended(&["7"], &[], &[]) },
    ]
    .into_iter()
    .enumerate()
    {
        plan.kicked_off(index, 1);
        plan.accepted(index, format!("j{index}"), 2);
        plan.done(index, ended, 3);
    }
    plan.kicked_off(5, 4);
    plan.not_exported(5, 401, 5);
    let manifest: Value = serde_json::from_str(&write(&plan, "https://gw/fhir", Shown::All)).unwrap();
    let files: Vec<_> = manifest["output"]
        .as_array()
        .unwrap()
        .iter()
        .zip(plan.given_files())
        .map(|(entry, file)| {
            assert!(entry["url"].as_str().unwrap().ends_with(&format!("/{}", file.name())), "{entry}");
            (entry["type"].as_str().unwrap(), file.id)
        })
        .collect();
    // Those of Patient are of the job that made its Provenance.
    assert_eq!(files, [("Patient", "4"), ("Observation", "2"), ("Goal", "3"), ("Provenance", "5"), ("Provenance", "7")]);
    let told = outcomes(&plan, Shown::All);
    for words in [
        "Provenance of Observation: OpenEMR reported an error",
        "Provenance of Goal: OpenEMR does not export",
        "_since means nothing for Observation, Goal:",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(told.lines().count(), 4, "{told}");
}

#[test]
fn provenance_alone_lists_no_other_type() {
    let mut plan = with_provenance(&["Patient"], false);
    plan.kicked_off(0, 1);
    plan.accepted(0, "j".to_owned(), 2);
    plan.done(0, ended(&["5"], &[], &["4"]), 3);
    let manifest: Value = serde_json::from_str(&write(&plan, "https://gw/fhir", Shown::All)).unwrap();
    let url = format!("https://gw/fhir/$bulkdata-file/{}/Provenance-1.ndjson", plan.job);
    assert_eq!(manifest["output"], json!([{"type": "Provenance", "url": url}]));
    assert_eq!(plan.given_files().map(|file| file.id).collect::<Vec<_>>(), ["5"]);
}

#[test]
fn what_openemr_wrote_of_errors_is_told_in_the_gateways_own_words_and_a_client_needs_its_token() {
    let mut plan = plan(&[("Patient", true)]);
    plan.asked_by = Owner::named("lab");
    plan.kicked_off(0, 5_000);
    plan.accepted(0, "j".to_owned(), 5_100);
    plan.done(0, ended(&["1"], &["3"], &[]), 5_200);
    let manifest: Value = serde_json::from_str(&write(&plan, "https://gw/fhir", Shown::OwnWords)).unwrap();
    assert_eq!(manifest["requiresAccessToken"], true);
    let errors = format!("https://gw/fhir/$bulkdata-errors?job={}", plan.job);
    assert_eq!(manifest["error"], json!([{"type": "OperationOutcome", "url": errors}]));
    assert!(outcomes(&plan, Shown::OwnWords).contains("Patient: OpenEMR reported an error"));
    assert!(!outcomes(&plan, Shown::All).contains("Patient: OpenEMR reported an error"));
}

proptest! {
    #[test]
    fn no_bytes_panic(text in ".{0,80}", zone in "[+-]?[0-9:]{0,12}|[A-Za-z/]{0,12}") {
        let _ = read(text.as_bytes(), &TypePlan::provenance_of("Patient", true));
        let _ = time(&json!({"date": "2026-11-24 02:28:30.000000", "timezone": zone}));
    }

    #[test]
    fn every_time_of_ours_is_read_back(millis in 0_i64..4_102_444_800_000) {
        prop_assert_eq!(time(&json!(instant::from_millis(millis))), Some(millis));
    }
}
