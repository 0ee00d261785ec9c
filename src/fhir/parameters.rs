//! The Parameters resource (FHIR R4, "Parameters"), as the body of an operation.

use serde_json::Value;

/// The largest Parameters resource that is read, in bytes.
pub(crate) const MAX_PARAMETERS: usize = 64 * 1024;

/// Reads the parameters of a Parameters resource, as the names and values that a query would have. An empty body has none.
///
/// A value may be of any primitive type, or a Reference; one that is of another type, or in parts, becomes an empty text. Returns `None`
/// for a body that is no Parameters resource, or too deep to read.
#[must_use]
pub(crate) fn read(body: &[u8]) -> Option<Vec<(String, String)>> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Some(Vec::new());
    }
    let resource: Value = serde_json::from_slice(body).ok()?;
    if resource.get("resourceType")?.as_str() != Some("Parameters") {
        return None;
    }
    let listed = match resource.get("parameter") {
        None => return Some(Vec::new()),
        Some(listed) => listed.as_array()?,
    };
    listed
        .iter()
        .map(|parameter| {
            let members = parameter.as_object()?;
            let name = members.get("name")?.as_str()?;
            let value = members.iter().find(|(key, _)| key.starts_with("value")).map(|(_, value)| value);
            let text = match value {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Bool(flag)) => flag.to_string(),
                Some(Value::Number(number)) => number.to_string(),
                Some(Value::Object(parts)) => parts.get("reference").and_then(Value::as_str).unwrap_or_default().to_owned(),
                Some(Value::Array(_) | Value::Null) | None => String::new(),
            };
            Some((name.to_owned(), text))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_parameters_resource_says_the_same() {
        let body = r#"{"resourceType":"Parameters","parameter":[{"name":"_type","valueString":"Patient"},{"name":"_type","valueCode":"Goal"},
            {"name":"_since","valueInstant":"2026-11-24T02:28:30Z"},{"name":"patient","valueReference":{"reference":"Patient/1"}}]}"#;
        let expected = [("_type", "Patient"), ("_type", "Goal"), ("_since", "2026-11-24T02:28:30Z"), ("patient", "Patient/1")];
        assert_eq!(read(body.as_bytes()).unwrap(), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(read(b" ").unwrap().is_empty());
        for bad in ["[]", "{}", r#"{"resourceType":"Patient"}"#, r#"{"resourceType":"Parameters","parameter":[1]}"#, "{"] {
            assert_eq!(read(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_caller_writes_panics(text in ".{0,60}") {
            let _ = read(text.as_bytes());
        }
    }
}
