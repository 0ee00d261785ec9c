//! Tells a refusal of the access token from OpenEMR's other errors, by the words of its body.
//!
//! OpenEMR answers 400 when the client's trust was revoked, and 401 for a token that it does not know as well as for a
//! missing scope: the status alone does not tell them apart.

use serde::Deserialize;

/// The longest body that is read, in bytes. OpenEMR's has less than 200.
pub(crate) const LONGEST: usize = 4096;

/// OpenEMR's words for a token that it does not accept: revoked with the client's trust; bad, expired or revoked by an
/// administrator; not in its database. 7.0.3 says `access_denied` and, with that blank, `invalid _request`.
const TOKEN_TROUBLE: [&str; 3] =
    ["Refresh Token revoked", "The resource owner or authorization server denied", "invalid token or expired token"];

/// What OpenEMR's error bodies say: `message` from 7.0.4 on, before that OAuth's members.
#[derive(Deserialize)]
struct Refusal {
    error: Option<String>,
    message: Option<String>,
    error_description: Option<String>,
}

/// Whether an error's body says that OpenEMR does not accept the token, rather than what is done with it.
#[must_use]
pub(crate) fn is_about_the_token(body: &[u8]) -> bool {
    if body.len() > LONGEST {
        return false;
    }
    // On some set-ups OpenEMR writes its error object twice, one behind the other.
    let Some(Ok(refusal)) = serde_json::Deserializer::from_slice(body).into_iter::<Refusal>().next() else { return false };
    let says =
        |words: &Option<String>| words.as_ref().is_some_and(|words| TOKEN_TROUBLE.iter().any(|known| words.contains(known)));
    says(&refusal.message)
        || says(&refusal.error_description)
        || matches!(refusal.error.as_deref(), Some("access_denied" | "invalid _request"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tells_the_refusal_from_other_answers() {
        for (body, token) in [
            (r#"{"error":"An error occurred","message":"Refresh Token revoked or logged out","code":0}"#, true),
            (
                r#"{"error":"invalid _request","error_description":"Refresh Token revoked or logged out","message":"Refresh Token revoked or logged out"}"#,
                true,
            ),
            (r#"{"message":"Refresh Token revoked or logged out"}{"message":"again"}"#, true),
            (
                r#"{"error":"An error occurred","message":"The resource owner or authorization server denied the request.","code":9}"#,
                true,
            ),
            (
                r#"{"error":"An error occurred","message":"OpenEMR Error: API call failed due to invalid token or expired token.","code":0}"#,
                true,
            ),
            (r#"{"error":"access_denied","hint":"Access token has been revoked"}"#, true),
            (r#"{"error":"An error occurred","message":"Unauthorized","code":0}"#, false),
            (r#"{"validationErrors":{"_id":"The search field argument was invalid"}}"#, false),
            (r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error"}]}"#, false),
            (r#"{"error":"An error occurred","message":"OpenEMR Error: api site error, so forced exit.","code":0}"#, false),
            (r#"{"validationErrors":{"message":"Refresh Token revoked or logged out"}}"#, false),
            (r#"{"error":{"message":"Refresh Token revoked"}}"#, false),
            ("[]", false),
            ("", false),
            ("Refresh Token revoked", false),
        ] {
            assert_eq!(is_about_the_token(body.as_bytes()), token, "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = is_about_the_token(&body);
        }
    }
}
