//! conf/secure.yaml, the configuration that a hospital could start from: it is good once its blanks are filled in, and serves.

use std::sync::Arc;

use serde_json::{Value, json};

use super::api_keys::{digest_of, key_of};
use crate::support::certificates::{Ca, Files, client};
use crate::support::command::Folder;
use crate::support::gateway::{Certificate, Gateway, site};
use crate::support::http::request;
use crate::support::openemr::OpenEmr;

// Of the sandbox, as docs/access.md names them: a patient, and a laboratory result of another one.
const LISTED: &str = "7d350fc5-06dd-4573-938e-3232afcee970";
const UNLISTED: &str = "ef66bb44-7775-4d99-a505-3fba6ba94ea3";
const FOREIGN_RESULT: &str = "f9edcb56-550d-44d3-911f-6c256146907f";

const SECURE: &str = include_str!("../../../conf/secure.yaml");

fn filled(text: &str) -> String {
    let text = text.replace("<https://emr.example.org>", "https://emr.example.org");
    let text = text.replace("<the id that OpenEMR gave at registration>", "abc");
    let key = digest_of("jane");
    let key = key.strip_prefix("sha256:").unwrap_or(&key);
    text.replace("<sha256:… of openemr-gateway access new-key jane>", &format!("sha256:{key}"))
}

#[test]
fn it_is_refused_until_its_blanks_are_filled_in_and_good_then() {
    let folder = Folder::good();
    assert_eq!(folder.run(&["keys", "certificate", "--host", "gateway", "--out", "certs"]).code, 0);
    folder.write("certs/clients-ca.pem", &Ca::new("clinic").pem());
    folder.write("clients/study.jwks.json", &folder.read("keys/jwks.json"));
    folder.write("lists/panel.txt", "p1  # on the panel since 2026\n");
    let check = |text: &str| {
        folder.write("conf/secure.yaml", text);
        folder.run(&["config", "check", "--config", "conf/secure.yaml"])
    };
    let blank = check(SECURE);
    assert_eq!(blank.code, 1);
    for place in ["sites.default.openemr", "sites.default.client_id", "access.clients.jane.api_keys[0]"] {
        assert!(blank.err.contains(place), "{place} in\n{}", blank.err);
    }
    let good = check(&filled(SECURE));
    assert_eq!((good.code, good.err.as_str()), (0, ""), "{}", good.err);
    let within = folder.run(&["access", "check", "--config", "conf/secure.yaml"]);
    assert_eq!((within.code, within.err.as_str()), (0, ""), "{}", within.err);
}

#[test]
fn it_serves_each_of_its_clients_what_its_policy_permits() {
    let (openemr, files, ca, server) = (OpenEmr::start(), Files::new(), Ca::new("clinic"), Certificate::make());
    let mut config: Value = serde_yaml::from_str(&filled(SECURE)).unwrap();
    let scopes = config["sites"]["default"]["scopes"].take();
    config["sites"]["default"] = site(&openemr.base, "RS384");
    config["sites"]["default"]["scopes"] = scopes;
    config["listen"] = json!([{"tls": server.tls()}]);
    for (key, name) in [("folder", "audit"), ("ids_key", "ids.key"), ("checkpoint_key", "checkpoint.key")] {
        config["audit"][key] = json!(files.path(name));
    }
    config["listen"][0]["tls"]["client_ca"] = json!(files.write("ca.pem", ca.pem()));
    config["listen"][0]["tls"]["client_certificates"] = json!("optional");
    config["access"]["policies"]["lab-feed"]["patients"]["file"] = json!(files.write("panel.txt", format!("{LISTED}\n")));
    config["access"]["clients"]["study"]["smart"]["jwks"] = config["sites"]["default"]["jwks"].clone();
    config["log"] = json!({"format": "text"});
    config["access"]["token_key"] = json!(files.write("unused", "").with_file_name("token-key.pem"));
    let gateway = Gateway::with(config);
    let lab = ca.issue(1, "lab", &["lab.example.org"]);
    let key = key_of("jane");
    let get = |target: &str, identity, fields: &[(&str, &str)]| {
        let mut connection = gateway.caller().connect_as(Arc::new(client(&server.certificate, identity)));
        connection.write(&request("GET", target, fields, b""));
        connection.read("GET")
    };
    let jane = [("X-API-Key", key.as_str())];
    assert_eq!(get("/fhir/metadata", None, &[]).status, 200);
    get("/fhir/Patient", None, &[]).outcome(401);
    assert_eq!(get("/fhir/Patient?_count=1", None, &jane).status, 200);
    get("/fhir/DiagnosticReport", None, &jane).outcome(403);
    get("/fhir/Condition", Some(&lab), &[]).outcome(403);
    get(&format!("/fhir/Patient/{UNLISTED}"), Some(&lab), &[]).outcome(403);
    // What is on the list is there, and nothing else, though all is asked for.
    assert_eq!(get(&format!("/fhir/Patient/{LISTED}"), Some(&lab), &[]).json()["id"], LISTED);
    let found = get("/fhir/Observation?_count=200", Some(&lab), &[]).json();
    let entries = found["entry"].as_array().unwrap();
    assert!(!entries.is_empty(), "{found}");
    for entry in entries {
        let resource = entry["resource"].to_string();
        assert!(resource.contains(&format!("Patient/{LISTED}")) && resource.contains("\"laboratory\""), "{resource}");
    }
    let link = found["link"][0]["url"].as_str().unwrap();
    assert!(link.contains("observation-category%7Claboratory") && link.contains(&format!("patient={LISTED}")), "{link}");
    // A result of somebody else's is as one that there is not.
    get(&format!("/fhir/Observation/{FOREIGN_RESULT}"), Some(&lab), &[]).outcome(404);
    assert_eq!(get(&format!("/fhir/Observation/{FOREIGN_RESULT}"), None, &jane).status, 200);
}
