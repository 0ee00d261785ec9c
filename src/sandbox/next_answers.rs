//! How the next OpenEMR spells its FHIR answers: errors as OperationOutcomes, pretty JSON with the type first, and
//! `application/fhir+json`.
//!
//! White space, escapes and the order of members are legal and all unlike those of 8.0, so that a client that goes by
//! bytes fails.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{answer::Answer, response::Body};

/// The media type of a FHIR answer.
const FHIR_JSON: &str = "application/fhir+json; charset=utf-8";

/// Writes a resource as the next OpenEMR does: as PHP with `JSON_PRETTY_PRINT`, slashes and letters unescaped.
pub(super) fn pretty(value: &Value) -> Bytes {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    // Writing to memory does not fail.
    let _ = value.serialize(&mut serializer);
    Bytes::from(out)
}

/// Returns a resource with its type first and its id second.
pub(super) fn reordered(resource: &Value) -> Value {
    let Some(members) = resource.as_object() else {
        return resource.clone();
    };
    let mut out = Map::new();
    for first in ["resourceType", "id"] {
        out.extend(members.get(first).map(|value| (first.to_owned(), value.clone())));
    }
    out.extend(members.iter().filter(|(name, _)| *name != "resourceType" && *name != "id").map(|(n, v)| (n.clone(), v.clone())));
    Value::Object(out)
}

/// Returns an answer with this resource.
pub(super) fn resource(status: u16, resource: &Value) -> Answer {
    Answer::new(status, FHIR_JSON, Body::Whole(pretty(&reordered(resource))))
}

/// Returns an error of one issue.
pub(super) fn outcome(status: u16, code: &str, diagnostics: &str) -> Answer {
    resource(status, &operation_outcome([("error", code, diagnostics.to_owned())]))
}

/// Returns an OperationOutcome of issues with severity, code and diagnostics.
pub(super) fn operation_outcome<'a>(issues: impl IntoIterator<Item = (&'a str, &'a str, String)>) -> Value {
    let issue = |(severity, code, diagnostics)| json!({"severity": severity, "code": code, "diagnostics": diagnostics});
    json!({"resourceType": "OperationOutcome", "issue": issues.into_iter().map(issue).collect::<Vec<_>>()})
}

/// Returns an answer as the next OpenEMR gives it. What is no JSON stays as it is, and so does what is no FHIR.
pub(super) fn dressed(answer: Answer) -> Answer {
    let parsed = match &answer.body {
        Body::Whole(bytes) if answer.content_type == "application/json" => serde_json::from_slice::<Value>(bytes).ok(),
        _ => None,
    };
    let status = answer.status;
    let spelled = match parsed {
        Some(Value::Array(list)) if list.is_empty() => outcome(status, "not-found", "The resource was not found"),
        Some(Value::Object(members)) => match (members.get("error"), members.get("validationErrors")) {
            _ if members.contains_key("resourceType") => resource(status, &Value::Object(members)),
            // The manifest of an export has an array of this name.
            (Some(Value::String(_)), _) => {
                let words = members.get("message").and_then(Value::as_str).unwrap_or_default();
                outcome(status, code_of(status), words)
            }
            (_, Some(Value::Object(fields))) => resource(status, &operation_outcome(fields.iter().map(invalid_field))),
            _ => return answer,
        },
        _ => return answer,
    };
    Answer { content_type: spelled.content_type, body: spelled.body, ..answer }
}

fn invalid_field<'a>((field, errors): (&String, &Value)) -> (&'a str, &'a str, String) {
    let words = errors.as_str().or_else(|| errors.as_object()?.values().next()?.as_str());
    ("error", "invalid", format!("{field}: {}", words.unwrap_or_default()))
}

fn code_of(status: u16) -> &'static str {
    match status {
        401 => "login",
        403 => "forbidden",
        404 => "not-found",
        400..=499 => "invalid",
        _ => "exception",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(answer: &Answer) -> String {
        match &answer.body {
            Body::Whole(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        }
    }

    #[test]
    fn a_resource_has_its_type_first_and_white_space() {
        let answer = dressed(Answer::json(200, r#"{"id":"a","meta":{},"resourceType":"Patient","u":"http:\/\/x\u00e9"}"#));
        assert_eq!(
            body(&answer),
            "{\n    \"resourceType\": \"Patient\",\n    \"id\": \"a\",\n    \"meta\": {},\n    \"u\": \"http://xé\"\n}"
        );
        assert_eq!(answer.content_type, FHIR_JSON);
    }

    #[test]
    fn errors_are_outcomes_and_the_rest_stays() {
        for (status, text, code, words) in [
            (401, r#"{"error":"An error occurred","message":"Unauthorized","code":0}"#, "login", "Unauthorized"),
            (404, "[]", "not-found", "The resource was not found"),
            (400, r#"{"validationErrors":{"fname":{"R":"fname must be"}}}"#, "invalid", "fname: fname must be"),
            (400, r#"{"validationErrors":{"_id":"no UUID"}}"#, "invalid", "_id: no UUID"),
        ] {
            let answer = dressed(Answer::json(status, text));
            let outcome: Value = serde_json::from_str(&body(&answer)).unwrap_or_default();
            assert_eq!(outcome.pointer("/issue/0/code").and_then(Value::as_str), Some(code), "{text}");
            assert_eq!(outcome.pointer("/issue/0/diagnostics").and_then(Value::as_str), Some(words), "{text}");
            assert_eq!(answer.status, status);
        }
        for text in [r#"{"token_endpoint":"x"}"#, "no JSON", "[1]"] {
            assert_eq!(body(&dressed(Answer::json(200, text))), text);
        }
    }
}
