//! Where a request goes: decided once, from its request line alone.

use std::sync::Arc;

use http::Method;

use crate::config::Repairs;
use crate::fhir::interaction::{Interaction, Kind, is_repeatable};
use crate::fhir::resource_test::Permitted;
use crate::gateway::account::Account;
use crate::gateway::export_paths::{self, ExportPath};
use crate::gateway::plan::Plan;
use crate::gateway::shown_resource::is_shown;
use crate::http::request_target::{Target, UnsafeTarget};
use crate::scopes::required::RequiredScope;
use crate::site::cors::Policy;
use crate::site::prepared::Site;
use crate::site::runtime::Runtime;

/// Where a request goes.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every request is a FHIR request, and is spared an allocation")]
pub(super) enum Destination {
    /// A route of the gateway's own.
    Local(LocalRoute),
    /// The FHIR API of a site.
    Fhir(FhirCall),
    /// Nothing is served at this path.
    NotFound,
    /// Servers could differ on where it goes.
    Unsafe {
        /// Why.
        reason: UnsafeTarget,
        /// The site whose pages may read the error.
        site: Option<Arc<Site>>,
    },
}

/// A route that the gateway answers without OpenEMR.
#[derive(Debug)]
pub(super) enum LocalRoute {
    /// `GET /health`
    Health,
    /// `GET /ready`
    Ready,
    /// `GET /.well-known/jwks.json` of one site.
    Jwks(Arc<Site>),
    /// `POST /oauth/token`, with the request's query.
    Token(Vec<u8>),
    /// `POST /auth/token` of one site: an access token for a client.
    SmartToken(Arc<Site>),
}

/// A request to the FHIR API of a site.
#[derive(Debug)]
pub(super) struct FhirCall {
    /// The site.
    pub(super) site: Arc<Site>,
    /// What the request asks for.
    pub(super) interaction: Interaction,
    /// Who answers it.
    pub(super) kind: FhirKind,
    /// What goes to OpenEMR in place of what the client sent.
    pub(super) plan: Plan,
    /// What of it is to be recorded.
    pub(super) account: Account,
    target: FhirTarget,
}

/// Who answers a FHIR request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FhirKind {
    /// The gateway, which keeps the bulk exports of the site.
    Export(ExportPath),
    /// The gateway, from what it keeps of the site's CapabilityStatement.
    Capabilities,
    /// The gateway: the SMART configuration.
    SmartConfiguration,
    /// OpenEMR.
    Proxied,
}

/// The request target as the client sent it, in its parts.
#[derive(Debug)]
struct FhirTarget {
    /// What follows the FHIR base: path and query.
    below_base: Box<[u8]>,
    /// Where the query begins, with its `?`.
    query_at: usize,
}

impl Destination {
    /// Decides where a request with this method and request target goes.
    #[must_use]
    pub(super) fn of(method: &Method, raw_target: &[u8], runtime: &Runtime) -> Self {
        let target = match Target::parse(raw_target) {
            Ok(target) => target,
            Err(reason) => return Self::Unsafe { reason, site: None },
        };
        let Target { path, query } = target;
        let below = |site: &Arc<Site>| site.fhir_path.as_ref().and_then(|fhir| below(path, fhir));
        let fhir = runtime.sites.iter().find_map(|site| Some((site, below(site)?)));
        if let Err(reason) = target.check() {
            return Self::Unsafe { reason, site: fhir.map(|(site, _)| Arc::clone(site)) };
        }
        if let Some((site, below)) = fhir {
            return Self::Fhir(FhirCall::new(Arc::clone(site), method, below, query));
        }
        let routes = &runtime.config.routes;
        let is = |route: Option<&str>| route.is_some_and(|route| route.as_bytes() == path);
        if is(routes.health.as_deref()) {
            return Self::Local(LocalRoute::Health);
        }
        if is(routes.ready.as_deref()) {
            return Self::Local(LocalRoute::Ready);
        }
        if is(routes.token.as_deref()) {
            return Self::Local(LocalRoute::Token(query.to_vec()));
        }
        let local = runtime.sites.iter().find_map(|site| {
            let is_route = |path: &Option<String>| is(path.as_deref());
            let jwks = is_route(&site.jwks_path).then(|| LocalRoute::Jwks(Arc::clone(site)));
            jwks.or_else(|| is_route(&site.token_path).then(|| LocalRoute::SmartToken(Arc::clone(site))))
        });
        local.map_or(Self::NotFound, Self::Local)
    }

    /// The FHIR request, if it is one.
    #[must_use]
    pub(super) fn fhir(&self) -> Option<&FhirCall> {
        match self {
            Self::Fhir(fhir) => Some(fhir),
            Self::Local(_) | Self::NotFound | Self::Unsafe { .. } => None,
        }
    }

    /// The CORS policy of the site.
    #[must_use]
    pub(super) fn cors(&self) -> Option<&Policy> {
        let site = match self {
            Self::Fhir(fhir) => Some(&fhir.site),
            Self::Unsafe { site, .. } => site.as_ref(),
            Self::Local(_) | Self::NotFound => None,
        };
        site.and_then(|site| site.cors.as_ref())
    }
}

impl FhirCall {
    /// A request for what is `below` the FHIR base of a site.
    #[must_use]
    pub(super) fn new(site: Arc<Site>, method: &Method, below: &[u8], query: &[u8]) -> Self {
        let interaction = Interaction::of(method, below);
        let kind = FhirKind::of(interaction, below, site.config.answers.repairs);
        let target = FhirTarget { below_base: [below, query].concat().into(), query_at: below.len() };
        Self { site, interaction, kind, plan: Plan::default(), account: Account::default(), target }
    }

    /// The path below the FHIR base, as the client sent it: empty, or with its leading `/`.
    #[must_use]
    pub(super) fn path(&self) -> &[u8] {
        self.target.below_base.get(..self.target.query_at).unwrap_or_default()
    }

    /// The query as the client sent it, with its `?`; empty when there is none.
    #[must_use]
    pub(super) fn query(&self) -> &[u8] {
        self.target.below_base.get(self.target.query_at..).unwrap_or_default()
    }

    /// Takes a parameter of the gateway's own out of the query.
    pub(super) fn forget_parameter(&mut self, name: &str) {
        let query = self.query().strip_prefix(b"?").unwrap_or_default();
        let is_other = |pair: &&[u8]| form_urlencoded::parse(pair).next().is_none_or(|(known, _)| known != name);
        let others = query.split(|byte| *byte == b'&').filter(is_other).collect::<Vec<_>>().join(&b'&');
        let mark = if others.is_empty() { &b""[..] } else { b"?" };
        self.target.below_base = [self.path(), mark, &others].concat().into();
    }

    /// Makes it the read of a Binary: the file of an export, whose address is the gateway's own.
    pub(super) fn become_read_of_binary(&mut self, id: &str) {
        let path = format!("/Binary/{id}");
        self.interaction = Interaction::of(&Method::GET, path.as_bytes());
        self.kind = FhirKind::Proxied;
        self.target = FhirTarget { query_at: path.len(), below_base: path.into_bytes().into() };
    }

    /// The path below the FHIR base that goes to OpenEMR.
    #[must_use]
    pub(super) fn path_sent(&self) -> &[u8] {
        self.plan.path.as_deref().unwrap_or(self.path())
    }

    /// The query that goes to OpenEMR, with its `?`.
    #[must_use]
    pub(super) fn query_sent(&self) -> &[u8] {
        self.plan.query.as_deref().unwrap_or(self.query())
    }

    /// The method that goes to OpenEMR.
    #[must_use]
    pub(super) fn method_sent<'a>(&'a self, clients: &'a Method) -> &'a Method {
        self.plan.method.as_ref().unwrap_or(clients)
    }

    /// Whether it asks for what everybody may know: the CapabilityStatement and the SMART configuration, by which a client finds
    /// out how to authenticate.
    #[must_use]
    pub(super) fn is_public(&self) -> bool {
        matches!(self.interaction.kind, Kind::Capabilities | Kind::SmartConfiguration)
    }

    /// What the gateway repairs for this site. What a client gets that may not have everything is read in any case, and that needs
    /// some of the repairs.
    #[must_use]
    pub(super) fn repairs(&self) -> Repairs {
        let wanted = self.site.config.answers.repairs;
        match self.plan.limit.as_ref().filter(|limit| limit.reads()) {
            Some(_) => {
                Repairs { errors: true, search: true, bundles: true, writes: true, head: true, trailing_slash: true, ..wanted }
            }
            None => wanted,
        }
    }

    /// Whether the answer to a write may show this resource.
    #[must_use]
    pub(super) fn shows(&self, resource: &[u8]) -> bool {
        let shown = self.plan.limit.as_ref().and_then(|limit| limit.shown.as_ref());
        let resource_type = self.interaction.resource_type.unwrap_or_default();
        shown.is_none_or(|test| is_shown(test, resource_type, resource))
    }

    /// The test of what a search brings.
    #[must_use]
    pub(super) fn search_test(&self) -> Option<&Permitted> {
        let limit = self.plan.limit.as_ref()?;
        limit.test.as_ref().or(limit.types.as_ref())
    }

    /// How many resources of OpenEMR's answer the client did not get, because its policy does not permit them.
    #[must_use]
    pub(super) fn left_out(&self) -> u64 {
        let file = self.plan.own_file.as_ref().and_then(|own| own.permit.as_ref());
        self.search_test().map_or(0, |Permitted(test)| test.refused()) + file.map_or(0, |permit| permit.refused())
    }

    /// The test that every resource must pass that is found, read or sent; `None` where the client may have all that it asks for.
    #[must_use]
    pub(super) fn test(&self) -> Option<&Permitted> {
        self.plan.limit.as_ref()?.test.as_ref()
    }

    /// The scope that the request needs; `None` where none can be named.
    #[must_use]
    pub(super) fn need(&self) -> Option<RequiredScope> {
        RequiredScope::of(self.interaction, self.path())
    }

    /// Whether the request can be sent again without anybody noticing: what goes to OpenEMR decides.
    #[must_use]
    pub(super) fn is_repeatable(&self, clients: &Method) -> bool {
        is_repeatable(self.method_sent(clients), Some(self.interaction))
    }

    /// Whether the body of the answer is read on its way, and so must come uncompressed: where something is changed in it, and
    /// where the request is not repeated only because a refusal came compressed.
    #[must_use]
    pub(super) fn reads_answer(&self, clients: &Method) -> bool {
        self.plan.search.is_some() || self.repairs().read_bodies() || !self.is_repeatable(clients)
    }
}

impl FhirKind {
    fn of(interaction: Interaction, path: &[u8], repairs: Repairs) -> Self {
        match interaction.kind {
            Kind::Export | Kind::ExportStatus | Kind::Operation if repairs.bulk_data => {
                export_paths::of(path).map_or(Self::Proxied, Self::Export)
            }
            Kind::Capabilities if repairs.documents => Self::Capabilities,
            Kind::SmartConfiguration if repairs.documents => Self::SmartConfiguration,
            _ => Self::Proxied,
        }
    }
}

/// What follows `base` in a path; `None` when the path is neither the base nor below it.
fn below<'a>(path: &'a [u8], base: &str) -> Option<&'a [u8]> {
    path.strip_prefix(base.as_bytes()).filter(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_a_segment() {
        for (path, inside) in
            [("/fhir", true), ("/fhir/", true), ("/fhir/Patient", true), ("/fhirx", false), ("/fhi", false), ("/FHIR", false)]
        {
            assert_eq!(below(path.as_bytes(), "/fhir").is_some(), inside, "{path}");
        }
    }
}
