//! The access log: one line a request, at level info. Costs one comparison when it is off.
//!
//! No query, no resource id, no body: of a path, only the resource type stands here, and only when it is one of
//! FHIR's own.

use std::net::IpAddr;
use std::time::Duration;

use log::{Level, log_enabled};

use super::request_id::RequestId;
use super::trace_context::TraceId;

/// The log target of access lines.
pub const TARGET: &str = "access";

/// What one line says.
#[derive(Debug)]
pub struct Line<'a> {
    /// Its name, as in `X-Request-Id`.
    pub request_id: RequestId,
    /// The trace that it belongs to.
    pub trace_id: TraceId,
    /// Who called, as far as trusted proxies tell.
    pub caller: Option<IpAddr>,
    /// The method, one of HTTP's own or `other`.
    pub method: &'static str,
    /// The OpenEMR site; none on local routes.
    pub site: Option<&'a str>,
    /// A resource type of FHIR R4.
    pub resource_type: Option<&'static str>,
    /// FHIR's code of what was asked for.
    pub interaction: Option<&'static str>,
    /// The status that the caller saw; none when he left before.
    pub status: Option<u16>,
    /// Whether the answer went out whole.
    pub whole: bool,
    /// Bytes of the answer's body.
    pub bytes: usize,
    /// From the request's head to the answer's end.
    pub duration: Duration,
    /// From there to the head of OpenEMR's answer.
    pub upstream: Option<Duration>,
    /// How often it was sent again.
    pub retries: u32,
}

/// Whether lines are written at all.
#[must_use]
pub fn is_on() -> bool {
    log_enabled!(target: TARGET, Level::Info)
}

/// Writes a line.
pub fn write(line: &Line<'_>) {
    let caller = line.caller.map(|address| address.to_string());
    log::info!(
        target: TARGET,
        request_id:% = line.request_id,
        trace_id:% = line.trace_id,
        caller = caller.as_deref().unwrap_or("-"),
        method = line.method,
        site = line.site.unwrap_or("-"),
        resource_type = line.resource_type.unwrap_or("-"),
        interaction = line.interaction.unwrap_or("-"),
        status = line.status.unwrap_or(0),
        whole = line.whole,
        bytes = line.bytes,
        duration_ms = milliseconds(line.duration),
        upstream_ms = line.upstream.map_or(0.0, milliseconds),
        retries = line.retries;
        "access"
    );
}

/// To the hundredth.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}
