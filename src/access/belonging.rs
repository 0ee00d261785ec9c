//! Whether a resource is of a type, and belongs to one of the patients on a list.

use std::borrow::Cow;
use std::sync::LazyLock;

use crate::access::compartment::{self, Belonging, Way};
use crate::access::patients::PatientList;
use crate::access::reference::{is_to_another_type, patient};
use crate::fhir::criteria::json::Json;
use crate::fhir::criteria::members;
use crate::fhir::criteria::{Criteria, Illegible};
use crate::fhir::json::located::{MOST, Needle, locate};
use crate::fhir::json::outline;

/// The longest reference, in bytes, that is read without an allocation where it has escaped slashes.
const LONGEST: usize = 256;

static RESOURCE_TYPE: LazyLock<Needle> = LazyLock::new(|| Needle::new("resourceType"));

/// Types that are lists of patients: whoever sees one sees them all.
const IS_A_LIST: [&str; 1] = ["Group"];

/// How many of several references must be to patients on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Any,
    All,
}

/// What a resource must be: of a type and, where there is a list and the type is of the patient compartment, with an element that
/// refers to a patient on it; a Group with no other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The type.
    pub(super) resource_type: &'a str,
    /// The patients.
    pub(super) list: Option<&'a PatientList>,
    /// The addresses of this server, with which references may begin.
    pub(super) bases: &'a [String],
    /// Whether it may belong to nobody else besides, as what is written.
    pub(super) alone: bool,
}

/// Whether a resource, a whole JSON object, is what is wanted, and meets criteria.
///
/// # Errors
/// It cannot be read, or a member that is looked at is there twice, so that nobody knows.
pub(super) fn is_wanted(resource: &[u8], wanted: &Wanted<'_>, criteria: Option<&Criteria>) -> Result<bool, Illegible> {
    let belonging = wanted.list.and_then(|list| Some((list, compartment::of(wanted.resource_type)?)));
    let own = belonging.map_or(&[][..], |(_, belonging)| &belonging.members);
    // All members are found at once where there is room.
    let at_once = criteria.filter(|criteria| 1 + own.len() + criteria.members().len() <= MOST);
    let needles = || std::iter::once(&*RESOURCE_TYPE).chain(own).chain(at_once.into_iter().flat_map(Criteria::members));
    let mut found = [None; MOST];
    if !locate(resource, needles(), &mut found) {
        each_found(resource, needles, &mut found)?;
    }
    let [found_type, found @ ..] = found;
    if !is_text(found_type.ok_or(Illegible)?, wanted.resource_type)? || !belongs(&found, wanted, belonging)? {
        return Ok(false);
    }
    let Some(criteria) = at_once else { return criteria.map_or(Ok(true), |criteria| criteria.are_met_by(resource)) };
    let mut values = [None; MOST];
    for (to, begin) in values.iter_mut().zip(found.get(own.len()..).unwrap_or_default()) {
        *to = begin.map(value);
    }
    criteria.are_met_by_members(&values)
}

/// Whether the members that were found refer to a patient on the list.
fn belongs(
    found: &[Option<&[u8]>],
    wanted: &Wanted<'_>,
    belonging: Option<(&PatientList, &Belonging)>,
) -> Result<bool, Illegible> {
    let &Wanted { resource_type, bases, .. } = wanted;
    let Some((list, Belonging { ways, .. })) = belonging else { return Ok(true) };
    if resource_type == "Patient" {
        let id = found.first().copied().flatten().map(value);
        return Ok(matches!(id.map(Json::read).transpose()?, Some(Json::Text(id)) if list.has(&id)));
    }
    let is_listed = |reference: &str| patient(reference, bases).is_some_and(|id| list.has(id));
    if wanted.alone {
        return belongs_to_them_alone(found, ways, bases, &is_listed);
    }
    let due = if IS_A_LIST.contains(&resource_type) { Due::All } else { Due::Any };
    for (begin, way) in found.iter().zip(ways) {
        let Some(begin) = *begin else { continue };
        let behind = way.get(1..).unwrap_or_default();
        let is_reference = behind.is_empty() && begin.first() == Some(&b'{');
        let leads = match is_reference.then(|| reference(begin)).transpose()?.flatten() {
            Some(reference) => with_plain_slashes(reference, &is_listed)?,
            None => leads(&Json::read(value(begin))?, behind, due, &is_listed)?,
        };
        if leads {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether one reference at the end of a way is to a patient on the list, and each other to one, or to something else than a patient.
fn belongs_to_them_alone(
    found: &[Option<&[u8]>],
    ways: &[Way],
    bases: &[String],
    is_listed: &dyn Fn(&str) -> bool,
) -> Result<bool, Illegible> {
    let mut has_one = false;
    for (begin, way) in found.iter().zip(ways) {
        let Some(begin) = *begin else { continue };
        let mut is_theirs = true;
        let behind = way.get(1..).unwrap_or_default();
        each_reference(&Json::read(value(begin))?, behind, &mut |reference| {
            let is_own = reference.is_some_and(is_listed);
            has_one |= is_own;
            is_theirs &= is_own || reference.is_some_and(|reference| is_to_another_type(reference, bases));
        })?;
        if !is_theirs {
            return Ok(false);
        }
    }
    Ok(has_one)
}

/// Calls `found` with each reference at the end of the way; with `None` for an element that has none, as one with an identifier alone.
fn each_reference(value: &Json<'_>, way: &[&str], found: &mut dyn FnMut(Option<&str>)) -> Result<(), Illegible> {
    if let Json::Array(items) = value {
        return items.iter().try_for_each(|item| each_reference(item, way, found));
    }
    match way {
        [] => found(value.text("reference")?),
        [name, rest @ ..] => {
            if let Some(member) = value.member(name)? {
                return each_reference(member, rest, found);
            }
        }
    }
    Ok(())
}

/// Finds the members by going from one to the next.
///
/// # Errors
/// The resource cannot be read, or one of the members is there twice.
fn each_found<'r, 'n, Needles: Iterator<Item = &'n Needle>>(
    resource: &'r [u8],
    needles: impl Fn() -> Needles,
    found: &mut [Option<&'r [u8]>; MOST],
) -> Result<(), Illegible> {
    *found = [None; MOST];
    members::each(resource, |written, value| {
        let name = match memchr::memchr(b'\\', written) {
            None => Cow::Borrowed(written),
            Some(_) => Cow::Owned(outline::unescaped(written).ok_or(Illegible)?.into_bytes()),
        };
        let mut places = found.iter_mut().zip(needles()).filter(|(_, needle)| needle.name().as_bytes() == &*name);
        places.try_for_each(|(place, _)| if place.replace(value).is_some() { Err(Illegible) } else { Ok(()) })
    })
}

/// The value that begins here. One that does not end cannot be read as JSON.
fn value(begin: &[u8]) -> &[u8] {
    members::length_of_value(begin).ok().and_then(|length| begin.get(..length)).unwrap_or(begin)
}

/// Whether a value is this text.
///
/// # Errors
/// It is no text.
fn is_text(begin: &[u8], text: &str) -> Result<bool, Illegible> {
    let plain = begin.strip_prefix(b"\"").and_then(|begin| begin.strip_prefix(text.as_bytes()));
    if plain.is_some_and(|rest| rest.first() == Some(&b'"')) {
        return Ok(true);
    }
    match Json::read(value(begin))? {
        Json::Text(found) => Ok(found == text),
        _ => Err(Illegible),
    }
}

/// The text of the member `reference` of the object that begins here, as it is written between its quotes; `None` where it has to be read in full.
///
/// # Errors
/// It is there twice, or the object cannot be read.
fn reference(begin: &[u8]) -> Result<Option<&[u8]>, Illegible> {
    let (mut found, mut is_plain) = (None, true);
    members::each_of_first(begin, |name, value| {
        is_plain &= memchr::memchr(b'\\', name).is_none();
        if name == b"reference" && found.replace(value).is_some() {
            return Err(Illegible);
        }
        Ok(())
    })?;
    let text = found.and_then(|found| found.strip_prefix(b"\"")?.strip_suffix(b"\""));
    Ok(text.filter(|_| is_plain))
}

/// Calls `is_listed` with a text that is written so, in which nothing but slashes is escaped as a rule.
fn with_plain_slashes(written: &[u8], is_listed: &impl Fn(&str) -> bool) -> Result<bool, Illegible> {
    let as_text = |bytes| std::str::from_utf8(bytes).map_err(|_| Illegible);
    if memchr::memchr(b'\\', written).is_none() {
        return Ok(is_listed(as_text(written)?));
    }
    let (mut plain, mut length) = ([0; LONGEST], 0);
    for (number, part) in written.split(|byte| *byte == b'\\').enumerate() {
        let is_plain = number == 0 || part.first() == Some(&b'/');
        let Some(place) = plain.get_mut(length..length + part.len()).filter(|_| is_plain) else {
            return Ok(is_listed(&outline::unescaped(written).ok_or(Illegible)?));
        };
        place.copy_from_slice(part);
        length += part.len();
    }
    Ok(is_listed(as_text(plain.get(..length).unwrap_or_default())?))
}

/// Whether a value has, at the end of the way, references to patients on the list, which `is_listed` knows.
fn leads(value: &Json<'_>, way: &[&str], due: Due, is_listed: &dyn Fn(&str) -> bool) -> Result<bool, Illegible> {
    if let Json::Array(items) = value {
        for item in items {
            if leads(item, way, due, is_listed)? != (due == Due::All) {
                return Ok(due == Due::Any);
            }
        }
        return Ok(due == Due::All && !items.is_empty());
    }
    match way {
        [] => Ok(value.text("reference")?.is_some_and(is_listed)),
        [name, rest @ ..] => match value.member(name)? {
            Some(member) => leads(member, rest, due, is_listed),
            None => Ok(false),
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn shown(resource: &Value) -> bool {
        let list: PatientList = ["p1", "p2"].into_iter().collect();
        let resource_type = resource["resourceType"].as_str().unwrap();
        let wanted = Wanted { resource_type, list: Some(&list), bases: &["https://emr/fhir".to_owned()], alone: false };
        is_wanted(resource.to_string().as_bytes(), &wanted, None).unwrap()
    }

    fn to(id: &str) -> Value {
        json!({"reference": format!("Patient/{id}")})
    }

    #[test]
    fn a_group_is_shown_where_all_its_members_are_on_the_list() {
        for (members, expected) in [
            (vec!["p1"], true),
            (vec!["p1", "p2"], true),
            (vec!["p1", "p9"], false),
            (vec!["p9", "p1"], false),
            (vec!["p9"], false),
            (vec![], false),
        ] {
            let member: Vec<Value> = members.iter().map(|id| json!({"entity": to(id)})).collect();
            assert_eq!(shown(&json!({"resourceType": "Group", "member": member})), expected, "{members:?}");
        }
        for member in [
            json!([{"entity": to("p1")}, {"entity": {"display": "Jane"}}]),
            json!([{"entity": to("p1")}, {}]),
            json!([{"entity": to("p1")}, {"entity": {"reference": "https://emr/fhir/Practitioner/p1"}}]),
            json!({}),
        ] {
            assert!(!shown(&json!({"resourceType": "Group", "member": member})), "{member}");
        }
        assert!(!shown(&json!({"resourceType": "Group"})));
    }

    #[test]
    fn anything_else_is_shown_where_one_of_its_patients_is_on_the_list() {
        for (actors, expected) in [(["p1", "p9"], true), (["p9", "p1"], true), (["p9", "p8"], false)] {
            let participant: Vec<Value> = actors.iter().map(|id| json!({"actor": to(id)})).collect();
            let appointment = json!({"resourceType": "Appointment", "participant": participant});
            assert_eq!(shown(&appointment), expected, "{actors:?}");
        }
        assert!(shown(&json!({"resourceType": "Observation", "subject": to("p2")})));
        assert!(!shown(&json!({"resourceType": "Observation", "subject": to("p9")})));
        assert!(!shown(&json!({"resourceType": "Observation"})));
    }
}
