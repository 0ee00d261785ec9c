//! The names of the search parameters that FHIR R4 and US Core define for each type.

/// The longest name that is repeated to a client, in bytes.
const MAX_SHOWN: usize = 64;
/// One line a type: its name, a colon, and the codes of its SearchParameters with blanks between them. Made from the
/// SearchParameters of FHIR R4 (4.0.1) and US Core.
const OF_TYPES: &str = include_str!("search_parameters.txt");

/// The parameters of every type (FHIR R4, "Search", 3.1.1.2.1 and 3.1.1.3).
const OF_ALL_TYPES: [&str; 13] = [
    "_id",
    "_lastUpdated",
    "_tag",
    "_profile",
    "_security",
    "_source",
    "_text",
    "_content",
    "_list",
    "_has",
    "_type",
    "_query",
    "_filter",
];

/// Whether FHIR R4 or US Core defines a parameter of this name, without a modifier, for the type.
#[must_use]
pub(crate) fn defines(resource_type: &str, name: &str) -> bool {
    OF_ALL_TYPES.contains(&name) || of_type(resource_type).any(|known| known == name)
}

/// Iterates over the names that FHIR R4 and US Core define for this type alone.
pub(crate) fn of_type(resource_type: &str) -> impl Iterator<Item = &'static str> + use<> {
    let line = OF_TYPES.lines().find_map(|line| line.strip_prefix(resource_type)?.strip_prefix(": "));
    line.unwrap_or_default().split(' ').filter(|name| !name.is_empty())
}

/// Returns a parameter's name where it may be repeated to its client: one that looks like FHIR's, and so is no value.
#[must_use]
pub(crate) fn shown(name: &str) -> Option<&str> {
    let looks_like_fhir =
        name.len() <= MAX_SHOWN && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte));
    looks_like_fhir.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::resource_type;

    #[test]
    fn names_of_a_type() {
        for (resource_type, name, expected) in [
            ("Patient", "name", true),
            ("Patient", "race", true),
            ("Patient", "_tag", true),
            ("Patient", "active", true),
            ("Patient", "subject", false),
            ("Patient", "nam", false),
            ("Patient", "", false),
            ("Encounter", "discharge-disposition", true),
            ("Condition", "clinical-status", true),
            ("Medication", "code", true),
            ("MedicationRequest", "authoredon", true),
            ("Binary", "_id", true),
            ("Binary", "name", false),
            ("Nonsense", "name", false),
            ("", "name", false),
        ] {
            assert_eq!(defines(resource_type, name), expected, "{resource_type} {name}");
        }
    }

    #[test]
    fn each_line_is_of_a_type() {
        let names: Vec<_> = OF_TYPES.lines().map(|line| line.split_once(": ").unwrap().0).collect();
        assert!(names.len() > 120 && names.iter().all(|name| resource_type::known(name.as_bytes()).is_some()));
    }
}
