//! The access log: one line for each request, at level info. It costs one comparison when it is off.

use std::time::Duration;

use log::{Level, log_enabled};

use super::request_record::RequestRecord;

/// The log target of access lines.
pub(crate) const TARGET: &str = "access";

/// Returns whether access lines are written.
#[must_use]
pub(crate) fn is_on() -> bool {
    log_enabled!(target: TARGET, Level::Info)
}

/// Writes an access line.
pub(crate) fn write(record: &RequestRecord<'_>) {
    let caller = record.caller.map(|address| address.to_string());
    log::info!(
        target: TARGET,
        request_id:% = record.request_id,
        trace_id:% = record.trace.trace_id(),
        caller = caller.as_deref().unwrap_or("-"),
        client = record.client.unwrap_or("-"),
        proto = record.proto,
        tls = record.tls.unwrap_or("-"),
        method = record.method,
        route = record.route,
        site = record.site.unwrap_or("-"),
        resource_type = record.resource_type.unwrap_or("-"),
        interaction = record.interaction.unwrap_or("-"),
        status = record.status.unwrap_or(0),
        by = record.by.word(),
        reason = record.reason.unwrap_or("-"),
        whole = record.whole,
        bytes_in = record.bytes_in,
        bytes = record.bytes,
        duration_ms = milliseconds(record.duration),
        queue_ms = milliseconds(record.queued),
        token_ms = milliseconds(record.token_wait),
        upstream_ms = record.upstream.map_or(0.0, milliseconds),
        node = record.node.as_deref().unwrap_or("-"),
        upstream_status = record.upstream_status.unwrap_or(0),
        retries = record.retries,
        shared = record.shared,
        left_out = record.left_out;
        "access"
    );
}

/// Returns the milliseconds, rounded to a hundredth.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}
