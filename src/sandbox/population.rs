//! The synthetic people the stand-in serves, made from a seed at start, in the shapes OpenEMR gives its resources.
//!
//! Names are put together from lists; nobody's data is in here. The same seed gives the same people, ids included.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{personality::Personality, php_json};

/// A resource and the bytes it is served as.
#[derive(Clone, Debug)]
pub struct Resource {
    /// `id`.
    pub id: String,
    /// Members in OpenEMR's order.
    pub value: Value,
    /// `value` as the FHIR side writes it.
    pub wire: Bytes,
}

/// One type's resources, in the order in which OpenEMR lists them.
#[derive(Default)]
struct Shelf {
    resources: Vec<Arc<Resource>>,
    places: HashMap<String, usize>,
}

/// All resources.
pub struct Population {
    pub(super) personality: Personality,
    shelves: HashMap<String, Shelf>,
    pub(super) updated: String,
    pub(super) organization: String,
}

impl Population {
    /// `patients` patients, each with five observations and two encounters, every second one with a condition.
    /// `made_at` (seconds since 1970) is when OpenEMR is said to have stored them.
    pub fn new(personality: Personality, patients: usize, seed: u64, made_at: i64) -> Population {
        let updated = format!("{}+00:00", super::calendar::date_time(made_at));
        let mut random = Random(seed);
        let organization = random.uuid();
        let mut population = Population { personality, shelves: HashMap::new(), updated, organization: organization.clone() };
        let location = random.uuid();
        population.add("Organization", population.organization_resource(&organization));
        population.add("Location", population.location_resource(&location));
        for number in 1..=3 {
            let resource = population.practitioner_resource(&random.uuid(), number, &mut random);
            population.add("Practitioner", resource);
        }
        for number in 1..=patients {
            let patient = random.uuid();
            population.add("Patient", population.patient_resource(&patient, number, &mut random));
            let day = 1 + number % 28;
            let mut encounter = String::new();
            for hour in [7, 20] {
                let id = random.uuid();
                let start = format!("2024-01-{day:02}T{hour:02}:00:00+00:00");
                population.add("Encounter", population.encounter_resource(&id, &patient, &location, &start));
                encounter = id;
            }
            let taken = format!("2024-01-{day:02}T07:00:00+00:00");
            for resource in population.vital_signs(&patient, &encounter, &taken, &mut random) {
                population.add("Observation", resource);
            }
            if number % 2 == 0 {
                population.add("Condition", population.condition_resource(&random.uuid(), &patient));
            }
        }
        population
    }

    /// The resources of a type.
    pub fn all(&self, resource_type: &str) -> &[Arc<Resource>] {
        self.shelves.get(resource_type).map_or(&[], |shelf| &shelf.resources)
    }

    /// One resource.
    pub fn get(&self, resource_type: &str, id: &str) -> Option<&Arc<Resource>> {
        let shelf = self.shelves.get(resource_type)?;
        shelf.resources.get(*shelf.places.get(id)?)
    }

    /// Adds a resource, or puts it in the place of the one with its id.
    pub fn add(&mut self, resource_type: &str, value: Value) {
        let id = value.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let wire = Bytes::from(php_json::encode(&value, self.personality.fhir_escapes()));
        let resource = Arc::new(Resource { id: id.clone(), value, wire });
        let shelf = self.shelves.entry(resource_type.to_owned()).or_default();
        match shelf.places.get(&id).and_then(|&place| shelf.resources.get_mut(place)) {
            Some(existing) => *existing = resource,
            None => {
                shelf.places.insert(id, shelf.resources.len());
                shelf.resources.push(resource);
            }
        }
    }

    /// The Provenance that `_revinclude=Provenance:target` adds for a resource.
    pub fn provenance_of(&self, resource_type: &str, id: &str) -> Value {
        let organization = || json!({"reference": format!("Organization/{}", self.organization), "type": "Organization"});
        let agent = |system: &str, code: &str, display: &str| {
            json!({
                "type": {"coding": [{"system": system, "code": code, "display": display}]},
                "who": organization(), "onBehalfOf": organization(),
            })
        };
        json!({
            "id": format!("{resource_type}-PSK-{id}"),
            "resourceType": "Provenance",
            "target": [{"reference": format!("{resource_type}/{id}"), "type": resource_type}],
            "recorded": self.updated,
            "agent": [
                agent("http://terminology.hl7.org/CodeSystem/provenance-participant-type", "author", "Author"),
                agent(
                    "http://hl7.org/fhir/us/core/CodeSystem/us-core-provenance-participant-type",
                    "transmitter",
                    "Transmitter",
                ),
            ],
        })
    }

    /// `meta`, with the profiles that 8.0 adds.
    pub fn meta(&self, profiles: &[&str]) -> Value {
        let mut meta = json!({"versionId": "1", "lastUpdated": self.updated});
        if self.personality == Personality::V8_0
            && !profiles.is_empty()
            && let Some(members) = meta.as_object_mut()
        {
            members.insert("profile".to_owned(), json!(profiles));
        }
        meta
    }
}

/// SplitMix64: small, repeatable, good enough for names.
pub(super) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number under `limit`.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// One of the list.
    pub(super) fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        let index = self.below(list.len() as u64);
        usize::try_from(index).ok().and_then(|index| list.get(index).copied()).unwrap_or_default()
    }

    /// A version 4 UUID.
    pub(super) fn uuid(&mut self) -> String {
        uuid_of(u128::from(self.next()) << 64 | u128::from(self.next()))
    }
}

/// A version 4 UUID made of these bits.
pub fn uuid_of(bits: u128) -> String {
    uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_people() {
        let people = |seed| {
            let population = Population::new(Personality::V8_0, 3, seed, 0);
            population.all("Patient").iter().map(|patient| patient.wire.clone()).collect::<Vec<_>>()
        };
        assert_eq!(people(1), people(1));
        assert_ne!(people(1), people(2));
    }

    #[test]
    fn everyone_has_what_was_promised() {
        let population = Population::new(Personality::V7_0_3, 10, 1, 0);
        let counts: Vec<usize> = ["Patient", "Observation", "Encounter", "Condition", "Organization"]
            .iter()
            .map(|resource_type| population.all(resource_type).len())
            .collect();
        assert_eq!(counts, [10, 50, 20, 5, 1]);
        let patient = &population.all("Patient")[0];
        assert_eq!(population.get("Patient", &patient.id).unwrap().wire, patient.wire);
    }
}
