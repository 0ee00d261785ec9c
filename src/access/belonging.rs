//! Whether a resource is of a type, and belongs to one of the patients on a list.

use crate::access::compartment;
use crate::access::patients::PatientList;
use crate::access::reference::patient;
use crate::fhir::criteria::Illegible;
use crate::fhir::criteria::json::Json;
use crate::fhir::criteria::members;
use crate::fhir::json::outline;

/// Whether a resource, a whole JSON object, is of a type and, where there is a list and the type is of the patient compartment, one
/// of its elements refers to a patient on it. `bases`: the addresses of this server.
///
/// # Errors
/// It cannot be read, or a member that is looked at is there twice, so that nobody knows.
pub(super) fn is_of(
    resource: &[u8],
    resource_type: &str,
    list: Option<&PatientList>,
    bases: &[String],
) -> Result<bool, Illegible> {
    let ways = list.and_then(|list| Some((list, compartment::ways(resource_type)?)));
    let (mut found_type, mut found_id) = (None, None);
    let mut found = vec![None; ways.map_or(0, |(_, ways)| ways.len())];
    members::each(resource, |written, value| {
        let name = match memchr::memchr(b'\\', written) {
            None => std::str::from_utf8(written).map_err(|_| Illegible)?.into(),
            Some(_) => std::borrow::Cow::Owned(outline::unescaped(written).ok_or(Illegible)?),
        };
        let put = |place: &mut Option<_>| if place.replace(value).is_some() { Err(Illegible) } else { Ok(()) };
        match name.as_ref() {
            "resourceType" => put(&mut found_type),
            "id" => put(&mut found_id),
            name => {
                let Some((_, ways)) = ways else { return Ok(()) };
                let mut places = found.iter_mut().zip(ways).filter(|(_, way)| way.first() == Some(&name));
                places.try_for_each(|(place, _)| put(place))
            }
        }
    })?;
    match read(found_type)? {
        Some(Json::Text(name)) if name == resource_type => {}
        Some(Json::Text(_)) => return Ok(false),
        _ => return Err(Illegible),
    }
    let Some((list, ways)) = ways else { return Ok(true) };
    if resource_type == "Patient" {
        return Ok(matches!(read(found_id)?, Some(Json::Text(id)) if list.has(&id)));
    }
    for (value, way) in found.into_iter().zip(ways) {
        let Some(value) = read(value)? else { continue };
        if leads(&value, way.get(1..).unwrap_or_default(), list, bases)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read(value: Option<&[u8]>) -> Result<Option<Json<'_>>, Illegible> {
    value.map(Json::read).transpose()
}

/// Whether a value has, at the end of the way, a reference to a patient on the list.
fn leads(value: &Json<'_>, way: &[&str], list: &PatientList, bases: &[String]) -> Result<bool, Illegible> {
    if let Json::Array(items) = value {
        for item in items {
            if leads(item, way, list, bases)? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    match way {
        [] => Ok(value.text("reference")?.and_then(|reference| patient(reference, bases)).is_some_and(|id| list.has(id))),
        [name, rest @ ..] => match value.member(name)? {
            Some(member) => leads(member, rest, list, bases),
            None => Ok(false),
        },
    }
}
