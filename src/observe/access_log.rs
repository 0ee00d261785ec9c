//! The access log: one line for each request, at level info. It costs one comparison when it is off.

use std::time::Duration;

use log::{Level, log_enabled};

use super::request_record::{Coded, RequestRecord};

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
        route = record.route.word,
        site = record.site.unwrap_or("-"),
        resource_type = word(record.resource_type),
        interaction = word(record.interaction),
        status = record.status.unwrap_or(0),
        by = record.by.word(),
        reason = word(record.reason),
        whole = record.whole,
        bytes_in = record.bytes_in,
        bytes = record.bytes,
        duration_ms = milliseconds(record.duration),
        queue_ms = milliseconds(record.queued),
        token_ms = milliseconds(record.token_wait),
        upstream_ms = record.upstream.map_or(0.0, milliseconds),
        node = record.node.unwrap_or("-"),
        upstream_status = record.upstream_status.unwrap_or(0),
        retries = record.retries,
        shared = record.shared,
        left_out = record.left_out;
        "access"
    );
}

fn word(coded: Option<Coded>) -> &'static str {
    coded.map_or("-", |coded| coded.word)
}

/// Returns the milliseconds, rounded to a hundredth.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}
