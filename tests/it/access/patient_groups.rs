//! Clients whose patients are the members of a Group at OpenEMR.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::api_keys::client;
use super::export_policies::{ids, limited};
use super::exporting::{Ward, file};
use crate::support::gateway::{Gateway, free_address};

/// A ward with `all`, and `team` whose patients are those of OpenEMR's first Group, which has five members.
struct Team {
    ward: Ward,
    group: Value,
}

impl Team {
    fn new() -> Self {
        let ward = Ward::with(json!({"all": client("all")}));
        let mut group = ward.get("all", "/fhir/Group").json()["entry"][0]["resource"].clone();
        let patients = ward.get("all", "/fhir/Patient?_count=5").json();
        let members = patients["entry"].as_array().unwrap().iter().map(|entry| {
            let id = entry["resource"]["id"].as_str().unwrap();
            json!({"entity": {"reference": format!("Patient/{id}"), "type": "Patient"}})
        });
        group["member"] = members.collect();
        let mut team = Self { ward, group };
        team.answer(200, &team.group);
        team.reload();
        team
    }

    fn id(&self) -> String {
        self.group["id"].as_str().unwrap().to_owned()
    }

    fn clients(&self) -> Value {
        let more = json!({"patients": {"group": format!("Group/{}", self.id())}, "export": ["patient"]});
        json!({"all": client("all"), "team": limited("team", &["system/*.rs"], more)})
    }

    /// Reads all lists anew.
    fn reload(&mut self) {
        let clients = self.clients();
        self.ward.reload(clients);
    }

    /// Makes OpenEMR answer with this when the Group is read.
    fn answer(&self, status: u16, group: &Value) {
        let answer = json!({"status": status, "content_type": "application/fhir+json", "body": group.to_string()});
        self.ward.openemr.order(&json!({"fhir": {"target": format!("/Group/{}", self.id()), "answer": answer}}));
    }

    fn members(&self) -> BTreeSet<String> {
        let of = |member: &Value| member["entity"]["reference"].as_str().unwrap().strip_prefix("Patient/").unwrap().to_owned();
        self.group["member"].as_array().unwrap().iter().map(of).collect()
    }

    fn shown(&self, manifest: &Value) -> BTreeSet<String> {
        ids(&self.ward.lines("team", manifest, "Patient"))
    }
}

#[test]
fn the_members_of_a_group_are_the_patients_and_one_that_is_removed_is_none() {
    let mut team = Team::new();
    let manifest = team.ward.exported("team", "/Patient/$export?_type=Patient");
    let members = team.members();
    assert_eq!(team.shown(&manifest), members);
    assert!(members.len() < 20, "there are others");
    let found = team.ward.get("team", "/fhir/Patient").json();
    let found: Vec<Value> = found["entry"].as_array().unwrap().iter().map(|entry| entry["resource"].clone()).collect();
    assert_eq!(ids(&found), members);
    for _ in 0..20 {
        assert_eq!(team.ward.get("team", &file(&manifest, "Patient")).status, 200);
    }
    assert_eq!(team.ward.came(&format!("/Group/{}", team.id())), 1, "it is read once, and kept");
    // Removed, inactive, and over.
    let mut group = team.group.clone();
    let listed = group["member"].as_array_mut().unwrap();
    let gone = listed.remove(0)["entity"]["reference"].clone();
    listed[0]["inactive"] = json!(true);
    listed[1]["period"] = json!({"end": "2020-01-01"});
    listed.push(json!({"entity": {"reference": "Practitioner/1"}}));
    let no_more = [gone, listed[0]["entity"]["reference"].clone(), listed[1]["entity"]["reference"].clone()];
    team.answer(200, &group);
    team.reload();
    let no_more: BTreeSet<String> = no_more.iter().map(|one| one.as_str().unwrap().replace("Patient/", "")).collect();
    assert_eq!(team.shown(&manifest), &members - &no_more);
    // Nobody.
    group.as_object_mut().unwrap().remove("member");
    team.answer(200, &group);
    team.reload();
    assert!(team.shown(&manifest).is_empty());
}

#[test]
fn where_there_is_no_group_there_is_nobody() {
    let mut team = Team::new();
    let manifest = team.ward.exported("team", "/Patient/$export?_type=Patient");
    let file = file(&manifest, "Patient");
    assert_eq!(team.ward.get("team", &file).status, 200);
    team.answer(404, &json!({}));
    team.reload();
    for target in [file.as_str(), "/fhir/Patient", "/fhir/Organization"] {
        let answer = team.ward.get("team", target);
        answer.outcome(403);
        assert!(answer.text().contains("Group"), "{}", answer.text());
    }
    team.ward.begin("team", "/Patient/$export").outcome(403);
    assert_eq!(team.ward.get("team", "/fhir/metadata").status, 200);
    assert_eq!(team.ward.get("all", "/fhir/Patient?_count=1").status, 200);
}

#[test]
fn where_the_group_cannot_be_read_the_last_list_holds_and_without_one_nobody_is_shown() {
    let mut team = Team::new();
    let manifest = team.ward.exported("team", "/Patient/$export?_type=Patient");
    let members = team.shown(&manifest);
    let mut other = team.group.clone();
    other["id"] = json!("another");
    for (status, body) in [(500, json!({})), (403, json!({})), (200, json!([])), (200, other)] {
        team.answer(status, &body);
        team.reload();
        assert_eq!(team.shown(&manifest), members, "{status}");
        team.ward.gateway.logs(&["whose members are the patients of a policy, cannot be read"]);
    }
    // A gateway that has never read it.
    let mut config = team.ward.config.clone();
    config["listen"] = json!([{"address": free_address().to_string()}]);
    team.ward.gateway = Gateway::with(config);
    for target in [&file(&manifest, "Patient"), "/fhir/Patient"] {
        let answer = team.ward.get("team", target);
        answer.outcome(503);
        assert!(answer.field("retry-after").is_some() && answer.text().contains("Group"), "{}", answer.text());
    }
    assert_eq!(team.ward.get("team", "/fhir/metadata").status, 200);
    assert_eq!(team.ward.get("all", "/fhir/Patient?_count=1").status, 200);
}
