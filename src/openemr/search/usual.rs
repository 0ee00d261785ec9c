//! The search parameters that OpenEMR 7.0.3 and 8.0 both announce. By these a search can be sent while OpenEMR's
//! CapabilityStatement cannot be had.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::fhir::capabilities::{ParameterType, TypeCapabilities};
use crate::openemr::search::parameters::PROVENANCES;

/// The parameters by type: tokens, dates, references, strings.
type Row = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str], &'static [&'static str]);

const UPDATED: &[&str] = &["_lastUpdated"];
const DATED: &[&str] = &["_lastUpdated", "date"];
const PATIENT: &[&str] = &["patient"];
const ADDRESS: &[&str] = &["address", "address-city", "address-postalcode", "address-state", "name"];
const PERSON: &[&str] = &["address", "address-city", "address-postalcode", "address-state", "family", "given", "name"];

const ROWS: [Row; 24] = [
    ("AllergyIntolerance", &["_id"], UPDATED, PATIENT, &[]),
    ("Appointment", &["_id"], DATED, PATIENT, &[]),
    ("CarePlan", &["_id", "category"], UPDATED, PATIENT, &[]),
    ("CareTeam", &["_id", "status"], UPDATED, PATIENT, &[]),
    ("Condition", &["_id"], UPDATED, PATIENT, &[]),
    ("Coverage", &["_id", "payor"], UPDATED, PATIENT, &[]),
    ("Device", &["_id"], UPDATED, PATIENT, &[]),
    ("DiagnosticReport", &["_id", "category", "code"], DATED, PATIENT, &[]),
    ("DocumentReference", &["_id", "category", "type"], DATED, PATIENT, &[]),
    ("Encounter", &["_id"], DATED, PATIENT, &[]),
    ("Goal", &["_id"], UPDATED, PATIENT, &[]),
    ("Group", &["_id"], UPDATED, PATIENT, &[]),
    ("Immunization", &["_id"], UPDATED, PATIENT, &[]),
    ("Location", &["_id"], UPDATED, &[], &[]),
    ("Medication", &["_id"], UPDATED, &[], &[]),
    ("MedicationRequest", &["_id", "intent", "status"], UPDATED, PATIENT, &[]),
    ("Observation", &["_id", "category", "code"], DATED, PATIENT, &[]),
    ("Organization", &["_id", "email", "phone", "telecom"], UPDATED, &[], ADDRESS),
    (
        "Patient",
        &["_id", "email", "gender", "identifier", "phone", "telecom"],
        &["_lastUpdated", "birthdate"],
        &["generalPractitioner"],
        PERSON,
    ),
    ("Person", &["_id", "active", "email", "phone", "telecom"], UPDATED, &[], PERSON),
    ("Practitioner", &["_id", "active", "email", "phone", "telecom"], UPDATED, &[], PERSON),
    ("PractitionerRole", &["_id", "specialty"], UPDATED, &[], &[]),
    ("Procedure", &["_id"], DATED, PATIENT, &[]),
    ("ValueSet", &["_id"], UPDATED, &[], &[]),
];

/// The types whose Provenances not every version can include.
const NO_PROVENANCES: [&str; 4] = ["Appointment", "Coverage", "Group", "Person"];

static OF_TYPES: LazyLock<BTreeMap<&'static str, TypeCapabilities>> = LazyLock::new(|| ROWS.iter().map(of_row).collect());
static NONE: LazyLock<TypeCapabilities> = LazyLock::new(TypeCapabilities::default);

/// The capabilities that every known version has for this type.
#[must_use]
pub(crate) fn of_type(resource_type: &str) -> &'static TypeCapabilities {
    OF_TYPES.get(resource_type).unwrap_or(&NONE)
}

fn of_row(&(resource_type, tokens, dates, references, strings): &Row) -> (&'static str, TypeCapabilities) {
    let mut capabilities = TypeCapabilities::default();
    let groups = [
        (ParameterType::Token, tokens),
        (ParameterType::Date, dates),
        (ParameterType::Reference, references),
        (ParameterType::String, strings),
    ];
    for (kind, names) in groups {
        for name in names {
            capabilities.announce((*name).to_owned(), kind);
        }
    }
    if !NO_PROVENANCES.contains(&resource_type) {
        capabilities.reverse_includes.insert(PROVENANCES.to_owned());
    }
    (resource_type, capabilities)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::capabilities::Capabilities;

    #[test]
    fn what_is_usual_is_what_both_versions_announce() {
        let of = |json: &[u8]| Capabilities::parse(json).unwrap().types;
        let modern = of(include_bytes!("../../sandbox/answers/8.0-capability-statement.json"));
        let old = of(include_bytes!("../../sandbox/answers/7.0.3-capability-statement.json"));
        for (resource_type, _, _, _, _) in ROWS {
            let both = |name: &&String| {
                let kind = |of: &BTreeMap<String, TypeCapabilities>| of[resource_type].kind(name);
                kind(&modern).is_some() && kind(&modern) == kind(&old)
            };
            let both: Vec<_> = modern[resource_type].search_parameters.iter().filter(both).collect();
            let usual = of_type(resource_type);
            assert_eq!(usual.search_parameters.iter().collect::<Vec<_>>(), both, "{resource_type}");
            let includes = |of: &TypeCapabilities| of.reverse_includes.contains(PROVENANCES);
            let both_include = includes(&modern[resource_type]) && includes(&old[resource_type]);
            assert_eq!(includes(usual), both_include, "{resource_type}");
            assert!(both.iter().all(|name| usual.kind(name) == modern[resource_type].kind(name)), "{resource_type}");
        }
        assert!(of_type("Task").search_parameters.is_empty());
    }
}
