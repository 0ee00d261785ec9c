//! The FHIR resources of the synthetic patients, in the shapes that OpenEMR gives them.
//!
//! Names are combined from lists; there is nobody's data in here.

use serde_json::{Map, Value, json};

use super::{personality::Personality, random::SeededRandom};

const GIVEN: [&str; 16] = [
    "José", "Łukasz", "Nguyễn", "Søren", "Mary", "Aoife", "Zoë", "Ahmed", "Ingrid", "Marta", "Yuki", "Olena", "Pierre", "Chloé",
    "Tomás", "Ada",
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

/// The clinic that the resources belong to: what all of them have in common.
pub(super) struct Clinic {
    /// The OpenEMR release that writes the resources.
    pub(super) personality: Personality,
    /// `meta.lastUpdated`.
    pub(super) updated: String,
    /// The id of the clinic's Organization.
    pub(super) organization: String,
}

impl Clinic {
    /// Returns `meta`, with the profiles that 8.0 adds.
    pub(super) fn meta(&self, profiles: &[&str]) -> Value {
        let mut meta = json!({"versionId": "1", "lastUpdated": self.updated});
        if self.personality != Personality::V7_0_3
            && !profiles.is_empty()
            && let Some(members) = meta.as_object_mut()
        {
            members.insert("profile".to_owned(), json!(profiles));
        }
        meta
    }

    /// Returns a patient; identifier, telephone and address are made from `number`.
    pub(super) fn patient(&self, id: &str, number: usize, random: &mut SeededRandom) -> Value {
        let (code, gender) = if random.below(2) == 0 { ("F", "female") } else { ("M", "male") };
        let family = random.pick(&FAMILY);
        let given = random.pick(&GIVEN);
        let initial = char::from(b'A' + u8::try_from(number % 26).unwrap_or_default()).to_string();
        let birth_date = format!("{}-{:02}-{:02}", 1930 + random.below(90), 1 + random.below(12), 1 + random.below(28));
        let mut patient = self.patient_head(id, &format!("{given} {family}"), code, true);
        patient.insert("identifier".to_owned(), patient_identifier(&format!("LAB-{number:06}")));
        patient.insert("active".to_owned(), json!(true));
        patient.insert("name".to_owned(), json!([{"use": "official", "family": family, "given": [given, initial]}]));
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

    /// Returns a finished visit.
    pub(super) fn encounter(&self, id: &str, patient: &str, location: &str, start: &str) -> Value {
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

    /// Returns a vital signs panel and its four members.
    pub(super) fn vital_signs(&self, patient: &str, encounter: &str, taken: &str, random: &mut SeededRandom) -> Vec<Value> {
        let signs = [
            ("9279-1", "Respiratory Rate", "respiratory-rate", 12 + random.below(8), "/min"),
            ("8867-4", "Heart rate", "heart-rate", 55 + random.below(40), "/min"),
            ("2708-6", "Oxygen saturation in Arterial blood", "pulse-oximetry", 93 + random.below(7), "%"),
            ("29463-7", "Body weight", "body-weight", 45 + random.below(60), "kg"),
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
            members.insert("subject".to_owned(), json!({"reference": format!("Patient/{patient}"), "type": "Patient"}));
            if self.personality != Personality::V7_0_3 {
                members
                    .insert("encounter".to_owned(), json!({"reference": format!("Encounter/{encounter}"), "type": "Encounter"}));
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
        let panel_name = "Vital signs, weight, height, head circumference, oxygen saturation and BMI panel";
        let mut observations =
            vec![observation(&panel, "vital-signs", json!([loinc("85353-1", panel_name)]), ("hasMember", json!(members)))];
        for (id, (code, display, profile, value, unit)) in ids.iter().zip(signs) {
            let mut codings = vec![loinc(code, display)];
            if code == "2708-6" {
                codings.push(loinc("59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry"));
            }
            let quantity = json!({"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit});
            observations.push(observation(id, profile, json!(codings), ("valueQuantity", quantity)));
        }
        observations
    }

    /// Returns an item of a problem list.
    pub(super) fn condition(&self, id: &str, patient: &str) -> Value {
        let coded =
            |system: &str, code: &str, display: &str| json!({"coding": [{"system": system, "code": code, "display": display}]});
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
            "code": coded("http://hl7.org/fhir/sid/icd-10-cm", "E11.9", "Type 2 diabetes mellitus without complications"),
            "subject": {"reference": format!("Patient/{patient}")},
        })
    }

    /// Returns the clinic's Organization.
    pub(super) fn organization(&self) -> Value {
        json!({
            "id": self.organization,
            "meta": self.meta(&["http://hl7.org/fhir/us/core/StructureDefinition/us-core-organization"]),
            "resourceType": "Organization", "active": true, "name": "Sample Clinic",
            "telecom": [{"system": "phone", "value": "555-0001", "use": "work"}],
            "address": [{"line": ["1 Sample Street"], "city": "Sampleton", "state": "CA", "postalCode": "00001", "period": {"start": self.updated}}],
        })
    }

    /// Returns the clinic's Location.
    pub(super) fn location(&self, id: &str) -> Value {
        json!({
            "id": id,
            "meta": self.meta(&["http://hl7.org/fhir/us/core/StructureDefinition/us-core-location"]),
            "resourceType": "Location", "status": "active", "name": "Sample Clinic, ground floor",
            "address": {"line": ["1 Sample Street"], "city": "Sampleton", "state": "CA", "postalCode": "00001", "period": {"start": self.updated}},
        })
    }

    /// Returns a practitioner of the clinic.
    pub(super) fn practitioner(&self, id: &str, number: usize, random: &mut SeededRandom) -> Value {
        json!({
            "id": id,
            "meta": self.meta(&["http://hl7.org/fhir/us/core/StructureDefinition/us-core-practitioner"]),
            "resourceType": "Practitioner",
            "identifier": [{"system": "http://hl7.org/fhir/sid/us-npi", "value": format!("{:010}", 1000 + number)}],
            "active": true,
            "name": [{"use": "official", "family": random.pick(&FAMILY), "given": [random.pick(&GIVEN)]}],
        })
    }

    /// Returns the Provenance that `_revinclude=Provenance:target` adds for a resource.
    pub(super) fn provenance_of(&self, resource_type: &str, id: &str) -> Value {
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

    /// Returns a Patient's members up to the extensions. `known` tells whether race and ethnicity are known.
    pub(super) fn patient_head(&self, id: &str, full_name: &str, sex: &str, known: bool) -> Map<String, Value> {
        const US_CORE: &str = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-";
        const ABSENT: &str = "http://terminology.hl7.org/CodeSystem/data-absent-reason";
        let profile = format!("{US_CORE}patient");
        let meta = self.meta(&[&profile, &format!("{profile}|3.1.1"), &format!("{profile}|8.0.0")]);
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
            extension.push(category("ethnicity", cdc, "2186-5", "Not Hispanic or Latino"));
        } else {
            extension.push(category("race", "http://terminology.hl7.org/CodeSystem/v3-NullFlavor", "UNK", "Unknown"));
        }
        if self.personality != Personality::V7_0_3 {
            let unknown = |kind: &str, system: &str| {
                json!({
                    "valueCoding": {"system": system, "code": "unknown", "display": "Unknown"},
                    "url": format!("{US_CORE}{kind}"),
                })
            };
            extension.push(unknown("sex", ABSENT));
            extension.push(unknown("interpreter-needed", ABSENT));
        }
        let mut person = Map::new();
        person.insert("id".to_owned(), json!(id));
        person.insert("meta".to_owned(), meta);
        person.insert("resourceType".to_owned(), json!("Patient"));
        person.insert("text".to_owned(), narrative(full_name));
        person.insert("extension".to_owned(), Value::Array(extension));
        person
    }
}

/// Returns a narrative of a name.
pub(super) fn narrative(name: &str) -> Value {
    let name = name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    json!({"status": "generated", "div": format!("<div xmlns=\"http://www.w3.org/1999/xhtml\"> <p>{name}</p></div>")})
}

/// Returns a Patient's `identifier`, of one element.
pub(super) fn patient_identifier(value: &str) -> Value {
    let system = "http://terminology.hl7.org/CodeSystem/v2-0203";
    json!([{
        "use": "official", "type": {"coding": [{"system": system, "code": "PT"}]}, "system": system, "value": value,
    }])
}
