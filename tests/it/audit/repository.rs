//! What a FHIR repository gets of the trail: an AuditEvent for each record, at least once and in order, whatever happens to either side.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::access::case_rows::filled;
use crate::access::limited::Clinic;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::http::Answer;
use crate::support::openemr::OpenEmr;

/// Where the spool is, and what else belongs to it.
struct Spool(TempDir);

impl Spool {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("spool")
    }

    /// Makes a configuration post to the repository of this OpenEMR.
    fn post_to(&self, config: &mut Value, more: &Value) {
        let openemr = config["sites"]["default"]["openemr"].as_str().unwrap();
        let mut repository = json!({"url": format!("{openemr}/audit-repository/fhir"), "spool": self.folder()});
        for (key, value) in more.as_object().unwrap() {
            repository[key] = value.clone();
        }
        config["audit"] = json!({"repository": repository, "ids_key": self.0.path().join("ids.key"), "name": "gw/audit"});
    }

    /// The names of the files that hold records.
    fn segments(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("spool-")).collect()
    }
}

fn posting(more: &Value) -> (Clinic, Spool) {
    let spool = Spool::new();
    let clinic = Clinic::with(|config| spool.post_to(config, more));
    (clinic, spool)
}

fn id_of(answer: &Answer) -> String {
    answer.field("x-request-id").unwrap().to_owned()
}

/// The X-Request-Id that an event has.
fn request_of(event: &Value) -> Option<&str> {
    let entities = event["entity"].as_array()?;
    let transaction = entities.iter().find(|entity| entity["type"]["code"] == "XrequestId")?;
    transaction["what"]["identifier"]["value"].as_str()
}

/// The ids of requests in the order in which their first events came; nothing may have been invalid.
fn arrived(openemr: &OpenEmr) -> Vec<String> {
    let received = openemr.audit_events();
    assert_eq!(received["invalid"], json!([]));
    let mut seen = HashSet::new();
    let ids = received["events"].as_array().unwrap().iter().filter_map(request_of);
    ids.filter(|id| seen.insert((*id).to_owned())).map(str::to_owned).collect()
}

/// Waits until events of all these requests are there, in this order and with no others.
fn all_arrive(openemr: &OpenEmr, ids: &[String]) {
    let found = eventually("all events arrive", || Some(arrived(openemr)).filter(|found| found.len() >= ids.len()));
    assert_eq!(found, ids);
}

fn events_of(openemr: &OpenEmr, id: &str) -> Vec<Value> {
    let received = openemr.audit_events();
    received["events"].as_array().unwrap().iter().filter(|event| request_of(event) == Some(id)).cloned().collect()
}

fn ask(clinic: &Clinic, count: usize) -> Vec<String> {
    (0..count).map(|_| id_of(&clinic.get("all", &filled("/Patient/{P1}")))).collect()
}

#[test]
fn reads_searches_writes_and_refusals_arrive_as_events_of_their_profiles() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "Bearer wr1te\n").unwrap();
    let (clinic, spool) = posting(&json!({"authorization_file": secret.path(), "batch": 3}));
    let new = json!({"resourceType": "Patient", "name": [{"use": "official", "family": "Abel", "given": ["A"]}],
        "gender": "female", "birthDate": "1980-01-01"})
    .to_string();
    let fhir = [("Content-Type", "application/fhir+json")];
    let answers = [
        (clinic.get("all", &filled("/Patient/{P1}")), "R", "0", Some("PatientRead")),
        (clinic.get("all", "/Patient?family=Abel"), "E", "0", Some("PatientQuery")),
        (clinic.get("all", "/Patient?_id=nobody"), "E", "0", Some("Query")),
        (clinic.ask("all", "POST", "/Patient", &fhir, &new), "C", "0", None),
        (clinic.get("vit", &filled("/Condition/{C1}")), "R", "4", None),
        // Refused before it was looked at, so that its record has no interaction.
        (clinic.get("nobody", &filled("/Patient/{P1}")), "E", "4", None),
    ];
    let ids: Vec<String> = answers.iter().map(|(answer, ..)| id_of(answer)).collect();
    all_arrive(&clinic.openemr, &ids);
    for (answer, action, outcome, profile) in &answers {
        let events = events_of(&clinic.openemr, &id_of(answer));
        let event = &events[0];
        assert_eq!((&event["action"], &event["outcome"]), (&json!(action), &json!(outcome)), "{} {event:#}", answer.status);
        let claimed = event["meta"]["profile"][0].as_str();
        if let Some(profile) = profile {
            assert!(
                claimed.is_some_and(|claimed| claimed.ends_with(&format!("IHE.BasicAudit.{profile}"))),
                "{profile}: {event:#}"
            );
        }
        assert_eq!(event["source"]["observer"]["identifier"]["value"], "gw/audit");
    }
    // The search has found several patients: one event for each.
    let found = answers[1].0.json()["entry"].as_array().unwrap().len();
    let events = events_of(&clinic.openemr, &ids[1]);
    assert!(found > 1 && events.len() == found, "{found} patients, {} events", events.len());
    assert_eq!(clinic.openemr.audit_events()["authorization"], "Bearer wr1te");
    assert!(!clinic.gateway.log().contains("wr1te"));
    let health = clinic.gateway.caller().get("/health").json();
    assert!(health["audit"]["repository"]["posted"].as_u64().unwrap() >= 7, "{health}");
    // What is posted is gone from the disk once its process has ended. The next one has a file of its own.
    let old = spool.segments();
    drop(clinic.gateway);
    let _next = Gateway::with(clinic_config(&spool, &clinic.openemr));
    eventually("posted segments are removed", || spool.segments().iter().all(|name| !old.contains(name)).then_some(()));
}

/// Another gateway with the same spool.
fn clinic_config(spool: &Spool, openemr: &OpenEmr) -> Value {
    let mut config = crate::support::gateway::config(openemr);
    spool.post_to(&mut config, &json!({}));
    config
}

#[test]
fn a_repository_that_is_down_slow_full_or_busy_gets_everything_later_and_in_order() {
    let (clinic, _spool) = posting(&json!({"batch": 4}));
    let mut ids = Vec::new();
    for faults in [
        json!({"down": true, "times": 2}),
        json!({"status": 503, "times": 1}),
        json!({"status": 507, "times": 1}),
        json!({"status": 401, "times": 1}),
        json!({"status": 429, "retry_after": "1", "times": 1}),
        json!({"room": 2, "times": 1}),
        json!({"lose_answer": true, "times": 1}),
        json!({"delay_ms": 700, "times": 2}),
    ] {
        clinic.openemr.order(&json!({"audit_repository": faults}));
        ids.extend(ask(&clinic, 6));
        all_arrive(&clinic.openemr, &ids);
    }
    let health = clinic.gateway.caller().get("/health").json();
    assert_eq!(health["audit"]["repository"]["refused"], 0, "{health}");
    assert!(clinic.gateway.log().contains("audit repository: "));
}

#[test]
fn what_is_refused_for_good_is_passed_over_kept_aside_and_told_of_without_patients() {
    for fault in ["refuse_events", "refuse_bundles"] {
        let (clinic, spool) = posting(&json!({"batch": 50}));
        clinic.openemr.order(&json!({"audit_repository": {"status": 503, "times": 1}}));
        let mut ids = ask(&clinic, 5);
        let bad = filled("{P2}");
        clinic.openemr.order(&json!({"audit_repository": {fault: format!("Patient/{bad}")}}));
        clinic.get("all", &format!("/Patient/{bad}"));
        ids.extend(ask(&clinic, 5));
        all_arrive(&clinic.openemr, &ids);
        let kept = || fs::read_to_string(spool.folder().join("refused.jsonl")).ok().filter(|lines| lines.ends_with('\n'));
        let kept = eventually("the refused event is kept", kept);
        let kept: Vec<Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(kept.len(), 1, "{fault}");
        assert_eq!(kept[0]["record"]["id"], bad);
        clinic.gateway.logs(&["refused for good"]);
        assert!(!clinic.gateway.log().contains(&bad), "{}", clinic.gateway.log());
        assert_eq!(clinic.gateway.caller().get("/health").json()["audit"]["repository"]["refused"], 1);
    }
}

#[test]
fn a_gateway_that_is_killed_and_started_again_posts_what_it_had_recorded() {
    let spool = Spool::new();
    let openemr = OpenEmr::start();
    let mut ids = Vec::new();
    for round in 0..3 {
        let fault = if round == 1 { json!({"lose_answer": true, "times": 1}) } else { json!({"down": true}) };
        openemr.order(&json!({"audit_repository": fault}));
        let gateway = Gateway::with(clinic_config(&spool, &openemr));
        ids.extend((0..20).map(|_| id_of(&gateway.caller().get("/fhir/Patient?_count=1"))));
        gateway.process.signal("KILL");
        let mut process = gateway.process;
        eventually("the gateway is killed", || process.ended());
    }
    openemr.order(&json!({"audit_repository": null}));
    let _gateway = Gateway::with(clinic_config(&spool, &openemr));
    all_arrive(&openemr, &ids);
}
