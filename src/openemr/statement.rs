//! What OpenEMR's CapabilityStatement says of searches and conditional creates, corrected to what works through the gateway.

use serde_json::{Map, Value, json};

use crate::fhir::capabilities::{Capabilities, ParameterType, TypeCapabilities};
use crate::openemr::breakages::Measured;
use crate::openemr::invented_times;
use crate::openemr::search::bound;
use crate::openemr::search::honoured::{self, By, Honoured};
use crate::openemr::search::parameters::{PROVENANCES, SORTS};
use crate::openemr::search::plan::can_plan;
use crate::openemr::version::Version;

/// `CapabilityStatement.rest.resource.searchParam.documentation` of a `_lastUpdated` that selects nothing.
const INVENTED: &str =
    "OpenEMR makes the times of this type up when it answers: the parameter selects nothing that means anything.";

/// The same of `Encounter.date`.
const BY_THE_START: &str =
    "In a search that has patient or _id, too, whole periods are compared; otherwise their beginning alone.";
/// The same of `Condition.category`.
const CATEGORIES: &str = "encounter-diagnosis or problem-list-item; in a search that has patient or _id, too, any category.";

/// The result parameters that work for every type: name, type, documentation.
const RESULTS: [(&str, &str, &str); 3] = [
    ("_summary", "token", "Which part of each resource is sent, or only their number."),
    ("_elements", "string", "The elements that are sent of each resource."),
    ("_total", "token", "Whether the matches are counted."),
];
const COUNT: (&str, &str, &str) = ("_count", "number", "The most matches on a page. Follow the links to the others.");

/// Corrects what a statement says of searches. `capabilities`: what it said before. `pages`: whether searches come in pages.
pub(crate) fn correct_searches(statement: &mut Map<String, Value>, capabilities: &Capabilities, pages: bool) {
    let version = Version::of(capabilities);
    if version == Version::Other {
        return;
    }
    let server = (version, Measured::of(Some(capabilities)));
    for rest in objects(statement.get_mut("rest")) {
        for resource in objects(rest.get_mut("resource")) {
            let Some(resource_type) = resource.get("type").and_then(Value::as_str).map(str::to_owned) else { continue };
            if let Some(known) = capabilities.types.get(&resource_type) {
                correct_type(resource, &resource_type, server, known);
            }
        }
        let results = pages.then_some(COUNT).into_iter().chain(RESULTS);
        let results = results.map(|(name, kind, text)| json!({"name": name, "type": kind, "documentation": text}));
        add(rest, results);
    }
}

/// Announces conditional creates where the gateway does them: of every type that can be created, updated and searched.
pub(crate) fn announce_conditional_creates(statement: &mut Map<String, Value>, capabilities: &Capabilities) {
    for rest in objects(statement.get_mut("rest")) {
        for resource in objects(rest.get_mut("resource")) {
            let name = resource.get("type").and_then(Value::as_str);
            let can_be = name.is_some_and(|name| {
                // `$docref` alone makes OpenEMR announce that a DocumentReference can be created.
                let known = capabilities.types.get(name);
                let creates =
                    known.is_some_and(|known| ["create", "update"].iter().all(|code| known.interactions.contains(*code)));
                creates && can_plan(Some(capabilities), name)
            });
            if can_be {
                resource.insert("conditionalCreate".to_owned(), json!(true));
            }
        }
    }
}

/// Corrects what is said of one type.
fn correct_type(
    resource: &mut Map<String, Value>,
    resource_type: &str,
    (version, measured): (Version, Measured),
    known: &TypeCapabilities,
) {
    resource.remove("searchInclude");
    if !known.interactions.contains("search-type") {
        resource.remove("searchRevInclude");
        return;
    }
    if let Some(includes) = resource.get_mut("searchRevInclude").and_then(Value::as_array_mut) {
        includes.retain(|include| include == PROVENANCES);
    }
    if resource.get("searchRevInclude").and_then(Value::as_array).is_some_and(Vec::is_empty) {
        resource.remove("searchRevInclude");
    }
    let honoured = honoured::all(resource_type, Some(version), measured, known);
    let named = |parameter: &Value| {
        let name = parameter.get("name").and_then(Value::as_str).unwrap_or_default();
        honoured.iter().find(|one| one.name == name)
    };
    if let Some(parameters) = resource.get_mut("searchParam").and_then(Value::as_array_mut) {
        parameters.retain(|parameter| named(parameter).is_some());
        for parameter in parameters {
            let text = named(parameter).and_then(|one| documentation(one, resource_type, known));
            if let (Some(text), Some(parameter)) = (text, parameter.as_object_mut()) {
                parameter.insert("documentation".to_owned(), json!(text));
            }
        }
    }
    let announced = |one: &Honoured<'_>| {
        let parameter = [("name", json!(one.name)), ("type", json!(code(one.kind?)))];
        let text = documentation(one, resource_type, known).map(|text| ("documentation", json!(text)));
        Some(parameter.into_iter().chain(text).map(|(name, value)| (name.to_owned(), value)).collect())
    };
    add(resource, honoured.iter().filter(|one| one.by != By::OpenEmr).filter_map(announced));
    if resource_type == "Patient" && version == Version::Modern {
        add(resource, [json!({"name": "_sort", "type": "string", "documentation": SORTS.join(", ")})]);
    }
}

/// What is said of a parameter.
fn documentation(one: &Honoured<'_>, resource_type: &str, known: &TypeCapabilities) -> Option<String> {
    match (resource_type, one.name, one.by) {
        (_, _, By::Gateway) => Some(match bound::named(resource_type, known) {
            Some(beside) => format!("Tested by the gateway, in a search that has {beside}, too."),
            None => "Tested by the gateway.".to_owned(),
        }),
        (_, "_lastUpdated", _) if invented_times::are_invented(resource_type) => Some(INVENTED.to_owned()),
        ("Encounter", "date", _) => Some(BY_THE_START.to_owned()),
        ("Condition", "category", By::OpenEmrUnannounced) => Some(CATEGORIES.to_owned()),
        _ => None,
    }
}

/// Adds search parameters, unless there is one of the name.
fn add(at: &mut Map<String, Value>, parameters: impl IntoIterator<Item = Value>) {
    let mut parameters = parameters.into_iter().peekable();
    if parameters.peek().is_none() {
        return;
    }
    let Some(known) = at.entry("searchParam").or_insert_with(|| json!([])).as_array_mut() else { return };
    for parameter in parameters {
        if !known.iter().any(|one| one.get("name") == parameter.get("name")) {
            known.push(parameter);
        }
    }
}

fn objects(array: Option<&mut Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    let all = array.and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default();
    all.iter_mut().filter_map(Value::as_object_mut)
}

fn code(kind: ParameterType) -> &'static str {
    match kind {
        ParameterType::String => "string",
        ParameterType::Token => "token",
        ParameterType::Reference => "reference",
        ParameterType::Date => "date",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const MODERN: &[u8] = include_bytes!("../sandbox/answers/8.0-capability-statement.json");
    const OLD: &[u8] = include_bytes!("../sandbox/answers/7.0.3-capability-statement.json");

    fn corrected(json: &[u8], pages: bool) -> Value {
        let mut statement = serde_json::from_slice(json).unwrap();
        correct_searches(&mut statement, &Capabilities::parse(json).unwrap(), pages);
        statement.into()
    }

    /// The resources by type, and the names of their search parameters.
    fn resources(statement: &Value) -> BTreeMap<String, (Value, Vec<String>)> {
        let names = |of: &Value| {
            let parameters = of["searchParam"].as_array().into_iter().flatten();
            parameters.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect()
        };
        let all = statement["rest"][0]["resource"].as_array().unwrap().iter();
        all.map(|resource| (resource["type"].as_str().unwrap().to_owned(), (resource.clone(), names(resource)))).collect()
    }

    #[test]
    fn what_works_is_announced_and_no_more() {
        for (json, is_modern) in [(MODERN, true), (OLD, false)] {
            let statement = corrected(json, true);
            assert!(!statement.to_string().contains("searchInclude"));
            let resources = resources(&statement);
            let has = |resource_type: &str, name: &str| resources[resource_type].1.iter().any(|one| one == name);
            assert_eq!(resources["Patient"].0["searchRevInclude"], json!(["Provenance:target"]));
            assert_eq!(resources["Binary"].0.get("searchRevInclude"), None);
            assert!(has("Condition", "category") && has("Patient", "_sort") == is_modern);
            assert!(has("Condition", "subject") && has("Observation", "subject") && !has("AllergyIntolerance", "subject"));
            assert!(!has("Patient", "phonetic") && !has("Encounter", "length"));
            let text = |resource_type: &str, name: &str| {
                let parameters = resources[resource_type].0["searchParam"].as_array().unwrap();
                let found: Vec<_> = parameters.iter().filter(|one| one["name"] == name).collect();
                assert_eq!(found.len(), 1, "{resource_type}.{name}");
                found[0]["documentation"].as_str().unwrap_or_default().to_owned()
            };
            let beside = "Tested by the gateway, in a search that has patient or _id, too.";
            for (resource_type, name, expected) in [
                ("Encounter", "status", beside),
                ("Condition", "onset-date", beside),
                ("Goal", "description", beside),
                ("Goal", "target-date", beside),
                ("Practitioner", "name", "Tested by the gateway."),
                ("Practitioner", "identifier", "Tested by the gateway."),
                ("Organization", "address", "Tested by the gateway."),
                ("Location", "name", if is_modern { "" } else { "Tested by the gateway." }),
                ("CarePlan", "status", if is_modern { "" } else { beside }),
                ("Condition", "category", if is_modern { CATEGORIES } else { beside }),
                ("Encounter", "identifier", ""),
                ("Encounter", "date", BY_THE_START),
                ("Practitioner", "family", ""),
                ("Observation", "code", ""),
            ] {
                assert_eq!(text(resource_type, name), expected, "{resource_type}.{name}");
            }
            let kind = |resource_type: &str, name: &str| {
                let parameters = resources[resource_type].0["searchParam"].as_array().unwrap();
                parameters.iter().find(|one| one["name"] == name).unwrap()["type"].clone()
            };
            assert_eq!((kind("Encounter", "status"), kind("Condition", "encounter")), (json!("token"), json!("reference")));
            assert_eq!((kind("Location", "name"), kind("Immunization", "date")), (json!("string"), json!("date")));
            let named = resources["Patient"].0["searchParam"].to_string();
            assert!(named.contains("in a search that has _id, identifier, family, given, name, email, phone or telecom, too."));
            assert!(!has("Patient", "subject") && !has("Observation", "_sort") && !has("Binary", "_count"));
            let updated = |resource_type: &str| {
                let parameters = resources[resource_type].0["searchParam"].as_array().unwrap();
                parameters.iter().find(|one| one["name"] == "_lastUpdated").unwrap().get("documentation").cloned()
            };
            assert_eq!((updated("Observation"), updated("Patient")), (Some(json!(INVENTED)), None));
            let of_all = statement["rest"][0]["searchParam"].as_array().unwrap();
            assert_eq!(of_all.iter().map(|one| &one["name"]).collect::<Vec<_>>(), ["_count", "_summary", "_elements", "_total"]);
            assert_eq!(corrected(json, false)["rest"][0]["searchParam"].as_array().unwrap().len(), 3);
        }
    }

    #[test]
    fn a_second_correction_changes_nothing_and_another_server_is_left_alone() {
        let once = corrected(MODERN, true);
        assert_eq!(corrected(once.to_string().as_bytes(), true), once);
        let other = String::from_utf8(MODERN.to_vec()).unwrap().replace(r#""name":"OpenEMR""#, r#""name":"Other""#);
        let other = if other.contains(r#""name":"Other""#) { other } else { other.replace("\"OpenEMR\"", "\"Other\"") };
        assert_eq!(corrected(other.as_bytes(), true), serde_json::from_str::<Value>(&other).unwrap());
    }
}
