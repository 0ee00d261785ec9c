//! Sends the spans of finished requests to a collector, in batches, and never on the way of a request.
//!
//! It is one background service. What it cannot send waits for a minute at most, and then is lost and counted: traces are no record.
//!
//! Decision: `docs/decisions/54-opentelemetry.md`.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use log::info;
use parking_lot::Mutex;
use pingora::connectors::http::Connector;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::config::Tracing;
use crate::nodes::client::Client;
use crate::observe::finished_request::FinishedRequest;
use crate::observe::{spans, traces};
use crate::sinks::collector::{Collector, Sent};
use crate::sinks::export_log::ExportLog;

/// The most requests whose spans go in one message.
const MOST: usize = 512;
/// The longest that a request waits for others.
const BETWEEN: Duration = Duration::from_secs(1);
/// The first and the longest wait after a failure; each is twice as long as the last.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// For how long a message is tried.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the end of the process waits for the last spans.
const LAST: Duration = Duration::from_secs(2);

static HANDLE: OnceLock<Handle> = OnceLock::new();

/// What others tell the service.
struct Handle {
    settings: watch::Sender<Tracing>,
    /// The process ends; who is told when the last spans have been sent.
    last: mpsc::Sender<SyncSender<()>>,
    runs: AtomicBool,
}

/// The service.
pub(crate) struct TraceExport(Mutex<Option<Inbox>>);

/// What the service is told.
struct Inbox {
    requests: mpsc::Receiver<FinishedRequest>,
    settings: watch::Receiver<Tracing>,
    last: mpsc::Receiver<SyncSender<()>>,
}

/// What one run of the service has at hand.
struct Run {
    inbox: Inbox,
    client: Client,
    collector: Option<Collector>,
    batch: Vec<FinishedRequest>,
    /// The wait after the next failure.
    wait: Duration,
    /// The name of the process in traces.
    instance: String,
    log: ExportLog,
    /// Who waits for the last spans, once the process ends.
    ending: Option<SyncSender<()>>,
}

/// The service that sends spans where this configuration wants them, and where later ones do. `None` where there is one already.
#[must_use]
pub(crate) fn open(config: &Tracing) -> Option<TraceExport> {
    let requests = traces::open()?;
    let (settings, settings_inbox) = watch::channel(config.clone());
    let (last, last_inbox) = mpsc::channel(1);
    HANDLE.set(Handle { settings, last, runs: AtomicBool::new(false) }).ok()?;
    let inbox = Inbox { requests, settings: settings_inbox, last: last_inbox };
    Some(TraceExport(Mutex::new(Some(inbox))))
}

/// Sends spans where this configuration wants them from now on.
pub(crate) fn adjust(config: &Tracing) {
    if let Some(handle) = HANDLE.get() {
        handle.settings.send_if_modified(|running| {
            let is_new = running != config;
            if is_new {
                running.clone_from(config);
            }
            is_new
        });
    }
}

/// Sends what is left, in two seconds at most. Call it after the last request.
pub(crate) fn send_the_last() {
    let Some(handle) = HANDLE.get().filter(|handle| handle.runs.load(Ordering::Acquire)) else { return };
    let (done, is_done) = sync_channel(1);
    if handle.last.try_send(done).is_ok() {
        let _ = is_done.recv_timeout(LAST);
    }
}

#[async_trait]
impl BackgroundService for TraceExport {
    /// Runs to the end of the process: the last requests end after the signal to stop.
    async fn start(&self, _shutdown: ShutdownWatch) {
        let inbox = self.0.lock().take();
        let (Some(inbox), Some(handle)) = (inbox, HANDLE.get()) else { return };
        handle.runs.store(true, Ordering::Release);
        let run = Run {
            inbox,
            client: Client::new(Arc::new(Connector::new(None))),
            collector: None,
            batch: Vec::with_capacity(MOST),
            wait: FIRST_WAIT,
            instance: Uuid::new_v4().to_string(),
            log: ExportLog::default(),
            ending: None,
        };
        run.send_all().await;
    }
}

impl Run {
    /// Sends spans until the process ends.
    async fn send_all(mut self) {
        self.follow_settings();
        loop {
            self.collect().await;
            self.deliver().await;
            if let Some(waiting) = self.ending.take_if(|_| self.inbox.requests.is_empty()) {
                let _ = waiting.try_send(());
                return;
            }
        }
    }

    fn follow_settings(&mut self) {
        let settings = self.inbox.settings.borrow_and_update().clone();
        let before = self.collector.is_some();
        self.collector = match &settings.endpoint {
            Some(url) => {
                info!("traces go to {url}");
                Collector::new(settings, self.client.clone())
            }
            None if before => {
                info!("traces go nowhere any more");
                None
            }
            None => None,
        };
        self.wait = FIRST_WAIT;
    }

    /// Collects requests until there is a whole batch, or none has come for so long that those that wait go.
    async fn collect(&mut self) {
        let mut until = None;
        while self.batch.len() < MOST && self.ending.is_none() {
            let room = MOST - self.batch.len();
            tokio::select! {
                last = self.inbox.last.recv() => self.ending = last,
                _ = self.inbox.settings.changed() => self.follow_settings(),
                _ = self.inbox.requests.recv_many(&mut self.batch, room) => {
                    until.get_or_insert_with(|| Instant::now() + BETWEEN);
                }
                () = at(until) => return,
            }
        }
        // At the end of the process there is nothing to wait for.
        while self.batch.len() < MOST
            && let Ok(request) = self.inbox.requests.try_recv()
        {
            self.batch.push(request);
        }
    }

    /// Sends the batch, or gives it up.
    async fn deliver(&mut self) {
        let requests = std::mem::take(&mut self.batch);
        if requests.is_empty() {
            return;
        }
        let until = Instant::now() + PATIENCE;
        // Without a collector they are nobody's: the configuration has changed.
        while let Some(collector) = &self.collector {
            let message = spans::message(&requests, collector.service(), &self.instance);
            match collector.post(Bytes::from(message.encode_to_vec())).await {
                Sent::Taken { rejected } => {
                    self.wait = FIRST_WAIT;
                    match rejected {
                        0 => self.log.works(Instant::now()),
                        _ => self.log.fails(&format!("the collector rejects {rejected} spans of a message"), Instant::now()),
                    }
                    return;
                }
                Sent::Refused(why) => {
                    traces::note_lost(requests.len());
                    return self.log.fails(&why, Instant::now());
                }
                Sent::Later { why, wait } => {
                    if self.ending.is_some() || Instant::now() >= until {
                        traces::note_lost(requests.len());
                        return self.log.fails(&why, Instant::now());
                    }
                    self.log.fails(&why, Instant::now());
                    let wait = wait.unwrap_or_default().max(self.wait);
                    self.wait = LONGEST_WAIT.min(self.wait * 2);
                    self.pause(wait).await;
                }
            }
        }
    }

    /// Waits so long, or until something else is to be done.
    async fn pause(&mut self, wait: Duration) {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            last = self.inbox.last.recv() => self.ending = last,
            _ = self.inbox.settings.changed() => self.follow_settings(),
        }
    }
}

/// Waits until this time; without one for ever.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
