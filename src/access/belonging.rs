//! Whether a resource is of a type, and belongs to one of the patients on a list.

use crate::access::compartment;
use crate::access::patients::PatientList;
use crate::access::reference::patient;
use crate::fhir::criteria::Illegible;
use crate::fhir::criteria::json::Json;
use crate::fhir::criteria::members;
use crate::fhir::json::outline;

/// Types that are lists of patients: whoever sees one sees them all.
const IS_A_LIST: [&str; 1] = ["Group"];

/// How many of several references must be to patients on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Any,
    All,
}

/// Whether a resource, a whole JSON object, is of a type and, where there is a list and the type is of the patient compartment, one
/// of its elements refers to a patient on it; a Group to no other. `bases`: the addresses of this server.
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
    let due = if IS_A_LIST.contains(&resource_type) { Due::All } else { Due::Any };
    for (value, way) in found.into_iter().zip(ways) {
        let Some(value) = read(value)? else { continue };
        if leads(&value, way.get(1..).unwrap_or_default(), due, &|reference| {
            patient(reference, bases).is_some_and(|id| list.has(id))
        })? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read(value: Option<&[u8]>) -> Result<Option<Json<'_>>, Illegible> {
    value.map(Json::read).transpose()
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
        [] => Ok(value.text("reference")?.is_some_and(|reference| is_listed(&reference))),
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
        is_of(resource.to_string().as_bytes(), resource_type, Some(&list), &["https://emr/fhir".to_owned()]).unwrap()
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
