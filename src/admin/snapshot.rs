//! Takes the status of this moment from where it is known. Waits for nothing.

use std::cmp::Reverse;
use std::time::Instant;

use jiff::Timestamp;

use crate::admin::certificates::endings;
use crate::admin::health::{nodes, state_word};
use crate::admin::problems;
use crate::admin::state::{ClientConnections, State};
use crate::admin::status::{Audit, Certificate, Client, Exchange, Export, Node, Reason, Repository, Site, Status, Store, Token};
use crate::exports::progress::Progress;
use crate::fhir::export_level::Level;
use crate::observe::metrics::history::{History, OfClient};
use crate::observe::metrics::metrics;
use crate::observe::metrics::totals::Totals;
use crate::openemr::export::owner::Owner;
use crate::site::prepared;
use crate::site::runtime::Runtime;
use crate::smart::past_exchange::PastExchange;
use crate::smart::token_cell::Phase;
use crate::store::shared_store::SharedStore;

/// The most exports of a site that are shown.
const MOST_EXPORTS: usize = 20;
/// How many digits of an export's id are shown.
const SHOWN_OF_ID: usize = 8;

/// What has been counted since the start.
#[must_use]
pub(super) fn totals() -> Totals {
    metrics().map(|metrics| metrics.totals()).unwrap_or_default()
}

/// The files whose contents end, the first to end first.
#[must_use]
pub(super) fn certificates(runtime: &Runtime) -> Vec<Certificate> {
    let mut certificates: Vec<Certificate> = endings(runtime)
        .into_iter()
        .map(|ending| Certificate { kind: ending.kind.to_owned(), file: ending.file.display().to_string(), ends: ending.ends })
        .collect();
    certificates.sort_by_key(|certificate| certificate.ends);
    certificates
}

/// The status of this moment.
#[must_use]
pub(super) fn take(state: &State, history: &History, certificates: Vec<Certificate>) -> Status {
    let runtime = state.runtime.load();
    let hour = history.hour(Instant::now(), &totals());
    let ClientConnections { open, most, .. } = state.process.connections();
    let mut status = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at: Timestamp::now().as_second(),
        state: problems::NOTHING_WRONG,
        problems: Vec::new(),
        requests: state.lifecycle.in_flight() as u64,
        connections: open,
        most_connections: most,
        rate: hour.rate,
        sites: runtime.sites.iter().map(|site| of_site(site, state.exports.of(site).progress())).collect(),
        minutes: hour.minutes,
        clients: clients(hour.clients),
        reasons: reasons(hour.reasons),
        certificates,
        audit: audit(&runtime),
        store: store(&runtime),
    };
    status.problems = problems::of(&status);
    status.state = problems::overall(runtime.status(Instant::now()), &status.problems, state.lifecycle.is_draining());
    status
}

fn of_site(site: &prepared::Site, exports: Vec<Progress>) -> Site {
    let in_flight = site.nodes.in_flight();
    let (requests, waiting) = in_flight.counts();
    Site {
        name: site.name().to_owned(),
        token: token(site),
        exchanges: site.token.past_exchanges().into_iter().map(exchange).collect(),
        in_flight: requests,
        limit: in_flight.limit(),
        waiting,
        nodes: nodes(site).map(|(url, state)| Node { url, state: state_word(state).to_owned() }).collect(),
        exports: exports.into_iter().take(MOST_EXPORTS).map(export).collect(),
    }
}

fn token(site: &prepared::Site) -> Token {
    let now = Instant::now();
    let (token, phase, failure) = (site.token.usable(now), site.token.phase(), site.token.failure());
    Token {
        is_valid: token.is_some(),
        left: token.as_ref().map_or(0.0, |token| token.left(now).as_secs_f64()),
        life: token.as_ref().map_or(0, |token| token.life.as_secs()),
        is_exchanging: phase == Phase::Exchanging,
        next_in: match phase {
            Phase::BackingOff(until) => Some(until.saturating_duration_since(now).as_secs_f64()),
            Phase::Exchanging | Phase::Resting => None,
        },
        failing_since: failure.as_ref().map(|failure| failure.since.as_second()),
        failures: failure.map_or(0, |failure| failure.count),
        kid: site.keys.kid(),
    }
}

fn exchange(past: PastExchange) -> Exchange {
    let took_ms = u64::try_from(past.took.as_millis()).unwrap_or(u64::MAX);
    Exchange { at: past.at.as_second(), took_ms, failure: past.failure }
}

fn export(progress: Progress) -> Export {
    let Progress { job, level, owner, asked_at, finished_at, parts, ended, failed } = progress;
    Export {
        id: job.simple().to_string().chars().take(SHOWN_OF_ID).collect(),
        level: match level {
            Level::System => "system",
            Level::Patient => "patient",
            Level::Group(_) => "group",
        }
        .to_owned(),
        client: match owner {
            Owner::Client { client } => client,
            Owner::Address(address) => address.map_or_else(|| "unknown".to_owned(), |address| address.to_string()),
        },
        asked_at: asked_at / 1_000,
        finished_at: finished_at.map(|at| at / 1_000),
        parts,
        ended,
        failed,
    }
}

fn clients(hour: Vec<OfClient>) -> Vec<Client> {
    let named = |OfClient { number, rate, requests, refused, failed }| {
        let name = metrics().map(|metrics| metrics.client_name(number)).unwrap_or_default();
        Client { name, rate, requests, refused, failed }
    };
    let mut clients: Vec<Client> = hour.into_iter().map(named).collect();
    clients.sort_by_key(|client| Reverse(client.requests));
    clients
}

fn reasons(hour: Vec<(usize, u64)>) -> Vec<Reason> {
    let coded = |(number, count)| Reason { code: metrics().map(|metrics| metrics.reason(number)).unwrap_or_default(), count };
    let mut reasons: Vec<Reason> = hour.into_iter().map(coded).collect();
    reasons.sort_by_key(|reason| Reverse(reason.count));
    reasons
}

fn store(runtime: &Runtime) -> Option<Store> {
    let trouble = |store: &SharedStore| store.trouble().map(|trouble| trouble.to_string());
    runtime.store.as_ref().map(|store| Store { url: store.url().to_string(), trouble: trouble(store) })
}

fn audit(runtime: &Runtime) -> Option<Audit> {
    let trail = runtime.trail.health()?;
    let repository = runtime.trail.posting().map(|posting| Repository {
        posted: posting.posted,
        refused: posting.refused,
        pending_bytes: posting.pending_bytes,
        trouble: posting.trouble.map(str::to_owned),
    });
    Some(Audit { is_ready: trail.is_ready, recorded: trail.written, lost: trail.lost, repository })
}
