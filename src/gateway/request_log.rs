//! What the log says of a request: why it failed.

use std::fmt;

use http::StatusCode;
use log::{info, warn};
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType};

use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::context::RequestContext;
use crate::gateway::destination::{Destination, LocalRoute};
use crate::nodes::cause::{is_no_connection, summary};
use crate::nodes::node::Node;

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
            warn!(request_id:% = id, reason = rejection.reason.code(); "site {site}: node {}: {}", node.fhir.url(), Cause(rejection));
        }
        (Some(rejection), None) => {
            warn!(request_id:% = id, reason = rejection.reason.code(); "site {site}: {}", Cause(rejection));
        }
        (None, _) if client_is_there => {
            let reason = context.answer.reason.map_or("-", Reason::code);
            warn!(request_id:% = id, reason = reason; "site {site}: {}", Failure(error, context));
        }
        (None, _) => info!(request_id:% = id; "site {site}: the client left: {}", summary(error)),
    }
}

/// The node of the latest try.
pub(super) fn latest_node(context: &RequestContext) -> Option<&Node> {
    let (fhir, node) = context.destination.fhir().zip(context.attempt.latest_node)?;
    fhir.site.nodes.get(node)
}

/// Logs why a request was refused before it went to OpenEMR, where that is not the client's doing, or a limit's.
pub(super) fn rejected(rejection: &Rejection, context: &RequestContext) {
    if rejection.status.is_server_error() {
        let reason = rejection.reason.code();
        warn!(request_id:% = context.call.id, reason = reason; "site {}: {}", site(context), Cause(rejection));
    } else if rejection.status == StatusCode::TOO_MANY_REQUESTS {
        info!(request_id:% = context.call.id, reason = rejection.reason.code(); "{}", Cause(rejection));
    }
}

/// Whether a request has an access line: probes can be left out.
pub(super) fn is_of_interest(session: &Session, context: &RequestContext) -> bool {
    context.call.config().log.probes || !is_good_probe(session, context)
}

/// Whether a request is a probe that was answered with 200. It never has spans.
pub(super) fn is_good_probe(session: &Session, context: &RequestContext) -> bool {
    let RequestContext { destination, answer, .. } = context;
    let is_probe = matches!(destination, Destination::Local(LocalRoute::Health | LocalRoute::Ready));
    is_probe && answer.status(session) == Some(StatusCode::OK)
}

fn site(context: &RequestContext) -> &str {
    context.destination.fhir().map_or("-", |fhir| fhir.site.name())
}
