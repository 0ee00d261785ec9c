//! The task that keeps one token: it exchanges by the schedule and on request, one exchange at a time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use log::{error, info, warn};
use pingora::server::ShutdownWatch;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::audit::record::{Kind, Outcome as Recorded, Record, Text};
use crate::audit::trail::Trail;
use crate::smart::exchange::TokenEndpoint;
use crate::smart::exchanged::{ExchangeError, Exchanged};
use crate::smart::refresh_request::{NoNewToken, Outcome, RefreshRequest};
use crate::smart::schedule::{Decision, Held, Reason, Schedule};
use crate::smart::token::AccessToken;
use crate::smart::token_cell::{Phase, TokenCell, TokenHandle};
use crate::smart::token_response::TokenError;

/// Keeps one token until its handle is dropped or the process ends.
pub(super) struct TokenTask {
    endpoint: TokenEndpoint,
    cell: Arc<TokenCell>,
    refresh_requests: mpsc::Receiver<RefreshRequest>,
    dropped: oneshot::Receiver<Infallible>,
    begin: Arc<Notify>,
    schedule: Schedule,
    last_error: Option<Arc<ExchangeError>>,
    generation: u64,
    trail: Arc<Trail>,
}

impl TokenTask {
    /// A task without a token, and the handle that keeps it running.
    pub(super) fn new(endpoint: TokenEndpoint, trail: Arc<Trail>) -> (Self, TokenHandle) {
        let (cell, refresh_requests) = TokenCell::new();
        let cell = Arc::new(cell);
        let begin = Arc::<Notify>::default();
        let (handle, dropped) = TokenHandle::new(Arc::clone(&cell), endpoint.nodes(), Arc::clone(&begin));
        let schedule = Schedule::new(endpoint.site().token.forced_refreshes, Instant::now());
        (Self { endpoint, cell, refresh_requests, dropped, begin, schedule, last_error: None, generation: 0, trail }, handle)
    }

    /// Runs until the handle is dropped or the process ends. Waits until the handle lets it begin.
    pub(super) async fn run(mut self, mut shutdown: ShutdownWatch) {
        tokio::select! {
            () = self.begin.notified() => {}
            _ = &mut self.dropped => return,
            _ = shutdown.changed() => return,
        }
        let mut waiting = Vec::new();
        loop {
            if waiting.is_empty() {
                tokio::select! {
                    () = tokio::time::sleep_until(self.schedule.next_attempt().into()) => {}
                    request = self.refresh_requests.recv() => match request {
                        Some(request) => self.consider(request, &mut waiting),
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
            let began = Instant::now();
            let result = tokio::select! {
                result = self.endpoint.exchange() => result,
                _ = &mut self.dropped => return,
                _ = shutdown.changed() => return,
            };
            let outcome = self.settle(result, began.elapsed());
            while let Ok(request) = self.refresh_requests.try_recv() {
                waiting.push(request);
            }
            for request in std::mem::take(&mut waiting) {
                match &outcome {
                    // Used and refused between its arrival and now.
                    Ok(token) if token.generation <= request.seen => self.consider(request, &mut waiting),
                    // A caller that hung up is no loss: the token is in the cell.
                    Ok(_) | Err(_) => drop(request.reply.send(outcome.clone())),
                }
            }
        }
    }

    /// Answers a refresh request, or puts it among those that wait for the next exchange.
    fn consider(&mut self, request: RefreshRequest, waiting: &mut Vec<RefreshRequest>) {
        let now = Instant::now();
        let held = self.cell.usable(now);
        if let Some(token) = held.as_ref().filter(|token| token.generation > request.seen) {
            drop(request.reply.send(Ok(Arc::clone(token))));
            return;
        }
        // One exchange serves all requests that wait.
        let decision = if waiting.is_empty() { self.schedule.decide(request.reason, now) } else { Decision::Exchange };
        match decision {
            Decision::Exchange => {
                if let (Some(token), Reason::Needed, true) = (held, request.reason, waiting.is_empty()) {
                    let name = self.endpoint.name();
                    info!("site {name}: OpenEMR refuses token {} before its end: a new one is asked for", token.generation);
                }
                waiting.push(request);
            }
            Decision::Limited(wait) => drop(request.reply.send(Err(NoNewToken::Limited(wait)))),
            Decision::BackingOff(wait) => {
                drop(request.reply.send(Err(NoNewToken::BackingOff(wait, self.last_error.clone()))));
            }
        }
    }

    fn settle(&mut self, result: Result<Exchanged, ExchangeError>, took: Duration) -> Outcome {
        let outcome = match result.and_then(|exchanged| Ok(self.accept(exchanged)?)) {
            Ok(token) => {
                self.succeeded(&token);
                Ok(token)
            }
            Err(problem) => Err(NoNewToken::Failed(self.failed(problem))),
        };
        let failure = match &outcome {
            Err(NoNewToken::Failed(problem)) => Some(problem.to_string()),
            Ok(_) | Err(_) => None,
        };
        self.cell.note_exchange(failure, took);
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
        self.record(Recorded::Success, format!("token {} for {} s", token.generation, token.life.as_secs()).into());
        self.schedule.succeeded(Held { requested_at: token.requested_at, life: token.life }, dice());
        self.generation = token.generation;
        self.last_error = None;
        self.cell.store(Arc::clone(token));
    }

    fn failed(&mut self, problem: ExchangeError) -> Arc<ExchangeError> {
        let now = Instant::now();
        self.schedule.failed(now, dice(), problem.retry_after());
        let (name, failures) = (self.endpoint.name(), self.schedule.failures());
        match self.cell.usable(now) {
            Some(token) => warn!(
                "site {name}: no new token (failure {failures}), the one in hand is good for {} s more: {problem}",
                token.left(now).as_secs()
            ),
            None => error!("site {name}: no token (failure {failures}): {problem}"),
        }
        self.record(Recorded::Failed, problem.public_summary().into());
        let problem = Arc::new(problem);
        self.last_error = Some(Arc::clone(&problem));
        problem
    }

    fn record(&self, outcome: Recorded, detail: Text) {
        let record = Record::event(Kind::TokenExchange, Timestamp::now(), outcome, detail);
        self.trail.record(Record { site: Some(self.endpoint.name().to_owned().into()), ..record }, None);
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
