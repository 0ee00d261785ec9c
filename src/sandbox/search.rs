//! The search interaction: the resources that a query finds, as measured on running installs.
//!
//! A parameter that the type does not have yields an empty Bundle, not an error. 8.0 takes `_count` (cut at 200) and
//! `_sort` on every type and `_offset` on Patient alone; 7.0.3 takes none of them. Some searches fail, in several ways.

use std::sync::Arc;

use serde_json::Value;

use super::{
    criteria::{Criterion, SearchParameter},
    personality::Personality,
    population::Population,
    resource::Resource,
};

/// The greatest `_count`.
const COUNT_LIMIT: usize = 200;
/// The size of a page of the next OpenEMR where `_count` does not say.
const PAGE: usize = 100;
/// What OpenEMR says of a failure that it does not explain.
const SYSTEM_ERROR: &str = "System error occurred";

/// The result of a search.
pub(super) enum SearchOutcome {
    /// It finds these.
    Found(Found),
    /// The search fails.
    Failed(Failure),
}

/// What a search finds.
#[derive(Default)]
pub(super) struct Found {
    /// The resources in order.
    pub(super) resources: Vec<Arc<Resource>>,
    /// Whether the request had `_revinclude=Provenance:target`.
    pub(super) with_provenance: bool,
    /// The request's `_count`, which on 8.0 limits resources and Provenances together.
    pub(super) count: Option<usize>,
    /// How many rows it made: those of the page where the database cuts it, otherwise all that it finds.
    pub(super) made: usize,
    /// How many resources there are on all pages of the next OpenEMR.
    pub(super) total: usize,
    /// How many resources its page has at most.
    pub(super) page: usize,
    /// Where its next page begins, if there is one.
    pub(super) next_offset: Option<usize>,
    /// The names of the parameters that it ignored.
    pub(super) ignored: Vec<String>,
}

/// How a search fails.
#[derive(Debug)]
pub(super) enum Failure {
    /// A 500 with this message.
    Error(&'static str),
    /// A 500 with this SQL text in front of the message.
    Query(&'static str),
    /// A 200 with this SQL text as a page.
    Page(&'static str),
    /// SQL of the caller's reached the database, which says so in this text.
    Injected(String),
    /// It takes so long that Apache gives up.
    Endless,
}

/// Searches the resources of a type at `now` (seconds since 1970). `announced` are the parameters that the
/// CapabilityStatement lists for it.
pub(super) fn search(
    personality: Personality,
    population: &Population,
    resource_type: &str,
    announced: &[SearchParameter],
    parameters: &[(String, String)],
    now: i64,
) -> SearchOutcome {
    if let Some(failure) = failure(personality, resource_type, announced, parameters) {
        return SearchOutcome::Failed(failure);
    }
    let mut count = None;
    let mut offset = 0;
    let mut sort = None;
    let mut with_provenance = false;
    let mut criteria: Vec<Criterion<'_>> = Vec::new();
    let mut ignored = Vec::new();
    let next = personality == Personality::Next;
    for (name, value) in filled(parameters) {
        match (name, personality) {
            ("_revinclude", _) if value == "Provenance:target" => with_provenance = true,
            // Zero, and what is not a number, mean no limit.
            ("_count", Personality::V8_0 | Personality::Next) => {
                count = value.parse().ok().filter(|&count| count > 0).map(|count: usize| count.min(COUNT_LIMIT));
            }
            ("_offset", Personality::V8_0 | Personality::Next) => offset = value.parse().unwrap_or(0),
            ("_sort", Personality::V8_0 | Personality::Next) => sort = Some(value),
            ("category", Personality::V8_0 | Personality::Next) if resource_type == "Condition" => {
                // Not announced, and works for two values; any other means all.
                let code = value.rsplit('|').next().unwrap_or_default();
                if ["encounter-diagnosis", "problem-list-item"].contains(&code) {
                    criteria.push(Criterion::category(code));
                }
            }
            _ => match Criterion::parse(announced, name, value) {
                Some(criterion) => criteria.push(criterion),
                None if next => ignored.push(name.to_owned()),
                None => return nothing(),
            },
        }
    }
    let Some(mut resources) = found(population, resource_type, &criteria, now) else {
        return nothing();
    };
    let total = resources.len();
    if let Some(sort) = sort.filter(|_| resource_type == "Patient") {
        sort_patients(&mut resources, sort);
    }
    // Every other search of 8.0 makes all rows, and drops those beyond `_count` then.
    let is_cut_by_database = next || (resource_type == "Patient" && count.is_some());
    if is_cut_by_database {
        resources = resources.split_off(offset.min(resources.len()));
    }
    let page = if next { count.unwrap_or(PAGE) } else { count.unwrap_or(usize::MAX) };
    let next_offset = (next && resources.len() > page).then(|| offset + page);
    resources.truncate(page);
    let made = if is_cut_by_database { resources.len() } else { total };
    SearchOutcome::Found(Found { resources, with_provenance, count, made, total, page, next_offset, ignored })
}

/// Returns the parameters that have a value; the others are ignored.
fn filled(parameters: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).filter(|(_, value)| !value.is_empty())
}

/// Returns how a search fails that OpenEMR cannot do.
fn failure(
    personality: Personality,
    resource_type: &str,
    announced: &[SearchParameter],
    parameters: &[(String, String)],
) -> Option<Failure> {
    let on_8_0 = personality != Personality::V7_0_3;
    let has = |wanted: &str| filled(parameters).any(|(name, _)| name == wanted);
    for (name, value) in filled(parameters) {
        match (resource_type, name) {
            (_, "_count") if on_8_0 && value.starts_with('-') => return Some(Failure::Error(SYSTEM_ERROR)),
            ("ValueSet", "_count")
                if personality == Personality::V8_0 && value.parse().is_ok_and(|count| (1..COUNT_LIMIT).contains(&count)) =>
            {
                return Some(Failure::Error(SYSTEM_ERROR));
            }
            (_, "_sort") if on_8_0 && value == "-_id" => {
                return Some(Failure::Error("Unknown column '-_id' in 'order clause'"));
            }
            // `_sort` goes into `ORDER BY` as it is (CVE-2026-24908).
            (_, "_sort") if on_8_0 && !value.split(',').all(is_column) => {
                return Some(Failure::Injected(format!(
                    "Query Error: SELECT patient_data.* FROM patient_data ORDER BY {value}: You have an error in your SQL syntax"
                )));
            }
            ("Condition", "category") if on_8_0 && has("clinical-status") => return Some(Failure::Error(SYSTEM_ERROR)),
            ("Observation", "_id") if !value.split(',').all(|id| uuid::Uuid::try_parse(id).is_ok()) => {
                return Some(Failure::Error(SYSTEM_ERROR));
            }
            _ => {}
        }
        let criterion = Criterion::parse(announced, name, value);
        match criterion.map(|criterion| (resource_type, criterion.name, criterion.fails())) {
            Some((_, _, true)) => return Some(Failure::Error(SYSTEM_ERROR)),
            Some(("Practitioner", "name", _)) => {
                return Some(Failure::Query("Query Error: Unknown column 'name' in 'where clause'<br />"));
            }
            Some(("Organization", "address", _)) => {
                return Some(Failure::Query("Query Error: Unknown column 'street' in 'where clause'<br />"));
            }
            Some(("Goal", "description", _)) => return Some(Failure::Error(SYSTEM_ERROR)),
            Some(("MedicationDispense", "status", _)) => {
                return Some(Failure::Page("<p>Query Error: Unknown column 'status' in 'where clause'</p>"));
            }
            _ => {}
        }
    }
    // Made from every resource of every type.
    (resource_type == "Provenance" && !has("_id")).then_some(Failure::Endless)
}

/// Returns the rows that meet all criteria; `None` when a value is malformed.
fn found(population: &Population, resource_type: &str, criteria: &[Criterion<'_>], now: i64) -> Option<Vec<Arc<Resource>>> {
    if resource_type == "Provenance" {
        let ids = criteria.iter().filter(|criterion| criterion.name == "_id").flat_map(|criterion| criterion.value.split(','));
        return Some(ids.filter_map(|id| population.provenance(id)).collect());
    }
    let mut found = Vec::new();
    for resource in population.rows(resource_type) {
        let met = criteria.iter().map(|criterion| criterion.is_met_by(resource_type, resource, now));
        if met.collect::<Option<Vec<bool>>>()?.into_iter().all(|met| met) {
            found.push(Arc::clone(resource));
        }
    }
    Some(found)
}

/// Returns whether a sort key can only be the name of a column.
fn is_column(key: &str) -> bool {
    let name = key.strip_prefix('-').unwrap_or(key);
    !name.is_empty() && name.chars().all(|character| character.is_ascii_alphanumeric() || "_-".contains(character))
}

fn nothing() -> SearchOutcome {
    SearchOutcome::Found(Found::default())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use super::{super::discovery, *};

    fn outcome(personality: Personality, resource_type: &str, query: &str) -> SearchOutcome {
        let population = Population::new(personality, "", 20, 1, 1_795_487_302);
        let announced = &discovery::search_parameters(personality)[resource_type];
        let parameters: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        search(personality, &population, resource_type, announced, &parameters, 1_795_487_302)
    }

    fn ids(personality: Personality, resource_type: &str, query: &str) -> Vec<String> {
        match outcome(personality, resource_type, query) {
            SearchOutcome::Found(found) => found.resources.iter().map(|found| found.id.clone()).collect(),
            SearchOutcome::Failed(failure) => panic!("{resource_type}?{query}: {failure:?}"),
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
        for (key, injected) in
            [("birthdate", false), ("-family,given", false), ("family;", true), ("(SELECT 1)", true), ("a b", true)]
        {
            let outcome = outcome(Personality::V8_0, "Patient", &format!("_sort={key}"));
            assert_eq!(matches!(outcome, SearchOutcome::Failed(Failure::Injected(_))), injected, "{key}");
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
        assert_eq!(count("Observation", "category=vital-signs"), 102);
        assert_eq!(count("Observation", "category=laboratory"), 4);
    }

    #[test]
    fn modifiers_work_on_what_is_announced_and_an_unknown_one_is_none() {
        let everyone = 20;
        let population = Population::new(Personality::V8_0, "", everyone, 1, 0);
        let family = population.all("Patient")[0].value["name"][0]["family"].as_str().unwrap().to_owned();
        let (start, end) = (family.chars().take(3).collect::<String>(), family.chars().skip(1).collect::<String>());
        let all = count("Patient", &format!("family={family}"));
        assert!(all > 0 && all < everyone);
        for (query, found) in [
            (format!("family:exact={family}"), all),
            (format!("family:exact={}", family.to_lowercase()), 0),
            (format!("family:exact={start}"), 0),
            (format!("family:suffix={end}"), all),
            (format!("family:prefix={end}"), 0),
            (format!("family:sounds-like={family}"), all),
            ("family:missing=true&given=zzz".to_owned(), 0),
        ] {
            assert_eq!(count("Patient", &query), found, "{query}");
        }
        assert!(count("Patient", &format!("family:contains={end}")) >= all);
        assert_eq!(count("Patient", "gender:not=male"), count("Patient", "gender=female"));
        assert_eq!(count("Patient", "gender:in=male"), count("Patient", "gender=male"));
        assert_eq!(count("Patient", "family:missing=true"), everyone);
        assert_eq!(count("Patient", "active:exact=true"), 0);
    }

    #[test]
    fn codes_in_a_list_need_their_systems() {
        let both = count("Observation", "code=8867-4") + count("Observation", "code=29463-7");
        assert_eq!(both, 40);
        assert_eq!(count("Observation", "code=http://loinc.org|8867-4,http://loinc.org|29463-7"), both);
        assert_eq!(count("Observation", "code=8867-4,29463-7"), 0);
        assert_eq!(count("Observation", "code=http://loinc.org|8867-4,29463-7"), 0);
    }

    #[test]
    fn a_category_of_conditions_filters_on_8_0_for_two_values() {
        assert_eq!(count("Condition", ""), 10);
        assert_eq!(count("Condition", "category=encounter-diagnosis"), 2);
        assert_eq!(count("Condition", "category=problem-list-item"), 8);
        assert_eq!(count("Condition", "category=health-concern"), 10);
        assert_eq!(ids(Personality::V7_0_3, "Condition", "category=problem-list-item").len(), 0);
        assert_eq!(count("Condition", "clinical-status=active"), 0);
    }

    #[test]
    fn immunizations_come_twice_and_a_provenance_by_its_id() {
        let found = ids(Personality::V8_0, "Immunization", "");
        assert_eq!(found.len(), 8);
        assert_eq!(found[0], found[1]);
        let patient = &ids(Personality::V8_0, "Patient", "")[0];
        assert_eq!(count("Provenance", &format!("_id=Patient-PSK-{patient}")), 1);
        assert_eq!(count("Provenance", &format!("_id=Patient-PSK-x,{patient}")), 0);
    }

    #[test]
    fn service_requests_are_found_by_openemrs_own_word() {
        assert_eq!(count("ServiceRequest", ""), 4);
        assert_eq!(count("ServiceRequest", "status=completed"), 0);
        assert_eq!(count("ServiceRequest", "status=complete"), 2);
    }

    #[test]
    fn what_openemr_cannot_do_fails_as_there() {
        for (resource_type, query, expected) in [
            ("ValueSet", "_count=199", "Error"),
            ("Condition", "category=problem-list-item&clinical-status=active", "Error"),
            ("Practitioner", "name=A", "Query"),
            ("Organization", "address=A", "Query"),
            ("Goal", "description=A", "Error"),
            ("Observation", "_id=nonsense", "Error"),
            ("Patient", "birthdate:missing=true", "Error"),
            ("Patient", "_id:missing=true", "Error"),
            ("Observation", "patient:missing=true", "Error"),
            ("Patient", "_count=-1", "Error"),
            ("MedicationDispense", "status=completed", "Page"),
            ("Provenance", "", "Endless"),
            ("Provenance", "_count=5", "Endless"),
        ] {
            match outcome(Personality::V8_0, resource_type, query) {
                SearchOutcome::Failed(failure) => {
                    assert!(format!("{failure:?}").starts_with(expected), "{resource_type}?{query}")
                }
                SearchOutcome::Found(_) => panic!("{resource_type}?{query} does not fail"),
            }
        }
        assert_eq!(count("ValueSet", "_count=200"), count("ValueSet", ""));
        assert_eq!(ids(Personality::V7_0_3, "Goal", "description=A").len(), 0);
    }
}
