//! What is checked: a configured site, or an OpenEMR of which the address alone is known.

use std::sync::Arc;

use crate::config::{Site, Upstream};
use crate::diagnosis::shields::Release;
use crate::nodes::Nodes;
use crate::nodes::node::Node;

/// What is checked.
pub(crate) struct Subject {
    /// The name of the site.
    pub(crate) name: String,
    /// The site, where one is configured.
    pub(crate) site: Option<Arc<Site>>,
    /// Its servers.
    pub(crate) nodes: Arc<Nodes>,
    /// The release of OpenEMR, where it was said.
    pub(crate) release: Option<Release>,
}

impl Subject {
    /// A configured site.
    #[must_use]
    pub(crate) fn of(site: &Arc<Site>) -> Self {
        let nodes = Arc::new(Nodes::new(site));
        Self { name: site.name.as_str().to_owned(), site: Some(Arc::clone(site)), nodes, release: None }
    }

    /// An OpenEMR without a configuration.
    #[must_use]
    pub(crate) fn at(name: &str, upstream: Upstream) -> Self {
        Self { name: name.to_owned(), site: None, nodes: Arc::new(Nodes::with(name, upstream)), release: None }
    }

    /// The same, running this release.
    #[must_use]
    pub(crate) fn running(self, release: Option<Release>) -> Self {
        Self { release, ..self }
    }

    /// The audience of assertions, as far as it is known before anything was asked.
    #[must_use]
    pub(super) fn audience(&self, node: &Node) -> Option<String> {
        let configured = self.site.as_ref().and_then(|site| site.token.audience.clone());
        configured.or_else(|| node.tokens.known().map(|tokens| tokens.audience.clone()))
    }
}
