//! The identity of a token: what must be equal for two sites to share one.

use crate::config::{BaseUrl, CaFile, Node, Site, Timeouts, TokenSettings};

/// Two sites with the same identity share one token, and a site keeps its token over a reload that leaves it alone.
///
/// The signing key is not part of it: another key gets the same tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenIdentity {
    endpoints: Vec<Endpoint>,
    /// With the scopes sorted: their order means nothing to OpenEMR.
    settings: TokenSettings,
    ca_file: Option<CaFile>,
    timeouts: Timeouts,
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
        Self {
            endpoints: site.upstream.nodes.iter().map(Endpoint::of).collect(),
            settings: TokenSettings { scopes: site.token.scopes.sorted(), ..site.token.clone() },
            ca_file: site.upstream.ca_file.clone(),
            timeouts: site.upstream.timeouts,
        }
    }
}
