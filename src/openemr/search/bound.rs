//! What bounds the work of a search whose matches the gateway tests: OpenEMR must send all of them before one is left out.
//!
//! Decision: `docs/decisions/16-search.md`.

use crate::fhir::capabilities::TypeCapabilities;

/// The types of which OpenEMR has few, or no more than a few for each patient, so that all of them may be asked for.
const SMALL: [&str; 11] = [
    "CareTeam",
    "Group",
    "Location",
    "Medication",
    "Organization",
    "Person",
    "Practitioner",
    "PractitionerRole",
    "Questionnaire",
    "RelatedPerson",
    "ValueSet",
];
/// The parameters that name few patients.
const OF_FEW_PATIENTS: [&str; 7] = ["identifier", "family", "given", "name", "email", "phone", "telecom"];

/// Whether all resources of a type are few enough to be tested.
#[must_use]
pub(crate) fn is_small(resource_type: &str) -> bool {
    SMALL.contains(&resource_type)
}

/// Whether what OpenEMR selects by one of its fields is little enough to be tested.
#[must_use]
pub(crate) fn bounds(resource_type: &str, field: &str) -> bool {
    match resource_type {
        "Patient" => field == "_id" || OF_FEW_PATIENTS.contains(&field),
        _ => matches!(field, "_id" | "patient"),
    }
}

/// The parameters that bound a search for a type, as they are named to a client; `None` where nothing has to.
#[must_use]
pub(crate) fn named(resource_type: &str, known: &TypeCapabilities) -> Option<&'static str> {
    match resource_type {
        _ if is_small(resource_type) => None,
        "Patient" => Some("_id, identifier, family, given, name, email, phone or telecom"),
        _ if known.search_parameters.contains("patient") => Some("patient or _id"),
        _ => Some("_id"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_bounds() {
        let mut known = TypeCapabilities::default();
        assert_eq!(named("Provenance", &known), Some("_id"));
        known.announce("patient".to_owned(), None);
        for resource_type in ["Patient", "Observation", "Encounter"] {
            let named = named(resource_type, &known).unwrap();
            let names = named.split([' ', ',']).filter(|word| !word.is_empty() && *word != "or");
            assert!(names.clone().count() > 1 && names.into_iter().all(|name| bounds(resource_type, name)), "{named}");
            assert!(!is_small(resource_type) && !bounds(resource_type, "date"));
        }
        assert_eq!(named("CareTeam", &known), None);
    }
}
