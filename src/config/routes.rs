//! The paths that the gateway serves.

use std::fmt;
use std::ops::Deref;

use super::declaration::section;
use super::node::Node;
use super::problem::{Findings, Place, shown};
use super::section::{Section, text};
use super::setting::Setting;
use super::shape::Shape;

section! {
    /// The paths that the gateway serves; `null` switches one off.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct Routes {
        /// `GET`: status of the gateway, its tokens and its sites.
        health: Option<RoutePath> = RoutePath::new("/health");
        /// `GET`, for load balancers: 200 while requests can be served, 503 otherwise and while the gateway stops.
        ready: Option<RoutePath> = RoutePath::new("/ready");
        /// `GET`: the JWK Set. Further sites have theirs at `/<site>/.well-known/jwks.json`.
        jwks: Option<RoutePath> = RoutePath::new("/.well-known/jwks.json");
        /// `POST`: the access token in use.
        token: Option<RoutePath> = RoutePath::new("/oauth/token");
        /// `POST`: access tokens of the gateway's own, for clients that have `smart` in `access.clients`; served where there is one.
        /// Further sites have theirs at `/<site>/auth/token`.
        smart_token: Option<RoutePath> = RoutePath::new("/auth/token");
        /// The FHIR API of the first site. Further sites are served at `/<site>/fhir`.
        fhir: Option<RoutePath> = RoutePath::new("/fhir");
    }
    check Routes::check
}

impl Routes {
    /// The local routes and the FHIR route, each with its key; `None` is switched off.
    pub(super) fn named(&self) -> [(&'static str, Option<&RoutePath>); 6] {
        [
            ("fhir", self.fhir.as_ref()),
            ("health", self.health.as_ref()),
            ("ready", self.ready.as_ref()),
            ("jwks", self.jwks.as_ref()),
            ("token", self.token.as_ref()),
            ("smart_token", self.smart_token.as_ref()),
        ]
    }

    fn check(self, section: &Section<'_>, findings: &mut Findings) -> Option<Self> {
        let named = self.named();
        for (index, (name, path)) in named.iter().enumerate() {
            for (other_name, other) in named.iter().take(index) {
                let (Some(path), Some(other)) = (path, other) else { continue };
                let below = *other_name == "fhir" && path.strip_prefix(&***other).is_some_and(|rest| rest.starts_with('/'));
                if path == other || below {
                    let message = format!("`{}` is already taken by {other_name} (`{}`)", shown(path), shown(other));
                    findings.problem(section.place_of(name).problem(message).remedy("give each route a path of its own"));
                }
            }
        }
        Some(self)
    }
}

/// The path of a route: it begins with `/` and does not end with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoutePath(String);

impl RoutePath {
    fn new(text: &str) -> Option<Self> {
        let is_segment = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte))
        };
        let good = text.len() <= 256 && text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_segment));
        good.then(|| Self(text.to_owned()))
    }
}

impl Deref for RoutePath {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl Setting for RoutePath {
    fn shape() -> Shape {
        Shape::Text("path of a URL")
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let written = text(node, place.clone(), findings)?.value;
        let path = Self::new(&written);
        if path.is_none() {
            let problem = place.problem(format!("`{}` is no path for a route", shown(&written)));
            findings.problem(
                problem.remedy(
                    "begin it with / and end it with none; letters, digits and . _ ~ - only; null switches the route off",
                ),
            );
        }
        path
    }

    fn to_yaml(&self) -> serde_yaml::Value {
        self.0.as_str().into()
    }
}
