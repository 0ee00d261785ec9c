//! The table of services: which there are, when each runs, and for which others it waits.
//!
//! Pingora starts every service at once, on a runtime of its own, and holds it back until those that it waits for have said
//! that they are ready.
//!
//! Decision: `docs/decisions/24-start-and-stop.md`.

use pingora::server::Server;
use pingora::services::{ServiceHandle, ServiceWithDependents};

use crate::server::guard::Guarded;
use crate::server::process::Process;
use crate::server::upgrade::hand_over;
use crate::server::{admin, announcement, ending, exports, log_signal, opening, proxy, reload, site_tasks, start_gate, store};

use When::{Always, AtStart, InUpgrade, WithAdmin, WithConfigSource};

/// One row of the table.
struct Service {
    name: &'static str,
    runs: When,
    /// The services that must be ready before this one starts, as far as they run. Each stands above it.
    after: &'static [&'static str],
    build: fn(&Process) -> Box<dyn ServiceWithDependents>,
}

/// When a service runs.
#[derive(Clone, Copy)]
enum When {
    Always,
    /// In a process whose configuration can be read again.
    WithConfigSource,
    /// In a process with an admin listener.
    WithAdmin,
    /// In a process that takes over from a running one.
    InUpgrade,
    /// In a process that takes over from none.
    AtStart,
}

/// The services. In an upgrade no listener is taken over, and so no request served, before there are tokens or it is clear that
/// there are none: the running process serves meanwhile, the JWK Set included. At a start the listeners come first, since OpenEMR
/// may fetch the JWK Set during the first exchange; the gateway is announced when there are tokens.
const SERVICES: [Service; 15] = [
    Service { name: "log", runs: Always, after: &[], build: log_signal::service },
    Service { name: "keys", runs: Always, after: &[], build: site_tasks::keys },
    Service { name: "tokens", runs: Always, after: &["keys"], build: site_tasks::tokens },
    Service { name: "nodes", runs: Always, after: &[], build: site_tasks::nodes },
    Service { name: "store", runs: Always, after: &[], build: store::service },
    Service { name: "reload", runs: WithConfigSource, after: &[], build: reload::service },
    Service { name: "start gate", runs: InUpgrade, after: &["tokens"], build: start_gate::upgrade },
    Service {
        name: "listeners",
        runs: Always,
        after: &["start gate", "log", "keys", "nodes", "reload"],
        build: opening::service,
    },
    Service { name: "gateway", runs: Always, after: &["listeners"], build: proxy::service },
    Service { name: "exports", runs: Always, after: &["listeners"], build: exports::service },
    Service { name: "admin", runs: WithAdmin, after: &["listeners"], build: admin::service },
    Service { name: "first tokens", runs: AtStart, after: &["tokens", "gateway"], build: start_gate::start },
    Service { name: "announcement", runs: Always, after: &["listeners", "first tokens"], build: announcement::service },
    Service { name: "ending", runs: Always, after: &[], build: ending::service },
    Service { name: "upgrade socket", runs: Always, after: &["announcement"], build: hand_over::service },
];

/// Adds the services of this process to Pingora's server.
pub(super) fn add_to(pingora: &mut Server, process: &Process) {
    let mut added: Vec<(&str, ServiceHandle)> = Vec::with_capacity(SERVICES.len());
    for Service { name, runs, after, build } in SERVICES {
        if !runs.applies_to(process) {
            continue;
        }
        let guarded = Guarded::new(build(process), |lost| ending::fail(format_args!("the service {lost} was lost")));
        let handle = pingora.add_service(guarded);
        handle.add_dependencies(added.iter().filter(|(earlier, _)| after.contains(earlier)).map(|(_, handle)| handle));
        added.push((name, handle));
    }
}

impl When {
    fn applies_to(self, process: &Process) -> bool {
        match self {
            Always => true,
            WithConfigSource => process.options.source.is_some(),
            WithAdmin => process.config.admin.address.is_some(),
            InUpgrade => process.options.upgrade,
            AtStart => !process.options.upgrade,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_waits_only_for_those_above_it() {
        for (row, service) in SERVICES.iter().enumerate() {
            let known: Vec<&str> = SERVICES.iter().take(row).map(|above| above.name).collect();
            for after in service.after {
                assert!(known.contains(after), "{} waits for {after}", service.name);
            }
            assert!(!known.contains(&service.name), "{} stands there twice", service.name);
        }
    }

    #[test]
    fn an_upgrade_serves_nothing_before_it_has_tokens_and_a_start_serves_the_keys_first() {
        let waits_for = |name: &str| SERVICES.iter().find(|service| service.name == name).map(|service| service.after);
        for served in ["gateway", "exports"] {
            assert_eq!(waits_for(served), Some(&["listeners"][..]));
        }
        assert_eq!(waits_for("listeners"), Some(&["start gate", "log", "keys", "nodes", "reload"][..]));
        assert_eq!(waits_for("start gate"), Some(&["tokens"][..]));
        assert_eq!(waits_for("first tokens"), Some(&["tokens", "gateway"][..]));
        assert_eq!(waits_for("announcement"), Some(&["listeners", "first tokens"][..]));
    }
}
