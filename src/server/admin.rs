//! The service of the admin listener, and its commands.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::ServiceWithDependents;
use pingora::services::background::{BackgroundService, background_service};
use rustix::process::{Signal, getpid, kill_process};

use crate::admin::{self, ClientConnections, Server, State};
use crate::fhir::interaction::Kind;
use crate::fhir::reason::Reason;
use crate::fhir::resource_type;
use crate::gateway::ROUTES;
use crate::gateway::connections::Connections;
use crate::observe::metrics::lists::Lists;
use crate::observe::metrics::{self, metrics};
use crate::server::process::Process;
use crate::site::runtime::Runtime;

/// The admin listener.
struct AdminListener(Server);

/// This process. What it is ordered to do is what its signals order.
#[derive(Debug)]
struct ThisProcess {
    /// Whether there is a file to read again.
    can_reload: bool,
    connections: Arc<Connections>,
}

/// Serves the admin listener at its address, and begins to count for it.
pub(super) fn service(process: &Process) -> Box<dyn ServiceWithDependents> {
    metrics::start(lists());
    learn_names(&process.runtime.load());
    let this = ThisProcess { can_reload: process.options.source.is_some(), connections: Arc::clone(&process.connections) };
    let state = State {
        runtime: Arc::clone(&process.runtime),
        lifecycle: Arc::clone(&process.lifecycle),
        exports: Arc::clone(&process.exports),
        started: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
        process: Box::new(this),
    };
    let address = process.config.admin.address.expect("the service runs only in a process with an address for it");
    Box::new(background_service("admin", AdminListener(Server::new(address, state))))
}

/// Gives the sites and clients of a configuration counters of their own, if anything is counted.
pub(super) fn learn_names(runtime: &Runtime) {
    if let Some(metrics) = metrics() {
        metrics.learn(runtime.sites.iter().map(|site| site.name()), runtime.config.access.clients.names());
    }
}

/// The words that the labels of metrics come from.
fn lists() -> Lists {
    Lists {
        interactions: Kind::ALL.iter().map(|kind| kind.code()).collect(),
        types: resource_type::NAMES,
        reasons: Reason::CODES,
        routes: ROUTES,
    }
}

#[async_trait]
impl BackgroundService for AdminListener {
    async fn start(&self, shutdown: ShutdownWatch) {
        self.0.run(shutdown).await;
    }
}

impl admin::Process for ThisProcess {
    fn drain(&self) -> bool {
        kill_process(getpid(), Signal::TERM).is_ok()
    }

    fn reload(&self) -> bool {
        self.can_reload && kill_process(getpid(), Signal::HUP).is_ok()
    }

    fn connections(&self) -> ClientConnections {
        let (open, most, refused) = self.connections.counts();
        ClientConnections { open, most, refused }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_word_stands_once_at_its_number() {
        let Lists { interactions, types, reasons, routes } = lists();
        for list in [&*interactions, types, reasons, routes] {
            assert_eq!(list.iter().collect::<HashSet<_>>().len(), list.len(), "{list:?}");
        }
        for kind in Kind::ALL {
            assert_eq!(interactions.get(*kind as usize), Some(&kind.code()));
        }
        for reason in Reason::ALL {
            assert_eq!(reasons.get(*reason as usize), Some(&reason.code()));
        }
    }
}
