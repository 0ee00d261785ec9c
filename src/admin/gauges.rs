//! What the metrics show of the present state: read when they are asked for, from where it is known already.

use std::time::Instant;

use crate::admin::health::{nodes, state_word};
use crate::admin::state::{ClientConnections, State};
use crate::admin::{certificates, process_figures};
use crate::exports::jobs::Counts;
use crate::nodes::breaker::Health;
use crate::observe::metrics::family::Family;
use crate::observe::metrics::sample::Sample;
use crate::observe::{built, lost_log_lines, lost_traces};
use crate::site::prepared::Site;
use crate::site::runtime::Runtime;

/// The state of everything, as samples.
pub(super) async fn samples(state: &State) -> Vec<Sample> {
    let runtime = state.runtime.load_full();
    let mut samples = Vec::new();
    for site in &runtime.sites {
        of_site(site, &mut samples);
        of_exports(site, state.exports.of(site).counts(), &mut samples);
    }
    certificates::samples(&runtime, &mut samples);
    of_audit(&runtime, &mut samples);
    of_store(&runtime, &mut samples);
    of_process(state, &mut samples);
    // Files of the system.
    samples.extend(tokio::task::spawn_blocking(process_figures::samples).await.unwrap_or_default());
    samples
}

fn of_site(site: &Site, samples: &mut Vec<Sample>) {
    let labels = |more: &[&str]| {
        let mut labels = vec![site.name().to_owned()];
        labels.extend(more.iter().map(|label| (*label).to_owned()));
        labels
    };
    let in_flight = site.nodes.in_flight();
    let (requests, waiting) = in_flight.counts();
    let now = Instant::now();
    let left = site.token.usable(now).map_or(0.0, |token| token.left(now).as_secs_f64());
    let failures = site.token.failure().map_or(0, |failure| failure.count);
    for (family, number) in [
        (Family::TokenFailures, f64::from(failures)),
        (Family::InFlight, f64::from(requests)),
        (Family::InFlightLimit, f64::from(in_flight.limit())),
        (Family::Queued, f64::from(waiting)),
        (Family::TokenLeft, left),
    ] {
        samples.push(Sample::number(family, labels(&[]), number));
    }
    samples.push(Sample::count(Family::KeptPages, labels(&[]), site.kept_pages.bytes() as u64));
    let (good, failed) = site.token.exchanges();
    samples.push(Sample::count(Family::TokenExchanges, labels(&["ok"]), good));
    samples.push(Sample::count(Family::TokenExchanges, labels(&["failed"]), failed));
    for (url, health) in nodes(site) {
        for state in [Health::Healthy, Health::Degraded, Health::Ejected] {
            let is_it = u64::from(state == health);
            samples.push(Sample::count(Family::NodeHealth, labels(&[&url, state_word(state)]), is_it));
        }
    }
    for (repair, count) in site.mending.mended.made() {
        samples.push(Sample::count(Family::Repairs, labels(&[repair.name()]), count));
    }
}

fn of_exports(site: &Site, counts: Counts, samples: &mut Vec<Sample>) {
    let Counts { unfinished, finished, good_parts, failed_parts, refused_writes } = counts;
    for (family, word, count) in [
        (Family::Exports, "unfinished", unfinished as u64),
        (Family::Exports, "finished", finished as u64),
        (Family::ExportParts, "ok", good_parts),
        (Family::ExportParts, "failed", failed_parts),
    ] {
        samples.push(Sample::count(family, vec![site.name().to_owned(), word.to_owned()], count));
    }
    samples.push(Sample::count(Family::ExportRefusedWrites, vec![site.name().to_owned()], refused_writes));
}

fn of_process(state: &State, samples: &mut Vec<Sample>) {
    let ClientConnections { open, most, refused } = state.process.connections();
    for (family, count) in [
        (Family::ActiveRequests, state.lifecycle.in_flight() as u64),
        (Family::ClientConnections, u64::from(open)),
        (Family::ClientConnectionsLimit, u64::from(most)),
        (Family::RefusedConnections, refused),
        (Family::LogLost, lost_log_lines()),
        (Family::TracesLost, lost_traces()),
        (Family::Draining, u64::from(state.lifecycle.is_draining())),
    ] {
        samples.push(Sample::count(family, Vec::new(), count));
    }
    samples.push(Sample::number(Family::ProcessStart, Vec::new(), state.started));
    let labels = [env!("CARGO_PKG_VERSION"), built::COMMIT, built::TARGET].map(str::to_owned).to_vec();
    samples.push(Sample::count(Family::Build, labels, 1));
}

fn of_audit(runtime: &Runtime, samples: &mut Vec<Sample>) {
    let mut count = |family, count| samples.push(Sample::count(family, Vec::new(), count));
    if let Some(trail) = runtime.trail.health() {
        count(Family::AuditRecords, trail.written);
        count(Family::AuditLost, trail.lost);
        count(Family::AuditReady, u64::from(trail.is_ready));
    }
    if let Some(posting) = runtime.trail.posting() {
        count(Family::AuditPosted, posting.posted);
        count(Family::AuditRefused, posting.refused);
        count(Family::AuditDamaged, posting.damaged);
        count(Family::AuditPending, posting.pending_bytes);
    }
}

fn of_store(runtime: &Runtime, samples: &mut Vec<Sample>) {
    let Some(store) = &runtime.store else { return };
    samples.push(Sample::count(Family::StoreUp, Vec::new(), u64::from(store.trouble().is_none())));
    let errors =
        store.errors().map(|(used_for, count)| Sample::count(Family::StoreErrors, vec![used_for.word().to_owned()], count));
    samples.extend(errors);
}
