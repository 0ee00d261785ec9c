//! What the operator is told of the gateway: more than clients are by the `/health` of the gateway's own listeners.

use std::time::Instant;

use http::StatusCode;
use serde::Serialize;

use crate::admin::state::State;
use crate::audit::posting::PostingHealth;
use crate::http::answer::Answer;
use crate::nodes::breaker::Health as NodeState;
use crate::site::prepared::Site;
use crate::site::readiness::readiness;
use crate::site::status::Status;
use crate::smart::token_failure::TokenFailure;

/// The state of the gateway.
#[derive(Serialize)]
pub(super) struct Health {
    status: Status,
    version: &'static str,
    is_draining: bool,
    /// Requests that are being answered.
    requests: usize,
    sites: Vec<SiteHealth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<Audit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<Store>,
}

#[derive(Serialize)]
struct SiteHealth {
    name: String,
    status: Status,
    has_token: bool,
    /// Seconds to its end.
    token_expires_in: u64,
    /// The exchange that failed last, until one succeeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_error: Option<TokenError>,
    in_flight: u32,
    limit: u32,
    waiting: u32,
    nodes: Vec<Node>,
}

#[derive(Serialize)]
struct TokenError {
    /// When the first of the exchanges failed that have failed since.
    since: String,
    /// When the latest one did.
    at: String,
    failures: u32,
    cause: String,
}

#[derive(Serialize)]
struct Node {
    url: String,
    state: &'static str,
}

#[derive(Serialize)]
struct Audit {
    ok: bool,
    recorded: u64,
    lost: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<PostingHealth>,
}

#[derive(Serialize)]
struct Store {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
}

/// `GET /health`: the state of everything. Waits for nothing.
pub(super) fn health(state: &State) -> Health {
    let runtime = state.runtime.load();
    let trail = runtime.trail.health();
    Health {
        status: runtime.status(Instant::now()),
        version: env!("CARGO_PKG_VERSION"),
        is_draining: state.lifecycle.is_draining(),
        requests: state.lifecycle.in_flight(),
        sites: runtime.sites.iter().map(|site| site_health(site)).collect(),
        audit: trail.map(|trail| Audit {
            ok: trail.is_ready,
            recorded: trail.written,
            lost: trail.lost,
            repository: runtime.trail.posting(),
        }),
        store: runtime.store.as_ref().map(|store| {
            let cause = store.trouble().map(|trouble| trouble.to_string());
            Store { ok: cause.is_none(), cause }
        }),
    }
}

/// `GET /ready`: as on the gateway's own listeners.
pub(super) fn ready(state: &State) -> Answer {
    let runtime = state.runtime.load();
    let said = readiness(&runtime, state.lifecycle.is_draining(), Instant::now());
    Answer::json(if said.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &said)
}

fn site_health(site: &Site) -> SiteHealth {
    let now = Instant::now();
    let token = site.token.usable(now);
    let in_flight = site.nodes.in_flight();
    let (requests, waiting) = in_flight.counts();
    SiteHealth {
        name: site.name().to_owned(),
        status: site.status(now),
        has_token: token.is_some(),
        token_expires_in: token.map_or(0, |token| token.left(now).as_secs()),
        token_error: site.token.failure().as_deref().map(token_error),
        in_flight: requests,
        limit: in_flight.limit(),
        waiting,
        nodes: nodes(site).map(|(url, state)| Node { url, state: state_word(state) }).collect(),
    }
}

fn token_error(failure: &TokenFailure) -> TokenError {
    let TokenFailure { since, at, count, cause } = failure;
    TokenError { since: since.to_string(), at: at.to_string(), failures: *count, cause: cause.clone() }
}

/// The nodes of a site, each with its state.
pub(super) fn nodes(site: &Site) -> impl Iterator<Item = (String, NodeState)> {
    (0..).map_while(|index| site.nodes.get(index)).map(|node| (node.fhir.url().to_string(), node.health()))
}

/// The word for the state of a node.
pub(super) fn state_word(state: NodeState) -> &'static str {
    match state {
        NodeState::Healthy => "healthy",
        NodeState::Degraded => "degraded",
        NodeState::Ejected => "ejected",
    }
}
