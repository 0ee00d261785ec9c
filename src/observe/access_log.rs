//! The access log: one line for each request, at level info. It costs one comparison when it is off.

use log::{Level, log_enabled};

use super::foreign_message::ACCESS;
use super::logger;
use super::request_record::{Coded, RequestRecord};

/// The log target of access lines.
pub(crate) const TARGET: &str = ACCESS;

/// Returns whether access lines are written.
#[must_use]
pub(crate) fn is_on() -> bool {
    log_enabled!(target: TARGET, Level::Info)
}

/// Writes an access line, by hand: it is the only line of every request.
pub(crate) fn write(record: &RequestRecord<'_>) {
    logger::write_line(Level::Info, "access", |line| {
        line.plain("request_id", |out| out.extend_from_slice(record.request_id.as_str().as_bytes()));
        line.plain("trace_id", |out| out.extend_from_slice(record.trace.trace_digits().as_flattened()));
        line.address("caller", record.caller);
        line.text("client", record.client.unwrap_or("-"));
        line.text("proto", record.proto);
        line.text("tls", record.tls.unwrap_or("-"));
        line.text("method", record.method);
        line.text("route", record.route.word);
        line.text("site", record.site.unwrap_or("-"));
        line.text("resource_type", word(record.resource_type));
        line.text("interaction", word(record.interaction));
        line.number("status", record.status.unwrap_or(0).into());
        line.text("by", record.by.word());
        line.text("reason", word(record.reason));
        line.flag("whole", record.whole);
        line.number("bytes_in", count(record.bytes_in));
        line.number("bytes", count(record.bytes));
        line.milliseconds("duration_ms", record.duration);
        line.milliseconds("queue_ms", record.queued);
        line.milliseconds("token_ms", record.token_wait);
        line.milliseconds("upstream_ms", record.upstream.unwrap_or_default());
        line.text("node", record.node.unwrap_or("-"));
        line.number("upstream_status", record.upstream_status.unwrap_or(0).into());
        line.number("retries", record.retries.into());
        line.flag("shared", record.shared);
        line.number("left_out", record.left_out);
    });
}

fn word(coded: Option<Coded>) -> &'static str {
    coded.map_or("-", |coded| coded.word)
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
