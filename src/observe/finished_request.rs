//! A request that has ended and whose spans are to be sent: its own copy of what spans show of the record.

use std::time::{Duration, Instant, SystemTime};

use super::request_id::RequestId;
use super::request_record::{AnsweredBy, RequestRecord};
use super::trace_context::TraceContext;

/// What only spans show of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    /// When its head had been read.
    pub(crate) started: Instant,
    /// When it began to wait for an access token.
    pub(crate) token_wait: Option<Instant>,
    /// When it began to wait in the queue.
    pub(crate) queue: Option<Instant>,
    /// When the latest try began.
    pub(crate) upstream: Option<Instant>,
    /// The method of the request to OpenEMR, if it is a standard one; otherwise `other`.
    pub(crate) method: &'static str,
}

/// A part of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// From the begin of the request to its own.
    pub(super) after: Duration,
    pub(super) took: Duration,
}

/// A request that has ended. It contains no query, no resource id, no body, and no address of a client.
#[derive(Debug)]
pub(crate) struct FinishedRequest {
    pub(super) trace: TraceContext,
    pub(super) request_id: RequestId,
    pub(super) started: SystemTime,
    pub(super) duration: Duration,
    pub(super) proto: &'static str,
    pub(super) tls: Option<&'static str>,
    pub(super) method: &'static str,
    pub(super) route: &'static str,
    pub(super) site: Option<Box<str>>,
    pub(super) client: Option<Box<str>>,
    pub(super) resource_type: Option<&'static str>,
    pub(super) interaction: Option<&'static str>,
    pub(super) status: Option<u16>,
    pub(super) by: AnsweredBy,
    pub(super) reason: Option<&'static str>,
    pub(super) whole: bool,
    pub(super) bytes_in: usize,
    pub(super) bytes: usize,
    pub(super) shared: bool,
    pub(super) left_out: u64,
    pub(super) token_wait: Option<Part>,
    pub(super) queue: Option<Part>,
    pub(super) upstream: Option<Upstream>,
}

/// The latest try at OpenEMR.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) part: Part,
    pub(super) method: &'static str,
    pub(super) node: Option<Box<str>>,
    pub(super) status: Option<u16>,
    pub(super) retries: u32,
}

impl FinishedRequest {
    /// Copies a record, at the end of its request.
    #[must_use]
    pub(crate) fn new(record: &RequestRecord<'_>, course: &Course) -> Self {
        let part = |since: Option<Instant>, took: Duration| {
            let after = since?.saturating_duration_since(course.started);
            (!took.is_zero()).then_some(Part { after, took })
        };
        let upstream = record.upstream.and_then(|took| part(course.upstream, took)).map(|part| Upstream {
            part,
            method: course.method,
            node: record.node.map(Box::from),
            status: record.upstream_status,
            retries: record.retries,
        });
        Self {
            trace: record.trace,
            request_id: record.request_id,
            started: SystemTime::now().checked_sub(record.duration).unwrap_or(SystemTime::UNIX_EPOCH),
            duration: record.duration,
            proto: record.proto,
            tls: record.tls.map(tls_version),
            method: record.method,
            route: record.route.word,
            site: record.site.map(Box::from),
            client: record.client.map(Box::from),
            resource_type: record.resource_type.map(|coded| coded.word),
            interaction: record.interaction.map(|coded| coded.word),
            status: record.status,
            by: record.by,
            reason: record.reason.map(|coded| coded.word),
            whole: record.whole,
            bytes_in: record.bytes_in,
            bytes: record.bytes,
            shared: record.shared,
            left_out: record.left_out,
            token_wait: part(course.token_wait, record.token_wait),
            queue: part(course.queue, record.queued),
            upstream,
        }
    }
}

/// The version of TLS as OpenTelemetry writes it, from rustls's name for it.
fn tls_version(name: &str) -> &'static str {
    match name {
        "TLSv1_2" => "1.2",
        "TLSv1_3" => "1.3",
        _ => "other",
    }
}
