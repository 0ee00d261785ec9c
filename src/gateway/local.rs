//! The routes that the gateway answers itself: health and readiness (see [`health`]), JWK Set, token.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{CACHE_CONTROL, RETRY_AFTER};
use http::{HeaderValue, Method, StatusCode};
use pingora::proxy::Session;
use serde::Serialize;

use crate::access::policy::Policy;
use crate::audit::record::Kind;
use crate::config::TokenExposure;
use crate::fhir::rejection::{Rejection, whole_seconds};
use crate::gateway::call::Call;
use crate::gateway::destination::LocalRoute;
use crate::gateway::stop::Stop;
use crate::gateway::{health, recording, token_endpoint};
use crate::http::answer::Answer;
use crate::http::fetch_metadata::is_of_browser;
use crate::site::prepared::Site;
use crate::smart::refresh_request::NoNewToken;
use crate::smart::schedule::Reason;
use crate::smart::token::AccessToken;

/// Answers a request for a local route.
///
/// # Errors
/// The client is gone, or too slow.
pub(super) async fn answer(session: &mut Session, route: &LocalRoute, call: &Call, draining: bool) -> Result<Answer, Stop> {
    let head = session.req_header();
    let (sites, settings, method) = (&call.runtime.sites, call.config(), &head.method);
    Ok(match route {
        LocalRoute::Health | LocalRoute::Ready if !is_get(method) => Answer::method_not_allowed("GET, HEAD"),
        LocalRoute::Health => health::health(call),
        LocalRoute::Ready => health::ready(&call.runtime, draining),
        LocalRoute::Jwks(site) => jwks(method, site),
        LocalRoute::Token(query) => match token_request(method, query, sites) {
            Ok(request) if !may_use(&call.caller.policy, request, sites) => return Err(forbidden(request).into()),
            Ok(request) => {
                let is_shown = match settings.access.clients.is_empty() {
                    true => is_shown(call.trace.is_local(), settings.token_exposure),
                    // With it a caller has every right that the gateway has.
                    false => {
                        let is_possible = settings.token_exposure != TokenExposure::Never && call.trace.is_local();
                        is_possible && call.caller.policy.local.token
                    }
                };
                // A page that a browser shows is no program, whatever its origin.
                let is_shown = is_shown && !is_of_browser(&head.headers);
                let answer = token(request, sites, is_shown).await;
                record_token(session, call, request, is_shown, &answer);
                answer
            }
            Err(answer) => answer,
        },
        LocalRoute::SmartToken(site) => return token_endpoint::answer(session, call, site).await,
    })
}

/// Records that a caller has forced a token exchange, or was shown the token.
fn record_token(session: &Session, call: &Call, request: TokenRequest, is_shown: bool, answer: &Answer) {
    let (kind, detail) = match (request.force, is_shown && answer.status().is_success()) {
        (true, false) => (Kind::ForcedRefresh, "a token exchange was forced"),
        (true, true) => (Kind::ForcedRefresh, "a token exchange was forced, and OpenEMR's token shown"),
        (false, true) => (Kind::TokenIssued, "OpenEMR's token was shown"),
        (false, false) => return,
    };
    let site = call.runtime.sites.get(request.site).map(|site| site.name());
    recording::event(session, call, kind, site, answer.status(), detail.into());
}

/// `GET /.well-known/jwks.json`: the JWK Set (RFC 7517 section 5), for OpenEMR's `jwks_uri`.
fn jwks(method: &Method, site: &Site) -> Answer {
    if !is_get(method) {
        return Answer::method_not_allowed("GET, HEAD");
    }
    let published = site.keys.publish();
    // While keys are rotated, the order of an old copy would no longer be the one that is signed for.
    let caching = if published.may_change { "no-cache" } else { "public, max-age=300" };
    Answer::new(StatusCode::OK, "application/jwk-set+json", published.jwk_set)
        .with(CACHE_CONTROL, HeaderValue::from_static(caching))
}

/// A valid request to `POST /oauth/token`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TokenRequest {
    force: bool,
    site: usize,
}

/// Reads `POST /oauth/token[?force=true][&site=NAME]`.
///
/// # Errors
/// The answer that says what is wrong with the request.
fn token_request(method: &Method, query: &[u8], sites: &[Arc<Site>]) -> Result<TokenRequest, Answer> {
    if *method != Method::POST {
        return Err(Answer::method_not_allowed("POST"));
    }
    let mut request = TokenRequest { force: false, site: 0 };
    for (name, value) in form_urlencoded::parse(query.strip_prefix(b"?").unwrap_or_default()) {
        match (name.as_ref(), value.as_ref()) {
            ("force", "true" | "1") => request.force = true,
            ("force", "false" | "0" | "") => request.force = false,
            ("force", _) => return Err(Answer::error(StatusCode::BAD_REQUEST, "bad_request", "force is true or false.")),
            ("site", wanted) => {
                request.site = sites
                    .iter()
                    .position(|site| site.name() == wanted)
                    .ok_or_else(|| Answer::error(StatusCode::NOT_FOUND, "unknown_site", "No site of this name is configured."))?;
            }
            _ => {}
        }
    }
    Ok(request)
}

/// Whether a policy permits a request for the token of its site.
fn may_use(policy: &Policy, request: TokenRequest, sites: &[Arc<Site>]) -> bool {
    let is_named = |names: &Vec<String>| sites.get(request.site).is_some_and(|site| names.iter().any(|name| name == site.name()));
    policy.sites.as_ref().is_none_or(is_named) && (policy.local.force_refresh || !request.force)
}

fn forbidden(request: TokenRequest) -> Rejection {
    let text = match request.force {
        true => "The policy does not permit a forced refresh (local: [force_refresh]).",
        false => "The policy does not permit the use of this site.",
    };
    Rejection::by_policy(text)
}

#[derive(Serialize)]
struct TokenAnswer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token_sha256_prefix: Option<String>,
    token_type: &'static str,
    expires_in: u64,
    scope: &'a str,
}

/// Answers `POST /oauth/token`, after an exchange if that was asked for.
async fn token(request: TokenRequest, sites: &[Arc<Site>], is_shown: bool) -> Answer {
    let Some(site) = sites.get(request.site) else {
        return Answer::error(StatusCode::NOT_FOUND, "unknown_site", "No site of this name is configured.");
    };
    let held = site.token.usable(Instant::now());
    let reason = if request.force { Reason::Forced } else { Reason::Needed };
    let token = match (held, request.force) {
        (Some(token), false) => Ok(token),
        // The latest token's generation, usable or not: a token that came in the meantime will do.
        _ => site.token.newer_than(site.token.latest().map_or(0, |token| token.generation), reason).await,
    };
    match token {
        Ok(token) => show(&token, is_shown),
        Err(refused) => no_new_token(&refused),
    }
}

fn no_new_token(why: &NoNewToken) -> Answer {
    let later = |answer: Answer, wait: Duration| answer.with(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
    match why {
        NoNewToken::Failed(error) => {
            let answer = Answer::error(StatusCode::BAD_GATEWAY, "token_exchange_failed", error.public_summary());
            error.retry_after().map_or_else(|| answer.clone(), |wait| later(answer.clone(), wait))
        }
        NoNewToken::Limited(wait) => later(
            Answer::error(StatusCode::TOO_MANY_REQUESTS, "too_many_refreshes", "New tokens were asked for too often of late."),
            *wait,
        ),
        NoNewToken::BackingOff(wait, Some(error)) => {
            later(Answer::error(StatusCode::BAD_GATEWAY, "token_exchange_failed", error.public_summary()), *wait)
        }
        NoNewToken::BackingOff(wait, None) => {
            later(Answer::error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "There is no token yet."), *wait)
        }
        NoNewToken::Stopped => Answer::error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The gateway is shutting down."),
    }
}

fn show(token: &AccessToken, shown: bool) -> Answer {
    Answer::json(
        StatusCode::OK,
        &TokenAnswer {
            access_token: shown.then(|| token.secret()),
            access_token_sha256_prefix: (!shown).then(|| token.fingerprint()),
            token_type: "Bearer",
            expires_in: token.left(Instant::now()).as_secs(),
            scope: &token.scope,
        },
    )
}

fn is_shown(is_local: bool, exposure: TokenExposure) -> bool {
    match exposure {
        TokenExposure::Always => true,
        TokenExposure::Never => false,
        TokenExposure::Loopback => is_local,
    }
}

/// 404, for every path that is no route.
#[must_use]
pub(super) fn not_found() -> Answer {
    Answer::error(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path.")
}

fn is_get(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}
