//! The request that goes to OpenEMR, its head and its body.
//!
//! Decision: `docs/decisions/30-framing.md`.

use std::time::Instant;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, Version};
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use pingora::{Error, ErrorType};

use crate::config::Limits;
use crate::gateway::attempt::Attempt;
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::gateway::stop::Step;
use crate::gateway::trace::Trace;
use crate::gateway::wire::BadHead;
use crate::gateway::{request_body, request_head, request_links, shared, trace, write_body};
use crate::http::parts::edit_request;
use crate::http::request_target;
use crate::observe::request_id::RequestId;
use crate::smart::token::AccessToken;

/// Makes the head of a try of the client's head.
///
/// # Errors
/// A target that cannot stand in a request line.
pub(super) fn head(
    session: &mut Session,
    head: &mut RequestHeader,
    call: &Call,
    fhir: &mut FhirCall,
    attempt: &mut Attempt,
) -> pingora::Result<()> {
    let has_unsent_body = !session.is_body_empty();
    attempt.begin_try(Instant::now());
    shared::note_write(session, fhir);
    let (Some(on), Some(token)) = (&attempt.node, &attempt.token) else {
        return Err(Error::new_in(ErrorType::InternalError));
    };
    let request = session.req_header();
    let target = request_target::onto(&on.node().fhir.url().path, fhir.path_sent(), fhir.query_sent());
    edit_request(head, |head| {
        made(head, request.version, on.node().fhir.host(), token, &call.trace, call.id);
        fhir.plan.apply(head);
        attempt.drops_body = has_unsent_body && !fhir.plan.has_body() && !may_have_body(&head.method);
        if attempt.drops_body {
            // Without it, Pingora makes chunks of what is to come, and be it an empty DATA frame.
            head.headers.remove(TRANSFER_ENCODING);
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        attempt.request_links = request_links::begin(session, head, call, fhir);
        if attempt.refused_token.uncompressed || fhir.reads_answer(&request.method) || call.runtime.trail.is_on() {
            head.headers.remove(ACCEPT_ENCODING);
        }
    });
    attempt.identity.clone_from(&fhir.plan.identity);
    attempt.extensions = fhir.plan.refuses_extensions.then(write_body::extension_search);
    head.set_raw_path(&target)
}

/// Makes the head of the client's head, as far as it depends on no plan. `received`: the version in which that came.
pub(super) fn made(head: &mut Parts, received: Version, host: &HeaderValue, token: &AccessToken, trace: &Trace, id: RequestId) {
    request_head::rewrite(head, host, token);
    trace::mark_request(&mut head.headers, received, trace, id);
}

/// Passes a piece of the client's body, or what goes to OpenEMR in its place.
///
/// # Errors
/// The body is larger than `limits.request_body`, no resource for its URL, or comes more slowly than at `limits.least_rate`. The
/// request is cut off then, and cannot be taken for whole: neither its length nor its last chunk is reached.
pub(super) fn body(
    session: &mut Session,
    piece: &mut Option<Bytes>,
    end_of_stream: bool,
    fhir: &mut FhirCall,
    attempt: &mut Attempt,
    limits: &Limits,
) -> Step {
    if let (Some(check), Some(piece)) = (&mut attempt.identity, piece.as_ref()) {
        check.feed(piece)?;
    }
    if let (Some(extensions), Some(piece)) = (&mut attempt.extensions, piece.as_ref()) {
        write_body::refuse_extensions(extensions, piece)?;
    }
    let length = piece.as_ref().map_or(0, Bytes::len);
    fhir.plan.replace_body(piece, end_of_stream);
    if attempt.drops_body {
        *piece = None;
    }
    attempt.body_sent = attempt.body_sent.saturating_add(piece.as_ref().map_or(0, Bytes::len));
    if attempt.body_sent > limits.request_body {
        return Err(BadHead::BodyTooLarge.into());
    }
    if !end_of_stream {
        request_body::keep_pace(session, length, attempt, limits)?;
    }
    if let Some(links) = &mut attempt.request_links {
        request_links::pass(links, piece, end_of_stream);
    }
    mark_end(piece, end_of_stream);
    Ok(())
}

/// Gives a piece the form in which Pingora writes each byte once: an empty last piece becomes none, because Pingora would write
/// it as a last chunk of its own (Pingora issue 935), and a missing one before the end becomes empty, because Pingora would take
/// it for the end.
fn mark_end(piece: &mut Option<Bytes>, end_of_stream: bool) {
    if end_of_stream {
        piece.take_if(|piece| piece.is_empty());
    } else {
        piece.get_or_insert_default();
    }
}

/// Whether a request with this method may have a body at OpenEMR. A body of another one means nothing (RFC 9110 section 9.3).
fn may_have_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_end_ends_a_body_and_it_does_so_once() {
        let some = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        for (piece, end_of_stream, passed) in [
            (some("x"), false, some("x")),
            (some("x"), true, some("x")),
            (some(""), false, some("")),
            (some(""), true, None),
            (None, true, None),
            (None, false, some("")),
        ] {
            let mut marked = piece.clone();
            mark_end(&mut marked, end_of_stream);
            assert_eq!(marked, passed, "{piece:?} {end_of_stream}");
        }
    }
}
