//! The FHIR resources that the sandbox serves: synthetic patients and what belongs to them, made from a seed at start.
//!
//! The same seed yields the same resources, ids included.

use std::{collections::HashMap, sync::Arc};

use serde_json::Value;

use super::{
    chart::Charts,
    own_shapes::{self, Shapes},
    personality::Personality,
    random::SeededRandom,
    resource::{Resource, zoned},
    resources::Clinic,
};

/// The resources of one type, in the order in which OpenEMR lists them.
#[derive(Default)]
struct Collection {
    resources: Vec<Arc<Resource>>,
    /// Index into `resources` by id.
    by_id: HashMap<String, usize>,
}

/// All resources.
pub(super) struct Population {
    clinic: Clinic,
    shapes: Shapes,
    collections: HashMap<String, Collection>,
}

impl Population {
    /// The population of [`Population::written`], in the default shapes.
    #[cfg(test)]
    pub(super) fn new(personality: Personality, address: &str, patients: usize, seed: u64, made_at: i64) -> Population {
        Population::written(Shapes::default(), personality, address, patients, seed, made_at)
    }

    /// Makes `patients` patients, each with five observations and two encounters, half as many conditions, and each tenth
    /// patient with a chart. `address` is that of the site, `made_at` (seconds since 1970) when OpenEMR claims to
    /// have stored them.
    pub(super) fn written(
        shapes: Shapes,
        personality: Personality,
        address: &str,
        patients: usize,
        seed: u64,
        made_at: i64,
    ) -> Population {
        let mut random = SeededRandom::new(seed);
        let updated = zoned(made_at);
        let clinic = Clinic { personality, updated, organization: random.uuid() };
        let location = random.uuid();
        let mut house = HashMap::from([
            ("address".to_owned(), address.to_owned()),
            ("updated".to_owned(), clinic.updated.clone()),
            ("organization.1".to_owned(), clinic.organization.clone()),
            ("location.1".to_owned(), location.clone()),
        ]);
        let mut population = Population { clinic, shapes, collections: HashMap::new() };
        population.add("Organization", population.clinic.organization());
        population.add("Location", population.clinic.location(&location));
        for number in 1..=3 {
            let id = random.uuid();
            population.add("Practitioner", population.clinic.practitioner(&id, number, &mut random));
            house.insert(format!("practitioner.{number}"), id);
        }
        let mut charts = Charts::new(&population.clinic, seed, house);
        population.add_all(charts.house(&population.clinic));
        for number in 1..=patients {
            let patient = random.uuid();
            let mut person = population.clinic.patient(&patient, number, &mut random);
            charts.particulars(&mut person, number);
            population.add("Patient", person);
            let day = 1 + number % 28;
            let encounters = [7, 20].map(|hour| {
                let id = random.uuid();
                let start = format!("2024-01-{day:02}T{hour:02}:00:00+00:00");
                let mut visit = population.clinic.encounter(&id, &patient, &location, &start);
                if Charts::has(number) {
                    charts.tell_apart(&mut visit, hour, &format!("2024-01-{:02}T15:00:00+00:00", day + 2));
                }
                population.add("Encounter", visit);
                id
            });
            let [first, last] = &encounters;
            let taken = format!("2024-01-{day:02}T07:00:00+00:00");
            let signs = population.clinic.vital_signs(&patient, last, &taken, &mut random);
            let chart =
                if Charts::has(number) { charts.chart(&population.clinic, &patient, [first, last], &signs) } else { Vec::new() };
            population.add_all(signs);
            if number % 2 == 0 {
                let problem = population.clinic.condition(&random.uuid(), &patient);
                if !Charts::takes_condition_of(number, patients, personality) {
                    population.add("Condition", problem);
                }
            }
            population.add_all(chart);
        }
        population.add_all(charts.groups(&population.clinic));
        population
    }

    /// Returns the clinic that the resources belong to.
    pub(super) fn clinic(&self) -> &Clinic {
        &self.clinic
    }

    /// Returns the resources of a type.
    pub(super) fn all(&self, resource_type: &str) -> &[Arc<Resource>] {
        self.collections.get(resource_type).map_or(&[], |collection| &collection.resources)
    }

    /// Returns the rows that a search of a type reads: a join gives each Immunization twice.
    pub(super) fn rows(&self, resource_type: &str) -> impl Iterator<Item = &Arc<Resource>> {
        let times = if resource_type == "Immunization" { 2 } else { 1 };
        self.all(resource_type).iter().flat_map(move |resource| std::iter::repeat_n(resource, times))
    }

    /// Returns the Provenance with an id as in `Patient-PSK-{id}`, which OpenEMR makes when it is asked.
    pub(super) fn provenance(&self, id: &str) -> Option<Arc<Resource>> {
        let (resource_type, target) = id.split_once("-PSK-")?;
        self.get(resource_type, target)?;
        let value = self.clinic.provenance_of(resource_type, target);
        Some(Arc::new(Resource::new("Provenance", value, self.clinic.personality.fhir_escapes())))
    }

    /// Returns one resource.
    pub(super) fn get(&self, resource_type: &str, id: &str) -> Option<&Arc<Resource>> {
        let collection = self.collections.get(resource_type)?;
        collection.resources.get(*collection.by_id.get(id)?)
    }

    fn add_all(&mut self, resources: Vec<Value>) {
        for resource in resources {
            let resource_type = resource.get("resourceType").and_then(Value::as_str).unwrap_or_default().to_owned();
            self.add(&resource_type, resource);
        }
    }

    /// Adds a resource, or replaces the one with its id.
    pub(super) fn add(&mut self, resource_type: &str, value: Value) {
        let value = match self.shapes {
            Shapes::Valid => value,
            Shapes::OpenEmr => own_shapes::written_by(self.clinic.personality, value),
        };
        let resource = Arc::new(Resource::new(resource_type, value, self.clinic.personality.fhir_escapes()));
        let id = resource.id.clone();
        let collection = self.collections.entry(resource_type.to_owned()).or_default();
        match collection.by_id.get(&id).and_then(|&index| collection.resources.get_mut(index)) {
            Some(existing) => *existing = resource,
            None => {
                collection.by_id.insert(id, collection.resources.len());
                collection.resources.push(resource);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_people() {
        let people = |seed| {
            let population = Population::new(Personality::V8_0, "", 3, seed, 0);
            population.all("Patient").iter().map(|patient| patient.wire_at(0)).collect::<Vec<_>>()
        };
        assert_eq!(people(1), people(1));
        assert_ne!(people(1), people(2));
    }

    #[test]
    fn everyone_has_what_was_promised() {
        let population = Population::new(Personality::V7_0_3, "", 9, 1, 0);
        let counts: Vec<usize> = ["Patient", "Observation", "Encounter", "Condition", "Organization"]
            .iter()
            .map(|resource_type| population.all(resource_type).len())
            .collect();
        assert_eq!(counts, [9, 45, 18, 4, 3]);
        let patient = &population.all("Patient")[0];
        assert_eq!(population.get("Patient", &patient.id).unwrap().wire_at(0), patient.wire_at(0));
    }
}
