//! The token endpoint of a node: configured, or discovered in the server's SMART configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;

use crate::config::{self, BaseUrl, Upstream};
use crate::nodes::origin::Origin;
use crate::nodes::places::token_place;

/// A token endpoint.
#[derive(Debug)]
pub(crate) struct TokenOrigin {
    /// The server and path.
    pub origin: Origin,
    /// Its URL to the letter: the audience of assertions, unless `token_audience` is set.
    pub audience: String,
}

/// What is known of a node's token endpoint.
#[derive(Debug)]
pub(crate) struct TokenOrigins {
    node: config::Node,
    known: ArcSwapOption<TokenOrigin>,
    /// An exchange has failed since it was found.
    is_doubted: AtomicBool,
}

impl TokenOrigins {
    pub(super) fn new(node: &config::Node, upstream: &Upstream) -> Self {
        let configured = node.token_url.as_ref().map(|url| Arc::new(TokenOrigin::new(node, url, url.to_string(), upstream)));
        Self { node: node.clone(), known: ArcSwapOption::from(configured), is_doubted: AtomicBool::new(false) }
    }

    /// The endpoint, if it is known.
    #[must_use]
    pub(crate) fn known(&self) -> Option<Arc<TokenOrigin>> {
        self.known.load_full()
    }

    /// Whether the SMART configuration is to be read: it is not configured, and unknown or in doubt.
    #[must_use]
    pub(crate) fn needs_discovery(&self) -> bool {
        self.node.token_url.is_none() && (self.is_doubted.load(Ordering::Relaxed) || self.known.load().is_none())
    }

    /// Records that an exchange has failed: the endpoint may have moved.
    pub(crate) fn doubt(&self) {
        self.is_doubted.store(true, Ordering::Relaxed);
    }

    /// Records what discovery found. An endpoint that is as before keeps its addresses and connections.
    pub(crate) fn discovered(&self, url: &BaseUrl, audience: &str, upstream: &Upstream) -> Arc<TokenOrigin> {
        self.is_doubted.store(false, Ordering::Relaxed);
        let same = self.known().filter(|known| known.origin.url() == url && known.audience == audience);
        same.unwrap_or_else(|| {
            let found = Arc::new(TokenOrigin::new(&self.node, url, audience.to_owned(), upstream));
            self.known.store(Some(Arc::clone(&found)));
            found
        })
    }
}

impl TokenOrigin {
    fn new(node: &config::Node, url: &BaseUrl, audience: String, upstream: &Upstream) -> Self {
        Self { origin: Origin::new(token_place(node, url), upstream), audience }
    }
}
