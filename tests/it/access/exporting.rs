//! A gateway with clients that export, in front of an OpenEMR.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::api_keys::key_of;
use crate::support::eventually;
use crate::support::gateway::{Gateway, config, free_address};
use crate::support::http::{Answer, End};
use crate::support::openemr::OpenEmr;

/// Types that are exported, and types that are needed beside them.
const TYPES: [&str; 8] =
    ["Patient", "Observation", "Condition", "Encounter", "Immunization", "Organization", "Provenance", "Group"];
const OPERATIONS: [&str; 5] =
    ["system/Binary.read", "system/*.$export", "system/Patient.$export", "system/Group.$export", "system/*.$bulkdata-status"];
const KICK_OFF: [(&str, &str); 2] = [("Accept", "application/fhir+json"), ("Prefer", "respond-async")];
/// No export has this id.
pub const NO_JOB: &str = "00000000-0000-4000-8000-000000000000";

pub struct Ward {
    pub openemr: OpenEmr,
    pub gateway: Gateway,
    pub folder: TempDir,
    pub config: Value,
}

impl Ward {
    /// With these clients; `null` is none.
    pub fn with(clients: Value) -> Self {
        Self::with_config(clients, |_| {})
    }

    /// The same with a change of the configuration.
    pub fn with_config(clients: Value, change: impl FnOnce(&mut Value)) -> Self {
        let openemr = OpenEmr::start();
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(&openemr);
        let scopes = TYPES.iter().map(|name| format!("system/{name}.read")).chain(OPERATIONS.map(str::to_owned));
        config["sites"]["default"]["scopes"] = scopes.collect();
        config["sites"]["default"]["bulk_data"] = json!({"folder": folder.path().join("bulk")});
        config["listen"] = json!([{"address": free_address().to_string()}]);
        config["access"]["allow_from"] = json!(["127.0.0.0/8"]);
        if !clients.is_null() {
            config["access"]["clients"] = clients;
        }
        change(&mut config);
        Self { gateway: Gateway::with(config.clone()), openemr, folder, config }
    }

    /// Puts other clients into force; `null` is none.
    pub fn reload(&mut self, clients: Value) {
        let access = self.config["access"].as_object_mut().unwrap();
        match clients {
            Value::Null => drop(access.remove("clients")),
            clients => drop(access.insert("clients".to_owned(), clients)),
        }
        let log = self.gateway.reload(&self.config);
        assert!(log.contains("is in force"), "{log}");
    }

    /// The answer to a request of a client; of one without a credential, where the name is empty.
    pub fn ask(&self, client: &str, method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        let key = key_of(client);
        let mut all: Vec<(&str, &str)> = if client.is_empty() { Vec::new() } else { vec![("X-API-Key", &key)] };
        all.extend_from_slice(fields);
        self.gateway.caller().send(method, target, &all, body.as_bytes())
    }

    pub fn get(&self, client: &str, target: &str) -> Answer {
        self.ask(client, "GET", target, &[], "")
    }

    /// The answer to a kick-off; `target` is below the FHIR base.
    pub fn begin(&self, client: &str, target: &str) -> Answer {
        self.ask(client, "GET", &format!("/fhir{target}"), &KICK_OFF, "")
    }

    /// The same by POST, with a Parameters resource.
    pub fn post(&self, client: &str, target: &str, parameters: &Value) -> Answer {
        let body = json!({"resourceType": "Parameters", "parameter": parameters}).to_string();
        let mut fields = KICK_OFF.to_vec();
        fields.push(("Content-Type", "application/fhir+json"));
        self.ask(client, "POST", &format!("/fhir{target}"), &fields, &body)
    }

    /// Kicks an export off, and gives the path of its status.
    pub fn kick_off(&self, client: &str, target: &str) -> String {
        let answer = self.begin(client, target);
        assert_eq!(answer.status, 202, "{client} {target}: {}", answer.text());
        let location = answer.field("content-location").unwrap();
        location.strip_prefix("http://gateway.example").unwrap().to_owned()
    }

    /// Waits for the manifest.
    pub fn ended(&self, client: &str, status: &str) -> Value {
        eventually("the export ends", || {
            let answer = self.get(client, status);
            match answer.status {
                202 => None,
                200 => Some(answer.json()),
                other => panic!("{other}: {}", answer.text()),
            }
        })
    }

    /// The manifest of an export from its kick-off to its end.
    pub fn exported(&self, client: &str, target: &str) -> Value {
        self.ended(client, &self.kick_off(client, target))
    }

    /// The resources in the only file of a type.
    pub fn lines(&self, client: &str, manifest: &Value, resource_type: &str) -> Vec<Value> {
        let answer = self.get(client, &file(manifest, resource_type));
        assert_eq!((answer.status, answer.end), (200, End::Whole), "{}", answer.text());
        answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What an export's `error` says to its client.
    pub fn errors(&self, client: &str, manifest: &Value) -> String {
        let told = manifest["error"].as_array().unwrap().iter().map(|entry| self.get(client, &below(&entry["url"])).text());
        told.collect()
    }

    /// The targets of the requests that OpenEMR has had for something.
    pub fn came(&self, text: &str) -> u64 {
        let paths = self.openemr.state()["paths"].clone();
        let counts = paths.as_object().unwrap().iter().filter(|(path, _)| path.contains(text));
        counts.map(|(_, count)| count.as_u64().unwrap()).sum()
    }
}

/// The path of an address of the gateway's.
pub fn below(url: &Value) -> String {
    url.as_str().unwrap().strip_prefix("http://gateway.example").unwrap().to_owned()
}

/// The path of the only file of a type.
pub fn file(manifest: &Value, resource_type: &str) -> String {
    let output = manifest["output"].as_array().unwrap();
    let entries: Vec<&Value> = output.iter().filter(|entry| entry["type"] == resource_type).collect();
    let [entry] = entries.as_slice() else { panic!("{resource_type}: {manifest}") };
    assert!(entry.get("count").is_none());
    below(&entry["url"])
}

/// The job in the path of a status.
pub fn job(status: &str) -> &str {
    status.split_once("?job=").unwrap().1
}
