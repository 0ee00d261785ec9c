//! OpenEMR's answer to a create, which is no resource: `{"pid":504,"uuid":"…"}` for a Patient, `{"id":13,"uuid":"…"}` for a
//! Practitioner and an Organization. The numbers are no ids of FHIR's.

use serde::Deserialize;
use serde_json::Value;

use crate::fhir::id::is_path_id;

#[derive(Deserialize)]
struct Body {
    uuid: Option<String>,
    id: Option<Value>,
    #[serde(rename = "resourceType")]
    resource_type: Option<String>,
}

/// A resource that was created, by the answer to its create.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Created {
    /// The id, where the answer has one that can be a segment of a path.
    pub(crate) id: Option<String>,
    /// Whether the answer is a resource, as FHIR demands.
    pub(crate) is_resource: bool,
}

impl Created {
    /// Reads the body of the answer to a create; `None` where it is no object, or has a `uuid` that is no text.
    #[must_use]
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let body = serde_json::Deserializer::from_slice(body).into_iter::<Body>().next()?.ok()?;
        let is_resource = body.resource_type.is_some();
        let id = body.id.as_ref().and_then(Value::as_str).map(str::to_owned);
        let id = if is_resource { id } else { body.uuid.or(id) };
        Some(Self { id: id.filter(|id| is_path_id(id)), is_resource })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn finds_the_id() {
        for (body, id, is_resource) in [
            (r#"{"pid":504,"uuid":"a34c725e-4aa6-4c6b-9e74-82879c13d5f2"}"#, Some("a34c725e-4aa6-4c6b-9e74-82879c13d5f2"), false),
            (r#"{"id":13,"uuid":"a34c725e-4aa6-4c6b-9e74-82879c13d5f2"}"#, Some("a34c725e-4aa6-4c6b-9e74-82879c13d5f2"), false),
            (r#"{"id":13}"#, None, false),
            (r#"{"id":"7"}"#, Some("7"), false),
            (r#"{"resourceType":"Patient","id":"7","uuid":"8"}"#, Some("7"), true),
            (r#"{"resourceType":"OperationOutcome","issue":[]}"#, None, true),
            (r#"{"uuid":"a/../b"}"#, None, false),
            (r#"{"uuid":"a\r\nb"}"#, None, false),
            (r#"{"uuid":".."}"#, None, false),
            (r#"{"resourceType":"Patient","id":"."}"#, None, true),
            ("{}", None, false),
        ] {
            let expected = Created { id: id.map(str::to_owned), is_resource };
            assert_eq!(Created::read(body.as_bytes()), Some(expected), "{body}");
        }
        for body in [r#"{"uuid":7}"#, "7", "", r#"{"uuid":"a"#] {
            assert_eq!(Created::read(body.as_bytes()), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_body_gives_an_id_that_can_stand_in_a_path(uuid in any::<String>(), noise in proptest::collection::vec(any::<u8>(), 0..40)) {
            let body = serde_json::json!({ "uuid": uuid }).to_string();
            for body in [body.as_bytes(), &noise] {
                if let Some(id) = Created::read(body).and_then(|created| created.id) {
                    prop_assert!(!id.is_empty() && !id.contains(['/', '?', '#', '\r', '\n', ' ', '%']));
                }
            }
        }
    }
}
