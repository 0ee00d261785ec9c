//! The R4 patient compartment (FHIR R4, CompartmentDefinition "patient"): by which elements a resource belongs to patients.
//!
//! The table is `compartment.txt`, a type a line, with the elements that are references, by the names of their members in JSON. It
//! is R4's, with four types more that R4 has left out and that are about a patient: Contract, Device, GuidanceResponse and Task. A
//! Patient belongs to itself alone: not to those to whom it links.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The way to an element: the names of members in JSON.
pub(crate) type Way = Vec<&'static str>;

/// The types that hold resources of any type, or anything at all: nobody can tell to which patients these belong.
const OF_ANYTHING: [&str; 3] = ["Binary", "Bundle", "Parameters"];

static TABLE: LazyLock<HashMap<&'static str, Vec<Way>>> = LazyLock::new(|| {
    let line = |line: &'static str| {
        let mut words = line.split(' ');
        let resource_type = words.next()?;
        Some((resource_type, words.map(|way| way.split('.').collect()).collect()))
    };
    include_str!("compartment.txt").lines().filter_map(line).collect()
});

/// The elements of a type that can refer to patients, but for a Patient, which has none; `None` where the type is outside of the
/// compartment.
#[must_use]
pub(crate) fn ways(resource_type: &str) -> Option<&'static [Way]> {
    TABLE.get(resource_type).map(Vec::as_slice)
}

/// The types of the compartment.
pub(crate) fn types() -> impl Iterator<Item = &'static str> {
    TABLE.keys().copied()
}

/// Whether resources of a type can belong to anybody, without a way to tell.
#[must_use]
pub(crate) fn is_of_anything(resource_type: &str) -> bool {
    OF_ANYTHING.contains(&resource_type)
}
