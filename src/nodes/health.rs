//! Active health checks, which ask nodes for their CapabilityStatement, and repeated name lookups.
//!
//! [`HealthChecks`] is a background service with two tasks a node, one for each. They end when the site's
//! [`Nodes`] are dropped: a reload that goes on with the same nodes goes on with their tasks.
//!
//! Decision: `docs/decisions/04-node-health.md`.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::StatusCode;
use http::header::{ACCEPT, HeaderValue};
use log::debug;
use parking_lot::Mutex;
use pingora::server::ShutdownWatch;
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::BackgroundService;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::nodes::breaker::{CheckResult, Health};
use crate::nodes::client::{Client, Connection, Limits, Request};
use crate::nodes::client_error::ClientError;
use crate::nodes::origin::Origin;
use crate::nodes::set::Nodes;
use crate::nodes::task_end::pass_on_panic;

/// The first pause between two checks of a node in doubt; doubled up to `health_check.interval`.
const RECHECK: Duration = Duration::from_secs(1);
/// After how many intervals without an answer the only node of a site is checked.
const QUIET_INTERVALS: u32 = 6;
/// The most of a CapabilityStatement that is read, in bytes. OpenEMR's has 35 kB.
const MAX_STATEMENT: usize = 256 * 1024;

/// The background service.
pub(crate) struct HealthChecks {
    start: Mutex<Option<mpsc::UnboundedReceiver<Checked>>>,
    client: Client,
}

/// Starts the checks and lookups of nodes, before the service runs and while it does.
#[derive(Debug, Clone)]
pub(crate) struct Checks(mpsc::UnboundedSender<Checked>);

#[derive(Debug)]
struct Checked {
    nodes: Weak<Nodes>,
    changes: watch::Receiver<()>,
}

impl HealthChecks {
    /// A service that checks nothing yet, and the handle that starts checks.
    #[must_use]
    pub(crate) fn new(client: Client) -> (Self, Checks) {
        let (sender, start) = mpsc::unbounded_channel();
        (Self { start: Mutex::new(Some(start)), client }, Checks(sender))
    }
}

impl Checks {
    /// Starts the checks and lookups of these nodes, which last for as long as somebody holds them.
    pub(crate) fn start(&self, nodes: &Arc<Nodes>) {
        // There is no service only when the process ends.
        let _ = self.0.send(Checked { nodes: Arc::downgrade(nodes), changes: nodes.changes() });
    }
}

#[async_trait]
impl BackgroundService for HealthChecks {
    /// Ready when the names that are known at the start have been looked up once.
    async fn start_with_ready_notifier(&self, mut shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let Some(mut start) = self.start.lock().take() else { return };
        let mut first = Vec::new();
        while let Ok(checked) = start.try_recv() {
            first.push(checked);
        }
        let mut lookups = JoinSet::new();
        for nodes in first.iter().filter_map(|checked| checked.nodes.upgrade()) {
            lookups.spawn(async move { nodes.resolve().await });
        }
        while lookups.join_next().await.is_some() {}
        ready.notify_ready();
        let mut tasks = JoinSet::new();
        for checked in first {
            checked.spawn(&self.client, &mut tasks);
        }
        let mut may_grow = true;
        loop {
            tokio::select! {
                checked = start.recv(), if may_grow => match checked {
                    Some(checked) => checked.spawn(&self.client, &mut tasks),
                    None => may_grow = false,
                },
                Some(ended) = tasks.join_next() => pass_on_panic(ended),
                _ = shutdown.changed() => return,
            }
        }
    }
}

impl Checked {
    fn spawn(self, client: &Client, tasks: &mut JoinSet<()>) {
        let Some(nodes) = self.nodes.upgrade() else { return };
        for index in 0..nodes.len() {
            tasks.spawn(keep_checking(Weak::clone(&self.nodes), index, self.changes.clone(), client.clone()));
            tasks.spawn(keep_resolving(Weak::clone(&self.nodes), index, self.changes.clone()));
        }
    }
}

async fn keep_resolving(nodes: Weak<Nodes>, index: usize, mut changes: watch::Receiver<()>) {
    let Some(every) = nodes.upgrade().map(|nodes| nodes.upstream().connections.resolve_every) else { return };
    let mut due = Instant::now() + every;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            changed = changes.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        }
        let Some(nodes) = nodes.upgrade() else { return };
        nodes.node(index).resolve().await;
        due = Instant::now() + every;
    }
}

async fn keep_checking(nodes: Weak<Nodes>, index: usize, mut changes: watch::Receiver<()>, client: Client) {
    let mut latest: Option<Instant> = None;
    let mut changed_at = Instant::now();
    let mut bad_in_a_row = 0;
    loop {
        let due = {
            let Some(nodes) = nodes.upgrade() else { return };
            let (health, failures, is_alone) = nodes.state(index);
            let pause = pause(health, failures, is_alone, bad_in_a_row, nodes.upstream().health_check.interval);
            // While requests find out how the only node is, nobody else needs to.
            let is_left_to_requests = is_alone && health != Health::Ejected;
            let known = if is_left_to_requests { nodes.heard_at(index).max(Some(changed_at)).max(latest) } else { latest };
            known.map_or_else(|| Some(Instant::now()), |known| known.checked_add(pause))
        };
        if due.is_none_or(|due| due > Instant::now()) {
            tokio::select! {
                () = sleep_until(due) => {}
                changed = changes.changed() => match changed {
                    Ok(()) => changed_at = Instant::now(),
                    Err(_) => return,
                },
            }
            // It may have answered meanwhile.
            continue;
        }
        let Some(nodes) = nodes.upgrade() else { return };
        let (result, cause) = check(&nodes, index, &client).await;
        bad_in_a_row = if result == CheckResult::Good { 0 } else { bad_in_a_row + 1 };
        latest = Some(Instant::now());
        nodes.checked(index, result, cause.as_deref());
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// How long after a check the next one comes. The only node of a site is checked when nothing has come from it for long, which no
/// request would find out, and less often than others while requests do: OpenEMR works a third of a second on an answer.
fn pause(health: Health, failures: u32, is_alone: bool, bad_in_a_row: u32, interval: Duration) -> Duration {
    match (health, failures) {
        (Health::Healthy, 0) if is_alone => interval.saturating_mul(QUIET_INTERVALS),
        (Health::Healthy | Health::Degraded, _) if is_alone => interval,
        (Health::Healthy, 0) => interval,
        (Health::Healthy | Health::Degraded | Health::Ejected, _) => {
            interval.min(RECHECK.saturating_mul(1 << bad_in_a_row.saturating_sub(1).min(10)))
        }
    }
}

/// The result of a check, and its cause where it is no good one.
async fn check(nodes: &Nodes, index: usize, client: &Client) -> (CheckResult, Option<String>) {
    let (node, (health, _, is_alone)) = (nodes.node(index), nodes.state(index));
    if health == Health::Ejected {
        // Its name may have another address by now; without an answer, the known ones are tried.
        let _ = node.fhir.resolve().await;
    }
    let limits = Limits { step: None, total: Some(nodes.upstream().health_check.timeout), body: MAX_STATEMENT };
    let (result, error) = match client.connect(&node.fhir, limits).await {
        Ok(connection) => match status(connection, &node.fhir).await {
            Ok(status) if status.is_server_error() => return (CheckResult::Errors, Some(format!("status {}", status.as_u16()))),
            Ok(_) => return (CheckResult::Good, None),
            // Requests have longer than a check: they are not refused because the only node is slow.
            Err(error) if is_alone && health != Health::Ejected => (CheckResult::Errors, error),
            Err(error) => (CheckResult::NoAnswer, error),
        },
        Err(error) => (CheckResult::NoAnswer, error),
    };
    debug!("site {}: a check failed: {error}", nodes.site());
    (result, Some(error.to_string()))
}

/// The status of `GET {fhir_base}/metadata`, which needs no token.
async fn status(connection: Connection, origin: &Origin) -> Result<StatusCode, ClientError> {
    let fields = vec![(ACCEPT, HeaderValue::from_static("application/fhir+json"))];
    let request = Request::get(format!("{}/metadata", origin.url().path), fields);
    let mut incoming = connection.send(request).await?;
    // PHP that is cut off in the middle complains in OpenEMR's log.
    loop {
        match incoming.piece().await {
            Ok(Some(_)) => {}
            Err(error) if error.is_timeout() => return Err(error),
            Ok(None) | Err(_) => return Ok(incoming.status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_in_doubt_is_checked_sooner_and_the_only_one_when_it_is_quiet() {
        use Health::{Degraded, Ejected, Healthy};
        let (seconds, interval) = (Duration::from_secs, Duration::from_secs(10));
        for (health, failures, is_alone, bad, expected) in [
            (Healthy, 0, false, 0, seconds(10)),
            (Healthy, 1, false, 0, seconds(1)),
            (Healthy, 2, false, 2, seconds(2)),
            (Ejected, 3, false, 1, seconds(1)),
            (Ejected, 3, false, 4, seconds(8)),
            (Ejected, 3, false, 99, seconds(10)),
            (Degraded, 0, false, 3, seconds(4)),
            (Healthy, 0, true, 0, seconds(60)),
            (Healthy, 4, true, 3, seconds(10)),
            (Degraded, 0, true, 1, seconds(10)),
            (Ejected, 5, true, 0, seconds(1)),
        ] {
            assert_eq!(pause(health, failures, is_alone, bad, interval), expected, "{health:?} {failures} {is_alone} {bad}");
        }
        assert_eq!(pause(Ejected, 9, false, 9, Duration::from_millis(300)), Duration::from_millis(300));
    }
}
