//! What the log says of a request: why it failed, and its access line.

use http::Method;
use log::{info, warn};
use pingora::Error;
use pingora::proxy::Session;

use crate::gateway::context::RequestContext;
use crate::nodes::cause::summary;
use crate::observe::access_log;

/// Says why a request failed.
pub(super) fn report(error: &Error, context: &RequestContext, caller_is_there: bool) {
    let site = context.site().map_or("-", |site| site.name());
    match context.failure {
        Some(failure) => warn!("request {}: site {site}: {}", context.id, failure.verdict().text),
        None if caller_is_there => warn!("request {}: site {site}: {}", context.id, summary(error)),
        None => info!("request {}: site {site}: the caller left: {}", context.id, summary(error)),
    }
}

/// What its access line says.
pub(super) fn access_line<'a>(session: &'a Session, failed: bool, context: &'a RequestContext) -> access_log::Line<'a> {
    access_log::Line {
        request_id: context.id,
        caller: context.trace.client(),
        trace_id: context.trace.context.trace_id(),
        method: known_method(&session.req_header().method),
        site: context.site().map(|site| site.name()),
        resource_type: context.interaction.and_then(|interaction| interaction.resource_type),
        interaction: context.interaction.map(|interaction| interaction.kind.code()),
        status: session.response_written().map(|head| head.status.as_u16()),
        whole: !failed,
        bytes: session.body_bytes_sent(),
        duration: context.started.elapsed(),
        upstream: context.upstream_time,
        retries: context.repeats + context.recovery.renewals,
    }
}

/// The method's name, unless the caller made it up: what he writes himself is not logged.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        _ => "other",
    }
}
