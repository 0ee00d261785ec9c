//! What OpenEMR writes that R4 or US Core does not allow, as it comes from the sandbox. The validators of others say more of
//! it (`tests/clients/openemrs-own.test.mjs`).

use std::collections::BTreeSet;

use openemr_gateway::sandbox::{Personality, Settings, Shapes};
use serde_json::{Value, json};

use crate::support::sandbox::RunningSandbox;

const FHIR: &str = "/apis/default/fhir";
const ANY: &[Personality] = &[Personality::V8_0, Personality::V7_0_3];
const EIGHT: &[Personality] = &[Personality::V8_0];
const SEVEN: &[Personality] = &[Personality::V7_0_3];

/// Where, the type, the place, and what stands there in one resource at least; nothing if it is missing in each.
type Row = (&'static [Personality], &'static str, &'static str, Option<fn() -> Value>);

const MISTAKES: &[Row] = &[
    (ANY, "ValueSet", "/status", None),
    (ANY, "ValueSet", "/id", Some(|| json!("message_status"))),
    (ANY, "ValueSet", "/compose/include/0/concept/1/display", Some(|| json!(""))),
    (ANY, "ValueSet", "/compose/include/0/system", None),
    (ANY, "Group", "/type", None),
    (ANY, "Group", "/actual", None),
    (
        ANY,
        "Goal",
        "/target/0/measure/coding/0/display",
        Some(|| {
            let url = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";
            json!({"extension": [{"valueCode": "unknown", "url": url}]})
        }),
    ),
    (ANY, "Person", "/address", Some(|| json!([null]))),
    (ANY, "Organization", "/address", Some(|| json!([null]))),
    (ANY, "Immunization", "/site/coding/0/code", Some(|| json!(null))),
    (EIGHT, "Medication", "/code/coding/0/code", Some(|| json!(197_361))),
    (SEVEN, "Medication", "/code/coding/0/code", Some(|| json!("197361"))),
    (
        ANY,
        "Patient",
        "/text/div",
        Some(|| json!("<div xmlns=\"http://www.w3.org/1999/xhtml\"> <p>Miller & <Sons> Ada</p></div>")),
    ),
    (ANY, "Organization", "/text/div", Some(|| json!("<div xmlns=\"http://www.w3.org/1999/xhtml\"> <p>Mutual & Sons</p></div>"))),
    (EIGHT, "Patient", "/extension/3/valueCoding/system", Some(|| json!("DataAbsentReason"))),
    (EIGHT, "Observation", "/valueString", Some(|| json!("SNOMED-CT:449868002"))),
    (EIGHT, "Observation", "/performer/0/reference", Some(|| json!("Practitioner/provider_uuid"))),
    (ANY, "Observation", "/performer/0/extension/0/extension/0/valueCode", Some(|| json!("unknown"))),
    (ANY, "Observation", "/performer/0/extension/0/url", None),
    (SEVEN, "Observation", "/code/coding/0/display", Some(|| json!(""))),
    (SEVEN, "Condition", "/code/coding/0/system", Some(|| json!("2.16.840.1.113883.6.90"))),
    (SEVEN, "Condition", "/code/coding/0/display", Some(|| json!(""))),
    (EIGHT, "Condition", "/code/coding/0/system", Some(|| json!("http://hl7.org/fhir/sid/icd-10-cm"))),
    (SEVEN, "Device", "/type/coding/0/display", Some(|| json!(""))),
    (EIGHT, "Procedure", "/code/coding/0/code", Some(|| json!("SNOMED-CT:80146002"))),
    (SEVEN, "Procedure", "/code/coding/0/code", Some(|| json!("80146002"))),
];

async fn resources(sandbox: &RunningSandbox, token: &str, resource_type: &str) -> Vec<Value> {
    let bundle = sandbox.get(&format!("{FHIR}/{resource_type}"), token).await.unwrap().json();
    bundle["entry"].as_array().unwrap().iter().map(|entry| entry["resource"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_release_writes_what_it_writes_wrong() {
    for personality in ANY {
        let settings = Settings { personality: *personality, patients: 40, shapes: Shapes::OpenEmr, ..Settings::default() };
        let sandbox = RunningSandbox::start(settings, None).await;
        let token = sandbox.token(&personality.system_scopes().join(" ")).await;
        for (on, resource_type, place, expected) in MISTAKES.iter().filter(|(on, ..)| on.contains(personality)) {
            assert!(!on.is_empty());
            let all = resources(&sandbox, &token, resource_type).await;
            assert!(!all.is_empty(), "{personality} {resource_type}");
            let there: Vec<&Value> = all.iter().filter_map(|resource| resource.pointer(place)).collect();
            match expected {
                None => assert!(there.is_empty(), "{personality} {resource_type} {place}: {there:?}"),
                Some(expected) => assert!(there.contains(&&expected()), "{personality} {resource_type} {place}: {there:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_writes_no_value_says_nothing_of_it() {
    for (personality, missing) in [(Personality::V8_0, 0), (Personality::V7_0_3, 4)] {
        let settings = Settings { personality, patients: 40, shapes: Shapes::OpenEmr, ..Settings::default() };
        let sandbox = RunningSandbox::start(settings, None).await;
        let token = sandbox.token("system/Observation.read").await;
        let all = resources(&sandbox, &token, "Observation").await;
        let is_told = |observation: &&Value| {
            let members: BTreeSet<&str> = observation.as_object().unwrap().keys().map(String::as_str).collect();
            members.iter().any(|name| name.starts_with("value")) || members.contains("hasMember")
        };
        assert_eq!(all.len() - all.iter().filter(is_told).count(), missing, "{personality}");
    }
}
