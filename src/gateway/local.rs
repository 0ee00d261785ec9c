//! The routes that the gateway answers itself: health, readiness, JWK Set, token.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{CACHE_CONTROL, RETRY_AFTER};
use http::{HeaderValue, Method, StatusCode};
use pingora::proxy::Session;
use serde::Serialize;

use crate::access::policy::Policy;
use crate::audit::posting::PostingHealth;
use crate::audit::record::Kind;
use crate::config::{ReadyRule, TokenExposure};
use crate::fhir::rejection::{Rejection, whole_seconds};
use crate::gateway::call::Call;
use crate::gateway::destination::LocalRoute;
use crate::gateway::stop::Stop;
use crate::gateway::{recording, token_endpoint};
use crate::http::answer::Answer;
use crate::http::fetch_metadata::is_of_browser;
use crate::site::prepared::Site;
use crate::smart::refresh_request::NoNewToken;
use crate::smart::schedule::Reason;
use crate::smart::token::AccessToken;
use crate::smart::token_cell::Phase;

/// Answers a request for a local route.
///
/// # Errors
/// The client is gone, or too slow.
pub(super) async fn answer(session: &mut Session, route: &LocalRoute, call: &Call, draining: bool) -> Result<Answer, Stop> {
    let head = session.req_header();
    let (sites, settings, method) = (&call.runtime.sites, call.config(), &head.method);
    Ok(match route {
        LocalRoute::Health => health(method, call),
        LocalRoute::Ready => ready(method, sites, settings.ready, draining),
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

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Degraded,
    Down,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum TokenState {
    Valid,
    Refreshing,
    Missing,
}

#[derive(Serialize)]
struct Health<'a> {
    status: Status,
    version: &'static str,
    sites: Vec<SiteHealth<'a>>,
    /// `None` where no trail is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<AuditHealth>,
}

#[derive(Serialize)]
struct AuditHealth {
    /// Whether the next record can be written, as far as is known.
    ok: bool,
    recorded: u64,
    lost: u64,
    /// How posting to a repository goes, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<PostingHealth>,
}

#[derive(Serialize)]
struct SiteHealth<'a> {
    name: &'a str,
    /// `None` where the caller is not to learn internal addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    fhir_base: Option<String>,
    token: TokenState,
    expires_in: u64,
    requests: Requests,
    /// How often each repair of a resource was made.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    mended: BTreeMap<&'static str, u64>,
}

/// The requests of a site at OpenEMR.
#[derive(Serialize)]
struct Requests {
    in_flight: u32,
    /// How many there may be, as far as is known by now.
    limit: u32,
    waiting: u32,
}

/// `GET /health`: what is known this moment. Waits for nothing.
fn health(method: &Method, call: &Call) -> Answer {
    if !is_get(method) {
        return Answer::method_not_allowed("GET, HEAD");
    }
    let (now, sites) = (Instant::now(), &call.runtime.sites);
    let shows_addresses = call.config().access.clients.is_empty() || call.trace.is_local();
    let trail = call.runtime.trail.health();
    let is_unwritten = trail.is_some_and(|trail| !trail.is_ready);
    let status = match status(sites.iter().map(|site| (site.token.usable(now).is_some(), site.token.is_failing()))) {
        Status::Ok if is_unwritten => Status::Degraded,
        status => status,
    };
    let sites = sites.iter().map(|site| site_health(site, now, shows_addresses)).collect();
    let repository = call.runtime.trail.posting();
    let audit = trail.map(|trail| AuditHealth { ok: trail.is_ready, recorded: trail.written, lost: trail.lost, repository });
    Answer::json(StatusCode::OK, &Health { status, version: env!("CARGO_PKG_VERSION"), sites, audit })
}

/// The status over all sites, each with whether it has a token, and whether its latest exchange failed.
fn status(sites: impl Iterator<Item = (bool, bool)>) -> Status {
    let (mut all, mut any, mut failing) = (true, false, false);
    for (has_token, is_failing) in sites {
        all &= has_token;
        any |= has_token;
        failing |= is_failing;
    }
    match (any, all && !failing) {
        (false, _) => Status::Down,
        (true, false) => Status::Degraded,
        (true, true) => Status::Ok,
    }
}

#[derive(Serialize)]
struct Readiness<'a> {
    ready: bool,
    sites: BTreeMap<&'a str, bool>,
}

/// `GET /ready`: whether a load balancer should send requests here. Waits for nothing.
fn ready(method: &Method, sites: &[Arc<Site>], rule: ReadyRule, draining: bool) -> Answer {
    if !is_get(method) {
        return Answer::method_not_allowed("GET, HEAD");
    }
    let now = Instant::now();
    let sites = sites.iter().map(|site| (site.name(), site.token.usable(now).is_some())).collect();
    let ready = is_ready(&sites, rule, draining);
    Answer::json(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &Readiness { ready, sites })
}

fn is_ready(sites: &BTreeMap<&str, bool>, rule: ReadyRule, draining: bool) -> bool {
    let mut sites = sites.values();
    let enough = match rule {
        ReadyRule::All => sites.all(|has_token| *has_token),
        ReadyRule::Any => sites.any(|has_token| *has_token),
    };
    enough && !draining
}

fn site_health(site: &Site, now: Instant, shows_addresses: bool) -> SiteHealth<'_> {
    let token = site.token.usable(now);
    let state = match (&token, site.token.phase()) {
        (_, Phase::Exchanging) => TokenState::Refreshing,
        (Some(_), Phase::Resting | Phase::BackingOff(_)) => TokenState::Valid,
        (None, Phase::Resting | Phase::BackingOff(_)) => TokenState::Missing,
    };
    SiteHealth {
        name: site.name(),
        fhir_base: shows_addresses.then(|| site.config.fhir_base().to_string()),
        token: state,
        expires_in: token.map_or(0, |token| token.left(now).as_secs()),
        requests: requests(site),
        mended: site.mending.mended.made().map(|(repair, count)| (repair.name(), count)).collect(),
    }
}

fn requests(site: &Site) -> Requests {
    let requests = site.nodes.in_flight();
    let (in_flight, waiting) = requests.counts();
    Requests { in_flight, limit: requests.limit(), waiting }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_follows_the_rule_and_ends_with_draining() {
        for (tokens, all, any) in
            [(&[true, true][..], true, true), (&[true, false], false, true), (&[false, false], false, false)]
        {
            let names = ["a", "b"];
            let sites = names.iter().copied().zip(tokens.iter().copied()).collect();
            assert_eq!(is_ready(&sites, ReadyRule::All, false), all, "{tokens:?}");
            assert_eq!(is_ready(&sites, ReadyRule::Any, false), any, "{tokens:?}");
            assert!(!is_ready(&sites, ReadyRule::All, true) && !is_ready(&sites, ReadyRule::Any, true));
        }
    }

    #[test]
    fn health_is_degraded_before_it_is_down() {
        for (sites, expected) in [
            (&[(true, false)][..], "ok"),
            (&[(true, true)], "degraded"),
            (&[(false, true)], "down"),
            (&[(false, false)], "down"),
            (&[(true, false), (false, false)], "degraded"),
            (&[(true, false), (true, false)], "ok"),
            (&[], "down"),
        ] {
            assert_eq!(serde_json::to_value(status(sites.iter().copied())).ok(), Some(expected.into()), "{sites:?}");
        }
    }
}
