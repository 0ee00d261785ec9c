//! What OpenEMR keeps besides the vital signs: for each tenth patient, up to the 500th, a chart with something of every
//! type, and for the clinic what belongs to nobody.
//!
//! They are templates (`answers/chart.json`, `answers/house.json`): `{name}` stands for an id, `meta` has the names of US
//! Core's profiles, and `only` is 8 where 7.0.3 does not have the type. Of each type, a chart has resources that differ in
//! whatever US Core searches by.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{
    personality::Personality,
    random::SeededRandom,
    resources::{Clinic, narrative},
};

/// What the ids are made from, besides the seed: not the random numbers of the patients, who stay as they are.
const SALT: u64 = 0x5EED_0F0F_4A4E;
/// Every so many patients one has a chart.
const EVERY: usize = 10;
/// The last patient that may have one.
const LAST: usize = 500;

/// Makes charts.
pub(super) struct Charts {
    random: SeededRandom,
    template: Vec<Value>,
    /// The ids of what belongs to the clinic, by the names in the templates.
    house: HashMap<String, String>,
    /// The patients that have a chart.
    patients: Vec<String>,
}

impl Charts {
    /// Creates the charts of a clinic. `house` are the ids that are known already; those of the others are made here.
    pub(super) fn new(clinic: &Clinic, seed: u64, house: HashMap<String, String>) -> Charts {
        let template = template(include_str!("answers/chart.json"), clinic.personality);
        Charts { random: SeededRandom::new(seed ^ SALT), template, house, patients: Vec::new() }
    }

    /// Returns whether the patient with this number, from 1, has a chart.
    pub(super) fn has(number: usize) -> bool {
        number.is_multiple_of(EVERY) && number <= LAST
    }

    /// Returns whether the patient with this number, of so many, has no problem because the next chart has one more: two more
    /// on 8.0, one on 7.0.3, so that there are half as many as patients.
    pub(super) fn takes_condition_of(number: usize, patients: usize, personality: Personality) -> bool {
        let chart = number.next_multiple_of(EVERY);
        let rest = number % EVERY;
        Charts::has(chart) && chart <= patients && (rest == 6 || (rest == 8 && personality != Personality::V7_0_3))
    }

    /// Returns what belongs to nobody.
    pub(super) fn house(&mut self, clinic: &Clinic) -> Vec<Value> {
        let mut house = std::mem::take(&mut self.house);
        let templates = template(include_str!("answers/house.json"), clinic.personality);
        let made = templates.iter().map(|template| filled(template, clinic, &mut house, &mut self.random)).collect();
        self.house = house;
        made
    }

    /// Returns the chart of a patient, with a second reading of the pulse oximeter: OpenEMR makes two Observations of one
    /// row, each with the codes of both.
    pub(super) fn chart(&mut self, clinic: &Clinic, patient: &str, encounters: [&str; 2], signs: &[Value]) -> Vec<Value> {
        let mut names = self.house.clone();
        names.insert("patient".to_owned(), patient.to_owned());
        for (name, encounter) in ["encounter.1", "encounter.2"].into_iter().zip(encounters) {
            names.insert(name.to_owned(), encounter.to_owned());
        }
        let mut chart: Vec<Value> =
            self.template.iter().map(|template| filled(template, clinic, &mut names, &mut self.random)).collect();
        let is_oximetry =
            |sign: &&Value| sign.pointer("/code/coding").and_then(Value::as_array).is_some_and(|codings| codings.len() == 2);
        if let Some(mut twin) = signs.iter().find(is_oximetry).cloned() {
            if let Some(codings) = twin.pointer_mut("/code/coding").and_then(Value::as_array_mut) {
                codings.reverse();
            }
            set(&mut twin, "id", json!(self.random.uuid()));
            chart.push(twin);
        }
        self.patients.push(patient.to_owned());
        chart
    }

    /// Makes the two visits of a patient with a chart differ: a stay of two days that ended, and an emergency elsewhere that
    /// did not.
    pub(super) fn tell_apart(&self, visit: &mut Value, hour: usize, end: &str) {
        let act = |code: &str, display: &str| json!({"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": code, "display": display});
        if hour < 12 {
            set(visit, "class", act("IMP", "inpatient encounter"));
            if let Some(period) = visit.get_mut("period").and_then(Value::as_object_mut) {
                period.insert("end".to_owned(), json!(end));
            }
            let home = json!({
                "system": "http://terminology.hl7.org/CodeSystem/discharge-disposition", "code": "home", "display": "Home",
            });
            set(visit, "hospitalization", json!({"dischargeDisposition": {"coding": [home]}}));
            return;
        }
        set(visit, "status", json!("in-progress"));
        set(visit, "class", act("EMER", "emergency"));
        let problem = json!({
            "system": "http://snomed.info/sct", "code": "185347001", "display": "Encounter for problem (procedure)",
        });
        set(visit, "type", json!([{"coding": [problem]}]));
        if let Some(ward) = self.house.get("location.2") {
            let ward = json!({"reference": format!("Location/{ward}"), "type": "Location"});
            set(visit, "location", json!([{"location": ward}]));
        }
    }

    /// Gives some patients what others do not have: a date of death, a doctor, an account that is closed, a
    /// name with markup.
    pub(super) fn particulars(&self, patient: &mut Value, number: usize) {
        if number.is_multiple_of(20) {
            if let Some(members) = patient.as_object_mut() {
                members.shift_remove("deceasedBoolean");
            }
            set(patient, "deceasedDateTime", json!("2024-05-06T07:08:09+00:00"));
        }
        if number.is_multiple_of(40) {
            let family = "Miller & <Sons>";
            set(patient, "text", narrative(&format!("{family} Ada")));
            set(patient, "name", json!([{"use": "official", "family": family, "given": ["Ada"]}]));
        }
        if number % 20 == 5 {
            set(patient, "active", json!(false));
        }
        let doctor = [(0, "practitioner.1"), (5, "practitioner.2")].into_iter().find(|(rest, _)| number % 10 == *rest);
        if let Some(id) = doctor.and_then(|(_, name)| self.house.get(name)) {
            set(patient, "generalPractitioner", json!([{"reference": format!("Practitioner/{id}"), "type": "Practitioner"}]));
        }
    }

    /// Returns a group for each of two practitioners, whose members are the patients with a chart, in turn.
    pub(super) fn groups(&mut self, clinic: &Clinic) -> Vec<Value> {
        let groups = (0..2).map(|group| {
            let members: Vec<Value> = self
                .patients
                .iter()
                .skip(group)
                .step_by(2)
                .map(|patient| json!({"entity": {"reference": format!("Patient/{patient}"), "type": "Patient"}}))
                .collect();
            let mut made = json!({
                "id": self.random.uuid(), "meta": clinic.meta(&[]), "resourceType": "Group", "type": "person", "actual": true,
                "name": format!("Patients of practitioner {}", group + 1),
            });
            if !members.is_empty() {
                set(&mut made, "member", Value::Array(members));
            }
            made
        });
        groups.collect()
    }
}

fn set(resource: &mut Value, member: &str, value: Value) {
    if let Some(members) = resource.as_object_mut() {
        members.insert(member.to_owned(), value);
    }
}

/// Returns the templates that a release has.
fn template(text: &str, personality: Personality) -> Vec<Value> {
    let mut templates: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
    templates.retain(|template| template.get("only").is_none() || personality != Personality::V7_0_3);
    templates
}

/// Returns a template as a resource. An unknown name gets an id.
fn filled(template: &Value, clinic: &Clinic, names: &mut HashMap<String, String>, random: &mut SeededRandom) -> Value {
    match template {
        Value::String(text) if text.contains('{') => Value::String(named(text, names, random)),
        Value::Array(items) => items.iter().map(|item| filled(item, clinic, names, random)).collect(),
        Value::Object(members) => {
            let mut resource = Map::new();
            for (name, member) in members {
                match (name.as_str(), member) {
                    ("only", _) => {}
                    ("meta", Value::Array(profiles)) => {
                        let base = "http://hl7.org/fhir/us/core/StructureDefinition/";
                        let profiles: Vec<String> =
                            profiles.iter().filter_map(Value::as_str).map(|profile| format!("{base}{profile}")).collect();
                        let profiles: Vec<&str> = profiles.iter().map(String::as_str).collect();
                        resource.insert(name.clone(), clinic.meta(&profiles));
                    }
                    _ => {
                        resource.insert(name.clone(), filled(member, clinic, names, random));
                    }
                }
            }
            Value::Object(resource)
        }
        other => other.clone(),
    }
}

/// Returns a text with the ids in the places of their names.
fn named(text: &str, names: &mut HashMap<String, String>, random: &mut SeededRandom) -> String {
    let mut out = String::with_capacity(text.len() + 36);
    let mut parts = text.split('{');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap_or((part, ""));
        out.push_str(names.entry(name.to_owned()).or_insert_with(|| random.uuid()));
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use std::collections::HashSet;

    use super::{
        super::{own_shapes::Shapes, population::Population},
        *,
    };

    #[test]
    fn every_type_with_a_route_has_resources_of_which_not_all_are_alike() {
        for personality in [Personality::V8_0, Personality::V7_0_3, Personality::Next] {
            let population = Population::new(personality, "http://emr", 20, 1, 0);
            for (resource_type, _) in super::super::discovery::search_parameters(personality) {
                // Files, a single definition, and what is made when it is asked for.
                if ["Binary", "OperationDefinition", "Provenance"].contains(&resource_type.as_str()) {
                    continue;
                }
                let all = population.all(&resource_type);
                assert!(all.len() > 1, "{personality} {resource_type}: {}", all.len());
                let ids: HashSet<&str> = all.iter().map(|resource| resource.id.as_str()).collect();
                assert_eq!(ids.len(), all.len(), "{resource_type}");
            }
        }
    }

    #[test]
    fn nothing_is_left_of_the_templates_and_every_reference_leads_somewhere() {
        let population = Population::written(Shapes::Valid, Personality::V8_0, "http://emr", 20, 1, 0);
        let mut references = 0;
        for resource_type in super::super::discovery::search_parameters(Personality::V8_0).into_keys() {
            for resource in population.all(&resource_type) {
                assert_eq!(resource.value["resourceType"], resource_type.as_str());
                assert_eq!(resource.value.get("only"), None);
                let text = resource.value.to_string();
                for reference in text.split(r#""reference":""#).skip(1) {
                    let (kind, id) = reference.split('"').next().unwrap().split_once('/').unwrap();
                    assert!(population.get(kind, id).is_some(), "{resource_type}: {kind}/{id}");
                    references += 1;
                }
            }
        }
        assert!(references > 500, "{references}");
    }
}
