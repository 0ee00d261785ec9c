//! The R4 patient compartment (FHIR R4, CompartmentDefinition "patient"): by which elements a resource belongs to patients.
//!
//! The table is `compartment.txt`, a type a line, with the elements that are references, by the names of their members in JSON. It
//! is R4's, with four types more that R4 has left out and that are about a patient: Contract, Device, GuidanceResponse and Task. A
//! Patient belongs to itself alone: not to those to whom it links.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::fhir::json::located::Needle;
use crate::fhir::without_patients::is_without_patients;

/// The way to an element: the names of members in JSON.
pub(crate) type Way = Vec<&'static str>;

/// By what the resources of a type belong to patients.
#[derive(Debug)]
pub(crate) struct Belonging {
    /// The elements that can refer to patients; none for a Patient.
    pub(crate) ways: Vec<Way>,
    /// The members at which these begin; for a Patient, its id.
    pub(crate) members: Vec<Needle>,
}

static TABLE: LazyLock<HashMap<&'static str, Belonging>> = LazyLock::new(|| {
    let line = |line: &'static str| {
        let mut words = line.split(' ');
        let resource_type = words.next()?;
        let ways: Vec<Way> = words.map(|way| way.split('.').collect()).collect();
        let members = match resource_type {
            "Patient" => vec![Needle::new("id")],
            _ => ways.iter().filter_map(|way| way.first()).map(|name| Needle::new(name)).collect(),
        };
        Some((resource_type, Belonging { ways, members }))
    };
    include_str!("compartment.txt").lines().filter_map(line).collect()
});

/// By what the resources of a type belong to patients; `None` where the type is outside of the compartment.
#[must_use]
pub(crate) fn of(resource_type: &str) -> Option<&'static Belonging> {
    TABLE.get(resource_type)
}

/// The types of the compartment.
pub(crate) fn types() -> impl Iterator<Item = &'static str> {
    TABLE.keys().copied()
}

/// Whether resources of a type can belong to anybody, without a way to tell: those that hold anything, such as a Binary, and those of
/// which nobody knows what they hold.
#[must_use]
pub(crate) fn is_of_anything(resource_type: &str) -> bool {
    of(resource_type).is_none() && !is_without_patients(resource_type.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::located::MOST;
    use crate::fhir::resource_type;

    #[test]
    fn what_is_not_known_to_hold_nothing_of_patients_can_be_anybodys() {
        assert!(types().all(|name| !is_without_patients(name.as_bytes())));
        for (name, expected) in [
            ("Binary", true),
            ("Bundle", true),
            ("Parameters", true),
            ("Location", true),
            ("Linkage", true),
            ("MessageHeader", true),
            ("observation", true),
            ("NewInR6", true),
            ("Observation", false),
            ("Patient", false),
            ("Practitioner", false),
        ] {
            assert_eq!(is_of_anything(name), expected, "{name}");
        }
    }

    #[test]
    fn every_line_is_of_a_type_and_its_elements_are_of_different_members() {
        assert_eq!(TABLE.len(), include_str!("compartment.txt").lines().count());
        for (name, belonging) in TABLE.iter() {
            assert!(resource_type::known(name.as_bytes()).is_some(), "{name}");
            let mut members: Vec<_> = belonging.members.iter().map(Needle::name).collect();
            members.sort_unstable();
            members.dedup();
            assert_eq!(members.len(), belonging.ways.len().max(1), "{name}");
            assert!(members.len() < MOST && !is_of_anything(name), "{name}");
            assert!(members.iter().all(|member| member.bytes().all(|byte| byte.is_ascii_alphabetic())), "{name}");
        }
    }
}
