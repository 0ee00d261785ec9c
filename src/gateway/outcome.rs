//! How a request ended: who made the answer, why it is not what the client asked for, and the record of all that.

use http::{Method, StatusCode, Version};
use pingora::proxy::Session;

use crate::fhir::reason::Reason;
use crate::fhir::resource_type;
use crate::gateway::context::RequestContext;
use crate::gateway::destination::{Destination, FhirCall, FhirKind, LocalRoute};
use crate::gateway::request_log::{self, latest_node};
use crate::observe::access_log;
#[cfg(feature = "otlp")]
use crate::observe::finished_request::Course;
use crate::observe::metrics::metrics;
use crate::observe::request_record::{AnsweredBy, Coded, RequestRecord};
#[cfg(feature = "otlp")]
use crate::observe::traces;

/// The kinds of routes.
pub(crate) const ROUTES: &[&str] = &["none", "fhir", "health", "ready", "jwks", "token", "smart_token"];

/// Tells the access log, the metrics and the traces of a request that has ended, as far as they are on. `failed`: not all of its
/// answer was sent.
pub(super) fn tell(session: &Session, failed: bool, context: &RequestContext) {
    let is_logged = access_log::is_on() && request_log::is_of_interest(session, context);
    let is_traced = context.call.trace.context.is_recorded() && !request_log::is_good_probe(session, context);
    let metrics = metrics();
    if !is_logged && !is_traced && metrics.is_none() {
        return;
    }
    // The metrics do not show it.
    let node = latest_node(context).filter(|_| is_logged || is_traced).map(|node| node.fhir.shown());
    let record = record(session, failed, context, node);
    if let Some(metrics) = metrics {
        metrics.count(&record);
    }
    #[cfg(feature = "otlp")]
    if is_traced {
        traces::hand_over(&record, &course(session, context));
    }
    if is_logged {
        access_log::write(&record);
    }
}

/// What the spans of a request show besides its record.
#[cfg(feature = "otlp")]
fn course(session: &Session, context: &RequestContext) -> Course {
    let RequestContext { call, destination, attempt, .. } = context;
    let client = &session.req_header().method;
    Course {
        started: call.started,
        token_wait: attempt.token_since,
        queue: attempt.queued_since,
        upstream: attempt.upstream_since(),
        method: known_method(destination.fhir().map_or(client, |fhir| fhir.method_sent(client))),
    }
}

/// The record of a request that has ended. `failed`: not all of its answer was sent.
fn record<'a>(session: &'a Session, failed: bool, context: &'a RequestContext, node: Option<&'a str>) -> RequestRecord<'a> {
    let RequestContext { call, destination, attempt, answer, .. } = context;
    let fhir = destination.fhir();
    let head = session.req_header();
    let status = answer.status(session);
    RequestRecord {
        request_id: call.id,
        trace: call.trace.context,
        caller: call.trace.client().address(),
        client: call.caller.client.as_deref(),
        proto: protocol(head.version),
        tls: session.digest().and_then(|digest| digest.ssl_digest.as_ref()).map(|tls| &*tls.version),
        method: known_method(&head.method),
        route: route(destination),
        site: fhir.map(|fhir| fhir.site.name()),
        resource_type: fhir.and_then(|fhir| coded_type(fhir.interaction.resource_type?)),
        interaction: fhir.map(|fhir| fhir.interaction.kind).map(|kind| Coded { word: kind.code(), number: kind as usize }),
        status: status.map(|status| status.as_u16()),
        by: answered_by(context),
        reason: reason(context, status, failed).map(coded_reason),
        whole: !failed,
        bytes_in: session.body_bytes_read(),
        bytes: session.body_bytes_sent(),
        duration: call.started.elapsed(),
        queued: attempt.queued,
        token_wait: attempt.token_wait,
        upstream: attempt.upstream(),
        reused: attempt.reused,
        node,
        upstream_status: attempt.upstream_status.map(|status| status.as_u16()),
        retries: attempt.retries(),
        shared: attempt.is_shared,
        left_out: fhir.map_or(0, FhirCall::left_out),
    }
}

/// Why a request did not get the answer that it asked for; `None` when it did.
fn reason(context: &RequestContext, status: Option<StatusCode>, failed: bool) -> Option<Reason> {
    context.answer.reason.or_else(|| status.and_then(of_openemr)).or(failed.then_some(Reason::ClientLeft))
}

/// The reason of an error that OpenEMR answered with.
fn of_openemr(status: StatusCode) -> Option<Reason> {
    match status {
        status if status.is_client_error() => Some(Reason::OpenEmrRefused),
        status if status.is_server_error() => Some(Reason::OpenEmrFailed),
        _ => None,
    }
}

/// The reason of an answer that the gateway gives itself in place of OpenEMR, without a rejection.
#[must_use]
pub(super) fn of_own_answer(destination: &Destination, status: StatusCode) -> Option<Reason> {
    if !(status.is_client_error() || status.is_server_error()) {
        return None;
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        return Some(Reason::NotSupported);
    }
    Some(match destination {
        Destination::NotFound | Destination::Unsafe { .. } => Reason::NoRoute,
        Destination::Local(LocalRoute::Ready | LocalRoute::Health) => Reason::NotReady,
        Destination::Local(LocalRoute::Jwks(_)) => Reason::Internal,
        Destination::Local(LocalRoute::Token(_)) => match status {
            StatusCode::TOO_MANY_REQUESTS => Reason::RefreshLimit,
            status if status.is_server_error() => Reason::NoToken,
            _ => Reason::Parameter,
        },
        Destination::Local(LocalRoute::SmartToken(_)) => match status {
            StatusCode::PAYLOAD_TOO_LARGE => Reason::BodyTooLarge,
            status if status.is_server_error() => Reason::ClientKeys,
            _ => Reason::BadCredential,
        },
        Destination::Fhir(fhir) => match fhir.kind {
            FhirKind::Export(_) => Reason::Exports,
            FhirKind::Capabilities | FhirKind::SmartConfiguration => Reason::Capabilities,
            FhirKind::Proxied => of_openemr(status)?,
        },
    })
}

fn answered_by(context: &RequestContext) -> AnsweredBy {
    let RequestContext { destination, attempt, answer, rejection, .. } = context;
    let Destination::Fhir(fhir) = destination else { return AnsweredBy::Gateway };
    let is_refused = rejection.is_some() || answer.reason.is_some_and(|reason| !is_of_openemr(reason));
    match fhir.kind {
        _ if is_refused => AnsweredBy::Gateway,
        _ if attempt.is_shared => AnsweredBy::Memory,
        FhirKind::Capabilities | FhirKind::SmartConfiguration => AnsweredBy::Memory,
        FhirKind::Proxied | FhirKind::Export(_) if attempt.upstream_status.is_some() => AnsweredBy::OpenEmr,
        FhirKind::Proxied | FhirKind::Export(_) => AnsweredBy::Gateway,
    }
}

fn is_of_openemr(reason: Reason) -> bool {
    matches!(reason, Reason::OpenEmrRefused | Reason::OpenEmrFailed)
}

/// A reason for a record.
pub(super) fn coded_reason(reason: Reason) -> Coded {
    Coded { word: reason.code(), number: reason as usize }
}

fn coded_type(name: &'static str) -> Option<Coded> {
    Some(Coded { word: name, number: resource_type::index(name.as_bytes())? })
}

/// No route, and its number.
pub(super) const NO_ROUTE: Coded = Coded { word: "none", number: 0 };

fn route(destination: &Destination) -> Coded {
    let number = match destination {
        Destination::NotFound | Destination::Unsafe { .. } => return NO_ROUTE,
        Destination::Fhir(_) => 1,
        Destination::Local(LocalRoute::Health) => 2,
        Destination::Local(LocalRoute::Ready) => 3,
        Destination::Local(LocalRoute::Jwks(_)) => 4,
        Destination::Local(LocalRoute::Token(_)) => 5,
        Destination::Local(LocalRoute::SmartToken(_)) => 6,
    };
    Coded { word: ROUTES.get(number).copied().unwrap_or("none"), number }
}

/// The version of HTTP.
fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "other",
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_answer_has_a_reason_when_it_is_an_error() {
        for (destination, status, reason) in [
            (Destination::NotFound, StatusCode::NOT_FOUND, Some(Reason::NoRoute)),
            (Destination::Local(LocalRoute::Health), StatusCode::OK, None),
            (Destination::Local(LocalRoute::Health), StatusCode::METHOD_NOT_ALLOWED, Some(Reason::NotSupported)),
            (Destination::Local(LocalRoute::Ready), StatusCode::SERVICE_UNAVAILABLE, Some(Reason::NotReady)),
            (Destination::Local(LocalRoute::Token(Vec::new())), StatusCode::TOO_MANY_REQUESTS, Some(Reason::RefreshLimit)),
            (Destination::Local(LocalRoute::Token(Vec::new())), StatusCode::BAD_GATEWAY, Some(Reason::NoToken)),
            (Destination::Local(LocalRoute::Token(Vec::new())), StatusCode::NOT_FOUND, Some(Reason::Parameter)),
        ] {
            assert_eq!(of_own_answer(&destination, status), reason, "{destination:?} {status}");
        }
    }
}
