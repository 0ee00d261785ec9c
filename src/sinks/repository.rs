//! Posts the records of the spool to a FHIR repository, as AuditEvents in Bundles of type `batch`: at least once, in order, and never on
//! the way of a request.
//!
//! It is one background service. Whatever ends it loses nothing: what is not acknowledged in the spool is posted by the next process.
//!
//! Decision: `docs/decisions/43-audit-repository.md`.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use log::info;
use pingora::connectors::http::Connector;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::audit::audit_event::{self, Observer};
use crate::audit::disk::Folder;
use crate::audit::posting::Posting;
use crate::audit::spool::reader::{Pending, Reader};
use crate::audit::spool::refused;
use crate::audit::spool::shared::{Shared, Sizes};
use crate::config::{Audit, AuditRepository, BaseUrl};
use crate::nodes::client::{Client, Limits, Request};
use crate::nodes::origin::Origin;
use crate::sinks::batch_answer::BatchAnswer;
use crate::sinks::delivery::{Batch, Change, Event, Pace, Progress};
use crate::sinks::posting_log::PostingLog;

/// How long it waits before it looks for records again.
const IDLE: Duration = Duration::from_millis(200);
/// How long the Bundle that is under way may take when the process ends.
const LAST: Duration = Duration::from_secs(2);
/// The longest answer that is read, in bytes: servers may repeat the events.
const MOST_ANSWER: usize = 16 * 1024 * 1024;
/// The longest value of the field Authorization, in bytes.
const MOST_AUTHORIZATION: usize = 64 * 1024;

/// Posts what is in the spool.
pub(crate) struct Repository {
    settings: Settings,
    disk: Folder,
    spool: Arc<Shared>,
    posting: Arc<Posting>,
}

/// What posting depends on.
struct Settings {
    url: BaseUrl,
    config: AuditRepository,
    observer: Observer,
    refused: u64,
}

/// What one run of the service has at hand.
struct Run<'a> {
    repository: &'a Repository,
    origin: Origin,
    client: Client,
    target: String,
    shutdown: ShutdownWatch,
    pace: Pace,
    log: PostingLog,
}

/// Why the service ends.
struct Ended;

impl Repository {
    /// Posts what is in the spool in this folder. `None` where no repository is configured.
    #[must_use]
    pub(crate) fn new(config: &Audit, disk: Folder, sizes: &Sizes, spool: Arc<Shared>) -> Option<Self> {
        let repository = config.repository.clone()?;
        let url = repository.url.clone()?;
        let posting = Arc::new(Posting::new(Arc::clone(&spool)));
        let observer = Observer { name: config.name.clone() };
        let settings = Settings { url, config: repository, observer, refused: sizes.refused };
        Some(Self { settings, disk, spool, posting })
    }

    /// What is known of posting.
    #[must_use]
    pub(crate) fn posting(&self) -> &Arc<Posting> {
        &self.posting
    }

    /// The value of the field Authorization as its file has it now.
    fn authorization(&self) -> io::Result<Option<HeaderValue>> {
        let Some(path) = &self.settings.config.authorization_file else { return Ok(None) };
        read_authorization(path).map(Some)
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository").field("url", &self.settings.url).finish_non_exhaustive()
    }
}

fn read_authorization(path: &PathBuf) -> io::Result<HeaderValue> {
    use std::io::Read as _;
    let mut text = Zeroizing::new(Vec::with_capacity(MOST_AUTHORIZATION));
    let most = u64::try_from(MOST_AUTHORIZATION).unwrap_or(u64::MAX);
    std::fs::File::open(path)?.take(most).read_to_end(&mut text)?;
    let mut value = HeaderValue::from_bytes(text.trim_ascii()).map_err(io::Error::other)?;
    value.set_sensitive(true);
    Ok(value)
}

#[async_trait]
impl BackgroundService for Repository {
    async fn start(&self, shutdown: ShutdownWatch) {
        let Settings { url, config, .. } = &self.settings;
        let authorities = config.ca_file.as_ref().map(|file| file.certificates.as_slice());
        let run = Run {
            repository: self,
            origin: Origin::elsewhere(url.clone(), "audit.repository.url", authorities),
            client: Client::new(Arc::new(Connector::new(None))),
            target: if url.path.is_empty() { "/".to_owned() } else { url.path.clone() },
            shutdown,
            pace: Pace::new(usize::try_from(config.batch).unwrap_or(usize::MAX)),
            log: PostingLog::default(),
        };
        info!("records of the audit trail go to {url}");
        let Ended = run.post_all().await;
    }
}

impl Run<'_> {
    /// Posts until the process ends.
    async fn post_all(mut self) -> Ended {
        let mut reader = match self.take_reader().await {
            Ok(reader) => reader,
            Err(ended) => return ended,
        };
        loop {
            let most = usize::try_from(self.repository.settings.config.batch).unwrap_or(usize::MAX);
            let found;
            (reader, found) = match off_thread(reader, move |reader| reader.next(most)).await {
                Some(done) => done,
                None => return Ended,
            };
            let records = found.unwrap_or_else(|error| {
                self.note_disk("reading the spool", &error);
                Vec::new()
            });
            self.tell();
            let ended = if records.is_empty() {
                self.pause(IDLE).await
            } else {
                match self.post(reader, records).await {
                    Ok(kept) => {
                        reader = kept;
                        if self.has_ended() { Err(Ended) } else { Ok(()) }
                    }
                    Err(ended) => return ended,
                }
            };
            if let Err(ended) = ended {
                return ended;
            }
        }
    }

    /// Waits until no other process reads the spool.
    async fn take_reader(&mut self) -> Result<Reader<Folder>, Ended> {
        loop {
            match Reader::open(self.repository.disk.clone(), Arc::clone(&self.repository.spool)) {
                Ok(Some(reader)) => return Ok(reader),
                Ok(None) => {}
                Err(error) => self.note_disk("opening the spool", &error),
            }
            self.pause(IDLE).await?;
        }
    }

    /// Posts these records' events, as many as go into one batch, until none of them waits.
    async fn post(&mut self, mut reader: Reader<Folder>, records: Vec<Pending>) -> Result<Reader<Folder>, Ended> {
        let most = usize::try_from(self.repository.settings.config.batch).unwrap_or(usize::MAX);
        let mut batch = Batch::new(records, most);
        let mut told = Progress::default();
        loop {
            let sent = batch.next(&self.pace);
            if sent.is_empty() {
                return Ok(reader);
            }
            let answer = self.send(&batch, &sent).await?;
            let change = batch.answered(&sent, answer, &mut self.pace, random());
            self.note(&batch, &change);
            let progress = batch.progress();
            if progress != told {
                let (records, events) = (progress.records - told.records, progress.events);
                told = progress;
                let done;
                (reader, done) = off_thread(reader, move |reader| reader.acknowledge(records, events)).await.ok_or(Ended)?;
                done.unwrap_or_else(|error| self.note_disk("writing the position in the spool", &error));
            }
            self.tell();
            match change.wait {
                Some(wait) => self.pause(wait).await?,
                None if self.has_ended() => return Err(Ended),
                None => {}
            }
        }
    }

    /// Sends one Bundle. A request that is under way when the process ends has a little time left.
    async fn send(&mut self, batch: &Batch, sent: &[Event]) -> Result<BatchAnswer, Ended> {
        let authorization = match self.repository.authorization() {
            Ok(authorization) => authorization,
            Err(error) => {
                self.log.trouble(format!("audit.repository.authorization_file cannot be read: {error}"));
                return Ok(BatchAnswer::later("authorization_file"));
            }
        };
        const FHIR: HeaderValue = HeaderValue::from_static("application/fhir+json");
        let prefer = (HeaderName::from_static("prefer"), HeaderValue::from_static("return=minimal"));
        let mut fields = vec![(CONTENT_TYPE, FHIR), (ACCEPT, FHIR), prefer];
        fields.extend(authorization.map(|value| (AUTHORIZATION, value)));
        let body = Some(Bytes::from(bundle(batch, sent, &self.repository.settings.observer).to_string()));
        let request = Request { method: Method::POST, target: self.target.clone(), fields, body };
        let total = Some(self.repository.settings.config.timeout);
        let limits = Limits { step: None, total, body: MOST_ANSWER };
        let mut shutdown = self.shutdown.clone();
        let response = tokio::select! {
            response = self.client.send(&self.origin, request, limits) => response,
            () = async { ended(&mut shutdown).await; tokio::time::sleep(LAST).await } => return Err(Ended),
        };
        Ok(match response {
            Ok(response) => {
                let status = response.status.as_u16();
                let wait = response.fields.get(RETRY_AFTER).and_then(|field| field.to_str().ok());
                let answer = BatchAnswer::read(status, wait, SystemTime::now(), &response.body, sent.len());
                match &answer {
                    // What the repository says may name patients: its status is enough.
                    BatchAnswer::Later(trouble) => {
                        self.log.trouble(format!("it answers with status {status} ({})", trouble.word))
                    }
                    BatchAnswer::Each(_) | BatchAnswer::Refused(_) => {}
                }
                answer
            }
            Err(error) => {
                let word = if error.is_timeout() { "timeout" } else { "unreachable" };
                self.log.trouble(error.to_string());
                // The name may have moved.
                if error.is_unsent() {
                    let _ = self.origin.resolve().await;
                }
                BatchAnswer::later(word)
            }
        })
    }

    /// Counts what an answer changed, and keeps what was refused for good.
    fn note(&mut self, batch: &Batch, change: &Change) {
        let refused = u64::try_from(change.refused.len()).unwrap_or(u64::MAX);
        self.repository.posting.count(change.taken, refused);
        self.repository.posting.set_trouble(change.trouble);
        for (event, status) in &change.refused {
            let Some(record) = batch.record(event) else { continue };
            let kept = refused::add(&self.repository.disk, self.repository.settings.refused, *status, record, event.index);
            self.log.refused(*status, kept.is_ok());
        }
        if change.trouble.is_none() {
            self.log.works();
        }
    }

    fn note_disk(&mut self, doing: &str, error: &io::Error) {
        self.repository.posting.set_trouble(Some("spool"));
        self.log.trouble(format!("{doing}: {error}"));
    }

    /// Logs what is due.
    fn tell(&mut self) {
        self.log.tell(&self.repository.posting.health(), std::time::Instant::now());
    }

    fn has_ended(&self) -> bool {
        *self.shutdown.borrow() || self.shutdown.has_changed().is_err()
    }

    async fn pause(&mut self, wait: Duration) -> Result<(), Ended> {
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            () = ended(&mut self.shutdown) => Err(Ended),
        }
    }
}

/// Waits for the end of the process.
async fn ended(shutdown: &mut ShutdownWatch) {
    let _ = shutdown.wait_for(|ended| *ended).await;
}

/// Lets the disk take its time on another thread. `None` at the end of the process.
fn off_thread<T: Send + 'static>(
    mut reader: Reader<Folder>,
    work: impl FnOnce(&mut Reader<Folder>) -> T + Send + 'static,
) -> impl Future<Output = Option<(Reader<Folder>, T)>> {
    let done = tokio::task::spawn_blocking(move || {
        let result = work(&mut reader);
        (reader, result)
    });
    async { done.await.ok() }
}

/// A Bundle that creates these events.
fn bundle(batch: &Batch, sent: &[Event], observer: &Observer) -> Value {
    let entries: Vec<Value> = sent
        .iter()
        .filter_map(|event| {
            let record = batch.record(event)?;
            let resource = audit_event::event(record, event.index, observer);
            let url = audit_event::id(record, event.index).urn().to_string();
            Some(json!({"fullUrl": url, "resource": resource, "request": {"method": "POST", "url": "AuditEvent"}}))
        })
        .collect();
    json!({"resourceType": "Bundle", "type": "batch", "entry": entries})
}

/// A random number from 0 to 1.
fn random() -> f64 {
    let mut bytes = [0_u8; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}
