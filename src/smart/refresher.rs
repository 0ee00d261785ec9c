//! The background service that keeps every site's token: one task a site, one exchange at a time.
//!
//! Requests only read; whoever needs a new token (the schedule, a forced refresh) sends a wish to the site's
//! task. A wish for a generation that is already past is answered at once with the current token, so refreshes
//! that arrive together cause one exchange.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use log::{error, info, warn};
use parking_lot::Mutex;
use pingora::connectors::http::Connector;
use pingora::server::ShutdownWatch;
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::BackgroundService;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::smart::exchange::TokenEndpoint;
use crate::smart::schedule::{self, Failures, Held};
use crate::smart::token::AccessToken;
use crate::smart::token_cell::{Outcome, Phase, TokenCell, TokenHandle, Wish};
use crate::smart::token_response::{Grant, TokenError};

/// How long the start of the gateway waits for first tokens. Without one it starts all the same.
const FIRST_TOKENS_WITHIN: Duration = Duration::from_secs(5);

/// One task a token; Pingora runs it as a background service.
pub struct Refresher {
    tasks: Mutex<Option<mpsc::UnboundedReceiver<SiteTask>>>,
}

/// Starts token tasks, before the service runs and while it does.
#[derive(Clone)]
pub struct TokenTasks {
    tasks: mpsc::UnboundedSender<SiteTask>,
    connector: Arc<Connector>,
}

impl TokenTasks {
    /// Starts a task for this endpoint. It ends when the handle is dropped.
    #[must_use]
    pub fn start(&self, endpoint: TokenEndpoint) -> Arc<TokenHandle> {
        let (task, handle) = SiteTask::new(endpoint);
        // Without a service there are no tokens; that is so at its end alone.
        let _ = self.tasks.send(task);
        Arc::new(handle)
    }

    /// The connector that all exchanges share.
    #[must_use]
    pub fn connector(&self) -> Arc<Connector> {
        Arc::clone(&self.connector)
    }
}

struct SiteTask {
    endpoint: TokenEndpoint,
    cell: Arc<TokenCell>,
    wishes: mpsc::Receiver<Wish>,
    dropped: oneshot::Receiver<Infallible>,
    failures: Option<Failures>,
    generation: u64,
}

impl Refresher {
    /// A refresher without tasks, and what starts them.
    #[must_use]
    pub fn new(connector: Arc<Connector>) -> (Self, TokenTasks) {
        let (sender, tasks) = mpsc::unbounded_channel();
        (Self { tasks: Mutex::new(Some(tasks)) }, TokenTasks { tasks: sender, connector })
    }
}

#[async_trait]
impl BackgroundService for Refresher {
    async fn start_with_ready_notifier(&self, shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let Some(mut tasks) = self.tasks.lock().take() else { return };
        let mut running = JoinSet::new();
        let mut cells = Vec::new();
        while let Ok(task) = tasks.try_recv() {
            cells.push(Arc::clone(&task.cell));
            running.spawn(task.run(shutdown.clone()));
        }
        for cell in cells {
            // Either outcome will do: requests wait for themselves, and /health says what is missing.
            let _ = cell.wait(FIRST_TOKENS_WITHIN).await;
        }
        ready.notify_ready();
        let mut ending = shutdown.clone();
        loop {
            tokio::select! {
                task = tasks.recv() => match task {
                    Some(task) => drop(running.spawn(task.run(shutdown.clone()))),
                    None => break,
                },
                Some(_) = running.join_next() => {}
                _ = ending.changed() => break,
            }
        }
        while running.join_next().await.is_some() {}
    }
}

impl SiteTask {
    fn new(endpoint: TokenEndpoint) -> (Self, TokenHandle) {
        let (cell, wishes) = TokenCell::new();
        let cell = Arc::new(cell);
        let (handle, dropped) = TokenHandle::new(Arc::clone(&cell));
        (Self { endpoint, cell, wishes, dropped, failures: None, generation: 0 }, handle)
    }

    async fn run(mut self, mut shutdown: ShutdownWatch) {
        loop {
            let mut waiting = Vec::new();
            tokio::select! {
                () = tokio::time::sleep_until(self.next_attempt().into()) => {}
                wish = self.wishes.recv() => match wish {
                    Some(wish) => match self.answer_if_past(wish) {
                        Some(wish) => waiting.push(wish),
                        None => continue,
                    },
                    None => return,
                },
                _ = &mut self.dropped => return,
                _ = shutdown.changed() => return,
            }
            self.cell.set_phase(Phase::Exchanging);
            let requested_at = Instant::now();
            let result = tokio::select! {
                result = self.endpoint.exchange() => result,
                _ = &mut self.dropped => return,
                _ = shutdown.changed() => return,
            };
            let outcome = self.settle(result, requested_at);
            while let Ok(wish) = self.wishes.try_recv() {
                waiting.push(wish);
            }
            for wish in waiting {
                // A caller who hung up is no loss: the token is in the cell.
                let _ = wish.reply.send(outcome.clone());
            }
        }
    }

    fn next_attempt(&self) -> Instant {
        let held = self.cell.latest().map(|token| Held { requested_at: token.requested_at, life: token.life });
        let next = schedule::next_attempt(Instant::now(), held, self.failures, dice());
        match (self.failures, self.generation) {
            (Some(_), _) => self.cell.set_phase(Phase::BackingOff(next)),
            (None, 0) => {}
            (None, _) => self.cell.set_phase(Phase::Resting),
        }
        next
    }

    fn answer_if_past(&self, wish: Wish) -> Option<Wish> {
        match self.cell.usable(Instant::now()) {
            Some(token) if token.generation > wish.seen => {
                let _ = wish.reply.send(Ok(token));
                None
            }
            _ => Some(wish),
        }
    }

    fn settle(&mut self, result: Result<Grant, TokenError>, requested_at: Instant) -> Outcome {
        let name = self.endpoint.site().name.as_str();
        let token = result.and_then(|grant| self.accept(grant, requested_at));
        match token {
            Ok(token) => {
                if let Some(failures) = self.failures.take() {
                    info!("site {name}: a token at last, after {} failures", failures.in_a_row);
                }
                info!("site {name}: token {} for {} s", token.generation, token.life.as_secs());
                self.generation = token.generation;
                self.cell.store(Arc::clone(&token));
                Ok(token)
            }
            Err(problem) => {
                let in_a_row = self.failures.map_or(1, |failures| failures.in_a_row.saturating_add(1));
                self.failures = Some(Failures { in_a_row, last: Instant::now() });
                match self.cell.usable(Instant::now()) {
                    Some(token) => warn!(
                        "site {name}: no new token (failure {in_a_row}), the one in hand is good for {} s more: {problem}",
                        token.left(Instant::now()).as_secs()
                    ),
                    None => error!("site {name}: no token (failure {in_a_row}): {problem}"),
                }
                Err(Arc::new(problem))
            }
        }
    }

    fn accept(&self, grant: Grant, requested_at: Instant) -> Result<Arc<AccessToken>, TokenError> {
        let site = self.endpoint.site();
        let missing = site.scopes.missing_from(&grant.scope);
        if !missing.is_empty() {
            let missing: Vec<&str> = missing.iter().map(|scope| scope.as_str()).collect();
            warn!(
                "site {}: OpenEMR did not grant {}: the client is not registered for it, and requests that need it will be refused",
                site.name.as_str(),
                missing.join(" ")
            );
        }
        let token = AccessToken::new(grant, self.generation + 1, requested_at).ok_or_else(|| TokenError::NotUnderstood {
            status: 200,
            problem: "access_token cannot stand in a header field".to_owned(),
        })?;
        Ok(Arc::new(token))
    }
}

/// Uniform in `0.0..1.0`.
fn dice() -> f64 {
    let mut bytes = [0_u8; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.5,
    }
}
