//! Tells OpenEMR's error answers that reject the access token from those that reject the request.
//!
//! OpenEMR answers 400 after it has revoked a client's trust, with a head like any other 400's, and 401 both for an unknown
//! token and for a missing scope: only the body shows which.

use serde::Deserialize;

/// The longest body, in bytes, that can reject the token. OpenEMR's have less than 200.
pub(crate) const MAX_BODY: usize = 4096;

/// Texts with which OpenEMR rejects a token: revoked together with the client's trust; malformed, expired or revoked by an
/// administrator; not in its database. 7.0.3 answers `access_denied` and, with that space, `invalid _request`.
const TEXTS: [&str; 3] =
    ["Refresh Token revoked", "The resource owner or authorization server denied", "invalid token or expired token"];

/// The members of OpenEMR's error bodies: `message` from 7.0.4 on, before that OAuth's members.
#[derive(Deserialize)]
struct ErrorBody {
    error: Option<String>,
    message: Option<String>,
    error_description: Option<String>,
}

/// Whether the body of an error answer rejects the token rather than the request.
#[must_use]
pub(crate) fn rejects_token(body: &[u8]) -> bool {
    if body.len() > MAX_BODY {
        return false;
    }
    // Some installations write the error object twice, one after the other.
    let first = serde_json::Deserializer::from_slice(body).into_iter::<ErrorBody>().next();
    let Some(Ok(ErrorBody { error, message, error_description })) = first else { return false };
    let rejects = |text: &String| TEXTS.iter().any(|known| text.contains(known));
    [message, error_description].iter().flatten().any(rejects)
        || matches!(error.as_deref(), Some("access_denied" | "invalid _request"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tells_the_rejection_from_other_answers() {
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
            assert_eq!(rejects_token(body.as_bytes()), token, "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = rejects_token(&body);
        }
    }
}
