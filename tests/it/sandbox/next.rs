//! The sandbox as the next OpenEMR: what its tracker announces, in a spelling that is legal and unlike that of 8.0.

use openemr_gateway::sandbox::{Personality, Settings};
use serde_json::{Value, json};

use crate::support::sandbox::{Answer, RunningSandbox, refused, send, sign_as};

const FHIR: &str = "/apis/default/fhir";
const SCOPES: &str = "system/Patient.read system/Patient.write system/Observation.read system/Observation.write";

async fn started() -> (RunningSandbox, String) {
    let settings = Settings { personality: Personality::Next, patients: 250, ..Settings::default() };
    let sandbox = RunningSandbox::start(settings, None).await;
    let token = token(&sandbox).await;
    (sandbox, token)
}

/// A token: `kid` has to be the right one here.
async fn token(sandbox: &RunningSandbox) -> String {
    let assertion = sign_as(&sandbox.key, "RS384", Some("k"), sandbox.claims());
    let answer = sandbox.ask_token_with(SCOPES, &assertion).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

async fn get(sandbox: &RunningSandbox, token: &str, target: &str) -> Answer {
    sandbox.get(&format!("{FHIR}/{target}"), token).await.unwrap()
}

async fn send_json(sandbox: &RunningSandbox, token: &str, method: &str, target: &str, body: &Value) -> Answer {
    let authorization = format!("Bearer {token}");
    send(sandbox.address, method, &format!("{FHIR}/{target}"), &[("Authorization", &authorization)], &body.to_string()).await
}

fn link(bundle: &Value, relation: &str) -> Option<String> {
    let links = bundle["link"].as_array()?;
    Some(links.iter().find(|link| link["relation"] == relation)?["url"].as_str()?.to_owned())
}

fn matched(bundle: &Value) -> Vec<String> {
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    let matches = entries.iter().filter(|entry| entry["search"]["mode"] == "match");
    matches.map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_match_stands_on_one_page_and_each_page_tells_of_all() {
    let (sandbox, token) = started().await;
    for (search, page, total) in [
        ("Patient", 100, 250),
        ("Patient?_count=60", 60, 250),
        ("Patient?_count=1000", 200, 250),
        ("Observation?_count=200", 200, 1350),
        ("Patient?_count=40&_revinclude=Provenance:target", 40, 250),
    ] {
        let mut seen: Vec<String> = Vec::new();
        let mut target = Some(search.to_owned());
        while let Some(next) = target {
            let bundle = get(&sandbox, &token, &next).await.json();
            assert_eq!((&bundle["type"], &bundle["total"]), (&json!("searchset"), &json!(total)), "{next}");
            let ids = matched(&bundle);
            assert!(ids.len() == page || link(&bundle, "next").is_none(), "{next}: {}", ids.len());
            let includes =
                bundle["entry"].as_array().unwrap().iter().filter(|entry| entry["search"]["mode"] == "include").count();
            assert_eq!(includes, if search.contains("_revinclude") { ids.len() } else { 0 });
            seen.extend(ids);
            target = link(&bundle, "next").map(|url| url.split_once("/fhir/").unwrap().1.to_owned());
        }
        let each: std::collections::BTreeSet<&String> = seen.iter().collect();
        assert_eq!((seen.len(), each.len()), (total, total), "{search}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_spelled_unlike_those_of_8_0() {
    let (sandbox, token) = started().await;
    let answer = get(&sandbox, &token, "Patient?_count=2&name=a").await;
    assert_eq!(answer.field("Content-Type"), Some("application/fhir+json; charset=utf-8"));
    let text = answer.text();
    assert!(text.starts_with("{\n    \"resourceType\": \"Bundle\",\n    \"id\": \""), "{text}");
    let position = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} in {text}"));
    assert!(position("\n    \"entry\": [") < position("\n    \"link\": ["));
    assert!(position("\n    \"link\": [") < position("\n    \"total\": "));
    assert!(!text.contains("\\u00") && !text.contains("\\/"), "{text}");
    let read = get(&sandbox, &token, &format!("Patient/{}", matched(&answer.json())[0])).await;
    assert!(read.text().starts_with("{\n    \"resourceType\": \"Patient\",\n    \"id\": \""), "{}", read.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_operation_outcomes() {
    let (sandbox, token) = started().await;
    let nobody = "00000000-0000-4000-8000-000000000000";
    for (target, token, status, code) in [
        (format!("Patient/{nobody}"), token.as_str(), 404, "not-found"),
        ("Patient/nonsense".to_owned(), &token, 400, "invalid"),
        ("Nonsense".to_owned(), &token, 404, "not-found"),
        ("Patient".to_owned(), "none", 401, "login"),
        ("Condition".to_owned(), &token, 401, "login"),
        ("Observation?_id=nonsense".to_owned(), &token, 500, "exception"),
    ] {
        let answer = get(&sandbox, token, &target).await;
        let body = answer.json();
        assert_eq!((answer.status, &body["resourceType"]), (status, &json!("OperationOutcome")), "{target}: {body}");
        assert_eq!(body["issue"][0]["code"], code, "{target}: {body}");
    }
    sandbox.order(&json!({"fhir": {"error": "database"}})).await;
    let answer = get(&sandbox, &token, "Patient").await;
    assert_eq!((answer.status, answer.json()["resourceType"].as_str()), (500, Some("OperationOutcome")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_parameter_is_ignored_with_a_word_or_refused() {
    let (sandbox, token) = started().await;
    let bundle = get(&sandbox, &token, "Patient?bogus=1&_count=5").await.json();
    assert_eq!((matched(&bundle).len(), &bundle["total"]), (5, &json!(250)));
    let outcome = bundle["entry"].as_array().unwrap().last().unwrap();
    assert_eq!(outcome["search"]["mode"], "outcome");
    assert!(outcome["resource"]["issue"][0]["diagnostics"].as_str().unwrap().contains("bogus"));
    let authorization = format!("Bearer {token}");
    let fields = [("Authorization", authorization.as_str()), ("Prefer", "handling=strict")];
    let strict = send(sandbox.address, "GET", &format!("{FHIR}/Patient?bogus=1"), &fields, "").await;
    assert_eq!(strict.status, 400, "{}", strict.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_types_are_written_and_kept_as_they_were_sent() {
    let (sandbox, token) = started().await;
    let sent = json!({"resourceType": "Observation", "status": "final", "code": {"text": "Pulse"}, "extension": [{"url": "http://x.example", "valueString": "x"}]});
    let made = send_json(&sandbox, &token, "POST", "Observation", &sent).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert!(made.field("Location").unwrap().ends_with(&format!("{FHIR}/Observation/{id}")));
    let mut read = get(&sandbox, &token, &format!("Observation/{id}")).await.json();
    assert_eq!(read["extension"], sent["extension"]);
    read["status"] = json!("amended");
    let changed = send_json(&sandbox, &token, "PUT", &format!("Observation/{id}"), &read).await;
    assert_eq!((changed.status, &changed.json()["status"]), (200, &json!("amended")));
    let patient = get(&sandbox, &token, "Patient?_count=1").await.json()["entry"][0]["resource"].clone();
    let target = format!("Patient/{}", patient["id"].as_str().unwrap());
    assert_eq!(send_json(&sandbox, &token, "PUT", &target, &patient).await.status, 200);
    let other = send_json(&sandbox, &token, "POST", "Observation", &json!({"resourceType": "Patient"})).await;
    assert_eq!((other.status, &other.json()["resourceType"]), (400, &json!("OperationOutcome")));
    let unknown = send_json(&sandbox, &token, "PUT", "Patient/00000000-0000-4000-8000-000000000000", &patient).await;
    assert_eq!(unknown.status, 404);
    let statement = get(&sandbox, &token, "metadata").await.json();
    assert_eq!(statement["software"]["version"], "8.4.0");
    let resources = statement["rest"][0]["resource"].as_array().unwrap();
    let observation = resources.iter().find(|resource| resource["type"] == "Observation").unwrap();
    assert!(observation["interaction"].as_array().unwrap().contains(&json!({"code": "create"})));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_needs_a_known_kid_and_an_end() {
    let (sandbox, _) = started().await;
    let mut claims = sandbox.claims();
    claims.remove("exp");
    let endless = sign_as(&sandbox.key, "RS384", Some("k"), claims);
    refused(&sandbox.ask_token_with(SCOPES, &endless).await, 400, "invalid_request");
    for kid in [None, Some("another")] {
        let assertion = sign_as(&sandbox.key, "RS384", kid, sandbox.claims());
        refused(&sandbox.ask_token_with(SCOPES, &assertion).await, 400, "invalid_client");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_routes_need_no_token_and_7_0_3_has_none() {
    for (personality, status) in [(Personality::Next, 200), (Personality::V8_0, 200), (Personality::V7_0_3, 404)] {
        let sandbox = RunningSandbox::start(Settings { personality, patients: 1, ..Settings::default() }, None).await;
        for route in ["livez", "readyz"] {
            let answer = send(sandbox.address, "GET", &format!("/meta/health/{route}"), &[], "").await;
            assert_eq!(answer.status, status, "{personality} {route}");
            assert!(status == 404 || answer.json()["status"].is_string());
        }
    }
}
