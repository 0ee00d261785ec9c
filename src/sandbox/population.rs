//! The synthetic people the stand-in serves, made from a seed at start, in the shapes OpenEMR gives its resources.
//!
//! Names are put together from lists; nobody's data is in here. The same seed gives the same people, ids included.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{personality::Personality, php_json};

const GIVEN: [&str; 16] = [
    "José", "Łukasz", "Nguyễn", "Søren", "Mary", "Aoife", "Zoë", "Ahmed", "Ingrid", "Marta",
    "Yuki", "Olena", "Pierre", "Chloé", "Tomás", "Ada",
];
const FAMILY: [&str; 16] = [
    "García",
    "Smith",
    "Ó Briain",
    "Kowalczyk",
    "Müller",
    "Nakamura",
    "Okafor",
    "Lindqvist",
    "Dubois",
    "Haddad",
    "Novák",
    "Petrova",
    "Rossi",
    "D'Angelo",
    "Schmidt",
    "Tran",
];

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
    personality: Personality,
    shelves: HashMap<String, Shelf>,
    updated: String,
    organization: String,
}

impl Population {
    /// `patients` patients, each with five observations and two encounters, every second one with a condition.
    /// `made_at` (seconds since 1970) is when OpenEMR is said to have stored them.
    pub fn new(personality: Personality, patients: usize, seed: u64, made_at: i64) -> Population {
        let updated = format!("{}+00:00", super::calendar::date_time(made_at));
        let mut random = Random(seed);
        let organization = random.uuid();
        let mut population = Population {
            personality,
            shelves: HashMap::new(),
            updated,
            organization: organization.clone(),
        };
        let location = random.uuid();
        population.add(
            "Organization",
            population.organization_resource(&organization),
        );
        population.add("Location", population.location_resource(&location));
        for number in 1..=3 {
            let resource = population.practitioner_resource(&random.uuid(), number, &mut random);
            population.add("Practitioner", resource);
        }
        for number in 1..=patients {
            let patient = random.uuid();
            population.add(
                "Patient",
                population.patient_resource(&patient, number, &mut random),
            );
            let day = 1 + number % 28;
            let mut encounter = String::new();
            for hour in [7, 20] {
                let id = random.uuid();
                let start = format!("2024-01-{day:02}T{hour:02}:00:00+00:00");
                population.add(
                    "Encounter",
                    population.encounter_resource(&id, &patient, &location, &start),
                );
                encounter = id;
            }
            let taken = format!("2024-01-{day:02}T07:00:00+00:00");
            for resource in population.vital_signs(&patient, &encounter, &taken, &mut random) {
                population.add("Observation", resource);
            }
            if number % 2 == 0 {
                population.add(
                    "Condition",
                    population.condition_resource(&random.uuid(), &patient),
                );
            }
        }
        population
    }

    /// The resources of a type.
    pub fn all(&self, resource_type: &str) -> &[Arc<Resource>] {
        self.shelves
            .get(resource_type)
            .map_or(&[], |shelf| &shelf.resources)
    }

    /// One resource.
    pub fn get(&self, resource_type: &str, id: &str) -> Option<&Arc<Resource>> {
        let shelf = self.shelves.get(resource_type)?;
        shelf.resources.get(*shelf.places.get(id)?)
    }

    /// Adds a resource, or puts it in the place of the one with its id.
    pub fn add(&mut self, resource_type: &str, value: Value) {
        let id = value
            .get("id")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let wire = Bytes::from(php_json::encode(&value, self.personality.fhir_escapes()));
        let resource = Arc::new(Resource {
            id: id.clone(),
            value,
            wire,
        });
        let shelf = self.shelves.entry(resource_type.to_owned()).or_default();
        match shelf
            .places
            .get(&id)
            .and_then(|&place| shelf.resources.get_mut(place))
        {
            Some(existing) => *existing = resource,
            None => {
                shelf.places.insert(id, shelf.resources.len());
                shelf.resources.push(resource);
            }
        }
    }

    /// The types that have resources.
    pub fn types(&self) -> Vec<&str> {
        let mut types: Vec<&str> = self.shelves.keys().map(String::as_str).collect();
        types.sort_unstable();
        types
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

    fn patient_resource(&self, id: &str, number: usize, random: &mut Random) -> Value {
        let (code, gender) = if random.below(2) == 0 {
            ("F", "female")
        } else {
            ("M", "male")
        };
        let family = random.pick(&FAMILY);
        let given = random.pick(&GIVEN);
        let initial = char::from(b'A' + u8::try_from(number % 26).unwrap_or_default()).to_string();
        let birth_date = format!(
            "{}-{:02}-{:02}",
            1930 + random.below(90),
            1 + random.below(12),
            1 + random.below(28)
        );
        let mut patient = person_head(self, id, &format!("{given} {family}"), code, true);
        patient.insert(
            "identifier".to_owned(),
            patient_identifier(&format!("LAB-{number:06}")),
        );
        patient.insert("active".to_owned(), json!(true));
        patient.insert(
            "name".to_owned(),
            json!([{"use": "official", "family": family, "given": [given, initial]}]),
        );
        patient.insert(
            "telecom".to_owned(),
            json!([
                {"system": "phone", "value": format!("555-{:04}", 100 + number), "use": "home"},
                {"system": "email", "value": format!("p{number}@example.org"), "use": "home"},
            ]),
        );
        patient.insert("gender".to_owned(), json!(gender));
        patient.insert("birthDate".to_owned(), json!(birth_date));
        patient.insert("deceasedBoolean".to_owned(), json!(false));
        patient.insert(
            "address".to_owned(),
            json!([{
                "use": "home", "type": "both", "line": [format!("{number} Straße {}", 1 + number % 17)],
                "city": "Zürich", "state": "CA", "postalCode": format!("{:05}", number * 37 % 100_000),
                "country": "US", "period": {"start": format!("{}.000+00:00", self.updated.replace("+00:00", ""))},
            }]),
        );
        patient.insert(
            "communication".to_owned(),
            json!([{"language": {
                "coding": [{"system": "urn:ietf:bcp:47", "code": "en", "display": "English"}], "text": "English",
            }}]),
        );
        Value::Object(patient)
    }

    fn encounter_resource(&self, id: &str, patient: &str, location: &str, start: &str) -> Value {
        json!({
            "id": id, "meta": self.meta(&[]), "resourceType": "Encounter",
            "identifier": [{"system": format!("urn:uuid:{id}"), "value": id}],
            "status": "finished",
            "class": {
                "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB", "display": "ambulatory",
            },
            "type": [{"coding": [{
                "system": "http://snomed.info/sct", "code": "185349003",
                "display": "Encounter for check up (procedure)",
            }]}],
            "subject": {"reference": format!("Patient/{patient}"), "type": "Patient"},
            "period": {"start": start},
            "reasonCode": [{"text": "Visit – contrôle"}],
            "location": [{"location": {"reference": format!("Location/{location}"), "type": "Location"}}],
            "serviceProvider": {"reference": format!("Organization/{}", self.organization), "type": "Organization"},
        })
    }

    /// A panel and its four members.
    fn vital_signs(
        &self,
        patient: &str,
        encounter: &str,
        taken: &str,
        random: &mut Random,
    ) -> Vec<Value> {
        let signs = [
            (
                "9279-1",
                "Respiratory Rate",
                "respiratory-rate",
                12 + random.below(8),
                "/min",
            ),
            (
                "8867-4",
                "Heart rate",
                "heart-rate",
                55 + random.below(40),
                "/min",
            ),
            (
                "2708-6",
                "Oxygen saturation in Arterial blood",
                "pulse-oximetry",
                93 + random.below(7),
                "%",
            ),
            (
                "29463-7",
                "Body weight",
                "body-weight",
                45 + random.below(60),
                "kg",
            ),
        ];
        let panel = random.uuid();
        let ids: Vec<String> = signs.iter().map(|_| random.uuid()).collect();
        let observation = |id: &str, profile: &str, codings: Value, last: (&str, Value)| {
            let mut members = Map::new();
            let base = format!("http://hl7.org/fhir/us/core/StructureDefinition/us-core-{profile}");
            let (first, second) = (format!("{base}|7.0.0"), format!("{base}|8.0.0"));
            members.insert("id".to_owned(), json!(id));
            members.insert("meta".to_owned(), self.meta(&[&base, &first, &second]));
            members.insert("resourceType".to_owned(), json!("Observation"));
            members.insert("status".to_owned(), json!("final"));
            members.insert(
                "category".to_owned(),
                json!([{"coding": [{
                    "system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs",
                }]}]),
            );
            members.insert("code".to_owned(), json!({"coding": codings}));
            members.insert(
                "subject".to_owned(),
                json!({"reference": format!("Patient/{patient}"), "type": "Patient"}),
            );
            if self.personality == Personality::V8_0 {
                members.insert(
                    "encounter".to_owned(),
                    json!({"reference": format!("Encounter/{encounter}"), "type": "Encounter"}),
                );
            }
            members.insert("effectiveDateTime".to_owned(), json!(taken));
            members.insert(last.0.to_owned(), last.1);
            Value::Object(members)
        };
        let loinc = |code: &str, display: &str| json!({"system": "http://loinc.org", "code": code, "display": display});
        let members: Vec<Value> = ids
            .iter()
            .zip(&signs)
            .map(|(id, (_, display, ..))| {
                json!({"reference": format!("Observation/{id}"), "type": "Observation", "display": display})
            })
            .collect();
        let panel_name =
            "Vital signs, weight, height, head circumference, oxygen saturation and BMI panel";
        let mut observations = vec![observation(
            &panel,
            "vital-signs",
            json!([loinc("85353-1", panel_name)]),
            ("hasMember", json!(members)),
        )];
        for (id, (code, display, profile, value, unit)) in ids.iter().zip(signs) {
            let mut codings = vec![loinc(code, display)];
            if code == "2708-6" {
                codings.push(loinc(
                    "59408-5",
                    "Oxygen saturation in Arterial blood by Pulse oximetry",
                ));
            }
            let quantity = json!({"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit});
            observations.push(observation(
                id,
                profile,
                json!(codings),
                ("valueQuantity", quantity),
            ));
        }
        observations
    }

    fn condition_resource(&self, id: &str, patient: &str) -> Value {
        let coded = |system: &str, code: &str, display: &str| json!({"coding": [{"system": system, "code": code, "display": display}]});
        let profile = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-condition-problems-health-concerns";
        json!({
            "id": id, "meta": self.meta(&[profile]), "resourceType": "Condition",
            "clinicalStatus":
                coded("http://terminology.hl7.org/CodeSystem/condition-clinical", "active", "Active"),
            "verificationStatus":
                coded("http://terminology.hl7.org/CodeSystem/condition-ver-status", "confirmed", "Confirmed"),
            "category": [coded(
                "http://terminology.hl7.org/CodeSystem/condition-category", "problem-list-item", "Problem List Item",
            )],
            "code": coded("2.16.840.1.113883.6.90", "E11.9", ""),
            "subject": {"reference": format!("Patient/{patient}")},
        })
    }

    fn organization_resource(&self, id: &str) -> Value {
        json!({
            "id": id,
            "meta": self.meta(&["http://hl7.org/fhir/us/core/StructureDefinition/us-core-organization"]),
            "resourceType": "Organization", "active": true, "name": "Sample Clinic",
            "telecom": [{"system": "phone", "value": "555-0001", "use": "work"}],
            "address": [{"line": ["1 Sample Street"], "city": "Sampleton", "state": "CA", "postalCode": "00001"}],
        })
    }

    fn location_resource(&self, id: &str) -> Value {
        json!({
            "id": id,
            "meta": self.meta(&["http://hl7.org/fhir/us/core/StructureDefinition/us-core-location"]),
            "resourceType": "Location", "status": "active", "name": "Sample Clinic, ground floor",
            "address": {"line": ["1 Sample Street"], "city": "Sampleton", "state": "CA", "postalCode": "00001"},
        })
    }

    fn practitioner_resource(&self, id: &str, number: usize, random: &mut Random) -> Value {
        json!({
            "id": id,
            "meta": self.meta(&["http://hl7.org/fhir/us/core/StructureDefinition/us-core-practitioner"]),
            "resourceType": "Practitioner",
            "identifier": [{"system": "http://hl7.org/fhir/sid/us-npi", "value": format!("{:010}", 1000 + number)}],
            "active": true,
            "name": [{"use": "official", "family": random.pick(&FAMILY), "given": [random.pick(&GIVEN)]}],
        })
    }
}

/// A Patient up to its extensions.
pub fn person_head(
    population: &Population,
    id: &str,
    full_name: &str,
    sex: &str,
    known: bool,
) -> Map<String, Value> {
    const US_CORE: &str = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-";
    const ABSENT: &str = "http://terminology.hl7.org/CodeSystem/data-absent-reason";
    let profile = format!("{US_CORE}patient");
    let meta = population.meta(&[
        &profile,
        &format!("{profile}|3.1.1"),
        &format!("{profile}|8.0.0"),
    ]);
    let category = |kind: &str, system: &str, code: &str, display: &str| {
        json!({
            "extension": [
                {"valueCoding": {"system": system, "code": code, "display": display}, "url": "ombCategory"},
                {"valueString": display, "url": "text"},
            ],
            "url": format!("{US_CORE}{kind}"),
        })
    };
    let cdc = "urn:oid:2.16.840.1.113883.6.238";
    let mut extension = vec![json!({"valueCode": sex, "url": format!("{US_CORE}birthsex")})];
    if known {
        extension.push(category("race", cdc, "2106-3", "White"));
        extension.push(category(
            "ethnicity",
            cdc,
            "2186-5",
            "Not Hispanic or Latino",
        ));
    } else {
        extension.push(category(
            "race",
            "http://terminology.hl7.org/CodeSystem/v3-NullFlavor",
            "UNK",
            "Unknown",
        ));
    }
    if population.personality == Personality::V8_0 {
        let unknown = |kind: &str, system: &str| {
            json!({
                "valueCoding": {"system": system, "code": "unknown", "display": "Unknown"},
                "url": format!("{US_CORE}{kind}"),
            })
        };
        extension.push(unknown("sex", "DataAbsentReason"));
        extension.push(unknown("interpreter-needed", ABSENT));
    }
    let mut person = Map::new();
    person.insert("id".to_owned(), json!(id));
    person.insert("meta".to_owned(), meta);
    person.insert("resourceType".to_owned(), json!("Patient"));
    // OpenEMR escapes nothing here; a name with markup in it would be markup.
    let div = format!("<div xmlns=\"http://www.w3.org/1999/xhtml\"> <p>{full_name}</p></div>");
    person.insert(
        "text".to_owned(),
        json!({"status": "generated", "div": div}),
    );
    person.insert("extension".to_owned(), Value::Array(extension));
    person
}

/// A Patient's one identifier.
pub fn patient_identifier(value: &str) -> Value {
    let system = "http://terminology.hl7.org/CodeSystem/v2-0203";
    json!([{
        "use": "official", "type": {"coding": [{"system": system, "code": "PT"}]}, "system": system, "value": value,
    }])
}

/// SplitMix64: small, repeatable, good enough for names.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        let index = self.below(list.len() as u64);
        usize::try_from(index)
            .ok()
            .and_then(|index| list.get(index).copied())
            .unwrap_or_default()
    }

    fn uuid(&mut self) -> String {
        uuid_of(u128::from(self.next()) << 64 | u128::from(self.next()))
    }
}

/// A version 4 UUID made of these bits.
pub fn uuid_of(bits: u128) -> String {
    uuid::Builder::from_random_bytes(bits.to_be_bytes())
        .into_uuid()
        .to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_people() {
        let people = |seed| {
            let population = Population::new(Personality::V8_0, 3, seed, 0);
            population
                .all("Patient")
                .iter()
                .map(|patient| patient.wire.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(people(1), people(1));
        assert_ne!(people(1), people(2));
    }

    #[test]
    fn everyone_has_what_was_promised() {
        let population = Population::new(Personality::V7_0_3, 10, 1, 0);
        let counts: Vec<usize> = [
            "Patient",
            "Observation",
            "Encounter",
            "Condition",
            "Organization",
        ]
        .iter()
        .map(|resource_type| population.all(resource_type).len())
        .collect();
        assert_eq!(counts, [10, 50, 20, 5, 1]);
        let patient = &population.all("Patient")[0];
        assert_eq!(
            population.get("Patient", &patient.id).unwrap().wire,
            patient.wire
        );
    }
}
