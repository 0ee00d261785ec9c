//! The access log: one line for each request, at level info. It costs one comparison when it is off.
//!
//! A line contains no query, no resource id and no body. Of the path it contains the resource type alone, and only one that
//! FHIR defines.

use std::net::IpAddr;
use std::time::Duration;

use log::{Level, log_enabled};

use super::request_id::RequestId;
use super::trace_context::TraceId;

/// The log target of access lines.
pub(crate) const TARGET: &str = "access";

/// The content of an access line.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// The request's id, as in `X-Request-Id`.
    pub(crate) request_id: RequestId,
    /// The trace that the request belongs to.
    pub(crate) trace_id: TraceId,
    /// The client's address, as far as trusted proxies report it.
    pub(crate) caller: Option<IpAddr>,
    /// The name of the client that it shows to be; `None` without credentials, or with wrong ones.
    pub(crate) client: Option<&'a str>,
    /// The method if it is a standard one, otherwise `other`.
    pub(crate) method: &'static str,
    /// The site; `None` on local routes.
    pub(crate) site: Option<&'a str>,
    /// The resource type, one of FHIR R4.
    pub(crate) resource_type: Option<&'static str>,
    /// FHIR's code of the interaction.
    pub(crate) interaction: Option<&'static str>,
    /// The status of the answer; `None` when the client left before it.
    pub(crate) status: Option<u16>,
    /// Whether the answer was sent completely.
    pub(crate) whole: bool,
    /// The bytes sent of the answer's body.
    pub(crate) bytes: usize,
    /// The time from the request's head to the end of the answer.
    pub(crate) duration: Duration,
    /// The time from the request's head to the head of OpenEMR's answer.
    pub(crate) upstream: Option<Duration>,
    /// How often the request was sent again.
    pub(crate) retries: u32,
    /// Whether the client got OpenEMR's answer to an identical request that was there already.
    pub(crate) shared: bool,
    /// How many resources of OpenEMR's answer the client did not get, because its policy does not permit them.
    pub(crate) left_out: u64,
}

/// Returns whether access lines are written.
#[must_use]
pub(crate) fn is_on() -> bool {
    log_enabled!(target: TARGET, Level::Info)
}

/// Writes an access line.
pub(crate) fn write(line: &Line<'_>) {
    let caller = line.caller.map(|address| address.to_string());
    log::info!(
        target: TARGET,
        request_id:% = line.request_id,
        trace_id:% = line.trace_id,
        caller = caller.as_deref().unwrap_or("-"),
        client = line.client.unwrap_or("-"),
        method = line.method,
        site = line.site.unwrap_or("-"),
        resource_type = line.resource_type.unwrap_or("-"),
        interaction = line.interaction.unwrap_or("-"),
        status = line.status.unwrap_or(0),
        whole = line.whole,
        bytes = line.bytes,
        duration_ms = milliseconds(line.duration),
        upstream_ms = line.upstream.map_or(0.0, milliseconds),
        retries = line.retries,
        shared = line.shared,
        left_out = line.left_out;
        "access"
    );
}

/// Returns the milliseconds, rounded to a hundredth.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}
