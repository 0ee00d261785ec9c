//! What a site says about itself: its CapabilityStatement, kept in memory. It holds no patient data.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use log::warn;
use tokio::sync::Mutex;

use crate::config::{self, Node};
use crate::fhir::capabilities::Capabilities;
use crate::gateway::ask::Question;
use crate::gateway::site::Site;

/// The longest document that is read. OpenEMR's CapabilityStatement has 35 kB.
const MOST: usize = 4 * 1024 * 1024;
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
        Self { nodes: site.nodes.clone(), max_age: site.documents_max_age }
    }
}

/// A site's documents.
#[derive(Debug)]
pub struct Documents {
    terms: Terms,
    known: ArcSwapOption<Known>,
    /// Held by the one that fetches; when the latest attempt failed.
    fetching: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Known {
    capabilities: Arc<Capabilities>,
    since: Instant,
}

impl Documents {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(site: &config::Site) -> Self {
        Self { terms: Terms::of(site), known: ArcSwapOption::empty(), fetching: Mutex::new(None) }
    }

    /// What they are fetched for.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// What the server was last known to do. Asks nobody.
    #[must_use]
    pub fn known(&self) -> Option<Arc<Capabilities>> {
        self.known.load().as_ref().map(|known| Arc::clone(&known.capabilities))
    }

    /// What the server can do; fetched where it is not known or too old. All who ask meanwhile wait for the one fetch.
    /// `None` when OpenEMR has never said it.
    pub async fn capabilities(&self, site: &Site) -> Option<Arc<Capabilities>> {
        if let Some(fresh) = self.known.load_full().filter(|known| known.since.elapsed() < self.terms.max_age) {
            return Some(Arc::clone(&fresh.capabilities));
        }
        let mut failed = self.fetching.lock().await;
        let known = self.known.load_full();
        let is_fresh = known.as_ref().is_some_and(|known| known.since.elapsed() < self.terms.max_age);
        if !is_fresh && failed.is_none_or(|at| at.elapsed() >= PAUSE) {
            match fetch(site).await {
                Ok(capabilities) => {
                    *failed = None;
                    let capabilities = Arc::new(capabilities);
                    self.known.store(Some(Arc::new(Known { capabilities: Arc::clone(&capabilities), since: Instant::now() })));
                    return Some(capabilities);
                }
                Err(problem) => {
                    *failed = Some(Instant::now());
                    warn!("site {}: its CapabilityStatement cannot be had: {problem}", site.name());
                }
            }
        }
        known.map(|known| Arc::clone(&known.capabilities))
    }
}

async fn fetch(site: &Site) -> Result<Capabilities, String> {
    let question = Question::get("/metadata", MOST, site.config.timeouts.read);
    let told = site.ask(&question, None).await.map_err(|error| error.to_string())?;
    if !told.head.status.is_success() {
        return Err(format!("status {}", told.head.status.as_u16()));
    }
    Capabilities::parse(&told.body).map_err(|error| error.to_string())
}
