//! `GET /health` and `GET /ready`: how the gateway and its OpenEMRs stand, for monitoring, and whether requests should be sent here,
//! for load balancers. Both are made of what is known already: nobody is asked, and nothing is waited for.
//!
//! Decision: `docs/decisions/53-health-and-readiness.md`.

use std::collections::BTreeMap;
use std::time::Instant;

use http::StatusCode;
use serde::Serialize;

use crate::audit::posting::PostingHealth;
use crate::gateway::call::Call;
use crate::http::answer::Answer;
use crate::nodes::counts::NodeCounts;
use crate::site::prepared::Site;
use crate::site::readiness::readiness;
use crate::site::runtime::Runtime;
use crate::site::status::Status;
use crate::smart::token_cell::Phase;

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
struct SiteHealth<'a> {
    name: &'a str,
    status: Status,
    /// `None` where the caller is not to learn internal addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    fhir_base: Option<String>,
    token: TokenState,
    expires_in: u64,
    nodes: NodeCounts,
    /// How many seconds ago a node answered last; `None` before the first answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    answered_ago: Option<u64>,
    requests: Requests,
    /// How often each repair of a resource was made.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    mended: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum TokenState {
    Valid,
    Refreshing,
    Missing,
}

/// The requests of a site at OpenEMR.
#[derive(Serialize)]
struct Requests {
    in_flight: u32,
    /// How many there may be, as far as is known by now.
    limit: u32,
    waiting: u32,
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

/// `GET /health`. The status of the answer is 200 whatever it says: containers are started again by it, and that would mend no
/// OpenEMR.
pub(super) fn health(call: &Call) -> Answer {
    let (now, runtime) = (Instant::now(), &call.runtime);
    let shows_addresses = call.config().access.clients.is_empty() || call.trace.is_local();
    let repository = runtime.trail.posting();
    let health = Health {
        status: runtime.status(now),
        version: env!("CARGO_PKG_VERSION"),
        sites: runtime.sites.iter().map(|site| site_health(site, now, shows_addresses)).collect(),
        audit: runtime.trail.health().map(|trail| AuditHealth {
            ok: trail.is_ready,
            recorded: trail.written,
            lost: trail.lost,
            repository,
        }),
    };
    Answer::json(StatusCode::OK, &health)
}

/// `GET /ready`: 200 or 503.
pub(super) fn ready(runtime: &Runtime, is_draining: bool) -> Answer {
    let readiness = readiness(runtime, is_draining, Instant::now());
    Answer::json(if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &readiness)
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
        status: site.status(now),
        fhir_base: shows_addresses.then(|| site.config.fhir_base().to_string()),
        token: state,
        expires_in: token.map_or(0, |token| token.left(now).as_secs()),
        nodes: site.nodes.counts(),
        answered_ago: site.nodes.answered_ago(now).map(|ago| ago.as_secs()),
        requests: requests(site),
        mended: site.mending.mended.made().map(|(repair, count)| (repair.name(), count)).collect(),
    }
}

fn requests(site: &Site) -> Requests {
    let requests = site.nodes.in_flight();
    let (in_flight, waiting) = requests.counts();
    Requests { in_flight, limit: requests.limit(), waiting }
}
