//! References to patients, in resources and in the parameters of searches.

use crate::access::patients::PatientList;

/// The id of the Patient to which a reference leads: `Patient/1`, or that below one of the addresses of this server (`bases`), with a
/// version or without. `None` for any other reference.
#[must_use]
pub(crate) fn patient<'r>(reference: &'r str, bases: &[String]) -> Option<&'r str> {
    let relative = match reference.strip_prefix("Patient/") {
        Some(id) => id,
        None => bases.iter().find_map(|base| reference.strip_prefix(base.as_str())?.strip_prefix("/Patient/"))?,
    };
    let id = relative.split_once("/_history/").map_or(relative, |(id, _)| id);
    (!id.is_empty() && !id.contains(['/', '?', '#', '|'])).then_some(id)
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
