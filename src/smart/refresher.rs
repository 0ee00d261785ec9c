//! The background service that keeps every site's token: one task a site, one exchange at a time.
//!
//! Requests only read; whoever needs a new token (the schedule, a forced refresh) sends a wish to the site's
//! task. A wish for a generation that is already past is answered at once with the current token, so refreshes
//! that arrive together cause one exchange; the others are judged by the schedule.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use log::{error, info, warn};
use parking_lot::Mutex;
use pingora::server::ShutdownWatch;
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::BackgroundService;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::nodes::client::Client;
use crate::smart::exchange::TokenEndpoint;
use crate::smart::exchanged::{ExchangeError, Exchanged};
use crate::smart::schedule::{Decision, Held, Reason, Schedule};
use crate::smart::token::AccessToken;
use crate::smart::token_cell::{NoNewToken, Outcome, Phase, TokenCell, TokenHandle, Wish};
use crate::smart::token_response::TokenError;

/// One task a token; Pingora runs it as a background service.
pub struct Refresher {
    tasks: Mutex<Option<mpsc::UnboundedReceiver<SiteTask>>>,
}

/// Starts token tasks, before the service runs and while it does.
#[derive(Clone)]
pub struct TokenTasks {
    tasks: mpsc::UnboundedSender<SiteTask>,
    client: Client,
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

    /// The client that all exchanges share.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }
}

struct SiteTask {
    endpoint: TokenEndpoint,
    cell: Arc<TokenCell>,
    wishes: mpsc::Receiver<Wish>,
    dropped: oneshot::Receiver<Infallible>,
    schedule: Schedule,
    last_error: Option<Arc<ExchangeError>>,
    generation: u64,
}

impl Refresher {
    /// A refresher without tasks, and what starts them.
    #[must_use]
    pub fn new(client: Client) -> (Self, TokenTasks) {
        let (sender, tasks) = mpsc::unbounded_channel();
        (Self { tasks: Mutex::new(Some(tasks)) }, TokenTasks { tasks: sender, client })
    }
}

#[async_trait]
impl BackgroundService for Refresher {
    async fn start_with_ready_notifier(&self, shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let Some(mut tasks) = self.tasks.lock().take() else { return };
        let mut running = JoinSet::new();
        while let Ok(task) = tasks.try_recv() {
            running.spawn(task.run(shutdown.clone()));
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
        let (handle, dropped) = TokenHandle::new(Arc::clone(&cell), endpoint.nodes());
        let schedule = Schedule::new(endpoint.site().token.forced_refreshes, Instant::now());
        (Self { endpoint, cell, wishes, dropped, schedule, last_error: None, generation: 0 }, handle)
    }

    async fn run(mut self, mut shutdown: ShutdownWatch) {
        let mut waiting = Vec::new();
        loop {
            if waiting.is_empty() {
                tokio::select! {
                    () = tokio::time::sleep_until(self.schedule.next_attempt().into()) => {}
                    wish = self.wishes.recv() => match wish {
                        Some(wish) => self.consider(wish, &mut waiting),
                        None => return,
                    },
                    _ = &mut self.dropped => return,
                    _ = shutdown.changed() => return,
                }
                if waiting.is_empty() && Instant::now() < self.schedule.next_attempt() {
                    continue;
                }
            }
            self.cell.set_phase(Phase::Exchanging);
            let result = tokio::select! {
                result = self.endpoint.exchange() => result,
                _ = &mut self.dropped => return,
                _ = shutdown.changed() => return,
            };
            let outcome = self.settle(result);
            while let Ok(wish) = self.wishes.try_recv() {
                waiting.push(wish);
            }
            for wish in std::mem::take(&mut waiting) {
                match &outcome {
                    // Seen and refused between its arrival and now.
                    Ok(token) if token.generation <= wish.seen => self.consider(wish, &mut waiting),
                    // A caller who hung up is no loss: the token is in the cell.
                    Ok(_) | Err(_) => drop(wish.reply.send(outcome.clone())),
                }
            }
        }
    }

    /// Answers a wish, or puts it among those that wait for the next exchange.
    fn consider(&mut self, wish: Wish, waiting: &mut Vec<Wish>) {
        let now = Instant::now();
        let held = self.cell.usable(now);
        if let Some(token) = held.as_ref().filter(|token| token.generation > wish.seen) {
            drop(wish.reply.send(Ok(Arc::clone(token))));
            return;
        }
        // One exchange serves all who wait.
        let decision = if waiting.is_empty() { self.schedule.judge(wish.reason, now) } else { Decision::Exchange };
        match decision {
            Decision::Exchange => {
                if let (Some(token), Reason::Needed, true) = (held, wish.reason, waiting.is_empty()) {
                    let name = self.endpoint.name();
                    info!("site {name}: OpenEMR refuses token {} before its end: a new one is asked for", token.generation);
                }
                waiting.push(wish);
            }
            Decision::Limited(wait) => drop(wish.reply.send(Err(NoNewToken::Limited(wait)))),
            Decision::BackingOff(wait) => {
                drop(wish.reply.send(Err(NoNewToken::BackingOff(wait, self.last_error.clone()))));
            }
        }
    }

    fn settle(&mut self, result: Result<Exchanged, ExchangeError>) -> Outcome {
        let outcome = match result.and_then(|exchanged| Ok(self.accept(exchanged)?)) {
            Ok(token) => {
                self.succeeded(&token);
                Ok(token)
            }
            Err(problem) => Err(NoNewToken::Failed(self.failed(problem))),
        };
        self.cell.set_failing(outcome.is_err());
        self.cell.set_phase(match outcome {
            Ok(_) => Phase::Resting,
            Err(_) => Phase::BackingOff(self.schedule.next_attempt()),
        });
        outcome
    }

    fn succeeded(&mut self, token: &Arc<AccessToken>) {
        let name = self.endpoint.name();
        match self.schedule.failures() {
            0 => {}
            failures => info!("site {name}: a token at last, after {failures} failures"),
        }
        info!("site {name}: token {} for {} s", token.generation, token.life.as_secs());
        self.schedule.succeeded(Held { requested_at: token.requested_at, life: token.life }, dice());
        self.generation = token.generation;
        self.last_error = None;
        self.cell.store(Arc::clone(token));
    }

    fn failed(&mut self, problem: ExchangeError) -> Arc<ExchangeError> {
        let now = Instant::now();
        self.schedule.failed(now, dice());
        let (name, failures) = (self.endpoint.name(), self.schedule.failures());
        match self.cell.usable(now) {
            Some(token) => warn!(
                "site {name}: no new token (failure {failures}), the one in hand is good for {} s more: {problem}",
                token.left(now).as_secs()
            ),
            None => error!("site {name}: no token (failure {failures}): {problem}"),
        }
        let problem = Arc::new(problem);
        self.last_error = Some(Arc::clone(&problem));
        problem
    }

    fn accept(&self, Exchanged { grant, requested_at }: Exchanged) -> Result<Arc<AccessToken>, TokenError> {
        let missing = self.endpoint.scopes().missing_from(&grant.scope);
        if !missing.is_empty() {
            let missing: Vec<&str> = missing.iter().map(|scope| scope.as_str()).collect();
            warn!(
                "site {}: OpenEMR did not grant {}: the client is not registered for it, and requests that need it will be refused",
                self.endpoint.name(),
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
