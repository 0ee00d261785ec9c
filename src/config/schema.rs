//! The JSON Schema of the configuration, for editors.

use serde_json::{Map, Value as Json, json};

use super::configuration::Config;
use super::declaration::Members as _;
use super::shape::{KeyDescription, Shape, Visibility};

/// Text that holds `${NAME}` can stand for a value of any kind.
const VARIABLE: &str = r"\$\{";

/// The JSON Schema of the configuration file (draft 7, which YAML language servers understand).
#[must_use]
pub(crate) fn json_schema() -> String {
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), "http://json-schema.org/draft-07/schema#".into());
    schema.insert("title".to_owned(), "Configuration of openemr-gateway".into());
    schema.append(&mut section(&Config::keys()));
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

fn section(keys: &[KeyDescription]) -> Map<String, Json> {
    let in_file = || keys.iter().filter(|key| key.visibility != Visibility::VariableOnly);
    let properties: Map<String, Json> = in_file().map(|key| (key.name.clone(), property(key).into())).collect();
    // What a variable can set may be absent from the file.
    let required = in_file().filter(|key| key.required.is_some() && key.variable.is_none());
    let required: Vec<&str> = required.map(|key| key.name.as_str()).collect();
    let mut schema = object(json!({ "type": "object", "properties": properties, "additionalProperties": false }));
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    schema
}

fn property(key: &KeyDescription) -> Map<String, Json> {
    let mut schema = match (&key.shape, &key.bounds) {
        (Shape::Count, (least, most)) => {
            let bound = |text: &Option<String>, otherwise| text.as_ref().and_then(|text| text.parse().ok()).unwrap_or(otherwise);
            count(bound(least, 1), bound(most, u32::MAX))
        }
        (shape, _) => of(shape),
    };
    if let Shape::Section(_) = key.shape {
        // A section whose keys are all switched off is blank.
        schema.insert("type".to_owned(), json!(["object", "null"]));
    }
    schema.insert("description".to_owned(), key.text.as_str().into());
    let default = serde_json::to_value(&key.default).unwrap_or_default();
    if !default.is_null() && key.derived.is_none() && !matches!(key.shape, Shape::Section(_)) {
        schema.insert("default".to_owned(), default);
    }
    schema
}

fn of(shape: &Shape) -> Map<String, Json> {
    match shape {
        Shape::Flag => or_variable(json!({ "type": "boolean" })),
        Shape::Count => count(1, u32::MAX),
        Shape::Size => or_variable(json!({ "type": ["string", "integer"], "pattern": r"^\d+ *(B|KiB|MiB)?$" })),
        Shape::Duration => or_variable(json!({ "type": ["string", "number"], "pattern": r"^[\d.]+ *(ms|s|m|min|h)?$" })),
        Shape::Share => or_variable(json!({ "type": "number", "minimum": 0, "maximum": 1 })),
        Shape::Words(words) => {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            or_variable(json!({ "enum": words }))
        }
        Shape::Text(_) => object(json!({ "type": "string" })),
        Shape::List(element) => {
            let element = of(element);
            let list = json!({ "type": "array", "items": element });
            if element.get("type") == Some(&json!("object")) { object(list) } else { object(json!({ "anyOf": [list, element] })) }
        }
        Shape::Section(keys) => section(keys),
        Shape::Named(value) => object(json!({ "type": "object", "additionalProperties": of(value) })),
        Shape::Either(one, other) => object(json!({ "anyOf": [of(one), of(other)] })),
        Shape::Optional(value) => object(json!({ "anyOf": [of(value), { "type": "null" }] })),
        Shape::Pingoras => Map::new(),
    }
}

fn count(least: u32, most: u32) -> Map<String, Json> {
    or_variable(json!({ "type": "integer", "minimum": least, "maximum": most }))
}

fn or_variable(schema: Json) -> Map<String, Json> {
    object(json!({ "anyOf": [schema, { "type": "string", "pattern": VARIABLE }] }))
}

fn object(json: Json) -> Map<String, Json> {
    match json {
        Json::Object(members) => members,
        other => Map::from_iter([("const".to_owned(), other)]),
    }
}
