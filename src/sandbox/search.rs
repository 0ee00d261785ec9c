//! The search interaction: the resources that a query finds, as measured on running installs.
//!
//! A parameter that the type does not have yields an empty Bundle, not an error. 8.0 takes `_count` (cut at 200) and
//! `_sort` on every type and `_offset` on Patient alone; 7.0.3 takes none of them.

use std::{cmp::Ordering, sync::Arc};

use serde_json::Value;

use super::{
    personality::Personality,
    population::{Population, Resource},
};

/// The greatest `_count`.
const COUNT_LIMIT: usize = 200;

/// The result of a search.
pub(super) enum SearchOutcome {
    /// The resources that were found.
    Resources {
        /// The resources in order.
        resources: Vec<Arc<Resource>>,
        /// Whether the request had `_revinclude=Provenance:target`.
        with_provenance: bool,
        /// The request's `_count`, which limits resources and Provenances together.
        count: Option<usize>,
    },
    /// The search fails with a 500 and this message.
    Broken(&'static str),
    /// SQL of the caller's reached the database, which says so in this text.
    Injected(String),
}

/// Searches the resources of a type. `allowed` are the parameters that the CapabilityStatement lists for it.
pub(super) fn search(
    personality: Personality,
    population: &Population,
    resource_type: &str,
    allowed: &[String],
    parameters: &[(String, String)],
) -> SearchOutcome {
    let mut count = None;
    let mut offset = 0;
    let mut sort = None;
    let mut with_provenance = false;
    let mut criteria: Vec<(&str, &str)> = Vec::new();
    for (name, value) in parameters {
        if value.is_empty() {
            continue;
        }
        match (name.as_str(), personality) {
            ("_revinclude", _) if value == "Provenance:target" => with_provenance = true,
            ("_count", Personality::V8_0) if value.starts_with('-') => {
                return SearchOutcome::Broken("System error occurred");
            }
            // Zero, and what is not a number, mean no limit.
            ("_count", Personality::V8_0) => {
                count = value.parse().ok().filter(|&count| count > 0).map(|count: usize| count.min(COUNT_LIMIT));
            }
            ("_offset", Personality::V8_0) => offset = value.parse().unwrap_or(0),
            ("_sort", Personality::V8_0) if value == "-_id" => {
                return SearchOutcome::Broken("Unknown column '-_id' in 'order clause'");
            }
            // `_sort` goes into `ORDER BY` as it is (CVE-2026-24908).
            ("_sort", Personality::V8_0) if !value.split(',').all(is_column) => {
                return SearchOutcome::Injected(format!(
                    "Query Error: SELECT patient_data.* FROM patient_data ORDER BY {value}: You have an error in your SQL syntax"
                ));
            }
            ("_sort", Personality::V8_0) => sort = Some(value.as_str()),
            (name, _) if allowed.iter().any(|allowed| allowed == name) => criteria.push((name, value)),
            _ => return nothing(),
        }
    }
    let mut resources: Vec<Arc<Resource>> = Vec::new();
    for resource in population.all(resource_type) {
        match criteria.iter().map(|(name, value)| matches(resource, name, value)).collect::<Option<Vec<bool>>>() {
            None => return nothing(),
            Some(results) => {
                if results.into_iter().all(|matched| matched) {
                    resources.push(Arc::clone(resource));
                }
            }
        }
    }
    if resource_type == "Patient" {
        if let Some(sort) = sort {
            sort_patients(&mut resources, sort);
        }
        if count.is_some() {
            resources = resources.split_off(offset.min(resources.len()));
        }
    }
    if let Some(count) = count {
        resources.truncate(count);
    }
    SearchOutcome::Resources { resources, with_provenance, count }
}

/// Returns whether a sort key can only be the name of a column.
fn is_column(key: &str) -> bool {
    let name = key.strip_prefix('-').unwrap_or(key);
    !name.is_empty() && name.chars().all(|character| character.is_ascii_alphanumeric() || "_-".contains(character))
}

fn nothing() -> SearchOutcome {
    SearchOutcome::Resources { resources: Vec::new(), with_provenance: false, count: None }
}

fn sort_patients(resources: &mut [Arc<Resource>], sort: &str) {
    let (name, descending) = sort.strip_prefix('-').map_or((sort, false), |name| (name, true));
    let pointer = match name {
        "birthdate" => "/birthDate",
        "family" => "/name/0/family",
        "given" => "/name/0/given/0",
        "gender" => "/gender",
        _ => return,
    };
    let key = |resource: &Resource| resource.value.pointer(pointer).and_then(Value::as_str).map(str::to_lowercase);
    resources.sort_by(|left, right| {
        let order = key(left).cmp(&key(right));
        if descending { order.reverse() } else { order }
    });
}

/// Returns whether a resource meets one criterion; `None` when the value is malformed, which yields an empty Bundle. A
/// comma means "or".
fn matches(resource: &Resource, name: &str, value: &str) -> Option<bool> {
    let body = &resource.value;
    let texts = |pointers: &[&str]| -> Vec<String> { pointers.iter().flat_map(|pointer| strings_at(body, pointer)).collect() };
    let any = |check: &dyn Fn(&str) -> bool| Some(value.split(',').any(check));
    let prefix_of = |haystack: Vec<String>| {
        any(&|wanted| haystack.iter().any(|text| text.to_lowercase().starts_with(&wanted.to_lowercase())))
    };
    match name {
        "_id" => any(&|wanted| resource.id == wanted),
        "patient" => any(&|wanted| {
            let wanted = wanted.strip_prefix("Patient/").unwrap_or(wanted);
            body.pointer("/subject/reference").and_then(Value::as_str).and_then(|text| text.strip_prefix("Patient/"))
                == Some(wanted)
        }),
        "name" => prefix_of(texts(&["/name/*/family", "/name/*/given/*", "/name"])),
        "family" => prefix_of(texts(&["/name/*/family"])),
        "given" => prefix_of(texts(&["/name/*/given/*"])),
        "address" => prefix_of(texts(&["/address/*/line/*", "/address/*/city", "/address/*/state"])),
        "address-city" => prefix_of(texts(&["/address/*/city"])),
        "address-state" => prefix_of(texts(&["/address/*/state"])),
        "address-postalcode" => prefix_of(texts(&["/address/*/postalCode"])),
        "telecom" | "phone" | "email" => {
            let held = texts(&["/telecom/*/value"]);
            any(&|wanted| held.iter().any(|text| text == wanted))
        }
        "gender" => any(&|wanted| body.get("gender").and_then(Value::as_str) == Some(wanted)),
        "active" => any(&|wanted| body.get("active").map(Value::to_string).as_deref() == Some(wanted)),
        "identifier" => any(&|wanted| token_matches(body, "/identifier", "value", wanted)),
        "code" => any(&|wanted| token_matches(body, "/code/coding", "code", wanted)),
        "category" => any(&|wanted| {
            body.get("category")
                .and_then(Value::as_array)
                .is_some_and(|categories| categories.iter().any(|category| token_matches(category, "/coding", "code", wanted)))
        }),
        "birthdate" => date_matches(&texts(&["/birthDate"]), value),
        "date" => date_matches(&texts(&["/effectiveDateTime", "/period/start"]), value),
        "_lastUpdated" => date_matches(&texts(&["/meta/lastUpdated"]), value),
        // The parameter is listed, but no resource here has it.
        _ => Some(false),
    }
}

/// Returns the strings at a JSON pointer, in which `*` stands for every element of an array.
fn strings_at(value: &Value, pointer: &str) -> Vec<String> {
    let Some(rest) = pointer.strip_prefix('/') else {
        return value.as_str().map(str::to_owned).into_iter().collect();
    };
    let (step, onward) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    match (step, value) {
        ("*", Value::Array(items)) => items.iter().flat_map(|item| strings_at(item, onward)).collect(),
        (step, Value::Object(members)) => members.get(step).map(|member| strings_at(member, onward)).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// Returns whether one of the codings at `pointer` is `wanted`, which is `code` or `system|code`.
fn token_matches(value: &Value, pointer: &str, member: &str, wanted: &str) -> bool {
    let (system, wanted) = wanted.split_once('|').map_or((None, wanted), |(system, code)| (Some(system), code));
    let text = |coding: &Value, member: &str| coding.get(member).and_then(Value::as_str).map(str::to_owned);
    value.pointer(pointer).and_then(Value::as_array).is_some_and(|codings| {
        codings.iter().any(|coding| {
            text(coding, member).as_deref() == Some(wanted)
                && system.is_none_or(|system| text(coding, "system").as_deref() == Some(system))
        })
    })
}

/// Returns whether one of the dates meets a FHIR date parameter: a prefix, and a date as precise as it is written.
fn date_matches(held: &[String], value: &str) -> Option<bool> {
    let mut met = false;
    for wanted in value.split(',') {
        let split = wanted.find(|character: char| character.is_ascii_digit())?;
        let (prefix, date) = wanted.split_at(split);
        let looks_like_a_date =
            date.len() >= 4 && date.chars().all(|character| character.is_ascii_digit() || "-:TZ.+".contains(character));
        if !looks_like_a_date {
            return None;
        }
        let date = date.trim_end_matches('Z').trim_end_matches("+00:00");
        let accepts: fn(Ordering) -> bool = match prefix {
            "" | "eq" => Ordering::is_eq,
            "ne" => Ordering::is_ne,
            "gt" | "sa" => Ordering::is_gt,
            "ge" => Ordering::is_ge,
            "lt" | "eb" => Ordering::is_lt,
            "le" => Ordering::is_le,
            _ => return None,
        };
        met |= held.iter().any(|text| {
            let precise: String = text.chars().take(date.len()).collect();
            accepts(precise.as_str().cmp(date))
        });
    }
    Some(met)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    fn allowed() -> Vec<String> {
        ["_id", "name", "family", "birthdate", "gender", "identifier", "_lastUpdated", "patient", "code", "category"]
            .map(str::to_owned)
            .to_vec()
    }

    fn ids(personality: Personality, resource_type: &str, query: &str) -> Vec<String> {
        let population = Population::new(personality, 20, 1, 1_795_487_302);
        let parameters: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        match search(personality, &population, resource_type, &allowed(), &parameters) {
            SearchOutcome::Resources { resources, .. } => resources.iter().map(|found| found.id.clone()).collect(),
            SearchOutcome::Broken(message) => panic!("{message}"),
            SearchOutcome::Injected(message) => panic!("{message}"),
        }
    }

    fn count(resource_type: &str, query: &str) -> usize {
        ids(Personality::V8_0, resource_type, query).len()
    }

    #[test]
    fn result_parameters_by_version() {
        assert_eq!(count("Patient", "_count=5"), 5);
        assert_eq!(count("Patient", "_count=0"), 20);
        assert_eq!(count("Patient", "_count=abc"), 20);
        assert_eq!(count("Patient", "_offset=5"), 20);
        assert_eq!(count("Patient", "_count=50&_offset=15"), 5);
        assert_eq!(count("Observation", "_count=5&_offset=5"), 5);
        let first = ids(Personality::V8_0, "Observation", "_count=5");
        assert_eq!(ids(Personality::V8_0, "Observation", "_count=5&_offset=5"), first);
        assert_eq!(ids(Personality::V7_0_3, "Patient", "").len(), 20);
        for parameter in ["_count=5", "_offset=5", "_sort=family"] {
            assert!(ids(Personality::V7_0_3, "Patient", parameter).is_empty(), "{parameter}");
        }
    }

    #[test]
    fn what_is_not_supported_empties_the_bundle() {
        for query in ["bogus=1", "_format=json", "_summary=count", "_id=a&_total=none", "birthdate=notadate"] {
            assert_eq!(count("Patient", query), 0, "{query}");
        }
    }

    #[test]
    fn paging_gives_each_patient_once_and_sorting_sorts() {
        let pages: Vec<String> =
            (0..4).flat_map(|page| ids(Personality::V8_0, "Patient", &format!("_count=5&_offset={}", page * 5))).collect();
        assert_eq!(pages, ids(Personality::V8_0, "Patient", ""));
        let mut forward = ids(Personality::V8_0, "Patient", "_sort=birthdate");
        assert_ne!(forward, pages);
        forward.reverse();
        let backward = ids(Personality::V8_0, "Patient", "_sort=-birthdate");
        assert_eq!(forward.first(), backward.first());
    }

    #[test]
    fn sql_in_a_sort_key_reaches_the_database() {
        let population = Population::new(Personality::V8_0, 1, 1, 0);
        for (key, injected) in
            [("birthdate", false), ("-family,given", false), ("family;", true), ("(SELECT 1)", true), ("a b", true)]
        {
            let parameters = [("_sort".to_owned(), key.to_owned())];
            let outcome = search(Personality::V8_0, &population, "Patient", &allowed(), &parameters);
            assert_eq!(matches!(outcome, SearchOutcome::Injected(_)), injected, "{key}");
        }
    }

    #[test]
    fn criteria() {
        let everyone = ids(Personality::V8_0, "Patient", "");
        let (first, second) = (&everyone[0], &everyone[1]);
        assert_eq!(count("Patient", &format!("_id={first}")), 1);
        assert_eq!(count("Patient", &format!("_id={first},{second}")), 2);
        assert_eq!(count("Patient", &format!("_id=Patient/{first}")), 0);
        assert_eq!(count("Patient", "gender=female") + count("Patient", "gender=male"), 20);
        assert_eq!(count("Patient", "identifier=LAB-000001"), 1);
        assert_eq!(count("Patient", "birthdate=ge1900"), 20);
        assert_eq!(count("Patient", "birthdate=lt1900-01-01"), 0);
        assert_eq!(count("Patient", "name="), 20);
        assert_eq!(count("Observation", &format!("patient={first}")), 5);
        assert_eq!(count("Observation", &format!("patient=Patient/{first}&code=8867-4")), 1);
        assert_eq!(count("Observation", "code=http://loinc.org|8867-4"), 20);
        assert_eq!(count("Observation", "category=vital-signs"), 100);
        assert_eq!(count("Observation", "category=laboratory"), 0);
    }
}
