//! The active side: nodes are asked for their CapabilityStatement, and names are looked up again.
//!
//! [`Watch`] is a background service with two tasks a node, one for each. They end when the site's
//! [`Nodes`] are dropped: a reload that goes on with the same nodes goes on with their tasks.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::header::{ACCEPT, CONNECTION, HOST, HeaderValue};
use log::debug;
use parking_lot::Mutex;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::server::ShutdownWatch;
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::BackgroundService;
use pingora::upstreams::peer::HttpPeer;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::http::set_field::SetField as _;
use crate::nodes::Nodes;
use crate::nodes::breaker::{Finding, Standing};
use crate::nodes::node::Node;
use crate::nodes::origin::describe;

/// Between two checks of a node in doubt, at first; doubled up to `health_check.interval`.
const RECHECK: Duration = Duration::from_secs(1);
/// More of a CapabilityStatement is not read. OpenEMR's has 35 kB.
const ENOUGH: usize = 256 * 1024;

/// The background service.
pub struct Watch {
    start: Mutex<Option<mpsc::UnboundedReceiver<Watched>>>,
    connector: Arc<Connector>,
}

/// Has nodes looked after, before the service runs and while it does.
#[derive(Debug, Clone)]
pub struct Watching(mpsc::UnboundedSender<Watched>);

#[derive(Debug)]
struct Watched {
    nodes: Weak<Nodes>,
    news: watch::Receiver<()>,
}

impl Watch {
    /// A service that looks after nothing yet, and what changes that.
    #[must_use]
    pub fn new(connector: Arc<Connector>) -> (Self, Watching) {
        let (sender, start) = mpsc::unbounded_channel();
        (Self { start: Mutex::new(Some(start)), connector }, Watching(sender))
    }
}

impl Watching {
    /// Has these nodes looked after for as long as somebody holds them.
    pub fn start(&self, nodes: &Arc<Nodes>) {
        // Without a service nobody looks; that is so at its end alone.
        let _ = self.0.send(Watched { nodes: Arc::downgrade(nodes), news: nodes.news.subscribe() });
    }
}

#[async_trait]
impl BackgroundService for Watch {
    /// Ready when the names that are known at the start have been looked up once.
    async fn start_with_ready_notifier(&self, mut shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let Some(mut start) = self.start.lock().take() else { return };
        let mut first = Vec::new();
        while let Ok(watched) = start.try_recv() {
            first.push(watched);
        }
        let mut lookups = JoinSet::new();
        for nodes in first.iter().filter_map(|watched| watched.nodes.upgrade()) {
            lookups.spawn(async move { nodes.resolve().await });
        }
        while lookups.join_next().await.is_some() {}
        ready.notify_ready();
        let mut tasks = JoinSet::new();
        for watched in first {
            watched.spawn(&self.connector, &mut tasks);
        }
        let mut may_grow = true;
        loop {
            tokio::select! {
                watched = start.recv(), if may_grow => match watched {
                    Some(watched) => watched.spawn(&self.connector, &mut tasks),
                    None => may_grow = false,
                },
                Some(_) = tasks.join_next() => {}
                _ = shutdown.changed() => return,
            }
        }
    }
}

impl Watched {
    fn spawn(self, connector: &Arc<Connector>, tasks: &mut JoinSet<()>) {
        let Some(nodes) = self.nodes.upgrade() else { return };
        for index in 0..nodes.nodes.len() {
            tasks.spawn(keep_checking(Weak::clone(&self.nodes), index, self.news.clone(), Arc::clone(connector)));
            tasks.spawn(keep_resolving(Weak::clone(&self.nodes), index, self.news.clone()));
        }
    }
}

async fn keep_resolving(nodes: Weak<Nodes>, index: usize, mut news: watch::Receiver<()>) {
    let Some(every) = nodes.upgrade().map(|nodes| nodes.terms.connections.resolve_every) else { return };
    let mut due = Instant::now() + every;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            changed = news.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        }
        let Some(nodes) = nodes.upgrade() else { return };
        nodes.node(index).resolve().await;
        due = Instant::now() + every;
    }
}

async fn keep_checking(nodes: Weak<Nodes>, index: usize, mut news: watch::Receiver<()>, connector: Arc<Connector>) {
    let mut latest: Option<Instant> = None;
    let mut bad_in_a_row = 0;
    loop {
        let due = {
            let Some(nodes) = nodes.upgrade() else { return };
            let (standing, failures, is_alone) = nodes.state(index);
            let pause = pause(standing, failures, is_alone, bad_in_a_row, nodes.terms.health_check.interval);
            pause.map(|pause| latest.map_or_else(Instant::now, |latest| latest + pause))
        };
        tokio::select! {
            () = sleep_until(due) => {}
            changed = news.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        }
        let Some(nodes) = nodes.upgrade() else { return };
        let finding = check(&nodes, index, &connector).await;
        bad_in_a_row = if finding == Finding::Good { 0 } else { bad_in_a_row + 1 };
        latest = Some(Instant::now());
        nodes.checked(index, finding);
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// How long after a check the next one comes; `None`: not before something happens. The only node of a site is asked
/// when it is out: while it is in, requests find out for themselves, and OpenEMR works a third of a second on an answer.
fn pause(standing: Standing, failures: u32, is_alone: bool, bad_in_a_row: u32, interval: Duration) -> Option<Duration> {
    match (standing, failures) {
        (Standing::In | Standing::Sick, _) if is_alone => None,
        (Standing::In, 0) => Some(interval),
        (Standing::In | Standing::Sick | Standing::Out, _) => {
            Some(interval.min(RECHECK.saturating_mul(1 << bad_in_a_row.saturating_sub(1).min(10))))
        }
    }
}

async fn check(nodes: &Nodes, index: usize, connector: &Connector) -> Finding {
    let node = nodes.node(index);
    let limit = nodes.terms.health_check.timeout;
    if node.standing() == Standing::Out {
        // It may have moved. Its known addresses are asked where nothing else is known.
        let _ = node.fhir.resolve().await;
    }
    let status = match tokio::time::timeout(limit, ask(node, limit, connector)).await {
        Ok(Ok(status)) => status,
        Ok(Err(problem)) => {
            debug!("site {}: check of {}: {problem}", nodes.site, node.fhir.url());
            return Finding::Dead;
        }
        Err(_) => {
            debug!("site {}: check of {}: no answer within {limit:?}", nodes.site, node.fhir.url());
            return Finding::Dead;
        }
    };
    if status < 500 { Finding::Good } else { Finding::Sick }
}

/// The status of `GET {fhir_base}/metadata`, which needs no token.
async fn ask(node: &Node, limit: Duration, connector: &Connector) -> Result<u16, String> {
    let mut session = connect(node, limit, connector).await?;
    let told = |error: Box<pingora::Error>| describe(&error);
    let mut head = RequestHeader::build("GET", format!("{}/metadata", node.fhir.url().path).as_bytes(), None).map_err(told)?;
    for (name, value) in [
        (HOST, node.host.clone()),
        (ACCEPT, HeaderValue::from_static("application/fhir+json")),
        (CONNECTION, HeaderValue::from_static("close")),
    ] {
        head.set(name, value);
    }
    session.write_request_header(Box::new(head)).await.map_err(told)?;
    session.finish_request_body().await.map_err(told)?;
    session.read_response_header().await.map_err(told)?;
    while session.response_header().is_some_and(|head| head.status.is_informational()) {
        session.read_response_header().await.map_err(told)?;
    }
    let status = session.response_header().map(|head| head.status.as_u16()).ok_or("there is no answer")?;
    // PHP that is cut off in the middle complains in OpenEMR's log.
    let mut read = 0;
    while read < ENOUGH {
        match session.read_response_body().await {
            Ok(Some(piece)) => read += piece.len(),
            Ok(None) | Err(_) => break,
        }
    }
    Ok(status)
}

/// A connection of its own to one of the node's addresses.
async fn connect(node: &Node, limit: Duration, connector: &Connector) -> Result<HttpSession, String> {
    let bound = |peer: &mut HttpPeer| {
        peer.options.read_timeout = Some(limit);
        peer.options.write_timeout = Some(limit);
    };
    node.fhir.connect(connector, bound).await.map_err(|failure| match failure {
        Some(failure) => describe(&failure.error),
        None => "it has no address".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_in_doubt_is_checked_sooner_and_the_only_one_when_it_is_out() {
        use Standing::{In, Out, Sick};
        let (seconds, interval) = (Duration::from_secs, Duration::from_secs(10));
        for (standing, failures, is_alone, bad, expected) in [
            (In, 0, false, 0, Some(seconds(10))),
            (In, 1, false, 0, Some(seconds(1))),
            (In, 2, false, 2, Some(seconds(2))),
            (Out, 3, false, 1, Some(seconds(1))),
            (Out, 3, false, 4, Some(seconds(8))),
            (Out, 3, false, 99, Some(seconds(10))),
            (Sick, 0, false, 3, Some(seconds(4))),
            (In, 0, true, 0, None),
            (In, 4, true, 0, None),
            (Out, 5, true, 0, Some(seconds(1))),
        ] {
            assert_eq!(pause(standing, failures, is_alone, bad, interval), expected, "{standing:?} {failures} {is_alone} {bad}");
        }
        assert_eq!(pause(Out, 9, false, 9, Duration::from_millis(300)), Some(Duration::from_millis(300)));
    }
}
