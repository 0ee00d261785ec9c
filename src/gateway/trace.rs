//! The client's address, and the names by which a request is followed through logs: `X-Request-Id`, W3C Trace Context,
//! `Via`, `X-Forwarded-For`.
//!
//! Decision: `docs/decisions/18-proxies.md`.

use std::net::IpAddr;

use http::header::{HeaderName, HeaderValue, VIA};
use http::{HeaderMap, Version};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::http::forwarded::client::Client;
use crate::http::forwarded::hops::Hops;
use crate::http::set_field::SetField;
use crate::observe::request_id::RequestId;
use crate::observe::trace_context::{Origin, Sampling, TraceContext, is_valid_state};

pub(super) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What is known of a request's way here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trace {
    /// The addresses that it came by.
    pub(super) hops: Hops,
    /// Its place in a trace.
    pub(super) context: TraceContext,
    state_goes_on: bool,
}

impl Trace {
    /// Reads a request's head. Without `sampling` no spans are recorded.
    #[must_use]
    pub(super) fn of(fields: &HeaderMap, hops: Hops, sampling: Option<Sampling>) -> Self {
        let mut parents = fields.get_all(&TRACEPARENT).iter();
        // Two of them are none.
        let parent = parents.next().filter(|_| parents.next().is_none());
        let (context, origin) = TraceContext::of(parent.map(HeaderValue::as_bytes), sampling);
        let state = fields.get_all(&TRACESTATE).iter().map(HeaderValue::as_bytes);
        Self { hops, context, state_goes_on: origin == Origin::Client && is_valid_state(state) }
    }

    /// A request of which nothing is known.
    #[must_use]
    pub(super) fn unknown() -> Self {
        Self { hops: Hops::unknown(), context: TraceContext::of(None, None).0, state_goes_on: false }
    }

    /// Whether the client is on this machine, as far as can be told, and all proxies are.
    #[must_use]
    pub(super) fn is_local(&self) -> bool {
        self.hops.are_local()
    }

    /// The names under which OpenEMR knows the request, and who sent it: for the gateway's own requests on its behalf.
    pub(super) fn names(&self, id: RequestId) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        self.names_below(id, self.context.own_value())
    }

    /// The same, with this `traceparent`.
    fn names_below(&self, id: RequestId, traceparent: HeaderValue) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        // Addresses and commas make a field value.
        let forwarded_for = self.hops.list().and_then(|list| HeaderValue::try_from(list).ok());
        let names = [
            (X_REQUEST_ID.clone(), Some(id.header_value())),
            (TRACEPARENT.clone(), Some(traceparent)),
            (X_FORWARDED_FOR.clone(), forwarded_for),
        ];
        names.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    /// The client: the connected peer or, behind trusted proxies, the one that they report.
    #[must_use]
    pub(super) fn client(&self) -> Client {
        self.hops.client()
    }
}

/// The address of the connected peer.
#[must_use]
pub(super) fn peer(session: &Session) -> Option<IpAddr> {
    // An IPv4 peer of an IPv6 socket is written ::ffff:a.b.c.d there; rules are about a.b.c.d.
    session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip().to_canonical())
}

/// Marks what goes to OpenEMR: the request's names, who sent it, and that it came through here.
pub(super) fn mark_request(fields: &mut HeaderMap, received: Version, trace: &Trace, id: RequestId) {
    for (name, value) in trace.names_below(id, trace.context.upstream_value()) {
        fields.insert(name, value);
    }
    if !trace.state_goes_on {
        fields.remove(&TRACESTATE);
    }
    fields.append(VIA, via(received));
}

/// Marks what comes back: that it came through here.
pub(super) fn mark_answer(head: &mut ResponseHeader) {
    let via = via(head.version);
    head.add(VIA, via);
}

/// This hop, with the version of the message that it received (RFC 9110 section 7.6.3).
fn via(received: Version) -> HeaderValue {
    HeaderValue::from_static(match received {
        Version::HTTP_09 | Version::HTTP_10 => "1.0 openemr-gateway",
        Version::HTTP_2 => "2.0 openemr-gateway",
        Version::HTTP_3 => "3.0 openemr-gateway",
        _ => "1.1 openemr-gateway",
    })
}
