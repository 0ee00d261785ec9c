//! OpenEMR's refusal to export a type.

use http::StatusCode;
use serde::Deserialize;

/// The codes of issues about who is asking (FHIR R4, value set issue-type, below `security`).
const OF_THE_TOKEN: [&str; 7] = ["security", "login", "unknown", "expired", "forbidden", "suppressed", "throttled"];

/// Whether an answer to a kick-off says that OpenEMR does not export the types that the token grants.
///
/// Since 8.0 it does so with 401, as it refuses tokens. That it speaks of the types shows in the body: an OperationOutcome with no
/// issue about who is asking.
#[must_use]
pub(crate) fn refuses_types(status: StatusCode, body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Outcome {
        #[serde(rename = "resourceType")]
        resource_type: String,
        issue: Vec<Issue>,
    }
    #[derive(Deserialize)]
    struct Issue {
        code: String,
    }
    let is_about_types = |outcome: Outcome| {
        let mut codes = outcome.issue.iter().map(|issue| issue.code.as_str());
        outcome.resource_type == "OperationOutcome" && codes.all(|code| !OF_THE_TOKEN.contains(&code))
    };
    status == StatusCode::UNAUTHORIZED && serde_json::from_slice(body).is_ok_and(is_about_types)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_about_the_types_and_anything_else_about_the_token() {
        let outcome = r#"{ "id":"1", "resourceType" : "OperationOutcome","issue":[{"severity":"error","code":"processing","details":{"text":"AccessToken does not grant access to any supported system resources"}}]}"#;
        for (status, body, expected) in [
            (401, outcome, true),
            (500, outcome, false),
            (401, r#"{"error":"An error occurred","message":"Unauthorized","code":0}"#, false),
            (401, r#"{"message":"resourceType OperationOutcome"}"#, false),
            (
                401,
                r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"login","diagnostics":"expired"}]}"#,
                false,
            ),
            (401, "", false),
        ] {
            assert_eq!(refuses_types(StatusCode::from_u16(status).unwrap(), body.as_bytes()), expected, "{status} {body}");
        }
    }
}
