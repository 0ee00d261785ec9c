//! What is known of a request at its end. It is made once, for the access log, the metrics and the traces alike.
//!
//! A record contains no query, no resource id and no body. Of the path it contains the resource type alone, and only one that
//! FHIR defines.

use std::net::IpAddr;
use std::time::Duration;

use super::request_id::RequestId;
use super::trace_context::TraceContext;

/// Who made an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnsweredBy {
    /// The gateway: local routes, rejections, and what it made of requests of its own.
    Gateway,
    /// OpenEMR, for this request.
    OpenEmr,
    /// OpenEMR, earlier: a document that the gateway keeps, or the answer to an identical request.
    Memory,
}

impl AnsweredBy {
    /// The word for the log.
    #[must_use]
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::OpenEmr => "openemr",
            Self::Memory => "memory",
        }
    }
}

/// A word of a closed list, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coded {
    /// The word.
    pub(crate) word: &'static str,
    /// Its number, from 0.
    pub(crate) number: usize,
}

/// A request that has ended.
#[derive(Debug)]
pub(crate) struct RequestRecord<'a> {
    /// The request's id, as in `X-Request-Id`.
    pub(crate) request_id: RequestId,
    /// The trace that the request belongs to, and its place there.
    pub(crate) trace: TraceContext,
    /// The client's address, as far as trusted proxies report it.
    pub(crate) caller: Option<IpAddr>,
    /// The name of the client that it shows to be; `None` without credentials, or with wrong ones.
    pub(crate) client: Option<&'a str>,
    /// The version of HTTP that the client speaks.
    pub(crate) proto: &'static str,
    /// The version of TLS on the client's connection; `None` without TLS.
    pub(crate) tls: Option<&'a str>,
    /// The method if it is a standard one, otherwise `other`.
    pub(crate) method: &'static str,
    /// The kind of route: `fhir`, a local route, or `none`.
    pub(crate) route: Coded,
    /// The site; `None` on local routes.
    pub(crate) site: Option<&'a str>,
    /// The resource type, one of FHIR R4.
    pub(crate) resource_type: Option<Coded>,
    /// FHIR's code of the interaction.
    pub(crate) interaction: Option<Coded>,
    /// The status of the answer; `None` when the client left before it.
    pub(crate) status: Option<u16>,
    /// Who made the answer.
    pub(crate) by: AnsweredBy,
    /// Why the client did not get what it asked for.
    pub(crate) reason: Option<Coded>,
    /// Whether the answer was sent completely.
    pub(crate) whole: bool,
    /// The bytes received of the request's body.
    pub(crate) bytes_in: usize,
    /// The bytes sent of the answer's body.
    pub(crate) bytes: usize,
    /// The time from the request's head to the end of the answer.
    pub(crate) duration: Duration,
    /// The part of it that the request waited in the site's queue.
    pub(crate) queued: Duration,
    /// The part of it that the request waited for an access token.
    pub(crate) token_wait: Duration,
    /// Of the latest try: from its begin to the head of OpenEMR's answer, or to its failure.
    pub(crate) upstream: Option<Duration>,
    /// Whether the connection of the latest try had been used before; `None` when there was none.
    pub(crate) reused: Option<bool>,
    /// The base URL of the node of the latest try.
    pub(crate) node: Option<&'a str>,
    /// The status of OpenEMR's answer.
    pub(crate) upstream_status: Option<u16>,
    /// How often the request was sent again.
    pub(crate) retries: u32,
    /// Whether the client got OpenEMR's answer to an identical request that was there already.
    pub(crate) shared: bool,
    /// How many resources of OpenEMR's answer the client did not get, because its policy does not permit them.
    pub(crate) left_out: u64,
}
