//! The gateway's own base URL, as the client of a request knows it.
//!
//! Decision: `docs/decisions/18-proxies.md`.

use std::sync::Arc;

use http::Version;
use http::header::HOST;
use http::uri::Authority;
use pingora::proxy::Session;

use crate::config::BaseUrl;
use crate::gateway::call::Call;
use crate::http::forwarded::called_at::CalledAt;
use crate::site::prepared::Site;
use crate::site::public_base::{PublicBase, RequestAddress};

/// The base of a site's FHIR API in the gateway's name: by what the request, trusted proxies and the configuration say.
#[must_use]
pub(super) fn of(session: &Session, call: &Call, site: &Site) -> Arc<PublicBase> {
    site.links.public(&address(session, call, site, call.config().public_url.as_ref()))
}

/// The base by which this request was called, whatever `public_url` says.
#[must_use]
pub(super) fn as_called(session: &Session, call: &Call, site: &Site) -> Arc<PublicBase> {
    address(session, call, site, None).base(None)
}

fn address<'a>(session: &'a Session, call: &Call, site: &'a Site, public_url: Option<&'a BaseUrl>) -> RequestAddress<'a> {
    let head = session.req_header();
    let called_at = CalledAt::of(&head.headers, &call.trace.hops);
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = head.uri.authority().map(Authority::as_str);
    RequestAddress {
        public_url,
        called_at,
        host: if head.version == Version::HTTP_2 { authority.or(host) } else { host },
        tls: session.digest().is_some_and(|digest| digest.ssl_digest.is_some()),
        local: session.server_addr().and_then(|address| address.as_inet()).copied(),
        fhir_path: site.fhir_path.as_deref().unwrap_or_default(),
    }
}
