//! By what name the gateway is called: one that is valid, and that is its own.
//!
//! A web page can make its own name point at the gateway's address (DNS rebinding). To the browser the page and the gateway
//! then have one origin, and no rule of CORS applies; but the browser still sends the page's name. So a name that the gateway
//! does not know is not served, on any route. The port plays no part: such a page has whichever port it likes.
//!
//! Decision: `docs/decisions/19-browsers.md`.

use std::net::IpAddr;

use http::header::HOST;
use http::{HeaderValue, StatusCode, Version};
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use crate::config::Config;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::call::Call;
use crate::http::forwarded::called_at::CalledAt;
use crate::http::host::{BadAuthority, Host, authority_of};

/// Why a request is not for this gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadHost {
    /// HTTP/1.1 without Host (RFC 9112 section 3.2), HTTP/2 without `:authority`.
    #[error("the request names no host")]
    Missing,
    /// Host stands there more than once.
    #[error("the request has more than one Host field")]
    Several,
    /// The request line or `:authority` names another host than Host.
    #[error("the request names two hosts")]
    TwoHosts,
    /// It is no valid authority.
    #[error("the host of the request {0}")]
    Invalid(#[from] BadAuthority),
    /// It is none of the gateway's names.
    #[error("the host of the request is not in access.hosts")]
    Unknown,
}

impl From<BadHost> for Rejection {
    fn from(bad: BadHost) -> Self {
        let rejection = match bad {
            BadHost::Missing => Self::invalid(Reason::Malformed, "The request has no Host field."),
            BadHost::Several => Self::invalid(Reason::Malformed, "The request has more than one Host field."),
            BadHost::TwoHosts => Self::invalid(Reason::Malformed, "The request names two different hosts."),
            BadHost::Invalid(reason) => Self::invalid(Reason::Malformed, format!("The host of the request {reason}.")),
            BadHost::Unknown => Self::new(
                StatusCode::MISDIRECTED_REQUEST,
                IssueCode::Forbidden,
                Reason::UnknownHost,
                "The gateway is not known by the host name of this request. Its operator can add the name to access.hosts.",
            ),
        };
        rejection.on_every_route()
    }
}

/// Checks by what name the gateway is called; behind trusted proxies also by what name the proxy was.
///
/// # Errors
/// The request names no host, not one alone, or one that the gateway is not known by.
pub(super) fn check(session: &Session, call: &Call) -> Result<(), BadHost> {
    let local = || session.server_addr()?.as_inet().map(|address| address.ip().to_canonical());
    let config = call.config();
    let own = named(session.req_header())?;
    let believed = CalledAt::of(&session.req_header().headers, &call.trace.hops)
        .host
        .map(|host| Host::of_authority(host.as_bytes()))
        .transpose()?;
    let is_known = own.into_iter().chain(believed).all(|host| is_known(&host, config, local));
    if is_known { Ok(()) } else { Err(BadHost::Unknown) }
}

/// The host that the head of a request names. `None` in HTTP/1.0 alone, which has no Host; no browser speaks it.
fn named(head: &RequestHeader) -> Result<Option<Host<'_>>, BadHost> {
    let mut fields = head.headers.get_all(HOST).iter();
    let field = fields.next().map(HeaderValue::as_bytes);
    if fields.next().is_some() {
        return Err(BadHost::Several);
    }
    let target = match head.uri.authority() {
        Some(authority) => Some(authority.as_str().as_bytes()),
        None => authority_of(head.raw_path()),
    };
    match (target, field) {
        (Some(target), Some(field)) if !target.eq_ignore_ascii_case(field) => Err(BadHost::TwoHosts),
        // A proxy that makes HTTP/1.1 of absolute-form must send Host all the same (RFC 9112 section 3.2.2).
        (Some(_), None) if head.version == Version::HTTP_11 => Err(BadHost::Missing),
        (Some(authority), _) | (None, Some(authority)) => Ok(Some(Host::of_authority(authority)?)),
        (None, None) if head.version == Version::HTTP_10 => Ok(None),
        (None, None) => Err(BadHost::Missing),
    }
}

/// Whether the gateway is known by this host. `local`: the address at which the client's connection arrived.
fn is_known(host: &Host<'_>, config: &Config, local: impl Fn() -> Option<IpAddr>) -> bool {
    let is_public = |host: &Host<'_>| {
        let public = config.public_url.as_ref();
        public.is_some_and(|public| match host {
            Host::Name(name) => public.host.strip_suffix('.').unwrap_or(&public.host).eq_ignore_ascii_case(name),
            Host::Address(address) => public.host.parse() == Ok(*address),
        })
    };
    let is_own_address = |host: &Host<'_>| match host {
        Host::Address(address) => {
            let mut listeners = config.listen.iter().map(|listener| listener.address.ip());
            listeners.any(|listener| !listener.is_unspecified() && listener.to_canonical() == *address)
                || local() == Some(*address)
        }
        Host::Name(_) => false,
    };
    host.is_loopback()
        || config.access.hosts.iter().any(|pattern| pattern.matches(host))
        || is_public(host)
        || is_own_address(host)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{BaseUrl, HostPattern};

    fn head(target: &str, version: Version, hosts: &[&str]) -> RequestHeader {
        let mut head = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
        head.set_version(version);
        for host in hosts {
            head.append_header(HOST, *host).unwrap();
        }
        head
    }

    #[test]
    fn a_request_names_one_host() {
        let gw = Ok(Some(Host::Name("gw")));
        for (target, version, hosts, expected) in [
            ("/fhir", Version::HTTP_11, &["gw:8000"][..], gw),
            ("/fhir", Version::HTTP_11, &[], Err(BadHost::Missing)),
            ("/fhir", Version::HTTP_10, &[], Ok(None)),
            ("/fhir", Version::HTTP_10, &["gw"], gw),
            ("/fhir", Version::HTTP_11, &["gw", "gw"], Err(BadHost::Several)),
            ("/fhir", Version::HTTP_11, &[""], Err(BadHost::Invalid(BadAuthority::Empty))),
            ("/fhir", Version::HTTP_11, &["a@gw"], Err(BadHost::Invalid(BadAuthority::Userinfo))),
            ("/fhir", Version::HTTP_11, &["gw, evil"], Err(BadHost::Invalid(BadAuthority::Host))),
            ("http://gw/fhir", Version::HTTP_11, &["gw"], gw),
            ("http://gw/fhir", Version::HTTP_11, &["evil"], Err(BadHost::TwoHosts)),
            ("http://gw/fhir", Version::HTTP_11, &[], Err(BadHost::Missing)),
            ("http://gw/fhir", Version::HTTP_10, &[], gw),
            ("*", Version::HTTP_11, &["gw"], gw),
            ("/fhir", Version::HTTP_2, &[], Err(BadHost::Missing)),
        ] {
            assert_eq!(named(&head(target, version, hosts)), expected, "{target} {hosts:?}");
        }
    }

    #[test]
    fn the_gateway_knows_its_own_names_alone() {
        let mut config = Config::default();
        config.access.hosts = vec![HostPattern::Name("gateway".to_owned()), HostPattern::Below("svc.local".to_owned())];
        config.public_url = Some(BaseUrl::parse("https://fhir.example.org:8443/emr").unwrap());
        let local = "10.1.2.3".parse().unwrap();
        for (host, expected) in [
            ("localhost:9", true),
            ("x.localhost", true),
            ("127.0.0.1", true),
            ("[::1]:8000", true),
            ("10.1.2.3:8000", true),
            ("10.1.2.4", false),
            ("0.0.0.0:8000", false),
            ("gateway:8000", true),
            ("a.svc.local", true),
            ("fhir.example.org", true),
            ("FHIR.example.org.:1", true),
            ("evil.example", false),
            ("fhir.example.org.evil.example", false),
            ("169.254.169.254", false),
        ] {
            let known = is_known(&Host::of_authority(host.as_bytes()).unwrap(), &config, || Some(local));
            assert_eq!(known, expected, "{host}");
        }
        assert!(!is_known(&Host::Address(local), &config, || None));
    }
}
