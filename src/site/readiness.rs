//! Whether a load balancer should send requests to this gateway: the rule of `GET /ready`, on every listener.
//!
//! It is about this gateway alone: does it have the tokens with which it serves? What OpenEMR's servers do changes nothing here, since
//! all gateways in front of them would leave the load balancer at once; `GET /health` tells of them ([`crate::site::status`]).
//!
//! A site that a reload adds is not counted until it has its first token. An OpenEMR that is not there yet, or a mistake in its
//! configuration, must not end the service of the sites that are served.
//!
//! Decision: `docs/decisions/53-health-and-readiness.md`.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use crate::config::ReadyRule;
use crate::site::prepared::Site;
use crate::site::runtime::Runtime;

/// Whether requests should be sent here, and why.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Readiness<'a> {
    /// Whether they should.
    pub ready: bool,
    /// Whether each site has a token.
    pub sites: BTreeMap<&'a str, bool>,
    /// The sites that do not count yet, because they are new and have had no token.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_counted: Vec<&'a str>,
}

/// What the rule needs to know of a site.
struct Member<'a> {
    name: &'a str,
    has_token: bool,
    is_counted: bool,
}

/// The readiness of the gateway at `now`. Waits for nothing.
#[must_use]
pub(crate) fn readiness(runtime: &Runtime, is_draining: bool, now: Instant) -> Readiness<'_> {
    judge(runtime.sites.iter().map(|site| Member::of(site, now)), runtime.config.ready, is_draining)
}

impl Site {
    /// Whether readiness depends on its token: it was there when the process started, or has had a token since.
    #[must_use]
    pub(crate) fn is_counted(&self) -> bool {
        self.is_established || self.token.latest().is_some()
    }
}

impl<'a> Member<'a> {
    fn of(site: &'a Site, now: Instant) -> Self {
        Self { name: site.name(), has_token: site.token.usable(now).is_some(), is_counted: site.is_counted() }
    }
}

fn judge<'a>(sites: impl Iterator<Item = Member<'a>>, rule: ReadyRule, is_draining: bool) -> Readiness<'a> {
    let sites: Vec<Member<'a>> = sites.collect();
    // Where no site counts, none is served: nothing speaks for this gateway.
    let has_some = sites.iter().any(|site| site.is_counted);
    let mut counted = sites.iter().filter(|site| site.is_counted);
    let has_enough = match rule {
        ReadyRule::All => has_some && counted.all(|site| site.has_token),
        ReadyRule::Any => counted.any(|site| site.has_token),
    };
    Readiness {
        ready: has_enough && !is_draining,
        sites: sites.iter().map(|site| (site.name, site.has_token)).collect(),
        not_counted: sites.iter().filter(|site| !site.is_counted).map(|site| site.name).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ready(sites: &[(bool, bool)], rule: ReadyRule, is_draining: bool) -> bool {
        let members = sites.iter().zip(["a", "b", "c"]);
        let members =
            members.map(|((has_token, is_counted), name)| Member { name, has_token: *has_token, is_counted: *is_counted });
        judge(members, rule, is_draining).ready
    }

    #[test]
    fn readiness_follows_the_rule_and_ends_with_draining() {
        for (sites, all, any) in [
            (&[(true, true), (true, true)][..], true, true),
            (&[(true, true), (false, true)], false, true),
            (&[(false, true), (false, true)], false, false),
            (&[], false, false),
        ] {
            assert_eq!((is_ready(sites, ReadyRule::All, false), is_ready(sites, ReadyRule::Any, false)), (all, any), "{sites:?}");
            assert!(!is_ready(sites, ReadyRule::All, true) && !is_ready(sites, ReadyRule::Any, true));
        }
    }

    #[test]
    fn a_site_that_is_not_counted_changes_nothing() {
        for (sites, all, any) in [
            (&[(true, true), (false, false)][..], true, true),
            (&[(false, true), (false, false)], false, false),
            (&[(true, true), (false, true), (false, false)], false, true),
            // The only sites are new and have no token: nothing can be served.
            (&[(false, false), (false, false)], false, false),
        ] {
            assert_eq!((is_ready(sites, ReadyRule::All, false), is_ready(sites, ReadyRule::Any, false)), (all, any), "{sites:?}");
        }
    }
}
