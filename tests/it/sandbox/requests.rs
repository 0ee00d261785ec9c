//! The sandbox reads requests as Apache, PHP and OpenEMR do, with the doors that they leave open.

use crate::support::sandbox::{Answer, RunningSandbox, send, started};
use openemr_gateway::sandbox::{Personality, Settings};
use serde_json::Value;

const FORM: &str = "application/x-www-form-urlencoded";

async fn both() -> [(Personality, RunningSandbox); 2] {
    let start = async |personality| {
        let sites = vec!["default".to_owned(), "north".to_owned()];
        let settings = Settings { personality, sites, patients: 20, ..Settings::default() };
        (personality, RunningSandbox::start(settings, None).await)
    };
    [start(Personality::V8_0).await, start(Personality::V7_0_3).await]
}

/// The ids of a type's resources.
async fn ids(sandbox: &RunningSandbox, resource_type: &str, token: &str) -> Vec<String> {
    let answer = sandbox.get(&format!("/apis/default/fhir/{resource_type}"), token).await.unwrap();
    found(&answer)
}

fn found(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let bundle = answer.json();
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    entries.iter().map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned()).collect()
}

async fn post(sandbox: &RunningSandbox, target: &str, token: &str, content_type: &str, body: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let fields = [("Authorization", authorization.as_str()), ("Content-Type", content_type)];
    send(sandbox.address, "POST", target, &fields, body).await
}

#[tokio::test]
async fn the_last_route_in_the_query_wins_however_its_name_is_spelt() {
    for (_, sandbox) in both().await {
        let token = sandbox.token("system/Patient.read system/Organization.read").await;
        let patient = ids(&sandbox, "Patient", &token).await.remove(0);
        let organization = ids(&sandbox, "Organization", &token).await.remove(0);
        assert_eq!(sandbox.state().await["rerouted"], 0);
        for name in [
            "_REWRITE_COMMAND",
            "_REWRITE.COMMAND",
            "_REWRITE%20COMMAND",
            "+_REWRITE+COMMAND",
            "%20_REWRITE_COMMAND",
            "_REWRITE[COMMAND",
            "_REWRITE%5BCOMMAND",
            "_REWRITE_COMMAND%00x",
        ] {
            let target = format!("/apis/default/fhir/Organization/{organization}?{name}=default/fhir/Patient/{patient}");
            let body = sandbox.get(&target, &token).await.unwrap().json();
            assert_eq!((&body["resourceType"], &body["id"]), (&"Patient".into(), &patient.clone().into()), "{name}");
        }
        let state = sandbox.state().await;
        assert_eq!(state["rerouted"], 8);
        assert_eq!(state["last_fhir_request"]["route"], format!("default/fhir/Patient/{patient}"));
        let kept = sandbox.get(&format!("/apis/default/fhir/Patient/{patient}?_rewrite_command=x"), &token).await.unwrap();
        assert_eq!(kept.json()["resourceType"], "Patient");
        assert_eq!(sandbox.state().await["rerouted"], 8);
    }
}

#[tokio::test]
async fn another_route_leaves_the_fhir_api_or_the_site_or_needs_no_token() {
    for (personality, sandbox) in both().await {
        let token = sandbox.token("system/Patient.read").await;
        let get = async |target: &str| sandbox.get(&format!("/apis/default/fhir/Patient{target}"), &token).await.unwrap();
        let without_token =
            send(sandbox.address, "GET", "/apis/default/fhir/Patient/1?_REWRITE_COMMAND=default/fhir/metadata", &[], "").await;
        assert_eq!(without_token.json()["resourceType"], "CapabilityStatement");
        // No query at all: the path is put into one without being encoded.
        for path in ["/1&_REWRITE_COMMAND=default/fhir/metadata", "/1%26_REWRITE_COMMAND=default/fhir/metadata"] {
            assert_eq!(get(path).await.json()["resourceType"], "CapabilityStatement", "{path}");
        }
        let (api, other_site, array) = match personality {
            Personality::V8_0 | Personality::Next => (403, 401, 400),
            Personality::V7_0_3 => (401, 400, 500),
        };
        assert_eq!(get("?_REWRITE_COMMAND=default/api/patient").await.status, api);
        assert_eq!(get("?_REWRITE_COMMAND=north/fhir/Patient").await.status, other_site);
        assert_eq!(get("?_REWRITE_COMMAND=south/fhir/Patient").await.status, 400);
        assert_eq!(get("?_REWRITE_COMMAND[]=x").await.status, array);
    }
}

#[tokio::test]
async fn a_form_names_the_route_on_7_0_3_alone() {
    let multipart = "--B\r\nContent-Disposition: form-data; name=\"_REWRITE.COMMAND\"\r\n\r\ndefault/nowhere\r\n--B--\r\n";
    for (personality, sandbox) in both().await {
        let token = sandbox.token("system/Patient.read").await;
        let status = if personality == Personality::V8_0 { 200 } else { 404 };
        for (content_type, body) in [(FORM, "_REWRITE_COMMAND=default/nowhere"), ("multipart/form-data; boundary=B", multipart)] {
            let answer = post(&sandbox, "/apis/default/fhir/Patient/_search", &token, content_type, body).await;
            assert_eq!(answer.status, status, "{content_type}: {}", answer.text());
        }
        let rerouted = if personality == Personality::V8_0 { 0 } else { 2 };
        assert_eq!(sandbox.state().await["rerouted"], rerouted);
    }
}

#[tokio::test]
async fn the_last_of_equal_parameters_counts_and_arrays_do_not() {
    for (_, sandbox) in both().await {
        let token = sandbox.token("system/Patient.read").await;
        let everyone = ids(&sandbox, "Patient", &token).await;
        let (first, second) = (&everyone[0], &everyone[1]);
        let get =
            async |query: String| found(&sandbox.get(&format!("/apis/default/fhir/Patient?{query}"), &token).await.unwrap());
        assert_eq!(get(format!("_id={first}&_id={second}")).await, [second.as_str()]);
        assert_eq!(get(format!("_id[]={first}&_id[]={second}")).await, everyone);
        assert_eq!(get(format!("_id={first};_id={second}")).await, [""; 0]);
        let search = async |query: String, content_type: &'static str, body: String| {
            let target = format!("/apis/default/fhir/Patient/_search{query}");
            found(&post(&sandbox, &target, &token, content_type, &body).await)
        };
        assert_eq!(search(String::new(), FORM, format!("_id={first}&_id={second}")).await, [second.as_str()]);
        assert_eq!(search(format!("?_id={first}"), FORM, format!("_id={second}")).await, everyone);
        let part = format!("--B\r\nContent-Disposition: form-data; name=\"_id\"\r\n\r\n{first}\r\n--B--\r\n");
        assert_eq!(search(String::new(), "multipart/form-data; boundary=B", part).await, [first.as_str()]);
        // No form, no parameters.
        assert_eq!(search(String::new(), "application/json", format!("_id={second}")).await, everyone);
        let padded = |count| format!("{}_id={first}", "_id=&".repeat(count));
        assert_eq!(get(padded(998)).await, [first.as_str()]);
        // The route is the first of the thousand.
        assert_eq!(get(padded(999)).await, everyone, "the parameter was read beyond max_input_vars");
    }
}

#[tokio::test]
async fn sql_in_sort_reaches_the_database_of_8_0() {
    let sandbox = started().await;
    let token = sandbox.token("system/Patient.read").await;
    let answer = sandbox.get("/apis/default/fhir/Patient?_sort=(SELECT%201)", &token).await.unwrap();
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("ORDER BY (SELECT 1)"), "{}", answer.text());
    assert_eq!(sandbox.get("/apis/default/fhir/Patient?_sort=-birthdate", &token).await.unwrap().status, 200);
    assert_eq!(sandbox.state().await["sql_injections"], 1);
}

/// OpenEMR has no query for a page of anything but patients: what is beyond `_count` is made, and dropped.
#[tokio::test]
async fn a_page_costs_the_rows_of_the_whole_set_but_for_patients_of_8_0() {
    for (personality, sandbox) in both().await {
        let token = sandbox.token("system/Patient.read system/Observation.read").await;
        let everyone = ids(&sandbox, "Patient", &token).await.len();
        let observations = ids(&sandbox, "Observation", &token).await.len();
        let before = sandbox.state().await["search_rows"].clone();
        let whole = everyone + observations;
        assert_eq!(before, serde_json::json!({"made": whole, "sent": whole}));
        for target in ["Patient?_count=5&_offset=5", "Observation?_count=5", "Observation?_count=5&_offset=5"] {
            let answer = sandbox.get(&format!("/apis/default/fhir/{target}"), &token).await.unwrap();
            assert_eq!(answer.status, 200, "{target}");
        }
        let (made, sent) = match personality {
            Personality::V8_0 => (5 + 2 * observations, 15),
            // It takes no `_count`, and finds nothing.
            _ => (0, 0),
        };
        let after = sandbox.state().await["search_rows"].clone();
        assert_eq!(after, serde_json::json!({"made": whole + made, "sent": whole + sent}), "{personality}");
    }
}

#[tokio::test]
async fn apache_answers_trace_with_the_request_and_its_token() {
    let sandbox = started().await;
    let fields = [("Authorization", "Bearer secret")];
    let answer = send(sandbox.address, "TRACE", "/apis/default/fhir/Patient?x=y", &fields, "").await;
    assert_eq!((answer.status, answer.field("Content-Type")), (200, Some("message/http")));
    assert!(answer.text().starts_with("TRACE /apis/default/fhir/Patient?x=y HTTP/1.1\r\n"), "{}", answer.text());
    assert!(answer.text().contains("Authorization: Bearer secret\r\n"));
    assert_eq!(send(sandbox.address, "TRACE", "/", &[], "body").await.status, 413);
}

#[tokio::test]
async fn only_8_0_goes_by_the_overriding_method() {
    for (personality, sandbox) in both().await {
        let token = sandbox.token("system/Patient.read").await;
        let authorization = format!("Bearer {token}");
        let fields = [("Authorization", authorization.as_str()), ("X-HTTP-Method-Override", "get")];
        let answer = send(sandbox.address, "POST", "/apis/default/fhir/Patient", &fields, "").await;
        let status = if personality == Personality::V8_0 { 200 } else { 401 };
        assert_eq!(answer.status, status, "{}", answer.text());
        let other = send(sandbox.address, "DELETE", "/apis/default/fhir/Patient", &fields, "").await;
        assert_eq!(other.status, 404, "only a POST is overridden");
    }
}

#[tokio::test]
async fn an_update_goes_by_the_id_in_the_url() {
    let sandbox = started().await;
    let token = sandbox.token("system/Patient.read system/Patient.write").await;
    let everyone = ids(&sandbox, "Patient", &token).await;
    let body = format!(
        r#"{{"resourceType":"Patient","id":"{}","name":[{{"use":"official","family":"Changed","given":["A"]}}],"gender":"male","birthDate":"2000-01-01"}}"#,
        everyone[1]
    );
    let target = format!("/apis/default/fhir/Patient/{}", everyone[0]);
    let authorization = format!("Bearer {token}");
    let answer = send(sandbox.address, "PUT", &target, &[("Authorization", &authorization)], &body).await;
    assert_eq!((answer.status, &answer.json()["id"]), (200, &Value::from(everyone[0].as_str())), "{}", answer.text());
    let other = sandbox.get(&format!("/apis/default/fhir/Patient/{}", everyone[1]), &token).await.unwrap();
    assert_ne!(other.json()["name"][0]["family"], "Changed");
}
