//! The request that goes to OpenEMR, its head and its body.

use std::time::Instant;

use bytes::Bytes;
use http::header::ACCEPT_ENCODING;
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use pingora::{Error, ErrorType};

use crate::gateway::attempt::Attempt;
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::gateway::stop::Step;
use crate::gateway::wire::BadHead;
use crate::gateway::{request_head, request_links, trace};
use crate::http::request_target;

/// Makes the head of a try of the client's head.
///
/// # Errors
/// A target that cannot stand in a request line.
pub(super) fn head(
    session: &Session,
    head: &mut RequestHeader,
    call: &Call,
    fhir: &mut FhirCall,
    attempt: &mut Attempt,
) -> pingora::Result<()> {
    attempt.begin_try(Instant::now());
    let (Some(on), Some(token)) = (&attempt.node, &attempt.token) else {
        return Err(Error::new_in(ErrorType::InternalError));
    };
    let request = session.req_header();
    let target = request_target::onto(&on.node().fhir.url().path, fhir.path_sent(), fhir.query_sent());
    request_head::rewrite(head, &target, on.node().fhir.host(), token)?;
    trace::mark_request(head, request.version, &call.trace, call.id);
    fhir.plan.apply(head);
    attempt.identity.clone_from(&fhir.plan.identity);
    attempt.request_links = request_links::begin(session, head, call, fhir);
    if attempt.refused_token.uncompressed || fhir.reads_answer(&request.method) {
        head.remove_header(&ACCEPT_ENCODING);
    }
    Ok(())
}

/// Passes a piece of the client's body, or what goes to OpenEMR in its place. `limit`: of the body, in bytes.
///
/// # Errors
/// The body is larger than the limit, or no resource for its URL. The request is cut off then, and cannot be taken for whole: neither its length nor its
/// last chunk is reached.
pub(super) fn body(
    piece: &mut Option<Bytes>,
    end_of_stream: bool,
    fhir: &mut FhirCall,
    attempt: &mut Attempt,
    limit: usize,
) -> Step {
    if let (Some(check), Some(piece)) = (&mut attempt.identity, piece.as_ref()) {
        check.feed(piece)?;
    }
    fhir.plan.replace_body(piece, end_of_stream);
    attempt.body_sent = attempt.body_sent.saturating_add(piece.as_ref().map_or(0, Bytes::len));
    if attempt.body_sent > limit {
        return Err(BadHead::BodyTooLarge.into());
    }
    if let Some(links) = &mut attempt.request_links {
        request_links::pass(links, piece, end_of_stream);
    }
    Ok(())
}
