//! The identity of a token: what must be equal for two sites to share one.

use crate::config::{BaseUrl, CaFile, Node, RefreshLimit, Site, Timeouts};

/// Two sites with the same identity share one token, and a site keeps its token over a reload that leaves it alone.
///
/// The signing key is not part of it: another key gets the same tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenIdentity {
    endpoints: Vec<Endpoint>,
    audience: Option<String>,
    client_id: String,
    /// Sorted, because their order does not matter.
    scopes: Vec<String>,
    ca_file: Option<CaFile>,
    timeouts: Timeouts,
    forced_refreshes: RefreshLimit,
}

/// The source of a node's tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Endpoint {
    Configured(BaseUrl),
    /// Named by the SMART configuration of this FHIR base.
    Discovered(BaseUrl),
}

impl Endpoint {
    fn of(node: &Node) -> Self {
        match &node.token_url {
            Some(url) => Self::Configured(url.clone()),
            None => Self::Discovered(node.fhir_base.clone()),
        }
    }
}

impl TokenIdentity {
    /// The identity of a site's token.
    #[must_use]
    pub(crate) fn of(site: &Site) -> Self {
        let mut scopes: Vec<String> = site.scopes.iter().map(|scope| scope.as_str().to_owned()).collect();
        scopes.sort_unstable();
        Self {
            endpoints: site.nodes.iter().map(Endpoint::of).collect(),
            audience: site.token_audience.clone(),
            client_id: site.client_id.clone(),
            scopes,
            ca_file: site.ca_file.clone(),
            timeouts: site.timeouts,
            forced_refreshes: site.forced_refreshes,
        }
    }
}
