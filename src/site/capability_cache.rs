//! The capability cache: a site's CapabilityStatement in memory. It holds no patient data.
//!
//! OpenEMR builds the document for every request, which takes longer than most searches. Here one fetch serves all requests
//! that wait for it. A document that is too old is still given while it is fetched again, and while that fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use log::{info, warn};
use tokio::sync::watch;

use crate::config::{self, Node};
use crate::fhir::capabilities::{Capabilities, CapabilitiesError};
use crate::site::client::{FhirRequest, SiteClient, SiteClientError};
use crate::site::single_fetch::SingleFetch;

/// The longest document that is read, in bytes. OpenEMR's has 35 kB.
const MAX_DOCUMENT: usize = 4 * 1024 * 1024;
/// The longest time that a fetch may take.
const FETCH_WITHIN: Duration = Duration::from_secs(30);
/// How long no fetch is begun after one has failed.
const PAUSE: Duration = Duration::from_secs(5);

/// The configuration that a cache depends on: a reload that does not change it keeps the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    nodes: Vec<Node>,
    max_age: Duration,
}

impl Terms {
    /// The terms of a site.
    #[must_use]
    pub(crate) fn of(site: &config::Site) -> Self {
        Self { nodes: site.upstream.nodes.clone(), max_age: site.answers.documents.max_age }
    }
}

/// The cache of one site.
#[derive(Debug)]
pub(crate) struct CapabilityCache {
    terms: Terms,
    known: ArcSwapOption<Statement>,
    fetches: SingleFetch,
}

/// A CapabilityStatement as OpenEMR wrote it.
#[derive(Debug)]
pub(crate) struct Statement {
    /// The parts that the gateway needs.
    pub capabilities: Arc<Capabilities>,
    /// The whole document.
    pub json: Bytes,
    since: Instant,
}

/// Where a CapabilityStatement is fetched from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    /// Sends the request.
    pub client: &'a SiteClient,
    /// The site's name, for the log.
    pub site: &'a str,
    /// The longest wait between two reads of the answer.
    pub read_timeout: Duration,
}

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    NoAnswer(#[from] SiteClientError),
    /// Another status than 200, explained.
    #[error("{0}")]
    Unusable(String),
    #[error(transparent)]
    Unreadable(#[from] CapabilitiesError),
    #[error("it took longer than {} s", FETCH_WITHIN.as_secs())]
    TimedOut,
}

impl CapabilityCache {
    /// An empty cache.
    #[must_use]
    pub(crate) fn new(site: &config::Site) -> Self {
        Self { terms: Terms::of(site), known: ArcSwapOption::empty(), fetches: SingleFetch::default() }
    }

    /// The configuration that it depends on.
    #[must_use]
    pub(crate) fn terms(&self) -> &Terms {
        &self.terms
    }

    /// OpenEMR's capabilities, if they are in memory.
    #[must_use]
    pub(crate) fn known(&self) -> Option<Arc<Capabilities>> {
        self.known.load().as_ref().map(|known| Arc::clone(&known.capabilities))
    }

    /// The CapabilityStatement. The first one is waited for; one that is too old is fetched again in the background. `None` when
    /// there is none and a fetch fails or has just failed.
    pub(crate) async fn statement(self: &Arc<Self>, origin: Origin<'_>) -> Option<Arc<Statement>> {
        if let Some(known) = self.known.load_full() {
            if known.since.elapsed() >= self.terms.max_age {
                self.fetch(origin);
            }
            return Some(known);
        }
        if let Some(mut fetch) = self.fetch(origin) {
            // Nothing is ever sent; the channel is closed at the end of the fetch.
            let _ = fetch.changed().await;
        }
        self.known.load_full()
    }

    /// Begins a fetch unless there is one already; `None` when one has just failed. A fetch goes on when the request that began it
    /// is given up.
    fn fetch(self: &Arc<Self>, origin: Origin<'_>) -> Option<watch::Receiver<()>> {
        self.fetches.begin(PAUSE, || {
            let Origin { client, site, read_timeout } = origin;
            let (cache, client, site) = (Arc::clone(self), client.clone(), site.to_owned());
            async move {
                let fetched = tokio::time::timeout(FETCH_WITHIN, fetch(&client, read_timeout)).await;
                match fetched.unwrap_or(Err(FetchError::TimedOut)) {
                    Ok(statement) => cache.store(&site, statement),
                    Err(error) => {
                        warn!("site {site}: its CapabilityStatement cannot be had: {error}");
                        return false;
                    }
                }
                true
            }
        })
    }

    fn store(&self, site: &str, mut statement: Statement) {
        if self.fetches.has_failed() {
            info!("site {site}: its CapabilityStatement has been fetched");
        }
        // An equal document keeps its bytes, and so the documents that were made from them.
        if let Some(known) = self.known.load().as_ref().filter(|known| known.json == statement.json) {
            statement.json = known.json.clone();
            statement.capabilities = Arc::clone(&known.capabilities);
        }
        self.known.store(Some(Arc::new(statement)));
    }
}

async fn fetch(client: &SiteClient, read_timeout: Duration) -> Result<Statement, FetchError> {
    let request = FhirRequest::get("/metadata", MAX_DOCUMENT, read_timeout);
    let response = client.send(&request, None).await?;
    if !response.status.is_success() {
        return Err(FetchError::Unusable(response.explain().to_string()));
    }
    let capabilities = Arc::new(Capabilities::parse(&response.body)?);
    Ok(Statement { capabilities, json: response.body, since: Instant::now() })
}
