//! The class of a request: requests of one class usually take OpenEMR about as long.

use crate::fhir::interaction::{Interaction, Kind};
use crate::fhir::resource_type;

/// An interaction with a type, and whether a search names a patient, or else a resource: an Observation search without takes OpenEMR ten
/// times as long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class(u16);

impl Class {
    /// How many classes there are.
    pub(super) const COUNT: usize = (resource_type::COUNT + 1) * Kind::COUNT * 3;

    /// The class of a request for this interaction, whose query, or form, is `query`.
    #[must_use]
    pub(crate) fn of(interaction: Interaction, query: &[u8]) -> Self {
        let name = interaction.resource_type;
        let of_type = name.and_then(|name| resource_type::index(name.as_bytes())).unwrap_or(resource_type::COUNT);
        let is_search = matches!(interaction.kind, Kind::Search | Kind::SearchSystem | Kind::SearchCompartment);
        let bound = if is_search { bound(query) } else { Bound::None };
        let class = (of_type * Kind::COUNT + interaction.kind as usize) * 3 + bound as usize;
        Self(u16::try_from(class).unwrap_or_default())
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What bounds a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    None,
    Id,
    Patient,
}

/// Whether a query names a patient or a resource. A name in another spelling, or with nothing behind it, is none.
fn bound(query: &[u8]) -> Bound {
    let query = query.strip_prefix(b"?").unwrap_or(query);
    let mut bound = Bound::None;
    for pair in query.split(|byte| *byte == b'&') {
        let end = pair.iter().position(|byte| matches!(byte, b'=' | b':' | b'.')).unwrap_or(pair.len());
        let has_value = pair.contains(&b'=') && !pair.ends_with(b"=");
        match pair.get(..end) {
            Some(b"patient" | b"subject") if has_value => return Bound::Patient,
            Some(b"_id") if has_value => bound = Bound::Id,
            _ => {}
        }
    }
    bound
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    fn class(path: &str, query: &str) -> Class {
        Class::of(Interaction::of(&Method::GET, path.as_bytes()), query.as_bytes())
    }

    #[test]
    fn a_search_for_one_patient_is_another_class_than_one_for_all() {
        let all = class("/Observation", "?category=vital-signs");
        for query in ["?patient=1", "?category=x&patient=Patient/1", "subject:Patient=7", "_id=7", "patient.birthdate=2000"] {
            assert_ne!(class("/Observation", query), all, "{query}");
        }
        for query in ["", "?", "?patient=", "?patientx=1", "?category=patient", "?patient", "?_idx=1"] {
            assert_eq!(class("/Observation", query), all, "{query}");
        }
        assert_ne!(class("/Observation", "?_id=1"), class("/Observation", "?patient=1"));
        assert_eq!(class("/Observation", "?_id=1&patient=1"), class("/Observation", "?patient=1"));
        assert_eq!(class("/Patient/1", "?_id=1"), class("/Patient/2", ""), "a read names one in any case");
    }

    #[test]
    fn each_interaction_and_type_has_its_own() {
        let classes = [
            class("/Patient", ""),
            class("/Patient/1", ""),
            class("/Encounter", ""),
            class("/metadata", ""),
            class("/", ""),
            class("/VisionPrescription/1/_history", ""),
            class("/Nonsense/$other", ""),
        ];
        for (at, one) in classes.iter().enumerate() {
            assert!(one.index() < Class::COUNT);
            assert!(!classes[at + 1..].contains(one), "{at}");
        }
    }
}
