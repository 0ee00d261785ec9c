//! Callers with an access token that the gateway itself has issued.
//!
//! Decision: `docs/decisions/39-token-server.md`.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderMap};
use http::{HeaderValue, StatusCode};
use jiff::Timestamp;

use crate::access::caller::{Caller, Credential};
use crate::callers::access_tokens::Holder;
use crate::callers::issued::NotIssued;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::rejection::Rejection;
use crate::gateway::call::Call;
use crate::gateway::destination::Destination;

const INVALID_TOKEN: HeaderValue = HeaderValue::from_static("Bearer realm=\"openemr-gateway\", error=\"invalid_token\"");

impl From<NotIssued> for Rejection {
    fn from(why: NotIssued) -> Self {
        let text = match why {
            NotIssued::Expired => "The access token has expired: get another one from the token endpoint.",
            NotIssued::OtherSite => "The access token is for another site: get one from the token endpoint of this site.",
            NotIssued::Foreign | NotIssued::UnknownKey | NotIssued::Signature | NotIssued::NoClient => {
                "The access token is not good: get another one from the token endpoint."
            }
        };
        Self::new(StatusCode::UNAUTHORIZED, IssueCode::Login, text).challenging(INVALID_TOKEN).because(why)
    }
}

/// The caller that an access token of the gateway's own shows; `None` where the request has none.
///
/// # Errors
/// The token is not good, or its client may not call from this address.
pub(super) fn caller(fields: &HeaderMap, call: &Call, destination: &Destination) -> Result<Option<Caller>, Rejection> {
    let clients = &call.config().access.clients;
    // An API key has no dot.
    let token = bearer(fields).filter(|token| !clients.is_empty() && token.contains('.'));
    let Some(token) = token else { return Ok(None) };
    let site = destination.fhir().map(|fhir| fhir.site.name());
    match call.runtime.access_tokens.holder(token, site, clients, Timestamp::now().as_second()) {
        Ok(Holder { client, .. }) if !client.allow_from.as_deref().is_none_or(|from| call.trace.client().is_in(from)) => {
            let text = "The client may not call from this address.";
            Err(Rejection::new(StatusCode::FORBIDDEN, IssueCode::Forbidden, text))
        }
        Ok(Holder { client, policy }) => {
            let name = Arc::clone(&client.name);
            Ok(Some(Caller { client: Some(name), policy, found: None, credential: Credential::AccessToken }))
        }
        // A token of an identity provider, or an API key.
        Err(NotIssued::Foreign) => Ok(None),
        Err(why) => Err(why.into()),
    }
}

/// The token of a request, where there is one (RFC 6750 section 2.1).
fn bearer(fields: &HeaderMap) -> Option<&str> {
    let mut lines = fields.get_all(AUTHORIZATION).iter();
    let line = lines.next().filter(|_| lines.next().is_none())?.to_str().ok()?;
    let (scheme, token) = line.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then_some(token.trim_ascii())
}
