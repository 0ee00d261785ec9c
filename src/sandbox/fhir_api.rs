//! `/apis/{site}/…`: authorization, routing, and the read and search interactions.

use super::{
    access_token::Grant,
    answer::{Answer, HeaderSet},
    bulk_export, calendar, error_answers,
    faults::ServerError,
    fhir_request::FhirRequest,
    instance::Instance,
    next_answers, next_bundle, next_write, operation_definition,
    personality::Personality,
    php_json::{self, Escapes},
    resource::Resource,
    response::Body,
    scopes::{self, Interaction},
    search::{self, Failure, SearchOutcome},
    tampering, write,
};
use bytes::Bytes;
use serde_json::Value;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Answers a request of a site that exists.
pub(super) fn answer(instance: &Instance, request: &FhirRequest<'_>) -> Answer {
    let method = &*request.method;
    let (site, rest) = request.site_and_rest();
    if method == "OPTIONS" {
        return match instance.personality {
            // The router comes before the handler that would have answered.
            Personality::V8_0 | Personality::Next => error_answers::route_not_found(instance.personality),
            Personality::V7_0_3 => Answer::empty(200),
        };
    }
    let fhir_path = rest.strip_prefix("fhir").filter(|path| path.is_empty() || path.starts_with('/'));
    let segments: Vec<&str> = fhir_path.unwrap_or_default().split('/').skip(1).collect();
    if let (Some(_), "GET", Some(answer)) = (fhir_path, method, open_route(instance, request, &segments)) {
        return answer;
    }
    let grant = match instance.tokens.check(site, request.head.field("authorization"), instance.clock.now()) {
        Ok(grant) => grant,
        Err(reason) => return error_answers::invalid_token(instance.personality, &reason),
    };
    match fhir_path {
        Some(_) => routed(instance, request, &grant, &segments),
        None if rest.starts_with("api") || rest.starts_with("portal") => match instance.personality {
            Personality::V8_0 | Personality::Next => Answer::error(
                403,
                "OpenEMR Error: API call failed due to insufficient permissions for the requested resource.",
                0,
            ),
            Personality::V7_0_3 => Answer::empty(401).with_header_set(HeaderSet::BeforeCors),
        },
        None => error_answers::route_not_found(instance.personality),
    }
}

/// Answers the routes that need no token; a token is not even looked at.
fn open_route(instance: &Instance, request: &FhirRequest<'_>, segments: &[&str]) -> Option<Answer> {
    let discovery = instance.sites.get(request.site_and_rest().0)?;
    match segments {
        ["metadata"] => Some(Answer::json(200, discovery.capability_statement.clone())),
        [".well-known", "smart-configuration"] => Some(Answer::json(200, discovery.smart_configuration.clone())),
        ["OperationDefinition"] => Some(operation_definitions(instance, request)),
        _ => None,
    }
}

/// Returns the Bundle of definitions, which stand in the place of their entries.
fn operation_definitions(instance: &Instance, request: &FhirRequest<'_>) -> Answer {
    let definition = operation_definition::operation_definition();
    if instance.personality == Personality::Next {
        return next_bundle::definitions(instance, request, &definition);
    }
    bundle(instance, request, &[Bytes::from(php_json::encode(&definition, Escapes::Plain))])
}

fn routed(instance: &Instance, request: &FhirRequest<'_>, grant: &Grant, segments: &[&str]) -> Answer {
    let method = &*request.method;
    let has_route = |resource_type: &str| instance.search_parameters.contains_key(resource_type);
    let writes = |resource_type: &str| instance.personality.written_types().contains(&resource_type);
    match (method, segments) {
        ("GET", ["$export"] | ["Patient", "$export"] | ["Group", _, "$export"]) => {
            bulk_export::kick_off(instance, request, grant)
        }
        ("GET", ["$bulkdata-status"]) => bulk_export::status(instance, request, grant),
        ("DELETE", ["$bulkdata-status"]) => bulk_export::delete(instance, request, grant),
        ("GET", ["Binary", id]) => bulk_export::binary(instance, grant, id),
        ("GET", [resource_type]) if has_route(resource_type) && *resource_type != "Binary" => {
            search_answer(instance, request, grant, resource_type)
        }
        ("POST", [resource_type, "_search"]) if has_route(resource_type) && *resource_type != "Binary" => {
            search_answer(instance, request, grant, resource_type)
        }
        ("POST", ["DocumentReference", "$docref"]) => docref(instance, request, grant),
        ("GET", ["DocumentReference", "$docref"]) => error_answers::route_not_found(instance.personality),
        ("GET", [resource_type, id]) if has_route(resource_type) && is_id(id) => {
            read(instance, request, grant, resource_type, id)
        }
        ("POST", [resource_type]) if instance.personality == Personality::Next && writes(resource_type) => {
            next_write::create(instance, request, grant, resource_type)
        }
        ("PUT", [resource_type, id]) if instance.personality == Personality::Next && writes(resource_type) && is_id(id) => {
            next_write::update(instance, request, grant, resource_type, id)
        }
        ("POST", [resource_type @ ("Patient" | "Practitioner" | "Organization")]) => {
            write::create(instance, request, grant, resource_type)
        }
        ("PUT", [resource_type @ ("Patient" | "Practitioner" | "Organization"), id]) if is_id(id) => {
            write::update(instance, request, grant, resource_type, id)
        }
        (_, []) if instance.personality == Personality::V7_0_3 => Answer::empty(501).with_header_set(HeaderSet::BeforeCors),
        _ => error_answers::route_not_found(instance.personality),
    }
}

/// Returns whether the router takes `text` for an id.
fn is_id(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|character| character.is_ascii_alphanumeric() || "-_$:".contains(character))
}

fn read(instance: &Instance, request: &FhirRequest<'_>, grant: &Grant, resource_type: &str, id: &str) -> Answer {
    if !scopes::allows(instance.personality, &grant.scopes, resource_type, Interaction::Read) {
        return error_answers::scope_missing(instance.personality);
    }
    let population = instance.population.read();
    let found = match resource_type {
        "ValueSet" => return failed_search(instance, &Failure::Error("System error occurred")),
        "Provenance" => population.provenance(id),
        "OperationDefinition" if id == "$bulkdata-status" => {
            return Answer::value(200, &operation_definition::operation_definition(), Escapes::Hex);
        }
        _ => match error_answers::malformed_id(id) {
            Some(answer) => return answer,
            None => population.get(resource_type, id).cloned(),
        },
    };
    match tampering::foreign(request.faults, &population, resource_type).or(found) {
        Some(resource) => Answer::new(200, "application/json", Body::Whole(resource.wire_at(instance.clock.seconds()))),
        None => Answer::json(404, "[]"),
    }
}

/// Answers `POST /DocumentReference/$docref?patient=` with the patient's newest document; the parameters come from the
/// query alone.
fn docref(instance: &Instance, request: &FhirRequest<'_>, grant: &Grant) -> Answer {
    if !grant.scopes.iter().any(|scope| scope == "system/DocumentReference.$docref") {
        return error_answers::scope_missing(instance.personality);
    }
    let patient = request.parameter("patient").unwrap_or_default();
    let subject = format!("Patient/{}", patient.rsplit('/').next().unwrap_or_default());
    let is_theirs =
        |document: &&Arc<Resource>| document.value.pointer("/subject/reference").and_then(Value::as_str) == Some(&*subject);
    let population = instance.population.read();
    let date = |document: &&Arc<Resource>| document.value.get("date").map(Value::to_string);
    let newest = population.all("DocumentReference").iter().filter(is_theirs).max_by_key(date);
    let now = instance.clock.seconds();
    let foreign = tampering::foreign(request.faults, &population, "DocumentReference");
    let newest = foreign.as_ref().or(newest);
    let entries: Vec<Bytes> =
        newest.map(|document| entry(instance, request, &document.id, &document.wire_at(now))).into_iter().collect();
    bundle(instance, request, &entries)
}

fn search_answer(instance: &Instance, request: &FhirRequest<'_>, grant: &Grant, resource_type: &str) -> Answer {
    if !scopes::allows(instance.personality, &grant.scopes, resource_type, Interaction::Search) {
        return error_answers::scope_missing(instance.personality);
    }
    let allowed = instance.search_parameters.get(resource_type).map_or(&[][..], Vec::as_slice);
    let population = instance.population.read();
    let escapes = instance.personality.fhir_escapes();
    let mut parameters = request.search_parameters();
    tampering::ignore(request.faults, &mut parameters);
    let now = instance.clock.seconds();
    let mut found = match search::search(instance.personality, &population, resource_type, allowed, &parameters, now) {
        SearchOutcome::Found(found) => found,
        SearchOutcome::Failed(failure) => return failed_search(instance, &failure),
    };
    tampering::mix_in(request.faults, &population, resource_type, &mut found.resources);
    count_rows(&instance.counters.rows_made, found.made);
    if instance.personality == Personality::Next {
        let strict = request.head.field("prefer").is_some_and(|prefer| prefer.contains("handling=strict"));
        return match found.ignored.first() {
            Some(name) if strict => {
                next_answers::outcome(400, "not-supported", &format!("The search parameter {name} is not supported"))
            }
            _ => {
                count_rows(&instance.counters.rows_sent, found.resources.len());
                next_bundle::bundle(instance, request, &population, resource_type, &found)
            }
        };
    }
    let mut entries: Vec<Bytes> = Vec::with_capacity(found.resources.len());
    for resource in &found.resources {
        entries.push(entry(instance, request, &resource.id, &resource.wire_at(now)));
        if found.with_provenance {
            let provenance = population.clinic().provenance_of(resource_type, &resource.id);
            let id = format!("{resource_type}-PSK-{}", resource.id);
            entries.push(entry(instance, request, &id, php_json::encode(&provenance, escapes).as_bytes()));
        }
    }
    if let Some(count) = found.count {
        entries.truncate(count);
    }
    count_rows(&instance.counters.rows_sent, entries.len());
    bundle(instance, request, &entries)
}

fn count_rows(counted: &AtomicU64, rows: usize) {
    counted.fetch_add(rows as u64, Ordering::Relaxed);
}

/// Returns the answer to a search that fails.
fn failed_search(instance: &Instance, failure: &Failure) -> Answer {
    let page = |status, text: &str| Answer::new(status, "text/html; charset=UTF-8", Body::Whole(Bytes::from(text.to_owned())));
    match (failure, instance.personality) {
        (Failure::Injected(message), _) => {
            instance.counters.sql_injections.fetch_add(1, Ordering::Relaxed);
            page(500, message)
        }
        (Failure::Page(text), _) => page(200, text),
        (Failure::Endless, _) => {
            let patience = instance.exports.lock().behavior().apache_waits_ms;
            error_answers::server_error(instance.personality, ServerError::PhpFpmTimeout).delayed_by(patience)
        }
        (_, Personality::V7_0_3) => Answer::empty(500),
        (Failure::Error(message), Personality::V8_0 | Personality::Next) => Answer::error(500, message, 0),
        (Failure::Query(text), Personality::V8_0 | Personality::Next) => {
            error_answers::after_text(text, 500, "System error occurred")
        }
    }
}

/// Returns an entry of a Bundle: its `fullUrl` is the path of the request with the id behind it.
fn entry(instance: &Instance, request: &FhirRequest<'_>, id: &str, wire: &[u8]) -> Bytes {
    let url = format!("{}{}/{id}", instance.site_address, request.head.path());
    let url = php_json::encode_string(&url, instance.personality.fhir_escapes());
    Bytes::from([br#"{"fullUrl":"#, url.as_bytes(), br#","resource":"#, wire, b"}"].concat())
}

/// Returns a Bundle of these entries. `self` repeats the address of the request, `/_search` included.
fn bundle(instance: &Instance, request: &FhirRequest<'_>, entries: &[Bytes]) -> Answer {
    let address = format!("{}{}", instance.site_address, request.head.path());
    let mut bundle = format!(
        r#"{{"meta":{{"lastUpdated":"{}"}},"resourceType":"Bundle","type":"collection","total":{},"link":[{{"relation":"self","url":{}}}]"#,
        calendar::date_time(instance.clock.seconds()),
        entries.len(),
        php_json::encode_string(&address, instance.personality.fhir_escapes()),
    )
    .into_bytes();
    for (index, entry) in entries.iter().enumerate() {
        bundle.extend_from_slice(if index == 0 { br#","entry":["# } else { b"," });
        bundle.extend_from_slice(entry);
    }
    bundle.extend_from_slice(if entries.is_empty() { b"}" } else { b"]}" });
    Answer::new(200, "application/json", Body::Whole(Bytes::from(bundle))).with_entries(entries.len())
}
