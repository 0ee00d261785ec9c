//! What the answer and its body go through on their way to the client: decided from the head, piece by piece from then on.

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_LENGTH, ETAG};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::config::Limits;
use crate::gateway::answer_state::AnswerState;
use crate::gateway::attempt::Attempt;
use crate::gateway::body_filters::BodyFilters;
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::gateway::export_file::{self, BrokenFile};
use crate::gateway::stop::Step;
use crate::gateway::{compression, cors, response_head, response_links, search_answer, wire, write_answer};
use crate::http::answer_protection::protect;
use crate::http::fields::{content_length, forget_length};
use crate::openemr::export::ndjson::NdjsonFile;

/// Makes the head of an answer what the client sees; gives the filters that the body behind it passes.
#[must_use]
pub(super) fn prepare(session: &Session, head: &mut ResponseHeader, call: &Call, fhir: &mut FhirCall) -> BodyFilters {
    let request = session.req_header();
    // What the body becomes on its way changes its length, not whether it is long.
    let length = content_length(&head.headers);
    let mut filters = choose(session, head, call, fhir);
    if let Some(compressor) = compression::choose(request, head, length, call.config().compression) {
        filters.push(compressor);
    }
    response_head::rewrite(head, request.version, call.id);
    protect(head);
    cors::mark(request, head, fhir.site.cors.as_ref());
    filters
}

/// Passes a piece of the body to the client, which has more time for a longer one. On HTTP/2, where a stream can wait although its
/// connection does not, the body is kept while OpenEMR sends it, as far as there is memory.
///
/// # Errors
/// The body turned out to be broken: nothing more of it passes, and the client sees that it is not whole.
pub(super) fn pass(
    session: &mut Session,
    body: &mut Option<Bytes>,
    end_of_stream: bool,
    attempt: &Attempt,
    answer: &mut AnswerState,
    limits: &Limits,
) -> Step {
    // A HEAD request may have gone to OpenEMR as a GET.
    body.take_if(|_| session.req_header().method == Method::HEAD);
    answer.filters.pass(body, end_of_stream);
    if answer.filters.are_broken() {
        return Err(BrokenFile.into());
    }
    if let Some(waiting) = &mut answer.waiting {
        let passed = waiting.pass(&body.take().unwrap_or_default(), end_of_stream);
        *body = (!passed.is_empty()).then_some(passed);
    }
    answer.passed = answer.passed.saturating_add(body.as_ref().map_or(0, Bytes::len));
    let unsent = answer.passed.saturating_sub(session.body_bytes_sent());
    wire::set_write_deadline(session, unsent, attempt.permit.is_some(), limits);
    Ok(())
}

/// Decides which filters the body behind this head passes, and makes the head say so.
fn choose(session: &Session, head: &mut ResponseHeader, call: &Call, fhir: &mut FhirCall) -> BodyFilters {
    let mut filters = BodyFilters::default();
    if head.status.is_informational() {
        return filters;
    }
    let request = session.req_header();
    if fhir.repairs().content && head.status.is_success() {
        response_head::name_fhir_json(head, fhir.interaction);
    }
    // Buffered answers to creates have theirs already.
    let instead = write_answer::of_update(request, head, call, fhir);
    let links = response_links::rewrite(session, head, call, &fhir.site);
    if response_head::has_no_body(&request.method, head) {
        if fhir.plan.method.is_some() && response_head::is_json(head) {
            // They are of the body as OpenEMR sent it, not as it would have gone on.
            head.remove_header(&CONTENT_LENGTH);
            head.remove_header(&ETAG);
        }
        return filters;
    }
    match instead {
        Some(instead) => filters.push(instead),
        None => search_answer::add_filters(head, fhir, &mut filters),
    }
    if export_file::is_one(head, fhir) {
        filters.push(NdjsonFile::default());
    }
    // The last: every filter before it reads OpenEMR's own addresses.
    if let Some(links) = links {
        filters.push(links);
    }
    if !filters.is_empty() {
        // Its length, and a validator of its bytes, are of the body as OpenEMR sent it.
        head.remove_header(&ETAG);
        forget_length(head);
    }
    filters
}
