//! The patients of a Group (FHIR R4, "Group"): its members now.

use jiff::Timestamp;
use serde_json::Value;

use crate::fhir::id::is_path_id;
use crate::fhir::search_date::are_dates;

/// Reads the ids of the Patients that are members of a Group at this moment. `bases`: the addresses with which references may begin,
/// without a `/` at their ends.
///
/// Members that are inactive, or whose period has ended or cannot be read, are none; nor is one that a reference to no resource of this
/// server names. A Group that is not active has no members. Returns `None` for anything else than the Group with this id.
#[must_use]
pub(crate) fn patients(body: &[u8], id: &str, bases: &[String], now: Timestamp) -> Option<Vec<String>> {
    let group: Value = serde_json::from_slice(body).ok()?;
    let says = |name: &str, expected: &str| group.get(name).and_then(Value::as_str) == Some(expected);
    if !says("resourceType", "Group") || !says("id", id) {
        return None;
    }
    if group.get("active").is_some_and(|active| *active != Value::Bool(true)) {
        return Some(Vec::new());
    }
    let members = match group.get("member") {
        None => return Some(Vec::new()),
        Some(members) => members.as_array()?,
    };
    let patient = |member: &Value| {
        let is_now = member.get("inactive").is_none_or(|inactive| *inactive == Value::Bool(false))
            && member.get("period").is_none_or(|period| lasts(period, now));
        let reference = member.get("entity")?.get("reference")?.as_str().filter(|_| is_now)?;
        let relative = bases.iter().find_map(|base| reference.strip_prefix(base.as_str())?.strip_prefix('/'));
        let id = relative.unwrap_or(reference).strip_prefix("Patient/")?;
        is_path_id(id).then(|| id.to_owned())
    };
    Some(members.iter().filter_map(patient).collect())
}

/// Whether a Period has not ended.
fn lasts(period: &Value, now: Timestamp) -> bool {
    let Some(period) = period.as_object() else { return false };
    match period.get("end") {
        None => true,
        Some(Value::String(end)) if are_dates(end) => match end.parse::<Timestamp>() {
            Ok(end) => now < end,
            // A day, a month or a year belongs to the period as a whole.
            Err(_) => now.strftime("%Y-%m-%d").to_string().get(..end.len()).is_some_and(|today| today <= end.as_str()),
        },
        Some(_) => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(group: &Value) -> Option<Vec<String>> {
        let now = "2026-11-29T12:00:00Z".parse().unwrap();
        patients(group.to_string().as_bytes(), "7", &["https://emr/apis/default/fhir".to_owned()], now)
    }

    #[test]
    fn members_are_the_patients_of_this_server_that_belong_to_the_group_now() {
        let entity = |reference: &str| json!({"reference": reference});
        for (member, is_one) in [
            (json!({"entity": entity("Patient/1")}), true),
            (json!({"entity": entity("https://emr/apis/default/fhir/Patient/1"), "inactive": false}), true),
            (json!({"entity": entity("https://other/fhir/Patient/1")}), false),
            (json!({"entity": entity("https://emr/apis/default/fhir2/Patient/1")}), false),
            (json!({"entity": entity("Practitioner/1")}), false),
            (json!({"entity": entity("Patient/1/_history/2")}), false),
            (json!({"entity": entity("Patient/")}), false),
            (json!({"entity": entity("Patient/..")}), false),
            (json!({"entity": {"display": "Jane"}}), false),
            (json!({"entity": entity("Patient/1"), "inactive": true}), false),
            (json!({"entity": entity("Patient/1"), "inactive": "no"}), false),
            (json!({"entity": entity("Patient/1"), "period": {"start": "2020"}}), true),
            (json!({"entity": entity("Patient/1"), "period": {"end": "2026"}}), true),
            (json!({"entity": entity("Patient/1"), "period": {"end": "2026-11"}}), true),
            (json!({"entity": entity("Patient/1"), "period": {"end": "2026-11-29"}}), true),
            (json!({"entity": entity("Patient/1"), "period": {"end": "2026-11-28"}}), false),
            (json!({"entity": entity("Patient/1"), "period": {"end": "2026-11-29T13:00:00Z"}}), true),
            (json!({"entity": entity("Patient/1"), "period": {"end": "2026-11-29T13:00:00+02:00"}}), false),
            (json!({"entity": entity("Patient/1"), "period": {"end": "soon"}}), false),
            (json!({"entity": entity("Patient/1"), "period": []}), false),
        ] {
            let group = json!({"resourceType": "Group", "id": "7", "member": [member]});
            assert_eq!(found(&group).unwrap().len(), usize::from(is_one), "{group}");
        }
    }

    #[test]
    fn only_the_group_that_was_asked_for_has_members() {
        let member = json!([{"entity": {"reference": "Patient/1"}}]);
        for (group, expected) in [
            (json!({"resourceType": "Group", "id": "7"}), Some(0)),
            (json!({"resourceType": "Group", "id": "7", "active": true, "member": member}), Some(1)),
            (json!({"resourceType": "Group", "id": "7", "active": false, "member": member}), Some(0)),
            (json!({"resourceType": "Group", "id": "8", "member": member}), None),
            (json!({"resourceType": "List", "id": "7", "member": member}), None),
            (json!({"resourceType": "Group", "id": "7", "member": {}}), None),
            (json!([]), None),
        ] {
            assert_eq!(found(&group).map(|members| members.len()), expected, "{group}");
        }
        assert_eq!(patients(b"{", "7", &[], Timestamp::UNIX_EPOCH), None);
    }
}
