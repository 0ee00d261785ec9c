//! What the log says of a request: why it failed, and its access line.

use std::fmt;

use http::{Method, StatusCode};
use log::{info, warn};
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType};

use crate::fhir::rejection::Rejection;
use crate::gateway::context::RequestContext;
use crate::gateway::destination::FhirCall;
use crate::nodes::cause::{is_no_connection, summary};
use crate::nodes::node::Node;
use crate::observe::access_log;

/// The cause of a rejection: its own words where it has no other.
struct Cause<'a>(&'a Rejection);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.cause {
            Some(cause) => cause.fmt(f),
            None => f.write_str(&self.0.text),
        }
    }
}

/// Why an exchange with OpenEMR failed: the node, how far the request had come, and the cause with what mends it.
struct Failure<'a>(&'a Error, &'a RequestContext);

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error, context) = self;
        match (error.esource(), latest_node(context)) {
            (ErrorSource::Upstream, Some(node)) if context.attempt.upstream_time.is_some() => {
                write!(f, "reading the answer of node {}", node.fhir.place().explain(error))
            }
            (ErrorSource::Upstream, Some(node)) => {
                write!(f, "{}, node {}", stage(error), node.fhir.place().explain(error))
            }
            (ErrorSource::Downstream, _) => write!(f, "reading the request: {}", summary(error)),
            (_, _) => f.write_str(&summary(error)),
        }
    }
}

/// How far a request had come when its connection failed before the head of an answer.
fn stage(error: &Error) -> &'static str {
    match error.etype() {
        _ if is_no_connection(error) => "connecting",
        ErrorType::WriteError | ErrorType::WriteTimedout => "sending the request",
        _ => "waiting for the answer",
    }
}

/// Logs why the exchange of a request with OpenEMR failed. `client_is_there`: whether it can be told.
pub(super) fn failed(error: &Error, context: &RequestContext, client_is_there: bool) {
    let (id, site) = (context.call.id, site(context));
    match (&context.rejection, latest_node(context)) {
        (Some(rejection), Some(node)) => {
            warn!("request {id}: site {site}: node {}: {}", node.fhir.url(), Cause(rejection));
        }
        (Some(rejection), None) => warn!("request {id}: site {site}: {}", Cause(rejection)),
        (None, _) if client_is_there => warn!("request {id}: site {site}: {}", Failure(error, context)),
        (None, _) => info!("request {id}: site {site}: the client left: {}", summary(error)),
    }
}

/// The node of the latest try.
fn latest_node(context: &RequestContext) -> Option<&Node> {
    let (fhir, node) = context.destination.fhir().zip(context.attempt.latest_node)?;
    fhir.site.nodes.get(node)
}

/// Logs why a request was refused before it went to OpenEMR, where that is not the client's doing, or a limit's.
pub(super) fn rejected(rejection: &Rejection, context: &RequestContext) {
    if rejection.status.is_server_error() {
        warn!("request {}: site {}: {}", context.call.id, site(context), Cause(rejection));
    } else if rejection.status == StatusCode::TOO_MANY_REQUESTS {
        info!("request {}: {}", context.call.id, Cause(rejection));
    }
}

/// The access line of a request.
pub(super) fn access_line<'a>(session: &'a Session, failed: bool, context: &'a RequestContext) -> access_log::Line<'a> {
    let RequestContext { call, destination, attempt, .. } = context;
    let fhir = destination.fhir();
    access_log::Line {
        request_id: call.id,
        caller: call.trace.client().address(),
        client: call.caller.client.as_deref(),
        trace_id: call.trace.context.trace_id(),
        method: known_method(&session.req_header().method),
        site: fhir.map(|fhir| fhir.site.name()),
        resource_type: fhir.and_then(|fhir| fhir.interaction.resource_type),
        interaction: fhir.map(|fhir| fhir.interaction.kind.code()),
        status: context.answer.status(session).map(|status| status.as_u16()),
        whole: !failed,
        bytes: session.body_bytes_sent(),
        duration: call.started.elapsed(),
        upstream: attempt.upstream_time,
        retries: attempt.retries(),
        shared: attempt.is_shared,
        left_out: fhir.map_or(0, FhirCall::left_out),
    }
}

fn site(context: &RequestContext) -> &str {
    context.destination.fhir().map_or("-", |fhir| fhir.site.name())
}

/// The method's name, unless the client made it up: what it writes itself is not logged.
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
