//! References in search parameters, rewritten to the spellings that OpenEMR understands.

use crate::fhir::id::is_id;

/// Removes this server's address from every absolute reference in a value: `https://emr/fhir/Patient/1` becomes `Patient/1`.
/// `None` where there is none. A reference to another server stays as it is: without the address it would mean another
/// resource.
#[must_use]
pub(crate) fn relative(value: &str, bases: &[String]) -> Option<String> {
    each(value, |part| bases.iter().find_map(|base| reference(part.strip_prefix(base.trim_end_matches('/'))?.strip_prefix('/')?)))
}

/// Removes the type before each id in a value of `_id`: `Patient/1,2` becomes `1,2`. `None` where no part has that type.
#[must_use]
pub(crate) fn bare_ids(value: &str, resource_type: &str) -> Option<String> {
    each(value, |part| part.strip_prefix(resource_type)?.strip_prefix('/').filter(|id| is_id(id)))
}

/// Whether every part of a value names a patient, as `Patient/1` or by the id alone.
#[must_use]
pub(crate) fn is_patients(value: &str) -> bool {
    value.split(',').all(|part| is_id(part.strip_prefix("Patient/").unwrap_or(part)))
}

/// Changes the parts of a value between commas for which `change` returns another text; `None` where it returns none. References
/// contain no commas, escaped or not.
fn each<'a>(value: &'a str, change: impl Fn(&'a str) -> Option<&'a str>) -> Option<String> {
    let mut changed = false;
    let parts: Vec<&str> = value.split(',').map(|part| change(part).inspect(|_| changed = true).unwrap_or(part)).collect();
    changed.then(|| parts.join(","))
}

/// Returns the text if it is a reference of the form `Type/id`.
fn reference(text: &str) -> Option<&str> {
    let (resource_type, id) = text.split_once('/')?;
    let is_type = !resource_type.is_empty() && resource_type.bytes().all(|byte| byte.is_ascii_alphabetic());
    (is_type && is_id(id)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_servers_references_become_relative() {
        let bases = ["https://emr/apis/default/fhir".to_owned(), "https://gateway/fhir/".to_owned()];
        for (value, expected) in [
            ("https://emr/apis/default/fhir/Patient/1", Some("Patient/1")),
            ("https://gateway/fhir/Patient/1,Patient/2", Some("Patient/1,Patient/2")),
            ("https://gateway/fhirs/Patient/1", None),
            ("https://gateway/fhir/Patient/1/_history/2", None),
            ("https://gateway/fhir/code|1", None),
            ("https://other/fhir/Patient/1", None),
            ("Patient/1", None),
            ("https://gateway/fhir/", None),
            ("", None),
        ] {
            assert_eq!(relative(value, &bases).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn ids_lose_their_own_type_alone() {
        for (value, expected) in [
            ("Patient/1", Some("1")),
            ("Patient/a,b,Patient/c", Some("a,b,c")),
            ("a,b", None),
            ("Observation/1", None),
            ("Patient/", None),
            ("Patient/1/2", None),
        ] {
            assert_eq!(bare_ids(value, "Patient").as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn patients_are_told_from_others() {
        for (value, expected) in [
            ("Patient/1", true),
            ("1", true),
            ("Patient/1,2", true),
            ("Group/1", false),
            ("Patient/1,Group/2", false),
            ("https://other/fhir/Patient/1", false),
            ("", false),
            ("1,", false),
        ] {
            assert_eq!(is_patients(value), expected, "{value}");
        }
    }
}
