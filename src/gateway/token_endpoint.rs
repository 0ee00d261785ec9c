//! The token endpoint for SMART clients: `POST /auth/token` of a site.
//!
//! Decision: `docs/decisions/39-token-server.md`.

use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, PRAGMA, RETRY_AFTER};
use http::{Method, StatusCode};
use jiff::Timestamp;
use pingora::proxy::Session;

use crate::callers::access_tokens::{Asked, Given};
use crate::callers::token_server::{ErrorCode, LONGEST_FORM, OAuthError};
use crate::gateway::call::Call;
use crate::gateway::stop::Stop;
use crate::gateway::{public_base, read_ahead, recording};
use crate::http::answer::Answer;
use crate::site::prepared::Site;

const FORM: &str = "application/x-www-form-urlencoded";
/// When a request may be sent again that failed for the gateway's own reasons, in seconds.
const LATER: u64 = 5;
const X_API_KEY: &str = "x-api-key";

/// Answers a request to the token endpoint of a site.
///
/// # Errors
/// The client is gone, or too slow.
pub(super) async fn answer(session: &mut Session, call: &Call, site: &Site) -> Result<Answer, Stop> {
    if session.req_header().method != Method::POST {
        return Ok(Answer::method_not_allowed("POST"));
    }
    if let Err(error) = check(&session.req_header().headers) {
        return Ok(refusal(&error));
    }
    let Ok(form) = read_ahead::read(session, LONGEST_FORM, &call.config().limits).await? else {
        let text = format!("The body is longer than {} KiB.", LONGEST_FORM >> 10);
        let error = OAuthError::new(ErrorCode::InvalidRequest, text);
        return Ok(Answer::json(StatusCode::PAYLOAD_TOO_LARGE, &error).with(PRAGMA, HeaderValue::from_static("no-cache")));
    };
    // As the SMART configuration has it, and as it was called: behind `public_url` the two may differ.
    let bases = [public_base::of(session, call, site), public_base::as_called(session, call, site)];
    let audiences = bases.map(|base| site.token_url(base.as_str()));
    let client = call.trace.client();
    let asked = Asked {
        clients: &call.config().access.clients,
        jwk_sets: call.runtime.callers.jwk_sets(),
        site: site.name(),
        form: &form,
        store: call.runtime.store.as_ref(),
        audiences: &audiences,
        is_from: &|networks| client.is_in(networks),
        now: Timestamp::now().as_second(),
    };
    let given = call.runtime.access_tokens.give(asked).await;
    Ok(match given {
        Ok(given) => {
            recording::token_issued(session, call, site, &given.client);
            success(&given)
        }
        Err(error) => {
            recording::assertion_refused(session, call, site, error.status(), error.error_description.clone());
            refusal(&error)
        }
    })
}

/// Checks the head: a form, and no other credentials (RFC 6749 section 2.3).
fn check(fields: &HeaderMap) -> Result<(), OAuthError> {
    let wrong = |text: &'static str| Err(OAuthError::new(ErrorCode::InvalidRequest, text));
    if fields.contains_key(AUTHORIZATION) || fields.contains_key(X_API_KEY) {
        return wrong("A client authenticates in one way here, with client_assertion: send no Authorization and no X-API-Key.");
    }
    let mut types = fields.get_all(CONTENT_TYPE).iter();
    let content_type = types.next().filter(|_| types.next().is_none()).and_then(|value| value.to_str().ok());
    let is_form =
        content_type.is_some_and(|value| value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM)));
    if !is_form {
        return wrong("The body is a form: send it as application/x-www-form-urlencoded.");
    }
    if fields.contains_key(CONTENT_ENCODING) {
        return wrong("The body is compressed: send it as it is, without Content-Encoding.");
    }
    Ok(())
}

fn success(given: &Given) -> Answer {
    Answer::json(StatusCode::OK, given).with(PRAGMA, HeaderValue::from_static("no-cache"))
}

fn refusal(error: &OAuthError) -> Answer {
    let answer = Answer::json(error.status(), error).with(PRAGMA, HeaderValue::from_static("no-cache"));
    match error.error {
        ErrorCode::TemporarilyUnavailable => answer.with(RETRY_AFTER, HeaderValue::from(LATER)),
        _ => answer,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_head_says_form_and_nothing_else() {
        for (fields, good) in [
            (&[("content-type", FORM)][..], true),
            (&[("content-type", "Application/X-WWW-Form-Urlencoded ; charset=utf-8")], true),
            (&[], false),
            (&[("content-type", "application/json")], false),
            (&[("content-type", FORM), ("content-type", FORM)], false),
            (&[("content-type", FORM), ("authorization", "Basic YTpi")], false),
            (&[("content-type", FORM), ("x-api-key", "a")], false),
            (&[("content-type", FORM), ("content-encoding", "gzip")], false),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in fields {
                map.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(check(&map).is_ok(), good, "{fields:?}");
        }
    }
}
