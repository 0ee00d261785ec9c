//! References to patients, in resources and in the parameters of searches.

use crate::access::patients::PatientList;
use crate::fhir::id::is_path_id;
use crate::fhir::resource_type;

/// The id of the Patient to which a reference leads: `Patient/1`, or that below one of the addresses of this server (`bases`), with a
/// version or without. `None` for any other reference.
#[must_use]
pub(crate) fn patient<'r>(reference: &'r str, bases: &[String]) -> Option<&'r str> {
    let (resource_type, id) = parts(reference, bases)?;
    (resource_type == "Patient").then_some(id)
}

/// Whether a reference leads to a resource of this server's that is no Patient.
#[must_use]
pub(crate) fn is_to_another_type(reference: &str, bases: &[String]) -> bool {
    parts(reference, bases).is_some_and(|(name, _)| name != "Patient" && resource_type::known(name.as_bytes()).is_some())
}

/// The type and the id of a reference to a resource of this server's. Whatever follows these but a version makes it none.
fn parts<'r>(reference: &'r str, bases: &[String]) -> Option<(&'r str, &'r str)> {
    let below = |base: &String| reference.strip_prefix(base.as_str())?.strip_prefix('/');
    let relative = bases.iter().find_map(below).unwrap_or(reference);
    let (resource_type, rest) = relative.split_once('/')?;
    let (id, version) = rest.split_once("/_history/").map_or((rest, None), |(id, version)| (id, Some(version)));
    (is_path_id(id) && version.is_none_or(is_path_id)).then_some((resource_type, id))
}

/// Whether every alternative in the value of a search parameter is a patient on the list: an id, or a reference.
#[must_use]
pub(crate) fn are_listed(value: &str, list: &PatientList, bases: &[String]) -> bool {
    // An escape is in no id, so that it makes a value which is on no list.
    value.split(',').all(|one| match one.contains('/') {
        true => patient(one, bases).is_some_and(|id| list.has(id)),
        false => list.has(one),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_of_one_form_alone() {
        let bases = ["https://emr/fhir".to_owned()];
        for (reference, id) in [
            ("Patient/1", Some("1")),
            ("Patient/1/_history/2", Some("1")),
            ("https://emr/fhir/Patient/1", Some("1")),
            ("https://emr/fhir/Patient/1/_history/a-b", Some("1")),
            ("patient/1", None),
            ("Patient/", None),
            ("Patient/1/", None),
            ("Patient/1?x", None),
            ("Patient/1#a", None),
            ("Patient/1/_history/", None),
            ("Patient/1/_history/../../9", None),
            ("Patient/1/_history/Patient/9", None),
            ("Patient/1/_history/2/_history/3", None),
            ("/Patient/1", None),
            ("https://emr/fhirPatient/1", None),
            ("https://other/fhir/Patient/1", None),
            ("https://emr/fhir/x/Patient/1", None),
            ("urn:uuid:1", None),
            ("", None),
        ] {
            assert_eq!(patient(reference, &bases), id, "{reference}");
        }
        assert!(is_to_another_type("Practitioner/1", &bases) && is_to_another_type("https://emr/fhir/Device/1", &bases));
        for reference in ["Patient/1", "practitioner/1", "https://other/Practitioner/1", "#contained", "Practitioner/1/x"] {
            assert!(!is_to_another_type(reference, &bases), "{reference}");
        }
    }
}
