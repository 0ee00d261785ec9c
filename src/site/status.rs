//! How a site, and the gateway as a whole, stands in one word: what `GET /health` calls `status`.
//!
//! Decision: `docs/decisions/53-health-and-readiness.md`.

use std::time::Instant;

use serde::Serialize;

use crate::nodes::counts::NodeCounts;
use crate::site::prepared::Site;
use crate::site::runtime::Runtime;

/// How things stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Nothing is known to be wrong.
    Ok,
    /// Requests are served, and something is wrong: it may be `Down` soon.
    Degraded,
    /// FHIR requests cannot be served.
    Down,
}

impl Site {
    /// How the site stands, as far as is known at `now`. Waits for nothing.
    #[must_use]
    pub(crate) fn status(&self, now: Instant) -> Status {
        of_site(self.token.usable(now).is_some(), self.token.is_failing(), self.nodes.counts())
    }
}

impl Runtime {
    /// How all sites stand together with the audit trail and the shared store.
    #[must_use]
    pub(crate) fn status(&self, now: Instant) -> Status {
        let is_written = self.trail.health().is_none_or(|trail| trail.is_ready);
        let is_shared = self.store.as_ref().is_none_or(|store| store.trouble().is_none());
        let of_sites = of_all(self.sites.iter().map(|site| site.status(now)));
        match (of_sites, is_written && is_shared) {
            // Each FHIR request is refused.
            _ if !self.trail.may_serve() => Status::Down,
            (Status::Ok, false) => Status::Degraded,
            (status, _) => status,
        }
    }
}

/// `is_failing`: whether the latest exchange for a token failed.
fn of_site(has_token: bool, is_failing: bool, nodes: NodeCounts) -> Status {
    if !has_token || nodes.are_all_ejected() {
        Status::Down
    } else if is_failing || !nodes.are_all_healthy() {
        Status::Degraded
    } else {
        Status::Ok
    }
}

/// Down when all are, or none is there; otherwise degraded when one is not ok.
fn of_all(sites: impl Iterator<Item = Status>) -> Status {
    let (mut are_all_ok, mut are_all_down) = (true, true);
    for status in sites {
        are_all_ok &= status == Status::Ok;
        are_all_down &= status == Status::Down;
    }
    match (are_all_down, are_all_ok) {
        (true, _) => Status::Down,
        (false, true) => Status::Ok,
        (false, false) => Status::Degraded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_down_without_a_token_or_a_node_and_degraded_when_one_of_them_is_in_trouble() {
        let nodes = |healthy, degraded, ejected| NodeCounts { healthy, degraded, ejected };
        for (has_token, is_failing, nodes, expected) in [
            (true, false, nodes(2, 0, 0), Status::Ok),
            (true, true, nodes(2, 0, 0), Status::Degraded),
            (true, false, nodes(1, 1, 0), Status::Degraded),
            (true, false, nodes(0, 2, 0), Status::Degraded),
            (true, false, nodes(1, 0, 1), Status::Degraded),
            (true, false, nodes(0, 1, 1), Status::Degraded),
            (true, false, nodes(0, 0, 2), Status::Down),
            (true, false, nodes(0, 0, 1), Status::Down),
            (false, true, nodes(2, 0, 0), Status::Down),
            (false, false, nodes(1, 0, 0), Status::Down),
        ] {
            assert_eq!(of_site(has_token, is_failing, nodes), expected, "{has_token} {is_failing} {nodes:?}");
        }
    }

    #[test]
    fn the_gateway_is_down_when_all_sites_are_and_degraded_when_one_is_not_ok() {
        use Status::{Degraded, Down, Ok};
        for (sites, expected) in [
            (&[Ok, Ok][..], Ok),
            (&[Ok, Degraded], Degraded),
            (&[Ok, Down], Degraded),
            (&[Degraded, Down], Degraded),
            (&[Degraded], Degraded),
            (&[Down, Down], Down),
            (&[], Down),
        ] {
            assert_eq!(of_all(sites.iter().copied()), expected, "{sites:?}");
        }
    }
}
