//! Where a node's token endpoint is: configured, or found in the server's SMART configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;

use crate::config::{self, BaseUrl};
use crate::nodes::Terms;
use crate::nodes::origin::Origin;

/// A token endpoint.
#[derive(Debug)]
pub struct TokenOrigin {
    /// Where it is.
    pub origin: Origin,
    /// Its URL to the letter: what assertions are for, unless `token_audience` says otherwise.
    pub audience: String,
}

/// The token endpoint of a node, as far as it is known.
#[derive(Debug)]
pub struct TokenOrigins {
    known: ArcSwapOption<TokenOrigin>,
    is_configured: bool,
    /// An exchange has failed since it was found.
    is_doubted: AtomicBool,
}

impl TokenOrigins {
    pub(super) fn new(node: &config::Node, terms: &Terms) -> Self {
        let configured = node.token_url.as_ref().map(|url| TokenOrigin::new(url, url.to_string(), terms));
        let is_configured = configured.is_some();
        Self { known: ArcSwapOption::from(configured.map(Arc::new)), is_configured, is_doubted: AtomicBool::new(false) }
    }

    /// What is known of it.
    #[must_use]
    pub fn known(&self) -> Option<Arc<TokenOrigin>> {
        self.known.load_full()
    }

    /// Whether the server is to be asked where it is.
    #[must_use]
    pub fn is_to_be_found(&self) -> bool {
        !self.is_configured && (self.is_doubted.load(Ordering::Relaxed) || self.known.load().is_none())
    }

    /// An exchange has failed: it may have moved.
    pub fn doubt(&self) {
        self.is_doubted.store(true, Ordering::Relaxed);
    }

    /// The server has said where it is. What is as before keeps its addresses and connections.
    pub fn found(&self, url: &BaseUrl, audience: &str, terms: &Terms) -> Arc<TokenOrigin> {
        self.is_doubted.store(false, Ordering::Relaxed);
        let same = self.known().filter(|known| known.origin.url() == url && known.audience == audience);
        same.unwrap_or_else(|| {
            let found = Arc::new(TokenOrigin::new(url, audience.to_owned(), terms));
            self.known.store(Some(Arc::clone(&found)));
            found
        })
    }
}

impl TokenOrigin {
    fn new(url: &BaseUrl, audience: String, terms: &Terms) -> Self {
        Self { origin: Origin::new(url, terms), audience }
    }
}
