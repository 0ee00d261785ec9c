//! `/apis/{site}/…`: who may come in, which route a request takes, and reading.

use bytes::Bytes;
use serde_json::json;

use super::{
    access_token::Grant,
    answer::{Answer, Dress},
    bulk_export, calendar,
    http1::{Body, ReceivedBody},
    personality::Personality,
    php_json::{self, Escapes},
    refusals,
    request_head::RequestHead,
    scopes::{self, Interaction},
    search::{self, Found},
    world::World,
    write,
};

/// What a handler needs to know of a request.
pub struct FhirRequest<'a> {
    /// The site in the path.
    pub site: &'a str,
    /// The request's head.
    pub head: &'a RequestHead,
    /// Its body, read to the end.
    pub body: &'a ReceivedBody,
}

/// Answers a request for `/apis/{site}/{rest}` of a site that exists.
pub fn answer(world: &World, request: &FhirRequest<'_>, rest: &str) -> Answer {
    let method = request.head.method.as_str();
    if method == "OPTIONS" {
        return match world.personality {
            // The router comes before the handler that would have answered.
            Personality::V8_0 => refusals::route_not_found(world.personality),
            Personality::V7_0_3 => Answer::empty(200),
        };
    }
    let fhir_path = rest.strip_prefix("fhir").filter(|path| path.is_empty() || path.starts_with('/'));
    let segments: Vec<&str> = fhir_path.unwrap_or_default().split('/').skip(1).collect();
    if let (Some(_), "GET", Some(answer)) = (fhir_path, method, open_route(world, request, &segments)) {
        return answer;
    }
    let grant = match world.tokens.check(request.site, request.head.field("authorization"), world.clock.now()) {
        Ok(grant) => grant,
        Err(refused) => return refusals::token_refused(world.personality, &refused),
    };
    match fhir_path {
        Some(_) => routed(world, request, &grant, &segments),
        None if rest.starts_with("api") || rest.starts_with("portal") => match world.personality {
            Personality::V8_0 => Answer::error(
                403,
                "OpenEMR Error: API call failed due to insufficient permissions for the requested resource.",
                0,
            ),
            Personality::V7_0_3 => Answer::empty(401).dressed(Dress::BeforeCors),
        },
        None => refusals::route_not_found(world.personality),
    }
}

/// The routes that need no token. A bad one is not even looked at.
fn open_route(world: &World, request: &FhirRequest<'_>, segments: &[&str]) -> Option<Answer> {
    let discovery = world.sites.get(request.site)?;
    match segments {
        ["metadata"] => Some(Answer::json(200, discovery.capability_statement.clone())),
        [".well-known", "smart-configuration"] => Some(Answer::json(200, discovery.smart_configuration.clone())),
        // Not recorded: the stand-in has no definitions to list.
        ["OperationDefinition"] => Some(bundle(world, request, &[])),
        _ => None,
    }
}

fn routed(world: &World, request: &FhirRequest<'_>, grant: &Grant, segments: &[&str]) -> Answer {
    let method = request.head.method.as_str();
    let has_route = |resource_type: &str| world.search_parameters.contains_key(resource_type);
    match (method, segments) {
        ("GET", ["$export"] | ["Patient", "$export"] | ["Group", _, "$export"]) => bulk_export::kick_off(world, request, grant),
        ("GET", ["$bulkdata-status"]) => bulk_export::status(world, request, grant),
        ("DELETE", ["$bulkdata-status"]) => bulk_export::delete(world, request, grant),
        ("GET", ["Binary", id]) => bulk_export::binary(world, grant, id),
        ("GET", [resource_type]) if has_route(resource_type) && *resource_type != "Binary" => {
            let parameters = form_urlencoded::parse(request.head.query().as_bytes()).into_owned().collect();
            search_answer(world, request, grant, resource_type, parameters)
        }
        ("POST", [resource_type, "_search"]) if has_route(resource_type) && *resource_type != "Binary" => {
            let query = form_urlencoded::parse(request.head.query().as_bytes()).into_owned();
            let form = form_urlencoded::parse(&request.body.kept).into_owned();
            search_answer(world, request, grant, resource_type, query.chain(form).collect())
        }
        ("GET", [resource_type, id]) if has_route(resource_type) && is_id(id) => read(world, grant, resource_type, id),
        ("POST", [resource_type @ ("Patient" | "Practitioner" | "Organization")]) => {
            write::create(world, request, grant, resource_type)
        }
        ("PUT", [resource_type @ ("Patient" | "Practitioner" | "Organization"), id]) if is_id(id) => {
            write::update(world, request, grant, resource_type, id)
        }
        (_, []) if world.personality == Personality::V7_0_3 => Answer::empty(501).dressed(Dress::BeforeCors),
        _ => refusals::route_not_found(world.personality),
    }
}

/// What the router takes for an id.
fn is_id(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|character| character.is_ascii_alphanumeric() || "-_$:".contains(character))
}

fn read(world: &World, grant: &Grant, resource_type: &str, id: &str) -> Answer {
    if !scopes::allows(world.personality, &grant.scopes, resource_type, Interaction::Read) {
        return refusals::scope_missing(world.personality);
    }
    if let Some(answer) = malformed_id(id) {
        return answer;
    }
    let population = world.population();
    match population.get(resource_type, id) {
        Some(resource) => Answer::new(200, "application/json", Body::Whole(resource.wire.clone())),
        None => Answer::json(404, "[]"),
    }
}

/// The 400 for an id that is no UUID.
pub fn malformed_id(id: &str) -> Option<Answer> {
    if uuid::Uuid::try_parse(id).is_ok_and(|uuid| uuid.hyphenated().to_string() == id.to_ascii_lowercase()) {
        return None;
    }
    let words = "The search field argument was invalid, improperly formatted, or could not be parsed.  Inner message: UUID columns must be a valid UUID string";
    Some(Answer::value(400, &json!({"validationErrors": {"_id": words}}), Escapes::Plain))
}

fn search_answer(
    world: &World,
    request: &FhirRequest<'_>,
    grant: &Grant,
    resource_type: &str,
    parameters: Vec<(String, String)>,
) -> Answer {
    if !scopes::allows(world.personality, &grant.scopes, resource_type, Interaction::Search) {
        return refusals::scope_missing(world.personality);
    }
    let allowed = world.search_parameters.get(resource_type).map_or(&[][..], Vec::as_slice);
    let population = world.population();
    let escapes = world.personality.fhir_escapes();
    let (resources, with_provenance, count) =
        match search::search(world.personality, &population, resource_type, allowed, &parameters) {
            Found::Resources { resources, with_provenance, count } => (resources, with_provenance, count),
            Found::Broken(message) => {
                return match world.personality {
                    Personality::V8_0 => Answer::error(500, message, 0),
                    Personality::V7_0_3 => Answer::empty(500),
                };
            }
        };
    let mut entries: Vec<(String, Bytes)> = Vec::with_capacity(resources.len());
    for resource in &resources {
        entries.push((resource.id.clone(), resource.wire.clone()));
        if with_provenance {
            let provenance = population.provenance_of(resource_type, &resource.id);
            let id = format!("{resource_type}-PSK-{}", resource.id);
            entries.push((id, Bytes::from(php_json::encode(&provenance, escapes))));
        }
    }
    if let Some(count) = count {
        entries.truncate(count);
    }
    bundle(world, request, &entries)
}

/// A Bundle of these ids and resources. Self and fullUrl are the address as it was called, an odd `/_search` included.
fn bundle(world: &World, request: &FhirRequest<'_>, entries: &[(String, Bytes)]) -> Answer {
    let escapes = world.personality.fhir_escapes();
    let address = format!("{}{}", world.site_address, request.head.path());
    let quoted = |text: &str| php_json::encode_string(text, escapes);
    let mut bundle = format!(
        r#"{{"meta":{{"lastUpdated":"{}"}},"resourceType":"Bundle","type":"collection","total":{},"link":[{{"relation":"self","url":{}}}]"#,
        calendar::date_time(world.clock.now() as i64),
        entries.len(),
        quoted(&address),
    )
    .into_bytes();
    for (index, (id, wire)) in entries.iter().enumerate() {
        bundle.extend_from_slice(if index == 0 { br#","entry":["# } else { b"," });
        bundle.extend_from_slice(br#"{"fullUrl":"#);
        bundle.extend_from_slice(quoted(&format!("{address}/{id}")).as_bytes());
        bundle.extend_from_slice(br#","resource":"#);
        bundle.extend_from_slice(wire);
        bundle.push(b'}');
    }
    bundle.extend_from_slice(if entries.is_empty() { b"}" } else { b"]}" });
    Answer::new(200, "application/json", Body::Whole(Bytes::from(bundle)))
}
