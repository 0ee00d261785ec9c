//! Where a request goes: decided once, from the path alone.

use std::sync::Arc;

use crate::config::Routes;
use crate::site::prepared::Site;

/// Where a request goes. Sites are named by their index: nothing is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `GET /health`.
    Health,
    /// `GET /ready`.
    Ready,
    /// `GET /.well-known/jwks.json`, of one site.
    Jwks(usize),
    /// `POST /oauth/token`.
    Token,
    /// The FHIR API of one site.
    Fhir {
        /// The site's index.
        site: usize,
        /// The length of the path's part that stands for the FHIR base.
        prefix: usize,
    },
    /// Nothing is served here.
    NotFound,
}

impl Route {
    /// The route of a path.
    #[must_use]
    pub fn of(path: &[u8], routes: &Routes, sites: &[Arc<Site>]) -> Self {
        for (index, site) in sites.iter().enumerate() {
            if let Some(fhir) = site.fhir_path.as_ref().filter(|fhir| is_at_or_below(path, fhir)) {
                return Self::Fhir { site: index, prefix: fhir.len() };
            }
        }
        let is = |route: Option<&str>| route.is_some_and(|route| route.as_bytes() == path);
        if is(routes.health.as_deref()) {
            return Self::Health;
        }
        if is(routes.ready.as_deref()) {
            return Self::Ready;
        }
        if is(routes.token.as_deref()) {
            return Self::Token;
        }
        sites.iter().position(|site| is(site.jwks_path.as_deref())).map_or(Self::NotFound, Self::Jwks)
    }
}

fn is_at_or_below(path: &[u8], prefix: &str) -> bool {
    path.strip_prefix(prefix.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_a_segment() {
        for (path, inside) in
            [("/fhir", true), ("/fhir/", true), ("/fhir/Patient", true), ("/fhirx", false), ("/fhi", false), ("/FHIR", false)]
        {
            assert_eq!(is_at_or_below(path.as_bytes(), "/fhir"), inside, "{path}");
        }
    }
}
