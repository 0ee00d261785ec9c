//! The search Bundles of the next OpenEMR: `searchset`, in pages with a `next` link, the total of all matches, and
//! `search.mode`. The entries stand before the links and the total.

use serde_json::{Map, Value, json};

use super::{
    answer::Answer,
    calendar,
    fhir_request::FhirRequest,
    instance::Instance,
    next_answers::{operation_outcome, reordered, resource},
    population::Population,
    random::random_uuid,
    search::Found,
};

/// Returns the page of a search.
pub(super) fn bundle(
    instance: &Instance,
    request: &FhirRequest<'_>,
    population: &Population,
    resource_type: &str,
    found: &Found,
) -> Answer {
    let fhir = format!("{}/apis/{}/fhir", instance.site_address, request.site_and_rest().0);
    let entry = |mode: &str, value: &Value| {
        let (name, id) = (text(value, "resourceType"), text(value, "id"));
        json!({"search": {"mode": mode}, "resource": reordered(value), "fullUrl": format!("{fhir}/{name}/{id}")})
    };
    let now = instance.clock.seconds();
    let mut entries: Vec<Value> = Vec::new();
    for resource in &found.resources {
        entries.push(entry("match", &resource.value_at(now)));
        if found.with_provenance {
            entries.push(entry("include", &population.clinic().provenance_of(resource_type, &resource.id)));
        }
    }
    if !found.ignored.is_empty() {
        let issue = |name: &String| ("warning", "not-supported", format!("The search parameter {name} is not supported"));
        let outcome = operation_outcome(found.ignored.iter().map(issue));
        entries.push(json!({"search": {"mode": "outcome"}, "resource": outcome}));
    }
    let address = format!("{fhir}/{resource_type}");
    let mut links = vec![json!({"url": with_query(&address, &request.search_parameters()), "relation": "self"})];
    if let Some(offset) = found.next_offset {
        let is_page = |name: &str| name == "_count" || name == "_offset";
        let mut parameters = request.search_parameters();
        parameters.retain(|(name, _)| !is_page(name));
        parameters.push(("_count".to_owned(), found.page.to_string()));
        parameters.push(("_offset".to_owned(), offset.to_string()));
        links.insert(0, json!({"url": with_query(&address, &parameters), "relation": "next"}));
    }
    let mut bundle = Map::new();
    let mut insert = |name: &str, value: Value| bundle.insert(name.to_owned(), value);
    insert("resourceType", json!("Bundle"));
    insert("id", json!(random_uuid()));
    insert("timestamp", json!(format!("{}Z", calendar::date_time(now))));
    insert("type", json!("searchset"));
    let entry_count = entries.len();
    if !entries.is_empty() {
        insert("entry", Value::Array(entries));
    }
    insert("link", Value::Array(links));
    insert("total", json!(found.total));
    resource(200, &Value::Object(bundle)).with_entries(entry_count)
}

/// Returns the Bundle of the only OperationDefinition.
pub(super) fn definitions(instance: &Instance, request: &FhirRequest<'_>, definition: &Value) -> Answer {
    let address = format!("{}/apis/{}/fhir/OperationDefinition", instance.site_address, request.site_and_rest().0);
    let bundle = json!({
        "resourceType": "Bundle", "id": random_uuid(), "type": "searchset",
        "entry": [{"search": {"mode": "match"}, "resource": definition}],
        "link": [{"url": address, "relation": "self"}], "total": 1,
    });
    resource(200, &bundle)
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}

fn with_query(address: &str, parameters: &[(String, String)]) -> String {
    if parameters.is_empty() {
        return address.to_owned();
    }
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    format!("{address}?{query}")
}
