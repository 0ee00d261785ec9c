//! What the log says of a request: why it failed, and its access line.

use std::fmt;

use http::Method;
use log::{info, warn};
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType};

use crate::fhir::rejection::Rejection;
use crate::gateway::attempt::Attempt;
use crate::gateway::context::RequestContext;
use crate::nodes::origin::{describe, is_no_connection};
use crate::observe::access_log;

/// How far a request had come when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    ReadingRequest,
    Connecting,
    Sending,
    ReadingHead,
    ReadingBody,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadingRequest => "reading the request",
            Self::Connecting => "connecting",
            Self::Sending => "sending the request",
            Self::ReadingHead => "waiting for the answer",
            Self::ReadingBody => "reading the answer",
        })
    }
}

impl Stage {
    fn of(error: &Error, attempt: &Attempt) -> Self {
        match error.etype() {
            _ if *error.esource() == ErrorSource::Downstream => Self::ReadingRequest,
            _ if is_no_connection(error) => Self::Connecting,
            _ if attempt.upstream_time.is_some() => Self::ReadingBody,
            ErrorType::WriteError | ErrorType::WriteTimedout => Self::Sending,
            _ => Self::ReadingHead,
        }
    }
}

/// The node of the latest try.
struct Node<'a>(&'a RequestContext);

impl fmt::Display for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RequestContext { destination, attempt, .. } = self.0;
        let node = destination.fhir().zip(attempt.latest_node).and_then(|(fhir, node)| fhir.site.nodes.get(node));
        node.map_or(Ok(()), |node| write!(f, "node {}: ", node.fhir.url()))
    }
}

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

/// Logs why the exchange of a request with OpenEMR failed. `client_is_there`: whether it can be told.
pub(super) fn failed(error: &Error, context: &RequestContext, client_is_there: bool) {
    let (id, site, node) = (context.call.id, site(context), Node(context));
    match &context.rejection {
        Some(rejection) => warn!("request {id}: site {site}: {node}{}", Cause(rejection)),
        None if client_is_there => {
            let stage = Stage::of(error, &context.attempt);
            warn!("request {id}: site {site}: {node}{stage}: {}", describe(error));
        }
        None => info!("request {id}: site {site}: the client left: {}", describe(error)),
    }
}

/// Logs why a request was refused before it went to OpenEMR, where that is not the client's doing.
pub(super) fn rejected(rejection: &Rejection, context: &RequestContext) {
    if rejection.status.is_server_error() {
        warn!("request {}: site {}: {}", context.call.id, site(context), Cause(rejection));
    }
}

/// The access line of a request.
pub(super) fn access_line<'a>(session: &'a Session, failed: bool, context: &'a RequestContext) -> access_log::Line<'a> {
    let RequestContext { call, destination, attempt, .. } = context;
    let fhir = destination.fhir();
    access_log::Line {
        request_id: call.id,
        caller: call.trace.client(),
        trace_id: call.trace.context.trace_id(),
        method: known_method(&session.req_header().method),
        site: fhir.map(|fhir| fhir.site.name()),
        resource_type: fhir.and_then(|fhir| fhir.interaction.resource_type),
        interaction: fhir.map(|fhir| fhir.interaction.kind.code()),
        status: session.response_written().map(|head| head.status.as_u16()),
        whole: !failed,
        bytes: session.body_bytes_sent(),
        duration: call.started.elapsed(),
        upstream: attempt.upstream_time,
        retries: attempt.retries(),
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
