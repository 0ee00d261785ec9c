//! The documents that OpenEMR serves without a token: SMART and OpenID discovery, and the CapabilityStatement.
//!
//! They are recordings with placeholders for the addresses, which are filled in at the start.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{
    calendar,
    criteria::{ParameterKind, SearchParameter},
    personality::Personality,
};

/// The documents of one site.
pub(super) struct Discovery {
    /// `GET /oauth2/{site}/.well-known/openid-configuration`.
    pub(super) openid_configuration: String,
    /// `GET /apis/{site}/fhir/.well-known/smart-configuration`.
    pub(super) smart_configuration: String,
    /// `GET /apis/{site}/fhir/metadata`.
    pub(super) capability_statement: String,
}

impl Discovery {
    /// Makes the documents of `site` with `site_address` (scheme and authority) and the date of `now` (seconds since 1970).
    pub(super) fn new(personality: Personality, site_address: &str, site: &str, now: i64) -> Discovery {
        let (smart, capability) = match personality {
            Personality::V8_0 | Personality::Next => {
                (include_str!("answers/8.0-smart-configuration.json"), include_str!("answers/8.0-capability-statement.json"))
            }
            Personality::V7_0_3 => {
                (include_str!("answers/7.0.3-smart-configuration.json"), include_str!("answers/7.0.3-capability-statement.json"))
            }
        };
        let fill = |template: &str| {
            template
                .trim_end()
                .replace("@SITE_ADDRESS_ESCAPED@", &site_address.replace('/', "\\/"))
                .replace("@SITE_ADDRESS@", site_address)
                .replace("@SITE@", site)
                .replace("@TODAY@", &calendar::date(now))
        };
        Discovery {
            openid_configuration: fill(openid_configuration_template(personality)) + "\n",
            smart_configuration: fill(smart),
            capability_statement: match personality {
                Personality::Next => next_statement(&fill(capability)),
                _ => fill(capability),
            },
        }
    }
}

/// Returns the CapabilityStatement of the next OpenEMR: that of 8.0 with a version and with the types that it writes.
fn next_statement(text: &str) -> String {
    let mut statement: Value = serde_json::from_str(text).unwrap_or_default();
    if let Some(software) = statement.pointer_mut("/software") {
        *software = json!({"name": "OpenEMR", "version": "8.4.0"});
    }
    let resources = statement.pointer_mut("/rest/0/resource").and_then(Value::as_array_mut);
    for resource in resources.into_iter().flatten() {
        let written = resource.get("type").and_then(Value::as_str);
        if !written.is_some_and(|name| Personality::Next.written_types().contains(&name)) {
            continue;
        }
        if let Some(interactions) = resource.get_mut("interaction").and_then(Value::as_array_mut) {
            for code in ["create", "update"] {
                if !interactions.iter().any(|interaction| interaction.get("code").and_then(Value::as_str) == Some(code)) {
                    interactions.push(json!({"code": code}));
                }
            }
        }
    }
    statement.to_string()
}

/// Returns the recorded `openid-configuration` of a release; its `scopes_supported` are the scopes that the server knows.
pub(super) fn openid_configuration_template(personality: Personality) -> &'static str {
    match personality {
        Personality::V8_0 | Personality::Next => include_str!("answers/8.0-openid-configuration.json"),
        Personality::V7_0_3 => include_str!("answers/7.0.3-openid-configuration.json"),
    }
}

/// Returns the search parameters in the CapabilityStatement by resource type; the types are those that have a route.
pub(super) fn search_parameters(personality: Personality) -> HashMap<String, Vec<SearchParameter>> {
    let document = Discovery::new(personality, "", "", 0).capability_statement;
    let document: Value = serde_json::from_str(&document).unwrap_or_default();
    let text = |value: &Value, member: &str| value.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let parameter = |parameter: &Value| {
        let kind = match text(parameter, "type").as_str() {
            "token" => ParameterKind::Token,
            "date" => ParameterKind::Date,
            "reference" => ParameterKind::Reference,
            _ => ParameterKind::String,
        };
        SearchParameter { name: text(parameter, "name"), kind }
    };
    list(&document, "/rest/0/resource")
        .iter()
        .map(|resource| (text(resource, "type"), list(resource, "/searchParam").iter().map(parameter).collect()))
        .collect()
}
