//! What a site says about itself: its CapabilityStatement, kept in memory. It holds no patient data.
//!
//! OpenEMR builds it anew at each request, which takes longer than most searches. One fetch serves all who ask meanwhile;
//! what is too old is given all the same, while it is fetched again; and when that fails, for as long as it does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use log::{info, warn};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::config::{self, Node};
use crate::fhir::capabilities::Capabilities;
use crate::site::client::{FhirRequest, SiteClient};

/// The longest document that is read. OpenEMR's CapabilityStatement has 35 kB.
const MOST: usize = 4 * 1024 * 1024;
/// How long a whole fetch may take.
const WITHIN: Duration = Duration::from_secs(30);
/// How long a site is not asked again that could not answer.
const PAUSE: Duration = Duration::from_secs(5);

/// What documents were fetched for: they are carried over a reload that changes nothing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    nodes: Vec<Node>,
    max_age: Duration,
}

impl Terms {
    /// The terms of a site.
    #[must_use]
    pub fn of(site: &config::Site) -> Self {
        Self { nodes: site.upstream.nodes.clone(), max_age: site.answers.documents.max_age }
    }
}

/// Where a document is fetched from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Sends the request.
    pub client: &'a SiteClient,
    /// The site's name, for the log.
    pub site: &'a str,
    /// The longest wait between two reads of the answer.
    pub read_timeout: Duration,
}

/// A site's documents.
#[derive(Debug)]
pub struct Documents {
    terms: Terms,
    known: ArcSwapOption<Statement>,
    fetching: Mutex<Fetching>,
}

/// A CapabilityStatement as OpenEMR sent it.
#[derive(Debug)]
pub struct Statement {
    /// What it says, as far as the gateway needs it.
    pub capabilities: Arc<Capabilities>,
    /// All of it.
    pub json: Bytes,
    since: Instant,
}

#[derive(Debug, Default)]
struct Fetching {
    /// Closed when the fetch under way has ended.
    under_way: Option<watch::Receiver<()>>,
    failed: Option<Instant>,
}

impl Documents {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(site: &config::Site) -> Self {
        Self { terms: Terms::of(site), known: ArcSwapOption::empty(), fetching: Mutex::default() }
    }

    /// What they are fetched for.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// How long one is good.
    #[must_use]
    pub fn max_age(&self) -> Duration {
        self.terms.max_age
    }

    /// What the server was last known to do. Asks nobody.
    #[must_use]
    pub fn known(&self) -> Option<Arc<Capabilities>> {
        self.known.load().as_ref().map(|known| Arc::clone(&known.capabilities))
    }

    /// Its CapabilityStatement: waited for where there is none yet, fetched again in the background where it is too old.
    /// `None` when it cannot be had, now or of late.
    pub async fn statement(self: &Arc<Self>, origin: Origin<'_>) -> Option<Arc<Statement>> {
        if let Some(known) = self.known.load_full() {
            if known.since.elapsed() >= self.terms.max_age {
                self.fetch(origin);
            }
            return Some(known);
        }
        if let Some(mut under_way) = self.fetch(origin) {
            // It says nothing, and is closed at the end.
            let _ = under_way.changed().await;
        }
        self.known.load_full()
    }

    /// Begins a fetch, unless one is under way; `None` when one has just failed. It goes on when its caller hangs up.
    fn fetch(self: &Arc<Self>, origin: Origin<'_>) -> Option<watch::Receiver<()>> {
        let mut fetching = self.fetching.lock();
        if let Some(under_way) = &fetching.under_way {
            return Some(under_way.clone());
        }
        if fetching.failed.is_some_and(|at| at.elapsed() < PAUSE) {
            return None;
        }
        let (ends, under_way) = watch::channel(());
        fetching.under_way = Some(under_way.clone());
        let ending = Ending { documents: Arc::clone(self), _ends: ends };
        let Origin { client, site, read_timeout } = origin;
        let (client, name) = (client.clone(), site.to_owned());
        tokio::spawn(async move {
            let fetched = tokio::time::timeout(WITHIN, fetch(&client, read_timeout)).await;
            match fetched.unwrap_or_else(|_| Err(format!("it took longer than {} s", WITHIN.as_secs()))) {
                Ok(statement) => ending.documents.keep(&name, statement),
                Err(problem) => {
                    ending.documents.fetching.lock().failed = Some(Instant::now());
                    warn!("site {name}: its CapabilityStatement cannot be had: {problem}");
                }
            }
            drop(ending);
        });
        Some(under_way)
    }

    fn keep(&self, name: &str, mut statement: Statement) {
        if self.fetching.lock().failed.take().is_some() {
            info!("site {name}: its CapabilityStatement is there");
        }
        // What has not changed need not be read, nor shown, anew.
        if let Some(known) = self.known.load().as_ref().filter(|known| known.json == statement.json) {
            statement.json = known.json.clone();
            statement.capabilities = Arc::clone(&known.capabilities);
        }
        self.known.store(Some(Arc::new(statement)));
    }
}

/// The end of a fetch, however it comes.
struct Ending {
    documents: Arc<Documents>,
    _ends: watch::Sender<()>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.documents.fetching.lock().under_way = None;
    }
}

async fn fetch(client: &SiteClient, read_timeout: Duration) -> Result<Statement, String> {
    let request = FhirRequest::get("/metadata", MOST, read_timeout);
    let response = client.send(&request, None).await.map_err(|error| error.to_string())?;
    if !response.status.is_success() {
        return Err(response.explain().to_string());
    }
    let capabilities = Arc::new(Capabilities::parse(&response.body).map_err(|error| error.to_string())?);
    Ok(Statement { capabilities, json: response.body, since: Instant::now() })
}
